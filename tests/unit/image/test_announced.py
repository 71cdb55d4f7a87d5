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

"""What members announce, and bytes behind the last one."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
import gzip
import lzma
import random
import sys
import zlib

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.image import announced
from fuel_agent_curl.image import containers
from tests import base
from tests.unit.image import test_containers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

IMAGE = test_containers.IMAGE
PACK = test_containers.PACK
SKIPPABLE = b'\x5f\x2a\x4d\x18\x03\0\0\0abc'


def _stated(data: bytes) -> bytes:
    """Return a zstd frame that states its length."""
    return bytes(zstd.compress(data))


def _checked_by(packed: bytes, check: int) -> bytes:
    """Return an xz stream that states another integrity check (2.1.1)."""
    flags = bytes((0, check))
    footer = packed[-8:-4] + flags
    return b''.join(
        (
            packed[:6],
            flags,
            zlib.crc32(flags).to_bytes(4, 'little'),
            packed[12:-12],
            zlib.crc32(footer).to_bytes(4, 'little'),
            footer,
            packed[-2:],
        )
    )


def _filtered_by(packed: bytes, name: int) -> bytes:
    """Return an xz stream whose block states another filter (3.1.5)."""
    size = (packed[12] + 1) * 4
    block = bytearray(packed[12 : 12 + size])
    block[2] = name
    block[-4:] = zlib.crc32(block[:-4]).to_bytes(4, 'little')
    return packed[:12] + bytes(block) + packed[12 + size :]


class AnnouncedTest(base.TestCase):
    def test_zstd_length(self) -> None:
        for length in (0, 1, 255, 256, 65791, 65792, 200_000):
            said = announced.zstd(_stated(bytes(length)))
            assert said is not None
            self.assertEqual(length, said.length)
            self.assertLessEqual(said.window, max(length, 1 << 21))

    def test_zstd_without_a_length(self) -> None:
        packer = zstd.ZstdCompressor()
        said = announced.zstd(packer.compress(b'x') + packer.flush())
        assert said is not None
        self.assertEqual(0, said.length)
        self.assertEqual(1 << 21, said.window)

    def test_zstd_window_between_two_powers(self) -> None:
        # RFC 8878 3.1.1.1.2: exponent 10, mantissa 3.
        head = b'\x28\xb5\x2f\xfd\0' + bytes((10 << 3 | 3,))
        said = announced.zstd(head)
        assert said is not None
        self.assertEqual(octets.MIB + 3 * octets.MIB // 8, said.window)

    def test_as_much_of_the_head_as_is_needed(self) -> None:
        for function, packed in (
            (announced.zstd, _stated(IMAGE)),
            (announced.zstd, _stated(b'')),
            (announced.zstd, SKIPPABLE),
            (announced.xz, lzma.compress(IMAGE)),
            (announced.xz, lzma.compress(b'')),
        ):
            said = function(packed)
            assert said is not None
            answers = [function(packed[:stop]) for stop in range(4, 60)]
            known = [each for each in answers if each is not None]
            self.assertEqual({said}, set(known))
            self.assertIsNotNone(answers[-1])
            # The order: unknown first, then known for good.
            self.assertEqual(known, answers[-len(known) :])

    def test_xz_dictionary(self) -> None:
        for size in (4096, octets.MIB, 3 * octets.MIB // 2, 64 * octets.MIB):
            filters = [
                {'id': lzma.FILTER_X86},
                {'id': lzma.FILTER_LZMA2, 'dict_size': size},
            ]
            said = announced.xz(lzma.compress(b'x' * 9, filters=filters))
            self.assertEqual(announced.Announced(window=size), said)

    def test_xz_length_of_the_first_block(self) -> None:
        # As several threads of xz write it: both sizes in the head (3.1).
        block = bytearray(bytes((3, 0xC0, 0x90, 0x4E, 0x80, 0x89, 0x7A)))
        block += bytes((0x21, 1, 22)) + bytes(2)
        block += zlib.crc32(block).to_bytes(4, 'little')
        head = lzma.compress(b'x')[:12] + bytes(block)
        said = announced.xz(head)
        self.assertEqual(
            announced.Announced(window=8 * octets.MIB, length=2_000_000), said
        )

    def test_what_is_damaged_announces_nothing(self) -> None:
        packed = lzma.compress(IMAGE, preset=9)
        for position in (*range(8, 12), *range(13, 24)):
            damaged = bytearray(packed)
            damaged[position] ^= 0x11
            self.assertEqual(
                announced.Announced(), announced.xz(bytes(damaged))
            )

    def test_any_bytes(self) -> None:
        dice = random.Random(20261126)
        stream = lzma.compress(b'')[:12]
        for _time in range(3000):
            rest = dice.randbytes(dice.randrange(40))
            announced.zstd(b'\x28\xb5\x2f\xfd' + rest)
            block = bytes((len(rest) // 4,)) + rest
            block = block[: (block[0] + 1) * 4 - 4]
            block += zlib.crc32(block).to_bytes(4, 'little')
            announced.xz(stream + block)


class AtLeastTest(test_containers.ContainersTestCase):
    def test_what_the_first_members_say(self) -> None:
        for packed, expected in (
            (_stated(IMAGE), len(IMAGE)),
            (SKIPPABLE + _stated(IMAGE), len(IMAGE)),
            # Those behind the first bytes are not known yet.
            (_stated(bytes(9)) + _stated(IMAGE), 9),
            (gzip.compress(IMAGE), 0),
            (bz2.compress(IMAGE), 0),
            (lzma.compress(IMAGE), 0),
            (IMAGE, 0),
        ):
            for size in (1, 4093, len(packed)):
                opened = containers.open_container(
                    test_containers.pieces(packed, size)
                )
                self.assertEqual(expected, opened.at_least)


class UnusableTest(test_containers.ContainersTestCase):
    """Neither damaged nor an image for here: it says what is missing."""

    def _error(self, packed: bytes) -> str:
        for size in (1, len(packed)):
            error = self.assertRaises(
                errors.ContentError,
                test_containers.unpack,
                test_containers.pieces(packed, size),
                'auto',
            )
            self.assertIs(errors.ContentError, type(error))
        self.assertIn('cannot be unpacked here', str(error))
        return str(error)

    def test_xz_check_that_is_not_known(self) -> None:
        """Else it would be taken without being checked at all."""
        packed = lzma.compress(IMAGE, check=lzma.CHECK_CRC64)
        self.assert_image(
            IMAGE,
            test_containers.unpack([_checked_by(packed, 4)], 'xz'),
            'the same',
        )
        self.assertIn('check (ID 3)', self._error(_checked_by(packed, 3)))

    def test_xz_filter_that_is_not_known(self) -> None:
        packed = lzma.compress(IMAGE)
        self.assertIn('filter', self._error(_filtered_by(packed, 0x2F)))

    def test_zstd_dictionary(self) -> None:
        samples = [b'sample %d of many' % n * 20 for n in range(100)]
        trained = zstd.train_dict(samples, 1024)
        packed = bytes(zstd.compress(IMAGE, zstd_dict=trained))
        self.assertIn(
            'dictionary (ID %d)' % trained.dict_id, self._error(packed)
        )


class TrailingTest(test_containers.ContainersTestCase):
    """``ignore_trailing`` leaves out what is no member, and only that."""

    GARBAGE = (
        b'{"metadata_version": "1.1"}\nFWx0' + bytes(12),
        bytes(8) + b'{"metadata_version": "1.1"}\nFWx0' + bytes(12),
        b'!',
        bytes(3) + b'!',
        b'\x07' * 700_000,
        IMAGE,
    )

    def _unpack(self, packed: bytes, size: int, name: str) -> bytes:
        return test_containers.unpack(
            test_containers.pieces(packed, size),
            name,
            ignore_trailing=True,
        )

    def test_left_out(self) -> None:
        long = random.Random(1).randbytes(3 * octets.MIB // 2)
        for name, pack in PACK.items():
            for image in (IMAGE, long, b''):
                packed = pack(image)
                for garbage in self.GARBAGE:
                    for size in (1, 4093, len(packed + garbage)):
                        if size == 1 and len(packed + garbage) > 20_000:
                            continue
                        self.assert_image(
                            image,
                            self._unpack(packed + garbage, size, name),
                            '%s by %d' % (name, size),
                        )
                        self.assertIn(
                            '%s container is ignored' % name, self.log.output
                        )

    def test_refused_otherwise(self) -> None:
        for name, pack in PACK.items():
            for garbage in self.GARBAGE:
                error = self.assertRaises(
                    errors.TrailingGarbageError,
                    test_containers.unpack,
                    [pack(IMAGE) + garbage],
                    name,
                )
                self.assertIn('--trailing-data ignore', str(error))

    def test_all_of_the_source_is_taken(self) -> None:
        """Its length, and its checksum, are compared at its end."""
        for name, pack in PACK.items():
            chunks = iter([pack(IMAGE) + b'!', b'!' * 1000, b'!' * 1000])
            unpacked = test_containers.unpack(
                chunks, name, ignore_trailing=True
            )
            self.assert_image(IMAGE, unpacked, name)
            self.assertEqual([], list(chunks))

    def test_errors_of_the_source_stay(self) -> None:
        for name, pack in PACK.items():

            def source(packed: bytes = pack(IMAGE)) -> Iterator[bytes]:
                yield packed + b'! and more'
                raise ConnectionResetError

            self.assertRaises(
                ConnectionResetError,
                test_containers.unpack,
                source(),
                name,
                ignore_trailing=True,
            )

    def test_the_rest_is_as_strict(self) -> None:
        for name, pack in PACK.items():
            packed = pack(IMAGE)
            damaged = bytearray(packed)
            damaged[len(packed) // 2] ^= 0x55
            last = bytearray(packed)
            last[{'gzip': -6, 'xz': -40, 'zstd': -2, 'bzip2': -3}[name]] ^= 1
            for what, kind in (
                (packed[:-1], errors.TruncatedError),
                (packed + packed[:1], errors.TruncatedError),
                (packed + packed[: len(packed) // 2], errors.TruncatedError),
                (packed + packed[:-1], errors.TruncatedError),
                (bytes(damaged), errors.CorruptError),
                (packed + bytes(damaged), errors.CorruptError),
                (bytes(last), errors.CorruptError),
                (packed + bytes(last), errors.CorruptError),
            ):
                for size in (1, 4093, len(what)):
                    self.assertRaises(kind, self._unpack, what, size, name)

    def test_a_member_in_the_wrong_place_is_not_left_out(self) -> None:
        for name, padding in (('zstd', 4), ('xz', 3), ('bzip2', 512)):
            packed = PACK[name](IMAGE) + bytes(padding) + PACK[name](IMAGE)
            error = self.assertRaises(
                errors.TrailingGarbageError,
                self._unpack,
                packed,
                len(packed),
                name,
            )
            self.assertIn('%d zero bytes' % padding, str(error))
