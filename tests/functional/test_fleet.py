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

"""32 nodes copy one image at once, and the origin sends it once.

Through the nginx of the fleet guide, by the program that measures the guide's
figures.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

from testtools import matchers

from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import netns
from tools.bench import needs
from tools.fleet import bench
from tools.fleet import nodes
from tools.fleet import servers

NODES = 32
SLICES = 10
LENGTH = SLICES * 4 * MIB

#: Bytes per second of each node: the copies last for seconds.
PACE = 6 * MIB


class TestFleet(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('nginx')
        self.site = bench.Site(
            pathlib.Path(self.directory) / 'site', bench.SLICES, LENGTH
        )
        self.addCleanup(self.site.close)
        self.site.start()
        assert isinstance(self.site.cache, servers.SliceCache)
        self.cache = self.site.cache

    def start_nodes(self, **settings: object) -> nodes.Fleet:
        fleet = nodes.Fleet(
            self.site.url, NODES, {**self.site.settings, **settings}
        )
        self.addCleanup(fleet.close)
        fleet.start()
        return fleet

    def assert_copied(self, fleet: nodes.Fleet) -> list[nodes.Outcome]:
        """Every node has the image, and the origin has sent it once."""
        outcomes = fleet.wait()
        self.assertEqual(NODES, len(outcomes))
        self.site.check(outcomes)
        sent = sum(request.sent for request in self.site.origin.settled())
        self.assertThat(sent, matchers.GreaterThan(LENGTH - 1))
        self.assertThat(sent, matchers.LessThan(1.1 * LENGTH + 1))
        return outcomes

    def test_the_origin_sends_it_once(self) -> None:
        self.assert_copied(self.start_nodes())
        self.assertEqual(SLICES, len(self.site.origin.requests()))

    def test_one_connection_each(self) -> None:
        self.assert_copied(self.start_nodes(connections=1))
        self.assertEqual(SLICES, len(self.site.origin.requests()))

    def test_cache_killed_and_started_again(self) -> None:
        fleet = self.start_nodes(max_recv_speed=PACE)
        origin = self.site.origin
        netns.wait_for(
            'half of it is in the cache',
            lambda: len(origin.requests()) > SLICES // 2,
            60,
        )
        self.cache.kill()
        self.assertLess(fleet.received, NODES * LENGTH * 3 // 4)
        self.assertLess(len(origin.requests()), SLICES)
        # Long enough to be refused.
        netns.wait_for(
            'nobody gets anything', lambda: self._stands_still(fleet), 20
        )
        self.cache.start()
        outcomes = self.assert_copied(fleet)
        # Some may have been between two segments.
        hit = [each for each in outcomes if each.attempts > SLICES]
        self.assertGreater(len(hit), NODES // 4)
        # What was whole on its disk was not fetched again.
        self.assertLess(len(origin.requests()), SLICES * 3 // 2)

    def _stands_still(self, fleet: nodes.Fleet) -> bool:
        before, self._before = getattr(self, '_before', -1), fleet.received
        return before == self._before


class TestBench(base.FunctionalTestCase):
    def test_report(self) -> None:
        self.need_program('nginx', 'squid')
        done = subprocess.run(
            [
                *(sys.executable, str(needs.ROOT / 'tools/bench_fleet.py')),
                *('--quick', '--output', self.directory),
                *('--scratch', self.directory),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        path = pathlib.Path(self.directory, 'bench_fleet.json')
        found = json.loads(path.read_text())
        shares = {
            (row['way'], row['nodes']): row['share']
            for row in found['measured']
        }
        for way in (bench.DIRECT, bench.SLICES, bench.SQUID):
            self.assertIn(way.name, done.stdout)
        self.assertEqual(4.0, shares[bench.DIRECT.name, 4])
        self.assertLess(shares[bench.SLICES.name, 4], 1.1)
        self.assertLess(shares[bench.SQUID.name, 4], 1.1)
        self.assertEqual(
            [], list(pathlib.Path(self.directory).glob('fuel-agent-curl-*'))
        )
