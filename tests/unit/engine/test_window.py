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

"""Tests of the window: every byte once, in order, and never too many."""

from __future__ import annotations

import collections
import itertools

import fixtures

from fuel_agent_curl import octets
from fuel_agent_curl.engine import reread
from fuel_agent_curl.engine import window
from fuel_agent_curl.image import metalink
from tests import base

#: Seconds for what happens at once, on a machine that is busy.
PATIENCE = 20


def content(size: int) -> bytes:
    """Return bytes in which no other offset looks the same."""
    return b''.join(b'%07d ' % at for at in range(size // 8 + 1))[:size]


class WindowTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        # A consumer of a window that is wrong waits for ever.
        self.useFixture(fixtures.Timeout(PATIENCE, gentle=True))
        self.wakes = 0
        # How many chunks each window has handed on.
        self._taken: dict[window.Window, int] = {}

    def make(
        self,
        capacity: int = 40,
        chunk_size: int = 10,
        pieces: metalink.Pieces | None = None,
    ) -> window.Window:
        return window.Window(capacity, chunk_size, self._wake, pieces)

    def _wake(self) -> None:
        self.wakes += 1

    def put(self, made: window.Window, offset: int, data: bytes) -> int:
        """Put bytes in their places; return how many found room."""
        done = 0
        while done < len(data):
            lease = made.lease(offset + done)
            if lease is None:
                break
            view, at, room = lease
            piece = data[done : done + room]
            view[at : at + len(piece)] = piece
            self.assertTrue(made.commit(offset + done, len(piece)))
            done += len(piece)
        return done

    def take_chunk(self, made: window.Window) -> window.Chunk | None:
        """Return the next chunk, None after the last."""
        index = self._taken.get(made, 0)
        chunk = made.take(index)
        if chunk is not None:
            # Whoever was interrupted asks again.
            self.assertIs(chunk, made.take(index))
            self._taken[made] = index + 1
            made.let_go(index + 1)
        return chunk

    def drain(self, made: window.Window) -> list[bytes]:
        """Return the chunks up to the end."""
        chunks = []
        while (chunk := self.take_chunk(made)) is not None:
            chunks.append(bytes(chunk.content))
            made.give_back(chunk)
        return chunks

    def take(self, made: window.Window, count: int) -> bytes:
        """Return what the next chunks hold."""
        data = b''
        for _chunk in range(count):
            chunk = self.take_chunk(made)
            assert chunk is not None
            data += bytes(chunk.content)
            made.give_back(chunk)
        return data


class TestOrder(WindowTestCase):
    def test_pieces_of_any_size_leave_as_whole_chunks(self) -> None:
        for capacity, chunk_size, size, piece in itertools.product(
            (28, 101, 1000),
            (1, 7, 13, 64),
            (0, 1, 12, 13, 14, 91, 509),
            (1, 5, 13, 97),
        ):
            how = str((capacity, chunk_size, size, piece))
            made = self.make(capacity, chunk_size)
            data = content(size)
            chunks: list[bytes] = []
            offset = 0
            while offset < size:
                rest = data[offset : offset + piece]
                done = self.put(made, offset, rest)
                offset += done
                if done < len(rest):
                    chunks.append(self.take(made, 1))
            made.finish(size)
            chunks += self.drain(made)
            self.assertEqual(data, b''.join(chunks), str(how))
            for chunk in chunks[:-1]:
                self.assertEqual(made.chunk_size, len(chunk), str(how))

    def test_segments_out_of_order(self) -> None:
        data = content(38)
        for order in itertools.permutations((0, 10, 20, 30)):
            made = self.make()
            for start in order:
                self.put(made, start, data[start : start + 10])
            made.finish(38)
            self.assertEqual(data, b''.join(self.drain(made)), str(order))

    def test_segments_side_by_side(self) -> None:
        data = content(40)
        made = self.make()
        for at, start in itertools.product(range(10), (0, 20, 10, 30)):
            self.put(made, start + at, data[start + at : start + at + 1])
        made.finish(40)
        self.assertEqual(data, b''.join(self.drain(made)))

    def test_bytes_across_the_border_of_chunks(self) -> None:
        made = self.make()
        data = content(31)
        self.assertEqual(31, self.put(made, 0, data))
        self.assertEqual(data[:30], self.take(made, 3))
        made.finish(31)
        self.assertEqual([data[30:]], self.drain(made))

    def test_nothing_at_all(self) -> None:
        made = self.make()
        made.finish(0)
        self.assertEqual([], self.drain(made))
        self.assertIsNone(self.take_chunk(made))

    def test_a_window_has_four_chunks_or_more(self) -> None:
        for capacity, chunk_size, expected in (
            (64, 16, 16),
            (64, 17, 16),
            (64, 10**9, 16),
            (64, 15, 15),
            (64, 1, 1),
            (3, 16, 1),
        ):
            made = self.make(capacity, chunk_size)
            self.assertEqual(expected, made.chunk_size)

    def test_a_chunk_is_its_own_until_given_back(self) -> None:
        made = self.make()
        self.put(made, 0, b'a' * 10)
        first = self.take_chunk(made)
        assert first is not None
        # Twice round the window.
        for index in range(1, 9):
            self.put(made, index * 10, b'b' * 10)
            self.take(made, 1)
        self.assertEqual(b'a' * 10, bytes(first.content))
        made.give_back(first)

    def test_buffers_are_used_again(self) -> None:
        size = 64 * octets.KIB
        made = self.make(4 * size, size)
        buffers = {}
        for index in range(50):
            self.put(made, index * size, b'a' * size)
            chunk = self.take_chunk(made)
            assert chunk is not None
            buffers[id(chunk.buffer.obj)] = chunk.buffer.obj
            made.give_back(chunk)
        self.assertEqual(1, len(buffers))

    def test_so_are_those_of_a_rewind(self) -> None:
        size = 64 * octets.KIB
        made = self.make(4 * size, size)
        # The objects themselves: the id of one that is gone comes again.
        buffers = {}
        for _again in range(5):
            self.put(made, 0, b'a' * (3 * size + 1))
            lease = made.lease(3 * size + 1)
            assert lease is not None
            buffers[id(lease[0].obj)] = lease[0].obj
            made.rewind()
        self.assertLess(len(buffers), 5)

    def test_short_ones_share_no_byte(self) -> None:
        made = self.make(4000, 100)
        data = content(4000)
        self.assertEqual(4000, self.put(made, 0, data))
        held = [self.take_chunk(made) for _index in range(40)]
        self.assertEqual(
            data, b''.join(chunk.content for chunk in held if chunk)
        )

    def test_long_ones_fill_huge_pages(self) -> None:
        for chunk_size, together in (
            (64 * octets.KIB, 32),
            (octets.MIB, 2),
            (4 * octets.MIB, 1),
        ):
            made = self.make(64 * chunk_size, chunk_size)
            mappings = [
                id(lease[0].obj)
                for index in range(64)
                if (lease := made.lease(index * chunk_size))
            ]
            counted = collections.Counter(mappings)
            self.assertEqual(
                {together}, set(counted.values()), str(chunk_size)
            )

    def test_a_buffer_used_again_shows_nothing_old(self) -> None:
        made = self.make()
        self.put(made, 0, b'a' * 40)
        self.take(made, 4)
        self.put(made, 40, b'b' * 3)
        made.finish(43)
        self.assertEqual([b'bbb'], self.drain(made))


class TestRoom(WindowTestCase):
    def test_no_more_than_the_capacity_ahead_of_the_consumer(self) -> None:
        for capacity, chunk_size in ((40, 10), (41, 10), (49, 10), (4, 1)):
            made = self.make(capacity, chunk_size)
            whole = capacity // chunk_size * chunk_size
            data = content(1000)
            self.assertEqual(whole, self.put(made, 0, data))
            for offset in whole, whole + 1, whole + 10**9:
                self.assertIsNone(made.lease(offset))
            for taken in range(1, 20):
                self.take(made, 1)
                start = whole + (taken - 1) * chunk_size
                self.assertEqual(
                    chunk_size, self.put(made, start, data[start:])
                )

    def test_a_chunk_that_is_late_holds_up_all_behind_it(self) -> None:
        made = self.make()
        self.assertEqual(30, self.put(made, 10, content(100)))
        self.assertIsNone(made.lease(40))
        # Its own place is free.
        self.assertEqual(10, self.put(made, 0, content(10)))
        self.assertIsNone(made.lease(40))
        self.take(made, 1)
        self.assertIsNotNone(made.lease(40))

    def test_has_room(self) -> None:
        made = self.make()
        for taken in range(5):
            for stop in 0, 1, 10, 40 + taken * 10:
                self.assertTrue(made.has_room(stop))
            self.assertFalse(made.has_room(41 + taken * 10))
            self.put(made, taken * 10, content(10))
            self.take(made, 1)

    def test_wakes_once_when_there_is_the_room_wanted(self) -> None:
        made = self.make()
        self.put(made, 0, content(40))
        self.assertFalse(made.want(60))
        self.take(made, 1)
        self.assertEqual(0, self.wakes)
        self.take(made, 1)
        self.assertEqual(1, self.wakes)
        self.take(made, 2)
        self.assertEqual(1, self.wakes)

    def test_does_not_wake_where_there_is_room_already(self) -> None:
        made = self.make()
        self.put(made, 0, content(40))
        self.assertTrue(made.want(40))
        self.take(made, 4)
        self.assertEqual(0, self.wakes)
        # Nor for what was wanted before, and was there then.
        self.put(made, 40, content(40))
        self.assertFalse(made.want(90))
        self.assertTrue(made.want(80))
        self.take(made, 4)
        self.assertEqual(0, self.wakes)

    def test_what_is_ample_fits(self) -> None:
        for capacity, chunk_size in ((40, 10), (100, 7), (4, 1), (5, 100)):
            made = self.make(capacity, chunk_size)
            self.assertTrue(0 < made.ample <= capacity)
            self.assertTrue(made.want(made.ample))

    def test_before(self) -> None:
        made = self.make()
        self.put(made, 0, content(17))
        for offset, count, expected in (
            (17, 3, content(17)[14:]),
            (17, 7, content(17)[10:]),
            # Not of the chunk before.
            (17, 8, content(17)[10:]),
            (17, 17, content(17)[10:]),
            (17, 0, b''),
            (10, 5, b''),
            (0, 5, b''),
            (25, 5, b''),
        ):
            self.assertEqual(expected, made.before(offset, count))

    def test_brought(self) -> None:
        """Each byte counts once, from when it is in place."""
        made = self.make()
        self.assertEqual(0, made.brought)
        self.put(made, 0, content(17))
        self.put(made, 30, content(5))
        self.assertEqual(22, made.brought)
        self.take(made, 1)
        self.assertEqual(22, made.brought)
        made.rewind()
        self.assertEqual(10, made.brought)
        self.put(made, 10, content(10))
        self.assertEqual(20, made.brought)
        kept = window.Window(40, 10, self._wake, begin=25)
        self.assertEqual(20, kept.brought)

    def test_brought_without_a_bad_piece(self) -> None:
        pieces = metalink.Pieces(10, 'sha256', bytes(64))
        made = self.make(pieces=pieces)
        for _attempt in range(2):
            made.lease(0)
            self.assertTrue(made.commit(0, 4))
            self.assertEqual(4, made.brought)
            self.assertFalse(made.commit(4, 6))
            self.assertEqual(0, made.brought)


class TestRewind(WindowTestCase):
    def test_forgets_what_was_not_handed_on(self) -> None:
        made = self.make()
        old, new = b'x' * 35, content(60)
        self.put(made, 0, new[:20])
        self.take(made, 2)
        self.put(made, 20, old)
        handed_on = made.rewind()
        self.assertEqual((20, 10), (handed_on.length, handed_on.chunk_size))
        again = reread.Comparison(handed_on)
        again.update(memoryview(new[:20]))
        self.assertEqual(0, again.left)
        self.assertEqual(40, self.put(made, 20, new[20:]))
        made.finish(60)
        self.assertEqual(new[20:], b''.join(self.drain(made)))

    def test_of_nothing(self) -> None:
        made = self.make()
        self.assertEqual(reread.HandedOn(0, 10), made.rewind())
        self.put(made, 0, b'x' * 27)
        self.assertEqual(reread.HandedOn(0, 10), made.rewind())
        self.put(made, 0, content(7))
        made.finish(7)
        self.assertEqual([content(7)], self.drain(made))

    def test_what_the_consumer_holds_counts_as_handed_on(self) -> None:
        made = self.make()
        self.put(made, 0, content(40))
        held = self.take_chunk(made)
        assert held is not None
        self.assertEqual(10, made.rewind().length)
        self.put(made, 10, b'x' * 40)
        self.assertEqual(content(10), bytes(held.content))
        made.give_back(held)
