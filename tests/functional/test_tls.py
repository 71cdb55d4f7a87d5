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

"""TLS: no trust is permanent, everything else is tried again."""

from __future__ import annotations

from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine

Certificate = endpoints.Certificate


class TestTLS(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        self.serve(Certificate.GOOD)

    def serve(self, certificate: Certificate) -> None:
        """Let ``self.server`` be one with this certificate."""
        context = self.authority.context(certificate)
        self.server = self.start_server(tls=context)

    def fetch(self, url: str | None = None, **how: Any) -> Any:
        return super().fetch(url, **{'cacert': self.authority.path, **how})

    def test_trusted(self) -> None:
        self.assert_arrives(requests=1)
        self.assert_arrives(url=self.server.url(host='localhost'), requests=2)

    def test_untrusted_expired_wrong_name_or_early_fails_at_once(self) -> None:
        for certificate in Certificate:
            if certificate is Certificate.GOOD:
                continue
            self.serve(certificate)
            self.assert_fails(errors.CertificateError, requests=0)
            self.assertEqual(1, self.server.connections, certificate.name)

    def test_insecure_does_not_look(self) -> None:
        for certificate in Certificate:
            self.serve(certificate)
            self.assert_arrives(requests=1, insecure=True)

    def test_without_the_authority_it_is_not_trusted(self) -> None:
        self.assert_fails(errors.CertificateError, cacert=None, requests=0)

    def test_missing_authority_file_fails_at_once(self) -> None:
        outcome = self.download(cacert=self.directory + '/missing')
        self.assertIsInstance(
            outcome.error, (errors.CertificateError, errors.OptionError)
        )
        self.assertEqual([], self.server.requests)

    def test_cut_without_close_notify_is_resumed(self) -> None:
        for ending in harmful.Ending:
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(9000, ending=ending), ranges=[None, 9000]
            )

    def test_cut_without_close_notify_ends_no_body(self) -> None:
        # The end of the connection is the end of the body, if it is orderly.
        self.assert_arrives([faults.http_1_0()], requests=1)
        self.server.requests.clear()
        self.assert_arrives(
            [faults.http_1_0(), faults.cut(9000)], ranges=[None, 9000]
        )

    def test_cut_of_a_chunked_body(self) -> None:
        self.assert_arrives(
            [faults.chunked(), faults.cut(9063)], ranges=[None, 9000]
        )

    def test_reset_in_the_handshake_is_tried_again(self) -> None:
        self.server.greet(
            [harmful.Ending.RESET],
            [harmful.Ending.CUT],
            [b'\x15\x03\x03\x00\x02\x02\x28', harmful.Ending.CUT],
        )
        self.assert_arrives(requests=1)
        self.assertEqual(4, self.server.connections)

    def test_no_tls_at_all_is_tried_again(self) -> None:
        self.server.greet(
            [b'HTTP/1.1 400 Bad Request\r\n\r\n', harmful.Ending.CUT]
        )
        self.assert_arrives(requests=1)

    def test_no_tls_at_all_for_good_uses_up_the_attempts(self) -> None:
        plain: list[harmful.Step] = [
            b'HTTP/1.1 400 Bad Request\r\n\r\n',
            harmful.Ending.CUT,
        ]
        self.server.greet(*[plain] * 10)
        self.assert_gives_up(errors.TLSError, requests=0)
        self.assertEqual(4, self.server.connections)

    def test_stall_in_the_handshake_is_a_connect_timeout(self) -> None:
        self.server.greet([harmful.Pause()])
        outcome = self.assert_arrives(requests=1, connect_timeout=0.5)
        self.assertEqual([errors.ConnectError], outcome.retries)

    def test_stall_mid_body_is_resumed(self) -> None:
        self.assert_arrives(faults.stall(9000), ranges=[None, 9000])

    def test_clients_certificate(self) -> None:
        context = self.authority.context()
        self.authority.demand(context)
        self.server = self.start_server(tls=context)
        path = self.authority.client(self.directory)
        self.assert_arrives(cert=path, requests=1)
        outcome = self.download(attempts=2)
        self.assertIsInstance(outcome.error, errors.Error)

    def test_a_key_that_cannot_be_read(self) -> None:
        """Also where it is not needed: it may be, after a redirect."""
        plain = self.start_server()
        missing = self.directory + '/missing'
        for how in ({'cert': missing}, {'key': missing}):
            for url in (plain.url(), self.server.url()):
                outcome = self.download(url, attempts=2, **how)
                self.assertIsInstance(outcome.error, errors.OptionError)
                self.assertIn(missing, str(outcome.error))
        self.assertEqual([], plain.requests + self.server.requests)

    def test_redirect_to_plain_http_is_refused(self) -> None:
        plain = self.start_server()
        self.assert_fails(
            errors.RedirectError, faults.redirect(plain.url()), requests=1
        )
        self.assertEqual([], plain.requests)

    def test_redirect_to_tls_is_followed(self) -> None:
        plain = self.start_server()
        plain.script(then=faults.redirect(self.server.url()))
        self.assert_arrives(
            faults.reset(9000), url=plain.url(), ranges=[None, 9000]
        )

    def test_http_to_a_tls_port(self) -> None:
        url = self.server.url().replace('https:', 'http:')
        outcome = self.download(url, attempts=2)
        self.assertIsInstance(outcome.error, errors.AttemptsExhausted)

    def test_http_2_is_asked_for_and_http_1_1_taken(self) -> None:
        self.assert_arrives(http_version='2', requests=1)
