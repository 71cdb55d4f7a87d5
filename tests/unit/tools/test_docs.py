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
from tests.unit.test_errors import EXIT_CODES
from tools import check_layers
from tools import document_errors

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


class TestErrors(base.TestCase):
    def test_the_table_is_current(self) -> None:
        text = document_errors.PAGE.read_text()
        self.assertTrue(
            document_errors.page(text) == text,
            'mend it by: python tools/generate.py',
        )

    def test_each_code_has_a_meaning(self) -> None:
        rows = document_errors.table().splitlines()[3:-1]
        for name, code in EXIT_CODES.items():
            self.assertTrue(
                any(re.match(r'%d +%s +\w' % (code, name), r) for r in rows)
            )
