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

"""Watching a copy, and ending it: bar, JSON, signals."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import time
from typing import Any

from testtools import matchers

from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import program

# Enough to arrive for some of it to be written, then slow, but not stalled.
_SLOW = faults.trickle(100_000, 2 * MIB)

# Has SIGTERM come while the download is closed, after the copy.
_LATE = """
import os, signal, sys
from fuel_agent_curl import copying
close = copying.LazySource.close

def closing(self):
    close(self)
    os.kill(os.getpid(), signal.SIGTERM)

copying.LazySource.close = closing
from fuel_agent_curl.cmd import main
sys.exit(main.program())
"""

# Has a signal come when the program is in charge of it, and has done nothing
# else yet.
_EARLY = """
import os, sys
from fuel_agent_curl.cmd import main

def opening():
    os.kill(os.getpid(), %d)

main._open_descriptors = opening
sys.exit(main.program())
"""

_FIELDS = ('event', 'bytes', 'length', 'written', 'rate', 'attempt', 'error')


class TestJson(program.ProgramTestCase):
    def copy(
        self, *argv: str, **given: Any
    ) -> tuple[int, list[dict[str, Any]], str]:
        done = self.run_program(
            'copy', '--progress', 'json', *program.QUICK, *argv, **given
        )
        self.assertThat(done.stdout, matchers.EndsWith('\n'))
        records = [json.loads(line) for line in done.stdout.splitlines()]
        for record in records:
            self.assertThat(
                record,
                matchers.ContainsAll(
                    [
                        'event',
                        'bytes',
                        'length',
                        'written',
                        'rate',
                        'attempt',
                        'error',
                    ]
                ),
            )
        return done.returncode, records, done.stderr

    def test_done(self) -> None:
        self.server.script(
            faults.reset(MIB + 1), faults.status(503, retry_after=1)
        )
        code, records, _err = self.copy(self.url, self.target)
        self.assertEqual(0, code)
        self.assertEqual(self.image, self.content())
        events = [record['event'] for record in records]
        self.assertEqual(1, events.count('started'))
        self.assertEqual(2, events.count('retry'))
        self.assertEqual(1, events.count('resumed'))
        # The wait of a second is longer than the interval.
        self.assertIn('progress', events)
        retry = records[events.index('retry')]
        self.assertIn('at byte %d' % (MIB + 1), retry['error'])
        self.assertEqual(1, retry['attempt'])
        last = records[-1]
        self.assertEqual('done', last['event'])
        for name in ('bytes', 'length', 'written'):
            self.assertEqual(len(self.image), last[name])
        self.assertEqual(0, last['exit_code'])
        self.assertIsNone(last['error'])
        received = [record['bytes'] for record in records]
        self.assertEqual(sorted(received), received)

    def test_failed(self) -> None:
        code, records, err = self.copy(self.server.url('/none'), self.target)
        self.assertEqual(19, code)
        last = records[-1]
        self.assertEqual('failed', last['event'])
        self.assertEqual(19, last['exit_code'])
        self.assertEqual('fuel-agent-curl: error: %s\n' % last['error'], err)

    def copy_to(self, writer: int) -> None:
        """Copy, with the pipe ``writer`` as stdout, and close that."""
        done = subprocess.run(
            [
                *program.PROGRAM,
                'copy',
                '--progress',
                'json',
                self.url,
                self.target,
            ],
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
            timeout=200,
        )
        os.close(writer)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(self.image, self.content())

    def test_a_reader_that_went_away(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        self.copy_to(writer)

    def test_a_reader_that_sleeps(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b'x' * 4096)
        os.set_blocking(writer, True)
        self.copy_to(writer)

    def test_the_image_does_not_go_there_too(self) -> None:
        done = self.run_program(
            'copy', '--progress', 'json', self.url, '/dev/stdout'
        )
        self.assertEqual(2, done.returncode, done.stderr)
        self.assertEqual([], self.server.requests)


class Terminal:
    """A pseudo-terminal that a program runs in.

    :ivar text: all that was printed so far.
    """

    def __init__(self, *command: str) -> None:
        self._master, slave = pty.openpty()
        self.text = ''
        # It becomes the controlling terminal: Ctrl-C is a key of it.
        self.process = subprocess.Popen(
            ['setsid', '--ctty', *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, 'COLUMNS': '100', 'TERM': 'xterm'},
        )
        os.close(slave)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # EIO: nobody has the terminal open any more.
            return False
        self.text += data.decode()
        return bool(data)

    def wait_for(self, pattern: str) -> None:
        """Read until there is this; the test's own limit ends the wait."""
        while not re.search(pattern, self.text):
            if not self._read():
                raise AssertionError('no %r in %r' % (pattern, self.text))

    def wait(self) -> int:
        """Read to the end; return the exit code."""
        while self._read():
            pass
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


class TestTerminal(program.ProgramTestCase):
    def start(self, *argv: str) -> Terminal:
        self.need_program('setsid')
        terminal = Terminal(*program.PROGRAM, 'copy', *argv)
        self.addCleanup(terminal.close)
        return terminal

    def test_bar(self) -> None:
        self.server.script(
            faults.reset(MIB + 1), faults.status(503, retry_after=2), _SLOW
        )
        terminal = self.start(self.url, self.target)
        terminal.wait_for(r'33%\|')
        terminal.wait_for(r'retry in \d s after attempt \d/31: .*503')
        terminal.wait_for(r' \d\d%\|.* of 3\.0 MiB, .*/s, \d:\d\d left')
        self.assertEqual(0, terminal.wait(), terminal.text)
        self.assertEqual(self.image, self.content())
        self.assertIn('3 requests, 1 resume', terminal.text)

    def test_ctrl_c(self) -> None:
        self.server.script(_SLOW)
        terminal = self.start(self.url, self.target)
        terminal.wait_for('6[0-9]%')
        began = time.monotonic()
        terminal.type(b'\x03')
        self.assertEqual(-signal.SIGINT, terminal.wait(), terminal.text)
        self.assertLess(time.monotonic() - began, 30)
        last = terminal.text.splitlines()[-1]
        self.assertIn('error: interrupted by Ctrl-C; 2.', last)
        self.assertIn('of 3.0 MiB received', last)
        self.assertIn('disk.img is untouched', last)
        self.assertFalse(os.path.exists(self.target))

    def test_ctrl_c_while_waiting_for_a_server(self) -> None:
        self.server.script(then=faults.status(503, retry_after=60))
        terminal = self.start(self.url, self.target)
        terminal.wait_for(r'retry in \d\d s')
        terminal.type(b'\x03')
        self.assertEqual(-signal.SIGINT, terminal.wait(), terminal.text)
        self.assertIn('nothing had been received yet', terminal.text)
        self.assertIn('disk.img is untouched', terminal.text)

    def test_a_shell_loop_ends(self) -> None:
        """It goes on where a program has dealt with the signal itself."""
        self.need_program('setsid', 'bash')
        self.server.script(then=_SLOW)
        program_ = shlex.join([*program.PROGRAM, 'copy', self.url])
        terminal = Terminal(
            'bash',
            '-c',
            'for disk in a b; do %s %s.$disk; done; echo THE-END'
            % (program_, self.target),
        )
        self.addCleanup(terminal.close)
        terminal.wait_for('6[0-9]%')
        terminal.type(b'\x03')
        terminal.wait()
        self.assertNotIn('THE-END', terminal.text)
        self.assertEqual(1, len(self.server.requests))

    def test_a_terminal_that_wants_nothing_from_the_background(self) -> None:
        """SIGTTOU would stop the copy, and a bar be in the shell's way."""
        self.need_program('setsid', 'bash')
        self.server.script(faults.reset(MIB + 1))
        program_ = shlex.join(
            [*program.PROGRAM, 'copy', self.url, self.target]
        )
        terminal = Terminal(
            'bash', '-c', 'set -m; stty tostop; %s & wait $!' % program_
        )
        self.addCleanup(terminal.close)
        self.assertEqual(0, terminal.wait(), terminal.text)
        self.assertEqual(self.image, self.content())
        self.assertNotIn('%|', terminal.text)
        self.assertIn('WARNING', terminal.text)


class TestUnread(program.ProgramTestCase):
    """Nobody reads stderr: a full pipe, or a terminal that is stopped."""

    def unread(self, kind: str) -> tuple[int, int]:
        """Return both ends."""
        if kind == 'terminal':
            reader, writer = pty.openpty()
        else:
            reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b'x' * 512)
        os.set_blocking(writer, True)
        self.addCleanup(os.close, reader)
        return reader, writer

    def start(self, writer: int, *argv: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*program.PROGRAM, 'copy', *argv, self.url, self.target],
            stdout=subprocess.DEVNULL,
            stderr=writer,
        )
        os.close(writer)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_the_copy_goes_on(self) -> None:
        for kind in ('terminal', 'pipe'):
            self.server.script(faults.reset(MIB + 1), faults.reset(1))
            _reader, writer = self.unread(kind)
            process = self.start(writer, *program.QUICK)
            self.assertEqual(0, process.wait(60))
            self.assertEqual(self.image, self.content())
            os.unlink(self.target)

    def test_sigterm_ends_it(self) -> None:
        for kind in ('terminal', 'pipe'):
            self.server.script(then=faults.status(503, retry_after=60))
            before = len(self.server.requests)
            _reader, writer = self.unread(kind)
            process = self.start(writer)
            while len(self.server.requests) == before:
                time.sleep(0.05)
            process.terminate()
            self.assertEqual(-signal.SIGTERM, process.wait(40))

    def test_the_last_line_is_there_for_who_wakes_up(self) -> None:
        self.server.script(faults.trickle(100_000, MIB))
        reader, writer = self.unread('pipe')
        process = self.start(writer, '--debug')
        while not os.path.exists(self.target):
            time.sleep(0.05)
        with open(reader, 'rb', closefd=False) as pipe:
            text = pipe.read()
        self.assertEqual(0, process.wait(60))
        last = text.splitlines()[-1]
        self.assertIn(b'%d bytes written' % len(self.image), last)


# What tidies up after the first signal never ends by itself.
_STUCK = '''
import os, time
from fuel_agent_curl.cmd import signals
signals.catch()
try:
    os.kill(os.getpid(), %d)
    time.sleep(60)
except signals.Interrupted:
    print('first', flush=True)
    time.sleep(1)
    os.kill(os.getpid(), %d)
    time.sleep(60)
    print('never')
'''


class TestSignals(program.ProgramTestCase):
    @contextlib.contextmanager
    def running(self, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """Run a copy that is under way in this block."""
        process = subprocess.Popen(
            [*program.PROGRAM, 'copy', '--progress', 'json', *argv],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line)['bytes'] >= 2 * MIB:
                    break
            yield process
        finally:
            process.kill()
            process.communicate()

    def check_end(self, signum: signal.Signals, what: str) -> None:
        self.server.script(then=_SLOW)
        with self.running(self.url, self.target) as process:
            began = time.monotonic()
            process.send_signal(signum)
            out, err = process.communicate(timeout=200)
            self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(-signum, process.returncode, err)
        last = json.loads(out.splitlines()[-1])
        self.assertEqual('failed', last['event'])
        self.assertEqual(128 + signum, last['exit_code'])
        self.assertIn(what, last['error'])
        self.assertEqual(
            'fuel-agent-curl: error: ' + last['error'], err.splitlines()[-1]
        )

    def test_sigterm(self) -> None:
        self.check_end(signal.SIGTERM, 'ended by SIGTERM')
        self.assertFalse(os.path.exists(self.target))

    def test_sighup(self) -> None:
        self.check_end(signal.SIGHUP, 'hung up')
        self.assertFalse(os.path.exists(self.target))

    def test_the_same_signal_once_more(self) -> None:
        """timeout(1) signals its child, and the group of that."""
        self.server.script(then=_SLOW)
        with self.running(self.url, self.target) as process:
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _out, err = process.communicate(timeout=200)
        self.assertEqual(-signal.SIGINT, process.returncode, err)
        self.assertIn('interrupted by Ctrl-C', err.splitlines()[-1])

    def test_a_second_signal_ends_it_at_once(self) -> None:
        stuck = _STUCK % (signal.SIGINT, signal.SIGINT)
        done = subprocess.run(
            [sys.executable, '-c', stuck],
            check=False,
            capture_output=True,
            text=True,
            timeout=200,
        )
        self.assertEqual(-signal.SIGINT, done.returncode, done.stderr)
        self.assertEqual('first\n', done.stdout)

    def test_before_anything_else(self) -> None:
        for signum in (signal.SIGINT, signal.SIGTERM):
            done = subprocess.run(
                [sys.executable, '-c', _EARLY % signum, 'copy', self.url],
                check=False,
                capture_output=True,
                text=True,
                timeout=200,
            )
            self.assertEqual((-signum, ''), (done.returncode, done.stderr))

    def test_a_file_that_was_there_stays(self) -> None:
        with open(self.target, 'wb') as old:
            old.write(b'old')
        self.check_end(signal.SIGTERM, 'disk.img is ')
        self.assertEqual(b'old', self.content())

    def test_a_signal_after_the_last_word_changes_nothing(self) -> None:
        for _turn in range(5):
            with self.running(self.url, self.target) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if json.loads(line)['event'] == 'done':
                        break
                process.send_signal(signal.SIGTERM)
                self.assertEqual(0, process.wait(30))

    def test_a_signal_when_all_is_done(self) -> None:
        """It comes when the image is complete, and nobody knows it yet."""
        for target in (self.target, '/dev/null'):
            done = subprocess.run(
                [sys.executable, '-c', _LATE, 'copy', self.url, target],
                check=False,
                capture_output=True,
                text=True,
                timeout=200,
            )
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn(
                '%d bytes written to %s' % (len(self.image), target),
                done.stderr,
            )
        self.assertEqual(self.image, self.content())

    def test_a_second_copy_to_the_same_target(self) -> None:
        self.server.script(_SLOW)
        with self.running(self.url, self.target):
            self.check_failure(45, 'another process', self.url, self.target)
