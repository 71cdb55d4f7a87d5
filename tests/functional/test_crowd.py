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

"""A server that lets only so many connections in gets no more of them."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import segmented
from tests.support.segmented import SEGMENT

SEGMENTS = 40


class TestCrowd(segmented.SegmentsTestCase):
    connections = 16

    def setUp(self) -> None:
        super().setUp()
        length = SEGMENTS * SEGMENT - 99
        self.name(content=harmful.Pattern(length)[0:length])

    def check(self, most: int, refusal: faults.Fault) -> None:
        crowd = segmented.Crowd(most, refusal)
        outcome = self.assert_arrives(then=crowd, attempts=3)
        self.assertEqual(most, crowd.busiest)
        # All but ``most`` once; then one more now and then, not each time.
        self.assertLessEqual(crowd.refused, SEGMENTS)
        self.assertEqual(len(self.content), outcome.stats.received)
        self.assertNotIn(None, self.server.ranges)

    def test_too_many_requests(self) -> None:
        self.check(4, faults.status(429))

    def test_unavailable(self) -> None:
        self.check(3, faults.status(503, retry_after=60))

    def test_reset(self) -> None:
        self.check(4, faults.reset(0, in_head=True))

    def test_closed(self) -> None:
        self.check(5, faults.cut(0, in_head=True))

    def test_one_only(self) -> None:
        self.check(1, faults.status(503))

    def test_refused_in_the_middle_of_the_body(self) -> None:
        self.check(4, faults.reset(200))

    def test_nobody_is_let_in_any_more(self) -> None:
        crowd = segmented.Crowd(0, faults.status(503))
        script = [()] * 10
        self.assert_gives_up(
            errors.StatusError, *script, then=crowd, attempts=3
        )
        self.assertLessEqual(crowd.refused, 3 * self.connections)
