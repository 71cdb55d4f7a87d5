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

"""Checksums of what passes.

``parse`` reads a checksum as it is given to us, ``Digest`` computes the same
digest of what passes by and compares the two at the end.
"""

from __future__ import annotations

import copy
import re
import typing

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values

if typing.TYPE_CHECKING:
    import hashlib


#: What image publishers sign and list. Longer names first is of no matter:
#: a name is compared whole. md5 and sha1 prove nothing against an attacker,
#: but are what some image catalogues have, and do against accidents.
ALGORITHMS = (
    'blake2b',
    'blake2s',
    'md5',
    'sha1',
    'sha224',
    'sha256',
    'sha384',
    'sha3_224',
    'sha3_256',
    'sha3_384',
    'sha3_512',
    'sha512',
)

_HEX = re.compile(r'[0-9a-f]*')


@values.dataclass(frozen=True)
class Checksum:
    """What a digest has to be: ``hex`` is in lower case and complete."""

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return self.algorithm + ':' + self.hex


def parse(text: str) -> Checksum:
    """Return the checksum that ``text``, as 'sha256:<hex digits>', gives.

    Upper case and the usual other spellings of a name (SHA-256, sha3-256)
    are taken.

    :raises errors.OptionError: for another form, an unknown algorithm, or a
        number of digits that the algorithm does not have: half a checksum
        compared would be no check.
    """
    name, colon, digits = text.strip().partition(':')
    if not colon:
        raise errors.OptionError(
            'a checksum is ALGORITHM:HEX, such as sha256:9f86..., not %r'
            % text
        )
    algorithm = known_algorithm(name)
    digits = digits.lower()
    if not _HEX.fullmatch(digits):
        raise errors.OptionError(
            'the checksum %r has something else than hexadecimal digits' % text
        )
    expected = new(algorithm).digest_size * 2
    if len(digits) != expected:
        raise errors.OptionError(
            'a checksum by %s has %d hexadecimal digits, not %d'
            % (algorithm, expected, len(digits))
        )
    return Checksum(algorithm, digits)


def known_algorithm(name: str) -> str:
    """Return the one of ALGORITHMS that ``name`` means.

    :raises errors.OptionError: for one that is not known.
    """
    wanted = name.lower()
    # What openssl calls them.
    if wanted.startswith(('sha2-', 'sha2_')):
        wanted = 'sha' + wanted[5:]
    wanted = wanted.replace('-', '').replace('_', '')
    wanted = {'blake2b512': 'blake2b', 'blake2s256': 'blake2s'}.get(
        wanted, wanted
    )
    for known in ALGORITHMS:
        if known.replace('_', '') == wanted:
            return known
    raise errors.OptionError(
        'unknown checksum algorithm %r; known: %s'
        % (name, ', '.join(ALGORITHMS))
    )


def new(algorithm: str, data: octets.Buffer = b'') -> hashlib._Hash:
    """Return a running digest of ``data``.

    :raises errors.OptionError: for an algorithm that there is not.
    """
    # Here: importing OpenSSL takes long, and many images have no checksum.
    import hashlib

    try:
        # A FIPS build refuses md5 otherwise; ours is against accidents.
        return hashlib.new(algorithm, data, usedforsecurity=False)
    except ValueError as exc:
        raise errors.OptionError(
            'this Python has no %s: %s' % (algorithm, exc)
        ) from exc


class Digest:
    """The running digest of what passes, to be compared at the end.

    :param checksum: what the digest has to be.
    :param what: what is being digested, for the error's text.
    """

    def __init__(self, checksum: Checksum, what: str = 'download') -> None:
        self.checksum = checksum
        self.what = what
        self._hash = new(checksum.algorithm)

    def copy(self) -> Digest:
        """Return another that goes on from here."""
        other = copy.copy(self)
        other._hash = self._hash.copy()
        return other

    def update(self, buffer: octets.Buffer) -> None:
        """Add ``buffer``; the interpreter lock is not held for long ones."""
        self._hash.update(buffer)

    def verify(self) -> None:
        """Compare.

        :raises errors.DigestMismatch: when the two differ.
        """
        actual = self._hash.hexdigest()
        if actual != self.checksum.hex:
            raise errors.DigestMismatch(
                'the %s has %s:%s, not the %s given'
                % (
                    self.what,
                    self.checksum.algorithm,
                    actual,
                    self.checksum,
                ),
                hint='it is damaged, or the checksum is of something else',
            )
