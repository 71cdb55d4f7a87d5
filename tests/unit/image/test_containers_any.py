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


"""Containers made and damaged at random: never a wrong byte, never a crash."""

from __future__ import annotations

import bz2
from collections.abc import Callable
import lzma
import random
import struct
import sys
import zlib

from fuel_agent_curl import errors
from tests.unit.image import test_containers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_SEED = 20261126


def _content(dice: random.Random) -> bytes:
    kind = dice.randrange(4)
    if kind == 0:
        return b''
    if kind == 1:
        return bytes(dice.randrange(200_000))
    if kind == 2:
        return dice.randbytes(dice.randrange(5_000))
    return dice.randbytes(60) * dice.randrange(2_000)


def _gzip(data: bytes, dice: random.Random) -> bytes:
    """With any of the fields of RFC 1952 2.3.1."""
    flags = dice.randrange(32)
    head = b'\x1f\x8b\x08' + bytes((flags,)) + dice.randbytes(6)
    if flags & 4:
        extra = dice.randbytes(dice.randrange(300))
        head += struct.pack('<H', len(extra)) + extra
    for flag in 8, 16:
        if flags & flag:
            head += b'x' * dice.randrange(300) + b'\0'
    if flags & 2:
        head += struct.pack('<H', zlib.crc32(head) & 0xFFFF)
    packer = zlib.compressobj(dice.randrange(10), wbits=-15)
    packed = head + packer.compress(data) + packer.flush()
    return packed + struct.pack('<II', zlib.crc32(data), len(data))


def _xz(data: bytes, dice: random.Random) -> bytes:
    check = dice.choice(
        (lzma.CHECK_CRC32, lzma.CHECK_CRC64, lzma.CHECK_SHA256)
    )
    return lzma.compress(data, check=check, preset=dice.randrange(3))


def _zstd(data: bytes, dice: random.Random) -> bytes:
    options = {
        int(zstd.CompressionParameter.checksum_flag): 1,
        int(zstd.CompressionParameter.content_size_flag): dice.randrange(2),
        int(zstd.CompressionParameter.window_log): dice.randrange(10, 22),
    }
    packed = bytes(zstd.compress(data, options=options))
    if dice.randrange(3):
        return packed
    skipped = dice.randbytes(dice.randrange(99))
    number = 0x184D2A50 + dice.randrange(16)
    return struct.pack('<II', number, len(skipped)) + skipped + packed


def _bzip2(data: bytes, dice: random.Random) -> bytes:
    return bz2.compress(data, dice.randrange(1, 10))


MEMBERS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    'gzip': _gzip,
    'xz': _xz,
    'zstd': _zstd,
    'bzip2': _bzip2,
}
#: Zero bytes that may be between two members.
PADDING = {'gzip': (0, 1, 512), 'xz': (0, 4, 512), 'zstd': (0,), 'bzip2': (0,)}


class AnyTest(test_containers.ContainersTestCase):
    def _made(
        self, name: str, dice: random.Random
    ) -> tuple[bytes, list[bytes]]:
        """Return a container, and the image up to the end of each member."""
        packed, images = b'', [b'']
        for number in range(dice.randrange(1, 4)):
            data = _content(dice)
            if number:
                packed += bytes(dice.choice(PADDING[name]))
            packed += MEMBERS[name](data, dice)
            images.append(images[-1] + data)
        return packed, images

    def _unpack(
        self, packed: bytes, name: str, dice: random.Random, ignore: bool
    ) -> bytes:
        size = dice.choice((1, 7, 512, 4093, 65536, 1 << 20))
        if len(packed) > 20_000:
            size = max(size, 512)
        return test_containers.unpack(
            test_containers.pieces(packed, size),
            name,
            ignore_trailing=ignore,
        )

    def test_whole(self) -> None:
        dice = random.Random(_SEED)
        for name in MEMBERS:
            for _time in range(25):
                packed, images = self._made(name, dice)
                packed += bytes(dice.choice((0, 1, 511, 4096)))
                ignore = bool(dice.randrange(2))
                if ignore and dice.randrange(2):
                    packed += b'{"signature": 1}' + dice.randbytes(99)
                self.assert_image(
                    images[-1],
                    self._unpack(packed, name, dice, ignore),
                    name,
                )

    def test_cut_anywhere(self) -> None:
        """An error, unless a member ends there, or its padding."""
        dice = random.Random(_SEED + 1)
        for name in MEMBERS:
            packed, images = self._made(name, dice)
            while not 60 < len(packed) < 3000:
                packed, images = self._made(name, dice)
            for stop in range(2, len(packed)):
                ignore = bool(stop % 2)
                try:
                    found = self._unpack(packed[:stop], name, dice, ignore)
                except errors.TruncatedError as error:
                    self.assertEqual(stop, error.offset)
                    continue
                self.assertIn(found, images)

    def test_damaged_anywhere(self) -> None:
        """Another byte, one more or one fewer: an error, or no matter."""
        dice = random.Random(_SEED + 2)
        for name in MEMBERS:
            for _time in range(100):
                packed, images = self._made(name, dice)
                damaged = bytearray(packed)
                at = dice.randrange(len(damaged))
                how = dice.randrange(3)
                if how == 0:
                    damaged[at] ^= dice.randrange(1, 256)
                elif how == 1:
                    del damaged[at]
                else:
                    damaged.insert(at, dice.randrange(256))
                ignore = bool(dice.randrange(2))
                try:
                    found = self._unpack(bytes(damaged), name, dice, ignore)
                except errors.ContentError:
                    continue
                # What looks no more like a member is one to be ignored.
                allowed = images if ignore else images[-1:]
                self.assertIn(found, allowed, '%s at %d' % (name, at))

    def test_noise_behind_a_magic_number(self) -> None:
        dice = random.Random(_SEED + 3)
        for name, make in MEMBERS.items():
            head = make(b'x', dice)
            for _time in range(100):
                noise = dice.randbytes(dice.randrange(300))
                packed = head[: dice.randrange(4, 20)] + noise
                try:
                    self._unpack(packed, name, dice, False)
                except (errors.ContentError, errors.ResourceError):
                    pass
