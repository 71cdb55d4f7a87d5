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

"""A name server for the client of two joined network namespaces."""

from __future__ import annotations

import pathlib
import socket
import struct
import threading

import fixtures

from tests.support import netns


class NameServer(fixtures.Fixture):
    """A name server inside ``network.server``, used by ``network.client``.

    It runs in a thread of this process; its socket alone is inside.
    """

    def __init__(
        self, network: netns.Network, records: dict[str, str]
    ) -> None:
        super().__init__()
        self._network = network
        #: Host name: IPv4 address. May be changed while it runs.
        self.records = dict(records)
        #: Whether to let questions pass without an answer.
        self.silent = False
        #: Questions that came, answered or not.
        self.questions = 0

    def _setUp(self) -> None:
        self._socket = self._network.server.open_socket(socket.SOCK_DGRAM)
        self.addCleanup(self._socket.close)
        self._socket.bind((netns.NAME_SERVER, 53))
        # So that the thread comes round to look whether it is to end.
        self._socket.settimeout(0.1)
        self._ended = threading.Event()
        thread = threading.Thread(target=self._serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self._ended.set)
        # The resolver's defaults: five seconds for an answer, two tries.
        self._configure('nameserver %s\n' % netns.NAME_SERVER)

    def _configure(self, resolv_conf: str) -> None:
        # "ip netns exec" mounts this file over the machine's own.
        parent = pathlib.Path('/etc/netns')
        directory = parent / self._network.client.name

        def make() -> bool:
            try:
                directory.mkdir(parents=True)
            except FileNotFoundError:
                # Another run has just removed the empty parent.
                return False
            return True

        netns.wait_for('%s is made' % directory, make, 5)
        self.addCleanup(_remove_empty, parent)
        self.addCleanup(directory.rmdir)
        path = directory / 'resolv.conf'
        path.write_text(resolv_conf)
        self.addCleanup(path.unlink)

    def _serve(self) -> None:
        while not self._ended.is_set():
            try:
                question, peer = self._socket.recvfrom(512)
            except TimeoutError:
                continue
            self.questions += 1
            if not self.silent:
                self._socket.sendto(self._answer(question), peer)

    def _answer(self, question: bytes) -> bytes:
        # RFC 1035 section 4: a head of 12 bytes, the name as labels that
        # are preceded by their length and end with an empty one, the type
        # and the class.
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        (kind,) = struct.unpack_from('!H', question, at + 1)
        address = self.records.get('.'.join(labels).lower())
        answers = b''
        if address is not None and kind == 1:
            # The name is a pointer to the question's; class IN, no caching.
            answers = struct.pack('!HHHIH', 0xC00C, 1, 1, 0, 4)
            answers += socket.inet_aton(address)
        # A response, recursion available; code 3: no such name.
        flags = 0x8180 | (3 if address is None else 0)
        return (
            question[:2]
            + struct.pack('!HHHHH', flags, 1, bool(answers), 0, 0)
            + question[12 : at + 5]
            + answers
        )


def _remove_empty(directory: pathlib.Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        # Not empty: others use it.
        pass
