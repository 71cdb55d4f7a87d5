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

"""One mirror more is never worse: generated schedules, in made-up time.

One transfer, with the rules of the engine and mirrors that are made up, too.
The consumer takes each byte at once, and another representation of the same
length differs from the first byte on.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import math
import random

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import recovery
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources
from fuel_agent_curl.rules.answer import Verdict
from fuel_agent_curl.rules.recovery import Then
from tests import base

MB = 10**6
LENGTH = 1000 * MB
SETTINGS = settings.Settings()

ENDINGS = (errors.ReceiveError, errors.Stalled)

STRONG = head.Validator(etag='"a"')


@dataclasses.dataclass
class Reply:
    """What becomes of a request: bytes in seconds, and the error after."""

    count: int = 0
    seconds: float = 0.0
    error: errors.Error | None = None
    verdict: Verdict = Verdict.ACCEPT
    start: int = 0
    length: int = LENGTH


@dataclasses.dataclass
class Mirror:
    """A server: honest, but for what is set.

    :ivar speed: bytes per second.
    :ivar down: times at which nobody is there.
    :ivar busy: times at which it answers 503, and the Retry-After.
    :ivar refuses: so many requests, after the first that it answered.
    :ivar cut: each connection ends after so many bytes, by ``ending``.
    :ivar dies: after so many bytes in all it ends by ``ending``, for good.
    :ivar silent: it says nothing at all.
    :ivar gone: it has not got it.
    :ivar length: complete length.
    :ivar content: which bytes it has.
    """

    name: str
    speed: float = 100.0 * MB
    down: tuple[float, float] = (0, 0)
    busy: tuple[float, float] = (0, 0)
    retry_after: float | None = None
    refuses: int = 0
    cut: int | None = None
    ending: type[errors.Error] = errors.ReceiveError
    dies: int | None = None
    silent: bool = False
    gone: bool = False
    ranges: bool = True
    validator: head.Validator = STRONG
    length: int = LENGTH
    content: int = 0
    served: int = 0

    def reply(self, request: segments.Request, now: float) -> Reply:
        """Answer a request that is made now."""
        if self.down[0] <= now < self.down[1]:
            return Reply(0, 0.01, errors.ConnectError('refused'))
        dead = self.dies is not None and self.served >= self.dies
        if dead and self.ending is errors.ReceiveError:
            return Reply(0, 0.01, errors.ConnectError('refused'))
        if self.silent or dead:
            patience = SETTINGS.first_byte_timeout
            if self.served:
                patience = SETTINGS.low_speed_time
            return Reply(0, patience, errors.Stalled('silent'))
        refuses = self.served > 0 and self.refuses > 0
        self.refuses -= refuses
        if self.gone or refuses or self.busy[0] <= now < self.busy[1]:
            error = errors.StatusError('no')
            error.status = 404 if self.gone else 503
            error.retry_after = None if self.gone else self.retry_after
            return Reply(0, 0.01, error)
        if request.ranged and not self.ranges:
            return Reply(0, 0.01, verdict=Verdict.REREAD)
        count = self.length - request.start
        seconds = 0.01
        error_: errors.Error | None = None
        ends = [count, *([self.cut] if self.cut else [])]
        if self.dies is not None:
            ends.append(self.dies - self.served)
        if min(ends) < count:
            error_ = self.ending('ended')
            if self.ending is errors.Stalled:
                seconds += SETTINGS.low_speed_time
        count = min(ends)
        self.served += count
        seconds += count / self.speed
        return Reply(count, seconds, error_, start=request.start)


@dataclasses.dataclass
class Outcome:
    """What came of a download."""

    error: errors.Error | None = None
    received: int = 0
    seconds: float = 0.0
    asked: list[str] = dataclasses.field(default_factory=list)
    content: int | None = None


class Simulation:
    """One download from mirrors that are made up."""

    def __init__(self, mirrors: list[Mirror], joined: bool, seed: int) -> None:
        self.mirrors = [dataclasses.replace(each) for each in mirrors]
        self.outcome = Outcome()
        self._sources = [
            sources.Source('http://%s/' % mirror.name, events.MirrorStats())
            for mirror in mirrors
        ]
        self._choice = sources.Sources(self._sources, joined)
        first = self._choice.best()
        assert first is not None
        self._recovery = recovery.Recovery(
            SETTINGS,
            self._choice,
            first,
            events.Stats(),
            random.Random(seed).random,
        )
        self._now = 0.0
        self._offset = 0
        self._content: int | None = None

    def run(self) -> Outcome:
        outcome = self.outcome
        for _attempt in range(5000):
            error = self._attempt()
            if error is not None or self._offset == self._choice.length:
                outcome.error = error
                break
        else:
            outcome.error = errors.Error('no end')
        outcome.seconds = self._now
        outcome.content = self._content
        return outcome

    def _attempt(self) -> errors.Error | None:
        kept = self._offset > 0
        self._now += self._recovery.postponed(self._now, kept)
        source = self._recovery.source
        mirror = self.mirrors[self._sources.index(source)]
        self.outcome.asked.append(mirror.name)
        request, reread = self._request(source, kept)
        highest, reached = self._offset, source.reached
        reply = mirror.reply(request, self._now)
        self._now += reply.seconds
        judgement = answer.Judgement(reply.verdict)
        error = reply.error
        if error is None and reply.verdict is not Verdict.ACCEPT:
            error = errors.ContentRangeError('no')
        elif error is None or reply.count:
            error = self._receive(source, mirror, reply, kept, reread) or error
        if error is None:
            return None
        failure = recovery.Failure(
            error,
            judgement=judgement,
            ranged=request.ranged,
            empty=not reply.count,
            new=max(self._offset - highest, source.reached - reached),
            seconds=reply.seconds,
            offset=self._offset,
            missing=LENGTH - self._offset,
            handed_on=self._offset,
            kept=self._offset > 0,
            now=self._now,
        )
        step = self._recovery.failed(failure)
        self._now += step.delay
        assert step.then is not Then.LEAVE
        return (step.error or error) if step.then is Then.FAIL else None

    def _request(
        self, source: sources.Source, kept: bool
    ) -> tuple[segments.Request, bool]:
        if not kept:
            return segments.Request(), False
        request = self._choice.request(source, self._offset, None, True)
        if request is not None:
            return request, False
        return self._choice.reread(source, source.agreed), True

    def _receive(
        self,
        source: sources.Source,
        mirror: Mirror,
        reply: Reply,
        kept: bool,
        reread: bool,
    ) -> errors.Error | None:
        """Put the body in place; return what is wrong with it."""
        if kept and mirror.length != self._choice.length:
            changed = errors.RepresentationChanged('another length')
            changed.length = mirror.length
            return changed
        self._recovery.accepted()
        found = answer.Representation(
            mirror.validator, mirror.length, coding=''
        )
        self.outcome.received += reply.count
        end = reply.start + reply.count
        if not kept:
            self._content = mirror.content
        elif reread and mirror.content != self._content:
            return errors.RepresentationChanged('other bytes')
        elif mirror.content != self._content:
            self._content = None
        if reread and end < self._offset:
            self._choice.compared(source, found, end)
            return None
        self._choice.prove(source, found, kept=kept, upto=self._offset)
        self._offset = max(self._offset, end)
        return None


def download(mirrors: list[Mirror], joined: bool, seed: int = 0) -> Outcome:
    return Simulation(mirrors, joined, seed).run()


class TestMirrors(base.TestCase):
    def check(
        self, mirrors: list[Mirror], joined: bool, seed: int, what: object
    ) -> None:
        """The list is as good as the best of it alone, or nearly."""
        alone = [download([mirror], joined, seed) for mirror in mirrors]
        good = [
            outcome
            for outcome, mirror in zip(alone, mirrors, strict=True)
            if outcome.error is None and mirror.content == 0
        ]
        outcome = download(mirrors, joined, seed)
        text = '%s %s: %s' % (what, mirrors, outcome)
        if not good:
            return
        self.assertIsNone(outcome.error, text)
        self.assertIsNotNone(outcome.content, text)
        best = min(good, key=lambda each: each.seconds)
        others = len(mirrors) - 1
        received, seconds = 1.1 * best.received, 1.1 * best.seconds
        # What each of the others may cost: it is found to be silent, or to
        # stall, a few times, and its delays are waited for.
        waits = (
            2 * SETTINGS.first_byte_timeout
            + 3 * SETTINGS.low_speed_time
            + sum(each.retry_after or 0.0 for each in mirrors)
        )
        seconds += others * waits
        first = mirrors[0]
        asks_for_time = first.refuses or first.busy[1] or first.down[1]
        if not joined and (best is not alone[0] or asks_for_time):
            # What it has brought before it ceased is sent again.
            received += others * LENGTH
            seconds += (
                others * 1.1 * max(LENGTH / mirror.speed for mirror in mirrors)
            )
        provable = joined or all(each.validator == STRONG for each in mirrors)
        if provable and all(each.ranges for each in mirrors):
            # Others send all of it each time that they are asked.
            self.assertLessEqual(outcome.received, received, text)
        self.assertLessEqual(outcome.seconds, seconds, text)

    def test_generated(self) -> None:
        for seed in range(600):
            dice = random.Random(seed)
            count = dice.choice((2, 2, 3))
            mirrors = [
                self.mirror(dice, 'abc'[number]) for number in range(count)
            ]
            for joined in False, True:
                self.check(mirrors, joined, seed, seed)

    def mirror(self, dice: random.Random, name: str) -> Mirror:
        mirror = Mirror(name, speed=dice.choice((50, 100, 200)) * MB)
        changes: tuple[Callable[[], dict[str, object]], ...] = (
            dict,
            lambda: {'down': (0, math.inf)},
            lambda: {'down': (0, dice.choice((1, 30, 200)))},
            lambda: {
                'dies': dice.choice((1, 40, 300, 900)) * MB,
                'ending': dice.choice(ENDINGS),
            },
            lambda: {
                'busy': (0, dice.choice((1, 30, 200))),
                'retry_after': dice.choice((None, 1.0, 20.0, 90.0)),
            },
            lambda: {
                'cut': dice.choice((10, 300, 700)) * MB,
                'ending': dice.choice(ENDINGS),
                'refuses': dice.choice((1, 2, 9)),
                'retry_after': dice.choice((None, 1.0, 20.0, 90.0)),
            },
            lambda: {
                'busy': (0, math.inf),
                'retry_after': dice.choice((None, 1.0, 90.0, 86400.0)),
            },
            lambda: {'cut': dice.choice((10, 60, 300)) * MB},
            lambda: {
                'cut': dice.choice((100, 300, 700)) * MB,
                'ending': errors.Stalled,
            },
            lambda: {'cut': 1000, 'ending': errors.Stalled},
            lambda: {'silent': True},
            lambda: {'gone': True},
        )
        change = dice.choice(changes)
        made = dataclasses.replace(mirror, **change())  # type: ignore[arg-type]
        if dice.random() < 0.2:
            made.ranges = False
        if dice.random() < 0.2:
            made.validator = head.Validator(etag='W/"a"')
        return made
