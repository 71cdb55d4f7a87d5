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

"""Every wait has an end, and a slow consumer is not a stalled server."""

from __future__ import annotations

import threading
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine


class TestStalls(engine.EngineTestCase):
    def assert_noticed(
        self, *harms: faults.Fault, noticed: float = 2.5, **how: Any
    ) -> engine.Outcome:
        """The stall is noticed in time, and the download goes on."""
        self.server.requests.clear()
        outcome = self.assert_arrives([*harms], **how)
        self.assertEqual([errors.Stalled], outcome.retries)
        self.assertEqual(1, outcome.stats.stalls)
        first, second = self.server.requests[:2]
        # low_speed_time is 0.5 s; the bound is a generous one.
        self.assertGreater(second.moment - first.moment, 0.4)
        self.assertLess(second.moment - first.moment, noticed)
        # The dead connection is not used again.
        self.assertNotEqual(first.connection, second.connection)
        return outcome

    def test_stall_before_the_head(self) -> None:
        self.assert_noticed(faults.stall(0, in_head=True), requests=2)

    def test_stall_inside_the_head(self) -> None:
        for at in (1, 12, 17, 60):
            self.assert_noticed(faults.stall(at, in_head=True), requests=2)

    def test_stall_between_head_and_body(self) -> None:
        self.assert_noticed(faults.stall(0), ranges=[None, None])

    def test_stall_mid_body(self) -> None:
        outcome = self.assert_noticed(
            faults.stall(9000), ranges=[None, 9000], if_ranges=[None, '"1"']
        )
        self.assertEqual(engine.LENGTH, outcome.stats.received)

    def test_stall_before_the_last_byte(self) -> None:
        at = engine.LENGTH - 1
        self.assert_noticed(faults.stall(at), ranges=[None, at])

    def test_stall_before_the_last_chunk(self) -> None:
        self.assert_noticed(
            faults.chunked(1000), faults.stall(6042), ranges=[None, 6000]
        )

    def test_stall_on_a_resume(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            faults.stall(0, in_head=True),
            faults.stall(0),
            faults.stall(1000),
            ranges=[None, 9000, 9000, 9000, 10000],
        )

    def test_stall_while_reading_again(self) -> None:
        self.name(ranges=False)
        self.assert_arrives(
            faults.cut(9000),
            faults.stall(4000),
            faults.stall(9000),
            requests=4,
        )

    def test_stall_of_an_interim_head(self) -> None:
        interim = b'HTTP/1.1 103 Early Hints\r\n\r\n'
        self.assert_noticed(faults.before(interim, harmful.Pause()))

    def test_stall_in_the_body_of_a_redirect(self) -> None:
        self.server.script(
            [faults.redirect('/image'), faults.stall(2)],
            then=faults.redirect('/image'),
            path='/from',
        )
        outcome = self.download(self.server.url('/from'))
        self.assertIsNone(outcome.error)

    def test_stall_after_the_body_is_no_stall(self) -> None:
        began = time.monotonic()
        self.assert_arrives(faults.stall(None), requests=1, low_speed_time=20)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_long_silence_before_the_head_is_no_stall(self) -> None:
        for connections in 1, 4:
            self.server.requests.clear()
            self.assert_arrives(
                then=faults.stall(0, 1.2, in_head=True),
                requests=1,
                low_speed_time=0.3,
                first_byte_timeout=20,
                connections=connections,
                segment_size=1 << 20,
            )

    def test_a_long_silence_after_a_redirect_is_no_stall(self) -> None:
        self.server.script(
            then=faults.stall(0, 1.2, in_head=True), path='/image'
        )
        self.server.script(then=faults.redirect('/image'), path='/away')
        self.assert_arrives(
            url=self.server.url('/away'),
            requests=2,
            low_speed_time=0.3,
            first_byte_timeout=20,
        )

    def test_the_next_attempt_is_more_patient(self) -> None:
        for in_head in False, True:
            self.server.requests.clear()
            outcome = self.assert_arrives(
                then=faults.stall(0, 1.2, in_head=in_head),
                requests=3,
                low_speed_time=0.4,
                first_byte_timeout=0.4,
            )
            hint = outcome.events[0].error.hint
            self.assertIn(
                'first_byte_timeout' if in_head else 'low_speed_time', hint
            )

    def test_drip_below_the_limit(self) -> None:
        self.assert_noticed(
            faults.trickle(100, at=9000), noticed=4.0, requests=2
        )

    def test_drip_inside_the_head(self) -> None:
        self.assert_noticed(
            faults.trickle(60, in_head=True), noticed=4.0, requests=2
        )

    def test_drip_above_the_limit_is_no_stall(self) -> None:
        self.name(content=harmful.Pattern(8000))
        outcome = self.assert_arrives(faults.trickle(4000), requests=1)
        self.assertEqual(0, outcome.stats.stalls)

    def test_short_silences_are_no_stall(self) -> None:
        self.assert_arrives(
            [faults.stall(n * 10000, 0.3) for n in range(5)],
            requests=1,
            low_speed_time=1,
        )

    def test_stall_for_good_uses_up_the_attempts(self) -> None:
        began = time.monotonic()
        outcome = self.assert_gives_up(
            errors.Stalled, faults.stall(0, in_head=True), requests=4
        )
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(4, outcome.error.attempt)
        self.assertEqual(4, outcome.error.attempts)

    def test_dripping_server_ends_in_spite_of_its_bytes(self) -> None:
        # 500 bytes are progress; each attempt brings fewer.
        began = time.monotonic()
        outcome = self.assert_gives_up(
            errors.Stalled, faults.stall(300), requests=4
        )
        self.assertEqual(
            [None, 'bytes=300-', 'bytes=600-', 'bytes=900-'],
            self.server.ranges,
        )
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(1200, outcome.error.offset)

    def test_server_that_brings_a_little_each_time_is_no_failure(self) -> None:
        self.name(content=harmful.Pattern(6000))
        self.assert_arrives(then=faults.stall(1000), requests=6)

    def test_reading_again_is_no_progress(self) -> None:
        self.name(ranges=False)
        self.assert_gives_up(errors.ReceiveError, faults.cut(9000), requests=6)

    def test_deadline_ends_a_stall(self) -> None:
        began = time.monotonic()
        self.assert_fails(
            errors.DeadlineExceeded,
            faults.stall(9000),
            deadline=1,
            low_speed_time=60,
        )
        self.assertLess(time.monotonic() - began, 15)

    def test_deadline_ends_an_endless_download(self) -> None:
        self.name(content=harmful.Pattern(1 << 30))
        began = time.monotonic()
        self.server.script(then=faults.trickle(20000))
        outcome = self.download(deadline=1)
        self.assertIsInstance(outcome.error, errors.DeadlineExceeded)
        self.assertLess(time.monotonic() - began, 15)

    def test_deadline_ends_the_attempts(self) -> None:
        began = time.monotonic()
        self.assert_fails(
            errors.DeadlineExceeded,
            faults.status(503),
            attempts=0,
            deadline=1,
        )
        self.assertLess(time.monotonic() - began, 15)

    def test_unlimited_attempts_last_until_the_server_is_well(self) -> None:
        self.assert_arrives(
            *[faults.status(503)] * 40,
            requests=41,
            attempts=0,
            backoff=0.001,
            backoff_max=0.002,
        )

    def test_one_attempt_is_one_request(self) -> None:
        self.assert_fails(
            errors.AttemptsExhausted, faults.stall(0), requests=1, attempts=1
        )


class TestConsumer(engine.EngineTestCase):
    """The window is full while the consumer is busy."""

    def test_slow_consumer_is_not_a_stalled_server(self) -> None:
        self.name(content=harmful.Pattern(400_000))
        with self.fetch(window_size=65536, chunk_size=16384) as download:
            data = b''
            for chunk in download:
                data += chunk
                if len(data) < 80_000:
                    # Twice low_speed_time.
                    time.sleep(1.0)
            stats = download.stats
        self.assert_same(self.content, data)
        self.assertEqual((1, 0), (stats.attempts, stats.stalls))

    def test_consumer_that_takes_a_little_all_the_time(self) -> None:
        self.name(content=harmful.Pattern(300_000))
        with self.fetch(window_size=65536, chunk_size=4096) as download:
            data = b''
            for chunk in download:
                data += chunk
                time.sleep(0.02)
            stats = download.stats
        self.assert_same(self.content, data)
        self.assertEqual((1, 0), (stats.attempts, stats.stalls))

    def test_pauses_do_not_hide_a_dead_server(self) -> None:
        # A window of 64 KiB that is always full while the server lives, and
        # a consumer that pauses often: the dead server is noticed.
        length = 400_000
        self.name(content=harmful.Pattern(length))
        self.server.script([faults.trickle(150_000), faults.stall(300_000)])
        with self.fetch(window_size=65536, chunk_size=1024) as download:
            data = b''
            for chunk in download:
                data += chunk
                time.sleep(0.005)
            stats = download.stats
        self.assert_same(self.content, data)
        self.assertEqual(1, stats.stalls)
        self.assertEqual([None, 'bytes=300000-'], self.server.ranges)

    def test_server_that_dies_while_paused_is_noticed(self) -> None:
        length = 20_000_000
        self.name(content=harmful.Pattern(length))
        self.server.script(faults.stall(length // 2))
        with self.fetch(window_size=1 << 20, chunk_size=65536) as download:
            first = next(download)
            time.sleep(1.5)
            data = first + b''.join(download)
            stats = download.stats
        self.assert_same(self.content, data)
        self.assertEqual(1, stats.stalls)

    def test_connection_lost_while_paused(self) -> None:
        length = 20_000_000
        self.name(content=harmful.Pattern(length))
        for down in (harmful.Ending.RESET, harmful.Ending.CUT):
            self.server.script()
            with self.fetch(window_size=1 << 20, chunk_size=65536) as download:
                first = next(download)
                time.sleep(0.3)
                self.server.down(down)
                self.server.up()
                time.sleep(0.3)
                data = first + b''.join(download)
            self.assert_same(self.content, data)

    def test_deadline_holds_for_a_slow_consumer(self) -> None:
        self.name(content=harmful.Pattern(1_000_000))
        with self.fetch(
            window_size=65536, chunk_size=1024, deadline=1
        ) as download:
            next(download)
            time.sleep(1.5)
            began = time.monotonic()
            self.assertRaises(errors.DeadlineExceeded, list, download)
            self.assertLess(time.monotonic() - began, 15)

    def test_memory_is_bounded_by_the_window(self) -> None:
        length = 1 << 30
        self.name(content=harmful.Pattern(length))
        with self.fetch(window_size=1 << 20, chunk_size=65536) as download:
            next(download)
            time.sleep(0.5)
            # What the window holds, and what is in libcurl's hands.
            self.assertLess(download.stats.received, 3 << 20)

    def test_rate_limit_is_no_stall(self) -> None:
        outcome = self.assert_arrives(max_recv_speed=25_000, requests=1)
        self.assertEqual(0, outcome.stats.stalls)
        self.assertGreater(outcome.stats.seconds, 1.0)

    def test_close_from_another_thread_ends_the_wait(self) -> None:
        self.server.script(faults.stall(9000))
        with self.fetch(low_speed_time=60) as download:
            timer = threading.Timer(0.3, download.close)
            timer.start()
            began = time.monotonic()
            self.assertRaises(errors.Error, list, download)
            self.assertLess(time.monotonic() - began, 15)
            timer.join()
