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

"""What is said on the standard streams: without waiting, or at once.

What goes to an ``Output`` goes to a thread of its own: neither a terminal
that is stopped nor a reader that sleeps holds up the network, the disk, or a
signal. The standard library alone: this is in force before anything else is
imported.
"""

from __future__ import annotations

import collections
import fcntl
import io
import os
import select
import sys
import threading
import typing

# What may wait for its reader, in bytes; then the oldest lines are dropped.
_MOST = 256 * 1024

# What is written at once, in bytes: so often a slow reader is seen to read.
_PIECE = 4096

# How often the patience with a reader that does read, but slowly.
_TURNS = 4


def say(text: str) -> None:
    """Print a line on standard output, now.

    :raises BrokenPipeError: if nobody is there to read it.
    :raises errors.DeviceError: if it cannot be written.
    """
    try:
        sys.stdout.write(text + '\n')
        sys.stdout.flush()
    except OSError as error:
        # What is left in its buffer goes nowhere, or the interpreter would
        # complain about it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _raise(error)


def check_descriptor(descriptor: int) -> None:
    """Refuse to write to a descriptor that nobody has given to the program.

    :raises errors.OptionError: if it was not given, or is not for writing,
        or is standard input.
    """
    try:
        flags = fcntl.fcntl(descriptor, fcntl.F_GETFD)
        mode = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError:
        flags, mode = fcntl.FD_CLOEXEC, os.O_RDONLY
    # What was opened since then, by whatever there is in this process, is
    # closed by execve(2), which what was given to us has got past.
    if not descriptor or flags & fcntl.FD_CLOEXEC or mode == os.O_RDONLY:
        from fuel_agent_curl import errors

        raise errors.OptionError(
            'descriptor %d is not open for writing' % descriptor,
            hint='have the shell open it, as by 3>FILE for descriptor 3',
        )


def _raise(error: OSError) -> typing.NoReturn:
    if isinstance(error, BrokenPipeError):
        raise error
    from fuel_agent_curl.target import oserrors

    failure = oserrors.failure('standard output', error, doing='writing to')
    failure.hint = 'nothing else was wrong'
    raise failure from error


class Output(io.TextIOBase):
    """A text stream on a descriptor, whose ``write`` never waits or fails.

    :ivar error: why nothing can be written any more; None: it can.
    """

    def __init__(self, descriptor: int, encoding: str = 'utf-8') -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._encoding = encoding
        self._changed = threading.Condition()
        self._lines: collections.deque[bytes] = collections.deque()
        #: What is in there and what is being written, in bytes.
        self._size = 0
        self._ended = False
        # A daemon: it may be stuck when the program ends.
        self._thread = threading.Thread(
            target=self._run, name='output', daemon=True
        )
        try:
            # Not when there is something to say: that may be that there is
            # no memory left.
            self._thread.start()
        except RuntimeError:
            self._ended = True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    @property
    def pending(self) -> bool:
        """Whether something was not written yet: its reader is slow."""
        return self._size > 0

    def write(self, text: str, /) -> int:
        """Have ``text`` written soon; what cannot be encoded, as \\x.."""
        data = text.encode(self._encoding, 'backslashreplace')
        with self._changed:
            if data and self.error is None:
                self._size += len(data)
                if self._lines and not self._lines[-1].endswith(b'\n'):
                    data = self._lines.pop() + data
                self._lines.append(data)
                while self._size > _MOST and len(self._lines) > 1:
                    self._size -= len(self._lines.popleft())
                self._changed.notify_all()
        if self._ended:
            # The thread has ended: this one writes.
            self._run()
        return len(text)

    def close(self) -> None:
        """End the thread, when it has written what there is."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        super().close()

    def drain(self, patience: float) -> None:
        """Wait until all is written, or the reader has stopped reading.

        :param patience: how long nothing may be read, in seconds; altogether
            it takes at most four times as long.
        """
        with self._changed:
            for _turn in range(_TURNS):
                before = self._size
                self._changed.wait_for(lambda: not self._size, patience)
                if self._size in (0, before):
                    return

    def check(self) -> None:
        """Raise what ``say`` would have raised, if it could not be written."""
        if self.error is not None:
            _raise(self.error)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._ended)
                if not self._lines:
                    return
                data = self._lines.popleft()
            while data:
                count = self._write(data[:_PIECE])
                data = data[count:]
                with self._changed:
                    self._size -= count
                    if self.error is not None:
                        self._lines.clear()
                        self._size = 0
                        data = b''
                    self._changed.notify_all()

    def _write(self, data: bytes) -> int:
        """Write some of it; return how many bytes that was."""
        while True:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                # Someone shares this pipe with us and made it so.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError as error:
                self.error = error
                return 0
