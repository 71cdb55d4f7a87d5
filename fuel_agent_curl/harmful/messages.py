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

"""A request, and the honest reply to it, as the exact steps of the wire.

Nothing here touches a socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import email.utils
import enum
import http
import random
import re
import time
from typing import Protocol
import urllib.parse

LAST_MODIFIED = 'Wed, 01 Jan 2020 00:00:00 GMT'

_PIECE = 256 * 1024


class Ending(enum.Enum):
    """How the server ends a connection."""

    #: close_notify where there is TLS, then FIN.
    CLOSE = enum.auto()
    #: FIN without close_notify.
    CUT = enum.auto()
    #: RST, once all that was sent has been acknowledged.
    RESET = enum.auto()


@dataclasses.dataclass(frozen=True)
class Pause:
    """Send nothing for ``seconds``; None: until the client hangs up."""

    seconds: float | None = None


Step = bytes | Pause | Ending


class Content(Protocol):
    """What a representation holds: ``bytes``, or what looks like them."""

    def __len__(self) -> int: ...

    def __getitem__(self, positions: slice, /) -> bytes: ...


class Pattern:
    """Bytes told by their offset alone: an image of any length, unstored.

    The period is a prime, so that a shift by a power of two shows.

    :param seed: another seed makes other bytes.
    """

    PERIOD = 1048573

    def __init__(self, length: int, seed: int = 0) -> None:
        self._length = length
        period = random.Random(seed).randbytes(self.PERIOD)  # noqa: S311
        # Twice, so that a slice not longer than a period is one.
        self._periods = period * 2

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, positions: slice, /) -> bytes:
        start, stop, _step = positions.indices(self._length)
        length = max(0, stop - start)
        skip = start % self.PERIOD
        periods = self._periods
        if skip + length > len(periods):
            periods *= (skip + length) // len(periods) + 1
        return periods[skip : skip + length]


@dataclasses.dataclass(frozen=True)
class Representation:
    """What a path names; a validator that is None is not sent."""

    content: Content
    etag: str | None = '"1"'
    last_modified: str | None = LAST_MODIFIED
    #: Whether the server knows Range at all.
    ranges: bool = True


@dataclasses.dataclass(frozen=True)
class Request:
    """A request as it came, with the connection and the time it came in.

    :ivar connection: index of the connection, in the order accepted.
    :ivar moment: monotonic time at which the head was complete.
    """

    method: str = 'GET'
    target: str = '/'
    fields: tuple[tuple[str, str], ...] = ()
    connection: int = 0
    moment: float = 0.0

    @property
    def path(self) -> str:
        # A proxy is asked for the whole URL (RFC 9112 section 3.2.2).
        return urllib.parse.urlsplit(self.target).path

    @property
    def range(self) -> str | None:
        return self.field('Range')

    @property
    def if_range(self) -> str | None:
        return self.field('If-Range')

    def field(self, name: str) -> str | None:
        """Return the first value of the field, None without one."""
        return _field(self.fields, name)

    def having(self, name: str, value: str | None) -> Request:
        """Return the request with another value of a field; None: none."""
        fields = _having(self.fields, name, value)
        return dataclasses.replace(self, fields=fields)


@dataclasses.dataclass(frozen=True)
class Reply:
    """What goes back: the head, then the steps of the body.

    :ivar head: steps in place of the status line and the fields.
    """

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: Iterable[Step] = ()
    reason: str = ''
    version: str = 'HTTP/1.1'
    head: Iterable[Step] | None = None

    def field(self, name: str) -> str | None:
        """Return the first value of the field, None without one."""
        return _field(self.fields, name)

    def having(self, name: str, value: str | None) -> Reply:
        """Return the reply with another value of a field; None: none."""
        fields = _having(self.fields, name, value)
        return dataclasses.replace(self, fields=fields)

    def head_steps(self) -> Iterable[Step]:
        """Return the steps of the head, its empty line included."""
        if self.head is not None:
            return self.head
        reason = self.reason or http.HTTPStatus(self.status).phrase
        lines = ['%s %d %s' % (self.version, self.status, reason)]
        lines += ['%s: %s' % field for field in self.fields]
        return ['\r\n'.join([*lines, '', '']).encode('latin-1')]

    def steps(self) -> Iterator[Step]:
        """Return every step; the last ends the connection if it must end."""
        yield from self.head_steps()
        yield from self.body
        framed = self.field('Content-Length') or self.field(
            'Transfer-Encoding'
        )
        if self.version != 'HTTP/1.1' or not framed:
            yield Ending.CLOSE


def honest(request: Request, representation: Representation) -> Reply:
    """Answer as RFC 9110 asks, with single ranges."""
    length = len(representation.content)
    fields = [('Date', http_date())]
    if representation.etag is not None:
        fields.append(('ETag', representation.etag))
    if representation.last_modified is not None:
        fields.append(('Last-Modified', representation.last_modified))
    if representation.ranges:
        fields.append(('Accept-Ranges', 'bytes'))
    start, stop = 0, length
    status = http.HTTPStatus.OK
    positions = None
    if representation.ranges and _if_range_holds(request, representation):
        positions = _positions(request.range, length)
    if positions is not None:
        start, stop = positions
        status = http.HTTPStatus.PARTIAL_CONTENT
        content_range = 'bytes %d-%d/%d' % (start, stop - 1, length)
        if start >= stop:
            status = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            start = stop = 0
            content_range = 'bytes */%d' % length
        fields.append(('Content-Range', content_range))
    fields.append(('Content-Length', str(stop - start)))
    body = _Body(representation.content, start, stop)
    if request.method == 'HEAD':
        return Reply(status, tuple(fields))
    return Reply(status, tuple(fields), body)


def http_date(seconds: float = 0) -> str:
    """Return the HTTP date ``seconds`` from now."""
    return email.utils.formatdate(time.time() + seconds, usegmt=True)


@dataclasses.dataclass(frozen=True)
class _Body:
    content: Content
    start: int
    stop: int

    def __iter__(self) -> Iterator[Step]:
        for start in range(self.start, self.stop, _PIECE):
            yield self.content[start : min(start + _PIECE, self.stop)]


def _if_range_holds(request: Request, representation: Representation) -> bool:
    # RFC 9110 section 13.1.5: strong comparison, or the very date.
    value = request.if_range
    if value is None:
        return True
    if value.startswith('W/'):
        return False
    return value in (representation.etag, representation.last_modified)


def _positions(value: str | None, length: int) -> tuple[int, int] | None:
    """Return half-open positions; empty ones cannot be satisfied.

    None: the whole representation. RFC 9110 section 14.2 lets a server
    ignore a Range, as this one does with several ranges and nonsense.
    """
    match = re.fullmatch('bytes=([0-9]*)-([0-9]*)', value or '')
    if match is None or match[1] == match[2] == '':
        return None
    if not match[1]:
        return max(0, length - int(match[2])), length
    start = int(match[1])
    stop = int(match[2]) + 1 if match[2] else max(length, start + 1)
    if start >= stop:
        return None
    return min(start, length), min(stop, length)


def _field(fields: Iterable[tuple[str, str]], name: str) -> str | None:
    for field, value in fields:
        if field.lower() == name.lower():
            return value
    return None


def _having(
    fields: Iterable[tuple[str, str]], name: str, value: str | None
) -> tuple[tuple[str, str], ...]:
    kept = [field for field in fields if field[0].lower() != name.lower()]
    return (*kept, *([] if value is None else [(name, value)]))
