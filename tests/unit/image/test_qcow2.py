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

"""Heads of qcow2 images."""

from __future__ import annotations

import struct
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.image import qcow2
from tests import base
from tests.support import qcow2s

_LENGTH = 1 << 30


def _image() -> qcow2s.Image:
    return qcow2s.make({0: b'x' * 65536}, length=_LENGTH, bits=16)


def parse(image: qcow2s.Image) -> qcow2.Header:
    return qcow2.parse(bytes(image.file[: qcow2.HEAD]), len(image.file))


class TestParse(base.TestCase):
    def test_what_it_says(self) -> None:
        image = _image().set_head(compatible=1, autoclear=1)
        found = parse(image)
        self.assertEqual(3, found.version)
        self.assertEqual(_LENGTH, found.length)
        self.assertEqual(65536, found.cluster)
        self.assertEqual(16384, found.clusters)
        self.assertEqual(8192, found.per_table)
        self.assertEqual((131072, 131072 + 16), found.l1)
        self.assertEqual('zlib', found.compression)
        self.assertEqual(
            (
                *('version 3', 'clusters of 65536 bytes'),
                *('lazy refcounts', 'bitmaps'),
            ),
            found.features,
        )

    def test_version_2_has_no_features(self) -> None:
        image = qcow2s.make({0: b'x' * 512}, length=5120, bits=9, version=2)
        # What is there is something else.
        image.file[72:104] = b'\xff' * 32
        self.assertEqual(2, parse(image).version)

    def test_zstd_and_extended_entries(self) -> None:
        image = _image()
        image.file[104] = 1
        image.set_head(
            incompatible=0x18, header_length=112, length=_LENGTH // 2
        )
        found = parse(image)
        self.assertEqual(('zstd', True), (found.compression, found.extended))
        self.assertEqual(4096, found.per_table)

    def test_is_refused_by_name(self) -> None:
        other, unusable = errors.NeedsOtherFile, errors.UnusableImage
        damaged = errors.CorruptError
        fields: tuple[tuple[type[errors.Error], str, dict[str, Any]], ...] = (
            (other, 'backing file', {'backing': 200, 'backing_length': 9}),
            (other, 'external data file', {'incompatible': 4}),
            (unusable, 'encrypted', {'encryption': 1}),
            (unusable, 'encrypted', {'encryption': 2}),
            (unusable, 'dirty', {'incompatible': 1}),
            (unusable, 'corrupt', {'incompatible': 2}),
            (unusable, 'corrupt', {'incompatible': 3}),
            (unusable, 'bit 5, bit 63', {'incompatible': 1 << 63 | 32}),
            (unusable, 'version 4', {'version': 4}),
            (damaged, 'no qcow2', {'magic': b'QFI\xfa'}),
            (damaged, 'clusters of 2^8', {'bits': 8}),
            (damaged, 'clusters of 2^22', {'bits': 22}),
            (damaged, 'clusters of 2^', {'bits': 0xFFFFFFFF}),
            (damaged, 'extended', {'bits': 13, 'incompatible': 16}),
            (damaged, 'compression type', {'incompatible': 8}),
            (damaged, 'refcount_order', {'order': 7}),
            (damaged, 'a head of', {'header_length': 96}),
            (damaged, 'a head of', {'header_length': 108}),
            (damaged, 'than any has', {'length': 1 << 62}),
            (damaged, 'than any has', {'l1_entries': 1 << 31}),
            (damaged, 'fewer than', {'l1_entries': 1}),
            (damaged, 'fewer than', {'length': 1 << 32}),
            (damaged, 'no cluster', {'l1_start': 0}),
            (damaged, 'no cluster', {'l1_start': 131073}),
            (damaged, 'past the end', {'l1_start': 1 << 40}),
            (damaged, 'past the end', {'refcounts_start': 1 << 40}),
            (damaged, 'no cluster', {'refcounts_start': 7}),
            (damaged, 'past the end', {'refcounts_clusters': 100}),
            (damaged, 'refcount table of', {'refcounts_clusters': 1 << 20}),
            (damaged, 'snapshots', {'snapshots': 1 << 17}),
            (damaged, 'snapshot table', {'snapshots': 1}),
            (errors.ImageTooShort, 'empty', {'length': 0}),
        )
        for cls, part, changed in fields:
            image = _image().set_head(**changed)
            error = self.assertRaises(cls, parse, image)
            self.assertIn(part, str(error))

    def test_compression_type_that_is_not_known(self) -> None:
        image = _image().set_head(incompatible=8, header_length=112)
        image.file[104] = 2
        error = self.assertRaises(errors.UnusableImage, parse, image)
        self.assertIn('compression type 2', str(error))

    def test_unknown_features_are_told_by_their_names(self) -> None:
        image = _image().set_head(incompatible=1 << 40)
        name = b'time travel'.ljust(46, b'\0')
        image.file[104:112] = struct.pack('>II', 0x6803F857, 48)
        image.file[112:160] = bytes((0, 40)) + name
        error = self.assertRaises(errors.UnusableImage, parse, image)
        self.assertIn('time travel', str(error))

    def test_extensions_without_an_end(self) -> None:
        image = _image()
        image.file[104 : qcow2.HEAD] = b'\xff' * (qcow2.HEAD - 104)
        self.assertEqual(3, parse(image).version)

    def test_cut_short(self) -> None:
        image = _image()
        for length in (0, 3, 4, 71, 72, 103):
            self.assertRaises(
                errors.TruncatedError,
                qcow2.parse,
                bytes(image.file[:length]),
                length,
            )
