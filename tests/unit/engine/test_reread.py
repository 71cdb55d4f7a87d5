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

"""Tests of what is kept of the bytes handed on, to read them again."""

from __future__ import annotations

import itertools
import random
import re
import zlib

from fuel_agent_curl import errors
from fuel_agent_curl.engine import reread
from tests import base

SIZE = 8


def handed_on(content: bytes | bytearray) -> reread.HandedOn:
    """Return what is kept of ``content``, in chunks of ``SIZE`` bytes."""
    checkpoints = reread.Checkpoints()
    for at in range(0, len(content), SIZE):
        checkpoints.add(zlib.crc32(content[at : at + SIZE]))
    return checkpoints.handed_on(SIZE)


class TestComparison(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.content = random.Random(1).randbytes(5000 * SIZE)

    def compare(
        self,
        known: reread.HandedOn,
        content: bytes | bytearray,
        piece: int = 4096,
    ) -> None:
        again = reread.Comparison(known)
        for at in range(0, len(content), piece):
            again.update(memoryview(content[at : at + piece]))
        self.assertEqual(0, again.left)

    def test_the_same_in_pieces_of_any_size(self) -> None:
        for chunks, piece in itertools.product(
            (0, 1, 2, 3, 511, 512, 513, 1024, 1025, 1026, 3001),
            (1, 7, 8, 9, 333, 10**6),
        ):
            content = self.content[: chunks * SIZE]
            known = handed_on(content)
            self.assertEqual(len(content), known.length)
            self.compare(known, content, piece)

    def test_a_difference_is_told_near_where_it_is(self) -> None:
        dice = random.Random(2)
        for chunks in (1, 2, 700, 1023, 1024, 1025, 4097, 5000):
            content = bytearray(self.content[: chunks * SIZE])
            known = handed_on(content)
            for at in (0, len(content) - 1, dice.randrange(len(content))):
                content[at] ^= 1
                error = self.assertRaises(
                    errors.RepresentationChanged, self.compare, known, content
                )
                content[at] ^= 1
                found = re.search('from ([0-9]+) to ([0-9]+)', str(error))
                assert found is not None
                start, stop = int(found[1]), int(found[2])
                self.assertTrue(start <= at < stop, str(error))
                self.assertLessEqual(stop - start, max(SIZE, at // 512 + SIZE))

    def test_goes_on_from_a_checkpoint(self) -> None:
        dice = random.Random(3)
        for chunks in (0, 1, 2, 700, 1023, 1024, 1025, 2047, 2048, 5000):
            content = self.content[: chunks * SIZE]
            known = handed_on(content)
            for position in (
                *(0, 1, SIZE, len(content), len(content) + 99),
                *(dice.randrange(len(content) + 1) for _time in range(20)),
            ):
                start = known.checkpoint(position)
                self.assertLessEqual(start, position)
                reached = min(position, len(content))
                self.assertLessEqual(reached - start, reached // 512 + SIZE)
                again = reread.Comparison(known, start)
                self.assertEqual(start, again.same)
                again.update(memoryview(content[start:]))
                self.assertEqual((0, len(content)), (again.left, again.same))
                if start < len(content):
                    other = bytearray(content[start:])
                    other[dice.randrange(len(other))] ^= 1
                    self.assertRaises(
                        errors.RepresentationChanged,
                        reread.Comparison(known, start).update,
                        memoryview(other),
                    )

    def test_tells_how_far_it_is_the_same(self) -> None:
        known = handed_on(self.content)
        again = reread.Comparison(known)
        for at in range(0, len(self.content), 333):
            piece = self.content[at : at + 333]
            again.update(memoryview(piece))
            self.assertEqual(known.checkpoint(at + len(piece)), again.same)

    def test_bytes_that_changed_places(self) -> None:
        first, second = self.content[:SIZE], self.content[SIZE : 2 * SIZE]
        known = handed_on(first + second)
        self.assertRaises(
            errors.RepresentationChanged, self.compare, known, second + first
        )

    def test_what_is_kept_does_not_grow_with_the_length(self) -> None:
        # No more for a thousand times as many.
        kept = reread.Checkpoints()
        counts = []
        for chunks in (1000, 10**6):
            while kept.handed_on(1).length < chunks:
                for _count in range(1000):
                    kept.add(7)
            counts.append(len(kept))
        self.assertEqual(1000, counts[0])
        self.assertLess(counts[1], 7000)
