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

"""Low-speed detection that counts unpaused time only.

libcurl's own check (CURLOPT_LOW_SPEED_TIME) is an average over about six
seconds that every unpause starts anew (curl_easy_pause): a dead server
behind a consumer that pauses often would never be noticed.
"""

from __future__ import annotations

import collections


class LowSpeed:
    """Tells when fewer than ``limit * time`` bytes came in ``time`` seconds.

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

    def _advance(self, now: float) -> None:
        if self._ticking:
            self._elapsed += now - self._last
            self._last = now
