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
"""One request and its answer: made, watched, and ended.

Where ``easy``, ``reception`` and ``watchdog`` come together; what follows
from how it ended is for ``transfer`` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Sequence
import dataclasses
import logging

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import multi
from fuel_agent_curl.engine import reception
from fuel_agent_curl.engine import reread
from fuel_agent_curl.engine import window
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import budget
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import hedge
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments
from fuel_agent_curl.rules import sources as sources_module
from fuel_agent_curl.rules import watchdog

LOG = logging.getLogger(__name__)

# Bytes kept to be compared with a part that begins too early.
_OVERLAP_MAX = 4096


def sources_of(
    urls: Sequence[str],
    stats: events.Stats,
    named: Container[redirects.Origin] | None,
) -> list[sources_module.Source]:
    """Return a source for each URL, with its counters in ``stats``.

    :param named: the origins that the user named; None: those of all.
    """
    found = []
    for url in urls:
        # Those that differ by what is redacted are counted together.
        mirror = stats.mirrors.setdefault(
            errors.redact(url), events.MirrorStats()
        )
        is_named = named is None or address.read(url).origin in named
        found.append(sources_module.Source(url, mirror, is_named))
    return found


@dataclasses.dataclass
class Context:
    """What the transfers of one download share.

    :ivar checksum: a checksum of the whole was given.
    :ivar deadline: monotonic time, infinite for none.
    :ivar random: returns a number from 0 up to 1.
    :ivar observe: called with each event.
    :ivar received: body bytes of the exchanges that have ended.
    :ivar end_proven: a body cut short would show, by the last head accepted
        or by the length.
    :ivar stated: complete length by the last head accepted, of which no byte
        may be kept yet; None where it states none.
    """

    settings: settings_module.Settings
    window: window.Window
    loop: multi.Loop
    sources: sources_module.Sources
    stats: events.Stats
    budget: budget.Budget
    checksum: bool
    deadline: float
    random: Callable[[], float]
    observe: Callable[[events.Event], None]
    received: int = 0
    end_proven: bool = True
    stated: int | None = None

    @property
    def length(self) -> int | None:
        """Complete length in bytes, None until an answer states it."""
        return self.sources.length

    @property
    def begin(self) -> int:
        """First byte to be brought: what is before it nobody can compare."""
        return self.window.begin

    def prove(
        self,
        source: sources_module.Source,
        found: answer.Representation,
        *,
        kept: bool,
        upto: int = 0,
    ) -> None:
        """All that is kept is of ``found``; see ``Sources.prove``."""
        self.sources.prove(source, found, kept=kept, upto=upto)
        self.window.length = found.length

    def forget(self) -> None:
        """Nothing is kept any more; see ``Sources.forget``."""
        self.sources.forget()
        self.window.length = None

    def report(
        self,
        kind: str,
        url: str,
        offset: int,
        attempt: int,
        error: errors.Error | None,
        delay: float,
    ) -> None:
        """Tell of something that happened; see ``events.Event``."""
        self.observe(
            events.Event(
                kind,
                errors.redact(url),
                offset,
                self.stated if self.length is None else self.length,
                attempt,
                self.settings.attempts,
                error,
                delay,
            )
        )


class Exchange:
    """An attempt, or one of several in a row that count as one.

    :param kept: bytes are kept that those of the answer are to join.
    :param segment: what is to be brought; the request may be for its rest.
    :param offset: the first byte of it that is missing.
    :param reread: compares what is read again before that; None: nothing is.
    :param fresh: use no connection and no IP address of an earlier exchange.
    :param rival: another exchange brings the same bytes still; see ``admit``.
    :param sample: of a rival that is merely tried; see ``Reception``.
    :param on_accept: called when the head is accepted, with this exchange
        and whether it is the first one of the download.
    :param on_prove: called when what was read again of another mirror than
        before has been compared.
    :param on_start: called before the first body byte; see ``Reception``.
    :ivar redirected: it asks where a redirect led before, not the URL itself.
    :raises errors.OptionError: if libcurl refuses an option.
    """

    def __init__(
        self,
        context: Context,
        source: sources_module.Source,
        request: segments.Request,
        *,
        kept: bool,
        segment: segments.Segment,
        offset: int,
        reread: reread.Comparison | None,
        fresh: bool,
        rival: bool = False,
        sample: hedge.Sample | None = None,
        on_accept: Callable[[Exchange, bool], None],
        on_prove: Callable[[], None],
        on_start: Callable[[int], int],
    ) -> None:
        self.request = request
        self._context = context
        self._source = source
        self._kept = kept
        self._on_accept = on_accept
        self._on_prove = on_prove
        self.reception = reception.Reception(
            request,
            context.window,
            context.budget,
            pin=context.sources.pin(source, request, kept),
            offset=offset,
            stop=segment.stop,
            reread=reread,
            before=context.window.before(offset, _OVERLAP_MAX),
            checksum=context.checksum,
            admitted=not rival,
            sample=sample,
            on_accept=self._accepted,
            on_prove=self._proven,
            on_start=on_start,
        )
        self.redirected = source.location is not None
        self._first: bool | None = None
        self._attempt = easy.Attempt(
            source.location or address.read(source.url, named=source.named),
            request,
            context.settings,
            self.reception,
            context.loop.memory,
            fresh=fresh,
            patience=source.patience,
        )

    def _accepted(self) -> None:
        source, context, found = self._source, self._context, self._found
        source.moved(self._attempt.address)
        first = self._is_first()
        if first and found.coding:
            context.stats.coding = found.coding
            LOG.warning(
                '%s: stored as %s, says the server; it is taken as it is',
                errors.redact(source.url),
                found.coding,
            )
        context.stated = found.length
        context.end_proven = (
            found.length is not None or self.reception.proves_end
        )
        self._on_accept(self, first)

    def _is_first(self) -> bool:
        """Tell whether nothing was kept when its head came."""
        if self._first is None:
            self._first = not self._context.sources.begun
        return self._first

    def _proven(self) -> None:
        self._is_first()
        reread = self.reception.reread
        upto = self.reception.offset if reread else 0
        moved = self._context.sources.owner is not self._source
        self._context.prove(
            self._source, self._found, kept=self._kept, upto=upto
        )
        if reread and moved:
            self._on_prove()

    @property
    def _found(self) -> answer.Representation:
        found = self.reception.pin
        assert found is not None
        return found

    def admit(
        self, offset: int, kept: bool, reread: reread.Comparison | None
    ) -> None:
        """It has no rival any more, and may bring its bytes."""
        reception_ = self.reception
        if reception_.judgement is None:
            reception_.pin = self._context.sources.pin(
                self._source, self.request, kept
            )
        self._kept = kept
        reception_.admit(offset, reread)

    def complete(self) -> None:
        """All of it is in place; how long it is may be known only now."""
        if self._context.length is None:
            self._context.prove(self._source, self._found, kept=True)

    def begin(self) -> None:
        """Hand the request to libcurl."""
        self._context.stats.attempts += 1
        self._source.stats.attempts += 1
        LOG.debug(
            'attempt %d: %s, %r',
            self._context.stats.attempts,
            errors.redact(self._source.url),
            self.request,
        )
        self._context.loop.add(self._attempt)

    @property
    def received(self) -> int:
        """Bytes that have arrived, those of heads included."""
        return self._attempt.received

    @property
    def paused(self) -> bool:
        """Whether it waits for room or for budget."""
        return self._attempt.paused

    @property
    def receiving(self) -> bool:
        """Whether more is to come, and has a place: it needs nobody."""
        return self.reception.cursor.room > 0

    def is_of(self, attempt: easy.Attempt) -> bool:
        """Tell whether the attempt is this exchange's."""
        return attempt is self._attempt

    def watch(
        self, now: float, watching: watchdog.Watchdog
    ) -> errors.Error | None:
        """Unpause it when there is room; return what it failed with."""
        attempt = self._attempt
        offset = self.reception.offset
        watching.sample(now, offset)
        error = watching.check(
            now,
            attempt.received,
            connecting=attempt.connecting or attempt.redirected,
            paused=attempt.paused,
            silent=attempt.silent,
            body=self.reception.received > 0,
        )
        if attempt.paused and self._has_room(now, offset):
            return attempt.unpause()
        # A head that is no use says more than that nothing followed it.
        return error and attempt.explained(attempt.bad_status() or error)

    def _has_room(self, now: float, offset: int) -> bool:
        if self._context.budget.wait(now) > 0:
            return False
        room = self._context.window
        return not self.reception.window_full or room.want(offset + room.ample)

    def result(self, code: int, text: str) -> errors.Error | None:
        """Return what it failed with, given CURLcode and error text."""
        return (
            self._attempt.result(code, text)
            or self._is_nothing()
            or self.reception.ended()
        )

    def _is_nothing(self) -> errors.Error | None:
        """Refuse an empty body once, where another mirror may have more.

        Whatever broke off before its first byte looks like that, where the
        head says nothing of the end.
        """
        if (
            self._context.sources.several
            and not self._source.stats.failures
            and self.reception.accepted
            and not self.reception.proves_end
            and not self.reception.offset
        ):
            return errors.ReceiveError('the body is empty')
        return None

    def leave_connection(self) -> None:
        """Have no exchange to come share the connection, if others may.

        What is wrong with a stream may be wrong with all of it. A connection
        of HTTP/1.1 is closed with its exchange.
        """
        if self._attempt.shares and not self._attempt.connecting:
            self._context.loop.leave(self._attempt)

    def end(self) -> int:
        """End it, finished or not; return the offset reached."""
        reception_ = self.reception
        try:
            reception_.settle()
        except errors.PieceMismatch as error:
            LOG.info('%s', error)
        if reception_.accepted and reception_.reread and reception_.unproven:
            # The next time, it can go on from there.
            self._context.sources.compared(
                self._source, self._found, reception_.reread.same
            )
        self._context.received += reception_.received
        self._source.stats.received += reception_.received
        self._context.loop.remove(self._attempt)
        return reception_.offset
