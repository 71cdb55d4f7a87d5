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

"""The sockets of the harmful server, one thread for each connection."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
import contextlib
import fcntl
import itertools
import select
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from typing import Any

from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import paths
from fuel_agent_curl.harmful.messages import Ending
from fuel_agent_curl.harmful.messages import Pause
from fuel_agent_curl.harmful.messages import Representation
from fuel_agent_curl.harmful.messages import Request
from fuel_agent_curl.harmful.messages import Step

#: One fault, or several at once; none of them is an honest answer.
Answer = faults.Fault | Iterable[faults.Fault]

_HEAD_MAX = 64 * 1024
_FLUSH_MAX = 5.0


class Server:
    """An HTTP server on loopback whose every answer is known beforehand.

    :param representations: by path; other paths are answered with 404.
    :param port: 0: any free one. It stays the same over ``down`` and ``up``.
    :param tls: the context of an https server.
    :ivar requests: every request, in the order of arrival.
    :ivar connections: how many connections were accepted.
    :ivar sent: bytes of all answers, heads included.
    """

    def __init__(
        self,
        representations: Mapping[str, Representation],
        *,
        host: str = '127.0.0.1',
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.representations = dict(representations)
        self.requests: list[Request] = []
        self.connections = 0
        self.sent = 0
        self._tls = tls
        self._arrival = threading.Condition()
        self._scripts: dict[str | None, Iterator[Answer]] = {}
        self._greetings: Iterator[Iterable[Step]] = iter(())
        self._live: dict[socket.socket, threading.Thread] = {}
        self._address = (host, port)
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.up()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def url(self, path: str = '/image', *, host: str | None = None) -> str:
        """Return the URL of a path."""
        scheme = 'https' if self._tls else 'http'
        host = host or self._address[0]
        if ':' in host:
            host = '[%s]' % host
        return '%s://%s:%d%s' % (scheme, host, self.port, path)

    @property
    def port(self) -> int:
        return self._address[1]

    @property
    def ranges(self) -> list[str | None]:
        """The Range of every request."""
        return [request.range for request in self.requests]

    @property
    def if_ranges(self) -> list[str | None]:
        """The If-Range of every request."""
        return [request.if_range for request in self.requests]

    def script(
        self, *answers: Answer, then: Answer = (), path: str | None = None
    ) -> None:
        """Set the answers to the next requests, one for each.

        :param then: the answer to every request after those.
        :param path: the requests to this path only; None: to every path
            without a script of its own.
        """
        with self._arrival:
            self._scripts[path] = itertools.chain(
                answers, itertools.repeat(then)
            )

    def greet(self, *greetings: Iterable[Step]) -> None:
        """Set what befalls the next connections, before TLS and any request.

        Each is the steps for one connection, [Ending.RESET] for example.
        """
        with self._arrival:
            self._greetings = iter(greetings)

    def wait(self, count: int, seconds: float = 10.0) -> bool:
        """Wait for ``count`` requests in all; tell whether they came."""
        with self._arrival:
            return self._arrival.wait_for(
                lambda: len(self.requests) >= count, seconds
            )

    def up(self) -> None:
        """Listen (again)."""
        host = self._address[0]
        family = socket.AF_INET6 if ':' in host else socket.AF_INET
        listener = socket.create_server(
            self._address, family=family, backlog=128
        )
        self._address = listener.getsockname()[:2]
        self._listener = listener
        self._acceptor = threading.Thread(
            target=self._accept, args=(listener,), daemon=True
        )
        self._acceptor.start()

    def down(self, ending: Ending = Ending.RESET) -> None:
        """Refuse connections from now on, and end every one there is."""
        if self._listener is None or self._acceptor is None:
            return
        # This wakes accept(2), which closing the socket would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        self._listener = None
        with self._arrival:
            threads = list(self._live.values())
            for connection in self._live:
                if ending is Ending.RESET:
                    _end_by_reset(connection)
                _wake(connection)
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """End every connection and thread; idempotent."""
        self.down(Ending.CUT)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _peer = listener.accept()
            except OSError:
                return
            # Small pieces are to arrive as they are sent.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._arrival:
                number = self.connections
                self.connections += 1
                greeting = next(self._greetings, ())
                with contextlib.suppress(OSError):
                    if self._tls:
                        connection = self._tls.wrap_socket(
                            connection,
                            server_side=True,
                            do_handshake_on_connect=False,
                        )
                thread = threading.Thread(
                    target=self._serve,
                    args=(connection, number, greeting),
                    name='harmful-%d' % number,
                    daemon=True,
                )
                self._live[connection] = thread
                thread.start()

    def _serve(
        self, connection: socket.socket, number: int, greeting: Iterable[Step]
    ) -> None:
        try:
            # Steps of a greeting go past TLS.
            if _perform(greeting, connection, socket.socket.sendall):
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                self._answer(connection, number)
        except OSError:
            # The client has gone, or ``down`` has ended the connection.
            pass
        finally:
            with self._arrival:
                del self._live[connection]
                connection.close()

    def _answer(self, connection: socket.socket, number: int) -> None:
        received = b''
        while True:
            while b'\r\n\r\n' not in received:
                data = connection.recv(_HEAD_MAX)
                received += data
                if not data or len(received) > _HEAD_MAX:
                    return
            head, _, received = received.partition(b'\r\n\r\n')
            request = _request(head, number)
            handler, representation = self._handler(request)
            steps = handler(request, representation).steps()
            if not _perform(steps, connection, self._send):
                return
            if (request.field('Connection') or '').lower() == 'close':
                return

    def _send(self, connection: socket.socket, data: bytes) -> None:
        connection.sendall(data)
        with self._arrival:
            self.sent += len(data)

    def _handler(
        self, request: Request
    ) -> tuple[faults.Handler, Representation]:
        spoils, path = paths.by_path(request.path)
        with self._arrival:
            self.requests.append(request)
            script = self._scripts.get(
                request.path, self._scripts.get(None, itertools.repeat(()))
            )
            answer = next(script)
            self._arrival.notify_all()
            representation = self.representations.get(path)
        if representation is None:
            representation = Representation(b'')
            spoils.insert(0, faults.status(404))
        spoils += [answer] if callable(answer) else answer
        return faults.spoiled(spoils), representation


def _request(head: bytes, connection: int) -> Request:
    first, *lines = head.decode('latin-1').split('\r\n')
    method, _, rest = first.partition(' ')
    fields = [line.partition(':') for line in lines]
    return Request(
        method,
        rest.rpartition(' ')[0],
        tuple((name, value.strip()) for name, _, value in fields),
        connection,
        time.monotonic(),
    )


def _perform(
    steps: Iterable[Step],
    connection: socket.socket,
    send: Callable[[Any, bytes], None],
) -> bool:
    """Carry out the steps; tell whether the connection goes on."""
    for step in steps:
        if isinstance(step, bytes):
            send(connection, step)
        elif isinstance(step, Pause):
            if _hung_up(connection, step.seconds):
                return False
        else:
            _end(connection, step)
            return False
    return True


def _hung_up(connection: socket.socket, seconds: float | None) -> bool:
    """Wait; tell whether the other side has gone meanwhile."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP | select.POLLHUP)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def _end(connection: socket.socket, ending: Ending) -> None:
    """Do what must come before the close that follows."""
    if ending is Ending.RESET:
        # RST drops what is not acknowledged yet: see it off first.
        patience = time.monotonic() + _FLUSH_MAX
        while _unacknowledged(connection) and time.monotonic() < patience:
            if _hung_up(connection, 0.001):
                break
        _end_by_reset(connection)
    elif ending is Ending.CLOSE and isinstance(connection, ssl.SSLSocket):
        # Send close_notify, and do not wait for the other side's.
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            connection.unwrap()


def _unacknowledged(connection: socket.socket) -> int:
    count = fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(count, sys.byteorder)


def _end_by_reset(connection: socket.socket) -> None:
    # close(2) sends RST in place of FIN (socket(7), SO_LINGER).
    connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)
    )


def _wake(connection: socket.socket) -> None:
    """Make every wait on the socket return, in whatever thread."""
    with contextlib.suppress(OSError):
        # Not SSLSocket's own, which would take TLS off under its thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
