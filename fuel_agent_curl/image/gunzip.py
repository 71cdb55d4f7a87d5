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

"""One gzip member (RFC 1952): its header, deflated bytes, and trailer.

zlib-ng inflates; what is around the deflated bytes is read here. It knows
where each part ends, which a decoder for all of it does not tell.
"""

from __future__ import annotations

from typing import cast

from zlib_ng import zlib_ng

from fuel_agent_curl import octets

# RFC 1952 2.3.1: what follows the ten bytes that every header has, by the
# bits of FLG. Those that are reserved may mean that more does, so it has to be
# an error if one is set (2.3.1.2).
_RESERVED = 0xE0
_FHCRC = 0x02
_FEXTRA = 0x04
_NAMES = (0x08, 0x10)
_HEADER = 10
_DEFLATE = 8
# CRC32 and ISIZE.
_TRAILER = 8

# The most that a header may have: one that goes on for ever is no header.
_HEADER_MAX = 512 * octets.KIB


class Damaged(Exception):
    """What is no gzip, or has another checksum or length than it says."""


#: What ``Inflate`` raises for damage. (zlib-ng's type hints have an instance
#: where the class is.)
InflateError = cast('type[Exception]', zlib_ng.error)


class Inflate:
    """Deflated bytes, as bz2's class does it.

    zlib-ng has such a class too, but only as a private one.

    :param bits: what is around them, as zlib's inflateInit2 has it.
    """

    def __init__(self, bits: int) -> None:
        self._zlib = zlib_ng.decompressobj(bits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: octets.Buffer, max_length: int) -> bytes:
        out: bytes = self._zlib.decompress(
            data if self.needs_input else self._zlib.unconsumed_tail,
            max_length,
        )
        # A full step may have left more inside zlib, without a tail.
        self.needs_input = len(out) < max_length
        return out


class Member:
    """Decodes one member, as bz2's class does it."""

    def __init__(self) -> None:
        self.eof = False
        self.unused_data = b''
        self._inflate = Inflate(-15)
        self._in_header = True
        # What there is of the header, or of the trailer.
        self._held = b''
        self._crc = 0
        self._length = 0

    @property
    def needs_input(self) -> bool:
        return self._inflate.eof or self._inflate.needs_input

    def decompress(self, data: octets.Buffer, max_length: int) -> bytes:
        """Return the next bytes, ``max_length`` at most.

        :raises Damaged: or InflateError, for damage.
        """
        out = b''
        if self._in_header:
            self._held += data
            end = _header_end(self._held)
            if end is None:
                return b''
            self._in_header = False
            data, self._held = self._held[end:], b''
        if not self._inflate.eof:
            out = self._inflate.decompress(data, max_length)
            self._crc = zlib_ng.crc32(out, self._crc)
            self._length += len(out)
            data = self._inflate.unused_data
        if self._inflate.eof:
            self._held += data
            if len(self._held) >= _TRAILER:
                self._finish()
        return out

    def _finish(self) -> None:
        crc = int.from_bytes(self._held[:4], 'little')
        length = int.from_bytes(self._held[4:_TRAILER], 'little')
        if crc != self._crc:
            raise Damaged('its checksum is not that of what is in it')
        if length != self._length & 0xFFFFFFFF:
            raise Damaged('its length is not that of what is in it')
        self.eof = True
        self.unused_data = self._held[_TRAILER:]


def _header_end(head: bytes) -> int | None:
    """Return where the header ends that ``head`` begins with.

    :returns: None when there have to be more bytes.
    :raises Damaged: if it is none.
    """
    if len(head) >= 3 and head[2] != _DEFLATE:
        raise Damaged('compression method %d is unknown' % head[2])
    if len(head) < _HEADER:
        return None
    flags, end = head[3], _HEADER
    if flags & _RESERVED:
        raise Damaged('its flags 0x%02x are unknown' % flags)
    if flags & _FEXTRA:
        end += 2 + int.from_bytes(head[end : end + 2], 'little')
    for name in _NAMES:
        if flags & name:
            end = head.find(b'\0', end) + 1 or len(head) + 1
    crc_at = end
    if flags & _FHCRC:
        end += 2
    if end > len(head):
        if len(head) > _HEADER_MAX:
            raise Damaged('its header does not end')
        return None
    if flags & _FHCRC:
        crc = int.from_bytes(head[crc_at:end], 'little')
        if crc != zlib_ng.crc32(head[:crc_at]) & 0xFFFF:
            raise Damaged('the checksum of its header is not right')
    return end
