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

"""HTTP/2: the segments are streams of one connection, to a real nginx.

It passes every request on to a harmful server.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import subprocess
import time
from typing import Any

import fixtures

from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import segmented
from tests.support import socks
from tests.support.segmented import BySegment
from tools.bench import servers as bench_servers

_CONFIGURATION = (
    """
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log info;
events {{ worker_connections 256; }}
http {{
    log_format request escape=json '{{"connection": $connection, '
        '"protocol": "$server_protocol", "status": $status, '
        '"range": "$http_range"}}';
    access_log {directory}/access.log request;
"""
    + bench_servers.NGINX_TEMP
    + """    server {{
        listen 127.0.0.1:{port} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {certificate};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_buffering off;
        }}
    }}
}}
"""
)


@dataclasses.dataclass(frozen=True)
class Logged:
    """What nginx logged of one request, when it ended."""

    connection: int
    protocol: str
    status: int
    range: str


class Nginx(fixtures.Fixture):
    """nginx before ``behind``, a port on loopback.

    :param certificate: a file, the key included.
    """

    def __init__(self, directory: str, certificate: str, behind: int) -> None:
        super().__init__()
        self._directory = directory
        self._certificate = certificate
        self._behind = behind

    def _setUp(self) -> None:
        with socket.create_server(('127.0.0.1', 0)) as free:
            self.port: int = free.getsockname()[1]
        path = os.path.join(self._directory, 'nginx.conf')
        with open(path, 'w') as configuration:
            configuration.write(
                _CONFIGURATION.format(
                    directory=self._directory,
                    certificate=self._certificate,
                    behind=self._behind,
                    port=self.port,
                )
            )
        log = os.path.join(self._directory, 'error.log')
        process = subprocess.Popen(
            ['nginx', '-p', self._directory, '-c', path, '-e', log]
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        until = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(('127.0.0.1', self.port)).close()
                return
            except ConnectionRefusedError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def requests(self, count: int) -> list[Logged]:
        """Return what was logged, which are ``count`` or more requests."""
        until = time.monotonic() + 5
        while True:
            with open(os.path.join(self._directory, 'access.log')) as log:
                lines = log.read().splitlines()
            if len(lines) >= count or time.monotonic() > until:
                return [Logged(**json.loads(line)) for line in lines]
            time.sleep(0.05)


class TestHTTP2(segmented.SegmentsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('nginx')
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        certificate = os.path.join(self.directory, 'server.pem')
        with open(certificate, 'w') as file:
            file.write(self.authority.server())
        self.nginx = self.useFixture(
            Nginx(self.directory, certificate, self.server.port)
        )

    def fetch(self, url: str | None = None, **how: Any) -> Any:
        how = {'cacert': self.authority.path, 'http_version': '2', **how}
        url = url or 'https://127.0.0.1:%d/image' % self.nginx.port
        return super().fetch(url, **how)

    def test_segments_share_one_connection(self) -> None:
        for count, connections in ((10, 4), (20, 16)):
            self.server.requests.clear()
            self.assert_arrives(connections=connections)
            self.assert_each_segment_once()
            logged = self.nginx.requests(count)[-10:]
            self.assertEqual(10, len(logged))
            self.assertEqual({'HTTP/2.0'}, {one.protocol for one in logged})
            self.assertEqual(1, len({one.connection for one in logged}))

    def test_stream_that_stalls_is_taken_over_by_another(self) -> None:
        script = BySegment({3: [faults.stall(1000)]})
        began = time.monotonic()
        outcome = self.assert_arrives(then=script, low_speed_time=20)
        self.assertLess(time.monotonic() - began, 15)
        self.assertEqual(0, outcome.stats.stalls)
        logged = self.nginx.requests(11)
        self.assertEqual(1, len({one.connection for one in logged}))

    def test_stream_that_stalls_does_not_end_the_others(self) -> None:
        # All are slow, so that nobody takes over; the one that stalls is
        # noticed, and asked for again on another connection.
        script = BySegment(
            {3: [faults.stall(1000)]}, then=faults.trickle(60_000)
        )
        outcome = self.assert_arrives(then=script, connections=16)
        self.assertEqual([], outcome.retries[1:])
        first, *_others = self.nginx.requests(11)
        others = [
            one
            for one in self.nginx.requests(11)
            if one.connection == first.connection
        ]
        self.assertLessEqual(9, len(others))

    def test_stream_that_is_reset_does_not_end_the_others(self) -> None:
        for harm in (faults.reset(20_000), faults.cut(20_000)):
            self.server.requests.clear()
            script = BySegment({3: [harm], 9: [faults.status(503)]})
            outcome = self.assert_arrives(then=script)
            self.assertLessEqual(outcome.stats.attempts, 14)
            self.assertLess(outcome.stats.received, len(self.content) + 65536)

    def test_silence_is_noticed_and_the_connection_left(self) -> None:
        proxy = self.useFixture(socks.SocksProxy({}))
        hush = [
            faults.trickle(200_000),
            segmented.doing(proxy.fall_silent, 20_000),
        ]
        script = BySegment({3: [hush]}, then=faults.trickle(200_000))
        began = time.monotonic()
        outcome = self.assert_arrives(
            then=script,
            proxy='socks5://127.0.0.1:%d' % proxy.port,
            low_speed_time=3,
        )
        # A libcurl left to itself gives each segment the dead connection
        # first, and each has to be found stalled.
        self.assertLess(time.monotonic() - began, 15)
        self.assertLessEqual(outcome.stats.stalls, 4)
        self.assertLessEqual(outcome.stats.attempts, 18)
        self.assertGreater(len(proxy.asked), 1)

    def test_one_connection_resumes(self) -> None:
        self.assert_arrives(
            faults.cut(100_000), connections=1, ranges=[None, 100_000]
        )

    def test_slow_consumer(self) -> None:
        with self.fetch(
            window_size=8 * segmented.SEGMENT, low_speed_time=0.5
        ) as download:
            data = next(download)
            time.sleep(1.2)
            data += b''.join(download)
            stats = download.stats
        self.assert_same(self.content, data)
        self.assertEqual((10, 0), (stats.attempts, stats.stalls))

    def test_server_without_it(self) -> None:
        server = self.start_server(tls=self.authority.context())
        outcome = self.download(server.url())
        self.assertIsNone(outcome.error)
        self.assert_same(self.content, outcome.data)
