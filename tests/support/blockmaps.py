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

"""Block maps for the tests, as bmaptool writes them."""

from __future__ import annotations

import hashlib
import re

#: First and last block of a range.
Blocks = tuple[int, int]

_FIELDS = {'1.3': ('BmapFileSHA1', 'sha1')}


def numbers(
    length: int, size: int, ranges: list[Blocks], **other: object
) -> str:
    """Return the elements before the checksum; ``other`` replaces values."""
    values = {
        'ImageSize': length,
        'BlockSize': size,
        'BlocksCount': -(-length // size),
        'MappedBlocksCount': sum(b - a + 1 for a, b in ranges),
    } | other
    return ''.join('<%s> %s </%s>\n' % (k, v, k) for k, v in values.items())


def sealed(
    inner: str, version: str = '2.0', algorithm: str = 'sha256'
) -> bytes:
    """Return a document of ``inner``, with its own checksum."""
    field = _FIELDS.get(version, ('BmapFileChecksum',))[0]
    zeros = '0' * len(hashlib.new(algorithm).hexdigest())
    kind = '<ChecksumType> %s </ChecksumType>\n' % algorithm
    text = '<?xml version="1.0" ?>\n<bmap version="%s">\n%s%s</bmap>\n' % (
        version,
        kind if version != '1.3' else '',
        '<%s> %s </%s>\n%s' % (field, zeros, field, inner),
    )
    digest = hashlib.new(algorithm, text.encode()).hexdigest()
    return text.replace(zeros, digest, 1).encode()


def listed(
    image: bytes,
    size: int,
    ranges: list[Blocks],
    attribute: str = 'chksum',
    algorithm: str = 'sha256',
) -> str:
    """Return the list of the ranges."""
    text = ''
    for first, last in ranges:
        digest = hashlib.new(
            algorithm, image[first * size : (last + 1) * size]
        )
        text += '<Range %s="%s"> %s </Range>\n' % (
            attribute,
            digest.hexdigest(),
            first if first == last else '%d-%d' % (first, last),
        )
    return '<BlockMap>\n%s</BlockMap>\n' % text


def without(document: bytes, number: int) -> bytes:
    """Return the document without the checksum of its ``number``-th range."""
    text, ranges = document.decode(), 0

    def drop(found: re.Match[str]) -> str:
        nonlocal ranges
        ranges += 1
        return '<Range>' if ranges == number else found[0]

    text = re.sub('<Range [^>]*>', drop, text)
    old = re.search('<BmapFileChecksum> *([0-9a-f]+)', text)
    assert old is not None
    nothing = text.replace(old[1], '0' * len(old[1]))
    new = hashlib.sha256(nothing.encode()).hexdigest()
    return nothing.replace('0' * len(old[1]), new).encode()


def document(
    image: bytes,
    ranges: list[Blocks],
    size: int = 4096,
    version: str = '2.0',
    algorithm: str = 'sha256',
) -> bytes:
    """Return the block map of ``image`` with these ranges."""
    attribute = _FIELDS.get(version, ('', 'chksum'))[1]
    return sealed(
        numbers(len(image), size, ranges)
        + listed(image, size, ranges, attribute, algorithm),
        version,
        algorithm,
    )


def laid_over(
    image: bytes, ranges: list[Blocks], old: bytes, size: int = 4096
) -> bytes:
    """Return ``old`` with these ranges of ``image`` written to it."""
    result = bytearray(old)
    for first, last in ranges:
        piece = image[first * size : (last + 1) * size]
        result[first * size : first * size + len(piece)] = piece
    return bytes(result)
