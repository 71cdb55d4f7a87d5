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

"""Tests of the judgement on first answers, and on those of no use.

A resume here asks for byte 40 and what follows, of 100.
"""

from __future__ import annotations

import dataclasses
import datetime
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import segments
from tests import base

NOW = datetime.datetime(2026, 11, 22, 12, 0, 0, tzinfo=datetime.UTC)
MODIFIED = 'Sun, 22 Nov 2026 10:00:00 GMT'
OTHER_TIME = 'Sun, 22 Nov 2026 11:00:00 GMT'

ACCEPT = answer.Verdict.ACCEPT
WITHOUT_IF_RANGE = answer.Verdict.ASK_WITHOUT_IF_RANGE
OTHER_NODE = answer.Verdict.OTHER_NODE
REREAD = answer.Verdict.REREAD

# Fields of the answer, what was known before, and what is expected.
Rows = tuple[
    tuple[
        dict[str, str],
        answer.Representation | None,
        answer.Verdict | type[errors.Error],
    ],
    ...,
]

# What an answer says about itself, added to a table's row.
TAG = {'etag': '"a"'}
WEAK_TAG = {'etag': 'W/"a"'}
DATE = {'last-modified': MODIFIED, 'date': 'Sun, 22 Nov 2026 12:00:00 GMT'}
RECENT = {'last-modified': MODIFIED, 'date': 'Sun, 22 Nov 2026 10:00:59 GMT'}
PART = {'content-range': 'bytes 40-99/100', 'content-length': '60'}
WHOLE = {'content-length': '100'}


def make_head(status: int, fields: dict[str, str]) -> head.Head:
    return head.Head(status, reason='Because', fields=tuple(fields.items()))


def pinned(
    fields: dict[str, str],
    length: int | None = 100,
    ranges: bool | None = True,
) -> answer.Representation:
    """Return what is known after an answer with these fields."""
    validator = head.validator(make_head(200, fields), NOW)
    return answer.Representation(validator, length, ranges, '')


STRONG = pinned(TAG)
STRONG_AND_DATE = pinned(TAG | {'last-modified': MODIFIED})
DATED = pinned(DATE)
WEAK = pinned(WEAK_TAG)
FRESH = pinned(RECENT)
NOTHING = pinned({})


def resume(
    pin: answer.Representation | None, **changes: Any
) -> segments.Request:
    """Return a request for byte 40 on."""
    request = segments.Request(
        40,
        ranged=True,
        if_range=pin.validator.strong if pin else None,
    )
    return dataclasses.replace(request, **changes)


class JudgeTestCase(base.TestCase):
    def judge(
        self,
        status: int,
        fields: dict[str, str],
        request: segments.Request,
        pin: answer.Representation | None,
        checksum: bool = False,
    ) -> answer.Judgement:
        judgement = answer.judge(
            make_head(status, fields), request, pin, checksum=checksum, now=NOW
        )
        self.assertEqual(
            judgement.verdict is not ACCEPT, judgement.error is not None
        )
        return judgement

    def assertAccepted(
        self,
        start: int,
        stop: int | None,
        judgement: answer.Judgement,
        message: str = '',
    ) -> None:
        self.assertEqual(
            (ACCEPT, start, stop),
            (judgement.verdict, judgement.start, judgement.stop),
            '%s %s' % (message, judgement.error),
        )

    def assertRefused(
        self,
        kind: type[errors.Error],
        judgement: answer.Judgement,
        message: str = '',
    ) -> None:
        self.assertEqual(
            (answer.Verdict.REFUSE, kind),
            (judgement.verdict, type(judgement.error)),
            message,
        )

    def check_table(
        self,
        status: int,
        rows: Rows,
        checksum: bool = False,
        **changes: Any,
    ) -> None:
        for fields, pin, expected in rows:
            row = '%s to %s' % (fields, pin)
            judgement = self.judge(
                status, fields, resume(pin, **changes), pin, checksum
            )
            if isinstance(expected, answer.Verdict):
                self.assertIs(expected, judgement.verdict, row)
            else:
                self.assertRefused(expected, judgement, row)


class TestFirst(JudgeTestCase):
    """The first request: nothing is known, and nothing was handed on."""

    def first(self, fields: dict[str, str]) -> answer.Judgement:
        return self.judge(200, fields, segments.Request(), None)

    def test_pins_what_the_answer_says(self) -> None:
        for fields, expected in (
            ({}, pinned({}, None, None)),
            ({'content-length': '0'}, pinned({}, 0, None)),
            (WHOLE, pinned({}, 100, None)),
            (WHOLE | TAG, pinned(TAG, 100, None)),
            (WHOLE | WEAK_TAG, pinned(WEAK_TAG, 100, None)),
            (WHOLE | TAG | DATE, pinned(TAG | DATE, 100, None)),
            (WHOLE | {'transfer-encoding': 'chunked'}, pinned({}, None, None)),
            (WHOLE | {'accept-ranges': 'bytes'}, pinned({}, 100, True)),
            (WHOLE | {'accept-ranges': 'Bytes'}, pinned({}, 100, True)),
            (WHOLE | {'accept-ranges': 'x, bytes'}, pinned({}, 100, True)),
            (WHOLE | {'accept-ranges': 'none'}, pinned({}, 100, False)),
            (WHOLE | {'accept-ranges': ''}, pinned({}, 100, False)),
        ):
            judgement = self.first(fields)
            self.assertAccepted(0, expected.length, judgement, str(fields))
            self.assertEqual(expected, judgement.pinned)

    def test_a_whole_answer_that_says_it_is_a_part_is_refused(self) -> None:
        """Some proxies make a 200 of a 206."""
        for part in 'bytes 5-9/10', 'bytes 0-99/1000', 'bytes 5-104/*':
            self.assertRefused(
                errors.ContentRangeError,
                self.first(WHOLE | {'content-range': part}),
            )

    def test_a_range_of_all_on_a_whole_answer_means_nothing(self) -> None:
        """RFC 9110 section 14.4: not defined for another status."""
        for part in 'bytes 0-99/100', 'bytes 0-99/*', 'bytes x', 'bytes */5':
            judgement = self.first(WHOLE | {'content-range': part})
            self.assertAccepted(0, 100, judgement)
            self.assertEqual(100, judgement.pinned.length)

    def test_a_length_without_sense_is_refused(self) -> None:
        for value in '', '-1', '+5', '1e3', '5, 6':
            self.assertRefused(
                errors.ContentLengthError,
                self.first({'content-length': value}),
            )

    def test_a_coding_nobody_asked_for_is_refused(self) -> None:
        for coding in 'gzip', 'x-gzip', 'br', 'identity, gzip':
            self.assertRefused(
                errors.ContentCodingError,
                self.first({'content-encoding': coding}),
            )
        for coding in '', 'identity', 'Identity', 'aws-chunked':
            self.assertAccepted(
                0, None, self.first({'content-encoding': coding}), coding
            )

    def test_a_coding_may_name_what_is_stored(self) -> None:
        """Which the body has to show."""
        for coding, expected in (
            ('gzip', ACCEPT),
            ('X-GZip', ACCEPT),
            ('aws-chunked, gzip', ACCEPT),
            ('br', errors.ContentCodingError),
            ('gzip, gzip', errors.ContentCodingError),
            ('deflate', errors.ContentCodingError),
        ):
            judgement = self.first(WHOLE | {'content-encoding': coding})
            if expected is ACCEPT:
                self.assertAccepted(0, 100, judgement)
                self.assertNotEqual('', judgement.pinned.coding)
            else:
                self.assertRefused(errors.ContentCodingError, judgement)

    def unasked(self, text: str, fields: dict[str, str]) -> answer.Judgement:
        place = {'content-range': text}
        return self.judge(206, fields | place, segments.Request(), None)

    def test_a_part_nobody_asked_for_is_refused(self) -> None:
        """If it does not say which, or is another than the first."""
        for text in '', 'bytes 0-99/*', 'bytes 1-99/100', 'bytes */100':
            self.assertRefused(
                errors.ContentRangeError, self.unasked(text, TAG), text
            )

    def test_the_first_part_will_do_where_nobody_asked(self) -> None:
        for text, stop in ('bytes 0-99/100', 100), ('bytes 0-49/100', 50):
            for fields in TAG, WEAK_TAG, {}:
                judgement = self.unasked(text, fields)
                self.assertAccepted(0, stop, judgement, text)
                self.assertEqual(100, judgement.pinned.length)


class TestFirstOfSeveral(JudgeTestCase):
    """The first request asks for the first segment: 0 to 49."""

    def first(
        self, status: int, fields: dict[str, str], checksum: bool = False
    ) -> answer.Judgement:
        request = segments.Request(0, 50, ranged=True)
        return self.judge(status, fields, request, None, checksum)

    def test_a_part_tells_the_complete_length(self) -> None:
        judgement = self.first(206, TAG | {'content-range': 'bytes 0-49/100'})
        self.assertAccepted(0, 50, judgement)
        self.assertEqual(STRONG, judgement.pinned)

    def test_a_shorter_or_longer_part_will_do(self) -> None:
        for text, stop in (('0-0/100', 1), ('0-29/30', 30), ('0-99/100', 100)):
            judgement = self.first(
                206, TAG | {'content-range': 'bytes ' + text}
            )
            self.assertAccepted(0, stop, judgement, text)

    def test_a_part_that_no_other_could_be_joined_to(self) -> None:
        """Without a strong validator, unless a checksum decides."""
        part = {'content-range': 'bytes 0-49/100'}
        for fields in {}, WEAK_TAG, RECENT:
            judgement = self.first(206, part | fields)
            self.assertIs(REREAD, judgement.verdict, str(fields))
            judgement = self.first(206, part | fields, checksum=True)
            self.assertAccepted(0, 50, judgement)
        self.assertAccepted(0, 50, self.first(206, part | DATE))

    def test_a_coding_may_name_what_is_stored(self) -> None:
        part = TAG | {'content-range': 'bytes 0-49/100'}
        judgement = self.first(206, part | {'content-encoding': 'gzip'})
        self.assertAccepted(0, 50, judgement)
        self.assertEqual('gzip', judgement.pinned.coding)
        for other in (
            {'content-encoding': 'br'},
            {'content-encoding': 'gzip', 'content-range': 'bytes 0-49/*'},
        ):
            self.assertRefused(
                errors.ContentCodingError, self.first(206, part | other)
            )

    def test_a_part_without_its_place(self) -> None:
        for fields in (
            TAG,
            TAG | {'content-range': 'bytes 0-49/*'},
            TAG | {'content-range': 'bytes */100'},
            TAG | {'content-range': 'bytes 9-0/100'},
        ):
            for checksum in False, True:
                self.assertIs(
                    REREAD, self.first(206, fields, checksum).verdict
                )

    def test_a_part_from_elsewhere_is_refused(self) -> None:
        for text in '1-49/100', '50-99/100', '99-99/100':
            self.assertRefused(
                errors.ContentRangeError,
                self.first(206, TAG | {'content-range': 'bytes ' + text}),
                text,
            )

    def test_all_of_it_is_used_as_it_is(self) -> None:
        for fields, stop in ((WHOLE, 100), ({}, None)):
            judgement = self.first(200, TAG | fields)
            self.assertAccepted(0, stop, judgement)
            self.assertEqual('"a"', judgement.pinned.validator.etag)

    def test_an_empty_representation_has_no_first_byte(self) -> None:
        for fields in {}, {'content-range': 'bytes */0'}:
            self.assertIs(REREAD, self.first(416, fields).verdict)


class TestStatus(JudgeTestCase):
    REQUESTS = (
        (segments.Request(), None),
        (segments.Request(40), STRONG),
        (resume(STRONG), STRONG),
        (segments.Request(0, 50, ranged=True), None),
    )

    def test_other_statuses_bring_nothing(self) -> None:
        for status in (
            *(201, 202, 203, 204, 205, 207, 226, 304),
            *(400, 401, 403, 404, 405, 407, 408, 410, 412, 425, 429, 451),
            *(500, 501, 502, 503, 504, 505, 507, 511, 520, 600, 999),
        ):
            for request, pin in self.REQUESTS:
                judgement = self.judge(status, PART | TAG, request, pin)
                self.assertRefused(
                    errors.StatusError, judgement, '%d' % status
                )
                assert isinstance(judgement.error, errors.StatusError)
                self.assertEqual(status, judgement.error.status)
                self.assertIsNone(judgement.error.retry_after)
                self.assertIn('%d Because' % status, str(judgement.error))

    def test_a_redirect_that_leads_nowhere(self) -> None:
        for status in 300, 301, 302, 303, 305, 306, 307, 308, 399:
            for request, pin in self.REQUESTS:
                self.assertRefused(
                    errors.RedirectError,
                    self.judge(status, TAG, request, pin),
                    '%d' % status,
                )

    def test_retry_after_is_noted(self) -> None:
        for value, expected in (
            ('120', 120.0),
            ('0', 0.0),
            ('Sun, 22 Nov 2026 12:01:30 GMT', 90.0),
            ('soon', None),
        ):
            for status in 429, 503:
                judgement = self.judge(
                    status, {'retry-after': value}, segments.Request(), None
                )
                assert isinstance(judgement.error, errors.StatusError)
                self.assertEqual(expected, judgement.error.retry_after)

    def test_a_range_refused(self) -> None:
        wrong, changed = (
            errors.ContentRangeError,
            errors.RepresentationChanged,
        )
        self.check_table(
            416,
            (
                ({}, STRONG, wrong),
                ({'content-range': 'bytes */100'}, STRONG, wrong),
                ({'content-range': 'bytes */*'}, STRONG, wrong),
                ({'content-range': 'garbage'}, STRONG, wrong),
                ({'content-range': 'bytes */40'}, pinned(TAG, None), wrong),
                ({'content-range': 'bytes */100'}, None, wrong),
                # Shorter by now, or longer.
                ({'content-range': 'bytes */40'}, STRONG, changed),
                ({'content-range': 'bytes */0'}, STRONG, changed),
                ({'content-range': 'bytes */101'}, STRONG, changed),
                ({'content-range': 'bytes */99'}, NOTHING, changed),
            ),
        )

    def test_a_range_refused_that_nobody_asked_for(self) -> None:
        for request, pin in self.REQUESTS[:2]:
            self.assertRefused(
                errors.StatusError,
                self.judge(
                    416, {'content-range': 'bytes */100'}, request, pin
                ),
            )
