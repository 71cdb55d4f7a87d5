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

"""Block devices: what is written, what is refused, and how they fail."""

from __future__ import annotations

from collections.abc import Iterator
import errno
import gzip
import os
import random
import subprocess
import sys
import time
from typing import Any

import fixtures

from fuel_agent_curl import blockdev
from fuel_agent_curl import device
from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from tests import base
from tests import loop

MIB = loop.MIB

_RANDOM = random.Random(20261124)
IMAGE = b''.join(
    (
        _RANDOM.randbytes(2 * MIB),
        bytes(5 * MIB),
        _RANDOM.randbytes(MIB + 70_000),
        bytes(200_000),
        _RANDOM.randbytes(777),
    )
)

_FDATASYNC = os.fdatasync

# Copies what it reads from stdin, and says when some of it is written.
_COPY = """
import sys
from fuel_agent_curl import pipeline

def chunks():
    for _number in range(5):
        yield sys.stdin.buffer.read(1 << 20)
    while sink.written < 3 << 20:
        pass
    print('begun', flush=True)
    while chunk := sys.stdin.buffer.read(1 << 20):
        yield chunk

def remembering(*args, **kwargs):
    global sink
    sink = open_target(*args, **kwargs)
    return sink

open_target = pipeline.device.open_target
pipeline.device.open_target = remembering
pipeline.write(chunks(), sys.argv[1])
"""


class Source:
    """What a download is to the pipeline."""

    def __init__(
        self, chunks: Iterator[bytes], length: int | None = None
    ) -> None:
        self._chunks = chunks
        self.length = length

    def views(self) -> Iterator[memoryview]:
        return map(memoryview, self._chunks)

    def close(self) -> None:
        """Nothing to end."""


def whole(image: bytes, size: int = MIB) -> Source:
    pieces = (image[i : i + size] for i in range(0, len(image), size))
    return Source(pieces, len(image))


class _TestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program('losetup', 'chattr')

    def device(
        self, length: int = 16 * MIB, **options: Any
    ) -> loop.LoopDevice:
        return self.useFixture(
            loop.LoopDevice(self.directory, length, **options)
        )

    def assert_device(
        self, target: loop.LoopDevice, image: bytes, what: str = ''
    ) -> None:
        """The image, then what was there before, but for the first MiB."""
        actual = target.read()
        self.assertEqual(target.length, len(actual))
        if actual[: len(image)] != image:
            self.fail('another image is on the device: ' + what)
        blank = actual[len(image) : MIB]
        self.assertEqual(b'', blank.strip(b'\0'))
        rest = actual[max(MIB, len(image)) :]
        self.assertEqual(b'', rest.strip(b'\xa5'), what)

    def assert_blank(self, target: loop.LoopDevice) -> None:
        """Nothing boots from here."""
        self.assertEqual(b'', target.read()[:MIB].strip(b'\0'))

    def assert_untouched(self, target: loop.LoopDevice) -> None:
        self.assertEqual(b'', target.read().strip(b'\xa5'))


class WriteTest(_TestCase):
    def test_sectors(self) -> None:
        for sector_size in (512, 4096):
            for image in (
                IMAGE,
                IMAGE[:-1],
                IMAGE[: 3 * MIB],
                IMAGE[: 2 * MIB + 512],
                IMAGE[: 2 * MIB - 1],
                IMAGE[: MIB + 1],
                IMAGE[:4097],
                b'x',
            ):
                for direct_io in (True, False):
                    target = self.device(sector_size=sector_size)
                    pipeline.copy(
                        whole(image),
                        target.path,
                        direct_io=direct_io,
                        verify=True,
                    )
                    what = '%d by %d' % (len(image), sector_size)
                    self.assert_device(target, image, what)
                    self.assertNotIn('direct I/O', self.log.output)

    def test_gzip(self) -> None:
        target = self.device()
        packed = gzip.compress(IMAGE, 1)
        result = pipeline.copy(whole(packed), target.path)
        self.assertEqual(pipeline.Result(len(IMAGE), 'gzip'), result)
        self.assert_device(target, IMAGE)

    def test_by_a_link(self) -> None:
        target = self.device()
        link = os.path.join(self.directory, 'disk')
        os.symlink(target.path, link)
        pipeline.copy(whole(IMAGE), link)
        self.assert_device(target, IMAGE)

    def test_exactly_full(self) -> None:
        """Also where the last sector is not a whole page."""
        for length in (8 * MIB, 8 * MIB + 512):
            for last in (b'\0', b'\x01'):
                target = self.device(length)
                image = (IMAGE + bytes(MIB))[: length - 512] + last * 512
                pipeline.copy(whole(image), target.path, verify=True)
                self.assert_device(target, image)

    def test_device_shorter_than_what_is_held_back(self) -> None:
        target = self.device(64 * 1024)
        pipeline.copy(whole(IMAGE[:60_000]), target.path, verify=True)
        self.assertEqual(IMAGE[:60_000], target.read()[:60_000])

    def test_zeros_take_no_room(self) -> None:
        """BLKZEROOUT, where dd would have written them."""
        target = self.device(64 * MIB)
        before = _data(target.backing)
        # The loop driver hands it to the file system of its file, which
        # keeps the room but no longer has anything to read there.
        image = IMAGE[:MIB] + bytes(60 * MIB) + IMAGE[:MIB]
        pipeline.copy(whole(image), target.path)
        # Before anybody reads it: what is cached there is data again.
        self.assertLess(_data(target.backing), before - 56 * MIB)
        self.assert_device(target, image)

    def test_zeros_where_they_have_to_be_written(self) -> None:
        """A device without BLKZEROOUT."""

        def refusing(fd: int, start: int, length: int) -> None:
            raise OSError(95, 'Operation not supported')

        self.patch(blockdev, 'zero_out', refusing)
        target = self.device()
        pipeline.copy(whole(IMAGE), target.path)
        self.assert_device(target, IMAGE)
        self.assertEqual(1, self.log.output.count('BLKZEROOUT'))

    def test_partitions_are_read_again(self) -> None:
        self.need_program('addpart')
        target = self.device(partition_scan=True)
        subprocess.run(
            ['addpart', target.path, '1', '2048', '4096'], check=True
        )
        name = os.path.basename(target.path)
        partition = '/sys/block/%s/%sp1' % (name, name)
        self.assertTrue(os.path.exists(partition))
        pipeline.copy(whole(IMAGE), target.path)
        self.assertFalse(os.path.exists(partition))
        self.assertNotIn('WARNING', self.log.output)

    def test_device_without_partition_scan(self) -> None:
        target = self.device()
        pipeline.copy(whole(IMAGE), target.path)
        self.assertNotIn('WARNING', self.log.output)


class RefusalTest(_TestCase):
    def _refused(
        self, cls: type[errors.Error], path: str, image: Source | None = None
    ) -> errors.Error:
        error = self.assertRaises(
            errors.Error, pipeline.copy, image or whole(IMAGE), path
        )
        assert isinstance(error, errors.Error)
        self.assertIs(cls, type(error), str(error))
        return error

    def test_too_small(self) -> None:
        target = self.device(4 * MIB)
        error = self._refused(errors.TargetTooSmall, target.path)
        self.assertIn(str(4 * MIB), str(error))
        self.assertIn(str(len(IMAGE)), str(error))
        self.assert_untouched(target)

    def test_too_small_is_known_before_the_first_byte(self) -> None:
        target = self.device(4 * MIB)

        def chunks() -> Iterator[bytes]:
            raise AssertionError('asked too early')
            yield b''

        self.assertRaises(
            errors.TargetTooSmall,
            pipeline.copy,
            Source(chunks(), 5 * MIB),
            target.path,
            container='raw',
        )
        self.assert_untouched(target)

    def test_one_byte_too_small(self) -> None:
        target = self.device(4 * MIB)
        image = whole(IMAGE[: 4 * MIB + 1])
        self._refused(errors.TargetTooSmall, target.path, image)
        self.assert_untouched(target)

    def test_unpacked_image_is_too_long(self) -> None:
        """Nobody knew before; what fits may have been written."""
        for length in (8 * MIB, 512 * 1024):
            target = self.device(length)
            packed = whole(gzip.compress(IMAGE, 1))
            error = self._refused(errors.ImageTooLong, target.path, packed)
            self.assertEqual(length, error.offset)
            self.assert_blank(target)

    def test_bomb(self) -> None:
        target = self.device(8 * MIB)
        bomb = gzip.compress(bytes(512 * MIB), 1)
        self._refused(errors.ImageTooLong, target.path, whole(bomb))
        self.assert_blank(target)

    def test_read_only(self) -> None:
        target = self.device(read_only=True)
        self.assertRaises(
            errors.TargetReadOnly, device.open_target, target.path
        )
        self.assert_untouched(target)

    def test_in_use(self) -> None:
        target = self.device()
        fd = os.open(target.path, os.O_RDONLY | os.O_EXCL)
        self.addCleanup(os.close, fd)
        self._refused(errors.TargetBusy, target.path)
        self.assert_untouched(target)

    def test_mounted(self) -> None:
        self.need_program('mkfs.ext4')
        target = self.device()
        subprocess.run(['mkfs.ext4', '-q', '-F', target.path], check=True)
        mounted = self.useFixture(
            loop.Mount(self.directory, '-o', 'ro', target.path)
        )
        before = target.read()
        self._refused(errors.TargetBusy, target.path)
        self.assertTrue(before == target.read())
        error = self._refused(errors.TargetReadOnly, mounted.path + '/target')
        self.assertIn(mounted.path, str(error))

    def test_second_copy(self) -> None:
        target = self.device()
        first = device.open_target(target.path)
        self.addCleanup(first.abort)
        self._refused(errors.TargetBusy, target.path)
        self.assert_untouched(target)

    def test_no_medium(self) -> None:
        """As a card reader without a card."""
        target = self.device()
        target.shrink(0)
        self._refused(errors.TargetMissing, target.path)

    def test_no_device_behind_the_node(self) -> None:
        path = os.path.join(self.directory, 'node')
        # Kept for local use, so no driver answers (devices.txt).
        os.mknod(path, 0o600 | 0o060000, os.makedev(240, 77))
        self._refused(errors.TargetMissing, path)

    def test_immutable_file(self) -> None:
        path = os.path.join(self.directory, 'target')
        with open(path, 'wb') as target:
            target.write(b'old')
        subprocess.run(['chattr', '+i', path], check=True)
        self.addCleanup(subprocess.run, ['chattr', '-i', path], check=True)
        self._refused(errors.TargetPermission, path)
        with open(path, 'rb') as target:
            self.assertEqual(b'old', target.read())


class FailureTest(_TestCase):
    def test_eio(self) -> None:
        for direct_io in (True, False):
            target = self.device()

            def chunks(
                target: loop.LoopDevice = target,
            ) -> Iterator[bytes]:
                yield IMAGE[: 3 * MIB]
                target.fail()
                for start in range(3 * MIB, len(IMAGE), MIB):
                    yield IMAGE[start : start + MIB]

            error = self.assertRaises(
                errors.WriteError,
                pipeline.copy,
                Source(chunks()),
                target.path,
                direct_io=direct_io,
            )
            self.assertIn('Input/output error', str(error))
            target.heal()
            self.assert_blank(target)

    def test_eio_before_anything_is_written(self) -> None:
        target = self.device()
        target.fail()
        self.assertRaises(
            errors.WriteError, pipeline.copy, whole(IMAGE), target.path
        )
        target.heal()
        self.assert_untouched(target)

    def test_eio_at_the_very_end(self) -> None:
        """The image's first mebibyte never arrives."""
        target = self.device()

        def chunks() -> Iterator[bytes]:
            yield IMAGE[: 7 * MIB]
            time.sleep(0.5)
            target.fail()

        error = self.assertRaises(
            errors.WriteError, pipeline.copy, Source(chunks()), target.path
        )
        target.heal()
        self.assert_blank(target)
        self.assertIn(target.path, str(error))

    def test_write_protected_meanwhile(self) -> None:
        target = self.device()
        # The flag outlives the file behind the device.
        self.addCleanup(target.protect, False)

        def chunks() -> Iterator[bytes]:
            yield IMAGE[: 3 * MIB]
            target.protect(True)
            yield IMAGE[3 * MIB :]

        self.assertRaises(
            errors.TargetReadOnly, pipeline.copy, Source(chunks()), target.path
        )

    def test_last_sync_fails(self) -> None:
        """The image's first mebibyte is there by then, and goes again."""
        for turn in (3, 2, 1):
            target = self.device()
            turns: list[int] = []

            def failing(
                fd: int, turns: list[int] = turns, turn: int = turn
            ) -> None:
                turns.append(fd)
                if len(turns) == turn:
                    raise OSError(errno.EIO, 'Input/output error')
                _FDATASYNC(fd)

            with fixtures.MonkeyPatch('os.fdatasync', failing):
                self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    whole(IMAGE),
                    target.path,
                )
            self.assert_blank(target)

    def test_vanishes(self) -> None:
        for length in (0, 5 * MIB):
            target = self.device()

            def chunks(
                target: loop.LoopDevice = target, length: int = length
            ) -> Iterator[bytes]:
                yield IMAGE[: 3 * MIB]
                target.shrink(length)
                yield _RANDOM.randbytes(6 * MIB)

            error = self.assertRaises(
                errors.TargetVanished,
                pipeline.copy,
                Source(chunks()),
                target.path,
            )
            self.assertIn(target.path, str(error))

    def test_full_disk(self) -> None:
        small = self.useFixture(
            loop.Mount(self.directory, '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs')
        )
        path = os.path.join(small.path, 'target')
        error = self.assertRaises(
            errors.TargetFull,
            pipeline.copy,
            whole(_RANDOM.randbytes(8 * MIB)),
            path,
        )
        assert isinstance(error, errors.TargetFull)
        assert error.offset is not None
        self.assertLessEqual(MIB, error.offset)
        # What is held back is not there yet.
        self.assertGreaterEqual(5 * MIB, error.offset)
        self.assertEqual([], os.listdir(small.path))
        with open(path, 'wb') as target:
            target.write(b'old')
        self.assertRaises(
            errors.TargetFull,
            pipeline.copy,
            whole(_RANDOM.randbytes(8 * MIB)),
            path,
        )
        self.assertEqual(0, os.stat(path).st_size)

    def test_thin_device_is_full(self) -> None:
        """ENOSPC below the length of the device."""
        small = self.useFixture(
            loop.Mount(self.directory, '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs')
        )
        target = self.useFixture(loop.LoopDevice(small.path, 2 * MIB))
        target.shrink(16 * MIB)
        target.length = 16 * MIB
        self.assertRaises(
            errors.TargetFull,
            pipeline.copy,
            whole(_RANDOM.randbytes(8 * MIB)),
            target.path,
        )
        self.assert_blank(target)

    def test_damaged_image(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        for damaged, cls in (
            (packed[:-1], errors.TruncatedError),
            (gzip.compress(b'tiny')[:-1], errors.TruncatedError),
            (packed + b'!', errors.TrailingGarbageError),
            (packed[:-8] + bytes(8), errors.CorruptError),
        ):
            target = self.device()
            self.assertRaises(cls, pipeline.copy, whole(damaged), target.path)
            self.assert_blank(target)

    def test_checksum(self) -> None:
        target = self.device()
        self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            whole(IMAGE),
            target.path,
            image_checksum='md5:' + '0' * 32,
        )
        self.assert_blank(target)

    def test_interrupted(self) -> None:
        target = self.device()

        def chunks() -> Iterator[bytes]:
            yield IMAGE
            raise KeyboardInterrupt

        self.assertRaises(
            KeyboardInterrupt, pipeline.copy, Source(chunks()), target.path
        )
        self.assert_blank(target)

    def test_killed(self) -> None:
        """At any moment, with nobody left to clean up."""
        for last in (False, True):
            target = self.device()
            process = subprocess.Popen(
                [sys.executable, '-c', _COPY, target.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            assert process.stdin is not None
            assert process.stdout is not None
            with process:
                process.stdin.write(IMAGE[: 5 * MIB])
                process.stdin.flush()
                # Some of it is on the device; the end is not known yet.
                self.assertEqual(b'begun\n', process.stdout.readline())
                if last:
                    process.stdin.write(IMAGE[5 * MIB :])
                    process.stdin.flush()
                process.kill()
            self.assert_blank(target)

    def test_spoiled_on_the_medium(self) -> None:
        for at in (MIB, len(IMAGE) - 1):
            target = self.device()
            turns: list[int] = []

            def spoiling(
                fd: int,
                target: loop.LoopDevice = target,
                turns: list[int] = turns,
                at: int = at,
            ) -> None:
                _FDATASYNC(fd)
                turns.append(fd)
                if len(turns) == 2:
                    with open(target.backing, 'r+b') as backing:
                        backing.seek(at)
                        backing.write(b'\x77')

            with fixtures.MonkeyPatch('os.fdatasync', spoiling):
                error = self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    whole(IMAGE),
                    target.path,
                    verify=True,
                )
            self.assertIn('does not give back', str(error))
            self.assert_blank(target)


def _data(path: str) -> int:
    """Return how many bytes of the file are no hole, and not unwritten."""
    found = 0
    with open(path, 'rb') as file:
        end = os.fstat(file.fileno()).st_size
        stop = 0
        while stop < end:
            try:
                start = os.lseek(file.fileno(), stop, os.SEEK_DATA)
            except OSError:
                break
            stop = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found += stop - start
    return found
