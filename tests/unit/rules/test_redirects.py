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

"""Tests of what is made of the header lines of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.rules import redirects
from tests import base

URL = 'http://server/image'
HEADERS = ('X-Token: x',)

OK = 'HTTP/1.1 200 OK|Content-Length: 5||'
CONTINUE = 'HTTP/1.1 100 Continue||'
HINTS = 'HTTP/1.1 103 Early Hints|Link: </x>||'
# What a proxy says before the server does.
CONNECTED = 'HTTP/1.1 200 Connection established|Via: proxy||'
ASKED_WHO = 'HTTP/1.1 407 Authenticate|Content-Length: 0||'


def found(location: str, status: int = 302) -> str:
    return 'HTTP/1.1 %d Found|Location: %s||' % (status, location)


def lines(text: str) -> list[bytes]:
    """Return header lines; each ends at a bar."""
    octets = text.encode('latin-1')
    return [line + b'\r\n' for line in octets.split(b'|')[:-1]]


class RedirectsTestCase(base.TestCase):
    def take(
        self, text: str, url: str = URL, headers: Sequence[str] = ()
    ) -> list[bool]:
        """Let ``self.heads`` take the lines; return what each of them told."""
        self.heads = redirects.Heads(url, headers)
        return [self.heads.take(line) for line in lines(text)]

    def refuse(self, kind: type[errors.Error], text: str, **how: Any) -> Any:
        """Check that only the last line is refused; return the error."""
        *before, last = lines(text)
        self.heads = redirects.Heads(
            how.get('url', URL), how.get('headers', ())
        )
        for line in before:
            self.heads.take(line)
        return self.assertRaises(kind, self.heads.take, last)


class TestWhichHeadCounts(RedirectsTestCase):
    def test_the_last_one_counts(self) -> None:
        five = (('content-length', '5'),)
        for text, status, fields in (
            (OK, 200, five),
            (CONTINUE + OK, 200, five),
            (HINTS + HINTS + OK, 200, five),
            (CONNECTED + OK, 200, five),
            (CONNECTED + CONTINUE + OK, 200, five),
            (ASKED_WHO + OK, 200, five),
            # Whoever begins anew in the middle of a head.
            ('HTTP/1.1 500 Oh|Age: 1|' + OK, 200, five),
            # A field, and no status line.
            ('HTTP/2 404|HTTP-Version: 1||', 404, (('http-version', '1'),)),
            # No Location: libcurl does not follow it either.
            ('HTTP/1.1 302 Found||', 302, ()),
            ('HTTP/1.1 304 Not Modified||', 304, ()),
        ):
            self.assertEqual({False}, set(self.take(text)), text)
            head = self.heads.use()
            self.assertEqual((status, fields), (head.status, head.fields))
            self.assertFalse(self.heads.redirected)
            self.assertEqual(URL, self.heads.location)

    def test_there_is_none_before_its_end(self) -> None:
        for text in (
            '',
            'HTTP/1.1 200 OK|Content-Length: 5|',
            CONTINUE,
            HINTS,
            'HTTP/1.1 101 Switching||',
            found('/other'),
            ASKED_WHO + found('/other'),
        ):
            self.take(text)
            self.assertIsNone(self.heads.head, text)
            self.assertRaises(errors.ProtocolError, self.heads.use)
            self.assertFalse(self.heads.used)

    def test_trailers_change_nothing(self) -> None:
        self.take(OK)
        head = self.heads.use()
        self.assertTrue(self.heads.used)
        for text in ('X-Digest: 5||', found('/other'), 'no sense||'):
            for line in lines(text):
                self.assertFalse(self.heads.take(line))
            self.assertEqual(head, self.heads.head)
            self.assertEqual(URL, self.heads.location)

    def test_every_byte_counts(self) -> None:
        text = CONTINUE + found('/other') + OK
        self.take(text)
        self.assertEqual(len(text) + text.count('|'), self.heads.size)
        self.heads.use()
        self.heads.take(b'X-Digest: 5\r\n')
        self.assertEqual(len(text) + text.count('|') + 13, self.heads.size)

    def test_no_status_line(self) -> None:
        for text in ('|', 'garbage||', 'HTTP/1.1 OK||', OK + 'X: 1||'):
            self.refuse(errors.ProtocolError, text)

    def test_a_line_may_end_in_a_line_feed_alone(self) -> None:
        self.take('')
        for line in (b'HTTP/1.0 200 OK\n', b'Age: 1\n', b'\n'):
            self.heads.take(line)
        self.assertEqual((('age', '1'),), self.heads.use().fields)


class TestLimit(RedirectsTestCase):
    def test_a_head_without_an_end(self) -> None:
        most = 300 * 1024
        begin = 'HTTP/1.1 200 OK|'
        # What is left, but for the ends of lines.
        rest = most - len(begin) - 1 - 2
        for fields in (
            'x' * (rest - 2) + '|',
            'X: 1|' * (rest // 6 - 1) + 'X: ' + '1' * (rest % 6 + 1) + '|',
        ):
            self.take(begin + fields + '|')
            self.assertEqual(most, self.heads.size)
            self.assertEqual(200, self.heads.use().status)
            error = self.refuse(
                errors.ProtocolError, begin + 'x' + fields + '|'
            )
            self.assertIn('has no end', str(error))

    def test_each_head_has_a_limit_of_its_own(self) -> None:
        long = 'HTTP/1.1 100 Continue|' + 'x' * 200_000 + '||'
        self.take(long * 5 + OK)
        self.assertEqual(200, self.heads.use().status)


class TestWhereItLeads(RedirectsTestCase):
    def test_are_followed(self) -> None:
        for url, location, target in (
            (URL, '/other', 'http://server/other'),
            (URL, 'other?a=b', 'http://server/other?a=b'),
            (URL, '?a', 'http://server/image?a'),
            (URL, '//mirror/x', 'http://mirror/x'),
            (URL, 'http://mirror:8080/x', 'http://mirror:8080/x'),
            (URL, 'HTTPS://mirror/x', 'HTTPS://mirror/x'),
            ('https://a/b/c', '../d', 'https://a/d'),
            ('https://a/b', 'https://c/d', 'https://c/d'),
            # What is unencoded is encoded, and nothing twice.
            (URL, '/a b', 'http://server/a%20b'),
            (URL, '/a%20b%2Fc', 'http://server/a%20b%2Fc'),
            (URL, '/\xc3\xa9', 'http://server/%C3%A9'),
            (URL, '/\xe9', 'http://server/%E9'),
            (URL, '/"<>', 'http://server/%22%3C%3E'),
            (URL, "/~!$&'()*+,;=:@", "http://server/~!$&'()*+,;=:@"),
            (URL, 'http://[::1]/x#y', 'http://[::1]/x#y'),
        ):
            told = self.take(found(location), url)
            self.assertEqual([False, False, True], told, location)
            self.assertEqual(target, self.heads.location)
            self.assertTrue(self.heads.redirected)
            self.assertIsNone(self.heads.elsewhere)

    def test_every_status_of_theirs(self) -> None:
        for status in (300, 301, 302, 303, 307, 308):
            self.take(found('/other', status))
            self.assertEqual('http://server/other', self.heads.location)
        for status in (200, 201, 299, 400):
            self.take(found('/other', status))
            self.assertEqual(URL, self.heads.location)
            self.assertFalse(self.heads.redirected)

    def test_one_after_the_other(self) -> None:
        told = self.take(
            found('http://mirror/a/b') + CONTINUE + found('c') + OK
        )
        self.assertEqual(2, sum(told))
        self.assertEqual('http://mirror/a/c', self.heads.location)
        self.assertEqual(200, self.heads.use().status)

    def test_the_first_of_several_locations(self) -> None:
        self.take('HTTP/1.1 302 Found|Location: /1|Location: /2||')
        self.assertEqual('http://server/1', self.heads.location)

    def test_without_a_location_there_is_nothing_to_follow(self) -> None:
        for fields in ('', 'Location:|'):
            told = self.take('HTTP/1.1 302 Found|' + fields + '|')
            self.assertNotIn(True, told)
            self.assertEqual(302, self.heads.use().status)
            self.assertFalse(self.heads.redirected)

    def test_refused(self) -> None:
        for url, location, words in (
            (URL, 'ftp://server/x', 'from http to ftp'),
            (URL, 'file:///etc/shadow', 'from http to file'),
            (URL, 'javascript:x', 'from http to javascript'),
            ('https://server/x', 'http://server/x', 'from https to http'),
            ('HTTPS://server/x', 'HTTP://server/x', 'from https to http'),
            (URL, 'http://[::1/x', 'no URL'),
            (URL, 'http://mirror:99999/x', 'no URL'),
            (URL, 'http://mirror:x/', 'no URL'),
        ):
            error = self.refuse(errors.RedirectError, found(location), url=url)
            self.assertIn(words, str(error))
            self.assertEqual(url, self.heads.location)
            self.assertFalse(self.heads.redirected)
            self.assertIsNone(self.heads.elsewhere)

    def test_down_from_https_on_the_way(self) -> None:
        self.refuse(
            errors.RedirectError, found('https://a/b') + found('http://a/b')
        )
        self.assertEqual('https://a/b', self.heads.location)


class TestHeaders(RedirectsTestCase):
    """Headers that were given go to the same server alone."""

    def test_are_kept_on_the_same_server(self) -> None:
        for location in ('/other', 'http://server:80/x', 'http://SERVER/x'):
            self.take(found(location), headers=HEADERS)
            self.assertIsNone(self.heads.elsewhere)
            self.assertTrue(self.heads.redirected)

    def test_do_not_go_to_another(self) -> None:
        for location, elsewhere in (
            ('http://mirror/x', 'http://mirror/x'),
            ('//mirror/a b', 'http://mirror/a%20b'),
            ('http://server:8080/x', 'http://server:8080/x'),
            ('https://server/x', 'https://server/x'),
        ):
            error = self.refuse(
                errors.RedirectError, found(location), headers=HEADERS
            )
            self.assertIn('headers given do not go', str(error))
            self.assertEqual(elsewhere, self.heads.elsewhere)
            self.assertEqual(URL, self.heads.location)
            self.assertFalse(self.heads.redirected)

    def test_the_server_before_counts(self) -> None:
        self.refuse(
            errors.RedirectError,
            found('/other') + found('http://mirror/x'),
            headers=HEADERS,
        )
        self.assertEqual('http://mirror/x', self.heads.elsewhere)
        self.assertEqual('http://server/other', self.heads.location)

    def test_a_refused_scheme_is_no_place_to_ask(self) -> None:
        self.refuse(errors.RedirectError, found('ftp://m/x'), headers=HEADERS)
        self.assertIsNone(self.heads.elsewhere)


class TestSameOrigin(base.TestCase):
    def test_scheme_host_and_port(self) -> None:
        for url, other, expected in (
            ('http://a/x', 'http://a/y?z', True),
            ('http://a', 'http://a:80/', True),
            ('https://a', 'https://a:443/', True),
            ('HTTP://A/', 'http://a/', True),
            ('http://u:p@a/', 'http://a/', True),
            ('http://a', 'https://a', False),
            ('http://a:443', 'https://a', False),
            ('http://a', 'http://a:8080', False),
            ('http://a', 'http://b', False),
            ('http://a', 'http://a.b', False),
        ):
            for pair in (url, other), (other, url):
                self.assertEqual(expected, redirects.same_origin(*pair), url)
