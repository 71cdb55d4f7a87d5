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

"""What a sink is, and the simplest one: a stream.

A sink takes the image in order. ``opening.open_target`` makes one; one thread
at a time uses it.
"""

from __future__ import annotations

import abc
import contextlib
import errno
import os
import select

from fuel_agent_curl import errors
from fuel_agent_curl.target import oserrors

Buffer = bytes | bytearray | memoryview


class Sink(abc.ABC):
    """Where an image goes.

    :ivar path: as it was given.
    :ivar written: bytes of the image taken so far.
    """

    #: 'device', 'file' or 'stream'.
    kind: str

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.written = 0
        self._fd = fd

    @abc.abstractmethod
    def check_length(self, length: int) -> None:
        """Refuse an image of ``length`` bytes, before anything is written.

        :raises errors.TargetTooSmall: when it does not fit.
        """

    @abc.abstractmethod
    def begin(self) -> None:
        """Make the target one that does not look complete."""

    @abc.abstractmethod
    def write(self, buffer: Buffer) -> None:
        """Take the next bytes of the image.

        :raises errors.ImageTooLong: before anything is written past the end.
        :raises errors.DeviceError: of the class that says what happened.
        """

    @abc.abstractmethod
    def idle(self) -> None:
        """Use the time until the next ``write``; nothing has to be done."""

    @abc.abstractmethod
    def finish(self) -> None:
        """Make what was written the whole image, on the medium.

        :raises errors.DeviceError: ``abort`` is to be called then, too.
        """

    @abc.abstractmethod
    def abort(self) -> None:
        """Leave nothing that looks complete. Safe to call at any time."""

    @abc.abstractmethod
    def interrupt(self) -> None:
        """End a ``write`` that waits for a reader; from another thread."""

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _failure(
        self, exc: OSError, doing: str, offset: int
    ) -> errors.DeviceError:
        return oserrors.failure(self.path, exc, doing=doing, offset=offset)

    def _mapped(self, doing: str) -> oserrors.Mapped:
        return oserrors.Mapped(self._failure, doing)


class Stream(Sink):
    """A pipe, a terminal, /dev/null: what goes in cannot be taken back.

    :param fd: opened here, so that its being non-blocking is nobody else's
        concern. It is the sink's from here on.
    """

    kind = 'stream'

    def __init__(self, path: str, fd: int) -> None:
        super().__init__(path, fd)
        # Whoever reads a pipe may have stopped for good.
        os.set_blocking(fd, False)
        self._interrupted = os.eventfd(0)

    def check_length(self, length: int) -> None:
        """Do nothing: a stream has no length."""

    def begin(self) -> None:
        """Do nothing: there is nothing yet to look complete."""

    def write(self, buffer: Buffer) -> None:
        rest = memoryview(buffer)
        with self._mapped('writing to') as mapped:
            while rest:
                mapped.offset = self.written
                try:
                    count = os.write(self._fd, rest)
                except BlockingIOError:
                    self._wait()
                    continue
                self.written += count
                rest = rest[count:]

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        poll.register(self._interrupted, select.POLLIN)
        if any(fd == self._interrupted for fd, _event in poll.poll()):
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def idle(self) -> None:
        """Do nothing: whatever was taken is gone."""

    def finish(self) -> None:
        with self._mapped('closing') as mapped:
            mapped.offset = self.written
            self._close()

    def abort(self) -> None:
        with contextlib.suppress(OSError):
            self._close()

    def interrupt(self) -> None:
        os.eventfd_write(self._interrupted, 1)

    def _close(self) -> None:
        interrupted, self._interrupted = self._interrupted, -1
        if interrupted >= 0:
            os.close(interrupted)
        super()._close()
