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

"""A copy that another thread cancels."""

from __future__ import annotations

from collections.abc import Iterator
import os
import random
import threading
import time
from typing import Any

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import relay
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import writing
from tests.support import copying

IMAGE = copying.IMAGE


class CancelTest(copying.FileTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.cancellation = pipeline.Cancellation()
        self.going = threading.Event()
        self.addCleanup(self.going.set)
        self.old()

    def _cancelled(
        self, source: copying.Source, **options: Any
    ) -> errors.Cancelled:
        error = self.assertRaises(
            errors.Cancelled,
            pipeline.copy,
            source,
            options.pop('target', self.path),
            cancellation=self.cancellation,
            **options,
        )
        assert isinstance(error, errors.Cancelled)
        return error

    def _assert_old(self, error: errors.Cancelled) -> None:
        self.assertEqual('untouched', error.target_state)
        self.assertEqual(b'old' * MIB, self.content())
        self.assertEqual(['target'], os.listdir(self.directory))

    def test_before_it_begins(self) -> None:
        self.cancellation.ask()
        self._assert_old(self._cancelled(copying.whole(IMAGE)))

    def test_source_that_waits(self) -> None:
        """Whatever it says then, and if it says nothing."""
        for before in ([], [IMAGE]):
            for said in (
                None,
                errors.Cancelled('the download was closed'),
                errors.ReceiveError('cut'),
            ):
                self.cancellation = pipeline.Cancellation()

                def chunks(
                    before: list[bytes] = before,
                    said: errors.Error | None = said,
                ) -> Iterator[bytes | BaseException]:
                    yield from before
                    self.cancellation.ask()
                    if said is not None:
                        yield said

                error = self._cancelled(copying.Source(chunks()))
                self._assert_old(error)
                self.assertIn('copy was cancelled', str(error))

    def test_target_in_a_call(self) -> None:
        """It is left as it is after as long as the kernel is waited for."""
        self.patch(relay, 'PATIENCE', 0.1)
        for name, turn in (
            ('pwrite', 1),
            ('fdatasync', 1),
            ('preadv', 1),
        ):
            self.old()
            self.cancellation = pipeline.Cancellation()
            before = threading.active_count()
            real = getattr(os, name)
            turns: list[int] = []

            def blocking(
                *args: Any,
                real: Any = real,
                turn: int = turn,
                turns: list[int] = turns,
            ) -> Any:
                turns.append(1)
                if len(turns) == turn:
                    self.cancellation.ask()
                    self.going.wait(30)
                return real(*args)

            sinks: list[sink.Sink] = []
            with fixtures.MonkeyPatch('os.' + name, blocking):
                error = self._cancelled(
                    copying.whole(IMAGE, len(IMAGE)),
                    options=writing.Options(verify=True),
                    observe=sinks.append,
                )
                self.assertEqual('untouched', error.target_state)
                self.assertEqual(b'old' * MIB, self.content())
                self.assertIn('has not given back a call', self.log.output)
                self.going.set()
                while threading.active_count() > before:
                    pass
            self.going.clear()
            sinks[0].abort()
            self.assertEqual(['target'], os.listdir(self.directory))

    def test_pipe_that_nobody_reads(self) -> None:
        path = os.path.join(self.directory, 'pipe')
        os.mkfifo(path)
        self.patch(time, 'sleep', lambda _: self.cancellation.ask())
        error = self._cancelled(copying.whole(IMAGE), target=path)
        self.assertEqual('untouched', error.target_state)

    def test_pipe_whose_reader_waits(self) -> None:
        path = os.path.join(self.directory, 'pipe')
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        timer = threading.Timer(0.1, self.cancellation.ask)
        timer.start()
        chunks = [IMAGE] * (1 + relay.COUNT * relay.SIZE // len(IMAGE))
        error = self._cancelled(copying.Source(chunks), target=path)
        timer.join()
        self.assertEqual('incomplete', error.target_state)

    def test_all_is_done_in_that_moment(self) -> None:
        """The image is there, so this is no failure."""
        real = os.rename

        def rename(*names: str) -> None:
            real(*names)
            if names[1] == self.path:
                self.cancellation.ask()

        self.patch(os, 'rename', rename)
        result = pipeline.copy(
            copying.whole(IMAGE), self.path, cancellation=self.cancellation
        )
        self.assertEqual(len(IMAGE), result.written)
        self.assert_image(IMAGE)

    def test_what_the_target_says_is_the_cause(self) -> None:
        real = os.pwrite
        turns: list[int] = []

        def failing(fd: int, data: memoryview, offset: int) -> int:
            turns.append(1)
            if len(turns) == 2:
                self.patch(relay.Relay, 'abort', abort)
                raise OSError(5, 'Input/output error')
            return real(fd, data, offset)

        abort_ = relay.Relay.abort

        def abort(buffers: relay.Relay, interrupt: Any) -> bool:
            self.cancellation.ask()
            return abort_(buffers, interrupt)

        self.patch(os, 'pwrite', failing)
        error = self.assertRaises(
            errors.WriteError,
            pipeline.copy,
            copying.whole(IMAGE),
            self.path,
            cancellation=self.cancellation,
        )
        self.assertEqual('untouched', error.target_state)

    def test_at_any_moment(self) -> None:
        """It is there, or it is not, and that is told."""
        dice = random.Random(20261126)
        ended = set()
        for turn in range(40):
            in_place = bool(turn % 2)
            self.old()
            self.cancellation = pipeline.Cancellation()
            timer = threading.Timer(
                dice.random() * 0.05, self.cancellation.ask
            )
            timer.start()
            state = 'complete'
            try:
                pipeline.copy(
                    copying.whole(IMAGE),
                    self.path,
                    options=writing.Options(in_place=in_place, verify=True),
                    cancellation=self.cancellation,
                )
            except errors.Cancelled as error:
                state = str(error.target_state)
            timer.cancel()
            timer.join()
            ended.add(state)
            if state == 'complete':
                self.assert_image(IMAGE)
            elif state == 'untouched':
                self.assertEqual(b'old' * MIB, self.content())
            else:
                self.assertEqual('blank', state)
                self.assertEqual(b'', self.content())
        self.assertTrue(ended & {'untouched', 'blank'}, ended)


class CancellationTest(copying.FileTestCase):
    def test_during_the_block_alone(self) -> None:
        calls: list[str] = []
        cancellation = pipeline.Cancellation()
        with cancellation.ending(lambda: calls.append('before')):
            pass
        with cancellation.ending(lambda: calls.append('during')):
            cancellation.ask()
            cancellation.ask()
        self.assertEqual(['during', 'during'], calls)

    def test_what_begins_later_ends_at_once(self) -> None:
        cancellation = pipeline.Cancellation()
        cancellation.ask()
        ending = cancellation.ending(lambda: None)
        self.assertRaises(errors.Cancelled, ending.__enter__)
