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

"""Progress of a copy: a bar, log lines, or JSON.

A thread of its own prints: neither a terminal that is stopped nor a reader
of stdout that sleeps may hold up the network or the disk.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import logging
import os
import queue
import select
import sys
import threading
import time
import types
import typing

from fuel_agent_curl.cmd import status as status_lib
from fuel_agent_curl.rules import events

LOG = logging.getLogger(__name__)

# How long the end waits for the printing thread. A reader of stdout that
# takes longer does not get the last line.
_PATIENCE = 5.0


class Display:
    """Shows nothing, and says what the others show."""

    #: Seconds between two calls of ``update``; None: never.
    interval: float | None = None

    def update(self, status: status_lib.Status) -> None:
        """Show how far it is, every ``interval`` seconds."""

    def event(self, event: events.Event, status: status_lib.Status) -> None:
        """Show that something happened (the kinds of ``events.Event``)."""

    def done(self, status: status_lib.Status) -> None:
        """Show the successful end."""

    def failed(
        self, status: status_lib.Status, error: str, exit_code: int
    ) -> None:
        """Show the other end."""

    def close(self) -> None:
        """Give the terminal back; called once, last."""


class LogDisplay(Display):
    """Log lines, few of them: for journals and files."""

    interval = 10.0

    def update(self, status: status_lib.Status) -> None:
        """Log how far it is."""
        if status.length is None and status.received == 0:
            return
        percent = status.percent
        LOG.info(
            '%s%s, %s',
            status.amount(),
            '' if percent is None else ' (%d%%)' % percent,
            status.pace(),
        )

    def event(self, event: events.Event, status: status_lib.Status) -> None:
        """Log what happened; the download itself logs every retry."""
        if event.kind == 'started':
            LOG.info(
                'the server answers: %s',
                'length unknown'
                if status.length is None
                else status_lib.size(status.length),
            )
        elif event.kind == 'resumed':
            LOG.info('resumed at byte %d', event.offset)
        elif event.kind == 'restarted':
            LOG.info('started again at byte 0')
        elif event.kind == 'reread':
            LOG.info('no proof for a resume: reading again, to compare')


class JsonDisplay(Display):
    """One object a line on a descriptor, each written at once."""

    interval = 1.0

    def __init__(self, descriptor: int = 1) -> None:
        # Not sys.stdout: a thread blocked in a buffered writer would keep
        # the interpreter from ending.
        self._descriptor: int | None = descriptor

    def update(self, status: status_lib.Status) -> None:
        """Print a progress object."""
        self._print(status.record('progress'))

    def event(self, event: events.Event, status: status_lib.Status) -> None:
        """Print what happened."""
        self._print(
            status.record(event.kind)
            | {'offset': event.offset, 'delay': round(event.delay, 3)}
        )

    def done(self, status: status_lib.Status) -> None:
        """Print the last object of a copy that succeeded."""
        self._print(status.record('done') | {'exit_code': 0})
        self._descriptor = None

    def failed(
        self, status: status_lib.Status, error: str, exit_code: int
    ) -> None:
        """Print the last object of a copy that failed."""
        self._print(
            status.record('failed') | {'error': error, 'exit_code': exit_code}
        )
        # The last: the thread may yet look at the copy once more.
        self._descriptor = None

    def _print(self, record: dict[str, typing.Any]) -> None:
        import json

        rest = (json.dumps(record) + '\n').encode('ascii')
        reason = None
        while rest and self._descriptor is not None:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Someone shares this pipe with us and made it so.
                select.select([], [self._descriptor], [])
            except OSError as error:
                # The copy is what matters, not who watches it.
                self._descriptor, reason = None, error.strerror
        if reason is not None:
            # Not in the handler: oslo.log adds the exception it finds there.
            LOG.warning('the progress cannot be printed any more: %s', reason)


class BarDisplay(Display):
    """A bar on a terminal."""

    interval = 0.2

    def __init__(self, stream: typing.TextIO) -> None:
        # Not imported where no bar is shown.
        from tqdm import tqdm
        from tqdm.contrib import logging as tqdm_logging

        # By default tqdm makes a multiprocessing lock, which wants /dev/shm,
        # and a thread that watches over bars that do not move.
        tqdm.set_lock(threading.RLock())
        tqdm.monitor_interval = 0
        self._redirect = tqdm_logging.logging_redirect_tqdm()
        self._redirect.__enter__()
        known = _knows_its_size(stream)
        self._bar = tqdm(
            file=stream,
            leave=False,
            dynamic_ncols=known,
            ncols=None if known else 80,
            nrows=None if known else 24,
            bar_format='{desc}',
        )

    def update(self, status: status_lib.Status) -> None:
        """Draw the bar anew."""
        trouble = status.trouble()
        percent = status.percent
        if percent is not None:
            self._bar.n, self._bar.total = percent, 100
            # What is wrong needs the room more than the bar does.
            bar = '{n:3d}%| {desc}' if trouble else '{n:3d}%|{bar:20}| {desc}'
            self._bar.bar_format = bar
        if trouble:
            text = trouble
        elif percent is None and not status.received:
            text = 'waiting for the server'
        else:
            text = '%s, %s' % (status.amount(), status.pace())
        self._bar.set_description_str(text, refresh=False)
        self._bar.refresh()

    def event(self, event: events.Event, status: status_lib.Status) -> None:
        """Draw the bar anew, at once."""
        self.update(status)

    def close(self) -> None:
        """Remove the bar."""
        self._bar.close()
        self._redirect.__exit__(None, None, None)


def _knows_its_size(stream: typing.TextIO) -> bool:
    """Tell whether the terminal has a size; a serial console has 0 by 0."""
    try:
        return all(os.get_terminal_size(stream.fileno()))
    except OSError:
        return False


def display(kind: str) -> Display:
    """Return the display for a value of ``--progress``."""
    if kind == 'json':
        return JsonDisplay()
    if kind == 'none':
        return Display()
    if kind == 'bar' or sys.stderr.isatty():
        return BarDisplay(sys.stderr)
    return LogDisplay()


class Progress:
    """Watches a copy from a thread, and hands what it sees to a display.

    :param clock: returns seconds that only grow.
    """

    def __init__(
        self,
        shown: Display,
        attempts: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._display = shown
        self._clock = clock
        self._meter = status_lib.Meter()
        self._status = status_lib.Status(attempts=attempts)
        self._retry_at = 0.0
        self._received: Callable[[], int] = int
        self._written: Callable[[], int] = int
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        # A daemon: a stuck terminal must not keep the program from ending.
        self._thread = threading.Thread(
            target=self._run, name='progress', daemon=True
        )

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self._queue.put(None)
        self._thread.join(_PATIENCE)

    def follow(
        self, received: Callable[[], int], written: Callable[[], int]
    ) -> None:
        """Take the figures from these two functions from now on."""
        self._received, self._written = received, written

    def observe(self, event: events.Event) -> None:
        """Note an event of the download; from any thread, never blocks."""
        self._queue.put(lambda: self._note(event))

    def done(self) -> None:
        """Tell that the copy has succeeded."""
        self._queue.put(lambda: self._display.done(self._measure()))

    def failed(self, error: str, exit_code: int) -> None:
        """Tell that the copy has not succeeded."""
        self._queue.put(
            lambda: self._display.failed(self._measure(), error, exit_code)
        )

    def status(self) -> status_lib.Status:
        """Look at the copy now."""
        return dataclasses.replace(
            self._status,
            received=self._received(),
            written=self._written(),
            rate=self._meter.rate,
            delay=max(0.0, self._retry_at - self._clock()),
        )

    def _measure(self) -> status_lib.Status:
        """Take a sample of the rate, then look; on the thread alone."""
        self._meter.add(self._clock(), self._received())
        return self.status()

    def _note(self, event: events.Event) -> None:
        self._retry_at = self._clock() + (event.delay or 0.0)
        self._status = dataclasses.replace(
            self._status,
            length=event.length,
            attempt=event.attempt,
            attempts=event.attempts,
            error=event.error,
        )
        self._display.event(event, self._measure())

    def _run(self) -> None:
        interval = self._display.interval
        due = self._clock()
        while True:
            if interval is not None and self._clock() >= due:
                due = self._clock() + interval
                self._display.update(self._measure())
            wait = None if interval is None else due - self._clock()
            try:
                step = self._queue.get(timeout=wait and max(0.0, wait))
            except queue.Empty:
                continue
            if step is None:
                self._display.close()
                return
            step()
