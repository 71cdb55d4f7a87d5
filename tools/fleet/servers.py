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

"""The servers of a site: each a process group on loopback, killed at the end.

What they need is in one directory for each; nothing of the machine's own
configuration is used.
"""

from __future__ import annotations

from collections.abc import Mapping
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
from typing import Any

from tools.bench import servers as bench_servers
from tools.fleet import guide

_PATIENCE = 15.0

_NGINX = (
    """
daemon off;
{user}
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log info;
events {{ worker_connections 1024; }}
http {{
    log_format request escape=json '{{"range": "$http_range", '
        '"status": $status, "sent": $body_bytes_sent, '
        '"cache": "$upstream_cache_status"}}';
    access_log {directory}/access.log request;
"""
    + bench_servers.NGINX_TEMP
    + """    default_type application/octet-stream;
    sendfile on;
{http}
}}
"""
)

_ORIGIN = """
server {{
    listen 127.0.0.1:{port};
    root {root};
}}
"""

_SQUID = """
visible_hostname localhost
pid_filename none
cache_log cache.log
access_log stdio:access.log squid
cache_store_log none
hosts_file hosts
pinger_enable off
"""


# Whom Debian runs it as.
_USER = 'proxy'


def _spawn(command: list[str], **given: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # Its children are to be killed with it; and Ctrl-C is for us.
        start_new_session=True,
        **given,
    )


class Failed(Exception):
    """A server does not start."""


@dataclasses.dataclass(frozen=True)
class Request:
    """What nginx logged of one request, when it ended.

    :ivar range: the field's value, '' where there was none.
    :ivar sent: bytes of the body that went into the socket.
    :ivar cache: HIT, MISS, ... of a cache, else ''.
    """

    range: str
    status: int
    sent: int
    cache: str


class Port:
    """A port on 127.0.0.1 that is ours, whether a server listens or not."""

    def __init__(self) -> None:
        # Bound, and not listening: it is not given to anybody else, and a
        # server that sets SO_REUSEADDR can bind to it all the same.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(('127.0.0.1', 0))
        self.number: int = self._holder.getsockname()[1]

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(('127.0.0.1', self.number)) == 0

    def close(self) -> None:
        self._holder.close()


class Server:
    """A server on loopback; ``close`` has to be called.

    :param directory: for all of its files; it is made.
    """

    name: str
    #: Where it tells why it does not start.
    log: str

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        directory.mkdir()
        self._port = Port()
        self.port = self._port.number
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL, without a slash at its end."""
        return 'http://127.0.0.1:%d' % self.port

    def command(self) -> list[str]:
        raise NotImplementedError

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return _spawn(command)

    def start(self) -> None:
        """Return when connections are accepted.

        :raises Failed: if that takes too long, or it ends.
        """
        process = self._process = self.spawn(self.command())
        deadline = time.monotonic() + _PATIENCE
        while not self._port.listens():
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed('%s does not start: %s' % (self.name, self.why()))
            time.sleep(0.02)

    def why(self) -> str:
        """Return what it logged."""
        path = self.directory / self.log
        return path.read_text(errors='replace') if path.exists() else '?'

    def kill(self) -> None:
        """SIGKILL, for its children as well; the port is free afterwards."""
        process, self._process = self._process, None
        if process is None:
            return
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        deadline = time.monotonic() + _PATIENCE
        while self._port.listens() and time.monotonic() < deadline:
            time.sleep(0.01)

    def close(self) -> None:
        self.kill()
        self._port.close()


class _Nginx(Server):
    name = 'nginx'
    log = 'error.log'

    def configure(self, http: str) -> None:
        """Write the configuration; ``http`` goes into the block of it."""
        (self.directory / 'nginx.conf').write_text(
            _NGINX.format(
                directory=self.directory,
                http=http,
                # Else its worker is somebody who may not look into a
                # directory that is root's alone.
                user='user root;' if os.geteuid() == 0 else '',
            )
        )

    def command(self) -> list[str]:
        return [
            *('nginx', '-p', str(self.directory)),
            *('-c', str(self.directory / 'nginx.conf')),
            *('-e', str(self.directory / self.log)),
        ]

    def requests(self) -> list[Request]:
        """Return what has been logged: the requests that have ended."""
        text = (self.directory / 'access.log').read_text()
        return [Request(**json.loads(line)) for line in text.splitlines()]


class Origin(_Nginx):
    """nginx with files.

    :param root: the directory of these.
    """

    def __init__(self, directory: pathlib.Path, root: pathlib.Path) -> None:
        super().__init__(directory)
        self.configure(_ORIGIN.format(port=self.port, root=root))

    def settled(self) -> list[Request]:
        """Return the requests, when no more of them end for a while."""
        requests: list[Request] | None = None
        while requests != (now := self.requests()):
            requests = now
            time.sleep(0.3)
        return requests


class SliceCache(_Nginx):
    """nginx with the guide's configuration of a cache of slices.

    :param origin: HOST:PORT of what it caches.
    :param changes: to the text of the guide.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        origin: str,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(directory)
        self.configure(
            guide.block(
                'nginx-slice',
                {
                    '/var/cache/nginx/images': str(directory / 'cache'),
                    'listen 80;': 'listen 127.0.0.1:%d;' % self.port,
                    'origin.example.com:80': origin,
                    # What a small disk, too, has room for.
                    'max_size=200g': 'max_size=1g',
                    'min_free=10g': 'min_free=100m',
                    **(changes or {}),
                },
            )
        )


class Squid(Server):
    """squid.

    :param text: of its configuration, besides what keeps it to itself;
        '{port}' in it is ours, and paths are relative to the directory.
    :param hosts: names that it knows, for 127.0.0.1.
    """

    name = 'squid'
    log = 'cache.log'

    def __init__(
        self, directory: pathlib.Path, text: str, *hosts: str
    ) -> None:
        super().__init__(directory)
        text = _SQUID + text.replace('{port}', str(self.port))
        (directory / 'squid.conf').write_text(text)
        (directory / 'hosts').write_text(
            ''.join('127.0.0.1 %s\n' % name for name in ('localhost', *hosts))
        )
        # What its shared memory is called, on the whole machine.
        self._service = 'fac%dx%d' % (os.getpid(), self.port)
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            # It refuses to be root. Its files are below where it is started,
            # as the directories above may be closed to it.
            self._as = {'user': _USER, 'group': _USER, 'extra_groups': []}
            shutil.chown(directory, _USER)

    @classmethod
    def caching(cls, directory: pathlib.Path) -> Squid:
        """Return one with the guide's configuration."""
        text = guide.block(
            'squid-cache',
            {
                'http_port 3128': 'http_port 127.0.0.1:{port}',
                '10.0.0.0/8': '127.0.0.0/8',
                # Fewer directories, and what a small disk has room for.
                '/var/spool/squid 200000 16 256': 'spool 1000 4 4',
            },
        )
        squid = cls(directory, text)
        made = squid.spawn([*squid.command(), '-z'])
        if made.wait():
            raise Failed('squid makes no cache: ' + squid.why())
        return squid

    def command(self) -> list[str]:
        return ['squid', '-N', '-n', self._service, '-f', 'squid.conf']

    def spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        return _spawn(command, cwd=self.directory, **self._as)

    def close(self) -> None:
        super().close()
        for path in pathlib.Path('/dev/shm').glob(self._service + '-*'):
            path.unlink()

    def accesses(self) -> list[str]:
        """Return the lines of the access log, a line for each request."""
        text = (self.directory / 'access.log').read_text()
        # Not what only looked whether it listens.
        return [x for x in text.splitlines() if ' error:' not in x]
