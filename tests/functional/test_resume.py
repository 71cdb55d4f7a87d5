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

"""Resuming: every byte once, in order, of one representation."""

from __future__ import annotations

from collections.abc import Callable
import itertools
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import messages
from tests.support import engine

WHOLE = engine.LENGTH


class TestResume(engine.EngineTestCase):
    def test_reset_mid_body(self) -> None:
        outcome = self.assert_arrives(
            faults.reset(9000),
            ranges=[None, 9000],
            if_ranges=[None, '"1"'],
        )
        self.assertEqual([errors.ReceiveError], outcome.retries)
        self.assertEqual(2, outcome.stats.attempts)
        self.assertEqual(1, outcome.stats.resumes)
        self.assertEqual(0, outcome.stats.stalls)
        self.assertEqual(WHOLE, outcome.stats.received)
        (mirror,) = outcome.stats.mirrors.values()
        self.assertEqual(
            (2, WHOLE, 1), (mirror.attempts, mirror.received, mirror.failures)
        )

    def test_close_mid_body(self) -> None:
        self.assert_arrives(
            faults.cut(9000), ranges=[None, 9000], if_ranges=[None, '"1"']
        )

    def test_reset_again_and_again(self) -> None:
        outcome = self.assert_arrives(
            then=faults.reset(5000),
            ranges=[None, *range(5000, WHOLE, 5000)],
            if_ranges=[None, *['"1"'] * 10],
        )
        self.assertEqual(WHOLE, outcome.stats.received)

    def test_reset_at_every_mebibyte(self) -> None:
        mib = 1 << 20
        self.name(content=harmful.Pattern(8 * mib + 17))
        outcome = self.assert_arrives(
            then=faults.reset(mib),
            chunk_size=mib,
            ranges=[None, *(n * mib for n in range(1, 9))],
        )
        self.assertEqual(8 * mib + 17, outcome.stats.received)

    def test_no_wait_after_progress(self) -> None:
        self.assert_arrives(
            then=faults.reset(5000), backoff=20, backoff_max=60
        )

    def test_date_is_a_validator_where_there_is_no_entity_tag(self) -> None:
        self.name(etag=None)
        self.assert_arrives(
            faults.cut(9000),
            ranges=[None, 9000],
            if_ranges=[None, self.image.last_modified],
        )

    def test_recent_date_is_no_proof(self) -> None:
        date = messages.http_date()
        self.name(etag=None, last_modified=date)
        self.assert_arrives(
            faults.cut(9000), ranges=[None, None], if_ranges=[None, None]
        )

    def test_date_without_date_of_the_answer(self) -> None:
        """By our own clock, which may be wrong: not for a recent one."""
        for age, proof in (3600, False), (10**6, True):
            modified = messages.http_date(-age)
            self.name(etag=None, last_modified=modified)
            self.server.requests.clear()
            self.assert_arrives(
                [faults.field('Date', None), faults.cut(9000)],
                then=faults.field('Date', None),
                ranges=[None, 9000 if proof else None],
                if_ranges=[None, modified if proof else None],
            )

    def test_entity_tag_goes_before_the_date(self) -> None:
        self.name(etag='W/"1"')
        self.assert_arrives(
            faults.cut(9000), ranges=[None, None], if_ranges=[None, None]
        )

    def test_malformed_entity_tag_is_no_proof(self) -> None:
        for etag in ('1', '"1', "'1'", 'w/"1"', '"a"b"', '""', '"a b"'):
            for modified in None, self.image.last_modified:
                self.name(etag=etag, last_modified=modified)
                self.server.requests.clear()
                self.assert_arrives(
                    faults.cut(9000),
                    ranges=[None, 9000 if modified else None],
                    if_ranges=[None, modified],
                )

    def test_odd_entity_tags_are_sent_as_they_came(self) -> None:
        for etag in (
            '"caf\xe9"',
            '"a,b;c=\'d\'"',
            '"%s"' % ('x' * 4000),
        ):
            self.name(etag=etag)
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000), ranges=[None, 9000], if_ranges=[None, etag]
            )

    def test_without_validator_the_beginning_is_read_again(self) -> None:
        self.name(etag=None, last_modified=None)
        outcome = self.assert_arrives(faults.cut(9000), ranges=[None, None])
        # Nothing but what came before the cut came twice.
        self.assertLessEqual(outcome.stats.received, WHOLE + 9000)

    def test_without_validator_a_checksum_allows_a_range(self) -> None:
        for etag, last_modified in ((None, None), ('W/"1"', None)):
            self.name(etag=etag, last_modified=last_modified)
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000),
                checksum=self.checksum(),
                ranges=[None, 9000],
                if_ranges=[None, None],
            )

    def test_without_ranges_the_beginning_is_read_again(self) -> None:
        self.name(ranges=False)
        self.assert_arrives(
            faults.cut(9000), faults.reset(20000), faults.stall(40000)
        )
        self.assertEqual(4, self.server.connections)

    def test_range_ignored_the_beginning_is_read_again(self) -> None:
        # The 200 comes with the same entity tag: its first bytes will do.
        self.assert_arrives(
            faults.cut(9000),
            then=faults.ignore_range(),
        )
        self.assertEqual([None, 'bytes=9000-'], self.server.ranges[:2])
        self.assertEqual('"1"', self.server.if_ranges[1])
        self.assertLessEqual(len(self.server.requests), 4)

    def test_range_ignored_by_an_answer_as_long_as_the_offset(self) -> None:
        # libcurl takes a 200 of that length for "already downloaded".
        short = harmful.Representation(self.content[:9000])
        self.assert_fails(
            errors.RepresentationChanged,
            self.cut_after_use(9000),
            then=[faults.serve(short), faults.ignore_range()],
            chunk_size=1000,
        )

    def test_any_if_range_refused(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            then=faults.refuse_if_range(),
            ranges=[None, 9000, 9000],
            if_ranges=[None, '"1"', None],
        )

    def test_accept_ranges_none_is_put_to_the_test(self) -> None:
        none = faults.field('Accept-Ranges', 'none')
        self.assert_arrives(
            [none, faults.cut(9000)], then=none, ranges=[None, 9000]
        )
        self.server.requests.clear()
        self.assert_arrives(
            [none, faults.cut(9000)],
            [none, faults.cut(20000), faults.ignore_range()],
            then=[none, faults.ignore_range()],
            ranges=[None, 9000, None],
        )

    def test_accept_ranges_not_stated_is_tried(self) -> None:
        self.assert_arrives(
            [faults.field('Accept-Ranges', None), faults.cut(9000)],
            then=faults.field('Accept-Ranges', None),
            ranges=[None, 9000],
        )

    def test_resumes_of_a_body_without_length(self) -> None:
        self.assert_arrives(
            [faults.http_1_0(), faults.reset(9000)],
            [faults.http_1_0(), faults.reset(9000)],
            then=faults.http_1_0(),
            ranges=[None, 9000, 18000],
        )

    def test_all_of_a_chunked_body_but_its_end(self) -> None:
        # Every byte is here, and nothing says that it is every byte.
        for harm in (faults.cut, faults.reset, faults.stall):
            self.server.requests.clear()
            self.assert_arrives([faults.chunked(WHOLE), harm(WHOLE + 8)])
            self.assertLessEqual(len(self.server.requests), 4)

    def test_offsets_beyond_4_gib(self) -> None:
        length = (1 << 32) + 3_000_000
        self.name(content=harmful.Pattern(length))
        at = (1 << 32) + 5
        self.server.script(faults.reset(at))
        count = 0
        tail = b''
        with self.fetch(chunk_size=1 << 20, low_speed_time=5) as download:
            for view in download.views():
                count += len(view)
                if count > at - 10:
                    tail += bytes(view)
        self.assertEqual(length, count)
        self.assertEqual([None, 'bytes=%d-' % at], self.server.ranges)
        self.assertEqual(self.image.content[length - len(tail) : length], tail)


class TestEveryCut(engine.EngineTestCase):
    """Wherever it is cut, however, whatever the server can do."""

    LENGTH = 4001
    CUTS = (0, 1, 2, 999, 1000, 1001, 3999, 4000, 4001)
    ENDS: tuple[Callable[[int], faults.Fault], ...] = (
        faults.cut,
        faults.reset,
        faults.stall,
    )

    def check(self, **server: Any) -> None:
        content = harmful.Pattern(self.LENGTH)[0 : self.LENGTH]
        self.name(content=content, **server)
        for at, end in itertools.product(self.CUTS, self.ENDS):
            framings: list[list[faults.Fault]] = [[], [faults.chunked(1000)]]
            if end is faults.stall:
                # Each costs low_speed_time.
                framings = framings[:1]
            for framing in framings:
                self.server.requests.clear()
                self.assert_arrives(
                    [end(at), *framing], chunk_size=1000, low_speed_time=0.2
                )
                # A range that is ignored, or one after the end, may have to
                # be asked for before all is read again.
                self.assertLessEqual(len(self.server.requests), 4)

    def test_ranges_and_strong_entity_tag(self) -> None:
        self.check()

    def test_date_only(self) -> None:
        self.check(etag=None)

    def test_weak_entity_tag(self) -> None:
        self.check(etag='W/"1"')

    def test_no_validator(self) -> None:
        self.check(etag=None, last_modified=None)

    def test_no_ranges(self) -> None:
        self.check(ranges=False)

    def test_nothing_at_all(self) -> None:
        self.check(ranges=False, etag=None, last_modified=None)
