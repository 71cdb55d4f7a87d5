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

"""A source whose bytes are kept in a spool, and come from there again.

What an earlier run has put there comes first; the download brings the rest,
and each byte of that goes into the spool before it is handed on. Everything
that a download proves is proven of both together.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import logging
import os
import stat
import types
import typing

from fuel_agent_curl import continuing
from fuel_agent_curl import errors
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import sources
from fuel_agent_curl.state import directory
from fuel_agent_curl.state import spool as spool_module
from fuel_agent_curl.target import beside

LOG = logging.getLogger(__name__)


class Parts(typing.Protocol):
    """What reads a download out of order; see ``engine.parts``."""

    @property
    def length(self) -> int | None: ...

    def read(self, start: int, stop: int) -> bytes: ...

    def end(self) -> None: ...


class Source(typing.Protocol):
    """The source of what is not in the spool: a ``download.Download``.

    Or a ``copying.LazySource``.
    """

    @property
    def position(self) -> int: ...

    @property
    def length(self) -> int | None: ...

    @property
    def end_proven(self) -> bool: ...

    @property
    def found(self) -> tuple[str, answer.Representation] | None: ...

    @property
    def checks_before(self) -> bool: ...

    def precede(self, view: memoryview) -> None: ...

    def views(self) -> Iterator[memoryview]: ...

    def keep(self, view: object) -> Callable[[], None] | None: ...

    def close(self) -> None: ...


def open_spool(
    path: str, target: str, state_dir: str | None
) -> spool_module.Spool:
    """Open the spool at ``path``, if it is no harm there.

    :raises errors.SpoolError: if it is the target, or on it, or in the way of
        the records; or cannot be used: see ``spool.open_spool``.
    """
    real, there = os.path.realpath(path), os.path.realpath(target)
    records = os.path.realpath(state_dir or directory.default())
    if real in (there, there + beside.SUFFIX):
        raise errors.SpoolError('the spool %s is the target' % path)
    if real == records or real == directory.path_of(records, there):
        raise errors.SpoolError('the spool %s is where records are' % path)
    with contextlib.suppress(OSError):
        status = os.stat(there)
        if (
            stat.S_ISBLK(status.st_mode)
            and os.stat(os.path.dirname(real)).st_dev == status.st_rdev
        ):
            raise errors.SpoolError('the spool %s is on the target' % path)
    # Its own name is not followed: it may be a link that somebody else made.
    parent, name = os.path.split(path)
    return spool_module.open_spool(
        os.path.join(os.path.realpath(parent), name)
    )


def kept(
    spool: spool_module.Spool, urls: tuple[str, ...], asked: str
) -> sources.Kept | None:
    """Return what is in the spool of a download; None: nothing, as is said.

    :param urls: of the representation.
    :param asked: digest of what tells it from others.
    """
    record = spool.record
    if record is None or not spool.length:
        return None
    if record.asked != asked:
        LOG.warning(
            'the spool %s is of %s, or of another checksum: it begins anew',
            spool.path,
            record.url,
        )
        spool.reset()
        return None
    return continuing.from_offset(record.origin, spool.length, urls)


class Spooled:
    """A source that keeps what it brings.

    :param inner: brings what is not there.
    :param begins: byte of the representation that ``views`` begin with; no
        more than is there.
    :param label: digest of what tells the download from others, and its URL,
        redacted.
    :param room: returns how many bytes something else is going to take on
        the file system of the spool, by the length of the download.
    :param compared: called when all that was there has been handed on.
    :param parts: makes what reads it out of order; None: nobody does.
    :param checked: as of ``copying.LazySource``.
    """

    def __init__(
        self,
        inner: Source,
        spool: spool_module.Spool,
        begins: int,
        label: tuple[str, str],
        room: Callable[[int], int],
        compared: Callable[[], None],
        parts: Callable[[], Parts] | None = None,
        checked: Callable[[Iterator[memoryview]], Iterator[memoryview]]
        | None = None,
    ) -> None:
        self.inner = inner
        self.begins = begins
        self.spool = spool
        self._label = label
        self._room = room
        self._compared = compared
        self._parts = parts
        self._checked = checked
        self._views: Iterator[memoryview] | None = None
        self._found: tuple[str, answer.Representation] | None = None
        # All of it is in the spool, and was checked.
        self._is_whole = False

    @property
    def length(self) -> int | None:
        """Complete length in bytes; None where the server states none."""
        return self.inner.length

    @property
    def end_proven(self) -> bool:
        """See ``download.Download.end_proven``."""
        return self.inner.end_proven or self._checked is not None

    @property
    def position(self) -> int:
        """Where ``views`` begin."""
        return self.begins

    def keep(self, view: object) -> Callable[[], None] | None:
        """Have ``view`` stay valid; see ``download.Download.keep``."""
        return self.inner.keep(view)

    def close(self) -> None:
        """End the download; the spool stays as it is."""
        self.inner.close()

    def precede(self, view: memoryview) -> None:
        """Do nothing: all that comes before is in the spool."""

    def views(self) -> Iterator[memoryview]:
        """Iterate over the bytes; each view is valid until the next."""
        if self._is_whole:
            self._views = self.spool.read(self.begins, self.spool.length)
        else:
            self._views = self._all()
            if self._checked is not None:
                self._views = self._checked(self._views)
        # It is gone on with, whoever has dropped what is returned here.
        return iter(self._views.__next__, None)

    def _all(self) -> Iterator[memoryview]:
        length = self.inner.length
        spool, there, checked = (
            self.spool,
            self.inner.position,
            self.inner.checks_before,
        )
        at = 0 if checked else min(self.begins, there)
        if not there:
            self._begin(length)
        elif at < there:
            for view in spool.read(at, there):
                if checked:
                    self.inner.precede(view)
                piece = view[max(0, self.begins - at) :]
                at += len(view)
                if piece:
                    yield piece
        if there:
            self._compared()
            spool.go_on(there)
        for view in self.inner.views():
            self._tell()
            spool.add(view)
            piece = view[max(0, self.begins - at) :]
            at += len(view)
            if piece:
                # What was handed on can be kept only as it is.
                yield view if len(piece) == len(view) else piece
            del piece
        spool.flush()

    def _begin(self, length: int | None) -> None:
        if length is not None:
            self.spool.check_room(length, self._room(length))
        self._found = self.inner.found
        origin = continuing.origin(self._found)
        if origin is None:
            self.spool.give_up('the server says nothing to know it by')
        else:
            self.spool.begin(*self._label, origin)

    def _tell(self) -> None:
        if self.inner.found != self._found:
            self._found = self.inner.found
            origin = continuing.origin(self._found)
            if origin is not None:
                self.spool.told(origin)

    # Out of order.

    def parts(self) -> contextlib.AbstractContextManager[Reading]:
        """Read parts: by ranges, or from the spool when all is there."""
        found = self.inner.found
        reading = Reading(self)
        if self._views is not None and found and found[1].ranges is False:
            self.fill()
        else:
            assert self._parts is not None
            reading.by_ranges = self._parts()
            self._views = None
        return reading

    def fill(self) -> None:
        """Have all of it in the spool.

        :raises errors.NoRanges: if it was given up.
        """
        if self._views is None:
            self.views()
        assert self._views is not None
        LOG.info(
            'all of the image is fetched into %s first: it has to be read out'
            ' of order, and the server serves no ranges',
            self.spool.path,
        )
        for _view in self._views:
            pass
        if not self.spool.is_open:
            raise errors.NoRanges(
                'the server serves no ranges, and the spool was given up'
            )
        self._is_whole = True


class Reading:
    """Reads parts of a source with a spool.

    :ivar by_ranges: what does so by ranges; None: the spool has all.
    """

    def __init__(self, source: Spooled) -> None:
        self.by_ranges: Parts | None = None
        self._source = source

    def __enter__(self) -> Reading:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        by_ranges, self.by_ranges = self.by_ranges, None
        if by_ranges is not None:
            by_ranges.end()

    @property
    def length(self) -> int | None:
        """Complete length in bytes; None before the first part."""
        if self.by_ranges is not None:
            return self.by_ranges.length
        return self._source.spool.length

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), or as many of them as there are.

        :raises errors.Error: for whatever ends the download.
        """
        if self.by_ranges is not None:
            try:
                return self.by_ranges.read(start, stop)
            except errors.NoRanges:
                self._end()
                self._source.fill()
        spool = self._source.spool
        stop = min(stop, spool.length)
        if start >= stop:
            return b''
        return b''.join(map(bytes, spool.read(start, stop)))
