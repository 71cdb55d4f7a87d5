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
it receives, once, and commits it; buffers are used again.

The two threads share no lock: one that a thread was interrupted in, by a
signal, or that was held when the process forked, would never be released.
What both change is changed by one call into C, which is a single step for
other threads and for signal handlers; what is told is told by a queue.
"""

from __future__ import annotations

from collections.abc import Callable
import contextlib
import mmap
import queue

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.engine import reread
from fuel_agent_curl.image import metalink

# Shorter ones would waste pages, and a process has so many mappings only.
_LEAST_MAPPED = 64 * octets.KIB
# For chunks that are longer than that; as on x86 and ARM, with pages of 4 KiB.
_HUGE_PAGE = 2 * octets.MIB


class Chunk:
    """A buffer, where its bytes belong, and how many of them are in place.

    :ivar index: its place among the chunks of the representation.
    :ivar buffer: as long as each chunk but the last.
    """

    __slots__ = ('buffer', 'filled', 'index')

    def __init__(self, index: int, buffer: memoryview) -> None:
        self.index = index
        self.buffer = buffer
        self.filled = 0

    @property
    def content(self) -> memoryview:
        """What is in place, where that is whole from the beginning on."""
        return self.buffer[: self.filled]


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
    :param begin: what is before it is not brought; made less where that is
        within a chunk.
    :ivar length: bytes in all, None until that is known.
    :ivar begin: the first byte that is brought.
    :ivar brought: bytes committed, each counted once, and those before
        ``begin``.
    """

    def __init__(
        self,
        capacity: int,
        chunk_size: int,
        wake: Callable[[], None],
        pieces: metalink.Pieces | None = None,
        begin: int = 0,
    ) -> None:
        self.length: int | None = None
        self.chunk_size = max(1, min(chunk_size, capacity // 4))
        self._chunks = capacity // self.chunk_size
        self._wake = wake
        self._pieces = pieces
        # The network thread's, by index in the representation: being filled,
        # and the CRC-32 of those complete but not known to be handed on.
        self._filling: dict[int, Chunk] = {}
        self._sums: dict[int, int] = {}
        self._crcs = reread.Checkpoints(begin // self.chunk_size)
        self._wanted: int | None = None
        # The consumer's: how many it has taken, and those of them that it
        # did not give back.
        self._taken = self._crcs.count
        self.begin = self.brought = self.handed_on
        self._held: list[Chunk] = []
        # Of both.
        self._ready: dict[int, Chunk] = {}
        self._free: list[memoryview] = []
        self._errors: list[BaseException] = []
        self._end: int | None = None
        self._released = False
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    # The network thread.

    def lease(self, offset: int) -> tuple[memoryview, int, int] | None:
        """Return where the byte at ``offset`` goes.

        :return: a buffer, the position in it, and how many bytes fit from
            there on; None where the window has no room for it now.
        :raises OSError: if there is no memory for it.
        """
        index, at = divmod(offset, self.chunk_size)
        if index >= self._taken + self._chunks:
            return None
        chunk = self._filling.get(index)
        if chunk is None:
            chunk = self._filling[index] = Chunk(index, self._buffer())
        return chunk.buffer, at, self.chunk_size - at

    def commit(self, offset: int, count: int) -> bool:
        """``count`` bytes from ``offset`` on, in one lease, are in place.

        :return: False where that completes a chunk which is not what its
            piece hashes say: it is to be brought again, from its start.
        """
        index = offset // self.chunk_size
        chunk = self._filling[index]
        chunk.filled += count
        self.brought += count
        start = index * self.chunk_size
        size = self.chunk_size
        if self.length is not None:
            size = min(size, self.length - start)
        if chunk.filled < size:
            return True
        if self._pieces and not self._pieces.match(start, chunk.buffer[:size]):
            self.brought -= chunk.filled
            chunk.filled = 0
            return False
        if size == self.chunk_size:
            del self._filling[index]
            # Now, while the bytes are in the processor's cache.
            self._sums[index] = zlib_ng.crc32(chunk.buffer)
            self._note_taken()
            self._ready[index] = chunk
            if index == self._taken:
                self._tell()
        return True

    def start_of(self, offset: int) -> int:
        """Return where what is brought again begins, if it is wrong there."""
        return offset // self.chunk_size * self.chunk_size

    def before(self, offset: int, count: int) -> bytes:
        """Return up to ``count`` bytes before ``offset``, of its chunk.

        None of them where the chunk begins at ``offset``.
        """
        index, at = divmod(offset, self.chunk_size)
        chunk = self._filling.get(index)
        if chunk is None:
            return b''
        return bytes(chunk.buffer[max(0, at - count) : at])

    def has_room(self, stop: int) -> bool:
        """Tell whether all up to ``stop`` fits in the window now."""
        return (stop - 1) // self.chunk_size < self._taken + self._chunks

    def want(self, stop: int) -> bool:
        """Call ``wake`` once all up to ``stop`` fits; True if it does now."""
        # In this order: the consumer makes room first, and looks then.
        self._wanted = stop
        if self.has_room(stop):
            self._wanted = None
            return True
        return False

    @property
    def handed_on(self) -> int:
        """Bytes that the consumer has taken."""
        return self._taken * self.chunk_size

    @property
    def ample(self) -> int:
        """Bytes of room that make unpausing worth its system calls."""
        return self._chunks // 2 * self.chunk_size

    def rewind(self) -> reread.HandedOn:
        """Forget what was not handed on yet; return what was."""
        self._free.extend(chunk.buffer for chunk in self._filling.values())
        self._filling.clear()
        while self._ready:
            try:
                _index, chunk = self._ready.popitem()
            except KeyError:
                # The consumer was faster.
                break
            self._free.append(chunk.buffer)
        self._note_taken()
        self._sums.clear()
        handed_on = self._crcs.handed_on(self.chunk_size)
        self.brought = handed_on.length
        return handed_on

    def finish(self, length: int) -> None:
        """All ``length`` bytes are here and proven complete.

        :raises RuntimeError: if they are not: a bug, and no false success.
        """
        self._note_taken()
        size = self.chunk_size
        handed_on = self._crcs.count
        found = dict.fromkeys(self._sums, size)
        found.update({at: c.filled for at, c in self._filling.items()})
        places = range(handed_on, -(-length // size))
        if handed_on * size > length or found != {
            at: min(size, length - at * size) for at in places
        }:
            raise RuntimeError('not the %d bytes that it is' % length)
        self._ready.update(self._filling)
        self._filling.clear()
        self._end = length
        self._tell()

    def fail(self, error: BaseException) -> None:
        """Nothing more will come; the first error counts."""
        if self._end is None:
            self._errors.append(error)
        self._tell()

    def left(self) -> None:
        """The network thread ends: free what is not to be handed on."""
        self._filling.clear()
        self._sums.clear()
        self.release()

    def _note_taken(self) -> None:
        # What it holds it has taken, noted or not; it gives nothing back
        # before it has noted it. So in this order.
        held = [chunk.index + 1 for chunk in tuple(self._held)]
        taken = max(self._taken, *held, 0)
        while self._crcs.count < taken:
            self._crcs.add(self._sums.pop(self._crcs.count))

    def _buffer(self) -> memoryview:
        try:
            return self._free.pop()
        except IndexError:
            # One that is as long is aligned, then, and may be written as it
            # is. All of the mapping goes back to the system in the end.
            size = self.chunk_size
            least = _LEAST_MAPPED if size < _LEAST_MAPPED else _HUGE_PAGE
            length = min(-(-least // size), self._chunks) * size
            flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            mapped = mmap.mmap(-1, length, flags)
            # Direct I/O looks up each page that it writes from. A kernel may
            # be without huge ones.
            with contextlib.suppress(OSError):
                mapped.madvise(mmap.MADV_HUGEPAGE)
            view = memoryview(mapped)
            buffer, *others = (
                view[at : at + size] for at in range(0, length, size)
            )
            self._free.extend(others)
            return buffer

    # Any thread, and a signal handler.

    def close(self, error: BaseException) -> None:
        """Nothing more is wanted: ``take`` raises ``error``, or an earlier."""
        self._errors.append(error)
        self.release()
        self._tell()

    def inherit(self, error: BaseException) -> None:
        """This is a copy in the child of a fork: nothing will ever come."""
        self._errors = [error]
        self.release()
        self._tell()

    def give_back(self, chunk: Chunk) -> None:
        """The chunk's buffer may be used again."""
        self._free.append(chunk.buffer)
        if self._released:
            self._free.clear()

    def release(self) -> None:
        """Keep no memory for bytes to come, nor any after an error."""
        self._released = True
        self._free.clear()
        if self._errors:
            self._ready.clear()
            self._held.clear()

    def _tell(self) -> None:
        # One is enough: whoever gets it looks at everything. More would
        # become many while the consumer need not wait.
        if self._news.empty():
            self._news.put(None)

    # The consumer.

    def check(self) -> None:
        """Raise what ``fail`` or ``close`` was given, if it was."""
        if self._errors:
            error = self._errors[0]
            raise error.again() if isinstance(error, errors.Error) else error

    def take(self, index: int) -> Chunk | None:
        """Return a chunk, None behind the last; wait for it.

        They are taken in order, but each again and again until ``let_go``:
        whoever was interrupted may ask once more.

        :raises BaseException: what ``fail`` or ``close`` was given.
        """
        while True:
            self.check()
            for chunk in self._held:
                if chunk.index == index:
                    if self._taken <= index:
                        self._taken = index + 1
                    self._make_room_known()
                    return chunk
            if index in self._ready:
                self._hold(index)
                continue
            if self._end is not None and index * self.chunk_size >= self._end:
                return None
            self._make_room_known()
            self._news.get()

    def _hold(self, index: int) -> None:
        try:
            # One call that moves it: it is never in neither of them.
            self._held.extend(map(self._ready.pop, (index,)))
        except KeyError:
            # The network thread has forgotten it.
            pass

    def let_go(self, index: int) -> None:
        """Take no chunk before ``index`` any more."""
        held = self._held[:]
        if held and held[0].index < index:
            self._held[:] = [one for one in held if one.index >= index]

    def _make_room_known(self) -> None:
        wanted = self._wanted
        if wanted is not None and self.has_room(wanted):
            self._wanted = None
            self._wake()
