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

"""A SOCKS5 proxy (RFC 1928, RFC 1929) for tests."""

from __future__ import annotations

from collections.abc import Mapping
import contextlib
import select
import socket
import struct
import threading

import fixtures

_NO_AUTHENTICATION = 0
_PASSWORD = 2
_NOT_ACCEPTABLE = 0xFF
_IPV4 = 1
_NAME = 3
_SUCCEEDED = 0
_HOST_UNREACHABLE = 4


class SocksProxy(fixtures.Fixture):
    """A SOCKS5 proxy on loopback, one thread for each connection.

    :param names: the addresses to go to in place of names, or of others.
    :param credentials: user and password, None where nobody is asked.
    :ivar asked: the name or the address of every CONNECT, in order.
    :ivar failures: so many CONNECTs will be answered by "host unreachable".
    """

    def __init__(
        self,
        names: Mapping[str, str],
        credentials: tuple[str, str] | None = None,
    ) -> None:
        super().__init__()
        self._names = names
        self._credentials = credentials
        self.asked: list[str] = []
        self.failures = 0

    def _setUp(self) -> None:
        self._live: list[socket.socket] = []
        self._silent: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        acceptor = threading.Thread(target=self._accept)
        acceptor.start()
        self.addCleanup(self._end, acceptor)

    def fall_silent(self) -> None:
        """Swallow what comes on the connections there are."""
        self._silent = list(self._live)

    def _end(self, acceptor: threading.Thread) -> None:
        # This wakes accept(2) and recv(2), which closing would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        acceptor.join()
        self._listener.close()
        for connection in self._live:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _peer = self._listener.accept()
                self._live.append(connection)
                thread = threading.Thread(
                    target=self._serve, args=(connection,)
                )
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, EOFError):
            if self._greet(connection):
                self._connect(connection)

    def _greet(self, connection: socket.socket) -> bool:
        """Agree on a method; tell whether the client may go on."""
        _version, count = _read(connection, 2)
        offered = _read(connection, count)
        wanted = _PASSWORD if self._credentials else _NO_AUTHENTICATION
        if wanted not in offered:
            connection.sendall(bytes([5, _NOT_ACCEPTABLE]))
            return False
        connection.sendall(bytes([5, wanted]))
        if not self._credentials:
            return True
        _read(connection, 1)
        given = tuple(
            _read(connection, _read(connection, 1)[0]).decode()
            for _part in ('user', 'password')
        )
        right = given == self._credentials
        connection.sendall(bytes([1, not right]))
        return right

    def _connect(self, connection: socket.socket) -> None:
        _version, _command, _reserved, kind = _read(connection, 4)
        if kind == _NAME:
            host = _read(connection, _read(connection, 1)[0]).decode()
        elif kind == _IPV4:
            host = socket.inet_ntoa(_read(connection, 4))
        else:
            host = socket.inet_ntop(socket.AF_INET6, _read(connection, 16))
        (port,) = struct.unpack('!H', _read(connection, 2))
        self.asked.append(host)
        if self.failures:
            self.failures -= 1
            connection.sendall(_reply(_HOST_UNREACHABLE))
            return
        address = self._names.get(host, host)
        with socket.create_connection((address, port)) as server:
            connection.sendall(_reply(_SUCCEEDED))
            self._relay(connection, server)

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        """Pass on what comes, until one of the two has gone."""
        peers = {client: server, server: client}
        while True:
            for source in select.select(list(peers), [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                if client not in self._silent:
                    peers[source].sendall(data)


def _reply(code: int) -> bytes:
    return bytes([5, code, 0, _IPV4, 0, 0, 0, 0, 0, 0])


def _read(connection: socket.socket, length: int) -> bytes:
    data = b''
    while len(data) < length:
        piece = connection.recv(length - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data
