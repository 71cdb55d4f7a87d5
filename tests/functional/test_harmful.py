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

"""The harmful server does what it says, byte for byte, and ends cleanly."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
import time

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import paths
from fuel_agent_curl.harmful import server as harmful_server
from tests import base
from tests.support import endpoints

LENGTH = 50021


class TestPattern(base.FunctionalTestCase):
    def test_slices_are_those_of_the_whole(self) -> None:
        period = harmful.Pattern.PERIOD
        length = 3 * period + 5
        pattern = harmful.Pattern(length)
        whole = pattern[0:length]
        self.assertEqual(length, len(whole))
        for start, stop in (
            (0, 0),
            (0, 1),
            (period - 1, period + 1),
            (5, 2 * period + 7),
            (length - 1, length),
            (length, length + 5),
        ):
            self.assertTrue(pattern[start:stop] == whole[start:stop])

    def test_seeds_differ(self) -> None:
        first, second = (harmful.Pattern(100, seed)[0:100] for seed in (0, 1))
        self.assertNotEqual(first, second)


class ServerTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.content = harmful.Pattern(LENGTH)[0:LENGTH]
        self.server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(self.content))
        ).server

    def raw(
        self, *answers: harmful_server.Answer, request: str = 'GET /image'
    ) -> bytes:
        """Return what arrives, up to the end of the connection."""
        self.server.script(*answers)
        received = b''
        with socket.create_connection(
            ('127.0.0.1', self.server.port), timeout=5
        ) as connection:
            lines = request.split('\n')
            lines[0] += ' HTTP/1.1'
            connection.sendall('\r\n'.join([*lines, '', '']).encode())
            try:
                while data := connection.recv(65536):
                    received += data
            except ConnectionResetError:
                received += b'<reset>'
        return received

    def body(self, *answers: harmful_server.Answer, **how: str) -> bytes:
        """Return what arrives after the head."""
        head, _, body = self.raw(*answers, **how).partition(b'\r\n\r\n')
        self.head = head.decode()
        return body


class TestHonest(ServerTestCase):
    def get(self, **fields: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection('127.0.0.1', self.server.port)
        self.addCleanup(connection.close)
        connection.request('GET', '/image', headers=fields)
        return connection.getresponse()

    def test_whole(self) -> None:
        response = self.get()
        self.assertEqual(200, response.status)
        self.assertEqual('"1"', response.headers['ETag'])
        self.assertTrue(self.content == response.read())

    def test_ranges(self) -> None:
        last = LENGTH - 1
        for text, start, stop in (
            ('bytes=0-0', 0, 1),
            ('bytes=5-', 5, LENGTH),
            ('bytes=5-9', 5, 10),
            ('bytes=-5', LENGTH - 5, LENGTH),
            ('bytes=%d-' % last, last, LENGTH),
            ('bytes=5-999999', 5, LENGTH),
        ):
            response = self.get(Range=text)
            self.assertEqual(206, response.status)
            self.assertEqual(
                'bytes %d-%d/%d' % (start, stop - 1, LENGTH),
                response.headers['Content-Range'],
            )
            self.assertTrue(self.content[start:stop] == response.read())

    def test_range_that_cannot_be_satisfied(self) -> None:
        response = self.get(Range='bytes=%d-' % LENGTH)
        self.assertEqual(416, response.status)
        self.assertEqual(
            'bytes */%d' % LENGTH, response.headers['Content-Range']
        )

    def test_range_that_makes_no_sense_is_ignored(self) -> None:
        for text in ('bytes=', 'bytes=5-2', 'bytes=1-2,4-5', 'items=1-2'):
            self.assertEqual(200, self.get(Range=text).status)

    def test_if_range(self) -> None:
        date = harmful.Representation(b'').last_modified
        for value, status in (
            ('"1"', 206),
            (date, 206),
            ('"2"', 200),
            ('W/"1"', 200),
            ('Thu, 02 Jan 2020 00:00:00 GMT', 200),
        ):
            fields = {'Range': 'bytes=5-', 'If-Range': str(value)}
            self.assertEqual(status, self.get(**fields).status)

    def test_connection_is_kept(self) -> None:
        connection = http.client.HTTPConnection('127.0.0.1', self.server.port)
        self.addCleanup(connection.close)
        for _time in range(3):
            connection.request('GET', '/image')
            connection.getresponse().read()
        connection.request('HEAD', '/image')
        response = connection.getresponse()
        self.assertEqual(str(LENGTH), response.headers['Content-Length'])
        self.assertEqual(1, self.server.connections)
        self.assertEqual(
            ['GET'] * 3 + ['HEAD'],
            [request.method for request in self.server.requests],
        )

    def test_other_paths_are_not_found(self) -> None:
        reply = self.raw(request='GET /missing\nConnection: close')
        self.assertIn(b' 404 ', reply.partition(b'\r\n')[0])

    def test_requests_are_recorded(self) -> None:
        began = time.monotonic()
        self.raw(
            request='GET http://x/image?a=b\nRange: bytes=5-\nIF-RANGE: "1"\n'
            'Connection: close'
        )
        (request,) = self.server.requests
        self.assertEqual('/image', request.path)
        self.assertEqual('bytes=5-', request.range)
        self.assertEqual('"1"', request.if_range)
        self.assertEqual(0, request.connection)
        self.assertGreaterEqual(request.moment, began)


class TestFaults(ServerTestCase):
    def test_cut_and_reset(self) -> None:
        for at in (0, 1, 9000):
            self.assertTrue(self.content[:at] == self.body(faults.cut(at)))
            self.assertTrue(
                self.content[:at] + b'<reset>' == self.body(faults.reset(at))
            )

    def test_cut_after_the_last_byte(self) -> None:
        for at in (None, LENGTH):
            self.assertTrue(self.content == self.body(faults.cut(at)))

    def test_head_is_cut(self) -> None:
        self.assertEqual(b'', self.raw(faults.cut(0, in_head=True)))
        self.assertEqual(b'HTTP/', self.raw(faults.cut(5, in_head=True)))

    def test_stall_goes_on_after_its_time(self) -> None:
        began = time.monotonic()
        answer = [faults.stall(9000, 0.3), faults.cut(None)]
        self.assertTrue(self.content == self.body(answer))
        self.assertGreaterEqual(time.monotonic() - began, 0.3)

    def test_trickle(self) -> None:
        began = time.monotonic()
        answer = [faults.cut(9500), faults.trickle(1000, at=9000)]
        self.assertTrue(self.content[:9500] == self.body(answer))
        self.assertGreater(time.monotonic() - began, 0.4)

    def test_chunked(self) -> None:
        answer = [
            faults.serve(harmful.Representation(b'abcde')),
            faults.chunked(2),
            faults.cut(None),
        ]
        self.assertEqual(
            b'2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n', self.body(answer)
        )
        answer[1] = faults.chunked(3, ended=False)
        self.assertEqual(b'3\r\nabc\r\n2\r\nde\r\n', self.body(answer))

    def test_multipart(self) -> None:
        body = self.body(
            [faults.multipart(), faults.cut(None)],
            request='GET /image\nRange: bytes=0-1',
        )
        self.assertIn('multipart/byteranges', self.head)
        self.assertIn('Content-Length: %d' % len(body), self.head)
        self.assertIn(
            b'Content-Range: bytes 0-1/%d\r\n\r\n%s\r\n--'
            % (LENGTH, self.content[:2]),
            body,
        )

    def test_lies_about_the_range(self) -> None:
        for fault, line, start in (
            (
                faults.content_range('bytes {first}-{last}/*'),
                'bytes 10-19/*',
                10,
            ),
            (
                faults.content_range('bytes {first}-{last}/{length}', 5),
                'bytes 15-24/%d' % LENGTH,
                10,
            ),
            (faults.move_range(5), 'bytes 15-19/%d' % LENGTH, 15),
            (faults.move_range(-5), 'bytes 5-19/%d' % LENGTH, 5),
            (faults.move_range(-50), 'bytes 0-19/%d' % LENGTH, 0),
        ):
            body = self.body(
                [fault, faults.cut(None)],
                request='GET /image\nRange: bytes=10-19',
            )
            self.assertIn(
                'Content-Range: ' + line + '\r\n', self.head + '\r\n'
            )
            self.assertTrue(body == self.content[start : start + len(body)])

    def test_faults_apply_in_their_order(self) -> None:
        answer = [faults.chunked(1000), faults.cut(2000)]
        self.assertEqual(2000, len(self.body(answer)))
        answer.reverse()
        # Cut first, and then coded; what is cut has no last chunk.
        self.assertEqual(2 * 1007, len(self.body(answer)))

    def test_flip(self) -> None:
        body = self.body([faults.flip(5), faults.cut(10)])
        self.assertEqual(self.content[5] ^ 0xFF, body[5])
        self.assertEqual(self.content[6:10], body[6:])

    def test_script_is_consumed_one_for_each_request(self) -> None:
        self.server.script(
            faults.status(500), faults.status(501), then=faults.status(503)
        )
        self.server.script(then=faults.status(404), path='/other')
        found = []
        for path in ('/image', '/other', '/image', '/image', '/image'):
            connection = http.client.HTTPConnection(
                '127.0.0.1', self.server.port
            )
            connection.request('GET', path)
            found.append(connection.getresponse().status)
            connection.close()
        self.assertEqual([500, 404, 501, 503, 503], found)

    def test_faults_by_path(self) -> None:
        body = self.body(
            request='GET /no-range/cut/5000/image\nRange: bytes=1-'
        )
        self.assertTrue(self.content[:5000] == body)
        self.assertIn('200 OK', self.head)
        self.assertEqual(([], '/image/cut'), paths.by_path('/image/cut'))
        found, path = paths.by_path('/chunked/7/stall/5/status/404/a/b')
        self.assertEqual((3, '/a/b'), (len(found), path))
        found, path = paths.by_path('/cut/image')
        self.assertEqual((1, '/image'), (len(found), path))

    def test_demo_has_one_fault_for_each_request(self) -> None:
        self.assertEqual(4, len(paths.demo(LENGTH)))


class TestEnd(ServerTestCase):
    def test_close_ends_what_is_stalled(self) -> None:
        before = threading.active_count()
        self.server.script(then=faults.stall(5))
        connections = []
        for _number in range(10):
            connection = socket.create_connection(
                ('127.0.0.1', self.server.port)
            )
            self.addCleanup(connection.close)
            connection.sendall(b'GET /image HTTP/1.1\r\n\r\n')
            connections.append(connection)
        # One that has asked for nothing.
        silent = socket.create_connection(('127.0.0.1', self.server.port))
        self.addCleanup(silent.close)
        self.assertTrue(self.server.wait(10))
        began = time.monotonic()
        self.server.close()
        self.assertLess(time.monotonic() - began, 15)
        self.assertLess(threading.active_count(), before)
        self.server.close()

    def test_close_ends_what_nobody_reads(self) -> None:
        self.server.representations['/image'] = harmful.Representation(
            harmful.Pattern(1 << 30)
        )
        connection = socket.create_connection(('127.0.0.1', self.server.port))
        self.addCleanup(connection.close)
        connection.sendall(b'GET /image HTTP/1.1\r\n\r\n')
        self.assertTrue(self.server.wait(1))
        time.sleep(0.2)
        began = time.monotonic()
        self.server.close()
        self.assertLess(time.monotonic() - began, 15)

    def test_down_and_up(self) -> None:
        port = self.server.port
        self.server.down()
        self.assertRaises(
            ConnectionRefusedError,
            socket.create_connection,
            ('127.0.0.1', port),
        )
        self.server.down()
        self.server.up()
        self.assertEqual(port, self.server.port)
        self.assertTrue(self.content[:5] == self.body(faults.cut(5)))

    def test_greeting(self) -> None:
        self.server.greet(
            [harmful.Ending.RESET], [b'220 hello', harmful.Ending.CUT]
        )
        for expected in (b'<reset>', b'220 hello'):
            received = b''
            try:
                # The reset may be there before connect returns.
                with socket.create_connection(
                    ('127.0.0.1', self.server.port), timeout=5
                ) as connection:
                    while data := connection.recv(100):
                        received += data
            except ConnectionResetError:
                received += b'<reset>'
            self.assertEqual(expected, received)

    def test_client_that_hangs_up_ends_its_thread(self) -> None:
        before = threading.active_count()
        self.server.script(then=faults.stall(5))
        with socket.create_connection(
            ('127.0.0.1', self.server.port)
        ) as connection:
            connection.sendall(b'GET /image HTTP/1.1\r\n\r\n')
            self.assertTrue(self.server.wait(1))
        until = time.monotonic() + 5
        while threading.active_count() > before and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(before, threading.active_count())

    def test_by_hand_what_it_takes(self) -> None:
        for argument, code, words in (
            ('--help', 0, 'Serve an image on loopback'),
            ('x', 2, 'a port is a number'),
            ('65536', 2, 'a port is a number'),
        ):
            done = subprocess.run(
                [sys.executable, '-m', 'fuel_agent_curl.harmful', argument],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            self.assertEqual(code, done.returncode)
            self.assertIn(words, done.stdout)
            self.assertNotIn('Traceback', done.stdout)

    def test_by_hand(self) -> None:
        with subprocess.Popen(
            [sys.executable, '-m', 'fuel_agent_curl.harmful'],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            self.addCleanup(process.kill)
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            self.assertRegex(url, r'^http://127\.0\.0\.1:\d+/image$')
            process.terminate()
