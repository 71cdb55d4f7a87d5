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

Rules only: which mirror is asked next, and how.
"""

from __future__ import annotations

from collections.abc import Sequence
import math

from fuel_agent_curl import errors
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import events
from fuel_agent_curl.rules import redirects
from fuel_agent_curl.rules import segments

# Wrong answers to a Range in a row before the server is taken to have none.
_WRONG_RANGES = 2

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


class Source:
    """One URL, and what its server has been seen to do.

    :ivar pin: the representation its answers belong to; None before the
        first usable one. Validators of two mirrors do not compare.
    :ivar error: what makes it useless for this download, None while it is
        not.
    :ivar named: the user named its origin; what was given goes there.
    :ivar location: where redirects of the URL led to, as long as that has
        not failed; segments share it.
    :ivar patience: times as long as usual that it may take to begin.
    :ivar most: connections that it lets in at a time, as far as known.
    """

    def __init__(
        self, url: str, stats: events.MirrorStats, named: bool = True
    ) -> None:
        self.url = url
        self.named = named
        self.stats = stats
        self.pin: answer.Representation | None = None
        self.error: errors.Error | None = None
        self.location: redirects.Address | None = None
        self.most = math.inf
        self.penalty = 0
        self.speed = 0.0
        self.patience = 1.0
        self._undisturbed = 0
        self._recovery = 1
        self._recovering = False
        self._ranges = True
        self._if_range = True
        self._wrong_ranges = 0
        # Whether there are ranges all the same.
        self._doubtful = False

    @property
    def ranged(self) -> bool:
        """Whether it is worth while to ask for a range."""
        return self._ranges and not (self.pin and self.pin.ranges is False)

    def request(
        self, start: int, stop: int | None, unproven: bool
    ) -> segments.Request | None:
        """Return how to ask for a range, None if there is no use in it.

        :param unproven: nothing is kept that the answer has to continue, or
            a checksum decides where it proves too little.
        """
        strong = self.pin.validator.strong if self.pin else None
        if not self.ranged or not (strong or unproven):
            return None
        return segments.Request(
            start,
            stop,
            ranged=True,
            if_range=strong if self._if_range else None,
        )

    def moved(self, address: redirects.Address) -> None:
        """Note where redirects led: the next segment asks there at once."""
        self.location = address if address.home else None

    def accepted(self, pin: answer.Representation) -> None:
        """Note a usable answer."""
        self.pin = pin
        self._wrong_ranges = 0

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
        if self._doubtful and not ranged and not progressed:
            # To read all again did not help either, and the server has
            # ranges: its next answer may prove more.
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

    def crowded(self, busy: int) -> None:
        """Of ``busy`` connections, it has refused one."""
        if self._recovering:
            self._recovery = min(2 * self._recovery, _RECOVERY_MAX)
        self.most = max(1, min(self.most, busy) - 1)
        self._undisturbed = 0
        self._recovering = False

    def brought(self, speed: float) -> None:
        """Note the speed of one connection, in bytes per second."""
        self.speed = speed if not self.speed else (self.speed + speed) / 2
        self._undisturbed += 1
        # All that it lets in have to have brought one.
        if self._undisturbed >= max(self.most, self._recovery):
            self.most += 1
            self._undisturbed = 0
            self._recovering = True


class Sources:
    """The mirrors of one download, in the order given.

    :param joined: bytes of several mirrors may be joined, as a checksum
        decides at the end.
    """

    def __init__(self, sources: Sequence[Source], joined: bool) -> None:
        self._sources = list(sources)
        self.joined = joined
        self._asked: Source | None = None

    def asking(self, source: Source) -> None:
        """Note that ``source`` is asked now."""
        if not self.joined and source is not self._asked:
            # A pin is of the server that the bytes handed on came from; since
            # then another one's have been.
            source.pin = None
        self._asked = source

    def best(
        self,
        busy: Sequence[Source] | None = None,
        without: Sequence[Source] = (),
    ) -> Source | None:
        """Return the mirror to ask next, None if no usable one is left.

        :param busy: those of the transfers under way, where one more is to
            be started. Where bytes may be joined they are spread so that
            each mirror has a share that fits its speed; one not used yet
            counts as fast as the fastest. None gets more than it lets in.
        :param without: those not to choose.
        """
        others = busy or ()
        usable = [
            source
            for source in self._sources
            if source.error is None and source not in without
        ]
        if busy is not None and not self.joined and self._asked in usable:
            # One at a time.
            usable = [self._asked]
        usable = [
            source for source in usable if others.count(source) < source.most
        ]
        fastest = max(source.speed for source in self._sources) or 1.0

        def rank(source: Source) -> tuple[bool, int, float]:
            if not self.joined:
                return True, source.penalty, 0.0
            share = (others.count(source) + 1) / (source.speed or fastest)
            # Without ranges, it could only bring all of it.
            return not source.ranged, source.penalty, share

        return min(usable, key=rank, default=None)

    def instead(
        self, source: Source, progressed: bool, tried: list[Source]
    ) -> Source | None:
        """Return the mirror to fail over to, None if all have been tried.

        :param progressed: the attempt that failed brought new bytes.
        :param tried: the mirrors that failed since the last wait; grows.
        """
        if source not in tried:
            tried.append(source)
        other = self.best(without=tried)
        if other is not None:
            # Whoever asks next begins there as well.
            source.penalty += not progressed
        return other
