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

"""The base of the tests of the transfer engine, against a harmful server."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import hashlib
import threading
from typing import Any

import fuel_agent_curl
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import server as harmful_server
from tests import base
from tests.support import endpoints

#: Unlimited values are as small as can be, so that no test takes long.
SETTINGS: dict[str, Any] = {
    'connect_timeout': 2,
    'low_speed_limit': 1000,
    'low_speed_time': 0.5,
    'attempts': 4,
    'backoff': 0.02,
    'backoff_max': 0.05,
    'chunk_size': 1009,
}

#: A name that resolves to nothing at once: its label is too long to ask a
#: name server for.
NO_HOST = 'x' * 64 + '.invalid'

#: Bytes of ``/image``; no multiple of anything.
LENGTH = 50021


@dataclasses.dataclass
class Outcome:
    """What came of a download.

    :ivar error: the ``errors.Error``, or None.
    :ivar received: bytes that had come, each counted once.
    """

    data: bytes
    error: Any
    length: int | None
    stats: Any
    events: list[Any]
    received: int = 0

    @property
    def retries(self) -> list[type[errors.Error]]:
        """The classes of the errors that were followed by a retry."""
        return [
            type(event.error) for event in self.events if event.kind == 'retry'
        ]


class EngineTestCase(base.FunctionalTestCase):
    """Downloads from a harmful server on loopback.

    :ivar content: what ``/image`` holds.
    :ivar server: the ``harmful.Server``.
    """

    timeout = 60

    def setUp(self) -> None:
        super().setUp()
        self.content = harmful.Pattern(LENGTH)[0:LENGTH]
        self.image = harmful.Representation(self.content)
        self.server = self.start_server()
        self._in_use = threading.Event()

    def start_server(
        self, representation: harmful.Representation | None = None, **how: Any
    ) -> harmful.Server:
        """Start another server than ``self.server``."""
        fixture = endpoints.HarmfulServer(representation or self.image, **how)
        return self.useFixture(fixture).server

    def name(self, **changes: Any) -> None:
        """Give ``/image`` another content, validator or server."""
        self.image = dataclasses.replace(self.image, **changes)
        length = len(self.image.content)
        if length < 1 << 30:
            self.content = self.image.content[0:length]
        self.server.representations['/image'] = self.image

    def checksum(self) -> str:
        """Return the right checksum of ``/image``."""
        return 'sha256:' + hashlib.sha256(self.content).hexdigest()

    def cut_after_use(self, at: int) -> list[faults.Fault]:
        """Cut after ``at`` bytes, once the consumer has taken some.

        Before that, another representation would do as well.
        """

        def held(steps: Iterable[harmful.Step]) -> Iterator[harmful.Step]:
            for step in steps:
                if isinstance(step, harmful.Ending):
                    self._in_use.wait(20)
                yield step

        def hold(handler: faults.Handler) -> faults.Handler:
            def handle(
                request: harmful.Request, image: harmful.Representation
            ) -> harmful.Reply:
                reply = handler(request, image)
                return dataclasses.replace(reply, body=held(reply.body))

            return handle

        return [faults.cut(at), hold]

    def fetch(
        self,
        url: str | None = None,
        *,
        mirrors: Sequence[str] = (),
        checksum: str | None = None,
        observe: Any = None,
        kept: Any = None,
        **settings: Any,
    ) -> fuel_agent_curl.Download:
        """Begin a download with the settings of the tests.

        Unless it is given, first_byte_timeout is low_speed_time.
        """
        settings = {**SETTINGS, **settings}
        settings.setdefault('first_byte_timeout', settings['low_speed_time'])
        return fuel_agent_curl.fetch(
            url or self.server.url(),
            mirrors=mirrors,
            checksum=checksum,
            settings=fuel_agent_curl.Settings(**settings),
            observe=observe,
            kept=kept,
        )

    def download(self, url: str | None = None, **how: Any) -> Outcome:
        """Download everything there is, or up to the error."""
        self._in_use.clear()
        events: list[Any] = []
        outcome = Outcome(b'', None, None, None, events)
        chunks = []
        download = None
        try:
            with self.fetch(url, observe=events.append, **how) as download:
                outcome.stats = download.stats
                for chunk in download:
                    chunks.append(chunk)
                    self._in_use.set()
                outcome.length = download.length
        except errors.Error as error:
            outcome.error = error
        finally:
            self._in_use.set()
        if download is not None:
            outcome.received = download.received
        outcome.data = b''.join(chunks)
        return outcome

    def assert_arrives(
        self,
        *answers: harmful_server.Answer,
        then: harmful_server.Answer = (),
        ranges: Sequence[str | int | None] | None = None,
        if_ranges: Sequence[str | None] | None = None,
        requests: int | None = None,
        content: bytes | None = None,
        **how: Any,
    ) -> Outcome:
        """Every byte arrives, in spite of these answers.

        :param ranges: the Range of each request; a number for the open
            range from there.
        :param requests: how many there are, where ``ranges`` is not given.
        :param content: None: what ``/image`` names.
        """
        self.server.script(*answers, then=then)
        outcome = self.download(**how)
        if outcome.error is not None:
            raise outcome.error
        expected = self.content if content is None else content
        self.assert_same(expected, outcome.data)
        self.assertEqual(len(expected), outcome.length)
        if ranges is not None:
            self.assertEqual(_texts(ranges), self.server.ranges)
        if if_ranges is not None:
            self.assertEqual(list(if_ranges), self.server.if_ranges)
        if requests is not None:
            self.assertEqual(requests, len(self.server.requests))
        return outcome

    def assert_fails(
        self,
        kind: type[errors.Error],
        *answers: harmful_server.Answer,
        then: harmful_server.Answer | None = None,
        requests: int | None = None,
        **how: Any,
    ) -> Outcome:
        """The download fails with this very class, and no byte is wrong.

        :param then: None: the last of the answers, again and again.
        """
        if then is None:
            then = answers[-1] if answers else ()
        self.server.script(*answers, then=then)
        outcome = self.download(**how)
        if outcome.error is None:
            self.fail('%d bytes and no error' % len(outcome.data))
        self.assertIs(kind, type(outcome.error), repr(outcome.error))
        self.assert_same(self.content[: len(outcome.data)], outcome.data)
        if requests is not None:
            self.assertEqual(requests, len(self.server.requests))
        return outcome

    def assert_gives_up(
        self,
        cause: type[errors.Error],
        *answers: harmful_server.Answer,
        **how: Any,
    ) -> Outcome:
        """Every attempt is used up, the last one failing with ``cause``."""
        outcome = self.assert_fails(errors.AttemptsExhausted, *answers, **how)
        self.assertIs(cause, type(outcome.error.__cause__))
        return outcome

    def assert_same(self, expected: bytes, actual: bytes) -> None:
        """Compare without printing a whole image."""
        if expected == actual:
            return
        self.assertEqual(len(expected), len(actual))
        at = next(at for at, byte in enumerate(actual) if byte != expected[at])
        self.fail('byte %d is wrong' % at)


def _texts(ranges: Sequence[str | int | None]) -> list[str | None]:
    return [
        'bytes=%d-' % item if isinstance(item, int) else item
        for item in ranges
    ]
