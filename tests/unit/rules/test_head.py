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

from fuel_agent_curl import errors
from fuel_agent_curl.rules import head
from tests import base


def fields(*pairs: tuple[str, str]) -> head.Head:
    return head.Head(200, fields=pairs)


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

    def test_as_text(self) -> None:
        for line, expected in (
            (b'HTTP/1.1 404 Not Found', '404 Not Found'),
            (b'HTTP/1.1 520 ', '520'),
            (b'HTTP/2 404', '404'),
        ):
            self.assertEqual(expected, str(head.parse([line])))

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


class TestEnd(base.TestCase):
    def test_what_proves_it(self) -> None:
        length = ('content-length', '5')
        for version, pairs, expected in (
            ('1.1', [], False),
            ('1.0', [], False),
            ('1.1', [('connection', 'close')], False),
            ('1.1', [('transfer-encoding', 'identity')], False),
            ('1.1', [length], True),
            ('1.0', [length], True),
            ('1.1', [('transfer-encoding', 'chunked')], True),
            ('2', [], True),
            ('3', [], True),
        ):
            made = head.Head(200, version, '', tuple(pairs))
            self.assertEqual(expected, head.proves_end(made), str(made))


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
            for coding in 'chunked', 'Chunked', ', chunked':
                self.assertIsNone(
                    head.content_length(
                        fields(
                            ('content-length', value),
                            ('transfer-encoding', coding),
                        )
                    )
                )

    def test_counts_beside_a_coding_that_is_none(self) -> None:
        """Or a body that was cut short would pass for a whole one."""
        for coding in 'identity', 'Identity', '', ',':
            length = head.content_length(
                fields(('content-length', '5'), ('transfer-encoding', coding))
            )
            self.assertEqual(5, length, coding)

    def test_another_transfer_coding_is_refused(self) -> None:
        for coding in 'gzip, chunked', 'gzip':
            self.assertRaises(
                errors.ProtocolError,
                head.content_length,
                fields(('content-length', '5'), ('transfer-encoding', coding)),
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
            (('aws-chunked',), None),
            (('AWS-chunked, gzip',), 'gzip'),
        ):
            self.assertEqual(
                expected,
                head.content_coding(
                    fields(*(('content-encoding', v) for v in values))
                ),
            )
