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
NONE = head.Validator()


def source(name: str = 'a') -> sources.Source:
    return sources.Source('http://%s/i' % name, events.MirrorStats())


def found(
    validator: head.Validator = STRONG, length: int = 100
) -> answer.Representation:
    return answer.Representation(validator, length, coding='')


class SourcesTestCase(base.TestCase):
    """Three mirrors; the first one has been proven, unless they are joined."""

    def setUp(self) -> None:
        super().setUp()
        self.a, self.b, self.c = source('a'), source('b'), source('c')
        self.all = [self.a, self.b, self.c]
        self.choice = sources.Sources(self.all, False)
        self.choice.prove(self.a, found(), kept=False)
        self.joined = sources.Sources(self.all, True)


class TestProof(SourcesTestCase):
    """What is known of the bytes that are kept."""

    def test_nothing_is_known_at_first(self) -> None:
        choice = sources.Sources(self.all, False)
        self.assertEqual((None, None), (choice.owner, choice.length))
        for kept in False, True:
            pin = choice.pin(self.b, segments.Request(), kept)
            expected = answer.Representation() if kept else None
            self.assertEqual(expected, pin)

    def test_what_was_given_has_to_be_so(self) -> None:
        choice = sources.Sources(self.all, False, 7)
        pin = choice.pin(self.a, segments.Request(), False)
        self.assertEqual(answer.Representation(length=7), pin)

    def test_a_part_has_to_be_of_the_same_representation(self) -> None:
        request = segments.Request(5, ranged=True)
        self.assertEqual(
            (self.a, 100), (self.choice.owner, self.choice.length)
        )
        self.assertEqual(found(), self.choice.pin(self.a, request, True))

    def test_what_is_read_again_has_to_be_as_long(self) -> None:
        for each in self.all:
            self.assertEqual(
                found(NONE), self.choice.pin(each, segments.Request(), True)
            )

    def test_a_checksum_decides_about_the_rest(self) -> None:
        self.joined.prove(self.a, found(), kept=False)
        request = segments.Request(5, ranged=True)
        for each in self.all:
            self.assertEqual(found(NONE), self.joined.pin(each, request, True))

    def test_another_becomes_the_owner_when_all_was_compared(self) -> None:
        self.choice.compared(self.b, found(WEAK), 30)
        self.assertIs(self.a, self.choice.owner)
        self.assertEqual((30, 30), (self.b.agreed, self.b.reached))
        self.choice.prove(self.b, found(WEAK), kept=True, upto=60)
        self.assertIs(self.b, self.choice.owner)
        # What is of the one before is still the same.
        self.assertEqual((60, found()), (self.a.agreed, self.a.pin))
        self.assertEqual(60, self.b.reached)

    def test_what_the_owner_sends_again_is_no_news(self) -> None:
        self.choice.compared(self.a, found(WEAK), 30)
        self.assertEqual((0, found()), (self.a.agreed, self.a.pin))
        self.choice.prove(self.a, found(WEAK), kept=True, upto=60)
        self.assertEqual((0, found(WEAK)), (self.a.reached, self.a.pin))

    def test_where_nothing_is_kept_nothing_known_holds(self) -> None:
        self.choice.compared(self.b, found(), 30)
        self.choice.prove(self.c, found(length=200), kept=False)
        self.assertEqual(
            (self.c, 200), (self.choice.owner, self.choice.length)
        )
        for each in self.a, self.b:
            self.assertEqual((None, 0), (each.pin, each.agreed))


class TestRequest(SourcesTestCase):
    def ask(
        self, choice: sources.Sources, each: sources.Source, kept: bool = True
    ) -> segments.Request | None:
        return choice.request(each, 5, 9, kept)

    def test_a_strong_validator_goes_into_if_range(self) -> None:
        self.assertEqual(
            segments.Request(5, 9, ranged=True, if_range='"a"'),
            self.ask(self.choice, self.a),
        )

    def test_without_a_proof_there_is_no_use_in_a_range(self) -> None:
        for validator in WEAK, NONE:
            self.choice.prove(self.a, found(validator), kept=False)
            self.assertIsNone(self.ask(self.choice, self.a))
            self.assertFalse(self.choice.serves_parts(self.a))

    def test_nor_of_another_mirror(self) -> None:
        self.choice.compared(self.b, found(), 30)
        self.assertIsNone(self.ask(self.choice, self.b))

    def test_nothing_is_to_be_proven_where_nothing_is_kept(self) -> None:
        for each in self.a, self.b:
            self.assertEqual(
                segments.Request(5, 9, ranged=True),
                self.ask(self.choice, each, kept=False),
            )

    def test_a_checksum_stands_in_for_the_proof(self) -> None:
        # An If-Range would only have other nodes send all of it.
        self.joined.prove(self.a, found(), kept=False)
        for each in self.a, self.b:
            self.assertEqual(
                segments.Request(5, 9, ranged=True),
                self.ask(self.joined, each),
            )
            self.assertTrue(self.joined.serves_parts(each))

    def test_what_is_read_again_begins_where_it_was_compared(self) -> None:
        self.choice.compared(self.b, found(), 30)
        for each, agreed, expected in (
            (self.a, 0, segments.Request()),
            (self.a, 24, segments.Request()),
            (self.b, 0, segments.Request()),
            (self.b, 24, segments.Request(24, ranged=True, if_range='"a"')),
            (self.c, 24, segments.Request()),
        ):
            self.assertEqual(expected, self.choice.reread(each, agreed))
        self.choice.compared(self.b, found(WEAK), 30)
        self.assertEqual(segments.Request(), self.choice.reread(self.b, 24))

    def test_of_another_node_all_is_compared(self) -> None:
        self.choice.compared(self.b, found(), 30)
        for each in self.a, self.b:
            each.reread()
            self.assertIsNone(self.ask(self.choice, each))
            self.assertEqual(0, each.agreed)
        self.choice.prove(self.a, found(), kept=True)
        self.assertIsNotNone(self.ask(self.choice, self.a))

    def test_the_first_node_is_asked_again_when_that_was_in_vain(self) -> None:
        self.a.reread()
        self.a.failed(errors.ReceiveError('reset'), ranged=False)
        self.assertIsNotNone(self.ask(self.choice, self.a))


class TestLearning(SourcesTestCase):
    def asks_for_parts(self) -> bool:
        return self.choice.request(self.a, 5, None, True) is not None

    def test_learns_how_to_ask(self) -> None:
        self.assertTrue(
            self.a.learn(answer.Judgement(Verdict.ASK_WITHOUT_IF_RANGE))
        )
        self.assertEqual(
            segments.Request(5, None, ranged=True),
            self.choice.request(self.a, 5, None, True),
        )
        self.assertTrue(self.a.learn(answer.Judgement(Verdict.REREAD)))
        self.assertFalse(self.asks_for_parts())

    def test_other_verdicts_teach_nothing(self) -> None:
        for verdict in Verdict.ACCEPT, Verdict.REFUSE, Verdict.OTHER_NODE:
            self.assertFalse(self.a.learn(answer.Judgement(verdict)))

    def test_two_wrong_ranges_in_a_row_are_enough(self) -> None:
        wrong = errors.ContentRangeError('wrong')
        self.a.failed(wrong, ranged=True)
        self.assertTrue(self.asks_for_parts())
        self.a.failed(wrong, ranged=True)
        self.assertFalse(self.asks_for_parts())

    def test_a_right_one_between_starts_the_count_again(self) -> None:
        wrong = errors.ContentRangeError('wrong')
        for _time in range(3):
            self.a.failed(wrong, ranged=True)
            self.a.accepted(0.0)
        self.assertTrue(self.asks_for_parts())

    def reread_in_vain(self, ranges: bool | None) -> None:
        shown = answer.Representation(ranges=ranges)
        self.a.learn(answer.Judgement(Verdict.REREAD, pinned=shown))
        self.a.failed(errors.ReceiveError('reset'), ranged=False)

    def test_ranges_are_tried_again_when_a_reread_was_in_vain(self) -> None:
        self.reread_in_vain(True)
        self.assertTrue(self.asks_for_parts())

    def test_a_server_without_ranges_is_not_asked_again(self) -> None:
        self.reread_in_vain(None)
        self.assertFalse(self.asks_for_parts())

    def test_another_length_is_believed_the_third_time(self) -> None:
        for lengths, expected in (
            ([7, 7, 7, 7], [False, False, True, True]),
            ([7, 7, 8, 7, 7, 7], [False] * 5 + [True]),
        ):
            one = source()
            self.assertEqual(expected, [one.changed(n) for n in lengths])
        one = source()
        for length in 7, 7, 7:
            self.assertFalse(one.changed(length))
            one.accepted(0.0)

    def test_patience_grows_when_there_was_no_byte_in_time(self) -> None:
        stalled = errors.Stalled('silent')
        lost = errors.ReceiveError('reset')
        self.a.failed(lost, ranged=False, empty=True)
        self.a.failed(stalled, ranged=False, empty=False)
        patience = [self.a.patience]
        for _time in range(3):
            self.a.failed(stalled, ranged=False, empty=True)
            patience.append(self.a.patience)
        self.assertEqual([1, 2, 4, 4], patience)


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


class TestChoice(SourcesTestCase):
    def test_the_first_is_asked_first(self) -> None:
        self.assertIs(self.a, sources.Sources(self.all, False).best())

    def test_one_is_used_at_a_time_without_a_checksum(self) -> None:
        self.assertIs(self.a, self.choice.best(busy=[self.a] * 9))

    def test_all_are_used_with_a_checksum_by_their_speed(self) -> None:
        self.a.speed, self.b.speed, self.c.speed = 4e6, 2e6, 2e6
        busy: list[sources.Source] = []
        for _connection in range(8):
            best = self.joined.best(busy=busy)
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

    def test_the_owner_is_asked_for_more_whatever_befell_it(self) -> None:
        self.a.failed(errors.Stalled('slow'), ranged=True)
        self.assertIs(self.a, self.choice.best(busy=[]))
        self.assertIs(self.b, self.choice.best())
        self.a.error = errors.StatusError('gone')
        self.assertIs(self.b, self.choice.best(busy=[]))

    def test_one_without_ranges_is_used_last(self) -> None:
        self.a.learn(answer.Judgement(Verdict.REREAD))
        self.b.penalty = self.c.penalty = 5
        self.assertIs(self.b, self.joined.best())

    def test_none_gets_more_than_it_lets_in(self) -> None:
        for joined in False, True:
            a, b = source('a'), source('b')
            a.crowded(3)
            choice = sources.Sources([a, b], joined)
            choice.prove(a, found(), kept=False)
            a.speed, b.speed = 100, 1
            self.assertIs(a, choice.best(busy=[a]))
            other = choice.best(busy=[a, a])
            self.assertIs(b if joined else None, other)

    def test_one_that_wants_to_be_left_alone_is(self) -> None:
        self.assertEqual(math.inf, self.choice.wait(10))
        self.a.hold(20)
        self.a.hold(15)
        self.assertIsNone(self.choice.best(19, []))
        self.assertIs(self.a, self.choice.best(20, []))
        self.assertIs(self.b, self.joined.best(19, []))
        self.assertEqual(1, self.choice.wait(19))
        self.assertEqual(math.inf, self.choice.wait(20))

    def test_none_is_left_when_all_are_useless(self) -> None:
        for each in self.all:
            each.error = errors.StatusError('gone')
        self.assertIsNone(self.joined.best())
        self.assertEqual([], self.joined.usable)


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
