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

"""The network thread of one download: how it begins, and how it ends.

It may be ended from any thread, from a signal handler, by the collector, at
the interpreter's exit, or by a fork, which leaves a copy without a thread in
the child. Nothing here takes a lock that any of these could be holding.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Sequence
import os
import queue
import random
import threading
import time
import weakref

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import exchange
from fuel_agent_curl.engine import multi
from fuel_agent_curl.engine import plan
from fuel_agent_curl.engine import window as window_module
from fuel_agent_curl.image import metalink
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import budget
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import sources

# How long the interpreter's exit waits for all threads together.
_EXIT_WAIT = 0.1

# Those that have begun and not ended.
_running: set[NetworkThread] = set()


class Listener:
    """Who is told of the events.

    The thread does not keep it alive: it may hold the download, which would
    never be dropped then.
    """

    def __init__(self, observe: Callable[[events.Event], None]) -> None:
        self.observe = observe


class NetworkThread:
    """Brings a representation into ``window``.

    :param urls: of the same bytes, the preferred first.
    :param checksum: the bytes of two of them may be joined, as they are
        compared with a checksum at the end.
    :param expected: the length in bytes, None where it is not known yet.
    :param pieces: hashes that the chunks are compared with.
    :param deadline: monotonic time, infinite for none.
    :param chunk_size: bytes of a chunk in the window.
    :param named: the origins that the user named: what was given goes there.
        None: those of all the URLs.
    :param kept: what is there already; the rest is brought.
    :ivar brought: as that of ``plan.Plan``, a moment ago.
    """

    def __init__(
        self,
        urls: Sequence[str],
        settings: settings_module.Settings,
        *,
        checksum: bool,
        expected: int | None,
        pieces: metalink.Pieces | None,
        listener: Listener | None,
        deadline: float,
        chunk_size: int,
        named: Container[redirects.Origin] | None = None,
        kept: sources.Kept | None = None,
    ) -> None:
        self.stats = events.Stats()
        self._listener = weakref.ref(listener) if listener else None
        # The first usable answer, or that there will be none.
        self._usable = False
        self._decided = False
        self._answer: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._closing = False
        self._inherited = False
        self._loop = multi.Loop()
        self.window = window_module.Window(
            settings.window,
            chunk_size,
            self._loop.wake,
            pieces,
            0 if kept is None else kept.offset,
        )
        self.brought = self.window.brought
        self._began = time.monotonic()
        found = exchange.sources_of(urls, self.stats, named)
        self._context = exchange.Context(
            settings=settings,
            window=self.window,
            loop=self._loop,
            sources=sources.Sources(found, checksum, expected),
            stats=self.stats,
            budget=budget.Budget(settings.max_recv_speed, self._began),
            checksum=checksum,
            deadline=deadline,
            random=random.random,
            observe=self._happened,
        )
        if kept is not None and self.window.handed_on:
            self._context.sources.keep(kept)
            self.window.length = kept.found.length
        # Taken by the thread when it begins, or by who finds that it will not.
        self._begun = threading.Lock()
        # A daemon: the interpreter's exit never waits for the network.
        self._thread = threading.Thread(
            target=self._run, name='fuel-agent-curl', daemon=True
        )

    @property
    def length(self) -> int | None:
        return self._context.length

    @property
    def end_proven(self) -> bool:
        return self._context.end_proven or self._context.checksum

    @property
    def found(self) -> tuple[str, answer.Representation] | None:
        """What is brought, and whose answer says so."""
        owner = self._context.sources.owner
        found = owner and owner.pin
        return (owner.url, found) if owner and found else None

    def start(self) -> None:
        """Begin.

        :raises RuntimeError: if no thread can be started.
        """
        try:
            _running.add(self)
            self._thread.start()
        except BaseException:
            # An exception from a signal handler may come before the thread
            # has begun, or after: whoever is first ends what was made.
            if self._begun.acquire(blocking=False):
                self._end()
            raise

    def wait(self) -> None:
        """Wait for the first usable answer.

        What fails after it is raised where the bytes are read, never here:
        it would depend on which thread came first.
        """
        while not self._decided:
            self._answer.get()
        if not self._usable:
            self.window.check()

    def close(self) -> None:
        """Have it end; do not wait. May be called at any time."""
        if self._inherited:
            return
        self._closing = True
        self.window.close(errors.Cancelled('the download was closed'))
        # Nobody waits for a resolver that keeps the thread.
        self._decide()
        self._loop.wake()

    def join(self, seconds: float) -> None:
        """Wait until it has ended, but not for long."""
        thread = self._thread
        if thread.ident and thread is not threading.current_thread():
            thread.join(seconds)

    def inherit(self) -> None:
        """This is a copy of it, in the child of a fork.

        Sockets, epoll and eventfd are the parent's, too: not even closing
        what libcurl has here would leave the parent undisturbed, as TLS says
        goodbye to the server.
        """
        self._inherited = True
        self._closing = True
        self.window.inherit(
            errors.Error(
                'the download belongs to the process that began it',
                hint='begin another in the child',
            )
        )
        self._decide()

    # In the thread itself.

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._work()
        except BaseException as error:
            self.window.fail(_without_frames(errors.shortage(error) or error))
        finally:
            self._end()

    def _work(self) -> None:
        transfers = plan.Plan(self._context)
        try:
            while not self._closing:
                wait = transfers.tick(time.monotonic())
                self.stats.seconds = time.monotonic() - self._began
                self.brought = transfers.brought
                if transfers.done:
                    self.window.finish(self._context.length or 0)
                    return
                received = self.stats.received
                for attempt, code, text in self._loop.turn(wait, received):
                    transfers.finished(attempt, code, text)
        finally:
            if not self._inherited:
                transfers.close()

    def _end(self) -> None:
        self.stats.seconds = time.monotonic() - self._began
        # Now: the memory of the window must not wait for the collector,
        # nor for a resolver.
        self.window.left()
        self._context.observe = _ignore
        self._decide()
        if not self._inherited:
            self._loop.close()
        _running.discard(self)

    def _decide(self) -> None:
        self._decided = True
        self._answer.put(None)

    def _happened(self, event: events.Event) -> None:
        if event.kind == 'started' and not self._decided:
            self._usable = True
            self._decide()
        listener = self._listener() if self._listener else None
        if listener is None:
            return
        try:
            listener.observe(event)
        except BaseException as error:
            # It ends the download, and does not unwind who reported.
            self._listener = None
            failure = errors.Error('the observer failed: %r' % error)
            failure.__cause__ = error
            self.window.fail(failure)
            self._closing = True


def _without_frames(error: BaseException) -> BaseException:
    """Return the error; it would keep what this thread had used.

    One that is not of ours is a bug, and its traceback is wanted.
    """
    cause: BaseException | None = error
    while isinstance(cause, errors.Error):
        cause.__traceback__ = None
        cause = cause.__cause__
    return error


def _ignore(event: events.Event) -> None:
    pass


def _leave_all() -> None:
    """End what is still under way when the interpreter exits."""
    left = list(_running)
    for each in left:
        each.close()
    until = time.monotonic() + _EXIT_WAIT
    for each in left:
        each.join(max(0.0, until - time.monotonic()))


def _inherit_all() -> None:
    """Leave what was under way to the parent."""
    left = list(_running)
    _running.clear()
    for each in left:
        each.inherit()


atexit.register(_leave_all)
os.register_at_fork(after_in_child=_inherit_all)
