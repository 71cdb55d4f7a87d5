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

"""What one answer brings: its head is judged, its body put in place.

The callbacks of one attempt end here. libcurl hands the body over in pieces
of at most 16 KiB, 65536 of them a GiB, so the common case, a piece that fits
into the chunk being filled, is dealt with by ``easy`` itself through the
``cursor``; everything else goes through ``write``.
"""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import datetime
import time

from fuel_agent_curl import errors
from fuel_agent_curl.engine import reread as reread_module
from fuel_agent_curl.engine import window as window_module
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import budget as budget_module
from fuel_agent_curl.rules import head as http
from fuel_agent_curl.rules import hedge
from fuel_agent_curl.rules import segments

# What a file begins with that is called gzip (RFC 1952 section 2.3.1).
_GZIP = b'\x1f\x8b'

# Bytes that have to be the same where a part begins before the byte asked.
_OVERLAP_MIN = 16


class Reception:
    """Takes the answer to ``request`` into the window.

    :param pin: the representation that the bytes kept belong to, None where
        none are kept.
    :param stop: the segment's end, None for that of the representation.
    :param budget: how many bytes may be received now.
    :param offset: where its bytes are put in place from, which is behind the
        first one asked for where that is read again.
    :param reread: what is read again up to there is compared by it; None
        where nothing is.
    :param before: bytes that are in place before those asked for, to be
        compared with a part that begins early.
    :param checksum: a checksum of the whole was given.
    :param admitted: False: another attempt brings these bytes still. The
        head is judged, and nothing follows, before ``admit``.
    :param sample: the body is this, of whatever it is a part; what has come
        of it is dropped.
    :param on_accept: called when the head is accepted.
    :param on_prove: called when what is kept is known to be of the
        representation: then, or when all that was read again is compared.
    :param on_start: called before the first body byte; returns the offset
        to go on at, should that have moved since the request was made.
    :ivar judgement: on the head; None before.
    :ivar pin: the representation as known after the head.
    :ivar proves_end: a body cut short would show, by what the head says.
    :ivar stop: as given, or None where the answer is a whole one.
    :ivar cursor: where the next bytes go; ``easy`` moves it as well.
    :ivar window_full: it was for want of room, not of budget, that the last
        piece was refused.
    :ivar surplus: body bytes that were skipped or dropped.
    """

    def __init__(
        self,
        request: segments.Request,
        window: window_module.Window,
        budget: budget_module.Budget,
        *,
        pin: answer.Representation | None,
        offset: int,
        stop: int | None,
        reread: reread_module.Comparison | None,
        before: bytes = b'',
        checksum: bool,
        admitted: bool = True,
        sample: hedge.Sample | None = None,
        on_accept: Callable[[], None],
        on_prove: Callable[[], None],
        on_start: Callable[[int], int],
    ) -> None:
        self.admitted = admitted
        self._sample = sample
        self.judgement: answer.Judgement | None = None
        self.proves_end = True
        self.cursor = window_module.Cursor()
        self.surplus = 0
        self.window_full = False
        self._request = request
        self._window = window
        self._budget = budget
        self.pin = pin
        self.stop = stop
        self.reread = reread
        self._before = before
        self._checksum = checksum
        self._on_accept = on_accept
        self._on_prove = on_prove
        self._on_start = on_start
        self._started = False
        self._closed = False
        self._knocked = False
        self._overflowed = False
        # Body bytes still to come that are before the offset.
        self._to_skip = 0
        # Of a piece that was refused, what has been dealt with.
        self._dealt_with = 0
        # What the body still has to begin with.
        self._magic = b''
        # Offset of the buffer's first byte, and where this lease begins.
        self._base = self._began = offset
        self._leased = 0

    @property
    def offset(self) -> int:
        """Next byte of the representation to be put in place."""
        return self._base + self.cursor.at

    @property
    def received(self) -> int:
        """Body bytes that have arrived."""
        return self.offset - self._began + self.surplus

    @property
    def unsettled(self) -> int:
        """Bytes in place that the window has not been told of."""
        return self.cursor.at - self._leased

    @property
    def accepted(self) -> bool:
        """The head was found to belong to what is wanted."""
        return (
            self.judgement is not None
            and self.judgement.verdict is answer.Verdict.ACCEPT
        )

    @property
    def unproven(self) -> bool:
        """It is read again, and not all of that has been compared yet."""
        return self.reread is not None and self.reread.left > 0

    @property
    def ready(self) -> bool:
        """Not admitted, and its first body byte is here, or its end."""
        return not self.admitted and (self._knocked or self.at_end())

    def admit(
        self, offset: int, reread: reread_module.Comparison | None
    ) -> None:
        """Take the body from now on; ``offset`` and ``reread`` as before."""
        self.admitted = True
        self.reread = reread
        self._base = self._began = offset
        if self.judgement is not None and self.accepted:
            self._to_skip = offset - self.judgement.start
            self._make_known()

    def head(self, head: http.Head) -> None:
        """Judge the head.

        :raises errors.Error: if its body is not to be used.
        """
        if self._sample is not None:
            if head.status not in (200, 206):
                raise errors.ProtocolError('no sample')
            return
        self.judgement = judgement = answer.judge(
            head,
            self._request,
            self.pin,
            checksum=self._checksum,
            now=datetime.datetime.now(datetime.UTC),
        )
        if judgement.verdict is not answer.Verdict.ACCEPT:
            raise judgement.error or errors.ProtocolError('unusable answer')
        if head.status == 206:
            self._check_overlap(judgement)
        self._check_length(judgement)
        self.pin = judgement.pinned
        self.proves_end = http.proves_end(head)
        self._to_skip = self.offset - judgement.start
        if self.pin.coding and not judgement.start:
            self._magic = _GZIP
        if head.status == 200:
            # All of it, also where a range was asked for: use it so.
            self.stop = None
        if self.admitted:
            self._make_known()

    def _make_known(self) -> None:
        if not self.unproven:
            # Before anybody is told, so that the length is there to be read.
            self._on_prove()
        self._on_accept()

    def write(self, piece: memoryview) -> bool:
        """Put a piece of the body in place.

        :return: False to be paused; the same piece is to be given again.
        :raises errors.RepresentationChanged: if it contradicts what is known.
        """
        if self._closed:
            return False
        if not self.admitted:
            return self._wait_outside(piece)
        if not self._started:
            self._started = True
            start = self._on_start(self._base)
            self._to_skip += start - self._base
            self.surplus -= start - self._base
            self._base = start
        rest = piece[self._dealt_with :]
        if self._magic and not self._dealt_with:
            self._check_magic(rest)
        if self._to_skip:
            rest = self._skip(rest)
        cursor = self.cursor
        while rest:
            if not cursor.room and not self._lease():
                wanted = self._wanted(len(rest))
                if wanted or self._overflowed:
                    self._dealt_with = len(piece) - len(rest)
                    return False
                # No more of it than that: there may be megabytes to come
                # before anybody looks.
                self._overflowed = True
                self.surplus += len(rest)
                break
            count = min(len(rest), cursor.room)
            cursor.view[cursor.at : cursor.at + count] = rest[:count]
            cursor.at += count
            cursor.room -= count
            rest = rest[count:]
        self._magic = self._magic[len(piece) :]
        if not cursor.room or self._magic:
            self.settle()
        self._dealt_with = 0
        return True

    def _wait_outside(self, piece: memoryview) -> bool:
        sample = self._sample
        if sample is None or not sample.left:
            self._knocked = True
            return False
        sample.take(time.monotonic(), len(piece))
        self.surplus += len(piece)
        self._knocked = not sample.left
        return True

    def _check_magic(self, piece: memoryview) -> None:
        known = self._magic[: len(piece)]
        if piece[: len(known)] != known:
            assert self.pin is not None
            raise answer.coding_error(self.pin.coding or '')

    def _skip(self, piece: memoryview) -> memoryview:
        """Drop what is there already, comparing it where that is a reread."""
        count = min(len(piece), self._to_skip)
        if self.reread:
            self._compare(piece[:count], self.reread)
        elif self._before:
            self._compare_overlap(piece[:count])
        self._to_skip -= count
        self._dealt_with += count
        self.surplus += count
        return piece[count:]

    def _compare(
        self, piece: memoryview, reread: reread_module.Comparison
    ) -> None:
        reread.update(piece)
        if not reread.left:
            self._on_prove()

    def _check_length(self, judgement: answer.Judgement) -> None:
        """Refuse a whole that is shorter than what is there of another."""
        length = judgement.pinned.length
        if length is not None and length < self.offset:
            error = errors.RepresentationChanged(
                '%d bytes are there, and it has %d' % (self.offset, length)
            )
            error.length = length
            self.judgement = answer.Judgement(
                answer.Verdict.REFUSE, error=error
            )
            raise error

    def _check_overlap(self, judgement: answer.Judgement) -> None:
        """Refuse a part that begins early if that cannot be seen from it.

        A server that is wrong about where its part begins would shift all
        that follows; only bytes that are here already can tell.
        """
        overlap = self._request.start - judgement.start
        if overlap and self.reread:
            raise self._no_proof('the part to be compared begins early')
        known = self._before[-overlap:] if overlap else b''
        # Where all bytes are the same, a shift does not show.
        if overlap and (len(known) < _OVERLAP_MIN or len(set(known)) == 1):
            raise self._no_proof(
                'the part sent begins %d bytes early, too few of them known'
                % overlap
            )

    def _compare_overlap(self, piece: memoryview) -> None:
        # Where the piece is in ``before``; some may lie ahead of that, and,
        # of what a rival has brought, behind.
        at = self.offset - self._to_skip - self._request.start
        at += len(self._before)
        known = self._before[max(0, at) : max(0, at + len(piece))]
        skip = max(0, -at)
        if piece[skip : skip + len(known)] != known:
            raise self._no_proof(
                'the part sent does not fit what is there before byte %d'
                % self._request.start
            )

    def _no_proof(self, message: str) -> errors.Error:
        error = errors.ContentRangeError(message)
        self.judgement = answer.Judgement(answer.Verdict.REREAD, error=error)
        return error

    def _lease(self) -> bool:
        """Get room for the next bytes; False if there is none."""
        self.settle()
        offset = self.offset
        wanted = self._wanted(self._window.chunk_size)
        lease = self._window.lease(offset) if wanted else None
        self.window_full = lease is None
        if lease is None:
            return False
        cursor = self.cursor
        cursor.view, cursor.at, room = lease
        self._base = offset - cursor.at
        self._leased = cursor.at
        cursor.room = self._budget.grant(
            time.monotonic(), min(room, self._wanted(room))
        )
        return bool(cursor.room)

    def _wanted(self, size: int) -> int:
        """Return how many of the next ``size`` bytes belong here.

        :raises errors.RepresentationChanged: if the answer goes on past the
            length known, having stated none itself.
        """
        end = self._end()
        if end is None:
            return size
        stop = self.judgement.stop if self.judgement else None
        if stop is not None:
            return max(0, min(size, min(end, stop) - self.offset))
        if self.offset == end:
            error = errors.RepresentationChanged(
                'the server sends more than the %d bytes it stated' % end
            )
            # By one at the least.
            error.length = end + 1
            raise error
        return min(size, end - self.offset)

    def settle(self) -> None:
        """Commit what is in place; ``write`` goes on with a new lease.

        :raises errors.PieceMismatch: if that completes a chunk which is not
            what it should be; ``offset`` is at its beginning then.
        """
        cursor = self.cursor
        count = cursor.at - self._leased
        begin = self._base + self._leased
        self._base = self.offset
        self._budget.give_back(cursor.room)
        cursor.view = memoryview(b'')
        cursor.at = cursor.room = self._leased = 0
        if count and not self._window.commit(begin, count):
            self._base = self._window.start_of(begin)
            self.surplus += begin + count - self._base
            raise errors.PieceMismatch(
                'the bytes from %d to %d do not match their hashes'
                % (self._base, begin + count)
            )

    def close(self) -> None:
        """Take no more bytes: another transfer has them."""
        self.settle()
        self._closed = True

    def at_end(self) -> bool:
        """Tell whether the segment is complete, whatever still comes."""
        # Where the answer states no length, only its end proves the end.
        return (
            self.judgement is not None
            and self.accepted
            and self.judgement.stop is not None
            and self.offset == self._end()
        )

    def part_ended(self) -> bool:
        """Tell whether all of the part that was answered is in place.

        What still comes then does not belong to it, and may have no end.
        """
        return (
            self.judgement is not None
            and self.accepted
            and not self._to_skip
            and self.offset == self.judgement.stop
        )

    def _end(self) -> int | None:
        length = self.pin.length if self.pin else None
        ends = [end for end in (self.stop, length) if end is not None]
        return min(ends, default=None)

    def ended(self) -> errors.Error | None:
        """Return what is wrong with an answer that libcurl found complete.

        Where no length was stated anywhere, the end of the body is the end
        of it all, and ``pin`` has the length from then on.
        """
        judgement = self.judgement
        if judgement is None:
            return errors.ReceiveError('the answer ended before its head')
        try:
            self.settle()
        except errors.PieceMismatch as error:
            return error
        end = self._end() if judgement.stop is None else judgement.stop
        if self._to_skip or (end is not None and self.offset < end):
            return errors.ReceiveError('the body is shorter than it should be')
        if judgement.stop is None:
            self.pin = dataclasses.replace(
                judgement.pinned, length=self.offset
            )
            self.judgement = dataclasses.replace(judgement, stop=self.offset)
        return None
