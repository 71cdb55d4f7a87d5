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
from __future__ import annotations

import math

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.rules import watchdog
from tests import base

SETTINGS = settings.Settings(
    connect_timeout=3,
    first_byte_timeout=20,
    low_speed_limit=1000,
    low_speed_time=4,
)


class WatchdogTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.dog = watchdog.Watchdog(SETTINGS, 100.0, 0)

    def run_until_error(
        self,
        speed: float,
        *,
        connecting: bool = False,
        paused: float = 0.0,
        seconds: float = 30.0,
    ) -> tuple[float, errors.Error | None]:
        """Check every 50 ms; ``paused`` is the share of time paused."""
        for step in range(round(seconds * 20)):
            now = 100.0 + step / 20
            error = self.dog.check(
                now,
                int(speed * (now - 100.0)),
                connecting=connecting,
                paused=step % 20 < paused * 20,
            )
            if error is not None:
                return now - 100.0, error
        return math.inf, None

    def test_a_dead_server_is_noticed_in_time(self) -> None:
        after, error = self.run_until_error(0)
        self.assertIsInstance(error, errors.Stalled)
        self.assertTrue(4 <= after <= 5, after)

    def test_a_dripping_server_is_noticed_in_time(self) -> None:
        after, error = self.run_until_error(900)
        self.assertIsInstance(error, errors.Stalled)
        self.assertTrue(4 <= after <= 5, after)

    def test_one_just_fast_enough_is_left_alone(self) -> None:
        self.assertEqual((math.inf, None), self.run_until_error(1100))

    def test_pausing_often_hides_nothing(self) -> None:
        after, error = self.run_until_error(0, paused=0.5)
        self.assertIsInstance(error, errors.Stalled)
        self.assertTrue(8 <= after <= 9.5, after)

    def test_paused_time_is_no_stall(self) -> None:
        self.assertEqual((math.inf, None), self.run_until_error(0, paused=1.0))

    def test_a_connect_that_libcurl_does_not_end_is_ended(self) -> None:
        after, error = self.run_until_error(0, connecting=True)
        self.assertIsInstance(error, errors.ConnectError)
        self.assertTrue(4 <= after <= 4.5, after)

    def test_connecting_is_no_stall(self) -> None:
        dog = watchdog.Watchdog(SETTINGS, 0.0, 0)
        self.assertIsNone(dog.check(3.9, 0, connecting=True, paused=False))
        self.assertIsNone(dog.check(4.0, 0, connecting=False, paused=False))
        self.assertIsNone(dog.check(7.9, 0, connecting=False, paused=False))

    def test_a_redirect_may_take_as_long_to_connect_again(self) -> None:
        dog = watchdog.Watchdog(SETTINGS, 0.0, 0)
        self.assertIsNone(dog.check(3.5, 0, connecting=False, paused=False))
        self.assertIsNone(dog.check(7.0, 0, connecting=True, paused=False))
        error = dog.check(7.6, 0, connecting=True, paused=False)
        self.assertIsInstance(error, errors.ConnectError)

    def wait(
        self, patience: float, head: float, body: float, size: int = 0
    ) -> tuple[float, errors.Error | None]:
        """Run for 300 s with a head, and a body, so many seconds later.

        :param size: of the body, which comes at once.
        """
        dog = watchdog.Watchdog(SETTINGS, 100.0, 0, patience)
        for step in range(300 * 20):
            after = step / 20
            error = dog.check(
                100.0 + after,
                200 * (after >= head) + size * (after >= body),
                connecting=False,
                paused=False,
                silent=after < head,
                body=after >= body,
            )
            if error is not None:
                return after, error
        return math.inf, None

    def test_the_first_byte_of_the_head_has_a_time_of_its_own(self) -> None:
        for patience, expected in (1, 20), (2, 40), (4, 80):
            after, error = self.wait(patience, 300, 300)
            self.assertIsInstance(error, errors.Stalled)
            self.assertTrue(expected <= after <= expected + 1, after)
            assert error is not None
            self.assertIn('first_byte_timeout', error.hint or '')
            # From there on, it is dead in time.
            for head in 1, 19:
                after, error = self.wait(patience, head, 300)
                self.assertIsInstance(error, errors.Stalled)
                late = after - head - 4 * patience
                self.assertTrue(0 <= late <= 1, after)
                assert error is not None
                self.assertIn('low_speed_time', error.hint or '')

    def test_patience_ends_with_the_first_byte_of_the_body(self) -> None:
        after, error = self.wait(4, 30, 40, size=10**6)
        self.assertIsInstance(error, errors.Stalled)
        self.assertTrue(44 <= after <= 45, after)
        assert error is not None
        self.assertIsNone(error.hint)

    def test_connecting_and_redirects_have_a_time_of_their_own(self) -> None:
        dog = watchdog.Watchdog(SETTINGS, 0.0, 0)
        self.assertIsNone(
            dog.check(3, 0, connecting=True, paused=False, silent=True)
        )
        for now in 4, 22:
            self.assertIsNone(
                dog.check(now, 0, connecting=False, paused=False, silent=True)
            )
        # It has led elsewhere.
        self.assertIsNone(
            dog.check(24, 300, connecting=True, paused=False, silent=True)
        )
        self.assertIsNone(
            dog.check(43.9, 300, connecting=False, paused=False, silent=True)
        )
        self.assertIsNotNone(
            dog.check(44, 300, connecting=False, paused=False, silent=True)
        )

    def test_a_redirect_over_the_same_connection(self) -> None:
        dog = watchdog.Watchdog(SETTINGS, 0.0, 0)
        for now, silent, stalled in (
            (10, True, False),
            (15, False, False),
            (16, True, False),
            (35, True, False),
            (36, True, True),
        ):
            error = dog.check(
                now, 300, connecting=False, paused=False, silent=silent
            )
            self.assertEqual(stalled, error is not None, str(now))

    def test_one_that_has_been_quick_is_not_waited_for_as_long(self) -> None:
        for silence, limit in (0.1, 4), (1, 4), (2, 8), (5, 20), (9, 20):
            for patience in 1, 2:
                dog = watchdog.Watchdog(SETTINGS, 0.0, 0, patience, silence)
                limit_ = limit * patience
                for now, stalled in (limit_ - 0.1, False), (limit_, True):
                    error = dog.check(
                        now, 0, connecting=False, paused=False, silent=True
                    )
                    self.assertEqual(stalled, error is not None, str(now))

    def test_tells_the_longest_silence(self) -> None:
        for before, now, expected in (None, 3, 3), (2, 3, 3), (5, 3, 5):
            dog = watchdog.Watchdog(SETTINGS, 0.0, 0, 1, before)
            self.assertEqual(before, dog.silence)
            dog.check(1, 0, connecting=False, paused=False, silent=True)
            dog.check(now, 9, connecting=False, paused=False, silent=False)
            self.assertEqual(expected, dog.silence)

    def test_small_parts_have_no_patience_each(self) -> None:
        self.dog.check(100, 0, connecting=False, paused=False)
        self.dog.continued(101, 10, 10)
        for now, stalled in (101, False), (103, False), (105, True):
            error = self.dog.check(
                now, 0, connecting=False, paused=False, silent=True
            )
            self.assertEqual(stalled, error is not None, str(now))

    def test_tells_how_long_the_first_byte_took(self) -> None:
        dog = watchdog.Watchdog(SETTINGS, 0.0, 0)
        for now in 1, 2, 3, 4:
            dog.check(now, 0, connecting=False, paused=False, body=now > 2)
        self.assertEqual(3, dog.waited)

    def parts(self, size: int) -> tuple[float, errors.Error | None]:
        """Run for 20 s with a part of ``size`` bytes each 0.2 s."""
        now = 100.0
        for part in range(100):
            error = self.dog.check(now, 0, connecting=False, paused=False)
            now += 0.2
            error = error or self.dog.check(
                now, size, connecting=False, paused=False
            )
            if error is not None:
                return now - 100, error
            self.dog.continued(now, part * size, size)
        return math.inf, None

    def test_small_parts_in_a_row_are_watched_together(self) -> None:
        after, error = self.parts(100)
        self.assertIsInstance(error, errors.Stalled)
        self.assertTrue(4 <= after <= 5, after)

    def test_small_parts_that_come_fast_enough_are_left_alone(self) -> None:
        self.assertEqual((math.inf, None), self.parts(300))

    def test_tells_what_the_rest_needs_at_the_recent_speed(self) -> None:
        for step in range(41):
            now = 100.0 + step / 10
            # Fast at first: the beginning says nothing of the end.
            offset = 1000000 + step * 100 if step else 0
            self.dog.sample(now, offset)
        self.assertAlmostEqual(
            10.0, self.dog.needs(104.0, 1004000, 1014000), delta=1
        )

    def test_a_young_attempt_is_not_judged(self) -> None:
        self.assertEqual(0.0, self.dog.needs(100.1, 10, 1000))
        self.assertAlmostEqual(25, self.dog.needs(100.25, 10, 1010))

    def test_one_without_a_byte_needs_for_ever(self) -> None:
        self.assertEqual(0.0, self.dog.needs(100.9, 0, 1000))
        self.assertEqual(math.inf, self.dog.needs(101.0, 0, 1000))

    def test_whoever_is_patient_waits_longer(self) -> None:
        for offset in (0, 10):
            self.assertEqual(0.0, self.dog.needs(104, offset, 1000, 5))
            self.assertLess(90, self.dog.needs(105, offset, 1000, 5))

    def test_speed_is_that_since_the_start(self) -> None:
        dog = watchdog.Watchdog(SETTINGS, 10.0, 5000)
        self.assertEqual(500.0, dog.speed(12.0, 6000))
