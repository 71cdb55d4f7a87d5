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

"""What is shown of a copy."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import sys
import threading
from typing import Any

import fixtures
from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import output
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.image import gpgv
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.rules import events
from tests import base

URL = 'http://server/image'

#: Of a copy that nothing was to be compared in.
OUTCOME = {
    'container': 'raw',
    'checked': {
        'checksum': None,
        'image_checksum': None,
        'ranges': 0,
        'read_back': False,
    },
    'plan': None,
}

#: Of a pipe that ``fill`` has filled.
PIPE = 65536


def event(kind: str, **given: Any) -> events.Event:
    fields = {'offset': 0, 'length': 100, 'attempt': 1, 'attempts': 31}
    return events.Event(kind, URL, **{**fields, **given})


def fill(writer: int) -> None:
    """Fill a pipe: a write to it waits for a reader."""
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE)
    os.write(writer, bytes(PIPE))


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
            received=5,
            length=9,
            unpacked=6,
            written=4,
            rate=2.6,
            attempt=1,
            attempts=31,
            url=URL,
            seconds=1.23456,
            stats=events.Stats(attempts=2, resumes=1, received=7),
        )
        display.update(seen)
        display.done(seen, OUTCOME)
        # Whatever comes after the last one is too late.
        display.update(seen)
        display.close()
        progress, done = self.printed()
        self.assertEqual('progress', progress['event'])
        self.assertEqual('done', done['event'])
        for record in progress, done:
            self.assertThat(
                record,
                matchers.ContainsDict(
                    {
                        name: matchers.Equals(value)
                        for name, value in {
                            'url': URL,
                            'seconds': 1.235,
                            'phase': 'copying',
                            'bytes': 5,
                            'length': 9,
                            'unpacked': 6,
                            'written': 4,
                            'verified': 0,
                            'rate': 3,
                            'requests': 2,
                            'resumes': 1,
                            'stalls': 0,
                            'transferred': 7,
                            'attempt': 1,
                            'attempts': 31,
                            'error': None,
                        }.items()
                    }
                ),
            )
        self.assertEqual(0, done['exit_code'])
        self.assertEqual('complete', done['target_state'])
        self.assertIsNone(done['plan'])
        self.assertIsNone(done['signer'])

    def test_who_signed(self) -> None:
        display = displays.JsonDisplay(self.writer)
        seen = snapshot.Snapshot(signer=gpgv.Signer('AB12', 'A <a@b>'))
        display.done(seen, OUTCOME)
        display.close()
        (record,) = self.printed()
        self.assertEqual(
            {'fingerprint': 'AB12', 'user_id': 'A <a@b>'}, record['signer']
        )

    def test_a_plan(self) -> None:
        display = displays.JsonDisplay(self.writer)
        target = {'kind': 'device', 'way': 'written', 'size': 9, 'free': None}
        plan = {
            'container': 'gzip',
            'length': None,
            'mapped': None,
            'reused': 0,
            'target': target,
        }
        display.done(snapshot.Snapshot(), OUTCOME | {'plan': plan})
        display.close()
        (record,) = self.printed()
        self.assertEqual('done', record['event'])
        self.assertEqual('untouched', record['target_state'])
        self.assertEqual(plan, record['plan'])

    def test_failure(self) -> None:
        display = displays.JsonDisplay(self.writer)
        error = errors.StatusError('503', url='http://u:p@h/?key=secret')
        seen = snapshot.Snapshot(attempt=2, error=error, delay=1.2345)
        display.event(event('retry', offset=7, delay=1.2345), seen)
        display.failed(seen, ending.Ending('gave up', 26, 'blank', 5))
        display.close()
        retry, failed = self.printed()
        self.assertEqual('retry', retry['event'])
        self.assertEqual(7, retry['offset'])
        self.assertEqual(1.234, retry['delay'])
        self.assertEqual('503 (http://h/?***)', retry['error'])
        self.assertEqual('failed', failed['event'])
        self.assertEqual('gave up', failed['error'])
        self.assertEqual(26, failed['exit_code'])
        self.assertEqual('blank', failed['target_state'])
        self.assertEqual(5, failed['continues_at'])

    def test_a_reader_that_went_away_ends_the_printing_alone(self) -> None:
        display = displays.JsonDisplay(self.writer)
        os.close(self.reader)
        display.update(snapshot.Snapshot())
        display.close()
        display = displays.JsonDisplay(self.writer)
        display.event(event('started'), snapshot.Snapshot())
        display.done(snapshot.Snapshot(), OUTCOME)
        display.close()
        self.assertEqual(2, self.log.output.count('cannot be printed'))

    def test_a_reader_that_is_behind_is_spared_the_progress(self) -> None:
        display = displays.JsonDisplay(self.writer)
        fill(self.writer)
        seen = snapshot.Snapshot()
        display.event(event('started'), seen)
        for _turn in range(100):
            display.update(seen)
        self.empty()
        display.done(seen, OUTCOME)
        display.close()
        self.assertEqual(
            ['started', 'done'], [each['event'] for each in self.printed()]
        )

    def test_a_reader_that_is_far_behind_loses_the_oldest(self) -> None:
        display = displays.JsonDisplay(self.writer)
        fill(self.writer)
        for number in range(1000):
            display.event(event('retry', offset=number), snapshot.Snapshot())
        display.done(snapshot.Snapshot(), OUTCOME)
        self.empty()
        closing = threading.Thread(target=display.close)
        closing.start()
        text = b''
        while b'"done"' not in text or not text.endswith(b'\n'):
            text += os.read(self.reader, PIPE)
        closing.join()
        os.close(self.reader)
        found = [json.loads(line) for line in text.splitlines()]
        numbers = [each['offset'] for each in found[:-1]]
        self.assertEqual(sorted(numbers), numbers)
        self.assertLess(len(numbers), 1000)
        self.assertEqual(999, numbers[-1])
        self.assertEqual('done', found[-1]['event'])
        # As the page says.
        self.assertEqual(256 * KIB, output._MOST)

    def empty(self) -> None:
        """Read what ``fill`` has put there."""
        rest = PIPE
        while rest:
            rest -= len(os.read(self.reader, rest))

    def test_one_line_for_each_whatever_the_error_says(self) -> None:
        display = displays.JsonDisplay(self.writer)
        display.failed(
            snapshot.Snapshot(),
            ending.Ending('a\nb \udcff é', 10, 'untouched'),
        )
        display.close()
        (record,) = self.printed()
        self.assertEqual('a\nb \\udcff é', record['error'])


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

    def test_reading_back(self) -> None:
        displays.LogDisplay().update(
            snapshot.Snapshot(
                received=MIB,
                length=MIB,
                unpacked=4 * MIB,
                verified=MIB,
                phase='verifying',
            )
        )
        self.assertIn('1.0 MiB of 4.0 MiB read back (25%)', self.log.output)

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

    def test_reading_back(self) -> None:
        text = self.drawn(
            snapshot.Snapshot(
                received=MIB,
                length=MIB,
                unpacked=4 * MIB,
                verified=MIB,
                phase='verifying',
            )
        )
        self.assertThat(text, matchers.StartsWith(' 25%|'))
        self.assertIn('1.0 MiB of 4.0 MiB read back', text)

    def test_not_while_the_terminal_is_behind(self) -> None:
        class Stopped(io.StringIO):
            pending = True

        stream = Stopped()
        display = displays.BarDisplay(stream)
        self.addCleanup(display.close)
        before = stream.getvalue()
        display.update(snapshot.Snapshot(received=MIB, length=MIB))
        self.assertEqual(before, stream.getvalue())

    def test_closing_leaves_the_log_as_it_was(self) -> None:
        before = list(logging.getLogger().handlers)
        self.drawn(snapshot.Snapshot())
        self.assertEqual(before, logging.getLogger().handlers)


class TestChoice(base.TestCase):
    def display(
        self, kind: str, terminal: bool, term: str, json_on: int | None = None
    ) -> str:
        stream = io.StringIO()
        self.patch(stream, 'isatty', lambda: terminal)
        self.patch(sys, 'stderr', stream)
        self.useFixture(fixtures.EnvironmentVariable('TERM', term))
        found = displays.display(kind, json_on)
        self.addCleanup(found.close)
        return type(found).__name__

    def test_by_what_stderr_is(self) -> None:
        for kind, terminal, term, expected in (
            ('auto', True, 'xterm', 'BarDisplay'),
            ('auto', True, 'dumb', 'LogDisplay'),
            ('auto', False, 'xterm', 'LogDisplay'),
            ('bar', False, 'dumb', 'BarDisplay'),
            ('none', True, 'xterm', 'Display'),
        ):
            self.assertEqual(expected, self.display(kind, terminal, term))

    def descriptor(self) -> int:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        return writer

    def test_by_the_descriptor(self) -> None:
        for kind, descriptor, expected in (
            ('json', 1, 'JsonDisplay'),
            ('auto', 2, 'JsonDisplay'),
            ('none', self.descriptor(), 'JsonDisplay'),
            ('auto', 1, 'Several'),
        ):
            self.assertEqual(
                expected, self.display(kind, True, 'xterm', descriptor)
            )


class Counter(displays.Display):
    def __init__(self, interval: float | None) -> None:
        self.interval = interval
        self.count = 0

    def update(self, seen: snapshot.Snapshot) -> None:
        self.count += 1


class TestSeveral(base.TestCase):
    def test_each_in_its_own_time(self) -> None:
        often, seldom, never = Counter(0.2), Counter(1.0), Counter(None)
        several = displays.Several(seldom, often, never)
        self.assertEqual(0.2, several.interval)
        for _turn in range(11):
            several.update(snapshot.Snapshot())
        self.assertEqual((11, 3, 0), (often.count, seldom.count, never.count))

    def test_nothing_to_show(self) -> None:
        self.assertIsNone(displays.Several(Counter(None)).interval)

    def test_all_are_closed(self) -> None:
        one, other = displays.Display(), displays.Display()
        several = displays.Several(one, other)
        several.close()
        self.assertTrue(one.closed and other.closed and several.closed)
