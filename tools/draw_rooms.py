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

"""Draw the rooms of the package and who imports whom, as doc/source/rooms.svg.

The arrows come from the imports themselves. One that a way over other rooms
implies is left out, as are those to the ground, which every room may import.
``tools/generate.py`` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
import pathlib
from xml.sax import saxutils

from tools import check_layers

ROOT = check_layers.ROOT
PICTURE = ROOT / 'doc' / 'source' / 'rooms.svg'

#: Where each room stands; imports lead downwards.
_PLAN = """
.          drivers    cmd        .
__init__   artifact   copying    keeping
.          ironic     pipeline   spooling
.          reusing    .          continuing
engine     .          .          target
rules      .          .          .
config     image      state      harmful
"""

#: What each room is for, in two lines.
_WORDS = {
    '__init__': ('the door of', 'Python programs'),
    'artifact': ('the classes of', 'fuel-agent'),
    'cmd': ('the door of', 'people: the program'),
    'copying': ('from a URL', 'to a target'),
    'continuing': ('what a copy left', 'that did not end'),
    'config': ('what was asked for', ''),
    'drivers': ('the door of', 'fuel-agent'),
    'engine': ('one download,', 'in order, bounded'),
    'harmful': ('the server that', 'misbehaves'),
    'ironic': ('the door of', 'ironic-python-agent'),
    'image': ('what the bytes are', ''),
    'keeping': ('a download goes on', 'in a second attempt'),
    'pipeline': ('source, stages, sink,', 'and their order'),
    'reusing': ('only what differs', 'is fetched'),
    'rules': ('values in,', 'decisions out'),
    'spooling': ('what was fetched', 'is kept in a file'),
    'state': ('what outlives', 'a process'),
    'target': ('where the bytes go', ''),
}

_STEP_X, _STEP_Y = 190, 110
_WIDTH, _HEIGHT = 150, 66
_LEFT, _TOP = 30, 24

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %(width)d %(height)d"
 width="%(width)d" height="%(height)d" font-family="sans-serif"
 font-size="13" text-anchor="middle">
<title>The rooms of fuel_agent_curl</title>
<defs>
<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"
 markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#345"/></marker>
</defs>
<rect width="%(width)d" height="%(height)d" rx="8" fill="#fff"/>
<g fill="none" stroke="#345" marker-end="url(#head)">
%(arrows)s
</g>
<g fill="#eef3f8" stroke="#345">
%(boxes)s
</g>
<g fill="#123">
%(words)s
</g>
</svg>
"""


def draw(root: pathlib.Path = ROOT) -> str:
    """Return the picture of the package below ``root``."""
    rows = [line.split() for line in _PLAN.strip().splitlines()]
    places = {
        room: (_LEFT + _STEP_X * column, _TOP + _STEP_Y * row)
        for row, line in enumerate(rows)
        for column, room in enumerate(line)
        if room != '.'
    }
    for room in check_layers.ROOMS:
        if room not in {*places, *check_layers.GROUND.split()}:
            raise SystemExit('%s has no place in _PLAN' % room)
    ground = _TOP + _STEP_Y * len(rows)
    width = 2 * _LEFT + _STEP_X * (len(rows[0]) - 1) + _WIDTH
    boxes = [_box(x, y, _WIDTH, _HEIGHT) for x, y in places.values()]
    boxes.append(_box(_LEFT, ground, width - 2 * _LEFT, _HEIGHT - 26))
    words = [word for room in places for word in _words(room, *places[room])]
    words.append(
        _text(
            width // 2,
            ground + 25,
            '%s: what every room may import'
            % ' and '.join(check_layers.GROUND.split()),
        )
    )
    return _SVG % {
        'width': width,
        'height': ground + _HEIGHT - 26 + _TOP,
        'arrows': '\n'.join(
            _arrow(places[upper], places[lower])
            for upper, lower in sorted(arrows(root))
        ),
        'boxes': '\n'.join(boxes),
        'words': '\n'.join(words),
    }


def arrows(root: pathlib.Path) -> set[tuple[str, str]]:
    """Return which room imports which, without what others imply."""
    known: dict[str, set[str]] = {}
    for module, _place, _name, ours in check_layers.imports(root):
        below = known.setdefault(check_layers.room(module), set())
        below.add(check_layers.room(ours))
    ground = {'', *check_layers.GROUND.split()}
    for room, below in known.items():
        below -= {room} | ground

    def reached(room: str) -> set[str]:
        below = known.get(room, set())
        return below.union(*map(reached, below))

    return {
        (room, other)
        for room, below in known.items()
        for other in below
        if not any(other in reached(way) for way in below)
    }


def _arrow(upper: tuple[int, int], lower: tuple[int, int]) -> str:
    """Return a line from the lower edge of one box to the upper of another.

    It crosses over to its column at once, and leaves and arrives nearer to
    the side where the other box is, so that no arrow hides another.
    """
    aside = (lower[0] > upper[0]) - (lower[0] < upper[0])
    x, y = upper[0] + _WIDTH // 2 + aside * 35, upper[1] + _HEIGHT
    end_x, end_y = lower[0] + _WIDTH // 2 - aside * 35, lower[1]
    across = y + _STEP_Y - _HEIGHT
    bend = (y + across) // 2
    return '<path d="M%d %dC%d %d %d %d %d %dV%d"/>' % (
        *(x, y),
        *(x, bend),
        *(end_x, bend),
        *(end_x, across - 8),
        end_y,
    )


def _box(x: int, y: int, width: int, height: int) -> str:
    return '<rect x="%d" y="%d" width="%d" height="%d" rx="6"/>' % (
        *(x, y),
        *(width, height),
    )


def _words(room: str, x: int, y: int) -> Iterator[str]:
    name = check_layers.PACKAGE if room == '__init__' else room
    middle = x + _WIDTH // 2
    yield _text(middle, y + 20, name, ' font-weight="bold"')
    for line, text in enumerate(_WORDS[room]):
        yield _text(middle, y + 39 + 16 * line, text)


def _text(x: int, y: int, text: str, how: str = '') -> str:
    return '<text x="%d" y="%d"%s>%s</text>' % (
        *(x, y),
        how,
        saxutils.escape(text),
    )
