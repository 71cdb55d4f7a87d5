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

"""What the kernel knows about a block device, and does for it.

Only the calls; what their failures mean is decided in ``sink``. The numbers
are of <linux/fs.h>, and the same on every architecture fuel-agent runs on
(x86, arm): Python has no names for them.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct

LOG = logging.getLogger(__name__)

_BLKROGET = 0x125E
_BLKSSZGET = 0x1268
_BLKZEROOUT = 0x127F
# The size of a size_t is in there.
_BLKGETSIZE64 = 0x80001272 | struct.calcsize('N') << 16


def size(fd: int) -> int:
    """Return the length of the device in bytes; 0: it has no medium."""
    # Not by its offset, which others may share.
    packed = fcntl.ioctl(fd, _BLKGETSIZE64, bytes(8))
    length: int = struct.unpack('=Q', packed)[0]
    return length


def sector_size(fd: int) -> int:
    """Return the logical sector size in bytes: what writes are aligned to."""
    return int(_int_ioctl(fd, _BLKSSZGET))


def is_read_only(fd: int) -> bool:
    """Return whether the device refuses writes.

    The kernel lets a read-only device be opened for writing, and refuses
    every write only (seen with a read-only loop device).
    """
    return bool(_int_ioctl(fd, _BLKROGET))


def is_present(fd: int, expected: int) -> bool:
    """Return whether the device still is as long as ``expected`` bytes.

    A disk that was pulled out answers EIO, as a bad one does, but has lost
    its length and its place in sysfs.
    """
    try:
        if size(fd) < expected:
            return False
        number = os.fstat(fd).st_rdev
    except OSError:
        return False
    sysfs = '/sys/dev/block'
    return not os.path.isdir(sysfs) or os.path.exists(
        '%s/%d:%d' % (sysfs, os.major(number), os.minor(number))
    )


def zero_out(fd: int, start: int, length: int) -> None:
    """Make ``length`` bytes from ``start`` read as zeros; both in sectors.

    The device does it where it can (WRITE ZEROES, or a loop device's file
    system), else the kernel writes zeros. It is never a discard, after which
    some devices give the old bytes back.
    """
    fcntl.ioctl(fd, _BLKZEROOUT, struct.pack('=QQ', start, length))


def _int_ioctl(fd: int, request: int) -> int:
    packed = fcntl.ioctl(fd, request, struct.pack('i', 0))
    value: int = struct.unpack('i', packed)[0]
    return value
