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

"""How far a copy has got: one look at it, and its rate.

No clock and no output here: the time is a parameter. Sizes are bytes, times
and durations are seconds.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.rules import events

if typing.TYPE_CHECKING:
    from fuel_agent_curl.image import gpgv


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


# What is said of the bytes in the phases in which the target is read.
_READS = {'comparing': ' compared', 'verifying': ' read back'}


@values.dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One look at a copy."""

    #: Bytes of the representation received, in order.
    received: int = 0
    #: Its complete length; None: the server states none.
    length: int | None = None
    #: Bytes of the image that have been taken for the target, and those of
    #: them that the kernel was given.
    unpacked: int = 0
    written: int = 0
    #: What it is busy with: 'copying', 'syncing' or 'verifying'; 'comparing'
    #: what is on the target before the first of them, where that is reused.
    phase: str = 'copying'
    #: Bytes of the image read back from the target, in this phase.
    verified: int = 0
    #: Bytes per second received lately; or read, while comparing or verifying.
    rate: float = 0.0
    #: The last attempt heard of, counted from 1 since the last progress,
    #: 0: none yet; and the limit it counts towards, 0: none.
    attempt: int = 0
    attempts: int = 0
    #: What ended that attempt; None: nothing has.
    error: errors.Error | None = None
    #: Seconds until the next one begins; 0: it is running.
    delay: float = 0.0
    #: Who signed what had to be signed; None: nobody has, yet.
    signer: gpgv.Signer | None = None
    #: What the last event was about, or what was given, redacted; None:
    #: nothing could be made of the command line.
    url: str | None = None
    #: Since the copy began.
    seconds: float = 0.0
    #: Counters of the requests so far.
    stats: events.Stats = dataclasses.field(default_factory=events.Stats)

    @property
    def count(self) -> int:
        """Bytes done in this phase."""
        return self.verified if self.phase in _READS else self.received

    @property
    def total(self) -> int | None:
        """Bytes to do in this phase; None: nobody knows."""
        return self.unpacked if self.phase == 'verifying' else self.length

    @property
    def left(self) -> float | None:
        """Seconds left at this rate; None: nobody knows."""
        if self.total is None or self.rate <= 0:
            return None
        return max(0, self.total - self.count) / self.rate

    @property
    def percent(self) -> int | None:
        """Percentage of this phase, rounded down: 100 means all of it."""
        if self.total is None:
            return None
        if self.total == 0:
            return 100
        return min(100, 100 * self.count // self.total)

    def amount(self) -> str:
        """Return '1.2 MiB of 3.4 GiB', or '1.2 MiB' of who knows what."""
        text = wording.size(self.count)
        if self.total is not None:
            text += ' of ' + wording.size(self.total)
        return text + _READS.get(self.phase, '')

    def pace(self) -> str:
        """Return '3.4 MiB/s, 1:02 left', or what is done after that."""
        if self.phase == 'syncing':
            return '%s written, syncing' % wording.size(self.written)
        if self.phase == 'copying' and self.received == self.length:
            return '%s written' % wording.size(self.written)
        text = wording.size(self.rate) + '/s'
        if self.left is None:
            return text
        return '%s, %s left' % (text, wording.clock(self.left))

    def trouble(self) -> str | None:
        """Return what is being retried; None while all is well."""
        if self.error is None:
            return None
        return '%s after attempt %s: %s' % (
            'retry in %d s' % math.ceil(self.delay)
            if self.delay > 0
            else 'retrying',
            wording.count(self.attempt, self.attempts),
            wording.brief(self.error),
        )

    def values(self) -> dict[str, typing.Any]:
        """Return what ``--progress json`` prints of it in every object."""
        return {
            'url': self.url,
            'seconds': round(self.seconds, 3),
            'phase': self.phase,
            'bytes': self.received,
            'length': self.length,
            'unpacked': self.unpacked,
            'written': self.written,
            'verified': self.verified,
            'rate': round(self.rate),
            'requests': self.stats.attempts,
            'resumes': self.stats.resumes,
            'stalls': self.stats.stalls,
            'transferred': self.stats.received,
            'attempt': self.attempt,
            'attempts': self.attempts,
            'error': None if self.error is None else str(self.error),
        }
