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

"""How far a copy has got, in numbers."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import snapshot
from fuel_agent_curl.octets import MIB
from tests import base

URL = 'http://server/image'


class TestMeter(base.TestCase):
    def test_no_rate_without_two_samples(self) -> None:
        meter = snapshot.Meter()
        self.assertEqual(0.0, meter.rate)
        meter.add(5.0, 100)
        self.assertEqual(0.0, meter.rate)
        meter.add(5.0, 200)
        self.assertEqual(0.0, meter.rate)

    def test_steady(self) -> None:
        meter = snapshot.Meter(10)
        for second in range(100):
            meter.add(second, 7 * second)
        self.assertEqual(7.0, meter.rate)

    def test_the_past_is_forgotten(self) -> None:
        meter = snapshot.Meter(10)
        for second in range(50):
            meter.add(second, 1000 * second)
        for second in range(50, 60):
            meter.add(second, 49000)
        self.assertEqual(0.0, meter.rate)

    def test_samples_rarer_than_the_window(self) -> None:
        meter = snapshot.Meter(10)
        for second in (0, 30, 60):
            meter.add(second, 5 * second)
        self.assertEqual(5.0, meter.rate)

    def test_a_count_that_falls_is_no_negative_rate(self) -> None:
        """It does where a server without ranges is read again from 0."""
        meter = snapshot.Meter()
        meter.add(0, 1000)
        meter.add(1, 0)
        self.assertEqual(0.0, meter.rate)


class TestSnapshot(base.TestCase):
    def test_left_and_percent(self) -> None:
        seen = snapshot.Snapshot(received=25, length=100, rate=5.0)
        self.assertEqual(15.0, seen.left)
        self.assertEqual(25, seen.percent)

    def test_nobody_knows(self) -> None:
        self.assertIsNone(snapshot.Snapshot(received=1, rate=5.0).left)
        self.assertIsNone(snapshot.Snapshot(received=1, length=9).left)
        self.assertIsNone(snapshot.Snapshot(received=1).percent)

    def test_percent_is_100_only_at_the_end(self) -> None:
        self.assertEqual(
            99, snapshot.Snapshot(received=9999, length=10000).percent
        )
        self.assertEqual(
            100, snapshot.Snapshot(received=10000, length=10000).percent
        )
        self.assertEqual(100, snapshot.Snapshot(length=0).percent)

    def test_words(self) -> None:
        seen = snapshot.Snapshot(received=MIB, length=4 * MIB, rate=MIB / 2)
        self.assertEqual('1.0 MiB of 4.0 MiB', seen.amount())
        self.assertEqual('512.0 KiB/s, 0:06 left', seen.pace())
        unknown = snapshot.Snapshot(received=MIB)
        self.assertEqual('1.0 MiB', unknown.amount())
        self.assertEqual('0 B/s', unknown.pace())

    def test_all_received_and_not_yet_all_written(self) -> None:
        seen = snapshot.Snapshot(
            received=MIB, length=MIB, written=9 * MIB, rate=MIB
        )
        self.assertEqual('9.0 MiB written', seen.pace())

    def test_phases_after_the_last_byte(self) -> None:
        seen = snapshot.Snapshot(
            received=MIB, length=MIB, written=8 * MIB, phase='syncing'
        )
        self.assertEqual('8.0 MiB written, syncing', seen.pace())
        seen = snapshot.Snapshot(
            received=MIB,
            length=MIB,
            unpacked=8 * MIB,
            written=7 * MIB,
            verified=2 * MIB,
            rate=MIB,
            phase='verifying',
        )
        self.assertEqual('2.0 MiB of 8.0 MiB read back', seen.amount())
        self.assertEqual('1.0 MiB/s, 0:06 left', seen.pace())
        self.assertEqual(25, seen.percent)

    def test_trouble(self) -> None:
        error = errors.ReceiveError('connection reset', offset=77, url=URL)
        seen = snapshot.Snapshot(
            attempt=3, attempts=31, error=error, delay=3.2
        )
        self.assertEqual(
            'retry in 4 s after attempt 3/31: connection reset at byte 77',
            seen.trouble(),
        )
        self.assertEqual(
            'retrying after attempt 3: no such host',
            snapshot.Snapshot(
                attempt=3, error=errors.ResolveError('no such host')
            ).trouble(),
        )
        self.assertIsNone(snapshot.Snapshot(attempt=3).trouble())
