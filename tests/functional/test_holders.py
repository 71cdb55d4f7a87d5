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


"""Targets that are in use: who uses them is found, and said."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import opening
from tests.support import copying
from tests.support import loop

IMAGE = copying.LONG_IMAGE

# Mounts a device where nobody else sees it, says so, and waits.
_MOUNT = """
import subprocess, sys
subprocess.run(['mount', *sys.argv[1:]], check=True)
print('mounted', flush=True)
sys.stdin.read()
"""

_WAIT = 'import sys; sys.stdin.read()'

_LOCK = """
import fcntl, os, struct, sys
disk = open(sys.argv[1], 'r+b')
lock = struct.pack('@hhqqi4x', fcntl.F_RDLCK, os.SEEK_SET, 100, 1, 0)
fcntl.fcntl(disk, fcntl.F_OFD_SETLK, lock)
print('locked', flush=True)
sys.stdin.read()
"""


class HoldersTest(copying.DeviceTestCase):
    def _assert_busy(self, path: str, *words: str) -> str:
        """Refused before anything is asked or touched."""
        with open(path, 'rb') as target:
            before = target.read(4 * MIB)
        error = self.assertRaises(
            errors.TargetBusy, pipeline.copy, copying.Source([]), path
        )
        assert isinstance(error, errors.TargetBusy)
        with open(path, 'rb') as target:
            self.assertTrue(before == target.read(4 * MIB))
        self.assertEqual('untouched', error.target_state)
        for word in (path, *words):
            self.assertIn(word, str(error))
        return str(error)

    def _assert_free(self, path: str) -> None:
        opening.open_target(path).abort()

    def _loop(self, backing: str, *options: str) -> str:
        """Make another loop device over ``backing``."""
        command = ['losetup', '--show', '--find', *options, backing]
        made = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.strip()
        self.addCleanup(
            subprocess.run, ['losetup', '--detach', made], check=True
        )
        return made

    def _node(self, path: str) -> str:
        """Make another name for the device at ``path``."""
        name = os.path.join(
            self.directory, 'node-%d' % len(os.listdir(self.directory))
        )
        os.mknod(name, 0o600 | stat.S_IFBLK, os.stat(path).st_rdev)
        return name

    def _partition(self, path: str, number: int, start: int) -> str:
        """Make a partition of a MiB; return a node for it."""
        self.need_program('addpart', 'delpart')
        subprocess.run(
            ['addpart', path, str(number), str(start * 2048), '2048'],
            check=True,
        )
        self.addCleanup(
            subprocess.run, ['delpart', path, str(number)], check=True
        )
        name = os.path.basename(path)
        with open('/sys/block/%s/%sp%d/dev' % (name, name, number)) as file:
            major, minor = map(int, file.read().split(':'))
        node = os.path.join(self.directory, 'p%d' % number)
        os.mknod(node, 0o600 | stat.S_IFBLK, os.makedev(major, minor))
        return node

    def _mount(self, *arguments: str) -> str:
        return self.useFixture(loop.Mount(self.directory, *arguments)).path

    def _mkfs(self, path: str) -> None:
        subprocess.run(['mkfs.ext4', '-q', '-F', path], check=True)

    def test_mounted(self) -> None:
        self.need_program('mkfs.ext4')
        target = self.device()
        self._mkfs(target.path)
        point = self._mount(target.path)
        for path in (target.path, self._node(target.path)):
            self._assert_busy(path, 'is mounted on ' + point, 'umount')
        self._assert_busy(target.backing, target.path, point)

    def test_partitions(self) -> None:
        """One that is mounted is in the way of its disk, and of no other."""
        self.need_program('mkfs.ext4')
        target = self.device()
        one = self._partition(target.path, 1, 1)
        two = self._partition(target.path, 2, 3)
        self._mkfs(one)
        point = self._mount(one)
        self._assert_busy(target.path, target.path + 'p1', point)
        self._assert_busy(one, point)
        self._assert_free(two)
        inner = self._loop(target.path, '--offset', str(3 * MIB))
        self._assert_busy(two, inner)

    def test_swap(self) -> None:
        self.need_program('mkswap', 'swapon', 'swapoff')
        target = self.device()
        file = os.path.join(self.directory, 'swap')
        with open(file, 'wb') as swap:
            swap.write(bytes(MIB))
        os.chmod(file, 0o600)
        for path in (target.path, file):
            subprocess.run(['mkswap', path], check=True, capture_output=True)
            subprocess.run(['swapon', path], check=True)
            self.addCleanup(subprocess.run, ['swapoff', path], check=True)
            self._assert_busy(path, 'is used as swap', 'swapoff ' + path)

    def test_loop_device_on_it(self) -> None:
        """Which claims nothing: the kernel would let us write."""
        self.need_program('mkfs.ext4')
        target = self.device()
        inner = self._loop(target.path, '--offset', str(MIB))
        node = self._node(target.path)
        for path in (target.path, node):
            self._assert_busy(path, inner, 'losetup --detach')
        self._mkfs(inner)
        point = self._mount(inner)
        self._assert_busy(node, inner, point)

    def test_loop_devices_over_one_file(self) -> None:
        target = self.device()
        far = self._loop(target.backing, '--offset', str(8 * MIB))
        near = self._loop(target.backing, '--sizelimit', str(4 * MIB))
        self._assert_busy(target.path, far, near)
        self._assert_busy(far, target.path)
        os.link(target.backing, target.backing + '-link')
        os.rename(target.backing, target.backing + '-moved')
        self.addCleanup(os.rename, target.backing + '-moved', target.backing)
        for name in ('-link', '-moved'):
            self._assert_busy(target.backing + name, far, near, target.path)

    def test_second_device_of_a_btrfs(self) -> None:
        """The kernel's list of mounts has but one of them."""
        self.need_program('mkfs.btrfs')
        one, two = self.device(128 * MIB), self.device(128 * MIB)
        made = subprocess.run(
            ['mkfs.btrfs', '-q', '-f', one.path, two.path],
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual(0, made.returncode, made.stderr)
        point = self._mount(one.path)
        for target in (one, two):
            self._assert_busy(target.path, point)

    def test_mounted_where_others_see_it(self) -> None:
        self.need_program('mkfs.ext4', 'unshare')
        target = self.device()
        self._mkfs(target.path)
        point = os.path.join(self.directory, 'elsewhere')
        os.mkdir(point)
        process = subprocess.Popen(
            [
                *('unshare', '--mount', sys.executable, '-c', _MOUNT),
                *(target.path, point),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.communicate)
        assert process.stdout is not None
        self.assertEqual(b'mounted\n', process.stdout.readline())
        self._assert_busy(target.path, point, 'process %d' % process.pid)

    def test_program_that_runs(self) -> None:
        path = os.path.join(self.directory, 'program')
        shutil.copy(sys.executable, path)
        process = subprocess.Popen([path, '-c', _WAIT], stdin=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self._assert_busy(path, 'process %d (' % process.pid, 'executes it')

    def test_locked_by_a_process(self) -> None:
        """By a lock that is no flock(2), and not of the process alone."""
        path = os.path.join(self.directory, 'disk')
        with open(path, 'wb') as file:
            file.write(b'disk of a virtual machine')
        process = subprocess.Popen(
            [sys.executable, '-c', _LOCK, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.addCleanup(process.communicate)
        assert process.stdout is not None
        self.assertEqual(b'locked\n', process.stdout.readline())
        self._assert_busy(path, 'is locked', 'process %d (' % process.pid)

    def test_held_by_a_process(self) -> None:
        target = self.device()
        fd = os.open(target.path, os.O_RDONLY | os.O_EXCL)
        with contextlib.closing(_File(fd)):
            text = self._assert_busy(
                target.path, 'process %d (' % os.getpid(), 'has it open'
            )
            self.assertNotIn('mounted', text)
        self._assert_free(target.path)

    def test_held_by_nobody_who_can_be_named(self) -> None:
        target = self.device()
        fd = os.open(self._node(target.path), os.O_RDONLY | os.O_EXCL)
        self.addCleanup(os.close, fd)
        self._assert_busy(target.path, 'nothing says by whom')

    def test_open_is_not_in_use(self) -> None:
        """As by whatever watches disks."""
        target = self.device()
        with open(target.path, 'rb'):
            self._assert_free(target.path)


class _File:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def close(self) -> None:
        os.close(self._fd)
