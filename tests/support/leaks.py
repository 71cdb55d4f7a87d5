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

"""What a functional test may leave behind: nothing.

``Leaks`` looks at the process and the machine when it is set up, and
``find`` tells what is there now and was not then. Other tests run at the
same time: what is on the machine counts only when it is known to be ours,
by a path under the test's own directory, by the name (``fac-PID-...``), or
by an environment variable.
"""

from __future__ import annotations

import collections.abc
import gc
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

import fixtures

_MARK = 'FUEL_AGENT_CURL_TEST'
_OWNER = re.compile(r'^fac-(\d+)-')

# A network namespace that another test enters takes a copy of every mount with
# it: a device mounted in that moment is busy until the namespace is gone.
_LOOP_PATIENCE = 60.0

_NAMESPACES = pathlib.Path('/run/netns')


class Leaks(fixtures.Fixture):
    """A picture of what is there.

    :param directory: the test's own directory, for all of its files.
    """

    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = os.path.realpath(directory)

    def _setUp(self) -> None:
        # Every process that a test starts inherits this, and so does a
        # daemon that has left its parent.
        self._mark = '%d-%d' % (os.getpid(), time.monotonic_ns())
        self.useFixture(fixtures.EnvironmentVariable(_MARK, self._mark))
        gc.collect()
        self._tasks = _tasks()
        self._descriptors = _descriptors()
        self._children = _children()
        self._namespaces = _namespaces()

    def find(self, patience: float) -> list[str]:
        """Return a line for each leak, after its removal where possible.

        :param patience: seconds for what is on its way out.
        """
        began = time.monotonic()
        while found := self._look():
            waited = time.monotonic() - began
            if waited > patience and not (
                waited < _LOOP_PATIENCE and _are_leaving(found)
            ):
                break
            time.sleep(0.02)
        if found:
            self._remove()
        return found

    def _look(self) -> list[str]:
        # What is only waiting to be collected is not held by anything.
        gc.collect()
        return [
            *('thread ' + name for name in self._new_tasks()),
            *(
                'descriptor %d: %s' % item
                for item in _descriptors().items()
                if item not in self._descriptors.items()
            ),
            *(
                'process %d: %s' % item
                for item in self._new_processes().items()
            ),
            *(
                '%s is mounted' % mount
                for mount in _mounts()
                if self._is_ours(mount)
            ),
            *(
                '%s: %s' % item
                for item in _loop_devices().items()
                if self._is_ours(item[1])
            ),
            *('network namespace ' + name for name in self._new_namespaces()),
        ]

    def _remove(self) -> None:
        """End what would disturb the tests to come."""
        for pid in self._new_processes():
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        commands = [
            *(['umount', m] for m in _mounts() if self._is_ours(m)),
            *(
                ['losetup', '-d', device]
                for device, path in _loop_devices().items()
                if self._is_ours(path)
            ),
            *(['ip', 'netns', 'del', n] for n in self._new_namespaces()),
        ]
        for command in commands:
            subprocess.run(command, check=False)

    def _is_ours(self, path: str) -> bool:
        return path.startswith(self._directory + '/')

    def _new_tasks(self) -> list[str]:
        names = {thread.native_id: thread for thread in threading.enumerate()}
        return [
            '%d: %s' % (tid, names.get(tid, comm))
            for tid, comm in _tasks().items()
            if tid not in self._tasks
        ]

    def _new_processes(self) -> dict[int, str]:
        return {
            pid: text
            for pid, text in {**_children(), **_marked(self._mark)}.items()
            if pid not in self._children and pid != os.getpid()
        }

    def _new_namespaces(self) -> list[str]:
        return [
            name
            for name in _namespaces()
            if name not in self._namespaces and not _is_anothers(name)
        ]


def _is_anothers(name: str) -> bool:
    owner = _OWNER.match(name)
    return (
        owner is not None
        and int(owner[1]) != os.getpid()
        and os.path.exists('/proc/' + owner[1])
    )


def _tasks() -> dict[int, str]:
    """Return the threads by their id, those of libraries too."""
    return {
        int(path.name): _read(path / 'comm').strip()
        for path in _entries('/proc/self/task')
    }


def _descriptors() -> dict[int, str]:
    found = {}
    for path in _entries('/proc/self/fd'):
        try:
            found[int(path.name)] = os.readlink(path)
        except FileNotFoundError:
            # The one that listed the directory.
            pass
    return found


def _children() -> dict[int, str]:
    found = {}
    for path in _processes():
        # proc(5): the command is in brackets and may hold anything.
        stat = _read(path / 'stat').rpartition(')')[2].split()
        if stat and int(stat[1]) == os.getpid():
            found[int(path.name)] = _command(path)
    return found


def _marked(mark: str) -> dict[int, str]:
    variable = '%s=%s' % (_MARK, mark)
    return {
        int(path.name): _command(path)
        for path in _processes()
        if variable in _read(path / 'environ').split('\0')
    }


def _command(path: pathlib.Path) -> str:
    line = _read(path / 'cmdline').replace('\0', ' ').strip()
    return line or 'ended, and not waited for'


def _are_leaving(found: list[str]) -> bool:
    """Tell whether all are loop devices that go when nobody has them open."""
    for line in found:
        path, _, _backing = line.partition(':')
        if not path.startswith('/dev/loop'):
            return False
        state = pathlib.Path('/sys/block', path[5:], 'loop/autoclear')
        # Nothing is read where it has gone meanwhile.
        if _read(state).strip() == '0':
            return False
    return True


def _mounts() -> list[str]:
    lines = _read(pathlib.Path('/proc/self/mounts')).splitlines()
    # The last one first, as they are to be unmounted.
    return [line.split()[1] for line in reversed(lines)]


def _loop_devices() -> dict[str, str]:
    """Return the backing file of each loop device in use."""
    found = {}
    for path in pathlib.Path('/sys/block').glob('loop*/loop/backing_file'):
        backing = _read(path).strip()
        if backing:
            found['/dev/' + path.parent.parent.name] = backing
    return found


def _namespaces() -> set[str]:
    return {path.name for path in _entries(_NAMESPACES)}


def _processes() -> collections.abc.Iterator[pathlib.Path]:
    return (p for p in _entries('/proc') if p.name.isdigit())


def _entries(directory: str | pathlib.Path) -> list[pathlib.Path]:
    try:
        return list(pathlib.Path(directory).iterdir())
    except FileNotFoundError:
        return []


def _read(path: pathlib.Path) -> str:
    """Return the text, '' of what has gone meanwhile or is not ours."""
    try:
        return path.read_text(errors='replace')
    except OSError:
        return ''
