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


"""Checksums as people have them: by themselves, or in a list beside the image.

Lists are what sha256sum and its kin, their BSD namesakes, and openssl print,
with or without a PGP signature around. Rules only: a list comes in as bytes.
Signatures are not verified: whoever wants that does it before, and hands in
what is signed alone (``openpgp``).
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import re
import urllib.parse

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import digest

#: The longest list taken, in bytes. Debian's of all its images has a tenth.
LIST_MAX = octets.MIB

# Where a list has several for one image, the first of these is used.
_STRONGEST_FIRST = (
    'sha512',
    'sha3_512',
    'blake2b',
    'sha384',
    'sha3_384',
    'sha256',
    'sha3_256',
    'blake2s',
    'sha224',
    'sha3_224',
    'sha1',
    'md5',
)

# By these, two files that are different can be made the same.
_WEAK = ('sha1', 'md5')

# By the number of hexadecimal digits, where nothing else tells: the programs
# of GNU coreutils that everybody uses.
_BY_DIGITS = {
    32: 'md5',
    40: 'sha1',
    56: 'sha224',
    64: 'sha256',
    96: 'sha384',
    128: 'sha512',
}

# What an image's name loses when it is unpacked.
_PACKED = ('.gz', '.gzip', '.xz', '.zst', '.zstd', '.bz2', '.bzip2')

# What is longer is skipped: a path has at most so many bytes (PATH_MAX).
_LINE_MAX = 8192

_DIGITS = re.compile('[0-9A-Fa-f]+')
# GNU coreutils, "md5sum invocation": a backslash where the name has escapes,
# the digits, a space, a space or '*', the name. Or the digits alone.
_GNU = re.compile(r'(\\?)([0-9A-Fa-f]{32,})(?:[ \t]+\*?(.*))?', re.DOTALL)
# The same with --tag, BSD's md5(1), openssl-dgst(1).
_TAGGED = re.compile(
    r'(\\?)([A-Za-z0-9_/-]+) ?\((.*)\) ?= ?([0-9A-Fa-f]+)', re.DOTALL
)
# A comment that says what the lines behind it are, as Gentoo's DIGESTS have.
_HEADING = re.compile(r'#+ *([A-Za-z0-9_/-]+) HASH', re.IGNORECASE)
_ESCAPE = re.compile(r'\\([\\nr])')
_UNESCAPED = {'\\': '\\', 'n': '\n', 'r': '\r'}

# In the name of a list: what the number of digits does not tell.
_OF_A_LIST = re.compile(
    r'\bb2(?:sum|$)|blake2([bs]?)|sha3[-_]?(224|256|384|512)'
)

# What was read from standard input has no name.
_NAMELESS = ('', '-', 'stdin')

# RFC 9580 section 7.
_SIGNED = '-----BEGIN PGP SIGNED MESSAGE-----'
_SIGNATURE = '-----BEGIN PGP SIGNATURE-----'


@values.dataclass(frozen=True)
class Reference:
    """Where a list of checksums is to be had.

    :ivar location: URL or path.
    :ivar algorithm: what its checksums are by; None: as it says.
    """

    location: str = dataclasses.field(repr=False)
    algorithm: str | None = None

    @property
    def is_url(self) -> bool:
        """It is no path."""
        return '://' in self.location


def parse(text: str) -> digest.Checksum | Reference:
    """Return what ``text`` says, as people write it.

    'ALGORITHM:HEX', 'ALGORITHM=HEX', or the digits alone, whose number tells
    the algorithm, with the name of a file behind them or not; a URL or the
    path of a list, with 'ALGORITHM:' before it or not. A path that could be
    taken for digits is written './...'.

    :raises errors.OptionError: for what is none of them.
    """
    text = text.strip()
    if not text:
        raise errors.OptionError('the checksum is empty')
    if _DIGITS.fullmatch(text):
        if len(text) not in _BY_DIGITS:
            raise errors.OptionError(
                'no checksum has %d hexadecimal digits: %r'
                % (len(text), text),
                hint='they are %s'
                % ', '.join('%d by %s' % each for each in _BY_DIGITS.items()),
            )
        return digest.Checksum(_BY_DIGITS[len(text)], text.lower())
    line = _GNU.fullmatch(text)
    if line is not None and '\n' not in text:
        # As md5sum(1) and its kin print it: the name is none of ours.
        return parse(line[2])
    found = re.match('([^:=/.]+)[:=](?!//)', text)
    if found is None:
        return Reference(text)
    algorithm = digest.known_algorithm(found[1])
    rest = text[found.end() :].strip()
    if not rest or _DIGITS.fullmatch(rest):
        return digest.parse('%s:%s' % (algorithm, rest))
    return Reference(rest, algorithm)


def path_of(url: str) -> str:
    """Return the path in ``url``, as names in a list are written.

    Of a Metalink document, that of its image.
    """
    path = urllib.parse.unquote_to_bytes(urllib.parse.urlsplit(url).path)
    text = path.decode('utf-8', 'surrogateescape')
    return text.removesuffix('.meta4')


def unpacked(path: str) -> str:
    """Return ``path`` as it is called when it has been unpacked."""
    for suffix in _PACKED:
        if path.lower().endswith(suffix):
            return path[: -len(suffix)]
    return path


@values.dataclass(frozen=True)
class _Entry:
    """One line: algorithm None is one that nobody knows here."""

    algorithm: str | None
    hex: str
    name: str


def find(
    document: bytes, path: str, where: Reference, *, signed: bool = False
) -> digest.Checksum:
    """Return the checksum that a list has for a file.

    Where it has several, the one by the strongest algorithm.

    :param path: of the file; its last part is what lines are found by. Those
        before it count where several lines have that.
    :param where: the list came from.
    :param signed: what counts of it is who signed it: it has to name the
        file, and to have it by an algorithm that proves something.
    :raises errors.ContentError: for a list without a line for the file, with
        different ones, or of algorithms that are not known.
    :raises errors.UntrustedSignature: for a signed one that does not.
    """
    entries = [*_entries(_decoded(document), where)]
    if signed:
        entries = _named(entries)
    name = path.rpartition('/')[2]
    fitting = [each for each in entries if name and _last(each.name) == name]
    if not fitting and all(each.name in _NAMELESS for each in entries):
        fitting = entries
    if not fitting:
        raise _missing(name, entries)
    for algorithm in _STRONGEST_FIRST:
        same = [each for each in fitting if each.algorithm == algorithm]
        if len({each.hex for each in same}) > 1:
            # By their directories, then.
            same = [each for each in same if _is_at(path, each.name)]
            if len({each.hex for each in same}) != 1:
                raise errors.ContentError(
                    'the list of checksums has different ones by %s for %r'
                    % (algorithm, name),
                    hint='give the right one itself',
                )
        if same and signed and algorithm in _WEAK:
            raise errors.UntrustedSignature(
                'the signed list has %r by %s alone, which proves nothing any'
                ' more' % (name, algorithm),
                hint='ask whoever signs for one by SHA-256 or SHA-512',
            )
        if same:
            return digest.Checksum(algorithm, same[0].hex)
    raise errors.ContentError(
        'the list of checksums has none for %r by an algorithm that is known'
        % name,
        hint='known are %s' % ', '.join(digest.ALGORITHMS),
    )


def _named(entries: Sequence[_Entry]) -> list[_Entry]:
    """Return those that say what they are of.

    The others of a signed list would be of whatever is fetched.

    :raises errors.UntrustedSignature: if there are only others.
    """
    named = [each for each in entries if each.name not in _NAMELESS]
    if entries and not named:
        raise errors.UntrustedSignature(
            'the signed list does not name what its checksum is of: it may be'
            ' of another image',
            hint='ask whoever signs for a list with the names of its files',
        )
    return named


def is_list(text: str, complete: bool) -> bool:
    """Tell whether ``text`` is a list of checksums and nothing else.

    :param complete: it does not end in the middle of a line.
    """
    lines = [line for line in _lines(text) if line and line[0] != '#']
    if not complete:
        del lines[-1:]
    return bool(lines) and all(
        _GNU.fullmatch(line) or _TAGGED.fullmatch(line) for line in lines
    )


def _decoded(document: bytes) -> str:
    for mark, coding in (
        (codecs.BOM_UTF8, 'utf-8'),
        # What PowerShell writes.
        (codecs.BOM_UTF16_LE, 'utf-16-le'),
        (codecs.BOM_UTF16_BE, 'utf-16-be'),
    ):
        if document.startswith(mark):
            return document[len(mark) :].decode(coding, 'replace')
    # Names of files are any bytes.
    return document.decode('utf-8', 'surrogateescape')


def _lines(text: str) -> Iterator[str]:
    # Not splitlines: that knows ends of lines that a name may have.
    for line in re.split('\r\n|\n|\r', text):
        yield line.strip(' \t')


def _signed(lines: Iterator[str]) -> Iterator[str]:
    """Yield what a PGP signature is of; all lines where there is none."""
    before = []
    for line in lines:
        if line == _SIGNED:
            break
        before.append(line)
    else:
        yield from before
        return
    # The fields of its head end with an empty line.
    for line in lines:
        if not line:
            break
    for line in lines:
        if line == _SIGNATURE:
            break
        yield line.removeprefix('- ')


def _entries(text: str, where: Reference) -> Iterator[_Entry]:
    heading: str | None = None
    of_all = where.algorithm or _of_list(where.location)
    for line in _signed(_lines(text)):
        if len(line) > _LINE_MAX:
            continue
        if found := _TAGGED.fullmatch(line):
            escaped, said, name, digits = found.groups()
        elif found := _GNU.fullmatch(line):
            escaped, digits, name = found.groups('')
            said = heading or of_all or _BY_DIGITS.get(len(digits), '')
        else:
            if found := _HEADING.fullmatch(line):
                heading = found[1]
            continue
        if escaped:
            name = _ESCAPE.sub(lambda match: _UNESCAPED[match[1]], name)
        algorithm = _known(said, digits)
        if where.algorithm in (None, algorithm):
            yield _Entry(algorithm, digits.lower(), name)


def _known(name: str, digits: str) -> str | None:
    """Return the algorithm; None: not known, or not of so many digits."""
    try:
        return digest.parse('%s:%s' % (name, digits)).algorithm
    except errors.OptionError:
        return None


def _of_list(location: str) -> str | None:
    """Return what the name of a list says its checksums are by."""
    name = location.partition('?')[0].rpartition('/')[2].lower()
    found = _OF_A_LIST.search(name)
    if found is None:
        return None
    return 'sha3_' + found[2] if found[2] else 'blake2' + (found[1] or 'b')


def _last(name: str) -> str:
    return name.rpartition('/')[2]


def _is_at(path: str, name: str) -> bool:
    """Tell whether ``name``, with its directories, is the end of ``path``."""
    return ('/' + path).endswith('/' + name.removeprefix('./'))


def _missing(name: str, entries: Sequence[_Entry]) -> errors.ContentError:
    names = list(dict.fromkeys(each.name for each in entries if each.name))
    if not names:
        return errors.ContentError(
            'there is no list of checksums: no line has one',
            hint='check what is there',
        )
    others = [each for each in names if unpacked(_last(each)) == name]
    others += [each for each in names if _last(each) == unpacked(name)]
    hint = 'it has %s' % ', '.join(repr(each) for each in names[:3])
    if len(names) > 3:
        hint += ' and %d more' % (len(names) - 3)
    if others:
        hint = (
            'it has %r: --checksum is of what the server sends,'
            ' --image-checksum of what is in it' % others[0]
        )
    return errors.ContentError(
        'the list of checksums has no line for %r' % name, hint=hint
    )
