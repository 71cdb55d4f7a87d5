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

"""Through HTTP proxies: squid, and those that answer badly."""

from __future__ import annotations

import threading
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import caches
from tests.support import endpoints
from tests.support import engine
from tests.support import netns
from tools.fleet import servers

#: Nobody but the proxies knows it.
HOST = 'image.invalid'


class _ProxyTestCase(engine.EngineTestCase):
    """The harmful server is behind a proxy.

    :ivar squid: the ``servers.Squid`` of the test.
    """

    squid: servers.Squid

    def setUp(self) -> None:
        super().setUp()
        self.need_program('squid')
        self.url = self.server.url(host=HOST)

    def start_squid(self, *given: Any, **named: Any) -> Any:
        """Start a squid that knows ``HOST``."""
        return self.useFixture(caches.Squid(*given, HOST, **named)).server

    def assert_logged(self, count: int, part: str) -> None:
        """``part`` is in as many lines of squid's log.

        Which may be written some time after the answer.
        """
        netns.wait_for(part, lambda: self.logged(part) >= count, 5)
        self.assertEqual(count, self.logged(part))

    def logged(self, part: str) -> int:
        return sum(part in line for line in self.squid.accesses())

    def start_origin_with_tls(self) -> Any:
        """Start an https server, and trust it; return it."""
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        return self.start_server(tls=self.authority.context())

    def set(self, name: str, value: str | None) -> None:
        """Set a variable of the environment, or unset it."""
        self.useFixture(fixtures.EnvironmentVariable(name, value))


class TestSquid(_ProxyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.squid = self.start_squid(caches.PROXY)

    def test_resume_after_a_cut(self) -> None:
        outcome = self.assert_arrives(
            faults.cut(9000),
            faults.reset(9000),
            url=self.url,
            proxy=self.squid.url,
            ranges=[None, 9000, 18000],
            if_ranges=[None, '"1"', '"1"'],
        )
        self.assertEqual(2, outcome.stats.resumes)
        self.assertEqual(engine.LENGTH, outcome.stats.received)
        self.assert_logged(3, ' GET http://%s:' % HOST)

    def test_several_connections(self) -> None:
        self.name(content=self.content * 10)
        self.assert_arrives(
            faults.cut(9000),
            url=self.url,
            proxy=self.squid.url,
            connections=3,
            segment_size=65536,
            chunk_size=65536,
        )
        self.assertGreater(len(self.server.requests), 3)

    def test_https_goes_through_a_tunnel(self) -> None:
        origin = self.start_origin_with_tls()
        origin.script(faults.cut(9000))
        outcome = self.download(
            origin.url(host='localhost'),
            proxy=self.squid.url,
            cacert=self.authority.path,
        )
        self.assertIsNone(outcome.error)
        self.assert_same(self.content, outcome.data)
        self.assertEqual([None, 'bytes=9000-'], origin.ranges)
        self.assert_logged(2, ' CONNECT localhost:')

    def test_a_proxy_asked_by_https(self) -> None:
        authority = self.useFixture(endpoints.Authority(self.directory))
        text = 'https_port 127.0.0.1:{port} tls-cert=proxy.pem\n'
        squid = self.start_squid(
            caches.PROXY.replace('http_port 127.0.0.1:{port}\n', text),
            files={'proxy.pem': authority.server()},
        )
        proxy = squid.url.replace('http:', 'https:')
        self.assert_fails(
            errors.CertificateError, url=self.url, proxy=proxy, requests=0
        )
        self.assert_arrives(
            url=self.url, proxy=proxy, cacert=authority.path, requests=1
        )

    def test_killed_and_started_again(self) -> None:
        self.server.script(faults.stall(9000))
        results = []
        thread = threading.Thread(
            target=lambda: results.append(
                self.download(
                    self.url,
                    proxy=self.squid.url,
                    low_speed_time=30,
                    attempts=0,
                    backoff=0.1,
                    backoff_max=0.2,
                )
            )
        )
        thread.start()
        self.assertTrue(self.server.wait(1))
        self.squid.kill()
        thread.join(0.5)
        self.squid.start()
        thread.join()
        self.assertIsNone(results[0].error)
        self.assert_same(self.content, results[0].data)
        self.assertIn(errors.ConnectError, results[0].retries)

    def test_origin_that_is_down(self) -> None:
        # squid says 503 in its place.
        self.server.down()
        outcome = self.assert_gives_up(
            errors.StatusError, url=self.url, proxy=self.squid.url
        )
        self.assertEqual(503, outcome.error.__cause__.status)
        timer = threading.Timer(0.3, self.server.up)
        timer.start()
        self.addCleanup(timer.join)
        self.assert_arrives(
            url=self.url, proxy=self.squid.url, attempts=0, backoff=0.1
        )

    def test_name_that_the_proxy_cannot_resolve(self) -> None:
        outcome = self.assert_gives_up(
            errors.StatusError,
            url='http://elsewhere.invalid/image',
            proxy=self.squid.url,
        )
        # By what the name server of this machine says of it.
        self.assertIn(outcome.error.__cause__.status, (502, 503))


class TestAuthentication(_ProxyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.squid = self.useFixture(
            caches.Squid.asking('us@er Pa55/word', HOST)
        ).server

    def proxy(self, credentials: str) -> str:
        return self.squid.url.replace('://', '://%s@' % credentials)

    def test_right_ones(self) -> None:
        proxy = self.proxy('us%40er:Pa55%2Fword')
        self.assert_arrives(faults.cut(9000), url=self.url, proxy=proxy)
        for request in self.server.requests:
            self.assertIsNone(request.field('Proxy-Authorization'))
        origin = self.start_origin_with_tls()
        outcome = self.download(
            origin.url(host='localhost'),
            proxy=proxy,
            cacert=self.authority.path,
        )
        self.assert_same(self.content, outcome.data)
        self.set('http_proxy', proxy)
        self.assert_arrives(url=self.url)

    def test_wrong_ones_fail_at_once(self) -> None:
        denied = 0
        for url in (self.url, 'https://%s/image' % HOST):
            for credentials in ('us%40er:wrong', 'x:Pa55%2Fword', None):
                outcome = self.assert_fails(
                    errors.StatusError,
                    url=url,
                    proxy=self.proxy(credentials)
                    if credentials
                    else self.squid.url,
                    requests=0,
                )
                self.assertEqual(407, outcome.error.status)
                self.assertIn('407', str(outcome.error))
                self.assertNotIn('wrong', str(outcome.error))
                denied += 1
                self.assert_logged(denied, ' TCP_DENIED/407 ')


class TestEnvironment(_ProxyTestCase):
    """The variables, as curl reads them."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = self.start_squid(caches.PROXY).url

    def assert_used(self, used: bool, url: str, **how: Any) -> None:
        """Only a proxy knows the name."""
        outcome = self.download(url, attempts=1, **how)
        if used:
            self.assertIsNone(outcome.error)
            self.assert_same(self.content, outcome.data)
        else:
            self.assertIsInstance(outcome.error.__cause__, errors.ResolveError)

    def test_which_variable_is_read(self) -> None:
        tls = self.start_origin_with_tls().url(host=HOST)
        # Its certificate is for another name; and it is not what matters.
        how = {'insecure': True}
        for name, for_http, for_https in (
            ('http_proxy', True, False),
            # A CGI script's client can set it, by a field called "Proxy".
            ('HTTP_PROXY', False, False),
            ('https_proxy', False, True),
            ('HTTPS_PROXY', False, True),
            ('all_proxy', True, True),
            ('ALL_PROXY', True, True),
        ):
            with fixtures.EnvironmentVariable(name, self.proxy):
                self.assert_used(for_http, self.url)
                self.assert_used(for_https, tls, **how)

    def test_the_setting_comes_first(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        self.set('http_proxy', 'http://127.0.0.1:%d' % port)
        self.assert_used(True, self.url, proxy=self.proxy)
        self.set('http_proxy', self.proxy)
        self.assert_used(True, self.url)
        # Empty: none.
        self.assert_used(False, self.url, proxy='')


class TestNoProxy(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        port = self.useFixture(endpoints.ClosedPort()).port
        self.proxy = 'http://127.0.0.1:%d' % port

    #: The list, the host, and whether it is asked without the proxy. libcurl
    #: itself knows every name below localhost.
    TABLE = (
        ('', '127.0.0.1', False),
        ('*', '127.0.0.1', True),
        ('*', 'localhost', True),
        ('127.0.0.1', '127.0.0.1', True),
        ('127.0.0.2', '127.0.0.1', False),
        ('elsewhere, 127.0.0.1', '127.0.0.1', True),
        ('127.0.0.0/8', '127.0.0.1', True),
        ('10.0.0.0/8,127.0.0.1/32', '127.0.0.1', True),
        ('127.0.1.0/24', '127.0.0.1', False),
        ('127.0.0.0/8', 'localhost', False),
        ('localhost', 'localhost', True),
        ('LOCALHOST', 'localhost', True),
        ('localhost', 'a.site.localhost', True),
        ('site.localhost', 'a.site.localhost', True),
        ('.site.localhost', 'a.site.localhost', True),
        ('site.localhost', 'asite.localhost', False),
        ('a.site.localhost', 'b.site.localhost', False),
    )

    def assert_left_out(self, left_out: bool, host: str, **how: Any) -> None:
        outcome = self.download(self.server.url(host=host), attempts=1, **how)
        if left_out:
            self.assertIsNone(outcome.error, str(how))
        else:
            self.assertIsInstance(
                outcome.error.__cause__, errors.ConnectError, str(how)
            )

    def test_setting(self) -> None:
        for listed, host, left_out in self.TABLE:
            self.assert_left_out(
                left_out, host, proxy=self.proxy, no_proxy=listed
            )

    def test_environment(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable('http_proxy', self.proxy))
        for listed, host, left_out in self.TABLE:
            for name in ('no_proxy', 'NO_PROXY'):
                with fixtures.EnvironmentVariable(name, listed):
                    self.assert_left_out(left_out, host)

    def test_the_setting_comes_first(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable('no_proxy', '127.0.0.1'))
        self.assert_left_out(True, '127.0.0.1', proxy=self.proxy)
        self.assert_left_out(False, '127.0.0.1', proxy=self.proxy, no_proxy='')


class TestAnswers(engine.EngineTestCase):
    """A proxy that cannot get through; the harmful server is one."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = 'http://127.0.0.1:%d' % self.server.port

    def test_another_attempt_may_mend_it(self) -> None:
        for code in (502, 503, 504):
            for url, method in (
                ('http://%s/image' % HOST, 'GET'),
                ('https://%s/image' % HOST, 'CONNECT'),
            ):
                self.server.requests.clear()
                outcome = self.assert_gives_up(
                    errors.StatusError,
                    faults.status(code),
                    url=url,
                    proxy=self.proxy,
                    requests=4,
                )
                self.assertEqual(code, outcome.error.__cause__.status)
                self.assertEqual(method, self.server.requests[0].method)

    def test_tunnel_is_waited_for_as_asked(self) -> None:
        outcome = self.assert_fails(
            errors.RetryAfterTooLong,
            faults.status(503, retry_after=86400),
            url='https://%s/image' % HOST,
            proxy=self.proxy,
            requests=1,
        )
        self.assertEqual(86400, outcome.error.retry_after)

    def test_silence_instead_of_a_tunnel(self) -> None:
        self.assert_gives_up(
            errors.ConnectError,
            faults.stall(0, in_head=True),
            url='https://%s/image' % HOST,
            proxy=self.proxy,
            connect_timeout=0.5,
            attempts=2,
            requests=2,
        )
