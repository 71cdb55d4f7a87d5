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

"""Many connections at once: paced ones, slow ones, and as fast as it goes."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import pathlib

from fuel_agent_curl import octets
from tools.bench import contenders
from tools.bench import figures
from tools.bench import measure
from tools.bench import needs
from tools.bench import paced
from tools.bench import program
from tools.bench import rounds
from tools.bench import scratch
from tools.bench import servers

#: Bytes per second of each connection of the paced server ...
RATE = 20 * octets.MIB
#: ... and of every eighth one, where some are slow.
SLOW_RATE = RATE // 100
SLOW_EVERY = 8
CONNECTIONS = 16

#: The default window, and what may be used beside it.
MEMORY = (64 + 64) * octets.MIB

_LIMIT = 'arithmetic limit'
# The shortest image.
_SECTOR = 512
_START_UP = contenders.COPY + ', start-up'
_NOTES = (
    'only ours ends with the file synced',
    'start-up: the same for an image of one sector',
)


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """Lengths in bytes, and numbers of connections."""

    image: int = 768 * octets.MIB
    unlimited: int = 2048 * octets.MIB
    by_number: int = 256 * octets.MIB
    numbers: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    by_length: tuple[int, ...] = (
        256 * octets.MIB,
        1024 * octets.MIB,
        4096 * octets.MIB,
    )


_QUICK = _Sizes(
    24 * octets.MIB,
    32 * octets.MIB,
    8 * octets.MIB,
    (1, 4),
    (8 * octets.MIB, 16 * octets.MIB),
)


def main(argv: list[str] | None = None) -> int:
    parser = program.parser(
        'Copy an image to a file over many connections, with this project'
        ' and with what else there is.',
        _SECTIONS,
    )
    options = program.parse(parser, argv)
    return program.run(
        'bench_connections', 'Many connections', options, _compare
    )


def _compare(
    options: argparse.Namespace, directory: pathlib.Path
) -> Iterator[figures.Section]:
    needs.require('nginx')
    bench = Bench(options, directory)
    sizes = bench.sizes
    needs.require_space(directory, max(2 * sizes.unlimited, *sizes.by_length))
    for key, compare in _SECTIONS.items():
        if program.wanted(options, key):
            yield compare(bench)


class Bench:
    """What every section uses."""

    def __init__(
        self, options: argparse.Namespace, directory: pathlib.Path
    ) -> None:
        self.sizes = _QUICK if options.quick else _Sizes()
        self.directory = directory
        self._options = options
        self._digests: dict[int, str] = {}

    def take_turns(
        self, candidates: Iterable[contenders.Contender], run: rounds.Run
    ) -> tuple[figures.Row, ...]:
        return rounds.compare(
            candidates, run, self._options.runs, not self._options.quick
        )

    def paced(
        self,
        length: int,
        slow_rate: int = 0,
        slow_every: int = 0,
        rate: int = RATE,
    ) -> rounds.Run:
        """Return what runs a contender against a paced server of its own.

        Which connections are slow goes by their number, so each run has a
        server that counts from one.
        """

        def run(contender: contenders.Contender, check: bool) -> figures.Usage:
            with servers.paced(length, rate, slow_rate, slow_every) as url:
                expected = self._digest(length) if check else None
                return self.to_file(contender, url, length, expected)

        return run

    def to_file(
        self,
        contender: contenders.Contender,
        url: str,
        length: int,
        expected: str | None,
    ) -> figures.Usage:
        """Run a contender that writes a file; None: do not look at it."""
        target = self.directory / 'target'
        try:
            usage = measure.run(
                contender.stages(url, str(target)), self.directory / 'log'
            )
            size = target.stat().st_size
            if size != length or (
                expected and scratch.digest(target, length) != expected
            ):
                raise measure.Failed('%s: not the image' % contender.name)
        finally:
            target.unlink(missing_ok=True)
        return usage

    def _digest(self, length: int) -> str:
        if length not in self._digests:
            content = paced.content(length)
            self._digests[length] = scratch.digest_of(
                content[start : start + octets.MIB]
                for start in range(0, length, octets.MIB)
            )
        return self._digests[length]


def ours(
    number: int, name: str = '', image: str = 'image'
) -> contenders.Contender:
    """Our command line, with so many connections."""
    return contenders.copy(
        image, '--connections %d' % number, name or _named(number)
    )


def _named(number: int) -> str:
    return '%s, %d connection%s' % (
        contenders.COPY,
        number,
        '' if number == 1 else 's',
    )


def _limit(seconds: float, text: str = '') -> figures.Row:
    name = _LIMIT + (', ' + text if text else '')
    return figures.Row(name, (figures.Usage(seconds),))


def _start_up(bench: Bench) -> figures.Row:
    """Measure what it takes to copy nothing to speak of."""
    candidate = ours(CONNECTIONS, _START_UP)
    (row,) = bench.take_turns([candidate], bench.paced(_SECTOR))
    return row


def _within(
    section: figures.Section, limit: float, percent: float
) -> Iterator[figures.Goal]:
    """Yield the goal of a process, and that of one which is running."""
    yield figures.seconds_within(section, limit, percent)
    start_up = section.row(_START_UP)
    assert start_up is not None
    first = section.rows[0]
    yield figures.Goal(
        '%s: percent above %.2f s, after the start' % (first.name, limit),
        ((first.seconds - start_up.seconds) / limit - 1) * 100,
        percent,
        at_most=True,
    )


def _paced(bench: Bench) -> figures.Section:
    length = bench.sizes.image
    limit = figures.limit_seconds(length, [RATE] * CONNECTIONS)
    rows = bench.take_turns(
        [
            ours(CONNECTIONS),
            contenders.aria2('image'),
            contenders.curl(
                'image', '{target}', 'curl, 1 connection', once=True
            ),
        ],
        bench.paced(length),
    )
    section = figures.Section(
        'paced',
        '%d MiB to a file, each connection paced to %d MiB/s'
        % (length >> 20, RATE >> 20),
        (*rows, _start_up(bench), _limit(limit)),
        notes=_NOTES,
    )
    return dataclasses.replace(
        section,
        goals=(
            *_within(section, limit, 8),
            figures.times_as_fast(section, contenders.ARIA2, 1.2),
            *figures.memory_within(section, MEMORY),
        ),
    )


def _slow(bench: Bench) -> figures.Section:
    length = bench.sizes.image
    slow = CONNECTIONS // SLOW_EVERY
    quick = [RATE] * (CONNECTIONS - slow)
    limit = figures.limit_seconds(length, quick)
    rows = bench.take_turns(
        [ours(CONNECTIONS), contenders.aria2('image')],
        bench.paced(length, SLOW_RATE, SLOW_EVERY),
    )
    section = figures.Section(
        'slow',
        '%d MiB to a file, every %dth connection at 1 %% of %d MiB/s'
        % (length >> 20, SLOW_EVERY, RATE >> 20),
        (*rows, _start_up(bench), _limit(limit, 'the others alone')),
        notes=_NOTES,
    )
    return dataclasses.replace(
        section,
        goals=(
            *_within(section, limit, 20),
            figures.times_as_fast(section, contenders.ARIA2, 2),
            *figures.memory_within(section, MEMORY),
        ),
    )


def _unlimited(bench: Bench) -> figures.Section:
    length = bench.sizes.unlimited
    root = bench.directory / 'root'
    root.mkdir()
    content = paced.content(length)
    with (root / 'image').open('wb') as file:
        for start in range(0, length, octets.MIB):
            file.write(content[start : start + octets.MIB])
    expected = scratch.digest(root / 'image', length)
    with servers.nginx(bench.directory / 'nginx', root) as url:

        def run(contender: contenders.Contender, check: bool) -> figures.Usage:
            return bench.to_file(
                contender, url, length, expected if check else None
            )

        # Whoever comes after curl is slower by a sixth, the disk being busy
        # with what it has left: it does not come in between.
        rows = bench.take_turns([ours(4), ours(1)], run) + bench.take_turns(
            [contenders.curl('image', '{target}', 'curl, 1 connection')], run
        )
    (root / 'image').unlink()
    section = figures.Section(
        'unlimited',
        '%d MiB to a file, from nginx' % (length >> 20),
        rows,
        notes=_NOTES[:1],
    )
    one = rows[1].seconds
    return dataclasses.replace(
        section,
        goals=(
            dataclasses.replace(
                figures.seconds_within(section, one, 10),
                text='%s: percent slower than with 1' % rows[0].name,
            ),
            *figures.memory_within(section, MEMORY),
        ),
    )


def _numbers(bench: Bench) -> figures.Section:
    length = bench.sizes.by_number
    numbers = bench.sizes.numbers
    rows = bench.take_turns(
        [ours(number) for number in numbers], bench.paced(length)
    )
    return _sweep(
        'numbers',
        '%d MiB to a file, %d MiB/s a connection' % (length >> 20, RATE >> 20),
        rows,
        [figures.limit_seconds(length, [RATE] * n) for n in numbers],
    )


def _lengths(bench: Bench) -> figures.Section:
    lengths = bench.sizes.by_length
    runs = {_sized(length): bench.paced(length) for length in lengths}
    rows = bench.take_turns(
        [ours(CONNECTIONS, name) for name in runs],
        lambda contender, check: runs[contender.name](contender, check),
    )
    return _sweep(
        'lengths',
        'to a file, %d connections of %d MiB/s' % (CONNECTIONS, RATE >> 20),
        rows,
        [
            figures.limit_seconds(length, [RATE] * CONNECTIONS)
            for length in lengths
        ],
    )


def _sized(length: int) -> str:
    return '%d MiB' % (length >> 20)


def _sweep(
    key: str,
    title: str,
    rows: tuple[figures.Row, ...],
    limits: list[float],
) -> figures.Section:
    with_limits = tuple(
        dataclasses.replace(row, counts={'limit': limit})
        for row, limit in zip(rows, limits, strict=True)
    )
    section = figures.Section(key, title, with_limits, ('seconds', 'largest'))
    return dataclasses.replace(
        section,
        goals=tuple(
            figures.memory_within(section, MEMORY, *(r.name for r in rows))
        ),
        notes=('limit: seconds, by arithmetic',),
    )


#: In their order.
_SECTIONS = {
    'paced': _paced,
    'slow': _slow,
    'unlimited': _unlimited,
    'numbers': _numbers,
    'lengths': _lengths,
}
