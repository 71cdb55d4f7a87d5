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


"""The documentation is in one place, and every page of it is found."""

import re

from tests import base
from tools import check_layers

DOC = check_layers.ROOT / 'doc'
SOURCE = DOC / 'source'


class TestPages(base.TestCase):
    def test_pages_are_below_source(self) -> None:
        astray = [
            p.name for p in DOC.iterdir() if p.suffix in ('.rst', '.svg')
        ]
        self.assertEqual([], astray, 'move them: git mv doc/X doc/source/')

    def test_the_index_lists_each(self) -> None:
        index = (SOURCE / 'index.rst').read_text()
        listed = re.findall(
            r'^   (?:\S.* <)?([\w/-]+)>?$', index, re.MULTILINE
        )
        pages = [
            str(page.relative_to(SOURCE).with_suffix(''))
            for page in SOURCE.rglob('*.rst')
        ]
        self.assertEqual(
            sorted(pages),
            sorted(['index', *listed]),
            'each page is listed in doc/source/index.rst',
        )
