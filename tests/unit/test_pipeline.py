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
from collections.abc import Iterator
import errno
import gzip
import hashlib
import lzma
import os
import threading
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.image import bmap
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import writing
from tests.support import blockmaps
from tests.support import copying

IMAGE = copying.IMAGE


class CopyTest(copying.FileTestCase):
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
                        copying.whole(packed), self.path, container=container
                    ),
                )
                self.assert_image(IMAGE)

    def test_any_length(self) -> None:
        for length in (
            *(1, 511, 512, 4095, 4096, 4097, MIB - 1, MIB, MIB + 1),
            *(2 * MIB, 2 * MIB + 511, 3 * MIB + 4097),
        ):
            image = IMAGE[:length]
            for direct_io in (True, False):
                self.old()
                pipeline.copy(
                    copying.whole(image),
                    self.path,
                    container='raw',
                    options=writing.Options(direct_io=direct_io, verify=True),
                )
                self.assert_image(image)

    def test_any_chunk_size(self) -> None:
        for size in (4096, MIB - 1, MIB, MIB + 1, len(IMAGE)):
            pipeline.copy(copying.whole(IMAGE, size), self.path)
            self.assert_image(IMAGE)
        pipeline.copy(copying.whole(IMAGE[:3000], 1), self.path)
        self.assert_image(IMAGE[:3000])

    def test_zeros_alone(self) -> None:
        for length in (512, MIB, 3 * MIB + 1):
            self.old()
            pipeline.copy(
                copying.whole(bytes(length)),
                self.path,
                options=writing.Options(verify=True),
            )
            self.assert_image(bytes(length))

    def test_zeros_become_holes(self) -> None:
        self.old()
        image = IMAGE[:MIB] + bytes(8 * MIB) + IMAGE[:MIB]
        pipeline.copy(copying.whole(image), self.path)
        self.assert_image(image)
        self.assertLess(os.stat(self.path).st_blocks * 512, 3 * MIB)

    def test_file_that_was_longer_or_shorter(self) -> None:
        for old in (b'', b'old', b'old' * 2 * MIB):
            self.old(old)
            os.chmod(self.path, 0o640)
            inode = os.stat(self.path).st_ino
            for in_place in (True, False):
                pipeline.copy(
                    copying.whole(IMAGE),
                    self.path,
                    options=writing.Options(in_place=in_place),
                )
                self.assert_image(IMAGE)
                after = os.stat(self.path)
                self.assertEqual(in_place, inode == after.st_ino)
                self.assertEqual(0o640, after.st_mode & 0o777)
                self.assertEqual(['target'], os.listdir(self.directory))

    def test_links_are_followed(self) -> None:
        link = os.path.join(self.directory, 'link')
        os.symlink('target', link)
        pipeline.copy(copying.whole(IMAGE), link)
        self.assertTrue(os.path.islink(link))
        self.assert_image(IMAGE)

    def test_file_made_through_a_link_is_removed_alone(self) -> None:
        link = os.path.join(self.directory, 'link')
        os.symlink('target', link)
        self.assertRaises(
            errors.TruncatedError,
            pipeline.copy,
            copying.whole(gzip.compress(IMAGE, 1)[:-1]),
            link,
        )
        self.assertEqual(['link'], os.listdir(self.directory))

    def test_observe(self) -> None:
        """Whoever watches sees how far the sink is, until the end."""
        seen: list[sink.Sink] = []
        pipeline.copy(
            copying.whole(gzip.compress(IMAGE, 1)),
            self.path,
            observe=seen.append,
        )
        self.assertEqual(
            [(len(IMAGE), 'complete')],
            [(each.written, each.state) for each in seen],
        )

    def test_stream(self) -> None:
        result = pipeline.copy(copying.whole(IMAGE), '/dev/null')
        self.assertEqual(len(IMAGE), result.written)

    def test_no_direct_io_is_said_once(self) -> None:
        def refusing(fd: int, data: object, offset: int) -> int:
            # As some file systems do: the flag is taken, the write is not.
            if self._is_direct(fd):
                raise OSError(errno.EINVAL, 'Invalid argument')
            return pwrite(fd, data, offset)  # type: ignore[arg-type]

        pwrite = os.pwrite
        self.patch(os, 'pwrite', refusing)
        pipeline.copy(
            copying.whole(IMAGE),
            self.path,
            options=writing.Options(verify=True),
        )
        self.assert_image(IMAGE)
        self.assertEqual(1, self.log.output.count('direct I/O'))

    def test_only_aligned_writes_are_direct(self) -> None:
        writes = []
        pwrite = os.pwrite

        def recording(fd: int, data: memoryview, offset: int) -> int:
            writes.append((self._is_direct(fd), offset, len(data)))
            return pwrite(fd, data, offset)

        self.patch(os, 'pwrite', recording)
        pipeline.copy(copying.whole(IMAGE), self.path)
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
        pipeline.copy(
            copying.whole(IMAGE),
            self.path,
            options=writing.Options(direct_io=False),
        )
        self.assertEqual({False}, set(writes))

    def test_short_writes(self) -> None:
        pwrite = os.pwrite

        def short(fd: int, data: memoryview, offset: int) -> int:
            return pwrite(fd, data[:8192], offset)

        self.patch(os, 'pwrite', short)
        pipeline.copy(copying.whole(IMAGE), self.path)
        self.assert_image(IMAGE)

    def _is_direct(self, fd: int) -> bool:
        with open('/proc/self/fdinfo/%d' % fd) as info:
            flags = dict(line.split(':', 1) for line in info)['flags']
        return bool(int(flags, 8) & os.O_DIRECT)


class OrderTest(copying.FileTestCase):
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

    def test_much_is_synced_ahead_when_there_is_time(self) -> None:
        sink = opening.open_target(self.path)
        self.addCleanup(sink.abort)
        noise = copying.IMAGE[:MIB]
        sink.write(noise)
        for _mebibyte in range(15):
            sink.write(noise)
            sink.write(bytes(MIB))
            sink.idle()
        self.calls.clear()
        sink.write(noise)
        sink.idle()
        sink.idle()
        names = [name for name, _offset in self.calls]
        self.assertEqual(1, names.count('fdatasync'))
        self.assertEqual('fdatasync', names[-1])

    def test_file_in_place(self) -> None:
        self.old(IMAGE)
        pipeline.copy(
            copying.whole(IMAGE),
            self.path,
            options=writing.Options(in_place=True),
        )
        names = [name for name, _offset in self.calls]
        self.assertEqual(
            [('ftruncate', 0), ('fsync', 0)],
            self.calls[:2],
        )
        # The first sector alone, as nothing else in it is known.
        first = self.calls.index(('pwrite', 512))
        self.assertTrue(
            all(o >= MIB for n, o in self.calls[2:first] if n == 'pwrite')
        )
        self.assertIn('fdatasync', names[:first])
        self.assertEqual(
            ['pwrite', 'fdatasync', 'pwrite', 'fdatasync'], names[-4:]
        )
        self.assertEqual(('pwrite', 0), self.calls[-2])

    def test_the_image_is_checked_before(self) -> None:
        """A copy whose checksum is wrong never writes the first mebibyte."""
        wrong = 'sha256:' + '0' * 64
        self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            copying.whole(IMAGE),
            self.path,
            image_checksum=wrong,
        )
        self.assertNotIn(('pwrite', 0), self.calls)
        self.assertIn(('pwrite', MIB), self.calls)

    def test_new_file_is_synced_with_its_name(self) -> None:
        pipeline.copy(copying.whole(IMAGE), self.path)
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
                pipeline.copy(copying.whole(IMAGE), self.path)
            self.assert_image(IMAGE)
            os.unlink(self.path)

    def test_name_whose_sync_fails(self) -> None:
        def failing(fd: int) -> None:
            raise OSError(errno.EIO, 'Input/output error')

        self.patch(os, 'fsync', failing)
        self.assertRaises(
            errors.WriteError, pipeline.copy, copying.whole(IMAGE), self.path
        )
        self.assert_nothing()

    def test_a_killed_copy_looks_empty(self) -> None:
        """At every moment but the last, what it is known by is zeros."""
        self.old(IMAGE)
        views = self._watch_writes(in_place=True)
        for view in views:
            self.assertEqual(b'', view[:512].strip(b'\0'))

    def test_a_killed_copy_leaves_what_was_there(self) -> None:
        self.old(b'good')
        for view in self._watch_writes(in_place=False):
            self.assertEqual(b'good', view)

    def _watch_writes(self, *, in_place: bool) -> list[bytes]:
        """Copy; return what is at the path before each write."""
        views: list[bytes] = []

        def watching(fd: int, *args: object) -> int:
            views.append(self.content())
            return pwrite(fd, *args)  # type: ignore[arg-type]

        pwrite = os.pwrite
        with fixtures.MonkeyPatch('os.pwrite', watching):
            pipeline.copy(
                copying.whole(IMAGE),
                self.path,
                options=writing.Options(in_place=in_place),
            )
        self.assert_image(IMAGE)
        self.assertGreater(len(views), 2)
        return views


class WriteTest(copying.FileTestCase):
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

    def test_not_unpacked(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        pipeline.write([packed], self.path, length=lambda: len(packed))
        self.assert_image(packed)

    def test_length(self) -> None:
        for length, cls in (
            (len(IMAGE) - 1, errors.ImageTooLong),
            (len(IMAGE) + 1, errors.ImageTooShort),
        ):
            asked: list[int] = []

            def chunks(asked: list[int] = asked) -> Iterator[bytes]:
                self.assertEqual([], asked)
                yield IMAGE

            def ask(asked: list[int] = asked, length: int = length) -> int:
                asked.append(length)
                return length

            self.assertRaises(
                cls, pipeline.write, chunks(), self.path, length=ask
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
        sink = opening.open_target(self.path)
        sink.write(IMAGE)
        sink.finish()
        sink.abort()
        self.assert_image(IMAGE)


class EndTest(copying.FileTestCase):
    """A raw image whose end nothing proves."""

    def _source(self, *chunks: bytes) -> copying.Source:
        source = copying.Source(chunks or (IMAGE,))
        source.end_proven = False
        return source

    def test_refused_before_anything_is_written(self) -> None:
        self.old()
        old = self.content()
        for container in 'auto', 'raw':
            error = self.assertRaises(
                errors.UnprovenEnd,
                pipeline.copy,
                self._source(),
                self.path,
                container=container,
            )
            self.assertEqual('untouched', error.target_state)
            self.assertIn('--allow-unproven-end', str(error))
            self.assertEqual(old, self.content())

    def test_taken_where_something_else_proves_it(self) -> None:
        digest = 'sha256:' + hashlib.sha256(IMAGE).hexdigest()
        cases: list[tuple[copying.Source, dict[str, Any]]] = [
            (self._source(gzip.compress(IMAGE)), {}),
            (self._source(), {'image_checksum': digest}),
            (self._source(), {'allow_unproven_end': True}),
        ]
        for source, options in cases:
            pipeline.copy(source, self.path, **options)
            self.assert_image(IMAGE)

    def test_taken_where_a_block_map_has_the_length(self) -> None:
        blocks = -(-len(IMAGE) // 4096)
        document = blockmaps.document(IMAGE, [(0, blocks - 1)])
        block_map = bmap.parse(document)
        pipeline.copy(self._source(), self.path, bmap=block_map)
        self.assert_image(IMAGE)
        self.assertRaises(
            errors.ImageTooShort,
            pipeline.copy,
            self._source(IMAGE[:-1]),
            self.path,
            bmap=block_map,
        )

    def test_refused_where_the_last_answer_does_not_prove_it(self) -> None:
        """Others were begun by answers that did."""

        def chunks() -> Iterator[bytes]:
            yield IMAGE[:MIB]
            source.end_proven = False
            yield IMAGE[MIB:]

        source = copying.Source(chunks())
        error = self.assertRaises(
            errors.UnprovenEnd, pipeline.copy, source, self.path
        )
        self.assertNotEqual('complete', error.target_state)
        self.assert_nothing()
