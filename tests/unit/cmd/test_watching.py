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

"""What the thread that watches a copy makes of events and clocks."""

from __future__ import annotations

from collections.abc import Iterable
import itertools
import threading
from typing import Any

from testtools import matchers

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import displays
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.cmd import watching
from fuel_agent_curl.image import gpgv
from fuel_agent_curl.rules import events
from tests import base

URL = 'http://server/image'


class Copy:
    """As much of a copy as a watch looks at.

    :param received: what it has received, from one look to the next.
    """

    def __init__(self, received: Iterable[int]) -> None:
        self._received = iter(received)
        self.unpacked = 35
        self.written = 30
        self.stats = events.Stats(attempts=1)
        self.verified = 0
        self.phase = 'copying'
        self.signer: gpgv.Signer | None = None

    @property
    def received(self) -> int:
        return next(self._received)


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Recorder(displays.Display):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, snapshot.Snapshot]] = []
        self.closed = False

    def event(self, event: events.Event, seen: snapshot.Snapshot) -> None:
        self.told.append((event.kind, seen))

    def close(self) -> None:
        self.closed = True


def event(kind: str, **given: Any) -> events.Event:
    fields = {'offset': 0, 'length': 100, 'attempt': 1, 'attempts': 31}
    return events.Event(kind, URL, **{**fields, **given})


class TestWatch(base.TestCase):
    def test_events_are_seen(self) -> None:
        recorder = Recorder()
        error = errors.ReceiveError('reset')
        with watching.Watch(recorder, 31, FakeClock()) as watch:
            watch.follow(Copy(itertools.repeat(40)))
            watch.observe(event('started'))
            watch.observe(event('retry', attempt=2, error=error, delay=4.0))
            watch.observe(event('resumed', attempt=3))
        self.assertTrue(recorder.closed)
        self.assertEqual(
            ['started', 'retry', 'resumed'],
            [kind for kind, _seen in recorder.told],
        )
        started, retry, resumed = [seen for _kind, seen in recorder.told]
        self.assertThat(
            started,
            matchers.MatchesStructure.byEquality(
                received=40,
                unpacked=35,
                written=30,
                length=100,
                error=None,
                url=URL,
                seconds=0.0,
            ),
        )
        self.assertThat(
            retry,
            matchers.MatchesStructure.byEquality(
                attempt=2, attempts=31, error=error, delay=4.0
            ),
        )
        self.assertThat(
            resumed,
            matchers.MatchesStructure.byEquality(
                attempt=3, error=None, delay=0.0
            ),
        )

    def test_the_url_that_was_given(self) -> None:
        watch = watching.Watch(
            Recorder(), 31, FakeClock(), url='http://u:p@server/given?key=1'
        )
        self.assertEqual('http://server/given?***', watch.look().url)

    def test_a_display_that_is_due_is_updated(self) -> None:
        updated = threading.Event()
        clock = FakeClock()
        rates: list[float] = []

        class Impatient(displays.Display):
            interval = 1.0

            def update(self, seen: snapshot.Snapshot) -> None:
                rates.append(seen.rate)
                clock.now += 2.0
                if len(rates) == 3:
                    clock.now -= 2.0
                    updated.set()

        with watching.Watch(Impatient(), 1, clock) as watch:
            watch.follow(Copy(range(0, 1000, 10)))
            self.assertTrue(updated.wait(10))
        self.assertEqual(3, len(rates))

    def test_the_rate_begins_anew_with_a_phase(self) -> None:
        clock = FakeClock()
        rates: list[float] = []
        copy = Copy(itertools.repeat(0))

        class Reading(displays.Display):
            interval = 1.0

            def update(self, seen: snapshot.Snapshot) -> None:
                followed.wait(10)
                if not seen.written:
                    clock.now += 1.0
                    return
                rates.append(seen.rate)
                clock.now += 1.0
                copy.phase = 'verifying'
                copy.verified += 50
                if len(rates) == 4:
                    clock.now -= 1.0
                    updated.set()

        updated = threading.Event()
        followed = threading.Event()
        with watching.Watch(Reading(), 1, clock) as watch:
            watch.follow(copy)
            followed.set()
            self.assertTrue(updated.wait(10))
        self.assertEqual([0.0, 0.0, 50.0, 50.0], rates)
