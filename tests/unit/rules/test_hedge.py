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
import itertools

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

    def compared(
        self,
        others: list[sources.Source] | None = None,
        again: int = 0,
        resent: int = 0,
        missing: int = 80 * MIB,
    ) -> tuple[sources.Source, hedge.Sample | None] | None:
        return self.hedge.compare(
            self.now,
            lambda _now: (
                [self.second, self.third] if others is None else others
            ),
            lambda _source: again,
            resent,
            100 * MIB,
            missing,
        )

    def sampled(
        self,
        speed: float,
        found: tuple[sources.Source, hedge.Sample | None] | None,
        part: float = 1.0,
    ) -> sources.Source:
        """Have this part of a sample come, and return of whom."""
        assert found is not None
        source, sample = found
        assert sample is not None
        for _piece in range(round(16 * part)):
            self.now += sample.wanted / 16 / speed
            sample.take(self.now, sample.wanted // 16 + 1)
        self.hedge.sampled(self.now)
        return source

    def well(self, rate: float = 4 * MIB, seconds: float = 3) -> None:
        self.assertEqual(0, self.lost(seconds, lambda now: 1 + now * rate))

    def test_each_is_asked_for_a_sample(self) -> None:
        self.well(seconds=1.5)
        self.assertIsNone(self.compared())
        self.well(seconds=1)
        # Of what may be spent, each has its share.
        share = 80 * MIB // 50 // 2
        for each in self.second, self.third:
            found = self.compared()
            assert found is not None
            assert found[1] is not None
            self.assertAlmostEqual(share, found[1].wanted, delta=1)
            self.assertIs(each, self.sampled(4.5 * MIB, found))
        # Not soon again, and not more than all may be.
        self.assertIsNone(self.compared())
        self.now += 31
        self.assertIsNone(self.compared(missing=70 * MIB))

    def test_sample_is_no_more_than_half_a_second_brings(self) -> None:
        self.well(1.5 * MIB)
        found = self.compared([self.second])
        assert found is not None
        assert found[1] is not None
        self.assertAlmostEqual(0.75 * MIB, found[1].wanted, delta=1000)

    def test_the_faster_by_a_quarter_is_asked_for_the_rest(self) -> None:
        self.well()
        self.sampled(5.2 * MIB, self.compared([self.second]))
        self.assertEqual((self.second, None), self.compared())
        self.hedge.settled(self.now, self.first, self.hedge.speed, self.second)
        self.assertIsNone(self.hedge.better)

    def test_back_to_what_was_faster_in_use(self) -> None:
        self.hedge.settled(self.now, self.second, 5.2 * MIB, self.first)
        self.well()
        self.assertEqual((self.second, None), self.compared())

    def test_nothing_came_of_asking_the_better(self) -> None:
        self.well()
        self.sampled(9 * MIB, self.compared([self.second]))
        self.hedge.leave(self.now, self.second)
        self.assertIsNone(self.compared([self.second]))
        # Nor of what it brought in use, a while ago.
        self.hedge.settled(self.now, self.second, 9 * MIB, self.first)
        self.assertEqual((self.second, None), self.compared([self.second]))
        self.hedge.leave(self.now, self.second)
        self.assertIsNone(self.compared([self.second]))

    def test_a_sample_that_ends_early_is_asked_for_later_and_later(
        self,
    ) -> None:
        self.well()
        asked = []
        for _time in range(4):
            while (found := self.compared([self.second])) is None:
                self.now += 1
            asked.append(self.now)
            # Of what did not come nothing is spent.
            self.sampled(MIB, found, 0.1)
        gaps = [
            round(then - before) for before, then in itertools.pairwise(asked)
        ]
        self.assertEqual([30, 60, 120], [gap // 10 * 10 for gap in gaps])

    def test_bytes_of_a_sample_are_not_the_speed_of_another(self) -> None:
        self.well()
        found = self.compared([self.second])
        assert found is not None
        assert found[1] is not None
        found[1].take(self.now, found[1].wanted)
        for ended in False, True:
            if ended:
                self.hedge.sampled(self.now)
            self.lost(
                1,
                lambda now: 1 + now * 4 * MIB + found[1].wanted,  # type: ignore
            )
            self.assertAlmostEqual(4 * MIB, self.hedge.speed, delta=MIB // 8)

    def test_no_sample(self) -> None:
        self.well()
        self.assertIsNone(self.compared([]))
        for missing, again, resent in (
            (7 * MIB, 0, 0),
            (64 * 1024 * 49, 0, 0),
            (80 * MIB, 11 * MIB, 0),
            (80 * MIB, 5 * MIB, 6 * MIB),
        ):
            found = self.compared(None, again, resent, missing)
            self.assertIsNone(found, str((missing, again, resent)))

    def test_no_sample_for_a_slow_consumer(self) -> None:
        self.well()
        self.lost(0.25, lambda now: 1 + now * 4 * MIB, waiting=False)
        self.assertIsNone(self.compared())

    def test_no_sample_with_a_limited_rate(self) -> None:
        self.hedge = hedge.Hedge(settings.Settings(max_recv_speed=90 * MIB))
        self.well()
        self.assertIsNone(self.compared())

    def test_no_sample_that_is_too_short_to_tell(self) -> None:
        self.well(40 * MIB)
        self.assertIsNone(self.compared(missing=80 * MIB + MIB // 2))
        self.assertIsNotNone(
            self.compared([self.second], missing=200 * MIB + MIB // 2)
        )

    def test_speed_of_a_sample(self) -> None:
        sample = hedge.Sample(1000)
        self.assertEqual(0, sample.speed(9.0))
        sample.take(1.0, 100)
        self.assertEqual(0, sample.speed(2.0))
        sample.take(3.0, 400)
        # From the half on, as it begins slowly.
        sample.take(4.0, 300)
        self.assertEqual(300, sample.speed(4.0))
        self.assertEqual(150, sample.speed(5.0))
        self.assertEqual(200, sample.left)
        sample.take(5.0, 300)
        self.assertEqual(300, sample.speed(9.0))
        self.assertEqual(0, sample.left)

    def test_speed_of_a_sample_that_comes_at_once(self) -> None:
        sample = hedge.Sample(1000)
        for _piece in range(10):
            sample.take(1.0, 100)
        self.assertEqual(500 / 0.02, sample.speed(9.0))

    def test_not_one_that_was_no_faster(self) -> None:
        self.hedge.settled(0.0, self.second, 0.6 * MIB, self.first)
        lost = self.lost(3, lambda now: 1 + now * MIB / 2)
        self.assertIs(self.third, self.choice(lost))
        # That may be otherwise by now.
        self.now += 30
        self.assertIs(self.second, self.choice(lost))
