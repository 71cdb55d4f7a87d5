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


"""Tests of segments: the text of a Range."""

from __future__ import annotations

from fuel_agent_curl.rules import segments
from tests import base


class TestRangeText(base.TestCase):
    def test_both_positions_are_inclusive_on_the_wire(self) -> None:
        """RFC 9110 section 14.1.2."""
        for start, stop, expected in (
            (0, None, 'bytes=0-'),
            (5, None, 'bytes=5-'),
            (0, 1, 'bytes=0-0'),
            (0, 500, 'bytes=0-499'),
            (500, 1000, 'bytes=500-999'),
            (999, 1000, 'bytes=999-999'),
            (2**40, None, 'bytes=1099511627776-'),
            (2**62, 2**63 - 1, 'bytes=%d-%d' % (2**62, 2**63 - 2)),
        ):
            self.assertEqual(expected, segments.range_text(start, stop))


class TestDefaults(base.TestCase):
    def test_a_segment_is_all_there_is(self) -> None:
        self.assertEqual(segments.Segment(0, None), segments.Segment())

    def test_a_request_is_for_all_there_is(self) -> None:
        self.assertEqual(
            segments.Request(0, None, ranged=False, if_range=None),
            segments.Request(),
        )
