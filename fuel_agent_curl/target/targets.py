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

"""The kinds of storage: regular files, and block devices.

A file is replaced by one that was written beside it, or written in place, or
patched: written where its block map says so.
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import sys

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.target import beside
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import filesystem
from fuel_agent_curl.target import identity
from fuel_agent_curl.target import oserrors
from fuel_agent_curl.target import partitions
from fuel_agent_curl.target import signatures
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import storage
from fuel_agent_curl.target import writing

LOG = logging.getLogger(__name__)

# As many of the first ones are looked at.
_PARTITIONS = 8


class File(storage.Storage):
    """A regular file: as long as the image, with holes for its zeros.

    What it has is taken away before anything is written.

    :param name: where it is; ``path`` may be a symbolic link, and relative
        to a directory that is left.
    :param created: it was not there before, and is removed on failure.
    """

    kind = 'file'

    def __init__(
        self,
        path: str,
        fd: int,
        options: writing.Options,
        *,
        name: str,
        created: bool = False,
    ) -> None:
        super().__init__(path, fd, options, identity.Identity(None))
        self._name = name
        self._created = created

    def _blank(self, stop: int) -> None:
        if self._has_record:
            self._blank_first(storage.FIRST)
            self._fdatasync()
        elif os.fstat(self._fd).st_size:
            # Everything has to go, or the holes would show it.
            os.ftruncate(self._fd, 0)
            os.fsync(self._fd)

    def check_length(self, length: int) -> None:
        filesystem.check_length(self.path, self._fd, length)

    def check_space(self, count: int) -> None:
        filesystem.check_space(self.path, self._fd, count, old=True)

    def describe(self) -> sink.Description:
        way, size = 'made', None
        if not self._created:
            way, size = 'overwritten', os.fstat(self._fd).st_size
        free = filesystem.free(self._fd, old=True)
        return sink.Description(self.kind, way, size, free)

    def _write_zeros(self, start: int, stop: int) -> None:
        """Do nothing: a hole is left."""

    def _drop_rest(self, stop: int) -> None:
        # It would show where a hole is left.
        if os.fstat(self._fd).st_size > stop:
            os.ftruncate(self._fd, stop)

    def _check_room(self, stop: int) -> None:
        """Do nothing: the file system says when it is full."""

    def _order(self) -> identity.Order:
        # It is there by its name: a kill must not leave a half of that.
        self._held.look_at(self.written)
        return super()._order()

    def _settle(self) -> None:
        # It ends in a hole if the image ends in zeros.
        os.ftruncate(self._fd, self.written)

    def _end(self) -> None:
        if not beside.is_at(self._name, self._fd):
            raise _gone(
                '%s was removed or replaced while it was being written'
                % self._name
            )
        if self._created:
            self._sync_name()

    def _sync_name(self) -> None:
        """Have the file found after a crash, too (see fsync(2))."""
        try:
            directory = os.open(
                os.path.dirname(self._name), os.O_RDONLY | os.O_DIRECTORY
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

    def _look(
        self, *, offset: int = 0, forced: bool = True
    ) -> list[signatures.Signature]:
        # There is nothing but what the image has brought.
        return []

    def _take_back(self) -> None:
        super()._take_back()
        if self.continues_at is not None:
            return
        if self.life is not sink.Life.UNTOUCHED:
            self._empty()
        if self._created:
            self._remove()

    def _empty(self) -> None:
        """Give the space back that it takes."""
        try:
            self._blank(0)
        except OSError as exc:
            LOG.warning('%s could not be emptied: %s', self.path, exc)
        else:
            self.state = 'blank'

    def _remove(self) -> None:
        try:
            # Before the lock is let go, and only if it is ours.
            if beside.is_at(self._name, self._fd):
                os.unlink(self._name)
            self.state = 'untouched'
        except OSError as exc:
            LOG.warning('%s could not be removed: %s', self._name, exc)


class NewFile(File):
    """A regular file that is to take the place of another, or of none.

    Until then, what is there is untouched.

    :param name: where it is now, beside ``real``.
    :param real: the name that it gets.
    :param old: what is there now, open and locked; None: nothing is. It is
        the sink's from here on.
    """

    def __init__(
        self,
        path: str,
        name: str,
        fd: int,
        options: writing.Options,
        real: str,
        old: int | None,
    ) -> None:
        self._real = real
        self._old = old
        self._state = 'untouched'
        super().__init__(path, fd, options, name=name, created=True)

    def _order(self) -> identity.Order:
        # Nobody sees it yet.
        return storage.Storage._order(self)

    @property
    def state(self) -> str:
        """What is like at the target: of this file, once it is there."""
        return self._state if self._name == self._real else 'untouched'

    @state.setter
    def state(self, state: str) -> None:
        self._state = state

    def check_space(self, count: int) -> None:
        try:
            # Of what an earlier run has left, much is there.
            old = self._options.resumed
            filesystem.check_space(self.path, self._fd, count, old=old)
        except errors.TargetFull as error:
            room = filesystem.free(self._fd, old=False)
            if self._old is not None and room is not None:
                # What that has now is free then.
                room += filesystem.taken(self._old)
            if self._old is not None and (room is None or count <= room):
                error.hint = 'make room, or have it written in place'
            raise

    def _old_fd(self) -> int | None:
        return self._old

    def is_as_long(self, length: int) -> bool:
        return self.old_length == length

    def stay(self, buffer: octets.Buffer) -> None:
        # It is there in the old file, not in this one.
        self.write(buffer)

    def accept(self, length: int) -> None:
        old = self._old
        assert old is not None
        with self._mapped('syncing'):
            os.fsync(old)
        if not beside.is_at(self._real, old):
            raise _gone(
                '%s was removed or replaced while it was being compared'
                % self.path
            )
        self.written = length
        self.abort()
        self._name, self._state = self._real, 'complete'

    def describe(self) -> sink.Description:
        way, size = 'made', None
        if self._old is not None:
            way, size = 'replaced', os.fstat(self._old).st_size
        free = filesystem.free(self._fd, old=False)
        return sink.Description(self.kind, way, size, free)

    def _end(self) -> None:
        if not self._is_as_before():
            raise _gone(
                '%s was made or replaced while its image was being written'
                % self.path
            )
        if not beside.is_at(self._name, self._fd):
            raise _gone(
                '%s was removed while it was being written' % self._name
            )
        if self._old is not None:
            beside.inherit(self._old, self._fd)
            os.fsync(self._fd)
        with self._mapped('renaming to'):
            os.rename(self._name, self._real)
        self._name = self._real
        self._sync_name()

    def _is_as_before(self) -> bool:
        """Return whether nobody has put something else there."""
        try:
            there = os.lstat(self._real)
        except FileNotFoundError:
            return True
        return self._old is not None and os.path.samestat(
            there, os.fstat(self._old)
        )

    def _remove(self) -> None:
        super()._remove()
        if self._old is not None and self.state == 'untouched':
            self.state = 'blank'

    def _close(self) -> None:
        try:
            super()._close()
        finally:
            old, self._old = self._old, None
            if old is not None:
                os.close(old)


def _gone(message: str) -> errors.DeviceError:
    """Return the error of a file whose name is another's by now."""
    error = oserrors.refusal(errors.TargetVanished, message)
    error.hint = 'find out what else writes there, then run it again'
    return error


class PatchedFile(File):
    """A regular file of which parts stay: what is behind the image, too."""

    def __init__(
        self, path: str, fd: int, options: writing.Options, *, name: str
    ) -> None:
        super().__init__(path, fd, options, name=name)
        # So far, there may be something else than a hole.
        self._old = os.fstat(fd).st_size

    def check_space(self, count: int) -> None:
        """Do nothing: how much of it has room already is not known."""

    def describe(self) -> sink.Description:
        free = filesystem.free(self._fd, old=False)
        return sink.Description(self.kind, 'patched', self._old, free)

    def _blank(self, stop: int) -> None:
        self._blank_first(min(self._old, stop))
        self._fdatasync()

    def _look(
        self, *, offset: int = 0, forced: bool = True
    ) -> list[signatures.Signature]:
        return storage.Storage._look(self, offset=offset, forced=forced)

    def _write_zeros(self, start: int, stop: int) -> None:
        self._pwrite_zeros(start, min(stop, self._old))

    def _drop_rest(self, stop: int) -> None:
        """Do nothing: what is behind the image stays."""

    def _settle(self) -> None:
        os.ftruncate(self._fd, max(self.written, self._old))

    def _empty(self) -> None:
        """Do nothing: what was not written to stays."""


class ReusedFile(PatchedFile):
    """A regular file of which parts stay, and which gets another length."""

    def is_as_long(self, length: int) -> bool:
        return self.old_length == length

    def describe(self) -> sink.Description:
        return dataclasses.replace(super().describe(), way='overwritten')

    def _settle(self) -> None:
        os.ftruncate(self._fd, self.written)


class Device(storage.Storage):
    """A block device; what is behind a short image stays."""

    kind = 'device'

    def __init__(self, path: str, fd: int, options: writing.Options) -> None:
        self._size = blockdev.size(fd)
        self._sector = blockdev.sector_size(fd)
        held = identity.Identity(
            self._size, self._sector, whole=not options.mapped
        )
        super().__init__(path, fd, options, held)
        self._alignment = max(self._alignment, self._sector)
        self._zero_out = True

    def check_length(self, length: int) -> None:
        if length > self._size:
            raise oserrors.refusal(
                errors.TargetTooSmall,
                'the image of %d bytes does not fit on %s of %d bytes'
                % (length, self.path, self._size),
            )

    def check_space(self, count: int) -> None:
        """Do nothing: its length is its room."""

    def describe(self) -> sink.Description:
        return sink.Description(self.kind, 'written', self._size)

    def _settle(self) -> None:
        """Do nothing: a device has a length of its own."""

    def _check_room(self, stop: int) -> None:
        if stop > self._size:
            raise errors.ImageTooLong(
                'the image goes on past the end of %s' % self.path,
                offset=self._size,
            )

    def _blank(self, stop: int) -> None:
        self._blank_first(min(stop, self._size))
        self._fdatasync()

    def _blanked(self) -> None:
        left = partitions.forget(self._fd)
        if left:
            LOG.warning(
                '%s: the kernel keeps %s, which could not be deleted: what is'
                ' in there can still be mounted',
                self.path,
                ', '.join(left),
            )

    def _take_back(self) -> None:
        if blockdev.is_present(self._fd, self._size):
            super()._take_back()

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

    def _fit(self, *, whole: bool = False) -> None:
        if self._options.any_sector_size or partitions.is_partition(self._fd):
            return
        table = self._held.table()
        if table is None:
            return
        size = table.sector_size
        if size is None and whole:
            size = self._guess(table)
        if size not in (None, self._sector):
            raise errors.NotForThisSectorSize(
                "the image's partition table is for sectors of %d bytes, but"
                ' those of %s have %d' % (size, self.path, self._sector),
                hint='take an image that is made for these',
            )
        if not table.fits and self.life is sink.Life.UNTOUCHED:
            LOG.warning(
                "the image's partition table is that of a larger disk than"
                ' %s: the kernel will not take it',
                self.path,
            )

    def _guess(self, table: identity.Table) -> int | None:
        """Return which sectors the partitions of the image begin at.

        An MBR does not say which it counts. If nothing begins where it has
        its partitions in sectors of this disk, but something does in others,
        it is made for those.
        """
        own = self._sector
        for size in sorted(table.starts, key=lambda size: size != own):
            for start in table.starts[size][:_PARTITIONS]:
                if start < self.written and self._begins(start):
                    return size
        return None

    def _begins(self, start: int) -> bool:
        """Return whether something that libblkid knows is there."""
        if start < storage.FIRST:
            return bool(self._held.find_at(start))
        return bool(self._look(offset=start, forced=False))

    def _look_behind(self) -> None:
        behind = self._behind()
        if not behind:
            return
        blanked = {each.name for each in behind}
        if partitions.is_partition(self._fd):
            blanked.clear()
        elif not self._options.wipe_leftovers:
            # As long as they are there blkid, and with it whatever boots from
            # the disk, does not see the image. A short one is no disk's.
            blanked = {each.name for each in self._behind(forced=False)}
            if self._reach < storage.FIRST:
                blanked.clear()
        gone = [each for each in behind if each.name in blanked]
        if gone:
            self._wipe(self.written, sys.maxsize, blanked)
            LOG.warning(
                '%s: blanked what was left behind the image: %s',
                self.path,
                signatures.names(gone),
            )
        left = [each for each in behind if each.name not in blanked]
        if left:
            LOG.warning(
                '%s: still there behind the image: %s; wipe_leftovers has'
                ' that blanked, if it is a whole disk',
                self.path,
                signatures.names(left),
            )

    def _behind(self, *, forced: bool = True) -> list[signatures.Signature]:
        return [
            each
            for each in self._look(forced=forced)
            if each.offset >= self.written
        ]

    def _end(self) -> None:
        partitions.reread(self._fd)

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
