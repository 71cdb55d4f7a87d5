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

"""Containers: members, bounds, and which one it is."""

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
from typing import Any
import weakref
import zlib

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.image import containers
from fuel_agent_curl.octets import MIB
from tests import base

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


RANDOM = random.Random(20261122)
#: Neither empty of redundancy nor of surprise.
IMAGE = RANDOM.randbytes(9_000) + bytes(70_000) + b'the end' * 3_000


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


def unpack(
    chunks: Iterable[bytes | memoryview], container: str, **options: Any
) -> bytes:
    image = containers.decompress(chunks, container, **options)
    # A chunk of the image is no longer valid than one of the source.
    return b''.join(map(bytes, image))


class ContainersTestCase(base.TestCase):
    def assert_image(self, expected: bytes, actual: bytes, what: str) -> None:
        """Compare without printing what nobody can read."""
        if expected != actual:
            self.fail(
                '%s: %d bytes, not %d, or others'
                % (what, len(actual), len(expected))
            )


class GoodTest(ContainersTestCase):
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
        passed = list(containers.decompress(iter(chunks), 'auto'))
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


class ContainerTest(ContainersTestCase):
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
            errors.OptionError, containers.open_container, iter([]), 'lzma'
        )
        self.assertIn('zstd', str(error))

    def test_name_of_what_was_found(self) -> None:
        for name, pack in PACK.items():
            opened = containers.open_container([pack(b'')])
            self.assertEqual(name, opened.container)
        opened = containers.open_container([b'BZh0' + bytes(MIB)])
        self.assertEqual('raw', opened.container)

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


class BoundTest(ContainersTestCase):
    def test_step(self) -> None:
        """However well it compresses."""
        for name, pack in PACK.items():
            packed = pack(bytes(5 * MIB)) + pack(bytes(5 * MIB))
            lengths = [
                len(chunk) for chunk in containers.decompress([packed], name)
            ]
            self.assertEqual(10 * MIB, sum(lengths))
            self.assertTrue(
                all(0 < n <= containers.STEP for n in lengths), lengths
            )

    def test_lazy(self) -> None:
        """Nothing is taken from the source before it is needed."""
        taken = []

        def source() -> Iterator[bytes]:
            packed = gzip.compress(RANDOM.randbytes(4 * MIB))
            for start in range(0, len(packed), 1000):
                taken.append(start)
                yield packed[start : start + 1000]

        image = containers.decompress(source(), 'gzip')
        next(image)
        self.assertLess(len(taken), 2000)

    def test_memory_of_a_bomb(self) -> None:
        # A member of 64 MiB of zeros, from one chunk.
        packed = zlib_ng.compress(bytes(64 * MIB), 9, 31)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        length = 0
        for chunk in containers.decompress([packed], 'gzip'):
            length += len(chunk)
        self.assertEqual(64 * MIB, length)
        self.assertLess(tracemalloc.get_traced_memory()[1], 4 * MIB)


class WindowTest(ContainersTestCase):
    def _xz(self, size: int) -> bytes:
        filters = [{'id': lzma.FILTER_LZMA2, 'preset': 0, 'dict_size': size}]
        return lzma.compress(IMAGE, filters=filters)

    def _zstd(self, log: int) -> bytes:
        options = {int(zstd.CompressionParameter.window_log): log}
        # Without its length in the head, a frame keeps its window.
        packer = zstd.ZstdCompressor(options=options)
        return bytes(packer.compress(IMAGE) + packer.flush())

    def test_as_large_as_allowed(self) -> None:
        for log in (26, 27):
            size = 1 << log
            for packed in (self._xz(size), self._zstd(log)):
                unpacked = unpack([packed], 'auto', decoder_memory=size)
                self.assert_image(IMAGE, unpacked, 'largest')

    def test_the_default_is_what_zstd_itself_takes(self) -> None:
        self.assertEqual(
            settings.Settings().decoder_memory, containers.DECODER_MEMORY
        )
        for packed in (self._xz(128 * MIB), self._zstd(27)):
            self.assert_image(IMAGE, unpack([packed], 'auto'), '128 MiB')

    def test_larger(self) -> None:
        for packed, mib in (
            (self._xz(132 * MIB), 192),
            (self._xz(1536 * MIB), 1536),
            (self._zstd(28), 256),
            (self._zstd(31), 2048),
        ):
            for size in (1, 4093, len(packed)):
                error = self.assertRaises(
                    errors.WindowTooLarge,
                    unpack,
                    pieces(packed, size),
                    'auto',
                )
                self.assertIn('window of %d MiB' % mib, str(error))
                self.assertIn('above the 128 MiB allowed', str(error))
                self.assertIn('--decoder-memory %dM' % mib, str(error))
                self.assertIn(
                    'decoder_memory = %d (' % (mib * MIB), str(error)
                )

    def test_larger_than_can_be_allowed(self) -> None:
        error = self.assertRaises(
            errors.WindowTooLarge, unpack, [self._dictionary(40)], 'auto'
        )
        self.assertIn('cannot allow more than 2147483648', str(error))

    def test_what_the_error_says_is_enough(self) -> None:
        packed = self._xz(132 * MIB)
        unpacked = unpack([packed], 'auto', decoder_memory=192 * MIB)
        self.assert_image(IMAGE, unpacked, '192 MiB')

    def test_in_a_block_that_is_not_the_first(self) -> None:
        small, large = self._xz(MIB), self._xz(192 * MIB)
        # Two blocks in one stream; what is behind them does not matter. Its
        # last field but one has the size of what is behind the first (2.1.2).
        index = (int.from_bytes(small[-8:-4], 'little') + 1) * 4
        packed = small[: -12 - index] + large[12:]
        error = self.assertRaises(
            errors.WindowTooLarge, unpack, [packed], 'auto'
        )
        self.assertIn('decoder_memory', str(error))

    def test_no_more_is_needed_than_there_is_to_unpack(self) -> None:
        packed = self._zstd(31)
        # RFC 8878 3.1.1.1: the length, in four bytes, beside the window.
        length = len(IMAGE).to_bytes(4, 'little')
        packed = packed[:4] + b'\x80' + packed[5:6] + length + packed[6:]
        unpacked = unpack([packed], 'auto', decoder_memory=MIB)
        self.assert_image(IMAGE, unpacked, 'short')

    def test_a_window_that_nothing_can_take(self) -> None:
        """zstd refuses it whatever it is needed for."""
        packed = self._zstd(27)
        length = len(IMAGE).to_bytes(4, 'little')
        for window in (0xA9, 0xB0, 0xFF):
            head = packed[:4] + bytes((0x80, window)) + length
            error = self.assertRaises(
                errors.WindowTooLarge,
                unpack,
                [head + packed[6:]],
                'auto',
                decoder_memory=2 << 30,
            )
            self.assertIn('cannot allow more than', str(error))

    def _dictionary(self, bits: int) -> bytes:
        """Return an xz stream with another dictionary stated (5.3.1)."""
        packed = bytearray(self._xz(MIB))
        packed[16] = bits
        packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, 'little')
        return bytes(packed)
