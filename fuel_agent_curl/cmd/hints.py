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

"""The one line of an error: what happened, where, and what to do about it."""

from __future__ import annotations

import errno

from fuel_agent_curl import errors
from fuel_agent_curl.cmd import arguments

# What to do, by class of error, where the error itself does not say. The
# nearest class of an error's ancestry counts.
_HINTS: dict[type[errors.Error], str] = {
    errors.ResourceError: 'see ulimit -a and free memory, then run it again',
    errors.NetworkError: 'check the network and the server, then run it again',
    errors.ResolveError: 'check the host name, the name server'
    ' (/etc/resolv.conf) and the proxy settings',
    errors.ConnectError: 'check the address and the port, that the server'
    ' runs, and what lies between',
    errors.TLSError: 'check that this port speaks TLS, and the clock',
    errors.CertificateError: 'check the name in the URL and the clock, or'
    ' name the authority with --cacert FILE',
    errors.ReceiveError: 'check the network and the log of the server; more'
    ' --attempts try for longer',
    errors.Stalled: 'check the network; for a line this slow lower'
    ' --low-speed-limit or raise --low-speed-time',
    errors.StatusError: 'check the URL and the log of the server',
    errors.RetryAfterTooLong: 'run it again by then, or raise --deadline or'
    ' --attempts',
    errors.RedirectError: 'use the URL that the server means to lead to',
    errors.ProtocolError: 'look at what the server, or a proxy before it,'
    ' sends: %s probe URL' % arguments.PROG,
    errors.RepresentationChanged: 'run it again, when whoever replaces the'
    ' image on the server has finished',
    errors.DeadlineExceeded: 'raise --deadline, or find out why it is slow',
    errors.Cancelled: 'run it again when that is wanted',
    errors.AttemptsExhausted: 'check the network and the server; more'
    ' --attempts try for longer',
    errors.CannotContinue: 'run it again: it begins at the first byte',
    errors.SpoolError: 'name another file, or copy without a spool',
    errors.ContentError: 'check the image on the server',
    errors.TruncatedError: 'the image is cut short on the server itself, so'
    ' put it there again',
    errors.TrailingGarbageError: 'check the image on the server: something'
    ' was appended to it',
    errors.DigestMismatch: 'compare the checksum with its source: this image'
    ' is another one, or was damaged before it was served',
    errors.ImageTooLong: 'check that this is the right image for the target',
    errors.NoRanges: 'name a file that all of it can be kept in first'
    ' (--spool FILE), or take a server that serves ranges, or convert the'
    ' image: qemu-img convert -O raw FILE IMAGE',
    errors.SignatureError: 'check the keyring, and that gpgv runs',
    errors.BadSignature: 'get the signature, and what it is of, anew from whom'
    ' you trust',
    errors.UntrustedSignature: 'ask whoever signs for a newer one',
    errors.NeedsOtherFile: 'join the two first: qemu-img convert',
    errors.UnusableImage: 'convert it first: qemu-img convert',
    errors.UnprovenEnd: 'give --checksum, or --allow-unproven-end',
    errors.WindowTooLarge: 'allow more by --decoder-memory, or compress the'
    ' image with a smaller window',
    errors.DeviceError: 'check the target, and the kernel log (dmesg)',
    errors.TargetMissing: 'check the path: the directory, or the device, has'
    ' to be there',
    errors.TargetIsDirectory: 'name a file in it, or a device',
    errors.TargetPermission: 'run it as a user who may write there',
    errors.TargetReadOnly: 'make it writable (mount -o remount,rw, or'
    ' blockdev --setrw), or take another target',
    errors.TargetBusy: 'unmount it, or end what holds it (see lsblk, fuser)',
    errors.TargetUnsuitable: 'name a block device, a file, a pipe, or - for'
    ' standard output',
    errors.TargetTooSmall: 'take a larger target, or a smaller image',
    errors.TargetFull: 'make room, or take another target',
    errors.WriteError: 'do not use the target; see the kernel log (dmesg)',
    errors.TargetVanished: 'check cable and power; see the kernel log (dmesg)',
}

_STATUS_HINTS = {
    401: 'give it the name and password that it knows, in --netrc-file or'
    " --user, or a token in --header 'Authorization: ...'",
    403: 'this server does not let you have it: check URL and credentials',
    404: 'check the URL: the server has no such thing',
    407: 'give the proxy its credentials: --proxy http://USER:PASSWORD@HOST',
    410: 'the server had it once: ask for its new URL',
}


def hint(error: errors.Error) -> str | None:
    """Return what to do about ``error``; None where nobody knows."""
    cause = error.__cause__
    if isinstance(error, errors.AttemptsExhausted) and isinstance(
        cause, errors.NetworkError
    ):
        error = cause
    if isinstance(error, errors.StatusError) and (
        error.status in _STATUS_HINTS
    ):
        return _STATUS_HINTS[error.status]
    if isinstance(error, errors.WriteError) and error.os_errno == errno.EPIPE:
        return 'whoever read from it has gone: see why'
    for ancestor in type(error).__mro__:
        if ancestor in _HINTS:
            return _HINTS[ancestor]
    return None


def line(error: errors.Error) -> str:
    """Return what, where, which attempt and what to do, in one line."""
    text = str(error)
    advice = None if error.hint else hint(error)
    return errors.one_line('%s; %s' % (text, advice) if advice else text)
