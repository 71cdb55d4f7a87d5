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

"""The servers, each a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import time

from tools.bench import measure
from tools.bench import needs
from tools.bench import signals

#: Where nginx puts what it has no memory for; part of a configuration.
NGINX_TEMP = '''    client_body_temp_path {directory}/temp;
    proxy_temp_path {directory}/temp;
    fastcgi_temp_path {directory}/temp;
    uwsgi_temp_path {directory}/temp;
    scgi_temp_path {directory}/temp;
'''

_NGINX_CONF = (
    '''
daemon off;
{user}
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
'''
    + NGINX_TEMP
    + '''    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
'''
)

_PATIENCE = 10.0


@contextlib.contextmanager
def nginx(directory: pathlib.Path, root: pathlib.Path) -> Iterator[str]:
    """Serve ``root`` on loopback; yield the URL, with a slash at its end.

    :param directory: for what nginx itself needs; it is made.
    """
    directory.mkdir()
    port = _free_port()
    conf = directory / 'nginx.conf'
    conf.write_text(
        _NGINX_CONF.format(
            directory=directory,
            root=root,
            port=port,
            # Else its worker is somebody who may not look into a directory
            # that is root's alone.
            user='user root;' if os.geteuid() == 0 else '',
        )
    )
    log = directory / 'error.log'
    command = ['nginx', '-p', str(directory), '-c', str(conf), '-e', str(log)]
    with _process(command) as process:
        deadline = time.monotonic() + _PATIENCE
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise measure.Failed(
                    'nginx does not start: '
                    + log.read_text(errors='replace').strip()
                )
            time.sleep(0.02)
        yield 'http://127.0.0.1:%d/' % port


@contextlib.contextmanager
def paced(
    length: int, rate: int, slow_rate: int = 0, slow_every: int = 0
) -> Iterator[str]:
    """Serve ``length`` bytes, so many per second on each connection.

    See ``tools.bench.paced``, which is what runs. Yields the URL.
    """
    numbers = (length, rate, slow_rate, slow_every)
    command = [sys.executable, '-m', 'tools.bench.paced', *map(str, numbers)]
    with _process(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = process.stdout.readline()
        if not port:
            raise measure.Failed('the paced server does not start')
        yield 'http://127.0.0.1:%d/' % int(port)


@contextlib.contextmanager
def _process(
    command: list[str], stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    process = None
    try:
        with signals.postponed():
            process = subprocess.Popen(
                command,
                cwd=needs.ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                # Ctrl-C is for us: a server ends when nobody needs it.
                start_new_session=True,
            )
        yield process
    finally:
        with signals.postponed():
            if process is not None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0
