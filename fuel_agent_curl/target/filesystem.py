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

"""How long a file may be, and what room there is for it."""

from __future__ import annotations

import os
import resource
import stat

from fuel_agent_curl import errors
from fuel_agent_curl.octets import GIB
from fuel_agent_curl.target import blockdev
from fuel_agent_curl.target import oserrors

#: What the kernel calls those whose files have a length of 32 bits.
_FAT = ('vfat', 'msdos')

#: Whose files are the kernel's: to write there is to tell it something.
_KERNELS = frozenset(
    (
        *('proc', 'sysfs', 'debugfs', 'tracefs', 'configfs', 'securityfs'),
        *('cgroup', 'cgroup2', 'selinuxfs', 'smackfs', 'efivarfs', 'pstore'),
        *('bpf', 'fusectl', 'binfmt_misc', 'mqueue', 'hugetlbfs', 'nsfs'),
        *('devpts', 'rpc_pipefs', 'nfsd', 'resctrl'),
    )
)

# What stat(2) counts in, whatever the block size.
_BLOCK = 512


def check_kind(path: str, device: int) -> None:
    """Refuse a file that is none of a disk's, or of memory.

    :param device: the number of its file system, an ``st_dev``.
    :raises errors.TargetUnsuitable: for one of the kernel's own.
    """
    kind = kind_of(device)
    if kind in _KERNELS:
        raise oserrors.refusal(
            errors.TargetUnsuitable,
            "%s is one of the kernel's own files (%s), which takes no image"
            % (path, kind),
        )


def is_of_devices(device: int) -> bool:
    """Return whether it is a /dev, wherever that is mounted.

    :param device: the number of a file system, an ``st_dev``.
    """
    return kind_of(device) == 'devtmpfs'


def check_length(path: str, fd: int, length: int) -> None:
    """Refuse a length that no room would help with.

    :raises errors.TargetTooSmall: for a file above the limit of the process,
        or of a FAT, and for a device.
    """
    longest, whose = _longest(fd)
    if longest is not None and length > longest:
        raise oserrors.refusal(
            errors.TargetTooSmall,
            '%s would have to be %d bytes long, but %d is all that %s'
            % (path, length, longest, whose),
        )


def _longest(fd: int) -> tuple[int | None, str]:
    """Return how long a file, or device, may be, and what decides that."""
    status = os.fstat(fd)
    if stat.S_ISBLK(status.st_mode):
        return blockdev.size(fd), 'it has'
    limit, _hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY:
        return limit, 'this process may write (ulimit -f)'
    if kind_of(status.st_dev) in _FAT:
        return 4 * GIB - 1, 'a file may have on FAT'
    return None, ''


def check_space(path: str, fd: int, count: int, *, old: bool) -> None:
    """Refuse what would not fit on the file system.

    :param count: bytes that will take room there.
    :param old: see ``free``.
    :raises errors.TargetFull: with how much is missing.
    """
    room = free(fd, old=old)
    if room is not None and count > room:
        raise oserrors.refusal(
            errors.TargetFull,
            '%s has no room for the image: it takes %d bytes, %d are free,'
            ' %d are missing' % (path, count, room, count - room),
        )


def free(fd: int, *, old: bool) -> int | None:
    """Return the room there is for a file in bytes; quotas are not known.

    None: it has no bound, or the file system does not say.

    :param old: what the file has now will be used again.
    """
    status = os.fstatvfs(fd)
    if not status.f_blocks:
        return None
    # The last blocks of many a file system are root's.
    blocks = status.f_bavail if os.geteuid() else status.f_bfree
    room = blocks * status.f_frsize
    if old:
        room += taken(fd)
    return room


def taken(fd: int) -> int:
    """Return the room that a file takes, in bytes."""
    return os.fstat(fd).st_blocks * _BLOCK


def kind_of(device: int) -> str:
    """Return what the kernel calls the file system, '' where it is not seen.

    :param device: its number, an ``st_dev``.
    """
    number = '%d:%d' % (os.major(device), os.minor(device))
    try:
        with open('/proc/self/mountinfo', errors='replace') as mounts:
            for line in mounts:
                fields, _dash, rest = line.partition(' - ')
                if fields.split(' ')[2:3] == [number]:
                    return rest.split(' ')[0]
    except OSError:
        pass
    return ''
