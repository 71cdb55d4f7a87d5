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
"""Which transfer brings which segment, and when.

One connection is one transfer of one segment that has no end. With several,
the representation is cut at multiples of the segment size; as many segments
as there are connections, and as the window holds, are brought at a time, and
the oldest never waits for a slow connection while another is idle.
"""

from __future__ import annotations

import collections
import logging
import math

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import exchange
from fuel_agent_curl.engine import reread
from fuel_agent_curl.engine import transfer
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources
from fuel_agent_curl.rules import states
from fuel_agent_curl.rules.states import State

LOG = logging.getLogger(__name__)

# A transfer is taken over when it would need this many times as long for the
# rest as others do, and this many seconds more: less is not worth a request.
_SLOW_FACTOR = 2.0
_SLOW_MARGIN = 0.1
# What is taken over is cut into pieces of about this, for as many others to
# bring at once: nothing goes on to the consumer before all of it is there.
_PIECE = octets.MIB
# Statuses by which a server says that there are too many connections.
_CROWDED = frozenset((429, 503))


class Plan:
    """The transfers of one download; lives on the network thread."""

    def __init__(self, context: exchange.Context) -> None:
        self._context = context
        self._window = context.window
        self._transfers: list[transfer.Transfer] = []
        # Whole chunks, so that each is brought by one transfer.
        chunk = context.window.chunk_size
        self._size = max(1, context.settings.segment // chunk) * chunk
        self._piece = max(1, _PIECE // chunk) * chunk
        # Room that makes going on with a full window worth it. Where that is
        # more than twice what is brought at a time, it is full because of the
        # consumer, from whom each burst takes the interpreter's lock: fewer
        # and longer ones then.
        spare = context.window.ample
        tight = context.settings.connections * self._size > spare
        self._ample = self._size if tight else max(self._size, spare // 2)
        self._full = False
        # One transfer brings all that remains.
        self._single = context.settings.connections == 1
        # First byte of no segment yet; None until the length is known.
        self._next: int | None = None
        # Segments given back, in the order of their offsets.
        self._returned: list[segments.Segment] = []
        self._turn = 0
        self._speeds: collections.deque[float] = collections.deque(maxlen=32)
        source = context.sources.best()
        assert source is not None
        self._add(
            source, segments.Segment(0, None if self._single else self._size)
        )

    def tick(self, now: float) -> float:
        """Do what is due; return the seconds until there is more to do.

        :raises errors.Error: if the download has failed.
        """
        wait = math.inf
        for moving in self._in_turn():
            wait = min(wait, moving.tick(now))
            if moving.state is State.FAILED:
                assert moving.error is not None
                raise moving.error
        self._settle_rivals()
        for moving in list(self._transfers):
            if moving.state not in states.UNDER_WAY:
                self._transfers.remove(moving)
                if moving.state is State.DONE:
                    self._brought(moving, now)
                wait = 0.0
        if not self._single and self._assign(now):
            wait = 0.0
        self._context.stats.received = self._context.received + sum(
            moving.receiving for moving in self._transfers
        )
        return wait

    def _in_turn(self) -> list[transfer.Transfer]:
        """Return the transfers, another one first each time.

        What there is of a limited rate goes to the first that asks, and a
        server hangs up on whoever never takes anything.
        """
        transfers = self._transfers
        self._turn = (self._turn + 1) % max(1, len(transfers))
        return transfers[self._turn :] + transfers[: self._turn]

    def finished(self, attempt: easy.Attempt, code: int, text: str) -> None:
        """Pass on the end of an attempt to the transfer it belongs to."""
        for moving in self._transfers:
            moving.finished(attempt, code, text)

    @property
    def done(self) -> bool:
        """Every byte is in the window."""
        if self._transfers or self._returned:
            return False
        length = self._context.length
        return self._single or (
            length is not None
            and self._next is not None
            and self._next >= length
        )

    # What a transfer asks for.

    def sole(self, moving: transfer.Transfer) -> bool:
        """Tell whether no byte but this transfer's is kept."""
        return (
            self._transfers == [moving]
            and not self._returned
            and not self._next
            # With it known, others are about to begin.
            and (self._single or self._context.length is None)
        )

    def alone(self, moving: transfer.Transfer) -> reread.HandedOn:
        """Drop all other transfers, forget what was not handed on."""
        for other in self._transfers:
            if other is not moving:
                other.drop()
        moving.rival = None
        self._transfers = [moving]
        self._returned = []
        self._next = None
        if not self._single:
            LOG.info('Going on with one connection')
        self._single = True
        return self._window.rewind()

    def takes_all(self, moving: transfer.Transfer) -> None:
        """The answer to the first range was a whole one: use it as it is."""
        if not self._single:
            LOG.info('The server has no ranges: one connection')
        self._single = True

    def gives_up(self, moving: transfer.Transfer, error: errors.Error) -> bool:
        """Tell whether a transfer that failed leaves its work to others.

        A server that lets only so many connections in refuses the rest:
        fewer are used then.
        """
        crowded = isinstance(error, errors.NetworkError) or (
            isinstance(error, errors.StatusError) and error.status in _CROWDED
        )
        there = [
            other
            for other in self._transfers
            if other.source is moving.source
            and other.state is State.ATTEMPTING
        ]
        if not crowded or there == [moving]:
            return False
        moving.source.crowded(len(there))
        LOG.info(
            'Going on with at most %d connections: %s',
            moving.source.most,
            error,
        )
        self._return(segments.Segment(moving.offset, moving.segment.stop))
        return True

    # Several connections.

    def _add(
        self,
        source: sources.Source,
        segment: segments.Segment,
        rival: transfer.Transfer | None = None,
    ) -> None:
        self._transfers.append(
            transfer.Transfer(self._context, self, source, segment, rival)
        )

    def _brought(self, moving: transfer.Transfer, now: float) -> None:
        speed = moving.speed(now)
        self._speeds.append(speed)
        moving.source.brought(speed)

    def _assign(self, now: float) -> bool:
        """Start what there is room for; tell whether anything was started."""
        length = self._context.length
        if length is None:
            return False
        if self._next is None:
            self._next = self._size
        started = False
        while len(self._transfers) < self._context.settings.connections:
            source = self._context.sources.best(self._busy())
            if source is None:
                break
            segment = self._next_segment(self._next, length)
            if segment is None:
                return self._take_over(now) or started
            self._add(source, segment)
            started = True
        return started

    def _return(self, *returned: segments.Segment) -> None:
        self._returned.extend(returned)
        self._returned.sort(key=lambda segment: segment.start)

    def _busy(self) -> list[sources.Source]:
        return [moving.source for moving in self._transfers]

    def _next_segment(
        self, start: int, length: int
    ) -> segments.Segment | None:
        if self._returned:
            return self._returned.pop(0)
        if start >= length:
            return None
        stop = min(start + self._size, length)
        room = min(start + self._ample, length) if self._full else stop
        self._full = not self._window.want(room)
        if self._full:
            return None
        self._next = stop
        return segments.Segment(start, stop)

    def _take_over(self, now: float) -> bool:
        """Ask once more for the rest of a slow segment, oldest first."""
        # The median; a module of its own for that would be slow to import.
        speeds = sorted(self._speeds) or [0.0]
        typical = speeds[len(speeds) // 2]
        if not typical:
            return False
        challenged = [
            moving.rival for moving in self._transfers if moving.rival
        ]
        for moving in sorted(self._transfers, key=lambda one: one.offset):
            stop = moving.segment.stop
            if stop is None or moving.rival or moving in challenged:
                continue
            # Each challenge makes the next come later: where all are slow,
            # the low-speed check has to get its time.
            patience = _SLOW_MARGIN * 2.0 ** min(moving.challenges, 32)
            usual = (stop - moving.offset) / typical
            if moving.needs(now, patience) > usual * _SLOW_FACTOR + patience:
                return self._challenge(moving, stop)
        return False

    def _challenge(self, moving: transfer.Transfer, stop: int) -> bool:
        choice, busy = self._context.sources, self._busy()
        source = choice.best(busy)
        if choice.joined:
            # Another mirror rather than the same once more.
            source = choice.best(busy, [moving.source]) or source
        if source is None:
            return False
        LOG.debug('Taking over the rest of %r', moving)
        moving.challenges += 1
        size = self._piece
        cut = (moving.offset + size + size // 2) // size * size
        segment = segments.Segment(moving.offset, min(cut, stop))
        self._add(source, segment, moving)
        self._transfers[-1].challenges = moving.challenges
        return True

    def _share(self, start: int | None, stop: int | None) -> None:
        """Have the rest of what was taken over brought in pieces."""
        if start is None or stop is None:
            return
        for begin in range(start, stop, self._piece):
            self._return(
                segments.Segment(begin, min(begin + self._piece, stop))
            )

    def _settle_rivals(self) -> None:
        for moving in self._transfers:
            rival = moving.rival
            if rival is None:
                continue
            if moving.ahead:
                rival.drop()
                moving.rival = None
                # Not before: one that fails leaves all to its rival.
                self._share(moving.segment.stop, rival.segment.stop)
            elif rival.state not in states.UNDER_WAY:
                moving.drop()
