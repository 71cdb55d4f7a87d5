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

"""One xz stream, its blocks decoded in threads.

Blocks do not depend on each other. Those whose headers say how long they are,
as ``xz -T`` makes them, are decoded in threads of their own, as many of them
as memory allows; any other is decoded by the caller, alone. Every run of
blocks is given to liblzma as a stream, with an index made for it, so that it
compares all that it does in a whole one; what an index says of the blocks of
the whole stream is compared here.

What comes out, and in which order, errors included, does not depend on the
number of threads.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
import importlib
import lzma
import queue
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import workers
from fuel_agent_curl.image import xz

# liblzma counts its own state too: 1 MiB is above what any filter needs.
_STATE = octets.MIB

# Shorter blocks are decoded with those that follow: each run takes a decoder.
_RUN = 1 * octets.MIB
_RECORDS = 1024


def _decoders() -> Any:
    """Return the module whose decoder is used: lzma, or what stands for it.

    lzma_mt comes with a liblzma of its own, 5.8, which takes a quarter less
    time than those before 5.6 that the standard library often has. It raises
    the same errors. It is used where it is installed; not for its threads,
    which have no bound in memory that is known before.
    """
    try:
        return importlib.import_module('lzma_mt')
    except ImportError:
        return lzma


_DECODERS = _decoders()


class Failed(Exception):
    """A block, or what is around it, could not be decoded.

    :ivar taken: bytes of the container up to the end of the piece of it in
        which that was found.
    """

    def __init__(self, cause: BaseException, taken: int) -> None:
        super().__init__()
        self.cause = cause
        self.taken = taken


class _Run:
    """Blocks that are decoded together, in order, by one decoder.

    :param header: of the stream that they are made to be.
    :param memory: the most that the decoder may keep, in bytes.
    :param step: the most that is decoded at once, in bytes.
    :param window: the largest dictionary of its blocks, in bytes.
    :param cost: bytes of the blocks, packed and unpacked, and of the
        dictionary; None: it is decoded by the caller.
    :ivar records: of each block its lengths, as the index has them; None: it
        is not known before it is unpacked.
    :ivar end: where it ends in the container.
    :ivar produced: bytes of the image, so far.
    :ivar dropped: nobody wants any more of it.
    :ivar finished: all of it has been decoded.
    :ivar is_cut: the input has ended within it.
    """

    def __init__(
        self,
        header: bytes,
        memory: int,
        step: int,
        window: int,
        cost: int | None,
    ) -> None:
        self.window = window
        self.cost = cost
        self.records: list[tuple[int, int | None]] = []
        self.length = 0
        self.end = 0
        self.produced = 0
        self.dropped = False
        self.finished = False
        self.is_cut = False
        #: None: there are no more.
        self._feeds: queue.SimpleQueue[tuple[bytes, int] | None]
        self._feeds = queue.SimpleQueue()
        #: What a thread has decoded of it; None: the end.
        self._outs: queue.SimpleQueue[bytes | Failed | None]
        self._outs = queue.SimpleQueue()
        self._steps: Iterator[bytes] | None = None
        self._flags = header[6:8]
        self._header = header
        self._memory = memory
        self._step = step
        self._decoder: lzma.LZMADecompressor | None = None
        self._taken = 0
        self._consumed = 0
        self._handed_on = 0

    @property
    def held(self) -> int:
        """Bytes that it takes in memory, at most."""
        if self.cost is None:
            return 0
        if self.finished:
            return self.produced - self._handed_on
        return self.cost - self._consumed - self._handed_on

    @property
    def is_ready(self) -> bool:
        """Something can be had without waiting; else it has to be fed."""
        if self.cost is None:
            return self._steps is not None or not self._feeds.empty()
        return not self._outs.empty()

    def feed(self, data: bytes, taken: int) -> None:
        self._feeds.put((data, taken))

    def close(self) -> None:
        """Say that all of its blocks are there."""
        self._feeds.put(None)

    def cut(self) -> None:
        """Say that no more will come, in the middle of it."""
        self.is_cut = True
        self._feeds.put(None)

    def drop(self) -> None:
        self.dropped = True
        self._feeds.put(None)

    def work(self) -> None:
        """Decode it in this thread, until it ends or is dropped."""
        try:
            for out in self._decode(wait=True):
                self._outs.put(out)
            self._outs.put(None)
        except Failed as failed:
            self._outs.put(failed)
        except BaseException as error:
            self._outs.put(Failed(error, self._taken))

    def next(self, wait: bool) -> bytes | None:
        """Return the next bytes; b'' when there are none yet, None at the end.

        :param wait: for the thread that decodes it.
        :raises Failed: for damage, when all before it has been returned.
        """
        if self.cost is None:
            return self._next_here()
        if not wait and self._outs.empty():
            return b''
        out = self._outs.get()
        if isinstance(out, Failed):
            raise out from out.cause
        self._handed_on += len(out or b'')
        return out

    def _next_here(self) -> bytes | None:
        if self._steps is None:
            self._steps = self._decode(wait=False)
        for out in self._steps:
            return out
        self._steps = None
        return None if self.finished else b''

    def _decode(self, wait: bool) -> Iterator[bytes]:
        """Decode what it has been fed; or, waiting for that, all of it."""
        while not self.finished and (wait or not self._feeds.empty()):
            feed = self._feeds.get()
            if self.dropped:
                return
            if feed is not None:
                data, self._taken = feed
                yield from self._step_by_step(data)
                self._consumed += len(data)
                continue
            if not self.is_cut:
                # Of several blocks, the lengths of all are known.
                records = [
                    (packed, self.produced if length is None else length)
                    for packed, length in self.records
                ]
                yield from self._step_by_step(xz.closing(self._flags, records))
                if self._decoder is None or not self._decoder.eof:
                    raise Failed(xz.Damaged('a block'), self._taken)
            self._decoder = None
            self.finished = True

    def _step_by_step(self, data: bytes) -> Iterator[bytes]:
        while not self.dropped:
            try:
                if self._decoder is not None and self._decoder.eof:
                    raise xz.Damaged('a block')
                if self._decoder is None:
                    data = self._header + data
                    self._decoder = _DECODERS.LZMADecompressor(
                        lzma.FORMAT_XZ, memlimit=self._memory + _STATE
                    )
                assert self._decoder is not None
                out = self._decoder.decompress(data, self._step)
            except (
                lzma.LZMAError,
                xz.Damaged,
                MemoryError,
            ) as error:
                raise Failed(error, self._taken) from error
            if out:
                self.produced += len(out)
                yield out
            if self._decoder.needs_input or self._decoder.eof:
                return
            data = b''


@values.dataclass(frozen=True)
class _End:
    """Where the stream ends, or what was found in that place."""

    records: xz.Records | None
    failed: Failed | None


class Stream:
    """Decodes one stream; ``decompress`` is as that of bz2's class.

    When no more input will come, ``finish`` has to be called, and
    ``decompress`` until it needs input or is at the end. ``close`` ends the
    threads.

    :param memory: the largest dictionary, in bytes; and the most that all
        blocks in threads take, with their decoders.
    :param threads: that decode at the same time; 1: none but the caller's.
    :param offset: where in the container it begins, or goes on.
    :param state: as of ``boundary``, where it goes on; '': it begins.
    :ivar boundary: the last place in it where another one could go on: the
        offset in the container, the number of bytes of the image before it,
        counted from here, and the state; None: there was none yet.
    """

    def __init__(
        self, memory: int, threads: int, offset: int, state: str = ''
    ) -> None:
        self.eof = False
        self.unused_data = b''
        self.boundary: tuple[int, int, str] | None = None
        self._memory = memory
        self._threads = threads
        self._workers = workers.Workers()
        #: What has been begun, in order.
        self._items: collections.deque[_Run | _End] = collections.deque()
        #: The run that is being fed; None: there is none.
        self._run: _Run | None = None
        self._block: xz.Block | None = None
        self._extent: xz.Extent | None = None
        self._tail: xz.Tail | None = None
        #: What was given and could not be used yet, and up to where in the
        #: container that is.
        self._rest = b''
        self._taken = offset
        #: A part of a header.
        self._held = b''
        #: A block waits for those before it to be done.
        self._is_waiting = False
        self._is_finishing = False
        self._step = 0
        self._header = b''
        self._image = 0
        self._records = xz.Records()
        if state:
            flags, count, digest = state.split()
            self._header = xz.header_of(bytes.fromhex(flags))
            self._records = xz.Records(int(count), digest.strip('-'))

    @property
    def needs_input(self) -> bool:
        if self._items and self._is_ready(self._items[0]):
            return False
        if self._is_finishing:
            return not self._items
        return not self._rest and not self._is_waiting

    @staticmethod
    def _is_ready(item: _Run | _End) -> bool:
        return isinstance(item, _End) or item.is_ready

    def decompress(self, data: octets.Buffer, max_length: int) -> bytes:
        """Return the next bytes, if there are any yet.

        :raises Failed: for damage.
        """
        self._step = max_length
        if data:
            self._rest = bytes(data)
            self._taken += len(self._rest)
            self._parse()
        while self._items:
            item = self._items[0]
            if isinstance(item, _End):
                self._end(item)
                return b''
            wait = bool(self._rest or self._is_waiting or self._is_finishing)
            out = item.next(wait)
            if out is not None:
                return out
            self._items.popleft()
            self._pass(item)
            self._parse()
        return b''

    def finish(self) -> None:
        """Say that there is no more input."""
        if not self._is_finishing:
            self._is_finishing = True
            if self._run is not None:
                self._run.cut()

    def close(self) -> None:
        """Drop what is under way, and end the threads."""
        for item in self._items:
            if isinstance(item, _Run):
                item.drop()
        self._workers.end()

    def _pass(self, run: _Run) -> None:
        """Count what was in ``run``: all of it is decoded and handed on."""
        self._image += run.produced
        if run.end and not run.is_cut:
            for packed, length in run.records:
                self._records.add(
                    packed, run.produced if length is None else length
                )
            self.boundary = (
                run.end,
                self._image,
                '%s %d %s'
                % (
                    self._header[6:8].hex(),
                    self._records.count,
                    self._records.digest or '-',
                ),
            )

    def _end(self, end: _End) -> None:
        if end.failed is not None:
            raise end.failed from end.failed.cause
        if end.records != self._records:
            raise Failed(
                xz.Damaged('the index is not that of the blocks'), self._taken
            )
        self._items.clear()
        self.eof = True

    @property
    def _position(self) -> int:
        """Where ``_rest`` begins in the container."""
        return self._taken - len(self._rest)

    def _parse(self) -> None:
        """Go through what is left of the input, as far as there is room."""
        while (self._rest or self._is_waiting) and not self._is_finishing:
            if self._tail is not None:
                self._parse_tail(self._tail)
            elif self._extent is not None:
                self._parse_block(self._extent)
            elif not self._begin():
                return

    def _parse_tail(self, tail: xz.Tail) -> None:
        failed = None
        try:
            self.unused_data = tail.feed(self._rest)
        except xz.Damaged as error:
            failed = Failed(error, self._taken)
        self._rest = b''
        if tail.done or failed is not None:
            self._is_finishing = True
            self._items.append(_End(tail.records, failed))

    def _parse_block(self, extent: xz.Extent) -> None:
        assert self._run is not None
        count = extent.take(self._rest)
        if count:
            self._run.feed(self._rest[:count], self._taken)
            self._rest = self._rest[count:]
        if extent.done:
            assert self._block is not None
            packed = self._block.header + extent.packed + extent.check
            self._run.records.append((packed, self._block.length))
            self._run.end = self._position
            self._extent = None
            if (
                self._block.length is None
                or self._run.length >= _RUN
                or len(self._run.records) >= _RECORDS
            ):
                self._close_run()

    def _close_run(self) -> None:
        if self._run is not None:
            self._run.close()
            self._run = None

    def _begin(self) -> bool:
        """Begin the next part; False when it has to wait."""
        if not self._header:
            return self._begin_stream()
        if not self._held and not self._rest[0]:
            self._close_run()
            self._tail = xz.Tail(self._header[6:8])
            return True
        size = ((self._held or self._rest)[0] + 1) * 4
        if not self._hold(size):
            return False
        try:
            block = xz.read_block(self._held)
        except xz.Damaged:
            # liblzma will say what is wrong with it.
            block = xz.Block(size, None, None, 0, False)
        self._is_waiting = not self._has_room(block)
        if self._is_waiting:
            return False
        assert self._run is not None
        self._block = block
        self._extent = xz.Extent(block, xz.check_size(self._header[6:8]))
        self._run.length += block.length or 0
        self._run.feed(self._held, self._taken)
        self._held = b''
        return True

    def _begin_stream(self) -> bool:
        if not self._hold(xz.HEADER):
            return False
        try:
            self._header = xz.header_of(xz.read_header(self._held))
        except xz.Damaged:
            # As above.
            block = xz.Block(0, None, None, 0, False)
            self._append(block, None).feed(self._held, self._taken)
            self._extent = xz.Extent(block, 0)
        self._held = b''
        return True

    def _hold(self, size: int) -> bool:
        """Gather ``size`` bytes of the input; False when there are fewer."""
        count = size - len(self._held)
        self._held += self._rest[:count]
        self._rest = self._rest[count:]
        return len(self._held) == size

    def _has_room(self, block: xz.Block) -> bool:
        """Have a run for ``block``; False while those before it take all."""
        length, packed = block.length, block.packed
        if self._run is not None:
            # It has ended with a block that was a short one.
            if (
                length is not None
                and packed is not None
                and max(length, packed) <= _RUN
                and block.window <= self._run.window
            ):
                if self._run.cost is not None:
                    self._run.cost += length + packed
                return True
            self._close_run()
        if length is not None and packed is not None and self._threads > 1:
            cost = length + packed + block.window
            if 2 * cost <= self._memory:
                return self._has_room_in_threads(block, cost)
        if self._items:
            return False
        self._append(block, None)
        return True

    def _has_room_in_threads(self, block: xz.Block, cost: int) -> bool:
        held = sum(i.held for i in self._items if isinstance(i, _Run))
        # Beside the dictionaries, no more than one block for each thread and
        # one that is handed on.
        assert block.length is not None
        most = min(
            self._memory,
            (self._threads + 1) * block.length + self._threads * block.window,
        )
        if self._items and (
            len(self._items) > self._threads or held + cost > most
        ):
            return False
        if len(self._workers) < self._threads:
            try:
                self._workers.start()
            except errors.ResourceError:
                # As many as there are; without any, the caller's.
                self._threads = max(1, len(self._workers))
                if not self._workers:
                    self._append(block, None)
                    return True
        self._workers.jobs.put(self._append(block, cost))
        return True

    def _append(self, block: xz.Block, cost: int | None) -> _Run:
        self._run = _Run(
            self._header, self._memory, self._step, block.window, cost
        )
        self._items.append(self._run)
        return self._run
