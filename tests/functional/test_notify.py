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


"""What a service manager hears of a copy, on a socket of its kind."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import socket
import threading

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import metalink
from tests.support import program


class TestNotify(program.ProgramTestCase):
    def listen(self, address: str) -> socket.socket:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address)
        manager.setblocking(False)
        return manager

    def heard(self, manager: socket.socket) -> list[str]:
        """Return what is in the queue, which takes few datagrams."""
        found = []
        while True:
            try:
                found.append(manager.recv(4096).decode())
            except BlockingIOError:
                return found

    @contextlib.contextmanager
    def hearing(self, manager: socket.socket) -> Iterator[list[str]]:
        """Have all of it heard in this block, as it comes."""
        found: list[str] = []
        ended = threading.Event()

        def hear() -> None:
            while not ended.wait(0.05):
                found.extend(self.heard(manager))

        thread = threading.Thread(target=hear)
        thread.start()
        try:
            yield found
        finally:
            ended.set()
            thread.join()
            found.extend(self.heard(manager))

    def told(self, name: str, **more: str) -> dict[str, str]:
        return {**os.environ, 'NOTIFY_SOCKET': name, **more}

    def test_of_a_copy(self) -> None:
        path = self.path('notify')
        abstract = 'fuel-agent-curl-' + self.unique_name('notify')
        for name, address in ((path, path), ('@' + abstract, '\0' + abstract)):
            manager = self.listen(address)
            # Long enough for another status.
            self.server.script(
                faults.reset(MIB + 1), faults.status(503, retry_after=1)
            )
            with self.hearing(manager) as heard:
                self.check_success(
                    *program.QUICK,
                    *('--attempts', '3'),
                    self.url,
                    env=self.told(name, WATCHDOG_USEC='600000'),
                )
            self.assertEqual(1, heard.count('READY=1'))
            self.assertLess(2, heard.count('WATCHDOG=1'))
            self.assertTrue(
                any(text.startswith('STATUS=retry') for text in heard), heard
            )
            self.assertEqual('STOPPING=1\nSTATUS=3.0 MiB written', heard[-1])
            os.unlink(self.target)

    def test_of_what_is_there_already(self) -> None:
        path = self.path('notify')
        manager = self.listen(path)
        self.server.representations['/image.meta4'] = harmful.Representation(
            metalink.document(self.image, [self.url], piece=MIB)
        )
        for content in (self.image[:MIB], self.image):
            with open(self.target, 'wb') as target:
                target.write(content)
            with self.hearing(manager) as heard:
                self.check_success(
                    '--reuse',
                    self.server.url('/image.meta4'),
                    env=self.told(path),
                )
            self.assertEqual(1, heard.count('READY=1'))
            self.assertEqual('STOPPING=1\nSTATUS=3.0 MiB written', heard[-1])

    def test_of_a_failure(self) -> None:
        path = self.path('notify')
        manager = self.listen(path)
        with self.hearing(manager) as heard:
            done = self.run_program(
                'copy',
                *(self.server.url('/none'), self.target),
                env=self.told(path),
            )
        self.assertEqual(19, done.returncode)
        self.assertNotIn('READY=1', heard)
        self.assertIn('STOPPING=1\nSTATUS=the server answered 404', heard[-1])

    def test_where_nobody_listens(self) -> None:
        closed = self.path('closed')
        self.listen(closed).close()
        for name in (closed, '/nonexistent/notify', '@nobody', 'vsock:2:9'):
            done = self.check_success(self.url, env=self.told(name))
            self.assertNotIn('WARNING', done.stderr)
            os.unlink(self.target)

    def test_a_manager_that_sleeps(self) -> None:
        """Its queue is full: what cannot be told is not waited for."""
        path = self.path('notify')
        manager = self.listen(path)
        other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(other.close)
        other.setblocking(False)
        try:
            while True:
                other.sendto(b'x', path)
        except BlockingIOError:
            pass
        self.check_success(self.url, env=self.told(path))
        self.assertNotIn('READY=1', self.heard(manager))
