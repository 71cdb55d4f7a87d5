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

"""Where unpacking can begin again, and that it does."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses

from fuel_agent_curl import errors
from fuel_agent_curl.image import blocks
from fuel_agent_curl.image import containers
from fuel_agent_curl.octets import MIB
from tests.unit.image import test_blocks
from tests.unit.image import test_containers

_PARTS = [b'one' * 30_000, test_containers.IMAGE, b'', b'four' * 10_000]
_IMAGE = b''.join(_PARTS)
_SIZES = (999, 65536, MIB)


def _opened(
    packed: bytes, size: int, at: containers.Boundary | None, threads: int
) -> containers.Unpacked:
    start = 0 if at is None else at.offset
    pieces = test_containers.pieces(packed[start:], size)
    return containers.open_container(
        pieces, 'raw' if at else 'auto', decoder_threads=threads, at=at
    )


def _unpack(
    packed: bytes, size: int, at: containers.Boundary, threads: int = 1
) -> bytes:
    opened = _opened(packed, size, at, threads)
    return b''.join(map(bytes, opened.chunks))


def boundaries(
    packed: bytes, size: int, threads: int = 1
) -> Iterator[tuple[int, containers.Boundary]]:
    """Iterate over all, each with the bytes that were handed on before."""
    opened = _opened(packed, size, None, threads)
    handed_on = 0
    last = None
    for chunk in opened.chunks:
        handed_on += len(chunk)
        if (found := opened.boundary()) not in (None, last):
            assert found is not None
            last = found
            yield handed_on, found


class BoundariesTest(test_containers.ContainersTestCase):
    def _check(
        self, packed: bytes, image: bytes, threads: Iterable[int] = (1,)
    ) -> set[containers.Boundary]:
        """Go on from all that there are, in all ways."""
        found = set()
        for count in threads:
            for size in _SIZES:
                for handed_on, at in boundaries(packed, size, count):
                    if handed_on > 64 * 1024:
                        self.assertLessEqual(at.image, handed_on)
                    found.add(at)
        for at in found:
            for count in threads:
                rest = _unpack(packed, 70_000, at, count)
                self.assert_image(image[at.image :], rest, str(at))
        return found

    def test_members(self) -> None:
        for name, pack in test_containers.PACK.items():
            members = [pack(part) for part in _PARTS]
            found = self._check(b''.join(members), _IMAGE)
            # The last is always passed before the last chunk is there.
            last = containers.Boundary(
                name,
                sum(map(len, members[:-1])),
                sum(map(len, _PARTS[:-1])),
            )
            self.assertIn(last, found)

    def test_blocks(self) -> None:
        packed = test_blocks.stream(test_blocks.BLOCKS)
        image = test_blocks.IMAGE
        found = self._check(packed + packed, image + image, (1, 2, 8))
        count = len(test_blocks.BLOCKS)
        # Where each stream and all but its first block begin.
        self.assertEqual(2 * count, len(found))
        for at in found:
            self.assertTrue(at.state.isascii(), at.state)
            self.assertTrue(at.state.isprintable(), at.state)

    def test_blocks_of_any_kind(self) -> None:
        self.patch(blocks, '_RUN', 3000)
        made = [
            test_blocks.block(part, stated)
            for part in (_PARTS[0], _PARTS[1], _PARTS[3])
            for stated in (True, False)
        ]
        image = b''.join(_PARTS[i] * 2 for i in (0, 1, 3))
        packed = test_blocks.stream(made) + bytes(8)
        self.assertLess(4, len(self._check(packed, image, (1, 8))))

    def test_the_index_is_still_compared(self) -> None:
        made = list(test_blocks.BLOCKS[:4])
        whole = test_blocks.stream(made)
        made[0] = made[0][0], made[1][1]
        wrong = test_blocks.stream(made)
        found = {at for _n, at in boundaries(whole, MIB) if at.state}
        self.assertEqual(3, len(found))
        for at in found:
            if whole[: at.offset] == wrong[: at.offset]:
                self.assertRaises(errors.CorruptError, _unpack, wrong, MIB, at)

    def test_errors_have_their_place_in_the_whole(self) -> None:
        packed = test_blocks.stream(test_blocks.BLOCKS)
        for at in {at for _n, at in boundaries(packed, MIB)}:
            error = self.assertRaises(
                errors.TruncatedError, _unpack, packed[:-9], MIB, at
            )
            self.assertEqual(len(packed) - 9, error.offset)
            # Where something has to be, nothing is not the end.
            self.assertRaises(
                errors.TruncatedError, _unpack, packed[: at.offset], MIB, at
            )

    def test_what_is_before_is_of_no_matter(self) -> None:
        """It may have been damaged after it was read."""
        packed = bytearray(test_blocks.stream(test_blocks.BLOCKS))
        *_others, last = (at for _n, at in boundaries(bytes(packed), MIB))
        packed[:100] = bytes(100)
        rest = _unpack(bytes(packed), MIB, last)
        self.assert_image(test_blocks.IMAGE[last.image :], rest, 'rest')

    def test_it_can_be_written_down(self) -> None:
        packed = test_blocks.stream(test_blocks.BLOCKS)
        for _n, at in boundaries(packed, MIB):
            self.assertEqual(at, containers.Boundary(**dataclasses.asdict(at)))

    def test_none_in_a_raw_image(self) -> None:
        opened = containers.open_container([test_containers.IMAGE])
        for _chunk in opened.chunks:
            self.assertIsNone(opened.boundary())
