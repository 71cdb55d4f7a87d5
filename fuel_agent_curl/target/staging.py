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


"""What a target is given at once: runs of zeros, and aligned data.

O_DIRECT wants memory, offset and length in multiples of the sector. What is
so already goes on as it is; the rest is copied into an aligned buffer, used
again and again. Zeros are looked for in grains; those that come first in what
is added are not copied.
"""

from __future__ import annotations

from collections.abc import Iterator
import ctypes
import mmap

from fuel_agent_curl import octets

#: What is copied together at most.
SIZE = 1 * octets.MIB

#: Zeros are looked for in pieces of this length.
GRAIN = 64 * octets.KIB

_ZEROS = bytes(GRAIN)

#: Whether it is all zeros, and the bytes themselves.
Run = tuple[bool, memoryview]


class Stage:
    """Cuts what comes into runs; holds back what ends within a grain."""

    def __init__(self) -> None:
        self._buffer = memoryview(mmap.mmap(-1, SIZE))
        self._filled = 0

    def add(self, view: memoryview) -> Iterator[Run]:
        """Iterate over the runs that ``view`` completes.

        Each is whole grains, aligned in memory if it is not of zeros, and
        valid until the next. All of them have to be taken.
        """
        while view:
            if not self._filled:
                zeros, length = _run(view)
                length -= length % GRAIN
                if length and (zeros or _is_aligned(view)):
                    yield zeros, view[:length]
                    view = view[length:]
                    continue
            stop = min(self._filled + len(view), SIZE)
            count = stop - self._filled
            self._buffer[self._filled : stop] = view[:count]
            self._filled = stop
            view = view[count:]
            if stop == SIZE:
                yield from self.rest()

    def rest(self) -> Iterator[Run]:
        """Iterate over the runs of what is held back, whole grains or not."""
        view = self._buffer[: self._filled]
        self._filled = 0
        while view:
            zeros, length = _run(view)
            yield zeros, view[:length]
            view = view[length:]


def is_zero(view: memoryview) -> bool:
    """Tell whether there is nothing but zeros."""
    return _run(view) == (True, len(view))


def _run(view: memoryview) -> tuple[bool, int]:
    """Return whether ``view`` starts with zeros, and how long that holds.

    Looked at in grains: a run is a number of them, or all there is.
    """
    zeros = _is_zeros(view[:GRAIN])
    for start in range(GRAIN, len(view), GRAIN):
        if _is_zeros(view[start : start + GRAIN]) != zeros:
            return zeros, start
    return zeros, len(view)


def _is_zeros(grain: memoryview) -> bool:
    # A comparison by startswith is a memcmp without a copy; == between
    # views goes item by item.
    return _ZEROS.startswith(grain)


def _is_aligned(view: memoryview) -> bool:
    """Tell whether it begins with a page; False where that is not known."""
    if view.readonly:
        return False
    first = ctypes.c_char.from_buffer(view)
    return ctypes.addressof(first) % mmap.PAGESIZE == 0
