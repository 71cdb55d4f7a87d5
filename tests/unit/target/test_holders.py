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

"""Who uses a target, from what the kernel would say of one machine."""

from __future__ import annotations

import itertools
import os
from typing import Any

import fixtures

from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import holders
from tests import base


class Machine(fixtures.Fixture):
    """A /proc and a /sys of one's own.

    :ivar root: where they are.
    :ivar numbers: of the devices, by the paths that others name them by.
    """

    def _setUp(self) -> None:
        self.root = self.useFixture(fixtures.TempDir()).path
        self.numbers: dict[str, int] = {}
        self._minors = itertools.count()
        self._loops = itertools.count()
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.target.holders._number',
                lambda path: self.numbers.get(path, 0),
            )
        )
        # The real one would ask the loop devices of the machine we run on.
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.target.holders._loop_status', _no_node
            )
        )
        self.write('sys/dev/block/.keep', '')

    def write(self, path: str, text: str) -> str:
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, 'a') as file:
            file.write(text)
        return full

    def device(
        self,
        name: str,
        inside: str = '',
        start: int = 0,
        length: int = 64 * MIB,
    ) -> int:
        """Make a disk, or, inside of one, a partition."""
        major, minor = 8, next(self._minors)
        sysfs = 'sys/block/%s%s' % (inside and inside + '/', name)
        self.write(sysfs + '/dev', '%d:%d\n' % (major, minor))
        self.write(sysfs + '/size', '%d\n' % (length // 512))
        if inside:
            self.write(sysfs + '/partition', '1\n')
            self.write(sysfs + '/start', '%d\n' % (start // 512))
        os.symlink(
            os.path.join(self.root, sysfs),
            os.path.join(self.root, 'sys/dev/block/%d:%d' % (major, minor)),
        )
        number = os.makedev(major, minor)
        self.numbers['/dev/' + name] = number
        return number

    def hold(self, name: str, holder: str) -> None:
        """``holder``, a disk, is built on ``name``."""
        links = os.path.join(self.root, 'sys/block', name, 'holders')
        os.makedirs(links, exist_ok=True)
        os.symlink(
            os.path.join(self.root, 'sys/block', holder),
            os.path.join(links, holder),
        )

    def mount(self, point: str, source: str = 'none', number: int = 0) -> None:
        self.write(
            'proc/self/mountinfo',
            '36 35 %d:%d / %s rw,noatime master:1 - ext4 %s rw\n'
            % (os.major(number), os.minor(number), point, source),
        )

    def swap(self, path: str) -> None:
        self.write(
            'proc/swaps',
            'Filename\tType\tSize\tUsed\tPriority\n%s partition 1 0 -2\n'
            % path,
        )

    def loop(self, backing: str, start: int = 0, limit: int = 0) -> int:
        """Make a loop device over ``backing``."""
        name = 'loop%d' % next(self._loops)
        number = self.device(name, length=limit or 64 * MIB)
        for attribute, value in (
            ('backing_file', backing),
            ('offset', start),
            ('sizelimit', limit),
        ):
            self.write(
                'sys/block/%s/loop/%s' % (name, attribute), '%s\n' % value
            )
        return number

    def census(self) -> holders.Census:
        return holders.Census(self.root)

    def of_device(self, number: int) -> str:
        return holders.listed(self.census().of_device(number))

    def of_file(self, path: str) -> str:
        return holders.listed(self.census().of_file(os.stat(path)))


def _no_node(name: str, number: int) -> Any:
    raise OSError('no node')


class DeviceTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.machine = self.useFixture(Machine())
        self.disk = self.machine.device('sda')

    def _assert_used(self, number: int, *clauses: str) -> None:
        self.assertEqual(', '.join(clauses), self.machine.of_device(number))

    def test_nobody(self) -> None:
        self.machine.device('sda1', 'sda', MIB, MIB)
        other = self.machine.device('sdb')
        self.machine.mount('/srv', '/dev/sdb', other)
        self.machine.swap('/dev/sdb')
        self._assert_used(self.disk)
        self.assertIsNone(holders.releases([]))

    def test_mounted(self) -> None:
        self.machine.mount(r'/mnt/a\040b', '/dev/root', self.disk)
        self._assert_used(self.disk, 'it is mounted on /mnt/a b')

    def test_mounted_by_a_number_of_its_own(self) -> None:
        """As btrfs and bcachefs are: there the source counts."""
        self.machine.mount('/b', '/dev/sda', os.makedev(0, 35))
        self.machine.mount('/c', '/dev/sdx:/dev/sda', os.makedev(0, 36))
        self.machine.mount('/d', 'sda', os.makedev(0, 37))
        self._assert_used(
            self.disk, 'it is mounted on /b', 'it is mounted on /c'
        )

    def test_one_device_of_many(self) -> None:
        other = self.machine.device('sdb')
        for name, number in (('sda', self.disk), ('sdb', other)):
            self.machine.write(
                'sys/fs/btrfs/1-2-3/devices/%s/dev' % name,
                '8:%d\n' % os.minor(number),
            )
        self.machine.mount('/b', '/dev/sda', os.makedev(0, 35))
        self._assert_used(other, 'it is mounted on /b')

    def test_swap(self) -> None:
        self.machine.swap('/dev/sda')
        self._assert_used(self.disk, 'it is used as swap')

    def test_by_another_name(self) -> None:
        self.machine.numbers['/dev/disk/by-id/wwn 1'] = self.disk
        self.machine.swap(r'/dev/disk/by-id/wwn\0401')
        self._assert_used(self.disk, 'it is used as swap')

    def test_partition(self) -> None:
        one = self.machine.device('sda1', 'sda', MIB, MIB)
        two = self.machine.device('sda2', 'sda', 2 * MIB, MIB)
        self.machine.mount('/boot', '/dev/sda1', one)
        self._assert_used(self.disk, '/dev/sda1 is mounted on /boot')
        self._assert_used(one, 'it is mounted on /boot')
        self._assert_used(two)

    def test_partition_of_a_disk_that_is_used_as_a_whole(self) -> None:
        one = self.machine.device('sda1', 'sda', MIB, MIB)
        two = self.machine.device('sda2', 'sda', 2 * MIB, MIB)
        self.machine.mount('/srv', '/dev/sda', self.disk)
        self.machine.loop('/dev/sda', 2 * MIB, MIB)
        mounted = '/dev/sda is mounted on /srv'
        self._assert_used(one, mounted)
        self._assert_used(
            two, mounted, '/dev/sda is under the loop device /dev/loop0'
        )

    def test_what_is_built_on_it(self) -> None:
        self.machine.device('sda1', 'sda', MIB, MIB)
        mapped = self.machine.device('dm-0')
        self.machine.write('sys/block/dm-0/dm/name', 'vg-root\n')
        self.machine.write('sys/block/dm-0/dm/uuid', 'LVM-abc\n')
        array = self.machine.device('md0')
        self.machine.write('sys/block/md0/md/level', 'raid1\n')
        self.machine.hold('sda/sda1', 'md0')
        self.machine.hold('md0', 'dm-0')
        self.machine.mount('/', '/dev/mapper/vg-root', mapped)
        found = self.machine.census().of_device(self.disk)
        self.assertEqual(
            '/dev/sda1 is used by /dev/md0,'
            ' /dev/md0 is used by /dev/dm-0 (LVM vg-root),'
            ' /dev/dm-0 is mounted on /',
            holders.listed(found),
        )
        self.assertEqual(
            'end that first: umount /; dmsetup remove vg-root;'
            ' mdadm --stop /dev/md0',
            holders.releases(found),
        )
        self._assert_used(mapped, 'it is mounted on /')
        self._assert_used(
            array,
            'it is used by /dev/dm-0 (LVM vg-root)',
            '/dev/dm-0 is mounted on /',
        )

    def test_what_has_it_by_its_path(self) -> None:
        for path, who in (
            ('sys/block/zram0/backing_dev', '/dev/zram0'),
            (
                'sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/'
                'device_path',
                'the NVMe target nqn',
            ),
            (
                'sys/kernel/config/target/core/iblock_0/disk0/udev_path',
                'the SCSI target disk0',
            ),
            (
                'sys/kernel/config/usb_gadget/g1/functions/mass_storage.0/'
                'lun.0/file',
                'the USB gadget g1',
            ),
        ):
            attribute = self.machine.write(path, '/dev/sda\n')
            self._assert_used(self.disk, 'it is used by ' + who)
            os.unlink(attribute)
            self.machine.write(path, 'none\n')
            self._assert_used(self.disk)

    def test_circle(self) -> None:
        """Which only a race could show."""
        self.machine.device('dm-0')
        self.machine.hold('sda', 'dm-0')
        self.machine.hold('dm-0', 'sda')
        self._assert_used(self.disk, 'it is used by /dev/dm-0')

    def test_many(self) -> None:
        for number in range(9):
            self.machine.mount('/m%d' % number, '/dev/sda', self.disk)
            self.machine.mount('/m%d' % number, '/dev/sda', self.disk)
        found = self.machine.census().of_device(self.disk)
        self.assertTrue(holders.listed(found).endswith('/m5 and 3 more'))
        self.assertEqual('end these uses first', holders.releases(found))

    def test_nothing_to_ask(self) -> None:
        empty = self.useFixture(fixtures.TempDir()).path
        self.assertEqual([], holders.Census(empty).of_device(self.disk))
        self.assertIn('/sys is not mounted', self.log.output)


class LoopTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.machine = self.useFixture(Machine())
        self.disk = self.machine.device('sda')
        self.file = self.machine.write('image', 'x')

    def _assert_used(self, number: int, *clauses: str) -> None:
        self.assertEqual(', '.join(clauses), self.machine.of_device(number))

    def test_on_a_device(self) -> None:
        number = self.machine.loop('/dev/sda')
        self.machine.mount('/m', '/dev/loop0', number)
        self._assert_used(
            self.disk,
            'it is under the loop device /dev/loop0',
            '/dev/loop0 is mounted on /m',
        )

    def test_on_a_file(self) -> None:
        link = self.file + '-link'
        os.link(self.file, link)
        self.machine.loop(self.file, MIB)
        for path in (self.file, link):
            self.assertEqual(
                'it is under the loop device /dev/loop0',
                self.machine.of_file(path),
            )
        self.assertEqual('', self.machine.of_file(__file__))

    def test_two_over_the_same_file(self) -> None:
        """In use is what shares bytes."""
        for first, second, shared in (
            ((0, 0), (0, 0), True),
            ((0, 0), (5 * MIB, MIB), True),
            ((0, 2 * MIB), (MIB, 2 * MIB), True),
            ((0, MIB), (MIB, MIB), False),
            ((0, MIB), (MIB, 0), False),
            ((2 * MIB, MIB), (0, 2 * MIB), False),
        ):
            machine = self.useFixture(Machine())
            one = machine.loop(self.file, *first)
            two = machine.loop(self.file, *second)
            for number, other in ((one, 1), (two, 0)):
                self.assertEqual(
                    'the file under it is under the loop device /dev/loop%d'
                    % other
                    if shared
                    else '',
                    machine.of_device(number),
                    '%s %s' % (first, second),
                )

    def test_over_a_device_that_is_used(self) -> None:
        one = self.machine.device('sda1', 'sda', MIB, MIB)
        self.machine.mount('/m', '/dev/sda1', one)
        mounted = '/dev/sda1 is mounted on /m'
        self._assert_used(self.machine.loop('/dev/sda', 0, 2 * MIB), mounted)
        self._assert_used(self.machine.loop('/dev/sda', 2 * MIB, MIB))
        self._assert_used(
            self.machine.loop('/dev/sda1', 0, MIB),
            mounted,
            '/dev/sda is under the loop device /dev/loop0',
        )

    def test_over_a_loop_device_over_a_file(self) -> None:
        self.machine.loop(self.file, MIB)
        top = self.machine.loop('/dev/loop0', MIB, MIB)
        self._assert_used(top)
        self.machine.loop(self.file, 2 * MIB, MIB)
        self._assert_used(
            top, 'the file under it is under the loop device /dev/loop2'
        )

    def test_detached_in_this_moment(self) -> None:
        for backing in ('', '/gone', '/dev/gone (deleted)'):
            self.machine.loop(backing)
        self._assert_used(self.disk)
        self.assertEqual('', self.machine.of_file(self.file))

    def test_asked_itself(self) -> None:
        """What sysfs says is a path, which may lead elsewhere by now."""
        status = os.stat(self.file)
        number = self.machine.loop('/elsewhere')
        self.patch(
            holders,
            '_loop_status',
            lambda name, asked: (
                (status.st_dev, status.st_ino),
                self.disk if asked == number else 0,
                0,
                0,
            ),
        )
        self.machine.loop('/elsewhere')
        self.assertEqual(
            'it is under the loop device /dev/loop1',
            self.machine.of_file(self.file),
        )
        self._assert_used(self.disk, 'it is under the loop device /dev/loop0')


class FilesTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.machine = self.useFixture(Machine())
        self.file = self.machine.write('image', 'x')

    def test_swap(self) -> None:
        self.machine.swap(self.file)
        self.assertEqual('it is used as swap', self.machine.of_file(self.file))

    def test_mounted_without_a_loop_device(self) -> None:
        """As erofs, and what FUSE has of archives."""
        self.machine.mount('/m', self.file, os.makedev(0, 41))
        self.assertEqual(
            'it is mounted on /m', self.machine.of_file(self.file)
        )

    def test_where_a_device_is_mounted_on_a_file(self) -> None:
        """The file is where it is seen, not what is mounted."""
        self.machine.mount(self.file, '/dev/sda', os.makedev(8, 1))
        self.assertEqual('', self.machine.of_file(self.file))

    def test_exported(self) -> None:
        self.machine.write(
            'sys/kernel/config/nvmet/subsystems/nqn/namespaces/1/device_path',
            self.file + '\n',
        )
        self.assertEqual(
            'it is used by the NVMe target nqn',
            self.machine.of_file(self.file),
        )
