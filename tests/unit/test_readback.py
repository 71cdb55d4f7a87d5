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

"""Comparing what was written with what the medium gives back."""

from __future__ import annotations

import random

from fuel_agent_curl import errors
from fuel_agent_curl import readback
from tests import base

_DATA = random.Random(1).randbytes(2 * readback.REGION + 12_345)


def _regions(data: bytes, size: int) -> readback.Regions:
    found = readback.Regions(1000)
    for start in range(0, len(data), size):
        found.update(memoryview(data)[start : start + size])
    return found


class RegionsTest(base.TestCase):
    def test_same(self) -> None:
        for data in (b'', b'x', _DATA, _DATA[: 2 * readback.REGION]):
            for size in (10_007, readback.REGION, 10 * readback.REGION):
                written = _regions(data, size)
                written.compare([memoryview(data)], '/dev/x')

    def test_other_byte(self) -> None:
        written = _regions(_DATA, 10_007)
        for at in (0, readback.REGION - 1, readback.REGION, len(_DATA) - 1):
            spoilt = bytearray(_DATA)
            spoilt[at] ^= 1
            error = self.assertRaises(
                errors.WriteError,
                written.compare,
                [memoryview(spoilt)],
                '/dev/x',
            )
            assert isinstance(error, errors.WriteError)
            self.assertEqual(1000 + at - at % readback.REGION, error.offset)
            self.assertIn('/dev/x', str(error))

    def test_other_length(self) -> None:
        for data in (_DATA, _DATA[: readback.REGION]):
            for other in (data[:-1], data + b'\0', b''):
                self.assertRaises(
                    errors.WriteError,
                    _regions(data, 10_007).compare,
                    [memoryview(other)],
                    '/dev/x',
                )
