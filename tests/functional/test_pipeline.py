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

"""The pipeline at work: pipes, signals, overlap, memory."""

from __future__ import annotations

import bz2
from collections.abc import Iterator
import hashlib
import lzma
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import fixtures
from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl import pipeline
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.image import digest
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import copying
from tests.support import engine

_RANDOM = random.Random(20261125)
IMAGE = _RANDOM.randbytes(3 * MIB) + bytes(2 * MIB) + b'the end'

# Copies a file to a file, and tells the peak of its memory in MiB.
_COPY = """
import os, sys
from fuel_agent_curl import pipeline

class Source:
    length = os.path.getsize(sys.argv[1])

    def views(self):
        with open(sys.argv[1], 'rb', buffering=0) as image:
            buffer = bytearray(1 << 20)
            while count := image.readinto(buffer):
                yield memoryview(buffer)[:count]

    def keep(self, view):
        return None

    def close(self):
        pass

print(pipeline.copy(Source(), sys.argv[2], image_checksum=sys.argv[3]).written)
# Not ru_maxrss: that is kept from the process that started this one.
with open('/proc/self/status') as status:
    peak = dict(line.split(':', 1) for line in status)['VmHWM']
print(int(peak.split()[0]) // 1024)
"""


class PipeTest(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.directory, 'pipe')
        os.mkfifo(self.path)

    def _reader(self, length: int | None) -> list[bytes]:
        """Read so many bytes, then close the pipe; None: all."""
        found: list[bytes] = []

        def read() -> None:
            with open(self.path, 'rb') as pipe:
                found.append(pipe.read(-1 if length is None else length))

        thread = threading.Thread(target=read)
        thread.start()
        self.addCleanup(thread.join)
        return found

    def test_all_of_it(self) -> None:
        found = self._reader(None)
        pipeline.write([IMAGE], self.path)
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(10)
        self.assertTrue(found == [IMAGE])

    def test_reader_goes_away(self) -> None:
        self._reader(100_000)
        error = self.assertRaises(
            errors.WriteError, pipeline.write, [IMAGE] * 5, self.path
        )
        assert isinstance(error, errors.WriteError)
        assert error.offset is not None
        self.assertLessEqual(100_000, error.offset)
        self.assertIn('pipe', str(error))

    def test_reader_that_stopped_is_not_waited_for(self) -> None:
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)

        def chunks() -> Iterator[bytes]:
            yield IMAGE
            # The pipe is full by now, or soon.
            raise KeyboardInterrupt

        started = time.monotonic()
        self.assertRaises(
            KeyboardInterrupt, pipeline.write, chunks(), self.path
        )
        self.assertLess(time.monotonic() - started, 10)

    def _late(self, source: copying.Source) -> errors.DeadlineExceeded:
        """The deadline passes; it is not waited for much longer."""
        began = time.monotonic()
        error = self.assertRaises(
            errors.DeadlineExceeded,
            pipeline.copy,
            source,
            self.path,
            deadline=began + 1,
        )
        assert isinstance(error, errors.DeadlineExceeded)
        self.assertLess(time.monotonic() - began, 20)
        return error

    def test_deadline_while_nobody_reads(self) -> None:
        def chunks() -> Iterator[bytes]:
            raise AssertionError('asked too early')
            yield b''

        error = self._late(copying.Source(chunks()))
        self.assertIn('nobody reads ' + self.path, str(error))
        self.assertEqual('untouched', error.target_state)

    def test_deadline_while_the_reader_has_stopped(self) -> None:
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        for count in (1, 10):
            error = self._late(copying.Source([IMAGE] * count))
            self.assertEqual('incomplete', error.target_state)


class SignalTest(base.FunctionalTestCase):
    """The main thread is interrupted wherever it waits."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.directory, 'target')

        class Terminated(BaseException):
            """As fuel-agent's handler of SIGTERM, or ours, raises."""

        self.terminated = Terminated

        def handler(*_args: Any) -> None:
            raise Terminated

        before = signal.signal(signal.SIGUSR1, handler)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

    def _soon(self) -> None:
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(
            0.2, signal.pthread_kill, (main, signal.SIGUSR1)
        )
        timer.start()
        self.addCleanup(timer.join)

    def test_while_the_source_waits(self) -> None:
        def chunks() -> Iterator[bytes]:
            yield IMAGE
            self._soon()
            threading.Event().wait(60)

        self.assertRaises(self.terminated, pipeline.write, chunks(), self.path)
        self.assertEqual([], os.listdir(self.directory))

    def test_while_the_target_is_slow(self) -> None:
        """All buffers are full, and the pipe is not read."""
        os.mkfifo(self.path)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self._soon()
        self.assertRaises(
            self.terminated, pipeline.write, [IMAGE] * 10, self.path
        )

    def test_while_nobody_reads(self) -> None:
        os.mkfifo(self.path)
        self._soon()
        self.assertRaises(self.terminated, pipeline.write, [IMAGE], self.path)

    def test_while_the_medium_is_waited_for(self) -> None:
        """The wait ends at once; the call is waited for, then all is undone.

        That the wait was for a thread which is then taken for one that has
        ended was a mistake of Python's.
        """
        real = os.fdatasync
        calls: list[str] = []

        def slow(fd: int) -> None:
            if not calls:
                self._soon()
            calls.append('begun')
            time.sleep(1)
            real(fd)
            calls.append('ended')

        with fixtures.MonkeyPatch('os.fdatasync', slow):
            self.assertRaises(
                self.terminated, pipeline.write, [IMAGE], self.path
            )
        self.assertEqual(['begun', 'ended'], calls)
        self.assertEqual([], os.listdir(self.directory))


class OverlapTest(base.FunctionalTestCase):
    def test_written_while_the_source_waits(self) -> None:
        path = os.path.join(self.directory, 'target')

        def chunks() -> Iterator[bytes]:
            yield _RANDOM.randbytes(3 * MIB)
            until = time.monotonic() + 20
            # It is beside the path until it is whole.
            (name,) = os.listdir(self.directory)
            while os.stat(os.path.join(self.directory, name)).st_size < (
                3 * MIB
            ):
                if time.monotonic() > until:
                    raise AssertionError('nothing was written meanwhile')
                time.sleep(0.01)
            yield b'the end'

        written = pipeline.write(chunks(), path)
        self.assertEqual(3 * MIB + 7, written)

    def test_hashed_while_the_target_is_written(self) -> None:
        """A slow digest does not hold up what is before it."""
        path = os.path.join(self.directory, 'target')
        taken = []

        def update(self: Any, buffer: memoryview) -> None:
            hashing.wait(20)

        hashing = threading.Event()
        self.patch(digest.Digest, 'update', update)
        self.patch(digest.Digest, 'verify', lambda self: None)

        class Source:
            length = 4 * MIB
            end_proven = True

            def views(self) -> Iterator[memoryview]:
                for _number in range(4):
                    taken.append(time.monotonic())
                    yield memoryview(bytes(MIB))
                hashing.set()

            def keep(self, view: object) -> None:
                return None

            def close(self) -> None:
                pass

        pipeline.copy(Source(), path, image_checksum='md5:' + '0' * 32)
        self.assertLess(taken[-1] - taken[0], 10)


class DownloadTest(engine.EngineTestCase):
    """With a real download before it."""

    def test_target_fails_while_the_network_is_silent(self) -> None:
        self.name(content=harmful.Pattern(1 << 30))
        self.server.script(faults.stall(2_000_000))
        path = os.path.join(self.directory, 'pipe')
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # By now it is full, and waited for.
        timer = threading.Timer(0.5, os.close, (reader,))
        timer.start()
        self.addCleanup(timer.join)
        began = time.monotonic()
        self.assertRaises(
            errors.WriteError,
            pipeline.copy,
            self.fetch(low_speed_time=60),
            path,
        )
        self.assertLess(time.monotonic() - began, 10)

    def test_wrong_bytes_on_the_wire(self) -> None:
        """The engine compares before its last chunk, we publish after."""
        path = os.path.join(self.directory, 'target')
        content = harmful.Pattern(5 * MIB)
        self.name(content=content)
        wrong = 'sha256:' + '0' * 64
        self.assertRaises(
            errors.DigestMismatch,
            pipeline.copy,
            self.fetch(checksum=wrong),
            path,
        )
        self.assertFalse(os.path.exists(path))
        pipeline.copy(self.fetch(), path)
        with open(path, 'rb') as target:
            self.assertTrue(content[0 : 5 * MIB] == target.read())


class MemoryTest(base.FunctionalTestCase):
    """Bounded whatever the image, and however well it is compressed."""

    def _copy(self, packed: bytes, checksum: str) -> int:
        path = os.path.join(self.directory, 'image')
        with open(path, 'wb') as image:
            image.write(packed)
        result = subprocess.run(
            [sys.executable, '-c', _COPY, path, path + '-target', checksum],
            capture_output=True,
            text=True,
            check=True,
        )
        written, peak = map(int, result.stdout.split())
        self.assertEqual(self.length, written)
        return peak

    def test_containers(self) -> None:
        self.length = 128 * MIB
        image = bytes(self.length)
        checksum = 'sha256:' + hashlib.sha256(image).hexdigest()
        for name, packed in (
            ('gzip', zlib_ng.compress(image, 1, 31)),
            ('xz', lzma.compress(image, preset=6)),
            ('bzip2', bz2.compress(bytes(32 * MIB)) * 4),
        ):
            peak = self._copy(packed, checksum)
            self.assertLess(peak, 80, name)

    def test_flat(self) -> None:
        """Four times the image takes no more."""
        peaks = []
        for count in (1, 4):
            self.length = count * 128 * MIB
            packed = zlib_ng.compress(bytes(128 * MIB), 1, 31) * count
            expected = hashlib.sha1()
            for _number in range(self.length // MIB):
                expected.update(bytes(MIB))
            peaks.append(self._copy(packed, 'sha1:' + expected.hexdigest()))
        self.assertLess(peaks[1] - peaks[0], 8)
