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

"""The rate limit is one budget, whatever the number of connections."""

from __future__ import annotations

import math
import time

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests.support import segmented


class TestRate(segmented.SegmentsTestCase):
    def assert_rate(self, rate: int, connections: int) -> None:
        """An image that takes 3 s comes in no less, and in little more."""
        self.name(content=harmful.Pattern(3 * rate)[0 : 3 * rate])
        # Where the machine is busy with something else it may be slower.
        least = math.inf
        for _try in range(3):
            seconds = self.seconds(rate, connections)
            self.assertGreater(seconds, 3 * 0.95)
            least = min(least, seconds)
            if least < 3 * 1.05:
                return
        self.assertLess(least, 3 * 5)

    def seconds(self, rate: int, connections: int) -> float:
        self.server.requests.clear()
        began = time.monotonic()
        outcome = self.assert_arrives(
            max_recv_speed=rate, connections=connections
        )
        seconds = time.monotonic() - began
        self.assertEqual(0, outcome.stats.stalls)
        # Who has to wait for the budget is not slow, and not taken over.
        if connections > 1:
            self.assert_each_segment_once()
        else:
            self.assertEqual([None], self.server.ranges)
        return seconds

    def test_one_connection(self) -> None:
        self.assert_rate(10 * MIB, 1)

    def test_four_connections(self) -> None:
        self.assert_rate(10 * MIB, 4)

    def test_slow(self) -> None:
        self.assert_rate(300 * KIB, 4)

    def test_below_the_low_speed_limit(self) -> None:
        # Of a server that waits for nobody, and of one about as slow.
        self.name(content=harmful.Pattern(4000)[0:4000])
        for answer in (faults.trickle(10**6), faults.trickle(2200)):
            self.server.requests.clear()
            outcome = self.assert_arrives(
                then=answer,
                connections=1,
                requests=1,
                max_recv_speed=2000,
                low_speed_limit=3000,
                low_speed_time=0.5,
            )
            self.assertEqual(0, outcome.stats.stalls)
            self.assertGreater(outcome.stats.seconds, 1.8)

    def test_dead_server_is_noticed_all_the_same(self) -> None:
        began = time.monotonic()
        self.assert_gives_up(
            errors.Stalled,
            faults.stall(300),
            connections=1,
            max_recv_speed=100_000,
            attempts=2,
        )
        self.assertLess(time.monotonic() - began, 15)

    def test_each_connection_gets_its_share(self) -> None:
        # A server would hang up on one that never takes anything: they have
        # to come to the end of their first segments together.
        length = 8 * segmented.SEGMENT
        self.name(content=harmful.Pattern(length)[0:length])
        self.assert_arrives(max_recv_speed=length // 2)
        self.assertEqual(8, len(self.server.requests))
        first, *_rest, fifth, _6, _7, _8 = self.server.requests
        # By itself, the first one would come to its end in 0.25 s.
        self.assertGreater(fifth.moment - first.moment, 0.35)
