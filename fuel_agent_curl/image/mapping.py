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

"""Where the clusters of a qcow2 image belong on the virtual disk.

``load`` reads the tables, wherever in the file they are, before the file
itself comes; the mapping is then asked in the order of the file. All that a
table can say wrong is refused here, before anything is written.
"""

from __future__ import annotations

from array import array
import bisect
from collections.abc import Callable
from collections.abc import Iterator
import dataclasses
import hashlib
import logging
import sys
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.image import qcow2

LOG = logging.getLogger(__name__)


class Parts(typing.Protocol):
    """What ``load`` needs of a file."""

    @property
    def length(self) -> int | None:
        """Bytes of the file, known when some have been read."""

    def read(self, start: int, stop: int) -> bytes:
        """Return [start, stop), or as much of that as there is."""


# Tables that are no farther apart are read at once, in bytes: what is read in
# vain takes less time than one more request. A part of the file, so that
# there are 8192 requests at most; the file is read twice at most, then.
_GAP = 256 * octets.KIB
_REQUESTS_MAX = 8192

# As much is read at once, in bytes.
_PIECE = 8 * octets.MIB

# Bits of L1 and L2 entries.
_COMPRESSED = 1 << 62
_COPIED = 1 << 63
_ZEROS = 1
_OFFSET = 0x00FFFFFFFFFFFE00
_ALL = 0xFFFFFFFF
_SECTOR = 512

# An L2 table that is known costs about as much, in bytes, besides its bits.
_TABLE = 256

_DIGEST = 16


class Packed(typing.NamedTuple):
    """A compressed cluster: the bytes of it, and where it belongs.

    :ivar start: in the file; ``stop`` is the end of its last sector, which it
        may share with the next one.
    :ivar guest: number of the cluster on the virtual disk.
    """

    start: int
    stop: int
    guest: int


@dataclasses.dataclass(frozen=True, slots=True)
class Table:
    """What was read of the file beforehand, to be compared when it comes."""

    start: int
    stop: int
    digest: bytes


def new_digest() -> hashlib.blake2b:
    """Return what makes a ``Table.digest``."""
    return hashlib.blake2b(digest_size=_DIGEST)


class Mapping:
    """Which clusters of the file are of the virtual disk.

    For each cluster of the file it has one number: which cluster of the
    virtual disk it is, or where the list of compressed ones begins that begin
    in it. For each compressed one it has three. A number takes four bytes, or
    eight where there are more than 2^32 clusters or bytes of a cluster.

    :param memory: bytes that it may take.
    :ivar tables: in the order of the file.
    :ivar data: clusters that are there as they are.
    :ivar compressed: those that are compressed.
    """

    def __init__(
        self, header: qcow2.Header, file_length: int, memory: int
    ) -> None:
        self.header = header
        self.file_length = file_length
        self.tables: list[Table] = []
        self.data = 0
        self.compressed = 0
        self._memory = memory
        self._bits = header.cluster_bits
        self._clusters = header.clusters
        self._hosts = -(-file_length >> self._bits)
        # Numbers up to ``_clusters`` are of clusters, counted from 1; those
        # up to ``_last`` of compressed ones; and that one is of tables.
        self._last = 2 * self._clusters + 1
        code = 'I' if self._last < 1 << 32 else 'Q'
        packed = 'I' if self._bits <= 20 else 'Q'
        self._slot_size = array(code).itemsize
        self._packed_size = 2 * self._slot_size + array(packed).itemsize
        self._taken = self._hosts * self._slot_size
        if header.extended:
            self._taken += self._hosts * 4
        self._check_memory()
        self._slots = array(code, bytes(self._slot_size)) * self._hosts
        # Which subclusters are there; only where entries are extended.
        self._parts = array('I', b'\0' * 4) * (
            self._hosts if header.extended else 0
        )
        # Of compressed clusters: place in the first cluster and number of
        # sectors; cluster of the virtual disk; the next one of the list.
        self._where = array(packed)
        self._guest = array(code)
        self._next = array(code)
        # For L2 tables, by their numbers in L1: the clusters that are there.
        self._present: dict[int, int] = {}
        self._numbers: list[int] = []
        self._mark(0, min(header.cluster, file_length), 'its head')
        for start, stop in header.others:
            self._mark(start, min(stop, file_length), 'a table')

    @property
    def memory(self) -> int:
        """Bytes that it takes."""
        return self._taken

    @property
    def allocated(self) -> int:
        """Bytes of the virtual disk that have data, in whole clusters."""
        return (self.data + self.compressed) << self._bits

    def _check_memory(self) -> None:
        if self._taken > self._memory:
            raise errors.WindowTooLarge(
                'the mapping of the qcow2 image takes %d MiB or more, above'
                ' the %d MiB allowed'
                % (
                    -(-self._taken // octets.MIB),
                    self._memory // octets.MIB,
                ),
                hint='allow more by decoder_memory (--decoder-memory)',
            )

    def _mark(self, start: int, stop: int, what: str) -> None:
        """Keep whole clusters from being of the virtual disk."""
        for host in range(start >> self._bits, -(-stop >> self._bits)):
            if self._slots[host]:
                raise self._overlap(what, start)
            self._slots[host] = self._last

    def add_l1(self, entries: bytes) -> list[tuple[int, int]]:
        """Take the L1 table; return where the L2 tables are.

        :returns: the number of each, and its offset, in the order of the file.
        :raises errors.CorruptError: where two are one, or one is no cluster
            of the file by itself.
        """
        start, stop = self.header.l1
        self._mark(start, stop, 'its L1 table')
        found: list[tuple[int, int]] = []
        for number, entry in enumerate(_numbers(entries)):
            offset = entry & _OFFSET
            if entry & ~(_OFFSET | _COPIED):
                raise self._wrong('entry %d of its L1 table' % number, entry)
            if not offset:
                continue
            if offset % self.header.cluster:
                raise self._wrong('entry %d of its L1 table' % number, entry)
            if offset + self.header.cluster > self.file_length:
                raise self._outside('L2 table %d' % number, offset)
            self._mark(offset, offset + 1, 'L2 table %d' % number)
            self._taken += _TABLE + self.header.per_table // 8
            if not len(found) % 4096:
                self._check_memory()
            found.append((number, offset))
        return sorted(found, key=lambda each: each[1])

    def add_l2(self, number: int, entries: bytes) -> None:
        """Take L2 table ``number``.

        :raises errors.CorruptError: for what cannot be.
        :raises errors.WindowTooLarge: if it takes more memory than allowed.
        """
        values = _numbers(entries)
        parts = None
        if self.header.extended:
            values, parts = values[::2], values[1::2]
        first = number * self.header.per_table
        # What is behind the end of the virtual disk is the state of a machine.
        count = min(len(values), self._clusters - first)
        present = bytearray(-(-count // 8))
        for at, entry in enumerate(values[:count]):
            if not entry and not (parts and parts[at]):
                continue
            if entry & _COMPRESSED:
                self._add_packed(entry, first + at)
            elif not self._add_data(
                entry, first + at, parts[at] if parts else None
            ):
                continue
            present[at >> 3] |= 1 << (at & 7)
        bits = int.from_bytes(present, 'little')
        if bits:
            self._present[number] = bits

    def _add_data(self, entry: int, guest: int, parts: int | None) -> bool:
        """Take the entry of a cluster; tell whether it has data."""
        offset = entry & _OFFSET
        known = _OFFSET | _COPIED
        if parts is None and self.header.version > 2:
            known |= _ZEROS
        if entry & ~known:
            raise self._wrong('the entry of cluster %d' % guest, entry)
        if entry & _ZEROS:
            return False
        there = _ALL
        if parts is not None:
            there = parts & _ALL
            if there & parts >> 32 or (there and not offset):
                raise self._wrong(
                    'the subclusters of cluster %d' % guest, parts
                )
        if not offset or not there:
            return False
        if offset % self.header.cluster:
            raise self._wrong('the entry of cluster %d' % guest, entry)
        if offset + self._needed(guest, there) > self.file_length:
            raise self._outside('cluster %d' % guest, offset)
        host = offset >> self._bits
        if self._slots[host]:
            raise self._overlap('cluster %d' % guest, offset)
        self._slots[host] = guest + 1
        if parts is not None:
            self._parts[host] = there
        self.data += 1
        return True

    def _needed(self, guest: int, there: int) -> int:
        """Return how many bytes of a cluster are of the virtual disk.

        At the end of the file there need not be more.
        """
        cluster = self.header.cluster
        needed = (cluster >> 5) * there.bit_length()
        return min(needed, self.header.length - guest * cluster)

    def _add_packed(self, entry: int, guest: int) -> None:
        bits = self._bits
        width = 62 - (bits - 8)
        offset = entry & ((1 << width) - 1)
        sectors = entry >> width & ((1 << (bits - 8)) - 1)
        if offset >= self.file_length:
            raise self._outside('compressed cluster %d' % guest, offset)
        host = offset >> bits
        first = self._slots[host]
        if 0 < first <= self._clusters or first == self._last:
            raise self._overlap('compressed cluster %d' % guest, offset)
        if self.compressed == self._clusters:
            raise self._overlap('compressed cluster %d' % guest, offset)
        self._taken += self._packed_size
        if not self.compressed % 4096:
            self._check_memory()
        self._where.append(
            sectors << bits | offset & (self.header.cluster - 1)
        )
        self._guest.append(guest)
        # 0 ends the list.
        self._next.append(first and first - self._clusters)
        self.compressed += 1
        self._slots[host] = self._clusters + self.compressed

    def complete(self) -> None:
        """See to it that no compressed cluster overlaps anything.

        All tables have been taken.

        :raises errors.CorruptError: if one does.
        """
        self._check_memory()
        self._numbers = sorted(self._present)
        self.tables.sort(key=lambda table: table.start)
        if not self.compressed:
            return
        begun, reached = -1, 0
        for host, slot in enumerate(self._slots):
            if slot <= self._clusters or slot == self._last:
                continue
            for packed in self.packed(host):
                # The last sector may be shared.
                if packed.start <= max(begun, reached - _SECTOR):
                    raise self._overlap(
                        'compressed cluster %d' % packed.guest, packed.start
                    )
                begun, reached = packed.start, packed.stop
                for other in range(
                    host + 1, (packed.stop - 1 >> self._bits) + 1
                ):
                    if self._is_taken(other):
                        raise self._overlap(
                            'compressed cluster %d' % packed.guest,
                            packed.start,
                        )

    def _is_taken(self, host: int) -> bool:
        slot = self._slots[host]
        return 0 < slot <= self._clusters or slot == self._last

    # In the order of the file.

    def guest(self, host: int) -> int | None:
        """Return which cluster of the virtual disk a cluster of the file is.

        None: it is none, or compressed ones begin there.
        """
        slot = self._slots[host]
        return slot - 1 if 0 < slot <= self._clusters else None

    def parts(self, host: int) -> int:
        """Return which subclusters there are, a bit for each."""
        return self._parts[host] if self._parts else _ALL

    def packed(self, host: int) -> list[Packed]:
        """Return the compressed clusters that begin there, in order."""
        slot = self._slots[host]
        if slot <= self._clusters or slot == self._last:
            return []
        found = []
        index = slot - self._clusters
        while index:
            where = self._where[index - 1]
            start = (host << self._bits) + (where & (self.header.cluster - 1))
            stop = start - start % _SECTOR + _SECTOR
            stop += (where >> self._bits) * _SECTOR
            found.append(
                Packed(
                    start,
                    min(stop, self.file_length),
                    self._guest[index - 1],
                )
            )
            index = self._next[index - 1]
        found.sort()
        return found

    # In the order of the virtual disk.

    def next_present(self, guest: int) -> int:
        """Return the first cluster from ``guest`` on that has data.

        What is before that reads as zeros. Where none has, the number of all.
        """
        number, at = divmod(guest, self.header.per_table)
        bits = self._present.get(number, 0) >> at
        if bits:
            return guest + (bits & -bits).bit_length() - 1
        index = bisect.bisect_right(self._numbers, number)
        if index == len(self._numbers):
            return self._clusters
        number = self._numbers[index]
        bits = self._present[number]
        return number * self.header.per_table + (bits & -bits).bit_length() - 1

    # What is wrong.

    def _wrong(self, what: str, value: int) -> errors.CorruptError:
        return errors.CorruptError(
            'the qcow2 image is damaged: %s is %#x' % (what, value)
        )

    def _outside(self, what: str, offset: int) -> errors.CorruptError:
        return errors.CorruptError(
            'the qcow2 image is damaged, or cut short: %s is past the end of'
            ' the file' % what,
            offset=offset,
        )

    def _overlap(self, what: str, offset: int) -> errors.CorruptError:
        return errors.CorruptError(
            'the qcow2 image is damaged: %s is where something else is' % what,
            offset=offset,
        )


def load(
    parts: Parts,
    memory: int,
    fits: Callable[[qcow2.Header], None] = lambda header: None,
) -> Mapping:
    """Read head and tables of an image, and return its mapping.

    :param memory: bytes that the mapping may take.
    :param fits: called with the head, before the tables are read; to refuse
        an image by it.
    :raises errors.ContentError: of the class that says what is wrong.
    :raises errors.Error: what reading raises.
    """
    head = parts.read(0, qcow2.HEAD)
    file_length = parts.length
    assert file_length is not None
    header = qcow2.parse(head, file_length)
    fits(header)
    mapping = Mapping(header, file_length, memory)

    def bytes_at(start: int, stop: int) -> bytes:
        if stop <= len(head):
            return head[start:stop]
        return parts.read(start, stop)

    def note(start: int, data: bytes) -> None:
        check = new_digest()
        check.update(data)
        mapping.tables.append(Table(start, start + len(data), check.digest()))

    note(0, head[: header.cluster])
    start, stop = header.l1
    entries = bytes_at(start, stop)
    note(start, entries)
    tables = mapping.add_l1(entries)
    for group in _groups(tables, header.cluster, file_length):
        first = group[0][1]
        data = bytes_at(first, group[-1][1] + header.cluster)
        for number, offset in group:
            table = data[offset - first : offset - first + header.cluster]
            note(offset, table)
            mapping.add_l2(number, table)
    mapping.complete()
    LOG.info(
        'The qcow2 image has %d of %d clusters of %d bytes, %d of them'
        ' compressed; its mapping takes %.1f MiB',
        mapping.data + mapping.compressed,
        header.clusters,
        header.cluster,
        mapping.compressed,
        mapping.memory / octets.MIB,
    )
    if header.snapshots:
        LOG.warning(
            'the qcow2 image has %s: what is written is the disk as it is now',
            'a snapshot, which is left out'
            if header.snapshots == 1
            else '%d snapshots, which are left out' % header.snapshots,
        )
    return mapping


def _groups(
    tables: list[tuple[int, int]], size: int, file_length: int
) -> Iterator[list[tuple[int, int]]]:
    """Yield the tables that are read at once, in the order of the file."""
    gap = max(_GAP, file_length // _REQUESTS_MAX)
    group: list[tuple[int, int]] = []
    for table in tables:
        if group and (
            table[1] - group[-1][1] - size > gap
            or table[1] + size - group[0][1] > _PIECE
        ):
            yield group
            group = []
        group.append(table)
    if group:
        yield group


def _numbers(data: bytes) -> array[int]:
    """Return the big-endian numbers of eight bytes each."""
    numbers = array('Q', data)
    if sys.byteorder == 'little':
        numbers.byteswap()
    return numbers
