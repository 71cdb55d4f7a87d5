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

"""The two kinds of storage: a regular file and a block device."""

from __future__ import annotations

import errno
import logging
import os

from fuel_agent_curl import errors
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import oserrors
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import storage

LOG = logging.getLogger(__name__)


class File(storage.Storage):
    """A regular file: as long as the image, with holes for its zeros.

    :param created: remove it on failure; else it existed, and is emptied.
    """

    kind = 'file'

    def __init__(
        self,
        path: str,
        fd: int,
        options: storage.Options,
        *,
        created: bool,
    ) -> None:
        super().__init__(path, fd, options)
        self._created = created
        # ``path`` may be a symbolic link, and the directory may be left.
        self._real = os.path.realpath(path)
        # So far, there may be something else than a hole.
        self._old = os.fstat(fd).st_size if options.keep else 0

    def _blank(self) -> None:
        length = os.fstat(self._fd).st_size
        if self._options.keep:
            self._pwrite_zeros(0, min(length, storage.FIRST))
            self._fdatasync()
        elif length:
            # Everything has to go, or the holes would show it.
            os.ftruncate(self._fd, 0)
            os.fsync(self._fd)

    def check_length(self, length: int) -> None:
        """Do nothing: how much fits, holes and all, nobody knows before."""

    def _write_zeros(self, start: int, stop: int) -> None:
        # The rest is a hole.
        self._pwrite_zeros(start, min(stop, self._old))

    def _check_room(self, stop: int) -> None:
        """Do nothing: the file system says when it is full."""

    def _settle(self) -> None:
        # It ends in a hole if the image ends in zeros.
        os.ftruncate(self._fd, self.written)

    def _end(self) -> None:
        if not self._is_there():
            raise oserrors.refusal(
                errors.TargetVanished,
                '%s was removed or replaced while it was being written'
                % self.path,
            )
        if self._created:
            self._sync_name()

    def _sync_name(self) -> None:
        """Have the file found after a crash, too (see fsync(2))."""
        try:
            directory = os.open(
                os.path.dirname(self._real), os.O_RDONLY | os.O_DIRECTORY
            )
        except PermissionError:
            # One may write to a directory that one may not read.
            return
        try:
            os.fsync(directory)
        except OSError as exc:
            # What file systems without such a thing answer.
            if exc.errno != errno.EINVAL:
                raise
        finally:
            os.close(directory)

    def _is_there(self) -> bool:
        """Return whether the name still is that of our file."""
        try:
            there = os.stat(self._real)
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def _take_back(self) -> None:
        if self.life is not sink.Life.UNTOUCHED:
            # The space it takes is given back, too.
            self._clear()
        if self._created:
            self._remove()

    def _clear(self) -> None:
        super()._clear()
        if not self._options.keep and not os.fstat(self._fd).st_size:
            self.state = 'blank'

    def _remove(self) -> None:
        try:
            # Before the lock is let go, and only if it is ours.
            if self._is_there():
                os.unlink(self._real)
            self.state = 'untouched'
        except OSError as exc:
            LOG.warning('%s could not be removed: %s', self.path, exc)


class Device(storage.Storage):
    """A block device."""

    kind = 'device'

    def __init__(self, path: str, fd: int, options: storage.Options) -> None:
        super().__init__(path, fd, options)
        self._size = blockdev.size(fd)
        self._alignment = max(self._alignment, blockdev.sector_size(fd))
        self._zero_out = True

    def check_length(self, length: int) -> None:
        if length > self._size:
            raise oserrors.refusal(
                errors.TargetTooSmall,
                'the image of %d bytes does not fit on %s of %d bytes'
                % (length, self.path, self._size),
            )

    def _settle(self) -> None:
        """Do nothing: a device has a length of its own."""

    def _check_room(self, stop: int) -> None:
        if stop > self._size:
            raise errors.ImageTooLong(
                'the image goes on past the end of %s' % self.path,
                offset=self._size,
            )

    def _blank(self) -> None:
        self._pwrite_zeros(0, min(storage.FIRST, self._size))
        self._fdatasync()

    def _held(self) -> memoryview:
        if self._options.keep:
            # Behind a short image, too, there is what there was.
            return self._first[: min(self._size, storage.FIRST)]
        return super()._held()

    def _write_zeros(self, start: int, stop: int) -> None:
        # Blocks of an image may be shorter than the sectors here.
        first = start + -start % self._alignment
        last = stop - stop % self._alignment
        if self._zero_out and first < last:
            try:
                blockdev.zero_out(self._fd, first, last - first)
                self._pwrite_zeros(start, first)
                start = last
            except OSError as exc:
                # Where it has failed it does not say: a write that does not
                # get there either will.
                self._zero_out = False
                LOG.info(
                    '%s takes no BLKZEROOUT (%s); writing zeros',
                    self.path,
                    exc.strerror,
                )
        self._pwrite_zeros(start, stop)

    def _end(self) -> None:
        blockdev.reread_partitions(self._fd)

    def _failure(self, exc: OSError, doing: str) -> errors.DeviceError:
        if not blockdev.is_present(self._fd, self._size):
            return oserrors.refusal(
                errors.TargetVanished,
                '%s went away while it was being written (%s)'
                % (self.path, exc.strerror),
                offset=self._at,
                os_errno=exc.errno,
            )
        if exc.errno == errno.EPERM and blockdev.is_read_only(self._fd):
            # Write-protected after it was opened.
            exc = OSError(errno.EROFS, os.strerror(errno.EROFS))
        return super()._failure(exc, doing)
