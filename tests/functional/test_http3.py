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

"""HTTP/3: the segments are streams of one QUIC connection.

A front passes every request on to a harmful server.
"""

from __future__ import annotations

import os
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import endpoints
from tests.support import http3
from tests.support import program
from tests.support import segmented
from tests.support.segmented import BySegment
from tests.support.segmented import SEGMENT

Certificate = endpoints.Certificate


class _HTTP3TestCase(segmented.SegmentsTestCase):
    """There is a front before ``self.server``.

    :ivar front: the ``http3.Front``.
    """

    def setUp(self) -> None:
        super().setUp()
        self.need_http_version('3')
        self.authority = self.useFixture(endpoints.Authority(self.directory))
        self.front = self.start_front()

    def start_front(
        self, certificate: Certificate = Certificate.GOOD
    ) -> http3.Front:
        path = os.path.join(self.directory, 'server.pem')
        with open(path, 'w') as file:
            file.write(self.authority.server(certificate))
        return self.useFixture(http3.Front(path, self.server.port))

    def fetch(self, url: str | None = None, **how: Any) -> Any:
        how = {'cacert': self.authority.path, 'http_version': '3', **how}
        url = url or 'https://127.0.0.1:%d/image' % self.front.port
        return super().fetch(url, **how)

    def over(self, connection: int) -> list[str]:
        """Return the Range of each request that came over a connection."""
        return [
            request.range
            for request in self.front.requests
            if request.connection == connection
        ]


class TestStreams(_HTTP3TestCase):
    def fetch(self, url: str | None = None, **how: Any) -> Any:
        # The server is written in Python, and may get no time for a while:
        # only what is meant to stall is found to.
        return super().fetch(url, **{'low_speed_time': 20, **how})

    def test_segments_share_one_connection(self) -> None:
        for connections in 4, 16:
            before = self.front.connections
            outcome = self.assert_arrives(connections=connections)
            # What gets no time on a busy machine is taken over, by a
            # connection of its own.
            self.assertLessEqual(set(self.segments()), set(self.over(before)))
            self.assertLess(outcome.stats.received, 2 * len(self.content))

    def test_stream_that_stalls_is_taken_over_by_another(self) -> None:
        script = BySegment({3: [faults.stall(1000)]})
        outcome = self.assert_arrives(then=script, low_speed_time=60)
        self.assertEqual(0, outcome.stats.stalls)
        self.assertLessEqual(set(self.segments()), set(self.over(0)))
        self.assertGreater(len(self.front.requests), len(self.segments()))

    def test_stream_that_stalls_does_not_end_the_others(self) -> None:
        # The short one stalls, so that none is done before that is noticed,
        # and nobody knows how fast is usual.
        script = BySegment(
            {9: [faults.stall(1000)]}, then=faults.trickle(16_000)
        )
        outcome = self.assert_arrives(
            then=script,
            connections=16,
            low_speed_time=2,
            first_byte_timeout=20,
        )
        self.assertEqual(1, outcome.stats.stalls)
        self.assertEqual(sorted(self.segments()), sorted(self.over(0)))
        # It is asked for again on a connection of its own.
        begin, _, end = self.segments()[9].partition('-')
        rest = 'bytes=%d-%s' % (int(begin[len('bytes=') :]) + 1000, end)
        self.assertEqual([rest], self.over(1)[:1])

    def test_stream_that_is_reset_does_not_end_the_others(self) -> None:
        for harm in (faults.reset(20_000), faults.cut(20_000)):
            self.front.requests.clear()
            script = BySegment({3: [harm], 9: [faults.status(503)]})
            outcome = self.assert_arrives(then=script)
            self.assertEqual(0, script.left)
            self.assertEqual(0, outcome.stats.stalls)
            self.assertLess(outcome.stats.received, 2 * len(self.content))
            asked = [request.range for request in self.front.requests]
            others = self.segments()[:9]
            self.assertLess(
                len([each for each in asked if each in others]), 13
            )

    def test_one_connection_resumes_at_the_byte(self) -> None:
        for harm, kind in (
            (faults.cut(100_000), errors.ReceiveError),
            (faults.stall(100_000), errors.Stalled),
        ):
            self.server.requests.clear()
            self.front.requests.clear()
            before = self.front.connections
            outcome = self.assert_arrives(
                harm,
                connections=1,
                ranges=[None, 100_000],
                low_speed_time=3,
                first_byte_timeout=20,
            )
            self.assertEqual([kind], outcome.retries)
            self.assertEqual(
                [before, before + 1],
                [request.connection for request in self.front.requests],
            )

    def test_cut_in_the_head(self) -> None:
        outcome = self.assert_arrives(
            faults.cut(10, in_head=True), connections=1, requests=2
        )
        self.assertEqual([errors.ReceiveError], outcome.retries)

    def test_slow_consumer(self) -> None:
        # One stream is paused; of several, some are not begun meanwhile.
        for connections, window in ((1, 2), (4, 8)):
            with self.fetch(
                connections=connections,
                window_size=window * SEGMENT,
                low_speed_time=3,
            ) as download:
                data = next(download)
                time.sleep(4)
                data += b''.join(download)
                stats = download.stats
            self.assert_same(self.content, data)
            self.assertEqual(0, stats.stalls)
            if connections == 1:
                self.assertEqual(1, stats.attempts)

    def test_redirects(self) -> None:
        self.server.script(faults.redirect('/elsewhere'))
        self.server.representations['/elsewhere'] = self.image
        elsewhere = self.start_server(tls=self.authority.context())
        elsewhere.script(
            faults.redirect('https://127.0.0.1:%d/image' % self.front.port)
        )
        for url in (None, elsewhere.url()):
            outcome = self.download(url)
            self.assertIsNone(outcome.error)
            self.assert_same(self.content, outcome.data)
        self.assertEqual(2, self.front.connections)
        self.assertEqual(1, len(elsewhere.requests))


class TestConnection(_HTTP3TestCase):
    """What happens to a whole connection."""

    def test_silence_is_noticed_and_the_connection_left(self) -> None:
        hush = [
            faults.trickle(200_000),
            segmented.doing(self.front.fall_silent, 20_000),
        ]
        script = BySegment({3: [hush]}, then=faults.trickle(200_000))
        began = time.monotonic()
        outcome = self.assert_arrives(then=script, low_speed_time=3)
        # A libcurl left to itself gives each segment the dead connection
        # first, and each has to be found stalled.
        self.assertLess(time.monotonic() - began, 15)
        self.assertLessEqual(outcome.stats.stalls, 4)
        self.assertLessEqual(outcome.stats.attempts, 18)
        self.assertLess(outcome.stats.received, len(self.content) + SEGMENT)
        self.assertGreater(self.front.connections, 1)

    def test_silence_of_a_mirror(self) -> None:
        length = 30 * SEGMENT
        self.name(content=harmful.Pattern(length)[0:length])
        silent, other = self.front, self.start_front()
        hush = [
            faults.trickle(400_000),
            segmented.doing(silent.fall_silent, 20_000),
        ]
        began = time.monotonic()
        self.assert_arrives(
            then=BySegment({3: [hush]}, then=faults.trickle(400_000)),
            mirrors=['https://127.0.0.1:%d/image' % other.port],
            checksum=self.checksum(),
            # Few enough that the other soon takes over.
            window_size=8 * SEGMENT,
            low_speed_time=120,
        )
        # What is taken over is not waited for until it is found stalled.
        self.assertLess(time.monotonic() - began, 100)
        self.assertGreater(silent.connections, 0)
        self.assertGreater(other.connections, 0)

    def test_one_connection_that_falls_silent(self) -> None:
        outcome = self.assert_arrives(
            [
                faults.trickle(400_000),
                segmented.doing(self.front.fall_silent, 100_000),
            ],
            connections=1,
        )
        self.assertEqual([errors.Stalled], outcome.retries)
        self.assertEqual(2, self.front.connections)
        self.assertEqual(2, len(self.front.requests))
        self.assertLess(outcome.stats.received, len(self.content) + SEGMENT)

    def test_server_that_is_gone_uses_up_the_attempts(self) -> None:
        went = [
            faults.trickle(400_000),
            segmented.doing(self.front.down, 20_000),
        ]
        for connections in (1, 4):
            self.server.requests.clear()
            began = time.monotonic()
            self.assert_gives_up(
                errors.ConnectError,
                went,
                then=[faults.trickle(400_000)],
                connections=connections,
            )
            self.assertLess(time.monotonic() - began, 10)
            self.front.up()

    def test_nobody_there(self) -> None:
        self.front.down()
        self.assert_gives_up(errors.ConnectError, requests=0)

    def test_nobody_answers(self) -> None:
        self.front.down()
        self.useFixture(http3.SilentPort(self.front.port))
        outcome = self.assert_gives_up(
            errors.ConnectError, connect_timeout=0.5, attempts=2
        )
        self.assertEqual([errors.ConnectError], outcome.retries)

    def test_certificate_fails_at_once(self) -> None:
        for certificate in Certificate:
            self.front = self.start_front(certificate)
            if certificate is not Certificate.GOOD:
                outcome = self.assert_fails(
                    errors.CertificateError, requests=0
                )
                self.assertEqual([], outcome.retries)
                self.assertIn('certificate', outcome.error.message)
                self.assertEqual(1, self.front.connections, certificate.name)
            self.server.requests.clear()
            self.assert_arrives(insecure=True, requests=1, connections=1)
            self.server.requests.clear()

    def test_without_the_authority_it_is_not_trusted(self) -> None:
        self.assert_fails(errors.CertificateError, cacert=None, requests=0)
        self.assertEqual(1, self.front.connections)


class TestProgram(program.ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_http_version('3')
        authority = self.useFixture(endpoints.Authority(self.directory))
        certificate = self.path('server.pem')
        with open(certificate, 'w') as file:
            file.write(authority.server())
        self.front = self.useFixture(
            http3.Front(certificate, self.server.port)
        )
        self.how = ('--http-version', '3', '--cacert', authority.path)

    @property
    def front_url(self) -> str:
        return 'https://127.0.0.1:%d/image' % self.front.port

    def test_probe(self) -> None:
        done = self.run_program('probe', *self.how, self.front_url)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stdout, r'server +127\.0\.0\.1, HTTP/3\b')
        self.assertIn('If-Range   honoured', done.stdout)
        done = self.run_program('probe', *self.how, self.url)
        self.assertRegex(done.stdout, r'server +127\.0\.0\.1, HTTP/1\.1\b')

    def test_copy(self) -> None:
        self.server.script(faults.reset(MIB + 1))
        self.check_success(*self.how, *program.QUICK, self.front_url)
        self.assertEqual(2, len(self.front.requests))

    def test_copy_from_an_http_url(self) -> None:
        self.check_success(*self.how, self.url)

    def test_one_line_for_a_certificate(self) -> None:
        self.check_failure(
            16,
            'certificate',
            '--http-version=3',
            self.front_url,
            self.target,
        )

    def test_one_line_for_nobody(self) -> None:
        self.front.down()
        self.check_failure(
            26, 'Could not connect', *self.how, self.front_url, self.target
        )
