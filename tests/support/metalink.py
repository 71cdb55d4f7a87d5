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

"""Metalink 4 documents for the tests."""

from __future__ import annotations

from collections.abc import Sequence
import hashlib

FILE = (
    '<?xml version="1.0"?><metalink xmlns="urn:ietf:params:xml:ns:metalink">'
    '<file name="image">%s</file></metalink>'
)


def document(
    content: bytes,
    urls: Sequence[str],
    *,
    size: int | None = None,
    whole: bool = True,
    piece: int | None = None,
) -> bytes:
    """Describe the content.

    :param size: None: the right one.
    :param whole: give a hash of all of it.
    :param piece: length of the pieces that have hashes.
    """
    text = '<size>%d</size>' % (len(content) if size is None else size)
    for priority, url in enumerate(urls, 1):
        text += '<url priority="%d">%s</url>' % (priority, url)
    if whole:
        text += '<hash type="sha-256">%s</hash>' % (
            hashlib.sha256(content).hexdigest()
        )
    if piece:
        hashes = [
            hashlib.sha256(content[at : at + piece]).hexdigest()
            for at in range(0, len(content), piece)
        ]
        text += '<pieces type="sha-256" length="%d">' % piece
        text += ''.join('<hash>%s</hash>' % each for each in hashes)
        text += '</pieces>'
    return (FILE % text).encode()
