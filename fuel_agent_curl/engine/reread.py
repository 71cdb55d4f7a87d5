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

"""Digests of what was handed on, and what is read again compared with them.

Any cheap digest will do against accident: a CRC-32 of each chunk, and one of
those in turn. There is one whatever the server proves, as it may prove
nothing the next time.
"""

from __future__ import annotations

import array

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import values

# So many chunks have a checkpoint each. From there on it is every second one,
# from twice as many on every fourth, and so on: a difference is told within a
# 512th of its offset, and a stream of years costs some ten KiB.
_EXACT_BITS = 10


def _has_checkpoint(count: int) -> bool:
    """Tell whether there is one after ``count`` chunks."""
    return count % (1 << _skipped_bits(count)) == 0


def _skipped_bits(count: int) -> int:
    return max(0, count.bit_length() - _EXACT_BITS)


def _last_checkpoint(count: int) -> int:
    """Return how many of ``count`` chunks come before the last one."""
    return count - count % (1 << _skipped_bits(count))


def _checkpoints(count: int) -> int:
    """Return how many there are in ``count`` chunks."""
    if not count:
        return 0
    bits = _skipped_bits(count)
    # Half of them in each number of bits, but for the exact ones.
    return (count >> bits) + bits * (1 << (_EXACT_BITS - 1))


def _fold(crc: int, before: int) -> int:
    """Return the digest of the chunks ``before`` and one with ``crc``."""
    return zlib_ng.crc32(crc.to_bytes(4, 'big'), before)


@values.dataclass(frozen=True)
class HandedOn:
    """What the consumer has.

    :ivar length: bytes, whole chunks.
    :ivar digest: of all of them.
    :ivar checkpoints: what the digest was after each number of chunks that
        has a checkpoint.
    """

    length: int = 0
    chunk_size: int = 1
    digest: int = 0
    checkpoints: tuple[int, ...] = ()

    def checkpoint(self, position: int) -> int:
        """Return where a comparison can begin, at ``position`` or before."""
        count = min(position, self.length) // self.chunk_size
        return _last_checkpoint(count) * self.chunk_size


class Checkpoints:
    """The digests of the chunks that were handed on so far.

    :param count: as many there were before, whose digests are not known, so
        that nothing can be compared.
    :ivar count: how many there were.
    """

    def __init__(self, count: int = 0) -> None:
        self.count = count
        self._digest = 0
        self._kept = array.array('I')

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, crc: int) -> None:
        """One chunk more was handed on; ``crc`` is its CRC-32."""
        self._digest = _fold(crc, self._digest)
        self.count += 1
        if _has_checkpoint(self.count):
            self._kept.append(self._digest)

    def handed_on(self, chunk_size: int) -> HandedOn:
        """Return what they say, of chunks of that many bytes."""
        return HandedOn(
            self.count * chunk_size,
            chunk_size,
            self._digest,
            tuple(self._kept),
        )


class Comparison:
    """Compares what is read again.

    :param start: where it begins: 0 or one of its checkpoints.
    :ivar left: bytes that are still to come.
    :ivar same: all before this offset is the same.
    """

    def __init__(self, handed_on: HandedOn, start: int = 0) -> None:
        self.left = handed_on.length - start
        self._handed_on = handed_on
        passed = _checkpoints(start // handed_on.chunk_size)
        self._checkpoints = iter(handed_on.checkpoints[passed:])
        self._crc = 0
        self._digest = handed_on.checkpoints[passed - 1] if passed else 0
        self.same = start

    def update(self, piece: memoryview) -> None:
        """Compare the next bytes, no more than are left.

        :raises errors.RepresentationChanged: if they are others than before.
        """
        size = self._handed_on.chunk_size
        while piece:
            at = (self._handed_on.length - self.left) % size
            part = piece[: size - at]
            piece = piece[len(part) :]
            self.left -= len(part)
            self._crc = zlib_ng.crc32(part, self._crc if at else 0)
            if at + len(part) == size:
                self._digest = _fold(self._crc, self._digest)
                self._check(self._handed_on.length - self.left)

    def _check(self, position: int) -> None:
        expected = self._digest
        if _has_checkpoint(position // self._handed_on.chunk_size):
            expected = next(self._checkpoints)
        elif not self.left:
            expected = self._handed_on.digest
        else:
            return
        if self._digest != expected:
            raise errors.RepresentationChanged(
                'the bytes from %d to %d are others than before'
                % (self.same, position)
            )
        self.same = position
