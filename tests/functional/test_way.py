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
"""The way to the server: what ``probe`` and the log of debugging tell."""

from __future__ import annotations

import logging
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.engine import probe
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine

SECRET = 'c2VjcmV0'


class TestWay(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        self.secure = self.start_server(tls=self.authority.context())
        self.name_of_proxy = '127.0.0.1:%d' % self.server.port
        self.proxy = 'http://%s@%s' % (SECRET, self.name_of_proxy)

    def probe(self, url: str, **how: Any) -> probe.Probe:
        how = {**engine.SETTINGS, 'cacert': self.authority.path, **how}
        return probe.probe(url, settings.Settings(**how))

    def test_straight(self) -> None:
        found = self.probe(self.server.url())
        self.assertEqual(
            ('127.0.0.1', self.server.port, None, None, None, None, None),
            (
                *(found.ip, found.port, found.proxy, found.passed_by),
                *(found.tls, found.issuer, found.expires),
            ),
        )

    def test_tls(self) -> None:
        found = self.probe(self.secure.url())
        self.assertEqual('TLSv1.3', found.tls)
        self.assertIn('Testing CA', found.issuer or '')
        self.assertIn('GMT', found.expires or '')
        self.assertGreater(found.timings['first_byte'], found.timings['tls'])

    def test_of_the_last_address(self) -> None:
        """Not of one that led there."""
        self.secure.script(
            then=faults.redirect(self.secure.url('/image')), path='/0'
        )
        self.server.script(
            then=faults.redirect(self.secure.url('/0')), path='/0'
        )
        found = self.probe(self.server.url('/0'))
        self.assertEqual(self.secure.port, found.port)
        self.assertEqual(self.secure.url('/image'), found.effective_url)

    def test_by_a_proxy(self) -> None:
        found = self.probe('http://image.invalid/image', proxy=self.proxy)
        self.assertEqual(self.name_of_proxy, found.proxy)
        self.assertIsNone(found.passed_by)
        found = self.probe(
            self.server.url(), proxy='http://x:1', no_proxy='127.*'
        )
        self.assertIsNone(found.proxy)
        self.assertEqual('x:1', found.passed_by)

    def test_a_proxy_that_says_nothing(self) -> None:
        self.server.script(then=faults.stall(0, in_head=True))
        for url in 'http://image.invalid/', 'https://image.invalid/':
            error = self.assertRaises(
                errors.NetworkError,
                self.probe,
                url,
                proxy=self.proxy,
                deadline=0.3,
            )
            self.assertIn('by the proxy ' + self.name_of_proxy, str(error))

    def test_a_stall_names_the_proxy(self) -> None:
        for offset in 0, 100:
            outcome = self.assert_gives_up(
                errors.Stalled,
                faults.stall(offset),
                url='http://image.invalid/image',
                proxy=self.proxy,
                first_byte_timeout=0.5,
                attempts=1,
            )
            self.assertIn(
                'by the proxy ' + self.name_of_proxy, str(outcome.error)
            )

    def test_log_of_debugging(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        outcome = self.download(
            self.secure.url().replace('://', '://user:%s@' % SECRET),
            cacert=self.authority.path,
            headers=('X-Token: ' + SECRET,),
        )
        self.assertIsNone(outcome.error)
        self.assertIn('to 127.0.0.1 port %d, ' % self.secure.port, log.output)
        self.assertIn('TLSv1.3, certificate by ', log.output)
        outcome = self.download(
            'http://image.invalid/image?' + SECRET, proxy=self.proxy
        )
        self.assertIsNone(outcome.error)
        self.assertIn('by the proxy ' + self.name_of_proxy, log.output)
        self.assertNotIn(SECRET, log.output)

    def test_an_exception_is_logged_once(self) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        for _time in range(2):
            outcome = self.download(
                proxy='http://%s@y:1' % SECRET, no_proxy='127.0.0.1,a:b:'
            )
            self.assertIsNone(outcome.error)
        self.assertEqual(1, log.output.count('without the proxy y:1'))
        self.assertEqual(1, log.output.count('no_proxy: a:b: '))
        self.assertNotIn(SECRET, log.output)
