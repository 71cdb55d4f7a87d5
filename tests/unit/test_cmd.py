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


"""The command line's arithmetic and words: no socket, no process."""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

from oslo_config import cfg
from testtools import matchers

from fuel_agent_curl import download
from fuel_agent_curl import errors
from fuel_agent_curl import opts
from fuel_agent_curl import report
from fuel_agent_curl import settings as settings_module
from fuel_agent_curl.cmd import arguments
from fuel_agent_curl.cmd import hints
from fuel_agent_curl.cmd import main
from fuel_agent_curl.cmd import probe
from fuel_agent_curl.cmd import progress
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.cmd import status as status_lib
from tests import base

MIB = 1024 * 1024
URL = 'http://server/image'


class Arguments(base.TestCase):
    def settings(self, *argv: str) -> settings_module.Settings:
        conf = cfg.ConfigOpts()
        opts.register(conf)
        conf([], default_config_files=[])
        parsed = arguments.parse(['copy', *argv, URL, 'disk'])
        arguments.override(conf, parsed)
        return opts.settings_from(conf)

    def end(self, *argv: str) -> tuple[object, str, str]:
        """Return the exit code, stdout and stderr of a parser that exits."""
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, 'stdout', out)
        self.patch(sys, 'stderr', err)
        end = self.assertRaises(SystemExit, arguments.parse, argv)
        return end.code, out.getvalue(), err.getvalue()

    def test_operands(self) -> None:
        parsed = arguments.parse('copy http://a http://b http://c d'.split())
        self.assertEqual('http://a', parsed.url)
        self.assertEqual(['http://b', 'http://c'], parsed.mirrors)
        self.assertEqual('d', parsed.target)

    def test_flags_may_stand_between_operands(self) -> None:
        parsed = arguments.parse(
            'copy http://a --attempts 3 http://b --progress none d'.split()
        )
        self.assertEqual('http://a', parsed.url)
        self.assertEqual(['http://b'], parsed.mirrors)
        self.assertEqual('d', parsed.target)
        self.assertEqual('none', parsed.progress)

    def test_common_flags_before_and_after_the_verb(self) -> None:
        parsed = arguments.parse(
            '--config-file a copy --config-file=b --debug http://a'
            ' --config-dir c d'.split()
        )
        self.assertEqual(['a', 'b'], parsed.config_file)
        self.assertEqual(['c'], parsed.config_dir)
        self.assertTrue(parsed.debug)
        self.assertTrue(arguments.parse(['--debug', 'demo']).debug)
        self.assertFalse(arguments.parse(['demo']).debug)

    def test_every_option_has_its_flag(self) -> None:
        for verb in ('copy', 'probe'):
            code, text, _err = self.end(verb, '--help')
            self.assertEqual(0, code)
            for option in opts.OPTS:
                flag = '--' + option.dest.replace('_', '-')
                if option.dest == 'max_recv_speed':
                    flag = '--limit-rate'
                self.assertIn('  ' + flag, text)

    def test_help_and_version(self) -> None:
        self.assertEqual(0, self.end('--help')[0])
        self.assertEqual(0, self.end('demo', '--help')[0])
        code, text, _err = self.end('--version')
        self.assertEqual(0, code)
        self.assertThat(text, matchers.StartsWith('fuel-agent-curl '))

    def test_flags_become_settings(self) -> None:
        settings = self.settings(
            *'--low-speed-time 4 --backoff-max 1 --attempts 0 --cacert ca.pem'
            ' --limit-rate 1.5M --insecure --header A:1,2 --headers B:3'
            ' --no-direct-io --window-size 1G --http-version 2'.split(),
            '--proxy',
            '',
        )
        self.assertThat(
            settings,
            matchers.MatchesStructure.byEquality(
                low_speed_time=4.0,
                backoff_max=1.0,
                attempts=0,
                cacert='ca.pem',
                max_recv_speed=1536 * 1024,
                insecure=True,
                headers=('A:1,2', 'B:3'),
                direct_io=False,
                window_size=1024 * MIB,
                proxy='',
                http_version='2',
            ),
        )

    def test_without_flags_the_defaults_hold(self) -> None:
        self.assertEqual(settings_module.Settings(), self.settings())

    def test_sizes(self) -> None:
        for text, expected in (
            ('0', 0),
            ('100', 100),
            ('512K', 512 * 1024),
            ('4m', 4 * MIB),
            ('1.5G', 1536 * MIB),
            ('9007199254740993', 9007199254740993),
        ):
            self.assertEqual(expected, arguments.size(text))

    def test_what_is_no_size(self) -> None:
        for text in ('', 'K', '-1', '1 K', '1T', '1_0', 'nan', '1e3', '1.2.3'):
            self.assertRaises(ValueError, arguments.size, text)

    def test_refused_in_one_line(self) -> None:
        for line, part in (
            ('', 'a verb is missing'),
            ('--debug', 'a verb is missing'),
            ('cpoy http://a d', 'no such verb: cpoy'),
            ('copy', 'URL'),
            ('copy http://a', 'TARGET'),
            ('copy http://a -', '/dev/stdout'),
            ('copy http://a HTTPS://b/image', 'TARGET is missing'),
            ('copy --attempts -1 http://a d', '--attempts'),
            ('copy --attempts x http://a d', '--attempts'),
            ('copy --limit-rate 1Q http://a d', "'1Q' is not"),
            ('copy --http-version 9 http://a d', '--http-version'),
            ('copy --progress x http://a d', '--progress'),
            ('copy --container rar http://a d', '--container'),
            # No abbreviations: the next option would change them.
            ('copy --atte 1 http://a d', '--atte'),
            ('probe', 'URL'),
            ('probe http://a http://b', 'unrecognized'),
            ('demo http://a', 'unrecognized'),
        ):
            code, out, err = self.end(*line.split())
            self.assertEqual((2, ''), (code, out))
            self.assertThat(err, matchers.StartsWith('fuel-agent-curl: error'))
            self.assertEqual(1, err.count('\n'), err)
            self.assertIn(part, err)

    def test_empty_target(self) -> None:
        _code, _out, err = self.end('copy', URL, '')
        self.assertIn('TARGET is empty', err)


class Meter(base.TestCase):
    def test_no_rate_without_two_samples(self) -> None:
        meter = status_lib.Meter()
        self.assertEqual(0.0, meter.rate)
        meter.add(5.0, 100)
        self.assertEqual(0.0, meter.rate)
        meter.add(5.0, 200)
        self.assertEqual(0.0, meter.rate)

    def test_steady(self) -> None:
        meter = status_lib.Meter(10)
        for second in range(100):
            meter.add(second, 7 * second)
        self.assertEqual(7.0, meter.rate)

    def test_the_past_is_forgotten(self) -> None:
        meter = status_lib.Meter(10)
        for second in range(50):
            meter.add(second, 1000 * second)
        for second in range(50, 60):
            meter.add(second, 49000)
        self.assertEqual(0.0, meter.rate)

    def test_samples_rarer_than_the_window(self) -> None:
        meter = status_lib.Meter(10)
        for second in (0, 30, 60):
            meter.add(second, 5 * second)
        self.assertEqual(5.0, meter.rate)

    def test_a_count_that_falls_is_no_negative_rate(self) -> None:
        """It does where a server without ranges is read again from 0."""
        meter = status_lib.Meter()
        meter.add(0, 1000)
        meter.add(1, 0)
        self.assertEqual(0.0, meter.rate)


class Status(base.TestCase):
    def test_left_and_percent(self) -> None:
        status = status_lib.Status(received=25, length=100, rate=5.0)
        self.assertEqual(15.0, status.left)
        self.assertEqual(25, status.percent)

    def test_nobody_knows(self) -> None:
        self.assertIsNone(status_lib.Status(received=1, rate=5.0).left)
        self.assertIsNone(status_lib.Status(received=1, length=9).left)
        self.assertIsNone(status_lib.Status(received=1).percent)

    def test_percent_is_100_only_at_the_end(self) -> None:
        self.assertEqual(
            99, status_lib.Status(received=9999, length=10000).percent
        )
        self.assertEqual(
            100, status_lib.Status(received=10000, length=10000).percent
        )
        self.assertEqual(100, status_lib.Status(length=0).percent)

    def test_words(self) -> None:
        status = status_lib.Status(received=MIB, length=4 * MIB, rate=MIB / 2)
        self.assertEqual('1.0 MiB of 4.0 MiB', status.amount())
        self.assertEqual('512.0 KiB/s, 0:06 left', status.pace())
        unknown = status_lib.Status(received=MIB)
        self.assertEqual('1.0 MiB', unknown.amount())
        self.assertEqual('0 B/s', unknown.pace())

    def test_trouble(self) -> None:
        error = errors.ReceiveError('connection reset', offset=77, url=URL)
        status = status_lib.Status(
            attempt=3, attempts=31, error=error, delay=3.2
        )
        self.assertEqual(
            'retry in 4 s after attempt 3/31: connection reset at byte 77',
            status.trouble(),
        )
        self.assertEqual(
            'retrying after attempt 3: no such host',
            status_lib.Status(
                attempt=3, error=errors.ResolveError('no such host')
            ).trouble(),
        )
        self.assertIsNone(status_lib.Status(attempt=3).trouble())

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
            self.assertEqual(expected, status_lib.size(number))

    def test_clock(self) -> None:
        for seconds, expected in (
            (0, '0:00'),
            (6.1, '0:07'),
            (59.5, '1:00'),
            (754, '12:34'),
            (3723, '1:02:03'),
            (1e12, 'over 99 h'),
        ):
            self.assertEqual(expected, status_lib.clock(seconds))


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorder(progress.Display):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, status_lib.Status]] = []
        self.closed = False

    def event(self, kind: str, status: status_lib.Status) -> None:
        self.told.append((kind, status))

    def close(self) -> None:
        self.closed = True


class Progress(base.TestCase):
    def event(self, kind: str, **given: Any) -> report.Event:
        fields = dict(offset=0, length=100, attempt=1, attempts=31)
        return report.Event(kind, URL, **{**fields, **given})

    def test_events_become_status(self) -> None:
        recorder = Recorder()
        error = errors.ReceiveError('reset')
        with progress.Progress(recorder, 31, FakeClock()) as watch:
            watch.follow(lambda: 40, lambda: 30)
            watch.observe(self.event('started'))
            watch.observe(
                self.event('retry', attempt=2, error=error, delay=4.0)
            )
            watch.observe(self.event('resumed', attempt=3))
        self.assertTrue(recorder.closed)
        self.assertEqual(
            ['started', 'retry', 'resumed'],
            [kind for kind, _status in recorder.told],
        )
        started, retry, resumed = [status for _kind, status in recorder.told]
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

        class Impatient(progress.Display):
            interval = 1.0

            def update(self, status: status_lib.Status) -> None:
                rates.append(status.rate)
                clock.now += 2.0
                if len(rates) == 3:
                    clock.now -= 2.0
                    updated.set()

        received = iter(range(0, 1000, 10))
        with progress.Progress(Impatient(), 1, clock) as watch:
            watch.follow(lambda: next(received), lambda: 0)
            self.assertTrue(updated.wait(10))
        self.assertEqual(3, len(rates))


class Json(base.TestCase):
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
        display = progress.JsonDisplay(self.writer)
        status = status_lib.Status(
            received=5, length=9, written=4, rate=2.6, attempt=1, attempts=31
        )
        display.update(status)
        display.done(status)
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
        display = progress.JsonDisplay(self.writer)
        error = errors.StatusError('503', url='http://u:p@h/?key=secret')
        status = status_lib.Status(attempt=2, error=error, delay=1.2345)
        display.event('retry', status)
        display.failed(status, 'gave up', 26)
        retry, failed = self.printed()
        self.assertEqual('retry', retry['event'])
        self.assertEqual(1.234, retry['delay'])
        self.assertEqual('503 (http://h/?***)', retry['error'])
        self.assertEqual('failed', failed['event'])
        self.assertEqual('gave up', failed['error'])
        self.assertEqual(26, failed['exit_code'])

    def test_a_reader_that_went_away_ends_the_printing_alone(self) -> None:
        display = progress.JsonDisplay(self.writer)
        os.close(self.reader)
        display.update(status_lib.Status())
        display.update(status_lib.Status())
        self.assertEqual(1, self.log.output.count('nobody reads'))

    def test_one_line_for_each_whatever_the_error_says(self) -> None:
        display = progress.JsonDisplay(self.writer)
        display.failed(status_lib.Status(), 'a\nb \udcff é', 10)
        (record,) = self.printed()
        self.assertEqual('a\nb \udcff é', record['error'])


class LogLines(base.TestCase):
    def test_lines(self) -> None:
        display = progress.LogDisplay()
        status = status_lib.Status(
            received=MIB, length=4 * MIB, rate=MIB, attempt=1
        )
        display.event('started', status)
        display.event('resumed', status)
        display.update(status)
        self.assertIn('the server answers: 4.0 MiB', self.log.output)
        self.assertIn('resumed at byte 1048576', self.log.output)
        self.assertIn(
            '1.0 MiB of 4.0 MiB (25%), 1.0 MiB/s, 0:03 left', self.log.output
        )

    def test_nothing_while_there_is_nothing(self) -> None:
        progress.LogDisplay().update(status_lib.Status())
        self.assertEqual('', self.log.output)


class Bar(base.TestCase):
    def drawn(self, status: status_lib.Status) -> str:
        stream = io.StringIO()
        display = progress.BarDisplay(stream)
        display.update(status)
        text = stream.getvalue().rpartition('\r')[2]
        display.close()
        return text

    def test_under_way(self) -> None:
        text = self.drawn(
            status_lib.Status(
                received=MIB, length=4 * MIB, rate=MIB, attempt=1
            )
        )
        self.assertThat(text, matchers.StartsWith(' 25%|'))
        self.assertIn('1.0 MiB of 4.0 MiB, 1.0 MiB/s, 0:03 left', text)

    def test_retrying(self) -> None:
        text = self.drawn(
            status_lib.Status(
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
        text = self.drawn(status_lib.Status(received=MIB, rate=MIB))
        self.assertEqual('1.0 MiB, 1.0 MiB/s', text.strip())

    def test_before_the_first_answer(self) -> None:
        text = self.drawn(status_lib.Status())
        self.assertEqual('waiting for the server', text.strip())

    def test_closing_leaves_the_log_as_it_was(self) -> None:
        before = list(logging.getLogger().handlers)
        self.drawn(status_lib.Status())
        self.assertEqual(before, logging.getLogger().handlers)


class Hints(base.TestCase):
    def test_every_failure_says_what_to_do(self) -> None:
        classes = [errors.Error]
        for cls in classes:
            classes.extend(cls.__subclasses__())
        for cls in classes:
            if not cls.__module__.startswith('fuel_agent_curl.errors'):
                continue
            if issubclass(cls, errors.OptionError) or cls is errors.Error:
                # Its message is what to do.
                continue
            self.assertIn('; ', hints.line(cls('failed')), cls)

    def test_its_own_advice_comes_first(self) -> None:
        error = errors.ConnectError('refused', hint='plug it in')
        self.assertEqual('refused; plug it in', hints.line(error))

    def test_the_last_cause_gives_the_advice(self) -> None:
        error = errors.AttemptsExhausted('gave up')
        error.__cause__ = errors.ResolveError('no such host')
        self.assertIn('/etc/resolv.conf', hints.line(error))

    def test_statuses(self) -> None:
        error = errors.StatusError('answered 401')
        error.status = 401
        self.assertIn('Authorization', hints.line(error))

    def test_credentials_are_redacted(self) -> None:
        error = errors.StatusError(
            'answered 403',
            url='https://user:secret@server/image?signature=secret',
            offset=7,
            attempt=1,
            attempts=31,
        )
        line = hints.line(error)
        self.assertNotIn('secret', line)
        self.assertIn('(https://server/image?***, at byte 7, attempt 1', line)

    def test_a_server_cannot_add_lines(self) -> None:
        error = errors.ProtocolError('garbage \x1b[2J\nerror: all is well')
        self.assertNotIn('\n', hints.line(error))
        self.assertNotIn('\x1b', hints.line(error))


class Signals(base.TestCase):
    def test_codes_and_words(self) -> None:
        interrupted = signals.Interrupted(signal.SIGINT)
        self.assertEqual(130, interrupted.exit_code)
        self.assertEqual('interrupted by Ctrl-C', str(interrupted))
        ended = signals.Interrupted(signal.SIGTERM)
        ended.detail = '5 B received'
        self.assertEqual(143, ended.exit_code)
        self.assertEqual('ended by SIGTERM; 5 B received', str(ended))

    def test_the_first_is_raised_and_the_second_left_to_the_kernel(
        self,
    ) -> None:
        before = signal.getsignal(signal.SIGTERM)

        def interrupt() -> None:
            with signals.caught():
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    self.assertEqual(
                        signal.SIG_DFL, signal.getsignal(signal.SIGINT)
                    )

        self.assertRaises(signals.Interrupted, interrupt)
        self.assertEqual(before, signal.getsignal(signal.SIGTERM))

    def test_what_was_ignored_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        with signals.caught():
            signal.raise_signal(signal.SIGHUP)


class Main(base.TestCase):
    def run_main(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, 'stdout', out)
        self.patch(sys, 'stderr', err)
        handlers = list(logging.getLogger().handlers)
        self.addCleanup(setattr, logging.getLogger(), 'handlers', handlers)
        self.patch(sys, 'excepthook', sys.excepthook)
        return main.main(argv), out.getvalue(), err.getvalue()

    def test_usage(self) -> None:
        self.assertEqual(2, self.run_main()[0])

    def test_a_missing_configuration_file(self) -> None:
        code, _out, err = self.run_main(
            '--config-file', '/nonexistent', 'probe', URL
        )
        self.assertEqual(2, code)
        self.assertEqual(1, err.count('\n'))
        self.assertIn('/nonexistent', err)

    def test_a_bug_is_shown_with_its_traceback(self) -> None:
        def broken(*_args: object) -> None:
            raise ZeroDivisionError

        self.patch(arguments, 'parse', broken)
        code, _out, err = self.run_main('demo')
        self.assertEqual(1, code)
        self.assertIn('Traceback', err)
        self.assertIn('ZeroDivisionError', err)

    def test_ctrl_c_at_once(self) -> None:
        def interrupt(*_args: object) -> None:
            signal.raise_signal(signal.SIGINT)

        self.patch(arguments, 'parse', interrupt)
        code, _out, err = self.run_main('demo')
        self.assertEqual(130, code)
        self.assertEqual(
            'fuel-agent-curl: error: interrupted by Ctrl-C\n', err
        )


class Probe(base.TestCase):
    def probe(self, **given: Any) -> download.Probe:
        fields: dict[str, Any] = {
            'url': URL,
            'effective_url': URL,
            'status': 206,
            'http_version': '1.1',
            'ip': '192.0.2.1',
            'ranges': True,
            'validator': '"1"',
            'strong': True,
            'length': MIB,
            'server': 'nginx',
            'timings': {
                'resolve': 0.001,
                'connect': 0.003,
                'tls': 0.0,
                'first_byte': 0.004,
            },
        }
        return download.Probe(**{**fields, **given})

    def test_good(self) -> None:
        text = '\n'.join(probe.describe(self.probe(), 'honoured'))
        for part in (
            'server     192.0.2.1, HTTP/1.1, nginx',
            'length     1048576 bytes (1.0 MiB)',
            'validator  "1" (strong)',
            'timings    name 1.0 ms, connect 2.0 ms, first byte 1.0 ms',
            'asks for the missing bytes only',
        ):
            self.assertIn(part, text)
        self.assertNotIn('leads to', text)

    def test_weak(self) -> None:
        text = '\n'.join(
            probe.describe(
                self.probe(
                    validator='W/"1"',
                    strong=False,
                    effective_url='http://other/',
                    length=None,
                    server=None,
                    ip=None,
                ),
                '',
            )
        )
        for part in ('weak', 'leads to   http://other/', 'not stated'):
            self.assertIn(part, text)
        self.assertIn('with --checksum', probe.resume(self.probe(strong=False)))

    def test_no_ranges(self) -> None:
        self.assertIn('from byte 0', probe.resume(self.probe(ranges=False)))
