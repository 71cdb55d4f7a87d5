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

"""Faults: what makes an honest reply a harmful one.

A handler makes the reply to a request; a fault makes a worse handler out of
a handler, so that faults combine::

    handler = spoiled([ignore_range(), chunked(1000), cut(5000)])

What a fault does to the reply comes after what the faults before it in the
list did. Nothing here touches a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import replace
from functools import reduce
import http
import itertools
import re

from fuel_agent_curl.harmful import messages
from fuel_agent_curl.harmful.messages import Ending
from fuel_agent_curl.harmful.messages import Pause
from fuel_agent_curl.harmful.messages import Reply
from fuel_agent_curl.harmful.messages import Representation
from fuel_agent_curl.harmful.messages import Request
from fuel_agent_curl.harmful.messages import Step

_BOUNDARY = 'harmful'

Handler = Callable[[Request, Representation], Reply]
Fault = Callable[[Handler], Handler]


def spoiled(
    faults: Iterable[Fault], handler: Handler = messages.honest
) -> Handler:
    """Return the handler with every fault applied to it."""
    return reduce(lambda made, fault: fault(made), faults, handler)


# Faults of the request: what the server makes of it.


def _on_request(change: Callable[[Request], Request]) -> Fault:
    def fault(handler: Handler) -> Handler:
        return lambda request, representation: handler(
            change(request), representation
        )

    return fault


def serve(other: Representation) -> Fault:
    """Answer with another representation than the path names."""
    return lambda handler: (
        lambda request, _representation: handler(request, other)
    )


def ignore_range() -> Fault:
    """Answer 200 with everything to a Range."""
    return _on_request(lambda request: request.having('Range', None))


def ignore_if_range() -> Fault:
    """Serve the range whether the representation has changed or not."""
    return _on_request(lambda request: request.having('If-Range', None))


def refuse_if_range() -> Fault:
    """Answer 200 to any If-Range, as some CDNs do to an entity tag."""
    return _on_request(
        lambda request: request.having(
            'Range', None if request.if_range else request.range
        )
    )


def move_range(distance: int) -> Fault:
    """Serve, and say so, from ``distance`` bytes after the range asked for.

    A negative distance is a cache that starts at a block of its own.
    """

    def change(request: Request) -> Request:
        match = re.fullmatch('bytes=([0-9]+)-([0-9]*)', request.range or '')
        if not match:
            return request
        start = max(0, int(match[1]) + distance)
        return request.having('Range', 'bytes=%d-%s' % (start, match[2]))

    return _on_request(change)


def cap_range(length: int) -> Fault:
    """Serve no more than ``length`` bytes of an open range."""

    def change(request: Request) -> Request:
        match = re.fullmatch('bytes=([0-9]+)-', request.range or '')
        if not match:
            return request
        last = int(match[1]) + length - 1
        return request.having('Range', '%s%d' % (match[0], last))

    return _on_request(change)


def force_range(value: str) -> Fault:
    """Serve this range, whatever was asked for."""
    return _on_request(lambda request: request.having('Range', value))


# Faults of the head.


def _on_reply(change: Callable[[Reply], Reply]) -> Fault:
    def fault(handler: Handler) -> Handler:
        return lambda request, representation: change(
            handler(request, representation)
        )

    return fault


def status(
    code: int,
    *,
    retry_after: int | str | None = None,
    location: str | None = None,
    body: bytes = b'harmful\n',
) -> Fault:
    """Answer with this status, without the representation."""
    fields = [
        ('Date', messages.http_date()),
        ('Content-Type', 'text/plain'),
        ('Content-Length', str(len(body))),
    ]
    if retry_after is not None:
        fields.append(('Retry-After', str(retry_after)))
    if location is not None:
        fields.append(('Location', location))
    reply = Reply(code, tuple(fields), [body], reason='Harmful')
    return _on_reply(lambda _honest: reply)


def redirect(location: str | None, code: int = 302) -> Fault:
    """Send the client elsewhere; None: without saying where."""
    return status(code, location=location)


def field(name: str, value: str | None) -> Fault:
    """Send this value of the field in place of any other; None: none."""
    return _on_reply(lambda reply: reply.having(name, value))


def more_field(name: str, value: str) -> Fault:
    """Send one more field line."""
    return _on_reply(
        lambda reply: replace(reply, fields=(*reply.fields, (name, value)))
    )


def content_length(value: str) -> Fault:
    """Announce this length, send what there is, and close."""
    return _on_reply(
        lambda reply: replace(
            reply.having('Content-Length', value),
            body=itertools.chain(reply.body, [Ending.CLOSE]),
        )
    )


def content_range(text: str | None, shift: int = 0) -> Fault:
    """Lie about the range served, and serve the right bytes.

    :param text: may hold ``{first}``, ``{last}`` and ``{length}``.
    :param shift: is added to the first and the last position.
    """

    def change(reply: Reply) -> Reply:
        honest_text = reply.field('Content-Range') or ''
        match = re.fullmatch(r'bytes (\d+)-(\d+)/(\d+)', honest_text)
        if not match:
            return reply
        first, last, length = map(int, match.groups())
        value = text and text.format(
            first=first + shift, last=last + shift, length=length
        )
        return reply.having('Content-Range', value)

    return _on_reply(change)


def head(*steps: Step) -> Fault:
    """Send these steps in place of the head: garbage, or nothing at all."""

    def change(reply: Reply) -> Reply:
        rest = itertools.chain(reply.body, [Ending.CLOSE])
        return replace(reply, head=steps, body=rest)

    return _on_reply(change)


def endless_head() -> Fault:
    """Send fields for ever."""

    def lines() -> Iterator[Step]:
        yield b'HTTP/1.1 200 OK\r\n'
        while True:
            yield b'X-Harmful: %s\r\n' % (b'x' * 1000)

    return _on_reply(lambda reply: replace(reply, head=lines()))


def before(*steps: Step) -> Fault:
    """Send these steps, 1xx heads for example, before the head."""
    return _on_reply(
        lambda reply: replace(
            reply,
            head=itertools.chain(steps, reply.head_steps()),
        )
    )


def http_1_0() -> Fault:
    """Answer in HTTP/1.0: only the end of the connection ends the body."""
    return _on_reply(
        lambda reply: replace(
            reply.having('Content-Length', None), version='HTTP/1.0'
        )
    )


# Faults of the body, and of the connection.


def multipart() -> Fault:
    """Wrap the body as multipart/byteranges."""

    def change(reply: Reply) -> Reply:
        if reply.status != http.HTTPStatus.PARTIAL_CONTENT:
            return reply
        text = reply.field('Content-Length') or ''
        length = int(text) if text.isdigit() else 0
        part = '--%s\r\n' % _BOUNDARY
        part += 'Content-Range: %s\r\n\r\n' % reply.field('Content-Range')
        last = '\r\n--%s--\r\n' % _BOUNDARY
        length += len(part) + len(last)
        media_type = 'multipart/byteranges; boundary=' + _BOUNDARY
        reply = reply.having('Content-Type', media_type)
        reply = reply.having('Content-Length', str(length))
        body = itertools.chain([part.encode()], reply.body, [last.encode()])
        return replace(reply.having('Content-Range', None), body=body)

    return _on_reply(change)


def chunked(length: int = 1000, *, ended: bool = True) -> Fault:
    """Use the chunked transfer coding, in chunks of this length.

    :param ended: send the last chunk, or else close without it.
    """

    def coded(body: Iterable[Step]) -> Iterator[Step]:
        for step in body:
            if not isinstance(step, bytes):
                yield step
                continue
            for start in range(0, len(step), length):
                data = step[start : start + length]
                yield b'%x\r\n%s\r\n' % (len(data), data)
        yield b'0\r\n\r\n' if ended else Ending.CLOSE

    def change(reply: Reply) -> Reply:
        reply = reply.having('Content-Length', None)
        reply = reply.having('Transfer-Encoding', 'chunked')
        return replace(reply, body=coded(reply.body))

    return _on_reply(change)


def body(*steps: Step) -> Fault:
    """Send these steps in place of the body."""
    return _on_reply(lambda reply: replace(reply, body=steps))


def flip(at: int) -> Fault:
    """Turn the bits of one byte of the body."""

    def change(steps: Iterable[Step]) -> Iterator[Step]:
        for step, start in _placed(steps):
            if isinstance(step, bytes) and 0 <= at - start < len(step):
                data = bytearray(step)
                data[at - start] ^= 0xFF
                step = bytes(data)
            yield step

    return _on_steps(change, False)


def cut(
    at: int | None, *, in_head: bool = False, ending: Ending = Ending.CUT
) -> Fault:
    """End the connection after ``at`` bytes of the body, or of the head.

    None: after the last one. ``cut(0, in_head=True)`` is an empty reply.
    """
    return _insert(at, in_head, ending)


def reset(at: int | None, *, in_head: bool = False) -> Fault:
    """End the connection with RST after ``at`` bytes."""
    return _insert(at, in_head, Ending.RESET)


def stall(
    at: int | None, seconds: float | None = None, *, in_head: bool = False
) -> Fault:
    """Fall silent after ``at`` bytes, for ``seconds`` or for good.

    ``stall(None)`` leaves a connection that looks alive, and is dead.
    """
    return _insert(at, in_head, Pause(seconds))


def trickle(rate: float, at: int = 0, *, in_head: bool = False) -> Fault:
    """Send no more than ``rate`` bytes a second from byte ``at`` on."""
    interval = max(0.05, 1 / rate)
    size = max(1, int(rate * interval))

    def slowed(steps: Iterable[Step]) -> Iterator[Step]:
        for step, start in _placed(steps):
            if not isinstance(step, bytes):
                yield step
                continue
            quick = min(max(0, at - start), len(step))
            yield step[:quick]
            for first in range(quick, len(step), size):
                yield Pause(interval)
                yield step[first : first + size]

    return _on_steps(slowed, in_head)


def _insert(at: int | None, in_head: bool, extra: Step) -> Fault:
    def change(steps: Iterable[Step]) -> Iterator[Step]:
        waiting = True
        for step, start in _placed(steps):
            if (
                waiting
                and at is not None
                and isinstance(step, bytes)
                and at <= start + len(step)
            ):
                yield step[: at - start]
                yield extra
                step = step[at - start :]
                waiting = False
            yield step
        if waiting and not at:
            yield extra

    return _on_steps(change, in_head)


def _placed(steps: Iterable[Step]) -> Iterator[tuple[Step, int]]:
    """Yield each step with the number of bytes before it."""
    start = 0
    for step in steps:
        yield step, start
        if isinstance(step, bytes):
            start += len(step)


def _on_steps(
    change: Callable[[Iterable[Step]], Iterator[Step]], in_head: bool
) -> Fault:
    def changed(reply: Reply) -> Reply:
        if in_head:
            return replace(reply, head=change(reply.head_steps()))
        return replace(reply, body=change(reply.body))

    return _on_reply(changed)
