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

"""Threads that decode: parts that do not depend on each other, in order."""

from __future__ import annotations

import os
import queue
import threading
import typing

from fuel_agent_curl import errors

#: The most threads where nobody says otherwise.
THREADS_MAX = 8


def default_threads() -> int:
    """Return how many threads decode where nobody says otherwise."""
    return min(len(os.sched_getaffinity(0)), THREADS_MAX)


class Job(typing.Protocol):
    """What one thread does, from its beginning to its end."""

    def work(self) -> None:
        """Do it; what is wrong is kept for who waits, and never raised."""


class Workers:
    """Threads that do one job after the other, in the order of ``jobs``.

    They do not keep what has made them.
    """

    def __init__(self) -> None:
        #: None: the end of one of them.
        self.jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[tuple[threading.Thread, threading.Event]] = []

    def __len__(self) -> int:
        return len(self._threads)

    def start(self) -> None:
        """Start one more.

        :raises errors.ResourceError: where no thread can be had.
        """
        ended = threading.Event()
        # A daemon, as all of ours: fuel-agent exits by sys.exit.
        thread = threading.Thread(
            target=_work,
            args=(self.jobs, ended),
            name='fuel-agent-curl-unpack-%d' % len(self),
            daemon=True,
        )
        with errors.shortages():
            thread.start()
        self._threads.append((thread, ended))

    def end(self) -> None:
        """Wait until all have ended; what is in ``jobs`` is done first."""
        for _thread in self._threads:
            self.jobs.put(None)
        # Not by Thread.join alone: in Python before 3.13 one that a signal
        # interrupts takes the thread for ended.
        for thread, ended in self._threads:
            ended.wait()
            thread.join()


def _work(jobs: queue.SimpleQueue[Job | None], ended: threading.Event) -> None:
    try:
        while (job := jobs.get()) is not None:
            job.work()
            del job
    finally:
        ended.set()
