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

"""The partitions that the kernel has in memory.

They outlive their table on the disk, and what is in them can be mounted.
The numbers are of <linux/fs.h> and <linux/blkpg.h>.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import time

LOG = logging.getLogger(__name__)

_BLKRRPART = 0x125F
_BLKPG = 0x1269
_BLKPG_DEL_PARTITION = 2

# Whoever looks at a new partition, as udev does, has it open for a moment.
_PATIENCE = 2.0
_PAUSE = 0.05


class _Partition(ctypes.Structure):
    """struct blkpg_partition."""

    _fields_ = (
        ('start', ctypes.c_longlong),
        ('length', ctypes.c_longlong),
        ('number', ctypes.c_int),
        ('device_name', ctypes.c_char * 64),
        ('volume_name', ctypes.c_char * 64),
    )


class _Request(ctypes.Structure):
    """struct blkpg_ioctl_arg."""

    _fields_ = (
        ('operation', ctypes.c_int),
        ('flags', ctypes.c_int),
        ('length', ctypes.c_int),
        ('data', ctypes.c_void_p),
    )


def directory(fd: int) -> str:
    """Return where sysfs tells of the device; nothing may be there."""
    number = os.fstat(fd).st_rdev
    return '/sys/dev/block/%d:%d' % (os.major(number), os.minor(number))


def is_partition(fd: int) -> bool:
    """Return whether the device is a part of another."""
    return os.path.exists(os.path.join(directory(fd), 'partition'))


def numbers(fd: int) -> dict[int, str]:
    """Return the numbers and names of the partitions of the device."""
    found: dict[int, str] = {}
    real = directory(fd)
    try:
        names = os.listdir(real)
    except OSError:
        return found
    for name in names:
        try:
            with open(os.path.join(real, name, 'partition')) as file:
                found[int(file.read())] = name
        except (OSError, ValueError):
            continue
    return found


def reread(fd: int) -> None:
    """Have the kernel read the partition table of a complete image.

    EINVAL is what a partition, and a device without partition scan, answer.
    The image is complete by now, so nothing here is an error.
    """
    try:
        fcntl.ioctl(fd, _BLKRRPART)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            LOG.warning(
                'the partition table was written, but the kernel does not'
                ' read it (%s): run blockdev --rereadpt',
                exc.strerror,
            )


def forget(fd: int) -> list[str]:
    """Have the kernel forget the partitions of a device that is blank.

    :returns: the names of those that stay, because they are in use, or
        because this process may not.
    """
    if is_partition(fd):
        return []
    deadline = time.monotonic() + _PATIENCE
    # The kernel does as much by itself, but only where it scans a device for
    # partitions, and only if none of them is open.
    while True:
        busy = [_is_busy(fd, number) for number in numbers(fd)]
        if not any(busy) or time.monotonic() > deadline:
            break
        time.sleep(_PAUSE)
    return sorted(numbers(fd).values())


def _is_busy(fd: int, number: int) -> bool:
    """Delete the partition; return whether that may go better later."""
    partition = _Partition(number=number)
    request = _Request(
        _BLKPG_DEL_PARTITION,
        0,
        ctypes.sizeof(partition),
        ctypes.addressof(partition),
    )
    try:
        fcntl.ioctl(fd, _BLKPG, request)
    except OSError as exc:
        LOG.debug('partition %d cannot be deleted: %s', number, exc)
        return exc.errno == errno.EBUSY
    return False
