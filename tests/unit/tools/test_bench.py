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


"""The arithmetic, the table and the chart of the benchmarks."""

from __future__ import annotations

import argparse
import io
import json
import signal
from typing import Any
from xml.etree import ElementTree

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import GIB
from fuel_agent_curl.octets import MIB
from tests import base
from tools.bench import chart
from tools.bench import contenders
from tools.bench import costs
from tools.bench import figures
from tools.bench import measure
from tools.bench import paced
from tools.bench import program
from tools.bench import report
from tools.bench import rounds
from tools.bench import signals


def row(name: str, *seconds: float, **usage: Any) -> figures.Row:
    return figures.Row(
        name, tuple(figures.Usage(value, **usage) for value in seconds)
    )


def section(*rows: figures.Row, **more: Any) -> figures.Section:
    return figures.Section('key', 'a < b', rows, **more)


class TestRow(base.TestCase):
    def test_seconds_and_cpu_are_medians(self) -> None:
        made = figures.Row(
            'a', (figures.Usage(9, 3), figures.Usage(1, 1), figures.Usage(2))
        )
        self.assertEqual((2, 1, 9), (made.seconds, made.least, made.most))
        self.assertEqual(2, made.cpu)

    def test_memory_is_the_most_of_any_run(self) -> None:
        made = figures.Row(
            'a', (figures.Usage(1, 1, 5, 8), figures.Usage(1, 1, 7, 7))
        )
        self.assertEqual((7, 8), (made.largest, made.total))

    def test_what_is_not_known(self) -> None:
        made = row('limit', 2)
        self.assertEqual(
            (None, None, None), (made.cpu, made.largest, made.total)
        )


class TestGoals(base.TestCase):
    def test_at_least_and_at_most(self) -> None:
        for value, at_most, met in (
            (2.0, False, True),
            (1.9, False, False),
            (2.0, True, True),
            (2.1, True, False),
            (None, True, None),
        ):
            goal = figures.Goal('', value, 2, at_most)
            self.assertEqual(met, goal.met, str(goal))

    def test_times_as_fast(self) -> None:
        made = section(row('ours', 2), row('theirs', 5))
        goal = figures.times_as_fast(made, 'theirs', 2.5)
        self.assertEqual((2.5, True), (goal.value, goal.met))
        other = figures.times_as_fast(made, 'ours', 1, 'theirs')
        self.assertEqual(0.4, other.value)
        self.assertIsNone(figures.times_as_fast(made, 'nobody', 1).met)

    def test_seconds_within(self) -> None:
        goal = figures.seconds_within(section(row('ours', 2.5)), 2.0, 8)
        self.assertEqual((25.0, False), (goal.value, goal.met))

    def test_memory_within(self) -> None:
        made = section(row('a', 1, largest=3 * MIB), row('b', 1))
        goals = figures.memory_within(made, 2 * MIB, 'a', 'b', 'c')
        self.assertEqual([3, None, None], [goal.value for goal in goals])
        (first,) = figures.memory_within(made, 3 * MIB)
        self.assertTrue(first.met)

    def test_limit_of_paced_connections(self) -> None:
        rates = [20 * MIB] * 14 + [20 * MIB // 100] * 2
        self.assertAlmostEqual(
            2.739, figures.limit_seconds(768 * MIB, rates), places=3
        )

    def test_a_line_to_publish(self) -> None:
        made = section(
            row('ours', 3, cpu=1), row('theirs', 6), row('best', 2, cpu=0.5)
        )
        limit = made.row('best')
        (line,) = figures.measured(
            made, 'it', limit, 'best', others=('theirs', 'nobody'), goal=1.4
        )
        self.assertEqual(
            (3, 2, 1.5, 'seconds', {'theirs': 6}),
            (line.ours, line.limit, line.times, line.unit, line.others),
        )
        (line,) = figures.measured(
            made, 'it', limit, 'best', others=('theirs',), cpu=True
        )
        self.assertEqual(
            (1, 0.5, 'CPU seconds', {}),
            (line.ours, line.limit, line.unit, line.others),
        )
        (line,) = figures.measured(
            made, 'it', 4.0, 'arithmetic', ours='theirs'
        )
        self.assertEqual((6, 4), (line.ours, line.limit))

    def test_no_line_without_a_limit(self) -> None:
        made = section(row('ours', 3), row('best', 2))
        limit = made.row('best')
        for line in (
            figures.measured(made, 'it', made.row('nobody'), 'nobody'),
            figures.measured(made, 'it', limit, 'best', cpu=True),
            figures.measured(made, 'it', limit, 'best', ours='nobody'),
        ):
            self.assertEqual((), line)

    def test_cpu_per_gibibyte(self) -> None:
        def goals(*rows: figures.Row) -> tuple[figures.Goal, figures.Goal]:
            return figures.cpu_within(
                section(*rows), 2 * GIB, 1.3, 'a', 'b', ', start'
            )

        both = row('a', 1, cpu=1.5), row('b', 1, cpu=1.1)
        whole, after = goals(
            *both, row('a, start', 1, cpu=0.3), row('b, start', 1, cpu=0.1)
        )
        self.assertAlmostEqual(1.5 / 1.1, whole.value or 0.0)
        self.assertIn('(0.75 and 0.55)', whole.text)
        self.assertAlmostEqual(1.2, after.value or 0.0)
        self.assertEqual((False, True), (whole.met, after.met))
        whole, after = goals(*both)
        self.assertEqual((False, None), (whole.met, after.met))
        self.assertEqual((None, None), tuple(g.met for g in goals(both[0])))


class TestReport(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.section = section(
            figures.Row(
                'ours',
                (
                    figures.Usage(1, 0.5, 3 * MIB, 3 * MIB),
                    figures.Usage(1.25, 0.5, 3 * MIB, 3 * MIB),
                ),
                {'requests': 3},
            ),
            row('the arithmetic limit', 2.25),
            goals=(figures.Goal('speed', 2.0, 3), figures.Goal('x', None, 1)),
            notes=('a note',),
            measured=(figures.Measured('it', 'seconds', 3, 2, 'dd', 1.4),),
        )

    def test_table(self) -> None:
        self.assertEqual(
            'a < b\n'
            '-----\n'
            '                      seconds  (least-most)  times   CPU'
            '  largest  sum  requests\n'
            'ours                     1.12   (1.00-1.25)   1.00  0.50'
            '        3    3         3\n'
            'the arithmetic limit     2.25   (2.25-2.25)   2.00     -'
            '        -    -         -\n'
            '* a note\n'
            '> speed: 2.00 (at least 3): MISSED\n'
            '> x: - (at least 1): not measured\n'
            '= it: 3 seconds, 1.50 times dd (at most 1.40): MISSED\n',
            report.table(self.section),
        )

    def test_document(self) -> None:
        found = json.loads(
            json.dumps(report.document([self.section], {'cpus': 2}))
        )
        self.assertEqual(2, found['cpus'])
        (only,) = found['sections']
        ours, limit = only['rows']
        self.assertEqual(2, len(ours['runs']))
        self.assertEqual(
            (1.125, 3 * MIB, 3),
            (ours['seconds'], ours['largest'], ours['requests']),
        )
        self.assertEqual((2.0, None), (limit['times'], limit['cpu']))
        self.assertIs(False, only['goals'][0]['met'])
        (line,) = only['measured']
        self.assertEqual(('it', 1.5), (line['work'], line['times']))

    def test_chart(self) -> None:
        self.section = section(
            *self.section.rows, measures=('seconds', 'largest', 'cpu')
        )
        drawn = ElementTree.fromstring(chart.svg('A & B', [self.section]))
        space = '{http://www.w3.org/2000/svg}'
        _paper, *bars = drawn.iter(space + 'rect')
        # The limit has neither memory nor CPU seconds.
        self.assertEqual(4, len(bars))
        self.assertAlmostEqual(
            2.0,
            float(bars[1].attrib['width']) / float(bars[0].attrib['width']),
        )
        texts = [text.text for text in drawn.iter(space + 'text')]
        self.assertEqual('A & B', texts[0])
        for text in ('a < b: MiB', 'ours', '2.25  (2.00 x)'):
            self.assertIn(text, texts)
        for element in (*bars, *drawn.iter(space + 'text')):
            self.assertLess(
                float(element.attrib['y']), float(drawn.attrib['height'])
            )

    def test_chart_of_nothing(self) -> None:
        ElementTree.fromstring(chart.svg('', []))
        ElementTree.fromstring(
            chart.svg('', [section(row('a', 1, cpu=0), measures=('cpu',))])
        )


class TestRounds(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ran: list[tuple[str, bool]] = []

    def contender(self, name: str, **more: Any) -> contenders.Contender:
        return contenders.Contender(name, 'sh {target}', 'image', **more)

    def run_one(
        self, contender: contenders.Contender, check: bool
    ) -> figures.Usage:
        self.ran.append((contender.name, check))
        return figures.Usage(len(self.ran))

    def test_they_take_turns_after_a_warm_up(self) -> None:
        rows = rounds.compare(
            [self.contender('a'), self.contender('b')], self.run_one, 2
        )
        self.assertEqual(
            [('a', True), ('b', True), *[('a', False), ('b', False)] * 2],
            self.ran,
        )
        self.assertEqual(
            [[3, 5], [4, 6]], [[u.seconds for u in r.runs] for r in rows]
        )

    def test_without_a_warm_up_the_first_counts_and_is_compared(self) -> None:
        (made,) = rounds.compare(
            [self.contender('a')], self.run_one, 2, warm_up=False
        )
        self.assertEqual([('a', True), ('a', False)], self.ran)
        self.assertEqual(2, len(made.runs))

    def test_one_that_runs_once(self) -> None:
        rows = rounds.compare(
            [self.contender('a'), self.contender('b', once=True)],
            self.run_one,
            3,
        )
        self.assertEqual([3, 1], [len(made.runs) for made in rows])

    def test_what_is_missing_is_left_out(self) -> None:
        absent = contenders.Contender('a', 'sh | no-such-program', '')
        module = self.contender('b', modules=('no_such_module',))
        self.assertEqual([], rounds.present([absent, module]))
        self.assertEqual(
            ['no-such-program (package no-such-program)'], absent.missing
        )
        self.assertEqual(
            ['no_such_module (pip install no-such-module)'], module.missing
        )


class TestContenders(base.TestCase):
    def test_a_pipeline(self) -> None:
        self.assertEqual(
            [
                ['curl', '-q', '-s', '-f', 'http://host/image.gz'],
                ['gunzip', '-c'],
                [
                    *('dd', 'of=/dev/a b', 'bs=1M', 'iflag=fullblock'),
                    *('oflag=direct', 'conv=fsync'),
                ],
            ],
            contenders.pipe('image.gz', 'gunzip -c').stages(
                'http://host/', '/dev/a b'
            ),
        )

    def test_a_script(self) -> None:
        theirs = contenders.chain('i', ours=False, gunzip=True, options='a=1')
        ((_python, flag, script, *arguments),) = theirs.stages(
            'http://h/', 't'
        )
        self.assertEqual(['-c', 'http://h/i', 't', 'a=1'], [flag, *arguments])
        compile(script, 'script', 'exec')
        self.assertIn('GunzipStream', script)
        self.assertNotIn('fuel_agent_curl', script)
        ours = contenders.chain('i', ours=True).script
        compile(ours, 'script', 'exec')
        self.assertIn('install()', ours)
        self.assertNotIn('GunzipStream', ours)

    def test_they_are_called_as_the_goals_call_them(self) -> None:
        for name, contender in (
            ('curl | dd', contenders.pipe('i')),
            ('curl | igzip | dd', contenders.pipe('i', 'igzip -d -c')),
            ('curl | xz | dd', contenders.pipe('i', 'xz -d -c')),
            ('aria2c -x16 -s16 -k1M', contenders.aria2('i')),
            (contenders.UPSTREAM, contenders.chain('i', ours=False)),
        ):
            self.assertEqual(name, contender.name)


class TestMeasure(base.TestCase):
    def test_peak(self) -> None:
        # One that is smaller than we are hides behind what it inherits.
        self.assertEqual(50, measure.peak(50, 20, 40))
        self.assertEqual(3, measure.peak(20, 20, 3))
        self.assertIsNone(measure.peak(20, 20, 0))


class TestCosts(base.TestCase):
    def test_bytes_sent(self) -> None:
        for starts, step, length, expected in (
            ([0], None, 10, 10),
            ([0, 4, 8], 4, 10, 10),
            # The third asks for a byte that it has been given.
            ([0, 4, 7], 4, 10, 11),
            ([0, 0], None, 10, 20),
        ):
            self.assertEqual(expected, costs.sent(starts, step, length))

    def test_where_a_request_starts(self) -> None:
        for fields, expected in (
            ((), 0),
            ((('Range', 'bytes=0-'),), 0),
            ((('Range', 'bytes=120-'),), 120),
            ((('Range', 'bytes=7-9'),), 7),
        ):
            self.assertEqual(
                expected, costs.start(harmful.Request(fields=fields))
            )


class TestPaced(base.TestCase):
    def test_request(self) -> None:
        wire = io.BytesIO(
            b'GET / HTTP/1.1\r\nHost: a\r\nRANGE:  bytes=1-2\r\n\r\n'
            b'GET / HTTP/1.1\r\n\r\n'
        )
        self.assertEqual(b'bytes=1-2', paced.read_head(wire)[b'range'])
        self.assertNotIn(b'range', paced.read_head(wire))
        self.assertEqual({}, paced.read_head(wire))

    def test_positions(self) -> None:
        for value, expected in (
            (b'', (0, 10, False)),
            (b'bytes=0-', (0, 10, True)),
            (b'bytes=3-', (3, 10, True)),
            (b'bytes=3-5', (3, 6, True)),
            (b'bytes=3-99', (3, 10, True)),
            (b'bytes=1-2,4-5', (0, 10, False)),
        ):
            self.assertEqual(expected, paced.positions(value, 10), str(value))

    def test_answer(self) -> None:
        self.assertEqual(
            b'HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n'
            b'Accept-Ranges: bytes\r\nETag: "paced"\r\n'
            b'Content-Range: bytes 3-5/10\r\n\r\n',
            paced.answer_head(3, 6, 10, True),
        )


class TestOptions(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.parser = program.parser('', ('gzip', 'raw'))

    def test_sections(self) -> None:
        everything = self.parser.parse_args([])
        self.assertTrue(program.wanted(everything, 'raw'))
        some = self.parser.parse_args(['--only', 'raw'])
        self.assertTrue(program.wanted(some, 'raw'))
        self.assertFalse(program.wanted(some, 'gzip'))

    def test_nonsense(self) -> None:
        for words in (['--only', 'tar'], ['--runs', '0'], ['--runs', 'x']):
            self.assertRaises(SystemExit, self.parser.parse_args, words)
        self.assertIsInstance(self.parser, argparse.ArgumentParser)


class TestSignals(base.TestCase):
    def test_what_clears_up_is_not_interrupted(self) -> None:
        done = []

        def interrupted() -> None:
            with signals.interruptible():
                with signals.postponed():
                    signal.raise_signal(signal.SIGINT)
                    done.append('cleared up')
                done.append('went on')

        error = self.assertRaises(SystemExit, interrupted)
        self.assertEqual(128 + signal.SIGINT, error.code)
        self.assertEqual(['cleared up'], done)
