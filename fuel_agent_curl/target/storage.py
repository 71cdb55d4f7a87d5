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

"""The sinks that keep what they take; ``targets`` has the two kinds.

What is on the target looks complete only after ``finish`` has returned. What
it is known by (see ``identity``) is taken from it, and that synced, before
anything else is written; what the image is known by is put there last, when
all the rest is written, synced and checked. Whatever ends the process in
between leaves something that no firmware boots and nothing mounts.

The first mebibyte is blanked only when the image turns out to be longer. A
shorter one is written when all of it has come, and what is behind it stays.

Where parts of the image are skipped, what the target has there stays; of the
first mebibyte it is read before that is zeroed, and put back with the rest.

What is to ``stay`` is there already; a file that is made beside another gets
a copy of it.

After ``scatter`` the image comes in any order, each byte of it once. What is
held back is held back until all of it has come.
"""

from __future__ import annotations

import abc
import collections
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterator
import contextlib
import errno
import fcntl
import logging
import math
import mmap
import os
import sys
import time

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl.state import journal as journal_module
from fuel_agent_curl.state import medium
from fuel_agent_curl.state import record as record_module
from fuel_agent_curl.target import identity
from fuel_agent_curl.target import readback
from fuel_agent_curl.target import signatures
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import staging
from fuel_agent_curl.target import writing

LOG = logging.getLogger(__name__)

FIRST = identity.FIRST

# A longer run of zeros is handed to the kernel in parts, which cannot be
# interrupted: on a slow disk that writes them one by one, half a second.
_ZERO_RUN_MAX = 64 * octets.MIB

# Through the page cache, write-back is started each time as much is dirty:
# else the kernel hoards it, and the last sync takes minutes (and memory).
_WRITE_BACK = 8 * octets.MIB

# O_DIRECT wants memory, offset and length in multiples of the sector; pages
# do for every sector up to 4 KiB, and for file systems, which do not say.
_ALIGNMENT = mmap.PAGESIZE

# As much is synced ahead when there is nothing else to do: what is behind a
# target may have a large cache (a loop device, the disk of a virtual machine,
# a controller), and the last sync would wait for all of it.
_SYNC_AHEAD = 16 * octets.MIB

_ZEROS = memoryview(bytes(octets.MIB))

# What libblkid finds is blanked until it finds nothing, but no longer.
_TURNS = 16


#: Looks at all of the image, as the medium gives it back.
Inspector = Callable[[Iterator[memoryview]], None]

#: Where the records are, in the first mebibyte: nothing that libblkid or the
#: kernel knows has its magic number there, and all of that is blank.
RECORDS = 768 * octets.KIB

# How much is written before the first record, and between two where that takes
# so many seconds; else up to the most: as much is lost by a kill.
_RECORD = 16 * octets.MIB
_RECORD_MOST = 48 * octets.MIB
_RECORD_INTERVAL = 1.0

# Where there is never nothing to do, as much is synced no more often than
# that, in seconds: else a power cut would lose all.
_SYNC_AT_LEAST = 64 * octets.MIB
_SYNC_INTERVAL = 1.0

# What is known of where the source can begin again is noted no more often: a
# container may have a member for every few bytes.
_PLACES = 1 * octets.MIB

_RECORDS_END = RECORDS + record_module.SLOTS * record_module.SLOT


def _nothing() -> None:
    """Do nothing."""


def is_record_due(more: int, seconds: float) -> bool:
    """Tell whether to make another record.

    :param more: bytes written since the last one.
    :param seconds: since it was made, infinite where there is none.
    """
    if more < _RECORD:
        return False
    return more >= _RECORD_MOST or seconds >= _RECORD_INTERVAL


class Storage(sink.Sink):
    """What a block device and a regular file have in common.

    :param fd: open for writing, for reading too where ``options`` say so. It
        is the sink's from here on.
    :param held: what the image is known by goes there first.
    """

    def __init__(
        self,
        path: str,
        fd: int,
        options: writing.Options,
        held: identity.Identity,
    ) -> None:
        super().__init__(path, fd)
        self._alignment = _ALIGNMENT
        self._direct = False
        self._options = options
        self._begun = False
        self._held = held
        #: How much of the first mebibyte is the image's.
        self._reach = 0
        self._stage = staging.Stage()
        # Where on the target that goes which the stage gives out next, and
        # what is put into it.
        self._offset = self._next = FIRST
        # Where the next byte of the image goes.
        self._place = 0
        self._scattered = False
        self._given = 0
        self._inspect: Inspector | None = None
        self._unsynced = 0
        # The run of zeros that ends there: where it began.
        self._zeros_from: int | None = None
        # By the page cache: first and last byte, and how many; and where those
        # began of which the write-back was started last.
        self._dirty = sys.maxsize, 0, 0
        self._dropped_from = sys.maxsize
        self._is_interrupted = False
        self._proof = readback.Regions() if options.verify else None
        self._journal: journal_module.Journal | None = None
        # Where the source can begin again, of what was not put on the target
        # yet: in the representation, in the image, and the state of whoever
        # unpacks it. None: anywhere.
        self._places: collections.deque[tuple[int, int, str]] | None = None
        self._last_place = 0
        # The last such place that all before was put there.
        self._passed: record_module.Mark | None = None
        # What stays so, however much is put there.
        self._last: record_module.Mark | None = None
        # CRC-32 of all that was put on the target, and of what is held back
        # of its first mebibyte.
        self._crc = 0
        self._head = 0
        # Where the last record was made.
        self._recorded = FIRST
        self._recorded_at = -math.inf
        self._synced: record_module.Mark | None = None
        self._synced_at = 0.0
        # There is a record on the target, which may be gone on with.
        self._has_record = False
        # What an earlier run has written, that is to be there still.
        self._before: record_module.Mark | None = None
        self._is_compared = False
        self._on_compared: Callable[[], None] = _nothing

    @property
    def given(self) -> int:
        # What is held back is given in the end, all at once.
        if self.state == 'complete':
            return self.written
        return min(self._given, self.written)

    # What the kinds do in their own ways.

    @abc.abstractmethod
    def _blank(self, stop: int) -> None:
        """Zero the target up to ``stop``, in the first mebibyte, and sync."""

    def _blanked(self) -> None:
        """Do what is left after the target was blanked."""

    def _fit(self, *, whole: bool = False) -> None:
        """Refuse an image, by what is held back of it, that does not fit.

        :param whole: the rest of it is on the target.
        """

    def _look_behind(self) -> None:
        """See to what the target is known by behind the image."""

    @abc.abstractmethod
    def _write_zeros(self, start: int, stop: int) -> None:
        """Make [start, stop) read as zeros."""

    @abc.abstractmethod
    def _settle(self) -> None:
        """Give the target the length of the image, where it has one."""

    @abc.abstractmethod
    def _check_room(self, stop: int) -> None:
        """Raise if the target cannot hold a byte before ``stop``."""

    @abc.abstractmethod
    def _end(self) -> None:
        """Do what is left after the image is complete and synced."""

    def _drop_rest(self, stop: int) -> None:
        """Have nothing that an earlier run wrote behind ``stop`` stay."""

    def judge(self) -> None:
        self._fit()

    # An image that is there already, or parts of it.

    @property
    def old_length(self) -> int:
        """Bytes that are there, to be read by ``read_old``."""
        fd = self._old_fd()
        return 0 if fd is None else os.lseek(fd, 0, os.SEEK_END)

    def _old_fd(self) -> int | None:
        """Return what that is read from; None: there is nothing."""
        return self._fd

    def is_as_long(self, length: int) -> bool:
        """Tell whether an image of that length may be there, and end there."""
        return self.old_length >= length

    def read_old(self, start: int, stop: int) -> Iterator[memoryview]:
        """Iterate over [start, stop) of what is there, from the medium.

        By a descriptor of its own, as another thread may use the sink
        meanwhile: the bytes before the next to ``stay`` or to be written may
        be others by then. Each view is valid until the next.
        """
        number = self._old_fd()
        if number is None:
            return
        with self._mapped('reading'):
            fd = medium.reopen(number)
        buffer = memoryview(mmap.mmap(-1, octets.MIB))
        try:
            while start < stop:
                before = start % self._alignment
                length = min(before + stop - start, len(buffer))
                room = buffer[: length + -length % self._alignment]
                with self._mapped('reading'):
                    count = os.preadv(fd, [room], start - before)
                if count <= before:
                    return
                view = buffer[before : min(count, length)]
                self._held.restore(view, start)
                start += len(view)
                yield view
        finally:
            os.close(fd)

    def accept(self, length: int) -> None:
        """The image is there already, all of it: nothing of it is written.

        The errors are those of ``finish``.
        """
        self.written, self._reach = length, min(length, FIRST)
        self._judge_old()
        self.phase = 'syncing'
        with self._mapped('syncing'):
            os.fsync(self._fd)
        with self._mapped('writing to'):
            self._look_behind()
        with self._mapped('closing'):
            self._end()
            self._close()
        self._become(sink.Life.CLOSED, 'complete')

    def _judge_old(self) -> None:
        """Refuse an image that is there, as one that comes is refused."""
        at = 0
        for piece in self.read_old(0, self._reach):
            self._held.put(at, piece)
            at += len(piece)
        self._fit(whole=True)

    # A copy that is killed, and gone on with.

    def keep_records(
        self,
        journal: journal_module.Journal,
        *,
        anywhere: bool = True,
    ) -> None:
        """Have it recorded from now on how far the image is written.

        :param anywhere: the source can begin again at every byte of it, as
            that is the representation; else where ``can_begin`` says.
        """
        self._journal = journal
        self._places = None if anywhere else collections.deque()
        self._passed = None if anywhere else self._before

    def can_begin(self, wire: int, image: int, state: str) -> None:
        """Tell where the source can begin again.

        From the thread that hands on the image, in the order of that, before
        the bytes behind that place.

        :param wire: where that is in the representation.
        :param image: where that is in the image.
        :param state: what has to be known there of what is before it.
        """
        places = self._places
        if places is None or image < self._last_place + _PLACES:
            return
        # What is before is held back; there is nothing to be gone on with.
        if image > FIRST:
            self._last_place = image
            places.append((wire, image, state))

    def go_on(
        self, record: record_module.Record, on_compared: Callable[[], None]
    ) -> None:
        """Leave what an earlier run has written as it is.

        The image is to be written from its first byte on, all the same: up
        to the end of what is there it is compared with the record.

        :param on_compared: called when that has been done, from the thread
            that writes.
        :raises errors.CannotContinue: if it says nothing of this boot.
        """
        self._on_compared = on_compared
        same = record.boot == journal_module.boot()
        mark = record.written if same else record.synced
        if mark is None:
            raise errors.CannotContinue('nothing of it was synced')
        self._before, self._synced = mark, record.synced
        self._has_record = True
        self._head = record.head
        # Elsewhere nothing was hidden by then, whatever a record says that
        # somebody has made up.
        for offset, magic in record.hidden.items():
            if FIRST <= offset < self._held.front:
                self._held.hidden[offset] = magic
        self._held.old.update(record.old)

    @property
    def before(self) -> record_module.Mark | None:
        """How far an earlier run had got; None: nothing is gone on with."""
        return self._before

    def read_before(self) -> Iterator[memoryview]:
        """Iterate over what an earlier run has written, from FIRST on.

        From the medium; by a descriptor of its own, as another thread may
        use the sink meanwhile.
        """
        assert self._before is not None
        fd = medium.reopen(self._fd)
        buffer = memoryview(mmap.mmap(-1, octets.MIB))
        start, stop = FIRST, self._before.stop
        try:
            while start < stop:
                count = os.preadv(fd, [buffer], start)
                # A file may end in a hole.
                buffer[count:] = bytes(len(buffer) - count)
                piece = buffer[: stop - start]
                self._held.complete(piece, start)
                yield piece
                start += len(piece)
        except OSError as exc:
            raise errors.CannotContinue(
                '%s cannot be read: %s' % (self.path, exc.strerror)
            ) from exc
        finally:
            os.close(fd)

    def _pass_by(self, view: memoryview) -> memoryview:
        """Compare what an earlier run has written; return the rest."""
        before = self._before
        if before is None or self._is_compared:
            return view
        there = view[: max(0, before.stop - self._offset)]
        self._crc = zlib_ng.crc32(there, self._crc)
        self._offset += len(there)
        if self._offset >= before.stop:
            self._compare_before(before)
        return view[len(there) :]

    def _compare_before(self, before: record_module.Mark) -> None:
        if self._crc != before.crc:
            raise errors.CannotContinue(
                'what is on %s is not what was written there' % self.path
            )
        self._is_compared = True
        self._drop_rest(before.stop)
        self._save()
        self._on_compared()

    def _record(self) -> None:
        """Make a record, if it is time for one."""
        if self._journal is None:
            return
        if self._before is not None and not self._is_compared:
            # What there is says more, and may be needed again.
            return
        now = time.monotonic()
        more = self._offset - self._recorded
        if not is_record_due(more, now - self._recorded_at):
            return
        self._recorded_at = now
        if (
            self._unsynced >= _SYNC_AT_LEAST
            and now - self._synced_at >= _SYNC_INTERVAL
        ):
            self._sync()
        self._save()

    def _mark(self) -> record_module.Mark | None:
        """Return how far all is written, as far as that is any use."""
        self._flush_zeros()
        if self._last is not None:
            return self._last
        if self._places is not None:
            return self._passed
        at = self._offset
        return record_module.Mark(stop=at, crc=self._crc, wire=at, image=at)

    def _save(self) -> None:
        if self._journal is None:
            return
        self._recorded = self._offset
        mark = self._mark()
        if mark is None:
            return
        data = self._journal.save(
            mark,
            self._synced,
            head=self._head,
            hidden=self._held.hidden,
            old=self._held.old,
        )
        if data is None:
            return
        self._has_record = True
        view = memoryview(mmap.mmap(-1, len(data)))
        view[:] = data
        at = RECORDS + self._journal.slot * record_module.SLOT
        self._pwrite(view, at)

    def _drop_records(self) -> None:
        if self._has_record:
            self._has_record = False
            self._pwrite_zeros(RECORDS, _RECORDS_END)

    def _blank_first(self, stop: int) -> None:
        """Zero [0, stop) of the first mebibyte, but for a record."""
        if self._has_record:
            self._pwrite_zeros(0, min(stop, RECORDS))
            self._pwrite_zeros(_RECORDS_END, stop)
        else:
            self._pwrite_zeros(0, stop)

    def begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._options.mapped:
            with self._mapped('reading'):
                self._read_first()
        if self._options.direct_io:
            self._try_direct()

    def write(self, buffer: octets.Buffer) -> None:
        self._take_all(buffer)

    def stay(self, buffer: octets.Buffer) -> None:
        """Take the next bytes of the image, which are there already.

        The errors are those of ``write``.
        """
        self._take_all(buffer, there=True)

    def _take_all(self, buffer: octets.Buffer, there: bool = False) -> None:
        self.begin()
        view = memoryview(buffer)
        self._check_room(self._place + len(view))
        with self._mapped('writing to'):
            while view:
                view = view[self._take(view, there) :]

    def _take(self, view: memoryview, there: bool) -> int:
        """Take the first bytes of ``view``; return how many that were."""
        place = self._place
        held, stop = self._held.part(place)
        view = view[: stop - place]
        if place >= FIRST:
            self._prepare(FIRST)
            if self._proof is not None:
                self._proof.add(place, view)
        if there and not held:
            self._held.adopt(place, place + len(view))
        self._held.forget(place, place + len(view))
        if held:
            self._held.put(place, view)
        elif there:
            self._given += len(view)
        else:
            self._send(view, place)
        self._place += len(view)
        self.written += len(view)
        if FIRST < self._place == self._held.front and not self._scattered:
            self._release(FIRST, self._place)
        return len(view)

    def skip(self, length: int) -> None:
        """Leave the next ``length`` bytes as they are on the target.

        What a file does not have yet becomes a hole.
        """
        self.begin()
        if self._place + length > FIRST:
            with self._mapped('writing to'):
                self._prepare(FIRST)
        self._place += length
        self.written += length
        self._given += length

    def scatter(self, inspect: Inspector | None = None) -> None:
        """Take the image in any order from now on: before its first byte.

        Each byte of it comes once, by ``write_at`` or ``zero``.

        :param inspect: called when all is written, and nothing shows yet; if
            it raises, nothing will.
        """
        self._scattered = True
        self._inspect = inspect

    def write_at(self, start: int, view: octets.Buffer) -> None:
        """Take bytes of the image, which belong at ``start``.

        The errors are those of ``write``.
        """
        self._place = start
        self.write(view)

    def zero(self, start: int, stop: int) -> None:
        """Have [start, stop) of the image read as zeros.

        The errors are those of ``write``.
        """
        self.begin()
        self._check_room(stop)
        with self._mapped('writing to'):
            while start < stop:
                held, end = self._held.part(start)
                end = min(end, stop, start + _ZERO_RUN_MAX)
                if start >= FIRST:
                    self._prepare(FIRST)
                    self._prove_zeros(start, end)
                self._held.forget(start, end)
                # Of what is held back, what never came is zeros.
                if not held:
                    self._go_on()
                    if self.life is sink.Life.BLANK:
                        self._become(sink.Life.WRITTEN)
                    self._write_zeros(start, end)
                    self._given += end - start
                self.written += end - start
                start = end

    def _prove_zeros(self, start: int, stop: int) -> None:
        if self._proof is not None:
            for offset in range(start, stop, len(_ZEROS)):
                self._proof.add(offset, _ZEROS[: stop - offset])

    def _prepare(self, reach: int) -> None:
        """Take from the target what it is known by, once.

        :param reach: as much of its first mebibyte is the image's.
        """
        if self.life is not sink.Life.UNTOUCHED:
            return
        self._fit()
        self._reach = reach
        if self._journal is not None and reach == FIRST:
            self._check_head()
        self._become(sink.Life.BLANK, 'incomplete')
        with self._mapped('preparing'):
            if reach == FIRST:
                # All of it at once, as far as there is such a thing.
                self._hide(FIRST, sync=False)
            self._blank(reach)
            if reach == FIRST:
                self._hide(FIRST)
                self._blanked()
        self.state = 'blank'

    def _check_head(self) -> None:
        assert self._journal is not None
        if self._options.mapped:
            # What is skipped of it is not there any more; the rest has
            # checksums.
            if self._before is None:
                self._journal.reset()
            return
        head = zlib_ng.crc32(self._held.get(0, FIRST))
        if self._before is None:
            self._journal.reset()
        elif self._head != head:
            raise errors.CannotContinue('the image begins with other bytes')
        self._head = head

    def _hide(self, length: int, *, sync: bool = True) -> None:
        """Zero what the target is known by behind its first mebibyte.

        :param length: as much of the image may be there.
        """
        found = [each for each in self._look() if each.offset >= FIRST]
        for signature in found:
            self._held.hide(signature, length)
            self._pwrite_zeros(signature.offset, signature.stop)
        if found and sync:
            self._fdatasync()

    def _release(self, start: int, stop: int) -> None:
        """Write what was held back, but not what the image is known by."""
        view = memoryview(self._held.masked(start, stop))
        for offset in range(0, len(view), octets.MIB):
            self._send(view[offset : offset + octets.MIB], start + offset)

    def _send(self, view: memoryview, place: int) -> None:
        if self.life is sink.Life.BLANK:
            self._become(sink.Life.WRITTEN)
        if place != self._next:
            self._flush()
            self._offset = place
        self._put(self._stage.add(view))
        self._next = place + len(view)

    def _put(self, runs: Iterator[staging.Run]) -> None:
        for zeros, run in runs:
            self._go_on()
            view = self._pass_by(run)
            self._given += len(run) - len(view)
            if not view:
                continue
            if zeros:
                self._add_zeros(len(view))
            else:
                self._flush_zeros()
                self._pwrite(view, self._offset)
                self._unsynced += len(view)
                self._given += len(view)
            if self._journal is not None:
                self._count(view)
            self._offset += len(view)
        self._record()

    def _count(self, view: memoryview) -> None:
        """Note what was put at ``_offset``, and the places that it passes."""
        start, places = self._offset, self._places
        while places and places[0][1] <= start + len(view):
            wire, image, state = places.popleft()
            # One that was skipped is before it: nothing was put there.
            length = max(0, image - start)
            self._crc = zlib_ng.crc32(view[:length], self._crc)
            view, start = view[length:], start + length
            self._passed = record_module.Mark(
                stop=image, crc=self._crc, wire=wire, image=image, state=state
            )
        self._crc = zlib_ng.crc32(view, self._crc)

    def _add_zeros(self, length: int) -> None:
        if self._zeros_from is None:
            self._zeros_from = self._offset
        elif self._offset + length - self._zeros_from > _ZERO_RUN_MAX:
            self._give_zeros()
            self._zeros_from = self._offset

    def _flush_zeros(self) -> None:
        if self._zeros_from is not None:
            self._give_zeros()

    def _give_zeros(self) -> None:
        assert self._zeros_from is not None
        start, self._zeros_from = self._zeros_from, None
        self._write_zeros(start, self._offset)
        self._given += self._offset - start

    def _flush(self) -> None:
        """Have everything that was taken on the target."""
        self._put(self._stage.rest())
        self._flush_zeros()

    def idle(self) -> None:
        # Not what has piled up while there was no time: neither Ctrl-C nor an
        # error would end that wait.
        if _SYNC_AHEAD <= self._unsynced <= 4 * _SYNC_AHEAD:
            self._sync()
            self._record()

    def interrupt(self) -> None:
        """Have the next call on the target fail, but for those at the end.

        That one which the kernel has is ended by the kernel, in time.
        """
        self._is_interrupted = True

    def _go_on(self) -> None:
        """Raise if it is to end here; what has begun to show is completed."""
        if self._is_interrupted and self.life is not sink.Life.PUBLISHED:
            raise InterruptedError(errno.EINTR, os.strerror(errno.EINTR))

    def finish(self) -> None:
        try:
            self._finish()
        except BaseException:
            # At once, in this thread, which no signal disturbs.
            self.abort()
            raise

    def _finish(self) -> None:
        self.begin()
        with self._mapped('writing to'):
            self._prepare(min(self.written, FIRST))
            front = min(self.written, self._held.front)
            if front > FIRST and (self._scattered or front < self._held.front):
                self._release(FIRST, front)
            if self._held.tail < self.written:
                # What is known by it is not there before the end, so all of
                # that comes again.
                self._last = self._mark()
                self._release(self._held.tail, self.written)
            self._flush()
            self._compare_at_end()
            self._settle()
        # All of it has to be on the medium before anything of what it is
        # known by is handed to the kernel, which may put that there at once.
        self.phase = 'syncing'
        self._sync()
        if self._reach == FIRST:
            # What is known by what is where nobody looked before.
            with self._mapped('writing to'):
                self._hide(self.written)
        if self._inspect is not None:
            self.phase = 'verifying'
            self._inspect(self._whole())
        elif self._proof is not None:
            self.phase = 'verifying'
            self._compare(self._proof, self._read_image)
        self._fit(whole=True)
        self._publish()
        with self._mapped('writing to'):
            self._look_behind()
        with self._mapped('closing'):
            # What close(2) has to tell is told for every descriptor: heard
            # from this one, all can still be taken back by the other.
            os.close(os.dup(self._fd))
            self._end()
            self._close()
        self._become(sink.Life.CLOSED, 'complete')
        if self._journal is not None:
            self._journal.clear()

    def _compare_at_end(self) -> None:
        before = self._before
        if before is None or self._is_compared:
            return
        if self.written < before.stop:
            raise errors.CannotContinue(
                'the image ends before what is on %s' % self.path
            )
        # All behind it was skipped.
        self._compare_before(before)

    def _order(self) -> identity.Order:
        """Return in which order what the image is known by goes there."""
        return self._held.order(self.written)

    def _publish(self) -> None:
        """Put there what the image is known by."""
        with self._mapped('writing to'):
            self._drop_records()
        if self._options.mapped:
            self._fill()
        order = self._order()
        self._become(sink.Life.PUBLISHED)
        with self._mapped('writing to'):
            for span in order.early:
                self._show(*span)
        self._sync()
        with self._mapped('writing to'):
            for span in order.late:
                self._show(*span)
        self._sync()
        if self._proof is not None:
            proof = readback.Regions()
            for start, stop in sorted({*order.early, *order.late}):
                proof.add(start, memoryview(self._held.get(start, stop)))
            self._compare(proof, self._read)
        with self._mapped('writing to'):
            for offset, magic in self._held.old.items():
                self._pwrite(memoryview(magic), offset)
        if self._held.old:
            self._sync()

    def _show(self, start: int, stop: int) -> None:
        """Write [start, stop), which is zeros so far, as the image has it."""
        while start < stop:
            # What is not aligned is not to keep the rest from being direct.
            bound = start + -start % self._alignment
            end = min(bound, stop) if start < bound else stop
            view = memoryview(mmap.mmap(-1, end - start))
            view[:] = self._held.get(start, end)
            if not staging.is_zero(view):
                self._pwrite(view, start)
            start = end

    def _fill(self) -> None:
        """Complete the picture by what was skipped."""
        for start, stop in self._held.unseen():
            for piece in self._read_image(start, stop):
                self._held.put(start, piece)
                start += len(piece)

    def abort(self) -> None:
        if self.life is sink.Life.CLOSED:
            return
        self._is_interrupted = False
        if self._fd >= 0:
            self._take_back()
        try:
            self._close()
        except OSError as exc:
            LOG.warning('%s could not be closed: %s', self.path, exc)
        self._become(sink.Life.CLOSED)

    def _take_back(self) -> None:
        """Leave nothing that looks complete; warn where that fails."""
        self._note_end()
        if self.life is sink.Life.UNTOUCHED:
            return
        try:
            if self.life is sink.Life.PUBLISHED:
                # In this order: what was interrupted is done by another call.
                self._blank(self._reach)
                self._become(sink.Life.WRITTEN)
            elif self.life is sink.Life.BLANK and self.state != 'blank':
                self._blank(self._reach)
            # What is behind a short image is none of its business.
            self._wipe(0, sys.maxsize if self._reach == FIRST else self._reach)
        except OSError as exc:
            LOG.warning('%s could not be cleared: %s', self.path, exc)
            self.state = 'incomplete'
            return
        if self.life is sink.Life.BLANK:
            self.state = 'blank'
        self._blanked()

    def _note_end(self) -> None:
        """Leave a record that is gone on with, or none."""
        before = self._before
        if self.keeps and before is not None and not self._is_compared:
            # That record still holds.
            self.continues_at = before.image
            return
        if self._journal is None or self.life is sink.Life.UNTOUCHED:
            return
        try:
            if (
                self.keeps
                and self._has_record
                and self.life is sink.Life.WRITTEN
            ):
                self._save()
                mark = self._mark()
                self.continues_at = None if mark is None else mark.image
            else:
                self._drop_records()
                if self._journal is not None:
                    self._journal.clear()
        except OSError as exc:
            LOG.warning('%s: no record: %s', self.path, exc.strerror)

    def _look(
        self, *, offset: int = 0, forced: bool = True
    ) -> list[signatures.Signature]:
        """Return what the target is known by, to those who look at it now.

        :param offset: see ``signatures.find``, as for the next one.
        """
        if self._direct:
            self._set_direct(False)
        try:
            return signatures.find(self._fd, offset=offset, forced=forced)
        except OSError as exc:
            LOG.warning(
                '%s cannot be read, so nobody looks for signatures: %s',
                self.path,
                exc.strerror,
            )
            return []
        finally:
            if self._direct:
                self._set_direct(True)

    def _wipe(
        self, start: int, stop: int, names: Container[str] | None = None
    ) -> None:
        """Blank what the target is known by, until that is nothing.

        What does not begin in [start, stop) is left alone.

        :param names: so is what has none of these; None: any.
        """
        for _turn in range(_TURNS):
            found = [
                each
                for each in self._look()
                if start <= each.offset < stop
                and (names is None or each.name in names)
            ]
            if not found:
                return
            for each in found:
                self._pwrite_zeros(each.offset, each.stop)
            self._fdatasync()
        LOG.warning(
            '%s still looks like %s', self.path, signatures.names(found)
        )

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._held.close()
        super()._close()

    def _read_first(self) -> None:
        """Read what the target has where the first mebibyte goes."""
        first = memoryview(mmap.mmap(-1, FIRST))
        start = 0
        while start < FIRST:
            self._at = start
            count = os.preadv(self._fd, [first[start:]], start)
            if not count:
                break
            start += count
        for slot in range(RECORDS, _RECORDS_END, record_module.SLOT):
            # Of a copy that was killed: nobody wants it back.
            if record_module.holds(first[slot : slot + record_module.SLOT]):
                first[slot : slot + record_module.SLOT] = bytes(
                    record_module.SLOT
                )
        self._held.put(0, first[:start])

    def _sync(self) -> None:
        mark = None
        if self._journal is not None:
            with self._mapped('writing to'):
                mark = self._mark()
        with self._mapped('syncing'):
            self._fdatasync()
        self._unsynced = 0
        self._synced_at = time.monotonic()
        self._synced = mark or self._synced

    def _fdatasync(self) -> None:
        # The kernel does not say what could not be synced.
        self._at = None
        self._go_on()
        os.fdatasync(self._fd)
        # It may have taken long, and what comes next may be seen.
        self._go_on()

    def _compare(self, proof: readback.Regions, read: readback.Reader) -> None:
        def counted(start: int, stop: int) -> Iterator[memoryview]:
            for piece in read(start, stop):
                yield piece
                # Signatures behind the first mebibyte are read twice.
                self.verified = min(self.verified + len(piece), self.written)

        proof.compare(counted, self.path)

    def _whole(self) -> Iterator[memoryview]:
        """Read the image: from the medium, but for what is held back."""
        first = memoryview(self._held.get(0, min(FIRST, self.written)))
        self.verified = len(first)
        yield first
        for piece in self._read_image(FIRST, self.written):
            self.verified += len(piece)
            yield piece

    def _read_image(self, start: int, stop: int) -> Iterator[memoryview]:
        """As ``_read``, with what is hidden so far."""
        for piece in self._read(start, stop):
            self._held.complete(piece, start)
            yield piece
            start += len(piece)

    def _read(self, start: int, stop: int) -> Iterator[memoryview]:
        """Read [start, stop) from the medium, not from the page cache.

        Ends early where the target does.
        """
        if not self._direct:
            # What is clean, and it was synced, is dropped from the cache.
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = memoryview(mmap.mmap(-1, octets.MIB))
        with self._mapped('reading back'), self._readable() as fd:
            while start < stop:
                self._go_on()
                self._at = start
                # Whole sectors, of which the ends are dropped.
                before = start % self._alignment
                length = min(before + stop - start, octets.MIB)
                room = buffer[: length + -length % self._alignment]
                count = os.preadv(fd, [room], start - before)
                if count <= before:
                    return
                yield buffer[before : min(count, length)]
                start += min(count, length) - before

    @contextlib.contextmanager
    def _readable(self) -> Iterator[int]:
        """Give a descriptor that can be read from."""
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        if flags & os.O_ACCMODE != os.O_WRONLY:
            yield self._fd
            return
        fd = os.open('/proc/self/fd/%d' % self._fd, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)

    def _pwrite(self, view: memoryview, offset: int) -> None:
        """Write all of ``view``; what is not aligned, by the page cache."""
        self._go_on()
        aligned = 0
        if self._direct and offset % self._alignment == 0:
            aligned = len(view) - len(view) % self._alignment
        if aligned:
            try:
                self._pwrite_all(view[:aligned], offset)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    self._look_for_failure(view[:aligned], offset)
                    raise
                # Some file systems take the flag and refuse the write.
                self._no_direct(exc)
                aligned = 0
        if aligned == len(view):
            return
        if self._direct:
            self._set_direct(False)
        try:
            self._pwrite_all(view[aligned:], offset + aligned)
        finally:
            if self._direct:
                self._set_direct(True)
        self._write_back(offset, offset + len(view))

    def _pwrite_zeros(self, start: int, stop: int) -> None:
        if start < stop:
            zeros = memoryview(mmap.mmap(-1, min(stop - start, octets.MIB)))
            for offset in range(start, stop, len(zeros)):
                self._pwrite(zeros[: stop - offset], offset)

    def _pwrite_all(self, view: memoryview, offset: int) -> None:
        while view:
            self._at = offset
            count = os.pwrite(self._fd, view, offset)
            if not count:
                raise OSError(errno.EIO, 'nothing was written')
            offset += count
            view = view[count:]

    def _look_for_failure(self, view: memoryview, offset: int) -> None:
        """Find the first block of ``view`` that cannot be written.

        A direct write fails as a whole, whichever block was the reason.
        """
        for start in range(0, len(view), self._alignment):
            self._at = offset + start
            try:
                self._pwrite_all(
                    view[start : start + self._alignment], offset + start
                )
            except OSError:
                return
        # This time all of it was taken.
        self._at = offset

    def _write_back(self, start: int, stop: int) -> None:
        first, last, dirty = self._dirty
        first, last = min(first, start), max(last, stop)
        dirty += stop - start
        if dirty >= _WRITE_BACK:
            # For dirty pages this starts their write-back (mm/fadvise.c),
            # and drops those that are on the medium from the last time.
            begin = min(self._dropped_from, first)
            os.posix_fadvise(
                self._fd, begin, last - begin, os.POSIX_FADV_DONTNEED
            )
            self._dropped_from = first
            first, last, dirty = sys.maxsize, 0, 0
        self._dirty = first, last, dirty

    def _try_direct(self) -> None:
        try:
            self._set_direct(True)
        except OSError as exc:
            self._no_direct(exc)
        else:
            self._direct = True

    def _no_direct(self, exc: OSError) -> None:
        if self._direct:
            self._direct = False
            self._set_direct(False)
        LOG.info(
            '%s does not take direct I/O (%s); writing by the page cache',
            self.path,
            exc.strerror,
        )

    def _set_direct(self, on: bool) -> None:
        flags = fcntl.fcntl(self._fd, fcntl.F_GETFL)
        flags = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
        fcntl.fcntl(self._fd, fcntl.F_SETFL, flags)
