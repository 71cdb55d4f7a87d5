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

"""The images: one like an operating system's, and one of zeros.

The first is ext4 with files of this machine in it, chosen by the digest of
their paths, so that the same machine makes the same image every time, and a
fifth of it is a mix of everything; the rest is empty. gzip makes about a
tenth of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import hashlib
import os
import pathlib
import random
import shutil
import subprocess

from zlib_ng import zlib_ng

from fuel_agent_curl import octets
from tools.bench import measure
from tools.bench import scratch
from tools.bench import signals

_SOURCES = ('/usr/bin', '/usr/lib', '/usr/share')
#: How much of the image files take.
_SHARE = 0.26
#: A file that is larger would be too much of the mix.
_FILE_MAX = 32 * octets.MIB

#: What the tools make of an image without being told more, by suffix.
PACKERS = {'gz': 'gzip', 'zst': 'zstd', 'xz': 'xz'}
#: More is said where that makes an image of several blocks, as is usual.
_OPTIONS = {'xz': ['-T0']}

_UUID = '6d0c3f5e-7a55-4c0e-9b5c-000000000001'
_TIME = 1600000000


@dataclasses.dataclass(frozen=True)
class Image:
    """An image that is on the server.

    :ivar digest: SHA-256 of what it unpacks to.
    :ivar packed: bytes, by suffix.
    """

    length: int
    digest: str
    packed: dict[str, int]


def make(
    directory: pathlib.Path, length: int, suffixes: Iterable[str]
) -> Image:
    """Make 'image' and 'image.SUFFIX' in ``directory``.

    What is there is used, if it is of the right length.
    """
    path = directory / 'image'
    if not path.exists() or path.stat().st_size != length:
        _ext4(path, length)
        for suffix in PACKERS:
            path.with_suffix('.' + suffix).unlink(missing_ok=True)
    made = {suffix: path.with_suffix('.' + suffix) for suffix in suffixes}
    _pack(path, {s: p for s, p in made.items() if not p.exists()})
    return Image(
        length,
        scratch.digest(path, length),
        {suffix: p.stat().st_size for suffix, p in made.items()},
    )


def _ext4(path: pathlib.Path, length: int) -> None:
    tree = path.with_name('tree')
    try:
        for source, _size in _chosen(int(length * _SHARE)):
            copied = tree / source.lstrip('/')
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copied)
            os.utime(copied, (_TIME, _TIME))
        with path.open('wb') as file:
            file.truncate(length)
        _run(
            [
                *('mkfs.ext4', '-q', '-F', '-U', _UUID),
                *('-E', 'hash_seed=' + _UUID, '-d', str(tree), str(path)),
            ],
            E2FSPROGS_FAKE_TIME=str(_TIME),
        )
    finally:
        shutil.rmtree(tree, ignore_errors=True)


def _chosen(budget: int) -> Iterator[tuple[str, int]]:
    """Return files, and their lengths, of at most ``budget`` bytes."""
    found = []
    for source in _SOURCES:
        for directory, _directories, names in os.walk(source):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path):
                    found.append((path, os.path.getsize(path)))
    found.sort(key=lambda item: hashlib.sha256(os.fsencode(item[0])).digest())
    for path, size in found:
        if size <= min(_FILE_MAX, budget):
            budget -= size
            yield path, size


def _pack(path: pathlib.Path, missing: dict[str, pathlib.Path]) -> None:
    """Run all packers at once."""
    running = []
    try:
        for suffix, packed in missing.items():
            partial = packed.with_name(packed.name + '.partial')
            with partial.open('wb') as file, signals.postponed():
                process = subprocess.Popen(
                    [*_packer(suffix), '-c', str(path)], stdout=file
                )
                running.append((process, partial, packed))
        for process, partial, packed in running:
            if process.wait():
                raise measure.Failed('%s could not be made' % packed)
            partial.rename(packed)
    finally:
        with signals.postponed():
            for process, partial, _packed in running:
                process.kill()
                process.wait()
                partial.unlink(missing_ok=True)


def _packer(suffix: str) -> list[str]:
    return [PACKERS[suffix], *_OPTIONS.get(suffix, [])]


def make_noise(directory: pathlib.Path, name: str, length: int) -> Image:
    """Make a file in which nothing is to be saved."""
    found = hashlib.sha256()
    source = random.Random(length)
    with (directory / name).open('wb') as file:
        for _mebibyte in range(length // octets.MIB):
            block = source.randbytes(octets.MIB)
            found.update(block)
            file.write(block)
    return Image(length, found.hexdigest(), {})


def make_zeros(directory: pathlib.Path, name: str, length: int) -> Image:
    """Make the gzip image NAME.gz: a little noise in a lot of zeros."""
    # As the file system of a fresh disk: something here and there.
    noise = random.Random(length).randbytes(64 * octets.KIB)
    packer = zlib_ng.compressobj(1, wbits=31)
    found = hashlib.sha256()
    path = directory / (name + '.gz')
    with path.open('wb') as file:
        for number in range(length // octets.MIB):
            block = bytes(octets.MIB)
            if number % 32 == 0:
                block = noise + block[len(noise) :]
            found.update(block)
            file.write(packer.compress(block))
        file.write(packer.flush())
    return Image(length, found.hexdigest(), {'gz': path.stat().st_size})


def make_hole(directory: pathlib.Path, name: str, length: int) -> None:
    """Make a file of ``length`` zeros that takes no space."""
    with (directory / name).open('wb') as file:
        file.truncate(length)


def _run(command: list[str], **environment: str) -> None:
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise measure.Failed('%s: %s' % (command[0], done.stderr.strip()))
