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

"""The heads that one request brings, and where a redirect may take it.

Rules only: lines come in, a head or an error goes out. There may be several
heads before the one that counts: interim ones (RFC 9110 section 15.2), and
those that libcurl answers by itself (a 401 that asks for credentials).
"""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.rules import head as http

# libcurl ends a head of more than 300 KiB by itself; older releases have no
# limit.
_HEAD_MAX = 300 * octets.KIB
# A field may have a name that begins so, too.
_STATUS_LINE = re.compile(rb'HTTP/[0-9]')
# Those that name another address of the same thing. A 304 answers a question
# that nobody asked, a 305 names a proxy (RFC 9110 section 15.4.6).
_FOLLOWED = frozenset((300, 301, 302, 303, 307, 308))


class Origin(NamedTuple):
    """Whom credentials belong to (RFC 6454), as libcurl reads the URL."""

    scheme: str
    host: str
    port: int


@values.dataclass(frozen=True)
class Address:
    """Where a request goes, and whether what was given goes with it.

    :ivar url: as libcurl writes it, without user information or fragment.
    :ivar login: name and password of the URL itself, None without.
    :ivar named: the user named this origin; what was given belongs to it.
    :ivar home: the address whose redirects led here; None: none did.
    """

    url: str
    origin: Origin
    login: tuple[bytes, bytes] | None = dataclasses.field(
        default=None, repr=False
    )
    named: bool = True
    home: Address | None = dataclasses.field(default=None, repr=False)

    @property
    def trusted(self) -> bool:
        """Whether the fields, credentials and keys given go there."""
        home = self.home or self
        return home.named and self.origin == home.origin

    @property
    def credentials(self) -> tuple[bytes, bytes] | None:
        """Name and password that a URL gave for this origin."""
        if self.login is None and self.home is not None:
            return self.home.login if self.origin == self.home.origin else None
        return self.login


def location(head: http.Head) -> str | None:
    """Return where a redirect says to go, as it came; None: nowhere.

    :raises errors.RedirectError: if it says more than one thing.
    """
    if head.status not in _FOLLOWED:
        return None
    # libcurl takes no notice of empty ones, and refuses different ones.
    given = {value for value in head.values('location') if value}
    if len(given) > 1:
        raise errors.RedirectError('redirected to several places at once')
    return given.pop() if given else None


def step(before: Address, after: Address) -> Address:
    """Return the address that a redirect from ``before`` led to.

    :raises errors.RedirectError: if it must not go there.
    """
    schemes = before.origin.scheme, after.origin.scheme
    if schemes[1] not in ('http', 'https') or schemes == ('https', 'http'):
        raise errors.RedirectError(
            'redirected from %s to %s, which is refused' % schemes,
            hint='give the final URL',
        )
    return dataclasses.replace(after, home=before.home or before)


class Heads:
    """Takes the header lines of one attempt.

    :ivar head: the one that counts, None before.
    :ivar silent: no line of any has come, since the last redirect.
    :ivar used: it has been asked for; what follows are trailers.
    :ivar size: bytes of all lines, those of trailers included.
    """

    def __init__(self) -> None:
        self.head: http.Head | None = None
        self.silent = True
        self.used = False
        self.size = 0
        self._lines: list[bytes] = []
        self._head_size = 0

    def take(self, line: bytes) -> http.Head | None:
        """Take a line; return the head that it ends, unless interim.

        :raises errors.ProtocolError: if the head makes no sense.
        """
        self.size += len(line)
        self.silent = False
        if self.used:
            return None  # a trailer
        if _STATUS_LINE.match(line):
            # A new block (CURLOPT_HEADERFUNCTION).
            self._lines = []
            self._head_size = 0
        self._head_size += len(line)
        if self._head_size > _HEAD_MAX:
            raise errors.ProtocolError('the head of the answer has no end')
        if line.rstrip(b'\r\n'):
            self._lines.append(line)
            return None
        head = http.parse(self._lines)
        self._lines = []
        # An interim response is followed by another.
        self.head = None if head.status < 200 else head
        return self.head

    def use(self) -> http.Head:
        """Return the head that counts, for its body has begun.

        :raises errors.ProtocolError: if there is none.
        """
        if self.head is None:
            raise errors.ProtocolError('a body without a head')
        self.used = True
        return self.head
