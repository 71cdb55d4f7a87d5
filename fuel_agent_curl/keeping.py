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

"""A download that keeps what it brings for another attempt.

What an earlier attempt has left comes first. Whatever is wrong with that, or
with where it is kept, costs no more than what it would have saved: everything
is fetched, as without it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import itertools
import logging
import os
import re
import stat
import time
import typing

from zlib_ng import zlib_ng

from fuel_agent_curl import continuing
from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import spooling
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from fuel_agent_curl.image import metalink
from fuel_agent_curl.state import spool as spool_module
from fuel_agent_curl.target import filesystem

LOG = logging.getLogger(__name__)

_Part = typing.TypeVar('_Part', bytes, memoryview)

#: Spools of other URLs that stay: a deployment has several images.
OTHERS = 1

# The file systems of a ramdisk; an overlay has its upper layer there.
_MEMORY = frozenset({'tmpfs', 'ramfs', 'rootfs', 'overlay'})

_NAME = re.compile(r'[0-9a-f]{64}\.spool')


def fetch(
    directory: str,
    url: str,
    mirrors: Sequence[str],
    settings: settings_module.Settings,
) -> download.Download | Kept:
    """Begin to download, with what is kept in ``directory``.

    Where nothing can be kept there, without: a warning says why.

    :raises errors.Error: as ``download.fetch``.
    """
    deadline = None
    if settings.deadline:
        deadline = time.monotonic() + settings.deadline
    asked = download.resolve(url, mirrors=mirrors, settings=settings)
    name = continuing.digest(url)
    try:
        spool = _open(directory, name + '.spool')
    except (errors.SpoolError, OSError) as error:
        LOG.warning('nothing is kept for another attempt: %s', error)
        return download.fetch_asked(asked, settings=_left(settings, deadline))
    with contextlib.ExitStack() as stack:
        stack.callback(spool.close)
        kept = Kept(
            asked,
            spool,
            (name, errors.redact(url)),
            lambda: _left(settings, deadline),
        )
        stack.pop_all()
        return kept


def _left(
    settings: settings_module.Settings, deadline: float | None
) -> settings_module.Settings:
    """Return the settings with the time that is left; it is of all."""
    if deadline is None:
        return settings
    # 0 would mean none.
    left = max(0.001, deadline - time.monotonic())
    return dataclasses.replace(settings, deadline=left)


def _open(directory: str, name: str) -> spool_module.Spool:
    """Open the spool of that name; those of other URLs are bounded.

    :raises errors.SpoolError: if somebody else could put something there.
    """
    os.makedirs(directory, 0o700, exist_ok=True)
    real = os.path.realpath(directory)
    status = os.stat(real)
    if status.st_uid != os.geteuid() or status.st_mode & (
        stat.S_IWGRP | stat.S_IWOTH
    ):
        raise errors.SpoolError('the directory %s is not ours alone' % real)
    _bound(real, name)
    return spool_module.open_spool(os.path.join(real, name))


def _bound(directory: str, ours: str) -> None:
    """Remove the spools that nobody uses, but for the newest of them."""
    found = []
    for entry in os.scandir(directory):
        if entry.name != ours and _NAME.fullmatch(entry.name):
            status = entry.stat(follow_symlinks=False)
            found.append((status.st_mtime, entry.path))
    for _time, path in sorted(found)[: -OTHERS or None]:
        try:
            spool_module.open_spool(path).remove()
        except errors.SpoolError as error:
            LOG.warning('%s', error)


class Kept:
    """It stands in for the ``Download``, for one reader; it has to be settled.

    :param asked: what is downloaded.
    :param spool: where it is kept; closed by ``settle``.
    :param label: as of ``spooling.Spooled``.
    :param left: returns the settings with the time that is left.
    :raises errors.Error: as ``download.fetch_asked``; the spool is left.
    :ivar position: bytes handed on.
    """

    def __init__(
        self,
        asked: download.Asked,
        spool: spool_module.Spool,
        label: tuple[str, str],
        left: Callable[[], settings_module.Settings],
    ) -> None:
        self.position = 0
        self._asked = asked
        self._spool = spool
        self._left = left
        self._failure: errors.Error | None = None
        # Of what was handed on: it may be given up what that was kept in.
        self._crc = 0
        self._download = self._begin(label[0])
        self._source = _Source(
            self._download,
            spool,
            0,
            label,
            room=lambda length: 0,
            compared=lambda: LOG.info(
                '%s is used: what is in it was compared', spool.path
            ),
        )
        self._views = self._source.views()

    def _begin(self, name: str) -> download.Download:
        """Begin where what is kept ends, if that is right and proven."""
        spool = self._spool
        try:
            self._check()
            kept = spooling.kept(spool, tuple(self._asked.urls), name)
            if kept is not None and kept.found.length is not None:
                _check_memory(spool.path, kept.found.length - kept.offset)
            return download.fetch_asked(
                self._asked, settings=self._left(), kept=kept
            )
        except (errors.CannotContinue, errors.SpoolError) as error:
            LOG.warning('%s begins anew: %s', spool.path, error.message)
        begun = download.fetch_asked(self._asked, settings=self._left())
        # Not before: where that fails, the next attempt may have more luck.
        spool.reset()
        return begun

    def _check(self) -> None:
        """Compare all that is kept: now, as no byte was handed on.

        What is behind damage is dropped.

        :raises errors.CannotContinue: if it is not what was asked for.
        """
        pieces = self._asked.pieces
        check = None if pieces is None else metalink.Check(pieces)
        try:
            for view in self._spool.read(0, self._spool.length):
                if check is not None:
                    check.update(view)
        except errors.CannotContinue as error:
            LOG.warning('%s', error.message)
        except errors.DigestMismatch as error:
            raise errors.CannotContinue(error.message) from error

    @property
    def length(self) -> int | None:
        """See ``download.Download.length``."""
        return self._download.length

    @property
    def end_proven(self) -> bool:
        """See ``download.Download.end_proven``."""
        return self._download.end_proven

    def keep(self, view: object) -> Callable[[], None] | None:
        """See ``download.Download.keep``."""
        return self._download.keep(view)

    def __next__(self) -> bytes:
        return self._read(bytes)

    def views(self) -> Iterator[memoryview]:
        """Iterate over what is left; a view is valid until the next one."""
        return iter(lambda: self._read(_as_it_is), None)

    def _read(self, form: Callable[[memoryview], _Part]) -> _Part:
        try:
            if self._failure is not None:
                raise self._failure.again()
            view = self._next()
            self._crc = zlib_ng.crc32(view, self._crc)
            self.position += len(view)
            return form(view)
        except StopIteration:
            raise
        except BaseException as error:
            # The end must not be met after it.
            self._failure = errors.Error('reading was interrupted')
            if isinstance(error, errors.Error):
                self._failure = error.again()
            raise

    def _next(self) -> memoryview:
        try:
            return next(self._views)
        except errors.CannotContinue as error:
            LOG.warning(
                '%s: all is fetched again: %s', self._spool.path, error.message
            )
        self._views = self._again()
        return next(self._views)

    def _again(self) -> Iterator[memoryview]:
        """Fetch all of it; what was handed on is compared.

        :raises errors.RepresentationChanged: if that was something else.
        """
        self._download.close()
        self._download = download.fetch_asked(
            self._asked, settings=self._left()
        )
        views = self._download.views()
        rest = self._pass(views)
        # Until here, the spool stays as it is.
        self._source.take_over(self._download, self.position)
        for view in itertools.chain([rest] if rest else [], views):
            self._source.take(view)
            yield view
        self._spool.flush()

    def _pass(self, views: Iterator[memoryview]) -> memoryview | None:
        """Compare what was handed on; return what is behind it in a view."""
        at, crc = 0, 0
        rest = None
        while at < self.position:
            view = next(views, memoryview(b''))
            same, rest = view[: self.position - at], view[self.position - at :]
            if not same:
                break
            crc = zlib_ng.crc32(same, crc)
            at += len(same)
        if (at, crc) != (self.position, self._crc):
            raise errors.RepresentationChanged(
                'the bytes before %d are others than before' % self.position
            )
        return rest

    def close(self) -> None:
        """End the download; see ``download.Download.close``."""
        self._download.close()

    def settle(self, *, done: bool) -> None:
        """End it when nobody reads it any more.

        :param done: remove what is kept; else it is left for another attempt.
        """
        self._download.close()
        if done:
            self._spool.remove()
        else:
            self._spool.close()


def _as_it_is(view: memoryview) -> memoryview:
    return view


class _Source(spooling.Spooled):
    """Gives the spool up where there is no room for it."""

    def _begin(self, length: int | None) -> None:
        try:
            _check_memory(self.spool.path, length)
            super()._begin(length)
        except (errors.SpoolError, OSError) as error:
            self.spool.give_up(str(error))

    def take_over(self, inner: spooling.Source, offset: int) -> None:
        """Have what follows ``offset`` come by ``take``, of ``inner``."""
        self.inner = inner
        try:
            if offset > self.spool.length:
                raise errors.CannotContinue('what is in it is damaged')
            self.spool.go_on(offset)
        except errors.CannotContinue as error:
            self.spool.give_up(error.message)

    def take(self, view: memoryview) -> None:
        """Keep the next bytes."""
        self._tell()
        self.spool.add(view)


def _check_memory(path: str, length: int | None) -> None:
    """Refuse what may take the memory that the deployment needs.

    :param path: of the spool.
    :param length: bytes that it is going to take, None if not known.
    :raises errors.SpoolError: if there is not twice as much as is wanted.
    """
    where = os.path.dirname(path)
    if filesystem.kind_of(os.stat(where).st_dev) not in _MEMORY:
        return
    free = _free_memory()
    if length is None or free < 2 * length:
        raise errors.SpoolError(
            '%s is in memory, of which %d bytes are free, and the image'
            ' takes %s' % (where, free, length)
        )


def _free_memory() -> int:
    """Return how many bytes could be taken without swapping."""
    with open('/proc/meminfo') as lines:
        for line in lines:
            if line.startswith('MemAvailable:'):
                return int(line.split()[1]) * octets.KIB
    return 0
