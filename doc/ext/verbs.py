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

"""A Sphinx directive: what a verb of the program takes, from its parser.

``.. verb:: copy`` becomes the usage and each option with its help.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import re
from typing import Any

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils as sphinx_docutils

from fuel_agent_curl.cmd import parsers


class Verb(sphinx_docutils.SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        parser = getattr(parsers, self.arguments[0])()
        lines = statemachine.StringList(list(_lines(parser)), parser.prog)
        section = nodes.Element()
        self.state.nested_parse(lines, self.content_offset, section)
        return section.children


def _lines(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from ('.. program:: ' + parser.prog, '')
    usage = parser.format_usage().removeprefix('usage: ')
    for paragraph in ('  ' + usage, *(parser.description or '').split('\n\n')):
        if paragraph.startswith(' '):
            # As it stands, with its columns.
            yield from ('::', '')
            yield from ('    ' + line for line in paragraph.splitlines())
        else:
            yield from _escaped(paragraph).splitlines()
        yield ''
    for group in parser._action_groups:
        options = [line for a in group._group_actions for line in _option(a)]
        if options:
            yield from ('.. rubric:: ' + (group.title or ''), '', *options)


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
    app.add_directive('verb', Verb)
    return {'parallel_read_safe': True}
