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

"""The base of tests with a network that fails between server and client."""

from __future__ import annotations

import pathlib
import subprocess
import time

from testtools import content
from testtools import matchers

from tests import base
from tests.support import nameserver
from tests.support import netns

#: How much has come to the client when a fault begins, in bytes.
BEFORE = 4 * 1024 * 1024

#: What the name server, where there is one, knows the server by.
HOST = 'images.example.test'


class NetworkTestCase(base.FunctionalTestCase):
    """A server, a client and a network between them.

    :ivar images: the directory that nginx serves.
    """

    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program('ip', 'iptables', 'nginx', 'ss', 'tc')
        self.network = self.useFixture(
            netns.Network(self.unique_name('network'))
        )
        self.images = pathlib.Path(self.directory) / 'images'
        self.images.mkdir()
        self.nginx = self.useFixture(
            netns.Nginx(self.network.server, str(self.images))
        )

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start ``command`` in the client's namespace.

        What it prints is shown when the test fails.
        """
        self.stdout = pathlib.Path(self.directory) / 'stdout'
        stderr = pathlib.Path(self.directory) / 'stderr'
        self._received_before = self.network.client.received()
        with self.stdout.open('wb') as out, stderr.open('wb') as err:
            process = subprocess.Popen(
                self.network.client.command(*command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        for path in (self.stdout, stderr):
            self.addCleanup(self._show, path)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def _show(self, path: pathlib.Path) -> None:
        self.addDetail(
            'its ' + path.name, content.text_content(path.read_text())
        )

    def wait(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        """Return its exit code, which it must have within ``seconds``."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.fail('still running after %g s' % seconds)

    def received(self) -> int:
        """Return how many bytes came to the client since ``start``."""
        return self.network.client.received() - self._received_before

    def wait_until_under_way(self, process: subprocess.Popen[bytes]) -> None:
        def under_way() -> bool:
            self.assertIsNone(process.poll(), 'it has ended')
            return self.received() > BEFORE

        netns.wait_for('some of the image has come', under_way, 30)

    # The faults: each returns when it is over.

    def drop_for_15_seconds(self) -> None:
        self.network.blackhole()
        time.sleep(15)
        self.heal()

    def reset_for_a_while(self) -> None:
        self.network.server.refuse(
            *('-p', 'tcp', '-j', 'REJECT', '--reject-with', 'tcp-reset')
        )
        time.sleep(3)
        self.heal()

    def link_down(self, namespace: netns.Namespace, seconds: float) -> None:
        namespace.link('down')
        time.sleep(seconds)
        namespace.link('up')

    def restart_the_server(self) -> None:
        self.nginx.kill()
        time.sleep(3)
        self.nginx.start()

    def move_the_server(self, names: nameserver.NameServer) -> None:
        """The name server is silent meanwhile."""
        names.silent = True
        self.nginx.kill()
        time.sleep(6)
        self.network.move_server()
        self.nginx.start()
        names.records[HOST] = netns.SERVER_ELSEWHERE
        names.silent = False

    def heal(self) -> None:
        self.assertThat(
            self.network.heal(), matchers.GreaterThan(0), 'no packet was hit'
        )

    def assert_nothing_fetched_twice(self, uri: str, length: int) -> None:
        """What was on its way when a connection died may be sent again."""
        requests = self.nginx.requests(uri)
        self.addDetail(
            'requests',
            content.text_content('\n'.join(str(r) for r in requests)),
        )
        resumes = [r for r in requests if r.range]
        self.assertEqual([206] * len(resumes), [r.status for r in resumes])
        lost = len(resumes) * netns.Nginx.IN_FLIGHT
        self.assertLessEqual(sum(r.sent for r in requests), length + lost)
        # nginx did not log what it was sending when it was killed. Heads of
        # packets are a twentieth.
        self.assertLess(self.received(), 1.1 * length + lost)
        self.assertEqual(length, requests[-1].start + requests[-1].sent)
