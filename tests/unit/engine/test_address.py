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

"""Tests of how URLs are read, and where redirects lead."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl.engine import address
from fuel_agent_curl.rules import redirects
from tests import base


class TestRead(base.TestCase):
    def test_what_an_origin_is(self) -> None:
        for url, scheme, host, port in (
            ('http://a', 'http', 'a', 80),
            ('HTTPS://A.Example/x', 'https', 'a.example', 443),
            ('http://a:8080', 'http', 'a', 8080),
            ('http://u:p@a:1/', 'http', 'a', 1),
            ('http://a./', 'http', 'a.', 80),
            ('http://%61/', 'http', 'a', 80),
            ('http://[::1]:8/', 'http', '[::1]', 8),
            ('http://[0::0:1]/', 'http', '[::1]', 80),
            ('http://[fe80::1%25eth0]/', 'http', '[fe80::1]%eth0', 80),
            ('http://0x7f.1/', 'http', '127.0.0.1', 80),
        ):
            read = address.read(url)
            self.assertEqual((scheme, host, port), read.origin, url)
            self.assertTrue(read.trusted)

    def test_user_information_is_taken_out(self) -> None:
        for user, login in (
            ('', None),
            ('u@', (b'u', b'')),
            ('u:p@', (b'u', b'p')),
            (':p@', (b'', b'p')),
            ('u%40x:p%3A%2F%E9@', (b'u@x', b'p:/\xe9')),
            ('u:p:q@', (b'u', b'p:q')),
        ):
            read = address.read('http://%sa/x?y=z#f' % user)
            self.assertEqual('http://a/x?y=z', read.url)
            self.assertEqual(login, read.credentials)

    def test_refused(self) -> None:
        for url, words in (
            ('', 'has to begin with'),
            ('a', 'has to begin with'),
            ('//a/x', 'has to begin with'),
            ('ftp://a/x', 'has to begin with'),
            ('user:secret@a/x', 'has to begin with'),
            ('http:', 'no host'),
            ('http:a', 'no host'),
            ('http://', 'no host'),
            ('http:///a/x', 'no host'),
            ('http://a b/', 'no spaces'),
            ('http://a/\xe9', 'non-ASCII'),
            ('http://a/\n', 'no spaces'),
            ('http://:80/', 'malformed'),
            ('http://a:99999/', 'malformed'),
            ('http://[::1/', 'malformed'),
            ('http://u@secret@a/', 'malformed'),
            ('http://secret:1@b:2@a/', 'malformed'),
            ('http://%00secret@a/', 'malformed'),
            ('http://a%0d%0a/', 'malformed'),
        ):
            error = self.assertRaises(errors.OptionError, address.read, url)
            self.assertIn(words, str(error), url)
            self.assertNotIn('secret', str(error))
            self.assertIsNone(error.__cause__ or error.__context__)


class TestFollow(base.TestCase):
    def follow(self, url: str, location: str) -> redirects.Address:
        return address.follow(address.read(url), location)

    def test_where_it_leads(self) -> None:
        for url, location, expected in (
            ('http://a/b/c', '/other', 'http://a/other'),
            ('http://a/b/c', 'other?a=b', 'http://a/b/other?a=b'),
            ('http://a/b/c', '?x', 'http://a/b/c?x'),
            ('http://a/b/c', '../../d/./e', 'http://a/d/e'),
            ('http://a/b?c', '#f', 'http://a/b?c'),
            ('http://a/b', '//c/x', 'http://c/x'),
            ('http://a/b', '///c/x', 'http://c/x'),
            ('http://a/b', 'http:/c/x', 'http://c/x'),
            ('http://a/b', 'HTTPS://C/x', 'https://C/x'),
            ('https://a/b', 'https://c:443/d#f', 'https://c:443/d'),
            # As libcurl sends it: what is unencoded is encoded where it has
            # to be, and nothing twice.
            ('http://a/', '/b c%20d%2Fe', 'http://a/b%20c%20d%2Fe'),
            ('http://a/', '/\xc3\xa9', 'http://a/%C3%A9'),
            ('http://a/', '/{b}|"<>^`', 'http://a/{b}|"<>^`'),
            ('http://a/', '/b\\c', 'http://a/b\\c'),
        ):
            led_to = self.follow(url, location)
            self.assertEqual(expected, led_to.url, location)

    def test_what_was_given_stays_at_home(self) -> None:
        for location, trusted in (
            ('/x', True),
            ('//a/x', True),
            ('HTTP://A:80/x', True),
            ('http:/a/x', True),
            ('http://%61/x', True),
            ('http://b@a/x', True),
            ('http://a:8080/x', False),
            ('https://a/x', False),
            ('http://a./x', False),
            ('///b/x', False),
            ('http:/b/x', False),
            ('http://a@b/x', False),
        ):
            led_to = self.follow('http://user:secret@a/', location)
            self.assertEqual(trusted, led_to.trusted, location)
            if '@' not in location:
                self.assertEqual(
                    (b'user', b'secret') if trusted else None,
                    led_to.credentials,
                )

    def test_refused(self) -> None:
        for url, location in (
            ('http://a/', 'ftp://a/x'),
            ('http://a/', 'file:///etc/shadow'),
            ('http://a/', 'javascript:x'),
            ('http://a/', 'data:,x'),
            ('https://a/', 'http://a/'),
            ('http://a/', 'http:b'),
            ('http://a/', 'http:\\\\b'),
            ('http://a/', 'http://'),
            ('http://a/', 'http://[::1/'),
            ('http://a/', 'http://b:99999/'),
            ('http://a/', 'http://b\tc/'),
            ('http://a/', 'http://user@b:80@c/'),
            ('http://a/', 'http://\xe9/'),
            ('http://a/', 'http://%C3%A9/'),
        ):
            self.assertRaises(errors.RedirectError, self.follow, url, location)


class TestProxy(base.TestCase):
    def test_host_and_port_alone(self) -> None:
        for url, name in (
            ('http://a:3128', 'a:3128'),
            ('http://user:secret@a:3128/x', 'a:3128'),
            ('http://a', 'a:80'),
            ('https://a', 'a:443'),
            ('a', 'a:1080'),
            ('user:secret@a:8080', 'a:8080'),
            ('socks5h://user@[::1]:9050', '[::1]:9050'),
            ('bad://user:secret@a/', 'a'),
            ('user:one secret@[::1', '?'),
            ('', '?'),
        ):
            self.assertEqual(name, address.proxy(url))
