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


"""HttpUrl and GunzipStream over a real socket: when they end, and how.

Nothing closes them in fuel-agent's contract. Every test here also fails for
a thread or a descriptor that is left behind.
"""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
import threading
import time
from typing import Any
import zlib

from fuel_agent import errors as fuel_agent_errors
from fuel_agent.utils import artifact as fuel_agent_artifact
from oslo_config import cfg

from fuel_agent_curl import artifact
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.config import opts
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import endpoints
from tests.support import leaks

IMAGE = random.Random(1).randbytes(3 * MIB) + bytes(MIB)

# A program as fuel-agent is one: it ends by sys.exit, and its handler of
# SIGTERM raises in the main thread. {} is what it does with the stream.
_PROGRAM = '''
import os, signal, sys
from oslo_config import cfg
from fuel_agent_curl import artifact

cfg.CONF.set_override('low_speed_time', 50, 'fuel_agent_curl')

def handle(signum, frame):
    raise RuntimeError('SIGTERM')

signal.signal(signal.SIGTERM, handle)
stream = artifact.HttpUrl(sys.argv[1])
next(stream)
{}
'''


class _HttpUrlTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve(IMAGE)
        self.before = self.useFixture(leaks.Leaks(self.directory))
        self.set('attempts', 3)
        self.set('backoff', 0.01)
        self.set('low_speed_time', 1)
        self.set('chunk_size', 65536)

    def set(self, name: str, value: float) -> None:
        self.set_option(cfg.CONF, name, value, opts.GROUP)

    def serve(self, data: bytes) -> harmful.Server:
        representation = harmful.Representation(data)
        fixture = endpoints.HarmfulServer(representation)
        return self.useFixture(fixture).server

    def assert_image(self, data: bytes) -> None:
        # Without printing it.
        self.assertEqual(len(IMAGE), len(data))
        self.assertEqual(zlib.crc32(IMAGE), zlib.crc32(data))

    def open(self) -> artifact.HttpUrl:
        return artifact.HttpUrl(self.server.url())


class TestHttpUrl(_HttpUrlTestCase):
    def test_every_byte_arrives_through_faults(self) -> None:
        self.server.script(
            faults.status(503),
            faults.reset(MIB),
            faults.stall(MIB),
            faults.cut(MIB),
        )
        stream = self.open()
        self.assertEqual(len(IMAGE), stream.length)
        self.assert_image(b''.join(stream))
        self.assertEqual(len(IMAGE), stream.processed_bytes)
        starts = [None, None, 1, 2, 3]
        self.assertEqual(
            [n and 'bytes=%d-' % (n * MIB) for n in starts],
            self.server.ranges,
        )

    def test_no_length_is_no_error(self) -> None:
        self.server.script(faults.chunked(100000))
        stream = self.open()
        self.assertIsNone(stream.length)
        self.assert_image(b''.join(stream))

    def test_an_unusable_content_length_is_their_error(self) -> None:
        for faulty in (
            faults.content_length('many'),
            faults.content_length('-5'),
            faults.more_field('Content-Length', '5'),
        ):
            self.server.script(then=faulty)
            error: Any = self.assertRaises(
                fuel_agent_errors.HttpUrlInvalidContentLength, self.open
            )
            self.assertIsInstance(error, errors.Error)

    def test_what_is_not_there_is_asked_for_once(self) -> None:
        error: Any = self.assertRaises(
            fuel_agent_errors.HttpUrlConnectionError,
            artifact.HttpUrl,
            self.server.url('/none'),
        )
        self.assertIsInstance(error, errors.StatusError)
        self.assertEqual(404, error.status)
        self.assertEqual(1, len(self.server.requests))

    def test_mirrors_of_the_configuration_stand_in(self) -> None:
        mirror = self.serve(IMAGE)
        rule = '%s=%s' % (self.server.url('/'), mirror.url('/'))
        self.set_option(cfg.CONF, 'mirrors', [rule], opts.GROUP)
        for then in (faults.status(404), faults.reset(0)):
            self.server.script(then=then)
            seen = len(mirror.requests)
            stream = self.open()
            self.assertEqual(self.server.url(), stream.url)
            self.assert_image(b''.join(stream))
            self.assertEqual(seen + 1, len(mirror.requests))

    def test_a_mirror_that_is_none_is_their_error(self) -> None:
        self.set_option(cfg.CONF, 'mirrors', ['http://a'], opts.GROUP)
        error: Any = self.assertRaises(
            fuel_agent_errors.HttpUrlConnectionError, self.open
        )
        self.assertIsInstance(error, errors.OptionError)
        self.assertEqual([], self.server.requests)

    def test_a_failure_in_the_middle_is_told_where(self) -> None:
        self.server.script(faults.cut(100000), then=faults.status(403))
        error: Any = self.assertRaises(
            fuel_agent_errors.HttpUrlConnectionError, list, self.open()
        )
        self.assertEqual(100000, error.offset)


class TestEnd(_HttpUrlTestCase):
    """From a server that would keep a download waiting for a minute."""

    def setUp(self) -> None:
        super().setUp()
        self.set('low_speed_time', 60)
        self.server.script(then=faults.stall(2 * MIB))

    def serve_packed(self) -> None:
        self.server.representations['/image'] = harmful.Representation(
            gzip.compress(IMAGE)
        )

    def assert_ended(self) -> None:
        self.assertEqual([], self.before.find(self.patience))

    def test_one_that_is_dropped_ends(self) -> None:
        stream = self.open()
        next(stream)
        del stream
        self.assert_ended()

    def test_one_that_is_dropped_unread_ends(self) -> None:
        self.open()
        self.assert_ended()

    def test_one_below_a_gunzip_that_is_dropped_ends(self) -> None:
        self.serve_packed()
        stream = artifact.GunzipStream(self.open())
        next(stream)
        del stream
        self.assert_ended()

    def test_a_target_that_cannot_be_opened_ends_it(self) -> None:
        for make in (self.open, lambda: artifact.GunzipStream(self.open())):
            stream = make()
            error = self.assertRaises(
                errors.TargetMissing,
                stream.target,
                os.path.join(self.directory, 'none', 'target'),
            )
            self.assertIsInstance(error, fuel_agent_errors.BaseError)
            self.assert_ended()
            del stream

    def test_a_target_that_fails_ends_it(self) -> None:
        path = os.path.join(self.directory, 'pipe')
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        timer = threading.Timer(0.5, os.close, (reader,))
        timer.start()
        self.addCleanup(timer.join)
        stream = self.open()
        error = self.assertRaises(errors.WriteError, stream.target, path)
        self.assertIsInstance(error, fuel_agent_errors.BaseError)
        self.assert_ended()
        del stream

    def test_damage_ends_it(self) -> None:
        self.serve_packed()
        self.server.script(then=[faults.flip(12), faults.stall(2 * MIB)])
        target = os.path.join(self.directory, 'target')
        for consume in (list, lambda stream: stream.target(target)):
            stream = artifact.GunzipStream(self.open())
            self.assertRaises(errors.ContentError, consume, stream)
            self.assert_ended()
            del stream
        self.assertFalse(os.path.exists(target))


class TestChain(_HttpUrlTestCase):
    def setUp(self) -> None:
        super().setUp()
        artifact.install()
        self.addCleanup(artifact.uninstall)

    def test_the_chain_that_the_manager_builds(self) -> None:
        self.server.representations['/image'] = harmful.Representation(
            gzip.compress(IMAGE)
        )
        self.server.script(faults.cut(MIB))
        target = os.path.join(self.directory, 'target')
        chain = fuel_agent_artifact.Chain()
        chain.append(self.server.url())
        chain.append(fuel_agent_artifact.HttpUrl)
        chain.append(fuel_agent_artifact.GunzipStream)
        chain.append(target)
        written = chain.process()
        self.assert_image(b''.join(written))

    def test_several_connections_through_the_chain(self) -> None:
        self.set('connections', 3)
        self.set('segment_size', 512 * 1024)
        target = os.path.join(self.directory, 'target')
        fuel_agent_artifact.HttpUrl(self.server.url()).target(target)
        with open(target, 'rb') as file:
            self.assert_image(file.read())


class TestExit(_HttpUrlTestCase):
    def run_program(self, *lines: str) -> subprocess.CompletedProcess[str]:
        self.server.script(then=faults.stall(2 * MIB))
        began = time.monotonic()
        done = subprocess.run(
            [
                sys.executable,
                '-c',
                _PROGRAM.format('\n'.join(lines)),
                self.server.url(),
            ],
            capture_output=True,
            text=True,
            timeout=200,
        )
        # The stall would be noticed after 50 s.
        self.assertLess(time.monotonic() - began, 45)
        return done

    def test_the_end_of_the_program_does_not_wait(self) -> None:
        done = self.run_program()
        self.assertEqual((0, ''), (done.returncode, done.stderr))

    def test_sys_exit_does_not_wait(self) -> None:
        done = self.run_program('sys.exit(3)')
        self.assertEqual((3, ''), (done.returncode, done.stderr))

    def test_an_exception_does_not_wait(self) -> None:
        done = self.run_program('raise KeyError(1)')
        self.assertEqual(1, done.returncode)
        self.assertIn('KeyError: 1', done.stderr)

    def test_sigterm_reaches_the_handler_in_target(self) -> None:
        done = self.run_program(
            'import threading',
            'kill = lambda: os.kill(os.getpid(), signal.SIGTERM)',
            'threading.Timer(1, kill).start()',
            'stream.target()',
        )
        self.assertEqual(1, done.returncode)
        self.assertIn('RuntimeError: SIGTERM', done.stderr)

    def test_sigterm_reaches_the_handler_in_next(self) -> None:
        done = self.run_program(
            'import threading',
            'kill = lambda: os.kill(os.getpid(), signal.SIGTERM)',
            'threading.Timer(1, kill).start()',
            'list(stream)',
        )
        self.assertEqual(1, done.returncode)
        self.assertIn('RuntimeError: SIGTERM', done.stderr)
