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

"""HTTP/3 where it is not to be had: another version, or a plain error."""

from __future__ import annotations

import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.engine import handles
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import http3
from tests.support import segmented
from tests.support import socks

Certificate = endpoints.Certificate


class TestWithoutIt(segmented.SegmentsTestCase):
    """The server, the way there, the URL or libcurl has no HTTP/3."""

    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        self.serve(Certificate.GOOD)

    def serve(self, certificate: Certificate) -> None:
        """Let ``self.server`` be one with TLS, over TCP alone."""
        context = self.authority.context(certificate)
        self.server = self.start_server(tls=context)

    def fetch(self, url: str | None = None, **how: Any) -> Any:
        how = {'cacert': self.authority.path, 'http_version': '3', **how}
        return super().fetch(url, **how)

    def drop_udp(self) -> None:
        """Have the port of ``self.server`` answer no UDP."""
        self.useFixture(http3.SilentPort(self.server.port))

    def test_server_refuses_it(self) -> None:
        self.need_http_version('3')
        self.assert_arrives(faults.cut(9000), connections=1, requests=2)
        self.server.requests.clear()
        self.assert_arrives()
        self.assert_each_segment_once()

    def test_it_gets_no_answer(self) -> None:
        self.need_http_version('3')
        self.drop_udp()
        began = time.monotonic()
        self.assert_arrives(connect_timeout=20)
        self.assert_each_segment_once()
        self.assertLess(time.monotonic() - began, 15)

    def test_certificate_fails_at_once(self) -> None:
        self.need_http_version('3')
        for certificate in Certificate:
            if certificate is Certificate.GOOD:
                continue
            self.serve(certificate)
            outcome = self.assert_fails(errors.CertificateError, requests=0)
            self.assertEqual([], outcome.retries)
            self.assertEqual(1, self.server.connections, certificate.name)

    def test_certificate_where_it_gets_no_answer(self) -> None:
        # libcurl waits for QUIC until connect_timeout, but once.
        self.need_http_version('3')
        self.serve(Certificate.WRONG_NAME)
        self.drop_udp()
        outcome = self.assert_fails(
            errors.CertificateError, requests=0, connect_timeout=0.5
        )
        self.assertEqual([], outcome.retries)
        self.assertEqual(1, self.server.connections)

    def test_http_url(self) -> None:
        self.need_http_version('3')
        self.server = self.start_server()
        self.assert_arrives()
        self.assert_each_segment_once()

    def test_proxy(self) -> None:
        self.need_http_version('3')
        proxy = self.useFixture(socks.SocksProxy({}))
        self.assert_arrives(proxy='socks5://127.0.0.1:%d' % proxy.port)
        self.assert_each_segment_once()
        self.assertIn('127.0.0.1', proxy.asked)

    def test_libcurl(self) -> None:
        for version in ('2', '3'):
            self.patch(handles, 'features', lambda: 0)
            outcome = self.assert_fails(
                errors.OptionError, requests=0, http_version=version
            )
            self.assertEqual([], outcome.retries)
            self.assertIn('without HTTP/' + version, str(outcome.error))
            self.assertEqual(0, self.server.connections)
