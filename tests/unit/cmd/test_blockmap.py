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

"""What ``--bmap`` takes for a block map, and from where."""

from __future__ import annotations

import os

import fixtures

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import blockmap
from fuel_agent_curl.config import settings
from fuel_agent_curl.image import bmap
from tests import base
from tests.support import blockmaps

_IMAGE = bytes(range(256)) * 32


class LoadTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.directory = self.useFixture(fixtures.TempDir()).path

    def _load(self, document: bytes) -> bmap.BlockMap:
        path = os.path.join(self.directory, 'image.bmap')
        with open(path, 'wb') as file:
            file.write(document)
        return blockmap.load(path, settings.Settings())

    def test_file(self) -> None:
        document = blockmaps.document(_IMAGE, [(0, 1)])
        self.assertEqual(bmap.parse(document), self._load(document))
        self.assertNotIn('WARNING', self.log.output)

    def test_ranges_without_a_checksum(self) -> None:
        listed = blockmaps.listed(_IMAGE, 4096, [(0, 0)]).replace(
            '</BlockMap>', '<Range>1</Range></BlockMap>'
        )
        numbers = blockmaps.numbers(len(_IMAGE), 4096, [(0, 1)])
        found = self._load(blockmaps.sealed(numbers + listed))
        self.assertEqual(1, found.checked)
        self.assertIn('no checksum for 1 of its 2 ranges', self.log.output)

    def test_longest(self) -> None:
        document = blockmaps.document(_IMAGE, [(0, 1)])
        padded = document.ljust(bmap.DOCUMENT_MAX)
        # That it is damaged was found by reading it.
        self.assertRaises(errors.DigestMismatch, self._load, padded)
        error = self.assertRaises(
            errors.ContentError, self._load, padded + b' '
        )
        self.assertIn('more than %d bytes' % len(padded), str(error))

    def test_what_never_ends(self) -> None:
        error = self.assertRaises(
            errors.ContentError,
            blockmap.load,
            '/dev/zero',
            settings.Settings(),
        )
        self.assertIn('more than', str(error))

    def test_file_that_cannot_be_read(self) -> None:
        for path in (self.directory, self.directory + '/none'):
            error = self.assertRaises(
                errors.OptionError, blockmap.load, path, settings.Settings()
            )
            self.assertIn('cannot read the block map ' + path, str(error))

    def test_other_schemes(self) -> None:
        error = self.assertRaises(
            errors.OptionError,
            blockmap.load,
            'ftp://host/image.bmap',
            settings.Settings(),
        )
        self.assertIn('http', str(error))
