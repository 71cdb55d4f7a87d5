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

"""The blocks of an xz container, by one thread and by several."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import itertools
import lzma
import os
import random
import struct
import threading
from typing import Any
import zlib

from fuel_agent_curl import errors
from fuel_agent_curl.image import blocks
from fuel_agent_curl.image import containers
from fuel_agent_curl.image import workers
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests.unit.image import test_containers
from tests.unit.image import test_containers_any
from tests.unit.image import test_containers_damage

_SEED = 20261126
#: Blocks that are longer than this have a thread of their own.
_LONG = MIB + 1
_THREADS = (1, 2, 8)

#: How many containers are damaged at random.
_TIMES = int(os.environ.get('FUEL_AGENT_CURL_FUZZ', '30'))

DELTA = [
    {'id': lzma.FILTER_DELTA, 'dist': 3},
    {'id': lzma.FILTER_LZMA2, 'preset': 0},
]


def _integer(value: int) -> bytes:
    """xz-file-format.txt 1.2."""
    packed = b''
    while value > 0x7F:
        packed += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return packed + bytes((value,))


def _integers(data: bytes, count: int) -> Iterator[int]:
    at = 0
    for _ in range(count):
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                break
        yield value


def _crc(data: bytes) -> bytes:
    return struct.pack('<I', zlib.crc32(data))


def block(
    data: bytes, stated: bool = True, check: int = lzma.CHECK_CRC64, **how: Any
) -> tuple[bytes, bytes]:
    """Return a block (3), and its record in the index (4.3).

    :param stated: its header says how long it is.
    """
    # The encoder of the standard library makes one block, and states nothing.
    packed = lzma.compress(data, check=check, **(how or {'preset': 0}))
    index = (int.from_bytes(packed[-8:-4], 'little') + 1) * 4
    size = (packed[12] + 1) * 4
    header, body = packed[12 : 12 + size], packed[12 + size : -12 - index]
    _count, unpadded, length = _integers(packed[-12 - index + 1 :], 3)
    if stated:
        check_size = {0: 0, 1: 4, 4: 8, 10: 32}[check]
        fields = _integer(unpadded - size - check_size) + _integer(length)
        made = bytes((header[1] | 0xC0,)) + fields + header[2:-4]
        made += bytes(-(len(made) + 1) % 4)
        made = bytes(((len(made) + 5) // 4 - 1,)) + made
        unpadded += len(made) + 4 - size
        header = made + _crc(made)
    return header + body, _integer(unpadded) + _integer(length)


def stream(
    made: list[tuple[bytes, bytes]], check: int = lzma.CHECK_CRC64
) -> bytes:
    """Return a stream of these blocks."""
    flags = bytes((0, check))
    index = b'\0' + _integer(len(made)) + b''.join(r for _b, r in made)
    index += bytes(-len(index) % 4)
    index += _crc(index)
    footer = struct.pack('<I', len(index) // 4 - 1) + flags
    return b''.join(
        (
            b'\xfd7zXZ\0' + flags + _crc(flags),
            *(body for body, _record in made),
            index,
            _crc(footer) + footer + b'YZ',
        )
    )


def _cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def pack(data: bytes) -> bytes:
    """Pack in several short blocks of all kinds."""
    made = [
        block(piece, number % 3 != 2)
        for number, piece in enumerate(_cut(data, max(1, len(data) // 5)))
    ]
    return stream(made)


def pack_at_random(data: bytes, dice: random.Random) -> bytes:
    check = dice.choice(
        (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_CRC64, 10)
    )
    if check == lzma.CHECK_NONE:
        # Damage would not show.
        check = lzma.CHECK_CRC32
    size = dice.choice((1000, 20_000, 90_000))
    how: dict[str, Any] = {'preset': dice.randrange(2)}
    if not dice.randrange(3):
        how = {'filters': DELTA}
    made = [
        block(piece, bool(dice.randrange(3)), check, **how)
        for piece in _cut(data, size)
    ]
    return stream(made, check)


_DICE = random.Random(_SEED)
#: Longer than any block that is decoded with others, twice as long packed as
#: what a piece of the input is.
PIECES = [
    bytes(_LONG - 128 * KIB) + _DICE.randbytes(128 * KIB) for _ in range(6)
]
IMAGE = b''.join(PIECES)
BLOCKS = [block(piece) for piece in PIECES]


class _InThreads(test_containers.ContainersTestCase):
    """By every number of threads, one container after the other."""

    #: Of a module: its packers, by container.
    packers: dict[str, Any]
    packer: Callable[..., bytes]

    def setUp(self) -> None:
        super().setUp()
        before = dict(self.packers)
        self.addCleanup(self.packers.update, before)
        self.packers.clear()
        self.packers['xz'] = self.packer
        threads = itertools.cycle(_THREADS)
        self.patch(workers, 'default_threads', lambda: next(threads))
        # Or all that the tests have would be one run.
        self.patch(blocks, '_RUN', 3000)


class GoodInThreadsTest(_InThreads, test_containers.GoodTest):
    packers = test_containers.PACK
    packer = staticmethod(pack)

    def test_members_after_padding(self) -> None:
        packed = pack(b'one') + bytes(8) + pack(b'two')
        self.assertEqual(b'onetwo', test_containers.unpack([packed], 'xz'))


class DamageInThreadsTest(_InThreads, test_containers_damage.DamageTest):
    packers = test_containers.PACK
    packer = staticmethod(pack)

    def test_member_after_padding(self) -> None:
        packed = pack(b'one') + bytes(3) + pack(b'two')
        error = self._error(packed, 'xz')
        self.assertIs(errors.TrailingGarbageError, type(error))


class AnyInThreadsTest(_InThreads, test_containers_any.AnyTest):
    packers = test_containers_any.MEMBERS
    packer = staticmethod(pack_at_random)


def outcome(
    chunks: list[bytes], threads: int, **options: Any
) -> tuple[bytes, object]:
    """Return what is handed on, and the error that ends it."""
    out = bytearray()
    try:
        for piece in containers.decompress(
            iter(chunks), 'xz', decoder_threads=threads, **options
        ):
            out += piece
    except errors.ContentError as error:
        return bytes(out), (type(error), error.offset)
    return bytes(out), None


def by_liblzma(chunks: list[bytes]) -> tuple[bytes, object]:
    """Return the same of liblzma alone, and whole streams."""
    out, taken = bytearray(), 0
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    for chunk in chunks:
        for piece in _cut(chunk, 64 * KIB):
            taken += len(piece)
            if decoder.eof:
                return bytes(out), (errors.TrailingGarbageError, taken)
            try:
                out += decoder.decompress(piece)
            except lzma.LZMAError:
                return bytes(out), (errors.CorruptError, taken)
    if not decoder.eof:
        return bytes(out), (errors.TruncatedError, taken)
    return bytes(out), None


class BlocksTest(test_containers.ContainersTestCase):
    def test_what_the_tests_make_is_xz(self) -> None:
        made = [*BLOCKS[:2], block(b'short'), block(b'not stated', False)]
        image = b''.join(PIECES[:2]) + b'short' + b'not stated'
        self.assert_image(image, lzma.decompress(stream(made)), 'liblzma')

    def test_of_any_kind_in_any_order(self) -> None:
        kinds = {
            'long': BLOCKS[0],
            'short': block(b'short' * 99),
            'not stated': block(b'not stated' * 999, False),
            'filtered': block(b'abc' * 999, filters=DELTA),
        }
        for order in itertools.permutations(kinds, 3):
            packed = stream([kinds[name] for name in order])
            image = lzma.decompress(packed)
            for threads, size in itertools.product(_THREADS, (999, MIB)):
                out, error = outcome(_cut(packed, size), threads)
                self.assertIsNone(error)
                self.assert_image(image, out, str(order))

    def test_every_check(self) -> None:
        for check in (lzma.CHECK_NONE, lzma.CHECK_CRC32, lzma.CHECK_SHA256):
            made = [block(piece, True, check) for piece in PIECES[:2]]
            for threads in _THREADS:
                out, error = outcome([stream(made, check)], threads)
                self.assertIsNone(error)
                self.assert_image(b''.join(PIECES[:2]), out, str(check))

    def test_many_short_ones(self) -> None:
        made = [block(b'%d' % number) for number in range(1500)]
        image = b''.join(b'%d' % number for number in range(1500))
        for threads in _THREADS:
            out, error = outcome(_cut(stream(made), 70_000), threads)
            self.assertIsNone(error)
            self.assert_image(image, out, 'short')

    def test_threads_are_used_and_end(self) -> None:
        packed = stream(BLOCKS)
        for threads in _THREADS:
            image = containers.decompress(
                [packed], 'xz', decoder_threads=threads
            )
            most = max(len(self._threads()) for _piece in image)
            expected = 0 if threads == 1 else min(threads, len(BLOCKS))
            self.assertEqual(expected, most)
            self.assertEqual([], self._threads())

    def test_threads_end_when_nobody_wants_more(self) -> None:
        packed = stream(BLOCKS)
        opened = containers.open_container([packed], decoder_threads=8)
        self.assertNotEqual([], self._threads())
        opened.close()
        self.assertEqual([], self._threads())
        self.assertEqual([], list(opened.chunks)[1:])
        image = containers.decompress([packed], 'xz', decoder_threads=8)
        next(image)
        del image
        self.assertEqual([], self._threads())

    def _threads(self) -> list[str]:
        return [
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith('fuel-agent-curl-unpack')
        ]

    def test_without_threads_to_be_had(self) -> None:
        def start(_thread: object) -> None:
            if left:
                left.pop()
                really(_thread)  # type: ignore[arg-type]
                return
            raise RuntimeError("can't start new thread")

        really = threading.Thread.start
        self.patch(threading.Thread, 'start', start)
        for count in (0, 1):
            left = [None] * count
            out, error = outcome([stream(BLOCKS)], 8)
            self.assertIsNone(error)
            self.assert_image(IMAGE, out, '%d threads' % count)

    def test_no_more_is_taken_than_memory_allows(self) -> None:
        noise = random.Random(_SEED)
        made = [block(noise.randbytes(_LONG)) for _ in range(9)]
        packed = stream(made)
        taken = 0

        def source() -> Iterator[bytes]:
            nonlocal taken
            for piece in _cut(packed, 10_000):
                taken += len(piece)
                yield piece

        for threads, mib, most in ((8, 8, 5), (2, 128, 4)):
            taken = 0
            image = containers.decompress(
                source(),
                'xz',
                decoder_memory=mib * MIB,
                decoder_threads=threads,
            )
            first = len(next(image))
            self.assertLess(taken, most * _LONG)
            self.assertEqual(len(made) * _LONG, first + sum(map(len, image)))

    def test_blocks_that_take_too_much_are_decoded_alone(self) -> None:
        packed = stream(BLOCKS)
        image = containers.decompress(
            [packed], 'xz', decoder_memory=MIB, decoder_threads=8
        )
        first = len(next(image))
        self.assertEqual([], self._threads())
        self.assertEqual(len(IMAGE), first + sum(map(len, image)))


class ErrorsTest(test_containers.ContainersTestCase):
    def _compare(self, packed: bytes, size: int) -> tuple[bytes, object]:
        chunks = _cut(packed, size)
        expected = outcome(chunks, 1)
        for threads in _THREADS[1:]:
            for _time in range(2):
                found = outcome(chunks, threads)
                self.assertEqual(expected[1], found[1], str(threads))
                self.assert_image(expected[0], found[0], 'before the error')
        return expected

    def test_the_first_one_in_the_stream_counts(self) -> None:
        made = list(BLOCKS)
        # Found when the next to last byte of the third is there, and in the
        # first of the fifth.
        for number, at in ((2, -2), (4, 30)):
            body = bytearray(made[number][0])
            body[at] ^= 0x55
            made[number] = bytes(body), made[number][1]
        packed = stream(made)
        end = 12 + sum(len(body) for body, _record in made[:3])
        for damaged in (packed, packed[: end + 99]):
            out, error = self._compare(damaged, 10_000)
            found = min(-(-(end - 2) // 10_000) * 10_000, len(damaged))
            self.assertEqual((errors.CorruptError, found), error)
            self.assertTrue(IMAGE.startswith(out))
            self.assertGreaterEqual(len(out), 2 * _LONG)

    def test_damaged_at_random_as_liblzma_finds_it(self) -> None:
        dice = random.Random(_SEED)
        pieces = [piece[-200 * KIB :] for piece in PIECES[:4]]
        self.patch(blocks, '_RUN', 3000)
        for number in range(_TIMES):
            made = [
                block(piece, bool(dice.randrange(4))) for piece in pieces[:2]
            ]
            made.append(block(b'short' * 99))
            if number % 3 == 0:
                made += BLOCKS[:1]
            dice.shuffle(made)
            packed = bytearray(stream(made))
            at = dice.choice(
                (
                    dice.randrange(12, len(packed)),
                    dice.randrange(12, 60),
                    len(packed) - dice.randrange(1, 60),
                )
            )
            how = dice.randrange(4)
            if how == 0:
                packed[at] ^= 1 << dice.randrange(8)
            elif how == 1:
                del packed[at]
            elif how == 2:
                packed.insert(at, dice.randrange(256))
            else:
                del packed[at:]
            size = dice.choice((64 * KIB, 1000, len(packed)))
            _out, error = self._compare(bytes(packed), size)
            expected = by_liblzma(_cut(bytes(packed), size))[1]
            if isinstance(expected, tuple):
                expected = expected[0]
                assert isinstance(error, tuple)
                error = error[0]
            self.assertEqual(expected, error, '%d at %d' % (how, at))

    def test_an_index_of_other_blocks(self) -> None:
        for made, record in (
            (BLOCKS[:3], BLOCKS[3][1]),
            ([block(b'one'), block(b'two')], block(b'three')[1]),
        ):
            for number in range(len(made)):
                wrong = list(made)
                wrong[number] = wrong[number][0], record
                if wrong == made:
                    continue
                out, error = self._compare(stream(wrong), 10_000)
                assert isinstance(error, tuple)
                self.assertIs(errors.CorruptError, error[0])
                self.assertEqual(
                    sum(len(lzma.decompress(stream([m]))) for m in made),
                    len(out),
                )
        # One fewer, one more, and another order.
        body, record = block(b'more')
        first, second = block(b'one'), block(b'three')
        for wrong in (
            [first, (body, b'')],
            [first, (b'', record)],
            [(first[0], second[1]), (second[0], first[1])],
        ):
            _out, error = self._compare(stream(wrong), 10_000)
            assert isinstance(error, tuple)
            self.assertIs(errors.CorruptError, error[0])

    def test_an_error_of_the_source_comes_after_what_it_brought(self) -> None:
        packed = stream(BLOCKS)
        end = 12 + sum(len(body) for body, _record in BLOCKS[:4])

        def source() -> Iterator[bytes]:
            yield packed[: end + 9]
            raise ConnectionResetError('told to')

        for threads in _THREADS:
            out = bytearray()
            try:
                for piece in containers.decompress(
                    source(), 'xz', decoder_threads=threads
                ):
                    out += piece
            except ConnectionResetError as error:
                self.assertEqual('told to', str(error))
            self.assert_image(IMAGE[: 4 * _LONG], bytes(out), str(threads))

    def test_an_interruption_waits_for_nothing(self) -> None:
        def source() -> Iterator[bytes]:
            yield stream(BLOCKS)[:-9999]
            raise KeyboardInterrupt

        for threads in _THREADS:
            image = containers.decompress(
                source(), 'xz', decoder_threads=threads
            )
            self.assertRaises(KeyboardInterrupt, list, image)
            self.assertEqual(1, threading.active_count())

    def test_memory_that_cannot_be_had(self) -> None:
        class Decoder:
            eof = needs_input = False

            def decompress(self, *_args: object) -> bytes:
                raise MemoryError

        packed = stream(BLOCKS)
        self.patch(
            blocks._DECODERS, 'LZMADecompressor', lambda *_a, **_k: Decoder()
        )
        for threads in _THREADS:
            image = containers.decompress(
                [packed], 'xz', decoder_threads=threads
            )
            self.assertRaises(errors.ResourceError, list, image)
