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


"""Tests of low-speed detection, with made-up time.

A transfer is stalled that brings fewer than 1000 bytes in 10 s.
"""

from __future__ import annotations

from collections.abc import Callable

from fuel_agent_curl.rules import watchdog
from tests import base

LIMIT = 100
TIME = 10


class TestLowSpeed(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = 5000.0
        self.count = 0
        self.detector = watchdog.LowSpeed(LIMIT, TIME)

    def run_for(
        self,
        seconds: float,
        rate: Callable[[float], float] | float = 0.0,
        tick: float = 0.125,
    ) -> float | None:
        """Receive for some time; return when it was stalled, None if not.

        :param rate: bytes per second, or what returns it for a time.
        """
        self.detector.resume(self.now)
        began = self.now
        brought = 0.0
        before = self.count
        for step in range(1, round(seconds / tick) + 1):
            elapsed = step * tick
            brought += (rate(elapsed) if callable(rate) else rate) * tick
            self.now = began + elapsed
            self.count = before + int(brought)
            if self.detector.stalled(self.now, self.count):
                return elapsed
        return None

    def pause_for(self, seconds: float) -> None:
        self.detector.suspend(self.now)
        self.now += seconds

    def start(self) -> None:
        """Take the first sample, where the seconds count from."""
        self.detector.resume(self.now)
        self.assertFalse(self.detector.stalled(self.now, self.count))

    def test_nothing_at_all(self) -> None:
        self.start()
        self.assertEqual(TIME, self.run_for(60))

    def test_exactly_at_the_limit_is_fast_enough(self) -> None:
        self.start()
        self.assertIsNone(self.run_for(60, LIMIT))

    def test_just_below_the_limit_is_not(self) -> None:
        self.start()
        self.assertEqual(TIME, self.run_for(60, LIMIT - 0.2))

    def test_a_trickle(self) -> None:
        for rate in 1, 50, 99:
            self.start_again()
            self.assertEqual(TIME, self.run_for(60, rate))

    def start_again(self) -> None:
        self.detector = watchdog.LowSpeed(LIMIT, TIME)
        self.count = 0
        self.start()

    def test_silence_after_a_burst(self) -> None:
        """However much came before, it is noticed as fast."""
        for burst in LIMIT, 10 * LIMIT, 10**9:
            self.start_again()
            self.assertIsNone(self.run_for(30, max(burst, LIMIT)))
            stalled = self.run_for(60)
            assert stalled is not None
            self.assertLess(stalled, TIME + 0.5)
            self.assertGreater(stalled, 0)

    def test_silence_after_a_fast_start_takes_the_whole_time(self) -> None:
        self.start()
        self.assertIsNone(self.run_for(1, 10**9))
        self.assertEqual(TIME, self.run_for(60))

    def test_one_burst_in_each_window_is_enough(self) -> None:
        """The limit is an average over the time."""
        self.start()
        self.assertIsNone(
            self.run_for(120, lambda at: 8000 * (at % 10 == 0.125) * 1.0)
        )

    def test_a_burst_now_and_then_is_not(self) -> None:
        self.start()
        stalled = self.run_for(120, lambda at: 4000 * (at % 15 == 1) * 1.0)
        self.assertIsNotNone(stalled)

    def test_paused_time_does_not_count(self) -> None:
        self.start()
        self.assertIsNone(self.run_for(9.875))
        for _again in range(50):
            self.pause_for(3600)
            self.assertFalse(self.detector.stalled(self.now, self.count))
        self.assertEqual(0.125, self.run_for(60))

    def test_many_short_pauses_hide_nothing(self) -> None:
        """Where each one starts libcurl's own check anew."""
        for length in 0.25, 1.0, 5.0:
            self.start_again()
            unpaused = 0.0
            while unpaused < 60:
                stalled = self.run_for(0.25)
                if stalled is not None:
                    unpaused += stalled
                    break
                unpaused += 0.25
                self.pause_for(length)
            self.assertEqual(TIME, unpaused)

    def test_many_short_pauses_do_no_harm(self) -> None:
        self.start()
        for _again in range(100):
            self.assertIsNone(self.run_for(0.25, LIMIT + 4))
            self.pause_for(0.7)

    def test_what_came_while_paused_counts(self) -> None:
        """Of the piece that was refused, the rest had been read already."""
        self.start()
        self.assertIsNone(self.run_for(9))
        self.pause_for(100)
        self.count += 1000
        self.assertIsNone(self.run_for(10))

    def test_told_twice_is_told_once(self) -> None:
        self.start()
        self.now += 4
        self.detector.resume(self.now)
        self.now += 4
        self.detector.suspend(self.now)
        self.now += 4
        self.detector.suspend(self.now)
        self.detector.resume(self.now)
        self.now += 1.9
        self.assertFalse(self.detector.stalled(self.now, 0))
        self.now += 0.1
        self.assertTrue(self.detector.stalled(self.now, 0))

    def test_time_before_the_first_connection_does_not_count(self) -> None:
        self.detector.suspend(self.now)
        self.now += 3600
        self.assertFalse(self.detector.stalled(self.now, 0))
        self.start()
        self.assertEqual(TIME, self.run_for(60))

    def test_looking_seldom_finds_it_too(self) -> None:
        self.start()
        self.assertEqual(14, self.run_for(60, tick=7))

    def test_looking_often_takes_no_more_memory(self) -> None:
        self.start()
        self.assertIsNone(self.run_for(300, LIMIT + 1, tick=0.125))
        self.assertLess(len(self.detector._samples), TIME / 0.125 + 3)

    def test_after_one_was_found_it_is_found_again(self) -> None:
        self.start()
        self.run_for(60)
        self.assertTrue(self.detector.stalled(self.now, self.count))

    def test_it_may_recover(self) -> None:
        self.start()
        self.assertEqual(TIME, self.run_for(60))
        self.count += 1000
        self.assertFalse(self.detector.stalled(self.now, self.count))

    def test_a_fraction_of_a_byte(self) -> None:
        """1 byte/s over a tenth of a second: a byte, or it is too slow."""
        self.detector = watchdog.LowSpeed(1, 0.1)
        self.start()
        self.now += 0.2
        self.assertTrue(self.detector.stalled(self.now, 0))
        self.assertFalse(self.detector.stalled(self.now, 1))
