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

from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import redirects
from tests import base

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


class HeadsTestCase(base.TestCase):
    def take(self, text: str) -> list[head.Head]:
        """Let ``self.heads`` take the lines; return the heads it told of."""
        self.heads = redirects.Heads()
        told = [self.heads.take(line) for line in lines(text)]
        return [one for one in told if one is not None]

    def refuse(self, text: str) -> Any:
        """Check that only the last line is refused; return the error."""
        *before, last = lines(text)
        self.heads = redirects.Heads()
        for line in before:
            self.heads.take(line)
        return self.assertRaises(errors.ProtocolError, self.heads.take, last)


class TestWhichHeadCounts(HeadsTestCase):
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
            (found('/other'), 302, (('location', '/other'),)),
            ('HTTP/1.1 304 Not Modified||', 304, ()),
        ):
            told = self.take(text)
            used = self.heads.use()
            self.assertEqual(used, told[-1])
            self.assertEqual((status, fields), (used.status, used.fields))

    def test_there_is_none_before_its_end(self) -> None:
        for text in (
            '',
            'HTTP/1.1 200 OK|Content-Length: 5|',
            CONTINUE,
            HINTS,
            'HTTP/1.1 101 Switching||',
        ):
            self.take(text)
            self.assertIsNone(self.heads.head, text)
            self.assertRaises(errors.ProtocolError, self.heads.use)
            self.assertFalse(self.heads.used)

    def test_trailers_change_nothing(self) -> None:
        self.take(OK)
        used = self.heads.use()
        self.assertTrue(self.heads.used)
        for text in ('X-Digest: 5||', found('/other'), 'no sense||'):
            for line in lines(text):
                self.assertIsNone(self.heads.take(line))
            self.assertEqual(used, self.heads.head)

    def test_every_byte_counts(self) -> None:
        text = CONTINUE + found('/other') + OK
        self.take(text)
        self.assertEqual(len(text) + text.count('|'), self.heads.size)
        self.heads.use()
        self.heads.take(b'X-Digest: 5\r\n')
        self.assertEqual(len(text) + text.count('|') + 13, self.heads.size)

    def test_no_status_line(self) -> None:
        for text in ('|', 'garbage||', 'HTTP/1.1 OK||', OK + 'X: 1||'):
            self.refuse(text)

    def test_a_line_may_end_in_a_line_feed_alone(self) -> None:
        self.take('')
        for line in (b'HTTP/1.0 200 OK\n', b'Age: 1\n', b'\n'):
            self.heads.take(line)
        self.assertEqual((('age', '1'),), self.heads.use().fields)


class TestLimit(HeadsTestCase):
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
            error = self.refuse(begin + 'x' + fields + '|')
            self.assertIn('has no end', str(error))

    def test_each_head_has_a_limit_of_its_own(self) -> None:
        long = 'HTTP/1.1 100 Continue|' + 'x' * 200_000 + '||'
        self.take(long * 5 + OK)
        self.assertEqual(200, self.heads.use().status)


class TestLocation(base.TestCase):
    def location(self, text: str) -> str | None:
        heads = redirects.Heads()
        for line in lines(text):
            told = heads.take(line)
        assert told is not None
        return redirects.location(told)

    def test_every_status_of_a_redirect(self) -> None:
        for status in (300, 301, 302, 303, 307, 308):
            self.assertEqual('/other', self.location(found('/other', status)))
        for status in (200, 201, 299, 304, 305, 306, 399, 400, 407):
            self.assertIsNone(self.location(found('/other', status)))

    def test_what_there_is_of_it(self) -> None:
        for fields, expected in (
            ('', None),
            ('Location:|', None),
            ('Location: |', None),
            ('Location: /1|Location: /1|', '/1'),
            # Empty ones count for nothing, with libcurl too.
            ('Location:|Location: /1|', '/1'),
            ('LOCATION:\t/1 \t|', '/1'),
            # No blank, and part of the value with libcurl.
            ('Location: \x0b/1\x0c|', '\x0b/1\x0c'),
            # Another name.
            ('Location : /1|', None),
            ('Content-Location: /1|', None),
        ):
            text = 'HTTP/1.1 302 Found|' + fields + '|'
            self.assertEqual(expected, self.location(text), fields)

    def test_two_places_at_once(self) -> None:
        self.assertRaises(
            errors.RedirectError,
            self.location,
            'HTTP/1.1 302 Found|Location: /1|Location: /2||',
        )


class TestAddress(base.TestCase):
    """Who gets what was given for the address first asked."""

    LOGIN = (b'user', b'secret')

    def address(self, name: str, **more: Any) -> redirects.Address:
        scheme, _, host = name.rpartition('//')
        return redirects.Address(
            name, redirects.Origin(scheme or 'http', host, 80), **more
        )

    def way(self, *names: str, **more: Any) -> redirects.Address:
        """Follow redirects from one to the next; return the last."""
        first, *others = names
        reached = self.address(first, **more)
        for name in others:
            reached = redirects.step(reached, self.address(name, named=False))
        return reached

    def test_goes_to_that_origin_alone(self) -> None:
        for names, trusted in (
            (('a',), True),
            (('a', 'a'), True),
            (('a', 'b'), False),
            (('a', 'b', 'b'), False),
            (('a', 'b', 'a'), True),
            (('a', 'https//a'), False),
            (('a', 'b', 'c', 'a', 'a'), True),
        ):
            reached = self.way(*names, login=self.LOGIN)
            self.assertEqual(trusted, reached.trusted, repr(names))
            self.assertEqual(
                self.LOGIN if trusted else None, reached.credentials
            )

    def test_goes_nowhere_if_nobody_named_the_origin(self) -> None:
        for names in ('a',), ('a', 'a'), ('a', 'b', 'a'):
            reached = self.way(*names, named=False, login=self.LOGIN)
            self.assertFalse(reached.trusted)
        # What its own URL says is nobody else's.
        self.assertEqual(self.LOGIN, reached.credentials)

    def test_a_redirect_may_bring_a_name_and_a_password(self) -> None:
        other = (b'other', b'')
        for name in ('a', 'b'):
            reached = redirects.step(
                self.address('a', login=self.LOGIN),
                self.address(name, login=other),
            )
            self.assertEqual(other, reached.credentials)

    def test_secrets_are_not_shown(self) -> None:
        self.assertNotIn('secret', repr(self.way('a', 'a', login=self.LOGIN)))

    def test_refused(self) -> None:
        refused: tuple[tuple[tuple[str, ...], str], ...] = (
            (('a', 'ftp//a'), 'from http to ftp'),
            (('a', 'javascript//a'), 'from http to javascript'),
            (('https//a', 'a'), 'from https to http'),
            (('a', 'https//a', 'a'), 'from https to http'),
        )
        for names, words in refused:
            error = self.assertRaises(errors.RedirectError, self.way, *names)
            self.assertIn(words, str(error))
