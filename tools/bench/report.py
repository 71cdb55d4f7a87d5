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

"""A comparison as text, and as what goes into a JSON file."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import dataclasses
from typing import Any

from fuel_agent_curl import octets
from tools.bench import figures

_MISSING = '-'


def table(section: figures.Section) -> str:
    """Return the section as lines of text."""
    names = list(dict.fromkeys(n for row in section.rows for n in row.counts))
    head = ['', 'seconds', '(least-most)', 'times', 'CPU', 'largest', 'sum']
    lines = [[*head, *names]]
    for row in section.rows:
        lines.append(
            [
                row.name,
                '%.2f' % row.seconds,
                '(%.2f-%.2f)' % (row.least, row.most),
                '%.2f' % section.ratio(row),
                number(row.cpu),
                mebibytes(row.largest),
                mebibytes(row.total),
                *(number(row.counts.get(name)) for name in names),
            ]
        )
    text = [section.title, '-' * len(section.title), *_aligned(lines)]
    text += ['* ' + note for note in section.notes]
    text += [_goal(goal) for goal in section.goals]
    text += [_measured(line) for line in section.measured]
    return '\n'.join(text) + '\n'


def number(value: float | None) -> str:
    """Return a number: what is counted is whole."""
    if value is None:
        return _MISSING
    return '%d' % value if isinstance(value, int) else '%.2f' % value


def mebibytes(value: int | None) -> str:
    """Return bytes as whole mebibytes."""
    return _MISSING if value is None else '%d' % round(value / octets.MIB)


def _goal(goal: figures.Goal) -> str:
    verdict = {None: 'not measured', True: 'met', False: 'MISSED'}[goal.met]
    return '> %s: %s (%s %s): %s' % (
        goal.text,
        number(goal.value),
        'at most' if goal.at_most else 'at least',
        number(goal.limit),
        verdict,
    )


def _measured(line: figures.Measured) -> str:
    wanted = ''
    if line.goal is not None:
        verdict = 'met' if line.times <= line.goal else 'MISSED'
        wanted = ' (at most %s): %s' % (number(line.goal), verdict)
    return '= %s: %s %s, %s times %s%s' % (
        line.work,
        number(line.ours),
        line.unit,
        number(line.times),
        line.limited_by,
        wanted,
    )


def _aligned(lines: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for name, *others in lines:
        cells = [name.ljust(widths[0])]
        cells += [
            cell.rjust(width)
            for cell, width in zip(others, widths[1:], strict=True)
        ]
        yield '  '.join(cells).rstrip()


def document(
    sections: Iterable[figures.Section], about: dict[str, Any]
) -> dict[str, Any]:
    """Return everything that was measured, for a JSON file.

    :param about: what is known of the machine and the options.
    """
    return {
        **about,
        'units': 'seconds, bytes',
        'sections': [_section(section) for section in sections],
    }


def _section(section: figures.Section) -> dict[str, Any]:
    return {
        'key': section.key,
        'title': section.title,
        'notes': list(section.notes),
        'rows': [
            {
                'name': row.name,
                'seconds': row.seconds,
                'times': section.ratio(row),
                'cpu': row.cpu,
                'largest': row.largest,
                'sum': row.total,
                **row.counts,
                'runs': [dataclasses.asdict(run) for run in row.runs],
            }
            for row in section.rows
        ],
        'goals': [
            {**dataclasses.asdict(goal), 'met': goal.met}
            for goal in section.goals
        ],
        'measured': [
            {**dataclasses.asdict(line), 'times': line.times}
            for line in section.measured
        ],
    }
