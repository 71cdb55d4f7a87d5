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

Bytes arrive at their offset in the representation and leave in order as
whole chunks. A writer leases room in a chunk's buffer, copies into it what
it receives, once, and commits it; buffers are used again. A lock is held
where a chunk passes from one thread to the other only, not for each piece
of at most 16 KiB that libcurl hands over.
"""

from __future__ import annotations

from collections.abc import Callable
import mmap
import threading

from zlib_ng import zlib_ng

from fuel_agent_curl.engine import reread
from fuel_agent_curl.image import metalink

# Shorter ones would waste pages, and a process has so many mappings only.
_LEAST_MAPPED = 64 * 1024


class _Chunk:
    """A buffer, how many bytes of it are in place, and their CRC-32."""

    __slots__ = ('crc', 'filled', 'view')

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.filled = 0
        self.crc = 0


class Cursor:
    """Where the next bytes of one body go.

    :ivar view: buffer of the chunk being filled.
    :ivar at: position of the next byte in it.
    :ivar room: how many more bytes may go there.
    """

    __slots__ = ('at', 'room', 'view')

    def __init__(self) -> None:
        self.view = memoryview(b'')
        self.at = 0
        self.room = 0


class Window:
    """Ordered chunks, at most ``capacity`` bytes ahead of the consumer.

    One network thread writes; one consumer takes.

    :param capacity: bytes.
    :param chunk_size: bytes of a chunk; made smaller where the capacity
        would not hold a few of them.
    :param wake: called on the consumer's thread when there is room for the
        offset that ``want`` named.
    :param pieces: hashes to compare each chunk with before it is handed on;
        a chunk is whole pieces then.
    :ivar length: bytes in all, None until that is known.
    """

    def __init__(
        self,
        capacity: int,
        chunk_size: int,
        wake: Callable[[], None],
        pieces: metalink.Pieces | None = None,
    ) -> None:
        self.length: int | None = None
        self.chunk_size = max(1, min(chunk_size, capacity // 4))
        self._chunks = capacity // self.chunk_size
        self._wake = wake
        self._pieces = pieces
        self._changed = threading.Condition()
        # By index in the representation: being filled, and complete.
        self._filling: dict[int, _Chunk] = {}
        self._ready: dict[int, _Chunk] = {}
        self._free: list[memoryview] = []
        self._taken = 0
        self._wanted: int | None = None
        self._crcs = reread.Checkpoints()
        self._end: int | None = None
        self._error: BaseException | None = None

    # The network thread.

    def lease(self, offset: int) -> tuple[memoryview, int, int] | None:
        """Return where the byte at ``offset`` goes.

        :return: a buffer, the position in it, and how many bytes fit from
            there on; None where the window has no room for it now.
        """
        index, at = divmod(offset, self.chunk_size)
        if index >= self._taken + self._chunks:
            return None
        chunk = self._filling.get(index)
        if chunk is None:
            chunk = self._filling[index] = _Chunk(self._buffer())
        return chunk.view, at, self.chunk_size - at

    def commit(self, offset: int, count: int) -> bool:
        """``count`` bytes from ``offset`` on, in one lease, are in place.

        :return: False where that completes a chunk which is not what its
            piece hashes say: it is to be brought again, from its start.
        """
        index = offset // self.chunk_size
        chunk = self._filling[index]
        chunk.filled += count
        start = index * self.chunk_size
        size = self.chunk_size
        if self.length is not None:
            size = min(size, self.length - start)
        if chunk.filled < size:
            return True
        if self._pieces and not self._pieces.match(start, chunk.view[:size]):
            chunk.filled = 0
            return False
        if size == self.chunk_size:
            del self._filling[index]
            # Now, while the bytes are in the processor's cache.
            chunk.crc = zlib_ng.crc32(chunk.view)
            with self._changed:
                self._ready[index] = chunk
                if index == self._taken:
                    self._changed.notify_all()
        return True

    def before(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes before ``offset``, of its chunk.

        None of them where the chunk begins at ``offset``.
        """
        index, at = divmod(offset, self.chunk_size)
        chunk = self._filling.get(index)
        if chunk is None:
            return b''
        return bytes(chunk.view[max(0, at - count) : at])

    def has_room(self, stop: int) -> bool:
        """Tell whether all up to ``stop`` fits in the window now."""
        return (stop - 1) // self.chunk_size < self._taken + self._chunks

    def want(self, stop: int) -> bool:
        """Call ``wake`` once all up to ``stop`` fits; True if it does now."""
        with self._changed:
            self._wanted = stop
            if self.has_room(stop):
                self._wanted = None
        return self._wanted is None

    @property
    def ample(self) -> int:
        """Bytes of room that make unpausing worth its system calls."""
        return self._chunks // 2 * self.chunk_size

    def rewind(self) -> reread.HandedOn:
        """Forget what was not handed on yet; return what was."""
        with self._changed:
            for chunks in (self._filling, self._ready):
                self._free.extend(chunk.view for chunk in chunks.values())
                chunks.clear()
            return self._crcs.handed_on(self.chunk_size)

    def finish(self, length: int) -> None:
        """All ``length`` bytes are here and proven complete.

        :raises RuntimeError: if they are not: a bug, and no false success.
        """
        with self._changed:
            self._ready.update(self._filling)
            self._filling.clear()
            size = self.chunk_size
            handed_on = self._taken * size
            found = {at * size: c.filled for at, c in self._ready.items()}
            places = range(handed_on, length, size)
            if handed_on > length or found != {
                at: min(size, length - at) for at in places
            }:
                raise RuntimeError('not the %d bytes that it is' % length)
            self._end = length
            self._changed.notify_all()

    # Either thread.

    def fail(self, error: BaseException) -> None:
        """Nothing more will come; the first error counts."""
        with self._changed:
            if self._error is None and self._end is None:
                self._error = error
            self._changed.notify_all()

    # The consumer.

    def check(self) -> None:
        """Raise what ``fail`` was given, if it was."""
        if self._error is not None:
            raise self._error

    def take(self) -> memoryview | None:
        """Return the next chunk, None after the last; wait for it.

        The view is the caller's until ``give_back``; several may be.

        :raises BaseException: what ``fail`` was given.
        """
        with self._changed:
            while self._taken not in self._ready:
                self.check()
                if self._end is not None:
                    return None
                self._changed.wait()
            self.check()
            chunk = self._ready.pop(self._taken)
            view = chunk.view[: chunk.filled]
            self._crcs.add(chunk.crc)
            self._taken += 1
            wake = self._wanted is not None and self.has_room(self._wanted)
            if wake:
                self._wanted = None
        if wake:
            self._wake()
        return view

    def give_back(self, view: memoryview) -> None:
        """The chunk's buffer may be used again; the view is no more.

        From any thread.
        """
        buffer = view.obj
        view.release()
        self._free.append(memoryview(buffer))

    def _buffer(self) -> memoryview:
        try:
            return self._free.pop()
        except IndexError:
            if self.chunk_size < _LEAST_MAPPED:
                return memoryview(bytearray(self.chunk_size))
            # A whole chunk is aligned, then, and may be written as it is.
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            return memoryview(mmap.mmap(-1, self.chunk_size, flags))
