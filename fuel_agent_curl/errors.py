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

"""Every error of this package, each with its exit code.

An error says what happened, to which URL, at which byte and in which attempt;
``retry.decide`` alone says what to do about it. Exit codes are an interface:
they are listed in doc/source/errors.rst and never change their meaning.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import copy
import errno
import re
from typing import Self
import urllib.parse

# By what is in it: by what is not, it takes three milliseconds to compile.
_UNPRINTABLE = re.compile(r'[\x00-\x1f\x7f-\x9f\U00010000-\U0010ffff]+')

# Of a URL within the path of another: caches and proxies have them.
_USER_IN_PATH = re.compile('//[^/@]*@')
_SCHEMES = frozenset(
    ('http', 'https', 'ftp', 'socks4', 'socks4a', 'socks5', 'socks5h')
)


def redact(url: str) -> str:
    """Return ``url`` without what could be a secret.

    The user information is dropped, and a query is replaced by ``***``:
    signed URLs carry their signature there.
    """
    text = one_line(url)
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError:
        # Not a URL that can be taken apart.
        return _hidden(text)
    if not parts.netloc and '@' in text:
        return _hidden(text)
    path = _USER_IN_PATH.sub('//', parts.path)
    if port is not None and '@' not in parts.netloc:
        # It may be a password that begins with digits, and has a slash, a
        # question mark or a hash in it.
        host = parts.netloc.rpartition(':')[0]
        if '@' in path:
            rest = path.rpartition('@')[2]
            return '%s://%s:***@%s' % (parts.scheme, host, rest)
        if not path and '@' in parts.query + parts.fragment:
            return '%s://%s:***' % (parts.scheme, host)
    netloc = parts.netloc.rpartition('@')[2]
    query = '***' if parts.query else ''
    return urllib.parse.urlunsplit((parts.scheme, netloc, path, query, ''))


def _hidden(text: str) -> str:
    """Return the scheme at most: what stands there else may be a name."""
    scheme = text.partition(':')[0]
    return scheme + ':***' if scheme.lower() in _SCHEMES else '***'


def one_line(text: str) -> str:
    """Return ``text`` fit for a log line: what cannot be printed is a '?'.

    Parts of an error's text come from the server, which must not be able to
    forge log lines or to send escape sequences to a terminal.
    """
    return _UNPRINTABLE.sub('?', text)


class Error(Exception):
    """Base of every error of this package.

    :param message: what happened, in one line.
    :param url: the URL asked for; it is kept in its redacted form only.
    :param offset: byte of the representation (or of the target) where it
        happened, None where that means nothing.
    :param attempt: the attempt it happened in, counted from 1.
    :param attempts: the limit that ``attempt`` counts towards, 0 for none.
    :param hint: what to do about it.
    :ivar continues_at: byte of the image at which another run of the same
        copy goes on; None: it begins again.
    :ivar target_state: what the target is like after it: 'untouched',
        'blank', 'incomplete' or 'complete'; None where no target was opened.
    """

    exit_code = 10
    target_state: str | None = None
    continues_at: int | None = None

    def __init__(
        self,
        message: str,
        *,
        url: str | None = None,
        offset: int | None = None,
        attempt: int | None = None,
        attempts: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.url = None if url is None else redact(url)
        self.offset = offset
        self.attempt = attempt
        self.attempts = attempts
        self.hint = hint

    def __str__(self) -> str:
        where = []
        if self.url is not None:
            where.append(self.url)
        if self.offset is not None:
            where.append('at byte %d' % self.offset)
        if self.attempt is not None:
            where.append(
                'attempt %d of %s' % (self.attempt, self.attempts or 'any')
            )
        text = self.message
        if where:
            text += ' (' + ', '.join(where) + ')'
        if self.hint:
            text += '; ' + self.hint
        return text

    def again(self) -> Self:
        """Return a copy that can be raised once more, without traceback."""
        other = copy.copy(self)
        other.__cause__ = self.__cause__
        return other


class OptionError(Error, ValueError):
    """An option, URL or checksum that cannot be used; nothing was asked."""

    exit_code = 2


class ResourceError(Error):
    """Out of memory, descriptors or threads; ``os_errno`` is the errno."""

    exit_code = 11
    os_errno: int | None = None


# What the dynamic linker says of a module there is no memory for (glibc,
# elf/dl-load.c).
_UNMAPPED = re.compile(
    'failed to map segment|cannot map zero-fill|Cannot allocate memory'
)

#: What an errno means that no server has a part in, and what to do.
_SHORTAGES = {
    errno.EMFILE: ('open files', 'raise their limit (ulimit -n)'),
    errno.ENFILE: ('open files in the whole system', None),
    errno.ENOMEM: ('memory', None),
    errno.ENOBUFS: ('memory for the network', None),
    # The stack of a thread needs memory, and the errno is the same.
    errno.EAGAIN: (
        'threads',
        'raise their limit (ulimit -u), or that of memory (ulimit -v)',
    ),
    # epoll_ctl(2): fs.epoll.max_user_watches.
    errno.ENOSPC: ('watched descriptors', None),
}


def shortage(error: BaseException) -> ResourceError | None:
    """Return what the exception means if it is for want of a resource.

    Not for one that may come from a file: there, ENOSPC is a full disk.
    """
    number = getattr(error, 'errno', None)
    if isinstance(error, MemoryError):
        number = errno.ENOMEM
    elif isinstance(error, RuntimeError) and 'new thread' in str(error):
        # As threading says it, whatever pthread_create(3) returned.
        number = errno.EAGAIN
    elif isinstance(error, ImportError) and _UNMAPPED.search(str(error)):
        number = errno.ENOMEM
    elif isinstance(error, ImportError) and 'open files' in str(error):
        # As dlopen(3) says it.
        number = errno.EMFILE
    if number not in _SHORTAGES:
        return None
    return _of_shortage(number, error)


def no_memory(error: MemoryError) -> ResourceError:
    """Return what the exception means."""
    return _of_shortage(errno.ENOMEM, error)


def _of_shortage(number: int, error: BaseException) -> ResourceError:
    what, hint = _SHORTAGES[number]
    made = ResourceError(
        'no more %s (%s)' % (what, errno.errorcode[number]), hint=hint
    )
    made.os_errno = number
    made.__cause__ = error
    return made


@contextlib.contextmanager
def shortages() -> Iterator[None]:
    """Make every want of a resource in the block a ``ResourceError``."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError, ImportError) as error:
        scarce = shortage(error)
        if scarce is None:
            raise
        raise scarce from error


class NetworkError(Error):
    """libcurl could not carry out the request.

    ``curl_code`` is the CURLcode, ``os_errno`` the errno of the last system
    call that failed, each None where unknown.
    """

    exit_code = 12
    curl_code: int | None = None
    os_errno: int | None = None


class ResolveError(NetworkError):
    """A host name (the server's or the proxy's) did not resolve."""

    exit_code = 13


class ConnectError(NetworkError):
    """No connection: refused, unreachable, or not within connect_timeout."""

    exit_code = 14


class TLSError(NetworkError):
    """The TLS handshake failed for a reason other than trust."""

    exit_code = 15


class CertificateError(TLSError):
    """The server's certificate, or ours, is not acceptable."""

    exit_code = 16


class ReceiveError(NetworkError):
    """The connection ended before the answer did."""

    exit_code = 17


class Stalled(NetworkError):
    """No byte in first_byte_timeout, or too few in low_speed_time seconds."""

    exit_code = 18


class StatusError(Error):
    """The server answered with a status that is not the representation.

    ``status`` is the status code; ``retry_after`` is the delay the server
    asked for in seconds, None where it asked for none.
    """

    exit_code = 19
    status: int = 0
    retry_after: float | None = None


class RetryAfterTooLong(StatusError):
    """The server asks for a longer wait than the settings allow."""

    exit_code = 27


class RedirectError(Error):
    """A redirect loop, one without Location, or one to a refused scheme."""

    exit_code = 20


class ProtocolError(Error):
    """The peer broke HTTP: garbage head, unasked coding, unexpected answer."""

    exit_code = 21


class ContentRangeError(ProtocolError):
    """A 206 or 416 that does not answer the Range that was asked for."""

    exit_code = 22


class ContentLengthError(ProtocolError):
    """Content-Length is malformed, or given twice with different values."""

    exit_code = 23


class PieceMismatch(ProtocolError):
    """A part of what a mirror sent does not match its piece hashes."""

    exit_code = 28


class ContentCodingError(ProtocolError):
    """The server applied a content coding that nobody asked for."""

    exit_code = 29


class RepresentationChanged(Error):
    """The server now has another representation than the one begun.

    ``length`` is its complete length, None where its bytes are others.
    """

    exit_code = 24
    length: int | None = None


class DeadlineExceeded(Error):
    """The deadline of the whole download has passed."""

    exit_code = 25


class AttemptsExhausted(Error):
    """As many attempts in a row as allowed failed without progress.

    ``__cause__`` is the last error.
    """

    exit_code = 26


class CannotContinue(Error):
    """What an earlier run has left cannot be gone on with."""

    exit_code = 52


class SpoolError(Error):
    """The file of ``--spool`` cannot be used, or there is no room for it."""

    exit_code = 53


class Cancelled(Error):
    """Whoever asked for the download, or the copy, has ended it."""

    exit_code = 63


class ContentError(Error):
    """What arrived is not what was promised; asking again is no use."""

    exit_code = 30


class CorruptError(ContentError):
    """The compressed image is damaged."""

    exit_code = 31


class TruncatedError(ContentError):
    """The compressed image ends in the middle."""

    exit_code = 32


class TrailingGarbageError(ContentError):
    """Something that is neither a member nor zero padding follows the end."""

    exit_code = 33


class DigestMismatch(ContentError):
    """A checksum given does not match."""

    exit_code = 34


class ImageTooShort(ContentError):
    """Fewer bytes than announced reached the target."""

    exit_code = 35


class ImageTooLong(ContentError):
    """The image goes on past the end of the target, or of its own length."""

    exit_code = 36


class WindowTooLarge(ContentError):
    """Unpacking the image takes more memory than ``decoder_memory``."""

    exit_code = 37


class NotAnImage(ContentError):
    """What arrived is a file of another kind than a disk image."""

    exit_code = 38


class UnprovenEnd(ContentError):
    """Nothing proves that the image is whole once it has arrived."""

    exit_code = 39


class NeedsOtherFile(ContentError):
    """The data of the image are in another file, too, which nobody opens."""

    exit_code = 55


class UnusableImage(ContentError):
    """The image is encrypted, in use, or made by rules not known here."""

    exit_code = 56


class NoRanges(ContentError):
    """The image has to be read out of order, and the server has no ranges."""

    exit_code = 57


class SignatureError(ContentError):
    """A signature cannot be checked: a keyring that is none, say."""

    exit_code = 59


class BadSignature(SignatureError):
    """The signature is of other bytes, or is damaged, or is none."""

    exit_code = 60


class UntrustedSignature(SignatureError):
    """The signature is by a key, or in a way, that is not to be trusted."""

    exit_code = 61


class NoVerifier(SignatureError):
    """The program that checks signatures, gpgv, is not there."""

    exit_code = 62


class DeviceError(Error):
    """The target cannot be used, or failed; ``os_errno`` is the errno."""

    exit_code = 40
    os_errno: int | None = None


class TargetMissing(DeviceError):
    """No such device, or no such directory to create the file in."""

    exit_code = 41


class TargetIsDirectory(DeviceError):
    """The target is a directory."""

    exit_code = 42


class TargetPermission(DeviceError):
    """No permission to write to the target."""

    exit_code = 43


class TargetReadOnly(DeviceError):
    """The target, or the filesystem it is on, is read-only."""

    exit_code = 44


class TargetBusy(DeviceError):
    """The target is mounted, held by a driver, or being written already."""

    exit_code = 45


class TargetTooSmall(DeviceError):
    """The image is longer than the block device."""

    exit_code = 46


class TargetFull(DeviceError):
    """No space, or no quota, is left on the filesystem of the target."""

    exit_code = 47


class WriteError(DeviceError):
    """Writing to the target, or syncing it, failed (EIO and the like)."""

    exit_code = 48


class TargetVanished(DeviceError):
    """The device went away, or the file was removed or replaced, meanwhile."""

    exit_code = 49


class NotForThisSectorSize(DeviceError):
    """The image's partition table counts in sectors of another length."""

    exit_code = 50


class TargetUnsuitable(DeviceError):
    """The target is of a kind that takes no image, as a character device."""

    exit_code = 51
