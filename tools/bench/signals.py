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

"""A signal ends a benchmark, and never what clears up after it."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import signal
import types

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Handler:
    """Raises what unwinds the stack: at once, or when that may be again."""

    def __init__(self) -> None:
        self._depth = 0
        self._came: int | None = None

    def __call__(self, number: int, _frame: types.FrameType | None) -> None:
        # Another one does not end the clearing up.
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        self._came = number
        self._raise()

    def _raise(self) -> None:
        if self._came is not None and not self._depth:
            number, self._came = self._came, None
            raise SystemExit(128 + number)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        self._raise()


_handler = _Handler()

#: A block in which what is made is also noted, or what clears up: a signal
#: raises at its end. (Blocked signals would be so in the children, too.)
postponed = _handler.postponed


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have every signal that asks for the end unwind the stack first."""
    before = {each: signal.signal(each, _handler) for each in _SIGNALS}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
