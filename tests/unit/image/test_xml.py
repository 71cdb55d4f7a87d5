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

"""Tests of how XML is read that comes from anywhere."""

from __future__ import annotations

from collections.abc import Iterator
import itertools

from fuel_agent_curl import errors
from fuel_agent_curl.image import xml
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests import base

MOST = 4 * MIB


class Told:
    """Takes down what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.events.append((name, attributes))

    def text(self, text: str) -> None:
        # However many parts it comes in.
        if self.events and isinstance(self.events[-1], str):
            text = str(self.events.pop()) + text
        self.events.append(text)

    def end(self) -> None:
        self.events.append(None)


def pieces(document: bytes, step: int) -> Iterator[bytes]:
    for at in range(0, len(document), step):
        yield document[at : at + step]


def read(document: bytes, step: int = 100 * KIB) -> list[object]:
    told = Told()
    xml.read(pieces(document, step), told, 'a list', MOST)
    return told.events


class TestRead(base.TestCase):
    def test_pieces_of_any_size(self) -> None:
        text = (
            '<a xmlns="urn:x"><b c="d">\xe9&#65;<![CDATA[<]]></b><!-- --></a>'
        )
        for encoding, step in itertools.product(
            ('utf-8', 'utf-16', 'iso-8859-1'), (1, 2, 7, 1000)
        ):
            head = '<?xml version="1.0" encoding="%s"?>' % encoding
            self.assertEqual(
                [('urn:x a', {}), ('urn:x b', {'c': 'd'}), '\xe9A<']
                + [None] * 2,
                read((head + text).encode(encoding), step),
            )

    def test_what_is_no_xml(self) -> None:
        for document in (
            b'',
            b'<a>',
            b'<a></b>',
            b'<a/>more',
            b'<a/><b/>',
            b'<a>\xff</a>',
            b'<a>&b;</a>',
            b'<a b="1" b="2"/>',
            b'<?xml version="1.0" encoding="no-such"?><a/>',
            b'<?xml version="1.0" encoding="utf-7"?><a/>',
            b'<?xml version="1.0" encoding="big5"?><a/>',
            b'\x00\x01\x02',
        ):
            for step in (1, 1000):
                error = self.assertRaises(
                    errors.ContentError, read, document, step
                )
                self.assertIn('not a list: ', str(error))

    def test_a_dtd_is_refused(self) -> None:
        for dtd in (
            b'<!DOCTYPE a>',
            b'<!DOCTYPE a SYSTEM "file:///etc/passwd">',
            b'<!DOCTYPE a [<!ENTITY b "b">]>',
        ):
            error = self.assertRaises(
                errors.ContentError, read, dtd + b'<a>&b;</a>'
            )
            self.assertIn('DTD', str(error))

    def test_more_than_any_document_has(self) -> None:
        """Each would cost memory, or time, out of all proportion."""
        many = range(2000)
        for what, document in (
            ('bytes', b'<a>' + b' ' * MOST + b'</a>'),
            ('elements', b'<a>' + b'<b/>' * 500_001),
            ('names', b'<a>%s' % b''.join(b'<b%d/>' % n for n in many)),
            ('names', b'<a>%s' % b''.join(b'<b c%d=""/>' % n for n in many)),
            (
                'names',
                b'<a>%s' % b''.join(b'<b xmlns:c%d="d"/>' % n for n in many),
            ),
            ('nested', b'<a>' * 1000),
            ('without an end', b'<a ' + b'b="" ' * MIB),
            ('without an end', b'<a b="' + b'c' * MIB),
            ('without an end', b'<' + b'a' * MIB),
            ('without an end', b'<a><!-- ' + b'b' * MIB),
        ):
            try:
                read(document)
            except errors.ContentError as error:
                self.assertIn(what, str(error))
            else:
                self.fail('not refused for: ' + what)

    def test_as_much_as_is_allowed(self) -> None:
        text = b'b' * (MOST - 8)
        self.assertEqual(
            [('a', {}), text.decode(), None], read(b'<a>%s</a>' % text)
        )
        self.assertEqual(
            [('a', {'b': 'c' * 100_000}), None],
            read(b'<a b="%s"/>' % (b'c' * 100_000)),
        )
        self.assertEqual(60, len(read(b'<a>' * 30 + b'</a>' * 30)))
