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

What makes them is replaced. An audit hook would see it by whatever name the
code got at it, but Python runs that within ``sys.settrace`` too, and two
threads that begin while coverage is measured are then in each other's way.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import socket
import subprocess
import time
from typing import Any

import fixtures

_PROCESS = 'a process'
_REASONS: tuple[tuple[object, str, str], ...] = (
    (socket.socket, '__init__', 'a socket'),
    (socket, 'socketpair', 'a socket'),
    (socket, 'getaddrinfo', 'a look-up'),
    (socket, 'gethostbyname', 'a look-up'),
    (subprocess.Popen, '__init__', _PROCESS),
    *(
        (os, name, _PROCESS)
        for name in (
            *('execv', 'execve', 'fork', 'forkpty', 'posix_spawn'),
            *('posix_spawnp', 'system'),
        )
    ),
)


class Forbidden(AssertionError):
    """A unit test did what only a functional test may do."""


class Fence(fixtures.Fixture):
    """Forbid sockets, processes and sleep while this fixture is set up.

    :ivar breaches: what was tried, whether or not somebody swallowed the
        ``Forbidden`` that it raised.
    """

    def _setUp(self) -> None:
        self.breaches: list[str] = []
        self.useFixture(fixtures.MonkeyPatch('time.sleep', self._sleep))
        for owner, name, what in _REASONS:
            self.addCleanup(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, self._refusal('%s (%s)' % (what, name)))

    def _refusal(self, what: str) -> Callable[..., None]:
        def refuse(*_args: object, **_options: object) -> None:
            self.breach(what)

        return refuse

    def breach(self, what: str) -> None:
        self.breaches.append(what)
        raise Forbidden('a unit test must not need ' + what)

    def _sleep(self, seconds: float, *, _real: Any = time.sleep) -> None:
        if seconds > 0:
            self.breach('sleep')
        _real(seconds)
