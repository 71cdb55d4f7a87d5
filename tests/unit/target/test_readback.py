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

from collections.abc import Iterator
import random

from fuel_agent_curl import errors
from fuel_agent_curl.target import readback
from tests import base

_DATA = random.Random(1).randbytes(2 * readback.REGION + 12_345)


# Where the data are; what was before them was not written.
_START = 1000


def _regions(data: bytes, size: int) -> readback.Regions:
    found = readback.Regions()
    for start in range(0, len(data), size):
        found.add(_START + start, memoryview(data)[start : start + size])
    return found


def _medium(data: bytes, before: bytes = bytes(_START)) -> readback.Reader:
    """Return a reader of a medium that has ``data`` at _START."""

    def read(start: int, stop: int) -> Iterator[memoryview]:
        there = memoryview(before + data)[start:stop]
        for at in range(0, len(there), 99_991):
            yield there[at : at + 99_991]

    return read


class RegionsTest(base.TestCase):
    def test_same(self) -> None:
        for data in (b'', b'x', _DATA, _DATA[: 2 * readback.REGION]):
            for size in (10_007, readback.REGION, 10 * readback.REGION):
                written = _regions(data, size)
                written.compare(_medium(data), '/dev/x')

    def test_other_byte(self) -> None:
        written = _regions(_DATA, 10_007)
        for at in (0, readback.REGION - 1, readback.REGION, len(_DATA) - 1):
            spoilt = bytearray(_DATA)
            spoilt[at] ^= 1
            error = self.assertRaises(
                errors.WriteError,
                written.compare,
                _medium(bytes(spoilt)),
                '/dev/x',
            )
            assert isinstance(error, errors.WriteError)
            at += _START
            self.assertEqual(at - at % readback.REGION, error.offset)
            self.assertIn('/dev/x', str(error))

    def test_medium_ends_early(self) -> None:
        for data in (_DATA, _DATA[: readback.REGION]):
            for other in (data[:-1], b''):
                error = self.assertRaises(
                    errors.WriteError,
                    _regions(data, 10_007).compare,
                    _medium(other),
                    '/dev/x',
                )
                self.assertEqual(_START + len(other), error.offset)

    def test_gaps_are_not_read(self) -> None:
        """Nor is it of any matter what is there."""
        written = readback.Regions()
        mib = readback.REGION
        for start, stop in ((0, 5), (mib - 5, mib + 5), (2 * mib, 2 * mib)):
            written.add(start, memoryview(_DATA)[start:stop])
        asked = []

        def read(start: int, stop: int) -> Iterator[memoryview]:
            asked.append((start, stop))
            yield memoryview(other)[start:stop]

        other = bytearray(_DATA)
        other[6] ^= 1
        written.compare(read, '/dev/x')
        self.assertEqual([(0, 5), (mib - 5, mib + 5)], asked[:2])
        other[mib + 4] ^= 1
        error = self.assertRaises(
            errors.WriteError, written.compare, read, '/dev/x'
        )
        self.assertEqual(mib, error.offset)
