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

"""Containers: members, bounds, and everything that damage looks like."""

from __future__ import annotations

import bz2
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import gc
import gzip
import lzma
import random
import sys
import tracemalloc
import weakref
import zlib

from zlib_ng import zlib_ng

from fuel_agent_curl import decompress
from fuel_agent_curl import errors
from tests import base

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1024 * 1024

_RANDOM = random.Random(20261122)
#: Neither empty of redundancy nor of surprise.
IMAGE = _RANDOM.randbytes(9_000) + bytes(70_000) + b'the end' * 3_000


def _zstd(data: bytes) -> bytes:
    options = {int(zstd.CompressionParameter.checksum_flag): 1}
    return bytes(zstd.compress(data, options=options))


PACK: dict[str, Callable[[bytes], bytes]] = {
    'gzip': gzip.compress,
    'xz': lzma.compress,
    'zstd': _zstd,
    'bzip2': bz2.compress,
}


def pieces(data: bytes, size: int) -> Iterator[memoryview]:
    """Like a download's views: each one is spoilt when the next is asked."""
    for start in range(0, len(data), size):
        buffer = bytearray(data[start : start + size])
        yield memoryview(buffer)
        buffer[:] = b'\xdb' * len(buffer)


def unpack(chunks: Iterable[bytes | memoryview], container: str) -> bytes:
    image = decompress.decompress(chunks, container)
    # A chunk of the image is no longer valid than one of the source.
    return b''.join(map(bytes, image))


class _TestCase(base.TestCase):
    def assert_image(self, expected: bytes, actual: bytes, what: str) -> None:
        """Compare without printing what nobody can read."""
        if expected != actual:
            self.fail(
                '%s: %d bytes, not %d, or others'
                % (what, len(actual), len(expected))
            )


class GoodTest(_TestCase):
    def test_any_chunk_size(self) -> None:
        for name, pack in PACK.items():
            packed = pack(IMAGE)
            for size in (1, 2, 7, 4093, 65536, 65537, len(packed)):
                for container in ('auto', name):
                    self.assert_image(
                        IMAGE,
                        unpack(pieces(packed, size), container),
                        '%s by %d' % (name, size),
                    )

    def test_raw(self) -> None:
        for container in ('auto', 'raw'):
            for size in (1, 5, 4093, len(IMAGE)):
                image = unpack(pieces(IMAGE, size), container)
                self.assert_image(IMAGE, image, container)

    def test_raw_is_not_copied(self) -> None:
        chunks = [memoryview(IMAGE), memoryview(IMAGE)]
        passed = list(decompress.decompress(iter(chunks), 'auto'))
        self.assertIs(chunks[0], passed[0])
        self.assertIs(chunks[1], passed[1])

    def test_shorter_than_a_magic(self) -> None:
        for data in (b'', b'x', b'\x1f', b'BX', b'\0\0'):
            self.assertEqual(data, unpack(pieces(data, 1), 'auto'))

    def test_empty_image(self) -> None:
        for name, pack in PACK.items():
            self.assertEqual(b'', unpack([pack(b'')], name))
            self.assertEqual(b'', unpack([pack(b'')], 'auto'))

    def test_several_members(self) -> None:
        for name, pack in PACK.items():
            packed = pack(IMAGE) + pack(b'') + pack(b'two') + pack(IMAGE)
            for size in (1, 3, 4093, len(packed)):
                self.assert_image(
                    IMAGE + b'two' + IMAGE,
                    unpack(pieces(packed, size), 'auto'),
                    '%s by %d' % (name, size),
                )

    def test_zero_padding(self) -> None:
        for name, pack in PACK.items():
            for padding in (1, 4, 511, 200_000):
                packed = pack(IMAGE) + bytes(padding)
                for size in (1, len(packed)):
                    if size == 1 and padding > 511:
                        continue
                    self.assert_image(
                        IMAGE, unpack(pieces(packed, size), name), name
                    )

    def test_members_after_padding(self) -> None:
        for name in ('xz', 'gzip'):
            pack = PACK[name]
            packed = pack(b'one') + bytes(8) + pack(b'two')
            for size in (1, 3, len(packed)):
                self.assertEqual(b'onetwo', unpack(pieces(packed, size), name))

    def test_zstd_skippable_frame(self) -> None:
        skippable = b'\x53\x2a\x4d\x18\x05\0\0\0hello'
        packed = skippable + _zstd(b'one') + skippable + _zstd(b'two')
        for size in (1, 3, len(packed)):
            self.assertEqual(b'onetwo', unpack(pieces(packed, size), 'auto'))

    def test_zlib_takes_what_fuel_agent_takes(self) -> None:
        for level in (0, 1, 6, 9):
            packed = zlib.compress(IMAGE, level)
            self.assert_image(IMAGE, unpack([packed], 'zlib'), str(level))
        packed = gzip.compress(IMAGE)
        self.assert_image(IMAGE, unpack([packed], 'zlib'), 'gzip')
        small = zlib.compressobj(wbits=9)
        packed = small.compress(IMAGE) + small.flush()
        self.assert_image(IMAGE, unpack([packed], 'zlib'), 'small window')

    def test_gzip_with_every_field(self) -> None:
        """RFC 1952 2.3: FEXTRA, FNAME, FCOMMENT and FHCRC."""
        head = b'\x1f\x8b\x08\x1e\0\0\0\0\0\xff\x03\0abcname\0comment\0'
        head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, 'little')
        packed = head + gzip.compress(IMAGE, mtime=0)[10:]
        image = unpack(pieces(packed, 1), 'gzip')
        self.assert_image(IMAGE, image, 'every field')


class DamageTest(_TestCase):
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
        image = _RANDOM.randbytes(2 * MIB)
        for name, pack in PACK.items():
            packed = pack(image)
            for missing in (9, 30, 200, 1500):
                handed_on = b''
                try:
                    for piece in decompress.decompress(
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
        for _piece in decompress.decompress([packed], 'gzip'):
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


class ContainerTest(_TestCase):
    def test_wrong_one_is_named(self) -> None:
        packed = {name: pack(IMAGE) for name, pack in PACK.items()}
        packed['raw'] = IMAGE
        for found, data in packed.items():
            for asked in PACK:
                if asked == found:
                    continue
                error = self.assertRaises(
                    errors.CorruptError, unpack, pieces(data, 11), asked
                )
                self.assertIn('starts like ' + found, str(error))
                self.assertIn('in a %s container' % asked, str(error))

    def test_raw_takes_anything_and_tells(self) -> None:
        packed = gzip.compress(IMAGE)
        self.assert_image(packed, unpack([packed], 'raw'), 'raw')
        self.assertIn('starts like gzip', self.log.output)

    def test_unknown(self) -> None:
        error = self.assertRaises(
            errors.OptionError, decompress.open_container, iter([]), 'lzma'
        )
        self.assertIn('zstd', str(error))

    def test_name_of_what_was_found(self) -> None:
        for name, pack in PACK.items():
            found, _image = decompress.open_container([pack(b'')])
            self.assertEqual(name, found)
        self.assertEqual('raw', decompress.open_container([b'BZh0'])[0])

    def test_errors_of_the_source_stay(self) -> None:
        """OSError is also what damage makes, and must not be taken for it."""
        cause = ValueError()
        for name, pack in PACK.items():
            for kind in (ConnectionResetError, InterruptedError, EOFError):
                error = kind()
                error.__cause__ = cause

                def failing(
                    packed: bytes = pack(IMAGE), error: Exception = error
                ) -> Iterator[bytes]:
                    yield packed[:50]
                    raise error

                raised = self.assertRaises(kind, unpack, failing(), name)
                self.assertIs(error, raised)
                self.assertIs(cause, raised.__cause__)

    def test_nothing_is_kept_after_an_error_of_the_source(self) -> None:
        class Held:
            pass

        held = Held()

        def failing(held: Held) -> Iterator[bytes]:
            yield gzip.compress(IMAGE)[:50]
            raise ConnectionResetError

        gone = weakref.ref(held)
        self.assertRaises(ConnectionResetError, unpack, failing(held), 'gzip')
        del held
        gc.collect()
        self.assertIsNone(gone())


class BoundTest(_TestCase):
    def test_step(self) -> None:
        """However well it compresses."""
        for name, pack in PACK.items():
            packed = pack(bytes(5 * MIB)) + pack(bytes(5 * MIB))
            lengths = [
                len(chunk) for chunk in decompress.decompress([packed], name)
            ]
            self.assertEqual(10 * MIB, sum(lengths))
            self.assertTrue(
                all(0 < n <= decompress.STEP for n in lengths), lengths
            )

    def test_lazy(self) -> None:
        """Nothing is taken from the source before it is needed."""
        taken = []

        def source() -> Iterator[bytes]:
            packed = gzip.compress(_RANDOM.randbytes(4 * MIB))
            for start in range(0, len(packed), 1000):
                taken.append(start)
                yield packed[start : start + 1000]

        image = decompress.decompress(source(), 'gzip')
        next(image)
        self.assertLess(len(taken), 2000)

    def test_memory_of_a_bomb(self) -> None:
        # A member of 64 MiB of zeros, from one chunk.
        packed = zlib_ng.compress(bytes(64 * MIB), 9, 31)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        length = 0
        for chunk in decompress.decompress([packed], 'gzip'):
            length += len(chunk)
        self.assertEqual(64 * MIB, length)
        self.assertLess(tracemalloc.get_traced_memory()[1], 4 * MIB)


class WindowTest(_TestCase):
    def _xz(self, size: int) -> bytes:
        filters = [{'id': lzma.FILTER_LZMA2, 'preset': 0, 'dict_size': size}]
        return lzma.compress(IMAGE, filters=filters)

    def _zstd(self, log: int) -> bytes:
        options = {int(zstd.CompressionParameter.window_log): log}
        # Without its length in the head, a frame keeps its window.
        packer = zstd.ZstdCompressor(options=options)
        return bytes(packer.compress(IMAGE) + packer.flush())

    def test_as_large_as_allowed(self) -> None:
        for packed in (self._xz(64 * MIB), self._zstd(26)):
            self.assert_image(IMAGE, unpack([packed], 'auto'), 'largest')

    def test_larger(self) -> None:
        for packed in (self._xz(64 * MIB + 4096 * 1024), self._zstd(27)):
            error = self.assertRaises(
                errors.WindowTooLarge, unpack, [packed], 'auto'
            )
            self.assertIn('64 MiB', str(error))
