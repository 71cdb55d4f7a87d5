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

from fuel_agent_curl import errors
from fuel_agent_curl.image import metalink
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


def document(inner: str = URLS, files: int = 1) -> bytes:
    file = '<file name="i">%s</file>' % inner
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink">%s</metalink>'
        % (file * files)
    ).encode()


class ParseTest(base.TestCase):
    def test_urls_by_priority(self) -> None:
        self.assertEqual(
            (
                'https://a.example/i',
                'http://b.example/i',
                'http://last.example/i',
            ),
            metalink.parse(document()).urls,
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
        said = metalink.parse(document(inner + URLS))
        self.assertEqual(metalink.parse(document()).urls, said.urls)
        self.assertRaises(errors.ContentError, metalink.parse, document(inner))

    def test_what_is_not_stated_is_none(self) -> None:
        said = metalink.parse(document())
        self.assertEqual(
            (None, None, None), (said.length, said.checksum, said.pieces)
        )

    def test_the_strongest_hash_known_is_taken(self) -> None:
        said = metalink.parse(
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
            b'<!DOCTYPE metalink [<!ENTITY a "b">]>' + document(),
        ):
            self.assertRaises(errors.ContentError, metalink.parse, wrong)


class PiecesTest(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        said = metalink.parse(
            document(URLS + '<size>%d</size>' % len(DATA) + pieces())
        )
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
