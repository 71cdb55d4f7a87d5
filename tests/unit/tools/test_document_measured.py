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

"""The figures of the documentation are those of the reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import fixtures

from tests import base
from tools import document_measured

REPORTS = document_measured.reports
BEGIN = '.. The table is made by tools/generate.py.'
END = '.. The table ends here.'


def report(*lines: dict[str, Any], load: float = 0.1) -> dict[str, Any]:
    return {
        'date': '2026-11-26T20:00:00+00:00',
        'cpus': 2,
        'processor': 'A & B',
        'machine': 'x86_64',
        'kernel': '6.18.1-generic',
        'python': '3.11.7',
        'load': load,
        'options': {'runs': 3},
        'sections': [{'measured': lines[:1]}, {'measured': lines[1:]}],
    }


def line(work: str, **more: Any) -> dict[str, Any]:
    return {
        'work': work,
        'unit': 'seconds',
        'ours': 3.0,
        'limit': 2.0,
        'limited_by': 'dd',
        'times': 1.5,
        'goal': None,
        'others': {},
        **more,
    }


class TestMeasured(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reports = [
            report(
                line('raw', goal=1.15, others={'curl | dd': 5.0}),
                line('views', unit='CPU seconds'),
            )
        ]
        self.use(lambda: self.reports)

    def use(self, reports: Callable[[], list[dict[str, Any]]]) -> None:
        self.useFixture(
            fixtures.MonkeyPatch('tools.document_measured.reports', reports)
        )

    def test_what_is_written_is_current(self) -> None:
        self.use(REPORTS)
        text = document_measured.PAGE.read_text()
        mend = 'mend it by: python tools/generate.py'
        self.assertTrue(document_measured.page(text) == text, mend)
        if REPORTS():
            drawn = document_measured.PICTURE.read_text()
            self.assertTrue(document_measured.draw() == drawn, mend)
            text = document_measured.README.read_text()
            made = document_measured.page(text, 'doc/source/figures.svg')
            self.assertTrue(made == text, mend)

    def test_the_tables_go_to_both_pages_and_nothing_else_changes(
        self,
    ) -> None:
        for page, picture in (
            (document_measured.PAGE, 'figures.svg'),
            (document_measured.README, 'doc/source/figures.svg'),
        ):
            before, after = page.read_text().split(BEGIN)
            text = document_measured.page(page.read_text(), picture)
            self.assertTrue(text.startswith(before))
            self.assertTrue(text.endswith(after.partition(END)[2]))
            self.assertIn('.. image:: %s\n' % picture, text)
            self.assertIn('   * - raw\n', text)
            self.assertEqual(text, document_measured.page(text, picture))

    def test_table(self) -> None:
        table = document_measured.table(self.reports[0])
        self.assertIn(
            '2026-11-26: 2 cores of A & B, Linux 6.18.1, Python 3.11.7;'
            ' medians of 3.\n',
            table,
        )
        self.assertIn(
            '   * - raw\n     - 3.00 s\n     - 2.00, dd\n     - 1.50\n'
            '     - 1.15\n     - curl | dd: 5.00\n'
            '   * - views\n     - 3.00 CPU s\n     - 2.00, dd\n     - 1.50\n'
            '     - none\n     -\n',
            table,
        )

    def test_a_machine_that_was_not_idle_is_called_so(self) -> None:
        said = document_measured.machine(report(load=3.0))
        self.assertIn('not idle (load 3.0)', said)

    def test_chart(self) -> None:
        drawn = ElementTree.fromstring(document_measured.draw())
        space = '{http://www.w3.org/2000/svg}'
        _paper, *bars = drawn.iter(space + 'rect')
        widths = [float(bar.attrib['width']) for bar in bars]
        self.assertAlmostEqual(2.5 / 1.5, widths[1] / widths[0], places=2)
        self.assertEqual(widths[0], widths[2])
        (limit,) = drawn.iter(space + 'path')
        at = float(limit.attrib['d'].split()[0].lstrip('M'))
        self.assertAlmostEqual(
            1.5,
            widths[0] / (at - float(bars[0].attrib['x'])),
            places=2,
        )
        for element in drawn.iter(space + 'text'):
            self.assertLess(
                float(element.attrib['y']), float(drawn.attrib['height'])
            )

    def test_nothing_measured(self) -> None:
        self.reports.clear()
        page = document_measured.page('before\n')
        self.assertNotIn('image::', page)
        self.assertEqual(page, document_measured.page(page))
        ElementTree.fromstring(document_measured.draw())
