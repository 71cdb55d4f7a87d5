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

"""The bytes of a download as they came, in a file, for another run.

Its first bytes are those of a record, in two slots, which says what they are
of. Blocks follow, each behind a page with its CRC-32: so it does not matter
how much of it a power cut has let through, and nothing has to be synced. What
is there ends with the first block that is not whole.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import errno
import fcntl
import logging
import mmap
import os
import re
import stat
import struct
import time

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.state import directory
from fuel_agent_curl.state import medium
from fuel_agent_curl.state import record as record_module

LOG = logging.getLogger(__name__)

#: Bytes of the download in a block.
BLOCK = 1 * octets.MIB

# O_DIRECT wants blocks to begin at multiples of this.
_PAGE = 4096
_STRIDE = _PAGE + BLOCK
_HEAD = record_module.SLOTS * record_module.SLOT

# What a block is behind: magic, which spool, which block of it, how many
# bytes, their CRC-32, and that of all of these.
_HEADER = struct.Struct('<8s16sQIII')
_MAGIC = b'fac blk\0'

# By the page cache: write-back is started each time as much is dirty, for the
# kernel hoards it otherwise.
_WRITE_BACK = 8

# Each turn lost means that somebody removed it in that very moment.
_TURNS = 10

_IDENTITY = re.compile('[0-9a-f]{32}')

_NOWHERE = record_module.Mark(stop=0, crc=0, wire=0, image=0)


def open_spool(path: str) -> Spool:
    """Open the spool at ``path``, or make an empty one; lock it.

    :raises errors.SpoolError: if it is used by another copy, is not ours
        alone, or is something else: that is left as it is.
    """
    try:
        for _turn in range(_TURNS):
            fd = os.open(
                path,
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK,
                0o600,
            )
            try:
                if _is_ours(path, fd):
                    record = _read_head(path, fd)
                    # Not before: what is no spool is left as it is.
                    _keep_private(path, fd)
                    return Spool(path, fd, record)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)
    except OSError as exc:
        if exc.errno == errno.ELOOP:
            # Whoever made it may want us to write to what is ours alone.
            raise errors.SpoolError(
                '%s is a symbolic link, so it is no spool' % path,
                hint='remove it, or name another file',
            ) from exc
        raise errors.SpoolError(
            '%s cannot be opened as a spool: %s' % (path, exc.strerror)
        ) from exc
    raise errors.SpoolError('%s is removed and made again all the time' % path)


def _is_ours(path: str, fd: int) -> bool:
    """Lock the file; False: it was removed meanwhile."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise errors.SpoolError('%s is no file, so it is no spool' % path)
    if (
        status.st_uid != os.geteuid()
        or status.st_nlink > 1
        or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise errors.SpoolError(
            '%s is not ours alone, so it is no spool' % path,
            hint='remove it, or name another file',
        )
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise errors.SpoolError(
            '%s is the spool of a copy that runs' % path,
            hint='name another file',
        ) from exc
    except OSError as exc:
        # Where the file system has no locks, nobody has any.
        LOG.info('%s cannot be locked: %s', path, exc.strerror)
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _read_head(path: str, fd: int) -> record_module.Record | None:
    if not os.fstat(fd).st_size:
        return None
    found = directory.read_slots(fd, 0, path)
    if found is not None and not _IDENTITY.fullmatch(found.copy):
        LOG.warning('%s: a record is ignored: it is not understood', path)
        return None
    if found is None and not any(
        record_module.holds(os.pread(fd, 64, slot))
        for slot in range(0, _HEAD, record_module.SLOT)
    ):
        raise errors.SpoolError(
            '%s is there, and is no spool: it is left alone' % path,
            hint='remove it, or name another file',
        )
    return found


def _keep_private(path: str, fd: int) -> None:
    """Have nobody else read what comes, whoever made the file."""
    if not os.fstat(fd).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return
    try:
        os.fchmod(fd, 0o600)
    except OSError as exc:
        # Not every file system has modes.
        LOG.info('%s: its mode stays as it is: %s', path, exc.strerror)


class Spool:
    """The file of one download; one thread at a time uses it.

    :param fd: open for reading and writing; the spool's from here on.
    :param record: what it says of itself; None: nothing that is of use.
    :ivar record: what it is of; None: nothing.
    :ivar length: bytes of the download that are there, from the first on.
    :ivar is_open: it can be used; else it was given up, or is closed.
    """

    def __init__(
        self, path: str, fd: int, record: record_module.Record | None
    ) -> None:
        self.path = path
        self.record = record
        self.length = 0
        self.is_open = True
        self._fd = fd
        self._block = memoryview(mmap.mmap(-1, _STRIDE))
        self._filled = 0
        if record is not None:
            self.length = self._find_end()

    @property
    def copy(self) -> str:
        """What tells it from every other spool; '': nothing is in it."""
        return '' if self.record is None else self.record.copy

    def begin(
        self, asked: str, url: str, origin: record_module.Origin
    ) -> None:
        """Begin anew.

        :param asked: digest of what tells the download from others.
        :param url: redacted.
        """
        now = time.time()
        self.reset()
        self.record = record_module.Record(
            copy=os.urandom(16).hex(),
            number=0,
            began=now,
            saved=now,
            boot='',
            asked=asked,
            url=url,
            container='',
            origin=origin,
            written=_NOWHERE,
        )
        # Both slots: damage to one is to leave the other.
        for _slot in range(record_module.SLOTS):
            self._tell(self.record)

    def told(self, origin: record_module.Origin) -> None:
        """Note what it is of, should that have changed."""
        record = self.record
        if record is not None and record.origin != origin:
            self._tell(dataclasses.replace(record, origin=origin))

    def _tell(self, record: record_module.Record) -> None:
        if not self.is_open:
            return
        record = dataclasses.replace(
            record, number=record.number + 1, saved=time.time()
        )
        self.record = record
        data = record_module.pack(record)
        if data is None:
            self.give_up('what it is of is too long to be recorded')
            return
        slot = record.number % record_module.SLOTS
        with self._writing():
            os.pwrite(self._fd, data, slot * record_module.SLOT)

    def reset(self) -> None:
        """Drop what is there."""
        self.record, self.length, self._filled = None, 0, 0
        with self._writing():
            if self.is_open:
                os.ftruncate(self._fd, 0)

    def check_room(self, length: int, others: int = 0) -> None:
        """Refuse a download of ``length`` bytes that there is no room for.

        :param others: bytes that something else is to take there.
        :raises errors.SpoolError: with how much is missing.
        """
        room = os.fstatvfs(self._fd)
        if not room.f_blocks:
            return
        blocks = room.f_bavail if os.geteuid() else room.f_bfree
        free = blocks * room.f_frsize + os.fstat(self._fd).st_blocks * 512
        wanted = _HEAD + -(-length // BLOCK) * _STRIDE + others
        if wanted > free:
            raise errors.SpoolError(
                'there is no room for the spool %s: %d bytes are wanted on its'
                ' file system, %d are free' % (self.path, wanted, free),
                hint='make room, name another file, or copy without a spool',
            )

    # What comes in.

    def go_on(self, offset: int) -> None:
        """Have what comes next be from ``offset`` on; the rest is dropped.

        :raises errors.CannotContinue: where what is there is damaged.
        """
        index, filled = divmod(offset, BLOCK)
        if filled:
            (block,) = self._blocks(index, index + 1)
            self._block[_PAGE : _PAGE + filled] = block[:filled]
        self.length, self._filled = offset, filled
        with self._writing():
            os.ftruncate(self._fd, _HEAD + (index + bool(filled)) * _STRIDE)

    def add(self, view: memoryview) -> None:
        """Take the next bytes of the download.

        Where they cannot be written, it is given up, as is said.
        """
        while view and self.is_open:
            at = _PAGE + self._filled
            piece = view[: BLOCK - self._filled]
            self._block[at : at + len(piece)] = piece
            # In this order: whatever ends it in between, no block is taken
            # for the one before it.
            self.length += len(piece)
            self._filled += len(piece)
            view = view[len(piece) :]
            if self._filled == BLOCK:
                self._write()
                self._filled = 0

    def flush(self) -> None:
        """Have all that was taken in the file."""
        if self._filled and self.is_open:
            self._write()

    def _write(self) -> None:
        index = (self.length - 1) // BLOCK
        stop = _PAGE + self._filled
        self._block[: _HEADER.size] = self._header(
            index, self._block[_PAGE:stop]
        )
        start = _HEAD + index * _STRIDE
        with self._writing():
            view = self._block[:stop]
            while view:
                count = os.pwrite(self._fd, view, start + stop - len(view))
                view = view[count:]
            if index % _WRITE_BACK == 0:
                # What is dirty is written, what is on the medium dropped.
                os.posix_fadvise(self._fd, 0, start, os.POSIX_FADV_DONTNEED)

    def _header(self, index: int, content: memoryview) -> bytes:
        fields = (
            *(_MAGIC, bytes.fromhex(self.copy), index),
            *(len(content), zlib_ng.crc32(content)),
        )
        crc = zlib_ng.crc32(_HEADER.pack(*fields, 0))
        return _HEADER.pack(*fields, crc)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self.give_up(exc.strerror or str(exc))

    def give_up(self, why: str) -> None:
        """Remove it: it is of no use for another run; say so."""
        LOG.warning(
            '%s: the spool is given up: %s; what was fetched is not kept',
            self.path,
            why,
        )
        self.remove()

    # What is there.

    def read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Iterate over [start, stop), each view valid until the next.

        From the medium, past the page cache.

        :raises errors.CannotContinue: at a block that is damaged; that and
            all behind it is dropped. Or if it was given up.
        """
        self.flush()
        if not self.is_open:
            raise errors.CannotContinue(
                'the spool %s was given up' % self.path
            )
        at = start - start % BLOCK
        for block in self._blocks(start // BLOCK, -(-stop // BLOCK)):
            yield block[max(0, start - at) : stop - at]
            at += BLOCK

    def _blocks(self, first: int, last: int) -> Iterator[memoryview]:
        buffer = memoryview(mmap.mmap(-1, _STRIDE))
        with self._reader() as read:
            for index in range(first, last):
                content = read(index, buffer)
                wanted = min(BLOCK, self.length - index * BLOCK)
                if content is None or len(content) < wanted:
                    self.length = index * BLOCK
                    with self._writing():
                        os.ftruncate(self._fd, _HEAD + index * _STRIDE)
                    raise errors.CannotContinue(
                        'the spool %s is damaged' % self.path,
                        offset=index * BLOCK,
                    )
                yield content

    def _find_end(self) -> int:
        """Return where the last block that is whole ends."""
        size = os.fstat(self._fd).st_size - _HEAD
        buffer = memoryview(mmap.mmap(-1, _STRIDE))
        with self._reader() as read:
            for index in range(-(-size // _STRIDE) - 1, -1, -1):
                content = read(index, buffer)
                if content:
                    return index * BLOCK + len(content)
        return 0

    @contextlib.contextmanager
    def _reader(
        self,
    ) -> Iterator[Callable[[int, memoryview], memoryview | None]]:
        """Give what reads a block; that returns None for one that is none."""
        fd = medium.reopen(self._fd)

        def read(index: int, buffer: memoryview) -> memoryview | None:
            try:
                count = os.preadv(fd, [buffer], _HEAD + index * _STRIDE)
            except OSError as exc:
                LOG.warning('%s cannot be read: %s', self.path, exc.strerror)
                return None
            if count <= _PAGE:
                return None
            length = _HEADER.unpack_from(buffer)[3]
            content = buffer[_PAGE:count][: min(length, BLOCK)]
            same = self._header(index, content) == buffer[: _HEADER.size]
            return content if same else None

        try:
            yield read
        finally:
            os.close(fd)

    # Its end.

    def close(self) -> None:
        """Leave it for another run."""
        if self.is_open:
            self.flush()
        self._close()

    def remove(self) -> None:
        """Remove it: nobody needs it any more."""
        if self.is_open:
            with contextlib.suppress(OSError):
                if os.path.samestat(os.stat(self.path), os.fstat(self._fd)):
                    os.unlink(self.path)
        self.length = 0
        self._close()

    def _close(self) -> None:
        self.is_open = False
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)
