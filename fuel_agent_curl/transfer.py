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

Its states and events are the table below; what an error means is decided in
``retry``, what an answer proves in ``answer``, and the requests themselves
are made by ``easy``.
"""

from __future__ import annotations

import datetime
import enum
import math
import time
from collections.abc import Callable

from oslo_log import log as logging
from zlib_ng import zlib_ng

from fuel_agent_curl import answer
from fuel_agent_curl import easy
from fuel_agent_curl import errors
from fuel_agent_curl import head as http
from fuel_agent_curl import lowspeed
from fuel_agent_curl import multi
from fuel_agent_curl import report
from fuel_agent_curl import retry
from fuel_agent_curl import segments
from fuel_agent_curl import settings as settings_module
from fuel_agent_curl import window as window_module

LOG = logging.getLogger(__name__)

# How often a transfer under way is looked at, in seconds.
_TICK = 0.25
# Wrong answers to a Range in a row before the server is taken to have none.
_WRONG_RANGES = 2


class State(enum.Enum):
    """Where a transfer stands."""

    WAITING = enum.auto()
    ATTEMPTING = enum.auto()
    BACKING_OFF = enum.auto()
    DONE = enum.auto()
    FAILED = enum.auto()


class Trigger(enum.Enum):
    """What moves a transfer on."""

    START = enum.auto()
    #: The answer ended well, or asks for another request: no failure.
    AGAIN = enum.auto()
    RETRY = enum.auto()
    COMPLETE = enum.auto()
    FAIL = enum.auto()


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.WAITING, Trigger.START): State.ATTEMPTING,
    (State.BACKING_OFF, Trigger.START): State.ATTEMPTING,
    (State.ATTEMPTING, Trigger.AGAIN): State.WAITING,
    (State.ATTEMPTING, Trigger.RETRY): State.BACKING_OFF,
    (State.ATTEMPTING, Trigger.COMPLETE): State.DONE,
    (State.WAITING, Trigger.FAIL): State.FAILED,
    (State.ATTEMPTING, Trigger.FAIL): State.FAILED,
    (State.BACKING_OFF, Trigger.FAIL): State.FAILED,
}


def move(state: State, trigger: Trigger) -> State:
    """Return the state that follows.

    :raises RuntimeError: if the table has no such transition: a bug.
    """
    try:
        return TRANSITIONS[state, trigger]
    except KeyError:
        raise RuntimeError(
            'a transfer in state %s cannot %s' % (state.name, trigger.name)
        ) from None


class Source:
    """One URL, and what its server has been seen to do with a Range."""

    def __init__(self, url: str, stats: report.MirrorStats) -> None:
        self.url = url
        self.stats = stats
        self.ranges = True
        self.guarded = True
        self.if_range = True
        self.wrong_ranges = 0

    def learn(self, verdict: answer.Verdict) -> bool:
        """Note what an answer showed; True if another request follows."""
        if verdict is answer.Verdict.ASK_UNGUARDED:
            self.guarded = False
        elif verdict is answer.Verdict.ASK_WITHOUT_IF_RANGE:
            self.if_range = False
        elif verdict is answer.Verdict.REREAD:
            self.ranges = False
        else:
            return False
        return True

    def answered_wrongly(self) -> None:
        """Count a 206 or 416 that does not fit the Range."""
        self.wrong_ranges += 1
        if self.wrong_ranges >= _WRONG_RANGES:
            self.ranges = False


class Transfer:
    """Brings one segment into the window; lives on the network thread.

    :param checksum: a checksum of the whole was given.
    :param deadline: monotonic time, infinite for none.
    :param observe: called with each event.
    :ivar offset: next byte of the representation to be received.
    :ivar pin: the representation, None before the first usable answer.
    :ivar error: why it failed.
    """

    def __init__(
        self,
        source: Source,
        segment: segments.Segment,
        settings: settings_module.Settings,
        window: window_module.Window,
        loop: multi.Loop,
        stats: report.Stats,
        *,
        checksum: bool,
        deadline: float,
        random: Callable[[], float],
        observe: Callable[[report.Event], None],
    ) -> None:
        self.state = State.WAITING
        self.offset = segment.start
        self.pin: answer.Representation | None = None
        self.error: errors.Error | None = None
        self._source = source
        self._segment = segment
        self._settings = settings
        self._window = window
        self._loop = loop
        self._stats = stats
        self._checksum = checksum
        self._deadline = deadline
        self._observe = observe
        self._series = retry.Series(settings, random)
        # The highest offset before this attempt: only what is beyond it is
        # new, however often the rest is read again.
        self._highest = segment.start
        self._due = 0.0
        # Of the attempt under way:
        self._attempt: easy.Attempt | None = None
        self._request = segments.Request()
        self._judgement: answer.Judgement | None = None
        self._position = 0
        self._dealt_with = 0
        self._reread: tuple[int, int] | None = None
        self._crc = 0
        self._chained = False
        self._low_speed = lowspeed.LowSpeed(0, 1)
        self._received_before = 0
        self._connecting_since = 0.0
        self._sampled = 0.0

    def __repr__(self) -> str:
        return '<Transfer %s at byte %d of %r, attempt %d, %s>' % (
            self.state.name,
            self.offset,
            self._segment,
            self._series.number,
            errors.redact(self._source.url),
        )

    # What the network thread calls.

    def tick(self, now: float) -> float:
        """Do what is due; return the seconds until there is more to do."""
        if self.state in (State.DONE, State.FAILED):
            return math.inf
        if self._at_end():
            self._complete()
        elif now >= self._deadline:
            self._fail(
                errors.DeadlineExceeded(
                    'the deadline of %g s has passed'
                    % self._settings.deadline
                )
            )
        elif self.state is State.ATTEMPTING:
            self._watch(now)
        elif self.state is State.WAITING or now >= self._due:
            self._start(now)
        if self.state is State.BACKING_OFF:
            return max(0.0, min(self._due, self._deadline) - now)
        return _TICK if self.state is State.ATTEMPTING else 0.0

    def finished(self, attempt: easy.Attempt, code: int, text: str) -> None:
        """Take the end of the attempt: CURLcode and error text."""
        if attempt is not self._attempt:
            return
        error = attempt.result(code, text) or self._shortfall()
        if self._at_end():
            self._complete()
        elif error is not None:
            self._failed(error)
        else:
            # The server caps its ranges: what it sent ended well, and the
            # next part is asked for at once. It is one attempt still, so
            # that the low-speed check sees the parts together.
            self._end_attempt()
            self._chained = True
            self._move(Trigger.AGAIN)

    # One attempt.

    def _start(self, now: float) -> None:
        self._request = self._next_request()
        if not self._chained:
            self._highest = max(self._highest, self.offset)
            self._low_speed = lowspeed.LowSpeed(
                self._settings.low_speed_limit, self._settings.low_speed_time
            )
            self._received_before = 0
        self._judgement = None
        self._position = 0
        self._dealt_with = 0
        self._connecting_since = now
        self._sampled = 0.0
        fresh = self._stats.attempts > 0 and not self._chained
        self._chained = False
        self._stats.attempts += 1
        self._source.stats.attempts += 1
        LOG.debug(
            'Attempt %d: %s, %r',
            self._stats.attempts,
            errors.redact(self._source.url),
            self._request,
        )
        self._move(Trigger.START)
        try:
            self._attempt = easy.Attempt(
                self._source.url,
                self._request,
                self._settings,
                self._on_head,
                self._on_body,
                fresh=fresh,
            )
        except errors.Error as error:
            self._fail(error)
            return
        self._loop.add(self._attempt)

    def _next_request(self) -> segments.Request:
        self._reread = None
        if self.offset and self.pin:
            strong = self.pin.validator.strong
            if (
                self._source.ranges
                and self.pin.ranges is not False
                and (strong or self._checksum)
            ):
                return segments.Request(
                    self.offset,
                    self._segment.stop,
                    ranged=True,
                    guarded=self._source.guarded,
                    if_range=strong if self._source.if_range else None,
                )
            # Without a proof: read again from 0, and compare what was handed
            # on. What was not is forgotten, it comes again anyway.
            self._highest = max(self._highest, self.offset)
            self.offset, crc = self._window.rewind()
            if self.offset:
                self._reread = (self.offset, crc)
                self._report('reread')
        return segments.Request(self.offset)

    def _on_head(self, head: http.Head) -> None:
        kept = self.offset > self._segment.start or self._reread
        self._judgement = judgement = answer.judge(
            head,
            self._request,
            self.pin if kept else None,
            checksum=self._checksum,
            now=datetime.datetime.now(datetime.timezone.utc),
        )
        if judgement.verdict is not answer.Verdict.ACCEPT:
            raise judgement.error or errors.ProtocolError('unusable answer')
        before, self.pin = self.pin, judgement.pinned
        self._position = judgement.start
        self._crc = 0
        self._source.wrong_ranges = 0
        if self._request.start:
            self._stats.resumes += 1
            self._report('resumed')
        elif before is None:
            self._report('started')
        else:
            self._report('restarted')

    def _on_body(self, piece: memoryview) -> bool:
        # A piece that was refused comes again, whole.
        rest = piece[self._dealt_with :]
        if self._position < self.offset:
            rest = self._skip(rest)
        skipped = len(piece) - len(rest)
        rest = rest[: self._wanted(len(rest))]
        if rest and not self._window.write(self.offset, rest):
            self._dealt_with = skipped
            return False
        self._position += len(rest)
        self.offset += len(rest)
        self._dealt_with = 0
        self._stats.received += len(piece)
        self._source.stats.received += len(piece)
        return True

    def _skip(self, piece: memoryview) -> memoryview:
        """Drop what is there already, comparing it where that is a reread."""
        count = min(len(piece), self.offset - self._position)
        self._position += count
        if self._reread:
            self._crc = zlib_ng.crc32(piece[:count], self._crc)
            until, expected = self._reread
            if self._position == until and self._crc != expected:
                raise errors.RepresentationChanged(
                    'the first %d bytes are others than before' % until
                )
        return piece[count:]

    def _wanted(self, size: int) -> int:
        """Return how many of the next bytes belong to the segment."""
        end = self._end()
        stop = self._judgement.stop if self._judgement else None
        if stop is not None:
            return min(size, stop - self._position)
        if end is not None and self._position + size > end:
            raise errors.RepresentationChanged(
                'the server sends more than the %d bytes it stated' % end
            )
        return size

    def _end(self) -> int | None:
        if self._segment.stop is not None:
            return self._segment.stop
        return self.pin.length if self.pin else None

    def _at_end(self) -> bool:
        # Where the answer states no length, only its end proves the end.
        return (
            self._judgement is not None
            and self._judgement.verdict is answer.Verdict.ACCEPT
            and self._judgement.stop is not None
            and self._position >= self.offset
            and self.offset == self._end()
        )

    def _shortfall(self) -> errors.Error | None:
        """Return what is wrong with an answer that libcurl found complete."""
        judgement = self._judgement
        if judgement is None:
            return errors.ReceiveError('the answer ended before its head')
        end = self._end() if judgement.stop is None else judgement.stop
        if self._position < max(self.offset, end or 0):
            return errors.ReceiveError('the body is shorter than it should be')
        if judgement.stop is not None:
            return None
        # No length was stated: the end of the body is the end of it all.
        pinned = judgement.pinned
        self._judgement = answer.Judgement(
            answer.Verdict.ACCEPT, 0, self.offset, pinned
        )
        self.pin = answer.Representation(
            pinned.validator, self.offset, pinned.ranges
        )
        return None

    def _watch(self, now: float) -> None:
        attempt = self._attempt
        assert attempt is not None
        error: errors.Error | None = None
        if attempt.connecting:
            self._low_speed.suspend(now)
            # libcurl's own timeout comes first, but for a resolver that
            # hangs where it cannot be interrupted.
            if now > self._connecting_since + (
                self._settings.connect_timeout + 1
            ):
                error = errors.ConnectError(
                    'no connection within %g s'
                    % self._settings.connect_timeout
                )
        elif attempt.paused:
            self._low_speed.suspend(now)
            if self._window.has_room(self.offset):
                error = attempt.unpause()
        else:
            self._connecting_since = now
            self._low_speed.resume(now)
            if now >= self._sampled + _TICK / 2:
                self._sampled = now
                if self._low_speed.stalled(
                    now, self._received_before + attempt.received
                ):
                    error = errors.Stalled(
                        'less than %d bytes/s for %g s'
                        % (
                            self._settings.low_speed_limit,
                            self._settings.low_speed_time,
                        )
                    )
        if error is not None:
            self._failed(error)

    def _end_attempt(self) -> None:
        if self._attempt is not None:
            self._received_before += self._attempt.received
            self._loop.remove(self._attempt)
            self._attempt = None

    # What follows.

    def _failed(self, error: errors.Error) -> None:
        self._end_attempt()
        self._annotate(error)
        verdict = self._judgement.verdict if self._judgement else None
        if verdict is not None and self._source.learn(verdict):
            LOG.info('%s: asking in another way', error)
            self._move(Trigger.AGAIN)
            return
        self._source.stats.failures += 1
        if isinstance(error, errors.Stalled):
            self._stats.stalls += 1
        if (
            isinstance(error, errors.ContentRangeError)
            and self._request.ranged
        ):
            self._source.answered_wrongly()
        decision = retry.decide(error)
        progressed = (
            self.offset - self._highest >= self._settings.progress
        )
        if decision is retry.Decision.RESTART and self._restart():
            decision = retry.Decision.RETRY
        if decision is not retry.Decision.RETRY:
            self._fail(error)
            return
        now = time.monotonic()
        attempt = self._series.number
        try:
            delay = self._series.delay(
                error, progressed, self._deadline - now
            )
        except errors.Error as last:
            self._fail(last)
            return
        LOG.warning('%s; next attempt in %.1f s', error, delay)
        self._due = now + delay
        self._move(Trigger.RETRY)
        self._report('retry', error, delay, attempt)

    def _restart(self) -> bool:
        """Begin again with another representation, if none was handed on."""
        self._highest = max(self._highest, self.offset)
        self.offset, _crc = self._window.rewind()
        return self.offset == 0

    def _complete(self) -> None:
        self._end_attempt()
        self._move(Trigger.COMPLETE)

    def _fail(self, error: errors.Error) -> None:
        self._end_attempt()
        self._annotate(error)
        self.error = error
        self._move(Trigger.FAIL)

    def _move(self, trigger: Trigger) -> None:
        self.state = move(self.state, trigger)

    def _annotate(self, error: errors.Error) -> None:
        if error.url is None:
            error.url = errors.redact(self._source.url)
        if error.offset is None:
            error.offset = self.offset
        if error.attempt is None:
            error.attempt = max(1, self._series.number)
            error.attempts = self._settings.attempts

    def _report(
        self,
        kind: str,
        error: errors.Error | None = None,
        delay: float = 0.0,
        attempt: int | None = None,
    ) -> None:
        self._observe(
            report.Event(
                kind,
                errors.redact(self._source.url),
                self.offset,
                self.pin.length if self.pin else None,
                self._series.number if attempt is None else attempt,
                self._settings.attempts,
                error,
                delay,
            )
        )
