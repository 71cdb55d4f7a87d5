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

Rules only: ``transfer`` states what is true of the attempt, and carries out
what follows. What an error means by itself is in ``retry``.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import enum
import math

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import retry
from fuel_agent_curl.rules import sources


class Action(enum.Enum):
    """What a transfer does about an attempt that failed."""

    #: Ask again, in the way that the answer showed to be of use.
    ASK_OTHERWISE = enum.auto()
    #: Ask the URL itself, and not where a redirect of it led to before.
    ASK_ORIGINAL = enum.auto()
    #: Leave the bytes to another transfer.
    LEAVE = enum.auto()
    #: Offer them to the others; ``offered`` has what follows.
    OFFER = enum.auto()
    #: Go on alone, from what was handed on; ``rewound`` has what follows.
    REWIND = enum.auto()
    #: Ask another mirror at once.
    FAIL_OVER = enum.auto()
    #: Ask once more after a delay.
    BACK_OFF = enum.auto()
    #: Nothing is left to be tried.
    FAIL = enum.auto()


@dataclasses.dataclass(frozen=True)
class Step:
    """An action and what belongs to it.

    :ivar delay: seconds to wait, for BACK_OFF.
    :ivar error: what the transfer fails with, for FAIL.
    """

    action: Action
    delay: float = 0.0
    error: errors.Error | None = None


@dataclasses.dataclass(frozen=True)
class Failure:
    """What is true of an attempt that failed.

    :ivar judgement: on the head of its answer, None where none came.
    :ivar ranged: it asked for a range.
    :ivar redirected: it asked where a redirect had led to, not the URL.
    :ivar challenging: another transfer is still bringing the same bytes.
    :ivar empty: it brought no byte of a body.
    :ivar progressed: it brought as many new bytes as count as progress.
    :ivar kept: bytes are kept that those of the next answer are to join.
    :ivar foretold: the complete length was given, not learnt from an answer.
    :ivar left: seconds until the deadline, infinite without one.
    """

    error: errors.Error
    judgement: answer.Judgement | None = None
    ranged: bool = False
    redirected: bool = False
    challenging: bool = False
    empty: bool = False
    progressed: bool = False
    kept: bool = False
    foretold: bool = False
    left: float = math.inf


class Recovery:
    """The mirror that one transfer asks, and its way on after failures.

    :param choice: the mirrors of the download.
    :param stats: those of the download.
    :param random: returns a number from 0 up to 1.
    :ivar source: the mirror to ask.
    :ivar fresh: no connection and no address of an earlier attempt is to be
        used for the next.
    :ivar last: what the last attempt that counts as one failed with.
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
        self._settings = settings
        self._choice = choice
        self._series = retry.Series(settings, random)
        self._stats = stats
        # The mirrors that failed since the last wait, or progress.
        self._tried: list[sources.Source] = []

    @property
    def attempt(self) -> int:
        """The attempt under way, in the row of those without progress."""
        return self._series.number

    def annotate(self, error: errors.Error, offset: int) -> None:
        """Add to the error where it happened, unless it has that."""
        if error.url is None:
            error.url = errors.redact(self.source.url)
        if error.offset is None:
            error.offset = offset
        if error.attempt is None:
            error.attempt = max(1, self.attempt)
            error.attempts = self._settings.attempts

    def too_late(self) -> errors.Error:
        """Return the error for a deadline that has passed."""
        return self._series.too_late(self.last)

    def failed(self, failure: Failure) -> Step:
        """Note the failure, and return what follows."""
        source = self.source
        if failure.challenging:
            self._challenged_in_vain(failure)
            return Step(Action.LEAVE)
        if failure.judgement is not None and source.learn(failure.judgement):
            if self._choice.joined and not source.ranged:
                # Rather another mirror than all of it from this one.
                self.source = self._choice.best() or source
            return Step(Action.ASK_OTHERWISE)
        self._count(failure)
        decision = retry.decide(failure.error)
        if decision is retry.Decision.FAIL and failure.redirected:
            # What a redirect once led to may have expired since.
            return Step(Action.ASK_ORIGINAL)
        if decision is retry.Decision.RESTART and self._restarts(failure):
            return Step(Action.REWIND)
        if decision is not retry.Decision.RETRY:
            source.error = failure.error
        elif not failure.progressed:
            return Step(Action.OFFER)
        return self._go_on(failure)

    def rewound(self, failure: Failure, handed_on: int) -> Step:
        """Return what follows REWIND.

        :param handed_on: bytes that were; to those, none of another
            representation can be joined.
        """
        if handed_on:
            self.source.error = failure.error
        return self._go_on(dataclasses.replace(failure, kept=handed_on > 0))

    def offered(self, failure: Failure, taken: bool) -> Step:
        """Return what follows OFFER, by whether the others take it."""
        return Step(Action.LEAVE) if taken else self._go_on(failure)

    def _go_on(self, failure: Failure) -> Step:
        other = None
        if not self._stays(failure):
            other = self._choice.instead(
                self.source, failure.progressed, self._tried
            )
        if other is not None:
            self.source = other
            return Step(Action.FAIL_OVER)
        if self._choice.best() is None:
            return Step(Action.FAIL, error=failure.error)
        return self._back_off(failure)

    def _count(self, failure: Failure) -> None:
        error = failure.error
        self._stats.stalls += isinstance(error, errors.Stalled)
        self.source.failed(
            error, failure.ranged, failure.progressed, failure.empty
        )
        self.fresh = True
        if failure.progressed:
            self._tried.clear()
        self.last = error

    def _challenged_in_vain(self, failure: Failure) -> None:
        """Note it; the rival is still there, and nothing is lost."""
        source, judgement = self.source, failure.judgement
        # One challenge proves too little to take its ranges for useless.
        source.failed(failure.error, ranged=False)
        if judgement and judgement.verdict is not answer.Verdict.REREAD:
            source.learn(judgement)
        if (
            retry.decide(failure.error) is not retry.Decision.RETRY
            and not failure.redirected
            and self._choice.joined
            and self._has_other()
        ):
            source.error = failure.error

    def _has_other(self) -> bool:
        return self._choice.best(without=[self.source]) is not None

    def _restarts(self, failure: Failure) -> bool:
        """Tell whether to begin again with another representation.

        Not where another mirror may still have the one before. Whether bytes
        of that were handed on is not known yet.
        """
        if failure.foretold and not failure.kept:
            # It has never been what was expected.
            return False
        return not (self._choice.joined and self._has_other())

    def _stays(self, failure: Failure) -> bool:
        """Tell whether to ask the same mirror again.

        Where bytes are not to be joined, all of them would have to be read
        again elsewhere: not after the first failure in a row, unless that
        has shown that the next will take long, too.
        """
        if self._choice.joined or self.source.error is not None:
            return False
        again = self.attempt == 1 and not isinstance(
            failure.error, errors.Stalled
        )
        return failure.progressed or (failure.kept and again)

    def _back_off(self, failure: Failure) -> Step:
        try:
            delay = self._series.delay(
                failure.error, failure.progressed, failure.left
            )
        except errors.Error as last:
            return Step(Action.FAIL, error=last)
        self._tried.clear()
        self.source = self._choice.best() or self.source
        return Step(Action.BACK_OFF, delay)
