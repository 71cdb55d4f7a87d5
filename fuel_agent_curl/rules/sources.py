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

"""The URLs of one representation, and what each server has shown so far.

Rules only: which mirror is asked next, and how; and what is known of the
bytes that are kept, which changes in ``Sources.prove`` alone, when it is
proven, and not before.
"""

from __future__ import annotations

from collections.abc import Sequence
import dataclasses
import math

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments

# Wrong answers to a Range in a row before the server is taken to have none,
# and those with the same other length before that is believed.
_WRONG_RANGES = 2
_BELIEVED = 3

# Segments brought without a refusal before one more connection is tried are
# twice as many after each try in vain, and this many at the most.
_RECOVERY_MAX = 256

# A server that is dead has to be found so all the same.
_PATIENCE_MAX = 4.0

# What a mirror is used last for.
_UNTRUSTED = (
    errors.Stalled,
    errors.ProtocolError,
    errors.RepresentationChanged,
)


@values.dataclass(frozen=True)
class Kept:
    """What is kept of a representation since before this download.

    :ivar offset: the first byte that is not.
    :ivar found: what it is of.
    :ivar url: whose answer that was; None: it is not to be asked about the
        rest, for want of a validator or of the URL.
    """

    offset: int
    found: answer.Representation
    url: str | None = None


class Source:
    """One URL, and what its server has been seen to do.

    :ivar pin: the representation its answers belong to; None before the
        first usable one. Validators of two mirrors do not compare.
    :ivar agreed: bytes from the beginning that were found to be the same as
        those kept, where these are of another mirror.
    :ivar reached: the most that ``agreed`` has ever been.
    :ivar error: what makes it useless for this download, None while it is
        not.
    :ivar named: the user named its origin; what was given goes there.
    :ivar location: where redirects of the URL led to, as long as that has
        not failed; segments share it.
    :ivar held: monotonic time before which it asked not to be asked.
    :ivar served: monotonic time of its last usable answer.
    :ivar patience: times as long as usual that it may take to begin.
    :ivar silence: the longest, in seconds, before a first byte of it; None
        before there was one.
    :ivar most: connections that it lets in at a time, as far as known.
    """

    def __init__(
        self, url: str, stats: events.MirrorStats, named: bool = True
    ) -> None:
        self.url = url
        self.named = named
        self.stats = stats
        self.pin: answer.Representation | None = None
        self.agreed = 0
        self.reached = 0
        self.error: errors.Error | None = None
        self.location: redirects.Address | None = None
        self.held = -math.inf
        self.served = -math.inf
        self.most = math.inf
        self.penalty = 0
        self.speed = 0.0
        self.patience = 1.0
        self.silence: float | None = None
        self._undisturbed = 0
        self._recovery = 1
        self._recovering = False
        self._ranges = True
        self._if_range = True
        self._wrong_ranges = 0
        # Whether there are ranges all the same.
        self._doubtful = False
        # The next answer is to be compared from the first byte on: it may be
        # of another node of the same name.
        self._reread = False
        # The other complete length that it stated last, and how often.
        self._other_length: int | None = None
        self._other_lengths = 0
        self._other_validators = 0

    @property
    def ranged(self) -> bool:
        """Whether it is worth while to ask for a range.

        An ``Accept-Ranges: none`` is not asked about: some say so, and have.
        """
        return self._ranges and not self._reread

    @property
    def provable(self) -> bool:
        """Whether a part from there would prove what it belongs to."""
        return self.ranged and self._strong is not None

    @property
    def unproven(self) -> bool:
        """Whether it has ranges that nothing but a checksum would prove."""
        return self._ranges and (self._reread or self._strong is None)

    @property
    def _strong(self) -> str | None:
        return self.pin.validator.strong if self.pin else None

    def guarded(self, request: segments.Request) -> segments.Request:
        """Return the request with the If-Range that belongs to it."""
        strong = self._strong if self._if_range else None
        return dataclasses.replace(request, if_range=strong)

    def moved(self, address: redirects.Address) -> None:
        """Note where redirects led: the next segment asks there at once."""
        self.location = address if address.home else None

    def accepted(self, now: float) -> None:
        """Note a usable answer, at that monotonic time."""
        self.served = now
        self._wrong_ranges = 0
        self._other_lengths = self._other_validators = 0

    def learn(self, judgement: answer.Judgement) -> bool:
        """Note what an answer showed; True if another request follows."""
        verdict = judgement.verdict
        if verdict is answer.Verdict.ASK_WITHOUT_IF_RANGE:
            self._if_range = False
        elif verdict is answer.Verdict.REREAD:
            self._ranges = False
            self._doubtful = judgement.pinned.ranges is True
        else:
            return False
        return True

    def reread(self) -> None:
        """Have the next answer compared from the first byte on."""
        self._reread = True
        self.agreed = 0

    def changed(self, length: int) -> bool:
        """Note another complete length; tell whether it is to be believed."""
        if length != self._other_length:
            self._other_length, self._other_lengths = length, 0
        self._other_lengths += 1
        return self._other_lengths >= _BELIEVED

    def other_validator(self) -> bool:
        """Note another validator; tell whether it seems to be the only one."""
        self._other_validators += 1
        return self._other_validators >= _BELIEVED

    def failed(
        self,
        error: errors.Error,
        ranged: bool,
        progressed: bool = False,
        empty: bool = False,
    ) -> None:
        """Note a failure; a mirror that lied or stalled is used last.

        :param ranged: a range had been asked for.
        :param progressed: the attempt brought new bytes.
        :param empty: it brought no byte at all.
        """
        if empty and isinstance(error, errors.Stalled):
            self.patience = min(2 * self.patience, _PATIENCE_MAX)
        if not ranged and not progressed:
            # To read all again did not help either: the next answer may be
            # of the node that was asked first ...
            self._reread = False
            if self._doubtful:
                # ... or prove more, of a server that has ranges.
                self._ranges = True
                self._wrong_ranges = 0
        self.stats.failures += 1
        self.location = None
        if isinstance(error, _UNTRUSTED):
            self.penalty += 1
        if ranged and isinstance(error, errors.ContentRangeError):
            self._wrong_ranges += 1
            if self._wrong_ranges >= _WRONG_RANGES:
                self._ranges = False
                self._doubtful = True

    def hold(self, until: float) -> None:
        """Ask nothing before that monotonic time: the server said so."""
        self.held = max(self.held, until)

    def crowded(self, busy: int) -> None:
        """Of ``busy`` connections, it has refused one."""
        if self._recovering:
            self._recovery = min(2 * self._recovery, _RECOVERY_MAX)
        self.most = max(1, min(self.most, busy) - 1)
        self._undisturbed = 0
        self._recovering = False

    def overtaken(self, speed: float) -> None:
        """Another took its bytes over: it had that many a second, if any."""
        self.speed = max(1.0, min(speed, self.speed or math.inf))

    def brought(self, speed: float) -> None:
        """Note the speed of one connection, in bytes per second."""
        self.speed = speed if not self.speed else (self.speed + speed) / 2
        self._undisturbed += 1
        # All that it lets in have to have brought one.
        if self._undisturbed >= max(self.most, self._recovery):
            self.most += 1
            self._undisturbed = 0
            self._recovering = True

    def _proven(self, pin: answer.Representation) -> None:
        self.pin = pin
        self._reread = False


class Sources:
    """The mirrors of one download, in the order given.

    :param joined: bytes of several mirrors may be joined, as a checksum
        decides at the end.
    :param expected: the complete length, where it was given.
    :ivar length: complete length in bytes, None until an answer states it.
    :ivar owner: the mirror that the bytes kept are of, or the last of them;
        None before there are any.
    :ivar begun: there has been one.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        joined: bool,
        expected: int | None = None,
    ) -> None:
        self._sources = list(sources)
        self.joined = joined
        self.expected = expected
        self.length: int | None = None
        self.owner: Source | None = None
        self.begun = False
        self._coding: str | None = None

    # What is known of the bytes kept.

    def prove(
        self,
        source: Source,
        found: answer.Representation,
        *,
        kept: bool,
        upto: int = 0,
    ) -> None:
        """All that is kept is the beginning of what ``source`` sends.

        :param kept: bytes are kept; where none are, any representation will
            do, and nothing that was known before holds.
        :param upto: bytes of another mirror that were compared.
        """
        self.begun = True
        if not kept:
            self.forget()
        elif self.owner is not None and self.owner is not source:
            self.owner.agreed = max(self.owner.agreed, upto)
            source.reached = max(source.reached, upto)
        self.owner = source
        source._proven(found)
        self.length = found.length
        self._coding = found.coding

    def keep(self, kept: Kept) -> None:
        """Begin with bytes that are kept already."""
        self.length, self._coding = kept.found.length, kept.found.coding
        for each in self._sources:
            if each.url == kept.url:
                self.owner, each.pin = each, kept.found

    def forget(self) -> None:
        """Nothing is kept any more."""
        self.owner = self.length = self._coding = None
        for each in self._sources:
            each.pin, each.agreed = None, 0

    def compared(
        self, source: Source, found: answer.Representation, upto: int
    ) -> None:
        """The first ``upto`` bytes that ``source`` sends are the same."""
        if source is not self.owner:
            source.pin, source.agreed = found, upto
            source.reached = max(source.reached, upto)

    def pin(
        self, source: Source, request: segments.Request, kept: bool
    ) -> answer.Representation | None:
        """Return what the answer to ``request`` has to be of; None: of any."""
        if not kept:
            if self.expected is None:
                return None
            return answer.Representation(length=self.expected)
        if self.joined or not request.ranged or source.pin is None:
            return answer.Representation(
                length=self.length, coding=self._coding
            )
        return source.pin

    def request(
        self, source: Source, start: int, stop: int | None, kept: bool
    ) -> segments.Request | None:
        """Return how to ask for a range, None if there is no use in it.

        :param kept: bytes are kept that the answer has to continue.
        """
        request = segments.Request(start, stop, ranged=True)
        if not source.ranged:
            return None
        if self.joined or not kept:
            return request
        if source is not self.owner or not source.provable:
            return None
        return source.guarded(request)

    def reread(self, source: Source, agreed: int) -> segments.Request:
        """Return how to ask for what was handed on, to compare it.

        :param agreed: bytes of ``source.agreed`` at which the comparison can
            go on.
        """
        if not agreed or source is self.owner or not source.provable:
            return segments.Request()
        return source.guarded(segments.Request(agreed, ranged=True))

    def serves_parts(self, source: Source) -> bool:
        """Tell whether parts of it can be joined."""
        return source.ranged if self.joined else source.provable

    # Which one to ask.

    @property
    def several(self) -> bool:
        """Whether there is more than one."""
        return len(self._sources) > 1

    @property
    def usable(self) -> list[Source]:
        """Those that nothing is known against."""
        return [source for source in self._sources if source.error is None]

    def best(
        self,
        now: float = math.inf,
        busy: Sequence[Source] | None = None,
        without: Sequence[Source] = (),
    ) -> Source | None:
        """Return the mirror to ask next, None if there is none now.

        :param busy: those of the transfers under way, where one more is to
            be started. Where bytes may be joined they are spread so that
            each mirror has a share that fits its speed; one not used yet
            counts as fast as the fastest. None gets more than it lets in.
        :param without: those not to choose.
        """
        others = busy or ()
        usable = [each for each in self.usable if each not in without]
        if busy is not None and not self.joined and self.owner in usable:
            # One at a time.
            usable = [self.owner]
        usable = [
            each
            for each in usable
            if others.count(each) < each.most and each.held <= now
        ]
        return min(
            usable, key=lambda each: self.rank(each, others), default=None
        )

    def rank(
        self, source: Source, busy: Sequence[Source] = ()
    ) -> tuple[bool, int, float]:
        """Return what is the less, the rather ``source`` is asked."""
        if not self.joined:
            return True, source.penalty, 0.0
        fastest = max(each.speed for each in self._sources) or 1.0
        share = (busy.count(source) + 1) / (source.speed or fastest)
        # Without ranges, it could only bring all of it.
        return not source.ranged, source.penalty, share

    def wait(self, now: float) -> float:
        """Return the seconds until another one may be asked."""
        return min(
            (each.held - now for each in self.usable if each.held > now),
            default=math.inf,
        )
