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

"""What is read from a block map, what is refused, and how it cuts."""

from __future__ import annotations

import hashlib
import random

from fuel_agent_curl import errors
from fuel_agent_curl.image import bmap
from tests import base
from tests.support import blockmaps

_SIZE = 512
# The last block is a short one.
_IMAGE = random.Random(3).randbytes(20 * _SIZE + 100)
_RANGES = [(0, 0), (2, 4), (5, 5), (19, 20)]


def _document(
    inner: str | None = None, listed: str | None = None, **numbers: object
) -> bytes:
    if listed is None:
        listed = blockmaps.listed(_IMAGE, _SIZE, _RANGES)
    if inner is None:
        inner = blockmaps.numbers(len(_IMAGE), _SIZE, _RANGES, **numbers)
    return blockmaps.sealed(inner + listed)


def _list(*texts: str, attributes: str = '') -> str:
    return '<BlockMap>%s</BlockMap>' % ''.join(
        '<Range%s>%s</Range>' % (attributes, text) for text in texts
    )


class ParseTest(base.TestCase):
    def test_versions(self) -> None:
        for version, algorithm in (
            ('2.0', 'sha256'),
            ('2.0', 'sha1'),
            ('2.0', 'sha512'),
            ('2.7', 'sha256'),
            ('1.4', 'sha256'),
            ('1.3', 'sha1'),
        ):
            document = blockmaps.document(
                _IMAGE, _RANGES, _SIZE, version, algorithm
            )
            found = bmap.parse(document)
            self.assertEqual(
                (len(_IMAGE), _SIZE, algorithm),
                (found.length, found.block_size, found.algorithm),
            )
            self.assertEqual(
                [(0, 512), (1024, 2560), (2560, 3072), (9728, len(_IMAGE))],
                [(each.start, each.stop) for each in found.ranges],
            )
            for each in found.ranges:
                digest = hashlib.new(algorithm, _IMAGE[each.start : each.stop])
                self.assertEqual(digest.hexdigest(), each.hex)
            self.assertEqual(5 * _SIZE + 512 + 100, found.mapped)
            self.assertEqual(4, found.checked)

    def test_comments_and_room_for_longer_numbers(self) -> None:
        """As bmaptool writes it."""
        numbers = blockmaps.numbers(len(_IMAGE), _SIZE, _RANGES)
        found = bmap.parse(
            _document(
                '<!-- <ImageSize> bytes: 10 KiB -->\n'
                + numbers.replace(' 7 <', ' 7      <')
                + '<!-- all ASCII "0" symbols: %s -->' % ('0' * 64)
            )
        )
        self.assertEqual(len(_IMAGE), found.length)

    def test_spaces_and_upper_case(self) -> None:
        listed = blockmaps.listed(_IMAGE, _SIZE, _RANGES)
        for text in (
            listed.replace('2-4', '\n2\t- 4 '),
            listed.replace('chksum="', 'chksum=" '),
        ):
            self.assertEqual(4, len(bmap.parse(_document(listed=text)).ranges))
        digest = hashlib.sha256(_IMAGE[:_SIZE]).hexdigest()
        upper = bmap.parse(
            _document(listed=listed.replace(digest, digest.upper()))
        )
        self.assertEqual(digest, upper.ranges[0].hex)

    def test_ranges_without_a_checksum(self) -> None:
        found = bmap.parse(
            _document(
                listed=_list('0', '2-3').replace('<Range>', '<Range a="b">'),
                MappedBlocksCount=3,
            )
        )
        self.assertEqual([None, None], [each.hex for each in found.ranges])
        self.assertEqual(0, found.checked)

    def test_nothing_is_mapped(self) -> None:
        found = bmap.parse(_document(listed=_list(), MappedBlocksCount=0))
        self.assertEqual(((), 0), (found.ranges, found.mapped))

    def test_any_change_is_seen(self) -> None:
        document = _document()
        for old, new in (
            (b'> 2-4 <', b'> 2-3 <'),
            (b'<BlockMap>', b'<BlockMap >'),
            (b'2.0', b'2.1'),
        ):
            error = self.assertRaises(
                errors.DigestMismatch, bmap.parse, document.replace(old, new)
            )
            self.assertIn('the block map has sha256:', str(error))

    def _refused(self, part: str, document: bytes) -> None:
        error = self.assertRaises(errors.ContentError, bmap.parse, document)
        self.assertIs(errors.ContentError, type(error), str(error))
        self.assertIn(part, str(error))

    def test_no_block_map(self) -> None:
        for part, document in (
            ('not a block map', b''),
            ('not a block map', b'<html>'),
            ('not a block map', b'<html/>'),
            ('not a block map', b'<?xml version="1.0" encoding="x"?><bmap/>'),
            ('not a block map', b'-----BEGIN PGP SIGNED MESSAGE-----\n'),
            ('not a block map', b'<!DOCTYPE bmap><bmap version="2.0"/>'),
            ('no version', b'<bmap/>'),
            ('no version', b'<bmap version="2"/>'),
            ('no version', b'<bmap version="new.0"/>'),
            ('no version', b'<bmap version="12345.0"/>'),
            ('no ChecksumType', b'<bmap version="2.0"/>'),
            ('no BmapFileSHA1', b'<bmap version="1.3"/>'),
        ):
            self._refused(part, document)

    def test_unknown_versions(self) -> None:
        for version in ('3.0', '0.1', '1.0', '1.2', '1.5'):
            document = _document().replace(
                b'"2.0"', b'"%s"' % version.encode()
            )
            self._refused('has version %s of the format' % version, document)

    def test_unknown_algorithm(self) -> None:
        document = _document()
        for new, part in (
            (b'sha3', 'unknown checksum algorithm'),
            (b'', 'unknown checksum algorithm'),
            (b'sha1', 'has 40 hexadecimal digits'),
        ):
            self._refused(part, document.replace(b'> sha256 <', b'>%s<' % new))

    def test_missing_elements(self) -> None:
        numbers = blockmaps.numbers(len(_IMAGE), _SIZE, _RANGES)
        for name in ('ImageSize', 'BlockSize', 'BlocksCount'):
            document = _document(numbers.replace(name, 'Other'))
            self._refused('has no ' + name, document)
        document = _document().replace(b'BmapFileChecksum', b'Other')
        self._refused('has no BmapFileChecksum', document)

    def test_wrong_numbers(self) -> None:
        for part, given in (
            ('another number of blocks', {'BlocksCount': 20}),
            ('another number of blocks', {'BlocksCount': 22}),
            ('another number of blocks', {'ImageSize': 20 * _SIZE}),
            ('another number of blocks', {'BlockSize': 0}),
            ('have 7 blocks', {'MappedBlocksCount': 6}),
            ('have 7 blocks', {'MappedBlocksCount': 8}),
            ("'-1' for ImageSize", {'ImageSize': -1}),
            ("'1.5' for ImageSize", {'ImageSize': 1.5}),
            ("'' for BlockSize", {'BlockSize': ''}),
            ("' for BlockSize", {'BlockSize': '&#x663;'}),
            ("' for BlocksCount", {'BlocksCount': '9' * 5000}),
        ):
            self._refused(part, _document(**given))

    def test_wrong_ranges(self) -> None:
        for part, texts in (
            ('overlaps', ('0-2', '2')),
            ('overlaps', ('3', '3')),
            ('out of order', ('4-5', '0-1')),
            ('ends before it begins', ('5-4',)),
            ('past the end', ('20-21',)),
            ('past the end', ('21',)),
            ('for a range', ('',)),
            ('for a range', ('a-b',)),
            ('for a range', ('1-2-3',)),
            ('for a range', ('-3',)),
            ('for a range', ('9' * 5000,)),
        ):
            self._refused(part, _document(listed=_list(*texts)))
        whole = _document(
            listed=_list('21'), ImageSize=21 * _SIZE, BlocksCount=21
        )
        self._refused('past the end', whole)
        good = bmap.parse(
            _document(listed=_list('0-1', '2', '20'), MappedBlocksCount=4)
        )
        self.assertEqual(3, len(good.ranges))

    def test_wrong_checksum_of_a_range(self) -> None:
        for digest in ('', '00', 'x' * 64):
            listed = _list('0', attributes=' chksum="%s"' % digest)
            self._refused('in the block map', _document(listed=listed))


class CutTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.map = bmap.parse(blockmaps.document(_IMAGE, _RANGES, _SIZE))

    def test_any_size(self) -> None:
        for size in (1, 7, 511, 512, 513, 5000, len(_IMAGE)):
            cutter = bmap.Cutter(self.map)
            inside: dict[bmap.Range | None, bytes] = {}
            everything = b''
            for at in range(0, len(_IMAGE), size):
                view = memoryview(_IMAGE)[at : at + size]
                for found, piece in cutter.cut(view):
                    inside[found] = inside.get(found, b'') + bytes(piece)
                    everything += piece
            self.assertEqual(_IMAGE, everything)
            self.assertEqual(
                _IMAGE[512:1024] + _IMAGE[3072:9728], inside.pop(None)
            )
            self.assertEqual(
                {r: _IMAGE[r.start : r.stop] for r in self.map.ranges}, inside
            )

    def _check(self, image: bytes, size: int) -> None:
        check = bmap.Check(self.map)
        for at in range(0, len(image), size):
            check.update(memoryview(image)[at : at + size])

    def test_right(self) -> None:
        for size in (1, 513, len(_IMAGE)):
            self._check(_IMAGE, size)

    def test_wrong_byte_in_a_range(self) -> None:
        for at, blocks, start in (
            (0, '0-0', 0),
            (2559, '2-4', 1024),
            (2560, '5-5', 2560),
            (len(_IMAGE) - 1, '19-20', 9728),
        ):
            image = bytearray(_IMAGE)
            image[at] ^= 1
            for size in (1, 513, len(_IMAGE)):
                error = self.assertRaises(
                    errors.DigestMismatch, self._check, bytes(image), size
                )
                assert isinstance(error, errors.DigestMismatch)
                self.assertEqual(start, error.offset)
                self.assertIn('in blocks %s has sha256:' % blocks, str(error))

    def test_wrong_byte_outside(self) -> None:
        for at in (512, 1023, 3072, 9727):
            image = bytearray(_IMAGE)
            image[at] ^= 1
            self._check(bytes(image), 513)

    def test_ranges_without_a_checksum_are_not_compared(self) -> None:
        document = blockmaps.sealed(
            blockmaps.numbers(len(_IMAGE), _SIZE, [(0, 1)]) + _list('0-1')
        )
        bmap.Check(bmap.parse(document)).update(memoryview(_IMAGE))
