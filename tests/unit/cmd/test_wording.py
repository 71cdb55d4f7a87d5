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

"""Amounts, times and numbers, as a person reads them."""

from __future__ import annotations

from fuel_agent_curl.cmd import wording
from fuel_agent_curl.octets import MIB
from tests import base


class TestWording(base.TestCase):
    def test_sizes(self) -> None:
        for number, expected in (
            (0, '0 B'),
            (1023, '1023 B'),
            (1023.7, '1.0 KiB'),
            (1024, '1.0 KiB'),
            (MIB - 1, '1.0 MiB'),
            (1.5 * 1024**3, '1.5 GiB'),
            (5000 * 1024**4, '5000.0 TiB'),
        ):
            self.assertEqual(expected, wording.size(number))

    def test_counted(self) -> None:
        self.assertEqual('0 stalls', wording.counted(0, 'stall'))
        self.assertEqual('1 stall', wording.counted(1, 'stall'))

    def test_clock(self) -> None:
        for seconds, expected in (
            (0, '0:00'),
            (6.1, '0:07'),
            (59.5, '1:00'),
            (754, '12:34'),
            (3723, '1:02:03'),
            (1e12, 'over 99 h'),
        ):
            self.assertEqual(expected, wording.clock(seconds))
