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

"""How far a copy has got: the arithmetic, and the words for it.

No clock and no output here: the time is a parameter. Sizes are bytes, times
and durations are seconds.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import typing

from fuel_agent_curl import errors

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')


class Meter:
    """Rate over a sliding window.

    A window rather than an average since the start: a line that is down
    shows as 0 after ``window`` seconds, and what was fast an hour ago does
    not promise an early end.
    """

    def __init__(self, window: float = 10.0) -> None:
        self._window = window
        self._samples: collections.deque[tuple[float, int]] = (
            collections.deque()
        )

    def add(self, now: float, count: int) -> None:
        """Tell that ``count`` bytes had been received at ``now``."""
        self._samples.append((now, count))
        # One sample from before the window stays, as the point to measure
        # from.
        while len(self._samples) > 2 and (
            self._samples[1][0] <= now - self._window
        ):
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second; 0 before there are two samples."""
        if len(self._samples) < 2:
            return 0.0
        (since, first), (now, last) = self._samples[0], self._samples[-1]
        if now <= since:
            return 0.0
        return max(0, last - first) / (now - since)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status:
    """One look at a copy."""

    #: Bytes of the representation received, in order.
    received: int = 0
    #: Its complete length; None: the server states none.
    length: int | None = None
    #: Bytes of the image written to the target.
    written: int = 0
    #: Bytes per second received lately.
    rate: float = 0.0
    #: The last attempt heard of, counted from 1 since the last progress,
    #: 0: none yet; and the limit it counts towards, 0: none.
    attempt: int = 0
    attempts: int = 0
    #: What ended that attempt; None: nothing has.
    error: errors.Error | None = None
    #: Seconds until the next one begins; 0: it is running.
    delay: float = 0.0

    @property
    def left(self) -> float | None:
        """Seconds left at this rate; None: nobody knows."""
        if self.length is None or self.rate <= 0:
            return None
        return max(0, self.length - self.received) / self.rate

    @property
    def percent(self) -> int | None:
        """Percentage received, rounded down: 100 means all of it."""
        if self.length is None:
            return None
        if self.length == 0:
            return 100
        return min(100, 100 * self.received // self.length)

    def amount(self) -> str:
        """Return '1.2 MiB of 3.4 GiB', or '1.2 MiB' of who knows what."""
        if self.length is None:
            return size(self.received)
        return '%s of %s' % (size(self.received), size(self.length))

    def pace(self) -> str:
        """Return '3.4 MiB/s, 1:02 left', or what is done after that."""
        if self.received and self.received == self.length:
            return '%s written' % size(self.written)
        text = size(self.rate) + '/s'
        left = self.left
        return text if left is None else '%s, %s left' % (text, clock(left))

    def trouble(self) -> str | None:
        """Return what is being retried; None while all is well."""
        if self.error is None:
            return None
        return '%s after attempt %s: %s' % (
            'retry in %d s' % math.ceil(self.delay)
            if self.delay > 0
            else 'retrying',
            count(self.attempt, self.attempts),
            brief(self.error),
        )

    def record(self, event: str) -> dict[str, typing.Any]:
        """Return the object that ``--progress json`` prints."""
        return {
            'event': event,
            'bytes': self.received,
            'length': self.length,
            'written': self.written,
            'rate': round(self.rate),
            'attempt': self.attempt,
            'error': None if self.error is None else str(self.error),
        }


def brief(error: errors.Error) -> str:
    """Return what happened and at which byte, for a line with little room."""
    if error.offset is None:
        return error.message
    return '%s at byte %d' % (error.message, error.offset)


def count(attempt: int, attempts: int) -> str:
    """Return '3/31', or '3' where there is no limit."""
    return '%d/%d' % (attempt, attempts) if attempts else str(attempt)


def size(number: float) -> str:
    """Return '512 B', '1.5 KiB', '20.0 GiB'."""
    unit = 0
    # 1023.95 would be printed as 1024.0.
    while number >= (1023.95 if unit else 1023.5) and unit + 1 < len(_UNITS):
        number /= 1024
        unit += 1
    return '%.*f %s' % (1 if unit else 0, number, _UNITS[unit])


def clock(seconds: float) -> str:
    """Return '0:07', '12:34', '1:02:03', rounded up, or 'over 99 h'."""
    if seconds >= 99 * 3600:
        return 'over 99 h'
    whole = math.ceil(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return '%d:%02d:%02d' % (hours, minutes, rest)
    return '%d:%02d' % (minutes, rest)


def counted(number: int, what: str) -> str:
    """Return '1 request', '2 requests'."""
    return '%d %s%s' % (number, what, '' if number == 1 else 's')
