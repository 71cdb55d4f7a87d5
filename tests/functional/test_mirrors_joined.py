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

"""Segments from several mirrors, joined as a checksum decides."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine
from tests.support import segmented
from tests.support.segmented import BySegment
from tests.support.segmented import LENGTH
from tests.support.segmented import SEGMENT

OTHER = harmful.Pattern(LENGTH, seed=1)[0:LENGTH]


class MirrorsTestCase(segmented.SegmentsTestCase):
    """Two servers with the same image.

    :ivar mirror: the second one.
    """

    def setUp(self) -> None:
        super().setUp()
        self.mirror = self.start_server()

    def download(self, url: str | None = None, **how: Any) -> engine.Outcome:
        how.setdefault('mirrors', [self.mirror.url()])
        self.mirror.requests.clear()
        self.server.requests.clear()
        return super().download(url, **how)

    def assert_not_asked_for_all(self) -> None:
        """Nobody fell back to one connection."""
        self.assertNotIn(None, self.server.ranges + self.mirror.ranges)
        self.assertNotIn('one connection', self.log.output)

    def more(self, segments: int) -> None:
        """Make the image longer."""
        length = segments * SEGMENT - 77
        self.name(content=harmful.Pattern(length)[0:length])
        self.mirror.representations['/image'] = self.image


class TestJoined(MirrorsTestCase):
    def download(self, url: str | None = None, **how: Any) -> engine.Outcome:
        how.setdefault('checksum', self.checksum())
        # Nobody is given up, nor asked as well, because the machine is busy.
        how.setdefault('low_speed_time', 20)
        return super().download(url, **how)

    def test_each_segment_comes_from_one_of_them(self) -> None:
        third = self.start_server()
        outcome = self.assert_arrives(
            mirrors=[self.mirror.url(), third.url()], connections=6
        )
        servers = (self.server, self.mirror, third)
        self.assert_each_segment_once(*servers)
        for server in servers:
            stats = outcome.stats.mirrors[server.url()]
            self.assertLess(0, len(server.requests))
            self.assertEqual(len(server.requests), stats.attempts)
            self.assertEqual(0, stats.failures)
        received = [each.received for each in outcome.stats.mirrors.values()]
        self.assertEqual(LENGTH, sum(received))

    def test_the_faster_one_gets_more(self) -> None:
        self.more(40)
        self.mirror.script(then=faults.stall(0, 0.5))
        self.assert_arrives(then=faults.stall(0, 0.02), connections=4)
        self.assertLess(
            2 * len(self.mirror.requests), len(self.server.requests)
        )
        self.assertLessEqual(2, len(self.mirror.requests))

    def test_validators_of_two_do_not_compare(self) -> None:
        for etag in ('"2"', 'W/"1"', None):
            self.mirror.representations['/image'] = dataclasses.replace(
                self.image, etag=etag, last_modified=None
            )
            self.assert_arrives()
            self.assertLess(0, len(self.mirror.requests))
            self.assert_each_segment_once(self.server, self.mirror)
            self.assertNotIn('"1"', self.mirror.if_ranges)

    def test_dead_one(self) -> None:
        dead = 'http://127.0.0.1:%d/image' % (
            self.useFixture(endpoints.ClosedPort()).port
        )
        self.more(40)
        for url, mirrors in (
            (self.server.url(), [dead]),
            (dead, [self.server.url()]),
        ):
            before = self.server.connections
            outcome = self.assert_arrives(
                then=faults.stall(0, 0.02), url=url, mirrors=mirrors
            )
            self.assert_each_segment_once()
            self.assertLessEqual(outcome.stats.mirrors[dead].attempts, 4)
            # As many connections as ever.
            self.assertLessEqual(4, self.server.connections - before)

    def test_one_without_the_image(self) -> None:
        for code in (403, 404, 410):
            self.mirror.script(then=faults.status(code))
            self.assert_arrives()
            self.assert_each_segment_once()
            # What was asked at the same time.
            self.assertLessEqual(len(self.mirror.requests), 3)

    def test_one_that_stalls(self) -> None:
        for at in (0, 1000, 30_000):
            self.mirror.script(then=faults.stall(at))
            began = time.monotonic()
            self.assert_arrives()
            self.assertLess(time.monotonic() - began, 15)
            self.assertLessEqual(len(self.mirror.requests), 4)

    def test_one_that_stalls_with_one_connection(self) -> None:
        self.mirror.script(then=faults.stall(1000))
        url = self.mirror.url()
        outcome = self.assert_arrives(
            url=url,
            mirrors=[self.server.url()],
            connections=1,
            low_speed_time=0.5,
        )
        self.assertEqual([None], self.mirror.ranges)
        self.assertEqual(['bytes=1000-'], self.server.ranges)
        self.assertEqual(1, outcome.stats.mirrors[url].failures)

    def test_one_that_resets(self) -> None:
        for at in (100, 20_000):
            self.mirror.script(then=faults.reset(at))
            outcome = self.assert_arrives()
            self.assertEqual(LENGTH, outcome.stats.received)
            self.assert_not_asked_for_all()

    def test_one_of_another_length(self) -> None:
        for length in (LENGTH + 1, LENGTH - 1, 1000, 0):
            self.mirror.representations['/image'] = dataclasses.replace(
                self.image, content=harmful.Pattern(length)[0:length]
            )
            self.assert_arrives()
            self.assertLess(0, len(self.mirror.requests))
            self.assertLessEqual(len(self.mirror.requests), 4)
            self.assert_not_asked_for_all()

    def test_one_that_changes(self) -> None:
        # The rest comes from the other one.
        for if_range in ((), (faults.ignore_if_range(),)):
            other = dataclasses.replace(self.image, etag='"2"')
            self.mirror.script((), then=[faults.serve(other), *if_range])
            self.assert_arrives()
            self.assert_not_asked_for_all()

    def test_one_without_ranges(self) -> None:
        for answer in (
            faults.ignore_range(),
            faults.multipart(),
            faults.content_range(None),
            faults.content_range('bytes {first}-{last}/*'),
        ):
            self.mirror.script(then=answer)
            self.assert_arrives()
            self.assertLess(0, len(self.mirror.requests))
            self.assertLessEqual(len(self.mirror.requests), 6)
            self.assert_not_asked_for_all()

    def test_one_that_sends_something_else(self) -> None:
        # Nothing but the checksum of all can tell.
        self.mirror.representations['/image'] = dataclasses.replace(
            self.image, content=OTHER
        )
        outcome = self.download()
        self.assertIsInstance(outcome.error, errors.DigestMismatch)
        self.assertLess(len(outcome.data), LENGTH)

    def test_each_lets_in_a_few(self) -> None:
        self.more(40)
        for server in (self.server, self.mirror):
            server.script(then=segmented.Crowd(2, faults.status(503)))
        outcome = self.assert_arrives_as_scripted(connections=8)
        self.assertLessEqual(outcome.stats.attempts, 40 + 8 + 12)

    def assert_arrives_as_scripted(self, **how: Any) -> engine.Outcome:
        outcome = self.download(**how)
        if outcome.error is not None:
            raise outcome.error
        self.assert_same(self.content, outcome.data)
        return outcome

    def test_permanent_error_of_all_is_one_request_each(self) -> None:
        self.mirror.script(then=faults.status(404))
        self.assert_fails(errors.StatusError, faults.status(403), requests=1)
        self.assertEqual(1, len(self.mirror.requests))

    def test_one_that_fails_is_used_last(self) -> None:
        third = self.start_server()
        self.mirror.script(faults.reset(20_000), then=faults.status(500))
        self.assert_arrives(
            faults.stall(1000),
            connections=1,
            mirrors=[self.mirror.url(), third.url()],
        )
        self.assertEqual([None], self.server.ranges)
        # After what has brought something it is asked again.
        self.assertEqual(['bytes=1000-', 'bytes=21000-'], self.mirror.ranges)
        self.assertEqual(['bytes=21000-'], third.ranges)

    def test_in_the_order_given(self) -> None:
        third = self.start_server()
        asked = []
        for server in (self.server, third, self.mirror):
            server.script(then=faults.status(404))
        outcome = self.download(
            mirrors=[third.url(), self.mirror.url()], connections=1
        )
        self.assertIsInstance(outcome.error, errors.StatusError)
        for server in (self.server, third, self.mirror):
            asked += server.requests
        moments = [request.moment for request in asked]
        self.assertEqual(sorted(moments), moments)
        self.assertEqual(3, len(moments))


class TestOneAtATime(MirrorsTestCase):
    """Without a checksum the mirrors are not to be mixed."""

    def serve_other(self) -> None:
        """Let the mirror serve other bytes under the same validator."""
        self.mirror.representations['/image'] = dataclasses.replace(
            self.image, content=OTHER
        )

    def test_the_other_is_not_asked_without_need(self) -> None:
        self.assert_arrives()
        self.assertEqual([], self.mirror.requests)

    def test_the_other_is_not_asked_for_what_one_connection_suffers(
        self,
    ) -> None:
        for harm in (
            faults.stall(1000),
            faults.reset(1000),
            faults.reset(0, in_head=True),
            faults.status(503),
        ):
            self.assert_arrives(then=BySegment({4: [harm]}))
            self.assertEqual([], self.mirror.requests)

    def test_the_other_is_asked_when_it_fails_again_and_again(self) -> None:
        script = BySegment({4: [faults.status(500)] * 999})
        self.assert_arrives(then=script, attempts=999)
        self.assertLess(900, script.left)
        self.assertIsNone(self.mirror.ranges[0])

    def test_first_segment_fails_over_others_are_there(self) -> None:
        # Nothing was handed on: all of it may come from the other one.
        self.serve_other()
        script = BySegment({0: [faults.cut(100), faults.status(404)]})
        self.assert_arrives(then=script, content=OTHER)

    def test_one_segment_fails_over(self) -> None:
        for same in (True, False):
            if not same:
                self.serve_other()
            for segment in (1, 4, 9):
                script = BySegment({segment: [faults.status(404)]})
                self.server.script(then=script)
                outcome = self.download()
                if same or outcome.error is None:
                    self.assertIsNone(outcome.error)
                    self.assertIn(outcome.data, (OTHER, self.content), 'mixed')
                    continue
                self.assertIsInstance(
                    outcome.error, errors.RepresentationChanged
                )
                self.assert_same(
                    self.content[: len(outcome.data)], outcome.data
                )

    def test_failed_over_in_use(self) -> None:
        self.serve_other()
        script = BySegment(
            {0: [self.cut_after_use(10_000), faults.status(404)]}
        )
        outcome = self.assert_fails(errors.RepresentationChanged, then=script)
        self.assertLessEqual(len(outcome.data), 10_000)

    def test_the_first_is_gone_in_the_middle(self) -> None:
        script = BySegment(
            {0: [self.cut_after_use(10_000)]}, then=faults.status(404)
        )
        self.assert_arrives(then=script)
        # It is read again, and compared; what follows comes in segments.
        self.assertIsNone(self.mirror.ranges[0])
        self.assertNotIn(None, self.mirror.ranges[1:])
        self.assertLess(1, len(self.mirror.ranges))

    def test_asked_again_after_a_wait(self) -> None:
        # Both fail and come back; what each has proven before is nothing
        # to the other.
        self.serve_other()
        for count in (1, 2, 3):
            self.server.script(
                self.cut_after_use(10_000), *[faults.status(500)] * count
            )
            self.mirror.script(
                faults.stall(100), faults.status(500), then=faults.stall(9000)
            )
            for connections in (1, 4):
                outcome = self.download(connections=connections)
                wholes = [
                    whole
                    for whole in (self.content, OTHER)
                    if whole.startswith(outcome.data)
                ]
                self.assertNotEqual([], wholes, 'mixed')
                if outcome.error is None:
                    self.assertEqual(LENGTH, len(outcome.data))
