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

"""Tests of ``codes``: what libcurl's numbers and texts become."""

from __future__ import annotations

import datetime

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.rules import codes
from fuel_agent_curl.rules import head as http
from fuel_agent_curl.rules import retry
from tests import base

SECRET = 'Pa55word'


def error(
    code: int,
    message: str = '',
    *,
    resolving: bool = False,
    connecting: bool = False,
    redirected: bool = False,
) -> errors.Error:
    return codes.error(
        code,
        message,
        resolving=resolving,
        connecting=connecting,
        redirected=redirected,
    )


class TestClasses(base.TestCase):
    def test_each_code_has_its_class(self) -> None:
        for code, kind in (
            (4, errors.OptionError),
            (5, errors.ResolveError),
            (6, errors.ResolveError),
            (7, errors.ConnectError),
            (8, errors.ProtocolError),
            (18, errors.ReceiveError),
            (33, errors.ContentRangeError),
            (35, errors.TLSError),
            (45, errors.ConnectError),
            (52, errors.ReceiveError),
            (56, errors.ReceiveError),
            (60, errors.CertificateError),
            (77, errors.CertificateError),
            (55, errors.ReceiveError),
            (92, errors.ReceiveError),
            (95, errors.ReceiveError),
            (96, errors.ConnectError),
            (97, errors.ConnectError),
            # Of a later libcurl: whatever it is, another attempt may help.
            (999, errors.ReceiveError),
        ):
            self.assertIs(kind, type(error(code)), str(code))

    def test_a_proxy_that_is_down_is_not_the_server(self) -> None:
        for code, message, words in (
            (7, 'Failed to connect to p:1 over proxy p after 0 ms: x', 'runs'),
            (5, 'Could not resolve proxy: p', 'address of the proxy'),
            (97, 'cannot complete SOCKS5 connection to h', 'reaches the'),
            (7, 'Failed to connect to h:1 after 0 ms: x', 'server is up'),
            (6, 'Could not resolve host: h', 'name server'),
        ):
            self.assertIn(words, str(error(code, message).hint))

    def test_a_timeout_is_told_by_what_was_waited_for(self) -> None:
        for kind, resolving, connecting in (
            (errors.ResolveError, True, True),
            (errors.ConnectError, False, True),
            (errors.Stalled, False, False),
            (errors.Stalled, True, False),
        ):
            made = error(28, resolving=resolving, connecting=connecting)
            self.assertIs(kind, type(made))

    def test_quic_to_nobody_is_no_connection(self) -> None:
        text = 'Failed to connect to h: Could not connect to server'
        made = error(55, text, connecting=True)
        self.assertIs(errors.ConnectError, type(made))
        self.assertFalse(retry.is_permanent(made))

    def test_certificate_behind_the_code_of_quic(self) -> None:
        for text in (
            'SSL certificate OpenSSL verify result: certificate has expired',
            'SSL certificate problem: unable to get local issuer certificate',
            "SSL: no alternative certificate subject name matches 'h'",
            "SSL: certificate subject name 'g' does not match 'h'",
            'server certificate verification failed. CAfile: none',
        ):
            for code in (7, 28, 55, 96):
                made = error(code, text, connecting=True)
                self.assertIs(errors.CertificateError, type(made), text)
                self.assertTrue(retry.is_permanent(made))
                self.assertIn(text, str(made))
            # There is a connection: it was acceptable.
            self.assertIs(errors.ReceiveError, type(error(55, text)))

    def test_certificate_is_named_whatever_the_text(self) -> None:
        for text in (
            'SSL certificate problem: certificate has expired',
            'Failed to connect to h: Could not connect to server',
        ):
            made = error(60, text, connecting=True)
            self.assertIs(errors.CertificateError, type(made))
            self.assertIn('certificate', made.message)
            self.assertIn(text, made.message)

    def test_malformed_url(self) -> None:
        self.assertIs(errors.OptionError, type(error(3)))
        self.assertIs(errors.RedirectError, type(error(3, redirected=True)))

    def test_invalid_length(self) -> None:
        made = error(8, 'Invalid Content-Length: value')
        self.assertIs(errors.ContentLengthError, type(made))

    def test_two_locations(self) -> None:
        made = error(8, 'Multiple Location headers')
        self.assertIs(errors.RedirectError, type(made))

    def test_code_is_kept(self) -> None:
        made = error(56, 'Recv failure')
        assert isinstance(made, errors.NetworkError)
        self.assertEqual(56, made.curl_code)
        self.assertIn('Recv failure (curl error 56)', str(made))


class TestVersions(base.TestCase):
    def test_numbers(self) -> None:
        for name, number in (('1.0', 1), ('1.1', 2), ('2', 4), ('3', 30)):
            self.assertEqual(number, codes.http_version(name, -1))

    def test_each_setting_has_one(self) -> None:
        for name in settings.HTTP_VERSIONS:
            codes.http_version(name, -1)

    def test_libcurl_without_it(self) -> None:
        for name, bit in (('2', 1 << 16), ('3', 1 << 25)):
            codes.http_version(name, bit)
            for features in (0, ~bit):
                made = self.assertRaises(
                    errors.OptionError, codes.http_version, name, features
                )
                self.assertIn('without HTTP/%s;' % name, str(made))
        for name in ('1.0', '1.1'):
            codes.http_version(name, 0)


class TestTunnel(base.TestCase):
    """A proxy's answer to CONNECT that is no 2xx."""

    NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

    def refused(self, status: int, **fields: str) -> errors.Error:
        head = http.Head(status, '1.1', 'Oh', tuple(fields.items()))
        return codes.tunnel_refused(head, self.NOW)

    def test_a_redirect_leads_nowhere(self) -> None:
        for status in (300, 302, 307):
            made = self.refused(status, location='http://x/')
            self.assertIs(errors.RedirectError, type(made))
            self.assertIn(str(status), str(made))
            self.assertNotIn('x/', str(made))

    def test_a_status_is_told(self) -> None:
        for status in (403, 407, 503):
            made = self.refused(status, **{'retry-after': '7'})
            assert isinstance(made, errors.StatusError)
            self.assertEqual((status, 7.0), (made.status, made.retry_after))

    def test_what_to_do_is_not_of_the_server(self) -> None:
        for status in (403, 404, 503):
            self.assertIn('no_proxy', str(self.refused(status)))
        # The credentials for the proxy are: see the hints of statuses.
        self.assertIsNone(self.refused(407).hint)


class TestProxy(base.TestCase):
    def test_one_that_is_no_url_is_not_tried_again(self) -> None:
        for code, text in (
            (5, "Unsupported proxy syntax in 'x:y:z': Bad port"),
            (7, "Unsupported proxy scheme for 'gopher://x'"),
            (4, "Unsupported proxy 'https://x', libcurl is built without it"),
        ):
            made = error(code, text, connecting=True)
            self.assertIs(errors.OptionError, type(made))
            self.assertTrue(retry.is_permanent(made))
            self.assertIn('Unsupported proxy', str(made))
            self.assertIn('http://HOST:PORT', str(made))

    def test_one_that_refuses_the_user_is_not_tried_again(self) -> None:
        for text in (
            'User was rejected by the SOCKS5 server (1 1).',
            'No authentication method was acceptable.',
        ):
            made = error(97, text, connecting=True)
            self.assertTrue(retry.is_permanent(made))
            self.assertIn('password', str(made))

    def test_one_that_does_not_get_through_is(self) -> None:
        text = 'cannot complete SOCKS5 connection to h. (4)'
        made = error(97, text, connecting=True)
        self.assertFalse(retry.is_permanent(made))

    def test_its_password_is_not_shown(self) -> None:
        for proxy in (
            'http://user:%s@[::1:8',
            'user:%s@[::1:8',
            "user:it's%s@[::1:8",
            'user:one %s@h:1',
            'user:a"%s@',
            'socks5h://user:a/%s@h',
            'user:\n%s@h',
        ):
            text = "Unsupported proxy syntax in '%s': Bad IPv6 address"
            made = error(5, text % (proxy % SECRET))
            self.assertNotIn(SECRET, str(made) + repr(made))
            self.assertIn('Bad IPv6 address', str(made))

    def test_urls_are_shown_without_credentials(self) -> None:
        text = 'Could not do it over http://user:%s@proxy:3128' % SECRET
        made = error(7, text)
        self.assertNotIn(SECRET, str(made))
        self.assertIn('http://proxy:3128', str(made))
