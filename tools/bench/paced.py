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

"""A server that paces each connection: SO_MAX_PACING_RATE, see socket(7).

The kernel spreads what is sent over time, from the first byte of a
connection to its last, but for the first ten segments (tcp_output.c). On
loopback those are of 64 KiB each, which makes 640 KiB that no rate holds for;
here they are as long as in an Ethernet. (nginx's limit_rate lets the first
second of every request through, which short requests profit by.)

    python -m tools.bench.paced LENGTH RATE SLOW_RATE SLOW_EVERY

serves the bytes of ``content(LENGTH)`` under any path, RATE bytes a second
on each connection, or SLOW_RATE on every connection whose number is a
multiple of SLOW_EVERY (0: none); its port is the first line of its output.
"""

from __future__ import annotations

import contextlib
import re
import socket
import sys
import threading
from typing import BinaryIO

from fuel_agent_curl import harmful

# <asm-generic/socket.h>; Python has no name for it.
_SO_MAX_PACING_RATE = 47

# Bytes of a TCP segment in an Ethernet, with timestamps.
_SEGMENT = 1448

# What the kernel takes at once: much less than a second of any connection,
# so that what a client has hung up on is little.
_SEND_BUFFER = 256 * 1024
_PIECE = 256 * 1024


def content(length: int) -> harmful.Pattern:
    """Return what is served."""
    return harmful.Pattern(length)


def serve(
    listener: socket.socket,
    body: harmful.Pattern,
    rate: int,
    slow_rate: int,
    slow_every: int,
) -> None:
    """Answer every connection, each in a thread, for ever."""
    number = 0
    while True:
        connection, _peer = listener.accept()
        number += 1
        slow = slow_every and number % slow_every == 0
        connection.setsockopt(
            socket.SOL_SOCKET, _SO_MAX_PACING_RATE, slow_rate if slow else rate
        )
        connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER
        )
        threading.Thread(
            target=_answer, args=(connection, body), daemon=True
        ).start()


def _answer(connection: socket.socket, body: harmful.Pattern) -> None:
    # The client may go whenever it likes.
    with contextlib.suppress(OSError), connection:
        requests = connection.makefile('rb')
        while fields := read_head(requests):
            start, stop, ranged = positions(
                fields.get(b'range', b''), len(body)
            )
            connection.sendall(answer_head(start, stop, len(body), ranged))
            for first in range(start, stop, _PIECE):
                connection.sendall(body[first : min(first + _PIECE, stop)])


def positions(value: bytes, length: int) -> tuple[int, int, bool]:
    """Return what a Range asks for, half-open, and whether it is one."""
    match = re.fullmatch(rb'bytes=(\d+)-(\d*)', value)
    if match is None:
        return 0, length, False
    return int(match[1]), min(int(match[2] or length) + 1, length), True


def read_head(requests: BinaryIO) -> dict[bytes, bytes]:
    """Return the fields of the next request; nothing: there is no more."""
    fields = {}
    request_line = requests.readline()
    while (line := requests.readline()).strip():
        name, _, value = line.partition(b':')
        fields[name.lower()] = value.strip()
    return {**fields, b'': request_line} if request_line else {}


def answer_head(start: int, stop: int, length: int, ranged: bool) -> bytes:
    """Return the status line and the fields."""
    lines = [
        'HTTP/1.1 ' + ('206 Partial Content' if ranged else '200 OK'),
        'Content-Length: %d' % (stop - start),
        'Accept-Ranges: bytes',
        'ETag: "paced"',
    ]
    if ranged:
        lines.append(
            'Content-Range: bytes %d-%d/%d' % (start, stop - 1, length)
        )
    return '\r\n'.join([*lines, '', '']).encode()


def main(arguments: list[str]) -> None:
    length, rate, slow_rate, slow_every = map(int, arguments)
    with socket.create_server(('127.0.0.1', 0), backlog=128) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
        print(listener.getsockname()[1], flush=True)
        serve(listener, content(length), rate, slow_rate, slow_every)


if __name__ == '__main__':
    main(sys.argv[1:])
