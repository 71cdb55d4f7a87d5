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

"""Fixtures of the functional tests: block devices and file systems.

All are backed by files in the test's own directory, and gone after it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess

import fixtures

from fuel_agent_curl.octets import MIB

# <linux/loop.h>
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_MAJOR = 7

# Another test may take the free device first.
_TURNS = 20


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)


class LoopDevice(fixtures.Fixture):
    """A block device.

    :param directory: where its backing file belongs: on a file system with
        attributes (ext4, xfs) for ``fail``.
    :param length: bytes; a multiple of 4096, or the last sector is short.
    :ivar fill: one byte: what the device is full of.
    :ivar path: of the device.
    :ivar backing: path of its file.
    """

    def __init__(
        self,
        directory: str,
        length: int = 16 * MIB,
        *,
        fill: bytes = b'\xa5',
        sector_size: int = 512,
        read_only: bool = False,
        partition_scan: bool = False,
    ) -> None:
        super().__init__()
        self._directory = directory
        self.length = length
        self.fill = fill
        self._read_only = read_only
        self._options = ['--sector-size', str(sector_size)]
        self._options += ['--read-only'] if read_only else []
        self._options += ['--partscan'] if partition_scan else []

    def _setUp(self) -> None:
        number = len(os.listdir(self._directory))
        self.backing = os.path.join(self._directory, 'loop-%d' % number)
        with open(self.backing, 'xb') as backing:
            piece = self.fill * MIB
            for start in range(0, self.length, MIB):
                backing.write(piece[: self.length - start])
        self.addCleanup(os.unlink, self.backing)
        self.path = self._attach()
        self.addCleanup(self._detach)
        # A test that was killed may have left it protected.
        self.protect(self._read_only)

    def _attach(self) -> str:
        for _turn in range(_TURNS):
            path = _free_loop_device()
            result = subprocess.run(
                ['losetup', *self._options, path, self.backing],
                check=False,
                capture_output=True,
                text=True,
            )
            if not result.returncode:
                return path
        raise RuntimeError('no loop device: ' + result.stderr)

    def _detach(self) -> None:
        self.heal()
        # Or whoever has the device next finds it so.
        self.protect(False)
        _run('losetup', '--detach', self.path)

    def read(self) -> bytes:
        """Return all that is on the device."""
        with open(self.path, 'rb') as device:
            return device.read()

    def fail(self) -> None:
        """From now on every write ends with EIO; reads go on."""
        # Nothing writes to an immutable file, however it was opened.
        _run('chattr', '+i', self.backing)

    def heal(self) -> None:
        """Undo ``fail``."""
        _run('chattr', '-i', self.backing)

    def protect(self, on: bool) -> None:
        """Refuse writes, or take them again."""
        _run('blockdev', '--setro' if on else '--setrw', self.path)

    def shrink(self, length: int) -> None:
        """The device has ``length`` bytes from now on; 0: as if pulled."""
        os.truncate(self.backing, length)
        _run('losetup', '--set-capacity', self.path)


def _free_loop_device() -> str:
    control = os.open('/dev/loop-control', os.O_RDWR)
    try:
        number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
    finally:
        os.close(control)
    path = '/dev/loop%d' % number
    # Where /dev is no devtmpfs (a container), nobody else makes the node.
    try:
        os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(_LOOP_MAJOR, number))
    except OSError as exc:
        if exc.errno != errno.EEXIST:
            raise
    return path


class Mount(fixtures.Fixture):
    """A mounted file system.

    :param directory: the mount point is made in it.
    :param arguments: of mount(8), without the mount point.
    :ivar path: the mount point.
    """

    def __init__(self, directory: str, *arguments: str) -> None:
        super().__init__()
        self._directory = directory
        self._arguments = arguments

    def _setUp(self) -> None:
        number = len(os.listdir(self._directory))
        self.path = os.path.join(self._directory, 'mount-%d' % number)
        os.mkdir(self.path)
        self.addCleanup(os.rmdir, self.path)
        _run('mount', *self._arguments, self.path)
        self.addCleanup(_run, 'umount', self.path)
