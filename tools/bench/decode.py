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

"""Unpacking: alone, within a copy to a loop device, and as others do it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import dataclasses
import pathlib
import subprocess

from fuel_agent_curl import octets
from tools.bench import contenders
from tools.bench import figures
from tools.bench import images
from tools.bench import measure
from tools.bench import needs
from tools.bench import program
from tools.bench import rounds
from tools.bench import scratch
from tools.bench import servers
from tools.bench import signals

#: Decoding from a file in the page cache to nowhere, the start of Python
#: included: no copy can take less.
ALONE = 'decoding alone'

_ALONE = '''
import sys
from fuel_agent_curl.image import containers
def read():
    with open(sys.argv[1], 'rb') as file:
        buffer = memoryview(bytearray(1 << 20))
        while count := file.readinto(buffer):
            yield buffer[:count]
for chunk in containers.decompress(read()):
    pass
'''
_ONE_THREAD = contenders.COPY + ', one thread'

#: What is allowed beside the blocks, by section.
_MEMORY = {'xz': (64 + 3 * 24) * octets.MIB}
_MEMORY_OTHERS = 80 * octets.MIB

#: The image in each container, and who else unpacks it.
_SECTIONS = {
    'xz': ('image.blocks.xz', 'xz -T0 -d -c'),
    'zstd': ('image.zst', 'zstd -d -c'),
    'gzip': ('image.gz', 'igzip -d -c'),
}
#: How many times as fast as that a copy is to be.
_FACTORS = {'xz': 1.25, 'zstd': 1.25, 'gzip': 2}
#: How many times as long as decoding alone it may take.
_GOALS = {'gzip': 1.25}


def main(argv: list[str] | None = None) -> int:
    parser = program.parser(
        'Unpack an image on its way from HTTP onto a loop device.', _SECTIONS
    )
    program.add_size(parser, 1024)
    program.add_images(parser)
    options = program.parse(parser, argv)
    return program.run('bench_decode', 'Unpacking', options, _compare)


def _compare(
    options: argparse.Namespace, directory: pathlib.Path
) -> Iterator[figures.Section]:
    needs.require('nginx', 'losetup', 'mkfs.ext4', root=True)
    length = options.size * octets.MIB
    needs.require_space(directory, 3 * length)
    root = pathlib.Path(options.images or directory / 'images').resolve()
    root.mkdir(parents=True, exist_ok=True)
    rounds.say('making the image')
    wanted = [key for key in _SECTIONS if program.wanted(options, key)]
    suffixes = [s for s, p in images.PACKERS.items() if p in wanted]
    image = images.make(root, length, {*suffixes} - {'xz'})
    with servers.nginx(directory / 'nginx', root) as url:
        for key in wanted:
            name, tool = _SECTIONS[key]
            if key == 'xz':
                _pack_blocks(root / 'image', root / name)
            candidates = [
                contenders.copy(name),
                contenders.Contender(
                    ALONE, '{python} -c {script} {url}', name, _ALONE
                ),
                contenders.pipe(name, tool),
            ]
            if key == 'xz':
                candidates.append(
                    contenders.copy(
                        name, '--decoder-threads 1', name=_ONE_THREAD
                    )
                )

            def run(
                contender: contenders.Contender, check: bool
            ) -> figures.Usage:
                where = str(root) + '/' if contender.name == ALONE else url
                return _onto_device(contender, where, image, directory, check)

            rows = rounds.compare(
                candidates, run, options.runs, not options.quick
            )
            yield _section(key, root / name, image.length, rows)


def _onto_device(
    contender: contenders.Contender,
    where: str,
    image: images.Image,
    directory: pathlib.Path,
    check: bool,
) -> figures.Usage:
    with scratch.loop_device(
        directory / 'disk', image.length, fill=True, direct_io=False
    ) as device:
        usage = measure.run(contender.stages(where, device), directory / 'log')
        if (
            check
            and contender.name != ALONE
            and scratch.digest(device, image.length) != image.digest
        ):
            raise measure.Failed(
                '%s: the device does not hold the image' % contender.name
            )
    return usage


def _section(
    key: str,
    path: pathlib.Path,
    length: int,
    rows: tuple[figures.Row, ...],
) -> figures.Section:
    packed = path.stat().st_size
    section = figures.Section(
        key,
        '%d MiB ext4 image, %d MiB as %s (%.1f %%)'
        % (length >> 20, packed >> 20, key, 100 * packed / length),
        rows,
        ('seconds', 'cpu', 'largest'),
    )
    pipe = 'curl | %s | dd' % _SECTIONS[key][1].partition(' ')[0]
    return dataclasses.replace(
        section,
        goals=(
            figures.times_as_fast(section, pipe, _FACTORS[key]),
            *figures.memory_within(section, _MEMORY.get(key, _MEMORY_OTHERS)),
        ),
        measured=figures.measured(
            section,
            '%d MiB in %s onto a loop device' % (length >> 20, key),
            section.row(ALONE),
            ALONE,
            others=(pipe,),
            goal=_GOALS.get(key),
        ),
    )


def _pack_blocks(image: pathlib.Path, packed: pathlib.Path) -> None:
    """Make an xz of several blocks, unless it is there."""
    if packed.exists():
        return
    partial = packed.with_name(packed.name + '.partial')
    try:
        with partial.open('wb') as file:
            done = subprocess.run(
                # By one thread it makes one block.
                ['xz', '-T2', '-c', str(image)],
                stdout=file,
                check=False,
            )
        if done.returncode:
            raise measure.Failed('%s could not be made' % packed)
        partial.rename(packed)
    finally:
        with signals.postponed():
            partial.unlink(missing_ok=True)
