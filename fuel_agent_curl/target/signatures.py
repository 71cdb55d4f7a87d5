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

"""What libblkid makes of a disk: file systems, RAID members, partition tables.

It is what udev, systemd, mount(8) and wipefs(8) go by, so it alone decides
what looks like something; there is no table of signatures here. Nearly every
Linux system has the library, for mount(8) needs it. Where it is missing,
nothing is found, and that is said once.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import ctypes
import errno
import functools
import logging
import os
import typing

LOG = logging.getLogger(__name__)

# <blkid.h>
_SUBLKS_TYPE = 1 << 5
_SUBLKS_MAGIC = 1 << 9
_SUBLKS_BADCSUM = 1 << 10
_PARTS_FORCE_GPT = 1 << 1
_PARTS_MAGIC = 1 << 3

# Partitions are told in units of this, whatever the sectors are.
_UNIT = 512

# A ZFS member has a hundred in each of its four labels.
_MOST = 4096


class Signature(typing.NamedTuple):
    """Bytes that something is known by.

    :ivar offset: of the first one, on the disk.
    :ivar magic: the bytes.
    :ivar name: libblkid's for it: ext4, zfs_member, gpt...
    """

    offset: int
    magic: bytes
    name: str

    @property
    def stop(self) -> int:
        return self.offset + len(self.magic)


def find(
    fd: int, *, sector_size: int = 0, offset: int = 0, forced: bool = True
) -> list[Signature]:
    """Return everything that the disk, or the image of one, is known by.

    :param fd: open for reading, and not past the page cache.
    :param offset: byte of it where what is looked at begins.
    :param sector_size: bytes; 0: what the device says, 512 for a file.
    :param forced: what wipefs(8) finds, as backups and what something else
        hides; else what blkid(8) with -p does.
    :returns: by their offsets; nothing where there is no libblkid.
    :raises OSError: when it cannot be read.
    """
    with _probing(fd, offset, sector_size) as (library, probe):
        if library is None:
            return []
        library.blkid_probe_enable_superblocks(probe, 1)
        library.blkid_probe_set_superblocks_flags(
            probe,
            _SUBLKS_TYPE | _SUBLKS_MAGIC | (_SUBLKS_BADCSUM if forced else 0),
        )
        library.blkid_probe_enable_partitions(probe, 1)
        library.blkid_probe_set_partitions_flags(
            probe, _PARTS_MAGIC | (_PARTS_FORCE_GPT if forced else 0)
        )
        return _found(library, probe, forced)


def starts(fd: int, sector_size: int) -> list[int]:
    """Return where the partitions of a disk begin, in bytes.

    :param sector_size: what its partition table counts in, in bytes.
    :raises OSError: when it cannot be read.
    """
    with _probing(fd, 0, sector_size) as (library, probe):
        if library is None:
            return []
        library.blkid_probe_enable_partitions(probe, 1)
        listed = library.blkid_probe_get_partitions(probe)
        if not listed:
            return []
        return [
            library.blkid_partition_get_start(
                library.blkid_partlist_get_partition(listed, number)
            )
            * _UNIT
            for number in range(
                library.blkid_partlist_numof_partitions(listed)
            )
        ]


@contextlib.contextmanager
def _probing(
    fd: int, offset: int, sector_size: int
) -> Iterator[tuple[ctypes.CDLL | None, int]]:
    library = _library()
    if library is None:
        yield None, 0
        return
    probe = library.blkid_new_probe()
    if not probe:
        raise MemoryError
    try:
        if library.blkid_probe_set_device(probe, fd, offset, 0):
            raise _failure()
        if sector_size:
            library.blkid_probe_set_sectorsize(probe, sector_size)
        yield library, probe
    finally:
        library.blkid_free_probe(probe)


def names(found: Sequence[Signature]) -> str:
    """Return what was found, for people: each name, and where it begins."""
    first: dict[str, int] = {}
    for signature in found:
        first.setdefault(signature.name, signature.offset)
    return ', '.join(
        '%s (at byte %d)' % (name, offset) for name, offset in first.items()
    )


def _found(library: ctypes.CDLL, probe: int, forced: bool) -> list[Signature]:
    found: set[Signature] = set()
    while len(found) < _MOST:
        code = library.blkid_do_probe(probe)
        if code < 0:
            raise _failure()
        if code:
            break
        signature = _current(library, probe)
        if signature is None or signature in found:
            continue
        found.add(signature)
        if forced:
            # The same prober may know more copies of it.
            library.blkid_probe_hide_range(
                probe, signature.offset, len(signature.magic)
            )
            library.blkid_probe_step_back(probe)
    return sorted(found)


def _current(library: ctypes.CDLL, probe: int) -> Signature | None:
    for kind, place, magic in (
        (b'TYPE', b'SBMAGIC_OFFSET', b'SBMAGIC'),
        (b'PTTYPE', b'PTMAGIC_OFFSET', b'PTMAGIC'),
    ):
        name = _value(library, probe, kind)
        if name is None:
            continue
        offset = _value(library, probe, place)
        found = _value(library, probe, magic)
        if offset is not None and found:
            return Signature(
                int(offset.rstrip(b'\0')),
                found,
                name.rstrip(b'\0').decode('ascii', 'replace'),
            )
    return None


def _value(library: ctypes.CDLL, probe: int, name: bytes) -> bytes | None:
    data = ctypes.c_void_p()
    length = ctypes.c_size_t()
    if library.blkid_probe_lookup_value(
        probe, name, ctypes.byref(data), ctypes.byref(length)
    ):
        return None
    return ctypes.string_at(data.value or 0, length.value)


def _failure() -> OSError:
    code = ctypes.get_errno() or errno.EIO
    return OSError(code, os.strerror(code))


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL('libblkid.so.1', use_errno=True)
        for name, result, *arguments in _FUNCTIONS:
            function = getattr(library, name)
            function.restype = result
            function.argtypes = arguments
    except (OSError, AttributeError) as exc:
        LOG.warning(
            'libblkid of util-linux 2.31 or newer is needed to see what a'
            ' disk looks like behind its first mebibyte (%s): nobody looks',
            exc,
        )
        return None
    return library


_PROBE = ctypes.c_void_p
_FUNCTIONS = (
    ('blkid_new_probe', _PROBE),
    ('blkid_free_probe', None, _PROBE),
    (
        'blkid_probe_set_device',
        *(ctypes.c_int, _PROBE, ctypes.c_int),
        *(ctypes.c_int64, ctypes.c_int64),
    ),
    ('blkid_probe_set_sectorsize', ctypes.c_int, _PROBE, ctypes.c_uint),
    ('blkid_probe_enable_superblocks', ctypes.c_int, _PROBE, ctypes.c_int),
    ('blkid_probe_set_superblocks_flags', ctypes.c_int, _PROBE, ctypes.c_int),
    ('blkid_probe_enable_partitions', ctypes.c_int, _PROBE, ctypes.c_int),
    ('blkid_probe_set_partitions_flags', ctypes.c_int, _PROBE, ctypes.c_int),
    ('blkid_do_probe', ctypes.c_int, _PROBE),
    ('blkid_probe_get_partitions', ctypes.c_void_p, _PROBE),
    ('blkid_partlist_numof_partitions', ctypes.c_int, ctypes.c_void_p),
    (
        'blkid_partlist_get_partition',
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    ),
    ('blkid_partition_get_start', ctypes.c_int64, ctypes.c_void_p),
    (
        'blkid_probe_lookup_value',
        *(ctypes.c_int, _PROBE, ctypes.c_char_p),
        *(ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_size_t)),
    ),
    (
        'blkid_probe_hide_range',
        *(ctypes.c_int, _PROBE, ctypes.c_uint64, ctypes.c_uint64),
    ),
    ('blkid_probe_step_back', ctypes.c_int, _PROBE),
)
