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

"""Tests of what a head says about identity and time."""

from __future__ import annotations

import datetime
import email.utils

from fuel_agent_curl.rules import head
from tests import base

UTC = datetime.UTC
NOW = datetime.datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

# RFC 9110 section 5.6.7 names one time in its three forms.
DATE_FORMS = (
    'Sun, 06 Nov 1994 08:49:37 GMT',
    'Sunday, 06-Nov-94 08:49:37 GMT',
    'Sun Nov  6 08:49:37 1994',
)
NO_DATES = (
    '',
    'garbage',
    '0',
    '1.5',
    '-5',
    '1e3',
    '120 s',
    '2026-11-22T12:00:00Z',
    'Sun, 31 Feb 1994 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 06 Nov 99999 08:49:37 GMT',
    'Sun, 06 Nov ' + '9' * 5000 + ' 08:49:37 GMT',
    'Sun, 06 Nov 1994 08:49:37 +' + '9' * 30,
)
# Seen in the world, or made up.
NO_TAGS = (
    'd2a1cbe1405f80f445505287713280ab',
    "'a'",
    'w/"a"',
    'W/a',
    '""',
    'W/""',
    '"a',
    'a"',
    '"',
    '',
    '"a"b"',
    '"a b"',
    '"a\tb"',
    '"a\rX: 1"',
    '"a\x7f"',
    '"a", "b"',
)


def fields(*pairs: tuple[str, str]) -> head.Head:
    return head.Head(200, fields=pairs)


def at(second: int) -> str:
    """Return the HTTP date of a second after noon."""
    time = NOW + datetime.timedelta(seconds=second)
    return time.strftime('%a, %d %b %Y %H:%M:%S GMT')


class TestValidator(base.TestCase):
    def strong(self, *pairs: tuple[str, str]) -> str | None:
        return head.validator(fields(*pairs), NOW).strong

    def test_a_strong_entity_tag(self) -> None:
        for tag in '"a"', '"a,b"', "\"!#[]~\"", '"\xe9"', '"W/x"':
            self.assertEqual(tag, self.strong(('etag', tag)))

    def test_a_weak_or_malformed_entity_tag_is_not_strong(self) -> None:
        for tag in ('W/"a"', *NO_TAGS):
            self.assertIsNone(self.strong(('etag', tag)), tag)

    def test_what_is_no_entity_tag_does_not_take_the_date_away(self) -> None:
        date = ('last-modified', at(0)), ('date', at(60))
        for tag in NO_TAGS:
            self.assertEqual(at(0), self.strong(('etag', tag), *date), tag)
            settled = head.validator(fields(('etag', tag), *date), NOW)
            self.assertIs(True, settled.same(settled), tag)

    def test_an_empty_entity_tag_is_none(self) -> None:
        self.assertEqual(
            head.Validator(), head.validator(fields(('etag', '')), NOW)
        )

    def test_a_date_is_strong_a_minute_later(self) -> None:
        modified = at(0)
        for date, strong in (
            (at(-1), False),
            (at(0), False),
            (at(59), False),
            (at(60), True),
            (at(61), True),
            (at(86400), True),
            ('garbage', False),
        ):
            self.assertEqual(
                modified if strong else None,
                self.strong(('last-modified', modified), ('date', date)),
                date,
            )
        self.assertIsNone(self.strong(('date', at(60))))

    def test_a_date_is_strong_a_day_later_by_our_own_clock(self) -> None:
        for second, strong in (
            (0, False),
            (-60, False),
            (-86399, False),
            (-86400, True),
            (60, False),
        ):
            self.assertEqual(
                at(second) if strong else None,
                self.strong(('last-modified', at(second))),
            )

    def test_a_date_is_sent_back_as_it_came(self) -> None:
        """RFC 9110 section 13.1.5: compared as it stands."""
        for modified in DATE_FORMS:
            self.assertEqual(
                modified,
                self.strong(('last-modified', modified), ('date', at(0))),
            )

    def test_what_is_no_date_is_not_strong(self) -> None:
        for modified in NO_DATES:
            self.assertIsNone(
                self.strong(('last-modified', modified), ('date', at(0))),
                modified,
            )

    def test_a_date_that_could_not_be_sent_back_is_not_strong(self) -> None:
        """The reader of dates passes over what follows them."""
        for bad in '\rX-Smuggled: 1', ' \xe9', '\t', '\0':
            self.assertIsNone(
                self.strong(
                    ('last-modified', DATE_FORMS[0] + bad), ('date', at(0))
                ),
                bad,
            )

    def test_no_date_where_there_is_an_entity_tag(self) -> None:
        """RFC 9110 section 13.1.5."""
        date = ('last-modified', at(0)), ('date', at(60))
        self.assertIsNone(self.strong(('etag', 'W/"a"'), *date))
        self.assertEqual('"a"', self.strong(('etag', '"a"'), *date))

    def test_of_two_values_neither_is_believed(self) -> None:
        self.assertEqual(
            head.Validator(),
            head.validator(
                fields(
                    ('etag', '"a"'),
                    ('etag', '"b"'),
                    ('last-modified', at(0)),
                    ('last-modified', at(-1)),
                    ('date', at(60)),
                ),
                NOW,
            ),
        )
        self.assertIsNone(
            self.strong(
                ('last-modified', at(0)), ('date', at(60)), ('date', at(59))
            )
        )

    def test_the_same_value_twice_is_one(self) -> None:
        pairs = ('etag', '"a"'), ('last-modified', at(0)), ('date', at(60))
        self.assertEqual(
            head.Validator('"a"', at(0), True),
            head.validator(fields(*pairs, *pairs), NOW),
        )

    def test_same(self) -> None:
        def v(
            etag: str | None = None,
            modified: str | None = None,
            settled: bool = False,
        ) -> head.Validator:
            return head.Validator(etag, modified, settled)

        for mine, other, expected in (
            # Strong entity tags.
            (v('"a"'), v('"a"'), True),
            (v('"a"'), v('"b"'), False),
            (v('"a"'), v('"A"'), False),
            (v('"a"'), v('W/"a"'), None),
            (v('"a"'), v('W/"b"'), False),
            (v('"a"'), v(), None),
            (v('"a"'), v('a'), False),
            # An entity tag counts more than a date.
            (v('"a"', 'x'), v('"a"', 'y'), True),
            (v('"a"', 'x'), v('"b"', 'x'), False),
            (v('"a"', 'x', True), v(None, 'x'), None),
            (v('"a"', 'x', True), v(None, 'y'), False),
            (v('"a"', 'x', True), v('W/"a"', 'x', True), None),
            # Weak ones prove nothing, but may contradict.
            (v('W/"a"'), v('W/"a"'), None),
            (v('W/"a"'), v('"a"'), None),
            (v('W/"a"'), v('W/"b"'), False),
            (v('W/"a"'), v('"b"'), False),
            (v('W/"a"', 'x', True), v('W/"a"', 'x', True), None),
            (v('W/"a"', 'x', True), v('W/"a"', 'y', True), False),
            # So do those that are none; the date may prove it.
            (v('a'), v('a'), None),
            (v('a'), v('b'), False),
            (v('a', 'x', True), v('a', 'x', True), True),
            (v('a', 'x', True), v('b', 'x', True), False),
            (v('a', 'x', True), v('a', 'y', True), False),
            (v('a', 'x', True), v(None, 'x'), True),
            (v('a', 'x'), v('a', 'x'), None),
            (v('""'), v('""'), None),
            # Dates.
            (v(None, 'x', True), v(None, 'x', True), True),
            (v(None, 'x', True), v(None, 'x'), True),
            (v(None, 'x', True), v('"a"', 'x'), True),
            (v(None, 'x'), v(None, 'x', True), None),
            (v(None, 'x', True), v(None, 'y', True), False),
            (v(None, 'x'), v(None, 'y'), False),
            (v(None, 'x', True), v(), None),
            # Nothing.
            (v(), v(), None),
            (v(), v('"a"', 'x', True), None),
        ):
            self.assertIs(expected, mine.same(other), '%s %s' % (mine, other))


class TestHttpDate(base.TestCase):
    def test_three_forms(self) -> None:
        expected = datetime.datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
        for text in DATE_FORMS:
            self.assertEqual(expected, head.http_date(text))

    def test_every_month(self) -> None:
        for month in range(1, 13):
            expected = datetime.datetime(
                2024, month, 29, 23, 59, 1, tzinfo=UTC
            )
            text = email.utils.format_datetime(expected, usegmt=True)
            self.assertEqual(expected, head.http_date(text))

    def test_another_zone_is_counted_in(self) -> None:
        self.assertEqual(
            datetime.datetime(1994, 11, 6, 6, 49, 37, tzinfo=UTC),
            head.http_date('Sun, 06 Nov 1994 08:49:37 +0200'),
        )

    def test_what_is_no_date_is_none(self) -> None:
        for text in NO_DATES:
            self.assertIsNone(head.http_date(text), text)


class TestRetryAfter(base.TestCase):
    def delay(self, value: str, *pairs: tuple[str, str]) -> float | None:
        return head.retry_after(fields(('retry-after', value), *pairs), NOW)

    def test_none_is_none(self) -> None:
        self.assertIsNone(head.retry_after(fields(), NOW))

    def test_seconds(self) -> None:
        for value, expected in (
            ('0', 0.0),
            ('1', 1.0),
            (' 120 ', 120.0),
            ('86400', 86400.0),
        ):
            self.assertEqual(expected, self.delay(value))

    def test_a_number_without_end_is_a_long_delay(self) -> None:
        for digits in 19, 400, 5000:
            delay = self.delay('9' * digits) or 0.0
            self.assertGreater(delay, 10.0**10)
            self.assertLess(delay, 10.0**20)

    def test_a_date_by_this_clock(self) -> None:
        for second, expected in (
            (0, 0.0),
            (1, 1.0),
            (90, 90.0),
            (86400, 86400.0),
            (-1, 0.0),
            (-86400, 0.0),
        ):
            self.assertEqual(expected, self.delay(at(second)))

    def test_a_date_by_the_clock_of_the_server(self) -> None:
        for server in -86400, 0, 86400:
            self.assertEqual(
                30.0, self.delay(at(server + 30), ('date', at(server)))
            )
        self.assertEqual(30.0, self.delay(at(30), ('date', 'garbage')))

    def test_a_date_in_any_of_the_forms(self) -> None:
        for text in DATE_FORMS:
            self.assertEqual(
                7.0,
                self.delay(text, ('date', 'Sun, 06 Nov 1994 08:49:30 GMT')),
            )

    def test_what_is_neither_counts_for_nothing(self) -> None:
        for value in NO_DATES:
            if value != '0':
                self.assertIsNone(self.delay(value), value)
