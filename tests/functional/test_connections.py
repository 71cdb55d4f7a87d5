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

"""Several connections: the same bytes, the same errors, each byte once."""

from __future__ import annotations

import itertools
import time
import types
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl import octets
from fuel_agent_curl.engine import multi
from fuel_agent_curl.harmful import faults
from tests.support import segmented
from tests.support.segmented import ENDS
from tests.support.segmented import SEGMENT
from tools.bench import servers


class TestSegments(segmented.SegmentsTestCase):
    def test_each_segment_is_asked_for_once(self) -> None:
        for connections in (2, 4, 16):
            self.server.requests.clear()
            outcome = self.assert_arrives(connections=connections)
            self.assert_each_segment_once()
            self.assertEqual(len(self.content), outcome.stats.received)
            self.assertEqual(0, outcome.stats.resumes)

    def test_as_many_connections_as_asked_for(self) -> None:
        # Each answer waits for the others.
        for connections in (4, 10):
            self.server.requests.clear()
            before = self.server.connections
            self.assert_arrives(
                then=faults.stall(100, 0.3),
                connections=connections,
                low_speed_time=2,
            )
            self.assertLessEqual(connections, self.server.connections - before)

    def test_one_connection_asks_for_all(self) -> None:
        self.assert_arrives(connections=1, ranges=[None])

    def test_lengths_round_those_of_segments(self) -> None:
        for segments, more in itertools.product((0, 1, 2, 5), (-1, 0, 1)):
            length = segments * SEGMENT + more
            if length < 1:
                continue
            self.name(content=harmful.Pattern(length)[0:length])
            for connections in (4, 16):
                self.server.requests.clear()
                self.assert_arrives(
                    connections=connections, checksum=self.checksum()
                )
                self.assert_each_segment_once()

    def test_segments_of_an_odd_length(self) -> None:
        # No chunk of a reasonable length goes into them without a rest.
        for segment in (SEGMENT + 1, 3 * SEGMENT - 1, SEGMENT + 64):
            self.server.requests.clear()
            with self.fetch(
                segment_size=segment, chunk_size=16384
            ) as download:
                first = next(download)
                self.assertEqual(16384, len(first))
                data = first + b''.join(download)
            self.assert_same(self.content, data)
            self.assertLessEqual(len(self.server.requests), 14)

    def test_empty_image(self) -> None:
        # No range of it can be satisfied: 416, and asked again without.
        self.name(content=b'')
        for connections in (1, 4, 16):
            self.server.requests.clear()
            self.assert_arrives(connections=connections)
            self.assertLessEqual(len(self.server.requests), 2)

    def test_one_byte(self) -> None:
        self.name(content=b'x')
        for connections in (1, 4, 16):
            self.server.requests.clear()
            self.assert_arrives(connections=connections, requests=1)

    def test_segments_follow_the_consumer(self) -> None:
        # Nothing is asked for that has no room in the window.
        self.name(content=harmful.Pattern(64 * SEGMENT)[:])
        with self.fetch(window_size=6 * SEGMENT) as download:
            data = next(download)
            self.assertFalse(self.server.wait(8, 0.5))
            data += b''.join(download)
        self.assert_same(self.content, data)
        self.assert_each_segment_once()

    def test_a_full_window_is_filled_again_in_bursts(self) -> None:
        self.name(content=harmful.Pattern(64 * SEGMENT)[:])
        with self.fetch(window_size=32 * SEGMENT, connections=2) as download:
            data = next(download)
            until = time.monotonic() + 5
            while download.stats.received < 32 * SEGMENT:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.01)
            # It has been asked for more, in vain, by then.
            time.sleep(0.3)
            while len(data) < 7 * SEGMENT:
                data += next(download)
            # All but a quarter of it is there yet.
            self.assertFalse(self.server.wait(33, 0.5))
            while len(data) < 9 * SEGMENT:
                data += next(download)
            self.assertTrue(self.server.wait(40, 5))
            data += b''.join(download)
        self.assert_same(self.content, data)
        self.assert_each_segment_once()

    def test_a_window_that_is_short_is_filled_again_at_once(self) -> None:
        self.name(content=harmful.Pattern(64 * SEGMENT)[:])
        with self.fetch(window_size=6 * SEGMENT, connections=4) as download:
            data = next(download)
            self.assertTrue(self.server.wait(6, 5))
            while len(data) < SEGMENT:
                data += next(download)
            self.assertTrue(self.server.wait(7, 5))
            data += b''.join(download)
        self.assert_same(self.content, data)


class TestTurns(segmented.SegmentsTestCase):
    """Bytes of paced connections gather, so that a turn is worth it."""

    def setUp(self) -> None:
        super().setUp()
        self.turns = 0
        turn = multi.Loop.turn

        def counted(loop: multi.Loop, *how: Any) -> Any:
            self.turns += 1
            return turn(loop, *how)

        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.engine.multi.Loop.turn', counted
            )
        )

    def paced(self, connections: int) -> float:
        """Fetch so that it takes a second or more; return how many."""
        rate = octets.MIB
        with servers.paced(connections * rate, rate) as url:
            began = time.monotonic()
            with self.fetch(
                url, connections=connections, segment_size=rate
            ) as download:
                received = sum(map(len, download))
        self.assertEqual(connections * rate, received)
        return time.monotonic() - began

    def test_little_of_many_gathers(self) -> None:
        seconds = self.paced(16)
        self.assertLess(self.turns, 300 * seconds)

    def test_one_connection_waits_for_nothing(self) -> None:
        slept: list[float] = []
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.engine.multi.time',
                types.SimpleNamespace(
                    monotonic=time.monotonic, sleep=slept.append
                ),
            )
        )
        self.paced(1)
        self.assertEqual([], slept)
        self.paced(4)
        self.assertGreater(len(slept), 0)


class TestConsumer(segmented.SegmentsTestCase):
    def test_slow_consumer_is_not_a_slow_server(self) -> None:
        for connections in (4, 16):
            self.server.requests.clear()
            with self.fetch(
                window_size=6 * SEGMENT, connections=connections
            ) as download:
                data = b''
                for chunk in download:
                    if len(data) % (5 * SEGMENT) == 0:
                        # Twice low_speed_time.
                        time.sleep(1)
                    data += chunk
                stats = download.stats
            self.assert_same(self.content, data)
            self.assertEqual((10, 0), (stats.attempts, stats.stalls))

    def test_no_more_is_fetched_than_the_window_holds(self) -> None:
        self.name(content=harmful.Pattern(1 << 30))
        for connections in (4, 16):
            with self.fetch(
                connections=connections,
                segment_size=1 << 20,
                window_size=1 << 23,
                chunk_size=1 << 16,
            ) as download:
                next(download)
                time.sleep(0.5)
                self.assertLessEqual(
                    download.stats.received, (1 << 23) + (1 << 16)
                )

    def test_closed_early(self) -> None:
        # That nothing stays behind is looked at after each test.
        self.name(content=harmful.Pattern(1 << 30))
        for at in (0, 1, 20):
            for answer in ((), faults.stall(30_000)):
                self.server.script(then=answer)
                download = self.fetch(connections=16)
                for _chunk in range(at if answer == () else 0):
                    next(download)
                download.close()
                self.assertRaises(errors.Error, list, download)


class TestOneAnswerIsEnough(segmented.SegmentsTestCase):
    """A server that cannot serve segments is asked as one connection is."""

    def check(self, requests: int, *answer: faults.Fault, **how: Any) -> None:
        for connections in (4, 16):
            self.server.requests.clear()
            self.assert_arrives(
                then=answer,
                connections=connections,
                requests=requests,
                **how,
            )

    def test_no_ranges(self) -> None:
        self.name(ranges=False)
        self.check(1)
        self.assertIn('one connection', self.log.output)

    def test_ranges_ignored(self) -> None:
        self.check(1, faults.ignore_range())

    def test_accept_ranges_none(self) -> None:
        self.name(ranges=False)
        self.check(1, faults.field('Accept-Ranges', 'none'))

    def test_whole_answer_without_a_length(self) -> None:
        for framing in (faults.chunked(), faults.http_1_0()):
            self.check(1, faults.ignore_range(), framing)

    def test_weak_or_no_validator(self) -> None:
        for etag in (None, 'W/"1"'):
            self.name(etag=etag, last_modified=None)
            self.check(2)
            self.assertIsNone(self.server.ranges[-1])

    def test_checksum_in_place_of_a_validator(self) -> None:
        for etag in (None, 'W/"1"'):
            self.name(etag=etag, last_modified=None)
            for connections in (4, 16):
                self.server.requests.clear()
                self.assert_arrives(
                    connections=connections, checksum=self.checksum()
                )
                self.assert_each_segment_once()

    def test_first_part_without_its_range(self) -> None:
        for text in (
            None,
            '',
            'bytes */*',
            'bytes {first}-{last}/*',
            'nonsense',
        ):
            self.check(2, faults.content_range(text))

    def test_whole_answer_is_resumed_like_one_connection(self) -> None:
        self.assert_arrives(
            [faults.ignore_range(), faults.cut(100_000)],
            ranges=['bytes=0-%d' % (SEGMENT - 1), 100_000],
        )

    def test_no_ranges_and_cut(self) -> None:
        self.name(ranges=False)
        for harm in ENDS:
            self.server.requests.clear()
            self.assert_arrives(harm(100_000), harm(200_000))
            self.assertLessEqual(len(self.server.requests), 4)
