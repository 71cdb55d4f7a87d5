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

import contextlib
import hashlib

from fuel_agent_curl import errors
from fuel_agent_curl.image import metalink
from fuel_agent_curl.octets import MIB
from tests import base

DATA = bytes(range(250)) * 10
PIECE = 1024

URLS = (
    '<url priority="2">http://b.example/i</url>'
    '<url>http://last.example/i</url>'
    '<url priority="1">https://a.example/i</url>'
    '<url priority="1">ftp://c.example/i</url>'
)


def pieces(data: bytes = DATA, size: int = PIECE) -> str:
    return '<pieces length="%d" type="sha-256">%s</pieces>' % (
        size,
        ''.join(
            '<hash>%s</hash>'
            % hashlib.sha256(data[at : at + size]).hexdigest()
            for at in range(0, len(data), size)
        ),
    )


SIZE = '<size>%d</size>' % len(DATA)
HASH = '<hash type="%s">%s</hash>'


def document(inner: str = URLS, files: int = 1) -> bytes:
    file = '<file name="i">%s</file>' % inner
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink">%s</metalink>'
        % (file * files)
    ).encode()


def read(text: bytes, step: int = 1 << 20) -> metalink.Metalink:
    return metalink.parse(
        text[at : at + step] for at in range(0, len(text), step)
    )


class ParseTest(base.TestCase):
    def test_urls_by_priority(self) -> None:
        self.assertEqual(
            (
                'https://a.example/i',
                'http://b.example/i',
                'http://last.example/i',
            ),
            read(document()).urls,
        )

    def test_urls_that_cannot_be_used_are_left_out(self) -> None:
        odd = (
            'http://caf\xe9.example/i',
            'http://a.example/with space',
            'http:///i',
            'http://a.example:99999/i',
            'http://[::1/i',
            'i.img',
            '/i.img',
            '//b.example/i',
            'file:///i',
            'magnet:?xt=urn:btih:x',
            '',
        )
        inner = ''.join('<url>%s</url>' % url for url in odd)
        said = read(document(inner + URLS))
        self.assertEqual(read(document()).urls, said.urls)
        self.assertRaises(errors.ContentError, read, document(inner))

    def test_what_is_not_stated_is_none(self) -> None:
        said = read(document())
        self.assertEqual(
            (None, None, None), (said.length, said.checksum, said.pieces)
        )

    def test_the_strongest_hash_known_is_taken(self) -> None:
        said = read(
            document(
                URLS
                + '<size>2500</size><hash type="md5">AA</hash>'
                + '<hash type="sha-256">%s</hash>' % ('BB' * 32)
                + '<hash type="whirlpool">CC</hash>'
            )
        )
        self.assertEqual('sha256:' + 'bb' * 32, said.checksum)
        self.assertEqual(2500, said.length)

    def test_refused(self) -> None:
        for wrong in (
            b'',
            b'<html/>',
            b'\xff\xfe\x00',
            b'<metalink/>',
            document(files=2),
            document(files=0),
            document(''),
            document('<url>ftp://a/b</url>'),
            document(URLS + '<size>many</size>'),
            document(URLS + '<size>-1</size>'),
            document(URLS + '<size>%s</size>' % ('9' * 5000)),
            document(URLS + '<hash type="sha-256">bb</hash>'),
            document(URLS + '<hash type="md5">nonsense</hash>'),
            document(URLS + '<size>1025</size>' + pieces()),
            document(URLS + '<size>1</size><size>2</size>'),
            document(
                URLS
                + HASH % ('sha-256', 'bb' * 32)
                + HASH % ('SHA-256', 'cc' * 32)
            ),
            document(URLS + SIZE + pieces().replace('</hash>', '0</hash>', 1)),
            document(URLS + SIZE + pieces().replace('<hash>', '<hash>x', 1)),
            document(URLS + SIZE + pieces().replace('"1024"', '"0"')),
            document(URLS + SIZE + pieces().replace('"1024"', '"many"')),
            document(URLS + SIZE + pieces().replace('length', 'size')),
            document(URLS + SIZE + pieces().replace('</pieces>', '')),
            b' ' * (17 * MIB) + document(),
            b'<!DOCTYPE metalink [<!ENTITY a "b">]>' + document(),
        ):
            self.assertRaises(errors.ContentError, read, wrong)

    def test_in_pieces_of_any_size(self) -> None:
        text = document(URLS + SIZE + pieces())
        for step in (1, 3, 1000):
            self.assertEqual(read(text), read(text, step))

    def test_hashes_that_nothing_is_compared_with_are_told(self) -> None:
        for inner, unused in (
            (HASH % ('whirlpool', 'aa'), ('a hash by whirlpool',)),
            ('<hash>aa</hash>', ('a hash by no algorithm',)),
            (pieces(), ('piece hashes, but no size',)),
            (
                SIZE + pieces().replace('sha-256', 'Tiger'),
                ('piece hashes by tiger',),
            ),
            (
                SIZE + pieces().replace('type', 'kind'),
                ('piece hashes by no algorithm',),
            ),
            (HASH % ('whirlpool', 'aa') + HASH % ('md5', 'aa' * 16), ()),
            (SIZE + pieces(), ()),
            (SIZE + pieces().replace('sha-256', 'tiger') + pieces(), ()),
        ):
            self.assertEqual(unused, read(document(URLS + inner)).unused)

    def test_the_strongest_hashes_of_pieces_are_taken(self) -> None:
        weak = '<pieces type="md5" length="2500"><hash>%s</hash></pieces>' % (
            'aa' * 16
        )
        for both in (weak + pieces(), pieces() + weak):
            said = read(document(URLS + SIZE + both))
            assert said.pieces is not None
            self.assertEqual('sha256', said.pieces.algorithm)

    def test_so_many_urls_as_are_of_use(self) -> None:
        priorities = [*range(300, 150, -1), *range(1, 100), *range(400, 450)]
        inner = ''.join(
            '<url priority="%d">http://a/%d</url>' % (each, each)
            for each in priorities
        )
        self.assertEqual(
            tuple('http://a/%d' % each for each in sorted(priorities)[:100]),
            read(document(inner)).urls,
        )
        equal = ''.join('<url>http://a/%d</url>' % n for n in range(200))
        self.assertEqual(
            tuple('http://a/%d' % n for n in range(100)),
            read(document(equal)).urls,
        )

    def test_other_elements_do_not_count(self) -> None:
        inner = (
            '<x xmlns="urn:other"><url>http://x/</url><size>x</size></x>'
            '<mirrors><url>http://x/</url></mirrors>'
            '<size>5<x/></size>'
        )
        said = read(document(inner.replace('5<x/>', '<x/>5') + URLS))
        self.assertEqual(read(document()).urls, said.urls)
        self.assertEqual(5, said.length)


class PiecesTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        said = read(document(URLS + '<size>%d</size>' % len(DATA) + pieces()))
        assert said.pieces is not None
        self.pieces = said.pieces

    def match(self, start: int, stop: int, flip: int | None = None) -> bool:
        data = bytearray(DATA)
        if flip is not None:
            data[flip] ^= 1
        return self.pieces.match(start, memoryview(data)[start:stop])

    def test_right_bytes_match(self) -> None:
        self.assertTrue(self.match(0, len(DATA)))
        self.assertTrue(self.match(PIECE, 2 * PIECE))
        self.assertTrue(self.match(2 * PIECE, len(DATA)))

    def test_one_bit_is_enough(self) -> None:
        for flip in (0, PIECE - 1, PIECE, len(DATA) - 1):
            self.assertFalse(self.match(0, len(DATA), flip))

    def test_a_bit_elsewhere_does_not_matter(self) -> None:
        self.assertTrue(self.match(0, PIECE, PIECE))


class CheckTest(PiecesTest):
    """The same of pieces that are compared as they pass."""

    def match(self, start: int, stop: int, flip: int | None = None) -> bool:
        data = bytearray(DATA)
        if flip is not None:
            data[flip] ^= 1
        results = {
            self.passes(bytes(data[:stop]), step)
            for step in (1, 7, PIECE - 1, PIECE, PIECE + 1, 10 * PIECE)
        }
        self.assertEqual(1, len(results))
        return results.pop()

    def passes(self, data: bytes, step: int) -> bool:
        """Tell whether the bytes are found right."""
        check = metalink.Check(self.pieces)
        for at in range(0, len(data), step):
            # What was interrupted goes on from where it was.
            with contextlib.suppress(errors.DigestMismatch):
                check.copy().update(b'?' * step)
            try:
                check.update(data[at : at + step])
            except errors.DigestMismatch:
                return False
        if len(data) == len(DATA):
            try:
                check.verify()
                check.verify()
            except errors.DigestMismatch:
                return False
        return True
