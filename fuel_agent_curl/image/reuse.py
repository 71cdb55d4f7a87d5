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

"""Which parts of an image are on a target already, by their hashes.

Of a raw image alone: what its hashes are of is what lands on the target.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import typing

from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import bmap
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import metalink

if typing.TYPE_CHECKING:
    import hashlib

#: [start, stop) of the image.
Span = tuple[int, int]


_ZEROS = memoryview(bytes(octets.MIB))


def zeros(count: int) -> Iterator[memoryview]:
    """Iterate over ``count`` zero bytes: what no hash is of, holes."""
    while count:
        yield (piece := _ZEROS[:count])
        count -= len(piece)


class Unit(typing.NamedTuple):
    """The bytes [start, stop) of the image, which have one hash.

    None: nobody has said which.
    """

    start: int
    stop: int
    hash: bytes | None


@values.dataclass(frozen=True)
class Hashes:
    """What the parts of an image hash to.

    :ivar length: of the image, in bytes.
    :ivar algorithm: hashlib's name.
    :ivar given: by whom.
    """

    length: int
    algorithm: str
    given: metalink.Pieces | bmap.BlockMap

    def units(self) -> Iterator[Unit]:
        """Iterate over the parts; what is between them does not matter."""
        given = self.given
        if isinstance(given, bmap.BlockMap):
            for each in given.ranges:
                known = None if each.hex is None else bytes.fromhex(each.hex)
                yield Unit(each.start, each.stop, known)
            return
        size = digest.new(self.algorithm).digest_size
        for number, start in enumerate(range(0, self.length, given.size)):
            found = given.hashes[number * size : (number + 1) * size]
            yield Unit(start, min(start + given.size, self.length), found)

    @property
    def spans(self) -> Sequence[Span]:
        """What the image consists of."""
        return joined((each.start, each.stop) for each in self.units())


def of_pieces(pieces: metalink.Pieces, length: int) -> Hashes:
    """Return what a Metalink document says of an image."""
    return Hashes(length, pieces.algorithm, pieces)


def of_map(block_map: bmap.BlockMap) -> Hashes:
    """Return what a block map says of an image."""
    return Hashes(block_map.length, block_map.algorithm, block_map)


class Survey:
    """Compares what is on a target with the hashes of an image.

    :ivar missing: what is not there, and has to be fetched.
    """

    def __init__(self, hashes: Hashes) -> None:
        self._algorithm = hashes.algorithm
        self._units = hashes.units()
        self._unit = next(self._units, None)
        self._hash: hashlib._Hash | None = None
        self._left = 0
        self.missing: list[Span] = []

    def update(self, view: octets.Buffer) -> None:
        """Take the next bytes of the parts, without what is between them."""
        view = memoryview(view)
        while view and self._unit is not None:
            if self._hash is None:
                self._hash = digest.new(self._algorithm)
                self._left = self._unit.stop - self._unit.start
            piece = view[: self._left]
            view = view[len(piece) :]
            self._hash.update(piece)
            self._left -= len(piece)
            if not self._left:
                self._settle(self._hash.digest())

    def finish(self) -> None:
        """There are no more bytes: what was not compared is not there."""
        while self._unit is not None:
            self._settle(b'')

    def _settle(self, found: bytes) -> None:
        unit = self._unit
        assert unit is not None
        if unit.hash is None or found != unit.hash:
            _join(self.missing, (unit.start, unit.stop))
        self._hash = None
        self._unit = next(self._units, None)


def joined(spans: Iterable[Span]) -> Sequence[Span]:
    """Return what comes in order, with neighbours made one."""
    found: list[Span] = []
    for each in spans:
        _join(found, each)
    return found


def _join(spans: list[Span], span: Span) -> None:
    if spans and spans[-1][1] == span[0]:
        spans[-1] = (spans[-1][0], span[1])
    else:
        spans.append(span)


def length(spans: Iterable[Span]) -> int:
    """Return how many bytes that are."""
    return sum(stop - start for start, stop in spans)


class Cutter:
    """Cuts an image at both ends of each span, as it passes by."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans = iter(spans)
        self._span = next(self._spans, None)
        self._offset = 0

    def cut(self, view: memoryview) -> Iterator[tuple[bool, memoryview]]:
        """Iterate over the parts of the next bytes, and whether in a span."""
        while view:
            inside, stop = False, self._offset + len(view)
            if self._span is not None and self._offset < self._span[0]:
                stop = min(stop, self._span[0])
            elif self._span is not None:
                inside, stop = True, min(stop, self._span[1])
            piece = view[: stop - self._offset]
            view = view[len(piece) :]
            self._offset = stop
            if self._span is not None and stop == self._span[1]:
                self._span = next(self._spans, None)
            yield inside, piece


def pieces_of(spans: Iterable[Span], size: int, unit: int) -> Iterator[Span]:
    """Iterate over spans in parts that are fetched at once.

    :param size: the longest part, in bytes, but for a single ``unit``.
    :param unit: a part begins and ends where one of these does, or at an end
        of its span.
    """
    most = max(1, size // unit) * unit
    for start, stop in spans:
        while start < stop:
            end = min(stop, (start // unit * unit) + most)
            yield start, end
            start = end
