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


"""The page doc/source/events.rst and the JSON Schema, from cmd/records.py.

``tools/generate.py`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import json
import re
import textwrap
from typing import Any

from fuel_agent_curl.cmd import records
from tools import check_layers

PAGE = check_layers.ROOT / 'doc' / 'source' / 'events.rst'

#: Below ``share``.
SCHEMA = 'fuel-agent-curl/events.schema.json'

# What is between two of these is made here: the name says what.
_MADE = re.compile(
    r'(\.\. Made by tools/generate\.py: (\w+)\.\n\n).*?'
    r'(\n\.\. It ends here\.\n)',
    re.DOTALL,
)

_WIDTH = 78

# Roles and literals of Sphinx, which JSON Schema knows nothing of.
_ROLE = re.compile(r':doc:`(\w+)`')

_PARTS = {
    'common': records.COMMON,
    'happened': records.HAPPENED,
    'continued': records.CONTINUED,
    'reused': records.REUSED,
    'done': records.DONE,
    'failed': records.FAILED,
    'probe': records.PROBE,
    'status': records.STATUS,
}


def page(text: str) -> str:
    """Return the page ``text`` with what is made as it is now."""
    return _MADE.sub(lambda match: match[1] + _part(match[2]) + match[3], text)


def _part(name: str) -> str:
    if name == 'events':
        lines = [
            line
            for event, meaning in records.EVENTS.items()
            for line in _entry('``%s``' % event, meaning)
        ]
    else:
        lines = list(_definitions(_PARTS[name]))
    return '\n'.join(lines) + '\n'


def _definitions(keys: Iterable[records.Key]) -> Iterator[str]:
    for key in keys:
        yield from _entry('``%s``' % key.name, _sentence(key))
        if key.keys:
            yield ''
            for line in _definitions(key.keys):
                yield '    ' + line if line else ''
            yield ''


def _entry(term: str, text: str) -> Iterator[str]:
    yield term
    yield from textwrap.wrap(
        text,
        _WIDTH,
        initial_indent='    ',
        subsequent_indent='    ',
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sentence(key: records.Key) -> str:
    kind = {'strings': 'array of strings'}.get(key.kind, key.kind)
    text = '*%s*: %s' % (kind, key.meaning)
    if key.values:
        text += ': ' + ', '.join('``%s``' % each for each in key.values)
    text += '.'
    if key.null:
        text += ' ``null``: %s.' % key.null
    return text


def schema() -> str:
    """Return the JSON Schema of all objects (draft 2020-12)."""
    shapes = {
        '%s-%s' % each: _object(shape.keys, shape.meaning)
        for each, shape in records.SHAPES.items()
    }
    document = {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'What fuel-agent-curl prints for programs',
        'description': 'Each line of copy --progress json, and what probe'
        ' --json and status --json print.',
        'anyOf': [{'$ref': '#/$defs/' + name} for name in shapes],
        '$defs': shapes,
    }
    return json.dumps(document, indent=2) + '\n'


def _object(
    keys: Iterable[records.Key], meaning: str, nullable: bool = False
) -> dict[str, Any]:
    return {
        'description': _plain(meaning),
        'type': ['object', 'null'] if nullable else 'object',
        'properties': {key.name: _value(key) for key in keys},
        'required': [key.name for key in keys],
        'additionalProperties': False,
    }


def _value(key: records.Key) -> dict[str, Any]:
    meaning = key.meaning
    if key.null:
        meaning += '; null: ' + key.null
    if key.keys:
        return _object(key.keys, meaning, bool(key.null))
    kind = 'array' if key.kind == 'strings' else key.kind
    value: dict[str, Any] = {
        'description': _plain(meaning),
        'type': [kind, 'null'] if key.null else kind,
    }
    if key.kind == 'strings':
        value['items'] = {'type': 'string'}
    if key.kind in ('integer', 'number'):
        value['minimum'] = 0
    if key.values:
        value['enum'] = [*key.values, *([None] if key.null else [])]
    return value


def _plain(text: str) -> str:
    return _ROLE.sub(r'the page \1', text).replace('``', '')
