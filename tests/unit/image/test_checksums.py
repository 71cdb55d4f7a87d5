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


"""Checksums as people have them."""

from __future__ import annotations

import hashlib
import random

from fuel_agent_curl import errors
from fuel_agent_curl.image import checksums
from fuel_agent_curl.image import digest
from tests import base

IMAGE = b'the image'
MD5, SHA1, SHA256, SHA512 = (
    hashlib.new(name, IMAGE).hexdigest()
    for name in ('md5', 'sha1', 'sha256', 'sha512')
)
SHA3 = hashlib.sha3_256(IMAGE).hexdigest()
BLAKE = hashlib.blake2b(IMAGE).hexdigest()
OTHER = hashlib.sha256(b'another').hexdigest()
OTHER512 = hashlib.sha512(b'another').hexdigest()

GNU = '%s *other.img\n%s *i.img\n' % (OTHER, SHA256)

#: Lists that have SHA256 for i.img, by their look.
LISTS = {
    'GNU, binary': GNU,
    'GNU, text': GNU.replace(' *', '  '),
    'one blank': GNU.replace(' *', ' '),
    'tabs': GNU.replace(' *', '\t'),
    'BSD': 'SHA256 (o.img) = %s\nSHA256 (i.img) = %s\n' % (OTHER, SHA256),
    'openssl': 'SHA256(i.img)= %s\n' % SHA256,
    'openssl 3': 'SHA2-256(i.img)= %s\n' % SHA256,
    'one digest': SHA256,
    'one digest, a line': SHA256 + '\n',
    'one digest, of standard input': SHA256 + '  -\n',
    'openssl of standard input': 'SHA2-256(stdin)= %s\n' % SHA256,
    'name.sha256': SHA256 + '  i.img\n',
    'upper case': GNU.upper().replace('I.IMG', 'i.img'),
    'ends of lines': GNU.replace('\n', '\r\n'),
    'ends of lines of old': GNU.replace('\n', '\r'),
    'no end of line': GNU.rstrip(),
    'mark': '\ufeff' + GNU,
    'comments': '# i.img: 9 bytes\n\n' + GNU + '\n# the end\n',
    'CentOS': '# i.img: 9 bytes\nSHA256 (i.img) = %s\n' % SHA256,
    'a directory': '%s  ./i.img\n' % SHA256,
    'directories': '%s  build/amd64/i.img\n' % SHA256,
    'twice': GNU + GNU,
    'signed': '-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n'
    + GNU
    + '-----BEGIN PGP SIGNATURE-----\n\niQIzBAEBCAAdFiEE\n=abcd\n'
    '-----END PGP SIGNATURE-----\n',
    'signed, escaped': '-----BEGIN PGP SIGNED MESSAGE-----\n\n- %s  i.img\n'
    % SHA256,
    'signed, with something else before it': '%s  i.img\n' % OTHER
    + '-----BEGIN PGP SIGNED MESSAGE-----\n\n%s  i.img\n' % SHA256,
    'several algorithms': '%s  i.img\n%s  i.img\n%s  i.img\n'
    % (MD5, SHA256, SHA1),
    'sections': '# MD5 HASH\n%s  i.img\n# SHA256 HASH\n%s  i.img\n'
    % (MD5, SHA256),
    'of what nobody knows': 'RMD160 (i.img) = %s\n%s  i.img\n'
    % (SHA1, SHA256),
    'more digits than any': '%s00  i.img\n%s  i.img\n' % (SHA512, SHA256),
    'a name that is a digest': '%s  %s\n%s  i.img\n' % (OTHER, OTHER, SHA256),
    'other names': '%s  xi.img\n%s  i.img.gz\n%s  i.img\n'
    % (OTHER, OTHER, SHA256),
    'other case': '%s  I.IMG\n%s  i.img\n' % (OTHER, SHA256),
    'something else': 'Checksums of the images:\n%s  i.img\n' % SHA256,
}


def find(
    document: str | bytes,
    path: str = '/images/i.img',
    location: str = '/SHA256SUMS',
    algorithm: str | None = None,
    *,
    signed: bool = False,
) -> str:
    if isinstance(document, str):
        document = document.encode()
    where = checksums.Reference(location, algorithm)
    return str(checksums.find(document, path, where, signed=signed))


class ParseTest(base.TestCase):
    def test_digests(self) -> None:
        for text in (
            'sha256:' + SHA256,
            'sha256=' + SHA256,
            'SHA256:' + SHA256.upper(),
            'SHA-256: ' + SHA256,
            SHA256,
            SHA256.upper(),
            ' %s\n' % SHA256,
            # What sha256sum(1) prints.
            '%s  /images/i.img\n' % SHA256,
            '%s *i: .img' % SHA256,
            '\\%s  a\\nb' % SHA256,
            '%s  -' % SHA256,
        ):
            self.assertEqual(
                digest.Checksum('sha256', SHA256), checksums.parse(text)
            )

    def test_digits_tell_the_algorithm(self) -> None:
        for text, algorithm in (
            (MD5, 'md5'),
            (SHA1, 'sha1'),
            (hashlib.sha224().hexdigest(), 'sha224'),
            (SHA256, 'sha256'),
            (hashlib.sha384().hexdigest(), 'sha384'),
            (SHA512, 'sha512'),
        ):
            self.assertEqual(
                digest.Checksum(algorithm, text), checksums.parse(text)
            )

    def test_lists(self) -> None:
        for text, location, algorithm in (
            ('http://h/SHA256SUMS', 'http://h/SHA256SUMS', None),
            ('HTTPS://h:8/a?b=c', 'HTTPS://h:8/a?b=c', None),
            ('sha256:http://h/SUMS', 'http://h/SUMS', 'sha256'),
            ('SHA-512=http://h/SUMS?a=b:c', 'http://h/SUMS?a=b:c', 'sha512'),
            ('SHA256SUMS', 'SHA256SUMS', None),
            ('./abcdef', './abcdef', None),
            ('/srv/a:b', '/srv/a:b', None),
            ('i.img.sha256', 'i.img.sha256', None),
            ('md5:/srv/sums', '/srv/sums', 'md5'),
            ('md5:MD5SUMS', 'MD5SUMS', 'md5'),
        ):
            expected = checksums.Reference(location, algorithm)
            self.assertEqual(expected, checksums.parse(text))
            self.assertEqual('://' in location, expected.is_url)

    def test_neither(self) -> None:
        for text, part in (
            ('', 'is empty'),
            ('  ', 'is empty'),
            ('abc', 'no checksum has 3 hexadecimal digits'),
            (SHA256[:-1], 'no checksum has 63'),
            ('sha256:' + SHA1, '64 hexadecimal digits, not 40'),
            ('sha256:', '64 hexadecimal digits, not 0'),
            ('crc32:' + SHA1, "unknown checksum algorithm 'crc32'"),
            ('crc32:http://h/SUMS', "unknown checksum algorithm 'crc32'"),
        ):
            error = self.assertRaises(
                errors.OptionError, checksums.parse, text
            )
            self.assertIn(part, str(error))

    def test_a_location_is_not_shown(self) -> None:
        """It may hold credentials."""
        for text in 'http://u:s3cret@h/', 'md5:http://u:s3cret@h/':
            self.assertNotIn('s3cret', repr(checksums.parse(text)))

    def test_any_text(self) -> None:
        dice = random.Random(20261126)
        for _time in range(5000):
            text = ''.join(dice.choices('aF0:=/.-_ \n\x00é', k=40))
            text = dice.choice(('', 'sha256:', 'http://', SHA256)) + text
            try:
                checksums.parse(text[: dice.randrange(len(text))])
            except errors.OptionError:
                pass


class NameTest(base.TestCase):
    def test_path_of_a_url(self) -> None:
        for url, path in (
            ('http://h/a/i.img', '/a/i.img'),
            ('http://h/i.img?token=x#y', '/i.img'),
            ('http://h/a%20b%2Bc.img', '/a b+c.img'),
            ('http://h/caf%C3%A9', '/caf\xe9'),
            ('http://h/i.img.meta4', '/i.img'),
            ('http://h/', '/'),
            ('http://h', ''),
        ):
            self.assertEqual(path, checksums.path_of(url))

    def test_unpacked(self) -> None:
        for path, expected in (
            ('/a/i.img.gz', '/a/i.img'),
            ('/i.img.XZ', '/i.img'),
            ('/i.raw.zst', '/i.raw'),
            ('/i.bz2', '/i'),
            ('/i.img', '/i.img'),
            ('/gz', '/gz'),
        ):
            self.assertEqual(expected, checksums.unpacked(path))


class FindTest(base.TestCase):
    def test_lists(self) -> None:
        for look, text in LISTS.items():
            self.assertEqual('sha256:' + SHA256, find(text), look)

    def test_in_any_coding(self) -> None:
        for coding in 'utf-16', 'utf-8-sig':
            self.assertEqual('sha256:' + SHA256, find(GNU.encode(coding)))

    def test_by_the_number_of_digits(self) -> None:
        for hexdigest, algorithm in (
            (MD5, 'md5'),
            (SHA1, 'sha1'),
            (SHA512, 'sha512'),
        ):
            self.assertEqual(
                '%s:%s' % (algorithm, hexdigest), find(hexdigest + '  i.img')
            )

    def test_the_strongest(self) -> None:
        lines = ['%s  i.img' % each for each in (MD5, SHA512, SHA1, SHA256)]
        self.assertEqual('sha512:' + SHA512, find('\n'.join(lines)))
        self.assertEqual(
            'sha1:' + SHA1, find('\n'.join(lines), algorithm='sha1')
        )

    def test_what_the_name_of_the_list_says(self) -> None:
        for location, digits, algorithm in (
            ('http://h/B2SUMS', BLAKE, 'blake2b'),
            ('/a/b2sums.txt', BLAKE, 'blake2b'),
            ('i.img.blake2b', BLAKE, 'blake2b'),
            ('SHA3-256SUMS', SHA3, 'sha3_256'),
            ('i.img.sha3-256', SHA3, 'sha3_256'),
            ('http://h/SHA512SUMS?as=b2', SHA512, 'sha512'),
        ):
            self.assertEqual(
                '%s:%s' % (algorithm, digits),
                find(digits + '  i.img', location=location),
            )

    def test_what_the_option_says(self) -> None:
        self.assertEqual(
            'sha3_256:' + SHA3, find(SHA3 + '  i.img', algorithm='sha3_256')
        )
        # A line of another algorithm is none.
        error = self.assertRaises(
            errors.ContentError, find, GNU, algorithm='sha512'
        )
        self.assertIn('no line has one', str(error))

    def test_a_section_of_what_is_not_known(self) -> None:
        """Gentoo's have Whirlpool, which has as many digits as SHA-512."""
        text = '# SHA512 HASH\n%s  i.img\n# WHIRLPOOL HASH\n%s  i.img\n'
        self.assertEqual('sha512:' + SHA512, find(text % (SHA512, OTHER512)))

    def test_names_with_escapes(self) -> None:
        for name, line in (
            ('a\nb', '\\%s  a\\nb'),
            ('a\\b', '\\%s *a\\\\b'),
            ('a\\nb', '%s  a\\nb'),
            ('a (1) = b', '%s  a (1) = b'),
            ('b c', '%s  b c'),
        ):
            self.assertEqual(
                'sha256:' + SHA256, find(line % SHA256, '/x/' + name), name
            )
        tagged = 'SHA256 (a (1) = b) = ' + SHA256
        self.assertEqual('sha256:' + SHA256, find(tagged, 'a (1) = b'))
        raw = b'%s  caf\xe9' % SHA256.encode()
        path = checksums.path_of('http://h/caf%E9')
        self.assertEqual('sha256:' + SHA256, find(raw, path))

    def test_directories_decide_between_lines(self) -> None:
        text = '%s  arm64/i.img\n%s  amd64/i.img\n' % (OTHER, SHA256)
        self.assertEqual('sha256:' + SHA256, find(text, '/x/amd64/i.img'))
        for path in '/i.img', '/x/xamd64/i.img':
            error = self.assertRaises(errors.ContentError, find, text, path)
            self.assertIn("different ones by sha256 for 'i.img'", str(error))

    def test_different_lines(self) -> None:
        for text in (
            '%s  i.img\n%s  i.img\n' % (OTHER, SHA256),
            '%s\n%s\n' % (OTHER, SHA256),
            'SHA256 (i.img) = %s\n%s  i.img' % (OTHER, SHA256),
        ):
            self.assertRaises(errors.ContentError, find, text)

    def test_no_line(self) -> None:
        for text, part in (
            ('', 'no line has one'),
            ('<html><body>Not found</body></html>', 'no line has one'),
            (b'\0\xff' * 500, 'no line has one'),
            ('%s  o.img\n' % OTHER, "it has 'o.img'"),
            (SHA256 + '\n%s  o.img\n' % OTHER, "no line for 'i.img'"),
            (SHA256[:30] + '  i.img\n', 'no line has one'),
            ('SHA256 (i.img) = %s' % SHA1, 'by an algorithm that is known'),
            ('RMD160 (i.img) = %s' % SHA1, 'by an algorithm that is known'),
        ):
            error = self.assertRaises(errors.ContentError, find, text)
            self.assertIn(part, str(error))

    def test_a_list_of_the_other_kind(self) -> None:
        for text, path in (
            (SHA256 + '  i.img.gz', '/i.img'),
            (SHA256 + '  i.img', '/i.img.gz'),
        ):
            error = self.assertRaises(errors.ContentError, find, text, path)
            self.assertIn('--image-checksum of what is in it', str(error))

    def test_a_signed_list_names_the_file(self) -> None:
        for look, text in LISTS.items():
            if not look.startswith(('one digest', 'openssl of')):
                found = find(text, signed=True)
                self.assertEqual('sha256:' + SHA256, found, look)
                continue
            for path in '/i.img', '/-', '/stdin', '/':
                error = self.assertRaises(
                    errors.UntrustedSignature, find, text, path, signed=True
                )
                self.assertIn('does not name', str(error), look)
        # One that has others, too.
        self.assertRaises(
            errors.ContentError,
            *(find, SHA256 + '  -\n%s  o.img\n' % OTHER),
            signed=True,
        )
        for text in '', '# nothing\n':
            none = self.assertRaises(
                errors.ContentError, find, text, signed=True
            )
            self.assertIn('no line has one', str(none))

    def test_a_signed_list_proves_something(self) -> None:
        weak = '%s  i.img\n%s  i.img\n' % (MD5, SHA1)
        for text, algorithm, name in (
            (weak, None, 'sha1'),
            (weak, 'md5', 'md5'),
            (MD5 + '  i.img', None, 'md5'),
            (weak + SHA256 + '  o.img', None, 'sha1'),
            (weak + SHA256 + '  i.img', 'sha1', 'sha1'),
        ):
            self.assertIn(name, find(text, algorithm=algorithm))
            error = self.assertRaises(
                errors.UntrustedSignature,
                *(find, text),
                algorithm=algorithm,
                signed=True,
            )
            self.assertIn("'i.img' by %s alone" % name, str(error))
        self.assertEqual(
            'sha256:' + SHA256, find(weak + SHA256 + '  i.img', signed=True)
        )

    def test_a_url_that_names_nothing(self) -> None:
        for path in '', '/', '/images/':
            self.assertEqual('sha256:' + SHA256, find(SHA256, path))
            self.assertRaises(errors.ContentError, find, GNU, path)

    def test_any_list(self) -> None:
        """Mixed lines, cut and changed: the right digest, or an error."""
        dice = random.Random(20261126)
        lines = [
            line
            for text in LISTS.values()
            for line in text.split('\n')
            if SHA256[:8].lower() not in line.lower()
        ]
        lines += ['x' * 9000, '(' * 5000, '#' * 100, '\\', ') = ' * 3000]
        for _time in range(500):
            chosen = dice.choices(lines, k=dice.randrange(12))
            chosen.insert(
                dice.randrange(len(chosen) + 1),
                dice.choice((SHA256 + '  i.img', SHA256 + '  o.img', '')),
            )
            document = bytearray('\n'.join(chosen).encode())
            for _change in range(dice.randrange(3)):
                if document:
                    document[dice.randrange(len(document))] = dice.randrange(
                        256
                    )
            try:
                found = find(bytes(document))
            except errors.ContentError:
                continue
            self.assertIn(
                found.split(':')[1][:4], document.decode('latin-1').lower()
            )

    def test_the_longest_list(self) -> None:
        """No line takes more than its share of the time."""
        for line in ('a' * 32 + '  x', 'A (' + ')' * 90, ' ' * 90, '(=) ' * 9):
            count = checksums.LIST_MAX // (len(line) + 1)
            text = (line + '\n') * count
            self.assertRaises(errors.ContentError, find, text)
            self.assertRaises(
                errors.ContentError, find, line * (checksums.LIST_MAX // 40)
            )

    def test_is_list(self) -> None:
        for look, text in LISTS.items():
            if 'signed' in look or look in ('mark', 'something else'):
                continue
            self.assertTrue(checksums.is_list(text, True), look)
        for text in ('', '# only\n', 'i.img\n', SHA256 + '\nand more\n'):
            self.assertFalse(checksums.is_list(text, True))
        self.assertTrue(checksums.is_list(GNU + 'cut', False))
