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

"""Tests of what follows an attempt that failed."""

from __future__ import annotations

from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import recovery
from fuel_agent_curl.rules import sources
from fuel_agent_curl.rules.answer import Verdict
from fuel_agent_curl.rules.recovery import Then
from tests import base

LOST = errors.ReceiveError('connection reset')
SLOW = errors.Stalled('too slow')
CHANGED = errors.RepresentationChanged('other bytes')
LONGER = errors.RepresentationChanged('another length')
LONGER.length = 7
GONE = errors.StatusError('the server answered 404')
GONE.status = 404
BUSY = errors.StatusError('the server answered 503')
BUSY.status = 503
BUSY.retry_after = 5.0

AGAIN = Then.AGAIN
LEAVE = Then.LEAVE
FAIL = Then.FAIL

LENGTH = 10**9


def judged(verdict: Verdict) -> answer.Judgement:
    return answer.Judgement(verdict, error=errors.ContentRangeError('no'))


class RecoveryTestCase(base.TestCase):
    """The mirrors are ``self.all``; the first is asked first.

    :ivar made: the ``Recovery``, of three attempts; its first delay is 2 s.
    :ivar now: the time, which passes by the delays.
    """

    def make(
        self,
        mirrors: int = 1,
        *,
        joined: bool = False,
        etag: str | None = '"a"',
    ) -> None:
        self.all = [
            sources.Source('http://mirror%d/i' % n, events.MirrorStats())
            for n in range(mirrors)
        ]
        self.stats = events.Stats()
        self.choice = sources.Sources(self.all, joined)
        validator = head.Validator(etag=etag)
        self.choice.prove(
            self.all[0],
            answer.Representation(validator, LENGTH, coding=''),
            kept=False,
        )
        self.settings = settings.Settings(attempts=3, backoff=2, deadline=60)
        self.made = recovery.Recovery(
            self.settings,
            self.choice,
            self.all[0],
            self.stats,
            lambda: 1.0,
        )
        self.now = 100.0

    def follow(
        self,
        error: errors.Error = LOST,
        *,
        progressed: bool = False,
        **facts: Any,
    ) -> Then:
        """Let an attempt fail; return what follows."""
        if progressed:
            facts['new'] = self.settings.progress
        failure = recovery.Failure(error, now=self.now, **facts)
        self.step = self.made.failed(failure)
        self.now += self.step.delay + 0.001
        return self.step.then

    @property
    def asked(self) -> int:
        return self.all.index(self.made.source)

    @property
    def useless(self) -> list[int]:
        return [n for n, one in enumerate(self.all) if one.error is not None]

    @property
    def failures(self) -> list[int]:
        return [one.stats.failures for one in self.all]


class TestNoFailure(RecoveryTestCase):
    """What is asked again at once, and held against nobody."""

    def assert_not_counted(self) -> None:
        self.assertFalse(self.step.failed)
        self.assertEqual([0] * len(self.all), self.failures)
        self.assertIsNone(self.made.last)
        self.assertFalse(self.made.fresh)

    def test_an_answer_tells_how_to_ask(self) -> None:
        for verdict in Verdict:
            self.make()
            self.assertIs(AGAIN, self.follow(judgement=judged(verdict)))
            if verdict in (Verdict.ACCEPT, Verdict.REFUSE):
                self.assertTrue(self.step.failed)
                self.assertEqual([1], self.failures)
            else:
                self.assertEqual(0, self.step.delay)
                self.assert_not_counted()

    def test_rather_another_mirror_than_all_from_one(self) -> None:
        for mirrors, joined, verdict, asked in (
            (2, True, Verdict.REREAD, 1),
            (1, True, Verdict.REREAD, 0),
            (2, False, Verdict.REREAD, 0),
            (2, True, Verdict.ASK_WITHOUT_IF_RANGE, 0),
        ):
            self.make(mirrors, joined=joined)
            # So that the other would be preferred in any case.
            self.all[0].penalty = 1
            self.follow(judgement=judged(verdict))
            self.assertEqual(asked, self.asked)
            self.assert_not_counted()


class TestOtherNode(RecoveryTestCase):
    def meet(self, others: int = 0, handed_on: int = 1) -> Then:
        return self.follow(
            judgement=judged(Verdict.OTHER_NODE),
            kept=True,
            others=others,
            handed_on=handed_on,
        )

    def is_reread(self) -> bool:
        return self.choice.request(self.all[0], 5, None, True) is None

    def test_is_asked_once_more_and_then_compared(self) -> None:
        self.make(2)
        for reread in False, True:
            self.assertIs(AGAIN, self.meet())
            self.assertEqual((False, 0), (self.step.failed, self.asked))
            self.assertEqual(reread, self.is_reread())

    def test_the_first_node_between_starts_the_count_again(self) -> None:
        self.make()
        for _time in range(3):
            self.meet()
            self.made.accepted(self.now)
        self.assertFalse(self.is_reread())

    def test_where_nothing_was_handed_on_it_begins_again(self) -> None:
        """After three in a row, with whatever transfer."""
        for others in 0, 3:
            self.make()
            for _time in range(2):
                self.meet(others, handed_on=0)
                self.assertFalse(self.step.restart)
            self.assertIs(AGAIN, self.meet(others, handed_on=0))
            self.assertTrue(self.step.restart)

    def test_whoever_has_reached_the_first_goes_on(self) -> None:
        self.make()
        self.assertIs(AGAIN, self.meet(others=3))
        self.assertIs(LEAVE, self.meet(others=3))
        self.assertEqual(3, self.all[0].most)
        self.assertFalse(self.is_reread())


class TestChallenge(RecoveryTestCase):
    """Another transfer is bringing the same bytes: nothing is lost."""

    def test_it_is_left_to_the_other(self) -> None:
        for error, facts, mirrors, joined, useless in (
            (LOST, {}, 2, True, []),
            (GONE, {}, 2, True, [0]),
            (CHANGED, {}, 2, True, [0]),
            # What the rival may still get something from.
            (GONE, {}, 1, True, []),
            (GONE, {}, 2, False, []),
            (GONE, {'redirected': True}, 2, True, []),
        ):
            self.make(mirrors, joined=joined)
            self.assertIs(LEAVE, self.follow(error, challenging=True, **facts))
            self.assertEqual(useless, self.useless)
            self.assertEqual(1, self.failures[0])
            self.assertEqual(0, self.asked)

    def test_a_stall_is_not_counted(self) -> None:
        self.make()
        self.follow(SLOW, challenging=True)
        self.assertEqual(0, self.stats.stalls)
        self.assertIsNone(self.made.last)

    def test_that_ranges_are_no_use_is_for_the_others_to_find_out(
        self,
    ) -> None:
        wrong = errors.ContentRangeError('wrong')
        for verdict in Verdict:
            self.make()
            for _time in range(2):
                judgement = judged(verdict)
                self.follow(
                    wrong, challenging=True, ranged=True, judgement=judgement
                )
            self.assertTrue(self.made.source.ranged)

    def test_how_to_ask_is_learnt(self) -> None:
        self.make()
        self.follow(
            challenging=True, judgement=judged(Verdict.ASK_WITHOUT_IF_RANGE)
        )
        request = self.choice.request(self.all[0], 5, None, True)
        assert request is not None
        self.assertIsNone(request.if_range)

    def test_a_retry_after_is_heeded(self) -> None:
        self.make()
        self.follow(BUSY, challenging=True)
        self.assertEqual(105, self.all[0].held)


class TestFailure(RecoveryTestCase):
    def test_one_mirror(self) -> None:
        for error, facts, expected in (
            (LOST, {}, AGAIN),
            (SLOW, {}, AGAIN),
            (LOST, {'others': 1}, LEAVE),
            (BUSY, {'others': 1}, LEAVE),
            (errors.ProtocolError('bad'), {'others': 1}, AGAIN),
            # One that brings something is not given up.
            (LOST, {'others': 1, 'progressed': True}, AGAIN),
            (LOST, {'redirected': True}, AGAIN),
            (GONE, {}, FAIL),
            (GONE, {'others': 1}, FAIL),
            (GONE, {'progressed': True}, FAIL),
            (GONE, {'redirected': True}, AGAIN),
            (CHANGED, {'handed_on': 1}, FAIL),
            (CHANGED, {'redirected': True}, AGAIN),
            (LONGER, {'handed_on': 1}, AGAIN),
        ):
            for joined in False, True:
                self.make(joined=joined)
                row = '%r %s' % (error, facts)
                self.assertIs(expected, self.follow(error, **facts), row)
                useless = [0] if expected is FAIL else []
                self.assertEqual(useless, self.useless, row)
                self.assertEqual([1], self.failures)
                self.assertIs(error, self.made.last)
                self.assertTrue(self.made.fresh)
                if expected is FAIL:
                    self.assertIs(error, self.step.error)

    def test_what_this_machine_has_no_more_of(self) -> None:
        """Nothing to wait for, but where something was begun already."""
        scarce = errors.ResourceError('no more open files')
        for facts, then in (
            ({}, FAIL),
            ({'kept': True}, AGAIN),
            ({'others': 2}, LEAVE),
            ({'others': 2, 'kept': True}, LEAVE),
        ):
            self.make()
            self.assertEqual(then, self.follow(scarce, **facts))
            if then is FAIL:
                self.assertIs(scarce, self.step.error)

    def test_one_too_many_of_connections_that_have_ended(self) -> None:
        """What it asks for the crowd is not what it asks of the last."""
        long = errors.StatusError('the server answered 503')
        long.status, long.retry_after = 503, 600.0
        for error, served, expected in (
            (long, 99.5, AGAIN),
            # Before this one asked: it is not served any more.
            (long, 98.5, FAIL),
            # There is time to do as it asks.
            (BUSY, 99.5, AGAIN),
            (GONE, 99.5, FAIL),
        ):
            self.make()
            self.all[0].accepted(served)
            row = '%r %s' % (error, served)
            self.assertIs(expected, self.follow(error, seconds=1.0), row)
            if expected is AGAIN:
                self.assertEqual(error is BUSY, self.step.delay >= 5, row)
            if error is long and expected is AGAIN:
                # Alone from now on, it is told for itself.
                self.assertEqual(1, self.all[0].most)
                self.assertIs(FAIL, self.follow(error, seconds=0.1))
                self.assertIsInstance(
                    self.step.error, errors.RetryAfterTooLong
                )

    def test_what_a_redirect_led_to_may_be_gone(self) -> None:
        self.make()
        self.follow(GONE, redirected=True)
        self.assertEqual((0, False), (self.step.delay, self.step.failed))
        self.assertIs(FAIL, self.follow(GONE))

    def test_another_length_is_believed_the_third_time(self) -> None:
        for handed_on, expected in (0, AGAIN), (1, FAIL):
            self.make()
            self.settings = settings.Settings(attempts=9)
            self.made._settings = self.settings
            for _time in range(2):
                self.assertIs(AGAIN, self.follow(LONGER, kept=True))
                self.assertFalse(self.step.restart)
                self.assertLess(0, self.step.delay)
            found = self.follow(LONGER, kept=True, handed_on=handed_on)
            self.assertIs(expected, found)
            self.assertEqual(expected is AGAIN, self.step.restart)

    def test_another_length_than_expected_is_never_begun(self) -> None:
        self.make()
        self.choice.expected = LENGTH
        for _time in range(2):
            self.assertIs(AGAIN, self.follow(LONGER))
        self.assertIs(FAIL, self.follow(LONGER))
        self.assertIs(LONGER, self.step.error)

    def test_another_mirror_may_still_have_it(self) -> None:
        self.make(2, joined=True)
        for _time in range(3):
            self.made.source = self.all[0]
            self.assertIs(AGAIN, self.follow(LONGER, kept=True))
            self.assertFalse(self.step.restart)
        self.assertEqual(([0], 1), (self.useless, self.asked))

    def test_two_mirrors(self) -> None:
        for joined, error, facts, useless in (
            (False, GONE, {}, [0]),
            (True, GONE, {}, [0]),
            (False, GONE, {'progressed': True}, [0]),
            (False, GONE, {'kept': True}, [0]),
            (True, CHANGED, {}, [0]),
            (False, CHANGED, {'handed_on': 1}, [0]),
        ):
            self.make(2, joined=joined)
            row = '%r %s' % (error, facts)
            self.assertIs(AGAIN, self.follow(error, **facts), row)
            self.assertEqual(0, self.step.delay, row)
            self.assertEqual((useless, 1), (self.useless, self.asked), row)

    def test_a_mirror_that_others_found_useless_is_left(self) -> None:
        for mirrors, expected in (2, AGAIN), (1, FAIL):
            self.make(mirrors)
            self.all[0].error = GONE
            self.assertIs(expected, self.follow(kept=True))
            self.assertIs(GONE, self.all[0].error)

    def test_a_range_asked_for_counts_as_one(self) -> None:
        for ranged in False, True:
            self.make()
            for _time in range(2):
                self.follow(errors.ContentRangeError('wrong'), ranged=ranged)
            self.assertEqual(not ranged, self.made.source.ranged)

    def test_progress_of_a_reread_is_told_to_the_mirror(self) -> None:
        shown = answer.Representation(ranges=True)
        doubtful = answer.Judgement(Verdict.REREAD, pinned=shown)
        for progressed in False, True:
            self.make()
            self.follow(judgement=doubtful)
            self.follow(progressed=progressed)
            self.assertEqual(not progressed, self.made.source.ranged)

    def test_stalls_are_counted(self) -> None:
        self.make()
        for error in SLOW, LOST, SLOW:
            self.follow(error)
        self.assertEqual(2, self.stats.stalls)


class TestStaying(RecoveryTestCase):
    """Where bytes are not joined, another would have to send them again."""

    def stays(self, error: errors.Error = LOST, **facts: Any) -> bool:
        facts = {'kept': True, 'offset': LENGTH // 2, **facts}
        facts.setdefault('missing', LENGTH - facts['offset'])
        self.assertIs(AGAIN, self.follow(error, **facts))
        return self.asked == 0

    def test_unless_nothing_is_kept_or_a_checksum_decides(self) -> None:
        for joined, kept, stays in (
            (False, True, True),
            (False, False, False),
            (True, True, False),
        ):
            self.make(2, joined=joined)
            self.assertEqual(stays, self.stays(kept=kept))

    def test_while_it_would_come_to_an_end(self) -> None:
        progress = settings.Settings().progress
        for error, missing, seconds, stays in (
            # In three attempts.
            (SLOW, 3 * progress, 11, True),
            (SLOW, LENGTH // 2, 11, False),
            (SLOW, None, 11, True),
            # Or in not much more time than all of it takes.
            (LOST, 100 * progress, 1, True),
            (SLOW, LENGTH, 10 + 1e9, True),
        ):
            self.make(2)
            found = self.stays(
                error, progressed=True, missing=missing, seconds=seconds
            )
            self.assertEqual(stays, found, '%r %s' % (error, missing))

    def test_where_the_other_did_no_better(self) -> None:
        stall = {'missing': LENGTH, 'seconds': 11, 'progressed': True}
        self.make(2)
        self.assertFalse(self.stays(SLOW, **stall))
        self.assertTrue(self.stays(SLOW, **stall))
        # Back at the one whose bytes are kept.
        self.assertTrue(self.stays(SLOW, **stall))

    def test_not_where_little_would_be_sent_again(self) -> None:
        for offset, stays in (LENGTH // 10, False), (LENGTH // 10 + 1, True):
            self.make(2)
            self.assertEqual(stays, self.stays(offset=offset))

    def test_little_again_and_again_is_much(self) -> None:
        self.make(2)
        offset = LENGTH // 20 + 1
        self.assertFalse(self.stays(offset=offset))
        # Back at the one whose bytes are kept.
        self.made.source = self.all[0]
        self.assertTrue(self.stays(offset=offset))

    def test_nor_where_most_was_compared_already(self) -> None:
        for agreed, stays in (0, True), (LENGTH // 2 - 10, False):
            self.make(2)
            found = answer.Representation(
                head.Validator(etag='"b"'), LENGTH, coding=''
            )
            self.choice.compared(self.all[1], found, agreed)
            self.assertEqual(stays, self.stays())

    def test_until_as_much_time_was_lost_as_it_would_take(self) -> None:
        # 0.5 s, 5 s, and 500 s; the delays are 2, 4, 8, 16, 32, and then 60 s.
        for pace, failures in (10**9, 2), (10**8, 2), (10**6, 12):
            self.make(2)
            self.settings = settings.Settings(attempts=99)
            self.made._settings = self.settings
            self.follow(
                kept=True, offset=LENGTH // 2, new=pace, seconds=1, missing=1
            )
            self.assertEqual(0, self.asked)
            found = 0
            while found < 99 and self.stays():
                found += 1
            self.assertEqual(failures, found, str(pace))

    def test_not_for_longer_than_it_would_take(self) -> None:
        for pace, asked, stays in (
            (10**9, 9, True),
            (10**9, 11, False),
            (10**7, 47, True),
            (10**7, 55, False),
        ):
            self.make(2)
            self.follow(
                kept=True, offset=LENGTH // 2, new=pace, seconds=1, missing=1
            )
            busy = errors.StatusError('busy')
            busy.status, busy.retry_after = 503, float(asked)
            self.assertEqual(stays, self.stays(busy), '%d %d' % (pace, asked))

    def test_the_one_that_proved_less_has_no_such_claim(self) -> None:
        self.make(2)
        self.made.source = self.all[1]
        self.follow(kept=True, offset=LENGTH // 2)
        self.assertEqual(0, self.asked)


class TestRow(RecoveryTestCase):
    """Several failures, one after the other."""

    def test_each_mirror_is_asked_once_before_a_wait(self) -> None:
        self.make(3, joined=True)
        asked, waits = [], []
        for _attempt in range(6):
            asked.append(self.asked)
            self.assertIs(AGAIN, self.follow())
            waits.append(self.step.delay > 0)
        self.assertEqual([0, 1, 2, 0, 1, 2], asked)
        self.assertEqual([False, False, True] * 2, waits)

    def test_each_mirror_has_attempts_of_its_own(self) -> None:
        self.make(3, joined=True)
        asked = [0, 0, 0]
        while True:
            asked[self.asked] += 1
            if self.follow() is FAIL:
                break
        self.assertEqual([3, 3, 3], asked)
        self.assertIsInstance(self.step.error, errors.AttemptsExhausted)
        self.assertEqual([], self.useless)

    def test_one_that_progresses_is_asked_again(self) -> None:
        for joined in False, True:
            self.make(2, joined=joined)
            for _time in range(9):
                self.follow(progressed=True, kept=True, offset=LENGTH)
                self.assertEqual((0, 0), (self.asked, self.step.delay))

    def test_one_that_stalls_is_left_where_that_costs_nothing(self) -> None:
        self.make(2, joined=True)
        self.follow(SLOW, progressed=True, kept=True)
        self.assertEqual((1, 0), (self.asked, self.step.delay))

    def test_whoever_took_time_in_vain_comes_last(self) -> None:
        self.make(2, joined=True)
        self.follow(SLOW, seconds=60)
        began = self.now
        self.assertEqual(1, self.asked)
        # However often it stalls, it gets on. The first is tried again when
        # that would be a tenth of all the time.
        while self.now < began + 599:
            self.follow(SLOW, progressed=True, seconds=10)
            self.assertEqual(1, self.asked)
            self.now += 10
        self.now += 10
        self.follow(SLOW, progressed=True, seconds=10)
        self.assertEqual(0, self.asked)

    def test_one_that_asks_for_a_while_rather_than_one_in_vain(self) -> None:
        self.make(2, joined=True)
        self.follow(SLOW, seconds=60)
        self.assertEqual(1, self.asked)
        self.now += 10
        self.follow(BUSY)
        self.assertEqual(1, self.asked)
        self.assertLessEqual(5, self.step.delay)

    def test_a_piece_that_is_bad_there_is_asked_of_another(self) -> None:
        """However much longer that one took for its own bad pieces."""
        self.make(2, joined=True)
        bad = errors.PieceMismatch('bad')
        # Every second piece is bad at the one, the others at the other.
        for piece in range(40):
            asked = self.asked
            self.assertEqual(piece % 2, asked)
            self.now += 0.1
            self.follow(
                bad,
                offset=piece * self.settings.progress,
                seconds=(0.01, 5.0)[asked],
                progressed=piece > 0,
            )
            self.assertIs(AGAIN, self.step.then)

    def test_delays(self) -> None:
        self.make()
        delays = []
        for progressed in False, True, False:
            self.assertIs(AGAIN, self.follow(progressed=progressed))
            delays.append(self.step.delay)
        self.assertEqual([2, 0, 2], delays)
        self.assertEqual(2, self.made.attempt)

    def test_the_attempts_are_used_up(self) -> None:
        self.make()
        found = [self.follow() for _attempt in range(3)]
        self.assertEqual([AGAIN, AGAIN, FAIL], found)
        self.assertIsInstance(self.step.error, errors.AttemptsExhausted)
        # The mirror itself may be of use to others.
        self.assertEqual([], self.useless)

    def test_what_would_have_proven_a_part_is_said(self) -> None:
        strong, weak = '"a"', 'W/"a"'
        for etag, joined, offset, said in (
            (weak, False, 5, True),
            (None, False, 5, True),
            # It would have gone on, or there is nothing to go on with.
            (strong, False, 5, False),
            (weak, True, 5, False),
            (weak, False, 0, False),
        ):
            self.make(joined=joined, etag=etag)
            for _attempt in range(3):
                self.follow(offset=offset, kept=offset > 0)
            assert self.step.error is not None
            hint = self.step.error.hint or ''
            self.assertEqual(said, 'give a checksum' in hint, hint)

    def test_no_time_is_left(self) -> None:
        self.make(2)
        self.assertIs(FAIL, self.follow(left=0.0))
        self.assertIsInstance(self.step.error, errors.DeadlineExceeded)

    def test_too_late_tells_of_the_last_failure(self) -> None:
        self.make()
        self.assertIsNone(self.made.too_late().__cause__)
        self.follow()
        self.assertIs(LOST, self.made.too_late().__cause__)

    def test_too_late_names_no_part_of_the_deadline(self) -> None:
        self.make()
        self.assertEqual('the deadline has passed', str(self.made.too_late()))


class TestRetryAfter(RecoveryTestCase):
    def test_is_waited_for(self) -> None:
        self.make()
        self.assertIs(AGAIN, self.follow(BUSY))
        self.assertLessEqual(5, self.step.delay)
        self.assertEqual(105, self.all[0].held)

    def test_another_mirror_is_asked_meanwhile(self) -> None:
        self.make(2)
        self.follow(BUSY)
        self.assertEqual((1, 0), (self.asked, self.step.delay))
        # And the first one again when it is time.
        self.follow(BUSY)
        self.assertEqual(0, self.asked)
        self.assertLessEqual(5, self.step.delay)

    def test_one_too_long_is_no_end_where_there_is_another(self) -> None:
        day = errors.StatusError('maintenance')
        day.status, day.retry_after = 503, 86400.0
        for mirrors, expected in (2, AGAIN), (1, FAIL):
            self.make(mirrors)
            self.assertIs(
                expected, self.follow(day, kept=True, offset=LENGTH // 2)
            )
            self.assertEqual(0, self.step.delay)
        self.assertIsInstance(self.step.error, errors.RetryAfterTooLong)

    def test_nobody_waits_for_one_too_long(self) -> None:
        """One transfer was told so; the mirror of the other is gone."""
        day = errors.StatusError('maintenance')
        day.status, day.retry_after = 503, 86400.0
        for challenging in False, True:
            self.make(2, joined=True)
            other = recovery.Recovery(
                self.settings,
                self.choice,
                self.all[1],
                self.stats,
                lambda: 1.0,
            )
            other.failed(
                recovery.Failure(day, now=self.now, challenging=challenging)
            )
            then = self.follow(GONE)
            if challenging:
                self.assertEqual((AGAIN, 1), (then, self.asked))
                self.assertEqual(0, self.step.delay)
                then = self.follow(day)
                self.assertIsInstance(
                    self.step.error, errors.RetryAfterTooLong
                )
            self.assertIs(FAIL, then)

    def test_it_holds_for_all_transfers(self) -> None:
        self.make()
        self.all[0].hold(105)
        self.assertEqual(5, self.made.postponed(100, True))
        self.assertEqual(0, self.made.postponed(105, True))

    def test_others_are_asked_meanwhile(self) -> None:
        for joined, kept, asked in (
            (False, True, 0),
            (False, False, 1),
            (True, True, 1),
        ):
            self.make(2, joined=joined)
            self.all[0].hold(105)
            wait = self.made.postponed(100, kept)
            self.assertEqual(asked, self.asked)
            self.assertEqual(0 if asked else 5, wait)


class TestAnnotate(RecoveryTestCase):
    def test_where_it_happened(self) -> None:
        self.make(2)
        self.all[0].url = 'http://mirror0/i?secret'
        error = errors.Error('failed')
        self.made.annotate(error, 7)
        self.assertEqual(
            (errors.redact(self.all[0].url), 7, 1, 3),
            (error.url, error.offset, error.attempt, error.attempts),
        )
        before = dict(vars(error))
        self.follow()
        self.made.annotate(error, 8)
        self.assertEqual(before, vars(error))

    def test_an_attempt_of_a_later_row(self) -> None:
        self.make()
        for _time in range(2):
            self.follow()
        error = errors.Error('failed')
        self.made.annotate(error, 0)
        self.assertEqual(3, error.attempt)
