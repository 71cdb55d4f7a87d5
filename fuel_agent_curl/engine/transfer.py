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

"""One transfer: a segment brought in, attempt after attempt.

A state machine; ``TRANSITIONS`` is its table. What an answer proves is
decided in ``answer``, what follows a failure in ``recovery``, which mirror is
asked and how in ``sources``; each request is an ``exchange``.
"""

from __future__ import annotations

import dataclasses
import enum
import logging
import math
import time
from typing import Protocol

from fuel_agent_curl import errors
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import exchange
from fuel_agent_curl.engine import reread
from fuel_agent_curl.rules import hedge
from fuel_agent_curl.rules import recovery
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources as sources_module
from fuel_agent_curl.rules import watchdog
from fuel_agent_curl.rules.recovery import Then

LOG = logging.getLogger(__name__)

# How often a transfer under way is looked at, in seconds: at the least, and
# while its bytes are coming in.
_TICK = 0.25
_LOOK = 0.125


class State(enum.Enum):
    """Where a transfer stands."""

    #: To make a request, at once or when that is due.
    WAITING = enum.auto()
    ATTEMPTING = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()
    #: Another transfer does the work.
    DROPPED = enum.auto()


TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.WAITING: (State.ATTEMPTING, State.FAILED, State.DROPPED),
    State.ATTEMPTING: (
        State.WAITING,
        State.DONE,
        State.FAILED,
        State.DROPPED,
    ),
    State.DONE: (),
    State.FAILED: (),
    State.DROPPED: (),
}


def move(state: State, to: State) -> State:
    """Return the state ``to``.

    :raises RuntimeError: if the table has no such transition: a bug.
    """
    if to not in TRANSITIONS[state]:
        raise RuntimeError(
            'a transfer cannot go from %s to %s' % (state.name, to.name)
        )
    return to


class Plan(Protocol):
    """What a transfer needs of ``plan.Plan``."""

    def sole(self, transfer: Transfer) -> bool:
        """Tell whether no byte but this transfer's is kept."""

    def go_alone(self, transfer: Transfer) -> reread.HandedOn:
        """Drop all others, forget what was not handed on; return what was.

        The transfer is to bring all that remains.
        """

    def restart(self) -> segments.Segment:
        """Begin again, with the only transfer left; return its segment."""

    def take_all(self) -> None:
        """The only transfer there is receives all that remains."""

    def others(self, transfer: Transfer) -> int:
        """Return how many more are asking the same mirror."""

    def take_back(self, segment: segments.Segment) -> None:
        """Others are to bring it."""

    def help(self, transfer: Transfer) -> None:
        """What was read again is proven: others may bring what follows."""


class Challenge(Protocol):
    """What a transfer needs of ``takeover.Challenge``."""

    won: bool

    def start(self, offset: int, segment: segments.Segment) -> int:
        """Its first byte is here; return the offset that it goes on at."""


@dataclasses.dataclass
class Rival:
    """Another mirror that is asked for the same bytes, until one has them.

    :ivar kept: bytes are kept that those of its answer are to join ...
    :ivar rereads: ... and it sends them once more, to be compared.
    :ivar better: it is known to be faster than what it is to replace.
    :ivar sample: it is merely tried, and brings nothing.
    :ivar ended: no more of the sample comes.
    """

    source: sources_module.Source
    exchange: exchange.Exchange
    watchdog: watchdog.Watchdog
    kept: bool
    rereads: bool
    better: bool
    sample: hedge.Sample | None
    ended: bool = False

    def ready(self) -> bool:
        """Tell whether its first byte is here, or what comes of the sample."""
        return self.ended or self.exchange.reception.ready


class Transfer:
    """Brings one segment into the window; lives on the network thread.

    :param challenge: it is to take these bytes over from another transfer,
        which goes on bringing them meanwhile.
    :ivar error: why it failed.
    :ivar rival: the mirror that is asked as well, None while none is.
    """

    def __init__(
        self,
        context: exchange.Context,
        plan: Plan,
        source: sources_module.Source,
        segment: segments.Segment,
        challenge: Challenge | None = None,
    ) -> None:
        self.state = State.WAITING
        self.segment = segment
        self._challenge = challenge
        self._overtaken = False
        self.error: errors.Error | None = None
        self.rival: Rival | None = None
        self._context = context
        settings = self._settings = context.settings
        self._plan = plan
        self._recovery = recovery.Recovery(
            settings, context.sources, source, context.stats, context.random
        )
        self._offset = segment.start
        # The highest offset before this attempt: only what is beyond it is
        # new, however often the rest is read again. Of what is read again
        # elsewhere, what is beyond all that was compared there.
        self._highest = segment.start
        self._reached = 0
        # What was there of this representation, and is brought again for want
        # of a proof.
        self._forgotten = 0
        self._due = 0.0
        # When an exchange that needs nobody is to be looked at all the same.
        self._look_at = 0.0
        self._exchange: exchange.Exchange | None = None
        # The next request goes on where one that ended well left off.
        self._chained = False
        self._watchdog = watchdog.Watchdog(self._settings, 0.0, 0)

    def __repr__(self) -> str:
        return '<Transfer %s at byte %d of %r, attempt %d, %s>' % (
            self.state.name,
            self.offset,
            self.segment,
            self._recovery.attempt,
            errors.redact(self.source.url),
        )

    @property
    def source(self) -> sources_module.Source:
        """The mirror that it asks."""
        return self._recovery.source

    @property
    def under_way(self) -> bool:
        """Whether it has not come to an end."""
        return bool(TRANSITIONS[self.state])

    @property
    def offset(self) -> int:
        """Next byte of the representation to be received."""
        if self._exchange:
            return self._exchange.reception.offset
        return self._offset

    @property
    def receiving(self) -> int:
        """Body bytes of what is under way."""
        return sum(each.reception.received for each in self._exchanges())

    @property
    def unsettled(self) -> int:
        """Those of them in place that the window has not been told of."""
        return self._exchange.reception.unsettled if self._exchange else 0

    def _exchanges(self) -> list[exchange.Exchange]:
        rival = self.rival and self.rival.exchange
        return [each for each in (self._exchange, rival) if each]

    @property
    def arrived(self) -> int:
        """Bytes of the attempt under way, those of heads included."""
        return self._exchange.received if self._exchange else 0

    @property
    def paused(self) -> bool:
        """Whether it waits for room or for budget, not for its server."""
        return self._exchange is not None and self._exchange.paused

    @property
    def trial(self) -> object:
        """What differs from one attempt to the next."""
        return self._watchdog

    def speed(self, now: float) -> float:
        """Bytes per second of the attempt under way, or of the last."""
        return self._watchdog.speed(now, self.offset)

    def needs(self, now: float, patience: float) -> float:
        """Return the seconds to the end of the segment at this speed.

        0 where that cannot be told, or the answer would be no use.

        :param patience: seconds that an attempt is given to show its speed.
        """
        stop = self.segment.stop
        # One that is paused has to wait for us, not for its server.
        if not self._exchange or self._exchange.paused or stop is None:
            return 0.0
        return self._watchdog.needs(now, self.offset, stop, patience)

    # What the plan calls.

    def tick(self, now: float) -> float:
        """Do what is due; return the seconds until there is more to do."""
        if self._overtaken:
            self.drop()
        if not self.under_way:
            return math.inf
        if self._exchange and self._exchange.receiving:
            # As with many connections nearly every time.
            if now < self._look_at:
                return self._look_at - now
            self._look_at = min(now + _LOOK, self._context.deadline)
        else:
            # Seen at once is what it was waited for: a first byte, room.
            self._look_at = 0.0
        if self._exchange and self._exchange.reception.at_end():
            self._complete()
            return 0.0
        if now >= self._context.deadline:
            self._fail(self._recovery.too_late())
        elif self._exchange and self._exchange.reception.part_ended():
            self._go_on(self._exchange)
        elif self._exchange:
            self._watch_rival(now)
            error = self._exchange.watch(now, self._watchdog)
            if error is not None:
                self._failed(self._exchange, error)
        elif now >= self._due:
            self._due = now + self._recovery.postponed(now, self._kept())
            if now >= self._due:
                self._start(now)
        if self.state is State.WAITING:
            return max(0.0, min(self._due, self._context.deadline) - now)
        if self.state is not State.ATTEMPTING:
            return 0.0
        return min(_TICK, self._context.budget.wait(now) or _TICK)

    def finished(self, attempt: easy.Attempt, code: int, text: str) -> None:
        """Take the end of an attempt: CURLcode and error text."""
        rival = self.rival
        if rival is not None and rival.exchange.is_of(attempt):
            if rival.sample is not None:
                rival.ended = True
                return
            error = rival.exchange.result(code, text)
            if error is not None:
                self._rival_failed(rival, error)
            return
        under_way = self._exchange
        if under_way is None or not under_way.is_of(attempt):
            return
        if self._overtaken:
            self.drop()
            return
        error = under_way.result(code, text)
        if under_way.reception.at_end():
            self._complete()
        elif error is not None:
            self._failed(under_way, error)
        else:
            self._go_on(under_way)

    def _go_on(self, ended: exchange.Exchange) -> None:
        """Ask for the next part: the server caps its ranges.

        It is one attempt still, so that the low-speed check sees the parts
        together. One that brings nothing that was not there before has
        failed: the next would be the same, without end.
        """
        if ended.reception.offset <= max(self._offset, self._forgotten):
            error = errors.ContentRangeError(
                'the part sent ends before what is missing'
            )
            self._failed(ended, error)
            return
        received = ended.received
        self._end_attempt()
        self._watchdog.continued(time.monotonic(), self._offset, received)
        self._chained = True
        self._move(State.WAITING)

    def drop(self) -> None:
        """End it; what it brought stays."""
        if self.under_way:
            exchange_ = self._exchange
            if self._overtaken and exchange_ and not exchange_.received:
                # Its connection may be dead, and each that comes over it be
                # taken over before the low-speed check sees that.
                exchange_.leave_connection()
            self._end_attempt()
            self._move(State.DROPPED)

    def stand_down(self) -> int:
        """Take no more bytes; return the offset another goes on at."""
        self._overtaken = True
        if self._exchange:
            self._exchange.reception.close()
        return self.offset

    # One attempt.

    def _start(self, now: float) -> None:
        try:
            request, comparison = self._next_request()
        except errors.CannotContinue as error:
            self._fail(error)
            return
        if not self._chained:
            self._highest = max(self._highest, self._offset)
            self._reached = self.source.reached
            self._watchdog = self._watch(self.source, now, self._offset)
        self._chained = False
        self._move(State.ATTEMPTING)
        try:
            self._exchange = self._make_exchange(
                self.source,
                request,
                kept=self._kept(),
                offset=self._offset,
                comparison=comparison,
                fresh=self._recovery.fresh,
            )
        except errors.Error as error:
            self._fail(error)
            return
        self._recovery.fresh = False
        self._exchange.begin()

    def _make_exchange(
        self,
        source: sources_module.Source,
        request: segments.Request,
        *,
        kept: bool,
        offset: int,
        comparison: reread.Comparison | None,
        fresh: bool,
        rival: bool = False,
        sample: hedge.Sample | None = None,
    ) -> exchange.Exchange:
        return exchange.Exchange(
            self._context,
            source,
            request,
            kept=kept,
            segment=self.segment,
            offset=offset,
            reread=comparison,
            fresh=fresh,
            rival=rival,
            sample=sample,
            on_accept=self._accepted,
            on_prove=self._proven,
            on_start=self._body_started,
        )

    def _watch(
        self, source: sources_module.Source, now: float, offset: int
    ) -> watchdog.Watchdog:
        return watchdog.Watchdog(
            self._settings, now, offset, source.patience, source.silence
        )

    def _next_request(
        self,
    ) -> tuple[segments.Request, reread.Comparison | None]:
        if not self._offset and self.segment.stop is None:
            return segments.Request(), None
        choice, kept = self._context.sources, self._kept()
        request = choice.request(
            self.source, self._offset, self.segment.stop, kept
        )
        if request is not None:
            return request, None
        # Without a proof: read again, and compare what was handed on. What
        # was not is forgotten, it comes again anyway.
        other = self.source is not choice.owner
        if self._context.begin:
            raise errors.CannotContinue(
                'the server does not prove that it goes on at byte %d'
                % self._offset
            )
        handed_on = self._go_alone()
        if not handed_on.length:
            return self._from_the_beginning(other), None
        self._report('reread')
        request = choice.reread(
            self.source, handed_on.checkpoint(self.source.agreed)
        )
        return request, reread.Comparison(handed_on, request.start)

    def _from_the_beginning(self, other: bool) -> segments.Request:
        """Return the first request, with nothing kept.

        :param other: of another mirror, that may prove more than the last.
        """
        request = None
        if other:
            self._context.forget()
            self._forgotten = 0
            self.segment = self._plan.restart()
        if self.segment.stop is not None:
            request = self._context.sources.request(
                self.source, 0, self.segment.stop, False
            )
        return request or segments.Request()

    def _kept(self) -> bool:
        return self.offset > 0 or not self._plan.sole(self)

    def _go_alone(self) -> reread.HandedOn:
        self._highest = max(self._highest, self._offset)
        self._forgotten = max(self._forgotten, self._offset)
        handed_on = self._plan.go_alone(self)
        self._challenge = None
        self.segment = segments.Segment()
        self._offset = handed_on.length
        return handed_on

    def _restart(self) -> None:
        # What was not handed on when that was looked at may be by now: then
        # the next attempt fails, and finally.
        if not self._go_alone().length:
            self._context.forget()
            self._forgotten = 0
            self.segment = self._plan.restart()

    def _accepted(self, under_way: exchange.Exchange, first: bool) -> None:
        if under_way.reception.stop is None:
            self.segment = segments.Segment(self.segment.start)
            self._plan.take_all()
        self._recovery.accepted(time.monotonic())
        if first:
            self._report('started')
        elif self._offset:
            # Else it is merely where the segment begins.
            if self._offset > self.segment.start:
                self._context.stats.resumes += 1
                self._report('resumed')
        else:
            self._report('restarted')

    def _proven(self) -> None:
        self._plan.help(self)

    def end_at(self, stop: int) -> bool:
        """Bring the bytes up to ``stop`` only; False where it cannot."""
        judgement = self._exchange and self._exchange.reception.judgement
        if not self._exchange or not judgement or judgement.stop is None:
            return False
        self.segment = segments.Segment(self.segment.start, stop)
        self._exchange.reception.stop = stop
        return True

    def _body_started(self, offset: int) -> int:
        if self._challenge is None:
            return offset
        offset = self._challenge.start(offset, self.segment)
        # Once: the offset of an attempt to come, after a piece that did not
        # match, may be before what the other one had brought.
        self._challenge = None
        return offset

    @property
    def _challenging(self) -> bool:
        return self._challenge is not None and not self._challenge.won

    def _end_attempt(self) -> None:
        if self._exchange is not None:
            self.source.silence = self._watchdog.silence
            waited = self._watchdog.waited
            if waited is not None and waited < self._settings.low_speed_time:
                self.source.patience = 1.0
            self._offset = self._exchange.end()
            self._exchange = None

    # Another mirror, asked as well.

    def rivals(self, now: float) -> list[sources_module.Source]:
        """Return the mirrors that may be asked as well, the best first."""
        return [
            each
            for each in self._recovery.rivals(now)
            if not self._context.begin or not self._sends_again(each)
        ]

    def again(self, source: sources_module.Source) -> int:
        """Return the bytes that it would have to send again.

        What other transfers have brought are among them.
        """
        if not self._sends_again(source):
            return 0
        return max(self.offset, self._context.stats.received - self.resent)

    @property
    def resent(self) -> int:
        """Bytes that mirrors were asked to send once more, samples too."""
        return self._recovery.resent

    def again_of_rival(self) -> int | None:
        """Return the bytes that the rival would send once more, going on.

        None where its answer does not fit to what is there.
        """
        rival = self.rival
        assert rival is not None
        if rival.rereads:
            return self.again(rival.source)
        if not rival.kept or rival.exchange.request.start > self.offset:
            return None
        return self.offset - rival.exchange.request.start

    def _sends_again(self, source: sources_module.Source) -> bool:
        return self._kept() and self._request_to(source) is None

    def _request_to(
        self, source: sources_module.Source
    ) -> segments.Request | None:
        return self._context.sources.request(
            source, self.offset, self.segment.stop, self._kept()
        )

    def ask_as_well(
        self, source: sources_module.Source, now: float, better: bool = False
    ) -> None:
        """Ask another mirror for the same bytes; see ``Plan``."""
        kept, request = self._kept(), None
        if kept or self.segment.stop is not None:
            request = self._request_to(source)
        LOG.info(
            '%s is silent or slow, or there is better; asking %s as well',
            errors.redact(self.source.url),
            errors.redact(source.url),
        )
        self._ask_rival(source, now, request, kept, better=better)

    def ask_sample(
        self,
        source: sources_module.Source,
        now: float,
        sample: hedge.Sample,
    ) -> None:
        """Ask another mirror for bytes that are dropped; see ``Plan``."""
        start = self.offset
        request = segments.Request(start, start + sample.wanted, ranged=True)
        LOG.debug('a sample of %s', errors.redact(source.url))
        self._ask_rival(source, now, request, False, sample=sample)
        if self.rival is not None:
            self._recovery.resent += sample.wanted

    def _ask_rival(
        self,
        source: sources_module.Source,
        now: float,
        request: segments.Request | None,
        kept: bool,
        *,
        better: bool = False,
        sample: hedge.Sample | None = None,
    ) -> None:
        self.call_off()
        try:
            under_way = self._make_exchange(
                source,
                request or segments.Request(),
                kept=kept,
                offset=self.offset if request else 0,
                comparison=None,
                fresh=True,
                rival=True,
                sample=sample,
            )
        except errors.Error as error:
            # What cannot be asked at all.
            if sample is None:
                source.error = error
            return
        self.rival = Rival(
            source,
            under_way,
            self._watch(source, now, self.offset),
            kept,
            rereads=kept and request is None,
            better=better,
            sample=sample,
        )
        under_way.begin()

    def call_off(self) -> None:
        """End the rival, if there is one."""
        rival, self.rival = self.rival, None
        if rival is not None:
            rival.exchange.end()
            if rival.sample:
                self._recovery.resent -= rival.sample.left

    def _watch_rival(self, now: float) -> None:
        rival = self.rival
        if rival is None or rival.sample is not None or rival.ready():
            return
        error = rival.exchange.watch(now, rival.watchdog)
        if error is not None:
            self._rival_failed(rival, error)

    def _rival_failed(self, rival: Rival, error: errors.Error) -> None:
        self.call_off()
        LOG.info('%s: %s', errors.redact(rival.source.url), error)
        now = time.monotonic()
        failure = self._failure(rival.exchange, error, now)
        failure = dataclasses.replace(
            failure, new=0, seconds=now - rival.watchdog.began
        )
        self._recovery.rival_failed(rival.source, failure)

    def hand_over(self, error: errors.Error) -> None:
        """End an attempt that is well: the rival is faster, and fits.

        :param error: that says so.
        """
        rival = self.rival
        assert rival is not None
        self._end_attempt()
        self._recovery.annotate(error, self._offset)
        LOG.info('%s; %s', error, errors.redact(rival.source.url))
        self._go_on_with(rival, error)

    def give_way(self, now: float, error: errors.Error) -> None:
        """End the attempt: the rival has the first of the bytes.

        :param error: what is wrong with it.
        """
        rival, loser = self.rival, self._exchange
        assert rival is not None and loser is not None
        loser.leave_connection()
        self._end_attempt()
        self._recovery.annotate(error, self._offset)
        failure = self._failure(loser, error, now)
        self._recovery.overtaken(failure, rival.source)
        if self._fits(rival):
            self._replace(rival, error)
        else:
            self._due = now
            self._move(State.WAITING)

    def _fits(self, rival: Rival) -> bool:
        """Tell whether the bytes of the rival join those that are there."""
        if not rival.kept:
            return not self._kept()
        # Less may be there than was, where a piece did not match.
        return rival.exchange.request.start <= self._offset

    def _replace(self, rival: Rival, error: errors.Error) -> None:
        """Have the rival bring the bytes, in the place of what failed."""
        LOG.warning('%s; trying %s', error, errors.redact(rival.source.url))
        self._go_on_with(rival, error)

    def _go_on_with(self, rival: Rival, error: errors.Error) -> None:
        """Have the rival bring the bytes, in the place of what has ended."""
        self.rival = None
        self._recovery.source = rival.source
        self._report('failover', error)
        comparison, kept = None, rival.kept
        self._highest = max(self._highest, self._offset)
        self._reached = rival.source.reached
        if rival.rereads:
            self._recovery.resent += self.again(rival.source)
            handed_on = self._go_alone()
            kept = handed_on.length > 0
            if kept:
                comparison = reread.Comparison(handed_on)
                self._report('reread')
        elif kept:
            start = rival.exchange.request.start
            self._recovery.resent += self._offset - start
        self._exchange, self._watchdog = rival.exchange, rival.watchdog
        self._exchange.admit(self._offset, kept, comparison)

    # What follows.

    def _failed(self, ended: exchange.Exchange, error: errors.Error) -> None:
        if isinstance(error, errors.Stalled):
            ended.leave_connection()
        self._end_attempt()
        self._recovery.annotate(error, self._offset)
        now, source = time.monotonic(), self.source
        if (
            self._context.begin
            and len(self._context.sources.usable) == 1
            and isinstance(error, errors.RepresentationChanged)
        ):
            # Whatever it is by now, all of it has to come again.
            self._fail(error)
            return
        step = self._recovery.failed(self._failure(ended, error, now))
        if step.restart:
            self._restart()
        if self.rival is not None and self._is_replaced(step, self.rival):
            self._replace(self.rival, error)
        elif step.then is Then.FAIL:
            self._fail(step.error or error)
        elif step.then is Then.LEAVE:
            if not self._challenging:
                LOG.info('going on with fewer connections: %s', error)
                self._plan.take_back(
                    segments.Segment(self._offset, self.segment.stop)
                )
            self._move(State.DROPPED)
        else:
            self._due = now + step.delay
            self._move(State.WAITING)
            self._tell(step, error, source)

    def _is_replaced(self, step: recovery.Step, rival: Rival) -> bool:
        """Tell whether the rival takes the place of an attempt that failed.

        Where another is to be asked at once, not for as long as it is silent.
        """
        is_next = (
            rival.ready()
            or rival.better
            or rival.source is self.source
            or step.delay > 0
            or step.then is Then.FAIL
        )
        return (
            step.failed
            and not step.restart
            and step.then is not Then.LEAVE
            and rival.sample is None
            and not isinstance(step.error, errors.DeadlineExceeded)
            and is_next
            and self._fits(rival)
        )

    def _failure(
        self, ended: exchange.Exchange, error: errors.Error, now: float
    ) -> recovery.Failure:
        stop = self.segment.stop
        if stop is None:
            stop = self._context.length
        return recovery.Failure(
            error,
            judgement=ended.reception.judgement,
            ranged=ended.request.ranged,
            redirected=ended.redirected,
            challenging=self._challenging,
            others=self._plan.others(self),
            empty=not ended.reception.received,
            new=max(
                self._offset - self._highest,
                self.source.reached - self._reached,
            ),
            seconds=now - self._watchdog.began,
            offset=self._offset,
            missing=None if stop is None else stop - self._offset,
            handed_on=self._context.window.handed_on,
            kept=self._kept(),
            now=now,
            left=self._context.deadline - now,
        )

    def _tell(
        self,
        step: recovery.Step,
        error: errors.Error,
        before: sources_module.Source,
    ) -> None:
        """Say what follows an attempt that failed."""
        if not step.failed:
            LOG.info('%s: asking in another way', error)
        elif self.source is not before and not step.delay:
            LOG.warning('%s; trying %s', error, errors.redact(self.source.url))
            self._report('failover', error)
        else:
            LOG.warning('%s; next attempt in %.1f s', error, step.delay)
            self._report('retry', error, step.delay)

    def _complete(self) -> None:
        if self._exchange:
            self._exchange.complete()
        self._end_attempt()
        self._move(State.DONE)

    def _fail(self, error: errors.Error) -> None:
        self._end_attempt()
        if self._context.begin and isinstance(
            error, errors.RepresentationChanged
        ):
            changed, error = error, errors.CannotContinue(error.message)
            error.__cause__ = changed
        self._recovery.annotate(error, self._offset)
        self.error = error
        self._move(State.FAILED)

    def _move(self, to: State) -> None:
        self.state = move(self.state, to)
        rival = self.rival
        # Several parts are one attempt, and a sample is of none.
        if to is not State.ATTEMPTING and not (
            self.under_way
            and rival is not None
            and (self._chained or rival.sample is not None)
        ):
            self.call_off()

    def _report(
        self,
        kind: str,
        error: errors.Error | None = None,
        delay: float = 0.0,
    ) -> None:
        # A failure has been counted by now; it tells of its own attempt.
        attempt = (error and error.attempt) or self._recovery.attempt
        self._context.report(
            kind, self.source.url, self.offset, attempt, error, delay
        )
