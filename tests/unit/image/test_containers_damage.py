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

"""Containers: everything that damage looks like."""

from __future__ import annotations

import gzip

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl.image import containers
from fuel_agent_curl.octets import MIB
from tests.unit.image.test_containers import ContainersTestCase
from tests.unit.image.test_containers import IMAGE
from tests.unit.image.test_containers import PACK
from tests.unit.image.test_containers import pieces
from tests.unit.image.test_containers import RANDOM
from tests.unit.image.test_containers import unpack


class DamageTest(ContainersTestCase):
    def _error(self, packed: bytes, container: str) -> errors.ContentError:
        """Unpack by several chunk sizes, which has to make no difference."""
        kinds = set()
        for size in (1, 4093, max(1, len(packed))):
            error = self.assertRaises(
                errors.ContentError, unpack, pieces(packed, size), container
            )
            kinds.add(type(error))
        self.assertEqual(1, len(kinds), str(kinds))
        assert isinstance(error, errors.ContentError)
        return error

    def test_truncated_anywhere(self) -> None:
        for name, pack in PACK.items():
            packed = pack(IMAGE[-5000:])
            for stop in {*range(2, 20), *range(20, len(packed), 97)}:
                for container in ('auto', name):
                    error = self.assertRaises(
                        errors.TruncatedError,
                        unpack,
                        [packed[:stop]],
                        container,
                    )
                    self.assertEqual(stop, error.offset)

    def test_last_byte_missing(self) -> None:
        for name, pack in PACK.items():
            for packed in (pack(IMAGE), pack(IMAGE) + pack(IMAGE)):
                error = self._error(packed[:-1], name)
                self.assertIs(errors.TruncatedError, type(error), name)

    def test_nothing_else_is_handed_on_before_an_error(self) -> None:
        """Not a byte of what the decoder gets behind the end."""
        image = RANDOM.randbytes(2 * MIB)
        for name, pack in PACK.items():
            packed = pack(image)
            for missing in (9, 30, 200, 1500):
                handed_on = b''
                try:
                    for piece in containers.decompress(
                        [packed[:-missing]], name
                    ):
                        handed_on += piece
                except errors.TruncatedError:
                    pass
                else:
                    self.fail('%s: no error' % name)
                self.assertTrue(image.startswith(handed_on), name)

    def test_last_byte_missing_that_begins_a_member(self) -> None:
        """What is put behind the end is just what is missing."""
        packer = zlib_ng.compressobj(1, wbits=31)
        parts = [packer.compress(bytes(MIB)) for _ in range(0x1F000000 // MIB)]
        packed = b''.join(parts) + packer.flush()
        self.assertEqual(0x1F, packed[-1])
        for damaged, kind in (
            (packed[:-1], errors.TruncatedError),
            (packed + b'x\x1f', errors.TrailingGarbageError),
        ):
            error = self.assertRaises(kind, self._drain, damaged)
            self.assertIs(kind, type(error))

    def _drain(self, packed: bytes) -> None:
        for _piece in containers.decompress([packed], 'gzip'):
            pass

    def test_second_member_truncated_in_its_magic(self) -> None:
        for name, pack in PACK.items():
            error = self._error(pack(IMAGE) + pack(IMAGE)[:1], name)
            self.assertIs(errors.TruncatedError, type(error), name)

    def test_empty(self) -> None:
        for name in PACK:
            for chunks in ([], [b'']):
                self.assertRaises(errors.TruncatedError, unpack, chunks, name)

    def test_corrupt(self) -> None:
        for name, pack in PACK.items():
            packed = bytearray(pack(IMAGE))
            packed[len(packed) // 2] ^= 0x55
            error = self._error(bytes(packed), name)
            self.assertIs(errors.CorruptError, type(error), name)
            self.assertIn(name, str(error))

    def test_corrupt_check_value(self) -> None:
        """The data is whole, but not what the container says it was."""
        position = {'gzip': -6, 'xz': -40, 'zstd': -2, 'bzip2': -3}
        for name, pack in PACK.items():
            packed = bytearray(pack(IMAGE))
            packed[position[name]] ^= 0x01
            error = self._error(bytes(packed), name)
            self.assertIs(errors.CorruptError, type(error), name)

    def test_wrong_length_in_the_trailer(self) -> None:
        packed = bytearray(gzip.compress(IMAGE))
        packed[-1] ^= 0x01
        error = self._error(bytes(packed), 'gzip')
        self.assertIs(errors.CorruptError, type(error))

    def test_trailing_garbage(self) -> None:
        for name, pack in PACK.items():
            for garbage in (b'\n', b'garbage', b'\0\0\0\0!', IMAGE):
                error = self._error(pack(IMAGE) + garbage, name)
                self.assertIs(errors.TrailingGarbageError, type(error), name)

    def test_garbage_has_its_offset(self) -> None:
        for name, pack in PACK.items():
            packed = pack(IMAGE)
            for size in (1, 4093):
                error = self.assertRaises(
                    errors.TrailingGarbageError,
                    unpack,
                    pieces(packed + bytes(4) + b'!' * 10000, size),
                    name,
                )
                assert error.offset is not None
                self.assertGreaterEqual(error.offset, len(packed) + 4)
                # One that reads ahead takes what is there.
                self.assertLessEqual(error.offset, len(packed) + 4 + size + 10)

    def test_member_of_another_container(self) -> None:
        for name, pack in PACK.items():
            for other, pack_other in PACK.items():
                if other == name:
                    continue
                error = self._error(pack(b'one') + pack_other(b'two'), name)
                self.assertIs(errors.TrailingGarbageError, type(error))

    def test_member_after_padding(self) -> None:
        for name, padding in (('zstd', 4), ('xz', 3)):
            pack = PACK[name]
            error = self._error(pack(b'1') + bytes(padding) + pack(b'2'), name)
            self.assertIs(errors.TrailingGarbageError, type(error), name)

    def test_unknown_compression_method(self) -> None:
        packed = bytearray(gzip.compress(IMAGE))
        packed[2] = 7
        error = self._error(bytes(packed), 'auto')
        self.assertIs(errors.CorruptError, type(error))

    def test_reserved_flags_of_gzip(self) -> None:
        """RFC 1952 2.3.1.2: an error, whichever it is."""
        for bit in (5, 6, 7):
            packed = bytearray(gzip.compress(IMAGE))
            packed[3] |= 1 << bit
            error = self._error(bytes(packed), 'gzip')
            self.assertIs(errors.CorruptError, type(error))
            said = 'its flags 0x%02x are unknown' % (1 << bit)
            self.assertIn(said, str(error))
