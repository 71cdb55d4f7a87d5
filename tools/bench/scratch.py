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

"""What is made for a benchmark, and removed after it."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from fuel_agent_curl import octets
from tools.bench import measure
from tools.bench import signals

_PIECE = octets.MIB


@contextlib.contextmanager
def directory(parent: str | None) -> Iterator[pathlib.Path]:
    """Make a directory that is removed with all that is in it.

    :param parent: where; None: where temporary files go.
    """
    path = pathlib.Path(
        tempfile.mkdtemp(prefix='fuel-agent-curl-bench-', dir=parent)
    )
    try:
        yield path
    finally:
        with signals.postponed():
            shutil.rmtree(path)


@contextlib.contextmanager
def loop_device(
    path: pathlib.Path, length: int, *, fill: bool, direct_io: bool
) -> Iterator[str]:
    """Make a loop device over a new file.

    :param fill: there is something on it that must not shine through, and its
        blocks are in memory: on a virtual machine the first use of a page may
        cost more than the write. Else they are only reserved, and read as
        zeros.
    :param direct_io: what is written to it passes the page cache, as it does
        on its way to a disk.
    """
    with path.open('wb') as file:
        if fill:
            for _mebibyte in range(-(-length // _PIECE)):
                file.write(b'\xa5' * _PIECE)
            file.truncate(length)
        else:
            os.posix_fallocate(file.fileno(), 0, length)
    try:
        # A losetup that is only just being started may yet attach it.
        with signals.postponed():
            device = _losetup(
                '--find',
                '--show',
                '--direct-io=%s' % ('on' if direct_io else 'off'),
                str(path),
            )
        # Nobody pays for what was there before.
        os.sync()
        yield device
    finally:
        with signals.postponed():
            _detach(path)
            path.unlink()


def digest(path: str | pathlib.Path, length: int) -> str:
    """Return the SHA-256 of the first ``length`` bytes of a file."""
    with open(path, 'rb', buffering=0) as file:
        return digest_of(
            file.read(min(_PIECE, length - start))
            for start in range(0, length, _PIECE)
        )


def digest_of(pieces: Iterable[bytes]) -> str:
    """Return the SHA-256 of all pieces together."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def _detach(path: pathlib.Path) -> None:
    # By its file: whoever was interrupted may not know its name.
    listed = '--associated', str(path), '--noheadings', '--output', 'NAME'
    for name in _losetup(*listed).split():
        _losetup('--detach', name)


def _losetup(*arguments: str) -> str:
    done = subprocess.run(
        ['losetup', *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise measure.Failed('losetup: ' + done.stderr.strip())
    return done.stdout.strip()
