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

"""Fail if a module of the package imports what it must not.

A room is a folder of the package, or a module at its top. ``ROOMS`` says what
each may import; inside a room, imports have no circle.
"""

from __future__ import annotations

import ast
import collections.abc
import graphlib
import pathlib
import sys

PACKAGE = 'fuel_agent_curl'

#: Each room, from the top down, and the rooms below that it may import.
ROOMS = {
    'cmd': 'pipeline engine rules image target config harmful errors octets',
    'drivers': 'artifact engine config errors octets',
    'artifact': 'pipeline engine image config errors octets',
    'pipeline': 'image target errors octets',
    '__init__': 'engine config errors octets',
    'engine': 'rules image config errors octets',
    'rules': 'image config errors octets',
    'image': 'errors octets',
    'target': 'errors octets',
    'config': 'errors octets',
    'harmful': '',
    'errors': '',
    'octets': '',
}

#: Who alone may import what is not ours, or name ``CONF``: a room or module.
ONLY = {
    'pycurl': ('engine.multi', 'engine.easy'),
    'fuel_agent': ('artifact', 'drivers'),
    'oslo_config': ('cmd', 'artifact', 'drivers', 'config.opts'),
    'oslo_log': ('cmd',),
    'CONF': ('artifact', 'drivers', 'config.opts'),
}

#: What acts, waits or tells the time, which no rule does.
IMPURE = frozenset(
    (
        'asyncio',
        'os',
        'random',
        'select',
        'selectors',
        'socket',
        'subprocess',
        'threading',
        'time',
    )
)

#: What runs with the standard library alone.
BARE = ('errors', 'octets', 'harmful', 'config.options', 'config.settings')


def check(root: pathlib.Path) -> list[str]:
    """Return a line for each fault in the package below ``root``."""
    base = root / PACKAGE
    paths = {
        '.'.join(path.relative_to(base).with_suffix('').parts): path
        for path in sorted(base.rglob('*.py'))
    }
    graph: dict[str, set[str]] = {}
    faults = []
    for module, path in paths.items():
        graph[module] = set()
        for line, name in _imports(ast.parse(path.read_text())):
            other = _module(name, paths)
            what = _fault(module, name, other)
            if what:
                where = path.relative_to(root)
                faults.append('%s:%d: %s' % (where, line, what))
            if other and _room(other) == _room(module):
                graph[module].add(other)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        faults.append('a circle of imports: ' + ' > '.join(error.args[1]))
    return faults


def _imports(
    tree: ast.Module,
) -> collections.abc.Iterator[tuple[int, str]]:
    """Yield line and dotted name of each import, and of each ``CONF``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = '.' * node.level + (node.module or '')
            for alias in node.names:
                yield node.lineno, source + '.' + alias.name
                if alias.name == 'CONF':
                    yield node.lineno, 'CONF'
        elif isinstance(node, ast.Attribute) and node.attr == 'CONF':
            yield node.lineno, 'CONF'


def _module(name: str, known: collections.abc.Container[str]) -> str | None:
    """Return our module that ``name`` is of; None where it is not ours."""
    package, _, rest = name.partition('.')
    if package != PACKAGE:
        return None
    while rest:
        for found in (rest, rest + '.__init__'):
            if found in known:
                return found
        rest = rest.rpartition('.')[0]
    return '__init__'


def _room(module: str) -> str:
    return module.partition('.')[0]


def _fault(module: str, name: str, other: str | None) -> str | None:
    """Return what is wrong with ``module`` importing ``name``."""
    room = _room(module)
    if room not in ROOMS:
        return '%s is no room of tools/check_layers.py' % room
    if other is not None:
        allowed = _room(other) in (room, *ROOMS[room].split())
        return None if allowed else '%s must not import %s' % (module, other)
    top = name.partition('.')[0]
    if not top:
        return '%s has a relative import' % module
    if top in ONLY and not {room, module} & set(ONLY[top]):
        return '%s must not use %s' % (module, top)
    if room == 'rules' and top in IMPURE:
        return '%s is a rule and must not import %s' % (module, top)
    if {room, module} & set(BARE) and top not in sys.stdlib_module_names:
        return '%s must not import %s, nor anything installed' % (module, top)
    return None


def main() -> int:
    faults = check(pathlib.Path(__file__).parent.parent)
    print('\n'.join(faults), end='\n' if faults else '')
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
