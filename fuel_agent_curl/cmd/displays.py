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

"""What shows how far a copy has got: a bar, log lines, JSON, nothing."""

from __future__ import annotations

import dataclasses
import logging
import os
import sys
import threading
import typing

from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import output
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.rules import events

LOG = logging.getLogger(__name__)

# How long nothing may be read of the last object before it is given up.
_PATIENCE = 1.0


#: What a copy has done: the ``container``, what was ``checked``, and the
#: ``plan`` of a dry run; see ``records.DONE``.
Outcome = dict[str, typing.Any]


class Display:
    """Shows nothing, and says what the others show."""

    #: Seconds between two calls of ``update``; None: never.
    interval: float | None = None
    #: Nothing more is shown.
    closed = False

    def update(self, seen: snapshot.Snapshot) -> None:
        """Show how far it is, every ``interval`` seconds."""

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Show that something happened (the kinds of ``events.Event``)."""

    def done(self, seen: snapshot.Snapshot, outcome: Outcome) -> None:
        """Show the successful end."""

    def failed(self, seen: snapshot.Snapshot, end: ending.Ending) -> None:
        """Show the other end."""

    def close(self) -> None:
        """Give the terminal back; called once, last."""
        self.closed = True


class LogDisplay(Display):
    """Log lines, few of them: for journals and files."""

    interval = 10.0

    def update(self, seen: snapshot.Snapshot) -> None:
        """Log how far it is."""
        if seen.length is None and seen.count == 0:
            return
        if is_pending(sys.stderr):
            return
        percent = seen.percent
        LOG.info(
            '%s%s, %s',
            seen.amount(),
            '' if percent is None else ' (%d%%)' % percent,
            seen.pace(),
        )

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Log what happened; the download itself logs every retry."""
        if event.kind == 'started':
            LOG.info(
                'the server answers: %s',
                'length unknown'
                if seen.length is None
                else wording.size(seen.length),
            )
        elif event.kind == 'resumed':
            LOG.info('resumed at byte %d', event.offset)
        elif event.kind == 'restarted':
            LOG.info('started again at byte 0')
        elif event.kind == 'reread':
            LOG.info('no proof for a resume: reading again, to compare')


class JsonDisplay(Display):
    """One object a line on a descriptor, each written at once.

    After the last, 'done' or 'failed', there is no other. An object that
    tells how far it is, is dropped while the reader is behind.
    """

    interval = 1.0

    def __init__(self, descriptor: int = 1) -> None:
        self._output = output.Output(descriptor, 'ascii')
        if descriptor > 2:
            # It is ours, and no child's.
            os.set_inheritable(descriptor, False)
        self._ended = False
        self._warned = False

    def update(self, seen: snapshot.Snapshot) -> None:
        """Print a progress object."""
        if not self._output.pending:
            self._print('progress', seen)

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Print what happened."""
        self._print(
            event.kind,
            seen,
            offset=event.offset,
            delay=round(event.delay, 3),
            compared=event.compared,
            saved=event.saved,
            missing=event.missing,
        )

    def done(self, seen: snapshot.Snapshot, outcome: Outcome) -> None:
        """Print the last object of a copy that succeeded."""
        end: dict[str, typing.Any] = {
            'error': None,
            'exit_code': 0,
            'target_state': (
                'complete' if outcome['plan'] is None else 'untouched'
            ),
            'signer': seen.signer and dataclasses.asdict(seen.signer),
        }
        self._print('done', seen, **end, **outcome)
        self._ended = True

    def failed(self, seen: snapshot.Snapshot, end: ending.Ending) -> None:
        """Print the last object of a copy that failed."""
        self._print(
            'failed',
            seen,
            error=end.text,
            exit_code=end.exit_code,
            target_state=end.target_state,
            continues_at=end.continues_at,
        )
        self._ended = True

    def close(self) -> None:
        """Wait until the last object is printed, or nobody reads it."""
        super().close()
        self._output.drain(_PATIENCE)
        self._warn()
        self._output.close()

    def _print(
        self, event: str, seen: snapshot.Snapshot, **more: typing.Any
    ) -> None:
        # Here: nothing else needs it.
        from fuel_agent_curl.cmd import records

        if not self._ended:
            values = seen.values() | more
            self._output.write(records.line('copy', event, values) + '\n')
            self._warn()

    def _warn(self) -> None:
        # A display that cannot be written never ends the copy.
        error = self._output.error
        if error is not None and not self._warned:
            self._warned = True
            LOG.warning(
                'the progress cannot be printed any more: %s', error.strerror
            )


class BarDisplay(Display):
    """A bar on a terminal."""

    interval = 0.2

    def __init__(self, stream: typing.TextIO) -> None:
        # What is meant for other programs would change the bar, or, where it
        # is no number, have the import fail.
        for name in [each for each in os.environ if each[:5] == 'TQDM_']:
            del os.environ[name]
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
        self._stream = stream
        self._bar = tqdm(
            file=stream,
            leave=False,
            dynamic_ncols=known,
            ncols=None if known else 80,
            nrows=None if known else 24,
            bar_format='{desc}',
        )

    def update(self, seen: snapshot.Snapshot) -> None:
        """Draw the bar anew, where it is in nobody's way."""
        if is_pending(self._stream) or _is_background(self._stream):
            return
        trouble = seen.trouble()
        percent = seen.percent
        if percent is not None:
            self._bar.n, self._bar.total = percent, 100
            # An error is shown in the place of the bar.
            bar = '{n:3d}%| {desc}' if trouble else '{n:3d}%|{bar:20}| {desc}'
            self._bar.bar_format = bar
        if trouble:
            text = trouble
        elif percent is None and not seen.count:
            text = 'waiting for the server'
        else:
            text = '%s, %s' % (seen.amount(), seen.pace())
        self._bar.set_description_str(text, refresh=False)
        self._bar.refresh()

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Draw the bar anew, at once."""
        self.update(seen)

    def close(self) -> None:
        """Remove the bar."""
        super().close()
        self._bar.close()
        self._redirect.__exit__(None, None, None)


class Several(Display):
    """Shows it in several ways at the same time."""

    def __init__(self, *displays: Display) -> None:
        self._displays = displays
        known = [each.interval for each in displays if each.interval]
        self.interval = min(known, default=None)
        self._shortest = self.interval or 1.0
        self._turn = 0

    def update(self, seen: snapshot.Snapshot) -> None:
        """Have each show it as often as it wants to."""
        for each in self._displays:
            wanted = each.interval
            if wanted and self._turn % round(wanted / self._shortest) == 0:
                each.update(seen)
        self._turn += 1

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Have each show it."""
        for each in self._displays:
            each.event(event, seen)

    def done(self, seen: snapshot.Snapshot, outcome: Outcome) -> None:
        """Have each show it."""
        for each in self._displays:
            each.done(seen, outcome)

    def failed(self, seen: snapshot.Snapshot, end: ending.Ending) -> None:
        """Have each show it."""
        for each in self._displays:
            each.failed(seen, end)

    def close(self) -> None:
        """Close each."""
        super().close()
        for each in self._displays:
            each.close()


def is_pending(stream: typing.TextIO) -> bool:
    """Tell whether what was written to ``stream`` has not been read yet."""
    return getattr(stream, 'pending', False)


def _is_background(stream: typing.TextIO) -> bool:
    """Tell whether the terminal is another job's (the shell's, mostly)."""
    try:
        return os.tcgetpgrp(stream.fileno()) != os.getpgrp()
    except OSError:
        # It is no controlling terminal of ours.
        return False


def _knows_its_size(stream: typing.TextIO) -> bool:
    """Tell whether the terminal has a size; a serial console has 0 by 0."""
    try:
        return all(os.get_terminal_size(stream.fileno()))
    except OSError:
        return False


def _is_dumb() -> bool:
    """Tell whether the terminal says that it cannot go back in a line."""
    return os.environ.get('TERM') == 'dumb'


def display(kind: str, json_on: int | None = None) -> Display:
    """Return the display for a value of ``--progress``.

    :param json_on: the descriptor that objects are printed to; None: there
        is none. On standard error there is nothing else then.
    """
    if json_on is not None:
        if kind in ('json', 'none') or json_on == 2:
            return JsonDisplay(json_on)
        shown = display(kind)
        return Several(shown, JsonDisplay(json_on))
    if kind == 'none':
        return Display()
    if kind == 'bar' or (sys.stderr.isatty() and not _is_dumb()):
        return BarDisplay(sys.stderr)
    return LogDisplay()
