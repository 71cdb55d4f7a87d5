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

"""Block maps: which ranges of an image hold data, and their checksums.

The format is that of bmaptool, of which Yocto and Debian ship a document
beside an image. Rules only: the document comes in as bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import re
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import xml as document_module

if typing.TYPE_CHECKING:
    from xml.etree.ElementTree import Element


#: The longest document taken, in bytes. It has some 70,000 ranges, where
#: images have hundreds or thousands; reading it takes about 70 MiB.
DOCUMENT_MAX = 8 * octets.MIB

_VERSION = re.compile(r'([0-9]{1,4})\.([0-9]{1,4})')
# int() raises for thousands of digits (sys.set_int_max_str_digits); these
# are enough for any image.
_NUMBER = re.compile(r'[0-9]{1,18}')
_RANGE = re.compile(r'([0-9]{1,18})(?:\s*-\s*([0-9]{1,18}))?')


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """The bytes [start, stop) of the image; in blocks, but for its end.

    :ivar hex: what they hash to, by the algorithm of the map; None where
        the map does not say.
    """

    start: int
    stop: int
    hex: str | None


@values.dataclass(frozen=True)
class BlockMap:
    """What a document says of its image.

    :ivar length: of the image, in bytes.
    :ivar block_size: in bytes.
    :ivar algorithm: of the checksums; one of ``digest.ALGORITHMS``.
    :ivar ranges: those that hold data, in order. What is between them does
        not matter.
    """

    length: int
    block_size: int
    algorithm: str
    ranges: tuple[Range, ...]

    @property
    def mapped(self) -> int:
        """Bytes of all ranges."""
        return sum(each.stop - each.start for each in self.ranges)

    @property
    def checked(self) -> int:
        """How many ranges have a checksum."""
        return sum(each.hex is not None for each in self.ranges)


class Cutter:
    """Cuts an image at both ends of each range, as it passes by."""

    def __init__(self, block_map: BlockMap) -> None:
        self._following = iter(block_map.ranges)
        self._range = next(self._following, None)
        self._offset = 0

    def cut(
        self, view: memoryview
    ) -> Iterator[tuple[Range | None, memoryview]]:
        """Iterate over the parts of the image's next bytes.

        Each comes with the range that it is in, None for one in none.
        """
        while view:
            current = self._range
            inside = current
            stop = self._offset + len(view)
            if current is not None and self._offset < current.start:
                stop = min(stop, current.start)
                inside = None
            elif current is not None:
                stop = min(stop, current.stop)
                if stop == current.stop:
                    self._range = next(self._following, None)
            length = stop - self._offset
            self._offset = stop
            yield inside, view[:length]
            view = view[length:]


class Check:
    """Compares each range of an image with its checksum."""

    def __init__(self, block_map: BlockMap) -> None:
        self._map = block_map
        self._cutter = Cutter(block_map)
        self._digest: digest.Digest | None = None
        self._left = 0

    def update(self, view: memoryview) -> None:
        """Take the next bytes of the image.

        :raises errors.DigestMismatch: at the end of a range that is wrong.
        """
        for current, piece in self._cutter.cut(view):
            if current is None or current.hex is None:
                continue
            if self._digest is None:
                self._digest = self._begin(current, current.hex)
                self._left = current.stop - current.start
            self._digest.update(piece)
            self._left -= len(piece)
            if not self._left:
                try:
                    self._digest.verify()
                except errors.DigestMismatch as error:
                    error.offset = current.start
                    raise
                self._digest = None

    def _begin(self, current: Range, hexdigest: str) -> digest.Digest:
        size = self._map.block_size
        return digest.Digest(
            digest.Checksum(self._map.algorithm, hexdigest),
            'image in blocks %d-%d'
            % (current.start // size, (current.stop - 1) // size),
        )


def parse(document: bytes) -> BlockMap:
    """Read a document of version 1.3, 1.4, or 2 and any minor one.

    Those before have no checksums.

    :raises errors.DigestMismatch: if it is damaged, by its own checksum.
    :raises errors.ContentError: if it is no such document, or one that
        contradicts itself.
    """
    root = document_module.parse(document, 'a block map')
    if root.tag != 'bmap':
        raise errors.ContentError('not a block map (bmap)')
    version = _version(root)
    if version == (1, 3):
        algorithm, field, attribute = 'sha1', 'BmapFileSHA1', 'sha1'
    elif version == (1, 4) or version[0] == 2:
        # 1.4 was 2.0 by a wrong name (bmaptool, BmapCreate.py).
        algorithm = _text(root, 'ChecksumType')
        field, attribute = 'BmapFileChecksum', 'chksum'
    else:
        raise errors.ContentError(
            'the block map has version %d.%d of the format, which is not known'
            % version,
            hint='make one of version 2.0, with bmaptool 3.1 or later',
        )
    algorithm = _verify(document, algorithm, _text(root, field))
    length, size = _number(root, 'ImageSize'), _number(root, 'BlockSize')
    if not size or _number(root, 'BlocksCount') != -(-length // size):
        raise errors.ContentError(
            'the block map has another number of blocks than fits an image'
            ' of %d bytes in blocks of %d' % (length, size)
        )
    ranges = _ranges(root, attribute, algorithm, length, size)
    mapped = sum(-(-(each.stop - each.start) // size) for each in ranges)
    if _number(root, 'MappedBlocksCount') != mapped:
        raise errors.ContentError(
            'the ranges of the block map have %d blocks, not as many as it'
            ' says' % mapped
        )
    return BlockMap(length, size, algorithm, ranges)


def _version(root: Element) -> tuple[int, int]:
    found = _VERSION.fullmatch(root.get('version', ''))
    if found is None:
        raise errors.ContentError('the block map has no version')
    return int(found[1]), int(found[2])


def _verify(document: bytes, algorithm: str, hexdigest: str) -> str:
    """Compare the document with its own checksum; return the algorithm."""
    checksum = _checksum(algorithm, hexdigest)
    check = digest.Digest(checksum, 'block map')
    given = hexdigest.encode('ascii')
    # It was computed with zeros in the place of itself.
    check.update(document.replace(given, b'0' * len(given), 1))
    check.verify()
    return checksum.algorithm


def _ranges(
    root: Element, attribute: str, algorithm: str, length: int, size: int
) -> tuple[Range, ...]:
    ranges = []
    end = 0
    for element in root.iterfind('BlockMap/Range'):
        text = (element.text or '').strip()
        found = _RANGE.fullmatch(text)
        if found is None:
            raise errors.ContentError(
                'the block map has %r for a range' % text[:40]
            )
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise errors.ContentError(
                'the range %s of the block map ends before it begins' % text
            )
        if first < end:
            raise errors.ContentError(
                'the range %s of the block map overlaps one before it, or is'
                ' out of order' % text
            )
        end = last + 1
        if last * size >= length:
            raise errors.ContentError(
                'the range %s of the block map is past the end of the image'
                % text
            )
        hexdigest = element.get(attribute)
        if hexdigest is not None:
            hexdigest = _checksum(algorithm, hexdigest.strip()).hex
        ranges.append(Range(first * size, min(end * size, length), hexdigest))
    return tuple(ranges)


def _checksum(algorithm: str, hexdigest: str) -> digest.Checksum:
    try:
        return digest.parse('%s:%s' % (algorithm, hexdigest))
    except errors.OptionError as error:
        raise errors.ContentError(
            'in the block map: %s' % error.message
        ) from error


def _number(root: Element, name: str) -> int:
    text = _text(root, name)
    if _NUMBER.fullmatch(text) is None:
        raise errors.ContentError(
            'the block map has %r for %s' % (text[:40], name)
        )
    return int(text)


def _text(root: Element, name: str) -> str:
    text = root.findtext(name)
    if text is None:
        raise errors.ContentError('the block map has no %s' % name)
    return text.strip()
