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


"""What the members of a container announce in their first bytes.

The memory that unpacking takes, and the length of what is in them, are known
before anything is unpacked; so is that nobody here could do it.
"""

from __future__ import annotations

import lzma

from fuel_agent_curl import values
from fuel_agent_curl.image import xz as xz_module

# RFC 8878 3.1.2: the magic numbers of skippable frames begin with 0x50-0x5f.
_SKIPPABLE = b'\x2a\x4d\x18'
# RFC 8878 3.1.1.1.1: bytes of Dictionary_ID and of Frame_Content_Size by the
# value of their flags; the latter for a frame of more than one segment.
_DICTIONARY_BYTES = (0, 1, 2, 4)
_LENGTH_BYTES = (0, 2, 4, 8)

# zstd.h: ZSTD_WINDOWLOG_MAX_64.
_ZSTD_MAX = 1 << 31


@values.dataclass(frozen=True)
class Announced:
    """What a member says of itself.

    :ivar window: bytes that have to be kept to unpack it.
    :ivar length: bytes of the image in it, at least; 0 where it does not say.
    :ivar needs: what it takes that we do not have; None for nothing.
    """

    window: int = 0
    length: int = 0
    needs: str | None = None


def nothing(_head: bytes) -> Announced:
    """Return what a member of gzip or bzip2 announces."""
    return Announced()


def zstd(head: bytes) -> Announced | None:
    """Return what a zstd frame announces (RFC 8878 3.1.1.1).

    :param head: its first bytes, from the magic number on.
    :returns: None when there have to be more of them.
    """
    if head[1:4] == _SKIPPABLE:
        return Announced()
    if len(head) < 5:
        return None
    descriptor = head[4]
    single_segment = descriptor & 0x20
    at = 5 if single_segment else 6
    dictionary_bytes = _DICTIONARY_BYTES[descriptor & 3]
    length_bytes = _LENGTH_BYTES[descriptor >> 6]
    if single_segment and not length_bytes:
        length_bytes = 1
    if len(head) < at + dictionary_bytes + length_bytes:
        return None
    dictionary = int.from_bytes(head[at : at + dictionary_bytes], 'little')
    at += dictionary_bytes
    length = int.from_bytes(head[at : at + length_bytes], 'little')
    if length_bytes == 2:
        length += 256
    window = length
    if not single_segment:
        base = 1 << (10 + (head[5] >> 3))
        window = base + base // 8 * (head[5] & 7)
        # Of a short image no more is kept than there is; but zstd refuses
        # what it could never take, however short.
        if length_bytes and window <= _ZSTD_MAX:
            window = min(window, length)
    needs = None
    if dictionary:
        needs = 'a dictionary (ID %d) that is not in it' % dictionary
    return Announced(window, length, needs)


def xz(head: bytes) -> Announced | None:
    """Return what an xz stream, and its first block, announce.

    xz-file-format.txt, 2.1.1 and 3.1. What is damaged announces nothing: the
    decoder will find it.

    :param head: its first bytes, from the magic number on.
    :returns: None when there have to be more of them.
    """
    if len(head) <= xz_module.HEADER:
        return None
    check = head[7] & 0x0F
    if not xz_module.is_intact(head[6 : xz_module.HEADER]):
        return Announced()
    if not lzma.is_check_supported(check):
        return Announced(
            needs='an integrity check (ID %d) that this liblzma does not have'
            % check
        )
    size = (head[xz_module.HEADER] + 1) * 4
    if size == 4:
        # The index: there is no block.
        return Announced()
    block = head[xz_module.HEADER : xz_module.HEADER + size]
    if len(block) < size:
        return None
    try:
        said = xz_module.read_block(block)
    except xz_module.Damaged:
        return Announced()
    return Announced(said.window, said.length or 0)
