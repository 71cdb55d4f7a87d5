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

"""The parts of an xz stream: headers, blocks, index and footer.

By xz-file-format.txt 1.2.1, whose sections are named. liblzma decodes the
blocks and compares their check values. What holds a stream together, the
index above all, is read here, since blocks are decoded by themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct

from zlib_ng import zlib_ng

from fuel_agent_curl import values

# 2.1.1: the header of a stream, and its magic number.
HEADER = 12
MAGIC = b'\xfd7zXZ\x00'
# 2.1.2.
_FOOTER_MAGIC = b'YZ'
# 2.1.1.2: the length of a check value, by its ID.
_CHECK_SIZES = (0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64)
# 5.3.1.
_LZMA2 = 0x21
_INTEGER_MAX = 9


class Damaged(Exception):
    """What is no part of an xz stream, or not of this one."""


@values.dataclass(frozen=True)
class Block:
    """What the header of a block says (3.1).

    :ivar header: its length in bytes.
    :ivar packed: the length of what is packed, without padding; None: it
        does not say.
    :ivar length: the same when it is unpacked.
    :ivar window: bytes that have to be kept to unpack it.
    :ivar is_lzma2: the last filter is, so that the end can be found.
    """

    header: int
    packed: int | None
    length: int | None
    window: int
    is_lzma2: bool


def is_intact(field: bytes) -> bool:
    """Tell whether what ends in a CRC32 of the rest is not damaged."""
    return zlib_ng.crc32(field[:-4]) == int.from_bytes(field[-4:], 'little')


def check_size(flags: bytes) -> int:
    """Return the length of a check value, by the flags of a stream."""
    return _CHECK_SIZES[flags[1] & 0x0F]


def read_header(header: bytes) -> bytes:
    """Return the flags of the stream that ``header`` begins (2.1.1).

    :raises Damaged: if it is none, or of another version.
    """
    flags = header[6:8]
    if (
        not header.startswith(MAGIC)
        or not is_intact(header[6:HEADER])
        or flags[0]
        or flags[1] > 0x0F
    ):
        raise Damaged('the header of a stream')
    return flags


def header_of(flags: bytes) -> bytes:
    """Return the header of a stream with these flags."""
    return MAGIC + flags + _crc(flags)


def read_block(header: bytes) -> Block:
    """Return what the header of a block says (3.1).

    :raises Damaged: if it says nothing.
    """
    if not is_intact(header):
        raise Damaged('the header of a block')
    flags, at = header[1], 2
    packed = length = None
    window, name = 0, -1
    try:
        if flags & 0x40:
            packed, at = _integer(header, at)
        if flags & 0x80:
            length, at = _integer(header, at)
        for _filter in range((flags & 3) + 1):
            name, at = _integer(header, at)
            size, at = _integer(header, at)
            if name == _LZMA2 and size == 1:
                window = _dictionary(header[at])
            at += size
    except IndexError:
        raise Damaged('the header of a block') from None
    return Block(len(header), packed, length, window, name == _LZMA2)


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Read a multibyte integer (1.2); return it and where the next begins."""
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7


def _packed_integer(value: int) -> bytes:
    packed = bytearray()
    while value >= 0x80:
        packed.append(value & 0x7F | 0x80)
        value >>= 7
    packed.append(value)
    return bytes(packed)


def _dictionary(bits: int) -> int:
    # 5.3.1.
    if bits > 40:
        return 0
    return (1 << 32) - 1 if bits == 40 else (2 | bits & 1) << (bits // 2 + 11)


def _crc(data: bytes) -> bytes:
    return _value(zlib_ng.crc32(data))


def _value(number: int) -> bytes:
    return struct.pack('<I', number)


def closing(flags: bytes, records: list[tuple[int, int]]) -> bytes:
    """Return the index and the footer of a stream of these blocks.

    :param records: of each block its unpadded length and its length when it
        is unpacked (4.3).
    """
    index = b'\0' + _packed_integer(len(records))
    for unpadded, length in records:
        index += _packed_integer(unpadded) + _packed_integer(length)
    index += bytes(-len(index) % 4)
    index += _crc(index)
    footer = _value(len(index) // 4 - 1) + flags
    return index + _crc(footer) + footer + _FOOTER_MAGIC


@dataclasses.dataclass
class Records:
    """What the blocks of a stream were, or what its index says.

    :ivar count: how many.
    :ivar digest: of the lengths of all of them, in hexadecimal digits.
    """

    count: int = 0
    digest: str = ''

    def add(self, unpadded: int, length: int) -> None:
        """Count one more."""
        self.count += 1
        text = '%s %d %d' % (self.digest, unpadded, length)
        self.digest = hashlib.sha256(text.encode('ascii')).hexdigest()


class Tail:
    """Reads the index and the footer of a stream (4 and 2.1.2).

    :ivar records: what the index says.
    :ivar done: all of it was read.
    """

    def __init__(self, flags: bytes) -> None:
        self.records = Records()
        self.done = False
        self._flags = flags
        self._held = b''
        self._crc = 0
        self._length = 0
        #: Records that are to come; None: their number is.
        self._left: int | None = None
        self._in_footer = False

    def feed(self, data: bytes) -> bytes:
        """Take ``data``; return what of it is behind the footer.

        :raises Damaged: if it is none, or does not belong to this stream.
        """
        self._held += data
        at = 0
        while not self._in_footer:
            end = self._read_index(at)
            if end is None:
                self._held = self._held[at:]
                return b''
            self._crc = zlib_ng.crc32(self._held[at:end], self._crc)
            self._length += end - at
            at = end
        self._held = self._held[at:]
        if len(self._held) < HEADER:
            return b''
        self._check_footer(self._held[:HEADER])
        self.done = True
        return self._held[HEADER:]

    def _read_index(self, at: int) -> int | None:
        """Read the part of the index at ``at``; return where it ends.

        :returns: None when there have to be more bytes.
        """
        if self._left is None:
            # The first byte is 0, in the place of the length of a header.
            count = _whole(self._held, at + 1)
            if count is None:
                return None
            self._left, end = count
            return end
        if self._left:
            unpadded = _whole(self._held, at)
            length = unpadded and _whole(self._held, unpadded[1])
            if not unpadded or not length:
                return None
            if not unpadded[0]:
                raise Damaged('the index')
            self.records.add(unpadded[0], length[0])
            self._left -= 1
            return length[1]
        padding = -self._length % 4
        middle = at + padding
        end = middle + 4
        if len(self._held) < end:
            return None
        crc = zlib_ng.crc32(self._held[at:middle], self._crc)
        if any(self._held[at:middle]) or _value(crc) != self._held[middle:end]:
            raise Damaged('the index')
        self._in_footer = True
        return end

    def _check_footer(self, footer: bytes) -> None:
        # 2.1.2.2: it does not count the first four bytes.
        backward = (int.from_bytes(footer[4:8], 'little') + 1) * 4
        if (
            footer[10:] != _FOOTER_MAGIC
            or _crc(footer[4:10]) != footer[:4]
            or footer[8:10] != self._flags
            or backward != self._length
        ):
            raise Damaged('the footer of a stream')


def _whole(data: bytes, at: int) -> tuple[int, int] | None:
    """Read an integer as ``_integer``; None: it is not all in ``data``.

    :raises Damaged: if it is too long, or longer than it has to be.
    """
    stop = at + _INTEGER_MAX
    if all(byte & 0x80 for byte in data[at:stop]):
        if len(data) >= stop:
            raise Damaged('the index')
        return None
    value, end = _integer(data, at)
    if end - at > 1 and not data[end - 1]:
        raise Damaged('the index')
    return value, end


class Extent:
    """Finds where a block ends: the padding and the check value included.

    :param block: what its header says.
    :param check: the length of a check value.
    :ivar packed: bytes that were packed, without padding, so far.
    :ivar done: the end was found.
    """

    def __init__(self, block: Block, check: int) -> None:
        self.check = check
        self.packed = block.packed or 0
        self.done = False
        #: Bytes that are to come of what is under way; None: the control
        #: byte of the next LZMA2 chunk is.
        self._left: int | None = None
        self._held = b''
        self._is_last = False
        #: The end cannot be found: liblzma will not take the block, either.
        self._is_endless = False
        if block.packed is not None:
            self._finish(block.packed)
        else:
            self._is_endless = not block.is_lzma2

    def _finish(self, left: int) -> None:
        self._is_last = True
        self._left = left + -self.packed % 4 + self.check

    def take(self, data: bytes) -> int:
        """Return how many of these bytes, the next ones, are of the block."""
        at = 0
        while at < len(data) and not self.done and not self._is_endless:
            if self._left is None:
                at += 1
                self._read_chunk(data[at - 1 : at])
            else:
                count = min(self._left, len(data) - at)
                at += count
                self._left -= count
            if not self._left and self._left is not None:
                self.done = self._is_last
                self._left = None
        return len(data) if self._is_endless else at

    def _read_chunk(self, byte: bytes) -> None:
        """Read one byte of the head of an LZMA2 chunk.

        A control byte of 0 is the end, 1 and 2 begin a chunk that is not
        compressed, and from 0x80 on one that is.
        """
        self._held += byte
        control = self._held[0]
        size = 1
        if control >= 0xC0:
            size = 6
        elif control >= 0x80:
            size = 5
        elif control in (1, 2):
            size = 3
        elif control:
            self._is_endless = True
            return
        if len(self._held) < size:
            return
        self.packed += size
        if not control:
            self._finish(0)
        else:
            at = 3 if control >= 0x80 else 1
            self._left = int.from_bytes(self._held[at : at + 2], 'big') + 1
            self.packed += self._left
        self._held = b''
