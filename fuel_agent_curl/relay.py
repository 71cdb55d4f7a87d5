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

The consumer fills aligned buffers, preallocated and used again and again; a
thread takes each full one to the sink, and one before it, where a digest is
wanted, hashes it. Whichever fails first ends the others.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
import mmap
import queue
import threading

Buffer = bytes | bytearray | memoryview

KIB = 1024
MIB = 1024 * KIB

#: Length of a buffer: what is written at once.
SIZE = 1 * MIB

#: Number of buffers; with one that is filled and one that is written, this
#: many minus two smooth out what is uneven.
COUNT = 8

# Zeros are looked for in pieces of this length, and left out by as many.
_GRAIN = 64 * KIB

_ZEROS = bytes(_GRAIN)

_Entry = tuple[memoryview, memoryview]
_Task = Callable[[memoryview], None]


class Relay:
    """Buffers that go from the caller's thread through other threads.

    :param tasks: functions that each full buffer is handed to, one after
        the other, each in a thread of its own. A buffer is aligned to a
        page, SIZE bytes long if it is not the last, or all zeros and
        shorter, but a multiple of a page.
    :param cancel: called once, from whichever thread, if a task fails, to
        end what the caller may be waiting for.
    """

    def __init__(
        self,
        tasks: Sequence[_Task],
        cancel: Callable[[], None] = lambda: None,
    ) -> None:
        self._cancel = cancel
        self._lock = threading.Lock()
        self._ending = False
        self.error: BaseException | None = None
        #: Buffers that may be filled; None: there will be no more.
        self._free: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        for _number in range(COUNT):
            self._free.put(memoryview(mmap.mmap(-1, SIZE)))
        self._filling: memoryview | None = None
        self._filled = 0
        self._threads: list[threading.Thread] = []
        # Handed on in the place of a buffer full of zeros.
        self._zeros = memoryview(mmap.mmap(-1, SIZE, prot=mmap.PROT_READ))
        #: One queue before each task. An entry is a buffer and what is to be
        #: taken in its place, a part of it or zeros; None: the end.
        self._queues: list[queue.SimpleQueue[_Entry | None]]
        self._queues = [queue.SimpleQueue() for _task in tasks]
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

    def write(self, buffer: Buffer) -> None:
        """Copy ``buffer``; waits while all buffers are on their way.

        :raises BaseException: what a task has raised.
        """
        self.check()
        view = memoryview(buffer)
        while view:
            if self._filling is None:
                self._filling = self._free.get()
                if self._filling is None:
                    self.check()
                    raise RuntimeError('written to after it was ended')
            if not self._filled and (count := _leading_zeros(view)):
                # Most of many an image: not worth a copy.
                self._pass_on(self._zeros[:count])
                view = view[count:]
                continue
            count = min(SIZE - self._filled, len(view))
            stop = self._filled + count
            self._filling[self._filled : stop] = view[:count]
            self._filled = stop
            view = view[count:]
            if stop == SIZE:
                self._pass_on(self._filling)

    def check(self) -> None:
        """Raise what a task has raised, if one has."""
        if self.error is not None:
            raise self.error

    def finish(self) -> None:
        """Wait until all tasks are done with everything.

        :raises BaseException: what a task has raised.
        """
        if self._filling is not None:
            self._pass_on(self._filling[: self._filled])
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

    def _pass_on(self, view: memoryview) -> None:
        assert self._filling is not None
        # Zeros take a buffer along, too: there are only so many on the way.
        self._queues[0].put((self._filling, view))
        self._filling = None
        self._filled = 0

    def _end(self) -> None:
        self._ending = True
        # Whoever waits for a buffer is woken; nobody waits twice.
        self._free.put(None)
        for waiting in self._queues:
            waiting.put(None)

    def _run(self, number: int, task: _Task) -> None:
        following = [*self._queues[number + 1 :], None][0]
        try:
            while (entry := self._queues[number].get()) is not None:
                if self._ending:
                    return
                buffer, view = entry
                task(view)
                if following is None:
                    self._free.put(buffer)
                else:
                    following.put(entry)
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


def _leading_zeros(view: memoryview) -> int:
    """Return how many whole grains, in bytes, the view begins with."""
    stop = min(len(view), SIZE) // _GRAIN * _GRAIN
    for start in range(0, stop, _GRAIN):
        # By startswith it is a memcmp without a copy.
        if not _ZEROS.startswith(view[start : start + _GRAIN]):
            return start
    return stop
