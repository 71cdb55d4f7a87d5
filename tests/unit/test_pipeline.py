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

"""The way from the source to the target: order, causes, and endings.

The targets here are regular files; the functional tests have devices.
"""

from __future__ import annotations

import bz2
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import errno
import gzip
import hashlib
import lzma
import os
import random
import threading
from typing import Any

import fixtures

from fuel_agent_curl import device
from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl import relay
from tests import base

MIB = 1024 * 1024

_PWRITE = os.pwrite
_FDATASYNC = os.fdatasync

_RANDOM = random.Random(20261123)
#: Longer than what is held back, with zeros at both ends of a buffer, and an
#: end that no sector ends at.
IMAGE = b''.join(
    (
        _RANDOM.randbytes(2 * MIB),
        bytes(MIB + 100_000),
        _RANDOM.randbytes(MIB),
        bytes(200_000),
        _RANDOM.randbytes(777),
    )
)


class Source:
    """What a download is to the pipeline.

    :param chunks: what it brings; an exception among them is raised.
    """

    def __init__(
        self,
        chunks: Iterable[bytes | BaseException],
        length: int | None = None,
    ) -> None:
        self._chunks = chunks
        self.length = length
        self.closed = threading.Event()

    def views(self) -> Iterator[memoryview]:
        for chunk in self._chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            buffer = bytearray(chunk)
            yield memoryview(buffer)
            # The download uses its buffers again.
            buffer[:] = b'\xdb' * len(buffer)

    def close(self) -> None:
        self.closed.set()


def whole(data: bytes, size: int = 100_003) -> Source:
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    return Source(chunks, len(data))


class _TestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.directory, 'target')
        before = threading.active_count()
        self.addCleanup(
            lambda: self.assertEqual(before, threading.active_count())
        )

    def old(self, data: bytes = b'old' * MIB) -> None:
        """Make the target exist."""
        with open(self.path, 'wb') as target:
            target.write(data)

    def content(self) -> bytes:
        with open(self.path, 'rb') as target:
            return target.read()

    def assert_image(self, expected: bytes) -> None:
        actual = self.content()
        if actual != expected:
            self.fail('%d bytes, or others' % len(actual))

    def assert_nothing(self) -> None:
        """Neither a target, nor anything beside it."""
        self.assertEqual([], os.listdir(self.directory))


class CopyTest(_TestCase):
    def test_containers(self) -> None:
        for name, packed in (
            ('raw', IMAGE),
            ('gzip', gzip.compress(IMAGE, 1)),
            ('xz', lzma.compress(IMAGE, preset=0)),
            ('bzip2', bz2.compress(IMAGE)),
        ):
            for container in ('auto', name):
                self.assertEqual(
                    pipeline.Result(len(IMAGE), name),
                    pipeline.copy(
                        whole(packed), self.path, container=container
                    ),
                )
                self.assert_image(IMAGE)

    def test_any_length(self) -> None:
        for length in (
            *(0, 1, 511, 512, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1),
            *(2 * MIB, 2 * MIB + 511, 3 * MIB + 4097),
        ):
            image = IMAGE[:length]
            for direct_io in (True, False):
                self.old()
                pipeline.copy(
                    whole(image), self.path, direct_io=direct_io, verify=True
                )
                self.assert_image(image)

    def test_any_chunk_size(self) -> None:
        for size in (4096, MIB - 1, MIB, MIB + 1, len(IMAGE)):
            pipeline.copy(whole(IMAGE, size), self.path)
            self.assert_image(IMAGE)
        pipeline.copy(whole(IMAGE[:3000], 1), self.path)
        self.assert_image(IMAGE[:3000])

    def test_zeros_alone(self) -> None:
        for length in (1, MIB, 3 * MIB + 1):
            self.old()
            pipeline.copy(whole(bytes(length)), self.path, verify=True)
            self.assert_image(bytes(length))

    def test_zeros_become_holes(self) -> None:
        self.old()
        image = IMAGE[:MIB] + bytes(8 * MIB) + IMAGE[:MIB]
        pipeline.copy(whole(image), self.path)
        self.assert_image(image)
        self.assertLess(os.stat(self.path).st_blocks * 512, 3 * MIB)

    def test_file_that_was_longer_or_shorter(self) -> None:
        for old in (b'', b'old', b'old' * 2 * MIB):
            self.old(old)
            os.chmod(self.path, 0o640)
            inode = os.stat(self.path).st_ino
            pipeline.copy(whole(IMAGE), self.path)
            self.assert_image(IMAGE)
            after = os.stat(self.path)
            self.assertEqual(inode, after.st_ino)
            self.assertEqual(0o640, after.st_mode & 0o777)

    def test_links_are_followed(self) -> None:
        link = os.path.join(self.directory, 'link')
        os.symlink('target', link)
        pipeline.copy(whole(IMAGE), link)
        self.assertTrue(os.path.islink(link))
        self.assert_image(IMAGE)

    def test_file_made_through_a_link_is_removed_alone(self) -> None:
        link = os.path.join(self.directory, 'link')
        os.symlink('target', link)
        self.assertRaises(
            errors.TruncatedError,
            pipeline.copy,
            whole(gzip.compress(IMAGE, 1)[:-1]),
            link,
        )
        self.assertEqual(['link'], os.listdir(self.directory))

    def test_observe(self) -> None:
        seen: list[int] = []
        pipeline.copy(
            whole(gzip.compress(IMAGE, 1)), self.path, observe=seen.append
        )
        self.assertEqual(sorted(seen), seen)
        self.assertEqual(len(IMAGE), seen[-1])

    def test_stream(self) -> None:
        result = pipeline.copy(whole(IMAGE), '/dev/null')
        self.assertEqual(len(IMAGE), result.written)

    def test_stream_that_is_full(self) -> None:
        error = self.assertRaises(
            errors.TargetFull, pipeline.copy, whole(IMAGE), '/dev/full'
        )
        self.assertEqual(0, error.offset)

    def test_no_direct_io_is_said_once(self) -> None:
        def refusing(fd: int, data: object, offset: int) -> int:
            # As some file systems do: the flag is taken, the write is not.
            if self._is_direct(fd):
                raise OSError(errno.EINVAL, 'Invalid argument')
            return pwrite(fd, data, offset)  # type: ignore[arg-type]

        pwrite = os.pwrite
        self.patch(os, 'pwrite', refusing)
        pipeline.copy(whole(IMAGE), self.path, verify=True)
        self.assert_image(IMAGE)
        self.assertEqual(1, self.log.output.count('direct I/O'))

    def test_only_aligned_writes_are_direct(self) -> None:
        writes = []
        pwrite = os.pwrite

        def recording(fd: int, data: memoryview, offset: int) -> int:
            writes.append((self._is_direct(fd), offset, len(data)))
            return pwrite(fd, data, offset)

        self.patch(os, 'pwrite', recording)
        pipeline.copy(whole(IMAGE), self.path)
        direct = [w for w in writes if w[0]]
        self.assertNotEqual([], direct, 'this file system takes no O_DIRECT')
        for _direct, offset, length in direct:
            self.assertEqual((0, 0), (offset % 4096, length % 4096))
        rest = [w for w in writes if not w[0]]
        self.assertEqual(
            [(False, len(IMAGE) - len(IMAGE) % 4096, len(IMAGE) % 4096)], rest
        )

    def test_no_direct_io_wanted(self) -> None:
        writes = []
        pwrite = os.pwrite

        def recording(fd: int, data: memoryview, offset: int) -> int:
            writes.append(self._is_direct(fd))
            return pwrite(fd, data, offset)

        self.patch(os, 'pwrite', recording)
        pipeline.copy(whole(IMAGE), self.path, direct_io=False)
        self.assertEqual({False}, set(writes))

    def test_short_writes(self) -> None:
        pwrite = os.pwrite

        def short(fd: int, data: memoryview, offset: int) -> int:
            return pwrite(fd, data[:8192], offset)

        self.patch(os, 'pwrite', short)
        pipeline.copy(whole(IMAGE), self.path)
        self.assert_image(IMAGE)

    def _is_direct(self, fd: int) -> bool:
        with open('/proc/self/fdinfo/%d' % fd) as info:
            flags = dict(line.split(':', 1) for line in info)['flags']
        return bool(int(flags, 8) & os.O_DIRECT)


class OrderTest(_TestCase):
    """Nothing usable before everything is there, synced and checked."""

    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[str, int]] = []
        for name in ('pwrite', 'fdatasync', 'fsync', 'ftruncate'):
            self.patch(os, name, self._recording(name, getattr(os, name)))

    def _recording(
        self, name: str, call: Callable[..., int]
    ) -> Callable[..., int]:
        def recorded(fd: int, *args: int) -> int:
            self.calls.append((name, args[-1] if args else 0))
            return call(fd, *args)

        return recorded

    def test_existing_file(self) -> None:
        self.old(IMAGE)
        pipeline.copy(whole(IMAGE), self.path)
        names = [name for name, _offset in self.calls]
        self.assertEqual(
            [('ftruncate', 0), ('fsync', 0)],
            self.calls[:2],
        )
        first = self.calls.index(('pwrite', 0))
        self.assertTrue(
            all(o >= MIB for n, o in self.calls[2:first] if n == 'pwrite')
        )
        self.assertEqual(
            ['fdatasync', 'pwrite', 'fdatasync'], names[first - 1 :]
        )

    def test_the_image_is_checked_before(self) -> None:
        """A copy whose checksum is wrong never writes the first mebibyte."""
        wrong = 'sha256:' + '0' * 64
        self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            whole(IMAGE),
            self.path,
            image_checksum=wrong,
        )
        self.assertNotIn(('pwrite', 0), self.calls)
        self.assertIn(('pwrite', MIB), self.calls)

    def test_new_file_is_synced_with_its_name(self) -> None:
        pipeline.copy(whole(IMAGE), self.path)
        self.assertEqual(('fsync', 0), self.calls[-1])

    def test_name_that_cannot_be_synced(self) -> None:
        """As on some file systems, and in directories nobody may read."""
        real = os.open
        for failing in ('fsync', 'open'):

            def refused(*args: Any, failing: str = failing) -> int:
                if failing == 'fsync':
                    raise OSError(errno.EINVAL, 'Invalid argument')
                if args[1] & os.O_DIRECTORY:
                    raise PermissionError(errno.EACCES, 'Permission denied')
                return real(*args)

            with fixtures.MonkeyPatch('os.' + failing, refused):
                pipeline.copy(whole(IMAGE), self.path)
            self.assert_image(IMAGE)
            os.unlink(self.path)

    def test_name_whose_sync_fails(self) -> None:
        def failing(fd: int) -> None:
            raise OSError(errno.EIO, 'Input/output error')

        self.patch(os, 'fsync', failing)
        self.assertRaises(
            errors.WriteError, pipeline.copy, whole(IMAGE), self.path
        )
        self.assert_nothing()

    def test_a_killed_copy_looks_empty(self) -> None:
        """At every moment but the last, the first mebibyte is zeros."""
        self.old(IMAGE)
        views: list[bytes] = []

        def watching(fd: int, *args: object) -> int:
            views.append(self.content()[:MIB])
            return pwrite(fd, *args)  # type: ignore[arg-type]

        pwrite = os.pwrite
        self.patch(os, 'pwrite', watching)
        pipeline.copy(whole(IMAGE), self.path)
        self.assertGreater(len(views), 2)
        for view in views:
            self.assertEqual(b'', view.strip(b'\0'))


class FailureTest(_TestCase):
    def _fails(
        self, cls: type[BaseException], source: Source, **options: object
    ) -> BaseException:
        """Fail with and without a file there, and look at what is left."""
        options.setdefault('container', 'auto')
        self.assertRaises(
            cls,
            pipeline.copy,
            source,
            self.path,
            **options,
        )
        self.assert_nothing()
        self.old()
        error = self.assertRaises(
            cls, pipeline.copy, source, self.path, **options
        )
        self.assertEqual(b'', self.content())
        os.unlink(self.path)
        assert isinstance(error, BaseException)
        return error

    def test_damage(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        self._fails(errors.TruncatedError, whole(packed[:-1]))
        self._fails(errors.TrailingGarbageError, whole(packed + b'!'))
        damaged = packed[:-5] + b'\0' + packed[-4:]
        self._fails(errors.CorruptError, whole(damaged))

    def test_damage_in_the_first_bytes(self) -> None:
        """Too early for anything to be written, but begun it has."""
        packed = gzip.compress(b'tiny')
        self._fails(errors.TruncatedError, whole(packed[:-1]))

    def test_checksum(self) -> None:
        good = 'sha256:' + hashlib.sha256(IMAGE).hexdigest()
        packed = gzip.compress(IMAGE, 1)
        pipeline.copy(whole(packed), self.path, image_checksum=good)
        self.assert_image(IMAGE)
        os.unlink(self.path)
        other = packed[:-1]
        for source, cls in (
            (whole(gzip.compress(IMAGE + b'!', 1)), errors.DigestMismatch),
            (whole(other), errors.TruncatedError),
        ):
            self._fails(cls, source, image_checksum=good)

    def test_too_short(self) -> None:
        source = Source([IMAGE], len(IMAGE) + 1)
        error = self._fails(errors.ImageTooShort, source)
        self.assertEqual(len(IMAGE), getattr(error, 'offset', None))

    def test_too_long(self) -> None:
        source = Source([IMAGE[:-1], IMAGE[-1:]], len(IMAGE) - 1)
        error = self._fails(errors.ImageTooLong, source)
        self.assertEqual(len(IMAGE) - 1, getattr(error, 'offset', None))

    def test_source_fails(self) -> None:
        cause = errors.Stalled('nothing for ever')
        for chunks in ([IMAGE[:100]], [IMAGE] * 4):
            error = self._fails(errors.Stalled, Source([*chunks, cause]))
            self.assertIs(cause, error)

    def test_source_fails_before_its_first_byte(self) -> None:
        """The target keeps what it had: nothing had begun."""
        self.old()
        source = Source([errors.Stalled('nothing ever')])
        self.assertRaises(errors.Stalled, pipeline.copy, source, self.path)
        self.assertEqual(b'old' * MIB, self.content())

    def test_wrong_container_is_known_before_anything_is_written(self) -> None:
        self.old()
        for container in ('gzip', 'xz', 'nonsense'):
            self.assertRaises(
                errors.Error,
                pipeline.copy,
                whole(IMAGE),
                self.path,
                container=container,
            )
            self.assertEqual(b'old' * MIB, self.content())

    def test_checksum_that_is_none(self) -> None:
        """Known before the target is even looked at."""
        self.assertRaises(
            errors.OptionError,
            pipeline.copy,
            whole(IMAGE),
            '/',
            image_checksum='sha256:12',
        )

    def test_interrupted(self) -> None:
        """Ctrl-C, SIGTERM and whatever else comes to the main thread."""
        for cls in (KeyboardInterrupt, SystemExit, GeneratorExit):
            self._fails(cls, Source([IMAGE, IMAGE, cls()]))

    def test_interrupted_by_what_observes(self) -> None:
        def observe(written: int) -> None:
            raise KeyboardInterrupt

        self._fails(KeyboardInterrupt, whole(IMAGE), observe=observe)

    def _pwrite_fails(self, code: int, at: int) -> None:
        def failing(fd: int, data: memoryview, offset: int) -> int:
            if offset == at:
                raise OSError(code, os.strerror(code))
            return _PWRITE(fd, data, offset)

        self.patch(os, 'pwrite', failing)

    def test_target_fails(self) -> None:
        for code, cls in (
            (errno.EIO, errors.WriteError),
            (errno.ENOSPC, errors.TargetFull),
            (errno.EDQUOT, errors.TargetFull),
            (errno.EFBIG, errors.TargetTooSmall),
        ):
            for at in (MIB, 3 * MIB + 65536, 0):
                self._pwrite_fails(code, at)
                error = self._fails(cls, whole(IMAGE))
                self.assertEqual(at, getattr(error, 'offset', None))

    def test_sync_fails(self) -> None:
        for turn in (1, 2):
            turns: list[int] = []

            def failing(
                fd: int, turns: list[int] = turns, turn: int = turn
            ) -> None:
                turns.append(fd)
                if len(turns) % 2 == turn % 2:
                    raise OSError(errno.EIO, 'Input/output error')

            self.patch(os, 'fdatasync', failing)
            error = self._fails(errors.WriteError, whole(IMAGE))
            self.assertIn('syncing', str(error))

    def test_target_fails_while_the_source_waits(self) -> None:
        """The source is ended, and what it says then is not the cause."""
        for silent in (False, True):
            source = Source([])

            def chunks(
                source: Source = source, silent: bool = silent
            ) -> Iterator[bytes | BaseException]:
                yield IMAGE
                if not source.closed.wait(30):
                    yield AssertionError('nobody ended it')
                if not silent:
                    yield errors.Error('the download was closed')

            source._chunks = chunks()
            self._pwrite_fails(errno.EIO, MIB)
            self.assertRaises(
                errors.WriteError, pipeline.copy, source, self.path
            )
            self.assert_nothing()

    def test_target_fails_before_a_source_without_end(self) -> None:
        """The source is not asked much longer."""
        asked = []

        def chunks() -> Iterator[bytes]:
            while True:
                asked.append(1)
                yield IMAGE

        self._pwrite_fails(errno.EIO, MIB)
        self.assertRaises(
            errors.WriteError, pipeline.copy, Source(chunks()), self.path
        )
        self.assertLessEqual(len(asked), relay.COUNT + 2)

    def test_medium_gives_back_something_else(self) -> None:
        """Only noticed with verify; wherever it is."""
        for at in (MIB, 4 * MIB - 1, len(IMAGE) - 1, 0, MIB - 1):

            def spoiling(fd: int, at: int = at) -> None:
                _FDATASYNC(fd)
                if self.content()[:MIB].strip(b'\0') or at >= MIB:
                    os.pwrite(fd, b'\x77', at)

            with fixtures.MonkeyPatch('os.fdatasync', spoiling):
                # A write of one byte is none that O_DIRECT takes.
                error = self._fails(
                    errors.WriteError,
                    whole(IMAGE),
                    verify=True,
                    direct_io=False,
                )
            self.assertIn('does not give back', str(error))
            offset = getattr(error, 'offset', -1)
            self.assertEqual(at - at % MIB, offset)

    def test_file_removed_or_replaced_meanwhile(self) -> None:
        """Written to nowhere is no success."""
        for replaced in (False, True):

            def chunks(replaced: bool = replaced) -> Iterator[bytes]:
                yield IMAGE
                os.unlink(self.path)
                if replaced:
                    self.old()

            error = self.assertRaises(
                errors.TargetVanished, pipeline.write, chunks(), self.path
            )
            self.assertIn(self.path, str(error))
        self.assertEqual(b'old' * MIB, self.content())

    def test_file_replaced_meanwhile_is_not_removed(self) -> None:
        def chunks() -> Iterator[bytes | BaseException]:
            yield IMAGE
            os.unlink(self.path)
            self.old()
            yield errors.Stalled('x')

        self.assertRaises(
            errors.Stalled, pipeline.copy, Source(chunks()), self.path
        )
        self.assertEqual(b'old' * MIB, self.content())


class WriteTest(_TestCase):
    def test_any_buffers(self) -> None:
        chunks: list[bytes | bytearray | memoryview] = [
            b'',
            IMAGE[:5],
            bytearray(IMAGE[5:100]),
            memoryview(IMAGE)[100:],
            b'',
        ]
        self.assertEqual(len(IMAGE), pipeline.write(chunks, self.path))
        self.assert_image(IMAGE)
        self.assertEqual(0, pipeline.write([], self.path))
        self.assertEqual(b'', self.content())

    def test_not_unpacked(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        pipeline.write([packed], self.path, length=len(packed))
        self.assert_image(packed)

    def test_length(self) -> None:
        for length, cls in (
            (len(IMAGE) - 1, errors.ImageTooLong),
            (len(IMAGE) + 1, errors.ImageTooShort),
        ):
            self.assertRaises(
                cls, pipeline.write, [IMAGE], self.path, length=length
            )
            self.assert_nothing()

    def test_cancel(self) -> None:
        cancelled = threading.Event()

        def chunks() -> Iterator[bytes]:
            yield IMAGE
            cancelled.wait(30)

        def failing(fd: int, data: object, offset: int) -> int:
            raise OSError(errno.EIO, 'Input/output error')

        self.patch(os, 'pwrite', failing)
        self.assertRaises(
            errors.WriteError,
            pipeline.write,
            chunks(),
            self.path,
            cancel=cancelled.set,
        )
        self.assertTrue(cancelled.is_set())
        self.assert_nothing()

    def test_target_is_looked_at_first(self) -> None:
        def chunks() -> Iterator[bytes]:
            raise AssertionError('asked too early')
            yield b''

        self.assertRaises(
            errors.TargetIsDirectory,
            pipeline.write,
            chunks(),
            self.directory,
        )

    def test_sink_that_finished_is_not_aborted_later(self) -> None:
        sink = device.open_target(self.path)
        sink.write(IMAGE)
        sink.finish()
        sink.abort()
        self.assert_image(IMAGE)
