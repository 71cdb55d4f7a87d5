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

"""What is a signature, a keyring, a clear-signed text, and what is none."""

from __future__ import annotations

import base64
from collections.abc import Callable
import random

from fuel_agent_curl import errors
from fuel_agent_curl.image import openpgp
from tests import base

# Version 4, of a binary document, EdDSA, SHA-256; what follows is of no matter
# here.
BODY = bytes((4, 0, 22, 8)) + bytes(range(100))
KEY = bytes((4, 1, 2, 3, 4, 22)) + bytes(40)


def packet(tag: int, body: bytes) -> bytes:
    """Make a packet in the form of today, with a length of one octet."""
    return bytes((0xC0 | tag, len(body))) + body


SIGNATURE = packet(2, BODY)
KEYRING = packet(6, KEY) + packet(13, b'A <a@b>') + SIGNATURE


def armor(
    data: bytes, label: str = 'SIGNATURE', head: str = '', tail: str = ''
) -> bytes:
    text = base64.encodebytes(data).decode()
    return (
        '-----BEGIN PGP %s-----\n%s\n%s%s-----END PGP %s-----\n'
        % (label, head, text, tail, label)
    ).encode()


def clear(text: str, head: str = 'Hash: SHA256\n', tail: str = '') -> bytes:
    return (
        '-----BEGIN PGP SIGNED MESSAGE-----\n%s\n%s\n' % (head, text)
    ).encode() + (armor(SIGNATURE) + tail.encode())


class TestSignature(base.TestCase):
    def test_taken(self) -> None:
        long = BODY + bytes(400)
        size = len(long) - 192
        two = bytes((0xC2, (size >> 8) + 192, size & 0xFF)) + long
        for document, expected in (
            (SIGNATURE, SIGNATURE),
            (two, two),
            # The legacy format, and the other lengths.
            *(
                (each, each)
                for each in (
                    b'\xc2\xff' + len(long).to_bytes(4, 'big') + long,
                    b'\x88' + bytes([len(BODY)]) + BODY,
                    b'\x89' + len(long).to_bytes(2, 'big') + long,
                    b'\x8a' + len(long).to_bytes(4, 'big') + long,
                )
            ),
            (armor(SIGNATURE), SIGNATURE),
            (armor(SIGNATURE).replace(b'\n', b' \r\n'), SIGNATURE),
            (b'\xef\xbb\xbf' + armor(SIGNATURE), SIGNATURE),
            (b'text\n' + armor(SIGNATURE) + b'more\n', SIGNATURE),
            (armor(SIGNATURE, head='Version: 1\nComment: x\n'), SIGNATURE),
            # RFC 9580 section 6.1: no CRC is a reason to refuse.
            (armor(SIGNATURE, tail='=AAAA\n'), SIGNATURE),
        ):
            self.assertEqual(expected, openpgp.signature(document))

    def test_refused(self) -> None:
        for document, part in (
            (b'', 'is empty'),
            (b'hello', 'it is no signature'),
            (b'<html>', 'it is no signature'),
            (SIGNATURE[:-1], 'cut short'),
            (SIGNATURE[:1], 'cut short'),
            (b'\xc2\xc0', 'cut short'),
            (b'\xc2\xff\0\0', 'cut short'),
            (b'\x89\0', 'cut short'),
            (b'\xc2\xe1' + BODY, 'length of a packet in it is not stated'),
            (b'\x8b' + BODY, 'length of a packet in it is not stated'),
            (SIGNATURE + b'\n', 'damaged, or something else'),
            (SIGNATURE * 2, 'there are 2 signatures'),
            (armor(SIGNATURE) * 2, 'there are 2 signatures'),
            (armor(b''), 'it is no signature'),
            (KEYRING, 'something else than a signature'),
            (SIGNATURE + packet(11, b'x'), 'something else than a signature'),
            (armor(KEYRING, 'PUBLIC KEY BLOCK'), 'is a PGP PUBLIC KEY BLOCK'),
            (clear('x'), 'is a PGP SIGNED MESSAGE'),
            (armor(SIGNATURE)[:-10], 'cut short'),
            (armor(SIGNATURE)[:80], 'cut short'),
            (armor(SIGNATURE, head='nonsense\n'), 'armor is damaged'),
            (armor(SIGNATURE, tail='?\n'), 'armor is damaged'),
            (packet(2, b''), 'of version 0'),
            (packet(2, b'\x02' + BODY[1:]), 'of version 2'),
            (packet(2, b'\x06' + BODY[1:]), 'of version 6'),
            (packet(2, BODY[:3]), 'cut short'),
            (packet(2, b'\x04\x10' + BODY[2:]), 'is of a key'),
        ):
            error = self.assertRaises(
                errors.BadSignature, openpgp.signature, document
            )
            self.assertIn(part, str(error), repr(document))

    def test_of_text(self) -> None:
        """That will do for a list, and not for an image."""
        old = bytes((3, 5, 1)) + bytes(13) + b'\x08' + bytes(20)
        for body in b'\x04\x01' + BODY[2:], b'\x05\x01' + BODY[2:], old:
            text = packet(2, body)
            self.assertEqual(text, openpgp.signature(text))
            for document in text, armor(text):
                error = self.assertRaises(
                    openpgp.Malformed,
                    openpgp.signature,
                    document,
                    of_image=True,
                )
                self.assertIn('the signature is of text', str(error))
                self.assertIn('without --textmode', str(error.hint))
        self.assertEqual(
            SIGNATURE, openpgp.signature(SIGNATURE, of_image=True)
        )

    def test_weak_hashes(self) -> None:
        old = bytes((3, 5, 0)) + bytes(12) + b'\x01'
        for number, name in (1, 'MD5'), (2, 'SHA-1'), (3, 'RIPEMD-160'):
            new = bytes((0, 22, number))
            for body in (
                *(bytes([version]) + new for version in (4, 5)),
                old + bytes([number]),
            ):
                error = self.assertRaises(
                    errors.UntrustedSignature,
                    openpgp.signature,
                    packet(2, body + bytes(20)),
                )
                self.assertIn('by ' + name, str(error))

    def test_any_damage(self) -> None:
        generated = random.Random(20261127)
        readers: list[tuple[bytes, Callable[[bytes], object]]] = [
            (SIGNATURE, openpgp.signature),
            (armor(SIGNATURE), openpgp.signature),
            (clear('a\nb'), openpgp.clear_signed),
            (KEYRING, openpgp.keyring),
            (armor(KEYRING, 'PUBLIC KEY BLOCK'), openpgp.keyring),
        ]
        for form, reader in readers:
            for _turn in range(2000):
                damaged = bytearray(form)
                for _change in range(generated.randint(1, 3)):
                    at = generated.randrange(len(damaged))
                    match generated.randrange(3):
                        case 0:
                            damaged[at] = generated.randrange(256)
                        case 1:
                            del damaged[at:]
                            break
                        case 2:
                            damaged[at:at] = generated.randbytes(3)
                # It is taken, or refused as a signature; nothing else.
                try:
                    reader(bytes(damaged))
                except errors.SignatureError:
                    pass


class TestKeyring(base.TestCase):
    def test_taken(self) -> None:
        keybox = bytes((0, 0, 0, 32, 1, 1, 0, 2)) + b'KBXf' + bytes(20)
        block = armor(KEYRING, 'PUBLIC KEY BLOCK')
        for document, expected in (
            (KEYRING, KEYRING),
            (KEYRING * 2, KEYRING * 2),
            (block, KEYRING),
            (block * 2, KEYRING * 2),
            (keybox, keybox),
        ):
            self.assertEqual(expected, openpgp.keyring(document))

    def test_refused(self) -> None:
        for document, part in (
            (b'', 'is empty'),
            (b'ssh-ed25519 AAAA', 'it is no keyring'),
            (SIGNATURE, 'no public key'),
            (KEYRING + packet(8, b'x'), 'no public key'),
            (packet(5, KEY), 'secret keys'),
            (KEYRING + packet(7, KEY), 'secret keys'),
            (armor(packet(5, KEY), 'PRIVATE KEY BLOCK'), 'PRIVATE KEY'),
            (armor(SIGNATURE), 'is a PGP SIGNATURE'),
            (KEYRING[:-1], 'cut short'),
            (armor(KEYRING, 'PUBLIC KEY BLOCK')[:-9], 'cut short'),
        ):
            error = self.assertRaises(
                errors.SignatureError, openpgp.keyring, document
            )
            self.assertEqual(59, error.exit_code)
            self.assertIn(part, str(error))


class TestClearSigned(base.TestCase):
    def test_what_is_signed_alone(self) -> None:
        for document, text in (
            (clear('a\nb'), b'a\r\nb'),
            (clear(''), b''),
            (clear('a\n'), b'a\r\n'),
            (clear('a \t\nb'), b'a\r\nb'),
            (clear('- -a\n- \n- - b'), b'-a\r\n\r\n- b'),
            (clear('a', ''), b'a'),
            (clear('a', 'Hash: SHA256\nHash: SHA512\n'), b'a'),
            (b'before\n' + clear('a', tail='after\n'), b'a'),
            (clear('a\nb').replace(b'\n', b'\r\n'), b'a\r\nb'),
            # What is signed may be a signed text itself.
            (
                clear('- -----BEGIN PGP SIGNED MESSAGE-----'),
                b'-----BEGIN PGP SIGNED MESSAGE-----',
            ),
        ):
            found = openpgp.clear_signed(document)
            self.assertEqual(text, found.text)
            self.assertEqual(SIGNATURE, found.signature)

    def test_refused(self) -> None:
        whole = clear('a\nb')
        for document, part in (
            (b'', 'nothing in the list is signed'),
            (b'a\nb\n', 'nothing in the list is signed'),
            (armor(SIGNATURE), 'nothing in the list is signed'),
            (b' ' + whole, 'nothing in the list is signed'),
            (clear('-a'), 'not dash-escaped'),
            (clear('a', 'Hash: SHA256\nComment: x\n'), 'another field'),
            (clear('a', 'x\n'), 'another field'),
            (whole + whole, 'several signed texts'),
            (whole[:50], 'cut short'),
            (whole[: whole.index(b'b\n') + 1], 'cut short'),
            (whole[:-5], 'cut short'),
            (
                whole.replace(b'PGP SIGNATURE', b'PGP MESSAGE'),
                'not dash-escaped',
            ),
        ):
            error = self.assertRaises(
                errors.BadSignature, openpgp.clear_signed, document
            )
            self.assertIn(part, str(error), repr(document))
