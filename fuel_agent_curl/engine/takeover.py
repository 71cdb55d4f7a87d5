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
"""Have the rest of a slow segment brought by another transfer.

Output is one ordered stream: what is behind a slow segment has to wait for
it. So whoever is idle asks for the same bytes once more, and takes the rest
over when its first byte is here; until then nothing is lost.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
import logging
import weakref

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.engine import transfer
from fuel_agent_curl.rules import segments

LOG = logging.getLogger(__name__)

# A transfer is taken over when it would need this many times as long for the
# rest as others do, and this many seconds more: less is not worth a request.
_SLOW_FACTOR = 2.0
_SLOW_MARGIN = 0.1
# What is taken over is cut into pieces of about this, for as many others to
# bring at once: nothing goes on to the consumer before all of it is there.
_PIECE = octets.MIB


class Challenge:
    """Two transfers of the same bytes, until the second has its first byte.

    :ivar challenger: set once there is one.
    :ivar won: the challenger has a byte, and the slow one takes no more.
    """

    challenger: transfer.Transfer

    def __init__(self, slow: transfer.Transfer) -> None:
        self.slow = slow
        self.won = False

    def start(self, offset: int, segment: segments.Segment) -> int:
        """Stop the slow one; return the offset that the other goes on at.

        :raises errors.ReceiveError: if nothing is to be taken over.
        """
        if self.won:
            # Another attempt at what was taken over.
            return offset
        if self.slow.offset < segment.start:
            # A piece did not match, and is to be brought again.
            raise errors.ReceiveError('there is a gap before these bytes')
        if segment.stop is not None and self.slow.offset >= segment.stop:
            raise errors.ReceiveError('all of these bytes are there by now')
        self.won = True
        return max(offset, self.slow.stand_down())


class Takeovers:
    """The challenges of one download.

    :param chunk_size: bytes; each chunk is brought by one transfer.
    """

    def __init__(self, chunk_size: int) -> None:
        self._piece = max(1, _PIECE // chunk_size) * chunk_size
        self._speeds: collections.deque[float] = collections.deque(maxlen=32)
        self._challenges: list[Challenge] = []
        # How often somebody has been set on these bytes.
        self._times: weakref.WeakKeyDictionary[transfer.Transfer, int] = (
            weakref.WeakKeyDictionary()
        )

    def brought(self, speed: float) -> None:
        """Note the speed at which a segment came, in bytes per second."""
        self._speeds.append(speed)

    @property
    def typical(self) -> float:
        """The speed at which segments come, 0 before there was one."""
        # The median; a module of its own for that would be slow to import.
        speeds = sorted(self._speeds) or [0.0]
        return speeds[len(speeds) // 2]

    def has(self, one: transfer.Transfer) -> bool:
        """Tell whether a transfer is one of a challenge."""
        return any(
            one in (each.slow, each.challenger) for each in self._challenges
        )

    def slow(
        self, transfers: Iterable[transfer.Transfer], now: float
    ) -> transfer.Transfer | None:
        """Return the oldest that is to be taken over, None if none is."""
        typical = self.typical
        if not typical:
            return None
        challenged = [challenge.slow for challenge in self._challenges]
        challengers = [challenge.challenger for challenge in self._challenges]
        for each in sorted(transfers, key=lambda one: one.offset):
            stop = each.segment.stop
            if stop is None or each in challenged or each in challengers:
                continue
            # Each challenge makes the next come later: where all are slow,
            # the low-speed check has to get its time.
            times = min(self._times.get(each, 0), 32)
            patience = _SLOW_MARGIN * 2.0**times
            usual = (stop - each.offset) / typical
            if each.needs(now, patience) > usual * _SLOW_FACTOR + patience:
                return each
        return None

    def first_piece(self, slow: transfer.Transfer) -> segments.Segment:
        """Return the bytes that whoever takes over is to bring itself."""
        stop = slow.segment.stop
        assert stop is not None
        size = self._piece
        cut = (slow.offset + size + size // 2) // size * size
        return segments.Segment(slow.offset, min(cut, stop))

    def add(self, challenge: Challenge) -> None:
        """Note a challenge that has begun."""
        LOG.debug('taking over the rest of %r', challenge.slow)
        times = self._times.get(challenge.slow, 0) + 1
        self._times[challenge.slow] = times
        self._times[challenge.challenger] = times
        self._challenges.append(challenge)

    def settle(self, now: float) -> list[segments.Segment]:
        """End what is decided; return the pieces that others are to bring."""
        pieces: list[segments.Segment] = []
        for challenge in list(self._challenges):
            slow, challenger = challenge.slow, challenge.challenger
            if challenge.won:
                slow.source.overtaken(slow.speed(now))
                slow.drop()
                # After the win: a challenger that fails leaves all of the
                # rest to the slow one.
                pieces += self._cut(challenger.segment.stop, slow.segment.stop)
            elif not slow.under_way:
                challenger.drop()
            if challenge.won or not challenger.under_way:
                self._challenges.remove(challenge)
        return pieces

    def _cut(
        self, start: int | None, stop: int | None
    ) -> list[segments.Segment]:
        if start is None or stop is None:
            return []
        return [
            segments.Segment(begin, min(begin + self._piece, stop))
            for begin in range(start, stop, self._piece)
        ]

    def forget(self) -> None:
        """There is only one transfer left."""
        self._challenges.clear()
