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

"""Through a SOCKS proxy."""

from __future__ import annotations

from typing import Any

import fixtures as fixtures_library

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import engine
from tests.support import socks

#: Nobody but the proxy knows it.
HOST = 'image.invalid'


class TestSocks(engine.EngineTestCase):
    def start_proxy(self, *given: Any) -> socks.SocksProxy:
        return self.useFixture(
            socks.SocksProxy({HOST: '127.0.0.1', '::1': '127.0.0.1'}, *given)
        )

    def test_the_proxy_resolves_the_name(self) -> None:
        proxy = self.start_proxy()
        self.assert_arrives(
            faults.cut(9000),
            url=self.server.url(host=HOST),
            proxy='socks5h://127.0.0.1:%d' % proxy.port,
            ranges=[None, 9000],
        )
        self.assertEqual([HOST] * 2, proxy.asked)

    def test_we_resolve_the_name(self) -> None:
        proxy = self.start_proxy()
        self.assert_arrives(
            url=self.server.url(host='localhost'),
            proxy='socks5://127.0.0.1:%d' % proxy.port,
            requests=1,
        )
        self.assertIn(proxy.asked, (['127.0.0.1'], ['::1']))

    def test_environment(self) -> None:
        proxy = self.start_proxy()
        self.useFixture(
            fixtures_library.EnvironmentVariable(
                'all_proxy', 'socks5h://127.0.0.1:%d' % proxy.port
            )
        )
        self.assert_arrives(url=self.server.url(host=HOST), requests=1)

    def test_host_unreachable_for_a_while(self) -> None:
        proxy = self.start_proxy()
        proxy.failures = 2
        outcome = self.assert_arrives(
            url=self.server.url(host=HOST),
            proxy='socks5h://127.0.0.1:%d' % proxy.port,
            requests=1,
        )
        self.assertEqual([errors.ConnectError] * 2, outcome.retries)

    def test_credentials(self) -> None:
        proxy = self.start_proxy(('user', 'Pa55word'))
        url = self.server.url(host=HOST)
        self.assert_arrives(
            url=url, proxy='socks5h://user:Pa55word@127.0.0.1:%d' % proxy.port
        )
        for credentials in ('user:wrong@', ''):
            outcome = self.assert_fails(
                errors.OptionError,
                url=url,
                proxy='socks5h://%s127.0.0.1:%d' % (credentials, proxy.port),
                requests=1,
            )
            self.assertEqual([], outcome.retries)
            self.assertNotIn('wrong', str(outcome.error))
