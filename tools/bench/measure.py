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

"""Run a pipeline of processes, and tell what it took."""

from __future__ import annotations

from collections.abc import Sequence
import contextlib
import os
import pathlib
import resource
import select
import signal
import time

from fuel_agent_curl import octets
from tools.bench import figures
from tools.bench import signals

# How often the memory of small processes is looked at, in seconds.
_TICK = 0.02

# Python ignores them, and what is ignored stays so over exec.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


class Failed(Exception):
    """A contender did not do its job, or not in time."""


def run(
    stages: Sequence[Sequence[str]],
    log: pathlib.Path,
    limit: float = 900.0,
) -> figures.Usage:
    """Run the stages as a shell runs a pipeline.

    :param log: file for what they print, stderr included.
    :param limit: seconds; then they are killed.
    :raises Failed: if one of them fails, or all of them take too long.
    """
    # What the one before has left in memory is not this one's to write.
    os.sync()
    processes: list[_Process] = []
    try:
        began = time.monotonic()
        with log.open('wb') as output, signals.postponed():
            _start(stages, output.fileno(), processes)
        _wait(processes, began + limit)
        seconds = time.monotonic() - began
    finally:
        with signals.postponed():
            for process in processes:
                process.end()
    failed = [
        '%s ended with %d' % (stage[0], process.status)
        for process, stage in zip(processes, stages, strict=True)
        if process.status
    ]
    if failed:
        # All of them: one that fails takes those before it along (SIGPIPE).
        said = log.read_text(errors='replace')
        raise Failed('%s: %s' % (', '.join(failed), said))
    peaks = [process.peak for process in processes]
    known = [value for value in peaks if value is not None]
    return figures.Usage(
        seconds,
        sum(process.cpu for process in processes),
        max(known, default=None),
        sum(known) if len(known) == len(peaks) else None,
    )


def peak(counted: int, floor: int, seen: int) -> int | None:
    """Return the peak memory of a process, in bytes; None: it is not known.

    :param counted: what wait4(2) says. It is never less than the peak of the
        process that started it (setmax_mm_hiwater_rss in Linux's exec):
    :param floor: that.
    :param seen: what was seen last of the process's own peak. What it grew
        by after that is missing, which for a process smaller than we are is
        next to nothing. 0: it ended before anybody looked.
    """
    return counted if counted > floor else seen or None


class _Process:
    """One process; ``end`` has to be called."""

    def __init__(
        self, command: Sequence[str], stdin: int, stdout: int, stderr: int
    ) -> None:
        self._floor = _high_water('self')
        self._seen = 0
        self._usage: resource.struct_rusage | None = None
        self.status = 0
        self.pid = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stdin, 0),
                (os.POSIX_SPAWN_DUP2, stdout, 1),
                (os.POSIX_SPAWN_DUP2, stderr, 2),
            ],
            setsigdef=_IGNORED,
        )
        self.fd = os.pidfd_open(self.pid)

    def look(self) -> None:
        self._seen = max(self._seen, _high_water(str(self.pid)))

    def reap(self) -> None:
        """Wait for the end, which must have come or be on its way."""
        _pid, status, self._usage = os.wait4(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        os.close(self.fd)

    def end(self) -> None:
        """Kill it unless it was reaped."""
        if self._usage is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, signal.SIGKILL)
            self.reap()

    @property
    def cpu(self) -> float:
        assert self._usage is not None
        return self._usage.ru_utime + self._usage.ru_stime

    @property
    def peak(self) -> int | None:
        assert self._usage is not None
        return peak(
            self._usage.ru_maxrss * octets.KIB, self._floor, self._seen
        )


def _start(
    stages: Sequence[Sequence[str]], output: int, processes: list[_Process]
) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    stdin = null
    try:
        for number, stage in enumerate(stages):
            following, stdout = -1, output
            if number + 1 < len(stages):
                following, stdout = os.pipe()
            try:
                processes.append(_Process(stage, stdin, stdout, output))
            except OSError as error:
                if following >= 0:
                    os.close(following)
                raise Failed('%s: %s' % (stage[0], error.strerror)) from error
            finally:
                if stdout != output:
                    os.close(stdout)
                os.close(stdin)
                stdin = -1
            stdin = following
    finally:
        if stdin >= 0:
            os.close(stdin)


def _wait(processes: Sequence[_Process], deadline: float) -> None:
    """Reap all of them, each when it ends."""
    poll = select.poll()
    running = {process.fd: process for process in processes}
    for fd in running:
        poll.register(fd, select.POLLIN)
    while running:
        for fd, _event in poll.poll(_TICK * 1000):
            poll.unregister(fd)
            running.pop(fd).reap()
        for process in running.values():
            process.look()
        if time.monotonic() > deadline:
            raise Failed('not done in time; killed')


def _high_water(pid: str) -> int:
    """Return the peak of resident memory so far, in bytes; 0: it is gone."""
    try:
        with open('/proc/%s/status' % pid, 'rb') as file:
            for line in file:
                if line.startswith(b'VmHWM:'):
                    return int(line.split()[1]) * octets.KIB
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
