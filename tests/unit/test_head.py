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

"""Tests of the head of a response: what is read from which octets."""

from __future__ import annotations

import datetime

from fuel_agent_curl import errors
from fuel_agent_curl import head
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


def fields(*pairs: tuple[str, str]) -> head.Head:
    return head.Head(200, fields=pairs)


def at(second: int) -> str:
    """Return the HTTP date of a second after noon."""
    time = NOW + datetime.timedelta(seconds=second)
    return time.strftime('%a, %d %b %Y %H:%M:%S GMT')


class TestParse(base.TestCase):
    def test_status_line(self) -> None:
        for line, expected in (
            (b'HTTP/1.1 200 OK\r\n', (200, '1.1', 'OK')),
            (
                b'HTTP/1.1 206 Partial Content\r\n',
                (206, '1.1', 'Partial Content'),
            ),
            (b'HTTP/1.0 404 \r\n', (404, '1.0', '')),
            (b'HTTP/1.1 503\r\n', (503, '1.1', '')),
            (b'HTTP/1.1 200 OK\n', (200, '1.1', 'OK')),
            (b'HTTP/1.1  200  OK', (200, '1.1', 'OK')),
            (b'HTTP/2 200 \r\n', (200, '2', '')),
            (b'HTTP/3 416 \r\n', (416, '3', '')),
            (b'HTTP/1.1 299 \xc3\xa9\r\n', (299, '1.1', '\xc3\xa9')),
            (b'HTTP/1.1 999 \r\n', (999, '1.1', '')),
        ):
            parsed = head.parse([line])
            self.assertEqual(
                expected, (parsed.status, parsed.version, parsed.reason)
            )
            self.assertEqual((), parsed.fields)

    def test_what_is_no_status_line_is_an_error(self) -> None:
        for line in (
            b'',
            b'\r\n',
            b'HTTP/1.1\r\n',
            b'HTTP/1.1 20\r\n',
            b'HTTP/1.1 2000 OK\r\n',
            b'HTTP/1.1 200OK\r\n',
            b'HTTP/1.1 -20 OK\r\n',
            b'HTTP/1.1 2e2 OK\r\n',
            b'HTTP/11 200 OK\r\n',
            b'HTTP/1.1200 OK\r\n',
            b'ICY 200 OK\r\n',
            b'SSH-2.0-OpenSSH\r\n',
            b' HTTP/1.1 200 OK\r\n',
            b'Content-Length: 5\r\n',
            b'HTTP/1.1 \xb2\xb2\xb2 OK\r\n',
            b'\x15\x03\x01\x00\x02\x02\x16' + b'x' * 10000,
        ):
            error = self.assertRaises(errors.ProtocolError, head.parse, [line])
            # It goes to a log.
            self.assertLess(len(str(error)), 400, line[:80])
        self.assertRaises(errors.ProtocolError, head.parse, [])

    def test_fields_in_their_order_with_names_in_lower_case(self) -> None:
        parsed = head.parse(
            [
                b'HTTP/1.1 200 OK\r\n',
                b'Content-LENGTH:5\r\n',
                b'etag: \t "a:b" \t\r\n',
                b'X-Empty:\r\n',
                b'X: \xe9\r\n',
                b'X: 2\n',
            ]
        )
        self.assertEqual(
            (
                ('content-length', '5'),
                ('etag', '"a:b"'),
                ('x-empty', ''),
                ('x', '\xe9'),
                ('x', '2'),
            ),
            parsed.fields,
        )
        self.assertEqual(['\xe9', '2'], parsed.values('x'))
        self.assertEqual('\xe9, 2', parsed.get('x'))
        self.assertEqual('', parsed.get('x-empty'))
        self.assertEqual([], parsed.values('y'))
        self.assertIsNone(parsed.get('y'))

    def test_a_folded_line_goes_on(self) -> None:
        """RFC 9112 section 5.2."""
        parsed = head.parse(
            [
                b'HTTP/1.1 206 Partial\r\n',
                b'Content-Range: bytes\r\n',
                b'  5-9/10\r\n',
                b'X: 1\r\n',
                b'\t2\r\n',
                b' 3\r\n',
            ]
        )
        self.assertEqual('1 2 3', parsed.get('x'))
        self.assertEqual(
            head.ContentRange(5, 10, 10), head.content_range(parsed)
        )

    def test_a_folded_number_is_two_numbers(self) -> None:
        parsed = head.parse(
            [b'HTTP/1.1 200 OK\r\n', b'Content-Length: 1\r\n', b' 0\r\n']
        )
        self.assertRaises(
            errors.ContentLengthError, head.content_length, parsed
        )

    def test_a_line_that_is_no_field_is_passed_over(self) -> None:
        parsed = head.parse(
            [b'HTTP/1.1 200 OK\r\n', b'nonsense\r\n', b'X: 1\r\n']
        )
        self.assertEqual((('x', '1'),), parsed.fields)


class TestContentRange(base.TestCase):
    def test_positions_are_half_open(self) -> None:
        for value, expected in (
            ('bytes 0-0/1', (0, 1, 1)),
            ('bytes 0-499/1234', (0, 500, 1234)),
            ('bytes 734-1233/1234', (734, 1234, 1234)),
            ('Bytes 5-9/10', (5, 10, 10)),
            ('BYTES 5-9/10', (5, 10, 10)),
            ('bytes   5-9/10', (5, 10, 10)),
            ('bytes\t5-9/10', (5, 10, 10)),
            ('bytes 5-9/*', (5, 10, None)),
            ('bytes */10', (None, None, 10)),
            ('bytes */0', (None, None, 0)),
            ('bytes 0007-0009/0010', (7, 10, 10)),
            (
                'bytes 9223372036854775806-9223372036854775806/*',
                (2**63 - 2, 2**63 - 1, None),
            ),
        ):
            self.assertEqual(
                head.ContentRange(*expected),
                head.content_range(fields(('content-range', value))),
                value,
            )

    def test_what_makes_no_sense_counts_for_nothing(self) -> None:
        for value in (
            '',
            'bytes',
            'bytes 5-9',
            'bytes 5-9/',
            'bytes 5/10',
            'bytes 5-/10',
            'bytes -9/10',
            'bytes */*',
            'bytes *-9/10',
            'bytes 5-*/10',
            'bytes=5-9/10',
            'bytes5-9/10',
            'items 5-9/10',
            '5-9/10',
            # The last before the first, or past the end.
            'bytes 9-5/10',
            'bytes 6-5/10',
            'bytes 5-10/10',
            'bytes 5-9/5',
            'bytes 0-0/0',
            'bytes 5 - 9/10',
            'bytes 5-9 /10',
            'bytes 5-9/ 10',
            'bytes 5-9/10 x',
            'bytes 5-9/10, bytes 5-9/10',
            'bytes 5-9,11-12/20',
            'bytes +5-9/10',
            'bytes 5-9/-10',
            'bytes --5-9/10',
            'bytes 0x5-9/10',
            'bytes 5.0-9/10',
            'bytes \u0665-9/10',
            'bytes \xb2-9/10',
            'bytes 5-9/10\0',
            'bytes\xa05-9/10',
            'bytes 0-' + '9' * 20 + '/*',
            'bytes 0-0/' + '9' * 5000,
            'bytes ' + '0' * 5000 + '-0/1',
            'bytes */' + '9' * 5000,
        ):
            self.assertIsNone(
                head.content_range(fields(('content-range', value))), value
            )

    def test_none_is_none(self) -> None:
        self.assertIsNone(head.content_range(fields()))

    def test_said_twice(self) -> None:
        one, other = 'bytes 5-9/10', 'bytes 5-9/11'
        self.assertEqual(
            head.ContentRange(5, 10, 10),
            head.content_range(
                fields(('content-range', one), ('content-range', one))
            ),
        )
        for pair in (one, other), (other, one), (one, ''):
            self.assertIsNone(
                head.content_range(
                    fields(*(('content-range', value) for value in pair))
                )
            )


class TestContentLength(base.TestCase):
    def length(self, *values: str) -> int | None:
        return head.content_length(
            fields(*(('content-length', value) for value in values))
        )

    def test_none_is_none(self) -> None:
        self.assertIsNone(self.length())

    def test_a_number(self) -> None:
        for value, expected in (
            ('0', 0),
            ('1', 1),
            ('00012', 12),
            ('4294967296', 2**32),
            ('9223372036854775807', 2**63 - 1),
        ):
            self.assertEqual(expected, self.length(value))

    def test_the_same_several_times(self) -> None:
        """RFC 9110 section 8.6."""
        for values in (('5', '5'), ('5, 5',), ('5,5', ' 5'), ('5,\t5 ,5',)):
            self.assertEqual(5, self.length(*values))

    def test_others_are_malformed_or_conflicting(self) -> None:
        for values in (
            ('5', '6'),
            ('5, 6',),
            ('5,5', '6'),
            ('5', ''),
            ('5,',),
            ('',),
            (' ',),
            ('+5',),
            ('-1',),
            ('1e3',),
            ('0x10',),
            ('5.0',),
            ('5 bytes',),
            ('1 0',),
            ('1_0',),
            ('five',),
            ('\u0665',),
            ('\xb2',),
            ('5\0',),
            ('9223372036854775808',),
            ('9' * 19,),
            ('9' * 5000,),
            ('1' * 5000, '2' * 5000),
        ):
            error = self.assertRaises(
                errors.ContentLengthError, self.length, *values
            )
            self.assertLess(len(str(error)), 200)

    def test_does_not_count_beside_transfer_encoding(self) -> None:
        """RFC 9112 section 6.3: that one decides, whatever the length."""
        for value in '5', '6, 7', '+5', '':
            for coding in 'chunked', 'Chunked', 'gzip, chunked':
                self.assertIsNone(
                    head.content_length(
                        fields(
                            ('content-length', value),
                            ('transfer-encoding', coding),
                        )
                    )
                )


class TestContentCoding(base.TestCase):
    def test_codings(self) -> None:
        for values, expected in (
            ((), None),
            (('',), None),
            (('identity',), None),
            ((' Identity ',), None),
            (('identity', 'identity, '), None),
            (('gzip',), 'gzip'),
            (('gzip,',), 'gzip'),
            (('X-GZIP',), 'x-gzip'),
            (('br, identity',), 'br'),
            (('gzip', 'br'), 'gzip, br'),
            (('gzip, br',), 'gzip, br'),
            (('none',), 'none'),
        ):
            self.assertEqual(
                expected,
                head.content_coding(
                    fields(*(('content-encoding', v) for v in values))
                ),
            )


class TestValidator(base.TestCase):
    def strong(self, *pairs: tuple[str, str]) -> str | None:
        return head.validator(fields(*pairs)).strong

    def test_a_strong_entity_tag(self) -> None:
        for tag in '"a"', '""', '"a,b"', "\"!#[]~\"", '"\xe9"', '"W/x"':
            self.assertEqual(tag, self.strong(('etag', tag)))

    def test_a_weak_or_malformed_entity_tag_is_not_strong(self) -> None:
        for tag in (
            'W/"a"',
            'w/"a"',
            'a',
            "'a'",
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
        ):
            self.assertIsNone(self.strong(('etag', tag)), tag)

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
        self.assertIsNone(self.strong(('last-modified', modified)))
        self.assertIsNone(self.strong(('date', at(60))))

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
                )
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
            head.validator(fields(*pairs, *pairs)),
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
            (v('a'), v('a'), None),
            (v('a'), v('b'), False),
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
