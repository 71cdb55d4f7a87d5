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

from collections.abc import Callable

from fuel_agent_curl.config import settings
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import hedge
from fuel_agent_curl.rules import sources
from tests import base


class TestHedge(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.first, self.second, self.third = (
            sources.Source('http://%s/' % name, events.MirrorStats())
            for name in 'abc'
        )
        self.hedge = hedge.Hedge(settings.Settings())
        self.now = 0.0
        self.attempt = object()

    def lost(
        self,
        seconds: float,
        came: Callable[[float], float] = lambda now: 0,
        waiting: bool = True,
    ) -> float:
        """Let time go by; return what was lost at its end.

        :param came: bytes by the time.
        """
        lost = 0.0
        for _tick in range(round(seconds * 8)):
            count = int(came(self.now))
            lost = self.hedge.look(
                self.now, self.attempt, self.first, count, count, waiting
            )
            self.now += 0.125
        return lost

    def choice(
        self,
        lost: float,
        again: int = 0,
        length: int | None = 100 * MIB,
        resent: int = 0,
        missing: int = 50 * MIB,
    ) -> sources.Source | None:
        return self.hedge.choose(
            self.now,
            lost,
            self.first,
            [self.second, self.third],
            lambda _source: again,
            resent,
            length,
            missing,
        )

    def test_silence(self) -> None:
        self.assertEqual(0, self.lost(1))
        self.assertLessEqual(1, self.lost(0.5))
        self.assertFalse(self.hedge.slow)

    def test_that_was_as_long_before(self) -> None:
        self.first.silence = 2.0
        self.assertEqual(0, self.lost(3.9))
        self.assertLessEqual(4, self.lost(0.5))

    def test_that_ends(self) -> None:
        self.lost(2)
        self.assertEqual(0, self.lost(0.2, lambda now: MIB))

    def test_begins_anew_with_each_attempt(self) -> None:
        self.lost(2)
        self.attempt = object()
        self.assertEqual(0, self.lost(1))
        # What was lost before counts for what may be sent again.
        self.assertLess(3, self.lost(0.5))

    def test_slow_consumer(self) -> None:
        self.assertEqual(0, self.lost(60, waiting=False))

    def test_slow(self) -> None:
        self.assertEqual(0, self.lost(1.9, lambda now: 1 + now * MIB / 2))
        self.assertLessEqual(2, self.lost(0.5, lambda now: 1 + now * MIB / 2))
        self.assertTrue(self.hedge.slow)

    def test_not_slow(self) -> None:
        self.assertEqual(0, self.lost(9, lambda now: 1 + now * 1.1 * MIB))

    def test_limited_rate(self) -> None:
        self.hedge = hedge.Hedge(settings.Settings(max_recv_speed=100_000))
        self.assertEqual(0, self.lost(9, lambda now: 1 + now * 99_000))

    def test_the_preferred_is_asked_first(self) -> None:
        self.assertIs(self.second, self.choice(1.0))

    def test_whoever_was_asked_least_is_next(self) -> None:
        self.hedge.asked(self.second)
        self.assertIs(self.third, self.choice(1.0))
        self.hedge.asked(self.third)
        self.assertIs(self.second, self.choice(1.0))

    def test_each_time_it_is_given_twice_as_long(self) -> None:
        given = []
        for _time in range(8):
            self.hedge.asked(self.second)
            given.append(self.hedge.patience(self.second))
        self.assertEqual([1, 2, 4, 8, 16, 32, 32, 32], given)

    def test_what_is_sent_again(self) -> None:
        self.lost(1, lambda now: now * 10 * MIB)
        for again, resent, lost, worth in (
            (0, 0, 1.0, True),
            (10 * MIB, 0, 1.0, True),
            (10 * MIB, 1, 1.0, False),
            (11 * MIB, 0, 1.0, False),
            # As long as a stall may last, and as it takes.
            (11 * MIB, 0, 10.5, True),
            (99 * MIB, 0, 9.5, False),
            (99 * MIB, 2 * MIB, 99.0, False),
        ):
            chosen = self.choice(lost, again=again, resent=resent)
            self.assertEqual(
                worth, chosen is not None, str((again, resent, lost))
            )
        self.assertIsNone(self.choice(1.0, again=1, length=None))

    def test_what_is_there_soon_is_waited_for(self) -> None:
        lost = self.lost(3, lambda now: 1 + now * MIB / 2)
        self.assertIsNone(self.choice(lost, missing=MIB // 2))
        self.assertIs(self.second, self.choice(lost, missing=2 * MIB))

    def test_not_one_that_was_no_faster(self) -> None:
        self.hedge.settled(0.0, self.second, 0.6 * MIB, self.first)
        lost = self.lost(3, lambda now: 1 + now * MIB / 2)
        self.assertIs(self.third, self.choice(lost))
        # That may be otherwise by now.
        self.now += 30
        self.assertIs(self.second, self.choice(lost))
