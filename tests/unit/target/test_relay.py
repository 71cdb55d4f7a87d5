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

"""Buffers on their way through threads, and how that ends."""

from __future__ import annotations

from collections.abc import Callable
import threading
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.target import relay
from tests import base


def _nothing() -> None:
    """Interrupt nothing."""


class RelayTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        before = threading.active_count()
        self.addCleanup(
            lambda: self.assertEqual(before, threading.active_count())
        )

    def test_each_task_gets_everything_in_order(self) -> None:
        seen: dict[str, list[bytes]] = {'first': [], 'second': []}
        buffers = relay.Relay(
            [
                lambda view: seen['first'].append(bytes(view)),
                lambda view: seen['second'].append(bytes(view)),
            ]
        )
        data = bytes(range(256)) * (relay.SIZE // 256) * 20 + b'the end'
        for start in range(0, len(data), 3_000_003):
            buffers.write(data[start : start + 3_000_003])
        buffers.finish()
        for name, views in seen.items():
            self.assertTrue(data == b''.join(views), name)
            self.assertLessEqual(max(map(len, views)), relay.SIZE)

    def test_what_may_change_is_copied(self) -> None:
        seen: list[bytes] = []

        def task(view: memoryview) -> None:
            going.wait(30)
            seen.append(bytes(view))

        going = threading.Event()
        buffers = relay.Relay([task])
        for kind in (bytearray, lambda data: memoryview(bytearray(data))):
            buffer = kind(b'good')
            buffers.write(buffer)
            buffer[:] = b'over'
        going.set()
        buffers.finish()
        self.assertEqual([b'good'] * 2, seen)

    def test_what_is_kept_is_given_back_after_the_last_task(self) -> None:
        events: list[str] = []
        buffers = relay.Relay(
            [lambda view: events.append('1'), lambda view: events.append('2')]
        )
        buffer = bytearray(2 * relay.SIZE + 1)
        view = memoryview(buffer)
        buffers.write(view, lambda: events.append('released'))
        buffers.finish()
        self.assertEqual('released', events[-1])
        self.assertEqual(['1', '1', '1', '2', '2', '2'], sorted(events[:-1]))
        # It was not copied, and nothing holds on to it.
        view.release()
        del view
        buffer.clear()

    def test_so_many_are_on_their_way_at_once(self) -> None:
        seen: list[int] = []

        def task(view: memoryview) -> None:
            waiting.wait(30)
            seen.append(len(view))

        def produce() -> None:
            for number in range(10 * relay.COUNT):
                buffers.write(bytes(relay.SIZE))
                written.append(number)
            buffers.finish()

        written: list[int] = []
        waiting = threading.Event()
        buffers = relay.Relay([task])
        producer = threading.Thread(target=produce)
        producer.start()
        while len(written) < relay.COUNT:
            pass
        producer.join(0.1)
        self.assertEqual(relay.COUNT, len(written))
        waiting.set()
        producer.join()
        self.assertEqual([relay.SIZE] * 10 * relay.COUNT, seen)

    def test_the_last_task_is_told_when_it_has_nothing_to_do(self) -> None:
        events: list[str] = []
        idle = threading.Event()

        def rest() -> None:
            events.append('idle')
            idle.set()

        def last(view: memoryview) -> None:
            events.append('task')
            going.wait(30)

        going = threading.Event()
        buffers = relay.Relay([lambda view: None, last], idle=rest)
        self.assertTrue(idle.wait(30))
        for _number in range(relay.COUNT):
            buffers.write(b'1')
        # There is room for this one when one of those is done.
        threading.Timer(0.1, going.set).start()
        buffers.write(b'1')
        buffers.finish()
        self.assertEqual('idle', events[0])
        self.assertEqual(relay.COUNT + 1, events.count('task'))
        self.assertEqual(['task'] * 3, events[1:4])

    def test_nothing_at_all(self) -> None:
        seen: list[bytes] = []
        buffers = relay.Relay([lambda view: seen.append(bytes(view))])
        buffers.write(b'')
        buffers.finish()
        self.assertEqual([], seen)

    def test_dead_task_stops_the_producer(self) -> None:
        """Whichever it is, and however much is still to come."""
        for place in (0, 1, 2):
            cause = ValueError('dead')
            cancelled: list[int] = []

            def fail(view: memoryview, cause: ValueError = cause) -> None:
                raise cause

            tasks = [lambda view: None, lambda view: None]
            tasks.insert(place, fail)
            buffers = relay.Relay(tasks, lambda: cancelled.append(1))  # noqa: B023
            written = 0

            def produce(buffers: relay.Relay = buffers) -> None:
                nonlocal written
                while True:
                    buffers.write(bytes(relay.SIZE))
                    written += 1

            error = self.assertRaises(ValueError, produce)
            self.assertIs(cause, error)
            self.assertLessEqual(written, relay.COUNT)
            buffers.abort(_nothing)
            self.assertEqual([1], cancelled)

    def test_failure_in_the_last_buffer(self) -> None:
        def fail(view: memoryview) -> None:
            raise ValueError('dead')

        cases: list[list[Callable[[memoryview], None]]] = [
            [fail],
            [lambda view: None, fail],
            [fail, print],
        ]
        for tasks in cases:
            buffers = relay.Relay(tasks)
            buffers.write(b'little')
            self.assertRaises(ValueError, buffers.finish)
            self.assertTrue(buffers.abort(_nothing))

    def test_first_failure_counts(self) -> None:
        failed = threading.Event()

        def first(view: memoryview) -> None:
            # The second one has its buffer, and fails, before.
            if view[0]:
                failed.wait(30)
                raise ValueError('later')

        def second(view: memoryview) -> None:
            raise KeyError('earlier')

        buffers = relay.Relay([first, second], failed.set)
        buffers.write(bytes(relay.SIZE))
        buffers.write(b'\x01' * relay.SIZE)
        self.assertRaises(KeyError, buffers.finish)
        buffers.abort(_nothing)

    def test_abort_ends_a_task_that_waits(self) -> None:
        waiting = threading.Event()
        seen = []

        def task(view: memoryview) -> None:
            seen.append(len(view))
            waiting.wait(30)

        buffers = relay.Relay([task])
        for _number in range(3):
            buffers.write(bytes(relay.SIZE))
        while not seen:
            pass
        buffers.abort(waiting.set)
        self.assertTrue(waiting.is_set())
        # What was waiting behind it is not begun.
        self.assertEqual([relay.SIZE], seen)

    def test_no_more_threads(self) -> None:
        """Those that there are end, and it is said what has run out."""
        self.few_threads(1)
        self.assertRaises(
            errors.ResourceError, relay.Relay, [lambda view: None] * 2
        )
        ended = threading.Event()
        self.assertTrue(relay.Call(ended.set, 'the target').run(30))
        self.assertTrue(ended.is_set())
        for thread in threading.enumerate():
            if thread.name.startswith('fuel-agent-curl-sink'):
                thread.join(30)

    def test_signal_while_threads_are_started(self) -> None:
        start = threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            start(thread)
            raise KeyboardInterrupt

        self.patch(threading.Thread, 'start', interrupted)
        self.assertRaises(
            KeyboardInterrupt, relay.Relay, [lambda view: None] * 2
        )
        for thread in threading.enumerate():
            if thread.name.startswith('fuel-agent-curl-sink'):
                thread.join(30)

    def few_threads(self, count: int) -> None:
        """Let so many more threads be had."""
        start, left = threading.Thread.start, [None] * count

        def refuse(thread: threading.Thread) -> None:
            if not left:
                raise RuntimeError("can't start new thread")
            left.pop()
            start(thread)

        self.patch(threading.Thread, 'start', refuse)

    def test_write_after_the_end(self) -> None:
        buffers = relay.Relay([lambda view: None])
        buffers.abort(_nothing)

        def produce() -> None:
            for _number in range(relay.COUNT + 1):
                buffers.write(bytes(relay.SIZE))

        self.assertRaises(RuntimeError, produce)


class EndTest(base.TestCase):
    """What comes after the last buffer, and what ends before it."""

    def setUp(self) -> None:
        super().setUp()
        before = threading.active_count()
        self.addCleanup(
            lambda: self.assertEqual(before, threading.active_count())
        )

    def test_checked_here_then_ended_by_the_last_task(self) -> None:
        events: list[tuple[str, str]] = []

        def note(what: str) -> None:
            events.append((what, threading.current_thread().name))

        buffers = relay.Relay([lambda view: None, lambda view: note('task')])
        buffers.write(b'x' * 2 * relay.SIZE)
        buffers.finish(lambda: note('verify'), lambda: note('last'))
        here = threading.current_thread().name
        there = events[0][1]
        self.assertNotEqual(here, there)
        self.assertEqual(
            [('task', there)] * 2 + [('verify', here), ('last', there)], events
        )

    def test_what_does_not_verify_is_not_ended(self) -> None:
        def fail() -> None:
            raise ValueError('not this')

        ended: list[int] = []
        buffers = relay.Relay([lambda view: None])
        buffers.write(b'x')
        self.assertRaises(
            ValueError, buffers.finish, fail, lambda: ended.append(1)
        )
        self.assertTrue(buffers.abort(_nothing))
        self.assertEqual([], ended)

    def test_end_that_fails(self) -> None:
        def fail() -> None:
            raise KeyError('the end')

        buffers = relay.Relay([lambda view: None, lambda view: None])
        buffers.write(b'x')
        self.assertRaises(KeyError, buffers.finish, _nothing, fail)

    def _blocked(self, deadline: float | None = None) -> relay.Relay:
        """Return one whose task waits for ``self.going``."""
        self.going = threading.Event()
        self.addCleanup(self.going.set)
        self.in_task = threading.Event()

        def task(view: memoryview) -> None:
            self.in_task.set()
            self.going.wait(30)

        buffers = relay.Relay([task], deadline=deadline, path='/dev/sdx')
        buffers.write(b'x')
        self.assertTrue(self.in_task.wait(30))
        return buffers

    def test_deadline_while_there_is_no_room(self) -> None:
        buffers = self._blocked(time.monotonic() + 0.1)

        def produce() -> None:
            for _number in range(relay.COUNT):
                buffers.write(b'x')

        error = self.assertRaises(errors.DeadlineExceeded, produce)
        self.assertIn('/dev/sdx is not complete yet', str(error))
        self.assertTrue(buffers.abort(self.going.set))

    def test_deadline_at_the_end(self) -> None:
        buffers = self._blocked(time.monotonic() + 0.1)
        self.assertRaises(errors.DeadlineExceeded, buffers.finish)
        self.assertTrue(buffers.abort(self.going.set))
        going = threading.Event()
        buffers = relay.Relay(
            [lambda view: None], deadline=time.monotonic() + 0.1
        )
        self.assertRaises(
            errors.DeadlineExceeded, buffers.finish, _nothing, going.wait
        )
        self.assertTrue(buffers.abort(going.set))

    def test_deadline_that_is_kept(self) -> None:
        seen: list[bytes] = []
        buffers = relay.Relay(
            [lambda view: seen.append(bytes(view))],
            deadline=time.monotonic() + 60,
        )
        buffers.write(b'x')
        buffers.finish(last=lambda: seen.append(b'end'))
        self.assertEqual([b'x', b'end'], seen)

    def test_call_that_is_not_given_back(self) -> None:
        """Nobody waits for ever, and nobody thinks that it has ended."""
        self.patch(relay, 'PATIENCE', 0.1)
        buffers = self._blocked()
        self.assertFalse(buffers.abort(_nothing))
        self.assertIn(
            '/dev/sdx: waiting for the kernel to give back', self.log.output
        )
        self.going.set()
        self.patch(relay, 'PATIENCE', 30)
        self.assertTrue(buffers.abort(_nothing))

    def test_patience_is_short_after_the_deadline(self) -> None:
        self.patch(relay, 'LATE_PATIENCE', 0.1)
        buffers = self._blocked(time.monotonic())
        self.assertRaises(errors.DeadlineExceeded, buffers.finish)
        self.assertFalse(buffers.abort(_nothing))
        self.going.set()
        self.patch(relay, 'LATE_PATIENCE', 30)
        self.assertTrue(buffers.abort(_nothing))

    def test_wait_that_is_interrupted_is_waited_again(self) -> None:
        """As by a signal, in the main thread; the task goes on."""

        class Interrupted(BaseException):
            pass

        buffers = self._blocked()
        real = threading.Event.wait

        def interrupted(event: threading.Event, *args: Any) -> bool:
            if threading.current_thread() is not threading.main_thread():
                return real(event, *args)
            self.patch(threading.Event, 'wait', real)
            raise Interrupted

        self.patch(threading.Event, 'wait', interrupted)
        self.assertRaises(Interrupted, buffers.finish)
        timer = threading.Timer(0.2, self.going.set)
        timer.start()
        self.assertTrue(buffers.abort(_nothing))
        self.assertTrue(self.going.is_set())
        timer.join()
