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

"""The bounded buffer between the network thread and the consumer.

Bytes arrive in pieces of at most 16 KiB at their offset in the
representation and leave in order as whole chunks. Each piece is copied once,
into a preallocated buffer; buffers are used again.

One network thread writes; one consumer takes. A lock is held only where a
chunk passes from one to the other, not for each piece.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from zlib_ng import zlib_ng


class Window:
    """Ordered chunks, at most ``capacity`` bytes ahead of the consumer.

    :param capacity: bytes.
    :param chunk_size: bytes of a chunk; made smaller where the capacity
        would not hold a few of them.
    :param wake: called on the consumer's thread when there is room again
        after ``write`` refused.
    """

    def __init__(
        self, capacity: int, chunk_size: int, wake: Callable[[], None]
    ) -> None:
        self.chunk_size = max(1, min(chunk_size, capacity // 4))
        self._capacity = capacity
        self._wake = wake
        self._changed = threading.Condition()
        # Chunks being filled: index -> (buffer, bytes in it). Network thread.
        self._filling: dict[int, tuple[bytearray, int]] = {}
        # Chunks complete: index -> (buffer, bytes in it).
        self._ready: dict[int, tuple[bytearray, int]] = {}
        self._free: list[bytearray] = []
        self._taken = 0
        self._limit = capacity
        self._crc = 0
        self._full = False
        self._end: int | None = None
        self._error: BaseException | None = None

    def write(self, offset: int, piece: memoryview) -> bool:
        """Copy the piece to its place; network thread.

        :return: False, with nothing copied, where it does not fit: pause
            until ``has_room``.
        """
        size = len(piece)
        if offset + size > self._limit:
            with self._changed:
                if offset + size > self._limit:
                    self._full = True
                    return False
        chunk_size = self.chunk_size
        done = 0
        while done < size:
            index, at = divmod(offset + done, chunk_size)
            buffer, filled = self._filling.get(index) or (self._buffer(), 0)
            count = min(size - done, chunk_size - at)
            buffer[at : at + count] = piece[done : done + count]
            done += count
            filled += count
            if filled == chunk_size:
                self._filling.pop(index, None)
                self._pass_on(index, buffer, filled)
            else:
                self._filling[index] = (buffer, filled)
        return True

    def has_room(self, offset: int) -> bool:
        """Tell whether a transfer at ``offset`` may be unpaused."""
        return offset + self._capacity // 2 <= self._limit

    def finish(self, length: int) -> None:
        """All ``length`` bytes are here and proven complete."""
        with self._changed:
            for index, chunk in self._filling.items():
                self._ready[index] = chunk
            self._filling.clear()
            self._end = length
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come; the first error counts."""
        with self._changed:
            if self._error is None and self._end is None:
                self._error = error
            self._changed.notify_all()

    def check(self) -> None:
        """Raise what ``fail`` was given, if it was; consumer's thread."""
        if self._error is not None:
            raise self._error

    def rewind(self) -> tuple[int, int]:
        """Forget what was not handed on yet; network thread.

        :return: the bytes that were, and their CRC-32.
        """
        with self._changed:
            for chunks in (self._filling, self._ready):
                self._free.extend(buffer for buffer, _ in chunks.values())
                chunks.clear()
            return self._taken * self.chunk_size, self._crc

    def take(self) -> memoryview | None:
        """Return the next chunk, None after the last; consumer's thread.

        The view is the caller's until ``give_back``.

        :raises BaseException: what ``fail`` was given.
        """
        with self._changed:
            while self._taken not in self._ready:
                if self._error is not None:
                    raise self._error
                if self._end is not None:
                    return None
                self._changed.wait()
            if self._error is not None:
                raise self._error
            buffer, size = self._ready.pop(self._taken)
            view = memoryview(buffer)[:size]
            # The digest of what was handed on is cheap here, and there is no
            # second chance: a server without ranges is resumed by it.
            self._crc = zlib_ng.crc32(view, self._crc)
            self._taken += 1
            self._limit += self.chunk_size
            wake = self._full and self._roomy()
            if wake:
                self._full = False
        if wake:
            self._wake()
        return view

    def give_back(self, view: memoryview) -> None:
        """The chunk's buffer may be used again."""
        buffer = view.obj
        view.release()
        if isinstance(buffer, bytearray):
            self._free.append(buffer)

    def _roomy(self) -> bool:
        # Unpausing costs a wake-up and a system call or two: wait until half
        # the window is free.
        waiting = len(self._ready) + len(self._filling)
        return waiting * self.chunk_size <= self._capacity // 2

    def _pass_on(self, index: int, buffer: bytearray, size: int) -> None:
        with self._changed:
            self._ready[index] = (buffer, size)
            if index == self._taken:
                self._changed.notify_all()

    def _buffer(self) -> bytearray:
        try:
            return self._free.pop()
        except IndexError:
            return bytearray(self.chunk_size)

