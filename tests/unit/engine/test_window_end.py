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

"""Tests of the window's end: nothing missing, nobody left waiting."""

from __future__ import annotations

import hashlib
import threading

from fuel_agent_curl.engine import window
from fuel_agent_curl.image import metalink
from tests.unit.engine.test_window import content
from tests.unit.engine.test_window import PATIENCE
from tests.unit.engine.test_window import WindowTestCase


class _Taking:
    """Takes one chunk in a thread of its own."""

    def __init__(self, made: window.Window, index: int = 0) -> None:
        self._made = made
        self._index = index
        self._got: list[bytes | BaseException | None] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            chunk = self._made.take(self._index)
            self._got.append(None if chunk is None else bytes(chunk.content))
        except BaseException as error:
            self._got.append(error)

    def is_done(self, seconds: float) -> bool:
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def result(self) -> bytes | BaseException | None:
        assert self.is_done(PATIENCE), 'the consumer was not woken'
        return self._got[0]


class TestEnd(WindowTestCase):
    def test_a_last_chunk_waits_for_the_proof_of_the_end(self) -> None:
        made = self.make()
        made.length = 15
        self.put(made, 0, content(15))
        self.assertEqual(content(15)[:10], self.take(made, 1))
        taken = _Taking(made, 1)
        self.assertFalse(taken.is_done(0.05))
        made.finish(15)
        self.assertEqual(content(15)[10:], taken.result())

    def test_all_is_handed_on_before_the_end(self) -> None:
        made = self.make()
        self.put(made, 0, content(33))
        made.finish(33)
        self.assertEqual(content(33), b''.join(self.drain(made)))
        self.assertIsNone(self.take_chunk(made))

    def test_a_length_that_is_not_here_is_no_end(self) -> None:
        """Never a false success: what is missing would not show."""
        for put, length in (
            ([(0, 10)], 11),
            ([(0, 10)], 20),
            ([(0, 10)], 9),
            ([(0, 10)], 0),
            ([(0, 20)], 10),
            ([(0, 12)], 11),
            ([(0, 12)], 13),
            ([(10, 10)], 20),
            ([(0, 10), (20, 10)], 30),
            ([(0, 9), (10, 10)], 20),
            ([(0, 9), (10, 10)], 19),
            ([], 1),
        ):
            for taken in range(2):
                made = self.make()
                for start, size in put:
                    self.put(made, start, content(size))
                if taken and put and put[0] == (0, 10):
                    self.take(made, 1)
                error = self.assertRaises(RuntimeError, made.finish, length)
                # The network thread passes it on.
                made.fail(error)
                self.assertRaises(RuntimeError, self.drain, made)

    def test_an_error_counts_more_than_what_is_ready(self) -> None:
        made = self.make()
        self.put(made, 0, content(40))
        made.fail(KeyError('first'))
        made.fail(ValueError('second'))
        for _again in range(2):
            self.assertRaises(KeyError, made.take, 0)
            self.assertRaises(KeyError, made.check)

    def test_an_end_that_comes_after_an_error_is_none(self) -> None:
        made = self.make()
        self.put(made, 0, content(10))
        made.fail(KeyError())
        made.finish(10)
        self.assertRaises(KeyError, made.take, 0)

    def test_an_error_after_the_end_is_too_late(self) -> None:
        """Closing a download whose network thread is done already."""
        made = self.make()
        self.put(made, 0, content(15))
        made.finish(15)
        made.fail(KeyError())
        made.check()
        self.assertEqual(content(15), b''.join(self.drain(made)))


class TestThreads(WindowTestCase):
    def test_a_waiting_consumer_is_woken_by_what_it_waits_for(self) -> None:
        made = self.make()
        # Chunks further on are none of its business.
        self.put(made, 10, b'b' * 10)
        taking = _Taking(made)
        self.put(made, 0, b'a' * 9)
        self.assertFalse(taking.is_done(0.05))
        self.put(made, 9, b'a')
        self.assertEqual(b'a' * 10, taking.result())

    def test_a_waiting_consumer_is_woken_by_the_end(self) -> None:
        made = self.make()
        taking = _Taking(made)
        made.finish(0)
        self.assertIsNone(taking.result())

    def test_a_waiting_consumer_is_woken_by_an_error(self) -> None:
        made = self.make()
        taking = _Taking(made)
        made.fail(KeyError('no more'))
        self.assertIsInstance(taking.result(), KeyError)

    def test_both_at_full_speed(self) -> None:
        """A writer that waits for room, a consumer that waits for bytes."""
        room = threading.Event()
        for capacity, chunk_size, piece in ((64, 16, 16), (101, 7, 13)):
            made = window.Window(capacity, chunk_size, room.set)
            data = content(20011)
            self.consumed = b''

            def consume(made: window.Window = made) -> None:
                self.consumed = b''.join(self.drain(made))

            consumer = threading.Thread(target=consume, daemon=True)
            consumer.start()
            offset = 0
            while offset < len(data):
                room.clear()
                done = self.put(made, offset, data[offset : offset + piece])
                offset += done
                if not done and not made.want(offset + 1):
                    self.assertTrue(room.wait(PATIENCE), 'nobody made room')
            made.finish(len(data))
            consumer.join(PATIENCE)
            self.assertFalse(consumer.is_alive())
            self.assertEqual(data, self.consumed)


class TestPieces(WindowTestCase):
    def make_checked(self, data: bytes, size: int = 5) -> window.Window:
        hashes = b''.join(
            hashlib.sha256(data[at : at + size]).digest()
            for at in range(0, len(data), size)
        )
        made = self.make(pieces=metalink.Pieces(size, 'sha256', hashes))
        made.length = len(data)
        return made

    def commit(self, made: window.Window, offset: int, data: bytes) -> bool:
        lease = made.lease(offset)
        assert lease is not None
        view, at, _room = lease
        view[at : at + len(data)] = data
        return made.commit(offset, len(data))

    def test_right_ones_pass(self) -> None:
        data = content(38)
        made = self.make_checked(data)
        self.assertEqual(38, self.put(made, 0, data))
        made.finish(38)
        self.assertEqual(data, b''.join(self.drain(made)))

    def test_a_wrong_one_is_brought_again(self) -> None:
        data = content(38)
        # The last chunk is a short one.
        for start in 0, 10, 30:
            for wrong in 0, 4, 5, 7:
                made = self.make_checked(data)
                right = data[start : start + 10]
                bad = right[:wrong] + b'!' + right[wrong + 1 :]
                self.assertTrue(self.commit(made, start, bad[:3]))
                self.assertFalse(self.commit(made, start + 3, bad[3:]))
                self.put(made, 0, data[:start])
                self.assertRaises(RuntimeError, made.finish, 38)
                made = self.make_checked(data)
                self.assertFalse(self.commit(made, start, bad))
                self.put(made, 0, data)
                made.finish(38)
                self.assertEqual(data, b''.join(self.drain(made)))
