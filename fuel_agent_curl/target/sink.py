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
import enum
import errno
import fcntl
import logging
import os
import select
import stat

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.target import filesystem
from fuel_agent_curl.target import oserrors

LOG = logging.getLogger(__name__)


class Life(enum.Enum):
    """How far a target has come; what its name says may have happened.

    A step is taken before what it stands for is tried: where that fails, how
    much of it was done is not known.
    """

    #: Nothing was written.
    UNTOUCHED = 'untouched'
    #: What made the target look complete is being taken away, or is gone.
    BLANK = 'blank'
    #: Parts of the image are there, but nothing that it is known by.
    WRITTEN = 'written'
    #: What the image is known by is being put there, or is there.
    PUBLISHED = 'published'
    #: There is no descriptor any more.
    CLOSED = 'closed'


_STEPS = {
    Life.UNTOUCHED: {Life.BLANK, Life.WRITTEN, Life.PUBLISHED, Life.CLOSED},
    Life.BLANK: {Life.WRITTEN, Life.PUBLISHED, Life.CLOSED},
    Life.WRITTEN: {Life.PUBLISHED, Life.CLOSED},
    # Taken back by ``abort``.
    Life.PUBLISHED: {Life.WRITTEN, Life.CLOSED},
    Life.CLOSED: set[Life](),
}

_WORDS = {
    Life.UNTOUCHED: 'untouched',
    Life.BLANK: 'blank',
    Life.WRITTEN: 'incomplete',
    Life.PUBLISHED: 'incomplete',
}


@values.dataclass(frozen=True)
class Description:
    """What a target is, before anything is written to it.

    :ivar kind: 'device', 'file' or 'stream'.
    :ivar way: what becomes of it: a device or a stream is 'written'; a file
        is 'made', 'replaced' in the end, 'overwritten' in place, or 'patched'
        where the block map says so.
    :ivar size: of a device, or of the file that is there, in bytes.
    :ivar free: bytes for which there is room on a file's file system.
    """

    kind: str
    way: str
    size: int | None = None
    free: int | None = None


class Sink(abc.ABC):
    """Where an image goes.

    :ivar path: as it was given, or 'standard output'.
    :ivar written: bytes of the image taken so far.
    :ivar phase: what it is busy with: 'copying', then 'syncing', then, where
        that is asked for, 'verifying'; before all of them 'comparing', where
        what is there may be reused.
    :ivar verified: bytes read back from the medium so far, in this phase.
    :ivar life: how far the target has come.
    :ivar keeps: after ``abort``, another run is to go on with what is there,
        if that is worth it.
    :ivar continues_at: where in the image it can, in bytes; None: it cannot.
    :ivar state: what the target is like, for people: 'untouched', 'blank'
        (what was there is gone, nothing of the image is), 'incomplete', or,
        after ``finish`` has returned, 'complete'.
    """

    #: 'device', 'file' or 'stream'.
    kind: str

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.written = 0
        self.phase = 'copying'
        self.verified = 0
        self.keeps = False
        self.continues_at: int | None = None
        self.life = Life.UNTOUCHED
        self.state = _WORDS[self.life]
        self._fd = fd
        #: Byte of the target that a failure now is at; None: not known.
        self._at: int | None = None

    def _become(self, life: Life, state: str | None = None) -> None:
        """Take the step to ``life``.

        :param state: the word for it; None: the one that goes with ``life``,
            or, on closing, that of before.
        :raises RuntimeError: where there is no such step.
        """
        if life not in _STEPS[self.life]:
            raise RuntimeError(
                '%s is %s and cannot become %s'
                % (self.path, self.life.value, life.value)
            )
        self.life = life
        self.state = state or _WORDS.get(life, self.state)

    @property
    def given(self) -> int:
        """Bytes of the image that the kernel has, or had, by now."""
        return self.written

    @abc.abstractmethod
    def check_length(self, length: int) -> None:
        """Refuse an image of ``length`` bytes, before anything is written.

        :raises errors.TargetTooSmall: when it does not fit.
        """

    @abc.abstractmethod
    def check_space(self, count: int) -> None:
        """Refuse what would take ``count`` bytes of a file system.

        :raises errors.TargetFull: when there are fewer.
        """

    @abc.abstractmethod
    def describe(self) -> Description:
        """Say what the target is; before ``begin``."""

    @abc.abstractmethod
    def judge(self) -> None:
        """Refuse an image by the first mebibyte of it, which was written.

        That is all that was: nothing of it is on a file or a device yet.

        :raises errors.DeviceError: of the class that says why.
        """

    @abc.abstractmethod
    def begin(self) -> None:
        """Make the target one that does not look complete."""

    @abc.abstractmethod
    def write(self, buffer: octets.Buffer) -> None:
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
        """Close the descriptor; a failure leaves none, either."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _failure(self, exc: OSError, doing: str) -> errors.DeviceError:
        return oserrors.failure(self.path, exc, doing=doing, offset=self._at)

    def _mapped(self, doing: str) -> oserrors.Mapped:
        return oserrors.Mapped(self._failure, doing)


class Stream(Sink):
    """A pipe, a terminal, /dev/null, or whatever a descriptor is open on.

    What goes in cannot be taken back.

    :param fd: the sink's from here on.
    :param shared: others have it too (dup(2)): their flags stay as they are,
        and where it is a file, its bytes go where theirs would. Else it was
        opened for this.
    """

    kind = 'stream'

    def __init__(self, path: str, fd: int, *, shared: bool = False) -> None:
        super().__init__(path, fd)
        self._interrupted = -1
        try:
            self._interrupted = os.eventfd(0)
            self._look_at(fd, shared)
        except BaseException:
            self._close()
            raise

    def _look_at(self, fd: int, shared: bool) -> None:
        mode = os.fstat(fd).st_mode
        self._is_file = stat.S_ISREG(mode)
        self._has_medium = self._is_file or stat.S_ISBLK(mode)
        # Whoever reads a pipe may have stopped for good. Where a write would
        # wait for that, it is one that finds room when poll(2) has said so.
        self._piece: int | None = None
        if not shared:
            os.set_blocking(fd, False)
        elif not self._has_medium:
            self._piece = select.PIPE_BUF

    def check_length(self, length: int) -> None:
        if self._has_medium:
            start = os.lseek(self._fd, 0, os.SEEK_CUR)
            if fcntl.fcntl(self._fd, fcntl.F_GETFL) & os.O_APPEND:
                start = os.fstat(self._fd).st_size
            filesystem.check_length(self.path, self._fd, start + length)

    def check_space(self, count: int) -> None:
        if self._is_file:
            filesystem.check_space(self.path, self._fd, count, old=False)

    def describe(self) -> Description:
        free = None
        if self._is_file:
            free = filesystem.free(self._fd, old=False)
        return Description(self.kind, 'written', free=free)

    def judge(self) -> None:
        """Do nothing: whatever comes is taken."""

    def begin(self) -> None:
        """Do nothing: there is nothing yet to look complete."""

    def write(self, buffer: octets.Buffer) -> None:
        rest = memoryview(buffer)
        if rest and self.life is Life.UNTOUCHED:
            self._become(Life.WRITTEN)
        with self._mapped('writing to'):
            while rest:
                self._at = self.written
                if self._piece is not None:
                    self._wait()
                try:
                    count = os.write(self._fd, rest[: self._piece])
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
        self._become(Life.PUBLISHED)
        self._at = None
        if self._has_medium:
            with self._mapped('syncing'):
                os.fsync(self._fd)
        with self._mapped('closing'):
            self._close()
        self._become(Life.CLOSED, 'complete')

    def abort(self) -> None:
        if self.life is Life.CLOSED:
            return
        try:
            self._close()
        except OSError as exc:
            LOG.warning('%s could not be closed: %s', self.path, exc)
        self._become(Life.CLOSED)

    def interrupt(self) -> None:
        os.eventfd_write(self._interrupted, 1)

    def _close(self) -> None:
        interrupted, self._interrupted = self._interrupted, -1
        if interrupted >= 0:
            os.close(interrupted)
        super()._close()
