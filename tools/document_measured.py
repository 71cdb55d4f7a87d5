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

"""The table and the chart of the figures, from doc/source/measured.

``tools/bench.sh`` measures and puts the report there; ``tools/generate.py``
writes the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
from typing import Any
from xml.sax import saxutils

from tools import check_layers

SOURCE = check_layers.ROOT / 'doc' / 'source'
PAGE = SOURCE / 'figures.rst'
README = check_layers.ROOT / 'README.rst'
PICTURE = SOURCE / 'figures.svg'
REPORTS = SOURCE / 'measured'

_BEGIN = '.. The table is made by tools/generate.py.\n\n'
_END = '\n.. The table ends here.\n'

_NOTHING = 'Nothing has been measured of this version.\n'
_IMAGE = """\
.. image:: %s
   :alt: Each figure as a multiple of its limit

"""

# Load at the start: more is not idle.
_IDLE = 0.5

_WIDTH, _NAMES, _VALUES = 860, 330, 70
_BAR, _STEP, _GAP, _TOP = 14, 18, 8, 64
_OURS, _OTHERS, _INK = '#1f6f8b', '#b8c4c9', '#222222'


def reports() -> list[dict[str, Any]]:
    """Return what was measured, one report for each machine."""
    return [
        json.loads(path.read_text()) for path in sorted(REPORTS.glob('*.json'))
    ]


def lines(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the lines of a report that are published."""
    return [
        line for section in report['sections'] for line in section['measured']
    ]


def page(text: str, picture: str = PICTURE.name) -> str:
    """Return the page ``text`` with the tables as they are now.

    :param picture: where the chart is, for that page.
    """
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    found = reports()
    made = _NOTHING
    if found:
        made = _IMAGE % picture + '\n'.join(map(table, found))
    return before + _BEGIN + made + _END + after


def table(report: dict[str, Any]) -> str:
    """Return one report: when, on what, and a row for each line."""
    heads = ('work', 'here', 'at best', 'times', 'goal', 'instead')
    rows = [heads, *map(_row, lines(report))]
    return '%s\n\n.. list-table::\n   :header-rows: 1\n\n%s' % (
        machine(report),
        ''.join(
            ('   %s %s' % ('  -' if number else '* -', cell)).rstrip() + '\n'
            for row in rows
            for number, cell in enumerate(row)
        ),
    )


def machine(report: dict[str, Any]) -> str:
    """Return when it was measured, and on what."""
    text = '%s: %d cores of %s, Linux %s, Python %s; medians of %d' % (
        report['date'][:10],
        report['cpus'],
        report['processor'] or report['machine'],
        report['kernel'].partition('-')[0],
        report['python'],
        report['options']['runs'],
    )
    # Then no figure means much.
    if report['load'] > _IDLE:
        text += '; the machine was not idle (load %.1f)' % report['load']
    return text + '.'


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    unit = 's' if line['unit'] == 'seconds' else 'CPU s'
    return (
        line['work'],
        '%.2f %s' % (line['ours'], unit),
        '%.2f, %s' % (line['limit'], line['limited_by']),
        '%.2f' % line['times'],
        'none' if line['goal'] is None else '%.2f' % line['goal'],
        '; '.join('%s: %.2f' % item for item in line['others'].items()),
    )


def draw() -> str:
    """Return the chart: each figure as a multiple of its limit."""
    parts: list[str] = []
    top = _TOP
    for report in reports():
        found = lines(report)
        longest = max(
            (times for line in found for _name, times in _bars(line)),
            default=1.0,
        )
        scale = (_WIDTH - _NAMES - _VALUES) / max(longest, 1.0)
        parts.append(_text(16, top, machine(report), ''))
        top += 14
        begin = top
        for line in found:
            for name, times in _bars(line):
                parts += _bar(name, times, scale, top, name == line['work'])
                top += _STEP
            top += _GAP
        # The limit.
        parts.append(
            '<path d="M%.1f %d V%d" stroke="%s" stroke-dasharray="4 3"/>'
            % (_NAMES + scale, begin, top, _INK)
        )
        top += 30
    return '\n'.join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d"'
            % (_WIDTH, top),
            ' width="%d" height="%d" font-family="sans-serif" font-size="12"'
            % (_WIDTH, top),
            ' fill="%s">' % _INK,
            '<title>Measured beside the limit</title>',
            '<rect width="100%" height="100%" rx="8" fill="#fff"/>',
            _text(
                16,
                28,
                'Times as long as at best, which is the dashed line;'
                ' grey: instead',
                'font-size="15"',
            ),
            *parts,
            '</svg>',
            '',
        ]
    )


def _bars(line: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield the names and the lengths of a line's bars, ours first."""
    yield line['work'], line['times']
    for name, value in line['others'].items():
        yield name, value / line['limit']


def _bar(
    name: str, times: float, scale: float, top: int, ours: bool
) -> Iterator[str]:
    yield _text(_NAMES - 8, top + 12, name, 'text-anchor="end"')
    yield '<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
        _NAMES,
        top,
        max(1.0, times * scale),
        _BAR,
        _OURS if ours else _OTHERS,
    )
    yield _text(_NAMES + times * scale + 6, top + 12, '%.2f' % times, '')


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return '<text x="%.1f" y="%.1f" %s>%s</text>' % (
        x,
        y,
        attributes,
        saxutils.escape(text),
    )
