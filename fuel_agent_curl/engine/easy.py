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

import datetime
import logging
import re
import time
from typing import Any
from typing import Protocol

import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address as addresses
from fuel_agent_curl.engine import handles
from fuel_agent_curl.engine import scarcity
from fuel_agent_curl.engine import window
from fuel_agent_curl.rules import codes
from fuel_agent_curl.rules import head as http
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments

LOG = logging.getLogger(__name__)

_MAX_REDIRECTS = 20
# The body of a redirect is read, so that its connection can be used again,
# but not more of it than this, and for no longer than this many seconds.
_REDIRECT_BODY = 64 * octets.KIB
_REDIRECT_PATIENCE = 1.0
# Of libcurl's own log, which is where it says that; last the server's.
_TLS = re.compile(rb'(?:SSL|QUIC) connection.* using (TLSv[0-9.]+)')


@values.dataclass(frozen=True)
class Way:
    """How an attempt got to the server.

    :ivar proxy: HOST:PORT of the proxy asked, None for none.
    :ivar passed_by: of one that was not asked, as no_proxy says so.
    :ivar ip: the address connected to, a proxy's where one was asked; None
        before.
    :ivar port: the port of that.
    :ivar http_version: None before an answer.
    :ivar tls: 'TLSv1.3', for one; None without TLS, and where it is not known
        (a connection that was used again).
    :ivar issuer: who signed the server's certificate, ...
    :ivar expires: ... and when that ends; None as ``tls``.
    :ivar first_byte: seconds until it came, 0 before.
    """

    proxy: str | None = None
    passed_by: str | None = None
    ip: str | None = None
    port: int | None = None
    http_version: str | None = None
    tls: str | None = None
    issuer: str | None = None
    expires: str | None = None
    first_byte: float = 0.0

    def __str__(self) -> str:
        words = ['to %s port %s' % (self.ip, self.port)]
        if self.proxy is not None:
            words.append('by the proxy ' + self.proxy)
        if self.http_version is not None:
            words.append('HTTP/' + self.http_version)
        if self.tls is not None:
            words.append(self.tls)
        if self.issuer is not None:
            words.append(
                'certificate by %s, until %s' % (self.issuer, self.expires)
            )
        words.append('first byte after %.3f s' % self.first_byte)
        return ', '.join(words)


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
        Of redirects it knows nothing.
    :param memory: what it shares with others.
    :param fresh: use no connection and no IP address of an earlier attempt
        (one that failed may have left both dead).
    :param detailed: find all of the ``way`` out; so does a log of debugging.
    :param patience: times as long as usual may be waited for the first byte.
    :ivar address: the one asked, after the redirects so far.
    :ivar connecting: no connection yet: at first, after a redirect, or where
        libcurl makes another one by itself.
    :ivar paused: the reception had no room, and ``unpause`` was not called
        since.
    :ivar peer: IP address of the server, None before it is connected.
    :ivar proxy: HOST:PORT of the proxy that is asked, None for none.
    :ivar passed_by: of one that is not, as no_proxy says so.
    """

    def __init__(
        self,
        address: redirects.Address,
        request: segments.Request,
        settings: settings_module.Settings,
        reception: Receiver,
        memory: handles.Memory,
        *,
        fresh: bool = False,
        patience: float = 1.0,
        detailed: bool = False,
    ) -> None:
        self.address = address
        self.connecting = True
        self.paused = False
        self.peer: str | None = None
        self.proxy: str | None = None
        self.passed_by: str | None = None
        self._request = request
        self._settings = settings
        self._memory = memory
        self._fresh = fresh
        self._patience = patience
        self._detailed = detailed or LOG.isEnabledFor(logging.DEBUG)
        self._port: int | None = None
        self._tls: str | None = None
        self._reception = reception
        self._cursor = reception.cursor
        self._heads = redirects.Heads()
        # Of a proxy, before there is a connection to the server itself.
        self._proxy_heads = redirects.Heads()
        # Where a redirect leads, as soon as its head has come, and when; the
        # addresses asked before it; the seconds that those took.
        self._next: redirects.Address | None = None
        self._next_since = 0.0
        self._visited: list[str] = []
        self._logs_in = False
        self._before = 0.0
        self._redirect_body = 0
        self._multiplexed = settings.http_version in ('2', '3')
        self._error: BaseException | None = None
        self.handle = pycurl.Curl()
        # The one option that ``reset`` keeps.
        self.handle.setopt(pycurl.SHARE, memory.share)
        try:
            self._prepare()
        except errors.OptionError:
            self.handle.close()
            raise

    def _prepare(self) -> None:
        """Set the handle up for the address to be asked.

        :raises errors.OptionError: if an option cannot be used.
        """
        handle, settings = self.handle, self._settings
        try:
            self._logs_in = handles.prepare(
                handle,
                self.address,
                self._request,
                settings,
                self._memory,
                fresh=self._fresh,
                patience=self._patience,
            )
            self.proxy, self.passed_by = handles.set_proxy(
                handle, self.address.origin, settings
            )
        except pycurl.error as error:
            text = 'libcurl refuses an option: %s' % error.args[-1]
        except UnicodeEncodeError:
            # The value is in that, and may be a secret.
            text = 'an option holds something other than ASCII'
        except errors.OptionError as error:
            error.url = errors.redact(self.address.url)
            raise
        else:
            self._set_callbacks()
            return
        raise errors.OptionError(text, url=self.address.url)

    def _set_callbacks(self) -> None:
        handle = self.handle
        if self._detailed:
            handle.setopt(pycurl.OPT_CERTINFO, 1)
            handle.setopt(pycurl.VERBOSE, 1)
            handle.setopt(pycurl.DEBUGFUNCTION, self._told)
        handle.setopt(pycurl.HEADERFUNCTION, self._header)
        handle.setopt(pycurl.WRITEFUNCTION, self._write, use_memoryview=True)
        handle.setopt(pycurl.SOCKOPTFUNCTION, self._connects)
        handle.setopt(pycurl.PREREQFUNCTION, self._connected)

    # Callbacks: pycurl swallows an exception, so each is kept for ``result``.

    def _connects(self, *_socket: Any) -> int:
        # Also once more, where the connection was found dead, or the server
        # closed it after a 401: what is next may be of a proxy again.
        self.connecting = True
        self._forget_heads()
        return int(pycurl.SOCKOPT_OK)

    def _connected(self, *ends: Any) -> int:
        self.connecting = False
        self.peer, self._port = str(ends[0]), int(ends[2])
        return int(pycurl.PREREQFUNC_OK)

    def _told(self, kind: int, octets: bytes) -> None:
        # The fields of a request, secrets among them, are of other kinds.
        if kind == pycurl.INFOTYPE_TEXT:
            found = _TLS.match(octets)
            if found:
                self._tls = found[1].decode()

    def _header(self, line: bytes) -> int:
        try:
            if self.connecting:
                # A proxy's answer to CONNECT is never the server's.
                self._proxy_heads.take(line)
            elif head := self._heads.take(line):
                self._look_for_redirect(head)
        except BaseException as error:
            self._error = error
            return -1
        return len(line)

    def _look_for_redirect(self, head: http.Head) -> None:
        if (
            head.status == 401
            and self._logs_in
            and self._memory.refused(
                self.address.origin, head.values('www-authenticate')
            )
        ):
            self._lead(self.address)
            return
        location = redirects.location(head)
        if location is None:
            return
        led_to = addresses.follow(self.address, location)
        self._visited.append(self.address.url)
        if len(self._visited) > _MAX_REDIRECTS:
            raise errors.RedirectError(
                'more than %d redirects%s, the last one to %s'
                % (
                    _MAX_REDIRECTS,
                    ' in a circle' if led_to.url in self._visited else '',
                    errors.redact(led_to.url),
                )
            )
        self._lead(led_to)

    def _lead(self, address: redirects.Address) -> None:
        self._next = address
        self._next_since = time.monotonic()
        self._redirect_body = 0

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
            if self._next is not None:
                self._redirect_body += size
                return None if self._redirect_body <= _REDIRECT_BODY else -1
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

    @property
    def redirected(self) -> bool:
        """Whether the answer leads on; ``follow`` is next, once it ended."""
        return self._next is not None and self._error is None

    def overdue(self, now: float) -> bool:
        """Tell whether the end of a redirect is not worth waiting for."""
        return self.redirected and now > self._next_since + _REDIRECT_PATIENCE

    def follow(self) -> bool:
        """Get ready to ask where the answer led; not while in a multi handle.

        Nothing stays in the handle of what was for the address before.

        :return: False if that cannot be; ``result`` says why.
        """
        assert self._next is not None
        LOG.debug(
            '%s led to %s',
            errors.redact(self.address.url),
            errors.redact(self._next.url),
        )
        self._part()
        self._before += self.handle.getinfo(pycurl.TOTAL_TIME)
        self.address, self._next = self._next, None
        self.connecting = True
        self.peer = self._port = self._tls = None
        self._forget_heads()
        self.handle.reset()
        try:
            self._prepare()
        except errors.OptionError as error:
            self._error = error
        return self._error is None

    def _forget_heads(self) -> None:
        self._heads.head = self._proxy_heads.head = None
        self._heads.silent = True

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
        error = self._error
        if error is None and code != codes.OK:
            error = self._tunnel_refused() or self._map(code, message)
        if error is not None and not isinstance(error, errors.Error):
            raise error
        if isinstance(error, errors.StatusError) and error.status in (
            401,
            403,
            404,
        ):
            self._explain_denial(error)
        return error and self.explained(error)

    def _explain_denial(self, error: errors.StatusError) -> None:
        if error.status == 401:
            if self._logs_in or handles.has_authorization(
                self.address, self._settings
            ):
                error.hint = (
                    'the server does not take the credentials that were given'
                )
            return
        # To send them unasked would show the password to a server that knows
        # a way without.
        if (
            self._logs_in
            and self._memory.scheme(self.address.origin)
            != pycurl.HTTPAUTH_BASIC
            and not self.handle.getinfo(pycurl.HTTPAUTH_AVAIL)
        ):
            error.hint = (
                'the server has not asked for a name and a password; if it '
                "wants them unasked, give them by 'Authorization: Basic ...' "
                'among the headers'
            )

    def explained(self, error: errors.Error) -> errors.Error:
        """Return the error, which says so where a proxy was asked."""
        if self.proxy is not None:
            words = 'by the proxy ' + self.proxy
            if words not in error.message:
                error.message += ', ' + words
        return error

    def _tunnel_refused(self) -> errors.Error | None:
        """Return the error that a proxy's answer to CONNECT is."""
        head = self._proxy_heads.head
        if not self.connecting or head is None or head.status < 300:
            return None
        return codes.tunnel_refused(head, datetime.datetime.now(datetime.UTC))

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
        """As ``refusal``, but not for a status that leads to a body."""
        head = self._heads.head
        if head is None or self.redirected or head.status in (200, 206):
            return None
        return self.refusal()

    def _map(self, code: int, message: str) -> errors.Error:
        scarce = scarcity.missing(code, message)
        if scarce is not None:
            return scarce
        error = codes.error(
            code,
            message,
            resolving=self.resolving,
            connecting=self.connecting,
            redirected=bool(self._visited),
        )
        if code in codes.CLIENT_KEY and self._settings.cert:
            error.hint = handles.key_hint(self._settings)
        if isinstance(error, errors.NetworkError):
            error.os_errno = self.handle.getinfo(pycurl.OS_ERRNO) or None
        return error

    @property
    def received(self) -> int:
        """Bytes that have arrived, those of heads included."""
        return (
            self._heads.size
            + self._proxy_heads.size
            + self._reception.received
        )

    @property
    def silent(self) -> bool:
        """No byte of an answer has come, since the last redirect."""
        return self._heads.silent

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
        """Return seconds from the start to each phase's end (libcurl).

        Of the last address, where redirects led from one to another.
        """
        phases = {
            'resolve': self.handle.getinfo(pycurl.NAMELOOKUP_TIME),
            'connect': self.handle.getinfo(pycurl.CONNECT_TIME),
            'tls': self.handle.getinfo(pycurl.APPCONNECT_TIME),
            'first_byte': self.handle.getinfo(pycurl.STARTTRANSFER_TIME),
            'total': self.handle.getinfo(pycurl.TOTAL_TIME),
        }
        return {
            phase: at and at + self._before for phase, at in phases.items()
        }

    def way(self) -> Way:
        """Return how it got to the last address asked."""
        head = self._heads.head
        issuer = expires = None
        if self._detailed:
            chain = self.handle.getinfo_raw(pycurl.INFO_CERTINFO)
            server = dict(chain[0]) if chain else {}
            issuer = _text(server.get(b'Issuer'))
            expires = _text(server.get(b'Expire date'))
        return Way(
            proxy=self.proxy,
            passed_by=self.passed_by,
            ip=self.peer,
            port=self._port,
            http_version=head.version if head else None,
            tls=self._tls,
            issuer=issuer,
            expires=expires,
            first_byte=self.handle.getinfo(pycurl.STARTTRANSFER_TIME),
        )

    def close(self) -> None:
        """Close the easy handle; the multi handle has let go of it."""
        self._part()
        self.handle.close()

    def _part(self) -> None:
        """Keep, and log, what is known of the address that was asked."""
        if self._detailed and self.peer is not None:
            LOG.debug('%s: %s', errors.redact(self.address.url), self.way())
        head = self._heads.head
        if head is not None and head.get('set-cookie') is not None:
            self._memory.bound(self.handle)
        self._memory.asked(
            self.address.origin, self.handle.getinfo(pycurl.HTTPAUTH_AVAIL)
        )


def _text(octets: bytes | None) -> str | None:
    if octets is None:
        return None
    return errors.one_line(octets.decode('utf-8', 'replace'))
