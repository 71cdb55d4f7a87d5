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

"""One attempt is one easy handle: every option set, every code mapped.

The libcurl documents named here are those of the option or function.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any
from typing import Protocol

import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import window
from fuel_agent_curl.rules import codes
from fuel_agent_curl.rules import head as http
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments

_MAX_REDIRECTS = 20
# Seconds over which libcurl averages a speed (CURL_SPEED_RECORDS).
_SPEED_AVERAGE = 6


def features() -> int:
    """Return what libcurl was built with, as bits (curl_version_info)."""
    return int(pycurl.version_info()[4])


@functools.cache
def _authorities() -> str | None:
    """Return the system's CA bundle; libcurl in a wheel may not know it."""
    for path in (
        # As OpenSSL does (SSL_CTX_set_default_verify_paths).
        os.environ.get('SSL_CERT_FILE'),
        '/etc/ssl/certs/ca-certificates.crt',
        '/etc/pki/tls/certs/ca-bundle.crt',
        '/etc/ssl/cert.pem',
    ):
        if path and os.path.isfile(path):
            return path
    # Slow to import, and seldom of use.
    import ssl

    return ssl.get_default_verify_paths().cafile


class Receiver(Protocol):
    """What an attempt needs of ``reception.Reception``."""

    cursor: window.Cursor

    @property
    def received(self) -> int:
        """Body bytes that have arrived."""

    def head(self, head: http.Head) -> None:
        """Judge the head."""

    def write(self, piece: memoryview) -> bool:
        """Take a piece of the body; False to be paused."""


class Attempt:
    """One HTTP request, redirects included, on one easy handle.

    :param reception: takes the answer. Its ``head`` is called once, before
        the first body byte, with the last head, and raises an
        ``errors.Error`` to refuse it; its ``write`` with pieces of the body.
    :param fresh: use no connection and no address of an earlier attempt
        (one that failed may have left both dead).
    :ivar connecting: no connection yet, at first or after a redirect.
    :ivar paused: the reception had no room, and ``unpause`` was not called
        since.
    :ivar peer: address of the server, None before it is connected.
    """

    def __init__(
        self,
        url: str,
        request: segments.Request,
        settings: settings_module.Settings,
        reception: Receiver,
        *,
        fresh: bool = False,
    ) -> None:
        self.connecting = True
        self.paused = False
        self.peer: str | None = None
        self._url = url
        self._reception = reception
        self._cursor = reception.cursor
        self._heads = redirects.Heads(url, settings.headers)
        self._multiplexed = settings.http_version in ('2', '3')
        self._error: BaseException | None = None
        self.handle = pycurl.Curl()
        try:
            self._set_options(request, settings, fresh)
        except pycurl.error as error:
            self.handle.close()
            raise errors.OptionError(
                'libcurl refuses an option: %s' % error.args[-1], url=url
            ) from error
        except UnicodeEncodeError as error:
            self.handle.close()
            raise errors.OptionError(
                'not ASCII: %r' % error.object, url=url
            ) from error
        except errors.OptionError as error:
            self.handle.close()
            error.url = errors.redact(url)
            raise

    def _set_options(
        self,
        request: segments.Request,
        settings: settings_module.Settings,
        fresh: bool,
    ) -> None:
        set_option = self.handle.setopt
        set_option(pycurl.URL, self._url)
        set_option(pycurl.HTTPGET, 1)
        set_option(pycurl.NOSIGNAL, 1)
        set_option(pycurl.NOPROGRESS, 1)
        set_option(pycurl.TCP_KEEPALIVE, 1)
        # With it a 4xx or 5xx ends at its head; on_head reads the status all
        # the same, as this option is "not fail-safe" (CURLOPT_FAILONERROR).
        set_option(pycurl.FAILONERROR, 1)
        web = pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS
        set_option(pycurl.PROTOCOLS, web)
        set_option(pycurl.REDIR_PROTOCOLS, web)
        set_option(pycurl.FOLLOWLOCATION, 1)
        set_option(pycurl.MAXREDIRS, _MAX_REDIRECTS)
        set_option(
            pycurl.CONNECTTIMEOUT_MS,
            max(1, round(settings.connect_timeout * 1000)),
        )
        set_option(pycurl.LOW_SPEED_LIMIT, settings.stall_limit)
        # A backstop to the watchdog, which is exact. libcurl's average goes
        # back six seconds and counts those of a pause: as tight as the
        # watchdog, it would take a slow consumer for a slow server.
        set_option(
            pycurl.LOW_SPEED_TIME,
            math.ceil(settings.low_speed_time) + _SPEED_AVERAGE,
        )
        set_option(pycurl.BUFFERSIZE, settings.buffer_size)
        set_option(
            pycurl.HTTP_VERSION,
            codes.http_version(settings.http_version, features()),
        )
        set_option(pycurl.USERAGENT, settings.user_agent)
        if fresh:
            set_option(pycurl.FRESH_CONNECT, 1)
            # Nor one of its own, after a redirect: a server that closes
            # without saying so would have it tried in vain again and again.
            set_option(pycurl.FORBID_REUSE, 1)
            set_option(pycurl.DNS_CACHE_TIMEOUT, 0)
        self._set_trust(settings)
        if settings.proxy is not None:
            set_option(pycurl.PROXY, settings.proxy)
        if settings.no_proxy is not None:
            set_option(pycurl.NOPROXY, settings.no_proxy)
        set_option(
            pycurl.HTTPHEADER, [*self._set_range(request), *settings.headers]
        )
        set_option(pycurl.HEADERFUNCTION, self._header)
        set_option(pycurl.WRITEFUNCTION, self._write, use_memoryview=True)
        set_option(pycurl.PREREQFUNCTION, self._connected)

    def _set_trust(self, settings: settings_module.Settings) -> None:
        authorities = settings.cacert or _authorities()
        if authorities:
            self.handle.setopt(pycurl.CAINFO, authorities)
            # For a proxy that is itself asked by https.
            self.handle.setopt(pycurl.PROXY_CAINFO, authorities)
        if settings.cert:
            self.handle.setopt(pycurl.SSLCERT, settings.cert)
        if settings.key:
            self.handle.setopt(pycurl.SSLKEY, settings.key)
        if settings.insecure:
            self.handle.setopt(pycurl.SSL_VERIFYPEER, 0)
            self.handle.setopt(pycurl.SSL_VERIFYHOST, 0)

    def _set_range(self, request: segments.Request) -> list[str | bytes]:
        """Ask for the range; return the fields that go with it."""
        fields: list[str | bytes] = ['Accept-Encoding: identity']
        if not request.ranged:
            return fields
        # Not by RESUME_FROM_LARGE: with it, libcurl finds a 416 and a 200 of
        # as many bytes successful, and says little of what else it refuses.
        # ``answer`` judges every head before a byte of the body is used.
        fields.append(
            'Range: ' + segments.range_text(request.start, request.stop)
        )
        if request.if_range:
            # As it came: an entity tag may hold octets above 0x7f
            # (RFC 9110 section 8.8.3).
            fields.append(b'If-Range: ' + request.if_range.encode('latin-1'))
        return fields

    # Callbacks: pycurl swallows an exception, so each is kept for ``result``.

    def _connected(self, *addresses: Any) -> int:
        self.connecting = False
        # A proxy's answer to CONNECT says nothing about the server.
        self._heads.head = None
        self.peer = str(addresses[0])
        return int(pycurl.PREREQFUNC_OK)

    def _header(self, line: bytes) -> int:
        try:
            if self._heads.take(line):
                self.connecting = True
        except BaseException as error:
            self._error = error
            return -1
        return len(line)

    def _write(self, piece: memoryview) -> int | None:
        cursor = self._cursor
        size = len(piece)
        if size < cursor.room:
            # The common case, without a call: this runs 65536 times a GiB.
            # The view dies with the callback, so its bytes are copied now.
            at = cursor.at
            end = at + size
            cursor.view[at:end] = piece
            cursor.at = end
            cursor.room -= size
            return None
        try:
            self._decide()
            if self._reception.write(piece):
                return None
            self.paused = True
            return int(pycurl.WRITEFUNC_PAUSE)
        except BaseException as error:
            self._error = error
            return -1

    def _decide(self) -> None:
        if not self._heads.used:
            self._reception.head(self._heads.use())

    def unpause(self) -> errors.Error | None:
        """Go on after a pause; the refused piece is offered again at once.

        :return: what that failed with; libcurl may not report it later.
        """
        self.paused = False
        try:
            self.handle.pause(pycurl.PAUSE_CONT)
        except pycurl.error as error:
            return self.result(*error.args)
        return None

    def result(self, code: int, message: str) -> errors.Error | None:
        """Return what the attempt failed with, None if it did not.

        :param code: CURLcode of the finished transfer.
        :raises BaseException: what a callback raised that is no ``Error``:
            a bug.
        """
        head = self._heads.head
        # A status that explains a failure counts more than the code.
        if code in codes.HEAD_DECIDES or (head and head.status >= 400):
            self.refusal()
        if isinstance(self._error, errors.Error):
            return self._error
        if self._error is not None:
            raise self._error
        if code == codes.OK:
            return None
        return self._map(code, message)

    def refusal(self) -> errors.Error | None:
        """Decide on the head before a body has come; return what it failed.

        None where there is no head, or nothing wrong with it.
        """
        if self._error is None and self._heads.head is not None:
            try:
                self._decide()
            except errors.Error as error:
                self._error = error
        return self._error if isinstance(self._error, errors.Error) else None

    def bad_status(self) -> errors.Error | None:
        """As ``refusal``, but for a status that may bring a body."""
        head = self._heads.head
        if head is None or head.status in (200, 206):
            return None
        return self.refusal()

    def _map(self, code: int, message: str) -> errors.Error:
        error = codes.error(
            code,
            message,
            resolving=self.resolving,
            connecting=self.connecting,
            redirected=self._heads.redirected,
        )
        if isinstance(error, errors.NetworkError):
            error.os_errno = self.handle.getinfo(pycurl.OS_ERRNO) or None
        return error

    @property
    def location(self) -> str:
        """The address asked, after the redirects so far."""
        return self._heads.location

    @property
    def elsewhere(self) -> str | None:
        """A redirect to another server that was not followed.

        ``settings.headers`` must not go there; ask it without them.
        """
        return self._heads.elsewhere

    @property
    def received(self) -> int:
        """Bytes that have arrived, those of heads included."""
        return self._heads.size + self._reception.received

    @property
    def resolving(self) -> bool:
        """No name lookup has ended yet, and none was saved."""
        return self.connecting and not self.handle.getinfo(
            pycurl.NAMELOOKUP_TIME
        )

    @property
    def shares(self) -> bool:
        """Other attempts may be streams of the same connection."""
        head = self._heads.head
        return self._multiplexed and (
            head is None or not head.version.startswith('1')
        )

    def timings(self) -> dict[str, float]:
        """Return seconds from the start to each phase's end (libcurl)."""
        return {
            'resolve': self.handle.getinfo(pycurl.NAMELOOKUP_TIME),
            'connect': self.handle.getinfo(pycurl.CONNECT_TIME),
            'tls': self.handle.getinfo(pycurl.APPCONNECT_TIME),
            'first_byte': self.handle.getinfo(pycurl.STARTTRANSFER_TIME),
            'total': self.handle.getinfo(pycurl.TOTAL_TIME),
        }

    @property
    def effective_url(self) -> str:
        """The address that answered, after redirects."""
        return str(self.handle.getinfo(pycurl.EFFECTIVE_URL))

    def close(self) -> None:
        """Close the easy handle; the multi handle has let go of it."""
        self.handle.close()
