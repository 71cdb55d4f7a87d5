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

"""Two network namespaces joined by a veth pair, and nginx in one.

The server's end of the link is paced, so that a transfer of some mebibytes
lasts for seconds and a fault lands in the middle of it. Faults are iptables
rules, the state of a link, or the death of the server; nothing outside the
two namespaces is touched but ``/run/netns`` and ``/etc/netns``.
"""

from __future__ import annotations

import collections.abc
import ctypes
import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import fixtures

from fuel_agent_curl.octets import MIB
from tools.bench import servers as bench_servers

#: A block set aside for documentation (RFC 5737); nothing routes it.
SERVER = '192.0.2.1'
SERVER_ELSEWHERE = '192.0.2.3'
CLIENT = '192.0.2.2'
NAME_SERVER = '192.0.2.53'
_PREFIX = '/24'
_LINK = 'veth0'

_CLONE_NEWNET = 0x40000000


def wait_for(
    what: str, holds: collections.abc.Callable[[], bool], seconds: float
) -> None:
    """Return when ``holds()`` does.

    :raises AssertionError: if it doesn't within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError('not within %g s: %s' % (seconds, what))
        time.sleep(0.05)


def run(*command: str) -> str:
    """Return what ``command`` prints.

    :raises RuntimeError: if it fails.
    """
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            '%s: exit code %d: %s'
            % (' '.join(command), done.returncode, done.stderr.strip())
        )
    return done.stdout


@dataclasses.dataclass(frozen=True)
class Namespace:
    """A network namespace with one link, to its twin."""

    name: str

    def command(self, *command: str) -> list[str]:
        """Return the command line that runs ``command`` inside.

        ip(8) replaces itself by the command, so that the process id is the
        command's own.
        """
        return ['ip', 'netns', 'exec', self.name, *command]

    def ip(self, *arguments: str) -> str:
        return run('ip', '-n', self.name, *arguments)

    def add_address(self, address: str) -> None:
        self.ip('addr', 'add', address + _PREFIX, 'dev', _LINK)

    def link(self, state: str) -> None:
        """Set our end of the link ``'up'`` or ``'down'``."""
        self.ip('link', 'set', _LINK, state)

    def received(self) -> int:
        """Return how many bytes have come in, heads of packets included."""
        (link,) = json.loads(self.ip('-j', '-s', 'link', 'show', _LINK))
        return int(link['stats64']['rx']['bytes'])

    def refuse(self, *rule: str) -> None:
        """Append ``rule`` (of iptables) for what comes in over the link."""
        run(*self._iptables('-A', 'INPUT', '-i', _LINK, *rule))

    def heal(self) -> int:
        """Remove every rule; return how many packets they took."""
        rules = run(*self._iptables('-L', 'INPUT', '-v', '-x', '-n'))
        # The first two lines are headings; a rule starts with its count.
        packets = sum(int(line.split()[0]) for line in rules.splitlines()[2:])
        run(*self._iptables('-F', 'INPUT'))
        return packets

    def _iptables(self, *arguments: str) -> list[str]:
        return self.command('iptables', '-w', *arguments)

    def open_socket(self, kind: socket.SocketKind) -> socket.socket:
        """Return a new socket that is inside, for this process to use."""
        made: list[socket.socket] = []
        # setns(2) moves one thread: one of its own is spent on that, since
        # the way back is open to root alone.
        thread = threading.Thread(
            target=lambda: made.append(self._enter(kind))
        )
        thread.start()
        thread.join()
        return made[0]

    def _enter(self, kind: socket.SocketKind) -> socket.socket:
        libc = ctypes.CDLL(None, use_errno=True)
        with open(os.path.join('/run/netns', self.name), 'rb') as handle:
            if libc.setns(handle.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), 'setns')
        return socket.socket(socket.AF_INET, kind)


class Network(fixtures.Fixture):
    """The namespaces ``server`` and ``client``, and the link between them.

    :param name: what their names begin with, unique on the machine.
    :param rate: bytes per second from the server to the client, over all
        connections together.
    """

    def __init__(self, name: str, rate: int = 4 * MIB) -> None:
        super().__init__()
        self._name = name
        self._rate = rate

    def _setUp(self) -> None:
        self.server = self._add(self._name + '-server')
        self.client = self._add(self._name + '-client')
        run(
            *('ip', 'link', 'add', _LINK, 'netns', self.server.name),
            *('type', 'veth', 'peer', 'name', _LINK),
            *('netns', self.client.name),
        )
        # The first one holds: without it, the others of the subnet go too.
        self.server.add_address(NAME_SERVER)
        self.server.add_address(SERVER)
        self.client.add_address(CLIENT)
        for namespace in (self.server, self.client):
            namespace.ip('link', 'set', 'lo', 'up')
            namespace.link('up')
        # A queue that holds all that the sockets do: the pace, not the loss
        # of packets, is what slows TCP down.
        run(
            *('tc', '-n', self.server.name, 'qdisc', 'add', 'dev', _LINK),
            *('root', 'tbf', 'rate', '%dbit' % (self._rate * 8)),
            *('burst', '64k', 'limit', '1m'),
        )

    def _add(self, name: str) -> Namespace:
        run('ip', 'netns', 'add', name)
        self.addCleanup(_delete, name)
        return Namespace(name)

    def blackhole(self) -> None:
        """Let nothing through, in either direction, and say nothing."""
        for namespace in (self.server, self.client):
            namespace.refuse('-j', 'DROP')

    def heal(self) -> int:
        """Remove every rule; return how many packets they took."""
        return self.server.heal() + self.client.heal()

    def move_server(self) -> None:
        """Give the server ``SERVER_ELSEWHERE`` in place of ``SERVER``."""
        self.server.add_address(SERVER_ELSEWHERE)
        self.server.ip('addr', 'del', SERVER + _PREFIX, 'dev', _LINK)


def _delete(name: str) -> None:
    # A test that failed may have left a process; it would keep the links.
    for pid in run('ip', 'netns', 'pids', name).split():
        os.kill(int(pid), signal.SIGKILL)
    run('ip', 'netns', 'del', name)


@dataclasses.dataclass(frozen=True)
class Request:
    """What nginx logged of one request, when it ended."""

    uri: str
    status: int
    #: The Range field, '' where there was none.
    range: str
    #: Bytes of the body that went into the socket.
    sent: int

    @property
    def start(self) -> int:
        """Where the bytes asked for begin."""
        return int(self.range.removeprefix('bytes=').partition('-')[0] or 0)


_NGINX_CONF = (
    """
# One process: it dies at once, and leaves no orphan.
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log info;
events {{ worker_connections 64; }}
http {{
    log_format request escape=json '{{"uri": "$uri", "status": $status, '
        '"range": "$http_range", "sent": $body_bytes_sent}}';
    access_log {directory}/access.log request;
"""
    + bench_servers.NGINX_TEMP
    + """    default_type application/octet-stream;
    sendfile on;
    # A connection that takes nothing is given up, and logged, soon.
    send_timeout 5s;
    reset_timedout_connection on;
    # What is sent, but not received, when a connection dies is bounded by
    # the socket's buffer: keep that small.
    server {{
        listen 80 sndbuf=128k;
        root {root};
    }}
}}
"""
)


class Nginx(fixtures.Fixture):
    """nginx on port 80 of every address of ``namespace``.

    :param root: the directory of what is served.
    """

    #: Bytes that may be lost on their way when a connection dies.
    IN_FLIGHT = 512 * 1024

    def __init__(self, namespace: Namespace, root: str) -> None:
        super().__init__()
        self._namespace = namespace
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def _setUp(self) -> None:
        self._directory = pathlib.Path(
            self.useFixture(fixtures.TempDir()).path
        )
        self._conf = self._directory / 'nginx.conf'
        self._conf.write_text(
            _NGINX_CONF.format(directory=self._directory, root=self._root)
        )
        self.addCleanup(self.kill)
        self.start()

    def start(self) -> None:
        """Return when connections are accepted."""
        process = self._process = subprocess.Popen(
            self._namespace.command(
                *('nginx', '-p', str(self._directory)),
                *('-c', str(self._conf)),
                *('-e', str(self._directory / 'error.log')),
            )
        )

        def listening() -> bool:
            if process.poll() is not None:
                raise RuntimeError(
                    'nginx: exit code %d: %s'
                    % (
                        process.returncode,
                        (self._directory / 'error.log').read_text(),
                    )
                )
            with self._namespace.open_socket(socket.SOCK_STREAM) as probe:
                return probe.connect_ex(('127.0.0.1', 80)) == 0

        wait_for('nginx listens', listening, 10)

    def kill(self) -> None:
        """SIGKILL; what was being sent is not logged."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def requests(self, uri: str) -> list[Request]:
        """Return what was logged for ``uri``, in the order of the starts.

        A connection that the client has given up while nothing came through
        is logged some seconds after.
        """
        wait_for('every connection has ended', self._idle, 15)
        text = (self._directory / 'access.log').read_text()
        requests = [Request(**json.loads(x)) for x in text.splitlines()]
        return sorted(
            (r for r in requests if r.uri == uri), key=lambda r: r.start
        )

    def _idle(self) -> bool:
        established = run(
            *('ss', '-N', self._namespace.name, '-Htn'),
            *('state', 'established', 'sport', '=', ':80'),
        )
        return not established
