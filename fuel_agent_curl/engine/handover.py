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

"""The chunks on their way from the window to the consumer, in order.

Apart from the window because it is the consumer's alone: no other thread
knows of it.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Protocol

from fuel_agent_curl import errors
from fuel_agent_curl.engine import window as window_module


class Check(Protocol):
    """What is computed of everything that passes."""

    def copy(self) -> Check:
        """Return another that goes on from here."""

    def update(self, buffer: memoryview) -> None:
        """Take the next bytes.

        :raises errors.Error: if they are wrong.
        """

    def verify(self) -> None:
        """There are no more.

        :raises errors.Error: if they were not what they should be.
        """


class Handover:
    """Hands on views, each valid until the next or until it is given back.

    An exception may come between any two steps, from a signal handler, and
    the consumer may go on all the same. So all that is done before
    ``position`` changes can be done again, to the same end.

    :param checks: what the bytes have to pass before the last chunk is
        handed on.
    :param size: the longest view, in bytes.
    :param before: what those before the first have to pass, besides.
    :ivar position: bytes that the consumer has; it is the caller's to move.
    """

    def __init__(
        self,
        window: window_module.Window,
        checks: Sequence[Check],
        size: int,
        before: Sequence[Check] = (),
    ) -> None:
        self.position = window.handed_on
        self._window = window
        self._size = size
        self._before = before
        # How many chunks the checks have seen.
        self._checked: tuple[int, Sequence[Check]] = (
            self.position // window.chunk_size,
            checks,
        )
        # The last that was handed on, if it was not kept.
        self._lent: tuple[memoryview, window_module.Chunk] | None = None

    @property
    def checks_all(self) -> bool:
        """Whether there is a check of all bytes."""
        return bool(self._checked[1])

    @property
    def checks_before(self) -> bool:
        """Whether there is a check of those before the first."""
        return bool(self._checked[1] or self._before)

    def precede(self, view: memoryview) -> None:
        """Have bytes before the first that is handed on pass the checks.

        All of them, in order, before the first ``peek``.

        :raises errors.CannotContinue: if they are wrong.
        """
        try:
            for check in (*self._checked[1], *self._before):
                check.update(view)
        except errors.ContentError as error:
            raise errors.CannotContinue(
                'of what was left, %s' % error.message
            ) from error

    def peek(self) -> memoryview | None:
        """Return the bytes from ``position`` on, None at the end.

        :raises errors.Error: what the download, or a check, fails with.
        """
        index, at = divmod(self.position, self._window.chunk_size)
        self._take_back(index)
        self._window.let_go(index)
        chunk = self._window.take(index)
        if self._checked[1]:
            # The last chunk is handed on after the comparison only, and
            # which one is the last is known when no other follows.
            following = chunk and self._window.take(index + 1)
            self._check(chunk)
            self._check(following)
            if following is None:
                for check in self._checked[1]:
                    check.verify()
        if chunk is None or at == chunk.filled:
            return None
        view = chunk.content[at : at + self._size]
        self._lent = view, chunk
        return view

    def _check(self, chunk: window_module.Chunk | None) -> None:
        count, checks = self._checked
        if chunk is not None and chunk.index == count:
            checks = [check.copy() for check in checks]
            for check in checks:
                check.update(chunk.content)
            self._checked = count + 1, checks

    def _take_back(self, index: int) -> None:
        """End the last view; give its chunk back if it is past that."""
        lent = self._lent
        if lent is None:
            return
        # At most once: two chunks must never have the same buffer.
        self._lent = None
        view, chunk = lent
        try:
            view.release()
        except BufferError:
            # The consumer has made something of it that it still uses: the
            # buffer is left to that.
            return
        if chunk.index < index:
            self._window.give_back(chunk)

    def keep(self, view: object) -> Callable[[], None] | None:
        """Have ``view`` stay valid; see ``download.Download.keep``."""
        lent = self._lent
        if lent is None or view is not lent[0]:
            return None
        kept, chunk = lent
        if len(kept) < chunk.filled:
            return None
        self._lent = None
        give_back = self._window.give_back
        # Given back twice, the buffer would be that of two chunks.
        once = [chunk]

        def release() -> None:
            if once:
                kept.release()
                give_back(once.pop())

        return release

    def release(self) -> None:
        """Keep no memory; what was lent is the consumer's.

        From any thread, the one that reads may be anywhere in ``peek``: no
        check is forgotten here.
        """
        self._lent = None
        self._window.release()
