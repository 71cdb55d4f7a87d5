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

"""A qcow2 file, as it comes, to the pieces of its virtual disk.

The file passes once, in its order; each piece that comes out says where on
the virtual disk it belongs. All pieces together are the virtual disk, each
byte of it once: what has no data is a piece of zeros, which follows the
cluster before it.

Compressed clusters are decoded in threads, some of them at a time. Neither
the bytes nor the errors depend on the number of threads.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterator
import queue
import sys
import typing

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.image import mapping as mapping_module
from fuel_agent_curl.image import workers

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_ALL = 0xFFFFFFFF
_SUBCLUSTERS = 32

# QEMU has windows of 12 bits; with more, any are taken. Without a header.
_RAW_DEFLATE = -15

_FAILURES = typing.cast(
    'tuple[type[Exception], ...]',
    (zlib_ng.error, zstd.ZstdError, EOFError),
)

# As much is decoded by one thread at once, in bytes, of clusters that are
# shorter: to hand it over takes about as long as to decode a few of these.
_JOB = 1 * octets.MIB


class Piece(typing.NamedTuple):
    """The bytes [start, stop) of the virtual disk.

    :ivar view: None where they are zeros. It is valid until the next view of
        the file is asked for, if ``lent``.
    """

    start: int
    stop: int
    view: octets.Buffer | None
    lent: bool = False


class _Job:
    """Compressed clusters that are decoded together, in their order.

    :param cluster: bytes of each.
    :ivar cost: bytes that it takes in memory, at most.
    """

    def __init__(
        self, decode: Callable[[octets.Buffer, int], bytes], cluster: int
    ) -> None:
        self.cost = 0
        self._decode = decode
        self._cluster = cluster
        self._packed: list[tuple[mapping_module.Packed, bytes]] = []
        self._runs: list[tuple[int, int, bytes]] = []
        self._raised: BaseException | None = None
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __bool__(self) -> bool:
        return bool(self._packed)

    def has_room(self) -> bool:
        return (len(self._packed) + 1) * self._cluster <= _JOB

    def add(self, packed: mapping_module.Packed, data: bytes) -> None:
        self._packed.append((packed, data))
        # As they are decoded, and put together.
        self.cost += len(data) + 2 * self._cluster

    @property
    def is_done(self) -> bool:
        return not self._done.empty()

    def work(self) -> None:
        """Decode all of them; in any thread."""
        first = self._packed[0][0].guest
        clusters: list[bytes] = []
        try:
            for packed, data in self._packed:
                if packed.guest != first + len(clusters):
                    self._add_run(first, clusters)
                    first, clusters = packed.guest, []
                clusters.append(self._inflate(packed, data))
            self._add_run(first, clusters)
        except BaseException as error:
            self._raised = error
        self._packed.clear()
        self._done.put(None)

    def _add_run(self, first: int, clusters: list[bytes]) -> None:
        self._runs.append((first, len(clusters), b''.join(clusters)))

    def runs(self) -> list[tuple[int, int, bytes]]:
        """Return what follows each other: first cluster, count, and bytes.

        Waits until all are decoded.

        :raises errors.CorruptError: for a cluster that is damaged.
        """
        self._done.get()
        if self._raised is not None:
            raise self._raised from self._raised.__cause__
        return self._runs

    def _inflate(
        self, packed: mapping_module.Packed, data: octets.Buffer
    ) -> bytes:
        try:
            cluster = self._decode(data, self._cluster)
        except _FAILURES as exc:
            raise self._damaged(packed, str(exc)) from exc
        if len(cluster) != self._cluster:
            raise self._damaged(packed, 'it ends early')
        return cluster

    def _damaged(
        self, packed: mapping_module.Packed, why: str
    ) -> errors.CorruptError:
        return errors.CorruptError(
            'the qcow2 image is damaged: compressed cluster %d: %s'
            % (packed.guest, why),
            offset=packed.start,
        )


class Scatter:
    """Cuts a file into pieces of its virtual disk; ``close`` ends its threads.

    :param memory: bytes that compressed clusters may take while they are
        decoded; whatever it is, some are, one after the other.
    :param threads: that decode at the same time; 1: none but the caller's.
    """

    def __init__(
        self,
        mapping: mapping_module.Mapping,
        memory: int = 0,
        threads: int = 1,
    ) -> None:
        header = mapping.header
        self._mapping = mapping
        self._header = header
        self._bits = header.cluster_bits
        self._cluster = header.cluster
        self._length = header.length
        self._decode = _DECODERS[header.compression]
        self._begun = False
        # Where in the file the next view begins.
        self._at = 0
        # Bytes of the virtual disk that came out.
        self._out = 0
        # The last bytes before that, as many as compressed clusters take that
        # are not whole yet.
        self._kept = b''
        self._waiting: collections.deque[mapping_module.Packed]
        self._waiting = collections.deque()
        self._memory = memory
        self._threads = threads
        self._workers = workers.Workers()
        # Of those that are decoded, or were, and are not handed on yet.
        self._jobs: collections.deque[_Job] = collections.deque()
        self._tables = iter(mapping.tables)
        self._table = next(self._tables, None)
        self._digest = mapping_module.new_digest()

    def take(self, view: memoryview) -> Iterator[Piece]:
        """Iterate over the pieces that the next bytes of the file complete.

        Those of compressed clusters may come later; those that are lent come
        before all others.

        :raises errors.RepresentationChanged: if the tables are not those that
            were read beforehand.
        :raises errors.CorruptError: for a compressed cluster that is damaged.
        """
        if not self._begun:
            self._begun = True
            yield from self._zeros(0)
        stop = self._at + len(view)
        if stop > self._mapping.file_length:
            raise self._changed('it goes on past its length')
        self._compare(view)
        at = self._at
        while at < stop:
            host = at >> self._bits
            guest = self._mapping.guest(host)
            begin = host << self._bits
            end = min(begin + self._cluster, stop)
            if guest is None:
                if at == begin:
                    self._waiting.extend(self._mapping.packed(host))
                at = end
                continue
            parts = self._mapping.parts(host)
            if parts == _ALL:
                last = guest
                # As many as follow each other both here and there.
                while (
                    end < stop
                    and self._mapping.guest(end >> self._bits) == last + 1
                    and self._mapping.parts(end >> self._bits) == _ALL
                ):
                    last += 1
                    end = min(end + self._cluster, stop)
                yield from self._data(
                    view[at - self._at : end - self._at],
                    (guest << self._bits) + at - begin,
                )
                guest = last
            else:
                yield from self._subclusters(
                    view[at - self._at : end - self._at],
                    (guest << self._bits) + at - begin,
                    parts,
                )
            if not end & (self._cluster - 1):
                yield from self._zeros(guest + 1)
            at = end
        yield from self._unpack(view, stop)
        self._at = stop

    def finish(self) -> Iterator[Piece]:
        """Iterate over what is left when the file has ended.

        :raises errors.RepresentationChanged: if it is shorter than it was.
        :raises errors.CorruptError: for a compressed cluster that is damaged.
        """
        while self._jobs:
            yield from self._hand_on()
        length = self._mapping.file_length
        if self._at < length:
            raise self._changed('it ends before its length')
        host = length >> self._bits
        inside = length & (self._cluster - 1)
        guest = self._mapping.guest(host) if inside else None
        if guest is not None:
            # The last cluster is cut: what is not there has no data.
            start = min((guest << self._bits) + inside, self._length)
            stop = min((guest + 1) << self._bits, self._length)
            yield from self._piece(start, stop, None)
            yield from self._zeros(guest + 1)
        if self._out != self._length or self._table or self._waiting:
            raise RuntimeError(
                'not the %d bytes that the virtual disk has' % self._length
            )

    def _data(self, view: memoryview, start: int) -> Iterator[Piece]:
        stop = min(start + len(view), self._length)
        yield from self._piece(start, stop, view[: stop - start], lent=True)

    def _subclusters(
        self, view: memoryview, start: int, parts: int
    ) -> Iterator[Piece]:
        """Iterate over the runs of subclusters, with data and without."""
        size = self._cluster // _SUBCLUSTERS
        at = start & (self._cluster - 1)
        end = at + len(view)
        while at < end:
            number = at // size
            there = parts >> number & 1
            while number < _SUBCLUSTERS and parts >> number & 1 == there:
                number += 1
            stop = min(number * size, end)
            piece = view[: stop - at]
            view = view[stop - at :]
            last = min(start + len(piece), self._length)
            yield from self._piece(
                start,
                last,
                piece[: last - start] if there else None,
                lent=bool(there),
            )
            start += len(piece)
            at = stop

    def _zeros(self, guest: int) -> Iterator[Piece]:
        """Iterate over the zeros from a cluster on, if it has no data."""
        following = self._mapping.next_present(guest)
        yield from self._piece(
            guest << self._bits,
            min(following << self._bits, self._length),
            None,
        )

    def _piece(
        self,
        start: int,
        stop: int,
        view: octets.Buffer | None,
        *,
        lent: bool = False,
    ) -> Iterator[Piece]:
        if start < stop:
            self._out += stop - start
            yield Piece(start, stop, view, lent)

    # Compressed clusters.

    def settle(self) -> None:
        """Wait for what is decoded, as nothing else will come.

        :raises errors.CorruptError: for a compressed cluster that is damaged:
            it came before whatever has ended this.
        """
        jobs, self._jobs = self._jobs, collections.deque()
        for job in jobs:
            job.runs()

    def close(self) -> None:
        """End the threads."""
        self._workers.end()

    def _unpack(self, view: memoryview, stop: int) -> Iterator[Piece]:
        """Have those decoded of which all is there by now."""
        job = _Job(self._decode, self._cluster)
        while self._waiting and self._waiting[0].stop <= stop:
            if job and not job.has_room():
                yield from self._begin(job)
                job = _Job(self._decode, self._cluster)
            packed = self._waiting.popleft()
            data = self._bytes(packed.start, packed.stop, view)
            job.add(packed, bytes(data))
        if job:
            yield from self._begin(job)
        # Of what the next views bring, none may be compressed.
        while self._jobs and self._jobs[0].is_done:
            yield from self._hand_on()
        if self._waiting and self._waiting[0].start < stop:
            self._kept = bytes(self._bytes(self._waiting[0].start, stop, view))
        else:
            self._kept = b''

    def _bytes(self, start: int, stop: int, view: memoryview) -> octets.Buffer:
        """Return these bytes of the file, which ``view`` is the end of."""
        if start >= self._at:
            return view[start - self._at : stop - self._at]
        begin = self._at - len(self._kept)
        return self._kept[start - begin :] + bytes(
            view[: max(0, stop - self._at)]
        )

    def _begin(self, job: _Job) -> Iterator[Piece]:
        """Have ``job`` done; iterate over what is decoded by now."""
        held = sum(each.cost for each in self._jobs)
        while self._jobs and (
            self._jobs[0].is_done
            # One is handed on, and one waits for a thread.
            or len(self._jobs) >= self._threads + 2
            or held + job.cost > self._memory
        ):
            held -= self._jobs[0].cost
            yield from self._hand_on()
        self._jobs.append(job)
        if 1 < self._threads > len(self._workers):
            try:
                self._workers.start()
            except errors.ResourceError:
                # As many as there are; without any, the caller's.
                self._threads = max(1, len(self._workers))
        if len(self._workers):
            self._workers.jobs.put(job)
        else:
            job.work()
            yield from self._hand_on()

    def _hand_on(self) -> Iterator[Piece]:
        """Iterate over what is decoded of the first job."""
        job = self._jobs.popleft()
        try:
            runs = job.runs()
        except BaseException:
            # Nothing behind it is told.
            self._jobs.clear()
            raise
        for guest, count, data in runs:
            start = guest << self._bits
            stop = min(start + len(data), self._length)
            yield from self._piece(
                start, stop, memoryview(data)[: stop - start]
            )
            yield from self._zeros(guest + count)

    # What was read beforehand.

    def _compare(self, view: memoryview) -> None:
        """Compare the tables with what was read of them before.

        The checksum of the file is of what comes now: what was read before is
        to be the same.
        """
        stop = self._at + len(view)
        while self._table is not None and self._table.start < stop:
            table = self._table
            self._digest.update(
                view[
                    max(0, table.start - self._at) : max(
                        0, table.stop - self._at
                    )
                ]
            )
            if table.stop > stop:
                return
            if self._digest.digest() != table.digest:
                raise self._changed('its tables are others', table.start)
            self._digest = mapping_module.new_digest()
            self._table = next(self._tables, None)

    def _changed(
        self, why: str, offset: int | None = None
    ) -> errors.RepresentationChanged:
        return errors.RepresentationChanged(
            'the qcow2 image is another than that whose tables were read: %s'
            % why,
            offset=self._at if offset is None else offset,
            hint='try again',
        )


def _inflate(data: octets.Buffer, length: int) -> bytes:
    cluster: bytes = zlib_ng.decompressobj(_RAW_DEFLATE).decompress(
        data, length
    )
    return cluster


def _unzstd(data: octets.Buffer, length: int) -> bytes:
    """Unpack as many frames as make a cluster."""
    cluster = b''
    while data and len(cluster) < length:
        decoder = zstd.ZstdDecompressor()
        cluster += decoder.decompress(data, length - len(cluster))
        data = decoder.unused_data
    return cluster


_DECODERS = {'zlib': _inflate, 'zstd': _unzstd}
