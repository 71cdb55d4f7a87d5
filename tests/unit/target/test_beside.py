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

"""How a regular file is replaced, and where it is written in place."""

from __future__ import annotations

import builtins
from collections.abc import Callable
import errno
import fcntl
import os
import resource
import shutil
import stat
import struct
import threading
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import beside
from fuel_agent_curl.target import holders
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import writing
from tests.support import copying

NEW = copying.IMAGE[:5000]


class BesideTestCase(copying.FileTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.beside = self.path + beside.SUFFIX

    def copy(self) -> None:
        pipeline.copy(copying.whole(NEW), self.path)
        self.assert_image(NEW)

    def put(self, path: str, text: bytes = b'left') -> None:
        with open(path, 'wb') as file:
            file.write(text)

    def failing(self, name: str, code: int, *parts: str) -> None:
        """Have a call of ``os`` fail for paths that end so."""
        real = getattr(os, name)

        def call(path: Any, *args: Any, **options: Any) -> Any:
            if str(path).endswith(parts):
                raise OSError(code, os.strerror(code))
            return real(path, *args, **options)

        self.patch(os, name, call)


class ReplaceTest(BesideTestCase):
    def test_nothing_is_at_the_path_before_the_end(self) -> None:
        target = opening.open_target(self.path)
        target.write(NEW)
        self.assertEqual(
            [os.path.basename(self.beside)], os.listdir(self.directory)
        )
        target.finish()
        self.assertEqual(['target'], os.listdir(self.directory))

    def test_new_file_has_the_mode_that_is_usual(self) -> None:
        before = os.umask(0o027)
        self.addCleanup(os.umask, before)
        self.copy()
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_mode_and_attributes_are_kept(self) -> None:
        for mode in (0o600, 0o664, 0o4755):
            self.old()
            os.chmod(self.path, mode)
            os.setxattr(self.path, 'user.note', b'keep me')
            self.copy()
            self.assertEqual(mode, stat.S_IMODE(os.stat(self.path).st_mode))
            self.assertEqual(b'keep me', os.getxattr(self.path, 'user.note'))

    def test_nobody_gets_in_by_the_list_of_the_directory(self) -> None:
        """What it gives to new files is not for one that was there."""
        self.old()
        os.chmod(self.path, 0o640)
        # acl(5): for the owner, user 4321, the group, all but the owner, and
        # the others.
        entries = (
            (1, 6, -1),
            (2, 6, 4321),
            (4, 5, -1),
            (16, 6, -1),
            (32, 4, -1),
        )
        packed = b''.join(struct.pack('<HHi', *entry) for entry in entries)
        os.setxattr(
            self.directory,
            'system.posix_acl_default',
            struct.pack('<I', 2) + packed,
        )
        self.copy()
        self.assertEqual([], os.listxattr(self.path))
        self.assertEqual(0o640, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_nobody_reads_it_before(self) -> None:
        """The old one may have been readable to few."""
        self.old()
        os.chmod(self.path, 0o644)
        target = opening.open_target(self.path)
        self.addCleanup(target.abort)
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.beside).st_mode))

    def test_owner_that_cannot_be_kept(self) -> None:
        """Then neither is what was allowed to run as that one."""
        asked: list[tuple[int, int]] = []

        def fchown(fd: int, user: int, group: int) -> None:
            asked.append((user, group))
            raise PermissionError(errno.EPERM, 'Operation not permitted')

        self.patch(os, 'fchown', fchown)
        self.old()
        os.chmod(self.path, 0o6755)
        self.copy()
        self.assertEqual(0o755, stat.S_IMODE(os.stat(self.path).st_mode))
        status = os.stat(self.path)
        self.assertEqual(
            [(status.st_uid, status.st_gid), (-1, status.st_gid)], asked
        )

    def test_file_that_may_not_be_written_to(self) -> None:
        """That its directory may be is not enough."""
        self.old()
        self.failing('open', errno.EACCES, 'target')
        error = self.assertRaises(
            errors.TargetPermission, opening.open_target, self.path
        )
        self.assertIn(self.path, str(error))
        self.assertEqual(['target'], os.listdir(self.directory))

    def test_file_that_may_not_be_read(self) -> None:
        """It has to be only where it is read."""
        self.old()
        opened = os.open

        def writing_only(path: str, flags: int, *mode: int) -> int:
            if path == self.path and flags & os.O_RDWR:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return opened(path, flags, *mode)

        self.patch(os, 'open', writing_only)
        for options, error in (
            ({}, None),
            ({'in_place': True}, None),
            ({'verify': True, 'in_place': True}, errors.TargetPermission),
            ({'reused': True}, errors.TargetPermission),
            ({'resumed': True}, errors.CannotContinue),
            ({'mapped': True}, errors.TargetPermission),
        ):
            chosen = writing.Options(**options)
            if error is not None:
                self.assertRaises(
                    error, opening.open_target, self.path, chosen
                )
            else:
                opening.open_target(self.path, chosen).abort()


class LeftTest(BesideTestCase):
    """What is in the way of the file beside."""

    def test_left_by_a_copy_that_was_killed(self) -> None:
        self.put(self.beside)
        self.put(self.beside + '-', b'')
        self.put(self.beside + '--', b'')
        target = opening.open_target(self.path)
        self.assertEqual(b'', self._content(self.beside))
        target.abort()
        self.assert_nothing()
        self.assertIn('was left by a copy that was killed', self.log.output)

    def test_written_by_a_copy_that_runs(self) -> None:
        with open(self.beside, 'wb') as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            error = self._refused()
        self.assertIn('written by another process', str(error))
        self.assertEqual(
            [os.path.basename(self.beside)], os.listdir(self.directory)
        )

    def test_theirs(self) -> None:
        """What we cannot have left is not removed."""
        other = self.path + '-other'
        self.put(other)
        for make in (os.symlink, os.link, _mkfifo):
            make(other, self.beside)
            error = self._refused()
            self.assertIn(self.beside + ' is in the way', str(error))
            self.assertTrue(os.path.lexists(self.beside))
            self.assertEqual(b'left', self._content(other))
            os.unlink(self.beside)
        os.mkdir(self.beside)
        self._refused()

    def test_theirs_that_has_the_name_of_the_first_try(self) -> None:
        other = self.path + '-other'
        self.put(other)
        for name in self.beside + '-', self.beside + '--':
            for make in (os.symlink, os.link, _mkfifo, _mkdir, _copy):
                make(other, name)
                before = os.lstat(name)
                error = self._refused()
                self.assertIn(name + ' is in the way', str(error))
                self.assertEqual(before, os.lstat(name))
                self.assertEqual(2, len(os.listdir(self.directory)))
                os.rmdir(name) if make is _mkdir else os.unlink(name)
        self.put(name, b'')
        self.patch(os, 'geteuid', lambda: os.stat(name).st_uid + 1)
        self._refused()
        self.assertEqual(b'', self._content(name))

    def test_of_another_user(self) -> None:
        self.put(self.beside)
        self.patch(os, 'geteuid', lambda: os.stat(self.beside).st_uid + 1)
        self._refused()

    def test_without_locks_nobody_knows(self) -> None:
        def flock(fd: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        self.patch(fcntl, 'flock', flock)
        self.copy()
        self.put(self.beside)
        self._refused()

    def _refused(self) -> errors.TargetBusy:
        error = self.assertRaises(
            errors.TargetBusy, opening.open_target, self.path
        )
        assert isinstance(error, errors.TargetBusy)
        return error

    def _content(self, path: str) -> bytes:
        with open(path, 'rb') as file:
            return file.read()


class InPlaceTest(BesideTestCase):
    """Where a file cannot be replaced it is written all the same."""

    def setUp(self) -> None:
        super().setUp()
        # What it is tried with.
        self._probe = self.beside + '-'

    def _assert_in_place(self, why: str, *, left: int = 1) -> None:
        for before in (b'old', NEW * 3):
            with open(self.path, 'r+b') as file:
                file.write(before)
            inode = os.stat(self.path).st_ino
            self.copy()
            self.assertEqual(inode, os.stat(self.path).st_ino)
            self.assertIn('is written in place: ' + why, self.log.output)
        self.assertEqual(left, len(os.listdir(self.directory)))

    def test_asked_for(self) -> None:
        self.old()
        inode = os.stat(self.path).st_ino
        pipeline.copy(
            copying.whole(NEW),
            self.path,
            options=writing.Options(in_place=True),
        )
        self.assert_image(NEW)
        self.assertEqual(inode, os.stat(self.path).st_ino)

    def test_new_file_that_is_asked_for(self) -> None:
        target = opening.open_target(
            self.path, options=writing.Options(in_place=True)
        )
        self.assertEqual(['target'], os.listdir(self.directory))
        target.abort()
        self.assert_nothing()

    def test_several_names(self) -> None:
        self.old()
        os.link(self.path, self.path + '-link')
        self._assert_in_place('it has several names', left=2)

    def test_mount_point(self) -> None:
        """A file of the host, seen in a container."""
        self.old()
        self.patch(holders.Census, 'is_mount_point', lambda self, path: True)
        self._assert_in_place('it is mounted there')

    def test_sticky_directory(self) -> None:
        self.old()
        os.chmod(self.directory, 0o1777)
        self.patch(os, 'geteuid', lambda: os.stat(self.path).st_uid + 1)
        self._assert_in_place('in its directory, only its owner')

    def test_nothing_can_be_made_in_the_directory(self) -> None:
        self.old()
        for code in (errno.EACCES, errno.EPERM, errno.EROFS):
            self.failing('open', code, self._probe)
            self._assert_in_place('no file can be made')

    def test_name_too_long(self) -> None:
        self.path = os.path.join(self.directory, 'x' * 250)
        self.old()
        self._assert_in_place('no file can be made')
        os.unlink(self.path)
        self.copy()

    def test_nothing_can_be_renamed(self) -> None:
        self.old()
        for code in (errno.EROFS, errno.ENOSYS, errno.EPERM):
            self.failing('rename', code, self._probe)
            self._assert_in_place('no file can be made, or renamed')
        os.unlink(self.path)
        self.copy()

    def test_what_fails_when_it_is_closed_leaves_none(self) -> None:
        close = os.close

        def failing(fd: int) -> None:
            close(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        self.patch(os, 'close', failing)
        error = self.assertRaises(
            errors.WriteError, opening.open_target, self.path
        )
        self.patch(os, 'close', close)
        self.assertEqual(errno.EIO, error.os_errno)
        self.assertEqual([], os.listdir(self.directory))

    def test_what_runs_out_when_it_is_made_leaves_none(self) -> None:
        def memfd_create(name: str) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def descriptors() -> int:
            return len(os.listdir('/proc/self/fd'))

        self.patch(os, 'memfd_create', memfd_create)
        new = self.path + '-new'
        for path in (self.path, new):
            for in_place in (False, True):
                there = sorted(os.listdir(self.directory))
                before = descriptors()
                self.assertRaises(
                    errors.ResourceError,
                    opening.open_target,
                    path,
                    options=writing.Options(in_place=in_place),
                )
                self.assertEqual(before, descriptors())
                self.assertEqual(there, sorted(os.listdir(self.directory)))

    def test_directory_is_full(self) -> None:
        """That is no reason to lose what is there."""
        self.old()
        self.failing('open', errno.ENOSPC, self._probe)
        self.assertRaises(errors.TargetFull, opening.open_target, self.path)
        self.assertEqual(b'old' * MIB, self.content())


class ThreadsTest(BesideTestCase):
    def test_one_of_several_writes(self) -> None:
        """The others are told that it does, whenever they come."""
        real = os.rename
        both = threading.Barrier(2)

        def rename(*names: str) -> None:
            if not names[1].endswith('target'):
                # Each tries whether it could, in the same moment.
                both.wait(20)
            real(*names)

        self.patch(os, 'rename', rename)
        ended: list[object] = []

        def copy() -> None:
            try:
                ended.append(opening.open_target(self.path))
            except errors.Error as error:
                ended.append(error)

        threads = [threading.Thread(target=copy) for _number in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kinds = sorted(type(each).__name__ for each in ended)
        self.assertEqual(['NewFile', 'TargetBusy'], kinds)
        for each in ended:
            if isinstance(each, sink.Sink):
                each.abort()
        self.assert_nothing()


class RoomTest(BesideTestCase):
    def _free(self, blocks: int, *, of: int = 1000) -> None:
        def fstatvfs(fd: int) -> os.statvfs_result:
            return os.statvfs_result(
                (4096, 4096, of, blocks + 10, blocks, 9, 9, 9, 0, 255)
            )

        self.patch(os, 'fstatvfs', fstatvfs)

    def _refused(
        self, open_target: Callable[[], sink.Sink], count: int = 90000
    ) -> str:
        target = open_target()
        error = self.assertRaises(errors.TargetFull, target.check_space, count)
        self.assertEqual('untouched', target.state)
        target.abort()
        return str(error)

    def test_room(self) -> None:
        self.patch(os, 'geteuid', lambda: 1000)
        for blocks, fits in ((21, False), (22, True), (0, False)):
            self._free(blocks)
            target = opening.open_target(self.path)
            self.addCleanup(target.abort)
            if fits:
                target.check_space(90000)
            else:
                error = self.assertRaises(
                    errors.TargetFull, target.check_space, 90000
                )
                missing = 90000 - blocks * 4096
                self.assertIn('%d are missing' % missing, str(error))
            target.abort()

    def test_room_that_is_root_s(self) -> None:
        self.patch(os, 'geteuid', lambda: 0)
        self._free(12)
        target = opening.open_target(self.path)
        self.addCleanup(target.abort)
        target.check_space(90000)

    def test_file_system_that_does_not_say(self) -> None:
        self._free(0, of=0)
        target = opening.open_target(self.path)
        self.addCleanup(target.abort)
        target.check_space(1 << 50)

    def test_old_file_takes_room_until_the_end(self) -> None:
        self.old(b'x' * 90000)
        os.sync()
        self._free(0)
        self.patch(os, 'geteuid', lambda: os.stat(self.path).st_uid)
        text = self._refused(lambda: opening.open_target(self.path))
        self.assertIn('have it written in place', text)
        # Nor does what it takes do.
        text = self._refused(lambda: opening.open_target(self.path), 1 << 30)
        self.assertNotIn('in place', text)

    def test_its_room_is_used_again_in_place(self) -> None:
        self.old(b'x' * 90000)
        os.sync()
        self._free(0)
        target = opening.open_target(
            self.path, options=writing.Options(in_place=True)
        )
        self.addCleanup(target.abort)
        target.check_space(90000)
        error = self.assertRaises(
            errors.TargetFull, target.check_space, 900000
        )
        self.assertIsNone(error.hint)

    def test_known_before_anything_is_written(self) -> None:
        self._free(0)
        self.old()
        error = self.assertRaises(
            errors.TargetFull,
            pipeline.copy,
            copying.whole(NEW * 99),
            self.path,
        )
        self.assertEqual('untouched', error.target_state)
        self.assertEqual(['target'], os.listdir(self.directory))


class LongestTest(BesideTestCase):
    def test_limit_of_the_process(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        target = opening.open_target(self.path)
        self.addCleanup(target.abort)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        target.check_length(4096)
        error = self.assertRaises(
            errors.TargetTooSmall, target.check_length, 4097
        )
        self.assertIn('ulimit -f', str(error))

    def test_fat(self) -> None:
        real = open
        status = os.stat(self.directory)
        device = (os.major(status.st_dev), os.minor(status.st_dev))
        mounts = self.path + '-mounts'
        for kind, fits in (('vfat', False), ('ext4', True)):
            with real(mounts, 'w') as file:
                file.write('1 0 0:1 / / rw - tmpfs none rw\n')
                file.write('2 1 %d:%d / /m rw - ' % device)
                file.write('%s /dev/sda1 rw\n' % kind)

            def faked(path: Any, *args: Any, **options: Any) -> Any:
                if path == '/proc/self/mountinfo':
                    path = mounts
                return real(path, *args, **options)

            target = opening.open_target(self.path)
            self.addCleanup(target.abort)
            self.patch(builtins, 'open', faked)
            target.check_length((1 << 32) - 1)
            if fits:
                target.check_length(1 << 32)
            else:
                self.assertRaises(
                    errors.TargetTooSmall, target.check_length, 1 << 32
                )
            self.patch(builtins, 'open', real)
            target.abort()


def _mkfifo(source: str, target: str) -> None:
    os.mkfifo(target)


def _mkdir(source: str, target: str) -> None:
    os.mkdir(target)


def _copy(source: str, target: str) -> None:
    shutil.copyfile(source, target)
