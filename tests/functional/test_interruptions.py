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

"""Tests of exceptions, and calls, in the middle of reading.

A signal handler runs between any two steps of the consumer's, and whatever
it raises comes out there.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import os
import pathlib
import signal
import sys
import threading
import time
import types
from typing import Any

import fuel_agent_curl
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine

PACKAGE = str(pathlib.Path(fuel_agent_curl.__file__).parent)


class Interruption(Exception):
    """What the handler raises."""


class Lines:
    """Calls ``handle`` before one line of the package's, in this thread.

    :param at: which, counted from the beginning of the ``with`` block.
    :ivar reached: it came to that.
    """

    def __init__(self, at: int, handle: Callable[[], None]) -> None:
        self._left = at
        self._handle = handle
        self.reached = False

    def __enter__(self) -> Lines:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_exception: object) -> None:
        sys.settrace(None)

    def _call(
        self, frame: types.FrameType, _event: str, _argument: object
    ) -> Any:
        # What a finaliser raises goes to nobody: no handler can mean that.
        ours = frame.f_code.co_filename.startswith(PACKAGE)
        is_last = frame.f_code.co_name == '__del__'
        return self._line if ours and not is_last else None

    def _line(
        self, _frame: types.FrameType, event: str, _argument: object
    ) -> Any:
        if event == 'line' and not self.reached:
            self._left -= 1
            if self._left < 0:
                self.reached = True
                sys.settrace(None)
                self._handle()
        return self._line


def interrupt() -> None:
    raise Interruption


class TestLines(engine.EngineTestCase):
    """At every line that is run to hand on a chunk, one after the other."""

    def read(
        self, download: fuel_agent_curl.Download, handle: Callable[[], None]
    ) -> Iterator[bytes]:
        """Yield the chunks; at the n-th, ``handle`` is called at line n."""
        self.reached = 0
        at = 0
        while True:
            with Lines(at, handle) as lines:
                try:
                    chunk = next(download, None)
                except Interruption:
                    chunk = b''
            self.reached += lines.reached
            if chunk is None:
                return
            at += 1
            yield chunk

    def test_an_exception_loses_nothing(self) -> None:
        # A connection that is cut, so that there is something to wait for.
        for checksum, size in (
            (None, 700),
            (self.checksum(), 700),
            # Parts of what is a chunk to the window.
            (self.checksum(), 300),
        ):
            download = self.fetch(chunk_size=size, checksum=checksum)
            chunks = list(self.read(download, interrupt))
            self.assert_same(self.content, b''.join(chunks))
            # As many lines as there are in it.
            self.assertGreater(self.reached, 40)
            self.assertEqual([], list(download))

    def test_nor_does_one_while_there_is_nothing(self) -> None:
        """Each is handed on by the call that waited, or by the next."""
        self.server.script(then=faults.trickle(200000))
        for at in range(0, 60, 3):
            download = self.fetch(chunk_size=5000)
            chunks = []
            for _call in range(200):
                with Lines(at, interrupt):
                    try:
                        chunks.append(next(download))
                    except Interruption:
                        at += 1
                    except StopIteration:
                        break
            self.assert_same(self.content, b''.join(chunks))

    def test_to_read_there_is_an_error_and_no_harm(self) -> None:
        for checksum in (None, self.checksum()):
            download = self.fetch(chunk_size=700, checksum=checksum)
            inner, failures = self.inner(download)
            chunks = list(self.read(download, inner))
            # Before the first line that counts, or after the last, it is a
            # call like any other.
            self.assertEqual(
                sorted(self.content),
                sorted(b''.join([*chunks, *self.chunks])),
            )
            self.assertGreater(len(failures), 20)

    def inner(
        self, download: fuel_agent_curl.Download
    ) -> tuple[Callable[[], None], list[errors.Error]]:
        """Return what reads, and the errors that this gets."""
        failures: list[errors.Error] = []
        self.chunks: list[bytes] = []

        def read() -> None:
            try:
                self.chunks.append(next(download, b''))
            except errors.Error as error:
                failures.append(error)

        return read, failures

    def test_to_close_there_ends_it(self) -> None:
        for at in range(0, 80, 2):
            download = self.fetch(chunk_size=700, checksum=self.checksum())
            chunks = [next(download)]
            with Lines(at, download.close) as lines:
                try:
                    chunks.append(next(download))
                except errors.Error as error:
                    self.assertIn('closed', str(error))
            self.assert_same(
                self.content[: 700 * len(chunks)], b''.join(chunks)
            )
            if lines.reached:
                failure = self.assertRaises(errors.Error, next, download)
                self.assertIn('closed', str(failure))
            download.close()

    def test_an_exception_out_of_fetch_leaves_nothing(self) -> None:
        # The check of every test: threads, descriptors.
        self.fetch().close()
        at = 0
        while True:
            with Lines(at, interrupt) as lines:
                try:
                    self.fetch().close()
                except Interruption:
                    pass
            if not lines.reached:
                break
            at += 7
        self.assertGreater(at, 100)


class TestSignals(engine.EngineTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(3000000)[0:3000000])
        self._armed = False
        self.addCleanup(
            signal.signal,
            signal.SIGUSR1,
            signal.signal(signal.SIGUSR1, self._handle),
        )

    def _handle(self, _number: int, _frame: object) -> None:
        if self._armed:
            self._armed = False
            raise Interruption

    def _send(self, ended: threading.Event) -> None:
        while not ended.wait(0.002):
            os.kill(os.getpid(), signal.SIGUSR1)

    def test_real_ones(self) -> None:
        """Not at a time of our choosing, but many."""
        ended = threading.Event()
        sending = threading.Thread(target=self._send, args=(ended,))
        sending.start()
        try:
            interruptions = 0
            until = time.monotonic() + 5
            while time.monotonic() < until:
                download = self.fetch(
                    chunk_size=8192, checksum=self.checksum()
                )
                chunks: list[bytes] = []
                while True:
                    try:
                        self._armed = True
                        for chunk in download:
                            # To ``next``, it could come when that is done,
                            # and what it returned be nobody's.
                            chunks.append(chunk)
                        break
                    except Interruption:
                        interruptions += 1
                self._armed = False
                self.assert_same(self.content, b''.join(chunks))
        finally:
            self._armed = False
            ended.set()
            sending.join()
        self.assertGreater(interruptions, 20)
