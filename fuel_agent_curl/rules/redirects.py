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

"""The heads that one request brings: which one counts, and where it led.

Rules only: lines come in, a head or an error goes out. There may be several
heads before the one that counts: interim ones, a proxy's answer to CONNECT,
and those of redirects, which libcurl follows by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
import re
import urllib.parse

from fuel_agent_curl import errors
from fuel_agent_curl.rules import head as http

# libcurl ends a head of more than 300 KiB by itself; older releases have no
# limit.
_HEAD_MAX = 300 * 1024
# A field may have a name that begins so, too.
_STATUS_LINE = re.compile(rb'HTTP/[0-9]')
# What a URL may hold as it is (RFC 3986 section 2).
_URL_CHARACTERS = "%/:=&?~#+!$,;'@()*[]"


def same_origin(url: str, other: str) -> bool:
    """Tell whether both have the same scheme, host and port (RFC 6454)."""
    first, second = urllib.parse.urlsplit(url), urllib.parse.urlsplit(other)
    ports = {'http': 80, 'https': 443}
    return (
        first.scheme,
        first.hostname,
        first.port or ports.get(first.scheme),
    ) == (
        second.scheme,
        second.hostname,
        second.port or ports.get(second.scheme),
    )


class Heads:
    """Takes the header lines of one attempt.

    :param url: the address asked first.
    :param headers: the fields given, which go to no other server.
    :ivar head: the one that counts, None before.
    :ivar used: it has been asked for; what follows are trailers.
    :ivar size: bytes of all lines, those of trailers included.
    :ivar location: the address asked, after the redirects so far.
    :ivar redirected: there was a redirect.
    :ivar elsewhere: a redirect to another server that was not followed, as
        the headers must not go there; ask it without them.
    """

    def __init__(self, url: str, headers: Sequence[str]) -> None:
        self.head: http.Head | None = None
        self.used = False
        self.size = 0
        self.location = url
        self.redirected = False
        self.elsewhere: str | None = None
        self._headers = headers
        self._lines: list[bytes] = []
        self._head_size = 0

    def take(self, line: bytes) -> bool:
        """Take a line; tell whether libcurl goes on to another address.

        :raises errors.RedirectError: if it must not go there.
        :raises errors.ProtocolError: if the head makes no sense.
        """
        self.size += len(line)
        if self.used:
            return False  # a trailer
        if _STATUS_LINE.match(line):
            # A new block: of a redirect's target, after a 1xx, or after a
            # proxy's answer to CONNECT (CURLOPT_HEADERFUNCTION).
            self._lines = []
            self._head_size = 0
        self._head_size += len(line)
        if self._head_size > _HEAD_MAX:
            raise errors.ProtocolError('the head of the answer has no end')
        if line.rstrip(b'\r\n'):
            self._lines.append(line)
            return False
        head = http.parse(self._lines)
        self._lines = []
        # An interim response (RFC 9110 section 15.2) is followed by another.
        self.head = None if head.status < 200 else head
        return 300 <= head.status < 400 and self._follow(head)

    def use(self) -> http.Head:
        """Return the head that counts, for its body has begun.

        :raises errors.ProtocolError: if there is none.
        """
        if self.head is None:
            raise errors.ProtocolError('a body without a head')
        self.used = True
        return self.head

    def _follow(self, head: http.Head) -> bool:
        """Look at a redirect that libcurl is about to follow."""
        location = (head.values('location') or [''])[0]
        if not location:
            return False
        try:
            target = urllib.parse.urljoin(self.location, location)
            parts = urllib.parse.urlsplit(target)
            scheme, _port = parts.scheme.lower(), parts.port
        except ValueError as error:
            raise errors.RedirectError(
                'redirected to something that is no URL'
            ) from error
        before = urllib.parse.urlsplit(self.location).scheme.lower()
        if scheme not in ('http', 'https') or (
            before == 'https' and scheme != 'https'
        ):
            raise errors.RedirectError(
                'redirected from %s to %s, which is refused'
                % (before, scheme),
                hint='give the final URL',
            )
        # As libcurl does: some servers send it unencoded.
        target = urllib.parse.quote(
            target, safe=_URL_CHARACTERS, encoding='latin-1'
        )
        if self._headers and not same_origin(self.location, target):
            # libcurl would take all but Authorization and Cookie along.
            self.elsewhere = target
            raise errors.RedirectError(
                'redirected to another server, where the headers given do '
                'not go'
            )
        self.location = target
        self.redirected = True
        self.head = None
        return True
