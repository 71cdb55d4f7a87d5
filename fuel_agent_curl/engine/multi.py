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

"""The event loop round the multi handles.

libcurl tells which sockets and which timer it waits for
(libcurl-multi: socket_action); an eventfd lets another thread interrupt the
wait. ``CurlMulti.select`` would not do: it is select(2), which knows no
descriptor above 1023, and it cannot be woken.

There is one multi handle, until a connection has to be left behind that
several attempts share.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
import os
import selectors
import time

import pycurl

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import handles
from fuel_agent_curl.engine import scarcity
from fuel_agent_curl.rules import codes

# libcurl wants a call now and then even with nothing to do: some resolvers
# and timers are only looked at then.
_LONGEST_WAIT = 1.0
# Bytes that each socket has to bring to be worth a turn, and how long they are
# given, in seconds, to gather. The latter has to be little beside the time
# that a segment takes: one that has ended meanwhile is followed by the next
# that much later.
_WORTH_A_TURN = 64 * octets.KIB
_GATHERING = 0.004


# A name is not looked up for longer than this, in seconds (resolv.conf: 30 at
# the most by default); then a pool can be closed without waiting for that.
_LOOKUP_MAX = 60.0


class _Wakeup:
    """An eventfd, closed when nobody uses it any more.

    No lock is needed to write to it, then: a signal handler may.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._close = os.close

    def __del__(self) -> None:
        if hasattr(self, 'fd'):
            self._close(self.fd)


class _Pool:
    """One multi handle: attempts that may share connections.

    :ivar due: monotonic time of the call that libcurl wants, None for none.
    :ivar used: attempts that are there.
    :ivar resolved: monotonic time at which every lookup of a name has ended,
        those of attempts included that were removed meanwhile.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self.due: float | None = None
        self.used = 0
        self.resolved = -math.inf
        self._error: Exception | None = None
        try:
            self.multi = pycurl.CurlMulti()
        except pycurl.error as error:
            scarce = scarcity.missing(scarcity.NO_MULTI_HANDLE, str(error))
            # Else it does not say of what.
            raise scarce or errors.ResourceError(
                'libcurl cannot begin: no more open files, or memory'
            ) from error
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def ready(self, fd: int, events: int) -> None:
        """Act on what a socket is ready for."""
        mask = 0
        if events & selectors.EVENT_READ:
            mask |= pycurl.CSELECT_IN
        if events & selectors.EVENT_WRITE:
            mask |= pycurl.CSELECT_OUT
        self.multi.socket_action(fd, mask)
        self._check()

    def timer(self) -> None:
        """Act on what is due."""
        self.due = None
        self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        self._check()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    def _watch(
        self, what: int, fd: int, _multi: object, _data: object
    ) -> None:
        try:
            self._change_watch(what, fd)
        except Exception as error:
            # pycurl would print it, and the socket be watched by nobody.
            self._error = error

    def _change_watch(self, what: int, fd: int) -> None:
        events = 0
        if what in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            events |= selectors.EVENT_READ
        if what in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            events |= selectors.EVENT_WRITE
        known = self._selector.get_map().get(fd)
        # To be removed it has to be ours; to be watched it is, whoever had
        # a descriptor of that number before.
        if known and (events or known.data is self):
            self._selector.unregister(fd)
        if events:
            self._selector.register(fd, events, self)

    def _set_timer(self, milliseconds: int) -> None:
        # CURLMOPT_TIMERFUNCTION: -1 deletes the timer.
        self.due = (
            None
            if milliseconds < 0
            else time.monotonic() + milliseconds / 1000
        )

    def close(self) -> None:
        """Close its connections; a resolver's thread is waited for."""
        self.multi.close()
        for key in list(self._selector.get_map().values()):
            if key.data is self:
                self._selector.unregister(key.fd)


class Loop:
    """Runs attempts; all but ``wake`` on one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        # The pool is None where a redirect could not be followed.
        self._attempts: dict[
            pycurl.Curl, tuple[easy.Attempt, _Pool | None]
        ] = {}
        self._failed: list[easy.Attempt] = []
        # When the last turn began: how many bytes there were, and how many
        # sockets were ready.
        self._received = 0
        self._ready = 0
        #: What the attempts know together.
        self.memory = handles.Memory()
        try:
            self._wakeup: _Wakeup | None = _Wakeup()
            self._selector.register(self._wakeup.fd, selectors.EVENT_READ)
            # The last one takes what is added.
            self._pools = [_Pool(self._selector)]
        except BaseException:
            self._selector.close()
            # Whoever keeps the exception keeps this object.
            self._wakeup = None
            raise

    def add(self, attempt: easy.Attempt) -> None:
        """Start the attempt; it goes where redirects lead by itself."""
        pool = self._pools[-1]
        self._attempts[attempt.handle] = attempt, pool
        pool.used += 1
        pool.multi.add_handle(attempt.handle)

    def _follow(self, attempt: easy.Attempt) -> None:
        """Have the attempt go on where a redirect led."""
        self._take_out(attempt)
        if attempt.follow():
            self.add(attempt)
        else:
            self._attempts[attempt.handle] = attempt, None
            self._failed.append(attempt)

    def remove(self, attempt: easy.Attempt) -> None:
        """End the attempt, finished or not, and close its handle."""
        if attempt.handle in self._attempts:
            self._take_out(attempt)
            attempt.close()

    def _take_out(self, attempt: easy.Attempt) -> None:
        _attempt, pool = self._attempts.pop(attempt.handle)
        if pool is not None:
            if attempt.resolving:
                pool.resolved = time.monotonic() + _LOOKUP_MAX
            pool.multi.remove_handle(attempt.handle)
            pool.used -= 1

    def leave(self, attempt: easy.Attempt) -> None:
        """Use its connection for no attempt to come.

        Those that share it, and may be well, go on. libcurl itself would
        keep the connection for as long as it has any of them, give it to
        others, and close it for silence not at all.
        """
        # No other pool has a connection that is as old.
        if self._attempts[attempt.handle][1] is self._pools[-1]:
            self._pools.append(_Pool(self._selector))

    def wake(self) -> None:
        """End the wait of ``turn``; from any thread, at any time."""
        # Held here: a descriptor closed meanwhile may be another file's by
        # now, perhaps the target's.
        wakeup = self._wakeup
        if wakeup is not None:
            os.eventfd_write(wakeup.fd, 1)

    def turn(
        self, timeout: float, received: int = 0
    ) -> Iterator[tuple[easy.Attempt, int, str]]:
        """Wait for events at most ``timeout`` seconds, and act on them.

        :param received: bytes of bodies that all attempts have brought.
        :return: the attempts that ended: attempt, CURLcode, error text.
        """
        self._close_left()
        now = time.monotonic()
        wait = min(timeout, _LONGEST_WAIT)
        for pool in self._pools:
            if pool.due is not None:
                wait = min(wait, pool.due - now)
        if self._is_sparse(received) and wait > 0:
            gathering = min(_GATHERING, wait)
            time.sleep(gathering)
            wait -= gathering
        ready = self._selector.select(max(wait, 0.0))
        self._received, self._ready = received, len(ready)
        for key, events in ready:
            if key.data is None:
                os.eventfd_read(key.fd)
            else:
                key.data.ready(key.fd, events)
        now = time.monotonic()
        for attempt, _pool in list(self._attempts.values()):
            if attempt.overdue(now):
                self._follow(attempt)
        for pool in self._pools:
            if not ready or (pool.due is not None and pool.due <= now):
                pool.timer()
        return self._finished()

    def _is_sparse(self, received: int) -> bool:
        """Tell whether each of several connections brings a little at a time.

        Each of them would have a turn for itself, and for a few KiB. The
        receive buffers of the system hold what comes meanwhile; if they are
        too small for that, more comes at a time, and nothing is waited for.
        """
        return (
            len(self._attempts) > 1
            and received - self._received < self._ready * _WORTH_A_TURN
            # A handshake is question and answer: nothing gathers.
            and not any(one.connecting for one, _ in self._attempts.values())
        )

    def _close_left(self) -> None:
        now = time.monotonic()
        for pool in self._pools[:-1]:
            # To wait here for a resolver would hold up everybody.
            if not pool.used and pool.resolved <= now:
                self._pools.remove(pool)
                pool.close()

    def _finished(self) -> Iterator[tuple[easy.Attempt, int, str]]:
        for pool in list(self._pools):
            queued = 1
            while queued:
                queued, succeeded, failed = pool.multi.info_read()
                ended = [(handle, 0, '') for handle in succeeded] + failed
                for handle, code, message in ended:
                    # What came of one may have removed the next.
                    attempt, _pool = self._attempts.get(handle, (None, None))
                    if attempt is None:
                        continue
                    if attempt.redirected:
                        self._follow(attempt)
                    else:
                        yield attempt, code, message
        while self._failed:
            yield self._failed.pop(), codes.FAILED_INIT, ''

    def close(self) -> None:
        """End every attempt and free everything.

        A resolver's thread is waited for here (CURLOPT_QUICK_EXIT is not in
        pycurl): call it where nobody waits.
        """
        for attempt, _pool in list(self._attempts.values()):
            self.remove(attempt)
        for pool in self._pools:
            pool.close()
        self.memory.close()
        self._selector.close()
        self._wakeup = None
