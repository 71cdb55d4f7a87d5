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

"""OpenPGP as it comes with images: armor, packets, clear-signed text.

Rules only, of RFC 9580: bytes come in, and what a verifier is to be given
comes out. Nothing is verified here; but what is no signature, or one by a
hash that proves nothing any more, is refused by its own words before anybody
is asked about it.
"""

from __future__ import annotations

import binascii
import codecs
from collections.abc import Iterator
import re

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values

#: The longest signature taken, and the longest keyring, in bytes. Those of
#: distributions have some hundred bytes, and some ten thousand.
SIGNATURE_MAX = 64 * octets.KIB
KEYRING_MAX = 16 * octets.MIB

# RFC 9580 section 9.5.
_HASHES = {
    1: 'MD5',
    2: 'SHA-1',
    3: 'RIPEMD-160',
    8: 'SHA-256',
    9: 'SHA-384',
    10: 'SHA-512',
    11: 'SHA-224',
    12: 'SHA3-256',
    14: 'SHA3-512',
}
# Section 9.5 again: no signature by them is to be taken for valid.
_WEAK = (1, 2, 3)

# Section 5: the type IDs of packets.
_SIGNATURE = 2
_PUBLIC_KEY = 6
_SECRET = (5, 7)
# What a public key comes with (10.1), and what is ignored: trust, markers,
# padding.
_OF_KEYRINGS = frozenset((2, _PUBLIC_KEY, 10, 12, 13, 14, 17, 21))

# Section 5.2.1: of a document, binary or text.
_OF_BYTES, _OF_TEXT = 0x00, 0x01
# Where the hash algorithm is in the body, by version (5.2.2, 5.2.3); 5 is that
# of LibrePGP, as GnuPG 2.4 makes it. No gpgv knows 6.
_HASH_AT = {3: 16, 4: 3, 5: 3}
_TYPE_AT = {3: 2, 4: 1, 5: 1}

# Section 6.2. The tail of the line is white space at most.
_BEGIN = re.compile(rb'-----BEGIN (PGP [A-Z0-9 ,/]{1,40})-----[ \t\r]*')
_SIGNATURE_BLOCK = b'PGP SIGNATURE'
_KEYS_BLOCK = b'PGP PUBLIC KEY BLOCK'
_SIGNED = b'-----BEGIN PGP SIGNED MESSAGE-----'
_BLANKS = b' \t\r'

# GnuPG, kbx/keybox-blob.c: the first blob has its magic behind its length,
# type, version and flags.
_KEYBOX = slice(8, 12)
_KEYBOX_MAGIC = b'KBXf'


@values.dataclass(frozen=True)
class Packet:
    """One packet; ``tag`` is its type ID."""

    tag: int
    body: bytes


class Malformed(errors.BadSignature):
    """The bytes are not what they are said to be; the message says how."""


def signature(document: bytes, *, of_image: bool = False) -> bytes:
    """Return the one signature in a file, not armored.

    :param of_image: every byte of what it is of counts, as it does not where
        a signature is of text (section 5.2.1.2): there, the ends of lines are
        all the same, and gpgv leaves out what is beyond 19995 bytes of one.
    :raises errors.BadSignature: for what is none, more than one, or cut
        short; or of text, where that does not do.
    :raises errors.UntrustedSignature: for one by a weak hash.
    """
    data = _unarmored(document, _SIGNATURE_BLOCK, 'signature')
    found = list(packets(data))
    for packet in found:
        if packet.tag != _SIGNATURE:
            raise Malformed(
                'there is something else than a signature in its file',
                hint='a detached signature is asked for: gpg --detach-sign',
            )
    if len(found) != 1:
        raise Malformed(
            'there are %d signatures in one file, and one is asked for: who'
            ' signed would not be clear' % len(found)
            if found
            else 'the signature is empty'
        )
    _check(found[0].body, of_image)
    return data


def _check(body: bytes, of_image: bool) -> None:
    """Refuse what does not sign a document, or does so by a weak hash."""
    version = body[0] if body else 0
    if version not in _HASH_AT:
        raise Malformed('the signature is of version %d' % version)
    if len(body) <= _HASH_AT[version]:
        raise Malformed('the signature is cut short')
    kind = body[_TYPE_AT[version]]
    if kind not in (_OF_BYTES, _OF_TEXT):
        raise Malformed(
            'the signature is of a key, or of nothing, and not of a document'
        )
    if of_image and kind != _OF_BYTES:
        raise Malformed(
            'the signature is of text: the ends of its lines do not count',
            hint='an image is signed by gpg --detach-sign, without --textmode',
        )
    number = body[_HASH_AT[version]]
    if number in _WEAK:
        raise weak(number)


def weak(number: int) -> errors.UntrustedSignature:
    """Return the error of a signature by the hash of this ID."""
    return errors.UntrustedSignature(
        'the signature is by %s, which proves nothing any more'
        % _HASHES.get(number, 'a hash that is not known'),
        hint='ask whoever signs for one by SHA-256 or SHA-512',
    )


def is_weak(number: int) -> bool:
    """Tell whether the hash of this ID proves nothing."""
    return number in _WEAK


def keyring(document: bytes) -> bytes:
    """Return the public keys in a file, not armored.

    A keybox (GnuPG's .kbx) is returned as it is.

    :raises errors.SignatureError: for what is no keyring, has secret keys,
        or is cut short.
    """
    if document[_KEYBOX] == _KEYBOX_MAGIC:
        return document
    try:
        data = _unarmored(document, _KEYS_BLOCK, 'keyring')
        tags = {packet.tag for packet in packets(data)}
    except Malformed as error:
        # The signature has no part in that.
        raise _no_keyring(error.message) from error
    if not tags.isdisjoint(_SECRET):
        raise _no_keyring('there are secret keys in it')
    if _PUBLIC_KEY not in tags or not tags <= _OF_KEYRINGS:
        raise _no_keyring('there is no public key in it')
    return data


def _no_keyring(why: str) -> errors.SignatureError:
    return errors.SignatureError(
        'the keyring cannot be used: %s' % why,
        hint='gpg --export makes one',
    )


@values.dataclass(frozen=True)
class ClearSigned:
    """Text, and the signature that is of it.

    :ivar text: as it was signed: lines that end in CR LF, all but the last,
        which has no end, and without the blanks at their ends (section 7.2).
    """

    text: bytes
    signature: bytes


def clear_signed(document: bytes) -> ClearSigned:
    """Return what is signed in a text (section 7); all else is left out.

    :raises errors.BadSignature: if nothing is, or it is cut short.
    :raises errors.UntrustedSignature: see ``signature``.
    """
    lines = iter(document.split(b'\n'))
    if not any(line.rstrip() == _SIGNED for line in lines):
        raise Malformed(
            'nothing in the list is signed',
            hint='its signature may be in a file of its own: --signature',
        )
    for field in _fields(lines):
        # Nothing else may stand there. It is not used: what counts is what
        # the signature itself says.
        if not field.startswith(b'Hash:'):
            raise Malformed('the head of what is signed has another field')
    text = []
    for line in lines:
        if line.startswith(b'- '):
            line = line[2:]
        elif line.startswith(b'-'):
            break
        text.append(line.rstrip(_BLANKS))
    else:
        raise Malformed('what is signed is cut short')
    begin = _BEGIN.fullmatch(line)
    if begin is None or begin[1] != _SIGNATURE_BLOCK:
        raise Malformed('a line of what is signed is not dash-escaped')
    data = _decoded(lines, _SIGNATURE_BLOCK)
    if any(line.rstrip() == _SIGNED for line in lines):
        raise Malformed('there are several signed texts in the list')
    return ClearSigned(b'\r\n'.join(text), signature(data))


def packets(data: bytes) -> Iterator[Packet]:
    """Iterate over packets (section 4.2).

    :raises Malformed: for what is none, or is cut short.
    """
    at = 0
    while at < len(data):
        first = data[at]
        at += 1
        if not first & 0x80:
            raise Malformed('it is damaged, or something else')
        if first & 0x40:
            tag = first & 0x3F
            length, at = _new_length(data, at)
        else:
            tag = first >> 2 & 0x0F
            length, at = _old_length(data, at, first & 3)
        if len(data) - at < length:
            raise _cut()
        yield Packet(tag, data[at : at + length])
        at += length


def _cut() -> Malformed:
    return Malformed('it is cut short, or damaged')


def _new_length(data: bytes, at: int) -> tuple[int, int]:
    """Return length and start of a body (4.2.1)."""
    first = data[at : at + 1]
    if not first:
        raise _cut()
    if first[0] < 192:
        return first[0], at + 1
    if first[0] < 224:
        return (first[0] - 192 << 8) + _number(data, at + 1, 1) + 192, at + 2
    if first[0] < 255:
        raise Malformed('the length of a packet in it is not stated')
    return _number(data, at + 1, 4), at + 5


def _old_length(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """The same of the legacy format (4.2.2)."""
    if kind == 3:
        raise Malformed('the length of a packet in it is not stated')
    size = 1 << kind
    return _number(data, at, size), at + size


def _number(data: bytes, at: int, size: int) -> int:
    octets_there = data[at : at + size]
    if len(octets_there) < size:
        raise _cut()
    return int.from_bytes(octets_there, 'big')


def _unarmored(document: bytes, wanted: bytes, what: str) -> bytes:
    """Return what is in the blocks of armor; all, where there is none.

    :param wanted: what each block has to be.
    """
    if not document:
        raise Malformed('the %s is empty' % what)
    # The first octet of a packet has its highest bit set (4.2).
    if document[0] & 0x80 and not document.startswith(codecs.BOM_UTF8):
        return document
    found = b''
    lines = iter(document.removeprefix(codecs.BOM_UTF8).split(b'\n'))
    for line in lines:
        begin = _BEGIN.fullmatch(line)
        if begin is None:
            continue
        if begin[1] != wanted:
            raise Malformed('the %s is a %s' % (what, begin[1].decode()))
        found += _decoded(lines, wanted)
    if not found:
        raise Malformed('it is no %s' % what)
    return found


def _fields(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Iterate over the fields of a head, which ends with an empty line."""
    for line in lines:
        field = line.rstrip(_BLANKS)
        if not field:
            return
        yield field


def _decoded(lines: Iterator[bytes], label: bytes) -> bytes:
    """Return what is in a block, behind the line that begins it (6.2)."""
    for field in _fields(lines):
        if b': ' not in field:
            raise Malformed('its armor is damaged')
    digits = []
    for line in lines:
        if line.rstrip(_BLANKS) == b'-----END %s-----' % label:
            break
        digits.append(line.strip(_BLANKS))
    else:
        raise _cut()
    # Section 6.1: nothing is to be refused for its CRC.
    if digits and len(digits[-1]) == 5 and digits[-1].startswith(b'='):
        digits.pop()
    try:
        return binascii.a2b_base64(b''.join(digits), strict_mode=True)
    except ValueError as error:
        raise Malformed('its armor is damaged') from error
