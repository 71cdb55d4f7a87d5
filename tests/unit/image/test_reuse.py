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


from __future__ import annotations

import hashlib
import random

from fuel_agent_curl.image import bmap
from fuel_agent_curl.image import metalink
from fuel_agent_curl.image import reuse
from tests import base
from tests.support import blockmaps

_IMAGE = random.Random(9).randbytes(1050)


def _of_pieces() -> reuse.Hashes:
    found = b''.join(
        hashlib.sha256(_IMAGE[at : at + 100]).digest()
        for at in range(0, len(_IMAGE), 100)
    )
    pieces = metalink.Pieces(100, 'sha256', found)
    return reuse.of_pieces(pieces, len(_IMAGE))


def _of_map(checked: bool = True) -> reuse.Hashes:
    document = blockmaps.document(_IMAGE, [(0, 1), (2, 2), (5, 10)], 100)
    found = bmap.parse(document)
    if not checked:
        ranges = [bmap.Range(r.start, r.stop, None) for r in found.ranges]
        found = bmap.BlockMap(1050, 100, 'sha256', tuple(ranges))
    return reuse.of_map(found)


def _missing(hashes: reuse.Hashes, there: bytes, step: int) -> object:
    survey = reuse.Survey(hashes)
    parts = b''.join(there[start:stop] for start, stop in hashes.spans)
    for at in range(0, len(parts), step):
        survey.update(parts[at : at + step])
    survey.finish()
    return survey.missing


class HashesTest(base.TestCase):
    def test_spans(self) -> None:
        self.assertEqual([(0, 1050)], _of_pieces().spans)
        self.assertEqual([(0, 300), (500, 1050)], _of_map().spans)
        self.assertEqual(
            [(0, 200), (200, 300), (500, 1050)],
            [(each.start, each.stop) for each in _of_map().units()],
        )


class SurveyTest(base.TestCase):
    def test_pieces(self) -> None:
        for there, missing in (
            (_IMAGE, []),
            (_IMAGE + b'more', []),
            (b'', [(0, 1050)]),
            (_IMAGE[:1049], [(1000, 1050)]),
            (_IMAGE[:300], [(300, 1050)]),
            (_IMAGE[:399], [(300, 1050)]),
            (b'x' + _IMAGE[1:], [(0, 100)]),
            (
                _IMAGE[:199] + b'xy' + _IMAGE[201:400] + b'z' + _IMAGE[401:],
                [(100, 300), (400, 500)],
            ),
        ):
            for step in (1, 99, 100, 101, 5000):
                self.assertEqual(missing, _missing(_of_pieces(), there, step))

    def test_a_map(self) -> None:
        for there, missing in (
            (_IMAGE, []),
            (_IMAGE[:300] + bytes(200) + _IMAGE[500:], []),
            (_IMAGE[:250] + b'xx' + _IMAGE[252:], [(200, 300)]),
            (_IMAGE[:700] + b'xx' + _IMAGE[702:], [(500, 1050)]),
            (b'', [(0, 300), (500, 1050)]),
        ):
            for step in (1, 99, 100, 101, 5000):
                self.assertEqual(missing, _missing(_of_map(), there, step))

    def test_what_nobody_knows_is_missing(self) -> None:
        self.assertEqual(
            [(0, 300), (500, 1050)], _missing(_of_map(False), _IMAGE, 100)
        )


class CutterTest(base.TestCase):
    def test_cuts_at_both_ends(self) -> None:
        spans = [(0, 3), (5, 6), (6, 9)]
        whole = bytes(range(12))
        for step in range(1, 13):
            cutter = reuse.Cutter(spans)
            found = b''
            for at in range(0, 12, step):
                for inside, piece in cutter.cut(
                    memoryview(whole)[at : at + step]
                ):
                    for number in piece:
                        expected = any(a <= number < b for a, b in spans)
                        self.assertEqual(expected, inside)
                    found += piece
            self.assertEqual(whole, found)


class PiecesOfTest(base.TestCase):
    def test_whole_units_but_at_the_ends(self) -> None:
        for spans, size, unit, expected in (
            ([(0, 10)], 4, 2, [(0, 4), (4, 8), (8, 10)]),
            ([(3, 10)], 4, 2, [(3, 6), (6, 10)]),
            ([(3, 10), (20, 21)], 5, 2, [(3, 6), (6, 10), (20, 21)]),
            # Never less than one.
            ([(0, 20)], 4, 10, [(0, 10), (10, 20)]),
            ([], 4, 10, []),
        ):
            self.assertEqual(
                expected, list(reuse.pieces_of(spans, size, unit))
            )
