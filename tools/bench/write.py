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

"""From nginx on loopback onto a loop device, as everybody does it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import pathlib

from fuel_agent_curl import octets
from tools.bench import contenders
from tools.bench import costs
from tools.bench import figures
from tools.bench import images
from tools.bench import measure
from tools.bench import needs
from tools.bench import program
from tools.bench import rounds
from tools.bench import scratch
from tools.bench import servers

#: The goal for the memory of a copy, whatever the image.
MEMORY = 80 * octets.MIB
#: How many times as much CPU as curl the chunk iterator may take.
CPU_RATIO = 1.3

#: How many times as much memory eight times the image may take.
FLAT = 1.2

_GUNZIP = 'curl | gunzip | dd'
_IGZIP = 'curl | igzip | dd'
_START_UP = ', start-up'

#: The longest image whose memory is measured.
_LONG = 8 * octets.GIB


def main(argv: list[str] | None = None) -> int:
    parser = program.parser(
        'Copy an image from HTTP onto a loop device, with this project and'
        ' with what else there is.',
        _SECTIONS,
    )
    program.add_size(parser, 2048)
    program.add_images(parser)
    parser.add_argument(
        '--loop-direct-io',
        action='store_true',
        help='have the loop device pass the page cache, as a disk does',
    )
    parser.add_argument(
        '--faults',
        action='store_true',
        help='measure what a reset every 16 MiB and a stall cost, in place'
        ' of all the rest',
    )
    options = program.parse(parser, argv)
    if options.faults:
        return program.run(
            'bench_costs',
            'A download through faults',
            options,
            costs.compare,
        )
    return program.run(
        'bench_write', 'From HTTP onto a loop device', options, _compare
    )


def _compare(
    options: argparse.Namespace, directory: pathlib.Path
) -> Iterator[figures.Section]:
    needs.require('nginx', 'losetup', 'mkfs.ext4', root=True)
    bench = Bench(options, directory)
    # The image, its containers, and the file of the loop device.
    space = 3 * bench.length
    if program.wanted(options, 'memory') and not options.quick:
        space = max(space, 2 * bench.length + _LONG)
    needs.require_space(directory, space)
    with servers.nginx(directory / 'nginx', bench.root) as bench.url:
        for key, compare in _SECTIONS.items():
            missing = needs.missing({key} & set(images.PACKERS.values()))
            if not program.wanted(options, key):
                continue
            if missing:
                rounds.say('left out: %s: missing: %s' % (key, missing[0]))
                continue
            yield compare(bench)


class Bench:
    """What every section uses.

    :ivar length: of the image, in bytes.
    :ivar root: the directory that is served.
    """

    url = ''

    def __init__(
        self, options: argparse.Namespace, directory: pathlib.Path
    ) -> None:
        self.options = options
        self.length = options.size * octets.MIB
        self.root = pathlib.Path(
            options.images or directory / 'images'
        ).resolve()
        self.root.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._image: images.Image | None = None

    def image(self) -> images.Image:
        """Return the image, made when it is first asked for."""
        if self._image is None:
            suffixes = [
                suffix
                for suffix, packer in images.PACKERS.items()
                if program.wanted(self.options, packer)
                and not needs.missing([packer])
            ]
            rounds.say('making the image (%s)' % ', '.join(suffixes))
            self._image = images.make(self.root, self.length, suffixes)
        return self._image

    def compare(
        self,
        candidates: Iterable[contenders.Contender],
        expected: Callable[[contenders.Contender], images.Image],
    ) -> tuple[figures.Row, ...]:
        def run(contender: contenders.Contender, check: bool) -> figures.Usage:
            return self.onto_device(contender, expected(contender), check)

        return self.take_turns(candidates, run)

    def take_turns(
        self, candidates: Iterable[contenders.Contender], run: rounds.Run
    ) -> tuple[figures.Row, ...]:
        options = self.options
        return rounds.compare(candidates, run, options.runs, not options.quick)

    def nowhere(
        self, contender: contenders.Contender, _check: bool
    ) -> figures.Usage:
        """Run one that keeps nothing."""
        stages = contender.stages(self.url, '/dev/null')
        return measure.run(stages, self._directory / 'log')

    def onto_device(
        self,
        contender: contenders.Contender,
        image: images.Image,
        check: bool,
    ) -> figures.Usage:
        """Run one that writes to a loop device."""
        with scratch.loop_device(
            self._directory / 'disk',
            image.length,
            # What is 8 GiB of zeros is not worth filling a disk for.
            fill=image.length <= self.length,
            direct_io=self.options.loop_direct_io,
        ) as device:
            usage = measure.run(
                contender.stages(self.url, device), self._directory / 'log'
            )
            if check and scratch.digest(device, image.length) != image.digest:
                raise measure.Failed(
                    '%s: the device does not hold the image' % contender.name
                )
        return usage


def _packed(bench: Bench, suffix: str) -> str:
    image = bench.image()
    length = image.packed[suffix]
    return '%d MiB ext4 image, %d MiB as %s (%.1f %%)' % (
        image.length >> 20,
        length >> 20,
        images.PACKERS[suffix],
        100 * length / image.length,
    )


def _gzip(bench: Bench) -> figures.Section:
    title = _packed(bench, 'gz')
    name = 'image.gz'
    rows = bench.compare(
        [
            contenders.copy(name),
            contenders.chain(name, ours=True, gunzip=True),
            contenders.chain(name, ours=False, gunzip=True),
            contenders.pipe(name, 'gunzip -c'),
            contenders.pipe(name, 'igzip -d -c'),
        ],
        lambda _contender: bench.image(),
    )
    section = figures.Section('gzip', title, rows, ('seconds', 'largest'))
    return dataclasses.replace(
        section,
        goals=(
            figures.times_as_fast(section, contenders.UPSTREAM, 8),
            figures.times_as_fast(section, _IGZIP, 2.5),
            figures.times_as_fast(section, _GUNZIP, 5),
            *figures.memory_within(
                section, MEMORY, contenders.COPY, contenders.INSTALLED
            ),
        ),
    )


def _unpacked(bench: Bench, suffix: str, factor: float) -> figures.Section:
    title, tool = _packed(bench, suffix), images.PACKERS[suffix]
    name = 'image.' + suffix
    rows = bench.compare(
        [contenders.copy(name), contenders.pipe(name, tool + ' -d -c')],
        lambda _contender: bench.image(),
    )
    section = figures.Section(tool, title, rows)
    return dataclasses.replace(
        section,
        goals=(
            figures.times_as_fast(section, 'curl | %s | dd' % tool, factor),
            *figures.memory_within(section, MEMORY),
        ),
    )


def _zstd(bench: Bench) -> figures.Section:
    return _unpacked(bench, 'zst', 1.3)


def _xz(bench: Bench) -> figures.Section:
    return _unpacked(bench, 'xz', 1)


def _raw(bench: Bench) -> figures.Section:
    length = bench.image().length
    rows = bench.compare(
        [
            contenders.copy('image'),
            contenders.chain('image', ours=True),
            contenders.chain('image', ours=False),
            contenders.pipe('image'),
        ],
        lambda _contender: bench.image(),
    )
    section = figures.Section(
        'raw', '%d MiB ext4 image, raw' % (length >> 20), rows
    )
    return dataclasses.replace(
        section,
        goals=(
            figures.times_as_fast(section, 'curl | dd', 2),
            figures.times_as_fast(section, contenders.UPSTREAM, 2),
            *figures.memory_within(section, MEMORY),
        ),
    )


def _chunks(bench: Bench) -> figures.Section:
    length = 2 * bench.length
    images.make_hole(bench.root, 'hole', length)
    images.make_hole(bench.root, 'byte', 1)
    rows = bench.take_turns(
        [
            contenders.chunks('hole'),
            contenders.curl('hole', '/dev/null'),
            contenders.chunks('byte', contenders.CHUNKS + _START_UP),
            contenders.curl('byte', '/dev/null', 'curl' + _START_UP),
        ],
        bench.nowhere,
    )
    section = figures.Section(
        'chunks',
        '%d MiB to nowhere, through the chunk iterator' % (length >> 20),
        rows,
        ('cpu',),
        notes=('start-up: the same for an image of one byte',),
    )
    return dataclasses.replace(
        section,
        goals=figures.cpu_within(
            section,
            length,
            CPU_RATIO,
            contenders.CHUNKS,
            'curl',
            _START_UP,
        ),
    )


def _memory(bench: Bench) -> figures.Section:
    short, long = ('1 GiB', octets.GIB), ('8 GiB', _LONG)
    if bench.options.quick:
        short, long = ('8 MiB', 8 * octets.MIB), ('64 MiB', 64 * octets.MIB)
    made = {}
    candidates = []
    for number, (text, length) in enumerate((short, long)):
        name = 'zeros-%d' % number
        rounds.say('making an image of %s of zeros' % text)
        image = images.make_zeros(bench.root, name, length)
        for contender in (
            contenders.copy(name + '.gz', name=_of(contenders.COPY, text)),
            contenders.chain(
                name + '.gz',
                ours=True,
                gunzip=True,
                name=_of(contenders.INSTALLED, text),
            ),
        ):
            candidates.append(contender)
            made[contender.name] = image
    rows = bench.compare(candidates, lambda contender: made[contender.name])
    section = figures.Section(
        'memory',
        'gzip images of zeros, and a little noise',
        rows,
        ('largest', 'seconds'),
    )
    return dataclasses.replace(
        section,
        goals=(
            *figures.memory_within(
                section, MEMORY, *(contender.name for contender in candidates)
            ),
            *(
                _flat(section, name, short[0], long[0])
                for name in (contenders.COPY, contenders.INSTALLED)
            ),
        ),
    )


def _of(name: str, text: str) -> str:
    return '%s, %s' % (name, text)


def _flat(
    section: figures.Section, name: str, short: str, long: str
) -> figures.Goal:
    rows = section.row(_of(name, short)), section.row(_of(name, long))
    value = None
    if rows[0] and rows[1] and rows[0].largest and rows[1].largest:
        value = rows[1].largest / rows[0].largest
    return figures.Goal(
        '%s: peak memory of %s over that of %s' % (name, long, short),
        value,
        FLAT,
        at_most=True,
    )


#: In their order; three are named as the tool that packs the image.
_SECTIONS = {
    'gzip': _gzip,
    'zstd': _zstd,
    'xz': _xz,
    'raw': _raw,
    'chunks': _chunks,
    'memory': _memory,
}
