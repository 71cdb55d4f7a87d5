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

"""What the origin sends to 1, 8 and 32 nodes, with a cache and without."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import random
import shutil
import sys
import time
from typing import Any

from fuel_agent_curl import octets
from tools.bench import needs
from tools.bench import program
from tools.bench import scratch
from tools.bench import signals
from tools.fleet import nodes as fleet
from tools.fleet import servers

#: What a site does not have to measure: more nodes, a usual image, and what a
#: cache with an interface of 10 Gbit/s sends in a second.
_MORE_NODES = (1000, 10000)
_USUAL_IMAGE = 2 * octets.GIB
_RATE = octets.GIB

# So that many nodes fit the memory of one machine.
_WINDOW = 16 * octets.MIB


@dataclasses.dataclass(frozen=True)
class Way:
    """How nodes get at the image.

    :ivar connections: of each node.
    :ivar program: what it needs besides nginx.
    """

    name: str
    connections: int
    program: str = 'nginx'


DIRECT = Way('no cache', 1)
SLICES = Way('nginx, slices', 4)
SQUID = Way('squid', 1, 'squid')


@dataclasses.dataclass(frozen=True)
class Row:
    """One measurement; lengths in bytes.

    :ivar sent: what the origin sent, in bodies.
    :ivar requests: that the origin answered.
    :ivar received: what the nodes together got.
    """

    way: str
    nodes: int
    image: int
    sent: int
    requests: int
    received: int
    seconds: float

    @property
    def share(self) -> float:
        """What the origin sent, as a multiple of the image."""
        return self.sent / self.image


class Site:
    """An image, an origin, and perhaps a cache that is empty.

    :param length: of the image, in bytes.
    """

    def __init__(self, directory: pathlib.Path, way: Way, length: int) -> None:
        directory.mkdir()
        self.length = length
        self.settings: dict[str, Any] = {
            'connections': way.connections,
            'window_size': _WINDOW,
            'backoff': 0.2,
            'backoff_max': 1.0,
        }
        root = directory / 'root'
        root.mkdir()
        image = random.Random(1).randbytes(length)
        (root / 'image').write_bytes(image)
        self.sha256 = hashlib.sha256(image).hexdigest()
        self.origin = servers.Origin(directory / 'origin', root)
        self.cache: servers.Server | None = None
        self.url = self.origin.url + '/image'
        if way is SLICES:
            self.cache = servers.SliceCache(
                directory / 'cache', '127.0.0.1:%d' % self.origin.port
            )
            self.url = self.cache.url + '/image'
        elif way is SQUID:
            self.cache = servers.Squid.caching(directory / 'cache')
            self.settings['proxy'] = self.cache.url

    def start(self) -> None:
        self.origin.start()
        if self.cache is not None:
            self.cache.start()

    def close(self) -> None:
        """Kill everything."""
        if self.cache is not None:
            self.cache.close()
        self.origin.close()

    def check(self, outcomes: Iterable[fleet.Outcome]) -> None:
        """Raise unless every node has got the image.

        :raises servers.Failed: with the first reason.
        """
        for outcome in outcomes:
            if outcome.error or outcome.sha256 != self.sha256:
                raise servers.Failed(
                    'a node failed: ' + (outcome.error or 'wrong bytes')
                )


def measure(directory: pathlib.Path, way: Way, nodes: int, length: int) -> Row:
    """Let ``nodes`` nodes begin at once, with nothing cached.

    :raises servers.Failed: if a server does not start, or a node fails.
    """
    with contextlib.ExitStack() as stack:
        site = Site(directory, way, length)
        stack.callback(site.close)
        site.start()
        copies = fleet.Fleet(site.url, nodes, site.settings)
        stack.callback(copies.close)
        copies.start()
        began = time.monotonic()
        outcomes = copies.wait()
        seconds = time.monotonic() - began
        if len(outcomes) != nodes:
            raise servers.Failed('%d of %d nodes' % (len(outcomes), nodes))
        site.check(outcomes)
        requests = site.origin.settled()
    return Row(
        way.name,
        nodes,
        length,
        sum(request.sent for request in requests),
        len(requests),
        sum(outcome.received for outcome in outcomes),
        seconds,
    )


def table(rows: Sequence[Row]) -> str:
    """Return what was measured."""
    head = ['', 'nodes', 'origin, MiB', 'images', 'requests', 'seconds']
    lines = [
        [
            row.way,
            '%d' % row.nodes,
            '%.1f' % (row.sent / octets.MIB),
            '%.2f' % row.share,
            '%d' % row.requests,
            '%.1f' % row.seconds,
        ]
        for row in rows
    ]
    return _aligned([head, *lines])


def project(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the arithmetic for more nodes: lengths in bytes, seconds.

    The share of each way is that of the most nodes measured; without a cache
    it grows with their number.
    """
    most = {row.way: row for row in sorted(rows, key=lambda row: row.nodes)}
    found = []
    for way, row in most.items():
        for nodes in _MORE_NODES:
            share = row.share
            if way == DIRECT.name:
                share = row.share / row.nodes * nodes
            found.append(
                {
                    'way': way,
                    'nodes': nodes,
                    'image': _USUAL_IMAGE,
                    'origin': round(share * _USUAL_IMAGE),
                    'nodes_get': nodes * _USUAL_IMAGE,
                    'seconds': nodes * _USUAL_IMAGE / _RATE,
                }
            )
    return found


def projection(found: Sequence[dict[str, Any]]) -> str:
    """Return the arithmetic as a table."""
    head = ['', 'nodes', 'origin, GiB', 'nodes get, GiB', 'minutes']
    lines = [
        [
            one['way'],
            '%d' % one['nodes'],
            '%.1f' % (one['origin'] / octets.GIB),
            '%.0f' % (one['nodes_get'] / octets.GIB),
            '%.0f' % (one['seconds'] / 60),
        ]
        for one in found
    ]
    return _aligned([head, *lines])


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for first, *others in lines:
        cells = [first.ljust(widths[0])]
        cells += map(str.rjust, others, widths[1:])
        text.append('  '.join(cells).rstrip() + '\n')
    return ''.join(text)


def main(argv: list[str] | None = None) -> int:
    """Measure, and report on stdout and in a JSON file."""
    options = _parser().parse_args(argv)
    program.forget_proxies()
    try:
        needs.require('nginx')
        with signals.interruptible():
            with scratch.directory(options.scratch) as directory:
                rows = _measure_all(options, directory)
    except needs.Missing as error:
        print(error, file=sys.stderr)
        return 2
    except (servers.Failed, OSError) as error:
        print('failed: %s' % error, file=sys.stderr)
        return 1
    found = project(rows)
    print('An image of %d MiB, to nodes that begin at once' % options.size)
    print(table(rows))
    print(
        'By arithmetic: an image of %d GiB, from one server or cache that '
        'sends %d GiB/s' % (_USUAL_IMAGE // octets.GIB, _RATE // octets.GIB)
    )
    print(projection(found))
    _write(options, rows, found)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Let a fleet copy one image, through a cache and without'
        ' one, and tell what the origin sent.'
    )
    parser.add_argument(
        '--nodes',
        type=lambda text: [int(each) for each in text.split(',')],
        default=[1, 8, 32],
        metavar='N[,N...]',
        help='how many (default: 1,8,32)',
    )
    parser.add_argument(
        '--size',
        type=int,
        default=64,
        metavar='MIB',
        help='length of the image (default: 64)',
    )
    parser.add_argument(
        '--scratch',
        metavar='DIR',
        help='where to make what is needed (default: where temporary files'
        ' go)',
    )
    parser.add_argument(
        '--output',
        metavar='DIR',
        default='bench-results',
        help='where bench_fleet.json goes (default: bench-results)',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='an image of 8 MiB, 4 nodes: to see that it works',
    )
    return parser


def _measure_all(
    options: argparse.Namespace, directory: pathlib.Path
) -> list[Row]:
    if options.quick:
        options.nodes, options.size = [4], 8
    rows: list[Row] = []
    for way in (DIRECT, SLICES, SQUID):
        missing = needs.missing([way.program])
        if missing:
            print('left out: %s: no %s' % (way.name, missing[0]))
            continue
        for nodes in options.nodes:
            path = directory / ('%s-%d' % (way.program, len(rows)))
            rows.append(measure(path, way, nodes, options.size * octets.MIB))
            shutil.rmtree(path)
    return rows


def _write(
    options: argparse.Namespace,
    rows: Sequence[Row],
    found: Sequence[dict[str, Any]],
) -> None:
    now = datetime.datetime.now(datetime.UTC)
    path = pathlib.Path(options.output)
    path.mkdir(parents=True, exist_ok=True)
    document = {
        'date': now.isoformat(timespec='seconds'),
        'options': vars(options),
        'cpus': os.cpu_count(),
        'units': 'seconds, bytes',
        'measured': [
            {**dataclasses.asdict(row), 'share': row.share} for row in rows
        ],
        'by arithmetic': found,
    }
    (path / 'bench_fleet.json').write_text(
        json.dumps(document, indent=1) + '\n'
    )
