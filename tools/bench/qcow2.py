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

"""Qcow2 images from nginx on loopback onto a loop device.

Beside what agents do: download all of the file, then run qemu-img. What that
takes is memory where /tmp is a tmpfs, as in a ramdisk, and counts as such.
The disk is an ext4 filesystem with files of this machine, as those of the
cloud images of distributions are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
import dataclasses
import os
import pathlib
import random
import shutil
import stat
import subprocess

from fuel_agent_curl import octets
from tools.bench import contenders
from tools.bench import figures
from tools.bench import measure
from tools.bench import needs
from tools.bench import program
from tools.bench import rounds
from tools.bench import scratch
from tools.bench import servers

#: Times as long as download and conversion it may take.
TIMES = 0.6
#: The goal for the memory of a copy, whatever the image.
MEMORY = 128 * octets.MIB

# Programs, libraries and documents.
_FILES = pathlib.Path('/usr')
# No file is more than this part of the disk.
_LARGEST = 1 / 16
# The most that is left of the data in a packed image.
_PACKED = 0.8

_SECTIONS = {
    'plain': ('clusters as they are', ()),
    'zlib': ('clusters compressed by deflate', ('-c',)),
    'zstd': (
        'clusters compressed by zstd',
        ('-c', '-o', 'compression_type=zstd'),
    ),
}
_OTHER = 'curl, then qemu-img convert'


def main(argv: list[str] | None = None) -> int:
    parser = program.parser(
        'Copy qcow2 images from HTTP onto a loop device, with this project'
        ' and with curl and qemu-img.',
        _SECTIONS,
    )
    program.add_size(
        parser, 2048, 'length of the virtual disk, of which a third has data'
    )
    options = program.parse(parser, argv)
    return program.run(
        'bench_qcow2', 'Qcow2 images onto a loop device', options, _compare
    )


def _compare(
    options: argparse.Namespace, directory: pathlib.Path
) -> Iterator[figures.Section]:
    needs.require(
        *('nginx', 'losetup', 'curl', 'qemu-img', 'mkfs.ext4'), root=True
    )
    length = options.size * octets.MIB
    needs.require_space(directory, 3 * length)
    root = directory / 'images'
    root.mkdir()
    raw = directory / 'raw'
    rounds.say('making a disk')
    data = _make(raw, directory / 'files', length)
    expected = scratch.digest(raw, length)
    with servers.nginx(directory / 'nginx', root) as url:
        for key, (title, how) in _SECTIONS.items():
            if program.wanted(options, key):
                image = root / key
                rounds.say('making the image: ' + title)
                subprocess.run(
                    [
                        *('qemu-img', 'convert', '-f', 'raw'),
                        *('-O', 'qcow2', *how, str(raw), str(image)),
                    ],
                    check=True,
                )
                if how and image.stat().st_size > _PACKED * data:
                    raise measure.Failed('nothing is packed: ' + title)
                yield _section(options, directory, url, key, title, expected)
                image.unlink()


def _section(
    options: argparse.Namespace,
    directory: pathlib.Path,
    url: str,
    key: str,
    title: str,
    expected: str,
) -> figures.Section:
    length = options.size * octets.MIB

    def run(contender: contenders.Contender, check: bool) -> figures.Usage:
        with scratch.loop_device(
            directory / 'disk', length, fill=True, direct_io=False
        ) as device:
            usage = measure.run(
                contender.stages(url, device), directory / 'log'
            )
            if check and scratch.digest(device, length) != expected:
                raise measure.Failed(contender.name + ': another disk')
        file = directory / 'file'
        if file.exists():
            # It was kept meanwhile.
            kept = file.stat().st_size
            file.unlink()
            usage = dataclasses.replace(
                usage,
                largest=(usage.largest or 0) + kept,
                total=(usage.total or 0) + kept,
            )
        return usage

    candidates = (
        contenders.Contender(
            contenders.COPY,
            '{ours} copy --progress none --container qcow2 {url} {target}',
            key,
        ),
        contenders.Contender(
            _OTHER,
            'sh -c "curl -q -s -f -o %s {url} && qemu-img convert -n -t none'
            ' -f qcow2 -O raw %s {target} && sync {target}"'
            % (directory / 'file', directory / 'file'),
            key,
        ),
    )
    rows = rounds.compare(candidates, run, options.runs, not options.quick)
    section = figures.Section(
        key,
        '%d MiB of a virtual disk, %s' % (options.size, title),
        rows,
        ('seconds', 'largest'),
        notes=('the memory of %s is with the file' % _OTHER,),
    )
    return dataclasses.replace(
        section,
        goals=(
            figures.Goal(
                'seconds, over those of %s' % _OTHER,
                rows[0].seconds / rows[1].seconds,
                TIMES,
                at_most=True,
            ),
            *figures.memory_within(section, MEMORY, contenders.COPY),
        ),
    )


def _make(path: pathlib.Path, tree: pathlib.Path, length: int) -> int:
    """Make a disk of which a third has data, files of this machine.

    Return how many bytes have.

    :param tree: a directory to be made for them meanwhile.
    """
    chance = random.Random(1)
    found = sorted(
        pathlib.Path(directory, name)
        for directory, _directories, names in os.walk(_FILES)
        for name in names
    )
    chance.shuffle(found)
    left = length // 3
    for file in found:
        status = file.lstat()
        if left < 0:
            break
        if stat.S_ISREG(status.st_mode) and (
            status.st_size <= length * _LARGEST
        ):
            left -= status.st_size
            copy = tree / file.relative_to(_FILES)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    else:
        raise measure.Failed('there is too little in %s' % _FILES)
    with path.open('wb') as disk:
        disk.truncate(length)
    subprocess.run(
        ['mkfs.ext4', '-q', '-b', '4096', '-d', str(tree), str(path)],
        check=True,
    )
    shutil.rmtree(tree)
    return path.stat().st_blocks * 512
