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

"""An HTTP/3 server that passes every request on to one of HTTP/1.1.

As nginx does it, with ``proxy_buffering off``; Debian's nginx has no HTTP/3.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Coroutine
import dataclasses
import errno
import logging
import socket
import threading
from typing import Any

from aioquic.asyncio import protocol as quic_protocol
from aioquic.asyncio import server as quic_server
from aioquic.h3 import connection as h3
from aioquic.h3 import events as h3_events
from aioquic.quic import configuration as quic_configuration
from aioquic.quic import events as quic_events
from aioquic.quic import stream as quic_stream
import fixtures

_HOST = '127.0.0.1'

# Of one HTTP/1.1 connection, and malformed in HTTP/3 (RFC 9114 section 4.2).
_CONNECTION_FIELDS = frozenset(
    (b'connection', b'keep-alive', b'transfer-encoding', b'upgrade')
)

# Bytes that are read from behind before they have to be on their way.
_PIECE = 16 * 1024


@dataclasses.dataclass(frozen=True)
class Passed:
    """A request that was passed on.

    :ivar connection: what it came over, counted from 0.
    :ivar range: '' where there is none.
    """

    connection: int
    range: str


class Front(fixtures.Fixture):
    """An HTTP/3 server before ``behind``, a port on loopback.

    Where the answer from behind breaks off, its stream is reset, and the
    others go on.

    :param certificate: a file, the key included.
    :ivar port: on 127.0.0.1, UDP. On TCP it refuses connections, and nobody
        else gets it.
    :ivar requests: in the order of arrival.
    """

    def __init__(self, certificate: str, behind: int) -> None:
        super().__init__()
        self._behind = behind
        self._configuration = quic_configuration.QuicConfiguration(
            is_client=False, alpn_protocols=h3.H3_ALPN
        )
        self._configuration.load_cert_chain(certificate, certificate)
        self.requests: list[Passed] = []
        self._connections: list[_Connection] = []
        self._bugs: list[dict[str, Any]] = []
        self._server: Any = None

    def _setUp(self) -> None:
        # It tells of every packet.
        self.useFixture(fixtures.FakeLogger('quic', level=logging.WARNING))
        self._loop = asyncio.new_event_loop()
        self.addCleanup(self._loop.close)
        self._loop.set_exception_handler(
            lambda _loop, context: self._bugs.append(context)
        )
        thread = threading.Thread(target=self._loop.run_forever, name='http3')
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self._loop.call_soon_threadsafe, self._loop.stop)
        self._listen()
        self.addCleanup(self._end)

    def _listen(self) -> None:
        while True:
            # Bound, but not listening.
            holder = socket.socket()
            self.addCleanup(holder.close)
            holder.bind((_HOST, 0))
            self.port: int = holder.getsockname()[1]
            try:
                self.up()
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise

    def _end(self) -> None:
        self.down()
        if self._bugs:
            raise AssertionError('in the HTTP/3 server: %r' % self._bugs)

    @property
    def connections(self) -> int:
        """How many were accepted."""
        return len(self._connections)

    def up(self) -> None:
        """Listen (again)."""
        self._server = self._run(
            quic_server.serve(
                _HOST,
                self.port,
                configuration=self._configuration,
                create_protocol=self._accept,
            )
        )

    def fall_silent(self) -> None:
        """Say nothing more on the connections there are; accept others.

        It is what a client sees behind a translation of addresses that has
        forgotten it, or of a server that was started anew.
        """
        self._run(self._fall_silent())

    def down(self) -> None:
        """Be gone, without a word on any connection."""
        self._run(self._down())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _accept(self, *given: Any, **named: Any) -> _Connection:
        connection = _Connection(self, *given, **named)
        self._connections.append(connection)
        return connection

    async def _fall_silent(self) -> None:
        for connection in self._connections:
            await connection.fall_silent()

    async def _down(self) -> None:
        await self._fall_silent()
        if self._server is not None:
            # Its own close() takes leave of every connection.
            self._server._transport.close()
            self._server = None
        # What is closed here is closed in the next turn of the loop.
        await asyncio.sleep(0)

    async def pass_on(
        self, connection: _Connection, fields: h3_events.Headers
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Ask the server behind; return its answer's stream."""
        asked = dict(fields)
        self.requests.append(
            Passed(
                self._connections.index(connection),
                asked.get(b'range', b'').decode(),
            )
        )
        reader, writer = await asyncio.open_connection(_HOST, self._behind)
        lines = [
            b'%s %s HTTP/1.1' % (asked[b':method'], asked[b':path']),
            b'host: ' + asked[b':authority'],
            *(b'%s: %s' % one for one in fields if one[0][:1] != b':'),
            b'connection: close',
            b'\r\n',
        ]
        writer.write(b'\r\n'.join(lines))
        return reader, writer


class _Connection(quic_protocol.QuicConnectionProtocol):
    """One QUIC connection; each request is a task."""

    def __init__(self, front: Front, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._front = front
        self._http: h3.H3Connection | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._silent = False
        # Something was sent, or acknowledged.
        self._moved = asyncio.Event()

    async def fall_silent(self) -> None:
        self._silent = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What aioquic calls.

    def datagram_received(self, data: Any, addr: Any) -> None:
        if not self._silent:
            super().datagram_received(data, addr)

    def transmit(self) -> None:
        if not self._silent:
            super().transmit()
            self._moved.set()

    def quic_event_received(self, event: quic_events.QuicEvent) -> None:
        if isinstance(event, quic_events.ProtocolNegotiated):
            self._http = h3.H3Connection(self._quic)
        elif isinstance(event, quic_events.ConnectionTerminated):
            for task in self._tasks.values():
                task.cancel()
        elif (
            isinstance(event, quic_events.StopSendingReceived)
            and event.stream_id in self._tasks
        ):
            # The client wants no more of it.
            self._tasks[event.stream_id].cancel()
        if self._http is None:
            return
        for received in self._http.handle_event(event):
            if isinstance(received, h3_events.HeadersReceived):
                self._begin(received.stream_id, received.headers)

    # One request.

    def _begin(self, stream: int, fields: h3_events.Headers) -> None:
        task = asyncio.create_task(self._answer(stream, fields))
        self._tasks[stream] = task
        task.add_done_callback(lambda _task: self._tasks.pop(stream))

    async def _answer(self, stream: int, fields: h3_events.Headers) -> None:
        reader, writer = await self._front.pass_on(self, fields)
        try:
            whole = await self._pass_back(stream, reader)
        except (ConnectionError, asyncio.IncompleteReadError):
            whole = False
        finally:
            writer.transport.abort()
        if whole:
            assert self._http is not None
            self._http.send_data(stream, b'', end_stream=True)
        else:
            # A reset drops what is not acknowledged yet: see it off first.
            await self._until(stream, lambda sender: not sender._buffer)
            self._quic.reset_stream(stream, h3.ErrorCode.H3_INTERNAL_ERROR)
        self.transmit()

    async def _pass_back(
        self, stream: int, reader: asyncio.StreamReader
    ) -> bool:
        """Pass the answer back; tell whether all of it came."""
        head = await reader.readuntil(b'\r\n\r\n')
        first, *lines = head.rstrip().split(b'\r\n')
        fields = [(b':status', first.split()[1])]
        for line in lines:
            name, _, value = line.partition(b':')
            if name.lower() not in _CONNECTION_FIELDS:
                fields.append((name.lower(), value.strip()))
        assert self._http is not None
        self._http.send_headers(stream, fields)
        length = dict(fields).get(b'content-length')
        received = 0
        while length is None or received < int(length):
            data = await reader.read(_PIECE)
            if not data:
                break
            received += len(data)
            self._http.send_data(stream, data, end_stream=False)
            await self._until(stream, lambda sender: sender.buffer_is_empty)
        return length in (None, b'%d' % received)

    async def _until(
        self,
        stream: int,
        reached: Callable[[quic_stream.QuicStreamSender], bool],
    ) -> None:
        """Wait for the network, and for the client's flow control.

        aioquic takes whatever it is given, and keeps it until it may be
        sent; it has no public means to tell how much that is.
        """
        self.transmit()
        while True:
            kept = self._quic._streams.get(stream)
            if kept is None or reached(kept.sender):
                return
            self._moved.clear()
            await self._moved.wait()


class SilentPort(fixtures.Fixture):
    """A UDP port on loopback that answers nothing."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def _setUp(self) -> None:
        holder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(holder.close)
        holder.bind(('127.0.0.1', self._port))
