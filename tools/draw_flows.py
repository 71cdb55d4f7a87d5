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

"""Draw what a resume is proven by, and the threads of a copy.

These are doc/source/resume.svg and threads.svg; ``tools/generate.py`` writes
them. What they say is in the pages in words, too.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
from xml.sax import saxutils

from tools import check_layers

SOURCE = check_layers.ROOT / 'doc' / 'source'

_WIDTH, _HEIGHT = 228, 62
_STEP_X, _STEP_Y = 302, 104
_EDGE = 24

# What a box is: its colour. White lies behind, for pages that are dark.
_ASK, _GOOD, _CARE, _BAD = '#eef3f8', '#e3f4e6', '#fff5d6', '#fde9e7'

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %(width)d %(height)d"
 width="%(width)d" height="%(height)d" font-family="sans-serif"
 font-size="13" text-anchor="middle">
<title>%(title)s</title>
<defs>
<marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8"
 markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#345"/></marker>
</defs>
<rect width="%(width)d" height="%(height)d" rx="8" fill="#fff"/>
<g stroke="#345">
%(boxes)s
</g>
<g fill="none" stroke="#345" marker-end="url(#head)">
%(arrows)s
</g>
<g fill="#123">
%(words)s
</g>
</svg>
"""


@dataclasses.dataclass(frozen=True)
class Box:
    """A box: where it stands, in columns and rows, and what is in it.

    :ivar rows: how many it takes.
    """

    column: int
    row: int
    text: str
    colour: str = _ASK
    rows: int = 1

    @property
    def x(self) -> int:
        return _EDGE + self.column * _STEP_X

    @property
    def y(self) -> int:
        return _EDGE + self.row * _STEP_Y

    @property
    def height(self) -> int:
        return _HEIGHT + (self.rows - 1) * _STEP_Y

    def drawn(self) -> str:
        return '<rect x="%d" y="%d" width="%d" height="%d" rx="6" %s/>' % (
            *(self.x, self.y, _WIDTH, self.height),
            'fill="%s"' % self.colour,
        )

    def words(self) -> str:
        lines = self.text.split('\n')
        first = self.y + self.height // 2 + 5 - 8 * (len(lines) - 1)
        return '\n'.join(
            _text(self.x + _WIDTH // 2, first + 16 * number, line)
            for number, line in enumerate(lines)
        )


@dataclasses.dataclass(frozen=True)
class Arrow:
    """An arrow to the right or down, and what is said beside it."""

    start: Box
    end: Box
    text: str = ''

    def drawn(self) -> str:
        return '<path d="M%d %dL%d %d"/>' % self._line

    def words(self) -> str:
        x, y, end_x, end_y = self._line
        if y == end_y:
            return _text((x + end_x) // 2, y - 7, self.text)
        return _text(x + 8, (y + end_y) // 2 + 4, self.text, 'start')

    @property
    def _line(self) -> tuple[int, int, int, int]:
        if self.end.column > self.start.column:
            y = self.start.y + _HEIGHT // 2
            return self.start.x + _WIDTH, y, self.end.x, y
        x = self.start.x + _WIDTH // 2
        return x, self.start.y + self.start.height, x, self.end.y


def _text(x: int, y: int, text: str, anchor: str = '') -> str:
    return '<text x="%d" y="%d"%s>%s</text>' % (
        *(x, y),
        ' text-anchor="%s"' % anchor if anchor else '',
        saxutils.escape(text),
    )


def _drawing(title: str, boxes: Sequence[Box], arrows: Sequence[Arrow]) -> str:
    words = [box.words() for box in boxes]
    words += [arrow.words() for arrow in arrows]
    return _SVG % {
        'title': title,
        'width': _EDGE + max(box.x for box in boxes) + _WIDTH,
        'height': _EDGE + max(box.y + box.height for box in boxes),
        'boxes': '\n'.join(box.drawn() for box in boxes),
        'arrows': '\n'.join(arrow.drawn() for arrow in arrows),
        'words': '\n'.join(words),
    }


def resume() -> str:
    """Return the picture of what follows an answer to a resume."""
    asked = Box(
        0,
        0,
        'the request: from byte N on,\nIf-Range: the strong validator',
    )
    part = Box(0, 1, 'is it a 206 that says\nwhere it begins, and of what?')
    length = Box(0, 2, 'from byte N on, and of\nthe same complete length?')
    validator = Box(0, 3, 'the same strong validator?')
    joined = Box(0, 4, 'joined: it goes on\nat byte N', _GOOD)
    whole = Box(1, 1, 'a 200 with all of it,\nor a 206 that says too little')
    other = Box(
        1, 2, 'asked again; if three agree:\nbegun again, or an error', _BAD
    )
    checksum = Box(1, 3, 'was a checksum given?')
    decided = Box(
        1, 4, 'joined: the checksum decides\nwhen all is there', _GOOD
    )
    compared = Box(
        2,
        1,
        'read again from byte 0, and\ncompared with what is there;\n'
        'what follows is new\n \na byte that differs:\n'
        'the next mirror, or an error',
        _CARE,
        rows=3,
    )
    return _drawing(
        'What a resume is proven by',
        [
            *(asked, part, length, validator, joined),
            *(whole, other, checksum, decided, compared),
        ],
        [
            Arrow(asked, part),
            Arrow(part, length, 'yes'),
            Arrow(length, validator, 'yes'),
            Arrow(validator, joined, 'yes'),
            Arrow(part, whole, 'no'),
            Arrow(length, other, 'no'),
            Arrow(validator, checksum, 'no'),
            Arrow(whole, compared),
            Arrow(checksum, decided, 'yes'),
            Arrow(checksum, compared, 'no'),
        ],
    )


def threads() -> str:
    """Return the picture of the threads of one copy."""
    network = Box(
        0,
        0,
        'network thread\n \nlibcurl, all connections,\nthe rules',
        rows=2,
    )
    consumer = Box(
        1,
        0,
        'consumer: who called copy\n \ndigest of the download,\nunpacking',
        rows=2,
    )
    hashing = Box(2, 0, 'a thread that hashes\nthe image')
    writing = Box(2, 1, 'a thread that writes it\nto the target')
    return _drawing(
        'The threads of a copy',
        [network, consumer, hashing, writing],
        [
            Arrow(network, consumer, 'window'),
            Arrow(consumer, hashing, 'relay'),
            Arrow(
                dataclasses.replace(consumer, row=1, rows=1), writing, 'relay'
            ),
        ],
    )


PICTURES = {SOURCE / 'resume.svg': resume, SOURCE / 'threads.svg': threads}
