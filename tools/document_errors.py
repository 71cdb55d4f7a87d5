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

"""The table of exit codes in doc/source/errors.rst, from errors.py.

``tools/generate.py`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
import textwrap

from fuel_agent_curl import errors
from tools import check_layers

PAGE = check_layers.ROOT / 'doc' / 'source' / 'errors.rst'

_BEGIN = '.. The table is made by tools/generate.py.\n\n'
_END = '\n.. The table ends here.\n'

#: Codes that are not of a class.
_OTHERS = (
    (0, '', 'Every byte is on the target, synced, and checked.'),
    (1, '', 'A bug of ours, with a traceback.'),
    (129, '', 'SIGHUP ended it.'),
    (130, '', 'Ctrl-C ended it.'),
    (141, '', 'The reader of the output is gone.'),
    (143, '', 'SIGTERM ended it.'),
)

_CODE, _CLASS, _MEANING = 4, 21, 51


def page(text: str) -> str:
    """Return the page ``text`` with the table as it is now."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return before + _BEGIN + table() + _END + after


def rows() -> list[tuple[int, str, str]]:
    """Return each exit code, its class if it has one, and what it means."""
    return sorted([*_OTHERS, *_classes(errors.Error)])


def table() -> str:
    """Return a row for each exit code."""
    rule = ' '.join('=' * width for width in (_CODE, _CLASS, _MEANING))
    lines = [rule, _row('code', 'class', 'meaning'), rule]
    for code, name, meaning in rows():
        first, *more = textwrap.wrap(meaning, _MEANING)
        lines.append(_row(str(code), name, first))
        lines += [_row('', '', line) for line in more]
    return '\n'.join([*lines, rule]) + '\n'


def _row(code: str, name: str, meaning: str) -> str:
    return '%-*s %-*s %s' % (_CODE, code, _CLASS, name, meaning)


def _classes(kind: type[errors.Error]) -> Iterator[tuple[int, str, str]]:
    # What other modules derive has the code of its base.
    if kind.__module__ == errors.__name__:
        meaning = (kind.__doc__ or '').partition('\n')[0]
        yield kind.exit_code, kind.__name__, meaning
        for child in kind.__subclasses__():
            yield from _classes(child)
