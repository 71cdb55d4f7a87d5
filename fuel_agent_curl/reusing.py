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

"""A raw image of which parts are on the target already: only the rest comes.

What is fetched is fetched in parts, over several connections, in the order in
which it is written; what is there is read. Whoever takes both sees the whole
image, and compares that with its checksums, as always.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
import dataclasses
import queue

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import download
from fuel_agent_curl.engine import parts
from fuel_agent_curl.image import digest
from fuel_agent_curl.image import metalink
from fuel_agent_curl.image import reuse
from fuel_agent_curl.rules import events

# What is asked for first: whether there are ranges, and how long and what it
# is, before much is read and anything is written.
_FIRST = 64 * octets.KIB

# What a download tells of, and parts of one, too.
_TOLD = ('retry', 'failover', 'resumed')


class Source:
    """A source of all of an image, for ``pipeline.copy``.

    :param asked: where it is.
    :param hashes: of its parts.
    :param settings: returns them, with the time that is left.
    :param told: called with what is missing, and how much of it is there.
    :param checked: returns the views that it is given, when all of them are
        what they should be; None: nobody but the hashes says so.
    :ivar received: bytes handed on, those that were there included.
    :ivar position: how many were there.
    """

    def __init__(
        self,
        asked: download.Asked,
        hashes: reuse.Hashes,
        settings: Callable[[], settings_module.Settings],
        observe: Callable[[events.Event], None] | None,
        told: Callable[[int, int], None],
        checked: Callable[[Iterator[memoryview]], Iterator[memoryview]]
        | None = None,
    ) -> None:
        self.hashes = hashes
        self.received = self.position = 0
        self.checks: list[digest.Digest] = []
        if asked.checksum:
            self.checks.append(digest.Digest(digest.parse(asked.checksum)))
        self._each: list[digest.Digest | metalink.Check] = [*self.checks]
        self._asked = asked
        self._settings = settings
        self._observe = observe
        self._told = told
        self._filter = checked
        self._unit = octets.MIB
        self._checked = False
        if isinstance(hashes.given, metalink.Pieces):
            self._unit = hashes.given.size
            self._checked = self._unit <= settings().window // 4
            # Of what is read once more, too.
            self._each.append(metalink.Check(hashes.given))
        self._queue: parts.Asked = queue.SimpleQueue()
        self._readers: list[parts.Parts] = []
        self._closed = False
        self._missing: Sequence[reuse.Span] = ()
        self._read: Callable[[int, int], Iterator[memoryview]]
        # Those that were asked for, in order: where, and what waits for it.
        self._pending: collections.deque[
            tuple[reuse.Span, Callable[[], bytes]]
        ] = collections.deque()
        self._left: Iterator[reuse.Span] = iter(())
        self._ahead = 1

    @property
    def length(self) -> int:
        """Complete length in bytes."""
        return self.hashes.length

    @property
    def known(self) -> int:
        """The same."""
        return self.hashes.length

    @property
    def end_proven(self) -> bool:
        """Its end is known."""
        return True

    @property
    def stats(self) -> events.Stats:
        """Counters of all requests."""
        return events.together(each.stats for each in self._readers)

    def keep(self, view: object) -> None:
        """Return None: no view stays valid."""

    def close(self, patience: float = 1.0) -> None:
        """End what is under way; from any thread, and again.

        :param patience: how long to wait for its threads, in seconds.
        """
        self._closed = True
        for each in list(self._readers):
            each.end(patience)

    def begin(self) -> bytes:
        """See ``pipeline.ReusedSource``."""
        reader = self._add()
        first = self._wait(reader.ask(0, min(_FIRST, self.length)))
        length = reader.length
        if length is not None and length != self.length:
            short = length < self.length
            cls = errors.ImageTooShort if short else errors.ImageTooLong
            raise cls(
                'the server has %d bytes, and the hashes are of an image of %d'
                % (length, self.length),
                hint='check that both belong together, and that what the'
                ' server has is not packed',
            )
        return first

    def _wait(self, wait: Callable[[], bytes]) -> bytes:
        # In this order: what was asked for before it was closed is answered.
        if self._closed:
            raise errors.Cancelled('the download was closed')
        return wait()

    def _add(self) -> parts.Parts:
        """Have one connection more."""
        settings = self._settings()
        count = settings.connections
        speed = settings.max_recv_speed
        settings = dataclasses.replace(
            settings,
            connections=1,
            max_recv_speed=speed and max(1, speed // count),
        )
        reader = download.parts_of(
            self._asked,
            settings,
            queue=self._queue,
            checked=self._checked,
            observe=self._happened,
        )
        self._readers.append(reader)
        if self._closed:
            # In the very moment: whoever did it may not have seen this one.
            reader.end()
        return reader

    def _happened(self, event: events.Event) -> None:
        if self._observe is not None and event.kind in _TOLD:
            self._observe(event)

    def use(
        self,
        missing: Sequence[reuse.Span],
        read: Callable[[int, int], Iterator[memoryview]],
    ) -> None:
        """See ``pipeline.ReusedSource``."""
        self._missing, self._read = missing, read
        count = reuse.length(missing)
        self.position = reuse.length(self.hashes.spans) - count
        self._told(count, self.position)
        if not missing:
            return
        settings = self._settings()
        unit = self._unit
        if unit > settings.window // 4:
            # As long as it is, nobody could hold it.
            unit = octets.MIB
        size = max(settings.segment, unit)
        self._left = reuse.pieces_of(missing, size, unit)
        self._ahead = max(1, settings.window // size)
        for _reader in range(1, min(settings.connections, self._ahead)):
            self._add()
        self._ask_ahead()

    def _ask_ahead(self) -> None:
        while len(self._pending) < self._ahead:
            span = next(self._left, None)
            if span is None:
                break
            self._pending.append((span, self._readers[0].ask(*span)))

    @property
    def is_checked(self) -> bool:
        """See ``pipeline.ReusedSource``."""
        return self._filter is not None

    def views(self) -> Iterator[memoryview]:
        """Iterate over all of the image; each view is valid until the next."""
        views = self._views()
        return views if self._filter is None else self._filter(views)

    def _views(self) -> Iterator[memoryview]:
        at = 0
        missing = iter(self._missing)
        gap = next(missing, None)
        for start, stop in self.hashes.spans:
            yield from self._counted(reuse.zeros(start - at))
            at = start
            while at < stop:
                end = stop if gap is None else min(stop, max(at, gap[0]))
                yield from self._counted(self._read_old(at, end))
                at = end
                if gap is not None and at == gap[0]:
                    end = min(stop, gap[1])
                    yield from self._counted(self._fetched(end))
                    at = end
                    gap = next(missing, None)
        yield from self._counted(reuse.zeros(self.length - at))
        for each in self._each:
            each.verify()

    def _counted(self, views: Iterator[memoryview]) -> Iterator[memoryview]:
        for view in views:
            for each in self._each:
                each.update(view)
            self.received += len(view)
            yield view

    def _read_old(self, start: int, stop: int) -> Iterator[memoryview]:
        at = start
        if start < stop:
            for view in self._read(start, stop):
                at += len(view)
                yield view
        if at < stop:
            raise errors.DeviceError(
                'what was there at byte %d is not there any more' % at
            )

    def _fetched(self, stop: int) -> Iterator[memoryview]:
        """Iterate over what was asked for, up to ``stop``."""
        while True:
            (start, end), wait = self._pending.popleft()
            data = self._wait(wait)
            self._ask_ahead()
            if len(data) != end - start:
                raise errors.RepresentationChanged(
                    'the server has %d bytes now' % (start + len(data))
                )
            for at in range(0, len(data), octets.MIB):
                yield memoryview(data)[at : at + octets.MIB]
            if end == stop:
                return
