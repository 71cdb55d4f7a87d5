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

"""A thread that looks at a copy, and hands what it sees to a display.

A thread of its own does that: what is observed is noted in passing.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import logging
import queue
import threading
import time
import types
import typing

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.rules import events

if typing.TYPE_CHECKING:
    from fuel_agent_curl.image import gpgv

LOG = logging.getLogger(__name__)

# How long the end waits for the thread, which waits for nobody.
_PATIENCE = 5.0


class Watched(typing.Protocol):
    """What a watch looks at: a ``copying.Copy``."""

    @property
    def received(self) -> int: ...

    @property
    def unpacked(self) -> int: ...

    @property
    def written(self) -> int: ...

    @property
    def verified(self) -> int: ...

    @property
    def phase(self) -> str: ...

    @property
    def signer(self) -> gpgv.Signer | None: ...

    @property
    def stats(self) -> events.Stats: ...


def _continued(event: events.Event) -> str:
    at = wording.size(event.offset)
    if event.length is not None:
        at += ' of ' + wording.size(event.length)
    if not event.compared:
        return 'continues at %s (everything before it was in the spool)' % at
    more = event.saved - event.offset
    kept = ''
    if more > 0:
        kept = '; %s behind it are in the spool' % wording.size(more)
    return 'continues at %s (everything before it was compared)%s' % (at, kept)


def _reused(event: events.Event) -> str:
    return '%s of the image are there already, %s are fetched' % (
        wording.size(event.compared),
        wording.size(event.missing) if event.missing else 'none',
    )


class Watch:
    """Watches a copy from a thread, and hands what it sees to a display.

    :param clock: returns seconds that only grow.
    :param url: of what is copied; a secret in it is not shown.
    """

    def __init__(
        self,
        shown: displays.Display,
        attempts: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        url: str | None = None,
    ) -> None:
        self._display = shown
        self._clock = clock
        self._meter = snapshot.Meter()
        self._phase = 'copying'
        self._began = clock()
        self._last = snapshot.Snapshot(
            attempts=attempts, url=None if url is None else errors.redact(url)
        )
        self._retry_at = 0.0
        self._copy: Watched | None = None
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = (
            queue.SimpleQueue()
        )
        # A daemon: nothing may keep the program from ending.
        self._thread = threading.Thread(
            target=self._run, name='progress', daemon=True
        )

    def __enter__(self) -> Watch:
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

    def follow(self, copy: Watched) -> None:
        """Take the figures from this one from now on."""
        self._copy = copy

    def observe(self, event: events.Event) -> None:
        """Note an event of the download; from any thread, never blocks."""
        self._queue.put(lambda: self._note(event))

    def done(self, outcome: displays.Outcome) -> None:
        """Tell that the copy has succeeded."""
        self._queue.put(lambda: self._display.done(self._measure(), outcome))

    def failed(self, end: ending.Ending) -> None:
        """Tell that the copy has not succeeded."""
        self._queue.put(lambda: self._display.failed(self._measure(), end))

    def look(self) -> snapshot.Snapshot:
        """Look at the copy now."""
        seen = dataclasses.replace(
            self._last,
            rate=self._meter.rate,
            delay=max(0.0, self._retry_at - self._clock()),
            seconds=self._clock() - self._began,
        )
        if self._copy is None:
            return seen
        return dataclasses.replace(
            seen,
            received=self._copy.received,
            unpacked=self._copy.unpacked,
            written=self._copy.written,
            verified=self._copy.verified,
            phase=self._copy.phase,
            signer=self._copy.signer,
            stats=self._copy.stats,
        )

    def _measure(self) -> snapshot.Snapshot:
        """Take a sample of the rate, then look; on the thread alone."""
        seen = self.look()
        if seen.phase != self._phase:
            self._phase, self._meter = seen.phase, snapshot.Meter()
        self._meter.add(self._clock(), seen.count)
        return dataclasses.replace(seen, rate=self._meter.rate)

    def _note(self, event: events.Event) -> None:
        self._retry_at = self._clock() + (event.delay or 0.0)
        self._last = dataclasses.replace(
            self._last,
            url=event.url,
            length=event.length,
            attempt=event.attempt,
            attempts=event.attempts,
            error=event.error,
        )
        if event.kind == 'continued':
            LOG.info('%s', _continued(event))
        if event.kind == 'reused':
            LOG.info('%s', _reused(event))
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
