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

Imports point downwards in ``LAYERS``, from the command line to the errors,
and never to a module of the same layer. A module that is in no layer is a
failure, so that whoever adds one has to say where it belongs.
"""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import pathlib
import sys

PACKAGE = 'fuel_agent_curl'

#: The package itself, that is its ``__init__.py``.
PUBLIC = '__init__'

#: From the top down; a subpackage is one module here.
LAYERS: tuple[tuple[str, ...], ...] = (
    ('cmd',),
    ('drivers',),
    ('artifact',),
    ('opts',),
    ('pipeline',),
    (PUBLIC,),
    # Stages and sinks know bytes, not HTTP (see SEALED).
    ('device', 'decompress', 'relay'),
    ('targets', 'gunzip'),
    ('storage',),
    ('blockdev', 'readback', 'sink', 'staging'),
    ('faults',),
    # The engine.
    ('probe',),
    ('download',),
    ('plan',),
    ('transfer',),
    ('exchange', 'handover'),
    ('reception',),
    ('window',),
    ('multi',),
    ('easy',),
    # The rules: no I/O, no clock.
    ('recovery',),
    ('sources', 'watchdog'),
    ('answer', 'heads'),
    (
        'bmap',
        'budget',
        'codes',
        'head',
        'lowspeed',
        'metalink',
        'mirrors',
        'report',
        'retry',
        'segments',
        'states',
    ),
    ('options',),
    ('digest', 'document', 'settings'),
    ('harmful',),
    ('errors',),
)

RULES = frozenset(
    (
        'answer',
        'bmap',
        'budget',
        'codes',
        'head',
        'heads',
        'lowspeed',
        'metalink',
        'mirrors',
        'options',
        'recovery',
        'report',
        'retry',
        'segments',
        'settings',
        'sources',
        'states',
        'watchdog',
    )
)

#: Groups that import each other, in the order above, and the errors alone.
SEALED = (
    frozenset(
        (
            'device',
            'targets',
            'storage',
            'blockdev',
            'readback',
            'sink',
            'staging',
            'faults',
        )
    ),
    frozenset(('decompress', 'gunzip')),
    frozenset(('relay',)),
    frozenset(('digest',)),
    frozenset(('harmful',)),
)

#: What only some modules may import, besides the standard library.
FOREIGN = {
    'pycurl': frozenset(('multi', 'easy')),
    'fuel_agent': frozenset(('artifact', 'drivers')),
    'oslo_config': frozenset(('cmd', 'drivers', 'artifact', 'opts')),
    'oslo_log': frozenset(('cmd',)),
}

#: Who may name the one CONF of the process, but only to hand it to ``opts``,
#: which alone reads it.
HANDS_CONF_ON = frozenset(('artifact', 'drivers'))

#: Modules that run with the standard library alone.
STANDARD_LIBRARY_ONLY = frozenset(('errors', 'harmful', 'options', 'settings'))

#: Reached for by no rule: they act, wait, or tell the time.
IMPURE = frozenset(
    (
        'asyncio',
        'random',
        'select',
        'selectors',
        'socket',
        'subprocess',
        'threading',
        'time',
    )
)

_RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


@dataclasses.dataclass(frozen=True)
class Import:
    """One import: ``line``, and ``name``, dotted and absolute."""

    line: int
    name: str


def check(root: pathlib.Path) -> list[str]:
    """Return a line for each fault in the package below ``root``."""
    faults = []
    for path in sorted((root / PACKAGE).rglob('*.py')):
        parts = path.relative_to(root / PACKAGE).with_suffix('').parts
        faults += [
            '%s:%s' % (path.relative_to(root), fault)
            for fault in check_source(parts, path.read_text())
        ]
    return faults


def check_source(parts: tuple[str, ...], source: str) -> list[str]:
    """Return the faults of one file, each 'line: what'.

    :param parts: its path in the package, such as ``('cmd', 'main')``.
    """
    module = parts[0]
    if module not in _RANKS:
        return ['1: %s is in no layer of tools/check_layers.py' % module]
    tree = ast.parse(source)
    faults = []
    for item in _imports(tree, parts):
        head, _, rest = item.name.partition('.')
        if head == PACKAGE:
            what = _check_inside(module, rest.partition('.')[0])
        else:
            what = _check_outside(module, head)
        if what:
            faults.append((item.line, what))
    if module != 'opts':
        handed_on = _handed_to_opts(tree) if module in HANDS_CONF_ON else set()
        faults += [
            (node.lineno, '%s must not use CONF' % module)
            for node in _conf(tree)
            if node not in handed_on
        ]
    return ['%d: %s' % fault for fault in sorted(faults)]


def _imports(
    tree: ast.Module, parts: tuple[str, ...]
) -> collections.abc.Iterator[Import]:
    # __init__ is the name of its package, which is where it looks from.
    package = (PACKAGE, *parts)[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level]
            start = '.'.join(base) if node.level else ''
            source = '.'.join(filter(None, (start, node.module)))
            for alias in node.names:
                yield Import(node.lineno, source + '.' + alias.name)


def _check_inside(module: str, other: str) -> str | None:
    # "from fuel_agent_curl import fetch" asks the package itself.
    other = other if other in _RANKS or _is_file(other) else PUBLIC
    if other not in _RANKS:
        return '%s is in no layer of tools/check_layers.py' % other
    if other == module:
        # Inside a subpackage.
        return None
    if _RANKS[other] <= _RANKS[module]:
        return '%s must not import %s: it is not below' % (module, other)
    for group in SEALED:
        if module in group and other not in group | {'errors'}:
            return '%s must not import %s: it knows bytes alone' % (
                module,
                other,
            )
    if other == 'harmful' and module != 'cmd':
        return '%s must not import harmful: it is for demo' % module
    return None


def _check_outside(module: str, name: str) -> str | None:
    if module not in FOREIGN.get(name, {module}):
        return '%s must not import %s' % (module, name)
    if module in RULES and name in IMPURE:
        return '%s is a rule and must not import %s' % (module, name)
    if module in STANDARD_LIBRARY_ONLY and name not in sys.stdlib_module_names:
        return '%s must not import %s, nor anything installed' % (
            module,
            name,
        )
    return None


def _is_file(name: str) -> bool:
    base = pathlib.Path(__file__).parent.parent / PACKAGE / name
    return base.is_dir() or base.with_suffix('.py').is_file()


def _conf(
    tree: ast.Module,
) -> collections.abc.Iterator[ast.Attribute | ast.ImportFrom]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == 'CONF':
            yield node
        elif isinstance(node, ast.ImportFrom) and any(
            alias.name == 'CONF' for alias in node.names
        ):
            yield node


def _handed_to_opts(tree: ast.Module) -> set[ast.AST]:
    """Return the arguments of every call ``opts.something(...)``."""
    return {
        argument
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == 'opts'
        for argument in node.args
    }


def main() -> int:
    faults = check(pathlib.Path(__file__).parent.parent)
    for fault in faults:
        print(fault)
    return int(bool(faults))


if __name__ == '__main__':
    sys.exit(main())
