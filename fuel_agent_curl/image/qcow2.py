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

"""The head of a qcow2 image: what it is, and whether it can be written.

The format is that of QEMU (docs/interop/qcow2.rst). Numbers are big-endian;
file and virtual disk are cut into clusters of the same size. Rules only: the
first bytes come in. Nothing that a file says is ever opened, here or by
whoever uses this.
"""

from __future__ import annotations

import dataclasses
import struct

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values

MAGIC = b'QFI\xfb'

#: As much of the file is looked at as its head, in bytes.
HEAD = 64 * octets.KIB

# What QEMU takes, in its block/qcow2.h, which is more than any image has.
_CLUSTER_BITS = range(9, 22)
_L1_MAX = 32 * octets.MIB
_REFCOUNTS_MAX = 8 * octets.MIB
_SNAPSHOTS_MAX = 65536
# Subclusters are no shorter than 512 bytes.
_EXTENDED_BITS_MIN = 14

_V2 = struct.Struct('>4sIQIIQIIQQIIQ')
_V3 = struct.Struct('>QQQII')

# Bits of incompatible_features.
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED = (
    1 << bit for bit in range(5)
)
_KNOWN = 0x1F

# Header extensions, by their types.
_END = 0
_FEATURE_NAMES = 0x6803F857
_FEATURE_NAME_SIZE = 48

_COMPRESSIONS = {0: 'zlib', 1: 'zstd'}

_JOIN = 'join the two first: qemu-img convert -O qcow2 FILE IMAGE'
_CONVERT = 'convert it first: qemu-img convert -O qcow2 FILE IMAGE'


@values.dataclass(frozen=True)
class Header:
    """What the head of an image says, of those that can be written.

    :ivar length: of the virtual disk, in bytes.
    :ivar cluster_bits: a cluster has two to the power of that many bytes.
    :ivar extended: the entries of the L2 tables tell of subclusters, too.
    :ivar compression: of the clusters that are compressed: 'zlib' or 'zstd'.
    :ivar l1: the bytes [start, stop) of the L1 table that the virtual disk
        takes. There may be more, for the state of a machine.
    :ivar others: [start, stop) of what else the head says to be in the file,
        in whole clusters: the refcount table, and the list of snapshots.
    :ivar snapshots: how many there are.
    :ivar features: names of what it has, for people.
    """

    version: int
    length: int
    cluster_bits: int
    extended: bool
    compression: str
    l1: tuple[int, int]
    others: tuple[tuple[int, int], ...]
    snapshots: int
    features: tuple[str, ...]

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits

    @property
    def clusters(self) -> int:
        """How many clusters the virtual disk has; the last may be cut."""
        return -(-self.length >> self.cluster_bits)

    @property
    def per_table(self) -> int:
        """Entries of an L2 table."""
        return self.cluster // (16 if self.extended else 8)


def parse(head: bytes, file_length: int) -> Header:
    """Read the head of an image.

    :param head: its first HEAD bytes, or all of them.
    :param file_length: in bytes.
    :raises errors.NeedsOtherFile: if its data are in another file, too.
    :raises errors.UnusableImage: if it cannot be used as it is.
    :raises errors.TruncatedError: if the head is not whole.
    :raises errors.CorruptError: if it contradicts itself.
    """
    if len(head) < _V2.size:
        raise _short()
    (
        magic,
        version,
        backing,
        _backing_length,
        bits,
        length,
        encryption,
        l1_entries,
        l1_start,
        refcounts_start,
        refcounts_clusters,
        snapshots,
        snapshots_start,
    ) = _V2.unpack_from(head)
    if magic != MAGIC:
        raise errors.CorruptError(
            'this is no qcow2 image: it does not begin as one', offset=0
        )
    if version not in (2, 3):
        raise errors.UnusableImage(
            'the qcow2 image has version %d of the format, which is not known'
            % version,
            hint=_CONVERT,
        )
    features = _features(head) if version > 2 else _Features()
    if backing:
        raise errors.NeedsOtherFile(
            'the qcow2 image has a backing file: what is not in it would be'
            ' taken from there',
            hint=_JOIN,
        )
    if encryption:
        raise errors.UnusableImage(
            'the qcow2 image is encrypted', hint='decrypt it first'
        )
    features.check()
    if bits not in _CLUSTER_BITS:
        raise _damaged('clusters of 2^%d bytes' % bits)
    if features.extended and bits < _EXTENDED_BITS_MIN:
        raise _damaged('extended L2 entries for clusters of %d' % (1 << bits))
    if features.header_length > 1 << bits:
        raise _damaged('a head that is longer than a cluster')
    if not length:
        raise errors.ImageTooShort(
            'the virtual disk of the qcow2 image is empty'
        )
    cluster = 1 << bits
    per_table = cluster // (16 if features.extended else 8)
    tables = -(-length // (per_table * cluster))
    if l1_entries * 8 > _L1_MAX or tables * 8 > _L1_MAX:
        raise _damaged(
            'an L1 table of %d entries for a virtual disk of %d bytes: more'
            ' than any has' % (max(l1_entries, tables), length)
        )
    if l1_entries < tables:
        raise _damaged(
            'an L1 table of %d entries, fewer than the %d that its virtual'
            ' disk takes' % (l1_entries, tables)
        )
    if refcounts_clusters << bits > _REFCOUNTS_MAX:
        raise _damaged('a refcount table of %d clusters' % refcounts_clusters)
    if snapshots > _SNAPSHOTS_MAX:
        raise _damaged('%d snapshots' % snapshots)
    others = [('refcount table', refcounts_start, refcounts_clusters << bits)]
    if snapshots:
        others.append(('snapshot table', snapshots_start, cluster))
    l1 = l1_start, l1_start + tables * 8
    for name, start, size in (('L1 table', l1_start, l1[1] - l1[0]), *others):
        if not start or start % cluster:
            raise _damaged('its %s at byte %d: no cluster' % (name, start))
        # The last cluster of a file may be cut.
        if start >= file_length or start + size > file_length + cluster - 1:
            raise _outside('its %s' % name, start)
    if l1[1] > file_length:
        raise _outside('its L1 table', l1[0])
    named = ['version %d' % version, 'clusters of %d bytes' % cluster]
    named += features.named
    if snapshots:
        named.append(
            'a snapshot' if snapshots == 1 else '%d snapshots' % snapshots
        )
    return Header(
        version=version,
        length=length,
        cluster_bits=bits,
        extended=features.extended,
        compression=_COMPRESSIONS[features.compression],
        l1=l1,
        others=tuple((start, start + size) for _, start, size in others),
        snapshots=snapshots,
        features=tuple(named),
    )


@values.dataclass(frozen=True)
class _Features:
    """The three fields of bits, and what goes with them; version 3.

    :ivar names: of the bits that are not known, if the image has them.
    """

    incompatible: int = 0
    compatible: int = 0
    autoclear: int = 0
    compression: int = 0
    header_length: int = _V2.size
    names: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)

    @property
    def extended(self) -> bool:
        return bool(self.incompatible & _EXTENDED)

    @property
    def named(self) -> list[str]:
        found = []
        if self.extended:
            found.append('extended L2 entries')
        if self.compression:
            found.append(_COMPRESSIONS[self.compression])
        if self.compatible & 1:
            found.append('lazy refcounts')
        if self.autoclear & 1:
            found.append('bitmaps')
        return found

    def check(self) -> None:
        """Refuse what cannot be written."""
        if self.incompatible & _DATA_FILE:
            raise errors.NeedsOtherFile(
                'the qcow2 image has an external data file: its data are'
                ' there',
                hint=_JOIN,
            )
        for bit, what in (
            (_CORRUPT, 'is marked as corrupt'),
            (_DIRTY, 'is marked as dirty: it was not closed, or is in use'),
        ):
            if self.incompatible & bit:
                raise errors.UnusableImage(
                    'the qcow2 image %s' % what,
                    hint='check it first: qemu-img check -r all FILE',
                )
        unknown = self.incompatible & ~_KNOWN
        if unknown:
            bits = [bit for bit in range(64) if unknown >> bit & 1]
            raise errors.UnusableImage(
                'the qcow2 image has features that are not known here: %s'
                % ', '.join(
                    self.names.get((0, bit)) or 'bit %d' % bit for bit in bits
                ),
                hint=_CONVERT,
            )
        is_set = bool(self.incompatible & _COMPRESSION)
        if self.compression not in _COMPRESSIONS:
            raise errors.UnusableImage(
                'the qcow2 image has compression type %d, which is not known'
                % self.compression,
                hint=_CONVERT,
            )
        if is_set != bool(self.compression):
            raise _damaged('a compression type and a bit that contradict it')


def _features(head: bytes) -> _Features:
    if len(head) < _V2.size + _V3.size:
        raise _short()
    incompatible, compatible, autoclear, order, length = _V3.unpack_from(
        head, _V2.size
    )
    if length < _V2.size + _V3.size or length % 8:
        raise _damaged('a head of %d bytes' % length)
    if length > len(head):
        raise _short()
    if order > 6:
        raise _damaged('a refcount_order of %d' % order)
    at = _V2.size + _V3.size
    return _Features(
        incompatible,
        compatible,
        autoclear,
        head[at] if length > at else 0,
        length,
        _names(head, length),
    )


def _names(head: bytes, at: int) -> dict[tuple[int, int], str]:
    """Return the names of features, by kind and bit, that the image has.

    What follows is said by name only; so whatever ends early ends here.
    """
    found = {}
    while at + 8 <= len(head):
        kind, length = struct.unpack_from('>II', head, at)
        at += 8
        if kind == _END or length > len(head) - at:
            break
        if kind == _FEATURE_NAMES:
            for start in range(
                at, at + length - _FEATURE_NAME_SIZE + 1, _FEATURE_NAME_SIZE
            ):
                text = head[start + 2 : start + _FEATURE_NAME_SIZE]
                name = text.rstrip(b'\0').decode('ascii', 'replace')
                found[head[start], head[start + 1]] = name
        at += length + -length % 8
    return found


def _short() -> errors.TruncatedError:
    return errors.TruncatedError(
        'the qcow2 image ends within its head', offset=0
    )


def _damaged(what: str) -> errors.CorruptError:
    return errors.CorruptError(
        'the qcow2 image is damaged: it has %s' % what, offset=0
    )


def _outside(what: str, start: int) -> errors.CorruptError:
    return errors.CorruptError(
        'the qcow2 image is damaged, or cut short: %s is past the end of the'
        ' file' % what,
        offset=start,
    )
