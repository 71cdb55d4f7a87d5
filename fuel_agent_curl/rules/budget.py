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
"""One budget of bytes per second for all connections of a download.

Rules only: time comes in, bytes go out. What has no budget is paused, and
paused time is not low speed.
"""

from __future__ import annotations

import math

# Unused budget is kept this long, in seconds: more would let a burst follow
# a lull.
_KEPT = 0.25
# Less than this many seconds' worth is not granted: a pause and an unpause
# for each few bytes would cost more than they bring.
_LEAST = 0.02


class Budget:
    """A token bucket.

    :param rate: bytes per second; 0: no limit.
    :param now: monotonic time.
    """

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate * _KEPT)
        self._least = max(1.0, rate * _LEAST)
        self._available = 0.0
        self._updated = now

    def grant(self, now: float, wanted: int) -> int:
        """Return how many of ``wanted`` bytes may be received now."""
        if not self._rate:
            return wanted
        if self.wait(now) > 0:
            return 0
        granted = min(wanted, int(self._available))
        self._available -= granted
        return granted

    def give_back(self, count: int) -> None:
        """Bytes that were granted and not received."""
        if self._rate:
            self._available += count

    def wait(self, now: float) -> float:
        """Return the seconds until something will be granted."""
        if not self._rate:
            return 0.0
        passed = now - self._updated
        self._updated = now
        self._available = min(
            self._most, self._available + passed * self._rate
        )
        missing = self._least - self._available
        return max(0.0, missing / self._rate) if missing > 0 else 0.0


UNLIMITED = Budget(0, -math.inf)
