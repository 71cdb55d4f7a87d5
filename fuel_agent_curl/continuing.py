#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Going on with a copy whose process, or machine, has come to its end.

A record says how far it had got: it is in the directory of the records, and
on the target. What is on the target counts only if it is, byte for byte, what
that program wrote there. A record that is on the target alone may have been
made up by whoever had the disk before: it is taken only where something else
decides what the image is.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import contextlib
import logging
import os
import stat

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import sources
from fuel_agent_curl.state import directory
from fuel_agent_curl.state import journal as journal_module
from fuel_agent_curl.state import record as record_module
from fuel_agent_curl.target import beside
from fuel_agent_curl.target import storage

LOG = logging.getLogger(__name__)


def digest(text: str) -> str:
    """Return what tells ``text`` from any other, and says nothing of it."""
    # Here: importing OpenSSL takes long, and most copies have no record.
    import hashlib

    return hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()


@values.dataclass(frozen=True)
class Left:
    """What copies have left that had the same target.

    :ivar path: of the file that the record of such a copy is in.
    :ivar ours: what is recorded there; None: nothing.
    :ivar there: what is recorded on the target itself.
    """

    path: str
    ours: record_module.Record | None = None
    there: record_module.Record | None = None

    @property
    def record(self) -> record_module.Record | None:
        """The newest record, whether it is to be trusted or not."""
        ours, there = self.ours, self.there
        if ours is None or there is None:
            return ours or there
        if ours.copy == there.copy and there.number > ours.number:
            return there
        return ours

    @property
    def is_trusted(self) -> bool:
        """Whether nobody else can have made it up."""
        return self.ours is not None


def look(target: str, state_dir: str | None = None) -> Left | None:
    """Return what there is to be known; None: of such a target, nothing.

    :param target: path of a block device or of a file.
    :param state_dir: directory of the records; None: the default.
    """
    if not target or target == '-':
        return None
    try:
        real = os.path.realpath(target)
    except FileNotFoundError:
        # It is relative to a directory that is gone.
        return None
    try:
        mode = os.stat(real).st_mode
    except OSError:
        mode = stat.S_IFREG
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        return None
    path = directory.path_of(state_dir or directory.default(), real)
    there = None
    names = [real]
    if stat.S_ISREG(mode):
        names = [real + beside.SUFFIX, real]
    for name in names:
        there = there or _read(name)
    return Left(path, directory.read(path), there)


def forget(target: str, state_dir: str | None = None) -> None:
    """Remove the record of what is not on the target any more.

    A copy that leaves none of its own has been there.
    """
    left = look(target, state_dir)
    if left is not None and left.ours is not None and left.there is None:
        directory.remove(left.path)


def _read(path: str) -> record_module.Record | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        return directory.read_slots(fd, storage.RECORDS, path)
    finally:
        # Nothing was written: that it fails says nothing of what was read.
        with contextlib.suppress(OSError):
            os.close(fd)


def usable(
    left: Left,
    target: str,
    asked: Callable[[], str],
    container: str,
    *,
    decided: Callable[[str], bool],
) -> record_module.Record | None:
    """Return the record that is to be gone on with; None: none, as is said.

    :param asked: returns the digest of all that is asked for.
    :param container: that is asked for, 'auto' for any.
    :param decided: tells, for what the image comes in, whether something else
        proves what the whole image is.
    """
    record = left.record
    if record is None:
        return None
    why = None
    if record.asked != asked():
        why = 'that one was asked for in another way'
    elif container not in ('auto', record.container):
        # It may be anybody's, and would have the image written as it comes.
        why = 'its record says that the image comes in %s' % record.container
    elif not left.is_trusted and not decided(record.container):
        why = (
            'its record is on the target alone, where anybody may have put it,'
            ' and no checksum of the image is given'
        )
    if why is None:
        return record
    LOG.warning(
        '%s: a copy of %s was begun and not ended; it starts over: %s',
        target,
        # It may be anybody's.
        errors.one_line(record.url),
        why,
    )
    return None


def mark(record: record_module.Record) -> record_module.Mark:
    """Return how far what is there can be relied on.

    :raises errors.CannotContinue: if that is not known.
    """
    if record.boot == journal_module.boot():
        return record.written
    if record.synced is None:
        raise errors.CannotContinue('nothing of it was synced')
    return record.synced


def kept(record: record_module.Record, urls: Sequence[str]) -> sources.Kept:
    """Return what the download begins with.

    :param urls: of the representation.
    :raises errors.CannotContinue: if there is nothing to begin with.
    """
    return from_offset(record.origin, mark(record).wire, urls)


def from_offset(
    origin: record_module.Origin, offset: int, urls: Sequence[str]
) -> sources.Kept:
    """Return what a download begins with whose first bytes are kept.

    :param origin: of which representation they are.
    :param offset: the first byte that is not.
    :param urls: of the representation.
    :raises errors.CannotContinue: if there cannot be so many.
    """
    validator = head.Validator(
        origin.etag, origin.last_modified, origin.settled
    )
    found = answer.Representation(
        validator, origin.length, True, origin.coding
    )
    known = [url for url in urls if digest(url) == origin.url]
    if origin.length is not None:
        if offset > origin.length:
            raise errors.CannotContinue('its record says what cannot be')
        # Something is asked for in any case: that it is still the same.
        offset = max(0, min(offset, origin.length - 1))
    return sources.Kept(offset, found, known[0] if known else None)


def origin(
    found: tuple[str, answer.Representation] | None,
) -> record_module.Origin | None:
    """Return what a record says of the representation."""
    if found is None:
        return None
    url, known = found
    return record_module.Origin(
        url=digest(url),
        length=known.length,
        etag=known.validator.etag,
        last_modified=known.validator.last_modified,
        settled=known.validator.settled,
        coding=known.coding,
    )
