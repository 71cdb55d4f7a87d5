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
"""Metalink 4 (RFC 5854): mirrors, length and hashes of one file.

Rules only: the document comes in as bytes.
"""

from __future__ import annotations

import dataclasses
import re
import typing
import urllib.parse

from fuel_agent_curl import errors
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import xml as document_module

if typing.TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_NAMESPACE = '{urn:ietf:params:xml:ns:metalink}'

# Names of the IANA registry "Hash Function Textual Names" that RFC 5854
# section 4.2.4 refers to, the strongest first, with hashlib's.
_HASHES = {
    'sha-512': 'sha512',
    'sha-384': 'sha384',
    'sha-256': 'sha256',
    'sha-224': 'sha224',
    'sha-1': 'sha1',
    'md5': 'md5',
}

# RFC 5854 section 4.2.16.2: the least urgent priority.
_LAST_PRIORITY = 999999


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Hashes of the pieces that a file is cut into.

    :ivar size: bytes of each but the last.
    :ivar algorithm: hashlib's name.
    :ivar hashes: lower-case hexadecimal digits.
    """

    size: int
    algorithm: str
    hashes: tuple[str, ...]

    def match(self, start: int, view: memoryview) -> bool:
        """Tell whether the bytes from ``start``, a piece's, are right.

        :param view: whole pieces, but for the last of the file.
        """
        for at in range(0, len(view), self.size):
            index = (start + at) // self.size
            piece = digest.new(self.algorithm, view[at : at + self.size])
            if piece.hexdigest() != self.hashes[index]:
                return False
        return True


@dataclasses.dataclass(frozen=True)
class Metalink:
    """What a Metalink document says of its one file.

    :ivar urls: http and https only, the preferred first; no relative ones,
        and none that would have to be encoded first.
    :ivar length: bytes, None where not stated.
    :ivar checksum: 'ALGORITHM:HEX' of the file, None where none is known.
    """

    urls: tuple[str, ...]
    length: int | None
    checksum: str | None
    pieces: Pieces | None


def parse(document: bytes) -> Metalink:
    """Read a document that describes one file.

    :raises errors.ContentError: if it is not such a document.
    """
    root = document_module.parse(document, 'a Metalink document')
    files = root.findall(_NAMESPACE + 'file')
    if root.tag != _NAMESPACE + 'metalink' or not files:
        raise errors.ContentError('not a Metalink 4 document (RFC 5854)')
    if len(files) > 1:
        raise errors.ContentError(
            'the Metalink document describes %d files' % len(files),
            hint='give one that describes the image only',
        )
    urls = _urls(files[0])
    if not urls:
        raise errors.ContentError(
            'the Metalink document has no http or https URL'
        )
    length = _number(files[0].findtext(_NAMESPACE + 'size'))
    return Metalink(
        urls, length, _checksum(files[0]), _pieces(files[0], length)
    )


def _urls(file: Element) -> tuple[str, ...]:
    found = []
    for element in file.findall(_NAMESPACE + 'url'):
        url = (element.text or '').strip()
        priority = _number(element.get('priority'))
        if _usable(url):
            found.append((priority or _LAST_PRIORITY, url))
    # Stable: the order of the document among equals.
    found.sort(key=lambda pair: pair[0])
    return tuple(dict.fromkeys(url for _priority, url in found))


def _usable(url: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ('http', 'https')
        and bool(parts.hostname)
        and re.fullmatch('[\x21-\x7e]*', url) is not None
    )


def _checksum(file: Element) -> str | None:
    given = {
        (element.get('type') or '').lower(): (element.text or '').strip()
        for element in file.findall(_NAMESPACE + 'hash')
    }
    for name, algorithm in _HASHES.items():
        if name not in given:
            continue
        try:
            return str(digest.parse('%s:%s' % (algorithm, given[name])))
        except errors.OptionError as error:
            # From a document: not the user's option, so not OptionError.
            raise errors.ContentError(
                'the Metalink document: ' + error.message
            ) from error
    return None


def _pieces(file: Element, length: int | None) -> Pieces | None:
    for element in file.findall(_NAMESPACE + 'pieces'):
        algorithm = _HASHES.get((element.get('type') or '').lower())
        size = _number(element.get('length'))
        if not algorithm or not size or length is None:
            continue
        hashes = tuple(
            (each.text or '').strip().lower()
            for each in element.findall(_NAMESPACE + 'hash')
        )
        if len(hashes) != -(-length // size):
            raise errors.ContentError(
                'the Metalink document has %d piece hashes for %d bytes in '
                'pieces of %d' % (len(hashes), length, size)
            )
        return Pieces(size, algorithm, hashes)
    return None


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    if not re.fullmatch('[0-9]{1,18}', text):
        raise errors.ContentError(
            'the Metalink document has %r for a number' % text[:40]
        )
    return int(text)
