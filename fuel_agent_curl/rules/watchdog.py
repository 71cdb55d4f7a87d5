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
"""Tells when an attempt has to be ended, and how fast it is.

Rules only: the time and the counters come in, an error goes out. Low speed
is the largest part of that, and nobody else's.
"""

from __future__ import annotations

import collections
import math

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module

# Times as long as ever before that a server may be silent, while that is less
# than it may be at first.
_SILENCES = 4

# How often samples are taken, in seconds.
_EVERY = 0.125
# How long an attempt has to last before its speed says anything ...
_SETTLED = 0.2
# ... where no byte has come yet: a handshake, or a cache that has to ask its
# origin, takes as long and is no reason to ask twice ...
_FIRST_BYTE = 1.0
# ... and the seconds over which the speed is measured.
_SPEED_OVER = 1.0


class LowSpeed:
    """Tells when fewer than ``limit * time`` bytes came in ``time`` seconds.

    libcurl's own check (CURLOPT_LOW_SPEED_TIME) is an average over about six
    seconds that every unpause starts anew (curl_easy_pause): a dead server
    behind a consumer that pauses often would never be noticed.

    Seconds in which the transfer was paused, or had no connection yet, do
    not count. ``now`` is a monotonic time, ``count`` a running total of
    bytes.

    :param limit: bytes per second.
    :param time: seconds.
    """

    def __init__(self, limit: float, time: float) -> None:
        self._least = limit * time
        self._time = time
        self._ticking = False
        self._last = 0.0
        self._elapsed = 0.0
        self._samples: collections.deque[tuple[float, int]] = (
            collections.deque()
        )

    def resume(self, now: float) -> None:
        """Time counts from now on."""
        if not self._ticking:
            self._ticking = True
            self._last = now

    def suspend(self, now: float) -> None:
        """Time does not count until ``resume``."""
        self._advance(now)
        self._ticking = False

    def stalled(self, now: float, count: int) -> bool:
        """Take a sample, and tell whether the transfer is stalled."""
        self._advance(now)
        samples = self._samples
        samples.append((self._elapsed, count))
        since = self._elapsed - self._time
        while len(samples) > 1 and samples[1][0] <= since:
            samples.popleft()
        started, before = samples[0]
        return started <= since and count - before < self._least

    @property
    def speed(self) -> float:
        """Bytes per second, over the samples."""
        if len(self._samples) < 2:
            return 0.0
        (started, before), (ended, count) = self._samples[0], self._samples[-1]
        return (count - before) / max(ended - started, 1e-3)

    def _advance(self, now: float) -> None:
        if self._ticking:
            self._elapsed += now - self._last
            self._last = now


class Watchdog:
    """Watches one attempt.

    Above libcurl's own timeouts, which do not end every wait: a resolver
    may hang, and each unpause starts the low-speed check anew.

    :param began: monotonic time of the start.
    :param offset: byte of the representation it starts at.
    :param patience: times as long as usual may be waited for the first byte
        of the head, and then of the body.
    :param silence: the longest, in seconds, before a first byte of the same
        server; one that has been quick is not waited for as long.
    :ivar silence: the same, this attempt included.
    :ivar began: monotonic time at which the last of its requests did.
    :ivar waited: seconds that went by before the first byte of a body, None
        before.
    """

    def __init__(
        self,
        settings: settings_module.Settings,
        began: float,
        offset: int,
        patience: float = 1.0,
        silence: float | None = None,
    ) -> None:
        self._settings = settings
        self._patience = patience
        self._low_speed = self._watch_speed()
        self._received_before = 0
        self._silent_since = began
        self._may_be_silent = True
        self._answered = False
        self.silence = self._known = silence
        self.waited: float | None = None
        self._start(began, offset)

    def _watch_speed(self) -> LowSpeed:
        return LowSpeed(
            self._settings.stall_limit,
            self._settings.low_speed_time * self._patience,
        )

    def _start(self, now: float, offset: int) -> None:
        self.began = now
        self._began_at = offset
        self._connecting_since = now
        self._sampled = -math.inf
        self._samples = collections.deque([(now, offset)])

    def continued(self, now: float, offset: int, received: int) -> None:
        """Another request goes on, after ``received`` bytes of the last.

        The parts of a server that caps its ranges are watched together, so
        that one of a byte each is found too slow.
        """
        self._received_before += received
        self._may_be_silent = False
        self._start(now, offset)

    def check(
        self,
        now: float,
        received: int,
        *,
        connecting: bool,
        paused: bool,
        silent: bool = False,
        body: bool = True,
    ) -> errors.Error | None:
        """Return the error to end the attempt with, None to go on.

        :param received: bytes that have arrived, those of heads included.
        :param silent: no byte of the answer has come yet.
        :param body: a byte of its body has.
        """
        if connecting:
            self._low_speed.suspend(now)
            self._silent_since = now
            limit = self._settings.connect_timeout
            # libcurl's own timeout comes first, if it can.
            if now > self._connecting_since + limit + 1:
                return errors.ConnectError('no connection within %g s' % limit)
            return None
        self._connecting_since = now
        if paused:
            self._low_speed.suspend(now)
            return None
        if silent and self._may_be_silent:
            self._low_speed.suspend(now)
            if self._answered:
                # By a redirect: that leads to another server.
                self._answered = False
                self._silent_since = now
            return self._still_silent(now)
        if not self._answered and self._may_be_silent:
            self._answered = True
            self.silence = max(self.silence or 0, now - self._silent_since)
        if body and self.waited is None:
            self.waited = now - self.began
            if self._patience > 1:
                # From here on it is nothing that is waited for.
                self._patience = 1.0
                self._low_speed = self._watch_speed()
        self._low_speed.resume(now)
        if now < self._sampled + _EVERY:
            return None
        self._sampled = now
        if not self._low_speed.stalled(now, self._received_before + received):
            return None
        return errors.Stalled(
            'less than %d bytes/s for %g s'
            % (
                self._settings.stall_limit,
                self._settings.low_speed_time * self._patience,
            ),
            hint=None
            if body
            else 'if the server needs longer, raise low_speed_time',
        )

    def _still_silent(self, now: float) -> errors.Error | None:
        settings = self._settings
        limit = settings.first_byte_timeout
        if self._known is not None:
            usual = max(_SILENCES * self._known, settings.low_speed_time)
            limit = min(limit, usual)
        limit *= self._patience
        if now < self._silent_since + limit:
            return None
        return errors.Stalled(
            'no byte of an answer in %g s' % limit,
            hint='if the server needs longer, raise first_byte_timeout',
        )

    def sample(self, now: float, offset: int) -> None:
        """Note how far the attempt is."""
        samples = self._samples
        if now >= samples[-1][0] + _EVERY:
            samples.append((now, offset))
            while samples[0][0] < now - _SPEED_OVER:
                samples.popleft()

    def speed(self, now: float, offset: int) -> float:
        """Return the bytes per second since the start."""
        return (offset - self._began_at) / max(now - self.began, 1e-3)

    def needs(
        self, now: float, offset: int, stop: int, patience: float = 0.0
    ) -> float:
        """Return the seconds it will take, at the recent speed, to ``stop``.

        0 while the attempt is too young to tell.

        :param patience: seconds that it is called young for, at the least.
        """
        settled = _SETTLED if offset > self._began_at else _FIRST_BYTE
        if now < self.began + max(settled, patience):
            return 0.0
        then, before = self._samples[0]
        speed = (offset - before) / max(now - then, 1e-3)
        return (stop - offset) / speed if speed > 0 else math.inf
