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

"""An easy handle, set up to ask one address: every option of libcurl's.

What was given for an origin is set for that origin alone. The libcurl
documents named here are those of the option or function.
"""

from __future__ import annotations

from collections.abc import Sequence
import errno
import functools
import logging
import math
import os
import re
import select

import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address as addresses
from fuel_agent_curl.rules import codes
from fuel_agent_curl.rules import proxies
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments

LOG = logging.getLogger(__name__)

# Seconds over which libcurl averages a speed (CURL_SPEED_RECORDS).
_SPEED_AVERAGE = 6

_IP_VERSIONS = {
    'any': pycurl.IPRESOLVE_WHATEVER,
    '4': pycurl.IPRESOLVE_V4,
    '6': pycurl.IPRESOLVE_V6,
}
_TLS_VERSIONS = {
    '1.0': pycurl.SSLVERSION_TLSv1_0,
    '1.1': pycurl.SSLVERSION_TLSv1_1,
    '1.2': pycurl.SSLVERSION_TLSv1_2,
    '1.3': pycurl.SSLVERSION_TLSv1_3,
}
# Where the systems keep a file of their authorities: libcurl in a wheel may
# not know it.
_AUTHORITIES = (
    '/etc/ssl/certs/ca-certificates.crt',
    '/etc/pki/tls/certs/ca-bundle.crt',
    '/etc/ssl/cert.pem',
)
# A pass phrase of more bytes than this is no pass phrase (PEM_BUFSIZE).
_PHRASE_MAX = 1024
# Cookies that a server may set. Each is some KiB at the most, as libcurl
# sees to, and one that sets more has no use for all of them.
_COOKIES_MAX = 100
# Seconds until what comes by a pipe has to be there.
_PHRASE_WAIT = 5.0


def features() -> int:
    """Return what libcurl was built with, as bits (curl_version_info)."""
    return int(pycurl.version_info()[4])


class Memory:
    """What the attempts of one download know together, in memory alone.

    :ivar share: libcurl's, which holds the cookies.
    """

    def __init__(self) -> None:
        self.share = pycurl.CurlShare()
        self.share.setopt(pycurl.SH_SHARE, pycurl.LOCK_DATA_COOKIE)
        # How each origin wants name and password, as far as known.
        self._schemes: dict[redirects.Origin, int] = {}

    def scheme(self, origin: redirects.Origin) -> int:
        """Return how to send name and password (CURLOPT_HTTPAUTH).

        By TLS they go with the first request: some servers answer without
        them as to anybody. Elsewhere only when they are asked for, as the
        server may know a way that does not show the password.
        """
        default = pycurl.HTTPAUTH_ANY
        if origin.scheme == 'https':
            default = pycurl.HTTPAUTH_BASIC
        return self._schemes.get(origin, default)

    def refused(
        self, origin: redirects.Origin, challenges: Sequence[str]
    ) -> bool:
        """Note a 401; tell whether to ask again, in another way."""
        others = [
            challenge
            for challenge in challenges
            if re.match('(digest|negotiate|ntlm)', challenge, re.IGNORECASE)
        ]
        if self.scheme(origin) != pycurl.HTTPAUTH_BASIC or not others:
            return False
        self._schemes[origin] = pycurl.HTTPAUTH_ANY
        return True

    def asked(self, origin: redirects.Origin, schemes: int) -> None:
        """Note what an origin has asked for (CURLINFO_HTTPAUTH_AVAIL)."""
        if schemes == pycurl.HTTPAUTH_BASIC:
            # Every further request would have to be made twice.
            self._schemes[origin] = schemes

    def bound(self, handle: pycurl.Curl) -> None:
        """Forget the cookies where there are too many of them.

        :param handle: one that has set some, and that shares them.
        """
        if len(handle.getinfo(pycurl.INFO_COOKIELIST)) > _COOKIES_MAX:
            say(logging.WARNING, 'Too many cookies: all are forgotten')
            handle.setopt(pycurl.COOKIELIST, 'ALL')

    def close(self) -> None:
        """Forget all; no handle uses it any more."""
        self.share.close()


@functools.lru_cache(maxsize=64)
def say(level: int, text: str) -> None:
    """Log what holds for many attempts, once."""
    LOG.log(level, '%s', text)


def prepare(
    handle: pycurl.Curl,
    address: redirects.Address,
    request: segments.Request,
    settings: settings_module.Settings,
    memory: Memory,
    *,
    fresh: bool,
    patience: float,
) -> bool:
    """Set everything but the callbacks and the proxy; see ``set_proxy``.

    :param fresh: use no connection and no IP address of an earlier attempt.
    :param patience: times as long as usual may be waited for the first byte.
    :return: there is, or may be, a name and a password for the server.
    :raises errors.OptionError: if an option cannot be used.
    :raises pycurl.error: if libcurl refuses one.
    """
    handle.setopt(pycurl.URL, address.url)
    handle.setopt(pycurl.COOKIEFILE, '')
    _set_transfer(handle, settings, patience)
    _set_connection(handle, settings, fresh)
    _set_trust(handle, settings)
    _set_fields(handle, _range_fields(request), address, settings)
    if address.trusted:
        _set_client_key(handle, settings)
    return _set_login(handle, address, settings, memory)


def _set_transfer(
    handle: pycurl.Curl, settings: settings_module.Settings, patience: float
) -> None:
    set_option = handle.setopt
    set_option(pycurl.HTTPGET, 1)
    set_option(pycurl.NOSIGNAL, 1)
    set_option(pycurl.NOPROGRESS, 1)
    # With it a 4xx or 5xx ends at its head; the status is read all the same,
    # as this option is "not fail-safe" (CURLOPT_FAILONERROR).
    set_option(pycurl.FAILONERROR, 1)
    web = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
    set_option(pycurl.PROTOCOLS, web)
    set_option(pycurl.REDIR_PROTOCOLS, web)
    # libcurl would take most of what was given along: see ``Attempt.follow``.
    set_option(pycurl.FOLLOWLOCATION, 0)
    set_option(pycurl.LOW_SPEED_LIMIT, settings.stall_limit)
    # A backstop to the watchdog, which is exact. libcurl's average goes back
    # six seconds and counts those of a pause: as tight as the watchdog, it
    # would take a slow consumer for a slow server.
    set_option(
        pycurl.LOW_SPEED_TIME,
        math.ceil(
            max(settings.low_speed_time, settings.first_byte_timeout)
            * patience
        )
        + _SPEED_AVERAGE,
    )
    set_option(pycurl.BUFFERSIZE, settings.buffer_size)
    set_option(
        pycurl.HTTP_VERSION,
        codes.http_version(settings.http_version, features()),
    )
    set_option(pycurl.USERAGENT, settings.user_agent)


def _set_connection(
    handle: pycurl.Curl, settings: settings_module.Settings, fresh: bool
) -> None:
    set_option = handle.setopt
    set_option(pycurl.TCP_KEEPALIVE, 1)
    set_option(
        pycurl.CONNECTTIMEOUT_MS,
        max(1, round(settings.connect_timeout * 1000)),
    )
    if fresh:
        set_option(pycurl.FRESH_CONNECT, 1)
        # Nor one of its own, after a redirect: a server that closes without
        # saying so would have it tried in vain again and again.
        set_option(pycurl.FORBID_REUSE, 1)
        # With 0, libcurl has no use for RESOLVE either.
        set_option(pycurl.DNS_CACHE_TIMEOUT, 1 if settings.resolve else 0)
    set_option(pycurl.IPRESOLVE, _IP_VERSIONS[settings.ip_version])
    if settings.interface is not None:
        set_option(pycurl.INTERFACE, settings.interface)
    if settings.resolve:
        set_option(pycurl.RESOLVE, list(settings.resolve))


def set_proxy(
    handle: pycurl.Curl,
    origin: redirects.Origin,
    settings: settings_module.Settings,
) -> tuple[str | None, str | None]:
    """Have the proxy asked that is to be.

    :return: HOST:PORT of the proxy that is asked, and of one that is not, as
        no_proxy says so.
    """
    given = settings.proxy
    if origin.scheme == 'https' and settings.https_proxy is not None:
        given = settings.https_proxy
    url = proxies.chosen(origin.scheme, given, os.environ)
    asked = passed_by = None
    if url:
        excepted, unknown = proxies.excepted(
            settings.no_proxy, os.environ, origin
        )
        for entry in unknown:
            say(
                logging.WARNING,
                'no_proxy: %s is no host, domain or network'
                % errors.redact(entry),
            )
        if excepted:
            passed_by, url = addresses.proxy(url), ''
            say(
                logging.INFO,
                'asking %s without the proxy %s, as no_proxy says'
                % (origin.host, passed_by),
            )
        else:
            asked = addresses.proxy(url)
    # A password of the environment may hold anything.
    handle.setopt(pycurl.PROXY, os.fsencode(url))
    # Not what is in the environment still.
    handle.setopt(pycurl.NOPROXY, '')
    return asked, passed_by


def _set_trust(
    handle: pycurl.Curl, settings: settings_module.Settings
) -> None:
    file, directory = authorities(settings.cacert)
    if settings.cacert and file:
        _check_readable('cacert', file)
    if file or directory:
        # Each of them, or none: not what libcurl was built with. A proxy
        # that is itself asked by https is trusted by the same.
        for path, option, of_proxy in (
            (file, pycurl.CAINFO, pycurl.PROXY_CAINFO),
            (directory, pycurl.CAPATH, pycurl.PROXY_CAPATH),
        ):
            value = None if path is None else os.fsencode(path)
            handle.setopt(option, value)
            handle.setopt(of_proxy, value)
    if settings.insecure:
        handle.setopt(pycurl.SSL_VERIFYPEER, 0)
        handle.setopt(pycurl.SSL_VERIFYHOST, 0)
    handle.setopt(pycurl.SSLVERSION, _TLS_VERSIONS[settings.tls_min_version])
    # Those of TLS 1.3 have names of their own (ciphers(1)).
    names = (settings.tls_ciphers or '').split(':')
    for option, ciphers in (
        (pycurl.TLS13_CIPHERS, [n for n in names if n.startswith('TLS_')]),
        (pycurl.SSL_CIPHER_LIST, [n for n in names if n[:4] != 'TLS_']),
    ):
        if any(ciphers):
            handle.setopt(option, ':'.join(ciphers))


def authorities(given: str | None) -> tuple[str | None, str | None]:
    """Return the file and the directory of the authorities to trust.

    In the order of the curl tool: what was given; CURL_CA_BUNDLE;
    SSL_CERT_DIR and SSL_CERT_FILE, which hold together; the system's.

    :raises errors.OptionError: for a directory that OpenSSL cannot look a
        certificate up in.
    """
    file = given or os.environ.get('CURL_CA_BUNDLE') or None
    directory = None
    if file is None:
        file = os.environ.get('SSL_CERT_FILE') or None
        directory = os.environ.get('SSL_CERT_DIR') or None
    elif os.path.isdir(file):
        file, directory = None, file
        try:
            names = os.listdir(directory)
        except OSError as error:
            what = 'the directory %s of cacert' % directory
            raise _unreadable(what, error) from error
        if not any(map(_HASHED.fullmatch, names)):
            raise errors.OptionError(
                'the directory %s of cacert has no certificates by the hash '
                'of their names' % directory,
                hint="run 'openssl rehash' on it",
            )
    if file is None and directory is None:
        file = _system_authorities()
    return file, directory


_HASHED = re.compile(r'[0-9a-f]{8}\.[0-9]+')


@functools.cache
def _system_authorities() -> str | None:
    for path in _AUTHORITIES:
        if os.path.isfile(path):
            return path
    # Slow to import, and seldom of use.
    import ssl

    return ssl.get_default_verify_paths().cafile


def _set_client_key(
    handle: pycurl.Curl, settings: settings_module.Settings
) -> None:
    for name, path, option in (
        ('cert', settings.cert, pycurl.SSLCERT),
        ('key', settings.key, pycurl.SSLKEY),
    ):
        if path:
            _check_readable(name, path)
            handle.setopt(option, os.fsencode(path))
    if settings.cert or settings.key:
        # Without one, OpenSSL asks for it on the terminal.
        phrase = b''
        path = settings.key_password_file
        if path is not None:
            # A pipe can be read but once.
            read = _pass_phrase if os.path.isfile(path) else _piped_phrase
            phrase = read(path)
        handle.setopt(pycurl.KEYPASSWD, phrase)


def _check_readable(name: str, path: str) -> None:
    """Refuse a file before it is needed, which may be never.

    :raises errors.OptionError: if it cannot be read.
    """
    if path.startswith('pkcs11:'):
        return
    try:
        # A pipe is not waited for, and nothing is taken from it.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        raise _unreadable('the file %s of %s' % (path, name), error) from error


def _unreadable(what: str, error: OSError) -> errors.Error:
    """Return what it is that something given cannot be opened."""
    return errors.shortage(error) or errors.OptionError(
        '%s cannot be read: %s' % (what, error.strerror)
    )


def _pass_phrase(path: str) -> bytes:
    """Return the first line of a file.

    A pipe that nobody writes to is not waited for without an end: this is
    the network thread.
    """
    line = b''
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, 'rb', buffering=0):
            waiting = select.poll()
            waiting.register(fd, select.POLLIN)
            while b'\n' not in line and len(line) <= _PHRASE_MAX:
                if not waiting.poll(1000 * _PHRASE_WAIT):
                    raise TimeoutError(errno.ETIMEDOUT, 'nobody writes to it')
                piece = os.read(fd, _PHRASE_MAX)
                if not piece:
                    break
                line += piece
    except OSError as error:
        what = 'the file %s of key_password_file' % path
        raise _unreadable(what, error) from error
    line = line.partition(b'\n')[0].rstrip(b'\r')
    if len(line) > _PHRASE_MAX:
        raise errors.OptionError(
            'the first line of %s is too long for a pass phrase' % path
        )
    return line


def key_hint(settings: settings_module.Settings) -> str:
    """Return what may be wrong with a key that cannot be used."""
    path = settings.key or settings.cert or ''
    try:
        with open(path, 'rb') as file:
            protected = b'ENCRYPTED' in file.read(octets.MIB)
    except OSError as error:
        return '%s: %s' % (path, error.strerror)
    if not protected:
        return 'check cert and key'
    if settings.key_password_file is None:
        return 'the key has a pass phrase: give key_password_file'
    return 'the pass phrase in key_password_file is not that of the key'


_piped_phrase = functools.cache(_pass_phrase)


def has_authorization(
    address: redirects.Address, settings: settings_module.Settings
) -> bool:
    """Tell whether a field that was given has the credentials."""
    return address.trusted and any(
        field.lower().startswith('authorization:')
        for field in settings.headers
    )


def _set_login(
    handle: pycurl.Curl,
    address: redirects.Address,
    settings: settings_module.Settings,
    memory: Memory,
) -> bool:
    """Set name and password, those of the URL before the others."""
    if has_authorization(address, settings):
        return False
    login = address.credentials
    if login is None and address.trusted and settings.user is not None:
        name, _colon, password = settings.user.encode().partition(b':')
        login = name, password
    if login is not None:
        handle.setopt(pycurl.USERNAME, login[0])
        handle.setopt(pycurl.PASSWORD, login[1])
    elif address.trusted and settings.netrc_file is not None:
        if not os.access(settings.netrc_file, os.R_OK):
            # libcurl would do without it, and say nothing.
            raise errors.OptionError(
                'the file %s of netrc_file cannot be read'
                % settings.netrc_file
            )
        handle.setopt(pycurl.NETRC, pycurl.NETRC_OPTIONAL)
        handle.setopt(pycurl.NETRC_FILE, os.fsencode(settings.netrc_file))
    else:
        return False
    handle.setopt(pycurl.HTTPAUTH, memory.scheme(address.origin))
    return True


def _set_fields(
    handle: pycurl.Curl,
    fields: list[str | bytes],
    address: redirects.Address,
    settings: settings_module.Settings,
) -> None:
    """Set the fields of the request, those given where they belong."""
    cookies = []
    to_proxy = []
    for field in settings.headers:
        name, _colon, value = field.partition(':')
        if name.lower().startswith('proxy-'):
            to_proxy.append(field)
        elif not address.trusted:
            continue
        elif name.lower() == 'cookie':
            cookies.append(value.strip())
        else:
            fields.append(field)
    handle.setopt(pycurl.HTTPHEADER, fields)
    # These go with CONNECT, too, and to no server.
    handle.setopt(pycurl.HEADEROPT, pycurl.HEADER_SEPARATE)
    handle.setopt(pycurl.PROXYHEADER, to_proxy)
    if cookies:
        # Together with those that came on the way: there is but one field
        # of them (RFC 6265 section 5.4).
        handle.setopt(pycurl.COOKIE, '; '.join(cookies))


def _range_fields(request: segments.Request) -> list[str | bytes]:
    """Return the fields that ask for the range."""
    fields: list[str | bytes] = ['Accept-Encoding: identity']
    if not request.ranged:
        return fields
    # Not by RESUME_FROM_LARGE: with it, libcurl finds a 416 and a 200 of as
    # many bytes successful, and says little of what else it refuses.
    # ``answer`` judges every head before a byte of the body is used.
    fields.append('Range: ' + segments.range_text(request.start, request.stop))
    if request.if_range:
        # As it came: an entity tag may hold octets above 0x7f
        # (RFC 9110 section 8.8.3).
        fields.append(b'If-Range: ' + request.if_range.encode('latin-1'))
    return fields
