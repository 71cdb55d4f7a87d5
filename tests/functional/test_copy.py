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

"""``fuel_agent_curl.copy`` for other programs, and the examples of its use."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import fuel_agent_curl
from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import engine
from tools import check_layers

EXAMPLES = check_layers.ROOT / 'doc' / 'source' / 'examples'


class CopyTestCase(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.directory, 'target')

    def request(self, **given: Any) -> fuel_agent_curl.Request:
        settings = {**engine.SETTINGS, **given.pop('settings', {})}
        given.setdefault('url', self.server.url())
        given.setdefault('target', self.path)
        return fuel_agent_curl.Request(
            settings=fuel_agent_curl.Settings(**settings), **given
        )

    def read(self) -> bytes:
        with open(self.path, 'rb') as target:
            return target.read()


class TestCopy(CopyTestCase):
    def test_what_was_verified(self) -> None:
        result = fuel_agent_curl.copy(
            self.request(
                checksum=self.checksum(),
                image_checksum=self.checksum(),
                verify=True,
            )
        )
        self.assert_same(self.content, self.read())
        self.assertEqual(self.checksum(), str(result.checksum))
        self.assertEqual(self.checksum(), str(result.image_checksum))
        self.assertEqual(len(self.content), result.image.written)
        self.assertTrue(result.image.verified)
        self.assertEqual(1, result.stats.attempts)
        self.assertRaises(
            dataclasses.FrozenInstanceError, setattr, result, 'checksum', None
        )

    def test_nothing_was(self) -> None:
        result = fuel_agent_curl.copy(self.request())
        self.assertIsNone(result.checksum)
        self.assertIsNone(result.image_checksum)
        self.assertFalse(result.image.verified)

    def test_observed(self) -> None:
        self.server.script(faults.cut(9000))
        kinds: list[str] = []
        running = fuel_agent_curl.Copy(
            self.request(), lambda event: kinds.append(event.kind)
        )
        self.assertIsNone(running.length)
        self.assertEqual('untouched', running.target_state)
        running.run()
        self.assertEqual(['started', 'retry', 'resumed'], kinds)
        self.assertEqual(len(self.content), running.length)
        self.assertEqual(len(self.content), running.received)
        self.assertEqual(len(self.content), running.written)
        self.assertEqual('complete', running.target_state)

    def test_errors(self) -> None:
        self.server.script(then=faults.status(404))
        error = self.assertRaises(
            errors.StatusError, fuel_agent_curl.copy, self.request()
        )
        self.assertEqual(19, error.exit_code)
        self.assertEqual('untouched', error.target_state)

    def test_importing_the_package_imports_nothing_else(self) -> None:
        printed = subprocess.run(
            [
                sys.executable,
                '-c',
                'import sys; before = {*sys.modules}; import fuel_agent_curl;'
                ' print(sorted({*sys.modules} - before)); '
                'fuel_agent_curl.copy, fuel_agent_curl.Copy,'
                ' fuel_agent_curl.Request, fuel_agent_curl.Result',
            ],
            cwd=check_layers.ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for name in ('copying', 'engine', 'target', 'pycurl', 'oslo'):
            self.assertNotIn(name, printed)


class TestCancel(CopyTestCase):
    def assert_ends(
        self,
        when: Callable[[fuel_agent_curl.Copy], bool],
        **given: Any,
    ) -> errors.Cancelled:
        """Cancel in the moment in which that is true; it ends, soon."""
        running = fuel_agent_curl.Copy(self.request(**given))
        ended: list[BaseException | fuel_agent_curl.Result] = []

        def run() -> None:
            try:
                ended.append(running.run())
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        while not when(running) and not ended:
            time.sleep(0.01)
        running.cancel()
        thread.join(self.patience)
        self.assertFalse(thread.is_alive(), 'it goes on')
        error = ended[0]
        assert isinstance(error, errors.Cancelled), error
        self.assertEqual('untouched', error.target_state)
        self.assertEqual([], os.listdir(self.directory))
        return error

    def is_asked(self, running: fuel_agent_curl.Copy) -> bool:
        return bool(self.server.requests)

    def test_before_the_first_byte(self) -> None:
        for where in (None, 0):
            self.server.requests.clear()
            self.server.script(then=faults.stall(where, in_head=where is None))
            self.assert_ends(self.is_asked, settings={'low_speed_time': 60})

    def test_between_attempts(self) -> None:
        self.server.script(then=faults.status(503))
        self.assert_ends(self.is_asked, settings={'backoff': 60})

    def test_while_nobody_answers(self) -> None:
        """Neither by a packet: no connection is made."""
        with socket.create_server(('127.0.0.1', 0), backlog=0) as silent:
            address = silent.getsockname()
            with (
                socket.create_connection(address),
                socket.socket() as waiting,
            ):
                waiting.setblocking(False)
                waiting.connect_ex(address)
                self.assert_ends(
                    lambda running: True,
                    url='http://%s:%d/image' % address,
                    settings={'connect_timeout': 60},
                )

    def test_in_the_middle(self) -> None:
        self.server.script(then=faults.stall(9000))
        self.assert_ends(
            lambda running: running.received >= 9000,
            settings={'low_speed_time': 60},
        )

    def test_while_a_document_comes(self) -> None:
        other = self.start_server()
        other.script(then=faults.stall(3))
        for name in ('checksum', 'image_checksum', 'bmap'):
            other.requests.clear()
            error = self.assert_ends(
                lambda running: bool(other.requests),
                settings={'low_speed_time': 60},
                **{name: other.url()},
            )
            self.assertIn('download was closed', str(error))
        self.assertEqual([], self.server.requests)

    def test_before_it_begins(self) -> None:
        running = fuel_agent_curl.Copy(self.request())
        running.cancel()
        running.cancel()
        error = self.assertRaises(errors.Cancelled, running.run)
        self.assertEqual('untouched', error.target_state)
        self.assertEqual([], self.server.requests)

    def test_too_late(self) -> None:
        running = fuel_agent_curl.Copy(self.request())
        running.run()
        running.cancel()
        self.assertEqual('complete', running.target_state)
        self.assert_same(self.content, self.read())


class TestExamples(CopyTestCase):
    def example(self, name: str, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *arguments],
            env={**os.environ, 'PYTHONPATH': str(check_layers.ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.timeout - 10,
        )
        return done.returncode, done.stdout

    def test_copy_image(self) -> None:
        self.server.script(faults.cut(9000))
        code, printed = self.example(
            'copy_image.py', self.server.url(), self.path, self.checksum()
        )
        self.assertEqual(0, code, printed)
        self.assertIn('retry ', printed)
        count = len(self.content)
        self.assertIn(
            '%d bytes written, read back, %s\n' % (count, self.checksum()),
            printed,
        )

    def test_copy_image_that_fails(self) -> None:
        self.server.script(then=faults.status(404))
        code, printed = self.example(
            'copy_image.py', self.server.url(), self.path
        )
        self.assertEqual(19, code, printed)
        self.assertIn('404', printed)
        self.assertIn(self.path + ' is untouched\n', printed)
        code, printed = self.example('copy_image.py', 'ftp://h/', self.path)
        self.assertEqual(2, code)
        self.assertIn('nothing was asked', printed)

    def test_copy_in_asyncio(self) -> None:
        """Of three, one is in time, one is not, and one has nothing."""
        self.server.script(then=faults.stall(9000))
        there, missing = self.start_server(), self.start_server()
        missing.script(then=faults.status(404))
        targets = [self.path + str(number) for number in range(3)]
        code, printed = self.example(
            'copy_in_asyncio.py',
            '6',
            *(there.url(), targets[0]),
            *(self.server.url(), targets[1]),
            *(missing.url(), targets[2]),
        )
        self.assertEqual(0, code, printed)
        count = len(self.content)
        lines = printed.splitlines()
        self.assertEqual(3, len(lines), printed)
        self.assertEqual(
            '%s: %d bytes written' % (targets[0], count), lines[0]
        )
        self.assertEqual(targets[1] + ': cancelled; it is untouched', lines[1])
        self.assertIn('404', lines[2])
        self.assertEqual(
            [os.path.basename(targets[0])], os.listdir(self.directory)
        )
