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
"""Redirects to anywhere: each leads where libcurl leads, or nowhere.

What no test names. Locations are put together from a seed, so that a failure
comes again. The server is a proxy, to which every host is the same, and which
is told the whole URL.
"""

from __future__ import annotations

import random

import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.config import settings
from fuel_agent_curl.engine import probe
from fuel_agent_curl.harmful import faults
from tests.support import engine

SECRET = 'c2VjcmV0'
URLS = (
    'http://good/a/b?q',
    'http://good:8080/',
    'http://user:%s@good/a' % SECRET,
    'http://[::1]/a/',
)
SCHEMES = (
    *('', '', '', 'http:', 'http:', 'HTTP:', 'hTTp:', 'https:', 'ftp:'),
    *('http', ':', 'javascript:', 'httpx:', ' http:', '\thttp:'),
)
SLASHES = ('', '/', '//', '//', '//', '//', '///', '////', '\\\\', '/\\')
USERS = (
    *('', '', '', '', 'u@', 'u:p@', 'good@', 'good:80@', 'a@b@', '@', ':@'),
    *('good%40', 'good\\@', 'good#@', 'good?@', 'good/@', 'u p@'),
)
HOSTS = (
    *('good', 'GOOD', 'g%6fod', 'evil', 'evil', 'evil.good', 'good.', ''),
    *('good.evil', '[::1]', '[::1%25lo]', '[fe80::1%lo]', '127.1', '0x7f.1'),
    *('2130706433', 'good%2eevil', 'good%00', 'good%0d', 'ev il', 'ev\til'),
    *('good\\', 'good,evil', 'good;evil', 'xn--evil', '%65vil', '\xe9vil'),
)
PORTS = ('', '', '', '', ':', ':80', ':8080', ':080', ':0', ':x', ':99999')
PATHS = (
    *('', '/', '/x', 'x', '/../x', '/./', '/%2e%2e/y', '/a b', '/\xe9', '.'),
    *('/{b}|^"<>`', '?q', '?a b', '#f', ';p', '/a//b', '/\\evil', '?\xe9#z'),
    *('/%', '/%zz', '/%00', '/x ', '//evil/x', '/http://evil/', '..', "/'"),
)


def location(dice: random.Random) -> str:
    """Put a Location together, most of them near to a URL."""
    parts = map(dice.choice, (SCHEMES, SLASHES, USERS, HOSTS, PORTS, PATHS))
    text = ''.join(parts)
    while dice.random() < 0.25:
        at = dice.randrange(len(text) + 1)
        text = (
            text[:at] + dice.choice('/\\:@?#%.[] \t;&=a\x0b\x7f') + text[at:]
        )
    return text


class TestAnyRedirects(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.proxy = 'http://127.0.0.1:%d' % self.server.port
        self.given = {
            **engine.SETTINGS,
            'proxy': self.proxy,
            'attempts': 1,
            'headers': (
                'X-Token: ' + SECRET,
                'Authorization: Bearer ' + SECRET,
                'Cookie: a=' + SECRET,
            ),
        }

    def lead(self, place: str) -> None:
        self.server.requests.clear()
        self.server.script(faults.redirect(place), then=faults.status(404))

    def by_libcurl(self, url: str, place: str) -> list[str]:
        """Return what libcurl asks for after the redirect."""
        self.lead(place)
        handle = pycurl.Curl()
        for option, value in (
            (pycurl.URL, url),
            (pycurl.PROXY, self.proxy),
            (pycurl.NOPROXY, ''),
            (pycurl.FOLLOWLOCATION, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.REDIR_PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.WRITEFUNCTION, lambda piece: None),
            (pycurl.TIMEOUT, 20),
        ):
            handle.setopt(option, value)
        try:
            handle.perform()
        except pycurl.error:
            pass
        finally:
            handle.close()
        return self.targets()

    def targets(self) -> list[str]:
        return [
            '%s %s' % (request.method, request.target)
            for request in self.server.requests[1:]
        ]

    def assert_secrets_stayed(self, url: str, place: str) -> None:
        first, *others = self.server.requests
        self.assertEqual(SECRET, first.field('X-Token'))
        for request in others:
            home = first.target.partition('/')[2].split('/')[1]
            there = request.target.partition('/')[2].split('/')[1:2]
            if request.method == 'GET' and there in ([home], [home.upper()]):
                continue
            for _name, value in request.fields:
                self.assertNotIn(SECRET, value, url + ' ' + place)

    def test_where_libcurl_leads(self) -> None:
        dice = random.Random(2)
        led = refused = 0
        for _number in range(1500):
            url, place = dice.choice(URLS), location(dice)
            theirs = self.by_libcurl(url, place)
            self.lead(place)
            error = self.assertRaises(
                errors.Error, probe.probe, url, settings.Settings(**self.given)
            )
            self.assertNotIsInstance(
                error, errors.OptionError, url + ' ' + place
            )
            self.assert_secrets_stayed(url, place)
            if self.targets() == theirs:
                led += bool(theirs)
                continue
            # A name that is not ASCII is refused; nothing else is.
            self.assertEqual([], self.targets(), url + ' ' + place)
            self.assertIn('\xe9vil', place)
            self.assertIsInstance(error, errors.RedirectError)
            refused += 1
        self.assertGreater(led, 500)
        self.assertGreater(refused, 5)
        self.assertLess(refused, 60)

    def test_copies_and_probes_alike(self) -> None:
        dice = random.Random(3)
        image = harmful.Representation(self.content)
        for number in range(150):
            url, place = dice.choice(URLS), location(dice)
            theirs = self.by_libcurl(url, place)
            if theirs and theirs[0].startswith('CONNECT'):
                continue
            self.server.representations['/%d' % number] = image
            self.lead(place)
            outcome = self.download(
                url, connections=dice.choice((1, 4)), **self.given
            )
            self.assertIsInstance(outcome.error, errors.Error)
            self.assert_secrets_stayed(url, place)
            self.assertIn(self.targets(), ([], theirs), url + ' ' + place)
