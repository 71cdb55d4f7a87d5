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

"""Keys and signatures as gpg makes them: good ones, and all the others."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import subprocess
import tempfile

# When keys were made, and when they signed, in which they go on from there:
# what was to expire has expired since.
_FIRST = '20200101T000000'
_THEN = '20200101T120000'
# When it is not yet.
_LATER = '20990101T000000'

# What gpg takes of a line, in bytes.
_LINE_MAX = 19990

#: Who made the good ones.
USER = 'Images <images@example.org>'

PROGRAMS = ('gpg', 'gpgconf', 'gpgv')


@dataclasses.dataclass(frozen=True)
class Made:
    """What was made of one document.

    :ivar keyring: the public key of whom to trust, binary.
    :ivar keyrings: the same in other forms: 'armored', 'keybox', 'two' (one
        armored block after the other, the good one last); and of others:
        'other', 'expired', 'revoked', 'new' (of a time to come), and 'secret'.
    :ivar fingerprint: of that key.
    :ivar good: a detached signature, binary.
    :ivar signatures: others: 'armored', 'sha1', 'expired', 'two', and 'text',
        to which the ends of lines are all the same (of a document without
        lines too long for gpg); by other keys: 'expired
        key', 'revoked key', 'new key'.
    :ivar clear_signed: the document, within what is of no matter.
    """

    keyring: bytes
    keyrings: dict[str, bytes]
    fingerprint: str
    good: bytes
    signatures: dict[str, bytes]
    clear_signed: bytes


def make(document: bytes) -> Made:
    """Make keys, and sign ``document`` with them."""
    # Its path is that of a socket, too, so it has to be short.
    home = tempfile.mkdtemp(prefix='fac-', dir='/tmp')
    try:
        return _Home(home).make(document)
    finally:
        subprocess.run(
            ['gpgconf', '--homedir', home, '--kill', 'all'], check=True
        )
        shutil.rmtree(home)


class _Home:
    def __init__(self, home: str) -> None:
        self.home = pathlib.Path(home)

    def gpg(self, *argv: str, given: bytes = b'') -> bytes:
        """Return what gpg prints."""
        done = subprocess.run(
            [
                *('gpg', '--homedir', str(self.home), '--batch', '--quiet'),
                *('--no-tty', '--pinentry-mode', 'loopback'),
                *('--passphrase', '', '--faked-system-time', _THEN),
                *('--trust-model', 'always', '--allow-weak-digest-algos'),
                *argv,
            ],
            input=given,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def key(self, user: str, expires: str = '0', made: str = _FIRST) -> str:
        """Make a key; return its fingerprint."""
        self.gpg(
            *('--faked-system-time', made),
            *('--quick-generate-key', user, 'ed25519', 'sign', expires),
        )
        listed = self.gpg('--with-colons', '--list-keys', '=' + user)
        (line, *_subkeys) = [
            line for line in listed.decode().split('\n') if 'fpr:' in line
        ]
        return line.split(':')[9]

    def sign(self, document: bytes, key: str, *argv: str) -> bytes:
        return self.gpg('-u', key, *argv, '--detach-sign', given=document)

    def make(self, document: bytes) -> Made:
        good = self.key(USER)
        keybox = (self.home / 'pubring.kbx').read_bytes()
        other, revoked = self.key('Somebody else'), self.key('Revoked')
        expired = self.key('Expired', '1d')
        new = self.key('New', made=_LATER)
        signatures = {
            'armored': self.sign(document, good, '--armor'),
            'sha1': self.sign(document, good, '--digest-algo', 'SHA1'),
            'expired': self.sign(document, good, '--default-sig-expire', '1d'),
            'two': self.sign(document, good, '-u', other),
            'expired key': self.sign(document, expired),
            'revoked key': self.sign(document, revoked),
            'new key': self.sign(document, new, '--faked-system-time', _LATER),
        }
        if max(map(len, document.split(b'\n'))) < _LINE_MAX:
            text = self.sign(document, good, '--textmode')
            signatures['text'] = text
        self._revoke(revoked)
        exported = {
            name: self.gpg('--export', key)
            for name, key in {
                'other': other,
                'expired': expired,
                'revoked': revoked,
                'new': new,
            }.items()
        }
        armored = self.gpg('--export', '--armor', good)
        clear = self.gpg('-u', good, '--clear-sign', given=document)
        return Made(
            keyring=self.gpg('--export', good),
            keyrings={
                **exported,
                'armored': armored,
                'two': self.gpg('--export', '--armor', other) + armored,
                'keybox': keybox,
                'secret': self.gpg('--export-secret-keys', good),
            },
            fingerprint=good,
            good=self.sign(document, good),
            signatures=signatures,
            clear_signed=b'before\n%s\nafter\n' % clear.strip(),
        )

    def _revoke(self, key: str) -> None:
        # gpg keeps one ready, with a colon before it against accidents.
        path = self.home / 'openpgp-revocs.d' / (key + '.rev')
        text = path.read_bytes().replace(b':---', b'---')
        self.gpg('--import', given=text)
