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


"""When a service manager is to be told, and how often."""

from __future__ import annotations

import os
import socket
from typing import Any

from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import ending
from fuel_agent_curl.cmd import notify
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.rules import events
from tests import base

URL = 'http://server/image'


class Socket:
    """As much of a socket as is used; takes nothing while it is full."""

    def __init__(self, *_kind: int) -> None:
        self.taken: list[tuple[str, str]] = []
        self.full = False

    def setblocking(self, value: bool) -> None:
        assert not value

    def sendto(self, data: bytes, address: str) -> None:
        if self.full:
            raise BlockingIOError
        self.taken.append((data.decode(), address))

    def close(self) -> None:
        """There is nothing to close."""


class NotifyTestCase(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(socket, 'socket', Socket)

    def display(self, *given: Any) -> notify.NotifyDisplay:
        return notify.NotifyDisplay(*given)

    def told(self, display: notify.NotifyDisplay) -> list[str]:
        """Return what was told since the last call."""
        taken: list[tuple[str, str]] = display._socket.taken  # type: ignore
        found = [text for text, _address in taken]
        taken.clear()
        return found


class TestDisplay(NotifyTestCase):
    def test_words(self) -> None:
        display = self.display('/run/notify')
        display.update(snapshot.Snapshot())
        event = events.Event('started', URL, 0, MIB, 1, 31)
        seen = snapshot.Snapshot(received=MIB // 2, length=MIB, rate=MIB)
        display.event(event, seen)
        display.update(seen)
        end = ending.Ending('gave up\nREADY=1', 26, 'blank')
        display.failed(seen, end)
        self.assertEqual(
            [
                'STATUS=waiting for the server',
                'READY=1',
                'STATUS=512.0 KiB of 1.0 MiB (50%), 1.0 MiB/s, 0:01 left',
                'STOPPING=1\nSTATUS=gave up?READY=1',
            ],
            self.told(display),
        )

    def test_ready_is_told_once(self) -> None:
        for kinds, early in (
            (('started', 'retry', 'started'), 1),
            (('reused', 'resumed'), 1),
            # Of a copy whose bytes are all in the spool.
            (('continued',), 0),
            ((), 0),
        ):
            display = self.display('/run/notify')
            seen = snapshot.Snapshot(written=MIB)
            for kind in kinds:
                display.event(events.Event(kind, URL, 0, MIB, 1, 31), seen)
            display.update(seen)
            told = self.told(display)
            self.assertEqual(early, told.count('READY=1'), str(kinds))
            display.done(seen, {})
            told += self.told(display)
            self.assertEqual(1, told.count('READY=1'), str(kinds))
            # The last word of one datagram is what counts.
            self.assertEqual('STOPPING=1\nSTATUS=1.0 MiB written', told[-1])

    def test_a_copy_that_fails_first_is_not_ready(self) -> None:
        display = self.display('/run/notify')
        display.event(
            events.Event('retry', URL, 0, None, 1, 2), snapshot.Snapshot()
        )
        end = ending.Ending('gave up', 26, 'untouched')
        display.failed(snapshot.Snapshot(), end)
        self.assertNotIn('READY=1', self.told(display))

    def test_ready_is_told_until_it_is_taken(self) -> None:
        display = self.display('/run/notify')
        event = events.Event('started', URL, 0, MIB, 1, 31)
        taker: Socket = display._socket  # type: ignore
        taker.full = True
        display.event(event, snapshot.Snapshot())
        display.update(snapshot.Snapshot())
        taker.full = False
        display.update(snapshot.Snapshot())
        display.update(snapshot.Snapshot())
        self.assertEqual(1, self.told(display).count('READY=1'))

    def test_the_watchdog_hears_more_often_than_it_wants_to(self) -> None:
        for watchdog, interval in ((60.0, 1.0), (0.9, 0.3), (1e-6, 0.05)):
            display = self.display('/run/notify', watchdog)
            self.assertEqual(interval, round(display.interval or 0, 6))
            turns = round(3.0 / interval)
            for _turn in range(turns):
                display.update(snapshot.Snapshot())
            told = self.told(display)
            self.assertEqual(turns, told.count('WATCHDOG=1'))
            self.assertLessEqual(len(told) - turns, 4)

    def test_an_abstract_name(self) -> None:
        display = self.display('@name')
        display.update(snapshot.Snapshot())
        taker: Socket = display._socket  # type: ignore
        self.assertEqual('\0name', taker.taken[0][1])


class TestBeside(NotifyTestCase):
    def beside(self, **environment: str) -> displays.Display:
        shown = displays.Display()
        found = notify.beside(shown, environment)
        self.assertEqual({}, environment)
        return found

    def test_nobody_to_tell(self) -> None:
        for address in ('', '/', 'vsock:2:1', 'name'):
            self.assertIs(
                displays.Display, type(self.beside(NOTIFY_SOCKET=address))
            )

    def test_no_socket_to_be_had(self) -> None:
        def fail(*_kind: int) -> None:
            raise OSError

        self.patch(socket, 'socket', fail)
        found = self.beside(NOTIFY_SOCKET='/run/notify')
        self.assertIs(displays.Display, type(found))

    def test_whose_watchdog_it_is(self) -> None:
        for pid, interval in (
            ('', 0.3),
            (str(os.getpid()), 0.3),
            ('1', 1.0),
        ):
            found = self.beside(
                NOTIFY_SOCKET='/run/notify',
                WATCHDOG_USEC='900000',
                WATCHDOG_PID=pid,
            )
            self.assertEqual(interval, round(found.interval or 0, 6))

    def test_times_that_are_none(self) -> None:
        for usec in ('', '0', '-1', 'x', '9' * 400, '9' * 5000, '\u0661'):
            found = self.beside(
                NOTIFY_SOCKET='/run/notify', WATCHDOG_USEC=usec
            )
            self.assertEqual(1.0, found.interval, usec)
