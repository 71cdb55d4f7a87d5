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

"""A representation that changes while it is downloaded."""

from __future__ import annotations

import dataclasses
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import server as harmful_server
from tests.support import engine

WHOLE = engine.LENGTH


class TestChanged(engine.EngineTestCase):
    def other(self, length: int = WHOLE, **how: Any) -> harmful.Representation:
        content = harmful.Pattern(length, seed=1)[0:length]
        return harmful.Representation(content, **{'etag': '"2"', **how})

    def test_with_if_range_honoured(self) -> None:
        for length in (WHOLE, WHOLE - 1, WHOLE + 1, 8000, 9000, 9001, 0):
            other = self.other(length)
            self.server.requests.clear()
            outcome = self.assert_fails(
                errors.RepresentationChanged,
                self.cut_after_use(9000),
                faults.serve(other),
                chunk_size=1000,
            )
            self.assertLessEqual(len(outcome.data), 9000)

    def test_with_if_range_ignored(self) -> None:
        for length in (WHOLE, WHOLE - 1, WHOLE + 1, 8000, 9000, 9001, 0):
            other = self.other(length)
            self.server.requests.clear()
            self.server.script(
                self.cut_after_use(9000),
                then=[faults.serve(other), faults.ignore_if_range()],
            )
            outcome = self.download(chunk_size=1000)
            self.assertIsNotNone(outcome.error)
            self.assert_same(self.content[: len(outcome.data)], outcome.data)
            self.assertLessEqual(len(outcome.data), 9000)

    def test_by_date_only(self) -> None:
        later = 'Thu, 02 Jan 2020 00:00:00 GMT'
        other = self.other(etag=None, last_modified=later)
        self.name(etag=None)
        for more in ((), (faults.ignore_if_range(),)):
            self.server.requests.clear()
            self.assert_fails(
                errors.RepresentationChanged,
                self.cut_after_use(9000),
                [faults.serve(other), *more],
                chunk_size=1000,
            )

    def test_weak_entity_tag_changes(self) -> None:
        self.name(etag='W/"1"')
        for ranges in (True, False):
            self.server.requests.clear()
            self.assert_fails(
                errors.RepresentationChanged,
                self.cut_after_use(9000),
                faults.serve(self.other(etag='W/"2"', ranges=ranges)),
                chunk_size=1000,
            )

    def test_without_validator_the_bytes_are_compared(self) -> None:
        self.name(etag=None, last_modified=None)
        for ranges in (True, False):
            other = self.other(etag=None, last_modified=None, ranges=ranges)
            self.server.requests.clear()
            self.assert_fails(
                errors.RepresentationChanged,
                self.cut_after_use(9000),
                faults.serve(other),
                chunk_size=1000,
            )

    def test_one_byte_handed_on_is_another(self) -> None:
        self.name(etag=None, last_modified=None)
        for at in (0, 500, 999):
            self.server.requests.clear()
            self.server.script(self.cut_after_use(9000), then=faults.flip(at))
            outcome = self.download(chunk_size=1000)
            self.assertIsInstance(outcome.error, errors.RepresentationChanged)
            self.assert_same(self.content[: len(outcome.data)], outcome.data)

    def test_validator_gone_is_no_proof(self) -> None:
        same = dataclasses.replace(self.image, etag=None, last_modified=None)
        self.assert_arrives(
            self.cut_after_use(9000),
            then=[faults.serve(same), faults.ignore_if_range()],
        )
        self.assertIsNone(self.server.ranges[-1])

    def test_validator_gone_and_the_bytes_are_others(self) -> None:
        other = self.other(etag=None, last_modified=None)
        self.assert_fails(
            errors.RepresentationChanged,
            self.cut_after_use(9000),
            [faults.serve(other), faults.ignore_if_range()],
            chunk_size=1000,
        )

    def test_validator_becomes_weak(self) -> None:
        same = dataclasses.replace(self.image, etag='W/"1"')
        self.assert_arrives(
            self.cut_after_use(9000),
            then=[faults.serve(same), faults.ignore_if_range()],
        )

    def test_same_entity_tag_on_other_bytes_is_found_by_checksum(self) -> None:
        other = self.other(etag='"1"')
        self.server.script(self.cut_after_use(9000), then=faults.serve(other))
        outcome = self.download(checksum=self.checksum(), chunk_size=1000)
        self.assertIsInstance(outcome.error, errors.DigestMismatch)
        self.assertLess(len(outcome.data), WHOLE)

    def test_before_anything_was_handed_on_it_begins_again(self) -> None:
        for at in (0, 1, 900):
            other = self.other(WHOLE - 5)
            for more in ((), (faults.ignore_if_range(),)):
                self.server.requests.clear()
                self.assert_arrives(
                    faults.cut(at),
                    then=[faults.serve(other), *more],
                    content=bytes(other.content[0 : WHOLE - 5]),
                    chunk_size=100_000,
                    attempts=6,
                )

    def test_back_and_forth_between_two(self) -> None:
        # A balancer in front of two servers that disagree.
        other = self.other()
        answers: list[harmful_server.Answer] = [faults.serve(other), ()]
        self.server.script(self.cut_after_use(9000), *answers * 5)
        outcome = self.download(chunk_size=1000)
        if outcome.error is None:
            self.assert_same(self.content, outcome.data)
        else:
            self.assert_same(self.content[: len(outcome.data)], outcome.data)

    def test_checksum_decides_before_the_last_chunk(self) -> None:
        wrong = 'sha256:' + '0' * 64
        outcome = self.assert_fails(
            errors.DigestMismatch, checksum=wrong, requests=1
        )
        self.assertLess(len(outcome.data), WHOLE)
        outcome = self.assert_fails(
            errors.DigestMismatch, checksum=wrong, chunk_size=100_000
        )
        self.assertEqual(b'', outcome.data)

    def test_before_anything_was_handed_on_with_several_connections(
        self,
    ) -> None:
        self.name(content=harmful.Pattern(400_021)[0:400_021])
        other = self.other(400_000)
        self.assert_arrives(
            faults.stall(100),
            then=faults.serve(other),
            content=other.content[0:400_000],
            connections=4,
            segment_size=65536,
            chunk_size=65536,
        )

    def test_in_parts_after_it_has_changed(self) -> None:
        """A part that brings bytes is none that has failed.

        Also where, of what was there before, more was.
        """
        self.name(content=harmful.Pattern(400_021)[0:400_021])
        other = self.other(400_000)

        def capped(handler: faults.Handler) -> faults.Handler:
            return lambda request, image: handler(
                request.having('Range', part(request.range or '')), image
            )

        def part(range_: str) -> str:
            first, last = map(int, range_.removeprefix('bytes=').split('-'))
            return 'bytes=%d-%d' % (first, min(last, first + 4999))

        self.assert_arrives(
            faults.cut(60_000),
            then=[faults.serve(other), capped],
            content=other.content[0:400_000],
            connections=4,
            segment_size=65536,
            chunk_size=65536,
            attempts=6,
        )
