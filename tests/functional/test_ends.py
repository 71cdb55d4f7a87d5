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

"""Tests of the ends of a download: from anywhere, at any time, for good."""

from __future__ import annotations

import functools
import gc
import random
import threading
import time
from typing import Any
import weakref

import fuel_agent_curl
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine

THREAD = 'fuel-agent-curl'


class EndsTestCase(engine.EngineTestCase):
    def assert_ends(self) -> None:
        """The network thread ends."""
        until = time.monotonic() + self.patience
        while time.monotonic() < until:
            names = [thread.name for thread in threading.enumerate()]
            if THREAD not in names:
                return
            time.sleep(0.01)
        self.fail('it goes on: %s' % names)

    def outcome(self, download: fuel_agent_curl.Download) -> errors.Error:
        """Return the error that reading ends with, the same again."""
        first = self.assertRaises(errors.Error, list, download)
        assert isinstance(first, errors.Error)
        for read in (download.__next__, download.next_view):
            again = self.assertRaises(errors.Error, read)
            self.assertEqual((type(first), str(first)), told(again))
        return first


def told(error: Any) -> tuple[type[BaseException], str]:
    return type(error), str(error)


class TestClose(EndsTestCase):
    def test_what_was_read_to_its_end_stays_so(self) -> None:
        download = self.fetch()
        self.assert_same(self.content, b''.join(download))
        download.close()
        self.assertEqual([], list(download))

    def test_what_was_not_is_an_error(self) -> None:
        download = self.fetch()
        next(download)
        # All of the rest is here by now.
        self.assert_ends()
        download.close()
        self.assertIn('closed', str(self.outcome(download)))

    def test_what_has_failed_goes_on_failing_by_that(self) -> None:
        self.server.script(faults.cut(9000), then=faults.status(404))
        download = self.fetch()
        error = self.outcome(download)
        self.assertIsInstance(error, errors.StatusError)
        download.close()
        self.assertEqual(told(error), told(self.outcome(download)))

    def test_at_any_time_by_another_thread(self) -> None:
        """The end is never taken for the end of the bytes."""
        dice = random.Random(3)
        complete = 0
        for _again in range(100):
            download = self.fetch(chunk_size=600, checksum=self.checksum())
            timer = threading.Timer(dice.random() / 20, download.close)
            timer.start()
            chunks = []
            try:
                for chunk in download:
                    chunks.append(chunk)
                    time.sleep(0.0003)
                complete += 1
                self.assert_same(self.content, b''.join(chunks))
            except errors.Error as error:
                self.assertIn('closed', str(error))
                data = b''.join(chunks)
                self.assert_same(self.content[: len(data)], data)
            timer.join()
        self.assertLess(complete, 100)

    def test_by_many_threads_at_once(self) -> None:
        self.server.script(faults.stall(9000))
        download = self.fetch(low_speed_time=60)
        closing = [
            threading.Thread(target=download.close) for _number in range(10)
        ]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        self.assert_ends()
        self.assertIn('closed', str(self.outcome(download)))

    def test_by_the_observer(self) -> None:
        self.server.script(then=faults.reset(9000))
        downloads: list[fuel_agent_curl.Download] = []
        begun = threading.Event()

        def observe(event: Any) -> None:
            if event.kind == 'resumed':
                begun.wait(20)
                downloads[0].close()

        downloads.append(self.fetch(observe=observe))
        begun.set()
        self.assertIn('closed', str(self.outcome(downloads[0])))
        self.assert_ends()

    def test_by_a_finaliser(self) -> None:
        self.server.script(faults.stall(9000))
        download = self.fetch(low_speed_time=60)

        class Owner:
            def __del__(self) -> None:
                download.close()

        owner = Owner()
        owner.itself = owner  # type: ignore[attr-defined]
        del owner
        gc.collect()
        self.assertIn('closed', str(self.outcome(download)))


class TestDropped(EndsTestCase):
    """Nobody holds it any more, and so it ends."""

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(1 << 30))

    def test_with_an_observer_that_holds_it(self) -> None:
        class Progress:
            def __init__(self, fetch: Any) -> None:
                self.events: list[Any] = []
                self.download = fetch(observe=self.observe)
                next(self.download)

            def observe(self, event: Any) -> None:
                self.events.append(event.kind)

        progress = Progress(self.fetch)
        self.assertEqual(['started'], progress.events)
        gone = weakref.ref(progress.download)
        del progress
        gc.collect()
        self.assertIsNone(gone())
        self.assert_ends()

    def test_with_an_observer_that_nobody_else_holds(self) -> None:
        events: list[str] = []
        self.server.script(faults.reset(9000))
        download = self.fetch(
            observe=functools.partial(
                lambda seen, event: seen.append(event.kind), events
            )
        )
        gc.collect()
        while len(events) < 3:
            next(download)
        self.assertEqual(['started', 'retry', 'resumed'], events)
        download.close()

    def test_without_the_collector(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        download = self.fetch()
        next(download)
        gone = weakref.ref(download)
        del download
        self.assertIsNone(gone())
        self.assert_ends()

    def test_after_an_error_without_the_collector(self) -> None:
        gc.disable()
        self.addCleanup(gc.enable)
        self.server.script(faults.cut(9000), then=faults.status(404))
        download = self.fetch()
        for _again in range(2):
            try:
                list(download)
            except errors.StatusError:
                pass
        gone = weakref.ref(download)
        del download
        self.assertIsNone(gone())


class TestObserver(EndsTestCase):
    def test_one_that_raises_ends_it(self) -> None:
        """What it raises is the cause; it is not retried."""
        for kind in ('started', 'retry', 'resumed'):
            for error in (ZeroDivisionError('x'), KeyboardInterrupt()):
                self.server.script(then=faults.reset(9000))
                seen: list[str] = []

                def observe(
                    event: Any,
                    kind: str = kind,
                    error: BaseException = error,
                    seen: list[str] = seen,
                ) -> None:
                    seen.append(event.kind)
                    if event.kind == kind:
                        raise error

                try:
                    failure = self.outcome(self.fetch(observe=observe))
                except errors.Error as raised:
                    failure = raised
                self.assertIn('observer', str(failure))
                self.assertIs(error, failure.__cause__)
                self.assertEqual(kind, seen[-1])
                self.assert_ends()

    def test_one_that_raises_for_each_of_many_connections(self) -> None:
        def observe(event: Any) -> None:
            raise ZeroDivisionError

        failure = self.assertRaises(
            errors.Error,
            lambda: list(self.fetch(observe=observe, connections=8)),
        )
        self.assertIsInstance(failure.__cause__, ZeroDivisionError)
        self.assert_ends()


class TestReaders(EndsTestCase):
    def test_a_second_one_gets_an_error_and_the_first_goes_on(self) -> None:
        release = threading.Event()
        reading = threading.Event()

        self.server.script(faults.stall(9000), then=())
        download = self.fetch(chunk_size=600, low_speed_time=1)
        chunks: list[bytes] = []

        def read() -> None:
            for chunk in download:
                chunks.append(chunk)
                if len(chunks) == 15:
                    # The next one waits.
                    reading.set()
            release.set()

        thread = threading.Thread(target=read)
        thread.start()
        self.assertTrue(reading.wait(20))
        time.sleep(0.2)
        for again in (download.__next__, download.next_view):
            error = self.assertRaises(errors.Error, again)
            self.assertIn('being read', str(error))
        thread.join(20)
        self.assertTrue(release.is_set())
        self.assert_same(self.content, b''.join(chunks))
        self.assertEqual([], list(download))

    def test_many_share_the_chunks(self) -> None:
        """Each is handed to one of them, whoever asks again."""
        self.name(content=harmful.Pattern(2000000)[0:2000000])
        download = self.fetch(chunk_size=4096, checksum=self.checksum())
        chunks: list[bytes] = []
        odd: list[BaseException] = []

        def read() -> None:
            while True:
                try:
                    chunks.append(next(download))
                except StopIteration:
                    return
                except errors.Error as error:
                    if 'being read' not in str(error):
                        odd.append(error)
                        return
                except BaseException as error:
                    odd.append(error)
                    return

        threads = [threading.Thread(target=read) for _number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(50)
        self.assertEqual([], odd)
        self.assertEqual(len(self.content), sum(map(len, chunks)))
        self.assertEqual(
            len(self.content) // 4096 + 1, len({bytes(c) for c in chunks})
        )

    def test_one_after_the_other(self) -> None:
        download = self.fetch()
        chunks: list[bytes] = []
        while len(b''.join(chunks)) < len(self.content):
            thread = threading.Thread(
                target=lambda: chunks.append(next(download))
            )
            thread.start()
            thread.join()
        self.assert_same(self.content, b''.join(chunks))
