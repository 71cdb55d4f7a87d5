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

"""What no unit test may do, held by an audit hook.

The hook sees what the interpreter does, by whatever name the code got at it;
only ``time.sleep`` has no event of its own (before Python 3.13) and is
replaced.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import fixtures

_REASONS = {
    'socket.__new__': 'a socket',
    'socket.getaddrinfo': 'a look-up',
    'socket.gethostbyname': 'a look-up',
    'subprocess.Popen': 'a process',
    'os.exec': 'a process',
    'os.fork': 'a process',
    'os.forkpty': 'a process',
    'os.posix_spawn': 'a process',
    'os.system': 'a process',
}


class Forbidden(AssertionError):
    """A unit test did what only a functional test may do."""


class Fence(fixtures.Fixture):
    """Forbid sockets, processes and sleep while this fixture is set up.

    :ivar breaches: what was tried, whether or not somebody swallowed the
        ``Forbidden`` that it raised.
    """

    _current: Fence | None = None
    _hooked = False

    def _setUp(self) -> None:
        self.breaches: list[str] = []
        # An audit hook stays for the life of the process.
        if not Fence._hooked:
            sys.addaudithook(_audit)
            Fence._hooked = True
        self.useFixture(fixtures.MonkeyPatch('time.sleep', self._sleep))
        self.addCleanup(setattr, Fence, '_current', Fence._current)
        Fence._current = self

    def breach(self, what: str) -> None:
        self.breaches.append(what)
        raise Forbidden('a unit test must not need ' + what)

    def _sleep(self, seconds: float, *, _real: Any = time.sleep) -> None:
        if seconds > 0:
            self.breach('sleep')
        _real(seconds)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    what = _REASONS.get(event)
    if what is not None and Fence._current is not None:
        Fence._current.breach('%s (%s %r)' % (what, event, args[:1]))
