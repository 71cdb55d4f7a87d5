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
import functools
import math
import os
import random

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import hedge
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


#: How many schedules are drawn; more for a longer run.
SCHEDULES = range(int(os.environ.get('FUEL_AGENT_CURL_SCHEDULES', '150')))

#: What each mirror but the best may cost, in seconds, see ``rules/hedge``.
EACH = 4.0

#: How often the engine looks at what is under way, in seconds.
TICK = 0.25


@dataclasses.dataclass
class Reply:
    """What becomes of a request: bytes in seconds, and the error after.

    :ivar begins: seconds before the first byte.
    """

    count: int = 0
    seconds: float = 0.0
    error: errors.Error | None = None
    verdict: Verdict = Verdict.ACCEPT
    start: int = 0
    begins: float = 0.0
    speed: float = math.inf

    def at(self, seconds: float) -> int:
        """Return the bytes that have come after so many seconds."""
        if seconds < self.begins or not self.count:
            return 0
        return min(self.count, int((seconds - self.begins) * self.speed))


@dataclasses.dataclass
class Trial:
    """An attempt, and what is to come of it.

    :ivar reread: it is to be compared with what was handed on.
    :ivar kept: bytes were kept when it was made.
    :ivar sample: what it brings is to be dropped.
    :ivar again: bytes that it sends once more, as another went on meanwhile.
    """

    source: sources.Source
    mirror: Mirror
    request: segments.Request
    reread: bool
    kept: bool
    reply: Reply
    began: float
    sample: hedge.Sample | None = None
    again: int = 0


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
    :ivar late: seconds before it says something.
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
    late: float = 0.01
    gone: bool = False
    ranges: bool = True
    validator: head.Validator = STRONG
    length: int = LENGTH
    content: int = 0
    served: int = 0

    def waits(self) -> bool:
        """Tell whether it says no for a time."""
        return bool(self.refuses or self.busy[1] or self.down[1])

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
            return Reply(
                0, patience, errors.Stalled('silent'), begins=math.inf
            )
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
        seconds = self.late
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
        return Reply(
            count,
            seconds,
            error_,
            start=request.start,
            begins=self.late,
            speed=self.speed,
        )


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
        self._hedge = hedge.Hedge(SETTINGS)
        self._now = 0.0
        self._offset = 0
        self._content: int | None = None
        # Who is asked as well while an attempt ends.
        self._rival: Trial | None = None

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
        rival = self._rival
        if rival is not None and rival.sample is None:
            # It takes the place of the attempt that has failed.
            self._rival = None
            self._recovery.source = rival.source
            trial = self._ask(rival.source, self._now - rival.began)
        else:
            kept = self._offset > 0
            self._now += self._recovery.postponed(self._now, kept)
            trial = self._ask(self._recovery.source)
        while True:
            rival = self._watch(trial)
            if rival is None:
                break
            self._end(trial, errors.Stalled('overtaken'), rival.source)
            # From where it is now.
            again = rival.again
            late = again / rival.mirror.speed - rival.mirror.late
            trial = self._ask(rival.source, -late)
            self.outcome.received += again
            self._recovery.resent += again
        self._now = trial.began + trial.reply.seconds
        return self._end(trial, trial.reply.error, None)

    def _sampled(self, rival: Trial) -> None:
        """Note what has come of a sample by now."""
        sample, reply = rival.sample, rival.reply
        assert sample is not None
        for piece in range(1, 17):
            count = sample.wanted * piece // 16
            at = rival.began + reply.begins + count / reply.speed
            if at <= self._now and count <= reply.count:
                sample.take(at, count - sample.came)
        self.outcome.received += sample.came
        self._recovery.resent += sample.came
        self._hedge.sampled(self._now)

    def _ask(self, source: sources.Source, saved: float = 0.0) -> Trial:
        mirror = self.mirrors[self._sources.index(source)]
        self.outcome.asked.append(mirror.name)
        kept = self._offset > 0
        request, reread = self._request(source, kept)
        reply = mirror.reply(request, self._now)
        began = self._now - saved
        return Trial(source, mirror, request, reread, kept, reply, began)

    def _watch(self, trial: Trial) -> Trial | None:
        """Let time go by to the end, or until a rival is to go on."""
        if len(self._sources) == 1:
            return None
        reply = trial.reply
        rival, self._rival = self._rival, None
        began, tick = self._now, TICK
        while self._now + tick < trial.began + reply.seconds:
            now = self._now = self._now + tick
            # What takes hours is not looked at as often.
            tick = max(TICK, min(3.0, (now - began) / 100))
            came = reply.at(now - trial.began)
            lost = self._hedge.look(
                *(now, trial, trial.source, came),
                self.outcome.received + came,
                True,
            )
            if not lost:
                offset = max(self._offset, reply.start + came)
                rival = self._compare(trial, rival, offset)
                if rival is None or rival.sample or not self._begun(rival):
                    continue
                length = self._choice.length or trial.mirror.length
                again = self._again(offset, rival.source)
                if not again:
                    rival.again = offset - rival.request.start
                if not self._hedge.is_cheap(
                    again or rival.again, self._recovery.resent, length
                ):
                    self._hedge.leave(now, rival.source)
                    rival = None
                    continue
                self._hedge.settled(
                    now, trial.source, self._hedge.speed, rival.source
                )
                return self._give_way(trial, came, rival)
            if rival is not None and rival.sample:
                self._sampled(rival)
                rival = None
            others = self._recovery.rivals(now)
            if rival is not None:
                since = now - rival.began
                if self._begun(rival):
                    self._hedge.settled(
                        now,
                        trial.source,
                        came / (now - trial.began),
                        rival.source,
                    )
                    return self._give_way(trial, came, rival)
                if rival.reply.seconds <= since:
                    self._recovery.rival_failed(
                        rival.source,
                        self._failure(rival, self._problem(rival)),
                    )
                    rival = None
                elif since < self._hedge.patience(rival.source):
                    continue
                else:
                    others = [e for e in others if e is not rival.source]
            offset = max(self._offset, reply.start + came)
            source = self._hedge.choose(
                now,
                lost,
                trial.source,
                others,
                functools.partial(self._again, offset),
                self._recovery.resent,
                self._choice.length or trial.mirror.length if came else None,
                LENGTH - offset,
            )
            if source is not None:
                self._hedge.asked(source)
                rival = self._peek(source, offset)
        self._rival = rival
        return None

    def _begun(self, rival: Trial) -> bool:
        since = self._now - rival.began
        return rival.reply.count > 0 and rival.reply.begins <= since

    def _give_way(self, trial: Trial, came: int, rival: Trial) -> Trial:
        reply = trial.reply
        trial.reply = Reply(came, self._now - trial.began, start=reply.start)
        trial.mirror.served -= reply.count - came
        return rival

    def _compare(
        self, trial: Trial, rival: Trial | None, offset: int
    ) -> Trial | None:
        """Return whom to ask as well while all is well."""
        now = self._now
        if rival is None:
            found = self._hedge.compare(
                now,
                self._recovery.rivals,
                functools.partial(self._again, offset),
                self._recovery.resent,
                self._choice.length or trial.mirror.length,
                LENGTH - offset,
            )
            if found is None:
                return None
            source, sample = found
            rival = self._peek(source, offset, sample)
            if sample is None:
                self._hedge.asked(source)
            return rival
        since = now - rival.began
        failed = not rival.reply.count and rival.reply.seconds <= since
        if rival.sample is not None:
            late = since >= hedge.COMPARED_FOR
            full = rival.reply.at(since) >= rival.sample.wanted
            if not (late or full or failed):
                return rival
            self._sampled(rival)
        elif failed:
            self._recovery.rival_failed(
                rival.source, self._failure(rival, self._problem(rival))
            )
        elif rival.source is self._hedge.better:
            if since < hedge.COMPARED_FOR:
                return rival
            self._hedge.leave(now, rival.source)
        return None

    def _peek(
        self,
        source: sources.Source,
        offset: int,
        sample: hedge.Sample | None = None,
    ) -> Trial:
        mirror = self.mirrors[self._sources.index(source)]
        self.outcome.asked.append(mirror.name)
        request = self._choice.request(source, offset, None, offset > 0)
        if request is None or sample is not None:
            # All will do where a part was asked for.
            request = segments.Request()
        # What it brings is asked for when that is to be used.
        reply = dataclasses.replace(mirror).reply(request, self._now)
        if not reply.count:
            reply = mirror.reply(request, self._now)
        return Trial(
            *(source, mirror, request, False, offset > 0, reply, self._now),
            sample,
        )

    def _again(self, offset: int, source: sources.Source) -> int:
        asked = self._choice.request(source, offset, None, True)
        return 0 if not offset or asked else offset

    def _problem(self, trial: Trial) -> errors.Error:
        return trial.reply.error or errors.ContentRangeError('no')

    def _failure(
        self, trial: Trial, error: errors.Error, **more: int
    ) -> recovery.Failure:
        return recovery.Failure(
            error,
            judgement=answer.Judgement(trial.reply.verdict),
            ranged=trial.request.ranged,
            empty=not trial.reply.count,
            seconds=self._now - trial.began,
            offset=self._offset,
            missing=LENGTH - self._offset,
            handed_on=self._offset,
            kept=self._offset > 0,
            now=self._now,
            **more,  # type: ignore[arg-type]
        )

    def _end(
        self,
        trial: Trial,
        error: errors.Error | None,
        rival: sources.Source | None,
    ) -> errors.Error | None:
        """Note what an attempt has brought, and what ended it."""
        source, reply = trial.source, trial.reply
        highest, reached = self._offset, source.reached
        if error is None and reply.verdict is not Verdict.ACCEPT:
            error = errors.ContentRangeError('no')
        elif error is None or reply.count:
            error = (
                self._receive(
                    source, trial.mirror, reply, trial.kept, trial.reread
                )
                or error
            )
        if error is None:
            return None
        failure = self._failure(
            trial,
            error,
            new=max(self._offset - highest, source.reached - reached),
        )
        if rival is not None:
            self._recovery.resent += self._again(self._offset, rival)
            self._recovery.overtaken(failure, rival)
            return None
        step = self._recovery.failed(failure)
        pending = self._rival
        if pending is not None and pending.sample is None:
            if step.failed and (
                pending.source in (self._hedge.better, self._recovery.source)
                or self._begun(pending)
                or step.delay
                or step.then is Then.FAIL
            ):
                return None
            self._rival = None
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
        self._recovery.accepted(self._now)
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
        # And a sample of each of the others.
        received, seconds = 1.12 * best.received, 1.1 * best.seconds
        speeds = [each.speed for each in mirrors]
        if max(speeds) > min(speeds):
            # Not for as much faster is one left.
            seconds *= 1.25
        first = mirrors[0]
        # What each of the others may cost: it is found to be silent, or slow.
        ranged = all(each.ranges for each in mirrors)
        seconds += others * max(EACH, 4 * max(each.late for each in mirrors))
        # Delays double: what is back may be asked as much later.
        seconds += sum(
            end
            for each in mirrors
            for end in (each.busy[1], each.down[1])
            if end < math.inf
        )
        if not (joined and ranged):
            # Before all is sent once more, some more time is lost: as much as
            # that takes.
            seconds += others * 3 * SETTINGS.low_speed_time
            if first.dies:
                seconds += first.dies / first.speed
        waits = first.waits() or first.late > 1 or first.speed < MB
        if not joined and (best is not alone[0] or waits):
            # What it has brought before it ceased is sent again, after as much
            # time as that takes.
            received += others * LENGTH
            seconds += (
                others * 2.2 * max(LENGTH / mirror.speed for mirror in mirrors)
            )
        provable = joined or all(each.validator == STRONG for each in mirrors)
        if provable and all(each.ranges for each in mirrors):
            # Others send all of it each time that they are asked.
            self.assertLessEqual(outcome.received, received, text)
        self.assertLessEqual(outcome.seconds, seconds, text)

    def test_generated(self) -> None:
        for seed in SCHEDULES:
            dice = random.Random(seed)
            count = dice.choice((2, 2, 3))
            speed = dice.choice((50, 100, 200)) * MB
            mirrors = [
                self.mirror(dice, 'abc'[number], speed)
                for number in range(count)
            ]
            # One that says no for a time is asked later; how much faster it
            # would have been is not made good.
            if not any(each.waits() for each in mirrors):
                for each in mirrors:
                    if each.speed == speed:
                        each.speed *= dice.choice((0.04, 0.1, 1, 1))
            for joined in False, True:
                self.check(mirrors, joined, seed, seed)

    def mirror(self, dice: random.Random, name: str, speed: float) -> Mirror:
        mirror = Mirror(name, speed=speed)
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
                'cut': dice.choice((70, 300, 700)) * MB,
                'ending': errors.Stalled,
            },
            lambda: {'cut': 1000, 'ending': errors.Stalled},
            lambda: {'silent': True},
            lambda: {'late': dice.choice((0.5, 1.5, 3.0))},
            lambda: {'speed': dice.choice((2e3, 2e4, 5e5))},
            lambda: {'gone': True},
        )
        change = dice.choice(changes)
        made = dataclasses.replace(mirror, **change())  # type: ignore[arg-type]
        if dice.random() < 0.2:
            made.ranges = False
        if dice.random() < 0.2:
            made.validator = head.Validator(etag='W/"a"')
        return made
