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

"""What a disk is known by, kept off it until the image is complete.

No byte of the image's first mebibyte goes to the disk before that. Elsewhere
it is the signatures alone that are kept off: libblkid looks for them at both
ends of a disk, so the image's bytes for these are put on a copy first, which
has the disk's length and is all holes but for them, and libblkid is asked
what it makes of the copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
import contextlib
import logging
import os
import sys

from fuel_agent_curl import errors
from fuel_agent_curl import octets
from fuel_agent_curl import values
from fuel_agent_curl.target import signatures

LOG = logging.getLogger(__name__)

#: GPT with its table, the boot loader's first stages, and the first
#: superblocks of ext4, xfs and btrfs are in there.
FIRST = 1 * octets.MIB

# Where libblkid looks: LUKS2 has a second header 4 MiB behind the first one
# at most; ZFS, md, DDF and the RAID of firmwares are in the last 2 MiB.
_FRONT = 5 * octets.MIB
_TAIL = 2 * octets.MIB

#: What disks have, in bytes.
SECTOR_SIZES = (512, 1024, 2048, 4096)

# Bytes of a disk that none is longer than.
_LONGEST = 1 << 60

#: [start, stop) of the disk.
Span = tuple[int, int]


@values.dataclass(frozen=True)
class Order:
    """How the image's first mebibyte, and what is hidden, go to the disk.

    :ivar early: all of it that nothing is known by yet.
    :ivar late: the rest, in this order.
    """

    early: Sequence[Span]
    late: Sequence[Span]


@values.dataclass(frozen=True)
class Table:
    """A partition table.

    :ivar sector_size: the length of the sectors that it counts, in bytes;
        None: that is not to be seen from it.
    :ivar fits: it is not that of a disk that is longer.
    :ivar starts: where its partitions begin, in bytes, by the length that
        its sectors may have.
    """

    sector_size: int | None
    fits: bool
    starts: dict[int, list[int]]


class Identity:
    """Holds back what an image is known by.

    :param length: of the disk in bytes; None: nobody looks at the target
        before the image is complete, and the first mebibyte is all.
    :param sector_size: of the disk in bytes: what it writes as a whole.
    :param whole: the image comes without gaps.
    :raises errors.ResourceError: where not even the first mebibyte can be held
        back.
    :ivar front: all before this byte is held back, and behind the first
        mebibyte goes on, but for the signatures, as soon as it is complete.
    :ivar tail: so is all from this byte on, until the image is complete.
    :ivar hidden: by its place on the disk, what is kept off it there.
    :ivar old: the same for what was there; dropped where the image comes.
    """

    def __init__(
        self, length: int | None, sector_size: int = 512, *, whole: bool = True
    ) -> None:
        self.front = FIRST
        self.tail = sys.maxsize
        self.hidden: dict[int, bytes] = {}
        self.old: dict[int, bytes] = {}
        self._sector_size = sector_size
        self._copy = os.memfd_create('fuel-agent-curl')
        self._length = length
        if length is None:
            return
        try:
            os.ftruncate(self._copy, length)
        except OSError as exc:
            # The limit on the length of files holds for it, too.
            LOG.warning('nobody looks for signatures: %s', exc.strerror)
            self._length = None
            self._check_limit(min(FIRST, length))
            return
        if whole:
            self.front = max(FIRST, min(_FRONT, length))
            self.tail = max(self.front, length - _TAIL)

    def _check_limit(self, length: int) -> None:
        try:
            os.ftruncate(self._copy, length)
            os.ftruncate(self._copy, 0)
        except OSError as exc:
            self.close()
            error = errors.ResourceError(
                'no file of %d bytes may be made here (%s), and as much is'
                ' held back of an image' % (length, exc.strerror),
                hint='raise the limit on the length of files (ulimit -f)',
            )
            error.os_errno = exc.errno
            raise error from exc

    def close(self) -> None:
        """Give the memory back."""
        copy, self._copy = self._copy, -1
        if copy >= 0:
            os.close(copy)

    def part(self, offset: int) -> tuple[bool, int]:
        """Return whether the byte is held back, and up to where that is so."""
        for stop in (FIRST, self.front):
            if offset < stop:
                return True, stop
        if offset < self.tail:
            return False, self.tail
        return True, sys.maxsize

    def put(self, start: int, view: octets.Buffer) -> None:
        """Hold ``view`` back, which belongs at ``start``."""
        view = memoryview(view)
        while view:
            count = os.pwritev(self._copy, [view], start)
            start += count
            view = view[count:]

    def get(self, start: int, stop: int) -> bytearray:
        """Return what was put into [start, stop)."""
        data = bytearray()
        at = start
        while at < stop and (piece := os.pread(self._copy, stop - at, at)):
            data += piece
            at += len(piece)
        # What was never put anywhere is zeros.
        data += bytes(stop - at)
        if self._length is None:
            self.complete(data, start)
        return data

    def masked(self, start: int, stop: int) -> bytearray:
        """As ``get``, without the signatures, which are hidden from now on."""
        for found in self._find():
            if found.offset >= FIRST:
                self.hidden[found.offset] = found.magic
        data = self.get(start, stop)
        for offset, magic in self.hidden.items():
            _overlay(data, start, bytes(len(magic)), offset)
        return data

    def hide(self, found: signatures.Signature, length: int) -> None:
        """Note what is on the disk, of which ``length`` bytes are the image's.

        It is behind the first mebibyte.
        """
        if found.offset < length:
            self.hidden[found.offset] = found.magic
            if self._length is not None:
                # Else the copy may not be allowed to be as long.
                self.put(found.offset, found.magic)
        else:
            self.old[found.offset] = found.magic

    def unseen(self) -> Sequence[Span]:
        """Return what libblkid looks at, if that was not put here."""
        if self._length is None or self.front > FIRST:
            return ()
        front = min(_FRONT, self._length)
        return (FIRST, front), (max(front, self._length - _TAIL), self._length)

    def complete(self, view: bytearray | memoryview, start: int) -> None:
        """Put what is hidden of the image into what was read at ``start``."""
        for offset, magic in self.hidden.items():
            _overlay(view, start, magic, offset)

    def restore(self, view: memoryview, start: int) -> None:
        """Put all that is hidden into what was read at ``start``."""
        # Another thread may hide more meanwhile.
        for found in dict(self.old), dict(self.hidden):
            for offset, magic in found.items():
                _overlay(view, start, magic, offset)

    def adopt(self, start: int, stop: int) -> None:
        """Keep what was in [start, stop): the image has the same there."""
        for offset, magic in list(self.old.items()):
            first, last = max(start, offset), min(stop, offset + len(magic))
            if first < last:
                self.hidden[first] = magic[first - offset : last - offset]
                if self._length is not None:
                    self.put(first, self.hidden[first])

    def forget(self, start: int, stop: int) -> None:
        """Drop what was in [start, stop), which is the image's now."""
        for offset, magic in list(self.old.items()):
            if offset < stop and start < offset + len(magic):
                del self.old[offset]
                if offset < start:
                    self.old[offset] = magic[: start - offset]
                if stop < offset + len(magic):
                    self.old[stop] = magic[stop - offset :]

    def look_at(self, length: int) -> None:
        """Have it seen what an image of ``length`` bytes is known by.

        Of one that nobody looks at before it is complete, but for this: it
        is to become so in one step.
        """
        if self._length is not None:
            return
        # The limit on the length of files may not allow it.
        with contextlib.suppress(OSError):
            os.ftruncate(self._copy, length)
            self._length = length
            for offset, magic in self.hidden.items():
                self.put(offset, magic)

    def order(self, length: int) -> Order:
        """Return how to publish an image of ``length`` bytes.

        What is late is as little as makes the difference between a disk that
        blkid knows nothing about and one that it knows. Mostly a sector does,
        which a disk writes as a whole: then nothing can come between, be it a
        power cut. Else the backups go first, and what is in the first mebibyte
        goes in one piece.
        """
        stop = min(length, FIRST)
        outside = {
            (offset, offset + len(magic))
            for offset, magic in self.hidden.items()
        }
        if self._length is None:
            return Order([], [*sorted(outside), (0, stop)])
        inside = {
            self._sectors(found, stop)
            for found in self._find()
            if found.offset < stop
        }
        late = self._late(sorted(inside | outside))
        # What nobody knows is known by its first sector.
        late = late or [(0, min(self._sector_size, stop))]
        front = [mark for mark in late if mark[0] < stop]
        first, last = stop, stop
        if front:
            first, last = front[0][0], max(mark[1] for mark in front)
        back = [mark for mark in late if mark[0] >= stop]
        return Order(
            _spans((0, first), (last, stop), *sorted(outside - set(back))),
            _spans(*reversed(back), (first, last)),
        )

    def table(self) -> Table | None:
        """Return what is known of the image's partition table, if it has one.

        It is at the front, so that is what has to be held back by then.
        """
        if self._length is None:
            return None
        own = self._sector_size
        others = [each for each in SECTOR_SIZES if each != own]
        try:
            # Else one of a longer disk would not be found at all. It is not
            # where the limit on the length of files, which is none of a disk,
            # does not allow it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._copy, _LONGEST)
            for size in (own, *others):
                if self._is_gpt(size):
                    os.ftruncate(self._copy, self._length)
                    return Table(size, size != own or self._is_gpt(size), {})
        finally:
            os.ftruncate(self._copy, self._length)
        starts = {
            size: signatures.starts(self._copy, size)
            for size in (own, *others)
        }
        return Table(None, True, starts) if starts[own] else None

    def _is_gpt(self, sector_size: int) -> bool:
        # Its header is in the second sector.
        return any(
            found.name == 'gpt' and found.offset == sector_size
            for found in signatures.find(self._copy, sector_size=sector_size)
        )

    def find_at(self, offset: int) -> list[signatures.Signature]:
        """Return what begins there, in what is held back of the image."""
        return signatures.find(self._copy, offset=offset, forced=False)

    def _find(self, *, forced: bool = True) -> list[signatures.Signature]:
        if self._length is None:
            return []
        return signatures.find(
            self._copy, sector_size=self._sector_size, forced=forced
        )

    def _sectors(self, found: signatures.Signature, stop: int) -> Span:
        size = self._sector_size
        return (
            found.offset - found.offset % size,
            min(found.stop + -found.stop % size, stop),
        )

    def _late(self, marks: Sequence[Span]) -> Sequence[Span]:
        """Return the first ones of ``marks``, without which nothing is known.

        With those behind them alone blkid does not know the disk yet.
        """
        data = [self.get(start, stop) for start, stop in marks]

        def leave(count: int) -> bool:
            """Have the last ``count`` alone; return whether it is known."""
            for number, ((start, _stop), there) in enumerate(
                zip(marks, data, strict=True)
            ):
                shown = number >= len(marks) - count
                self.put(start, there if shown else bytes(len(there)))
            return bool(self._find(forced=False))

        low, high = 0, len(marks)
        while low < high:
            middle = (low + high + 1) // 2
            if leave(middle):
                high = middle - 1
            else:
                low = middle
        leave(len(marks))
        return marks[: len(marks) - low]


def _spans(*spans: Span) -> Sequence[Span]:
    """Return those that are not empty."""
    return [(start, stop) for start, stop in spans if start < stop]


def _overlay(
    view: bytearray | memoryview,
    start: int,
    piece: Iterable[int],
    offset: int,
) -> None:
    """Put ``piece``, which is at ``offset``, into ``view`` at ``start``."""
    piece = bytes(piece)
    first = max(start, offset)
    last = min(start + len(view), offset + len(piece))
    if first < last:
        view[first - start : last - start] = piece[
            first - offset : last - offset
        ]
