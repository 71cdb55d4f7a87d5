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

"""Targets that are open already: they are written to as they were opened."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import errno
import fcntl
import os
import pty
import resource
import sys
import threading

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import holders
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import writing
from tests.support import copying

IMAGE = copying.IMAGE


class DescriptorTest(copying.FileTestCase):
    def _names(self, fd: int) -> Iterator[str]:
        """Yield what leads to the descriptor."""
        link = os.path.join(self.directory, 'link')
        for name in (
            '/dev/fd/%d' % fd,
            '/proc/self/fd/%d' % fd,
            '/proc/thread-self/fd/%d' % fd,
            '/proc/%d/fd/%d' % (os.getpid(), fd),
        ):
            yield name
            os.symlink(name, link)
            yield link
            os.unlink(link)

    @contextlib.contextmanager
    def _open(self, flags: int) -> Iterator[int]:
        fd = os.open(self.path, flags | os.O_CREAT, 0o600)
        try:
            yield fd
        finally:
            os.close(fd)

    def test_at_its_offset_which_is_shared(self) -> None:
        expected = b''
        with self._open(os.O_WRONLY) as fd:
            for name in self._names(fd):
                os.write(fd, b'before')
                pipeline.copy(copying.whole(IMAGE), name)
                os.write(fd, b'after')
                expected += b'before' + IMAGE + b'after'
        self.assert_image(expected)

    def test_appended_to(self) -> None:
        self.old(b'old')
        with self._open(os.O_WRONLY | os.O_APPEND) as fd:
            pipeline.copy(copying.whole(IMAGE), '/dev/fd/%d' % fd)
            self.assertTrue(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND)
        self.assert_image(b'old' + IMAGE)

    def test_appended_to_up_to_the_limit_of_the_process(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(IMAGE) + 2, limits[1]))
        for old, fits in ((b'12', True), (b'123', False)):
            self.old(old)
            with self._open(os.O_WRONLY | os.O_APPEND) as fd:
                target = opening.open_target('/dev/fd/%d' % fd)
                self.addCleanup(target.abort)
                if fits:
                    target.check_length(len(IMAGE))
                else:
                    self.assertRaises(
                        errors.TargetTooSmall,
                        *(target.check_length, len(IMAGE)),
                    )

    def test_what_is_behind_stays(self) -> None:
        self.old(b'0123456789')
        with self._open(os.O_RDWR) as fd:
            pipeline.write([b'abc'], '/dev/fd/%d' % fd)
        self.assert_image(b'abc3456789')

    def test_failure_leaves_what_was_written(self) -> None:
        """It cannot be taken back: it may be between what others wrote."""
        self.old(b'0123456789')
        with self._open(os.O_WRONLY | os.O_APPEND) as fd:
            source = copying.Source([IMAGE] * 3 + [errors.Stalled('x')])
            error = self.assertRaises(
                errors.Stalled, pipeline.copy, source, '/dev/fd/%d' % fd
            )
        self.assertEqual('incomplete', error.target_state)
        self.assertTrue(self.content().startswith(b'0123456789' + IMAGE))

    def test_flags_are_not_changed(self) -> None:
        """A terminal that does not wait is of no use to a shell."""
        reader, writer = os.pipe()
        master, slave = pty.openpty()
        with self._open(os.O_WRONLY) as file:
            for fd in (file, writer, slave):
                before = fcntl.fcntl(fd, fcntl.F_GETFL)
                sink = opening.open_target('/dev/fd/%d' % fd)
                sink.write(b'x')
                self.assertEqual(before, fcntl.fcntl(fd, fcntl.F_GETFL))
                sink.finish()
                self.assertEqual(before, fcntl.fcntl(fd, fcntl.F_GETFL))
        for fd in (reader, writer, master, slave):
            os.close(fd)

    def test_no_more_descriptors(self) -> None:
        """That which was opened for it is closed again."""

        def eventfd(count: int) -> int:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(os, 'eventfd', eventfd)
        before = os.listdir('/proc/self/fd')
        self.assertRaises(
            errors.ResourceError, opening.open_target, '/dev/null'
        )
        self.assertEqual(before, os.listdir('/proc/self/fd'))

    def test_file_is_synced(self) -> None:
        synced: list[int] = []
        self.patch(os, 'fsync', synced.append)
        with self._open(os.O_WRONLY) as fd:
            pipeline.write([IMAGE], '/dev/fd/%d' % fd)
        self.assertEqual(1, len(synced))

    def test_pipe(self) -> None:
        for reopens in (True, False):
            if not reopens:
                # As where another user has made it.
                self._forbid_reopening()
            reader, writer = os.pipe()
            found: list[bytes] = []

            def read(fd: int = reader, found: list[bytes] = found) -> None:
                with open(fd, 'rb') as pipe:
                    found.append(pipe.read())

            thread = threading.Thread(target=read)
            thread.start()
            pipeline.copy(copying.whole(IMAGE), '/dev/fd/%d' % writer)
            os.close(writer)
            thread.join()
            self.assertTrue(found == [IMAGE])

    def test_pipe_that_nobody_reads_is_not_waited_for(self) -> None:
        for reopens in (True, False):
            if not reopens:
                self._forbid_reopening()
            reader, writer = os.pipe()
            source = copying.Source([IMAGE, KeyboardInterrupt()])
            self.assertRaises(
                KeyboardInterrupt,
                pipeline.copy,
                source,
                '/dev/fd/%d' % writer,
            )
            os.close(reader)
            self.assertRaises(
                errors.WriteError,
                pipeline.copy,
                copying.whole(IMAGE),
                '/dev/fd/%d' % writer,
            )
            os.close(writer)

    def _forbid_reopening(self) -> None:
        real = os.open

        def refusing(path: str, *args: int) -> int:
            if path.startswith('/proc/self/fd/'):
                raise PermissionError(13, 'Permission denied')
            return real(path, *args)

        self.patch(os, 'open', refusing)

    def test_standard_output(self) -> None:
        with self._open(os.O_WRONLY) as fd:
            self.patch(opening, 'fcntl', _Redirected(fd))
            real = os.fstat
            self.patch(os, 'fstat', lambda n: real(fd if n == 1 else n))
            sink = opening.open_target('-')
            self.assertEqual('standard output', sink.path)
            sink.write(b'x')
            sink.finish()
        self.assert_image(b'x')

    def test_closed(self) -> None:
        self.patch(sys, '__stdout__', None)
        for name in ('-', '/dev/stdout', '/dev/fd/1', '/proc/self/fd/987'):
            error = self.assertRaises(
                errors.TargetMissing, opening.open_target, name
            )
            self.assertIn('is not open', str(error))
            self.assertIn('a file or a pipe', str(error))

    def test_open_for_reading_only(self) -> None:
        self.old(b'old')
        with self._open(os.O_RDONLY) as fd:
            error = self.assertRaises(
                errors.TargetUnsuitable,
                opening.open_target,
                '/dev/fd/%d' % fd,
            )
        self.assertIn('reading only', str(error))
        self.assert_image(b'old')

    def test_kinds(self) -> None:
        for path in ('/dev/zero', '/dev/full'):
            fd = os.open(path, os.O_WRONLY)
            self.assertRaises(
                errors.TargetUnsuitable,
                opening.open_target,
                '/dev/fd/%d' % fd,
            )
            os.close(fd)
        fd = os.eventfd(0)
        self.assertRaises(
            errors.TargetUnsuitable, opening.open_target, '/dev/fd/%d' % fd
        )
        os.close(fd)

    def test_in_use(self) -> None:
        used = [holders.Holder('it is used as swap', 'swapoff it')]
        self.patch(holders.Census, 'of_file', lambda self, status: used)
        with self._open(os.O_WRONLY) as fd:
            error = self.assertRaises(
                errors.TargetBusy, opening.open_target, '/dev/fd/%d' % fd
            )
        self.assertIn('used as swap', str(error))

    def test_cannot_be_read_back(self) -> None:
        with self._open(os.O_RDWR) as fd:
            self.assertRaises(
                errors.OptionError,
                opening.open_target,
                '/dev/fd/%d' % fd,
                options=writing.Options(verify=True),
            )

    def test_no_room(self) -> None:
        def fstatvfs(fd: int) -> os.statvfs_result:
            return os.statvfs_result((4096, 4096, 9, 1, 1, 9, 9, 9, 0, 255))

        self.patch(os, 'fstatvfs', fstatvfs)
        with self._open(os.O_WRONLY) as fd:
            self.assertRaises(
                errors.TargetFull,
                pipeline.copy,
                copying.whole(IMAGE),
                '/dev/fd/%d' % fd,
            )
        self.assert_image(b'')

    def test_paths_that_are_none(self) -> None:
        """A file of that name, or a descriptor of somebody else."""
        os.mkdir(os.path.join(self.directory, 'fd'))
        path = os.path.join(self.directory, 'fd', '1')
        pipeline.write([b'x' * MIB], path)
        self.assertEqual(MIB, os.path.getsize(path))
        self.path = os.path.join(self.directory, '-')
        pipeline.write([b'x'], self.path)
        self.assert_image(b'x')


class _Redirected:
    """fcntl, to which descriptor 1 is another."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __getattr__(self, name: str) -> object:
        return getattr(fcntl, name)

    def fcntl(self, fd: int, *args: int) -> int:
        return fcntl.fcntl(self._fd if fd == 1 else fd, *args)
