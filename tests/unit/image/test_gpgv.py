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

"""What the status lines of gpgv mean, whatever it exits with."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl.image import gpgv
from tests import base

_KEY = 'E2887FC509459DDD'
_PRIMARY = 'C003F9E506727C03F56D4FB2E2887FC509459DDD'
_SUBKEY = '0123456789ABCDEF0123456789ABCDEF01234567'
_GOOD = 'GOODSIG %s A%%25B <a@b>' % _KEY
_VALID = 'VALIDSIG %s 2026-11-27 1795756862 0 4 0 22 8 00 %s' % (
    _SUBKEY,
    _PRIMARY,
)


def _lines(*lines: str) -> str:
    return ''.join('[GNUPG:] %s\n' % line for line in lines)


class TestJudge(base.TestCase):
    def test_good(self) -> None:
        said = _lines(
            'NEWSIG',
            'KEY_CONSIDERED %s 0' % _PRIMARY,
            'SIG_ID x 2026-11-27 1795756862',
            _GOOD,
            _VALID,
        )
        found = gpgv.judge('gpgv: Signature made\n' + said)
        self.assertEqual(gpgv.Signer(_PRIMARY, 'A%B <a@b>'), found)
        self.assertEqual('A%%B <a@b> (%s)' % _PRIMARY, str(found))

    def test_what_it_says_is_one_line(self) -> None:
        good = 'GOODSIG %s A%%0A%%1b[31mB' % _KEY
        self.assertEqual('A?[31mB', gpgv.judge(_lines(good, _VALID)).user_id)

    def test_not_to_be_trusted(self) -> None:
        for line, part in (
            ('EXPSIG %s A <a@b>', 'signature by A <a@b> has expired'),
            ('EXPKEYSIG %s A <a@b>', 'key of A <a@b>, who signed, has expir'),
            ('REVKEYSIG %s A <a@b>', 'key of A <a@b>, who signed, has been'),
            ('ERRSIG %s 22 8 00 17 9 ' + _SUBKEY, 'not in the keyring: 0123'),
            ('ERRSIG %s 22 8 00 17 9', 'not in the keyring: E288'),
            ('ERRSIG %s 22 8 00 17 6 ' + _SUBKEY, 'newer than the clock'),
            ('ERRSIG %s 99 8 00 17 4', 'does not know'),
            ('ERRSIG %s 22 99 00 17 5', 'does not know'),
        ):
            # Whatever else it may say, also before or after that.
            for said in (
                _lines(line % _KEY),
                _lines(line % _KEY, _VALID),
                _lines(_GOOD, _VALID, line % _KEY),
            ):
                error = self.assertRaises(
                    errors.UntrustedSignature, gpgv.judge, said
                )
                self.assertIn(part, str(error))

    def test_a_weak_hash(self) -> None:
        for number, name in (1, 'MD5'), (2, 'SHA-1'), (3, 'RIPEMD-160'):
            valid = _VALID.replace(' 22 8 ', ' 22 %d ' % number)
            error = self.assertRaises(
                errors.UntrustedSignature, gpgv.judge, _lines(_GOOD, valid)
            )
            self.assertIn(name, str(error))

    def test_bad(self) -> None:
        for said in (
            '',
            'gpgv: Good signature\n',
            ' [GNUPG:] %s\n [GNUPG:] %s\n' % (_GOOD, _VALID),
            _lines('NODATA 4'),
            _lines(_GOOD),
            _lines(_VALID),
            _lines(_GOOD, 'VALIDSIG'),
            _lines(_GOOD, _GOOD, _VALID),
            _lines(_GOOD, _VALID, _GOOD, _VALID),
            _lines(_GOOD, _VALID, 'BADSIG %s A' % _KEY),
            _lines('BADSIG %s A' % _KEY),
            _lines('ERRSIG'),
            _lines('ERRSIG %s 22 8 00 17 58' % _KEY),
        ):
            self.assertRaises(errors.BadSignature, gpgv.judge, said)
