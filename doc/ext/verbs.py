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

"""Sphinx directives for the manual pages.

``.. verb:: copy`` becomes the sections of a page, from the parser of that
verb: its usage, what it does, each option with its help, and what the help
ends with. ``top`` is the parser of what comes before a verb.

``.. exit-codes::`` becomes a list of them, as a table is hard to read in a
terminal.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
import re
from typing import Any

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils as sphinx_docutils

from fuel_agent_curl.cmd import parsers
from tools import document_errors


class Verb(sphinx_docutils.SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        parser = getattr(parsers, self.arguments[0])()
        usage = parser.format_usage().removeprefix('usage: ').strip()
        sections = [
            self.section('Synopsis', _literal(usage)),
            self.section('Description', _text(parser.description or '')),
        ]
        options = self.section('Options', ('.. program:: ' + parser.prog,))
        for group in parser._action_groups:
            lines = [x for a in group._group_actions for x in _option(a)]
            title = group.title or ''
            if lines and title == 'options':
                options += self.parsed(lines)
            elif lines:
                options += self.section(_heading(title), lines)
        sections.append(options)
        for paragraph in (parser.epilog or '').strip().split('\n\n'):
            title, colon, text = paragraph.partition(':')
            if colon and ' ' not in title.replace('exit codes', ''):
                sections.append(self.section(_heading(title), _text(text)))
            else:
                sections[-1] += self.parsed(_text(paragraph))
        return list(sections)

    def section(self, title: str, lines: Iterable[str]) -> nodes.section:
        """Return a section of this page."""
        section = nodes.section(
            '',
            nodes.title('', title),
            *self.parsed(lines),
            names=[nodes.fully_normalize_name(title)],
        )
        self.state.document.note_implicit_target(section, section)
        return section

    def parsed(self, lines: Iterable[str]) -> list[nodes.Node]:
        """Return what is written in these lines."""
        found = nodes.Element()
        text = statemachine.StringList(list(lines), self.arguments[0])
        self.state.nested_parse(text, self.content_offset, found)
        return list(found.children)


class ExitCodes(sphinx_docutils.SphinxDirective):
    def run(self) -> list[nodes.Node]:
        lines = []
        for code, name, meaning in document_errors.rows():
            lines.append('%d %s' % (code, '(``%s``)' % name if name else ''))
            lines.append('    ' + meaning)
        text = statemachine.StringList(lines, 'errors')
        found = nodes.Element()
        self.state.nested_parse(text, self.content_offset, found)
        return list(found.children)


def _heading(title: str) -> str:
    return title[:1].upper() + title[1:]


def _text(text: str) -> Iterator[str]:
    """Yield the lines of a text of the help; what is indented stays so."""
    for paragraph in text.strip('\n').split('\n\n'):
        if paragraph.startswith(' ') and '\n' in text:
            yield from _literal(paragraph)
        else:
            yield from _escaped(paragraph.strip()).splitlines()
            yield ''


def _literal(text: str) -> Iterator[str]:
    yield from ('::', '')
    yield from ('    ' + line for line in text.splitlines())
    yield ''


def _option(action: argparse.Action) -> Iterator[str]:
    if action.help == argparse.SUPPRESS or not action.option_strings:
        return
    value = ''
    if action.nargs != 0:
        value = str(action.metavar or '|'.join(action.choices or ()))
    flags = [('%s %s' % (f, value)).strip() for f in action.option_strings]
    yield from ('.. option:: ' + ', '.join(flags), '')
    yield '   ' + _escaped((action.help or '').replace('%%', '%'))
    yield ''


def _escaped(text: str) -> str:
    """Return text that is no markup."""
    return re.sub(r'([\\*`|_])', r'\\\1', text)


def setup(app: Any) -> dict[str, Any]:
    app.add_directive('exit-codes', ExitCodes)
    app.add_directive('verb', Verb)
    return {'parallel_read_safe': True}
