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

"""Several mirrors: one of them is enough, and none is mixed with another."""

from __future__ import annotations

import dataclasses

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine

WHOLE = engine.LENGTH


class TestMirrors(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.mirror = self.start_server()
        self.mirrors = [self.mirror.url()]

    def test_mirror_is_not_asked_without_need(self) -> None:
        self.assert_arrives(faults.reset(9000), mirrors=self.mirrors)
        self.assertEqual([], self.mirror.requests)

    def test_permanent_error_is_one_request_and_the_next_mirror(self) -> None:
        self.assert_arrives(
            then=faults.status(404), mirrors=self.mirrors, requests=1
        )
        self.assertEqual([None], self.mirror.ranges)

    def test_permanent_error_of_every_mirror_is_one_request_each(self) -> None:
        self.mirror.script(then=faults.status(403))
        self.assert_fails(
            errors.StatusError,
            faults.status(404),
            mirrors=self.mirrors,
            requests=1,
        )
        self.assertEqual(1, len(self.mirror.requests))

    def test_mirror_without_the_image_is_no_reason_to_give_up(self) -> None:
        # The first one fails, and would not have failed again.
        self.mirror.script(then=faults.status(404))
        self.assert_arrives(
            faults.status(500), mirrors=self.mirrors, requests=2
        )
        self.assertEqual(1, len(self.mirror.requests))

    def test_empty_answer_whose_end_nothing_proves(self) -> None:
        empty = [faults.http_1_0(), faults.body(harmful.Ending.CUT)]
        for checksum in (None, self.checksum()):
            self.assert_arrives(
                then=empty, mirrors=self.mirrors, checksum=checksum
            )
        # Where all say so, it is.
        self.mirror.script(then=empty)
        self.assert_arrives(then=empty, mirrors=self.mirrors, content=b'')

    def test_in_the_middle_the_beginning_is_compared(self) -> None:
        self.assert_arrives(
            self.cut_after_use(9000),
            then=faults.status(404),
            mirrors=self.mirrors,
            ranges=[None, 9000],
        )
        self.assertEqual([None], self.mirror.ranges)

    def test_in_the_middle_a_checksum_allows_a_range(self) -> None:
        self.assert_arrives(
            self.cut_after_use(9000),
            then=faults.status(404),
            mirrors=self.mirrors,
            checksum=self.checksum(),
        )
        self.assertEqual(['bytes=9000-'], self.mirror.ranges)

    def test_mirror_with_another_representation_is_not_joined(self) -> None:
        other = harmful.Pattern(WHOLE, seed=1)
        self.mirror.representations['/image'] = harmful.Representation(other)
        self.assert_fails(
            errors.RepresentationChanged,
            self.cut_after_use(9000),
            faults.status(404),
            mirrors=self.mirrors,
            chunk_size=1000,
        )

    def test_two_builds_that_begin_alike_are_not_mixed(self) -> None:
        # The second mirror brings a little that only it has; the first one
        # must not go on from there.
        other = self.content[:9000] + harmful.Pattern(WHOLE, 1)[9000:WHOLE]
        self.mirror.representations['/image'] = dataclasses.replace(
            self.image, content=other, etag='"2"'
        )
        self.mirror.script(faults.stall(9300), then=faults.status(500))
        self.server.script(
            self.cut_after_use(9000), faults.status(500), faults.status(500)
        )
        outcome = self.download(mirrors=self.mirrors, chunk_size=1000)
        if outcome.error is None:
            self.assertTrue(
                any(outcome.data == each for each in (self.content, other))
            )
        else:
            self.assertTrue(
                self.content.startswith(outcome.data)
                or other.startswith(outcome.data)
            )
        self.assertNotIn('bytes=9300-', self.server.ranges)
