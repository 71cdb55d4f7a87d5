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

"""Signatures checked by GnuPG's gpgv, in a process of its own.

It is given nothing but what it needs: keyring and signature in memory, what
is signed through a pipe, no home directory, no environment. What it says on
its status descriptor decides (GnuPG, doc/DETAILS), not how it exits: a
signature by a key that has expired is none to us, and a success to gpgv.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import contextlib
import dataclasses
import fcntl
import logging
import os
import select
import shutil
import subprocess
import time
import urllib.parse

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.image import openpgp

LOG = logging.getLogger(__name__)

#: How long gpgv may take nothing of what it is given, or, at the end, to say
#: what it has found, in seconds.
PATIENCE = 60.0

# What is read of what it says.
_SAID_MAX = 64 * octets.KIB
# fcntl(2): what anybody may ask for; less is no matter.
_PIPE = octets.MIB

# A directory that does not exist anywhere: Debian Policy 9.2.2.
_NOWHERE = '/nonexistent'

# What is wrong with a signature that is right but for that. doc/DETAILS, "The
# GOODSIG and similar": there is one of them for each signature.
_UNTRUSTED = {
    'EXPSIG': 'the signature by %s has expired',
    'EXPKEYSIG': 'the key of %s, who signed, has expired',
    'REVKEYSIG': 'the key of %s, who signed, has been revoked',
}
# The reasons of ERRSIG: GPG_ERR_PUBKEY_ALGO and GPG_ERR_DIGEST_ALGO, and
# GPG_ERR_BAD_PUBKEY, GPG_ERR_NO_PUBKEY.
_UNKNOWN_ALGORITHM = ('4', '5')
_BAD_KEY = '6'
_NO_KEY = '9'

# What it exits with when it has come to a verdict: good, bad, none of these.
_VERDICTS = (0, 1, 2)


@values.dataclass(frozen=True)
class Signer:
    """Who signed.

    :ivar fingerprint: of the primary key, in upper case.
    :ivar user_id: the first of that key, mostly 'Name <address>'. Whoever made
        the key chose it.
    """

    fingerprint: str
    user_id: str

    def __str__(self) -> str:
        return '%s (%s)' % (self.user_id, self.fingerprint)


def find() -> str:
    """Return the path of gpgv.

    :raises errors.NoVerifier: if there is none.
    """
    program = shutil.which('gpgv')
    if program is None:
        raise missing()
    return program


def missing() -> errors.NoVerifier:
    """Return the error for a gpgv that is not there."""
    return errors.NoVerifier(
        'gpgv, which checks signatures, is not installed',
        hint='install it: the package is gpgv in Debian and Ubuntu, gnupg2 in'
        ' Fedora and CentOS, gpg2 in SUSE',
    )


def judge(said: str) -> Signer:
    """Return who signed, by the status lines of gpgv.

    :raises errors.BadSignature: if the bytes are others than were signed, or
        the signature is damaged.
    :raises errors.UntrustedSignature: if the key, or the signature, is not to
        be trusted, or not known.
    """
    lines = [
        line.split(' ')[1:]
        for line in said.split('\n')
        if line.startswith('[GNUPG:] ')
    ]
    for word, *rest in lines:
        who = _user(rest)
        if word == 'BADSIG':
            raise errors.BadSignature(
                'the signature by %s is of other bytes' % who,
                hint='what was signed was changed, or the signature belongs'
                ' to something else',
            )
        if word == 'ERRSIG':
            raise _not_checked(rest)
        if word in _UNTRUSTED:
            raise errors.UntrustedSignature(
                _UNTRUSTED[word] % who,
                hint='a newer signature, or keyring, may be there',
            )
    good = [rest for word, *rest in lines if word == 'GOODSIG']
    valid = [rest for word, *rest in lines if word == 'VALIDSIG']
    if len(good) != 1 or len(valid) != 1 or len(valid[0]) < _VALID_FIELDS:
        raise errors.BadSignature(
            'gpgv finds no signature that it can check: it is damaged'
        )
    number = int(valid[0][_HASH])
    if openpgp.is_weak(number):
        raise openpgp.weak(number)
    return Signer(valid[0][_PRIMARY], _user(good[0]))


# VALIDSIG: fingerprint, date, two times, version, reserved, the algorithms of
# the key and of the hash, class, fingerprint of the primary key.
_HASH, _PRIMARY = 7, 9
_VALID_FIELDS = 10


def _user(rest: Sequence[str]) -> str:
    """Return the user ID behind the key ID, where it is as it was made."""
    text = urllib.parse.unquote(' '.join(rest[1:]), errors='replace')
    return errors.one_line(text) or 'an unnamed key'


def _not_checked(rest: Sequence[str]) -> errors.SignatureError:
    """Return what ERRSIG means: key ID, algorithms, class, time, reason."""
    key, *_others = [*rest, '']
    reason = rest[5] if len(rest) > 5 else ''
    if reason == _NO_KEY:
        fingerprint = rest[6] if len(rest) > 6 else key
        return errors.UntrustedSignature(
            'the signature is by a key that is not in the keyring: %s'
            % fingerprint,
            hint='check whose it is before you add it',
        )
    if reason in _UNKNOWN_ALGORITHM:
        return errors.UntrustedSignature(
            'the signature is by an algorithm that this gpgv does not know'
        )
    if reason == _BAD_KEY:
        return errors.UntrustedSignature(
            'the key cannot be used: it may be newer than the clock of this'
            ' machine',
            hint='check the clock: date',
        )
    return errors.BadSignature('the signature cannot be checked')


@values.dataclass(frozen=True)
class Verifier:
    """What it takes to check a signature.

    :ivar program: path of gpgv.
    :ivar keyring: the keys of whom to trust, not armored.
    :ivar signature: not armored; None: it comes with what is signed.
    """

    program: str
    keyring: bytes = dataclasses.field(repr=False)
    signature: bytes | None = dataclasses.field(repr=False)


class Check:
    """gpgv, at work on bytes that come in order.

    One thread gives them, and calls ``close`` in any case; ``cancel`` is for
    any other.

    :param verifier: with a signature.
    :param deadline: monotonic time by which it has to have ended; None: no
        such time.
    :raises errors.NoVerifier: if it cannot be run.
    :raises errors.ResourceError: for want of memory, descriptors, processes.
    """

    def __init__(
        self, verifier: Verifier, deadline: float | None = None
    ) -> None:
        assert verifier.signature is not None
        self._deadline = deadline
        self._is_cancelled = False
        with errors.shortages(), contextlib.ExitStack() as stack:
            keys, signature, status, said = (
                _memory(content, stack)
                for content in (verifier.keyring, verifier.signature, b'', b'')
            )
            command = [
                verifier.program,
                *('--homedir', _NOWHERE),
                *('--keyring', '/proc/self/fd/%d' % keys),
                *('--status-fd', str(status)),
                *('/proc/self/fd/%d' % signature, '-'),
            ]
            try:
                self._process = stack.enter_context(
                    _running(command, (keys, signature, status), said)
                )
            except (FileNotFoundError, PermissionError) as error:
                raise missing() from error
            pipe = self._process.stdin
            assert pipe is not None
            self._pipe = pipe.fileno()
            os.set_blocking(self._pipe, False)
            with contextlib.suppress(OSError):
                fcntl.fcntl(self._pipe, fcntl.F_SETPIPE_SZ, _PIPE)
            self._status, self._said = status, said
            self._opened = stack.pop_all()

    def update(self, buffer: octets.Buffer) -> None:
        """Give it the next bytes.

        :raises errors.Error: if it has ended already, as of ``finish``.
        """
        view = memoryview(buffer)
        while view:
            try:
                view = view[os.write(self._pipe, view) :]
            except BlockingIOError:
                self._wait()
            except BrokenPipeError:
                self.finish()
                raise self._failed('gpgv has not read all') from None

    def finish(self) -> Signer:
        """Return who signed all of it.

        :raises errors.SignatureError: as ``judge`` says it.
        :raises errors.DeadlineExceeded: at the deadline.
        :raises errors.Cancelled: after ``cancel``.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            code = self._process.wait(self._patience())
        except subprocess.TimeoutExpired:
            raise self._failed('gpgv does not come to an end') from None
        if self._is_cancelled:
            raise self._failed('')
        said = os.pread(self._said, _SAID_MAX, 0).decode(errors='replace')
        LOG.debug('gpgv: %s', errors.one_line(said))
        if code not in _VERDICTS:
            # Killed, or not begun: the signature may be good.
            raise self._failed('gpgv has failed (%d)' % code)
        status = os.pread(self._status, _SAID_MAX, 0).decode(errors='replace')
        signer = judge(status)
        if code:
            raise self._failed('gpgv has failed (%d)' % code)
        return signer

    def cancel(self) -> None:
        """End it, from any thread; the other one raises."""
        self._is_cancelled = True
        self._process.kill()

    def close(self) -> None:
        """Leave nothing of it; may be called again."""
        self._opened.close()

    def _wait(self) -> None:
        """Wait until it takes more."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLOUT)
        if not poll.poll(1000 * self._patience()):
            raise self._failed('gpgv does not take any more')

    def _patience(self) -> float:
        if self._deadline is None:
            return PATIENCE
        return max(0.0, min(PATIENCE, self._deadline - time.monotonic()))

    def _failed(self, message: str) -> errors.Error:
        if self._is_cancelled:
            return errors.Cancelled('checking the signature was cancelled')
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return errors.DeadlineExceeded(
                'the deadline has passed, and the signature is not checked yet'
            )
        return errors.SignatureError(message)


def _memory(content: bytes, stack: contextlib.ExitStack) -> int:
    """Return a descriptor of a file that is in memory alone."""
    fd = os.memfd_create('fuel-agent-curl')
    stack.callback(os.close, fd)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


@contextlib.contextmanager
def _running(
    command: Sequence[str], fds: Sequence[int], said: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``command``; kill it in the end.

    :param fds: what it inherits.
    :param said: where what it says goes to.
    """
    # No shell, and no word of the command is anybody else's.
    process = subprocess.Popen(  # noqa: S603
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=said,
        pass_fds=fds,
        cwd='/',
        env={'LC_ALL': 'C'},
        # Ctrl-C in a terminal is for us to deal with.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        with process:
            # This reaps it.
            pass
