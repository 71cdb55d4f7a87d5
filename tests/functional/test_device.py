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
import gzip
import os
import subprocess

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import writing
from tests.support import copying
from tests.support import loop

IMAGE = copying.LONG_IMAGE


class WriteTest(copying.DeviceTestCase):
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
                        copying.whole(image),
                        target.path,
                        container='raw',
                        options=writing.Options(
                            direct_io=direct_io, verify=True
                        ),
                    )
                    what = '%d by %d' % (len(image), sector_size)
                    self.assert_device(target, image, what)
                    self.assertNotIn('direct I/O', self.log.output)

    def test_gzip(self) -> None:
        target = self.device()
        packed = gzip.compress(IMAGE, 1)
        result = pipeline.copy(copying.whole(packed), target.path)
        self.assertEqual(pipeline.Result(len(IMAGE), 'gzip'), result)
        self.assert_device(target, IMAGE)

    def test_by_a_link(self) -> None:
        target = self.device()
        link = os.path.join(self.directory, 'disk')
        os.symlink(target.path, link)
        pipeline.copy(copying.whole(IMAGE), link)
        self.assert_device(target, IMAGE)

    def test_exactly_full(self) -> None:
        """Also where the last sector is not a whole page."""
        for length in (8 * MIB, 8 * MIB + 512):
            for last in (b'\0', b'\x01'):
                target = self.device(length)
                image = (IMAGE + bytes(MIB))[: length - 512] + last * 512
                pipeline.copy(
                    copying.whole(image),
                    target.path,
                    options=writing.Options(verify=True),
                )
                self.assert_device(target, image)

    def test_device_shorter_than_what_is_held_back(self) -> None:
        target = self.device(64 * 1024)
        pipeline.copy(
            copying.whole(IMAGE[:60_000]),
            target.path,
            options=writing.Options(verify=True),
        )
        self.assertEqual(IMAGE[:60_000], target.read()[:60_000])

    def test_zeros_take_no_room(self) -> None:
        """BLKZEROOUT, where dd would have written them."""
        target = self.device(64 * MIB)
        before = _data(target.backing)
        # The loop driver hands it to the file system of its file, which
        # keeps the room but no longer has anything to read there.
        image = IMAGE[:MIB] + bytes(60 * MIB) + IMAGE[:MIB]
        pipeline.copy(copying.whole(image), target.path)
        # Before anybody reads it: what is cached there is data again.
        self.assertLess(_data(target.backing), before - 56 * MIB)
        self.assert_device(target, image)

    def test_zeros_where_they_have_to_be_written(self) -> None:
        """A device without BLKZEROOUT."""

        def refusing(fd: int, start: int, length: int) -> None:
            raise OSError(95, 'Operation not supported')

        self.patch(blockdev, 'zero_out', refusing)
        target = self.device()
        pipeline.copy(copying.whole(IMAGE), target.path)
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
        pipeline.copy(copying.whole(IMAGE), target.path)
        self.assertFalse(os.path.exists(partition))
        self.assertNotIn('WARNING', self.log.output)

    def test_device_without_partition_scan(self) -> None:
        target = self.device()
        pipeline.copy(copying.whole(IMAGE), target.path)
        self.assertNotIn('WARNING', self.log.output)


class DryRunTest(copying.DeviceTestCase):
    def test_nothing_is_written(self) -> None:
        target = self.device()
        for image in (IMAGE, IMAGE[:4097]):
            for packed, length in (
                (image, len(image)),
                (gzip.compress(image, 1), None),
            ):
                result = pipeline.copy(
                    copying.whole(packed),
                    target.path,
                    options=writing.Options(dry_run=True),
                )
                self.assertEqual(0, result.written)
                self.assertEqual(length, result.length)
                self.assertEqual(
                    sink.Description('device', 'written', 16 * MIB),
                    result.target,
                )
                self.assert_untouched(target)

    def test_what_is_refused(self) -> None:
        target = self.device(4 * MIB)
        for cls in (errors.TargetTooSmall, errors.TargetBusy):
            error = self.assertRaises(
                cls,
                pipeline.copy,
                copying.whole(IMAGE),
                target.path,
                options=writing.Options(dry_run=True),
            )
            self.assertEqual('untouched', getattr(error, 'target_state', None))
            self.assert_untouched(target)
            if cls is errors.TargetTooSmall:
                self.addCleanup(opening.open_target(target.path).abort)


class RefusalTest(copying.DeviceTestCase):
    def _refused(
        self,
        cls: type[errors.Error],
        path: str,
        image: copying.Source | None = None,
    ) -> errors.Error:
        error = self.assertRaises(
            errors.Error, pipeline.copy, image or copying.whole(IMAGE), path
        )
        assert isinstance(error, errors.Error)
        self.assertIs(cls, type(error), str(error))
        return error

    def test_empty_image(self) -> None:
        target = self.device()
        for container in 'raw', 'auto':
            self.assertRaises(
                errors.ImageTooShort,
                pipeline.copy,
                copying.whole(b''),
                target.path,
                container=container,
            )
        self.assert_untouched(target)

    def test_file_of_a_loop_device(self) -> None:
        target = self.device()
        self._refused(errors.TargetBusy, target.backing)
        self.assert_untouched(target)

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
            copying.Source(chunks(), 5 * MIB),
            target.path,
            container='raw',
        )
        self.assert_untouched(target)

    def test_one_byte_too_small(self) -> None:
        target = self.device(4 * MIB)
        image = copying.whole(IMAGE[: 4 * MIB + 1])
        self._refused(errors.TargetTooSmall, target.path, image)
        self.assert_untouched(target)

    def test_unpacked_image_is_too_long(self) -> None:
        """Nobody knew before; what fits may have been written."""
        for length in (8 * MIB, 512 * 1024):
            target = self.device(length)
            packed = copying.whole(gzip.compress(IMAGE, 1))
            error = self._refused(errors.ImageTooLong, target.path, packed)
            self.assertEqual(length, error.offset)
            self.assert_as_told(target, error)
            # Nothing is written before as much has come.
            if length < MIB:
                self.assert_untouched(target)

    def test_bomb(self) -> None:
        target = self.device(8 * MIB)
        bomb = gzip.compress(bytes(512 * MIB), 1)
        self._refused(errors.ImageTooLong, target.path, copying.whole(bomb))
        self.assert_blank(target)

    def test_read_only(self) -> None:
        target = self.device(read_only=True)
        self.assertRaises(
            errors.TargetReadOnly, opening.open_target, target.path
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
        first = opening.open_target(target.path)
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
