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

"""Which transfer brings which segment, and when.

One connection is one transfer of one segment that has no end. With several,
the representation is cut at multiples of the segment size; as many segments
as there are connections, and as the window holds, are brought at a time, and
the oldest never waits for a slow connection while another is idle.
"""

from __future__ import annotations

import math

from oslo_log import log as logging

from fuel_agent_curl import easy
from fuel_agent_curl import segments
from fuel_agent_curl import transfer
from fuel_agent_curl import window
from fuel_agent_curl.transfer import State

LOG = logging.getLogger(__name__)


class Plan:
    """The transfers of one download; lives on the network thread."""

    def __init__(self, context: transfer.Context) -> None:
        self._context = context
        self._window = context.window
        self._transfers: list[transfer.Transfer] = []
        # Segments given back, oldest first, and the first byte of no
        # segment yet; None where one transfer brings all that remains.
        self._returned: list[segments.Segment] = []
        self._next: int | None = None
        self._limit = context.settings.connections
        self._size = context.settings.segment
        stop = self._size if self._limit > 1 else None
        self._add(segments.Segment(0, stop))

    def tick(self, now: float) -> float:
        """Do what is due; return the seconds until there is more to do.

        :raises errors.Error: if the download has failed.
        """
        wait = math.inf
        for moving in list(self._transfers):
            wait = min(wait, moving.tick(now))
            if moving.state is State.FAILED:
                assert moving.error is not None
                raise moving.error
            if moving.state not in transfer.UNDER_WAY:
                self._transfers.remove(moving)
                wait = 0.0
        self._context.stats.received = self._context.received + sum(
            moving.receiving for moving in self._transfers
        )
        return wait

    def finished(self, attempt: easy.Attempt, code: int, text: str) -> None:
        """Pass on the end of an attempt to the transfer it belongs to."""
        for moving in self._transfers:
            moving.finished(attempt, code, text)

    @property
    def done(self) -> bool:
        """Every byte is in the window."""
        return not self._transfers

    def sole(self, moving: transfer.Transfer) -> bool:
        """Tell whether no byte but this transfer's is kept."""
        return self._transfers == [moving]

    def alone(self, moving: transfer.Transfer) -> window.HandedOn:
        """Drop all other transfers, forget what was not handed on."""
        for other in self._transfers:
            if other is not moving:
                other.drop()
        self._transfers = [moving]
        self._returned = []
        self._next = None
        return self._window.rewind()

    def _add(self, segment: segments.Segment) -> None:
        source = self._context.sources.best()
        assert source is not None
        self._transfers.append(
            transfer.Transfer(self._context, self, source, segment)
        )
