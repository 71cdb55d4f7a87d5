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

"""Fixtures of the functional tests: servers, and their certificates."""

from __future__ import annotations

import datetime
import enum
import os
import select
import socket
import ssl
import threading

import fixtures
import trustme

from fuel_agent_curl import harmful


class HarmfulServer(fixtures.Fixture):
    """A harmful server for one test.

    :param content: what ``/image`` names; any other representation may be
        put into ``server.representations``.
    :ivar server: the ``harmful.Server``.
    """

    def __init__(
        self,
        representation: harmful.Representation,
        *,
        host: str = '127.0.0.1',
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__()
        self._representation = representation
        self._host = host
        self._tls = tls

    def _setUp(self) -> None:
        self.server = harmful.Server(
            {'/image': self._representation}, host=self._host, tls=self._tls
        )
        self.addCleanup(self.server.close)


class Certificate(enum.Enum):
    """What is wrong with a server's certificate."""

    GOOD = enum.auto()
    #: Issued by an authority that nobody trusts.
    UNTRUSTED = enum.auto()
    EXPIRED = enum.auto()
    #: Valid from tomorrow on.
    EARLY = enum.auto()
    WRONG_NAME = enum.auto()


class Authority(fixtures.Fixture):
    """A certificate authority of the test's own.

    :param directory: for its certificate's file.
    :ivar path: that file, for ``Settings.cacert``.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.path = os.path.join(directory, 'authority.pem')

    def _setUp(self) -> None:
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(self.path)

    def context(
        self, certificate: Certificate = Certificate.GOOD
    ) -> ssl.SSLContext:
        """Return the context of a server at 127.0.0.1 and localhost."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._issue(certificate).configure_cert(context)
        return context

    def _issue(self, certificate: Certificate) -> trustme.LeafCert:
        authority = self._authority
        if certificate is Certificate.UNTRUSTED:
            authority = trustme.CA()
        names = ['127.0.0.1', 'localhost']
        if certificate is Certificate.WRONG_NAME:
            names = ['elsewhere.example']
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        return authority.issue_cert(
            *names,
            not_before=now + day if certificate is Certificate.EARLY else None,
            not_after=now - day
            if certificate is Certificate.EXPIRED
            else None,
        )

    def server(self, certificate: Certificate = Certificate.GOOD) -> str:
        """Issue the certificate of a server; return it, key included."""
        issued = self._issue(certificate)
        return issued.private_key_and_cert_chain_pem.bytes().decode()

    def demand(self, context: ssl.SSLContext) -> None:
        """Make the server ask clients for a certificate of this authority."""
        self._authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED

    def client(self, directory: str) -> str:
        """Issue a client's certificate; return its file, key included."""
        path = os.path.join(directory, 'client.pem')
        issued = self._authority.issue_cert('client@example.com')
        issued.private_key_and_cert_chain_pem.write_to_path(path)
        return path


class FullPort(fixtures.Fixture):
    """A port that answers no SYN: its queue of connections is full.

    :ivar port: on 127.0.0.1.
    """

    def _setUp(self) -> None:
        listener = socket.create_server(('127.0.0.1', 0), backlog=0)
        self.addCleanup(listener.close)
        self.port: int = listener.getsockname()[1]
        # The kernel queues one more than the backlog, and answers none of
        # the rest (listen(2)); tcp_max_syn_backlog counts nothing here.
        for _connection in range(3):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(('127.0.0.1', self.port))


class ClosedPort(fixtures.Fixture):
    """A port that refuses connections, and nobody else gets meanwhile.

    :ivar port: on 127.0.0.1.
    """

    def _setUp(self) -> None:
        # Bound, but not listening.
        holder = socket.socket()
        self.addCleanup(holder.close)
        holder.bind(('127.0.0.1', 0))
        self.port: int = holder.getsockname()[1]


class Tunnels(fixtures.Fixture):
    """A proxy that leads to one port, for so many tunnels.

    :param port: on 127.0.0.1.
    :param answer: what each CONNECT after those is answered with.
    :ivar port: of the proxy, on 127.0.0.1.
    :ivar asked: HOST:PORT of every CONNECT, in order.
    """

    def __init__(self, port: int, honest: int, answer: bytes) -> None:
        super().__init__()
        self._to = port
        self._honest = honest
        self._answer = answer
        self.asked: list[str] = []

    def _setUp(self) -> None:
        listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = listener.getsockname()[1]
        self._open = [listener]
        self._thread = threading.Thread(target=self._serve)
        self.addCleanup(self._close)
        self._thread.start()

    def _close(self) -> None:
        self._open[0].shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for each in self._open:
            each.close()

    def _serve(self) -> None:
        peers: dict[socket.socket, socket.socket] = {}
        listener = self._open[0]
        while True:
            ready, _, _ = select.select([listener, *peers], [], [])
            for one in ready:
                if one is listener:
                    try:
                        client = listener.accept()[0]
                    except OSError:
                        return
                    self._open.append(client)
                    self._connect(client, peers)
                elif one in peers:
                    self._pass_on(one, peers)

    def _connect(
        self, client: socket.socket, peers: dict[socket.socket, socket.socket]
    ) -> None:
        client.settimeout(5)
        head = b''
        while not head.endswith(b'\r\n\r\n'):
            head += client.recv(1)
        self.asked.append(head.split()[1].decode())
        if len(self.asked) > self._honest:
            client.sendall(self._answer)
            return
        server = socket.create_connection(('127.0.0.1', self._to), 5)
        self._open.append(server)
        client.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        peers[client], peers[server] = server, client

    def _pass_on(
        self, one: socket.socket, peers: dict[socket.socket, socket.socket]
    ) -> None:
        try:
            data = one.recv(65536)
            peers[one].sendall(data)
        except OSError:
            data = b''
        if not data:
            other = peers.pop(one)
            peers.pop(other)
            one.close()
            other.close()


def protect(source: str, path: str, phrase: bytes) -> None:
    """Write the key of a PEM file to another, protected by a pass phrase."""
    from cryptography.hazmat.primitives import serialization

    with open(source, 'rb') as file:
        key = serialization.load_pem_private_key(file.read(), None)
    with open(path, 'wb') as file:
        file.write(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(phrase),
            )
        )
