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

"""Parts of a representation, read by ranges, in any order.

For what has to be known before all of it comes. Each part is a transfer as
any other, with its attempts, mirrors and proofs; one after the other they go
over one connection.

The parts of several mirrors are joined, as if there were a checksum: whoever
reads them compares them with the whole when that comes.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Sequence
import math
import queue
import random
import threading
import time
import types
import typing

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import exchange
from fuel_agent_curl.engine import multi
from fuel_agent_curl.engine import reread
from fuel_agent_curl.engine import transfer
from fuel_agent_curl.engine import window
from fuel_agent_curl.image import metalink
from fuel_agent_curl.rules import budget
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources

# How long closing waits for the thread, in seconds: see ``thread``.
_CLOSE_WAIT = 1.0


#: What is asked for: where it begins and ends, and where the answer goes.
Asked: typing.TypeAlias = (
    'queue.SimpleQueue[tuple[int, int, '
    'queue.SimpleQueue[bytes | BaseException]] | None]'
)


class _Part(window.Window):
    """A window that has room for one part, and nobody to take from it."""

    def __init__(
        self, start: int, stop: int, pieces: metalink.Pieces | None = None
    ) -> None:
        super().__init__(4 * (stop - start), stop - start, lambda: None)
        # No part goes on where an earlier download had ended.
        self.begin = 0
        self._start = start
        self._hashes = pieces
        self.data = bytearray(stop - start)

    def lease(self, offset: int) -> tuple[memoryview, int, int] | None:
        at = offset - self._start
        return memoryview(self.data), at, len(self.data) - at

    def commit(self, offset: int, count: int) -> bool:
        if self._hashes is None or not self._is_whole(offset + count):
            return True
        end = offset + count - self._start
        return self._hashes.match(self._start, memoryview(self.data)[:end])

    def _is_whole(self, stop: int) -> bool:
        """Tell whether these are all bytes, and whole pieces."""
        assert self._hashes is not None
        if self.length is not None and stop == self.length:
            whole = True
        else:
            whole = stop == self._start + len(self.data)
            whole = whole and stop % self._hashes.size == 0
        return whole and self._start % self._hashes.size == 0

    def start_of(self, offset: int) -> int:
        return self._start

    def before(self, offset: int, count: int) -> bytes:
        at = offset - self._start
        return bytes(self.data[max(0, at - count) : at])

    def want(self, stop: int) -> bool:
        return True

    @property
    def handed_on(self) -> int:
        """One at least: a part is never begun again with another image."""
        return 1


class Parts:
    """Reads parts; to be closed.

    :param urls: of the same bytes, the preferred first.
    :param expected: the complete length, where it is known.
    :param deadline: monotonic time, infinite for none.
    :param named: as of ``thread.NetworkThread``.
    :param pieces: hashes that a part is compared with which is whole pieces.
    :param asked: what others read by as well: whoever has nothing to do takes
        what was asked for first. None: nobody does.
    :param observe: called with each event, in the thread of this.
    :ivar stats: counters of all parts.
    """

    def __init__(
        self,
        urls: Sequence[str],
        settings: settings_module.Settings,
        *,
        expected: int | None = None,
        deadline: float = math.inf,
        named: Container[redirects.Origin] | None = None,
        pieces: metalink.Pieces | None = None,
        asked: Asked | None = None,
        observe: Callable[[events.Event], None] = lambda event: None,
    ) -> None:
        self.stats = events.Stats()
        self._pieces = pieces
        self._closing = False
        # An exception of a signal handler must not come out of a callback of
        # libcurl: the caller's thread only waits.
        self._asked: Asked = asked or queue.SimpleQueue()
        self._loop = multi.Loop()
        found = exchange.sources_of(urls, self.stats, named)
        self._context = exchange.Context(
            settings=settings,
            window=_Part(0, 1),
            loop=self._loop,
            sources=sources.Sources(found, True, expected),
            stats=self.stats,
            budget=budget.Budget(settings.max_recv_speed, time.monotonic()),
            checksum=True,
            deadline=deadline,
            random=random.random,
            observe=observe,
        )
        self._thread = threading.Thread(
            target=self._run, name='fuel-agent-curl-parts', daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:
            self._loop.close()
            raise

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.end()

    def end(self, patience: float = _CLOSE_WAIT) -> None:
        """End it, once, and wait for its thread, in seconds."""
        self.close()
        self._asked.put(None)
        if self._thread is not threading.current_thread():
            self._thread.join(patience)

    @property
    def length(self) -> int | None:
        """Complete length in bytes; None before the first part."""
        return self._context.length

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes [start, stop), or as many of them as there are.

        :raises errors.NoRanges: if no mirror serves a part.
        :raises errors.Error: for whatever ends the transfer.
        """
        return self.ask(start, stop)()

    def ask(self, start: int, stop: int) -> Callable[[], bytes]:
        """Begin to read; return what waits for it, as ``read`` does."""
        answers: queue.SimpleQueue[bytes | BaseException]
        answers = queue.SimpleQueue()

        def wait() -> bytes:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self._asked.put((start, stop, answers))
        return wait

    def close(self) -> None:
        """End what is under way; from any thread."""
        self._closing = True
        self._loop.wake()

    # In its thread.

    def _run(self) -> None:
        try:
            while (asked := self._asked.get()) is not None:
                start, stop, answers = asked
                try:
                    answers.put(self._read(start, stop))
                except BaseException as error:
                    answers.put(errors.shortage(error) or error)
        finally:
            self._loop.close()

    def _read(self, start: int, stop: int) -> bytes:
        part = self._context.window = _Part(start, stop, self._pieces)
        part.length = self._context.length
        source = self._context.sources.best()
        assert source is not None
        bringing = transfer.Transfer(
            self._context, self, source, segments.Segment(start, stop)
        )
        try:
            while bringing.under_way:
                if self._closing:
                    raise errors.Cancelled('the download was closed')
                wait = bringing.tick(time.monotonic())
                for attempt, code, text in self._loop.turn(wait):
                    bringing.finished(attempt, code, text)
        finally:
            bringing.drop()
            self.stats.received = self._context.received
        if bringing.error is not None:
            raise bringing.error
        length = self._context.length
        there = stop if length is None else max(start, min(stop, length))
        return bytes(part.data[: there - start])

    # What a transfer asks for: there is one, of one part.

    def sole(self, asking: transfer.Transfer) -> bool:
        """There are other parts, which its own has to fit."""
        return False

    def go_alone(self, remaining: transfer.Transfer) -> reread.HandedOn:
        """Nothing but parts is any use."""
        raise errors.NoRanges(
            'the server serves no ranges, and this image has to be read out of'
            ' order, or in parts',
            url=remaining.source.url,
        )

    def restart(self) -> segments.Segment:
        """Begin again."""
        raise RuntimeError('a part is never begun again')

    def take_all(self) -> None:
        """Never: a whole answer is refused by what is known before it."""

    def others(self, asking: transfer.Transfer) -> int:
        """Return how many more are asking the same mirror."""
        return 0

    def take_back(self, *segments_: segments.Segment) -> None:
        """Nothing is given back: there is nobody else."""

    def help(self, remaining: transfer.Transfer) -> None:
        """There is nothing to help with."""
