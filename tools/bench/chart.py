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

"""A comparison as bars, in SVG."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
from xml.sax import saxutils

from fuel_agent_curl import octets
from tools.bench import figures
from tools.bench import report

_WIDTH = 860
_MARGIN = 16
_NAMES = 250
_VALUES = 130
_BAR = 16
_STEP = 24
_HEADING = 30
_OURS = '#1f6f8b'
_OTHERS = '#b8c4c9'
_INK = '#222222'

_UNITS = {'seconds': 'seconds', 'cpu': 'CPU seconds', 'largest': 'MiB'}


@dataclasses.dataclass(frozen=True)
class _Bar:
    """One bar; ``least`` and ``most`` are where its whisker ends."""

    name: str
    value: float
    least: float
    most: float
    text: str


def svg(title: str, sections: Iterable[figures.Section]) -> str:
    """Return a drawing with a panel for each measure of each section."""
    parts: list[str] = []
    top = 2 * _MARGIN + 10
    for section in sections:
        for measure in section.measures:
            bars = _bars(section, measure)
            if not bars:
                continue
            heading = '%s: %s' % (section.title, _UNITS[measure])
            parts += _panel(heading, bars, top)
            top += _HEADING + _STEP * len(bars) + _MARGIN
    return '\n'.join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d"'
            ' viewBox="0 0 %d %d" font-family="sans-serif" font-size="12"'
            ' fill="%s">' % (_WIDTH, top, _WIDTH, top, _INK),
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            _text(_MARGIN, 26, title, 'font-size="16"'),
            *parts,
            '</svg>',
            '',
        ]
    )


def _bars(section: figures.Section, measure: str) -> list[_Bar]:
    bars = []
    for row in section.rows:
        if measure == 'seconds':
            value, least, most = row.seconds, row.least, row.most
            text = '%.2f  (%.2f x)' % (value, section.ratio(row))
        else:
            known = row.cpu if measure == 'cpu' else row.largest
            if known is None:
                continue
            if measure == 'largest':
                known /= octets.MIB
            value = least = most = known
            text = report.number(round(value, 2))
        bars.append(_Bar(row.name, value, least, most, text))
    return bars


def _panel(heading: str, bars: Sequence[_Bar], top: int) -> list[str]:
    longest = max(bar.most for bar in bars) or 1.0
    room = _WIDTH - 2 * _MARGIN - _NAMES - _VALUES
    left = _MARGIN + _NAMES
    parts = [_text(_MARGIN, top + 14, heading, 'font-weight="bold"')]
    for number, bar in enumerate(bars):
        y = top + _HEADING + number * _STEP
        width = max(1.0, room * bar.value / longest)
        parts.append(
            _text(left - 8, y + 12, bar.name, 'text-anchor="end"'),
        )
        parts.append(
            '<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>'
            % (left, y, width, _BAR, _OTHERS if number else _OURS)
        )
        if bar.most > bar.least:
            parts.append(
                '<path d="M%.1f %d H%.1f" stroke="%s"/>'
                % (
                    left + room * bar.least / longest,
                    y + _BAR // 2,
                    left + room * bar.most / longest,
                    _INK,
                )
            )
        end = left + max(width, room * bar.most / longest)
        parts.append(_text(end + 6, y + 12, bar.text, ''))
    return parts


def _text(x: float, y: float, text: str, attributes: str) -> str:
    return '<text x="%.1f" y="%.1f" %s>%s</text>' % (
        x,
        y,
        attributes,
        saxutils.escape(text),
    )
