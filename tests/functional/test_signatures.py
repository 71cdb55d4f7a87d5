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

"""What a disk is known by: taken away, put there last, and left over."""

from __future__ import annotations

import os
import random
import subprocess

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import signatures
from fuel_agent_curl.target import writing
from tests.support import copying
from tests.support import disks
from tests.support import loop

LENGTH = 64 * MIB
_NOISE = random.Random(20261201).randbytes(9 * MIB)

#: What is behind a shorter image, and what libblkid calls it.
LEFTOVERS = {
    'zfs_member': disks.zfs(LENGTH),
    'linux_raid_member': disks.md_1_0(LENGTH),
    'isw_raid_member': disks.imsm(LENGTH),
    'gpt': disks.gpt(LENGTH),
}
_RAID = disks.md_0_90(LENGTH)


def _image(*parts: disks.Parts, length: int = 9 * MIB) -> bytes:
    known = disks.laid_out(length, {0: _NOISE[: min(length, 1024)]}, *parts)
    # What it is known by is at the beginning, noise is the rest.
    return bytes(known[:MIB]) + _NOISE[MIB:length]


class _DiskTestCase(copying.DeviceTestCase):
    def disk(
        self, *parts: disks.Parts, length: int = LENGTH, sector_size: int = 512
    ) -> loop.LoopDevice:
        target = self.device(length, fill=b'\0', sector_size=sector_size)
        with open(target.path, 'r+b', buffering=0) as device:
            for each in parts:
                for offset, data in each.items():
                    os.pwrite(device.fileno(), data, offset)
        return target

    def known(
        self, target: loop.LoopDevice, *, forced: bool = True
    ) -> set[tuple[str, int]]:
        """Return the names and offsets of all that libblkid finds."""
        with open(target.path, 'rb', buffering=0) as device:
            found = signatures.find(device.fileno(), forced=forced)
        return {(each.name, each.offset) for each in found}


class FailureTest(_DiskTestCase):
    """Nothing is found after a copy that failed, old or new."""

    def _fails(
        self, target: loop.LoopDevice, image: bytes
    ) -> errors.DigestMismatch:
        error = self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            copying.whole(image, MIB),
            target.path,
            image_checksum='md5:' + '0' * 32,
        )
        assert isinstance(error, errors.DigestMismatch)
        return error

    def test_what_was_there(self) -> None:
        for parts in (*LEFTOVERS.values(), disks.luks2(2 * MIB)):
            target = self.disk(parts)
            self._fails(target, _NOISE)
            self.assert_blank(target)
            self.assertEqual(set(), self.known(target))

    def test_what_was_written(self) -> None:
        for parts in (*LEFTOVERS.values(), disks.luks2(2 * MIB)):
            image = bytes(disks.laid_out(LENGTH, parts))
            target = self.disk()
            self._fails(target, image)
            self.assertEqual(set(), self.known(target))

    def test_last_sync_fails(self) -> None:
        image = bytes(disks.laid_out(LENGTH, disks.gpt(LENGTH)))
        for turn in range(1, 5):
            target = self.disk(disks.zfs(LENGTH))
            with copying.fail_sync(turn):
                error = self.assertRaises(
                    errors.WriteError,
                    pipeline.copy,
                    copying.whole(image, MIB),
                    target.path,
                )
            assert isinstance(error, errors.WriteError)
            self.assertIn(error.target_state, ('blank', 'incomplete'))
            self.assertEqual(set(), self.known(target), str(turn))

    def test_short_image_leaves_the_rest(self) -> None:
        target = self.disk(disks.ext2(), _RAID)
        before = target.read()
        error = self._fails(target, _NOISE[: MIB // 2])
        self.assertEqual('untouched', error.target_state)
        self.assertTrue(before == target.read())
        # It is written to only when all of it is known to be right.
        with copying.fail_sync(3):
            self.assertRaises(
                errors.WriteError,
                pipeline.copy,
                copying.whole(_NOISE[:512]),
                target.path,
            )
        after = target.read()
        self.assertEqual(b'', after[:512].strip(b'\0'))
        self.assertTrue(before[512:] == after[512:])


class PartitionTest(_DiskTestCase):
    """What the kernel has in memory of a table that is gone."""

    def setUp(self) -> None:
        super().setUp()
        self.need_program('partx')

    def _partitioned(self) -> loop.LoopDevice:
        target = self.disk(disks.mbr(2048, 8192))
        subprocess.run(['partx', '--add', target.path], check=True)
        self.assertEqual(1, self._count(target))
        return target

    def _count(self, target: loop.LoopDevice) -> int:
        name = os.path.basename(target.path)
        return sum(
            entry.startswith(name)
            for entry in os.listdir('/sys/block/' + name)
        )

    def test_failure(self) -> None:
        target = self._partitioned()
        self.assertRaises(
            errors.ImageTooShort,
            pipeline.copy,
            copying.Source([_NOISE[: 8 * MIB]], 9 * MIB),
            target.path,
        )
        self.assertEqual(0, self._count(target))

    def test_success(self) -> None:
        """The table is another now; here nobody reads it."""
        target = self._partitioned()
        pipeline.copy(copying.whole(_NOISE, MIB), target.path)
        self.assertEqual(0, self._count(target))

    def test_partition_in_use(self) -> None:
        target = self._partitioned()
        name = os.path.basename(target.path) + 'p1'
        with open('/sys/class/block/%s/dev' % name) as file:
            major, minor = file.read().split(':')
        node = os.path.join(self.directory, name)
        os.mknod(node, 0o600 | 0o060000, os.makedev(int(major), int(minor)))
        with open(node, 'rb'):
            pipeline.copy(copying.whole(_NOISE, MIB), target.path)
            self.assertIn('the kernel keeps ' + name, self.log.output)
        subprocess.run(['partx', '--delete', target.path], check=True)

    def test_short_image(self) -> None:
        target = self._partitioned()
        pipeline.copy(copying.whole(_NOISE[: MIB // 2]), target.path)
        self.assertEqual(1, self._count(target))
        subprocess.run(['partx', '--delete', target.path], check=True)


class LeftoverTest(_DiskTestCase):
    def _copy(
        self, target: loop.LoopDevice, image: bytes, *, wipe: bool = False
    ) -> None:
        pipeline.copy(
            copying.whole(image, MIB),
            target.path,
            options=writing.Options(wipe_leftovers=wipe),
        )
        self.assertTrue(image == target.read()[: len(image)])

    def test_what_hides_the_image(self) -> None:
        for name, parts in LEFTOVERS.items():
            target = self.disk(parts)
            self._copy(target, _image(disks.ext2()))
            self.assertEqual(
                {('ext2', 1080)}, self.known(target, forced=False)
            )
            self.assertIn(name, self.log.output)

    def test_what_does_not_stays(self) -> None:
        target = self.disk(disks.gpt(LENGTH))
        self._copy(target, _image(disks.ext2()))
        self.assertEqual(
            {('ext2', 1080), ('gpt', LENGTH - 512)}, self.known(target)
        )
        self.assertIn('still there behind the image: gpt', self.log.output)

    def test_wiped(self) -> None:
        for parts in LEFTOVERS.values():
            target = self.disk(parts)
            before = target.read()
            self._copy(target, _image(disks.ext2()), wipe=True)
            self.assertEqual({('ext2', 1080)}, self.known(target))
            self.assertIn('blanked what was left', self.log.output)
            # And nothing but that.
            after = target.read()
            self.assertTrue(before[9 * MIB : -MIB] == after[9 * MIB : -MIB])

    def test_of_the_image_itself(self) -> None:
        image = bytes(disks.laid_out(LENGTH, disks.gpt(LENGTH)))
        target = self.disk(disks.gpt(LENGTH))
        self._copy(target, image, wipe=True)
        self.assertEqual(
            {('PMBR', 510), ('gpt', 512), ('gpt', LENGTH - 512)},
            self.known(target),
        )
        self.assertNotIn('behind the image', self.log.output)

    def test_short_image(self) -> None:
        """A boot loader does not decide what the disk is."""
        target = self.disk(_RAID)
        before = target.read()
        self._copy(target, _NOISE[:512])
        self.assertTrue(before[512:] == target.read()[512:])
        self.assertIn('linux_raid_member', self.log.output)

    def test_nothing(self) -> None:
        self._copy(self.disk(), _image(disks.ext2()))
        self.assertNotIn('behind the image', self.log.output)

    def test_partition(self) -> None:
        """It may belong to something that has the whole disk."""
        self.need_program('partx')
        whole = self.disk(disks.mbr(2048, (LENGTH - MIB) // 512))
        subprocess.run(['partx', '--add', whole.path], check=True)
        name = os.path.basename(whole.path) + 'p1'
        with open('/sys/class/block/%s/dev' % name) as file:
            major, minor = file.read().split(':')
        node = os.path.join(self.directory, name)
        os.mknod(node, 0o600 | 0o060000, os.makedev(int(major), int(minor)))
        self.addCleanup(
            subprocess.run, ['partx', '--delete', whole.path], check=True
        )
        with open(node, 'r+b', buffering=0) as device:
            for offset, data in disks.md_0_90(LENGTH - MIB).items():
                os.pwrite(device.fileno(), data, offset)
        pipeline.copy(
            copying.whole(_image(disks.ext2()), MIB),
            node,
            options=writing.Options(wipe_leftovers=True),
        )
        self.assertIn('still there behind the image', self.log.output)
        self.assertTrue(any(whole.read()[-MIB:]))


class SectorSizeTest(_DiskTestCase):
    def test_the_other_one_is_refused(self) -> None:
        for own, other in ((512, 4096), (4096, 512)):
            image = bytes(disks.laid_out(LENGTH, disks.gpt(LENGTH, other)))
            target = self.disk(length=LENGTH, sector_size=own)
            before = target.read()
            for given, dry_run in (
                (image, False),
                (image[: MIB // 2], False),
                (image, True),
            ):
                error = self.assertRaises(
                    errors.NotForThisSectorSize,
                    pipeline.copy,
                    copying.whole(given, MIB),
                    target.path,
                    options=writing.Options(dry_run=dry_run),
                )
                assert isinstance(error, errors.NotForThisSectorSize)
                self.assertIn('sectors of %d bytes' % other, str(error))
                self.assertEqual('untouched', error.target_state)
                self.assertTrue(before == target.read())
            pipeline.copy(
                copying.whole(image, MIB),
                target.path,
                options=writing.Options(any_sector_size=True),
            )
            self.assertTrue(image == target.read())

    def test_its_own_is_not(self) -> None:
        for own, other in ((512, 4096), (4096, 512)):
            image = bytes(
                # One for each is what some images have.
                disks.laid_out(
                    LENGTH, disks.gpt(LENGTH, other), disks.gpt(LENGTH, own)
                )
                if own == 512
                else disks.laid_out(LENGTH, disks.gpt(LENGTH, own))
            )
            target = self.disk(length=LENGTH, sector_size=own)
            pipeline.copy(copying.whole(image, MIB), target.path)
            self.assertTrue(image == target.read())

    def test_what_does_not_say(self) -> None:
        """An MBR: it is made for that where its partitions begin."""
        for own, other in ((512, 4096), (4096, 512)):
            at = 2 * MIB
            file_system = {at + 1024: disks.ext2()[1024]}
            image = _image(disks.mbr(at // other, 1024))
            image = bytes(disks.laid_out(len(image), {0: image}, file_system))
            pipeline.copy(
                copying.whole(image, MIB), self.disk(sector_size=other).path
            )
            target = self.disk(sector_size=own)
            error = self.assertRaises(
                errors.NotForThisSectorSize,
                pipeline.copy,
                copying.whole(image, MIB),
                target.path,
            )
            self.assertIn('sectors of %d bytes' % other, str(error))
            self.assert_blank(target)
            pipeline.copy(
                copying.whole(image, MIB),
                target.path,
                options=writing.Options(any_sector_size=True),
            )
            # Nothing is known to begin anywhere: then nobody knows better.
            pipeline.copy(
                copying.whole(_image(disks.mbr(at // other, 1024)), MIB),
                self.disk(sector_size=own).path,
            )

    def test_table_of_a_larger_disk(self) -> None:
        image = bytes(disks.laid_out(9 * MIB, disks.gpt(LENGTH, backup=False)))
        pipeline.copy(copying.whole(image), self.disk(length=16 * MIB).path)
        self.assertIn('that of a larger disk', self.log.output)
        pipeline.copy(copying.whole(image), self.disk().path)
        self.assertEqual(1, self.log.output.count('that of a larger disk'))
