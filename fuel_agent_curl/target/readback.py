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

"""Whether the medium gives back what was written to it.

Both sides are digested by regions, so that nothing has to be kept and an
error can still say where. The digest is against accidents of a device: a
CRC-32 of every region sees those, at the speed of memory.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from collections.abc import Iterator

from zlib_ng import zlib_ng

from fuel_agent_curl import errors
from fuel_agent_curl import octets

#: Length of a region in bytes.
REGION = 1 * octets.MIB


#: Gives what the medium has in [start, stop), as far as there is anything.
Reader = Callable[[int, int], Iterator[memoryview]]


class Regions:
    """The digests of what was written, one for each region of the target.

    A region may have been written in part: then the digest is of that part.
    """

    def __init__(self) -> None:
        self._digests: dict[int, int] = {}
        #: Start and stop of what was written in one go, one after the other:
        #: there may be many.
        self._extents = array('Q')

    def add(self, start: int, view: memoryview) -> None:
        """Add ``view``, which is at ``start``; nothing is added twice.

        In any order: it is read back in the same.
        """
        if not self._extents or self._extents[-1] != start:
            self._extents.extend((start, start))
        while view:
            region = start // REGION
            piece = view[: REGION - start % REGION]
            self._digests[region] = zlib_ng.crc32(
                piece, self._digests.get(region, 0)
            )
            start += len(piece)
            view = view[len(piece) :]
        self._extents[-1] = start

    def compare(self, read: Reader, path: str) -> None:
        """Compare with what ``read`` gives now.

        :raises errors.WriteError: where that differs.
        """
        found = Regions()
        for start, stop in zip(
            self._extents[::2], self._extents[1::2], strict=True
        ):
            for piece in read(start, stop):
                found.add(start, piece)
                start += len(piece)
            if start < stop:
                raise self._failure(path, start)
        for region, crc in self._digests.items():
            if found._digests[region] != crc:
                raise self._failure(path, region * REGION)

    def _failure(self, path: str, offset: int) -> errors.WriteError:
        return errors.WriteError(
            '%s does not give back what was written to it' % path,
            offset=offset,
        )
