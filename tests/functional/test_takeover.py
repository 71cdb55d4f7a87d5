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

"""The oldest segment never waits for a slow connection."""

from __future__ import annotations

import itertools
import random
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import server as harmful_server
from fuel_agent_curl.octets import MIB
from tests.support import segmented
from tests.support.segmented import BySegment
from tests.support.segmented import LENGTH
from tests.support.segmented import SEGMENT

#: The segment that is slow.
SLOW = 3
FIRST = SLOW * SEGMENT


class TestTakeover(segmented.SegmentsTestCase):
    def assert_taken_over(
        self,
        slow: harmful_server.Answer,
        *then: harmful_server.Answer,
        within: float = 3.0,
        **how: Any,
    ) -> list[harmful.Request]:
        """A slow answer to one segment is not waited for.

        :param then: the answers to the next requests for that segment.
        :return: the requests for it.
        """
        script = BySegment({SLOW: [slow, *then]})
        self.server.requests.clear()
        began = time.monotonic()
        how = {'low_speed_time': 20, **how}
        outcome = self.assert_arrives(then=script, **how)
        self.assertLess(time.monotonic() - began, within)
        self.assertEqual(0, script.left)
        self.assertEqual(0, outcome.stats.stalls)
        self.assertNotIn(None, self.server.ranges)
        return [
            request
            for request in self.server.requests
            if segmented.begin(request) // SEGMENT == SLOW
        ]

    def test_stall(self) -> None:
        for at in (1, 1000, 4096, 30_000, SEGMENT - 1):
            _slow, taker = self.assert_taken_over(faults.stall(at))
            # Nothing that is here already is asked for.
            self.assertEqual(
                'bytes=%d-%d' % (FIRST + at, FIRST + SEGMENT - 1), taker.range
            )

    def test_stall_before_the_body(self) -> None:
        for stall in (
            faults.stall(0),
            faults.stall(0, in_head=True),
            faults.stall(30, in_head=True),
        ):
            slow, taker = self.assert_taken_over(stall)
            self.assertEqual(slow.range, taker.range)

    def test_drip(self) -> None:
        self.assert_taken_over(faults.trickle(5000, at=1000))
        self.assert_taken_over(faults.trickle(100, in_head=True))

    def test_stall_of_the_first_and_of_the_last_segment(self) -> None:
        for segment in (0, 9):
            self.server.script(then=BySegment({segment: [faults.stall(500)]}))
            began = time.monotonic()
            outcome = self.download(low_speed_time=20)
            self.assertLess(time.monotonic() - began, 15)
            self.assert_same(self.content, outcome.data)

    def test_challenger_for_the_first_segment_that_has_no_ranges(self) -> None:
        self.assert_arrives(
            then=BySegment({0: [faults.stall(500), faults.ignore_range()]}),
            low_speed_time=2,
        )

    def test_only_segments_that_are_slow_are_asked_for_again(self) -> None:
        self.assert_taken_over(faults.stall(1000))
        self.assertEqual(11, len(self.server.requests))

    def test_from_one_stall_to_the_next(self) -> None:
        requests = self.assert_taken_over(
            *[faults.stall(10_000)] * 4, within=10
        )
        self.assertEqual(
            [FIRST + at * 10_000 for at in range(5)],
            [segmented.begin(request) for request in requests],
        )

    def test_challenger_that_fails_does_no_harm(self) -> None:
        other = harmful.Representation(
            harmful.Pattern(LENGTH + 1, seed=1)[:], etag='"2"'
        )
        bad: tuple[harmful_server.Answer, ...] = (
            faults.status(404),
            faults.status(403),
            faults.status(503),
            faults.status(416),
            faults.reset(0, in_head=True),
            faults.cut(0),
            faults.head(b'garbage\r\n\r\n'),
            faults.move_range(1),
            faults.content_range(None),
            faults.content_range('bytes {first}-{last}/*'),
            faults.multipart(),
            faults.ignore_range(),
            faults.refuse_if_range(),
            faults.field('ETag', None),
            faults.content_length('-1'),
            faults.redirect(None),
            faults.serve(other),
            [faults.serve(other), faults.ignore_if_range()],
        )
        for answer in bad:
            # Slow, but not too slow to get there by itself.
            self.assert_taken_over(faults.trickle(60_000), answer)

    def test_challenger_that_fails_right_after_its_first_bytes(self) -> None:
        # It has won by then, whatever comes next.
        for harm in (faults.cut, faults.reset):
            for at in (1, 100, 5000):
                self.assert_taken_over(faults.stall(1000), harm(at), harm(at))

    def test_challenger_that_begins_early(self) -> None:
        self.assert_taken_over(faults.stall(20_000), faults.move_range(-1000))

    def test_challenger_that_gets_less_than_the_other_has(self) -> None:
        self.assert_taken_over(
            faults.trickle(40_000),
            [faults.cap_range(10), faults.stall(0, 0.2)],
        )

    def test_as_slow_as_the_other_is_asked_a_few_times_only(self) -> None:
        script = BySegment({SLOW: [faults.trickle(30_000)] * 99})
        outcome = self.assert_arrives(then=script, low_speed_time=20)
        self.assertLessEqual(99 - script.left, 7)
        self.assertLess(outcome.stats.received, 2 * LENGTH)

    def test_each_one_drips_and_stalls(self) -> None:
        # Never ahead by as much as counts: it is a dead server.
        script = BySegment({SLOW: [faults.stall(10)] * 999})
        began = time.monotonic()
        outcome = self.assert_gives_up(
            errors.Stalled, then=script, low_speed_time=0.3
        )
        self.assertLess(time.monotonic() - began, 15)
        self.assertLess(999 - script.left, 20)
        self.assertEqual(FIRST, len(outcome.data))

    def test_only_one_works_and_it_is_slow(self) -> None:
        # As long as it brings what counts, it is waited for.
        script = BySegment({SLOW: [faults.trickle(20_000)]}, then=())
        self.server.script(then=script)
        outcome = self.assert_arrives(then=script, connections=2)
        self.assertEqual(0, outcome.stats.stalls)

    def test_random_speeds(self) -> None:
        for seed in range(6):
            dice = random.Random(seed)
            answers = {
                segment: [
                    faults.trickle(dice.choice((80_000, 300_000, 10**6)))
                    if dice.random() < 0.7
                    else faults.stall(dice.randrange(SEGMENT))
                    for _request in range(3)
                ]
                for segment in dice.sample(range(10), 4)
            }
            outcome = self.assert_arrives(
                then=BySegment(answers),
                connections=dice.choice((2, 4, 16)),
                low_speed_time=2,
                checksum=dice.choice((None, self.checksum())),
            )
            self.assertLess(outcome.stats.received, 2 * LENGTH)


class TestPieces(segmented.SegmentsTestCase):
    """Of a long segment, as many as there are bring a piece each."""

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(16 * MIB)[:])

    def test_rest_is_brought_by_several(self) -> None:
        for at in (0, 1000, MIB // 2, 3 * MIB // 2, 3 * MIB, 4 * MIB - 1):
            stop = 8 * MIB
            first = 4 * MIB + at
            cut = (first + 3 * MIB // 2) // MIB * MIB
            pieces = [first, *range(cut, stop, MIB)]
            expected = [
                'bytes=%d-%d' % (begin, end - 1)
                for begin, end in itertools.pairwise([*pieces, stop])
            ]
            self.server.requests.clear()
            began = time.monotonic()
            outcome = self.assert_arrives(
                then=BySegment({4 * MIB // SEGMENT: [faults.stall(at)]}),
                segment_size=4 * MIB,
                window_size=16 * MIB,
                low_speed_time=20,
            )
            self.assertLess(time.monotonic() - began, 15)
            self.assertEqual(0, outcome.stats.stalls)
            asked = [str(request.range) for request in self.server.requests]
            whole = [
                'bytes=%d-%d' % (at, at + 4 * MIB - 1)
                for at in range(0, 16 * MIB, 4 * MIB)
            ]
            self.assertEqual(sorted(whole + expected), sorted(asked))

    def test_slow_one_is_waited_for_where_nobody_else_gets_in(self) -> None:
        first = 4 * MIB // SEGMENT
        for status in (403, 503):
            refusals = {
                first + at: [faults.status(status)] * 9
                for at in range(4 * MIB // SEGMENT)
            }
            refusals[first].insert(0, faults.trickle(1_500_000))
            self.assert_arrives(
                then=BySegment(refusals),
                segment_size=4 * MIB,
                window_size=16 * MIB,
                low_speed_time=20,
                attempts=3,
            )

    def test_slow_one_that_gets_past_the_cut_before_the_other_begins(
        self,
    ) -> None:
        first = 4 * MIB // SEGMENT
        late = {
            first + at: [faults.stall(0, 1.5)]
            for at in range(1, MIB // SEGMENT)
        }
        outcome = self.assert_arrives(
            then=BySegment({first: [faults.trickle(1_500_000)], **late}),
            segment_size=4 * MIB,
            window_size=16 * MIB,
            low_speed_time=20,
        )
        self.assertLess(outcome.stats.received, 18 * MIB)
