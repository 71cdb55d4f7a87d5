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


"""What a service manager is told, by the protocol of sd_notify(3).

A datagram for each thing that it is told: nothing here waits for the manager,
and it being gone harms nobody. EXTEND_TIMEOUT_USEC is not sent: a copy has
limits of its own, and one that is set in a unit is meant.
"""

from __future__ import annotations

from collections.abc import MutableMapping
import os
import re
import socket

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import wording
from fuel_agent_curl.rules import events

# Seconds between two lines of status.
_INTERVAL = 1.0

# As often at most it is told that we are here.
_SHORTEST = 0.05

# As much of a line of status is sent.
_LONGEST = 500

# What a time is: no more digits than a number of 64 bits has.
_USEC = re.compile('[0-9]{1,20}')

# The kinds of events that tell that an image has begun to come.
_BEGINNINGS = ('started', 'reused')


class NotifyDisplay(displays.Display):
    """Tells a service manager when the image begins, and how far it is.

    :param address: of the manager's socket, as in NOTIFY_SOCKET.
    :param watchdog: within so many seconds it wants to hear of us; None: it
        does not.
    """

    def __init__(self, address: str, watchdog: float | None = None) -> None:
        self._address = address
        if address.startswith('@'):
            self._address = '\0' + address[1:]
        self._is_watched = watchdog is not None
        wanted = _INTERVAL if watchdog is None else watchdog / 3
        self.interval = max(_SHORTEST, min(_INTERVAL, wanted))
        # A status is due at the first of so many turns.
        self._turns = round(_INTERVAL / self.interval)
        self._turn = 0
        # It has come to that, and it was told.
        self._is_ready = self._is_ready_told = False
        self._has_ended = False
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def update(self, seen: snapshot.Snapshot) -> None:
        """Tell how far it is, and that we are here."""
        if self._has_ended:
            return
        self._tell_ready()
        if self._is_watched:
            self._tell('WATCHDOG=1')
        if self._turn % self._turns == 0:
            self._tell(_status(seen.trouble() or _amount(seen)))
        self._turn += 1

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        """Tell that the image has begun to come, or is there in part."""
        if event.kind in _BEGINNINGS:
            self._is_ready = True
            self._tell_ready()

    def done(self, seen: snapshot.Snapshot, outcome: displays.Outcome) -> None:
        """Tell that it is done."""
        self._has_ended = True
        # Where all was in the spool, no answer has begun. A datagram of its
        # own: of READY and STOPPING in one, the last is taken.
        self._is_ready = True
        self._tell_ready()
        self._tell(
            'STOPPING=1', _status('%s written' % wording.size(seen.written))
        )

    def failed(self, seen: snapshot.Snapshot, end: ending.Ending) -> None:
        """Tell why it has failed."""
        self._has_ended = True
        self._tell('STOPPING=1', _status(end.text))

    def close(self) -> None:
        """Close the socket."""
        super().close()
        self._socket.close()

    def _tell_ready(self) -> None:
        """Tell it once; again, if the queue was full: a start may wait."""
        if self._is_ready and not self._is_ready_told:
            self._is_ready_told = self._tell('READY=1')

    def _tell(self, *lines: str) -> bool:
        """Send it; return whether it was taken."""
        data = '\n'.join(lines).encode('utf-8', 'backslashreplace')
        try:
            self._socket.sendto(data, self._address)
        except OSError:
            return False
        return True


def _amount(seen: snapshot.Snapshot) -> str:
    if not seen.count and seen.total is None:
        return 'waiting for the server'
    percent = '' if seen.percent is None else ' (%d%%)' % seen.percent
    return '%s%s, %s' % (seen.amount(), percent, seen.pace())


def _status(text: str) -> str:
    return 'STATUS=' + errors.one_line(text)[:_LONGEST]


def beside(
    shown: displays.Display,
    environment: MutableMapping[str, str] = os.environ,
) -> displays.Display:
    """Return what tells the service manager, too, if there is one to tell.

    What says so is taken from the environment: no program that we run is to
    speak for us.
    """
    address = environment.pop('NOTIFY_SOCKET', '')
    usec = environment.pop('WATCHDOG_USEC', '')
    pid = environment.pop('WATCHDOG_PID', '')
    # A path or an abstract name; what else there may be is for machines.
    if address[:1] not in ('/', '@') or len(address) < 2:
        return shown
    watchdog = None
    if _USEC.fullmatch(usec) and int(usec) and pid in ('', str(os.getpid())):
        watchdog = int(usec) / 1e6
    try:
        return displays.Several(shown, NotifyDisplay(address, watchdog))
    except OSError:
        return shown
