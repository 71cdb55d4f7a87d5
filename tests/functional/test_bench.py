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


"""The benchmarks run, report, and leave nothing behind.

What they measure here is worth nothing; that is why it is not looked at.
"""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any
from xml.etree import ElementTree

from fuel_agent_curl.octets import MIB
from tests import base
from tools.bench import contenders
from tools.bench import costs
from tools.bench import figures
from tools.bench import measure
from tools.bench import needs
from tools.bench import servers


class _BenchTestCase(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = pathlib.Path(self.directory)
        self.output = self.path / 'output'

    def command(self, program: str, *arguments: str) -> list[str]:
        return [
            *(sys.executable, str(needs.ROOT / 'tools' / program), '--quick'),
            *('--scratch', self.directory, '--output', str(self.output)),
            *arguments,
        ]

    def bench(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self.command(program, *arguments),
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        self.assert_clean()

    def assert_clean(self) -> None:
        """Whatever was made for it is gone."""
        self.assertEqual([], list(self.path.glob('fuel-agent-curl-bench-*')))

    def report(self, name: str) -> dict[str, dict[str, Any]]:
        """Return the rows of each section, from files that all say it."""
        text = (self.output / (name + '.txt')).read_text()
        chart = ElementTree.parse(self.output / (name + '.svg'))
        drawn = {element.text for element in chart.iter()}
        found = json.loads((self.output / (name + '.json')).read_text())
        sections = {}
        for section in found['sections']:
            self.assertIn(section['title'], text)
            rows = {row['name']: row for row in section['rows']}
            for row_name in rows:
                self.assertIn(row_name, text)
                self.assertIn(row_name, drawn)
            sections[section['key']] = rows
        return sections


class TestWrite(_BenchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program('nginx', 'losetup', 'mkfs.ext4')

    def test_onto_a_loop_device(self) -> None:
        self.bench('bench_write.py', '--only', 'gzip,chunks')
        sections = self.report('bench_write')
        self.assertEqual({'gzip', 'chunks'}, set(sections))
        ours = sections['gzip'][contenders.COPY]
        self.assertGreater(ours['seconds'], ours['cpu'] / 4)
        self.assertGreater(ours['largest'], 20 * MIB)
        self.assertLess(ours['largest'], 200 * MIB)
        self.assertIn(contenders.UPSTREAM, sections['gzip'])
        self.assertIn(contenders.CHUNKS, sections['chunks'])

    def test_an_interrupt_ends_it_and_all_that_it_made(self) -> None:
        process = subprocess.Popen(
            self.command('bench_write.py', '--only', 'raw'),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        with process:
            assert process.stderr is not None
            for line in process.stderr:
                # The first contender is done, the next one is on.
                if b'round' in line:
                    break
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            process.stderr.read()
        self.assertEqual(128 + signal.SIGINT, process.returncode)
        self.assert_clean()


class TestLimits(_BenchTestCase):
    def test_each_line_has_its_limit(self) -> None:
        self.need_root()
        self.need_program('nginx', 'losetup', 'mkfs.ext4', 'aria2c', 'dd')
        keys = 'start,nowhere,raw,sixteen'
        self.bench('bench_limits.py', '--only', keys)
        self.assertEqual(
            set(keys.split(',')), set(self.report('bench_limits'))
        )
        found = json.loads((self.output / 'bench_limits.json').read_text())
        lines = [
            line
            for section in found['sections']
            for line in section['measured']
        ]
        self.assertEqual(
            [
                'Python, pycurl alone',
                'curl',
                'curl',
                'dd from memory',
                'arithmetic',
                'aria2',
            ],
            [line['limited_by'] for line in lines],
        )
        for line in lines:
            self.assertGreater(line['limit'], 0)
            self.assertAlmostEqual(line['ours'] / line['limit'], line['times'])
        # It is published.
        self.assertNotIn(self.directory, json.dumps(found))


class TestQcow2(_BenchTestCase):
    def test_beside_qemu_img(self) -> None:
        self.need_root()
        self.need_program('nginx', 'losetup', 'curl', 'qemu-img')
        self.bench('bench_qcow2.py', '--only', 'zlib')
        (rows,) = self.report('bench_qcow2').values()
        ours, other = rows.values()
        self.assertLess(ours['largest'], 200 * MIB)
        self.assertGreater(other['largest'], 5 * MIB)


class TestCosts(_BenchTestCase):
    def test_bytes_fetched_twice_are_counted(self) -> None:
        self.bench('bench_write.py', '--faults')
        sections = self.report('bench_costs')
        for rows in sections.values():
            honest, _resets, stall = rows.values()
            self.assertEqual((1, 0), self.counts(honest))
            self.assertGreater(stall['seconds'], costs.PATIENCE)
        *_resets, stall = sections[contenders.COPY].values()
        # Nine mebibytes in answers of two, less one byte.
        self.assertEqual((5, 0), self.counts(stall))

    def counts(self, row: dict[str, Any]) -> tuple[int, int]:
        return row['requests'], row['bytes twice']


class TestConnections(_BenchTestCase):
    def test_slow_ones_and_a_sweep(self) -> None:
        self.need_program('nginx')
        self.bench('bench_connections.py', '--only', 'slow,numbers')
        sections = self.report('bench_connections')
        self.assertEqual({'slow', 'numbers'}, set(sections))
        for row in sections['numbers'].values():
            self.assertGreater(row['seconds'], row['limit'])


class TestPaced(_BenchTestCase):
    def fetch(self, url: str) -> float:
        target = str(self.path / 'target')
        stages = contenders.copy('image').stages(url, target)
        return measure.run(stages, self.path / 'log').seconds

    def test_every_second_connection_is_slow(self) -> None:
        length = 4 * MIB
        with servers.paced(length, 1024 * MIB, MIB, 2) as url:
            quick = self.fetch(url)
            slow = self.fetch(url)
            self.assertGreater(slow, 3)
            self.assertLess(quick, slow - 1)


class TestMeasure(_BenchTestCase):
    def python(self, script: str) -> list[str]:
        return [sys.executable, '-S', '-c', script]

    def run_stages(self, *scripts: str, limit: float = 60) -> figures.Usage:
        stages = [self.python(script) for script in scripts]
        return measure.run(stages, self.path / 'log', limit)

    def test_a_pipeline(self) -> None:
        usage = self.run_stages(
            'import time; a = b"x" * (100 << 20); time.sleep(0.2);'
            'print(len(a))',
            'import time; time.sleep(0.3)\n'
            'while time.thread_time() < 0.2: pass\n'
            'assert int(input()) == 100 << 20',
        )
        assert usage.cpu is not None
        assert usage.largest is not None
        assert usage.total is not None
        self.assertGreater(usage.seconds, 0.3)
        self.assertGreater(usage.cpu, 0.2)
        self.assertGreater(usage.largest, 100 * MIB)
        self.assertGreater(usage.total, usage.largest + 2 * MIB)
        self.assertLess(usage.total, usage.largest + 50 * MIB)

    def test_what_is_small_is_not_taken_for_what_started_it(self) -> None:
        usage = measure.run([['sleep', '0.2']], self.path / 'log')
        assert usage.largest is not None
        self.assertLess(usage.largest, 8 * MIB)

    def test_a_stage_that_fails(self) -> None:
        error = self.assertRaises(
            measure.Failed,
            self.run_stages,
            'print(1)',
            'import sys; input(); sys.exit("no")',
        )
        self.assertIn('ended with 1: no', str(error))

    def test_a_stage_that_takes_the_one_before_along(self) -> None:
        endless = 'while True: print("y" * 65536)'
        error = self.assertRaises(
            measure.Failed,
            self.run_stages,
            'import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n'
            + endless,
            'import sys; sys.exit("no")',
        )
        self.assertIn(
            '%s ended with -13, %s ended with 1: no'
            % (sys.executable, sys.executable),
            str(error),
        )

    def test_a_stage_that_is_not_there(self) -> None:
        error = self.assertRaises(
            measure.Failed,
            measure.run,
            [self.python('print(1)'), ['no-such-program']],
            self.path / 'log',
        )
        self.assertIn('no-such-program', str(error))

    def test_one_that_does_not_end_is_killed(self) -> None:
        error = self.assertRaises(
            measure.Failed,
            self.run_stages,
            'import time; time.sleep(600)',
            'input()',
            limit=0.2,
        )
        self.assertIn('not done in time', str(error))
