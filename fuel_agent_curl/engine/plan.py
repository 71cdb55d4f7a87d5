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
as there are connections, and as the window holds, are brought at a time.
``takeover`` has what happens to a slow one, ``rules/hedge`` when another
mirror is asked as well.
"""

from __future__ import annotations

import logging
import math

from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import exchange
from fuel_agent_curl.engine import reread
from fuel_agent_curl.engine import takeover
from fuel_agent_curl.engine import transfer
from fuel_agent_curl.rules import hedge
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources

LOG = logging.getLogger(__name__)


class Plan:
    """The transfers of one download; lives on the network thread."""

    def __init__(self, context: exchange.Context) -> None:
        self._context = context
        self._window = context.window
        self._transfers: list[transfer.Transfer] = []
        # Whole chunks, so that each is brought by one transfer.
        chunk = context.window.chunk_size
        self._size = max(1, context.settings.segment // chunk) * chunk
        self._takeovers = takeover.Takeovers(chunk)
        self._hedge = hedge.Hedge(context.settings)
        # Who was asked for a sample of which the end was not noted yet.
        self._sampling: transfer.Rival | None = None
        # Room that makes going on with a full window worth it. Where that is
        # more than twice what is brought at a time, it is full because of the
        # consumer, from whom each burst takes the interpreter's lock: fewer
        # and longer ones then.
        spare = context.window.ample
        tight = context.settings.connections * self._size > spare
        self._ample = self._size if tight else max(self._size, spare // 2)
        self._full = False
        # One transfer brings all that remains.
        self._single = True
        # First byte of no segment yet; None until the length is known.
        self._next: int | None = None
        # Segments given back, in the order of their offsets.
        self._returned: list[segments.Segment] = []
        self._turn = 0
        source = context.sources.best()
        if not context.sources.joined:
            source = context.sources.owner or source
        assert source is not None
        self._add(source, self.restart())

    def tick(self, now: float) -> float:
        """Do what is due; return the seconds until there is more to do.

        :raises errors.Error: if the download has failed.
        """
        wait = math.inf
        for each in self._in_turn():
            wait = min(wait, each.tick(now))
            if each.state is transfer.State.FAILED:
                assert each.error is not None
                raise each.error
        if self._context.sources.several and self._ask_as_well(now):
            wait = 0.0
        self.take_back(*self._takeovers.settle(now))
        for each in list(self._transfers):
            if not each.under_way:
                self._transfers.remove(each)
                if each.state is transfer.State.DONE:
                    self._brought(each, now)
                wait = 0.0
        if not self._single:
            wait = min(wait, self._context.sources.wait(now))
            if self._assign(now):
                wait = 0.0
        self._context.stats.received = self._received()
        return wait

    def _received(self) -> int:
        """Return the body bytes that have arrived."""
        return self._context.received + sum(
            each.receiving for each in self._transfers
        )

    @property
    def brought(self) -> int:
        """Bytes that are there or were handed on, each counted once."""
        return self._context.window.brought + sum(
            each.unsettled for each in self._transfers
        )

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
        for each in self._transfers:
            each.finished(attempt, code, text)

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

    def close(self) -> None:
        """End every transfer; what they brought stays."""
        for each in self._transfers:
            each.drop()
        self._transfers = []

    # What a transfer asks for.

    def sole(self, asking: transfer.Transfer) -> bool:
        """Tell whether no byte but this transfer's is kept."""
        return (
            self._transfers == [asking]
            and not self._returned
            and not self._next
            # With it known, others are about to begin.
            and (self._single or self._context.length is None)
        )

    def go_alone(self, remaining: transfer.Transfer) -> reread.HandedOn:
        """Drop all other transfers, forget what was not handed on."""
        for other in self._transfers:
            if other is not remaining:
                other.drop()
        self._takeovers.forget()
        self._transfers = [remaining]
        self._returned = []
        self._next = None
        if not self._single:
            LOG.info('going on with one connection')
        self._single = True
        return self._window.rewind()

    def restart(self) -> segments.Segment:
        """Begin, or begin again, with nothing there; return the segment."""
        begin, length = self._context.begin, self._context.length
        self._single = self._context.settings.connections == 1
        if self._single:
            return segments.Segment(begin)
        stop = (begin // self._size + 1) * self._size
        if begin:
            stop = stop if length is None else min(stop, length)
            self._next = stop
        return segments.Segment(begin, stop)

    def take_all(self) -> None:
        """The answer to the first range was a whole one: use it as it is."""
        if not self._single:
            LOG.info('the server has no ranges: one connection')
        self._single = True

    def others(self, asking: transfer.Transfer) -> int:
        """Return how many more are asking the same mirror."""
        return sum(
            other.source is asking.source
            and other.state is transfer.State.ATTEMPTING
            for other in self._transfers
            if other is not asking
        )

    def take_back(self, *segments_: segments.Segment) -> None:
        """Have segments brought by others, in the order of their offsets."""
        self._returned.extend(segments_)
        self._returned.sort(key=lambda segment: segment.start)

    def help(self, remaining: transfer.Transfer) -> None:
        """Go on with several connections, where one was alone.

        What it had to read again, of another mirror, is proven.
        """
        length, settings = self._context.length, self._context.settings
        if settings.connections == 1 or length is None:
            return
        if not self._context.sources.serves_parts(remaining.source):
            return
        begin = (remaining.offset // self._size + 2) * self._size
        if begin < length and remaining.end_at(begin):
            LOG.info('going on with %d connections', settings.connections)
            self._single = False
            self._next = begin

    # Another mirror, asked as well.

    def _ask_as_well(self, now: float) -> bool:
        """Have another mirror asked where all are silent, slow, or slower.

        :return: one that was asked goes on.
        """
        first, hedge_ = self._first(), self._hedge
        for each in self._transfers:
            if each is not first:
                each.call_off()
        if first is None:
            return False
        arrived = sum(each.arrived for each in self._transfers)
        lost = hedge_.look(
            now,
            first.trial,
            first.source,
            arrived,
            self._received(),
            not first.paused,
        )
        if not lost and self._single and self._transfers == [first]:
            return self._compare(first, now)
        self._end_sample(first, now)
        if not lost:
            first.call_off()
            return False
        rival = first.rival
        if rival is not None and rival.ready():
            hedge_.settled(now, first.source, first.speed(now), rival.source)
            first.give_way(now, hedge_.error(lost))
            return True
        others = first.rivals(now)
        if rival is not None:
            if now < rival.watchdog.began + hedge_.patience(rival.source):
                return False
            others = [each for each in others if each is not rival.source]
        length = self._context.length
        source = hedge_.choose(
            now,
            lost,
            first.source,
            others,
            first.again,
            first.resent,
            length,
            None if length is None else length - first.offset,
        )
        if source is not None:
            if rival is not None:
                rival.source.penalty += 1
            hedge_.asked(source)
            first.ask_as_well(source, now)
        return False

    def _compare(self, first: transfer.Transfer, now: float) -> bool:
        """Have a sample of another mirror, or go on with one, that is better.

        :return: one that was asked goes on.
        """
        rival, hedge_ = first.rival, self._hedge
        length = self._context.length
        sampling = self._sampling
        if sampling is not None:
            late = now >= sampling.watchdog.began + hedge.COMPARED_FOR
            if rival is not sampling or sampling.ready() or late:
                self._end_sample(first, now)
        elif rival is None:
            found = hedge_.compare(
                now,
                lambda now: self._elsewhere(first, now),
                first.again,
                first.resent,
                length,
                None if length is None else length - first.offset,
            )
            if found is not None:
                self._try(first, now, *found)
        elif rival.source is not hedge_.better:
            first.call_off()
        elif rival.ready():
            again = first.again_of_rival()
            if again is not None and hedge_.is_cheap(
                again, first.resent, length
            ):
                error = hedge_.slower()
                hedge_.settled(now, first.source, hedge_.speed, rival.source)
                first.hand_over(error)
                return True
            self._leave_better(first, now)
        elif now >= rival.watchdog.began + hedge.COMPARED_FOR:
            self._leave_better(first, now)
        return False

    def _elsewhere(
        self, first: transfer.Transfer, now: float
    ) -> list[sources.Source]:
        """Return the mirrors that are on no server that is asked already.

        One more connection may be one too many there.
        """
        here = _origins(first.source)
        return [
            each
            for each in first.rivals(now)
            if here.isdisjoint(_origins(each))
        ]

    def _try(
        self,
        first: transfer.Transfer,
        now: float,
        source: sources.Source,
        sample: hedge.Sample | None,
    ) -> None:
        if sample is None:
            self._hedge.asked(source)
            first.ask_as_well(source, now, better=True)
            return
        first.ask_sample(source, now, sample)
        self._sampling = first.rival
        if self._sampling is None:
            self._hedge.sampled(now)

    def _end_sample(self, first: transfer.Transfer, now: float) -> None:
        """Note what has come of the sample, if there is one, and end it."""
        sampling, self._sampling = self._sampling, None
        if sampling is None:
            return
        self._hedge.sampled(now)
        if first.rival is sampling:
            first.call_off()

    def _leave_better(self, first: transfer.Transfer, now: float) -> None:
        assert first.rival is not None
        self._hedge.leave(now, first.rival.source)
        first.call_off()

    def _first(self) -> transfer.Transfer | None:
        """Return the transfer that all wait for, None if others see to it."""
        choice = self._context.sources
        if choice.joined and self._takeovers.typical:
            return None
        return min(
            (
                each
                for each in self._transfers
                if each.state is transfer.State.ATTEMPTING
                and not self._takeovers.has(each)
            ),
            key=lambda each: each.offset,
            default=None,
        )

    # Several connections.

    def _add(
        self,
        source: sources.Source,
        segment: segments.Segment,
        challenge: takeover.Challenge | None = None,
    ) -> transfer.Transfer:
        added = transfer.Transfer(
            self._context, self, source, segment, challenge
        )
        self._transfers.append(added)
        return added

    def _brought(self, ended: transfer.Transfer, now: float) -> None:
        speed = ended.speed(now)
        self._takeovers.brought(speed)
        ended.source.brought(speed)

    def _assign(self, now: float) -> bool:
        """Start what there is room for; tell whether anything was started."""
        length = self._context.length
        if length is None or not self._context.sources.begun:
            return False
        if self._next is None:
            self._next = self._size
        started = False
        while len(self._transfers) < self._context.settings.connections:
            source = self._context.sources.best(now, self._busy())
            if source is None:
                break
            segment = self._next_segment(self._next, length)
            if segment is None:
                return self._take_over(now) or started
            self._add(source, segment)
            started = True
        return started

    def _busy(self) -> list[sources.Source]:
        return [each.source for each in self._transfers]

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
        slow = self._takeovers.slow(self._transfers, now)
        if slow is None:
            return False
        choice, busy = self._context.sources, self._busy()
        source = choice.best(now, busy)
        if choice.joined:
            # Another mirror rather than the same once more.
            source = choice.best(now, busy, [slow.source]) or source
        if source is None:
            return False
        challenge = takeover.Challenge(slow)
        challenge.challenger = self._add(
            source, self._takeovers.first_piece(slow), challenge
        )
        self._takeovers.add(challenge)
        return True


def _origins(source: sources.Source) -> set[redirects.Origin]:
    """Return the servers that requests to the mirror go to."""
    origins = {address.read(source.url).origin}
    if source.location is not None:
        origins.add(source.location.origin)
    return origins
