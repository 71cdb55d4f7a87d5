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

"""The event loop round the multi handle.

libcurl tells which sockets and which timer it waits for
(libcurl-multi: socket_action); an eventfd lets another thread interrupt the
wait. ``CurlMulti.select`` would not do: it is select(2), which knows no
descriptor above 1023, and it cannot be woken.
"""

from __future__ import annotations

from collections.abc import Iterator
import os
import selectors
import threading
import time

import pycurl

from fuel_agent_curl import easy

# libcurl wants a call now and then even with nothing to do: some resolvers
# and timers are only looked at then.
_LONGEST_WAIT = 1.0


class Loop:
    """Runs attempts on one multi handle; all but ``wake`` on one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakeup = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._closed = False
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        self._attempts: dict[pycurl.Curl, easy.Attempt] = {}
        self._timer: float | None = None
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)

    def add(self, attempt: easy.Attempt) -> None:
        """Start the attempt."""
        self._attempts[attempt.handle] = attempt
        self._multi.add_handle(attempt.handle)

    def remove(self, attempt: easy.Attempt) -> None:
        """End the attempt, finished or not, and close its handle."""
        if self._attempts.pop(attempt.handle, None):
            self._multi.remove_handle(attempt.handle)
            attempt.close()

    def wake(self) -> None:
        """End the wait of ``turn``; from any thread, at any time."""
        # Under the lock: a descriptor closed meanwhile may be another file's
        # by now, perhaps the target's.
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._wakeup, 1)

    def turn(self, timeout: float) -> Iterator[tuple[easy.Attempt, int, str]]:
        """Wait for events at most ``timeout`` seconds, and act on them.

        :return: the attempts that ended: attempt, CURLcode, error text.
        """
        now = time.monotonic()
        wait = min(timeout, _LONGEST_WAIT)
        if self._timer is not None:
            wait = min(wait, self._timer - now)
        ready = self._selector.select(max(wait, 0.0))
        for key, events in ready:
            if key.fd == self._wakeup:
                os.eventfd_read(self._wakeup)
                continue
            mask = 0
            if events & selectors.EVENT_READ:
                mask |= pycurl.CSELECT_IN
            if events & selectors.EVENT_WRITE:
                mask |= pycurl.CSELECT_OUT
            self._multi.socket_action(key.fd, mask)
        due = self._timer is not None and self._timer <= time.monotonic()
        if due or not ready:
            self._timer = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return self._finished()

    def _finished(self) -> Iterator[tuple[easy.Attempt, int, str]]:
        queued = 1
        while queued:
            queued, succeeded, failed = self._multi.info_read()
            ended = [(handle, 0, '') for handle in succeeded] + failed
            for handle, code, message in ended:
                # What came of one may have removed the next.
                attempt = self._attempts.get(handle)
                if attempt is not None:
                    yield attempt, code, message

    def _watch(
        self, what: int, fd: int, _multi: object, _data: object
    ) -> None:
        if what == pycurl.POLL_REMOVE:
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError):
                pass
            return
        events = 0
        if what in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            events |= selectors.EVENT_READ
        if what in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            events |= selectors.EVENT_WRITE
        try:
            self._selector.unregister(fd)
        except (KeyError, ValueError):
            pass
        if events:
            self._selector.register(fd, events)

    def _set_timer(self, milliseconds: int) -> None:
        # CURLMOPT_TIMERFUNCTION: -1 deletes the timer.
        self._timer = (
            None
            if milliseconds < 0
            else time.monotonic() + milliseconds / 1000
        )

    def close(self) -> None:
        """End every attempt and free everything.

        A resolver's thread is waited for here (CURLOPT_QUICK_EXIT is not in
        pycurl): call it where nobody waits.
        """
        for attempt in list(self._attempts.values()):
            self.remove(attempt)
        self._multi.close()
        self._selector.close()
        with self._lock:
            self._closed = True
            os.close(self._wakeup)
