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

"""What follows an attempt that failed, and which mirror is asked then.

Rules only: ``transfer`` states what is true of the attempt, asks once, and
carries out what follows. What an error means by itself, and how long to wait
after how many, is in ``retry``: that knows nothing of mirrors.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import enum
import math

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import retry
from fuel_agent_curl.rules import sources

# Statuses by which a server says that there are too many connections.
_CROWDED = frozenset((429, 503))
# What may be read again, as a part of the whole, or tried in vain, as a part
# of the time, without a second thought.
_CHEAP = 0.1
# Times as long.
_NOT_MUCH_MORE = 2
_UNPROVEN = (
    'this server does not prove that a part belongs to what is there, so each'
    ' attempt begins at the first byte: give a checksum of what it sends, and'
    ' the next ones go on'
)
# Attempts that a download may need to end where they have no limit.
_ATTEMPTS = 31


class Then(enum.Enum):
    """What a transfer does after an attempt that failed."""

    #: Make another request.
    AGAIN = enum.auto()
    #: Leave the bytes to another transfer.
    LEAVE = enum.auto()
    #: Nothing is left to be tried.
    FAIL = enum.auto()


@values.dataclass(frozen=True)
class Step:
    """What follows, finally.

    :ivar delay: seconds before the request.
    :ivar restart: forget all that is kept first, and begin again: the
        representation is another.
    :ivar failed: it was a failure; the next request is another attempt.
    :ivar error: what the transfer fails with, for FAIL.
    """

    then: Then
    delay: float = 0.0
    restart: bool = False
    failed: bool = True
    error: errors.Error | None = None


@values.dataclass(frozen=True)
class Failure:
    """What is true of an attempt that failed.

    :ivar judgement: on the head of its answer, None where none came.
    :ivar ranged: it asked for a range.
    :ivar redirected: it asked where a redirect had led to, not the URL.
    :ivar challenging: another transfer is still bringing the same bytes.
    :ivar others: transfers under way at the same mirror.
    :ivar empty: it brought no byte of a body.
    :ivar new: bytes beyond the highest offset so far, or beyond what had been
        compared of this mirror.
    :ivar seconds: that it took.
    :ivar offset: the next byte to be received.
    :ivar missing: bytes that it was still to bring, None where not known.
    :ivar handed_on: bytes that the consumer has.
    :ivar kept: bytes are kept that those of the next answer are to join.
    :ivar now: monotonic time.
    :ivar left: seconds until the deadline, infinite without one.
    """

    error: errors.Error
    judgement: answer.Judgement | None = None
    ranged: bool = False
    redirected: bool = False
    challenging: bool = False
    others: int = 0
    empty: bool = False
    new: int = 0
    seconds: float = 0.0
    offset: int = 0
    missing: int | None = None
    handed_on: int = 0
    kept: bool = False
    now: float = 0.0
    left: float = math.inf


class Recovery:
    """The mirror that one transfer asks, and its way on after failures.

    :param choice: the mirrors of the download.
    :param stats: those of the download.
    :param random: returns a number from 0 up to 1.
    :ivar source: the mirror to ask.
    :ivar fresh: no connection and no IP address of an earlier attempt is to
        be used for the next.
    :ivar last: what the last attempt that counts as one failed with.
    :ivar resent: bytes that mirrors were asked to send once more.
    """

    def __init__(
        self,
        settings: settings_module.Settings,
        choice: sources.Sources,
        source: sources.Source,
        stats: events.Stats,
        random: Callable[[], float],
    ) -> None:
        self.source = source
        self.fresh = False
        self.last: errors.Error | None = None
        self.resent = 0
        self._settings = settings
        self._choice = choice
        self._stats = stats
        self._random = random
        # By mirror: the attempts in a row, the time before which the next is
        # not made, when the last one failed, the seconds that it took if it
        # brought nothing, the bytes if it did, those a second, and what this
        # transfer gave the mirror up for; ``Source.error`` is for all.
        self._series: dict[sources.Source, retry.Series] = {}
        self._due: dict[sources.Source, float] = {}
        self._failed: dict[sources.Source, float] = {}
        self._vain: dict[sources.Source, float] = {}
        self._brought: dict[sources.Source, int] = {}
        self._paces: dict[sources.Source, float] = {}
        self._given_up: dict[sources.Source, errors.Error] = {}
        # Where it last brought a piece that does not match its hash.
        self._bad_pieces: dict[sources.Source, int] = {}
        # In a row.
        self._other_nodes = 0
        # Bytes a second, and the time, of the last progress.
        self._pace = 0.0
        self._progressed: float | None = None

    @property
    def attempt(self) -> int:
        """The attempt under way, in the row of those without progress."""
        return self._row(self.source).number

    def _row(self, source: sources.Source) -> retry.Series:
        if source not in self._series:
            self._series[source] = retry.Series(self._settings, self._random)
        return self._series[source]

    def annotate(self, error: errors.Error, offset: int) -> None:
        """Add to the error where it happened, unless it has that."""
        if error.url is None:
            error.url = errors.redact(self.source.url)
        if error.offset is None:
            error.offset = offset
        if error.attempt is None:
            error.attempt = max(1, self.attempt)
            error.attempts = self._settings.attempts

    def too_late(self) -> errors.DeadlineExceeded:
        """Return the error for a deadline that has passed."""
        return retry.too_late(self.last)

    def accepted(self, now: float) -> None:
        """Note a usable answer, at that monotonic time."""
        self.source.accepted(now)
        self._other_nodes = 0

    def failed(self, failure: Failure) -> Step:
        """Note the failure, and return what follows."""
        source, error = self.source, failure.error
        if failure.challenging:
            self._challenged_in_vain(failure)
            return Step(Then.LEAVE)
        judgement = failure.judgement
        if judgement and judgement.verdict is answer.Verdict.OTHER_NODE:
            return self._other_node(failure)
        if judgement and source.learn(judgement):
            if self._choice.joined and not source.ranged:
                # Rather another mirror than all of it from this one.
                self.source = self._choice.best(failure.now) or source
            return Step(Then.AGAIN, failed=False)
        self._count(failure)
        lasting = self._lasts(source, failure)
        changed = isinstance(error, errors.RepresentationChanged)
        if lasting and failure.redirected:
            # What a redirect once led to may have expired since.
            return Step(Then.AGAIN, failed=False)
        if lasting and changed and self._restarts(failure):
            failure = dataclasses.replace(failure, offset=0, kept=False)
            return dataclasses.replace(self._go_on(failure), restart=True)
        if lasting:
            source.error = error
        elif self._is_crowd(failure):
            source.crowded(failure.others + 1)
            return Step(Then.LEAVE)
        elif self._was_crowd(failure):
            source.crowded(1)
            return Step(Then.AGAIN, failed=False)
        return self._go_on(failure)

    def _lasts(self, source: sources.Source, failure: Failure) -> bool:
        """Tell whether no other answer of the mirror would mend it."""
        error = failure.error
        if isinstance(error, errors.ResourceError):
            # Of this machine. What there is may do for fewer connections, and
            # others may be done with theirs soon.
            return not failure.kept and not failure.others
        if isinstance(error, errors.RepresentationChanged):
            return error.length is None or source.changed(error.length)
        return retry.is_permanent(error)

    def _other_node(self, failure: Failure) -> Step:
        """Ask once more, and then read again: the bytes may be the same.

        Whoever has reached the first node goes on there meanwhile. Where
        nothing was handed on, any representation will do.
        """
        source = self.source
        self._other_nodes += 1
        changed = source.other_validator()
        if changed and not failure.handed_on:
            return Step(Then.AGAIN, restart=True, failed=False)
        if self._other_nodes > 1:
            if failure.others:
                source.crowded(failure.others + 1)
                return Step(Then.LEAVE)
            source.reread()
        return Step(Then.AGAIN, failed=False)

    def _is_crowd(self, failure: Failure) -> bool:
        """Tell whether it was one connection too many.

        A server that lets only so many in refuses the rest. A Retry-After is
        for them, while it serves others; the last one heeds it for all.
        """
        error = failure.error
        if not failure.others or self._has_progressed(failure):
            return False
        scarce = (errors.NetworkError, errors.ResourceError)
        return isinstance(error, scarce) or (
            isinstance(error, errors.StatusError) and error.status in _CROWDED
        )

    def _was_crowd(self, failure: Failure) -> bool:
        """Tell whether it was one too many of connections that have ended.

        Then a Retry-After that is too long to wait for was for a crowd that
        is no more. Whoever asks alone, as from now on, is told for himself.
        """
        error = failure.error
        return (
            isinstance(error, errors.StatusError)
            and error.status in _CROWDED
            and not failure.others
            and self.source.served > failure.now - failure.seconds
            and (error.retry_after or 0.0)
            > retry.longest_wait(self._settings, failure.left)
        )

    # Another mirror, asked as well.

    def rivals(self, now: float) -> list[sources.Source]:
        """Return the mirrors that may be asked as well, the best first."""
        others = [
            each
            for each in self._choice.usable
            if each is not self.source
            and each not in self._given_up
            and self._ready(each, now) <= now
        ]
        return sorted(others, key=self._choice.rank)

    def overtaken(self, failure: Failure, rival: sources.Source) -> None:
        """The rival has brought bytes, and the attempt was ended for that."""
        self._count(failure)
        self._postpone_if_ever(failure, self.source)
        if not self._has_progressed(failure):
            self.source.penalty += 1
        self.source = rival

    def rival_failed(self, source: sources.Source, failure: Failure) -> None:
        """Note that nothing came of asking another mirror as well."""
        judgement = failure.judgement
        if judgement and source.learn(judgement):
            # It is asked in another way.
            return
        source.failed(failure.error, failure.ranged, empty=failure.empty)
        if failure.redirected:
            return
        if self._lasts(source, failure):
            source.error = failure.error
        self._postpone_if_ever(failure, source)

    def _has_progressed(self, failure: Failure) -> bool:
        return failure.new >= self._settings.progress

    def _count(self, failure: Failure) -> None:
        error, progressed = failure.error, self._has_progressed(failure)
        stalled = isinstance(error, errors.Stalled)
        self._stats.stalls += stalled
        self.source.failed(error, failure.ranged, progressed, failure.empty)
        self.fresh = True
        self.last = error
        if progressed:
            lost = self._settings.low_speed_time if stalled else 0.0
            seconds = max(failure.seconds - lost, 1e-3)
            self._pace = failure.new / seconds
            self._progressed = failure.now

    def _challenged_in_vain(self, failure: Failure) -> None:
        """Note it; the rival is still there, and nothing is lost."""
        source, judgement = self.source, failure.judgement
        # That its ranges are no use at all is for others to find out.
        source.failed(failure.error, ranged=False, progressed=True)
        if judgement and judgement.verdict is not answer.Verdict.REREAD:
            source.learn(judgement)
        if not failure.others:
            self._hold(failure, source)
        if (
            retry.is_permanent(failure.error)
            and not failure.redirected
            and self._choice.joined
            and self._has_other()
        ):
            source.error = failure.error

    def _hold(self, failure: Failure, source: sources.Source) -> None:
        """Have all transfers heed a Retry-After: it is of the server.

        Not one that is too long to wait for: who asks there is told so.
        """
        asked = getattr(failure.error, 'retry_after', None)
        most = retry.longest_wait(self._settings, failure.left)
        if asked and asked <= most:
            source.hold(failure.now + asked)

    def _has_other(self) -> bool:
        return self._choice.best(without=[self.source]) is not None

    def _restarts(self, failure: Failure) -> bool:
        """Tell whether to begin again with another representation.

        Not where bytes of the one before were handed on, or another mirror
        may still have it; and not where it is not the one expected.
        """
        if failure.handed_on or self._choice.expected is not None:
            return False
        return not (self._choice.joined and self._has_other())

    # Which mirror, and when.

    def _go_on(self, failure: Failure) -> Step:
        """Return the next attempt: the same mirror, another, or none."""
        source, now = self.source, failure.now
        try:
            delay = self._postpone(failure, source)
        except errors.DeadlineExceeded as last:
            return Step(Then.FAIL, error=last)
        self._failed[source] = now
        self._vain[source] = failure.seconds
        if isinstance(failure.error, errors.PieceMismatch):
            self._bad_pieces[source] = failure.offset
        if self._has_progressed(failure):
            self._vain[source], self._brought[source] = 0.0, failure.new
            self._paces[source] = failure.new / max(failure.seconds, 1e-3)
        if not self._has_progressed(failure):
            # Whoever asks next begins elsewhere as well.
            source.penalty += self._has_other()
        usable = [
            each for each in self._choice.usable if each not in self._given_up
        ]
        if not usable:
            error = self._given_up.get(source, failure.error)
            return Step(Then.FAIL, error=error)
        candidates = usable
        if source in usable:
            candidates = self._candidates(usable, failure, delay)
        self.source = min(
            candidates, key=lambda each: self._rank(each, failure)
        )
        if self.source is not source:
            self.resent += self._again(self.source, failure)
        return Step(Then.AGAIN, max(0.0, self._ready(self.source, now) - now))

    def _postpone_if_ever(
        self, failure: Failure, source: sources.Source
    ) -> None:
        try:
            self._postpone(failure, source)
        except errors.DeadlineExceeded:
            # It ends whoever is under way as well.
            pass

    def _postpone(self, failure: Failure, source: sources.Source) -> float:
        """Note when the mirror may be asked again; return the seconds.

        :raises errors.DeadlineExceeded: if there is no time for that.
        """
        self._hold(failure, source)
        delay = 0.0
        if source.error is None:
            try:
                delay = self._row(source).delay(
                    failure.error, self._has_progressed(failure), failure.left
                )
            except errors.DeadlineExceeded:
                raise
            except errors.Error as last:
                if self._starts_over(source, failure):
                    last.hint = _UNPROVEN
                self._given_up[source] = last
                if isinstance(last, errors.RetryAfterTooLong):
                    # Nor is it of use to any other transfer.
                    source.error = last
            self._due[source] = failure.now + delay
        return delay

    def _starts_over(self, source: sources.Source, failure: Failure) -> bool:
        """Tell whether each attempt began at the first byte, for a proof."""
        return (
            failure.offset > 0
            and failure.kept
            and source.unproven
            and not self._choice.joined
        )

    def _ready(self, source: sources.Source, now: float) -> float:
        return max(now, self._due.get(source, now), source.held)

    def _rank(
        self, source: sources.Source, failure: Failure
    ) -> tuple[float | bool, ...]:
        """Return what is the less, the rather ``source`` is asked next.

        The sooner the better: what took its time in vain may do so again,
        which counts until that would be a tenth of all. Then the sooner all
        that is kept is there again. Not one that has just lied; what broke
        off, though, goes on.
        """
        unfit, penalty, share = self._choice.rank(source)
        same = source is self.source
        lied = isinstance(failure.error, errors.ProtocolError)
        now = failure.now
        vain = self._vain.get(source, 0.0)
        if now >= self._failed.get(source, now) + vain / _CHEAP:
            vain = 0.0
        if self._bad_pieces.get(source) == failure.offset:
            # The same piece of it would most likely be bad again, however
            # fast it comes: it costs what a stall does.
            vain = max(vain, self._settings.low_speed_time)
        return (
            self._ready(source, now) + vain,
            self._takes(source, failure),
            unfit,
            same and lied,
            penalty,
            not same,
            share,
        )

    def _takes(self, source: sources.Source, failure: Failure) -> float:
        """Return the seconds in which it may send what is kept once more."""
        again = self._again(source, failure)
        pace = self._paces.get(source, self._pace)
        return again / pace if again and pace else 0.0

    def _again(self, source: sources.Source, failure: Failure) -> int:
        """Return the bytes that it would have to send once more."""
        if not failure.kept:
            return 0
        choice = self._choice
        kept = max(failure.offset, failure.handed_on)
        if choice.joined or source is choice.owner:
            return 0 if choice.serves_parts(source) else kept
        return max(0, kept - source.agreed) if source.provable else kept

    def _candidates(
        self,
        usable: list[sources.Source],
        failure: Failure,
        delay: float,
    ) -> list[sources.Source]:
        """Return whom to choose from: any, or the same mirror as before.

        Where bytes are not to be joined, or it has no ranges, another would
        have to send again all that is kept. That is worth it where it is
        little, where this one would not come to an end and the other may do
        better, or where more time would be lost than that takes, and than a
        stall does.
        """
        source = self.source
        others = [each for each in usable if each is not source]
        again = min((self._again(each, failure) for each in others), default=0)
        again -= self._again(source, failure)
        length = self._choice.length
        if again <= 0:
            return usable
        if length is not None and self.resent + again <= _CHEAP * length:
            return usable
        if self._has_progressed(failure):
            if self._ends(failure, again):
                return [source]
            better = [each for each in others if self._promises(each, failure)]
            return better or [source]
        takes = again / self._pace if self._pace else 0.0
        since = self._progressed
        if since is None:
            since = self._progressed = failure.now
        lost = failure.now + delay - since
        patient = lost <= max(takes, self._settings.low_speed_time)
        return [source] if patient else usable

    def _ends(self, failure: Failure, again: int) -> bool:
        """Tell whether to go on like this is good enough.

        In as many attempts as may fail, or in not much more time than it takes
        to send all that is missing and ``again`` bytes.
        """
        new, attempts = failure.new, self._settings.attempts or _ATTEMPTS
        if failure.missing is None:
            return True
        missing = failure.missing + self._again(self.source, failure)
        if missing <= attempts * new:
            return True
        takes = (missing + again) / self._pace
        return missing * failure.seconds / new <= _NOT_MUCH_MORE * takes

    def _promises(self, source: sources.Source, failure: Failure) -> bool:
        """Tell whether it may bring more at a time than the present one."""
        if self._rank(source, failure)[0] > failure.now:
            return False
        return self._brought.get(source, math.inf) > failure.new

    def postponed(self, now: float, kept: bool) -> float:
        """Return the seconds for which its server wants to be left alone.

        It has told another transfer so.

        :param kept: bytes are kept that those of the next answer are to join.
        """
        if self.source.held > now and (self._choice.joined or not kept):
            self.source = self._choice.best(now) or self.source
        return max(0.0, self.source.held - now)
