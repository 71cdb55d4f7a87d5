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

"""Partial answers that are not what was asked for."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import engine

WHOLE = engine.LENGTH


class TestPartialAnswers(engine.EngineTestCase):
    """A 206 or 416 that says something else than was asked for."""

    def test_capped_ranges_are_asked_for_one_by_one(self) -> None:
        outcome = self.assert_arrives(
            faults.cut(1000),
            then=faults.cap_range(9000),
            ranges=[None, *range(1000, WHOLE, 9000)],
            attempts=2,
            backoff=20,
        )
        self.assertEqual(WHOLE, outcome.stats.received)

    def test_part_that_begins_early_is_skipped_into(self) -> None:
        for early in (-16, -1000, -9000):
            self.server.requests.clear()
            outcome = self.assert_arrives(
                faults.cut(9000),
                then=faults.move_range(early),
                ranges=[None, 9000],
            )
            self.assertLessEqual(outcome.stats.received, WHOLE - early)

    def test_part_that_begins_too_little_early_is_no_proof(self) -> None:
        # What would tell it from a lie: see the test after the next.
        self.assert_arrives(faults.cut(9000), then=faults.move_range(-1))
        self.assertIsNone(self.server.ranges[-1])

    def test_part_that_begins_early_amid_zeros_is_no_proof(self) -> None:
        self.name(content=bytes(20000) + self.content)
        self.assert_arrives(faults.cut(9000), then=faults.move_range(-1000))
        self.assertIsNone(self.server.ranges[-1])

    def test_part_that_says_it_begins_early_and_does_not(self) -> None:
        for early in (-1, -16, -1000, -9000):
            harm = faults.content_range('bytes {first}-{last}/{length}', early)
            # Often enough to be believed, or for good.
            for answers in ([harm], [harm] * 2, [harm] * 3, [harm] * 9):
                self.server.requests.clear()
                self.assert_arrives(faults.cut(9000), *answers)

    def test_part_that_begins_late_is_never_joined(self) -> None:
        for late in (1, 1000, 40000):
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000),
                faults.move_range(late),
                ranges=[None, 9000, 9000],
            )

    def test_part_that_begins_late_for_good_is_read_again(self) -> None:
        self.assert_arrives(faults.cut(9000), then=faults.move_range(1000))
        self.assertIsNone(self.server.ranges[-1])

    def test_wrong_content_range_is_never_joined(self) -> None:
        for harm in (
            faults.content_range(None),
            faults.content_range('bytes {first}-{last}/*'),
            faults.content_range('bytes */{length}'),
            faults.content_range('bytes {first}-'),
            faults.content_range('bytes {last}-{first}/{length}'),
            faults.content_range('bytes {first}-{length}/{length}'),
            faults.content_range('bytes -{first}-{last}/{length}'),
            faults.content_range('items {first}-{last}/{length}'),
            faults.content_range('{first}-{last}/{length}'),
            faults.content_range('bytes {first}-{last}/{length}', 1),
            faults.content_range('bytes {first}-{last}/{length}', -1),
            faults.content_range('bytes 0-{last}/{length}'),
            faults.content_range(''),
            faults.content_range('nonsense'),
            faults.content_range(
                'bytes {first}-99999999999999999999/99999999999999999999'
            ),
            faults.more_field('Content-Range', 'bytes 0-8/9'),
        ):
            # Once, and for good.
            for then in ((), harm):
                self.server.requests.clear()
                self.assert_arrives(faults.cut(9000), harm, then=then)
                self.assertLessEqual(len(self.server.requests), 5)

    def test_content_range_in_odd_forms_is_read(self) -> None:
        for text in (
            'Bytes {first}-{last}/{length}',
            'bytes  {first}-{last}/{length}',
            'bytes {first}-{last}/{length} ',
            'bytes 00{first}-{last}/{length}',
        ):
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000),
                then=faults.content_range(text),
                ranges=[None, 9000],
            )

    def test_colon_or_equals_in_content_range(self) -> None:
        # Seen in the field; read or refused, but never joined wrongly.
        for text in (
            'bytes={first}-{last}/{length}',
            'bytes: {first}-{last}/{length}',
        ):
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000), then=faults.content_range(text)
            )

    def test_other_complete_length_is_another_representation(self) -> None:
        for length in (WHOLE + 1, 10**9):
            self.server.requests.clear()
            self.assert_fails(
                errors.RepresentationChanged,
                self.cut_after_use(9000),
                faults.content_range('bytes {first}-{last}/%d' % length),
                chunk_size=1000,
            )

    def test_body_of_a_part_shorter_than_said(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            [faults.chunked(), faults.cut(2014)],
            ranges=[None, 9000, 11000],
        )

    def test_complete_body_of_a_part_shorter_than_said(self) -> None:
        # A complete chunked body, but too little of it.
        self.assert_arrives(
            faults.cut(9000),
            [faults.body(self.content[9000:11000]), faults.chunked()],
            ranges=[None, 9000, 11000],
        )

    def test_body_of_a_part_longer_than_said(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            [
                faults.cap_range(500),
                faults.body(self.content[9000:11000]),
                faults.chunked(),
            ],
        )

    def test_length_that_does_not_fit_the_range(self) -> None:
        for length in ('0', '1', '100000', '2000'):
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000), faults.content_length(length)
            )

    def test_multipart_is_not_a_part(self) -> None:
        self.assert_arrives(
            faults.cut(9000), faults.multipart(), ranges=[None, 9000, 9000]
        )
        self.server.requests.clear()
        self.assert_arrives(faults.cut(9000), then=faults.multipart())

    def test_part_that_nobody_asked_for(self) -> None:
        # Where all of it is, it is as good as a 200.
        self.assert_arrives(then=faults.force_range('bytes=0-'), requests=1)
        self.server.requests.clear()
        self.assert_arrives(
            [faults.force_range('bytes=0-'), faults.cut(9000)],
            ranges=[None, 9000],
        )
        self.server.requests.clear()
        self.assert_arrives(faults.force_range('bytes=0-999'))
        self.assertEqual([None, 'bytes=1000-'], self.server.ranges)
        self.server.requests.clear()
        self.assert_arrives(faults.force_range('bytes=100-'), requests=2)

    def test_part_that_nobody_asked_for_for_good(self) -> None:
        self.assert_gives_up(
            errors.ContentRangeError,
            faults.force_range('bytes=100-'),
            requests=4,
        )

    def test_the_same_part_for_good(self) -> None:
        """Nothing proves that another one is of the same: read again."""
        self.name(etag=None, last_modified=None)

        def first_part(handler: faults.Handler) -> faults.Handler:
            return lambda request, image: handler(
                request.having('Range', 'bytes=0-8999'), image
            )

        for connections in (1, 4):
            self.server.requests.clear()
            self.assert_fails(
                errors.AttemptsExhausted,
                then=first_part,
                attempts=3,
                connections=connections,
            )
            self.assertLessEqual(len(self.server.requests), 8)

    def test_part_of_another_place_with_the_right_label(self) -> None:
        # Only a checksum can tell.
        lie = faults.content_range('bytes {first}-{last}/{length}', -7)
        self.server.script(faults.cut(9000), [faults.move_range(7), lie])
        outcome = self.download(checksum=self.checksum())
        self.assertIsInstance(outcome.error, errors.DigestMismatch)

    def test_416_on_a_resume_is_asked_again(self) -> None:
        for answer in (
            faults.status(416),
            [
                faults.status(416),
                faults.field('Content-Range', 'bytes */%d' % WHOLE),
            ],
            [faults.status(416), faults.field('Content-Range', 'nonsense')],
        ):
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000), answer, ranges=[None, 9000, 9000]
            )

    def test_416_on_a_resume_for_good_is_read_again(self) -> None:
        def refuse(handler: faults.Handler) -> faults.Handler:
            refusing = faults.status(416)(handler)
            return lambda request, representation: (
                refusing if request.range else handler
            )(request, representation)

        self.assert_arrives(faults.cut(9000), then=refuse)
        self.assertIsNone(self.server.ranges[-1])

    def test_416_with_another_length_is_another_representation(self) -> None:
        self.assert_fails(
            errors.RepresentationChanged,
            self.cut_after_use(9000),
            [faults.status(416), faults.field('Content-Range', 'bytes */8')],
            chunk_size=1000,
        )

    def test_no_content_on_a_resume_is_not_the_end(self) -> None:
        for code in (204, 205, 304, 202):
            self.server.requests.clear()
            outcome = self.assert_fails(
                errors.StatusError,
                faults.cut(9000),
                faults.status(code, body=b''),
                chunk_size=1000,
                requests=2,
            )
            self.assertLessEqual(len(outcome.data), 9000)
