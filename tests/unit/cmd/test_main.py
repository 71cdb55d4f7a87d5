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

"""The program as a whole, its last words, and probe."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import signal
import sys
import threading
from typing import Any

import fixtures
from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import arguments
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import hints
from fuel_agent_curl.cmd import main
from fuel_agent_curl.cmd import probe
from fuel_agent_curl.cmd import signals
from fuel_agent_curl.engine import probe as prober
from fuel_agent_curl.octets import MIB
from tests import base

URL = 'http://server/image'


class TestHints(base.TestCase):
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
            self.assertIn('; ', hints.line(cls('failed')), cls.__name__)

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
        self.assertIn('--user', hints.line(error))

    def test_a_pipe_is_no_broken_disk(self) -> None:
        error = errors.WriteError('writing to /dev/stdout: Broken pipe')
        error.os_errno = errno.EPIPE
        self.assertNotIn('dmesg', hints.line(error))

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


class TestSignals(base.TestCase):
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
        meanwhile: list[object] = []
        # It may be the first once more for as long as this.
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.cmd.signals.time.sleep',
                lambda seconds: meanwhile.append(
                    signal.getsignal(signal.SIGINT)
                ),
            )
        )

        def interrupt() -> None:
            with signals.caught():
                try:
                    signal.raise_signal(signal.SIGTERM)
                finally:
                    self.assertEqual(
                        signal.SIG_DFL, signal.getsignal(signal.SIGINT)
                    )

        self.assertRaises(signals.Interrupted, interrupt)
        self.assertEqual([signal.SIG_IGN], meanwhile)
        self.assertEqual(before, signal.getsignal(signal.SIGTERM))

    def test_a_line_for_a_terminal_does_not_stop_the_program(self) -> None:
        before = signal.getsignal(signal.SIGTTOU)
        with signals.caught():
            self.assertEqual(signal.SIG_IGN, signal.getsignal(signal.SIGTTOU))
        self.assertEqual(before, signal.getsignal(signal.SIGTTOU))

    def test_too_late(self) -> None:
        with signals.caught():
            signals.too_late()
            signal.raise_signal(signal.SIGTERM)

    def test_what_was_ignored_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        with signals.caught():
            signal.raise_signal(signal.SIGHUP)


class TestEnding(base.TestCase):
    def test_the_state_of_the_target(self) -> None:
        error = errors.WriteError('no')
        for state in ('untouched', 'blank', 'incomplete'):
            error.target_state = state
            end = ending.of(error, '/dev/sda')
            self.assertEqual(state, end.target_state)
            self.assertThat(
                end.text, matchers.EndsWith('; /dev/sda is ' + state)
            )

    def test_nothing_was_opened(self) -> None:
        end = ending.of(errors.OptionError('no'))
        self.assertEqual(ending.Ending('no', 2, 'untouched'), end)

    def test_a_signal(self) -> None:
        interrupted = signals.Interrupted(signal.SIGTERM)
        interrupted.detail = '5 B received'
        vars(interrupted)['target_state'] = 'incomplete'
        self.assertEqual(
            ending.Ending(
                'ended by SIGTERM; 5 B received; disk is incomplete',
                143,
                'incomplete',
            ),
            ending.of(interrupted, 'disk'),
        )

    def test_what_has_run_out_is_no_bug(self) -> None:
        for error, part in (
            (MemoryError(), 'memory (ENOMEM)'),
            (OSError(errno.EMFILE, 'Too many open files'), 'EMFILE'),
            (OSError(errno.ENOMEM, 'Cannot allocate'), 'ENOMEM'),
            (RuntimeError("can't start new thread"), 'threads'),
        ):
            end = ending.of(error)
            self.assertEqual(11, end.exit_code)
            self.assertIn(part, end.text)
        for bug in (
            RuntimeError('other'),
            # It may be a bug, or a disk that is full.
            OSError(errno.ENOSPC, 'No space left on device'),
        ):
            self.assertEqual(1, ending.of(bug).exit_code)


class TestMain(base.TestCase):
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
        self.useFixture(
            fixtures.MonkeyPatch(
                'fuel_agent_curl.cmd.signals.time.sleep', lambda seconds: None
            )
        )

        def interrupt(*_args: object) -> None:
            signal.raise_signal(signal.SIGINT)

        self.patch(arguments, 'parse', interrupt)
        code, _out, err = self.run_main('demo')
        self.assertEqual(130, code)
        self.assertEqual(
            'fuel-agent-curl: error: interrupted by Ctrl-C\n', err
        )

    def test_whoever_reads_json_gets_a_last_object(self) -> None:
        """Also where the display cannot even begin."""

        def fail(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, 'start', fail)
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        make = displays.JsonDisplay
        self.patch(displays, 'JsonDisplay', lambda descriptor: make(writer))
        code, _out, err = self.run_main(
            'copy', '--progress', 'json', URL, '/nonexistent/disk'
        )
        self.assertEqual(11, code)
        (line,) = os.read(reader, 65536).splitlines()
        record = json.loads(line)
        self.assertEqual('failed', record['event'])
        self.assertEqual(11, record['exit_code'])
        self.assertIn(record['error'], err)


class TestProbe(base.TestCase):
    def probe(self, **given: Any) -> prober.Probe:
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
        return prober.Probe(**{**fields, **given})

    def test_good(self) -> None:
        text = '\n'.join(probe.describe(self.probe(), 'honoured', 60.0))
        for part in (
            'server     192.0.2.1, HTTP/1.1, nginx',
            'length     1048576 bytes (1.0 MiB)',
            'validator  "1" (strong)',
            'timings    name 1.0 ms, connect 2.0 ms, first byte 1.0 ms',
            'asks for the missing bytes only',
        ):
            self.assertIn(part, text)
        self.assertNotIn('leads to', text)

    def test_a_server_that_is_slow_to_begin(self) -> None:
        slow = self.probe(timings={'connect': 1.0, 'first_byte': 41.0})
        self.assertIn(
            'patience   the first byte took 40.0 s of the 60 s that it may:'
            ' with --first-byte-timeout 120',
            '\n'.join(probe.describe(slow, '', 60.0)),
        )
        for allowed in (80.0, 1000.0):
            self.assertIsNone(probe.patience(slow, allowed))
        self.assertIsNotNone(probe.patience(slow, 79.0))

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
                60.0,
            )
        )
        for part in ('weak', 'leads to   http://other/', 'not stated'):
            self.assertIn(part, text)
        weak = self.probe(strong=False)
        self.assertIn('with --checksum', probe.resume(weak))

    def test_no_ranges(self) -> None:
        self.assertIn('from byte 0', probe.resume(self.probe(ranges=False)))

    def test_the_way(self) -> None:
        for given, expected, others in (
            ({}, 'server     192.0.2.1, ', ('proxy', 'TLS')),
            (
                {'proxy': 'p:3128'},
                'proxy      p:3128\nserver     behind the proxy, HTTP/1.1',
                ('192.0.2.1',),
            ),
            ({'passed_by': 'p:1'}, 'proxy      not p:1, as no_proxy', ()),
            ({'tls': 'TLSv1.3'}, 'TLS        TLSv1.3\n', ('certificate',)),
            (
                {'tls': 'TLSv1.3', 'issuer': 'CN = a', 'expires': 'Jan 1'},
                'TLS        TLSv1.3, certificate by CN = a, until Jan 1\n',
                (),
            ),
            ({'content_type': 'text/html'}, 'type       text/html', ()),
        ):
            text = '\n'.join(probe.describe(self.probe(**given), '', 60.0))
            self.assertIn(expected, text)
            for other in others:
                self.assertNotIn(other, text)
