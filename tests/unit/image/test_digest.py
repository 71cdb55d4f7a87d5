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

"""Checksums: how they are written, and what they are compared with."""

from __future__ import annotations

import hashlib

from fuel_agent_curl import errors
from fuel_agent_curl.image import digest
from tests import base

_HELLO = {
    name: hashlib.new(name, b'hello').hexdigest() for name in digest.ALGORITHMS
}


class ParseTest(base.TestCase):
    def test_every_algorithm(self) -> None:
        for name, digits in _HELLO.items():
            checksum = digest.parse('%s:%s' % (name, digits))
            self.assertEqual(digest.Checksum(name, digits), checksum)
            self.assertEqual('%s:%s' % (name, digits), str(checksum))

    def test_other_spellings(self) -> None:
        digits = _HELLO['sha256']
        for text in (
            'SHA256:' + digits,
            'sha-256:' + digits,
            'SHA-256:' + digits.upper(),
            ' sha256:%s\n' % digits,
        ):
            self.assertEqual(
                digest.Checksum('sha256', digits), digest.parse(text)
            )
        self.assertEqual(
            'sha3_256', digest.parse('sha3-256:' + digits).algorithm
        )

    def test_refused(self) -> None:
        digits = _HELLO['sha256']
        for text, word in (
            ('', 'ALGORITHM:HEX'),
            (digits, 'ALGORITHM:HEX'),
            ('sha256', 'ALGORITHM:HEX'),
            ('sha256:', '64'),
            ('sha256:' + digits[:-1], '64'),
            ('sha256:' + digits[:-2], '64'),
            ('sha256:' + digits + '00', '64'),
            ('sha256:' + digits[:-1] + 'g', 'hexadecimal'),
            ('sha256: ' + digits[1:], 'hexadecimal'),
            ('sha256:' + digits[:-2] + '٣٣', 'hexadecimal'),
            ('crc32:00000000', 'unknown'),
            ('shake_128:' + digits, 'unknown'),
            (':' + digits, 'unknown'),
        ):
            error = self.assertRaises(errors.OptionError, digest.parse, text)
            self.assertIn(word, str(error), text)


class DigestTest(base.TestCase):
    def test_right(self) -> None:
        for name, digits in _HELLO.items():
            check = digest.Digest(digest.Checksum(name, digits))
            check.update(b'he')
            check.update(bytearray(b'll'))
            check.update(memoryview(b'o'))
            check.verify()

    def test_wrong(self) -> None:
        for name, digits in _HELLO.items():
            check = digest.Digest(digest.Checksum(name, digits), 'image')
            check.update(b'hellO')
            error = self.assertRaises(errors.DigestMismatch, check.verify)
            actual = hashlib.new(name, b'hellO').hexdigest()
            self.assertIn('the image has %s:%s' % (name, actual), str(error))
            self.assertIn(digits, str(error))

    def test_nothing_seen(self) -> None:
        check = digest.Digest(digest.parse('sha256:' + _HELLO['sha256']))
        self.assertRaises(errors.DigestMismatch, check.verify)
