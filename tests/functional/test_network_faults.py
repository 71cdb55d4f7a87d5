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

"""A deployment over a network that fails underneath it.

nginx runs in one network namespace and the deployment in another; what goes
wrong between them is done by iptables and ip while the transfer is under
way, and undone some seconds later.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import time
from typing import Any

from testtools import matchers
import yaml

from fuel_agent_curl import errors
from fuel_agent_curl.octets import MIB
from tests.support import deployment
from tests.support import loop
from tests.support import nameserver
from tests.support import netns
from tests.support import network

#: Of a representation: four seconds at the pace of the link.
_LENGTH = 16 * MIB

#: Seconds; what is lost by a fault, beyond the time it lasts, is less.
_CONNECT_TIMEOUT = 2
_LOW_SPEED_TIME = 4
_BACKOFF_MAX = 1
_FAST = (
    *('--connect-timeout', str(_CONNECT_TIMEOUT)),
    *('--low-speed-time', str(_LOW_SPEED_TIME)),
    *('--backoff', '0.5', '--backoff-max', str(_BACKOFF_MAX)),
)
#: Seconds for a process to start, and for a busy machine.
_SLACK = 8


class _CopyTestCase(network.NetworkTestCase):
    """``fuel-agent-curl copy``."""

    def setUp(self) -> None:
        super().setUp()
        self.image = random.Random(1).randbytes(_LENGTH)
        (self.images / 'image').write_bytes(self.image)
        self.target = os.path.join(self.directory, 'target')

    def make_device(self, length: int) -> str:
        """Return a block device that holds something else already."""
        device = self.useFixture(loop.LoopDevice(self.directory, length))
        return device.path

    def start_copy(
        self, *options: str, host: str = netns.SERVER
    ) -> subprocess.Popen[bytes]:
        return self.start(
            *(sys.executable, '-m', 'fuel_agent_curl.cmd.main', 'copy'),
            *('--progress', 'json', *_FAST, *options),
            *('http://%s/image' % host, self.target),
        )

    def events(self) -> list[dict[str, Any]]:
        lines = self.stdout.read_text().splitlines()
        return [json.loads(line) for line in lines]

    def count(self, event: str) -> int:
        return sum(e['event'] == event for e in self.events())

    def read_target(self, length: int) -> bytes:
        with open(self.target, 'rb') as file:
            return file.read(length)

    def assert_copied(
        self, process: subprocess.Popen[bytes], seconds: float = 20
    ) -> None:
        self.assertEqual(0, self.wait(process, seconds))
        last = self.events()[-1]
        self.assertEqual(('done', _LENGTH), (last['event'], last['written']))
        self.assertEqual(
            _digest(self.image), _digest(self.read_target(_LENGTH))
        )
        self.assert_nothing_fetched_twice('/image', _LENGTH)

    def assert_failed(
        self,
        exit_code: int,
        process: subprocess.Popen[bytes],
        seconds: float,
    ) -> None:
        """It fails within ``seconds``, and says so everywhere.

        :param exit_code: 128 and its number where a signal ends it: what a
            shell shows.
        """
        code = self.wait(process, seconds)
        self.assertEqual(exit_code, code if code >= 0 else 128 - code)
        last = self.events()[-1]
        self.assertEqual(
            ('failed', exit_code), (last['event'], last['exit_code'])
        )
        self.assertEqual(0, self.count('done'))


class TestCopy(_CopyTestCase):
    """Wherever the network comes back, the copy succeeds."""

    def test_packets_dropped_for_15_seconds(self) -> None:
        self.target = self.make_device(_LENGTH + MIB)
        copy = self.start_copy('--checksum', 'sha256:' + _digest(self.image))
        self.wait_until_under_way(copy)
        self.drop_for_15_seconds()
        self.assert_copied(copy)
        self.assertEqual(1, self.count('resumed'))

    def test_connection_reset_and_refused(self) -> None:
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        self.reset_for_a_while()
        self.assert_copied(copy)
        self.assertEqual(1, self.count('resumed'))

    def test_four_connections_reset_and_refused(self) -> None:
        connections = 4
        copy = self.start_copy(
            *('--connections', str(connections), '--segment-size', '1M')
        )
        self.wait_until_under_way(copy)
        self.reset_for_a_while()
        self.assert_copied(copy)
        # Each where it was; the beginning of a segment is no resume, nor is
        # the rest of one that another transfer has left to it.
        self.assertThat(
            self.count('resumed'), matchers.LessThan(connections + 1)
        )

    def test_host_unreachable_for_a_while(self) -> None:
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        self.network.server.refuse(
            *('-j', 'REJECT', '--reject-with', 'icmp-host-unreachable')
        )
        time.sleep(_LOW_SPEED_TIME + 4)
        self.heal()
        self.assert_copied(copy)
        self.assertEqual(1, self.count('resumed'))

    def test_every_thirtieth_packet_lost_at_random(self) -> None:
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        for namespace in (self.network.server, self.network.client):
            namespace.refuse(
                *('-m', 'statistic', '--mode', 'random'),
                *('--probability', '0.033', '-j', 'DROP'),
            )
        self.assert_copied(copy, 60)
        self.heal()

    def test_link_of_the_client_down_and_up(self) -> None:
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        self.link_down(self.network.client, _LOW_SPEED_TIME + 4)
        self.assert_copied(copy)
        self.assertEqual(1, self.count('resumed'))

    def test_link_of_the_server_flaps(self) -> None:
        """TCP survives that: nothing is started anew."""
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        for _ in range(2):
            self.link_down(self.network.server, 0.5)
            time.sleep(0.5)
        self.assert_copied(copy)
        self.assertEqual(1, len(self.nginx.requests('/image')))

    def test_server_killed_and_restarted(self) -> None:
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        self.restart_the_server()
        self.assert_copied(copy)
        self.assertEqual(1, self.count('resumed'))


class TestNoRecovery(_CopyTestCase):
    """Where it does not, the copy fails, in a time that settings bound."""

    _ATTEMPTS = 3
    #: Until the stall is noticed, and then for every attempt.
    _BOUND = (
        _LOW_SPEED_TIME + 1 + _ATTEMPTS * (_CONNECT_TIMEOUT + _BACKOFF_MAX)
    )

    def test_packets_dropped_for_good(self) -> None:
        copy = self.start_copy('--attempts', str(self._ATTEMPTS))
        self.wait_until_under_way(copy)
        self.network.blackhole()
        self.assert_failed(
            errors.AttemptsExhausted.exit_code, copy, self._BOUND + _SLACK
        )
        # The one that stalled had brought something and does not count.
        self.assertEqual(self._ATTEMPTS, self.count('retry'))
        self.assertFalse(os.path.exists(self.target))

    def test_host_unreachable_for_good(self) -> None:
        copy = self.start_copy('--attempts', str(self._ATTEMPTS))
        self.wait_until_under_way(copy)
        self.network.server.refuse(
            *('-j', 'REJECT', '--reject-with', 'icmp-host-unreachable')
        )
        self.assert_failed(
            errors.AttemptsExhausted.exit_code, copy, self._BOUND + _SLACK
        )
        self.assertFalse(os.path.exists(self.target))

    def test_no_route_until_the_deadline(self) -> None:
        self.target = self.make_device(_LENGTH)
        copy = self.start_copy('--attempts', '0', '--deadline', '10')
        self.wait_until_under_way(copy)
        self.network.client.link('down')
        self.assert_failed(
            errors.DeadlineExceeded.exit_code, copy, 10 + _SLACK
        )
        # Neither the old image nor the new: nothing to boot from.
        self.assertEqual(bytes(MIB), self.read_target(MIB))

    def test_sigterm_in_the_silence(self) -> None:
        copy = self.start_copy()
        self.wait_until_under_way(copy)
        self.network.blackhole()
        time.sleep(1)
        copy.terminate()
        self.assert_failed(143, copy, 5)
        self.assertFalse(os.path.exists(self.target))


class TestNameServer(_CopyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.names = self.useFixture(
            nameserver.NameServer(self.network, {network.HOST: netns.SERVER})
        )

    def test_silent_at_first(self) -> None:
        self.names.silent = True
        copy = self.start_copy(host=network.HOST)
        time.sleep(6)
        self.names.silent = False
        self.assert_copied(copy)
        self.assertThat(self.count('retry'), matchers.GreaterThan(0))

    def test_silent_while_the_server_moves(self) -> None:
        copy = self.start_copy(host=network.HOST)
        self.wait_until_under_way(copy)
        self.move_the_server(self.names)
        self.assert_copied(copy)
        self.assertEqual(1, self.count('resumed'))

    def test_silent_for_good(self) -> None:
        self.names.silent = True
        copy = self.start_copy('--attempts', '2', host=network.HOST)
        # Not the resolver's own ten seconds for each.
        bound = 2 * (_CONNECT_TIMEOUT + _BACKOFF_MAX) + _SLACK
        self.assert_failed(errors.AttemptsExhausted.exit_code, copy, bound)
        self.assertThat(self.names.questions, matchers.GreaterThan(1))

    def test_sigterm_while_it_is_silent(self) -> None:
        self.names.silent = True
        copy = self.start_copy('--connect-timeout', '30', host=network.HOST)
        netns.wait_for('a question', lambda: self.names.questions > 0, 15)
        copy.terminate()
        # The resolver would wait for ten seconds.
        self.assert_failed(143, copy, 5)


class TestFuelAgent(network.NetworkTestCase):
    """``fa_copyimage``, with nothing in its configuration but our driver.

    So the timeouts are fuel-agent's own, ten seconds each.
    """

    def setUp(self) -> None:
        super().setUp()
        self.need_program(*deployment.PROGRAMS)
        self.path = pathlib.Path(self.directory)
        # The filesystem has a little to itself.
        self.image = deployment.Image(self.path, _LENGTH + 8 * MIB, _LENGTH)
        packed = self.image.pack()
        self.length = len(packed)
        (self.images / 'image.gz').write_bytes(packed)
        content = self.image.path.read_bytes()
        metadata = {
            'container_name': 'image.gz',
            'raw_size': len(content),
            'raw_md5': hashlib.md5(content).hexdigest(),
        }
        (self.images / 'image.yaml').write_text(
            yaml.safe_dump({'images': [metadata]})
        )
        self.device = self.useFixture(
            loop.LoopDevice(self.directory, len(content) + 8 * MIB)
        ).path

    def deploy(self, host: str = netns.SERVER) -> subprocess.Popen[bytes]:
        """Return when the deployment is under way."""
        url = 'http://%s/image.gz' % host
        process = self.start(
            *deployment.configure(self.path, url, self.device)
        )
        self.wait_until_under_way(process)
        return process

    def assert_deployed(self, process: subprocess.Popen[bytes]) -> None:
        """Every byte is there, by fuel-agent's check and by ours."""
        self.assertEqual(0, self.wait(process, 40))
        (metadata,) = self.nginx.requests('/image.yaml')
        self.assertEqual(200, metadata.status)
        found, _ = deployment.read_filesystem(self.device, self.path)
        self.assertEqual(deployment.files(self.image.tree), found)
        self.assert_nothing_fetched_twice('/image.gz', self.length)
        last = self.nginx.requests('/image.gz')[-1]
        self.assertEqual(206, last.status)

    def test_packets_dropped_for_15_seconds(self) -> None:
        process = self.deploy()
        self.drop_for_15_seconds()
        self.assert_deployed(process)

    def test_connection_reset_and_refused(self) -> None:
        process = self.deploy()
        self.reset_for_a_while()
        self.assert_deployed(process)

    def test_link_down_and_up(self) -> None:
        process = self.deploy()
        self.link_down(self.network.client, 13)
        self.assert_deployed(process)

    def test_server_killed_and_restarted(self) -> None:
        process = self.deploy()
        self.restart_the_server()
        self.assert_deployed(process)

    def test_name_server_silent_while_the_server_moves(self) -> None:
        names = self.useFixture(
            nameserver.NameServer(self.network, {network.HOST: netns.SERVER})
        )
        process = self.deploy(network.HOST)
        self.move_the_server(names)
        self.assert_deployed(process)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
