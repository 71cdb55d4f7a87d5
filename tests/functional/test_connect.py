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

"""Getting a connection: refused, silent, reset, dead, through a proxy."""

from __future__ import annotations

import socket
import threading
import time

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine


class TestConnect(engine.EngineTestCase):
    def test_refused_for_good_uses_up_the_attempts(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        outcome = self.assert_gives_up(
            errors.ConnectError, url='http://127.0.0.1:%d/image' % port
        )
        self.assertEqual([errors.ConnectError] * 3, outcome.retries)

    def test_refused_and_then_up(self) -> None:
        self.server.down()
        timer = threading.Timer(0.5, self.server.up)
        timer.start()
        outcome = self.assert_arrives(requests=1, attempts=0, backoff=0.1)
        timer.join()
        self.assertGreater(outcome.stats.attempts, 1)

    def test_server_restarted_mid_body(self) -> None:
        self.server.script(faults.stall(9000))
        results = []

        def run() -> None:
            results.append(
                self.download(low_speed_time=30, attempts=0, backoff=0.1)
            )

        thread = threading.Thread(target=run)
        thread.start()
        self.assertTrue(self.server.wait(1))
        time.sleep(0.2)
        self.server.down()
        time.sleep(0.5)
        self.server.up()
        thread.join()
        self.assertIsNone(results[0].error)
        self.assert_same(self.content, results[0].data)
        self.assertEqual([None, 'bytes=9000-'], self.server.ranges)

    def test_silence_is_a_connect_timeout(self) -> None:
        port = self.useFixture(endpoints.FullPort()).port
        began = time.monotonic()
        self.assert_gives_up(
            errors.ConnectError,
            url='http://127.0.0.1:%d/image' % port,
            connect_timeout=0.5,
            attempts=2,
            low_speed_time=60,
        )
        self.assertGreater(time.monotonic() - began, 0.9)
        self.assertLess(time.monotonic() - began, 15)

    def test_connect_timeout_shorter_than_low_speed_time(self) -> None:
        port = self.useFixture(endpoints.FullPort()).port
        outcome = self.download(
            'http://127.0.0.1:%d/image' % port,
            connect_timeout=3,
            low_speed_time=0.2,
            attempts=1,
        )
        # Waiting for a connection is not low speed.
        self.assertIsInstance(outcome.error.__cause__, errors.ConnectError)

    def test_ended_before_the_request(self) -> None:
        for ending in (harmful.Ending.RESET, harmful.Ending.CUT):
            self.server.requests.clear()
            self.server.greet([ending], [ending])
            self.assert_arrives(requests=1)

    def test_answer_before_the_request(self) -> None:
        self.server.greet(
            [b'220 ftp.example.com ready\r\n', harmful.Ending.CUT]
        )
        self.assert_arrives(requests=1)

    def test_kept_connection_that_is_dead(self) -> None:
        # The parts come over one connection; it dies between two of them.
        for harm in (faults.stall(None), faults.cut(None), faults.reset(None)):
            self.server.requests.clear()
            self.assert_arrives(
                faults.cut(1000),
                [faults.cap_range(20000), harm],
                then=faults.cap_range(20000),
            )
            self.assertLessEqual(len(self.server.requests), 5)

    def test_kept_connection_reset_by_the_next_request(self) -> None:
        self.assert_arrives(
            faults.cut(1000),
            faults.cap_range(20000),
            faults.reset(0, in_head=True),
            then=faults.cap_range(20000),
        )

    def test_name_that_does_not_resolve(self) -> None:
        outcome = self.assert_gives_up(
            errors.ResolveError, url='http://%s/' % engine.NO_HOST, attempts=2
        )
        self.assertIn(engine.NO_HOST, str(outcome.error))

    def test_ipv6(self) -> None:
        try:
            socket.create_server(('::1', 0), family=socket.AF_INET6).close()
        except OSError as error:
            self.skipTest('no IPv6 here: %s' % error)
        server = self.start_server(host='::1')
        server.script(faults.cut(9000))
        outcome = self.download(server.url())
        self.assert_same(self.content, outcome.data)

    def test_name_with_a_dead_address_first(self) -> None:
        # localhost is ::1 and 127.0.0.1; the server is at the latter only.
        self.assert_arrives(url=self.server.url(host='localhost'), requests=1)


class TestURL(engine.EngineTestCase):
    def test_what_is_no_url_of_ours_is_refused_at_once(self) -> None:
        for url in (
            '',
            'image',
            '/image',
            '127.0.0.1/image',
            'http:',
            'http://',
            'http:///image',
            'ftp://127.0.0.1/image',
            'file:///etc/hostname',
            'http://[::1/',
            'http://h:x/',
            'http://h:99999/',
            'http://a b/',
            'http://h/a b',
            'http://h/\r\nX: y',
            'http://h/\x00',
            'http://h/\xe9',
            'gopher://h/',
            'javascript:0',
            '-o/tmp/x',
        ):
            outcome = self.download(url or 'x')
            self.assertIsInstance(outcome.error, errors.OptionError, url)

    def test_query_and_fragment(self) -> None:
        self.assert_arrives(url=self.server.url('/image?a=b%20c&d=#part'))
        self.assertEqual('/image?a=b%20c&d=', self.server.requests[0].target)

    def test_upper_case_scheme(self) -> None:
        self.assert_arrives(url=self.server.url().replace('http', 'HTTP'))

    def test_dots_stay_as_they_are_asked_for(self) -> None:
        self.server.representations['/a/image'] = self.image
        self.assert_arrives(url=self.server.url('/a/b/../image'))


class TestProxy(engine.EngineTestCase):
    """The harmful server takes requests for whole URLs, as a proxy does."""

    def setUp(self) -> None:
        super().setUp()
        self.proxy = 'http://127.0.0.1:%d' % self.server.port

    def test_requests_go_to_the_proxy(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            url='http://image.invalid/image',
            proxy=self.proxy,
            ranges=[None, 9000],
        )
        self.assertEqual(
            'http://image.invalid/image', self.server.requests[0].target
        )

    def test_no_proxy_leaves_it_out(self) -> None:
        other = self.start_server()
        outcome = self.download(
            other.url(), proxy=self.proxy, no_proxy='127.0.0.1'
        )
        self.assertIsNone(outcome.error)
        self.assertEqual([], self.server.requests)

    def test_proxy_that_wants_authentication_fails_at_once(self) -> None:
        self.assert_fails(
            errors.StatusError,
            faults.status(407),
            proxy=self.proxy,
            url='http://image.invalid/image',
            requests=1,
        )

    def test_proxy_that_cannot_reach_the_server(self) -> None:
        self.assert_arrives(
            faults.status(502),
            faults.status(504),
            proxy=self.proxy,
            url='http://image.invalid/image',
            requests=3,
        )

    def test_proxy_that_is_down(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        self.assert_gives_up(
            errors.ConnectError,
            proxy='http://127.0.0.1:%d' % port,
            requests=0,
        )

    def test_proxy_whose_name_does_not_resolve(self) -> None:
        self.assert_gives_up(
            errors.ResolveError,
            proxy='http://%s:3128' % engine.NO_HOST,
            requests=0,
            attempts=2,
        )

    def test_tunnel_that_is_refused(self) -> None:
        for code, requests in ((403, 1), (407, 1), (502, 4), (503, 4)):
            self.server.requests.clear()
            self.server.script(then=faults.status(code))
            outcome = self.download(
                'https://image.invalid/image', proxy=self.proxy
            )
            self.assertIsInstance(outcome.error, errors.Error)
            self.assertEqual(requests, len(self.server.requests))
            self.assertEqual('CONNECT', self.server.requests[0].method)
