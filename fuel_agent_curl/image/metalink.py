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

The document comes in as bytes, and is read as it comes.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
import copy
import re
import typing
import urllib.parse

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import xml as document_module

if typing.TYPE_CHECKING:
    import hashlib

_NAMESPACE = 'urn:ietf:params:xml:ns:metalink '

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

# SHA-256 of a 200 GiB image in 1 MiB pieces.
_MOST_BYTES = 16 * octets.MIB
# A document lists some dozens; each that is used takes memory until the end.
_MOST_URLS = 100
# Longer than any hash, number or URL that can be used.
_MOST_TEXT = 8 * octets.KIB


@values.dataclass(frozen=True)
class Pieces:
    """Hashes of the pieces that a file is cut into.

    :ivar size: bytes of each but the last.
    :ivar algorithm: hashlib's name.
    :ivar hashes: the hashes, one behind the other.
    """

    size: int
    algorithm: str
    hashes: bytes

    def fits(self, index: int, found: hashlib._Hash) -> bool:
        """Tell whether that is the hash of a piece."""
        at = index * found.digest_size
        return self.hashes[at : at + found.digest_size] == found.digest()

    def match(self, start: int, view: memoryview) -> bool:
        """Tell whether the bytes from ``start``, a piece's, are right.

        :param view: whole pieces, but for the last of the file.
        """
        for at in range(0, len(view), self.size):
            piece = digest.new(self.algorithm, view[at : at + self.size])
            if not self.fits((start + at) // self.size, piece):
                return False
        return True


class Check:
    """Compares what passes, in order, with the hashes of its pieces."""

    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._index = 0
        self._left = pieces.size
        self._hash = digest.new(pieces.algorithm)

    def copy(self) -> Check:
        """Return another that goes on from here."""
        other = copy.copy(self)
        other._hash = self._hash.copy()
        return other

    def update(self, buffer: octets.Buffer) -> None:
        """Take the next bytes.

        :raises errors.DigestMismatch: if a piece that ends there is wrong.
        """
        view = memoryview(buffer)
        while view:
            part = view[: self._left]
            view = view[len(part) :]
            self._hash.update(part)
            self._left -= len(part)
            if not self._left:
                self._compare()

    def verify(self) -> None:
        """The file ends here.

        :raises errors.DigestMismatch: if its last piece is wrong.
        """
        if self._left < self._pieces.size:
            copy = self.copy()
            copy._compare()

    def _compare(self) -> None:
        size = self._pieces.size
        if not self._pieces.fits(self._index, self._hash):
            raise errors.DigestMismatch(
                'the piece of %d bytes from %d on does not match its hash'
                % (size - self._left, self._index * size),
                hint='it is damaged, or the Metalink document is of something'
                ' else',
            )
        self._index += 1
        self._left = size
        self._hash = digest.new(self._pieces.algorithm)


@values.dataclass(frozen=True)
class Metalink:
    """What a Metalink document says of its one file.

    :ivar urls: http and https only, the preferred first; no relative ones,
        and none that would have to be encoded first.
    :ivar length: bytes, None where not stated.
    :ivar checksum: 'ALGORITHM:HEX' of the file, None where none is known.
    :ivar unused: hashes that cannot be compared with, as words.
    """

    urls: tuple[str, ...]
    length: int | None
    checksum: str | None
    pieces: Pieces | None
    unused: tuple[str, ...] = ()


def parse(chunks: Iterable[octets.Buffer]) -> Metalink:
    """Read a document that describes one file.

    :raises errors.ContentError: if it is not such a document.
    """
    reading = _Reading()
    document_module.read(chunks, reading, 'a Metalink document', _MOST_BYTES)
    return reading.result()


class _Reading:
    """Takes what is of use, as ``xml.Handler``."""

    def __init__(self) -> None:
        # The local names of the elements that are open; '' for those of
        # other namespaces.
        self._path: list[str] = []
        self._attributes: dict[str, str] = {}
        self._text: list[str] = []
        self._length_of_text = 0
        self._files = 0
        self._size: int | None = None
        self._urls: list[tuple[int, str]] = []
        self._checksums: dict[str, str] = {}
        # The first algorithm of a hash that is not known.
        self._unknown = ''
        # That by the strongest algorithm, and the last.
        self._best: _PiecesElement | None = None
        self._pieces: _PiecesElement | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        is_ours = name.startswith(_NAMESPACE)
        self._path.append(name[len(_NAMESPACE) :] if is_ours else '')
        self._text = []
        self._length_of_text = 0
        self._attributes = attributes
        if self._path[0] != 'metalink':
            raise errors.ContentError('not a Metalink 4 document (RFC 5854)')
        if self._path == ['metalink', 'file']:
            self._files += 1
        if self._path == ['metalink', 'file', 'pieces']:
            self._pieces = _PiecesElement(attributes)
            if self._best is None or self._pieces.rank < self._best.rank:
                self._best = self._pieces

    def text(self, text: str) -> None:
        self._length_of_text += len(text)
        if self._length_of_text <= _MOST_TEXT:
            self._text.append(text)

    def end(self) -> None:
        text = ''.join(self._text).strip()
        match self._path:
            case ['metalink', 'file', 'size']:
                self._take_size(text)
            case ['metalink', 'file', 'url']:
                self._take_url(text)
            case ['metalink', 'file', 'hash']:
                self._take_hash(text)
            case ['metalink', 'file', 'pieces', 'hash']:
                assert self._pieces is not None
                self._pieces.take(text)
        self._path.pop()
        self._text = []

    def _take_size(self, text: str) -> None:
        size = _number(text)
        if self._size not in (None, size):
            raise errors.ContentError(
                'the Metalink document states two sizes: %s and %s'
                % (self._size, size)
            )
        self._size = size

    def _take_url(self, url: str) -> None:
        priority = _number(self._attributes.get('priority')) or _LAST_PRIORITY
        is_full = len(self._urls) == _MOST_URLS
        if is_full and priority >= self._urls[-1][0]:
            return
        if self._length_of_text <= _MOST_TEXT and _usable(url):
            # The order of the document among equals.
            bisect.insort(self._urls, (priority, url), key=lambda one: one[0])
            del self._urls[_MOST_URLS:]

    def _take_hash(self, text: str) -> None:
        name = self._attributes.get('type', '').lower()
        if name not in _HASHES:
            self._unknown = self._unknown or name or 'no algorithm'
        elif self._checksums.setdefault(name, text) != text:
            raise errors.ContentError(
                'the Metalink document has two hashes by %r' % name
            )

    def result(self) -> Metalink:
        """Return what was taken, when all was read.

        :raises errors.ContentError: if that describes no file, or several.
        """
        if self._files != 1:
            raise errors.ContentError(
                'the Metalink document describes %d files' % self._files,
                hint='give one that describes the image only',
            )
        urls = [url for _priority, url in self._urls]
        if not urls:
            raise errors.ContentError(
                'the Metalink document has no http or https URL'
            )
        checksum = _checksum(self._checksums)
        unused = []
        if self._unknown and checksum is None:
            unused.append('a hash by %s' % self._unknown)
        pieces = None
        if self._best is not None:
            pieces = self._best.result(self._size)
            if pieces is None:
                unused.append(self._best.unused)
        return Metalink(
            tuple(dict.fromkeys(urls)),
            self._size,
            checksum,
            pieces,
            tuple(unused),
        )


class _PiecesElement:
    """One ``pieces`` and the hashes in it (RFC 5854 section 4.2.12)."""

    def __init__(self, attributes: dict[str, str]) -> None:
        self._name = attributes.get('type', '').lower()
        self._algorithm = _HASHES.get(self._name)
        # Place of the algorithm, the strongest first.
        self.rank = [*_HASHES, self._name].index(self._name)
        self._size = _number(attributes.get('length')) or 0
        self._hashes = bytearray()
        self._count = 0
        if self._algorithm:
            self._digits = _new(self._algorithm).digest_size * 2

    @property
    def unused(self) -> str:
        """Why it cannot be used."""
        if self._algorithm:
            return 'piece hashes, but no size'
        return 'piece hashes by %s' % (self._name or 'no algorithm')

    def take(self, text: str) -> None:
        self._count += 1
        if not self._algorithm:
            return
        if not re.fullmatch('[0-9A-Fa-f]{%d}' % self._digits, text):
            raise errors.ContentError(
                'the Metalink document has a piece hash by %s that is none'
                % self._name
            )
        self._hashes += bytes.fromhex(text)

    def result(self, length: int | None) -> Pieces | None:
        if not self._algorithm or length is None:
            return None
        if not self._size or self._count != -(-length // self._size):
            raise errors.ContentError(
                'the Metalink document has %d piece hashes for %d bytes in '
                'pieces of %d' % (self._count, length, self._size)
            )
        return Pieces(self._size, self._algorithm, bytes(self._hashes))


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


def _new(algorithm: str) -> hashlib._Hash:
    try:
        return digest.new(algorithm)
    except errors.OptionError as error:
        raise _not_an_option(error) from error


def _checksum(given: dict[str, str]) -> str | None:
    for name, algorithm in _HASHES.items():
        if name not in given:
            continue
        try:
            return str(digest.parse('%s:%s' % (algorithm, given[name])))
        except errors.OptionError as error:
            raise _not_an_option(error) from error
    return None


def _not_an_option(error: errors.OptionError) -> errors.ContentError:
    # From a document: not the user's option, so not OptionError.
    return errors.ContentError('the Metalink document: ' + error.message)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    text = text.strip()
    if not re.fullmatch('[0-9]{1,18}', text):
        raise errors.ContentError(
            'the Metalink document has %r for a number' % text[:40]
        )
    return int(text)
