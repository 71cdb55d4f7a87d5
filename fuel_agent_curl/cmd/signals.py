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

"""Signals that end the program: the first one tidily, a second one at once.

The standard library alone: this is in force before anything else is imported.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import os
import signal
import time
import types
import typing

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# One that follows another this soon, in seconds, is the same one: timeout(1)
# signals its child, and then the group that the child is in.
_TOGETHER = 0.2


class Interrupted(KeyboardInterrupt):
    """A signal ended the program.

    It is a KeyboardInterrupt, so that whoever tidies up after Ctrl-C does
    after the others as well.

    :ivar detail: how far it got, for the last line.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
        self.detail = ''

    def __str__(self) -> str:
        text = {
            signal.SIGINT: 'interrupted by Ctrl-C',
            signal.SIGTERM: 'ended by SIGTERM',
            signal.SIGHUP: 'the terminal hung up',
        }[signal.Signals(self.signum)]
        return '%s; %s' % (text, self.detail) if self.detail else text

    @property
    def exit_code(self) -> int:
        """What a shell makes of a program that this signal ended."""
        return 128 + self.signum


def too_late() -> None:
    """Ignore the signals from now on: how the run ends is decided."""
    for signum in _SIGNALS:
        signal.signal(signum, signal.SIG_IGN)


def catch() -> dict[int, typing.Any]:
    """Raise ``Interrupted`` in the main thread for the first signal.

    A second one is left to the kernel, if it is not the first once more: it
    ends the program even where Python code does not get to run, in a read
    from a dead disk for example.
    A signal that was ignored when we started (nohup) stays so.

    :returns: the handlers that there were.
    """
    previous: dict[int, typing.Any] = {
        signum: signal.getsignal(signum)
        for signum in _SIGNALS
        if signal.getsignal(signum) != signal.SIG_IGN
    }

    def first(signum: int, frame: types.FrameType | None) -> None:
        for each in previous:
            signal.signal(each, signal.SIG_IGN)
        time.sleep(_TOGETHER)
        for each in previous:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(signum)

    for signum in previous:
        signal.signal(signum, first)
    # In the background, a line for a terminal that wants none from there
    # (stty tostop) would stop the whole program; ignored, it is written.
    return previous | {
        signal.SIGTTOU: signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    }


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Have the signals caught in this block alone; see ``catch``."""
    previous = catch()
    try:
        yield
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def die(signum: int) -> None:
    """End the process by this signal, as if it had not been caught.

    A shell ends its loop only then; an exit code would say that the signal
    was dealt with. Returns where a signal does not end us: as process 1.
    """
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signum,))
    os.kill(os.getpid(), signum)
