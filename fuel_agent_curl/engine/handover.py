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


"""The chunks on their way from the window to the consumer, in order."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
import functools

from fuel_agent_curl.engine import window as window_module
from fuel_agent_curl.image import digest


class Handover:
    """Iterates over views, each valid until the next, or given back.

    :param check: what the chunks are compared with, before the last of them
        is handed on; None: nothing.
    :param size: the longest view, in bytes.
    """

    def __init__(
        self,
        window: window_module.Window,
        check: digest.Digest | None,
        size: int,
    ) -> None:
        self._lent = _Lent(window)
        # Generators that do not know this object: a cycle would keep all the
        # window's buffers until it is found.
        self._views = _chunks(window, check, self._lent)
        if window.chunk_size > size:
            self._views = _cut(self._views, size)

    def __next__(self) -> memoryview:
        return next(self._views)

    def keep(self, view: object) -> Callable[[], None] | None:
        """Have ``view`` stay valid; see ``download.Download.keep``."""
        return self._lent.keep(view)


class _Lent:
    """The view that the consumer has, if it has not kept it."""

    def __init__(self, window: window_module.Window) -> None:
        self._window = window
        self._view: memoryview | None = None

    def lend(self, view: memoryview) -> Iterator[memoryview]:
        self._view = view
        yield view
        if self._view is not None:
            self._window.give_back(self._view)
            self._view = None

    def keep(self, view: object) -> Callable[[], None] | None:
        if self._view is None or view is not self._view:
            return None
        give_back = functools.partial(self._window.give_back, self._view)
        self._view = None
        return give_back


def _chunks(
    window: window_module.Window, check: digest.Digest | None, lent: _Lent
) -> Iterator[memoryview]:
    held: memoryview | None = None
    while (view := window.take()) is not None:
        if check is not None:
            check.update(view)
            # The last chunk is handed on after the comparison only, and
            # which one is the last is known when no other follows.
            view, held = held, view
        if view is not None:
            yield from lent.lend(view)
    if check is not None:
        check.verify()
    if held is not None:
        yield from lent.lend(held)


def _cut(views: Iterator[memoryview], size: int) -> Iterator[memoryview]:
    """Hand the views on in parts of at most ``size`` bytes."""
    for view in views:
        for at in range(0, len(view), size):
            with view[at : at + size] as part:
                yield part
