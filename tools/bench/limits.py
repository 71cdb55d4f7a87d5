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

"""What is published: figures beside what is possible at best.

Each limit is measured in the same run: decoding alone, dd from memory, curl
to nowhere; or it is arithmetic. ``tools/generate.py`` makes the table and the
chart of the documentation from the report, once that is put there.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterator
import contextlib
import dataclasses
import os
import pathlib
import socket
import subprocess
import threading
import time

from fuel_agent_curl import octets
from tools.bench import connections
from tools.bench import contenders
from tools.bench import figures
from tools.bench import images
from tools.bench import measure
from tools.bench import needs
from tools.bench import program
from tools.bench import rounds
from tools.bench import servers
from tools.bench import write

#: Bytes per second of each of many connections.
_SLOW = 5 * octets.MIB
_MANY = 64

#: Seconds from the start of the program to its first request.
_START = 0.08

_ALONE = '%s alone'


def main(argv: list[str] | None = None) -> int:
    parser = program.parser(
        'Measure what the documentation shows, each beside its limit.',
        SECTIONS,
    )
    parser.set_defaults(runs=3)
    program.add_size(parser, 1024, 'length of the images')
    program.add_images(parser)
    options = program.parse(parser, argv)
    options.loop_direct_io = False
    return program.run('bench_limits', 'Beside the limit', options, _compare)


def _compare(
    options: argparse.Namespace, directory: pathlib.Path
) -> Iterator[figures.Section]:
    needs.require('nginx', 'losetup', 'mkfs.ext4', root=True)
    bench = write.Bench(options, directory)
    needs.require_space(directory, 4 * bench.length)
    paced = connections.Bench(options, directory)
    with servers.nginx(directory / 'nginx', bench.root) as bench.url:
        for key, compare in SECTIONS.items():
            if program.wanted(options, key):
                yield from compare(bench, paced)


# What the target is written with.


def _unpacked(
    suffix: str, tool: str, line: str, goal: float | None = None
) -> Callable[[write.Bench, connections.Bench], Iterator[figures.Section]]:
    """Return the comparison of one container.

    :param tool: the quickest program for it.
    :param line: that, as it is called.
    :param goal: how many times as long as that program, and the start.
    """

    def compare(
        bench: write.Bench, _paced: connections.Bench
    ) -> Iterator[figures.Section]:
        packer = images.PACKERS[suffix]
        missing = needs.missing([packer, tool])
        if missing:
            rounds.say('left out: %s: missing: %s' % (packer, missing[0]))
            return
        name = 'image.' + suffix
        pipe = contenders.pipe(name, line + ' -d -c')
        bench.image()
        alone = _ALONE % tool
        rows = bench.compare(
            [contenders.copy(name), pipe], lambda _contender: bench.image()
        ) + bench.take_turns(
            [contenders.unpack(str(bench.root / name), line, alone)],
            bench.nowhere,
        )
        section = figures.Section(
            packer, '%s onto a loop device' % _sized(bench, packer), rows
        )
        yield _published(
            section,
            '%s, %s' % (_sized(bench), packer),
            section.row(alone),
            alone,
            others=(pipe.name,),
            goal=goal,
        )

    return compare


def _raw(
    bench: write.Bench, _paced: connections.Bench
) -> Iterator[figures.Section]:
    noise = images.make_noise(bench.root, 'noise', bench.length)
    dd = contenders.dd(str(bench.root / 'noise'), 'dd from memory')
    pipe = contenders.pipe('noise')
    rows = bench.compare(
        [contenders.copy('noise'), dd, pipe], lambda _contender: noise
    )
    (bench.root / 'noise').unlink()
    section = figures.Section(
        'raw', '%s, raw, onto a loop device' % _sized(bench), rows
    )
    yield _published(
        section,
        '%s, raw' % _sized(bench),
        section.row(dd.name),
        dd.name,
        others=(pipe.name,),
        goal=1.15,
    )


def _nowhere(
    bench: write.Bench, _paced: connections.Bench
) -> Iterator[figures.Section]:
    images.make_hole(bench.root, 'hole', bench.length)
    curl = contenders.curl('hole', '/dev/null')
    rows = bench.take_turns(
        [contenders.views('hole'), contenders.chunks('hole'), curl],
        bench.nowhere,
    )
    section = figures.Section(
        'nowhere', '%s to nowhere' % _sized(bench), rows, ('cpu',)
    )
    for name, text, goal in (
        (contenders.VIEWS, 'views', 1.6),
        (contenders.CHUNKS, 'bytes', 2.0),
    ):
        section = _published(
            section,
            '%s to nowhere, %s' % (_sized(bench), text),
            section.row(curl.name),
            curl.name,
            ours=name,
            goal=goal,
            cpu=True,
        )
    yield section


# Many connections.


def _sixteen(
    _bench: write.Bench, paced: connections.Bench
) -> Iterator[figures.Section]:
    section = _connections(
        paced, 'sixteen', connections.CONNECTIONS, connections.RATE, True
    )
    yield _published(
        section,
        section.measured[0].work + ', CPU',
        section.row(contenders.ARIA2),
        'aria2',
        goal=1.0,
        cpu=True,
    )


def _busy(
    _bench: write.Bench, paced: connections.Bench
) -> Iterator[figures.Section]:
    with _busy_core():
        yield _connections(
            paced, 'busy', connections.CONNECTIONS, connections.RATE, True
        )


def _many(
    _bench: write.Bench, paced: connections.Bench
) -> Iterator[figures.Section]:
    # No more than sixteen of aria2's connections go to one server.
    yield _connections(paced, 'many', _MANY, _SLOW, False)


def _connections(
    paced: connections.Bench,
    key: str,
    number: int,
    rate: int,
    compared: bool,
) -> figures.Section:
    length = paced.sizes.image
    limit = figures.limit_seconds(length, [rate] * number)
    candidates = [connections.ours(number)]
    if compared:
        candidates.append(contenders.aria2('image'))
    work = '%d MiB, %d connections of %d MiB/s' % (
        length >> 20,
        number,
        rate >> 20,
    )
    if key == 'busy':
        work += ', one core busy'
    section = figures.Section(
        key,
        work + ', to a file',
        paced.take_turns(candidates, paced.paced(length, rate=rate)),
    )
    section = dataclasses.replace(
        section,
        goals=tuple(figures.memory_within(section, connections.MEMORY)),
    )
    return _published(
        section,
        work,
        limit,
        'arithmetic',
        others=(contenders.ARIA2,),
        goal=1.1 if key == 'many' else 1.08,
    )


@contextlib.contextmanager
def _busy_core() -> Iterator[None]:
    """Have a process compute for as long as the block lasts."""
    process = subprocess.Popen(['sh', '-c', 'while :; do :; done'])
    try:
        yield
    finally:
        process.kill()
        process.wait()


# The start.


def _start(
    bench: write.Bench, _paced: connections.Bench
) -> Iterator[figures.Section]:
    alone = contenders.request('sector')
    target = str(bench.root / 'target')

    def run(contender: contenders.Contender, _check: bool) -> figures.Usage:
        return figures.Usage(_first_request(contender, target))

    rows = rounds.compare(
        [contenders.copy('sector'), alone, contenders.curl('sector', target)],
        run,
        # They are short, and what is to be told is little.
        1 if bench.options.quick else 15,
    )
    section = figures.Section('start', 'start to first request', rows)
    section = dataclasses.replace(
        section, goals=(figures.seconds_within(section, _START, 0),)
    )
    yield _published(
        section, section.title, section.row(alone.name), _ALONE % alone.name
    )


def _first_request(contender: contenders.Contender, target: str) -> float:
    """Return the seconds from its start to its request.

    :raises measure.Failed: if it fails.
    """
    came: list[float] = []
    with socket.create_server(('127.0.0.1', 0)) as listener:
        thread = threading.Thread(
            target=_answer, args=(listener, came), daemon=True
        )
        thread.start()
        url = 'http://127.0.0.1:%d/' % listener.getsockname()[1]
        (command,) = contender.stages(url, target)
        began = time.monotonic()
        code = subprocess.run(
            command, stdout=subprocess.DEVNULL, check=False
        ).returncode
        if code:
            raise measure.Failed('%s ended with %d' % (command[0], code))
        thread.join()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(target)
    return came[0] - began


def _answer(listener: socket.socket, came: list[float]) -> None:
    connection, _peer = listener.accept()
    with connection, connection.makefile('rb') as request:
        request.readline()
        came.append(time.monotonic())
        while request.readline().strip():
            pass
        connection.sendall(
            b'HTTP/1.1 200 OK\r\nContent-Length: 512\r\n'
            b'Connection: close\r\n\r\n' + bytes(512)
        )


# What they have in common.


def _sized(bench: write.Bench, packer: str = '') -> str:
    size = '%d MiB' % (bench.length >> 20)
    if bench.length == octets.GIB:
        size = '1 GiB'
    return '%s as %s' % (size, packer) if packer else size


def _published(
    section: figures.Section,
    work: str,
    limit: float | figures.Row | None,
    limited_by: str,
    *,
    ours: str | None = None,
    others: tuple[str, ...] = (),
    goal: float | None = None,
    cpu: bool = False,
) -> figures.Section:
    """Return the section with one line more that is published."""
    lines = figures.measured(
        section,
        work,
        limit,
        limited_by,
        ours=ours,
        others=others,
        goal=goal,
        cpu=cpu,
    )
    return dataclasses.replace(section, measured=section.measured + lines)


#: In their order.
SECTIONS = {
    'start': _start,
    'nowhere': _nowhere,
    'raw': _raw,
    'sixteen': _sixteen,
    'busy': _busy,
    'many': _many,
    'gzip': _unpacked('gz', 'igzip', 'igzip', 1.25),
    'zstd': _unpacked('zst', 'zstd', 'zstd'),
    'xz': _unpacked('xz', 'xz', 'xz -T0'),
}
