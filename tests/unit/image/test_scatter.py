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

"""Qcow2 files to their virtual disks."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import random
import threading

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.image import mapping
from fuel_agent_curl.image import qcow2
from fuel_agent_curl.image import scatter
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import qcow2s

#: Files that are damaged at random; many more are for a run by hand.
DAMAGED = int(os.environ.get('FUEL_AGENT_CURL_QCOW2_DAMAGED', '400'))

_MEMORY = 4 * MIB
_THREADS = (1, 2, 5)


class Disk:
    """A virtual disk in memory; every byte of it is to come once."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.data = bytearray(b'\xdb') * length
        self._seen = bytearray(length)

    def put(self, piece: scatter.Piece) -> None:
        if not 0 <= piece.start < piece.stop <= self.length:
            raise AssertionError('outside: %r' % (piece[:2],))
        count = piece.stop - piece.start
        if any(self._seen[piece.start : piece.stop]):
            raise AssertionError('twice: %r' % (piece[:2],))
        self._seen[piece.start : piece.stop] = b'\1' * count
        data = bytes(count) if piece.view is None else bytes(piece.view)
        if len(data) != count:
            raise AssertionError('%d bytes for %d' % (len(data), count))
        self.data[piece.start : piece.stop] = data

    @property
    def is_complete(self) -> bool:
        return 0 not in self._seen


def _fits(header: qcow2.Header) -> None:
    if header.length > 8 * MIB:
        raise errors.TargetTooSmall('too small')


def unpack(
    file: bytes,
    step: int,
    tables: bytes | None = None,
    threads: int = 1,
    memory: int = _MEMORY,
) -> Disk:
    """Return the virtual disk of ``file``, which comes in such steps.

    :param tables: the file that the tables are read of before.
    """
    found = mapping.load(qcow2s.Memory(tables or file), _MEMORY, _fits)
    disk = Disk(found.header.length)
    for piece in pieces(file, step, scatter.Scatter(found, memory, threads)):
        disk.put(piece)
    return disk


def pieces(
    file: bytes, step: int, cutter: scatter.Scatter
) -> Iterator[scatter.Piece]:
    """Iterate over the pieces; those that are lent come first of a view."""
    with contextlib.closing(cutter):
        for start in range(0, len(file), step):
            # The view is gone when the next one is asked for.
            view = memoryview(bytearray(file[start : start + step]))
            lent = True
            for piece in cutter.take(view):
                if piece.view is not None:
                    if piece.lent and not lent:
                        raise AssertionError('lent after another')
                    lent = piece.lent
                yield piece
            view.release()
        yield from cutter.finish()


class TestScatter(base.TestCase):
    def test_images_of_everything(self) -> None:
        for bits, count in ((9, 150), (12, 90), (14, 40), (16, 20)):
            for version, extended in ((2, False), (3, False), (3, True)):
                if extended and bits < 14:
                    continue
                image = qcow2s.sample(
                    bits=bits,
                    version=version,
                    extended=extended,
                    count=count,
                    seed=bits,
                )
                for step in qcow2s.STEPS:
                    if step < 512 and bits > 9:
                        continue
                    disk = unpack(bytes(image.file), step)
                    self.assertTrue(disk.is_complete)
                    self.assertTrue(
                        disk.data == image.expected,
                        (bits, version, extended, step),
                    )

    def test_nothing_but_zeros(self) -> None:
        image = qcow2s.make({}, length=5 * MIB + 17, bits=16)
        self.assertTrue(unpack(bytes(image.file), 4096).is_complete)

    def test_a_last_cluster_that_is_cut(self) -> None:
        """The file ends where the virtual disk does."""
        image = qcow2s.make({3: b'x' * 65536}, length=200_000, bits=16)
        self.assertEqual(len(image.file) - 65536, image.data[3])
        needed = 200_000 - 3 * 65536
        file = bytes(image.file[: image.data[3] + needed])
        self.assertTrue(unpack(file, 999).data == image.expected)
        self.assertRaises(errors.CorruptError, unpack, file[:-1], 999)

    def test_pieces_are_as_long_as_they_can_be(self) -> None:
        data = bytes(range(256)) * 2
        image = qcow2s.make(dict.fromkeys(range(50), data), length=512 * 50)
        # In the order of the virtual disk, behind everything else.
        start = len(image.file)
        for guest in range(50):
            image.put(image.entry(guest), start + guest * 512)
        image.file += data * 50
        found = mapping.load(qcow2s.Memory(image.file), _MEMORY)
        cutter = scatter.Scatter(found)
        found_there = [
            each[:2] for each in pieces(bytes(image.file), MIB, cutter)
        ]
        self.assertEqual([(0, 50 * 512)], found_there)

    def test_other_tables_than_were_read(self) -> None:
        image = qcow2s.sample()
        file = bytes(image.file)
        for at in (80, image.l1 + 3, image.l2[0] + 100, image.l2[1] + 511):
            other = bytearray(file)
            other[at] ^= 1
            for step in (512, MIB):
                self.assertRaises(
                    errors.RepresentationChanged,
                    unpack,
                    bytes(other),
                    step,
                    file,
                )

    def test_another_length_than_was_read(self) -> None:
        file = bytes(qcow2s.sample(packed=False).file)
        for other in (file + b'x', file[:-1]):
            self.assertRaises(
                errors.RepresentationChanged, unpack, other, 4096, file
            )

    def test_a_compressed_cluster_that_is_damaged(self) -> None:
        image = qcow2s.make({0: qcow2s.Packed(b'abcd' * 128)}, length=512)
        start = image.get(image.entry(0)) & 0xFFFFFF
        for damage in (b'\xff\xff\xff', b'\x03\x00', b'\x01\x00\x00\xff\xff'):
            file = bytearray(image.file)
            file[start : start + len(damage)] = damage
            error = self.assertRaises(
                errors.CorruptError, unpack, bytes(file), 4096
            )
            self.assertIn('compressed cluster 0', str(error))


class TestThreads(base.TestCase):
    """Of compressed clusters, one to a job."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(scatter, '_JOB', 512)
        chance = random.Random(3)
        self.image = qcow2s.make(
            {
                guest: qcow2s.Packed(chance.randbytes(2) * 256)
                for guest in range(0, 60, 2)
            },
            length=512 * 60,
        )

    def test_neither_bytes_nor_errors_depend_on_them(self) -> None:
        file = bytes(self.image.file)
        for threads in _THREADS:
            for step in (512, 5000, MIB):
                for memory in (0, 3000, _MEMORY):
                    disk = unpack(file, step, None, threads, memory)
                    self.assertTrue(disk.is_complete)
                    self.assertTrue(disk.data == self.image.expected)
        damaged = bytearray(file)
        for guest in (22, 24, 58):
            start = self.image.get(self.image.entry(guest)) & 0xFFFFFF
            damaged[start : start + 3] = b'\xff\xff\xff'
        for threads in _THREADS:
            for step in (512, 5000, MIB):
                error = self.assertRaises(
                    errors.CorruptError,
                    unpack,
                    bytes(damaged),
                    step,
                    None,
                    threads,
                )
                self.assertIn('compressed cluster 22', str(error))

    def test_images_of_everything(self) -> None:
        image = qcow2s.sample(bits=12, seed=6, count=90)
        for threads in _THREADS:
            for step in (4096, MIB):
                disk = unpack(bytes(image.file), step, None, threads)
                self.assertTrue(disk.data == image.expected)

    def test_several_at_a_time(self) -> None:
        both = threading.Barrier(2, timeout=60)
        real = scatter._DECODERS['zlib']

        def decode(data: octets.Buffer, length: int) -> bytes:
            both.wait()
            return real(data, length)

        self.patch(scatter, '_DECODERS', {'zlib': decode})
        disk = unpack(bytes(self.image.file), MIB, None, 2)
        self.assertTrue(disk.data == self.image.expected)

    def test_what_is_decoded_does_not_wait_for_the_next_compressed(
        self,
    ) -> None:
        image = qcow2s.make(
            {0: qcow2s.Packed(bytes([7]) * 512)}, length=512 * 5
        )
        file = bytes(image.file) + bytes(2048)
        found = mapping.load(qcow2s.Memory(file), _MEMORY)
        with contextlib.closing(scatter.Scatter(found, _MEMORY, 2)) as cutter:
            held = []
            for start in range(0, len(file), 512):
                for piece in cutter.take(memoryview(file)[start:][:512]):
                    del piece
                held.append(len(cutter._jobs))
                for job in cutter._jobs:
                    # Until it is done, which it stays.
                    job._done.get()
                    job._done.put(None)
        self.assertEqual(1, max(held))
        self.assertEqual(0, held[-1])

    def test_no_more_than_memory_allows(self) -> None:
        """Nobody begins with what does not fit beside what is there."""
        found = mapping.load(qcow2s.Memory(self.image.file), _MEMORY)
        for memory, most in ((0, 1), (3500, 2), (_MEMORY, 7)):
            cutter = scatter.Scatter(found, memory, 5)
            held = []
            for _piece in pieces(bytes(self.image.file), MIB, cutter):
                held.append(len(cutter._jobs))
            self.assertGreaterEqual(most, max(held), memory)
            self.assertEqual(most > 2, max(held) > 2)

    def test_without_threads_to_be_had(self) -> None:
        def start(thread: threading.Thread) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            really(thread)

        really = threading.Thread.start
        self.patch(threading.Thread, 'start', start)
        for count in (0, 1):
            left = [None] * count
            disk = unpack(bytes(self.image.file), 5000, None, 4)
            self.assertTrue(disk.data == self.image.expected)

    def test_what_follows_each_other_is_one_piece(self) -> None:
        self.patch(scatter, '_JOB', MIB)
        image = qcow2s.make(
            {guest: qcow2s.Packed(b'ab' * 256) for guest in (3, 4, 5, 8, 9)},
            length=512 * 10 - 100,
        )
        for threads in _THREADS:
            found = mapping.load(qcow2s.Memory(image.file), _MEMORY)
            cutter = scatter.Scatter(found, _MEMORY, threads)
            self.assertEqual(
                [(3 * 512, 6 * 512), (8 * 512, 10 * 512 - 100)],
                [
                    each[:2]
                    for each in pieces(bytes(image.file), MIB, cutter)
                    if each.view is not None
                ],
            )


class TestDamaged(base.TestCase):
    def test_at_random(self) -> None:
        """No end but one of ours, and nothing outside the virtual disk."""
        chance = random.Random(20261126)
        kept = 0
        images = [
            qcow2s.sample(bits=9, seed=seed, count=70) for seed in range(3)
        ]
        images += [
            qcow2s.sample(bits=9, version=2, seed=4, count=70),
            qcow2s.sample(bits=14, extended=True, seed=5, count=6),
        ]
        for _turn in range(DAMAGED):
            image = chance.choice(images)
            file = bytearray(image.file)
            places = [
                *(range(112), range(image.l1, image.l1 + 16)),
                *(range(at, at + 512) for at in image.l2.values()),
                range(len(file)),
            ]
            for _change in range(chance.choice((1, 1, 2, 5))):
                at = chance.choice(chance.choice(places))
                file[at] = chance.choice(
                    (0, 1, 0xFF, file[at] ^ 1 << chance.randrange(8))
                )
            if not chance.randrange(10):
                del file[chance.randrange(len(file)) :]
            try:
                disk = unpack(
                    bytes(file),
                    chance.choice((512, 5000, MIB)),
                    threads=chance.choice((1, 1, 2)),
                )
            except (errors.ContentError, errors.TargetTooSmall):
                continue
            self.assertTrue(disk.is_complete)
            kept += 1
        # Else nothing came that far.
        self.assertGreater(kept, DAMAGED // 20)
