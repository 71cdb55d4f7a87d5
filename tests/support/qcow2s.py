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

"""Qcow2 images, made by the format's rules and not by QEMU.

So what no program writes can be made, too; and QEMU need not be there.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import random
import struct
import zlib

from fuel_agent_curl.octets import KIB

HEAD = struct.Struct('>4sIQIIQIIQQIIQQQQII')
FIELDS = (
    'magic',
    'version',
    'backing',
    'backing_length',
    'bits',
    'length',
    'encryption',
    'l1_entries',
    'l1_start',
    'refcounts_start',
    'refcounts_clusters',
    'snapshots',
    'snapshots_start',
    'incompatible',
    'compatible',
    'autoclear',
    'order',
    'header_length',
)


@dataclasses.dataclass(frozen=True)
class Packed:
    """A cluster that is to be compressed; ``data`` is what it reads as."""

    data: bytes


@dataclasses.dataclass(frozen=True)
class Parts:
    """A cluster of which the subclusters in ``there`` have data.

    :ivar zeros: those that are said to be zeros.
    """

    data: bytes
    there: int
    zeros: int = 0


#: A cluster that is said to be zeros, with room for data.
ZEROS = Packed(b'')

Cluster = bytes | Packed | Parts


@dataclasses.dataclass
class Image:
    """An image: its file, and where things are in there.

    :ivar l1: offset of the L1 table.
    :ivar l2: of the L2 tables, by their numbers.
    :ivar data: of the clusters, by theirs.
    """

    file: bytearray
    bits: int
    length: int
    pieces: list[tuple[int, bytes]]
    l1: int
    l2: dict[int, int]
    data: dict[int, int]
    extended: bool

    @property
    def expected(self) -> bytes:
        """The virtual disk."""
        disk = bytearray(self.length)
        for start, piece in self.pieces:
            piece = piece[: max(0, self.length - start)]
            disk[start : start + len(piece)] = piece
        return bytes(disk)

    def set_head(self, **fields: int | bytes) -> Image:
        """Change fields of the head."""
        values = dict(zip(FIELDS, HEAD.unpack_from(self.file), strict=True))
        HEAD.pack_into(self.file, 0, *(values | fields).values())
        return self

    def entry(self, guest: int) -> int:
        """Return where the L2 entry of a cluster is."""
        size = 16 if self.extended else 8
        number, at = divmod(guest, (1 << self.bits) // size)
        return self.l2[number] + at * size

    def get(self, offset: int) -> int:
        """Return the number that is there."""
        value: int = struct.unpack_from('>Q', self.file, offset)[0]
        return value

    def put(self, offset: int, value: int) -> Image:
        """Change the number that is there."""
        struct.pack_into('>Q', self.file, offset, value)
        return self


def make(
    clusters: Mapping[int, Cluster],
    *,
    length: int,
    bits: int = 9,
    version: int = 3,
    extended: bool = False,
    seed: int = 0,
) -> Image:
    """Make an image of the ``clusters``, which lie in any order."""
    cluster = 1 << bits
    size = 16 if extended else 8
    per_table = cluster // size
    tables = -(-length // (per_table * cluster))
    chance = random.Random(seed)
    l1_clusters = -(-tables * 8 // cluster)
    numbers = sorted({guest // per_table for guest in clusters})
    things: list[tuple[str, int]] = [('l2', number) for number in numbers]
    things += [
        ('data', guest)
        for guest, each in clusters.items()
        if not isinstance(each, Packed) or each is ZEROS
    ]
    chance.shuffle(things)
    # The head, the refcount table, and L1.
    at = (2 + l1_clusters) * cluster
    places: dict[tuple[str, int], int] = {}
    for thing in things:
        places[thing] = at
        at += cluster
    entries = dict.fromkeys(range(tables * per_table), (0, 0))
    file = bytearray(at)
    pieces: list[tuple[int, bytes]] = []
    for guest, each in clusters.items():
        start = guest * cluster
        if isinstance(each, Packed) and each is not ZEROS:
            packed = _packed(each.data)
            begin = len(file)
            # Not always where the last one ends.
            file += bytes(chance.choice((0, 0, 3))) + packed
            begin = len(file) - len(packed)
            sectors = (len(file) - 1) // 512 - begin // 512
            entries[guest] = (
                1 << 62 | sectors << 62 - (bits - 8) | begin,
                0,
            )
            pieces.append((start, each.data))
            continue
        place = places['data', guest]
        if isinstance(each, Packed):
            file[place : place + cluster] = b'\xee' * cluster
            entries[guest] = (place | 1, 0)
            continue
        data = each if isinstance(each, bytes) else each.data
        there, zeros = (1 << 32) - 1, 0
        if isinstance(each, Parts):
            there, zeros = each.there, each.zeros
        file[place : place + cluster] = data
        entries[guest] = (1 << 63 | place, zeros << 32 | there)
        part = cluster // 32
        for number in range(32):
            if there >> number & 1:
                piece = data[number * part : (number + 1) * part]
                pieces.append((start + number * part, piece))
    found = Image(
        file,
        bits,
        length,
        pieces,
        2 * cluster,
        {number: places['l2', number] for number in numbers},
        {
            guest: place
            for (kind, guest), place in places.items()
            if kind == 'data'
        },
        extended,
    )
    for number in numbers:
        found.put(found.l1 + number * 8, 1 << 63 | found.l2[number])
        for index in range(per_table):
            first, second = entries[number * per_table + index]
            offset = found.l2[number] + index * size
            found.put(offset, first)
            if extended:
                found.put(offset + 8, second)
    head = (
        *(b'QFI\xfb', version, 0, 0, bits, length, 0, tables),
        *(found.l1, cluster, 1, 0, 0),
        *(16 if extended else 0, 0, 0, 4, 104),
    )
    packed_head = HEAD.pack(*head)
    file[: len(packed_head)] = packed_head
    if version == 2:
        file[72:104] = bytes(32)
    return found


def _packed(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    return packer.compress(data) + packer.flush()


def sample(
    *,
    bits: int = 9,
    version: int = 3,
    extended: bool = False,
    packed: bool = True,
    seed: int = 0,
    count: int = 150,
) -> Image:
    """Make an image of a bit of everything."""
    chance = random.Random(seed)
    cluster = 1 << bits
    clusters: dict[int, Cluster] = {}
    for guest in range(count):
        # Text, which packs, and noise, which does not.
        data = chance.choice((chance.randbytes(8) * cluster, None))
        data = (data or chance.randbytes(cluster))[:cluster]
        kind = chance.randrange(8)
        if kind < 3:
            clusters[guest] = data
        elif kind == 3 and packed and data[:8] == data[8:16]:
            clusters[guest] = Packed(data)
        elif kind == 4 and version > 2 and not extended:
            clusters[guest] = ZEROS
        elif kind == 5 and extended:
            there = chance.getrandbits(32)
            clusters[guest] = Parts(data, there, ~there & 0xF0F0F0F0)
    length = count * cluster - chance.choice((0, 512, cluster // 2, 17))
    return make(
        clusters,
        length=length,
        bits=bits,
        version=version,
        extended=extended,
        seed=seed,
    )


class Memory:
    """A file in memory, of which parts can be read.

    :ivar asked: what was, in order.
    """

    def __init__(self, file: bytes | bytearray) -> None:
        self.file = bytes(file)
        self.asked: list[tuple[int, int]] = []

    @property
    def length(self) -> int:
        return len(self.file)

    def read(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return self.file[start:stop]


#: How long the views of a file are.
STEPS = (1, 7, 511, 512, 4096, 64 * KIB, 10**9)
