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

"""What a target is taken for, and what its failures mean; no device here."""

from __future__ import annotations

import builtins
import errno
import fcntl
import os
import stat
import tempfile
from typing import Any
from typing import BinaryIO

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl.target import beside
from fuel_agent_curl.target import filesystem
from fuel_agent_curl.target import holders
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import oserrors
from fuel_agent_curl.target import writing
from tests import base

# A user who is not root.
_NOBODY = 65534


class FaultsTest(base.TestCase):
    def _class(self, code: int, at_open: bool) -> type[errors.DeviceError]:
        error = oserrors.failure(
            '/x', OSError(code, 'text'), doing='testing', at_open=at_open
        )
        self.assertEqual(code, error.os_errno)
        self.assertIn('testing /x: text', str(error))
        return type(error)

    def test_each_errno(self) -> None:
        for at_open, at_write, *codes in (
            (errors.TargetFull, errors.TargetFull, errno.ENOSPC, errno.EDQUOT),
            (errors.WriteError, errors.WriteError, errno.EIO),
            (
                errors.TargetMissing,
                errors.TargetVanished,
                errno.ENXIO,
                errno.ENODEV,
                errno.ENOMEDIUM,
            ),
            (
                errors.TargetMissing,
                errors.WriteError,
                errno.ENOENT,
                errno.ENOTDIR,
                errno.ELOOP,
                errno.ENAMETOOLONG,
            ),
            (
                errors.TargetPermission,
                errors.TargetPermission,
                errno.EACCES,
                errno.EPERM,
            ),
            (errors.TargetReadOnly, errors.TargetReadOnly, errno.EROFS),
            (errors.TargetBusy, errors.TargetBusy, errno.EBUSY, errno.ETXTBSY),
            (errors.TargetTooSmall, errors.TargetTooSmall, errno.EFBIG),
            (errors.TargetIsDirectory, errors.TargetIsDirectory, errno.EISDIR),
            (
                errors.DeviceError,
                errors.WriteError,
                errno.EPIPE,
                errno.EREMOTEIO,
            ),
        ):
            for code in codes:
                name = errno.errorcode[code]
                self.assertIs(at_open, self._class(code, True), name)
                self.assertIs(at_write, self._class(code, False), name)


class OpenTest(base.TestCase):
    """What is refused, and that nothing was touched then."""

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.directory, 'target')

    def _refused(self, cls: type[errors.Error], path: str) -> errors.Error:
        error = self.assertRaises(errors.Error, opening.open_target, path)
        assert isinstance(error, errors.Error)
        self.assertIs(cls, type(error), str(error))
        self.assertIn(path, str(error))
        return error

    def test_directory(self) -> None:
        self._refused(errors.TargetIsDirectory, self.directory)
        self._refused(errors.TargetIsDirectory, self.directory + '/')

    def test_no_such_directory(self) -> None:
        self._refused(errors.TargetMissing, self.directory + '/no/target')
        self._refused(errors.TargetMissing, self.directory + '/no/')
        self.assertEqual([], os.listdir(self.directory))

    def test_file_in_place_of_the_directory(self) -> None:
        self._touch()
        self._refused(errors.TargetMissing, self.path + '/target')
        self._refused(errors.TargetMissing, self.path + '/')

    def test_descriptors_that_have_run_out_are_not_the_targets(self) -> None:
        self._touch()

        def fail(*_args: object, **_more: object) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(os, 'open', fail)
        error = self.assertRaises(
            errors.ResourceError, opening.open_target, self.path
        )
        self.assertEqual(errno.EMFILE, error.os_errno)

    def test_empty_path(self) -> None:
        self._refused(errors.TargetMissing, '')

    def test_nothing_under_dev(self) -> None:
        for path in ('/dev/no-such-disk', '/dev/disk/by-id/no-such-disk'):
            self._refused(errors.TargetMissing, path)
            self.assertFalse(os.path.exists(path))

    def test_link_to_nothing_under_dev(self) -> None:
        os.symlink('/dev/no-such-disk', self.path)
        self._refused(errors.TargetMissing, self.path)
        self.assertFalse(os.path.exists('/dev/no-such-disk'))
        os.symlink('/dev', self.path + '-dev')
        self._refused(errors.TargetMissing, self.path + '-dev/no-such-disk')

    def test_file_under_dev(self) -> None:
        """Left by somebody who took it for a disk."""
        self.patch(os.path, 'realpath', lambda path: '/dev/sdx')
        self._touch()
        self._refused(errors.TargetMissing, self.path)
        with open(self.path, 'rb') as target:
            self.assertEqual(b'old', target.read())

    def test_file_under_a_dev_that_is_mounted_elsewhere(self) -> None:
        self.patch(filesystem, 'kind_of', lambda _device: 'devtmpfs')
        self._refused(errors.TargetMissing, self.path)
        self.assertEqual([], os.listdir(self.directory))
        self._touch()
        self._refused(errors.TargetMissing, self.path)
        with open(self.path, 'rb') as target:
            self.assertEqual(b'old', target.read())

    def test_link_that_leads_where_its_text_does_not(self) -> None:
        """As that to the root of a process with mounts of its own."""
        seen = self.useFixture(fixtures.TempDir()).path
        text = os.path.join(seen, 'target')
        self.patch(os.path, 'realpath', lambda path: text)
        for _there in (False, True):
            self._refused(errors.TargetUnsuitable, self.path)
            self.assertEqual([], os.listdir(seen))
            self._touch()
        with open(self.path, 'rb') as target:
            self.assertEqual(b'old', target.read())
        self.assertEqual(['target'], os.listdir(self.directory))

    def test_link_whose_text_is_of_a_directory_not_seen_here(self) -> None:
        for seen in '/no-such-directory', '/proc/self/status', self._loop():
            text = os.path.join(seen, 'target')
            self.patch(os.path, 'realpath', lambda path, text=text: text)
            for _there in (False, True):
                self._refused(errors.TargetUnsuitable, self.path)
                self._touch()
            with open(self.path, 'rb') as target:
                self.assertEqual(b'old', target.read())
            os.unlink(self.path)

    def _loop(self) -> str:
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, 'loop')
        os.symlink(path, path)
        return path

    def test_what_is_left_in_a_file_that_may_not_be_read(self) -> None:
        """It is written from its first byte on, as one may do."""
        self._touch()
        os.chmod(self.path, 0o200)
        if not os.geteuid():
            for path in self.directory, self.path:
                os.chown(path, _NOBODY, _NOBODY)
            os.seteuid(_NOBODY)
            self.addCleanup(os.seteuid, 0)
        for in_place in (False, True):
            self.assertRaises(
                errors.CannotContinue,
                opening.open_target,
                self.path,
                writing.Options(resumed=True, in_place=in_place),
            )
            opening.open_target(
                self.path, writing.Options(in_place=in_place)
            ).abort()

    def test_links_to_what_is_not_there_yet(self) -> None:
        os.mkdir(self.path)
        os.symlink('new', os.path.join(self.path, 'last'))
        os.symlink('target/last', os.path.join(self.directory, 'first'))
        opening.open_target(os.path.join(self.directory, 'first')).abort()

    def test_shared_memory_is_no_device(self) -> None:
        with tempfile.TemporaryDirectory(dir='/dev/shm') as directory:
            path = os.path.join(directory, 'target')
            opening.open_target(path).abort()

    def test_link_loop(self) -> None:
        os.symlink(self.path, self.path)
        self._refused(errors.TargetMissing, self.path)

    def test_name_too_long(self) -> None:
        self._refused(errors.TargetMissing, self.path + 'x' * 300)

    def test_socket(self) -> None:
        self.patch(os, 'stat', _stat_saying(stat.S_IFSOCK))
        error = self._refused(errors.TargetUnsuitable, self.path)
        self.assertIn('is a socket', str(error))

    def test_character_devices(self) -> None:
        """All but /dev/null and terminals, and without opening them."""
        self.patch(os, 'open', _unwanted)
        for path, numbers in (
            ('/dev/zero', '(1:5)'),
            ('/dev/full', '(1:7)'),
            ('/dev/random', '(1:8)'),
            ('/dev/ptmx', '(5:2)'),
        ):
            error = self._refused(errors.TargetUnsuitable, path)
            self.assertIn(numbers, str(error))
        for number in (
            *((10, 130), (9, 0), (13, 63), (21, 0), (90, 0)),
            *((128, 0), (0, 3), (1, 4), (254, 0)),
        ):
            self.patch(
                os, 'stat', _stat_saying(stat.S_IFCHR, os.makedev(*number))
            )
            self._refused(errors.TargetUnsuitable, self.path)

    def test_files_of_the_kernel(self) -> None:
        """A file by its mode; what is written there is an order."""
        self.patch(os, 'open', _unwanted)
        for path, kind in (
            ('/proc/self/comm', 'proc'),
            ('/proc/sys/kernel/hostname', 'proc'),
            ('/sys/kernel/mm/ksm/run', 'sysfs'),
            ('/proc/no-such-file', 'proc'),
        ):
            if os.path.exists(os.path.dirname(path)):
                error = self._refused(errors.TargetUnsuitable, path)
                self.assertIn('(%s)' % kind, str(error))

    def test_locked_by_fcntl(self) -> None:
        """As virtual machines do it; and that is another lock."""
        self._touch()
        for in_place in (False, True):
            with open(self.path, 'r+b') as other:
                for command, word in (
                    (fcntl.F_OFD_SETLK, 'by another process'),
                    (fcntl.F_SETLK, 'by process %d (' % os.getpid()),
                ):
                    self._lock_byte(other, command, fcntl.F_RDLCK)
                    error = self.assertRaises(
                        errors.TargetBusy,
                        opening.open_target,
                        self.path,
                        options=writing.Options(in_place=in_place),
                    )
                    self.assertIn('it is locked ' + word, str(error))
                    self._lock_byte(other, command, fcntl.F_UNLCK)
                opening.open_target(
                    self.path, options=writing.Options(in_place=in_place)
                ).abort()
            self._touch()

    def _lock_byte(self, file: BinaryIO, command: int, kind: int) -> None:
        lock = holders._FLOCK.pack(kind, os.SEEK_SET, 100, 1, 0)
        fcntl.fcntl(file, command, lock)

    def test_attribute_that_forbids_it(self) -> None:
        self._touch()
        for code, hint in ((errno.EPERM, 'see lsattr'), (errno.EACCES, None)):

            def refusing(*args: Any, code: int = code) -> int:
                raise OSError(code, os.strerror(code))

            self.patch(os, 'open', refusing)
            error = self._refused(errors.TargetPermission, self.path)
            self.assertIn(hint or '', str(error))
            self.assertEqual(hint is None, error.hint is None)

    def test_nothing_known_of_terminals(self) -> None:
        real = open

        def missing(path: Any, *args: Any, **options: Any) -> Any:
            if path == '/proc/tty/drivers':
                raise FileNotFoundError(errno.ENOENT, 'no such file')
            return real(path, *args, **options)

        self.patch(builtins, 'open', missing)
        opening.open_target('/dev/null').abort()
        self._refused(errors.TargetUnsuitable, '/dev/tty')

    def test_second_copy(self) -> None:
        self._touch()
        with open(self.path, 'rb') as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            self._refused(errors.TargetBusy, self.path)
            self.assertEqual(b'old', other.read())

    def test_second_copy_through_a_link(self) -> None:
        os.symlink(self.path, self.path + '-link')
        for in_place in (False, True):
            first = opening.open_target(
                self.path, options=writing.Options(in_place=in_place)
            )
            before = os.listdir(self.directory)
            for path in (self.path, self.path + '-link'):
                self._refused(errors.TargetBusy, path)
            self.assertEqual(before, os.listdir(self.directory))
            first.abort()
            self.assertEqual(['target-link'], os.listdir(self.directory))

    def test_file_locked_by_another_while_we_made_it(self) -> None:
        """It is theirs, then, and stays."""
        self.patch(fcntl, 'flock', _blocking)
        self.assertRaises(
            errors.TargetBusy,
            opening.open_target,
            self.path,
            options=writing.Options(in_place=True),
        )
        self.assertTrue(os.path.exists(self.path))

    def test_no_locks_there(self) -> None:
        """As on some network file systems."""

        def flock(fd: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        self.patch(fcntl, 'flock', flock)
        opening.open_target(self.path).abort()
        self.assertIn('cannot be locked', self.log.output)

    def test_file_removed_before_the_lock(self) -> None:
        """By the copy that failed, whose lock was in the way until then."""
        self._touch()
        flock = fcntl.flock
        seen: list[int] = []

        def racing(fd: int, operation: int) -> None:
            if not seen:
                os.unlink(self.path)
            seen.append(os.fstat(fd).st_ino)
            flock(fd, operation)

        self.patch(fcntl, 'flock', racing)
        for in_place in (False, True):
            seen.clear()
            self._touch()
            sink = opening.open_target(
                self.path, options=writing.Options(in_place=in_place)
            )
            sink.write(b'new')
            sink.finish()
            with open(self.path, 'rb') as target:
                self.assertEqual(b'new', target.read())
            self.assertEqual(2, len(seen))

    def test_pipe_put_there_in_the_same_moment(self) -> None:
        """It is not waited for until somebody reads that."""
        self._touch()
        real = os.open
        turns: list[str] = []

        def racing(path: Any, *args: Any, **options: Any) -> int:
            if path == self.path and not turns:
                turns.append(path)
                os.unlink(path)
                os.mkfifo(path)
                self.addCleanup(os.close, real(path, os.O_RDWR))
            return real(path, *args, **options)

        self.patch(os, 'open', racing)
        opened = opening.open_target(self.path)
        self.addCleanup(opened.abort)
        self.assertEqual('stream', opened.kind)

    def test_file_made_by_another_in_the_same_moment(self) -> None:
        turns: list[str] = []
        real = os.stat

        def racing(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
            if path == self.path and not turns:
                turns.append(path)
                self._touch()
                raise FileNotFoundError(errno.ENOENT, 'no such file')
            return real(path, *args, **kwargs)

        self.patch(os, 'stat', racing)
        for in_place in (False, True):
            turns.clear()
            sink = opening.open_target(
                self.path, options=writing.Options(in_place=in_place)
            )
            sink.abort()
            self.assertEqual(['target'], os.listdir(self.directory))
            os.unlink(self.path)

    def test_removed_and_made_all_the_time(self) -> None:
        self.patch(beside, 'is_at', lambda path, fd: False)
        self._refused(errors.TargetBusy, self.path)

    def test_verify_needs_something_to_read(self) -> None:
        error = self.assertRaises(
            errors.OptionError,
            opening.open_target,
            '/dev/null',
            options=writing.Options(verify=True),
        )
        self.assertIn('/dev/null cannot be read back', str(error))

    def test_kinds(self) -> None:
        for path, kind in ((self.path, 'file'), ('/dev/null', 'stream')):
            sink = opening.open_target(path)
            self.addCleanup(sink.abort)
            self.assertEqual(kind, sink.kind)
            self.assertEqual(path, sink.path)
            self.assertEqual(0, sink.written)

    def _touch(self) -> None:
        with open(self.path, 'wb') as target:
            target.write(b'old')


def _blocking(fd: int, operation: int) -> None:
    raise BlockingIOError(errno.EWOULDBLOCK, 'locked')


def _unwanted(path: Any, *args: Any, **options: Any) -> int:
    raise AssertionError('opened: %s' % path)


def _stat_saying(kind: int, number: int = 0) -> Any:
    def fake(path: Any, *args: Any, **kwargs: Any) -> os.stat_result:
        return os.stat_result((kind | 0o600, *([0] * 9)), {'st_rdev': number})

    return fake
