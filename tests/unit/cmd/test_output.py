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

"""What is said on the standard streams, whoever reads it."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import sys
import threading
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import output
from tests import base

#: Of a pipe, and nobody reads from it.
PIPE = 65536


class TestOutput(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reader, self.writer = os.pipe()
        self.addCleanup(os.close, self.reader)
        self.addCleanup(os.close, self.writer)

    def output(self, **given: Any) -> output.Output:
        made = output.Output(self.writer, **given)
        self.addCleanup(made.close)
        return made

    def fill(self) -> None:
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, PIPE)
        os.write(self.writer, bytes(PIPE))

    def read(self, count: int) -> bytes:
        data = b''
        while len(data) < count:
            data += os.read(self.reader, count - len(data))
        return data

    def test_what_is_written_arrives_in_order(self) -> None:
        said = self.output()
        lines = ['line %d\n' % number for number in range(1000)]
        for line in lines:
            self.assertEqual(len(line), said.write(line))
        said.drain(10)
        self.assertFalse(said.pending)
        expected = ''.join(lines).encode()
        self.assertEqual(expected, self.read(len(expected)))

    def test_what_cannot_be_encoded(self) -> None:
        said = self.output(encoding='ascii')
        said.write('\xe9 \udcff\n')
        said.drain(10)
        self.assertEqual(b'\\xe9 \\udcff\n', os.read(self.reader, 100))
        self.assertEqual('ascii', said.encoding)

    def test_nobody_waits_for_a_reader(self) -> None:
        """The oldest lines are lost, the last is not."""
        self.fill()
        said = self.output()
        for number in range(1000):
            said.write('%d %s\n' % (number, 'x' * 1000))
        said.drain(0.001)
        self.assertTrue(said.pending)
        self.read(PIPE)
        text = b''
        while b'999 x' not in text:
            text += os.read(self.reader, PIPE)
        said.drain(10)
        self.assertLess(len(text), 2 * output._MOST)
        # What was being written before, and then the newest.
        self.assertIn(b'\n900 x', text)
        self.assertNotIn(b'\n500 x', text)

    def test_a_pipe_that_someone_made_non_blocking(self) -> None:
        self.fill()
        os.set_blocking(self.writer, False)
        said = self.output()
        said.write('a line\n')
        said.drain(0.001)
        self.assertTrue(said.pending)
        self.read(PIPE)
        self.assertEqual(b'a line\n', self.read(7))

    def test_a_reader_that_went_away(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        os.close(reader)
        said = output.Output(writer)
        self.addCleanup(said.close)
        said.write('a line\n')
        said.drain(10)
        self.assertFalse(said.pending)
        said.write('another\n')
        self.assertFalse(said.pending)
        self.assertRaises(BrokenPipeError, said.check)

    def test_no_thread_is_to_be_had(self) -> None:
        def fail(_thread: object) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, 'start', fail)
        said = self.output()
        said.write('out of memory\n')
        self.assertEqual(b'out of memory\n', os.read(self.reader, 100))

    def test_it_is_a_stream(self) -> None:
        said = self.output()
        self.assertEqual(self.writer, said.fileno())
        self.assertFalse(said.isatty())
        print('words', 5, file=said)
        said.flush()
        self.assertEqual(b'words 5\n', self.read(8))


class TestSay(base.TestCase):
    def broken(self, error: OSError) -> None:
        class Broken(io.StringIO):
            def flush(self) -> None:
                raise error

            def fileno(self) -> int:
                return writer

        _reader, writer = os.pipe()
        self.addCleanup(os.close, _reader)
        self.addCleanup(os.close, writer)
        self.patch(sys, 'stdout', Broken())

    def test_a_line(self) -> None:
        out = io.StringIO()
        self.patch(sys, 'stdout', out)
        output.say('a line')
        self.assertEqual('a line\n', out.getvalue())

    def test_full(self) -> None:
        self.broken(OSError(errno.ENOSPC, 'No space left on device'))
        error = self.assertRaises(errors.TargetFull, output.say, 'a line')
        self.assertIn('standard output', str(error))

    def test_nobody_reads(self) -> None:
        self.broken(BrokenPipeError(errno.EPIPE, 'Broken pipe'))
        self.assertRaises(BrokenPipeError, output.say, 'a line')
