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

"""How far a copy has got, in numbers, words and displays."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from typing import Any

from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.rules import events
from tests import base

URL = 'http://server/image'


class TestMeter(base.TestCase):
    def test_no_rate_without_two_samples(self) -> None:
        meter = snapshot.Meter()
        self.assertEqual(0.0, meter.rate)
        meter.add(5.0, 100)
        self.assertEqual(0.0, meter.rate)
        meter.add(5.0, 200)
        self.assertEqual(0.0, meter.rate)

    def test_steady(self) -> None:
        meter = snapshot.Meter(10)
        for second in range(100):
            meter.add(second, 7 * second)
        self.assertEqual(7.0, meter.rate)

    def test_the_past_is_forgotten(self) -> None:
        meter = snapshot.Meter(10)
        for second in range(50):
            meter.add(second, 1000 * second)
        for second in range(50, 60):
            meter.add(second, 49000)
        self.assertEqual(0.0, meter.rate)

    def test_samples_rarer_than_the_window(self) -> None:
        meter = snapshot.Meter(10)
        for second in (0, 30, 60):
            meter.add(second, 5 * second)
        self.assertEqual(5.0, meter.rate)

    def test_a_count_that_falls_is_no_negative_rate(self) -> None:
        """It does where a server without ranges is read again from 0."""
        meter = snapshot.Meter()
        meter.add(0, 1000)
        meter.add(1, 0)
        self.assertEqual(0.0, meter.rate)


class TestStatus(base.TestCase):
    def test_left_and_percent(self) -> None:
        seen = snapshot.Snapshot(received=25, length=100, rate=5.0)
        self.assertEqual(15.0, seen.left)
        self.assertEqual(25, seen.percent)

    def test_nobody_knows(self) -> None:
        self.assertIsNone(snapshot.Snapshot(received=1, rate=5.0).left)
        self.assertIsNone(snapshot.Snapshot(received=1, length=9).left)
        self.assertIsNone(snapshot.Snapshot(received=1).percent)

    def test_percent_is_100_only_at_the_end(self) -> None:
        self.assertEqual(
            99, snapshot.Snapshot(received=9999, length=10000).percent
        )
        self.assertEqual(
            100, snapshot.Snapshot(received=10000, length=10000).percent
        )
        self.assertEqual(100, snapshot.Snapshot(length=0).percent)

    def test_words(self) -> None:
        seen = snapshot.Snapshot(received=MIB, length=4 * MIB, rate=MIB / 2)
        self.assertEqual('1.0 MiB of 4.0 MiB', seen.amount())
        self.assertEqual('512.0 KiB/s, 0:06 left', seen.pace())
        unknown = snapshot.Snapshot(received=MIB)
        self.assertEqual('1.0 MiB', unknown.amount())
        self.assertEqual('0 B/s', unknown.pace())

    def test_all_received_and_not_yet_all_written(self) -> None:
        seen = snapshot.Snapshot(
            received=MIB, length=MIB, written=9 * MIB, rate=MIB
        )
        self.assertEqual('9.0 MiB written', seen.pace())

    def test_trouble(self) -> None:
        error = errors.ReceiveError('connection reset', offset=77, url=URL)
        seen = snapshot.Snapshot(
            attempt=3, attempts=31, error=error, delay=3.2
        )
        self.assertEqual(
            'retry in 4 s after attempt 3/31: connection reset at byte 77',
            seen.trouble(),
        )
        self.assertEqual(
            'retrying after attempt 3: no such host',
            snapshot.Snapshot(
                attempt=3, error=errors.ResolveError('no such host')
            ).trouble(),
        )
        self.assertIsNone(snapshot.Snapshot(attempt=3).trouble())

    def test_sizes(self) -> None:
        for number, expected in (
            (0, '0 B'),
            (1023, '1023 B'),
            (1023.7, '1.0 KiB'),
            (1024, '1.0 KiB'),
            (MIB - 1, '1.0 MiB'),
            (1.5 * 1024**3, '1.5 GiB'),
            (5000 * 1024**4, '5000.0 TiB'),
        ):
            self.assertEqual(expected, wording.size(number))

    def test_counted(self) -> None:
        self.assertEqual('0 stalls', wording.counted(0, 'stall'))
        self.assertEqual('1 stall', wording.counted(1, 'stall'))

    def test_clock(self) -> None:
        for seconds, expected in (
            (0, '0:00'),
            (6.1, '0:07'),
            (59.5, '1:00'),
            (754, '12:34'),
            (3723, '1:02:03'),
            (1e12, 'over 99 h'),
        ):
            self.assertEqual(expected, wording.clock(seconds))


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorder(displays.Display):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, snapshot.Snapshot]] = []
        self.closed = False

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        self.told.append((event.kind, seen))

    def close(self) -> None:
        self.closed = True


def event(kind: str, **given: Any) -> events.Event:
    fields = {'offset': 0, 'length': 100, 'attempt': 1, 'attempts': 31}
    return events.Event(kind, URL, **{**fields, **given})


class TestProgress(base.TestCase):
    def test_events_are_seen(self) -> None:
        recorder = Recorder()
        error = errors.ReceiveError('reset')
        with watching.Watch(recorder, 31, FakeClock()) as watch:
            watch.follow(lambda: 40, lambda: 30)
            watch.observe(event('started'))
            watch.observe(event('retry', attempt=2, error=error, delay=4.0))
            watch.observe(event('resumed', attempt=3))
        self.assertTrue(recorder.closed)
        self.assertEqual(
            ['started', 'retry', 'resumed'],
            [kind for kind, _seen in recorder.told],
        )
        started, retry, resumed = [seen for _kind, seen in recorder.told]
        self.assertThat(
            started,
            matchers.MatchesStructure.byEquality(
                received=40, written=30, length=100, error=None
            ),
        )
        self.assertThat(
            retry,
            matchers.MatchesStructure.byEquality(
                attempt=2, attempts=31, error=error, delay=4.0
            ),
        )
        self.assertThat(
            resumed,
            matchers.MatchesStructure.byEquality(
                attempt=3, error=None, delay=0.0
            ),
        )

    def test_a_display_that_is_due_is_updated(self) -> None:
        updated = threading.Event()
        clock = FakeClock()
        rates = []

        class Impatient(displays.Display):
            interval = 1.0

            def update(self, seen: snapshot.Snapshot) -> None:
                rates.append(seen.rate)
                clock.now += 2.0
                if len(rates) == 3:
                    clock.now -= 2.0
                    updated.set()

        received = iter(range(0, 1000, 10))
        with watching.Watch(Impatient(), 1, clock) as watch:
            watch.follow(lambda: next(received), lambda: 0)
            self.assertTrue(updated.wait(10))
        self.assertEqual(3, len(rates))


class TestJson(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.writer)

    def printed(self) -> list[dict[str, Any]]:
        text = os.read(self.reader, 65536).decode()
        os.close(self.reader)
        self.assertThat(text, matchers.EndsWith('\n'))
        return [json.loads(line) for line in text.splitlines()]

    def test_objects(self) -> None:
        display = displays.JsonDisplay(self.writer)
        seen = snapshot.Snapshot(
            received=5, length=9, written=4, rate=2.6, attempt=1, attempts=31
        )
        display.update(seen)
        display.done(seen)
        common = {
            'bytes': 5,
            'length': 9,
            'written': 4,
            'rate': 3,
            'attempt': 1,
            'error': None,
        }
        self.assertEqual(
            [
                {'event': 'progress', **common},
                {'event': 'done', 'exit_code': 0, **common},
            ],
            self.printed(),
        )

    def test_failure(self) -> None:
        display = displays.JsonDisplay(self.writer)
        error = errors.StatusError('503', url='http://u:p@h/?key=secret')
        seen = snapshot.Snapshot(attempt=2, error=error, delay=1.2345)
        display.event(event('retry', offset=7, delay=1.2345), seen)
        display.failed(seen, 'gave up', 26)
        retry, failed = self.printed()
        self.assertEqual('retry', retry['event'])
        self.assertEqual(7, retry['offset'])
        self.assertEqual(1.234, retry['delay'])
        self.assertEqual('503 (http://h/?***)', retry['error'])
        self.assertEqual('failed', failed['event'])
        self.assertEqual('gave up', failed['error'])
        self.assertEqual(26, failed['exit_code'])

    def test_a_reader_that_went_away_ends_the_printing_alone(self) -> None:
        display = displays.JsonDisplay(self.writer)
        os.close(self.reader)
        display.update(snapshot.Snapshot())
        display.update(snapshot.Snapshot())
        self.assertEqual(1, self.log.output.count('cannot be printed'))

    def test_one_line_for_each_whatever_the_error_says(self) -> None:
        display = displays.JsonDisplay(self.writer)
        display.failed(snapshot.Snapshot(), 'a\nb \udcff é', 10)
        (record,) = self.printed()
        self.assertEqual('a\nb \udcff é', record['error'])


class TestLogLines(base.TestCase):
    def test_lines(self) -> None:
        display = displays.LogDisplay()
        seen = snapshot.Snapshot(
            received=MIB, length=4 * MIB, rate=MIB, attempt=1
        )
        display.event(event('started', length=4 * MIB), seen)
        display.event(event('resumed', offset=MIB), seen)
        display.update(seen)
        self.assertIn('the server answers: 4.0 MiB', self.log.output)
        self.assertIn('resumed at byte 1048576', self.log.output)
        self.assertIn(
            '1.0 MiB of 4.0 MiB (25%), 1.0 MiB/s, 0:03 left', self.log.output
        )

    def test_nothing_while_there_is_nothing(self) -> None:
        displays.LogDisplay().update(snapshot.Snapshot())
        self.assertEqual('', self.log.output)


class TestBar(base.TestCase):
    def drawn(self, seen: snapshot.Snapshot) -> str:
        stream = io.StringIO()
        display = displays.BarDisplay(stream)
        display.update(seen)
        text = stream.getvalue().rpartition('\r')[2]
        display.close()
        return text

    def test_under_way(self) -> None:
        text = self.drawn(
            snapshot.Snapshot(
                received=MIB, length=4 * MIB, rate=MIB, attempt=1
            )
        )
        self.assertThat(text, matchers.StartsWith(' 25%|'))
        self.assertIn('1.0 MiB of 4.0 MiB, 1.0 MiB/s, 0:03 left', text)

    def test_retrying(self) -> None:
        text = self.drawn(
            snapshot.Snapshot(
                received=5,
                length=10,
                attempt=1,
                attempts=31,
                error=errors.ReceiveError('reset', offset=5),
                delay=4.0,
            )
        )
        self.assertThat(text, matchers.StartsWith(' 50%|'))
        self.assertIn('retry in 4 s after attempt 1/31: reset at byte 5', text)

    def test_unknown_length(self) -> None:
        text = self.drawn(snapshot.Snapshot(received=MIB, rate=MIB))
        self.assertEqual('1.0 MiB, 1.0 MiB/s', text.strip())

    def test_before_the_first_answer(self) -> None:
        text = self.drawn(snapshot.Snapshot())
        self.assertEqual('waiting for the server', text.strip())

    def test_closing_leaves_the_log_as_it_was(self) -> None:
        before = list(logging.getLogger().handlers)
        self.drawn(snapshot.Snapshot())
        self.assertEqual(before, logging.getLogger().handlers)
