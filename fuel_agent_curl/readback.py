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

from collections.abc import Iterable

from zlib_ng import zlib_ng

from fuel_agent_curl import errors

KIB = 1024
MIB = 1024 * KIB

#: Length of a region in bytes.
REGION = 1 * MIB


class Regions:
    """The digests of the bytes from ``start`` on, one for each region."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._length = 0
        self._digests: list[int] = []

    def update(self, view: memoryview) -> None:
        """Add ``view``, which follows what was added before."""
        while view:
            at = self._length % REGION
            if not at:
                self._digests.append(0)
            piece = view[: REGION - at]
            self._digests[-1] = zlib_ng.crc32(piece, self._digests[-1])
            self._length += len(piece)
            view = view[len(piece) :]

    def compare(self, pieces: Iterable[memoryview], path: str) -> None:
        """Compare with ``pieces``, what the medium has there now.

        :raises errors.WriteError: where they differ.
        """
        found = Regions(self._start)
        for piece in pieces:
            found.update(piece)
        pairs = zip(self._digests, found._digests, strict=False)
        same = next(
            (i for i, (ours, theirs) in enumerate(pairs) if ours != theirs),
            min(len(self._digests), len(found._digests)),
        )
        if same < len(self._digests) or self._length != found._length:
            raise errors.WriteError(
                '%s does not give back what was written to it' % path,
                offset=self._start + same * REGION,
            )
