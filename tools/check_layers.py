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

A room is a folder of the package, or a module at its top. Between rooms
``ROOMS`` says who may import whom; inside a room, imports have no circle.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
import graphlib
import pathlib
import sys

PACKAGE = 'fuel_agent_curl'
ROOT = pathlib.Path(__file__).parent.parent

#: Each room, from the top down, and the rooms below it that it may import.
ROOMS = {
    'cmd': (
        'copying continuing pipeline engine rules state image target config '
        'harmful'
    ),
    '__init__': 'copying engine config',
    'ironic': 'copying continuing pipeline engine state image target config',
    'copying': (
        'spooling reusing continuing pipeline engine rules state image target '
        'config'
    ),
    'drivers': 'artifact engine config',
    'artifact': 'keeping pipeline engine image target config',
    'keeping': ('spooling continuing engine rules state image target config'),
    'spooling': 'continuing rules state target',
    'reusing': 'engine rules image config',
    'continuing': 'rules state target',
    'pipeline': 'state image target',
    'engine': 'rules image config',
    'rules': 'config',
    'image': '',
    'target': 'state',
    'state': '',
    'config': '',
    'harmful': '',
    'errors': '',
    'octets': '',
    'values': '',
}

#: Rooms that each of the others may import.
GROUND = 'errors octets values'

#: Names, and the rooms or modules that alone may use them.
ONLY = {
    'pycurl': 'engine.address engine.easy engine.handles engine.multi',
    'fuel_agent': 'artifact drivers',
    'ironic_python_agent': 'ironic',
    'requests': 'ironic',
    'oslo_config': 'cmd artifact drivers ironic config.opts',
    'oslo_log': 'cmd',
    'CONF': 'artifact drivers ironic config.opts',
}

#: What runs with the standard library alone, and what of that a rule may
#: import: nothing that acts, waits, or tells the time.
BARE = 'errors octets values harmful config.options config.settings'
PURE = (
    '__future__ collections dataclasses datetime email enum functools hashlib '
    'ipaddress itertools math re string typing urllib'
)


def check(root: pathlib.Path = ROOT) -> list[str]:
    """Return a line for each fault in the package below ``root``."""
    faults = []
    graph: dict[str, set[str]] = {}
    for module, place, name, ours in imports(root):
        inside = graph.setdefault(module, set())
        if room(ours) == room(module):
            inside.add(ours)
        elif fault := _fault(module, name, ours):
            faults.append('%s: %s' % (place, fault))
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        faults.append('a circle of imports: ' + ' > '.join(error.args[1]))
    return faults


def imports(root: pathlib.Path) -> Iterator[tuple[str, str, str, str]]:
    """Yield each import: the module, file and line, the name, whose it is.

    The last is a module of ours, or empty. To read ``CONF`` is an import too.
    """
    paths = {
        '.'.join(path.relative_to(root).with_suffix('').parts[1:]): path
        for path in sorted(root.glob(PACKAGE + '/**/*.py'))
    }
    for module, path in paths.items():
        for node in ast.walk(ast.parse(path.read_text())):
            for line, name in _names(node):
                where = '%s:%d' % (path.relative_to(root), line)
                yield module, where, name, _module(name, set(paths))


def room(module: str) -> str:
    """Return the room of a module, which is named without the package."""
    return module.partition('.')[0]


def _names(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield line and name of what a statement or an expression imports."""
    match node:
        case ast.Import(names):
            yield from ((node.lineno, alias.name) for alias in names)
        case ast.ImportFrom(source, names, level):
            source = '.' * level + (source or '')
            yield from ((node.lineno, source + '.' + a.name) for a in names)
        case ast.Call(func, [ast.Constant(str() as name)]):
            if ast.unparse(func) == 'importlib.import_module':
                yield node.lineno, name
        case ast.Attribute(attr='CONF') | ast.alias('CONF'):
            yield node.lineno, 'CONF'


def _module(name: str, modules: set[str]) -> str:
    """Return the one of ``modules`` that has ``name``; empty: not ours."""
    package, first, second, *_ = *name.split('.'), '', ''
    for ours in ('%s.%s' % (first, second), first + '.__init__', first):
        if package == PACKAGE and ours in modules:
            return ours
    return '__init__' if package == PACKAGE else ''


def _fault(module: str, name: str, ours: str) -> str | None:
    """Return what is wrong with ``module`` importing ``name``."""
    places = {module, room(module)}
    top = room(name)
    if room(module) not in ROOMS:
        return '%s is in no room of tools/check_layers.py' % module
    if ours:
        below = ROOMS[room(module)] + ' ' + GROUND
        if room(ours) not in below.split():
            return '%s must not import %s' % (module, ours)
    elif not top:
        return '%s has a relative import' % module
    elif top in ONLY and not places & set(ONLY[top].split()):
        return '%s must not use %s' % (module, top)
    elif room(module) == 'rules' and top not in PURE.split():
        return '%s is a rule and must not import %s' % (module, top)
    elif places & set(BARE.split()) and top not in sys.stdlib_module_names:
        return '%s must not import %s, nor anything installed' % (module, top)
    return None


if __name__ == '__main__':
    sys.exit('\n'.join(check()) or 0)
