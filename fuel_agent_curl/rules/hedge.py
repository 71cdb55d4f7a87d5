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

"""When another mirror is asked as well: one is silent, slow, or not the best.

Rules only. The timeouts say when a server is given up, and where it is the
only one they have to be long. Where there are several, none of them is waited
for alone: the next is asked for the same bytes meanwhile, a hedged request,
and whichever brings the first of them brings the rest.

What is promised: a list of mirrors takes no longer than 1.1 times what the
best one alone does, and 4 seconds for each other mirror: one in which it is
silent, three in which it is found to be slow. Where the best one itself takes
longer than a second to begin, it is four times that. A mirror counts as slow
below a MiB a second. While one that brings everything over one connection is
faster than that, each of the others is asked for a sample, which is dropped,
and one that is faster by a quarter takes its place: where none is, the time is
up to 1.25 times the best one's. What brings all in less than five seconds for
each other one is not compared. All samples are a fiftieth of the bytes at the
most; what a mirror answers to one changes nothing but when it is asked for the
next. Bytes come twice where nothing proves that two mirrors have the same, and
where one goes on while a faster one begins: no more than a tenth of all,
samples included, until a mirror fails, or is slow for as long as a stall may
last and as it takes to send them again.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
import math

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.rules import sources
from fuel_agent_curl.rules import watchdog

# Seconds without a byte after which another mirror is asked as well: a
# connection, TLS and a cache that asks its origin take less, mostly.
_SILENT = 1.0
# A server that has been slow to begin is given twice as long the next time.
_AS_EVER = 2.0
# What is slow, in bytes per second, and over how many seconds: TCP itself
# needs two on a long line before it is as fast as that.
_SLOW = octets.MIB
_SLOW_OVER = 2.0
# What will be here in so many seconds is waited for.
_SOON = 2.0
# Another mirror has to be so many times as fast, where that is known ...
_FASTER = 1.5
# ... while all is well: to change costs little, and whoever turns out to be
# no better is left again ...
_MORE = 1.25
# ... and a speed that is older than this many seconds is not.
_SPEED_KNOWN = 30.0
# What may be sent again, as a part of all, without a second thought.
_CHEAP = 0.1
# Each time that nothing came of asking a mirror, it is given twice as long.
_DOUBLINGS = 5

# How often the speed is looked at, in seconds.
_EVERY = 0.125

# How long a sample, or the first byte of a better one, is waited for, in
# seconds.
COMPARED_FOR = 4.0

# A sample is what the present mirror brings in so many seconds, but all of
# them are this part of all at the most; what comes in fewer seconds than so
# many, and fewer bytes, tell nothing.
_SAMPLE_OF = 0.5
_SAMPLE_PART = 1 / 50
_SAMPLE_SHORT = 0.1
_SAMPLE_LEAST = 65536
# What is here in less was sent before, and tells nothing of the line.
_INSTANT = 0.02


class Sample:
    """Bytes that are asked for to see how fast they come.

    It is the second half of them that tells: a connection begins slowly.

    :param wanted: bytes.
    :ivar came: those that have.
    """

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.came = 0
        self._last = 0.0
        # Since when, and how many had come by then.
        self._since: tuple[float, int] | None = None
        self._halved = False

    def take(self, now: float, count: int) -> None:
        """Note that so many more have come."""
        self.came += count
        self._last = now
        if not self._halved and 2 * self.came >= self.wanted:
            self._halved = True
            self._since = None
        if self._since is None:
            self._since = now, self.came

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""
        return max(0, self.wanted - self.came)

    def speed(self, now: float) -> float:
        """Return bytes per second, up to now or until it was full."""
        if self._since is None:
            return 0.0
        since, before = self._since
        ended = now if self.left else self._last
        return (self.came - before) / max(ended - since, _INSTANT)


class Hedge:
    """What one download knows of that.

    :ivar slow: it is for want of speed that another one is wanted.
    :ivar better: a mirror that is known to be faster.
    """

    def __init__(self, settings: settings_module.Settings) -> None:
        self._settings = settings
        self._limit = _SLOW
        if settings.max_recv_speed:
            self._limit = min(self._limit, settings.max_recv_speed // 2)
        self.slow = False
        self.better: sources.Source | None = None
        # Since when nothing was wrong with which mirror, and it was waited
        # for, by one attempt or several; and how fast it is.
        self._well_since = 0.0
        self._source: sources.Source | None = None
        self._pace = watchdog.LowSpeed(0, _SLOW_OVER)
        # The sample under way, and the speed that it is compared with; all
        # bytes of samples; by mirror, how many there were, and when the next
        # may be.
        self._sampling: tuple[sources.Source, Sample] | None = None
        self._against = 0.0
        self._spent = 0
        self._samples: dict[sources.Source, int] = {}
        self._sample_due: dict[sources.Source, float] = {}
        # The attempt looked at, and the bytes that had come by then.
        self._attempt: object = None
        self._arrived = 0
        self._quiet_since = 0.0
        # When the last byte of a body came, of whichever attempt.
        self._last = 0.0
        self._slow_since: float | None = None
        # Bytes that have come in so many seconds, while nothing was wrong;
        # those of samples are not among them.
        self._count = 0
        self._seconds = 0.0
        self._sampled = -math.inf
        self._low_speed = self._watch_speed()
        self._tried: dict[sources.Source, int] = {}
        self._speeds: dict[sources.Source, tuple[float, float]] = {}

    def _watch_speed(self) -> watchdog.LowSpeed:
        return watchdog.LowSpeed(self._limit, _SLOW_OVER)

    def look(
        self,
        now: float,
        attempt: object,
        source: sources.Source,
        arrived: int,
        received: int,
        waiting: bool,
    ) -> float:
        """Return the seconds that were lost by now, 0 if all is well.

        :param attempt: differs from one to the next.
        :param source: the mirror that it asks.
        :param arrived: bytes of all attempts under way, heads included.
        :param received: those of bodies, of all attempts so far, and of
            samples.
        :param waiting: for the server, and not for room or for budget.
        """
        received -= self._spent
        if self._sampling is not None:
            received += self._sampling[1].left
        if attempt is not self._attempt:
            self._begin(now, attempt, arrived)
        if source is not self._source:
            self._source = source
            self._well_since = now
            self._pace = watchdog.LowSpeed(0, _SLOW_OVER)
        if arrived != self._arrived or not waiting:
            self._arrived = arrived
            self._quiet_since = now
            if waiting:
                self._low_speed.resume(now)
        if received != self._count or not waiting:
            self._count = received
            self._last = now
        if now >= self._sampled + _EVERY:
            self._look_at_speed(now, source, waiting)
        self.slow = self._slow_since is not None
        if self.slow or not waiting:
            self._well_since = now
        if self._slow_since is not None:
            return now - self._slow_since
        if now < self._quiet_since + max(_SILENT, self._usual(source)):
            return 0.0
        return now - self._last

    def _usual(self, source: sources.Source) -> float:
        return _AS_EVER * (source.silence or 0.0)

    def error(self, lost: float) -> errors.Stalled:
        """Return what an attempt is ended for that was overtaken."""
        if self.slow:
            text = 'less than %d bytes/s for %.1f s' % (self._limit, lost)
        else:
            text = 'no byte in %.1f s' % lost
        return errors.Stalled(text + ', and another mirror has them')

    def slower(self) -> errors.Error:
        """Return what an attempt is ended for that was well, but slower."""
        return errors.ReceiveError(
            'no more than %d bytes/s, and another mirror has more' % self.speed
        )

    def _begin(self, now: float, attempt: object, arrived: int) -> None:
        if self._attempt is None:
            self._last = now
        self._attempt = attempt
        self._arrived = arrived
        self._quiet_since = now
        self._slow_since = None
        self._low_speed = self._watch_speed()
        self._sampled = now

    def _look_at_speed(
        self, now: float, source: sources.Source, waiting: bool
    ) -> None:
        before, self._sampled = self._sampled, now
        if not waiting:
            self._pace.suspend(now)
            self._low_speed.suspend(now)
            return
        if self._slow_since is None:
            self._seconds += now - before
        self._pace.resume(now)
        self._pace.stalled(now, self._count)
        if not self._low_speed.stalled(now, self._count):
            self._slow_since = None
        else:
            if self._slow_since is None:
                self._slow_since = now - _SLOW_OVER
            self._speeds[source] = now, self._low_speed.speed

    def choose(
        self,
        now: float,
        lost: float,
        source: sources.Source,
        others: Iterable[sources.Source],
        again: Callable[[sources.Source], int],
        resent: int,
        length: int | None,
        missing: int | None,
    ) -> sources.Source | None:
        """Return the mirror to ask as well, None for none.

        :param lost: seconds, as ``look`` said.
        :param source: the one that is asked.
        :param others: those that may be asked now, the preferred first.
        :param again: returns the bytes that one would have to send again.
        :param resent: bytes that have come again so far, or as a sample.
        :param length: complete length, None where that is not known.
        :param missing: bytes that are not there yet, None as well.
        """
        speed = 0.0
        if self.slow:
            speed = self._speed(source, now) or 0.0
            if missing is not None and missing <= speed * _SOON:
                return None
        return min(
            (
                each
                for each in others
                if (self._speed(each, now) or math.inf) > speed * _FASTER
                and self._is_worth_it(lost, again(each), resent, length)
            ),
            key=lambda each: self._tried.get(each, 0),
            default=None,
        )

    def _speed(self, source: sources.Source, now: float) -> float | None:
        then, speed = self._speeds.get(source, (-math.inf, 0.0))
        return speed if now < then + _SPEED_KNOWN else None

    def _is_worth_it(
        self, lost: float, again: int, resent: int, length: int | None
    ) -> bool:
        if not again:
            return True
        if length is not None and resent + again <= _CHEAP * length:
            return True
        if length is not None and resent + again > length:
            return False
        takes = again * self._seconds / self._count if self._count else 0.0
        return lost > max(takes, self._settings.low_speed_time)

    # While all is well.

    @property
    def speed(self) -> float:
        """Bytes per second, of late."""
        return self._pace.speed

    def compare(
        self,
        now: float,
        rivals: Callable[[float], Iterable[sources.Source]],
        again: Callable[[sources.Source], int],
        resent: int,
        length: int | None,
        missing: int | None,
    ) -> tuple[sources.Source, Sample | None] | None:
        """Return a mirror to ask as well while all is well, None for none.

        With the sample to ask it for, of which the end is to be ``sampled``;
        without one it is ``better``, and asked for what is missing. The other
        parameters are those of ``choose``.

        :param rivals: returns those that may be asked at a time, the
            preferred first; it is not called while it is too early.
        """
        if now < self._well_since + _SLOW_OVER:
            return None
        speed = self.speed
        if not speed:
            # Not known yet.
            return None
        if length is None or missing is None or missing <= speed * _SOON:
            return None
        if self._settings.max_recv_speed:
            # Samples are beside what may come in a second.
            return None
        # 0 where it is not known.
        others = {
            each: self._speed(each, now) or 0.0
            for each in rivals(now)
            if self._is_worth_it(0.0, again(each), resent, length)
        }
        if self.better not in others:
            self.better = max(
                (each for each in others if others[each] > speed * _MORE),
                key=lambda each: others[each],
                default=None,
            )
        if self.better is not None:
            return self.better, None
        unknown = [
            each
            for each in others
            if not others[each] and now >= self._sample_due.get(each, now)
        ]
        # Each has its share of what samples may be.
        left = missing * _SAMPLE_PART - self._spent
        count = int(min(speed * _SAMPLE_OF, left / max(1, len(unknown))))
        if not unknown or count < max(_SAMPLE_LEAST, speed * _SAMPLE_SHORT):
            return None
        chosen = min(unknown, key=lambda each: self._samples.get(each, 0))
        sample = Sample(count)
        self._samples[chosen] = self._samples.get(chosen, 0) + 1
        self._sampling = chosen, sample
        self._spent += count
        self._against = speed
        return chosen, sample

    def sampled(self, now: float) -> None:
        """Note that no more of the sample comes, for whatever reason."""
        assert self._sampling is not None
        (source, sample), self._sampling = self._sampling, None
        self._spent -= sample.left
        self._postpone(now, source)
        if sample.speed(now) >= self._against * _MORE:
            self.better = source

    def _postpone(self, now: float, source: sources.Source) -> None:
        """Have no sample of it soon; each time later."""
        times = min(self._samples.get(source, 1) - 1, _DOUBLINGS)
        self._sample_due[source] = now + _SPEED_KNOWN * 2.0**times

    def is_cheap(self, again: int, resent: int, length: int | None) -> bool:
        """Tell whether bytes may come again while all is well."""
        return self._is_worth_it(0.0, again, resent, length)

    def leave(self, now: float, source: sources.Source) -> None:
        """Note that nothing came of asking ``better``, for now."""
        self._speeds.pop(source, None)
        self._postpone(now, source)
        self.better = None

    def asked(self, source: sources.Source) -> None:
        """Note that a mirror is asked as well."""
        self._tried[source] = self._tried.get(source, 0) + 1

    def patience(self, source: sources.Source) -> float:
        """Return the seconds that it is given before yet another is asked."""
        tried = min(self._tried.get(source, 1) - 1, _DOUBLINGS)
        return max(_SILENT * 2.0**tried, self._usual(source))

    def settled(
        self,
        now: float,
        loser: sources.Source,
        speed: float,
        winner: sources.Source,
    ) -> None:
        """Note that one that was asked as well brings the bytes now.

        :param speed: bytes per second that the other one has brought.
        """
        self._speeds[loser] = now, speed
        self.better = None
        self._tried.pop(winner, None)
