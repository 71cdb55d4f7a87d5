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

"""What libcurl's numbers mean: error codes (libcurl-errors), and versions.

Rules only. By number, as pycurl lacks some of the names, and more of them
where it was compiled with an older libcurl.
"""

from __future__ import annotations

import datetime
import re

from fuel_agent_curl import errors
from fuel_agent_curl.rules import head as http

OK = 0
FAILED_INIT = 2
_UNSUPPORTED_PROTOCOL = 1
_URL_MALFORMAT = 3
_WEIRD_SERVER_REPLY = 8
_HTTP_RETURNED_ERROR = 22
_OPERATION_TIMEDOUT = 28
_RANGE_ERROR = 33
_INTERFACE_FAILED = 45
_SEND_ERROR = 55
_PEER_FAILED_VERIFICATION = 60
_PROXY = 97

# A status: the proxy wants to know who asks.
_PROXY_LOGIN = 407

#: Codes that a client certificate or key that cannot be used may have.
CLIENT_KEY = (43, 58)
#: Codes that say less than the head of the answer does.
HEAD_DECIDES = (OK, _HTTP_RETURNED_ERROR, _RANGE_ERROR)

# CURL_HTTP_VERSION_... of each setting (CURLOPT_HTTP_VERSION), and the bit of
# what it needs (curl_version_info).
_HTTP_VERSIONS = {
    '1.0': (1, 0),
    '1.1': (2, 0),
    # Over TLS; an http:// URL is asked by HTTP/1.1.
    '2': (4, 1 << 16),
    # Or HTTP/2 or HTTP/1.1, where QUIC does not get through.
    '3': (30, 1 << 25),
}

_CODES: dict[int, type[errors.Error]] = {
    FAILED_INIT: errors.OptionError,
    3: errors.OptionError,  # URL_MALFORMAT
    4: errors.OptionError,  # NOT_BUILT_IN
    5: errors.ResolveError,
    6: errors.ResolveError,
    7: errors.ConnectError,
    8: errors.ProtocolError,  # WEIRD_SERVER_REPLY
    35: errors.TLSError,
    43: errors.OptionError,  # BAD_FUNCTION_ARGUMENT
    _INTERFACE_FAILED: errors.ConnectError,
    48: errors.OptionError,  # UNKNOWN_OPTION
    51: errors.CertificateError,
    53: errors.OptionError,  # SSL_ENGINE_NOTFOUND
    54: errors.OptionError,  # SSL_ENGINE_SETFAILED
    58: errors.CertificateError,  # SSL_CERTPROBLEM
    59: errors.OptionError,  # SSL_CIPHER
    60: errors.CertificateError,  # PEER_FAILED_VERIFICATION
    61: errors.ProtocolError,  # BAD_CONTENT_ENCODING
    66: errors.OptionError,  # SSL_ENGINE_INITFAILED
    77: errors.CertificateError,  # SSL_CACERT_BADFILE
    82: errors.CertificateError,  # SSL_CRL_BADFILE
    83: errors.CertificateError,  # SSL_ISSUER_ERROR
    90: errors.CertificateError,  # SSL_PINNEDPUBKEYNOTMATCH
    91: errors.CertificateError,  # SSL_INVALIDCERTSTATUS
    96: errors.ConnectError,  # QUIC_CONNECT_ERROR
    _PROXY: errors.ConnectError,  # what a SOCKS proxy failed with
    98: errors.CertificateError,  # SSL_CLIENTCERT
    100: errors.ProtocolError,  # TOO_LARGE
}

_URL = re.compile(r'[a-z][a-z0-9+.-]*://[^\s\'"]+', re.IGNORECASE)

# Of a proxy that was given, or that the environment names. libcurl's codes for
# these are those of a name that does not resolve or of no connection, which
# another attempt could mend.
_PROXY_DOWN = re.compile('^Could not resolve proxy| over proxy .* after ')
_PROXY_USELESS = ('Unsupported proxy',)
_PROXY_REFUSES = (
    'User was rejected by the SOCKS5 server',
    'No authentication method was acceptable',
)
# Of a server whose TCP was tried after its QUIC: the code is that of QUIC.
_NOT_TRUSTED = re.compile('(SSL|server)[ :].*certificate')
# What is quoted may hold a password, and quotes as well.
_QUOTED = re.compile("'.*'", re.DOTALL)

_HINTS: dict[type[errors.Error], str] = {
    errors.ResolveError: 'check the name and the name server',
    errors.ConnectError: 'check that the server is up and can be reached',
    errors.CertificateError: 'check cacert, and the clock of this machine',
}


def http_version(name: str, features: int) -> int:
    """Return what to ask libcurl for.

    :param name: ``Settings.http_version``.
    :param features: what libcurl was built with, as bits.
    :raises errors.OptionError: if it was built without that version.
    """
    number, needed = _HTTP_VERSIONS[name]
    if needed & ~features:
        raise errors.OptionError(
            'this libcurl was built without HTTP/%s' % name,
            hint='take another http_version',
        )
    return number


def tunnel_refused(head: http.Head, now: datetime.datetime) -> errors.Error:
    """Return the error for a proxy's answer to CONNECT that is no 2xx.

    :param now: wall-clock time, for a Retry-After that is a date.
    """
    text = 'the proxy refused the tunnel: %s' % head
    if head.status < 400:
        # Not followed: anybody before the tunnel may have sent it.
        return errors.RedirectError(text)
    error = errors.StatusError(text)
    if head.status != _PROXY_LOGIN:
        # What is to be done about the server's own 404 is another matter.
        error.hint = 'see what the proxy allows, or name the host in no_proxy'
    error.status = head.status
    error.retry_after = http.retry_after(head, now)
    return error


def error(
    code: int,
    message: str,
    *,
    resolving: bool,
    connecting: bool,
    redirected: bool,
) -> errors.Error:
    """Return the error for a code other than ``OK``.

    :param message: libcurl's text.
    :param resolving: no name lookup has ended yet.
    :param connecting: there is no connection yet, at first or after a
        redirect.
    :param redirected: a redirect was followed.
    """
    kind = _CODES.get(code, errors.ReceiveError)
    if code == _OPERATION_TIMEDOUT:
        kind = errors.Stalled
        if connecting:
            kind = errors.ResolveError if resolving else errors.ConnectError
    elif code == _UNSUPPORTED_PROTOCOL:
        # The schemes were checked; what is left is a status line that
        # libcurl takes for HTTP/0.9 (CURLOPT_HTTP09_ALLOWED).
        kind = errors.ProtocolError
    elif code == _RANGE_ERROR:
        kind = errors.ContentRangeError
    elif code == _SEND_ERROR and connecting:
        # Of QUIC, to a port where nobody is.
        kind = errors.ConnectError
    elif code == _URL_MALFORMAT and redirected:
        kind = errors.RedirectError
    elif code == _WEIRD_SERVER_REPLY and 'Content-Length' in message:
        # libcurl reads each field before it hands it over.
        kind = errors.ContentLengthError
    elif code == _WEIRD_SERVER_REPLY and 'Location' in message:
        kind = errors.RedirectError
    if kind is errors.ConnectError and _NOT_TRUSTED.match(message):
        kind = errors.CertificateError
    elif code == _PEER_FAILED_VERIFICATION and 'certificate' not in message:
        # Of QUIC, with the text of the TCP that was tried after it.
        message = "the server's certificate is not acceptable; " + message
    hint = _HINTS.get(kind)
    if _PROXY_DOWN.search(message):
        hint = 'check the address of the proxy, and that it runs'
    elif code == _PROXY:
        hint = 'see what the proxy says, and whether it reaches the server'
    if code == _INTERFACE_FAILED:
        hint = 'check that the interface is there, and has an address'
    if message.startswith(_PROXY_USELESS):
        kind = errors.OptionError
        message = _QUOTED.sub("'***'", message)
        hint = 'give the proxy as http://HOST:PORT'
    elif message.startswith(_PROXY_REFUSES):
        kind = errors.OptionError
        hint = 'check the user and the password in the URL of the proxy'
    # libcurl names a proxy as it was given.
    message = _URL.sub(lambda url: errors.redact(url[0]), message)
    made = kind(
        '%s (curl error %d)' % (message or 'failed', code),
        hint=hint,
    )
    if isinstance(made, errors.NetworkError):
        made.curl_code = code
    return made
