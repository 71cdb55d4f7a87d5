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

"""Who uses a block device or a file: the one place that answers that.

The kernel is asked (/proc, /sys, and the loop devices themselves), by the
numbers of devices and inodes: a device has many names, and none of them need
be in /dev. A device is in use when what it holds, or a part of it, is mounted,
swapped to, or held by another device: its partitions, what is built on it,
and, below a loop device, what shares the bytes under that.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import fcntl
import glob
import logging
import os
import re
import stat
import struct

from fuel_agent_curl import values

LOG = logging.getLogger(__name__)

_SECTOR = 512

# <linux/loop.h>: LOOP_GET_STATUS64 and what it fills in: the device and inode
# of the file, its number where that is a device itself, offset and limit.
_LOOP_GET_STATUS64 = 0x4C05
_LOOP_INFO = struct.Struct('=QQQQQ192x')

#: Attributes that hold the path of what they use, who that is, and which part
#: of the attribute's path has the name. Most of these do not open a device
#: exclusively, so that nothing else would tell.
_NAMED = (
    ('sys/block/zram*/backing_dev', '/dev/%s', 2),
    (
        'sys/kernel/config/nvmet/subsystems/*/namespaces/*/device_path',
        'the NVMe target %s',
        5,
    ),
    (
        'sys/kernel/config/target/core/*/*/udev_path',
        'the SCSI target %s',
        6,
    ),
    (
        'sys/kernel/config/usb_gadget/*/functions/mass_storage.*/lun.*/file',
        'the USB gadget %s',
        4,
    ),
)

# struct flock of fcntl(2): type, whence, start, length, process.
_FLOCK = struct.Struct('@hhqqi4x')

# What /proc escapes in a path: blank, tab, newline, backslash, '#'.
_ESCAPE = re.compile(r'\\([0-7]{3})')

# More of them are counted only: hosts of containers mount one device often.
_SHOWN = 6


@values.dataclass(frozen=True)
class Holder:
    """One use of a device or a file.

    :ivar what: a clause: who uses what.
    :ivar release: the command that ends it; None where there is no one.
    """

    what: str
    release: str | None = None


@values.dataclass(frozen=True)
class _Loop:
    """A loop device, and which bytes of what it reads and writes.

    :ivar stop: None for as far as there is anything.
    """

    name: str
    number: int
    inode: tuple[int, int]
    device: int
    start: int
    stop: int | None


@values.dataclass(frozen=True)
class _Mount:
    number: int
    point: str
    source: str


def listed(found: Iterable[Holder]) -> str:
    """Return all clauses as one, the first ones where there are many."""
    clauses = list(dict.fromkeys(holder.what for holder in found))
    text = ', '.join(clauses[:_SHOWN])
    if len(clauses) > _SHOWN:
        text += ' and %d more' % (len(clauses) - _SHOWN)
    return text


def releases(found: Iterable[Holder]) -> str | None:
    """Return what to do to have all of them end, the topmost first."""
    commands = [holder.release for holder in found if holder.release]
    commands = list(dict.fromkeys(reversed(commands)))
    if not commands:
        return None
    if len(commands) > _SHOWN:
        return 'end these uses first'
    return 'end that first: ' + '; '.join(commands)


class Census:
    """Who uses what, at the time it is made.

    :param root: where /proc and /sys are found.
    """

    def __init__(self, root: str = '/') -> None:
        self._root = root
        if not os.path.isdir(self._path('sys/dev/block')):
            LOG.warning(
                '/sys is not mounted: nobody knows whether a device is in use,'
                ' unless it is held exclusively'
            )
        self._mounts = list(_mounts(self._path('proc/self/mountinfo')))
        self._loops = list(self._find_loops())

    def of_device(self, number: int) -> list[Holder]:
        """Return who uses the block device ``number``, an ``st_rdev``."""
        found = list(self._on(number, 'it', {number}))
        below = self._below(number, 0, self._size(number), {number})
        return [*found, *below]

    def of_file(self, status: os.stat_result) -> list[Holder]:
        """Return who uses the regular file that ``status`` is of."""
        inode = (status.st_dev, status.st_ino)
        return list(self._of_inode(inode, 'it', 0, None, set()))

    def is_mount_point(self, path: str) -> bool:
        """Return whether something is mounted on ``path``, a real path."""
        return any(mount.point == path for mount in self._mounts)

    def elsewhere(self, number: int) -> list[Holder]:
        """Return where others have the device ``number``, or part of it.

        For a device that is held, though nobody here does: by a mount that is
        not seen from here, or by a process. That takes a look at every
        process, as far as it is allowed.
        """
        numbers = {number}
        if disk := self._disk(number):
            numbers.add(disk)
        numbers.update(part for part, _start, _stop in self._parts(number))
        found = []
        seen = {_view('self')}
        for process in _processes():
            if (view := _view(process)) in seen:
                continue
            seen.add(view)
            for mount in _mounts('/proc/%s/mountinfo' % process):
                if mount.number in numbers:
                    found.append(
                        Holder(
                            'it is mounted on %s, as %s sees it'
                            % (mount.point, _process(process))
                        )
                    )
        return found or [
            Holder('%s has it open' % _process(process))
            for process in _processes()
            if _has_open(process, numbers)
        ]

    # What a device holds, and what holds that.

    def _on(
        self,
        number: int,
        name: str,
        seen: set[int],
        start: int = 0,
        stop: int | None = None,
    ) -> Iterator[Holder]:
        """Find who uses [start, stop) of a device, from the outside in."""
        yield from self._claims(number, name, seen)
        for part, first, last in self._parts(number):
            if part not in seen and _overlap(start, stop, first, last):
                yield from self._on(part, self._name(part), seen | {part})
        for loop in self._loops:
            if loop.device == number:
                yield from self._loop(loop, name, seen, start, stop)

    def _claims(
        self, number: int, name: str, seen: set[int]
    ) -> Iterator[Holder]:
        """Find who uses all of a device at once."""
        for mount in self._mounts:
            if self._is_mount_of(mount, number):
                yield _mounted(name, mount)
        for path in self._swaps():
            if _number(path) == number:
                yield Holder('%s is used as swap' % name, 'swapoff %s' % path)
        for path, who in self._attributes():
            if _number(path) == number:
                yield Holder('%s is used by %s' % (name, who))
        for holder in self._holders(number):
            if holder not in seen:
                yield self._held(name, holder)
                yield from self._on(
                    holder, self._name(holder), seen | {holder}
                )

    def _below(
        self, number: int, start: int, stop: int, seen: set[int]
    ) -> Iterator[Holder]:
        """Find who else uses the bytes that are under [start, stop)."""
        if disk := self._disk(number):
            first = self._attribute(number, 'start') * _SECTOR
            yield from self._shared(disk, first + start, first + stop, seen)
        for loop in self._loops:
            if loop.number != number:
                continue
            start, stop = loop.start + start, loop.start + stop
            if loop.device:
                yield from self._shared(loop.device, start, stop, seen)
            else:
                name = 'the file under it'
                yield from self._of_inode(loop.inode, name, start, stop, seen)

    def _shared(
        self, number: int, start: int, stop: int, seen: set[int]
    ) -> Iterator[Holder]:
        seen = seen | {number}
        yield from self._on(number, self._name(number), seen, start, stop)
        yield from self._below(number, start, stop, seen)

    def _of_inode(
        self,
        inode: tuple[int, int],
        name: str,
        start: int,
        stop: int | None,
        seen: set[int],
    ) -> Iterator[Holder]:
        """Find who uses [start, stop) of a regular file."""
        for path in self._swaps():
            if _inode(path) == inode:
                yield Holder('%s is used as swap' % name, 'swapoff %s' % path)
        for mount in self._mounts:
            # A file system that reads its image by itself.
            if not os.major(mount.number) and _inode(mount.source) == inode:
                yield _mounted(name, mount)
        for path, who in self._attributes():
            if _inode(path) == inode:
                yield Holder('%s is used by %s' % (name, who))
        for loop in self._loops:
            if not loop.device and loop.inode == inode:
                yield from self._loop(loop, name, seen, start, stop)

    def _loop(
        self,
        loop: _Loop,
        name: str,
        seen: set[int],
        start: int,
        stop: int | None,
    ) -> Iterator[Holder]:
        if loop.number in seen or not _overlap(
            start, stop, loop.start, loop.stop
        ):
            return
        yield Holder(
            '%s is under the loop device %s' % (name, loop.name),
            'losetup --detach %s' % loop.name,
        )
        seen = seen | {loop.number}
        yield from self._on(loop.number, loop.name, seen)

    def _is_mount_of(self, mount: _Mount, number: int) -> bool:
        if mount.number == number:
            return True
        if os.major(mount.number):
            return False
        # One with a number of its own. Of the devices of a btrfs, the source
        # is one; bcachefs has all of them there.
        numbers = self._siblings(number)
        sources = (mount.source, *mount.source.split(':'))
        return any(_number(source) in numbers for source in sources)

    # What /proc and /sys say.

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path)

    def _sysfs(self, number: int) -> str:
        return self._path(
            'sys/dev/block/%d:%d' % (os.major(number), os.minor(number))
        )

    def _name(self, number: int) -> str:
        name = os.path.basename(os.path.realpath(self._sysfs(number)))
        return '/dev/' + name.replace('!', '/')

    def _attribute(self, number: int, name: str) -> int:
        return int(_read('%s/%s' % (self._sysfs(number), name)) or 0)

    def _size(self, number: int) -> int:
        return self._attribute(number, 'size') * _SECTOR

    def _disk(self, number: int) -> int:
        """Return the disk that the device is a partition of, else 0."""
        if not os.path.exists(self._sysfs(number) + '/partition'):
            return 0
        return _device_number(_read(self._sysfs(number) + '/../dev'))

    def _parts(self, number: int) -> Iterator[tuple[int, int, int]]:
        """Iterate over the partitions, and where each starts and stops."""
        pattern = glob.escape(self._sysfs(number)) + '/*/partition'
        for path in sorted(glob.glob(pattern)):
            found = _device_number(_read(os.path.dirname(path) + '/dev'))
            if found:
                start = self._attribute(found, 'start') * _SECTOR
                yield found, start, start + self._size(found)

    def _siblings(self, number: int) -> set[int]:
        """Return all devices of the btrfs that the device is one of."""
        for path in glob.glob(self._path('sys/fs/btrfs/*/devices')):
            pattern = glob.escape(path) + '/*/dev'
            found = {_device_number(_read(dev)) for dev in glob.glob(pattern)}
            if number in found:
                return found
        return {number}

    def _holders(self, number: int) -> Iterator[int]:
        """Iterate over what the device is a part of: md, dm, bcache, drbd."""
        pattern = glob.escape(self._sysfs(number)) + '/holders/*/dev'
        for path in sorted(glob.glob(pattern)):
            if found := _device_number(_read(path)):
                yield found

    def _held(self, name: str, holder: int) -> Holder:
        device = self._name(holder)
        sysfs = self._sysfs(holder)
        if title := _read(sysfs + '/dm/name'):
            # As in LVM-..., CRYPT-..., mpath-...
            kind = _read(sysfs + '/dm/uuid').partition('-')[0]
            return Holder(
                '%s is used by %s (%s)'
                % (name, device, ' '.join(filter(None, (kind, title)))),
                'dmsetup remove %s' % title,
            )
        release = None
        if os.path.isdir(sysfs + '/md'):
            release = 'mdadm --stop %s' % device
        return Holder('%s is used by %s' % (name, device), release)

    def _swaps(self) -> Iterator[str]:
        for line in _read(self._path('proc/swaps')).splitlines()[1:]:
            yield _unescape(line.split()[0])

    def _attributes(self) -> Iterator[tuple[str, str]]:
        for pattern, who, place in _NAMED:
            for path in sorted(glob.glob(self._path(pattern))):
                if (used := _read(path)).startswith('/'):
                    parts = os.path.relpath(path, self._root).split('/')
                    yield used, who % parts[place]

    def _find_loops(self) -> Iterator[_Loop]:
        for sysfs in sorted(glob.glob(self._path('sys/block/loop*/loop'))):
            number = _device_number(_read(sysfs + '/../dev'))
            if number and (loop := self._ask_loop(sysfs, number)):
                yield loop

    def _ask_loop(self, sysfs: str, number: int) -> _Loop | None:
        name = self._name(number)
        try:
            inode, device, start, limit = _loop_status(name, number)
        except OSError:
            # There is no node, or it is not ours to open.
            backing = _read(sysfs + '/backing_file')
            device, found = _number(backing), _inode(backing)
            if not device and found is None:
                return None
            inode = found or (0, 0)
            start = int(_read(sysfs + '/offset') or 0)
            limit = int(_read(sysfs + '/sizelimit') or 0)
        stop = start + limit if limit else None
        return _Loop(name, number, inode, device, start, stop)


def of_lock(fd: int, path: str) -> list[Holder]:
    """Return who has locked a part of the open file, by fcntl(2).

    As virtual machines lock their disks; flock(2) is another lock.

    :param path: the file's real path.
    """
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        reply = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    except OSError:
        # There are no locks there.
        return []
    kind, _whence, _start, _length, process = _FLOCK.unpack(reply)
    if kind == fcntl.F_UNLCK:
        return []
    if process > 0:
        return [Holder('it is locked by %s' % _process(str(process)))]
    # A lock of the open file, which several may have.
    return [
        Holder('it is locked, and %s has it open' % _process(process))
        for process in _processes()
        if process != str(os.getpid()) and _links(process, 'fd', path)
    ] or [Holder('it is locked by another process')]


def of_program(path: str) -> list[Holder]:
    """Return who executes the file, or has it mapped as a program's part.

    :param path: the file's real path.
    """
    return [
        Holder('%s executes it' % _process(process))
        for process in _processes()
        if _links(process, 'exe', path)
    ] or [Holder('it is being executed')]


def _loop_status(
    name: str, number: int
) -> tuple[tuple[int, int], int, int, int]:
    """Ask a loop device what it is over.

    :raises OSError: also where it is over nothing any more.
    """
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(fd)
        if not stat.S_ISBLK(status.st_mode) or status.st_rdev != number:
            raise OSError('%s is something else' % name)
        packed = fcntl.ioctl(fd, _LOOP_GET_STATUS64, bytes(_LOOP_INFO.size))
    finally:
        os.close(fd)
    device, inode, rdevice, start, limit = _LOOP_INFO.unpack(packed)
    # The kernel's form of a number is that of stat(2).
    return (device, inode), rdevice, start, limit


def _mounted(name: str, mount: _Mount) -> Holder:
    return Holder(
        '%s is mounted on %s' % (name, mount.point), 'umount %s' % mount.point
    )


def _overlap(
    start: int, stop: int | None, first: int, last: int | None
) -> bool:
    return (stop is None or first < stop) and (last is None or start < last)


def _mounts(path: str) -> Iterator[_Mount]:
    """Read a mountinfo (proc_pid_mountinfo(5))."""
    for line in _read(path).splitlines():
        fields, _dash, source = line.partition(' - ')
        parts, sources = fields.split(' '), source.split(' ')
        if len(parts) > 4 and len(sources) > 1:
            yield _Mount(
                _device_number(parts[2]),
                _unescape(parts[4]),
                _unescape(sources[1]),
            )


def _processes() -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(filter(str.isdigit, os.listdir('/proc')), key=int)
    return []


def _view(process: str) -> tuple[str, str]:
    """Return what decides which mounts a process sees."""
    with contextlib.suppress(OSError):
        return (
            os.readlink('/proc/%s/ns/mnt' % process),
            os.readlink('/proc/%s/root' % process),
        )
    return ('', '')


def _has_open(process: str, numbers: set[int]) -> bool:
    with contextlib.suppress(OSError):
        for name in os.listdir('/proc/%s/fd' % process):
            path = '/proc/%s/fd/%s' % (process, name)
            with contextlib.suppress(OSError):
                # What is not in /dev may be on a server that does not answer.
                if (
                    os.readlink(path).startswith('/dev/')
                    and _number(path) in numbers
                ):
                    return True
    return False


def _links(process: str, name: str, path: str) -> bool:
    """Return whether a link of a process, or one in a folder of it, is it."""
    top = '/proc/%s/%s' % (process, name)
    with contextlib.suppress(OSError):
        if name != 'fd':
            return os.readlink(top) == path
        for each in os.listdir(top):
            with contextlib.suppress(OSError):
                if os.readlink('%s/%s' % (top, each)) == path:
                    return True
    return False


def _process(process: str) -> str:
    return 'process %s (%s)' % (process, _read('/proc/%s/comm' % process))


def _read(path: str) -> str:
    """Return the text of a file without its last newline, '' without one."""
    with contextlib.suppress(OSError):
        with open(path, errors='surrogateescape') as file:
            return file.read().rstrip('\n')
    return ''


def _unescape(path: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), path)


def _device_number(text: str) -> int:
    """Return the number of 'MAJOR:MINOR', 0 for anything else."""
    major, _colon, minor = text.partition(':')
    if not (major.isdigit() and minor.isdigit()):
        return 0
    return os.makedev(int(major), int(minor))


def _number(path: str) -> int:
    """Return which block device ``path`` is, 0 for anything else."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)
        if stat.S_ISBLK(status.st_mode):
            return status.st_rdev
    return 0


def _inode(path: str) -> tuple[int, int] | None:
    """Return which file ``path`` is; None where there is none."""
    with contextlib.suppress(OSError, ValueError):
        if path.startswith('/'):
            status = os.stat(path)
            return status.st_dev, status.st_ino
    return None
