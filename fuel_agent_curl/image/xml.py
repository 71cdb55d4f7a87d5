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

"""XML documents about an image, from a server that may send anything."""

from __future__ import annotations

from collections.abc import Iterable
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import octets

if typing.TYPE_CHECKING:
    from xml.etree.ElementTree import Element
    from xml.parsers.expat import XMLParserType

# Far more than any document of ours has. expat keeps a name for as long as it
# parses, and all of a tag, or a comment, until that is complete.
_MOST_ELEMENTS = 500_000
_MOST_NAMES = 1000
_MOST_DEPTH = 30
_MOST_UNFINISHED = 256 * octets.KIB
# What expat is given at once.
_STEP = 64 * octets.KIB


def parse(document: bytes, what: str) -> Element:
    """Return the root of a document.

    :param what: it is to be, for the error's text.
    :raises errors.ContentError: if it is no XML, or has a DTD: ours need
        none, and entities can make a document grow without end.
    """
    # Here: most images come without any document.
    from defusedxml import ElementTree

    try:
        return ElementTree.fromstring(document, forbid_dtd=True)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        # LookupError: an encoding that Python does not have.
        raise errors.ContentError('not %s: %s' % (what, error)) from error


class Handler(typing.Protocol):
    """Who is told of a document as it is read.

    Names are the namespace's, a blank, and the local one, without the first
    two where there is no namespace.
    """

    def start(self, name: str, attributes: dict[str, str]) -> None:
        """An element begins."""

    def text(self, text: str) -> None:
        """A part of the text of the element that began last, if not ended."""

    def end(self) -> None:
        """The innermost element ends."""


def read(
    chunks: Iterable[octets.Buffer], handler: Handler, what: str, most: int
) -> None:
    """Read a document as it comes; nothing of it is kept.

    :param what: it is to be, for the error's text.
    :param most: bytes that it may have.
    :raises errors.ContentError: if it is no XML, has a DTD, or is more than
        any document of its kind: in bytes, elements, names, nesting, or in
        one tag.
    """
    _Reading(handler, what).run(chunks, most)


class _Reading:
    def __init__(self, handler: Handler, what: str) -> None:
        # Here: most images come without any document.
        from xml.parsers import expat

        self._errors = (expat.ExpatError, ValueError, LookupError)
        self._handler = handler
        self._what = what
        self._names: set[str | None] = set()
        self._elements = 0
        self._depth = 0
        self._fed = 0
        self._parser: XMLParserType = expat.ParserCreate(None, ' ')
        self._parser.buffer_text = True
        self._parser.StartDoctypeDeclHandler = self._refuse_dtd
        self._parser.StartNamespaceDeclHandler = self._namespace
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = handler.text

    def run(self, chunks: Iterable[octets.Buffer], most: int) -> None:
        for chunk in chunks:
            if self._fed + len(chunk) > most:
                raise self._refusal('it has more than %d bytes' % most)
            for at in range(0, len(chunk), _STEP):
                self._feed(bytes(chunk[at : at + _STEP]), False)
        self._feed(b'', True)

    def _feed(self, piece: bytes, is_last: bool) -> None:
        self._fed += len(piece)
        try:
            self._parser.Parse(piece, is_last)
        except self._errors as error:
            # LookupError: an encoding that Python does not have.
            if isinstance(error, errors.Error):
                raise
            raise self._refusal(str(error)) from error
        if self._fed - self._parser.CurrentByteIndex > _MOST_UNFINISHED:
            raise self._refusal('it has a tag without an end')

    def _refusal(self, why: str) -> errors.ContentError:
        return errors.ContentError('not %s: %s' % (self._what, why))

    def _refuse_dtd(self, *_declaration: object) -> None:
        raise self._refusal('it has a DTD')

    def _namespace(self, prefix: str | None, _uri: str) -> None:
        self._count(prefix)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > _MOST_ELEMENTS:
            raise self._refusal('it has too many elements')
        self._depth += 1
        if self._depth > _MOST_DEPTH:
            raise self._refusal('its elements are nested too deeply')
        self._count(name, *attributes)
        self._handler.start(name, attributes)

    def _count(self, *names: str | None) -> None:
        self._names.update(names)
        if len(self._names) > _MOST_NAMES:
            raise self._refusal('it has too many names')

    def _end(self, _name: str) -> None:
        self._depth -= 1
        self._handler.end()
