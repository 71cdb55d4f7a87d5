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
import queue
import threading

from fuel_agent_curl import octets

#: What is handed on at once, at most, in bytes.
SIZE = 1 * octets.MIB

#: How many of these may be on their way: what is uneven is smoothed out.
COUNT = 8

#: Gives a buffer back to whom it belongs.
Release = Callable[[], None]

_Entry = tuple[memoryview, Release | None]
_Task = Callable[[memoryview], None]


class Relay:
    """Buffers that go from the caller's thread through other threads.

    :param tasks: functions that each view, of SIZE bytes at most, is handed
        to, one after the other, each in a thread of its own.
    :param cancel: called once, from whichever thread, if a task fails, to
        end what the caller may be waiting for.
    :param idle: called in the last task's thread when that has nothing to do.
    """

    def __init__(
        self,
        tasks: Sequence[_Task],
        cancel: Callable[[], None] = lambda: None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._cancel = cancel
        self._idle = idle
        self._lock = threading.Lock()
        self._ending = False
        self.error: BaseException | None = None
        self._room: queue.SimpleQueue[None] = queue.SimpleQueue()
        for _number in range(COUNT):
            self._room.put(None)
        #: One queue before each task; None: the end.
        self._queues: list[queue.SimpleQueue[_Entry | None]]
        self._queues = [queue.SimpleQueue() for _task in tasks]
        self._threads: list[threading.Thread] = []
        for number, task in enumerate(tasks):
            # Daemons: a write that never returns must not keep the process
            # when its user has given up.
            thread = threading.Thread(
                target=self._run,
                args=(number, task),
                name='fuel-agent-curl-sink-%d' % number,
                daemon=True,
            )
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def write(
        self, buffer: octets.Buffer, release: Release | None = None
    ) -> None:
        """Hand ``buffer`` on; waits while too much is on its way.

        :param release: called when the last task is done with it, from that
            one's thread; until then nothing changes it. None: it may change
            as soon as this returns, and is copied if it can.
        :raises BaseException: what a task has raised.
        """
        if release is None and not isinstance(buffer, bytes):
            buffer = bytes(buffer)
        view = memoryview(buffer)
        for start in range(0, len(view), SIZE):
            self.check()
            self._room.get()
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

    def finish(self) -> None:
        """Wait until all tasks are done with everything.

        :raises BaseException: what a task has raised.
        """
        self._queues[0].put(None)
        for thread in self._threads:
            thread.join()
        self.check()

    def abort(self, interrupt: Callable[[], None]) -> None:
        """End the threads, each after the call it is in, and wait.

        :param interrupt: called to end a call that may take for ever.
        """
        self._end()
        interrupt()
        for thread in self._threads:
            thread.join()

    def _end(self) -> None:
        self._ending = True
        # Whoever waits for room is woken; nobody waits twice.
        self._room.put(None)
        for waiting in self._queues:
            waiting.put(None)

    def _run(self, number: int, task: _Task) -> None:
        waiting = self._queues[number]
        following = [*self._queues[number + 1 :], None][0]
        idle = self._idle if following is None else None
        try:
            while True:
                if idle is not None and waiting.empty():
                    idle()
                if (entry := waiting.get()) is None:
                    break
                if self._ending:
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
            if following is not None:
                following.put(None)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._ending:
                return
            self.error = error
            self._end()
        self._cancel()
