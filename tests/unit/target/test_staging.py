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


from __future__ import annotations

from collections.abc import Iterator
import ctypes
import mmap
import random

from fuel_agent_curl.target import staging
from tests import base

_NOISE = random.Random(5).randbytes(3 * staging.SIZE)


def _copied(runs: Iterator[staging.Run]) -> list[tuple[bool, bytes]]:
    return [(zeros, bytes(view)) for zeros, view in runs]


def _address(view: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


class StageTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stage = staging.Stage()
        self.runs: list[tuple[bool, bytes]] = []

    def add(self, view: memoryview) -> None:
        self._take(_copied(self.stage.add(view)))

    def finish(self) -> bytes:
        self._take(_copied(self.stage.rest()))
        return b''.join(data for _zeros, data in self.runs)

    def _take(self, runs: list[tuple[bool, bytes]]) -> None:
        for zeros, data in runs:
            self.assertEqual(zeros, not data.strip(b'\0'))
        self.runs += runs

    def test_pieces_of_any_length(self) -> None:
        data = b''.join(
            (
                bytes(staging.SIZE * 3 // 2),
                _NOISE[:70_000],
                bytes(100),
                b'\x01',
                bytes(staging.SIZE * 2 + 5),
                _NOISE[: staging.SIZE],
                bytes(staging.SIZE),
                b'end',
            )
        )
        for size in (4097, staging.GRAIN, 65_537, staging.SIZE, len(data)):
            self.runs = []
            for start in range(0, len(data), size):
                self.add(memoryview(data[start : start + size]))
            *whole, _last = list(self.runs)
            self.assertTrue(data == self.finish(), str(size))
            self.assertEqual(
                {0}, {len(run) % staging.GRAIN for _zeros, run in whole}
            )
            # Not one by one: most of the zeros are in long runs.
            zeros = sum(len(run) for zeros, run in self.runs if zeros)
            self.assertGreater(zeros, 3 * staging.SIZE)

    def test_data_is_aligned(self) -> None:
        buffer = memoryview(mmap.mmap(-1, 2 * staging.SIZE))
        buffer[:] = _NOISE[: len(buffer)]
        for view in (
            memoryview(_NOISE)[1 : 1 + staging.SIZE],
            buffer[5 : 5 + staging.SIZE],
            buffer[: staging.SIZE],
        ):
            addresses = {
                _address(run) % mmap.PAGESIZE
                for zeros, run in self.stage.add(view)
            }
            self.assertEqual({0}, addresses)

    def test_aligned_data_is_not_copied(self) -> None:
        buffer = memoryview(mmap.mmap(-1, staging.SIZE + 100))
        buffer[:] = _NOISE[: len(buffer)]
        ((zeros, run),) = self.stage.add(buffer)
        self.assertFalse(zeros)
        self.assertEqual(_address(buffer), _address(run))
        self.assertEqual(staging.SIZE, len(run))
        ((_zeros, rest),) = self.stage.rest()
        self.assertEqual(_NOISE[staging.SIZE :][:100], bytes(rest))

    def test_nothing(self) -> None:
        self.add(memoryview(b''))
        self.assertEqual(b'', self.finish())
        self.assertEqual([], self.runs)

    def test_is_zero(self) -> None:
        self.assertTrue(staging.is_zero(memoryview(bytes(200_000))))
        for place in (0, 65_536, 199_999):
            data = bytearray(200_000)
            data[place] = 1
            self.assertFalse(staging.is_zero(memoryview(data)))
