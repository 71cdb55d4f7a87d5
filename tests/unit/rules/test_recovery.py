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
from fuel_agent_curl.rules.recovery import Action
from tests import base

LOST = errors.ReceiveError('connection reset')
SLOW = errors.Stalled('too slow')
CHANGED = errors.RepresentationChanged('another one')
GONE = errors.StatusError('the server answered 404')
GONE.status = 404

ASK_OTHERWISE = Action.ASK_OTHERWISE
ASK_ORIGINAL = Action.ASK_ORIGINAL
LEAVE = Action.LEAVE
OFFER = Action.OFFER
REWIND = Action.REWIND
FAIL_OVER = Action.FAIL_OVER
BACK_OFF = Action.BACK_OFF
FAIL = Action.FAIL


def judged(verdict: Verdict) -> answer.Judgement:
    return answer.Judgement(verdict, error=errors.ContentRangeError('no'))


class RecoveryTestCase(base.TestCase):
    """The mirrors are ``self.all``; the first is asked first.

    :ivar made: the ``Recovery``, of three attempts; its first delay is 2 s.
    """

    def make(self, mirrors: int = 1, *, joined: bool = False) -> None:
        self.all = [
            sources.Source('http://mirror%d/i' % n, events.MirrorStats())
            for n in range(mirrors)
        ]
        self.stats = events.Stats()
        self.made = recovery.Recovery(
            settings.Settings(attempts=3, backoff=2, deadline=60),
            sources.Sources(self.all, joined),
            self.all[0],
            self.stats,
            lambda: 1.0,
        )

    def follow(
        self,
        error: errors.Error = LOST,
        *,
        taken: bool = False,
        handed_on: int = 0,
        **facts: Any,
    ) -> list[Action]:
        """Let an attempt fail; return the actions up to the last."""
        failure = recovery.Failure(error, **facts)
        self.step = self.made.failed(failure)
        actions = [self.step.action]
        if actions == [OFFER]:
            self.step = self.made.offered(failure, taken)
        elif actions == [REWIND]:
            self.step = self.made.rewound(failure, handed_on)
        else:
            return actions
        return [*actions, self.step.action]

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
        self.assertEqual([0] * len(self.all), self.failures)
        self.assertIsNone(self.made.last)
        self.assertFalse(self.made.fresh)

    def test_an_answer_tells_how_to_ask(self) -> None:
        for verdict in Verdict:
            self.make()
            actions = self.follow(judgement=judged(verdict))
            if verdict in (Verdict.ACCEPT, Verdict.REFUSE):
                self.assertEqual([OFFER, BACK_OFF], actions)
                self.assertEqual([1], self.failures)
            else:
                self.assertEqual([ASK_OTHERWISE], actions)
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
            actions = self.follow(error, challenging=True, **facts)
            self.assertEqual([LEAVE], actions)
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
        validator = head.Validator(etag='"a"')
        self.made.source.accepted(answer.Representation(validator))
        self.follow(
            challenging=True, judgement=judged(Verdict.ASK_WITHOUT_IF_RANGE)
        )
        request = self.made.source.request(5, None, unproven=True)
        assert request is not None
        self.assertIsNone(request.if_range)


class TestOrder(RecoveryTestCase):
    def test_the_first_fact_decides(self) -> None:
        """Of all facts at once, and then of fewer and fewer."""
        facts: dict[str, Any] = {
            'challenging': True,
            'judgement': judged(Verdict.REREAD),
            'redirected': True,
        }
        for expected in LEAVE, ASK_OTHERWISE, ASK_ORIGINAL, FAIL:
            self.make()
            self.assertEqual([expected], self.follow(GONE, **facts))
            facts.pop(next(iter(facts), ''), None)


class TestFailure(RecoveryTestCase):
    def test_one_mirror(self) -> None:
        for error, facts, expected in (
            (LOST, {}, [OFFER, BACK_OFF]),
            (SLOW, {}, [OFFER, BACK_OFF]),
            (LOST, {'taken': True}, [OFFER, LEAVE]),
            # One that brings something is not given up.
            (LOST, {'progressed': True}, [BACK_OFF]),
            (LOST, {'redirected': True}, [OFFER, BACK_OFF]),
            (GONE, {}, [FAIL]),
            (GONE, {'progressed': True}, [FAIL]),
            (GONE, {'redirected': True}, [ASK_ORIGINAL]),
            (CHANGED, {}, [REWIND, BACK_OFF]),
            (CHANGED, {'redirected': True}, [REWIND, BACK_OFF]),
            (CHANGED, {'handed_on': 1}, [REWIND, FAIL]),
            # It has never been what was expected.
            (CHANGED, {'foretold': True}, [FAIL]),
            (CHANGED, {'foretold': True, 'kept': True}, [REWIND, BACK_OFF]),
        ):
            for joined in False, True:
                self.make(joined=joined)
                row = '%r %s' % (error, facts)
                self.assertEqual(expected, self.follow(error, **facts), row)
                useless = [0] if FAIL in expected else []
                self.assertEqual(useless, self.useless, row)
                self.assertEqual([1], self.failures)
                self.assertIs(error, self.made.last)
                self.assertTrue(self.made.fresh)
                if self.step.action is FAIL:
                    self.assertIs(error, self.step.error)

    def test_two_mirrors(self) -> None:
        for joined, error, facts, expected, useless in (
            (False, GONE, {}, [FAIL_OVER], [0]),
            (True, GONE, {}, [FAIL_OVER], [0]),
            (False, GONE, {'progressed': True}, [FAIL_OVER], [0]),
            (False, GONE, {'kept': True}, [FAIL_OVER], [0]),
            (False, GONE, {'redirected': True}, [ASK_ORIGINAL], []),
            # The other may still have the representation begun.
            (True, CHANGED, {}, [FAIL_OVER], [0]),
            (False, CHANGED, {'handed_on': 1}, [REWIND, FAIL_OVER], [0]),
            (False, CHANGED, {'foretold': True}, [FAIL_OVER], [0]),
            # Nothing is kept any more, so that any mirror will do.
            (False, CHANGED, {'kept': True}, [REWIND, FAIL_OVER], []),
            (False, CHANGED, {'progressed': True}, [REWIND, BACK_OFF], []),
        ):
            self.make(2, joined=joined)
            row = '%r %s' % (error, facts)
            self.assertEqual(expected, self.follow(error, **facts), row)
            self.assertEqual(useless, self.useless, row)
            # Whoever changed its mind is used last, too.
            asked = 0 if expected == [ASK_ORIGINAL] else 1
            self.assertEqual(asked, self.asked, row)

    def test_the_same_mirror_or_another(self) -> None:
        """Where bytes are not joined, another would have to send them all."""
        for joined, attempt, error, facts, stays in (
            (False, 1, LOST, {}, False),
            (False, 1, LOST, {'kept': True}, True),
            (False, 1, SLOW, {'kept': True}, False),
            (False, 2, LOST, {'kept': True}, False),
            (False, 1, SLOW, {'progressed': True}, True),
            (False, 2, LOST, {'progressed': True}, True),
            (True, 1, LOST, {'kept': True}, False),
            (True, 1, LOST, {'progressed': True}, False),
        ):
            self.make(2, joined=joined)
            while self.made.attempt < attempt:
                self.follow(kept=True)
            action = self.follow(error, **facts)[-1]
            row = '%s %d %r %s' % (joined, attempt, error, facts)
            expected = BACK_OFF if stays else FAIL_OVER
            self.assertEqual(expected, action, row)

    def test_a_mirror_that_others_found_useless_is_left(self) -> None:
        for mirrors, expected in (2, FAIL_OVER), (1, FAIL):
            self.make(mirrors)
            self.all[0].error = GONE
            actions = self.follow(kept=True)
            self.assertEqual([OFFER, expected], actions)
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


class TestRow(RecoveryTestCase):
    """Several failures, one after the other."""

    def test_each_mirror_is_asked_once_before_a_wait(self) -> None:
        self.make(3, joined=True)
        asked = []
        for expected in 2 * [FAIL_OVER, FAIL_OVER, BACK_OFF]:
            asked.append(self.asked)
            self.assertEqual(expected, self.follow()[-1])
        # After the wait, the one that nothing has been preferred to is first.
        self.assertEqual([0, 1, 2, 2, 0, 1], asked)

    def test_after_progress_each_may_be_asked_again(self) -> None:
        self.make(2, joined=True)
        self.follow()
        self.assertEqual(1, self.asked)
        actions = self.follow(progressed=True)
        self.assertEqual(([FAIL_OVER], 0), (actions, self.asked))

    def test_after_a_wait_the_best_one_is_asked(self) -> None:
        self.make(2)
        self.made.source.penalty = 1
        self.assertEqual([OFFER, BACK_OFF], self.follow(kept=True))
        self.assertEqual(1, self.asked)

    def test_delays(self) -> None:
        self.make()
        delays = []
        for progressed in False, True, False:
            self.assertIs(BACK_OFF, self.follow(progressed=progressed)[-1])
            delays.append(self.step.delay)
        self.assertEqual([2, 0, 2], delays)
        self.assertEqual(2, self.made.attempt)

    def test_the_attempts_are_used_up(self) -> None:
        self.make()
        actions = [self.follow()[-1] for _attempt in range(3)]
        self.assertEqual([BACK_OFF, BACK_OFF, FAIL], actions)
        self.assertIsInstance(self.step.error, errors.AttemptsExhausted)
        # The mirror itself may be of use to others.
        self.assertEqual([], self.useless)

    def test_no_time_is_left(self) -> None:
        self.make()
        self.assertEqual(FAIL, self.follow(left=0.0)[-1])
        self.assertIsInstance(self.step.error, errors.DeadlineExceeded)

    def test_too_late_tells_of_the_last_failure(self) -> None:
        self.make()
        self.assertIsNone(self.made.too_late().__cause__)
        self.follow()
        self.assertIs(LOST, self.made.too_late().__cause__)


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
