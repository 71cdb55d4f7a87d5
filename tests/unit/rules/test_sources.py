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
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources
from fuel_agent_curl.rules.answer import Verdict
from tests import base

STRONG = head.Validator(etag='"a"')
WEAK = head.Validator(etag='W/"a"')


def source(
    name: str = 'a', validator: head.Validator | None = STRONG
) -> sources.Source:
    made = sources.Source('http://%s/i' % name, events.MirrorStats())
    if validator is not None:
        made.accepted(answer.Representation(validator, 100))
    return made


class RequestTest(base.TestCase):
    def test_a_strong_validator_goes_into_if_range(self) -> None:
        self.assertEqual(
            segments.Request(5, None, ranged=True, if_range='"a"'),
            source().request(5, None, unproven=False),
        )

    def test_without_a_proof_there_is_no_use_in_a_range(self) -> None:
        for validator in (WEAK, head.Validator(), None):
            asked = source(validator=validator)
            self.assertIsNone(asked.request(5, None, unproven=False))

    def test_a_checksum_stands_in_for_the_proof(self) -> None:
        request = source(validator=WEAK).request(5, 9, unproven=True)
        self.assertEqual(segments.Request(5, 9, ranged=True), request)

    def test_where_others_are_kept_the_first_range_needs_a_proof(self) -> None:
        one = source(validator=None)
        self.assertIsNotNone(one.request(0, 9, unproven=True))
        self.assertIsNone(one.request(0, 9, unproven=False))

    def test_a_server_that_says_it_has_none_is_not_asked(self) -> None:
        one = source()
        one.accepted(answer.Representation(STRONG, 100, ranges=False))
        self.assertIsNone(one.request(5, None, unproven=True))

    def test_learns_how_to_ask(self) -> None:
        one = source()
        self.assertTrue(
            one.learn(answer.Judgement(Verdict.ASK_WITHOUT_IF_RANGE))
        )
        self.assertEqual(
            segments.Request(5, None, ranged=True),
            one.request(5, None, unproven=False),
        )
        self.assertTrue(one.learn(answer.Judgement(Verdict.REREAD)))
        self.assertIsNone(one.request(5, None, unproven=False))

    def test_an_answer_that_was_used_or_useless_teaches_nothing(self) -> None:
        for verdict in (Verdict.ACCEPT, Verdict.REFUSE):
            self.assertFalse(source().learn(answer.Judgement(verdict)))

    def test_two_wrong_ranges_in_a_row_are_enough(self) -> None:
        one = source()
        wrong = errors.ContentRangeError('wrong')
        one.failed(wrong, ranged=True)
        self.assertIsNotNone(one.request(5, None, unproven=False))
        one.failed(wrong, ranged=True)
        self.assertIsNone(one.request(5, None, unproven=False))

    def test_patience_grows_when_there_was_no_byte_in_time(self) -> None:
        one = source()
        stalled = errors.Stalled('silent')
        one.failed(errors.ReceiveError('reset'), ranged=False, empty=True)
        one.failed(stalled, ranged=False, empty=False)
        found = [one.patience]
        for _time in range(3):
            one.failed(stalled, ranged=False, empty=True)
            found.append(one.patience)
        self.assertEqual([1, 2, 4, 4], found)

    def reread_in_vain(self, ranges: bool | None) -> sources.Source:
        one = source()
        one.learn(
            answer.Judgement(
                Verdict.REREAD, pinned=answer.Representation(ranges=ranges)
            )
        )
        one.failed(errors.ReceiveError('reset'), ranged=False)
        return one

    def test_ranges_are_tried_again_when_a_reread_was_in_vain(self) -> None:
        one = self.reread_in_vain(True)
        self.assertIsNotNone(one.request(5, None, False))

    def test_a_server_without_ranges_is_not_asked_again(self) -> None:
        one = self.reread_in_vain(None)
        self.assertIsNone(one.request(5, None, False))

    def test_a_right_one_between_starts_the_count_again(self) -> None:
        one = source()
        wrong = errors.ContentRangeError('wrong')
        for _time in range(3):
            one.failed(wrong, ranged=True)
            one.accepted(answer.Representation(STRONG, 100))
        self.assertIsNotNone(one.request(5, None, unproven=False))


class LocationTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.one = sources.Source('http://a/i', events.MirrorStats())
        origin = redirects.Origin('http', 'a', 80)
        self.home = redirects.Address('http://a/i', origin)
        self.led_to = redirects.step(
            self.home, redirects.Address('http://a/j', origin, named=False)
        )

    def test_is_shared(self) -> None:
        self.one.moved(self.led_to)
        self.assertEqual(self.led_to, self.one.location)

    def test_without_a_redirect_there_is_none(self) -> None:
        self.one.moved(self.led_to)
        self.one.moved(self.home)
        self.assertIsNone(self.one.location)

    def test_is_forgotten_when_it_fails(self) -> None:
        self.one.moved(self.led_to)
        self.one.failed(errors.ReceiveError('reset'), ranged=False)
        self.assertIsNone(self.one.location)


class ChoiceTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.a, self.b, self.c = source('a'), source('b'), source('c')
        self.all = [self.a, self.b, self.c]

    def test_the_first_is_asked_first(self) -> None:
        self.assertIs(self.a, sources.Sources(self.all, False).best())

    def test_one_is_used_at_a_time_without_a_checksum(self) -> None:
        choice = sources.Sources(self.all, False)
        self.assertIs(self.a, choice.best(busy=[self.a] * 9))

    def test_all_are_used_with_a_checksum_by_their_speed(self) -> None:
        choice = sources.Sources(self.all, True)
        self.a.speed, self.b.speed, self.c.speed = 4e6, 2e6, 2e6
        busy: list[sources.Source] = []
        for _connection in range(8):
            best = choice.best(busy)
            assert best is not None
            busy.append(best)
        self.assertEqual([4, 2, 2], [busy.count(each) for each in self.all])

    def test_one_that_lied_or_stalled_is_used_last(self) -> None:
        for error in (
            errors.Stalled('slow'),
            errors.PieceMismatch('bad'),
            errors.RepresentationChanged('other'),
        ):
            a, b = source('a'), source('b')
            a.failed(error, ranged=False)
            self.assertIs(b, sources.Sources([a, b], True).best())

    def test_fails_over_to_each_once_before_waiting(self) -> None:
        choice = sources.Sources(self.all, False)
        tried: list[sources.Source] = []
        order = [self.a]
        while (other := choice.instead(order[-1], False, tried)) is not None:
            order.append(other)
        self.assertEqual(self.all, order)

    def test_the_next_to_ask_begins_with_the_one_failed_over_to(self) -> None:
        choice = sources.Sources(self.all, False)
        choice.instead(self.a, False, [])
        self.assertIs(self.b, choice.best())

    def test_leaves_a_useless_one_after_progress_too(self) -> None:
        self.a.error = errors.StatusError('gone')
        choice = sources.Sources(self.all, False)
        self.assertIs(self.b, choice.instead(self.a, True, []))
        self.assertIs(self.b, choice.best())

    def test_an_old_pin_says_nothing_of_anothers_bytes(self) -> None:
        choice = sources.Sources(self.all, False)
        choice.asking(self.a)
        self.a.accepted(answer.Representation(STRONG, 100))
        for _time in range(2):
            choice.asking(self.a)
            self.assertIsNotNone(self.a.pin)
        choice.asking(self.b)
        self.assertIsNone(self.b.pin)
        choice.asking(self.a)
        self.assertIsNone(self.a.pin)

    def test_a_pin_stays_where_bytes_may_be_joined(self) -> None:
        choice = sources.Sources(self.all, True)
        for each in (self.a, self.b, self.a):
            choice.asking(each)
            self.assertIsNotNone(each.pin)

    def test_the_one_asked_is_asked_for_more_whatever_befell_it(self) -> None:
        choice = sources.Sources(self.all, False)
        choice.asking(self.a)
        self.a.failed(errors.Stalled('slow'), ranged=True)
        self.assertIs(self.a, choice.best(busy=[]))
        self.assertIs(self.b, choice.best())
        self.a.error = errors.StatusError('gone')
        self.assertIs(self.b, choice.best(busy=[]))

    def test_a_blip_after_progress_is_not_held_against_it(self) -> None:
        choice = sources.Sources(self.all, True)
        choice.instead(self.a, True, [])
        self.assertIs(self.a, choice.best())

    def test_one_without_ranges_is_used_last(self) -> None:
        self.a.learn(answer.Judgement(Verdict.REREAD))
        self.b.penalty = self.c.penalty = 5
        choice = sources.Sources(self.all, True)
        self.assertIs(self.b, choice.best())

    def test_none_gets_more_than_it_lets_in(self) -> None:
        for joined in (False, True):
            a, b = source('a'), source('b')
            a.crowded(3)
            choice = sources.Sources([a, b], joined)
            choice.asking(a)
            a.speed, b.speed = 100, 1
            self.assertIs(a, choice.best(busy=[a]))
            other = choice.best(busy=[a, a])
            self.assertIs(b if joined else None, other)

    def test_none_is_left_when_all_are_useless(self) -> None:
        for each in self.all:
            each.error = errors.StatusError('gone')
        self.assertIsNone(sources.Sources(self.all, True).best())


class CrowdTest(base.TestCase):
    def test_never_fewer_than_one(self) -> None:
        one = source()
        for _time in range(5):
            one.crowded(2)
        self.assertEqual(1, one.most)

    def test_one_refusal_is_one_fewer(self) -> None:
        one = source()
        one.crowded(16)
        one.crowded(16)
        self.assertEqual(14, one.most)

    def segments_until_one_more(self, one: sources.Source) -> int:
        most = one.most
        count = 0
        while one.most == most:
            one.brought(1.0)
            count += 1
        return count

    def test_one_more_is_tried_when_all_have_brought_one(self) -> None:
        one = source()
        one.crowded(3)
        self.assertEqual(2, self.segments_until_one_more(one))
        self.assertEqual(3, self.segments_until_one_more(one))

    def test_after_each_try_in_vain_the_next_comes_later(self) -> None:
        one = source()
        one.crowded(2)
        counts = []
        for _time in range(12):
            counts.append(self.segments_until_one_more(one))
            one.crowded(2)
        self.assertEqual([1, 2, 4, 8, 16, 32, 64, 128] + [256] * 4, counts)

    def test_when_all_are_refused_at_once_nothing_was_in_vain(self) -> None:
        one = source()
        for busy in range(16, 1, -1):
            one.crowded(busy)
        self.assertEqual(1, one.most)
        self.assertEqual(1, self.segments_until_one_more(one))

    def test_one_that_refuses_none_has_no_limit(self) -> None:
        one = source()
        one.brought(1.0)
        self.assertEqual(math.inf, one.most)
