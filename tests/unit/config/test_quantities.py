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

"""Sizes and durations as people write them."""

from __future__ import annotations

from fuel_agent_curl.config import quantities
from fuel_agent_curl.octets import GIB
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests import base


class TestQuantities(base.TestCase):
    def test_sizes(self) -> None:
        for text, expected in (
            ('0', 0),
            ('100', 100),
            ('512K', 512 * KIB),
            ('4m', 4 * MIB),
            ('4MiB', 4 * MIB),
            ('1.5G', 1536 * MIB),
            ('0.5k', 512),
            # More than a float can tell apart.
            ('9007199254740993', 9007199254740993),
        ):
            self.assertEqual(expected, quantities.size(text), text)

    def test_durations(self) -> None:
        for text, expected in (
            ('0', 0.0),
            ('90', 90.0),
            ('0.25', 0.25),
            ('90s', 90.0),
            ('5m', 300.0),
            ('1.5H', 5400.0),
        ):
            found = quantities.duration(text)
            self.assertEqual((expected, float), (found, type(found)), text)

    def test_what_is_none(self) -> None:
        for text in (
            *('', 'K', '-1', '+1', '1 K', ' 1', '1_0', 'nan', 'inf', '1e3'),
            *('1.2.3', '.5', '5.', '1T', '1MB', '1iB', '0x10', '\u0664'),
            *('1d', '1h30m', 'K1'),
        ):
            self.assertRaises(ValueError, quantities.size, text)
        for text in (
            '',
            's',
            '-1',
            '1 m',
            '1e3',
            '1M30',
            '1h30m',
            '1ms',
            '1d',
        ):
            self.assertRaises(ValueError, quantities.duration, text)

    def test_no_error_repeats_the_text(self) -> None:
        for read in (quantities.size, quantities.duration):
            error = self.assertRaises(ValueError, read, 'hush')
            self.assertNotIn('hush', str(error))

    def test_shown_is_read_again(self) -> None:
        for number, text in (
            (0, '0'),
            (1023, '1023'),
            (KIB, '1K'),
            (1536 * KIB, '1536K'),
            (64 * MIB, '64M'),
            (2 * GIB, '2G'),
        ):
            self.assertEqual(text, quantities.shown_size(number))
            self.assertEqual(number, quantities.size(text))
