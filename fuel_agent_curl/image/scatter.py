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
"""

from __future__ import annotations

import collections
from collections.abc import Iterator
import sys
import typing

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.image import mapping as mapping_module

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
    (zlib_ng.error, zstd.ZstdError, EOFError, MemoryError),
)


class Piece(typing.NamedTuple):
    """The bytes [start, stop) of the virtual disk.

    :ivar view: None where they are zeros. It is valid until the next view of
        the file is asked for, if ``lent``.
    """

    start: int
    stop: int
    view: octets.Buffer | None
    lent: bool = False


class Scatter:
    """Cuts a file into pieces of its virtual disk."""

    def __init__(self, mapping: mapping_module.Mapping) -> None:
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
        self._tables = iter(mapping.tables)
        self._table = next(self._tables, None)
        self._digest = mapping_module.new_digest()

    def take(self, view: memoryview) -> Iterator[Piece]:
        """Iterate over the pieces that the next bytes of the file complete.

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
        """
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

    def _unpack(self, view: memoryview, stop: int) -> Iterator[Piece]:
        """Iterate over the clusters of which all is there by now."""
        while self._waiting and self._waiting[0].stop <= stop:
            packed = self._waiting.popleft()
            data = self._bytes(packed.start, packed.stop, view)
            cluster = self._inflate(packed, data)
            start = packed.guest << self._bits
            last = min(start + self._cluster, self._length)
            yield from self._piece(start, last, cluster[: last - start])
            yield from self._zeros(packed.guest + 1)
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

    def _inflate(
        self, packed: mapping_module.Packed, data: octets.Buffer
    ) -> bytes:
        try:
            cluster = self._decode(data, self._cluster)
        except MemoryError:
            raise
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
