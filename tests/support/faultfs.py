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

"""A file system that fails as it is told, and keeps a journal.

It hands everything on to a directory. A loop device on a file of it is a disk
with a journal: what was written, in which order, and where it was synced.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
import errno
import json
import os
import struct
import subprocess
import sys
import threading
import time
from typing import Any

import fixtures

from tests.support import loop

_HEAD = struct.Struct('<cQI')
_ATTRIBUTES = (
    *('st_mode', 'st_size', 'st_nlink', 'st_uid', 'st_gid'),
    *('st_mtime', 'st_atime', 'st_ctime', 'st_blocks'),
)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A line of the journal.

    :ivar data: what was written at ``offset``; None: all before was synced.
    """

    offset: int
    data: bytes | None


class FaultFs(fixtures.Fixture):
    """A mounted file system.

    :param directory: where everything it needs is made.
    :ivar path: the mount point.
    :ivar backing: the directory that it hands on to.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = os.path.join(directory, 'faultfs')

    def _setUp(self) -> None:
        self.path = os.path.join(self._directory, 'mount')
        self.backing = os.path.join(self._directory, 'backing')
        self._journal = os.path.join(self._directory, 'journal')
        for path in (self._directory, self.path, self.backing):
            os.mkdir(path)
        self._process = subprocess.Popen(
            [
                *(sys.executable, '-W', 'ignore', '-m', __name__),
                *(self.backing, self.path, self._journal),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(self._stop)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != 'ready\n':
            raise RuntimeError('no FUSE here')
        # It is told before the kernel has it mounted.
        while not os.path.ismount(self.path):
            if self._process.poll() is not None:
                raise RuntimeError('it could not be mounted')
            time.sleep(0.01)

    def _stop(self) -> None:
        subprocess.run(
            ['umount', '--lazy', self.path], check=False, capture_output=True
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def set(self, **faults: object) -> None:
        """Have these faults, in the place of those of before.

        The name is that of the call; the value is an errno's name, or a
        dictionary of ``errno``, ``start`` and ``stop`` (bytes of the file,
        for ``read`` and ``write``), ``after`` and ``times`` (calls that go
        well before, and that fail then). The errno 'DROP' is a write that is
        said to be done, and is not; 'SLOW' one that takes ``seconds``.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(faults) + '\n')
        self._process.stdin.flush()
        self._process.stdout.readline()

    def journal(self) -> list[Entry]:
        """Return all that was written and synced since the beginning."""
        with open(self._journal, 'rb') as journal:
            data = memoryview(journal.read())
        return list(_entries(data))


class Disk(loop.LoopDevice):
    """A loop device on a file of a ``FaultFs``."""

    def fail(self) -> None:
        raise NotImplementedError('this is done by FaultFs.set')

    def heal(self) -> None:
        """Do nothing: see ``fail``."""


def _entries(data: memoryview) -> Iterator[Entry]:
    while data:
        kind, offset, length = _HEAD.unpack(data[: _HEAD.size])
        data = data[_HEAD.size :]
        yield Entry(offset, None if kind == b's' else bytes(data[:length]))
        data = data[length:]


class _Faults:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, dict[str, Any]] = {}

    def listen(self) -> None:
        for line in sys.stdin:
            faults = {
                name: fault if isinstance(fault, dict) else {'errno': fault}
                for name, fault in json.loads(line).items()
            }
            with self._lock:
                self._faults = faults
            sys.stdout.write('set\n')
            sys.stdout.flush()

    def find(
        self, name: str, start: int = 0, stop: int = 1
    ) -> tuple[str, float] | None:
        with self._lock:
            fault = self._faults.get(name)
            if fault is None:
                return None
            if stop <= fault.get('start', 0):
                return None
            if fault.get('stop', stop) <= start:
                return None
            if fault.get('after', 0):
                fault['after'] -= 1
                return None
            if fault.get('times') == 0:
                return None
            if 'times' in fault:
                fault['times'] -= 1
            return fault['errno'], fault.get('seconds', 1)


def _serve(backing: str, mount_point: str, journal_path: str) -> None:
    import fuse

    faults = _Faults()

    class Operations(fuse.Operations):  # type: ignore[misc]
        def __init__(self) -> None:
            self._journal = open(journal_path, 'wb', buffering=0)  # noqa: SIM115
            self._lock = threading.Lock()

        def _check(self, name: str, start: int = 0, stop: int = 1) -> bool:
            found = faults.find(name, start, stop)
            if found is None:
                return True
            code, seconds = found
            if code == 'SLOW':
                time.sleep(seconds)
            elif code != 'DROP':
                raise fuse.FuseOSError(getattr(errno, code))
            return code != 'DROP'

        def _note(self, kind: bytes, offset: int, data: bytes) -> None:
            with self._lock:
                head = _HEAD.pack(kind, offset, len(data))
                self._journal.write(head + data)

        def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
            status = os.lstat(backing + path)
            return {name: getattr(status, name) for name in _ATTRIBUTES}

        def readdir(self, path: str, fh: int) -> list[str]:
            return ['.', '..', *os.listdir(backing + path)]

        def create(self, path: str, mode: int, fi: object = None) -> int:
            self._check('create')
            return os.open(backing + path, os.O_RDWR | os.O_CREAT, mode)

        def open(self, path: str, flags: int) -> int:
            return os.open(backing + path, os.O_RDWR)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            self._check('read', offset, offset + size)
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            if not self._check('write', offset, offset + len(data)):
                return len(data)
            self._note(b'w', offset, data)
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: object = None) -> None:
            self._check('truncate')
            os.truncate(backing + path, length)

        def fsync(self, path: str, datasync: int, fh: int) -> None:
            self._check('fsync')
            self._note(b's', 0, b'')

        def fsyncdir(self, path: str, datasync: int, fh: int) -> None:
            self._check('fsyncdir')

        def flush(self, path: str, fh: int) -> None:
            self._check('flush')

        def release(self, path: str, fh: int) -> None:
            os.close(fh)

        def rename(self, old: str, new: str) -> None:
            self._check('rename')
            os.rename(backing + old, backing + new)

        def unlink(self, path: str) -> None:
            self._check('unlink')
            os.unlink(backing + path)

        def chmod(self, path: str, mode: int) -> None:
            os.chmod(backing + path, mode)

        def chown(self, path: str, uid: int, gid: int) -> None:
            os.chown(backing + path, uid, gid)

    operations = Operations()
    threading.Thread(target=faults.listen, daemon=True).start()
    sys.stdout.write('ready\n')
    sys.stdout.flush()
    fuse.FUSE(
        operations,
        mount_point,
        foreground=True,
        # Without a cache of the kernel: what is read is what is there.
        direct_io=True,
        big_writes=True,
        max_write=131072,
    )


if __name__ == '__main__':
    _serve(*sys.argv[1:])
