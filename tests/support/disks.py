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

"""What disks are known by: as little as libblkid takes for the real thing.

Each function returns bytes by the offset where they belong.
"""

from __future__ import annotations

import binascii
import struct
import uuid

from fuel_agent_curl.octets import KIB

#: Bytes by their offsets.
Parts = dict[int, bytes]

_LINUX = uuid.UUID('0fc63daf-8483-4772-8e79-3d69d8477de4').bytes_le
_ENTRIES = 128
_ENTRY_LENGTH = 128


def laid_out(length: int, *parts: Parts, fill: bytes = b'\0') -> bytearray:
    """Return a disk of ``length`` bytes full of ``fill``, with ``parts``."""
    disk = bytearray(length if fill == b'\0' else fill * length)
    for each in parts:
        for offset, data in each.items():
            disk[offset : offset + len(data)] = data
    return disk


def mbr(start: int = 2048, count: int = 2048, kind: int = 0x83) -> Parts:
    """A partition table with one partition; ``start`` in sectors."""
    entry = struct.pack('<B3xB3xII', 0x80, kind, start, count)
    return {446: entry.ljust(64, b'\0') + b'\x55\xaa'}


def gpt(length: int, sector: int = 512, *, backup: bool = True) -> Parts:
    """A GPT of a disk of ``length`` bytes with one partition.

    :param backup: with the second copy, at the end.
    """
    last = length // sector - 1
    table = _ENTRIES * _ENTRY_LENGTH // sector
    first_usable, last_usable = 2 + table, last - table - 1
    entry = struct.pack(
        '<16s16sQQQ72s',
        _LINUX,
        uuid.UUID(int=1).bytes_le,
        first_usable,
        last_usable,
        0,
        'root'.encode('utf-16-le'),
    )
    entries = entry.ljust(_ENTRIES * _ENTRY_LENGTH, b'\0')

    def header(own: int, other: int, at: int) -> bytes:
        fields = [
            *(b'EFI PART', 0x10000, 92, 0, own, other),
            *(first_usable, last_usable, uuid.UUID(int=2).bytes_le, at),
            *(_ENTRIES, _ENTRY_LENGTH, binascii.crc32(entries)),
        ]
        layout = '<8sIII4xQQQQ16sQIII'
        fields[3] = binascii.crc32(struct.pack(layout, *fields))
        return struct.pack(layout, *fields)

    parts = mbr(1, min(last, 0xFFFFFFFF), 0xEE)
    parts[sector] = header(1, last, 2)
    parts[2 * sector] = entries
    if backup:
        parts[(last - table) * sector] = entries
        parts[last * sector] = header(last, 1, last - table)
    return parts


def ext2(label: bytes = b'root') -> Parts:
    """The superblock of an ext2."""
    block = bytearray(1024)
    struct.pack_into('<II', block, 0, 16, 64)
    struct.pack_into('<I', block, 24, 0)
    struct.pack_into('<H', block, 56, 0xEF53)
    struct.pack_into('<I', block, 76, 1)
    block[104:120] = uuid.UUID(int=3).bytes
    block[120 : 120 + len(label)] = label
    return {1024: bytes(block)}


def iso9660() -> Parts:
    """The volume descriptors of an optical disk."""
    volume = bytearray(b'\x01CD001\x01'.ljust(2048, b'\0'))
    volume[40:72] = b'CDROM'.ljust(32)
    return {
        32 * KIB: bytes(volume),
        34 * KIB: b'\xffCD001\x01'.ljust(2048, b'\0'),
    }


def swap(page: int = 4096) -> Parts:
    """The header of a swap partition."""
    header = bytearray(page)
    struct.pack_into('<III', header, 1024, 1, 255, 0)
    header[-10:] = b'SWAPSPACE2'
    return {0: bytes(header)}


def luks2(second: int) -> Parts:
    """The headers of a LUKS2; ``second`` is the offset of the second one."""

    def header(magic: bytes, offset: int) -> bytes:
        data = bytearray(4096)
        struct.pack_into('>6sHQ', data, 0, magic, 2, 2 * second)
        data[168:208] = str(uuid.UUID(int=4)).encode().ljust(40, b'\0')
        struct.pack_into('>Q', data, 256, offset)
        return bytes(data)

    return {
        0: header(b'LUKS\xba\xbe', 0),
        second: header(b'SKUL\xba\xbe', second),
    }


def zfs(length: int) -> Parts:
    """The four labels of a member of a ZFS pool."""
    label = bytearray(256 * KIB)
    for number in range(128):
        struct.pack_into(
            '<QQQQQ',
            label,
            (128 + number) * KIB,
            *(0x00BAB10C, 5000, 4 + number, 1, 1700000000),
        )
    end = length - length % (256 * KIB)
    return {
        offset: bytes(label)
        for offset in (0, 256 * KIB, end - 512 * KIB, end - 256 * KIB)
    }


def md_1_0(length: int) -> Parts:
    """The superblock of a member of an array, metadata 1.0."""
    at = (length // 512 - 16) & ~7
    block = bytearray(512)
    struct.pack_into('<II', block, 0, 0xA92B4EFC, 1)
    block[16:32] = uuid.UUID(int=5).bytes
    struct.pack_into('<Q', block, 144, at)
    struct.pack_into('<I', block, 220, 128)
    words = sum(struct.unpack('<128I', block))
    checksum = (words & 0xFFFFFFFF) + (words >> 32)
    struct.pack_into('<I', block, 216, checksum & 0xFFFFFFFF)
    return {at * 512: bytes(block)}


def md_0_90(length: int) -> Parts:
    """The same, metadata 0.90."""
    block = struct.pack('<7I', 0xA92B4EFC, 0, 90, 0, 0, 1, 0)
    return {(length & ~(64 * KIB - 1)) - 64 * KIB: block.ljust(4096, b'\0')}


def imsm(length: int) -> Parts:
    """What the RAID of Intel's firmware leaves on a member."""
    magic = b'Intel Raid ISM Cfg Sig. 1.3.00'
    return {(length // 512 - 2) * 512: magic.ljust(512, b'\0')}
