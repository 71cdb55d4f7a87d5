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

"""The threads between the consumer and the sink.

What the consumer hands over goes to a thread that takes it to the sink, and
before that, where a digest is wanted, to one that hashes it. Whichever fails
first ends the others.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import functools
import logging
import queue
import threading
import time

from fuel_agent_curl import errors
from fuel_agent_curl import octets

LOG = logging.getLogger(__name__)

#: What is handed on at once, at most, in bytes.
SIZE = 1 * octets.MIB

#: How many of these may be on their way: what is uneven is smoothed out.
COUNT = 8

#: How long a call into the kernel is waited for when all is to end, in
#: seconds: as long as the kernel itself waits before it speaks of a hung task.
PATIENCE = 120.0

#: The same after the deadline: by then all should have ended already.
LATE_PATIENCE = 5.0

# A wait that is longer than this is said.
_QUIET = 2.0

#: Gives a buffer back to whom it belongs.
Release = Callable[[], None]

_Entry = tuple[memoryview, Release | None]
_Task = Callable[[memoryview], None]


def _nothing() -> None:
    """Do nothing."""


def patience(deadline: float | None) -> float:
    """Return how long to wait for the kernel now that all is to end."""
    if deadline is not None and time.monotonic() >= deadline:
        return LATE_PATIENCE
    return PATIENCE


class _Worker:
    """A thread whose end is waited for truly.

    A ``Thread.join`` that a signal interrupts takes the thread for one that
    has ended, in Python before 3.13.
    """

    def __init__(self, number: int, run: Callable[[], None]) -> None:
        self._run = run
        self.ended = threading.Event()
        # A daemon: a write that never returns must not keep the process when
        # its user has given up.
        self._thread = threading.Thread(
            target=self._main,
            name='fuel-agent-curl-sink-%d' % number,
            daemon=True,
        )

    def start(self) -> None:
        """Start it.

        :raises errors.ResourceError: where no thread can be had.
        """
        with errors.shortages():
            self._thread.start()

    def _main(self) -> None:
        try:
            self._run()
        finally:
            self.ended.set()

    def run_here(self) -> None:
        """Do it in this thread, where ``start`` has failed."""
        self._main()

    def join(self) -> None:
        """Wait for what is left to do after it has ended."""
        if self._thread.ident is not None:
            self._thread.join()


class Call:
    """A call of ``function``, once, in a thread of its own.

    Where no thread can be had, it is called in that of the caller.

    :param path: of the target, for what is said.
    """

    def __init__(self, function: Callable[[], None], path: str) -> None:
        self._function = function
        self._path = path
        self._raised: BaseException | None = None
        self._worker: _Worker | None = None

    def run(self, seconds: float) -> bool:
        """Return whether it has ended within that time.

        After a signal that has ended this it goes on, and can be waited for
        again.

        :raises BaseException: what the function has raised.
        """
        if self._worker is None:
            self._worker = _Worker(0, self._main)
            try:
                self._worker.start()
            except errors.ResourceError:
                self._worker.run_here()
        if not _wait_for([self._worker], seconds, self._path):
            return False
        if self._raised is not None:
            raise self._raised
        return True

    def _main(self) -> None:
        try:
            self._function()
        except BaseException as error:
            self._raised = error


class Relay:
    """Buffers that go from the caller's thread through other threads.

    :param tasks: functions that each view, of SIZE bytes at most, is handed
        to, one after the other, each in a thread of its own.
    :param cancel: called once, from whichever thread, if a task fails, to
        end what the caller may be waiting for.
    :param idle: called in the last task's thread when that has nothing to do.
    :param deadline: monotonic time until which all has to be done; None: no
        such time.
    :param path: of the target, for what is said.
    """

    def __init__(
        self,
        tasks: Sequence[_Task],
        cancel: Callable[[], None] = _nothing,
        idle: Callable[[], None] = _nothing,
        deadline: float | None = None,
        path: str = 'the target',
    ) -> None:
        self._path = path
        self._cancel = cancel
        self._idle = idle
        self._deadline = deadline
        # A signal handler may come back to it.
        self._lock = threading.RLock()
        self._ending = False
        self.error: BaseException | None = None
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _number in range(COUNT):
            self._room.put(None)
        #: One queue before each task; None: the end.
        self._queues: list[queue.SimpleQueue[_Entry | None]]
        self._queues = [queue.SimpleQueue() for _task in tasks]
        #: Everything has been handed to the last task, or never will be.
        self._drained = threading.Event()
        #: The last task's thread has done all, or one has failed.
        self._over = threading.Event()
        #: What the last task's thread does in the end; None: nothing.
        self._last: queue.SimpleQueue[Callable[[], None] | None]
        self._last = queue.SimpleQueue()
        self._workers = [
            _Worker(number, functools.partial(self._run, number, task))
            for number, task in enumerate(tasks)
        ]
        try:
            for worker in self._workers:
                worker.start()
        except BaseException:
            # A signal, or a thread that cannot be had: those that there are.
            self._end()
            raise

    def write(
        self, buffer: octets.Buffer, release: Release | None = None
    ) -> None:
        """Hand ``buffer`` on; waits while too much is on its way.

        :param release: called when the last task is done with it, from that
            one's thread; until then nothing changes it. None: it may change
            as soon as this returns, and is copied if it can.
        :raises BaseException: what a task has raised.
        :raises errors.DeadlineExceeded: at the deadline.
        """
        if release is None and not isinstance(buffer, bytes):
            buffer = bytes(buffer)
        view = memoryview(buffer)
        for start in range(0, len(view), SIZE):
            self.check()
            try:
                self._room.get(timeout=self._left())
            except queue.Empty:
                raise self._too_late() from None
            self.check()
            if self._ending:
                raise RuntimeError('written to after it was ended')
            stop = start + SIZE
            last = stop >= len(view)
            self._queues[0].put((view[start:stop], release if last else None))

    def check(self) -> None:
        """Raise what a task has raised, if one has."""
        if self.error is not None:
            raise self.error

    def finish(
        self,
        verify: Callable[[], None] = _nothing,
        last: Callable[[], None] = _nothing,
    ) -> None:
        """Wait until all tasks are done with everything, and all is done.

        :param verify: called then, in this thread.
        :param last: called after that, in the last task's thread.
        :raises BaseException: what a task, or one of these, has raised.
        :raises errors.DeadlineExceeded: at the deadline.
        """
        self._queues[0].put(None)
        self._wait(self._drained)
        self.check()
        verify()
        self._last.put(last)
        self._wait(self._over)
        self.check()
        for worker in self._workers:
            self._wait(worker.ended)
            worker.join()
        self.check()

    def cancel(self, error: BaseException) -> None:
        """Have whoever waits here raise ``error``, and the threads end.

        From any thread, and a signal handler. Where a task has failed, that
        is raised.
        """
        with self._lock:
            if not self._ending:
                self.error = error
                self._end()

    def abort(self, interrupt: Callable[[], None]) -> bool:
        """End the threads, each after the call it is in, and wait.

        Return whether all have ended. If not, the kernel has not given a call
        back for as long as anybody may be expected to wait: that call may go
        on at any time.

        :param interrupt: called to end a call that may take for ever.
        """
        self._end()
        interrupt()
        return _wait_for(self._workers, patience(self._deadline), self._path)

    def _left(self) -> float | None:
        """Return the seconds until the deadline; None: without one."""
        if self._deadline is None:
            return None
        return max(0.0, self._deadline - time.monotonic())

    def _wait(self, event: threading.Event) -> None:
        if not event.wait(self._left()):
            raise self._too_late()

    def _too_late(self) -> errors.DeadlineExceeded:
        return errors.DeadlineExceeded(
            'the deadline has passed, and %s is not complete yet' % self._path
        )

    def _end(self) -> None:
        self._ending = True
        # Whoever waits is woken; nobody waits twice.
        self._room.put(None)
        for waiting in self._queues:
            waiting.put(None)
        self._last.put(None)
        self._drained.set()
        self._over.set()

    def _run(self, number: int, task: _Task) -> None:
        following = [*self._queues[number + 1 :], None][0]
        try:
            self._work(self._queues[number], task, following)
            if following is not None:
                following.put(None)
                return
            self._drained.set()
            last = self._last.get()
            if last is not None and not self._ending:
                last()
            self._over.set()
        except BaseException as error:
            self._fail(error)

    def _work(
        self,
        waiting: queue.SimpleQueue[_Entry | None],
        task: _Task,
        following: queue.SimpleQueue[_Entry | None] | None,
    ) -> None:
        idle = self._idle if following is None else None
        while True:
            if idle is not None and waiting.empty():
                idle()
            if (entry := waiting.get()) is None or self._ending:
                return
            view, release = entry
            task(view)
            if following is not None:
                following.put(entry)
            else:
                view.release()
                if release is not None:
                    release()
                self._room.put(None)
            del entry, view

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._ending:
                return
            self.error = error
            self._end()
        self._cancel()


def _wait_for(workers: Sequence[_Worker], seconds: float, path: str) -> bool:
    """Return whether all have ended within that time; say when it is long."""
    began = time.monotonic()
    until = began + min(_QUIET, seconds)
    for worker in workers:
        if not worker.ended.wait(max(0.0, until - time.monotonic())):
            LOG.warning(
                '%s: waiting for the kernel to give back a call, for %d s at'
                ' most',
                path,
                seconds,
            )
            until = began + seconds
            if not worker.ended.wait(max(0.0, until - time.monotonic())):
                return False
        worker.join()
    return True
