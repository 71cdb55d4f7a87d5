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

"""The base of the tests with several connections."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import dataclasses
import re
import threading
from typing import Any

import fuel_agent_curl
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import server as harmful_server
from tests.support import engine

#: The smallest that the settings allow.
SEGMENT = 64 * 1024

#: Bytes of ``/image``: ten segments, the last of them a short one.
LENGTH = 9 * SEGMENT + 12345

#: What may befall an answer on its way.
ENDS: tuple[Callable[..., faults.Fault], ...] = (
    faults.cut,
    faults.reset,
    faults.stall,
)


class SegmentsTestCase(engine.EngineTestCase):
    """Downloads in segments of 64 KiB.

    :cvar connections: how many, where a test does not say.
    """

    connections = 4

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(LENGTH)[0:LENGTH])

    def fetch(
        self, url: str | None = None, **how: Any
    ) -> fuel_agent_curl.Download:
        how.setdefault('connections', self.connections)
        how.setdefault('segment_size', SEGMENT)
        how.setdefault('chunk_size', 4096)
        return super().fetch(url, **how)

    def segments(self) -> list[str]:
        """Return the Range of each segment of ``/image``."""
        length = len(self.content)
        return [
            'bytes=%d-%d' % (start, min(start + SEGMENT, length) - 1)
            for start in range(0, length, SEGMENT)
        ]

    def assert_each_segment_once(self, *servers: harmful.Server) -> None:
        """Nothing was asked for twice, and nothing else than segments.

        The first Range is longer where the image is shorter.
        """
        asked = [
            request.range or ''
            for server in servers or [self.server]
            for request in server.requests
        ]
        expected = self.segments()
        expected[0] = 'bytes=0-%d' % (SEGMENT - 1)
        self.assertEqual(sorted(expected), sorted(asked))

    def assert_right_or_error(self, outcome: engine.Outcome) -> None:
        """All bytes are right, and they are all there without an error."""
        self.assert_same(self.content[: len(outcome.data)], outcome.data)
        if outcome.error is None:
            self.assertEqual(len(self.content), len(outcome.data))


class BySegment:
    """A fault: answers to the requests that begin in each segment.

    :param answers: by the number of the segment, one for each request.
    :param then: the answer to each other request.
    """

    def __init__(
        self,
        answers: Mapping[int, Sequence[harmful_server.Answer]],
        then: harmful_server.Answer = (),
    ) -> None:
        self._lock = threading.Lock()
        self._answers = {at: list(given) for at, given in answers.items()}
        self._then = then

    @property
    def left(self) -> int:
        """Answers that nobody has got."""
        return sum(map(len, self._answers.values()))

    def __call__(self, handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            with self._lock:
                answers = self._answers.get(begin(request) // SEGMENT)
                answer = answers.pop(0) if answers else self._then
            spoils = [answer] if callable(answer) else answer
            return faults.spoiled(spoils, handler)(request, image)

        return handle


def doing(act: Callable[[], object], at: int) -> faults.Fault:
    """Call ``act`` when ``at`` bytes of the body, or more, were sent."""

    def watched(steps: Iterable[harmful.Step]) -> Iterator[harmful.Step]:
        left = at
        for step in steps:
            yield step
            if isinstance(step, bytes) and left > 0:
                left -= len(step)
                if left <= 0:
                    act()

    def fault(handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            reply = handler(request, image)
            return dataclasses.replace(reply, body=watched(reply.body))

        return handle

    return fault


class Crowd:
    """A fault: what comes while ``most`` requests are answered is refused.

    :ivar refused: how many were.
    :ivar busiest: how many were answered at the same time.
    """

    def __init__(self, most: int, refusal: faults.Fault) -> None:
        self._most = most
        self._refusal = refusal
        self._lock = threading.Lock()
        self._answering = 0
        self.busiest = 0
        self.refused = 0

    def __call__(self, handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            with self._lock:
                refused = self._answering >= self._most
                self.refused += refused
                self._answering += not refused
                self.busiest = max(self.busiest, self._answering)
            if refused:
                return self._refusal(handler)(request, image)
            reply = handler(request, image)
            return dataclasses.replace(reply, body=self._counted(reply.body))

        return handle

    def _counted(
        self, steps: Iterable[harmful.Step]
    ) -> Iterator[harmful.Step]:
        # Long enough for the others to come. Whoever has got the last byte
        # may ask again at once.
        yield harmful.Pause(0.05)
        with self._lock:
            self._answering -= 1
        yield from steps


def begin(request: harmful.Request) -> int:
    """Return the first position that the request asks for."""
    match = re.match('bytes=([0-9]+)-', request.range or '')
    return int(match[1]) if match else 0
