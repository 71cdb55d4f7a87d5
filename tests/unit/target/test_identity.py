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

"""What is held back of an image, and in which order it is let go."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
import sys

from fuel_agent_curl import errors
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import identity
from fuel_agent_curl.target import signatures
from tests import base
from tests.support import disks

LENGTH = 64 * MIB
_RANDOM = random.Random(20261129)
_NOISE = _RANDOM.randbytes(MIB)

# Where none of the signatures are.
_FILLING: disks.Parts = {
    0: _NOISE[:446],
    8 * KIB: _NOISE[: 16 * KIB],
    64 * KIB: _NOISE[: 32 * KIB],
    600 * KIB: _NOISE[: 1000 * KIB],
    8 * MIB: _NOISE,
}

#: What one sector makes the difference for.
SINGLE = {
    'dos': (disks.mbr(),),
    'gpt': (disks.gpt(LENGTH),),
    'gpt without a backup': (disks.gpt(LENGTH, backup=False),),
    'ext2': (disks.ext2(),),
    'iso9660': (disks.iso9660(),),
    'swap': (disks.swap(),),
    'md': (disks.md_1_0(LENGTH),),
    'imsm': (disks.imsm(LENGTH),),
    'noise': (),
}

#: What there are several signs of, each of which does.
SEVERAL = {
    'luks2': (disks.luks2(2 * MIB),),
    'luks2, 4 MiB': (disks.luks2(4 * MIB),),
    'isohybrid': (disks.mbr(), disks.iso9660()),
    'gpt and iso9660': (disks.gpt(LENGTH), disks.iso9660()),
    'zfs': (disks.zfs(LENGTH),),
    'ext2 behind a boot sector': (disks.mbr(), disks.ext2()),
    'md and ext2': (disks.md_0_90(LENGTH), disks.ext2()),
}


# Where there is anything.
_PARTS = ((0, 10 * MIB), (LENGTH - 2 * MIB, LENGTH))


def _image(parts: tuple[disks.Parts, ...]) -> bytearray:
    # In sectors that belong to a signature, that is all there is.
    return disks.laid_out(LENGTH, _FILLING, *parts)


class Disk:
    """What is on a disk while an image comes; nothing at first."""

    def __init__(self) -> None:
        self.fd = os.memfd_create('disk')
        os.ftruncate(self.fd, LENGTH)

    def known(self, *, forced: bool = False) -> list[signatures.Signature]:
        return signatures.find(self.fd, forced=forced)

    def write(self, held: identity.Identity, span: identity.Span) -> None:
        os.pwrite(self.fd, held.get(*span), span[0])

    def read(self) -> list[bytes]:
        return [
            os.pread(self.fd, stop - start, start) for start, stop in _PARTS
        ]


class _IdentityTestCase(base.TestCase):
    def _hold(
        self, parts: tuple[disks.Parts, ...], sector: int = 512
    ) -> tuple[identity.Identity, Disk]:
        """Hand an image over, as far as that goes before its end."""
        image = memoryview(_image(parts))
        held = identity.Identity(LENGTH, sector)
        self.addCleanup(held.close)
        disk = Disk()
        self.addCleanup(os.close, disk.fd)
        offset = 0
        while offset < len(image):
            back, stop = held.part(offset)
            stop = min(stop, len(image))
            if back:
                held.put(offset, image[offset:stop])
            else:
                # Nothing else is there.
                os.pwrite(disk.fd, image[8 * MIB : 9 * MIB], 8 * MIB)
            offset = stop
            if offset == held.front:
                released = held.masked(identity.FIRST, offset)
                os.pwrite(disk.fd, released, identity.FIRST)
                self.assertEqual([], disk.known(forced=True))
        released = held.masked(held.tail, len(image))
        os.pwrite(disk.fd, released, held.tail)
        return held, disk


class HoldTest(_IdentityTestCase):
    def test_nothing_is_known_before_it_is_published(self) -> None:
        for name, parts in (SINGLE | SEVERAL).items():
            _held, disk = self._hold(parts)
            self.assertEqual([], disk.known(forced=True), name)

    def test_all_of_it_is_there_in_the_end(self) -> None:
        for name, parts in (SINGLE | SEVERAL).items():
            held, disk = self._hold(parts)
            order = held.order(LENGTH)
            for span in [*order.early, *order.late]:
                disk.write(held, span)
            image = _image(parts)
            for (start, stop), found in zip(_PARTS, disk.read(), strict=True):
                self.assertTrue(image[start:stop] == found, name)

    def test_what_is_read_back_is_completed(self) -> None:
        held, disk = self._hold((disks.zfs(LENGTH),))
        start = LENGTH - 2 * MIB
        view = memoryview(bytearray(disk.read()[-1]))
        held.complete(view, start)
        self.assertTrue(_image((disks.zfs(LENGTH),))[start:] == view)

    def test_what_is_no_disk(self) -> None:
        held = identity.Identity(None)
        self.addCleanup(held.close)
        self.assertEqual((True, MIB), held.part(0))
        self.assertEqual((False, sys.maxsize), held.part(MIB))
        held.put(0, b'x' * 100)
        self.assertEqual([], held.order(100).early)
        self.assertEqual([(0, 100)], held.order(100).late)

    def test_a_file_that_is_seen(self) -> None:
        """Then the last of it is what makes the difference, as of a disk."""
        for name, parts in SINGLE.items():
            image = _image(parts)
            held = identity.Identity(None)
            self.addCleanup(held.close)
            held.put(0, image[:MIB])
            held.look_at(LENGTH)
            order = held.order(LENGTH)
            disk = Disk()
            self.addCleanup(os.close, disk.fd)
            for span in order.early:
                disk.write(held, span)
            self.assertEqual([], disk.known(), name)
            for span in order.late:
                disk.write(held, span)
            self.assertTrue(image[:MIB] == disk.read()[0][:MIB], name)

    def test_short_disks(self) -> None:
        for length in (512, 4096, MIB, 3 * MIB, 6 * MIB, 8 * MIB):
            held = identity.Identity(length)
            self.addCleanup(held.close)
            offset = 0
            while offset < length:
                _back, stop = held.part(offset)
                self.assertLess(offset, stop)
                offset = stop

    def test_old_signatures_that_the_image_covers(self) -> None:
        held = identity.Identity(LENGTH)
        self.addCleanup(held.close)
        for start, stop, left in (
            (0, 100, {100: b'abcd'}),
            (104, 200, {100: b'abcd'}),
            (0, 200, {}),
            (100, 104, {}),
            (0, 102, {102: b'cd'}),
            (102, 200, {100: b'ab'}),
            (101, 103, {100: b'a', 103: b'd'}),
        ):
            held.old = {100: b'abcd'}
            held.forget(start, stop)
            self.assertEqual(left, held.old)


class OrderTest(_IdentityTestCase):
    """A power cut leaves any of what was written since the last sync."""

    def _subsets(
        self, spans: list[identity.Span], sector: int
    ) -> list[list[identity.Span]]:
        """Return some subsets of the sectors of ``spans``."""
        sectors = [
            (start, min(start + sector, stop))
            for first, stop in spans
            for start in range(first, stop, sector)
        ]
        # Where anything is, first; noise is known by nothing.
        chosen = [each for each in sectors if each[0] < 40 * KIB]
        chosen += [each for each in sectors if each[0] >= MIB]
        subsets = [[each] for each in chosen[:100]]
        subsets += [sectors, sectors[1:], sectors[:-1]]
        for _turn in range(20):
            subsets.append(_RANDOM.sample(sectors, len(sectors) // 2))
        return subsets

    def test_nothing_comes_before_the_last_sector(self) -> None:
        for name, parts in SINGLE.items():
            held, disk = self._hold(parts)
            order = held.order(LENGTH)
            self.assertEqual(1, len(order.late), name)
            start, stop = order.late[0]
            self.assertLessEqual(stop - start, 512, name)
            for subset in self._subsets(list(order.early), 512):
                for span in subset:
                    disk.write(held, span)
                self.assertEqual([], disk.known(), '%s: %s' % (name, subset))
                for start, stop in subset:
                    os.pwrite(disk.fd, bytes(stop - start), start)

    def test_what_is_late_is_all_that_is_known(self) -> None:
        for name, parts in SEVERAL.items():
            held, disk = self._hold(parts)
            order = held.order(LENGTH)
            for span in order.early:
                disk.write(held, span)
            self.assertEqual([], disk.known(), name)
            # The backups first, and what is in front in one piece.
            starts = [start for start, _stop in order.late]
            self.assertEqual(sorted(starts, reverse=True), starts, name)
            front = [span for span in order.late if span[0] < MIB]
            self.assertEqual(1, len(front), name)

    def test_sectors_of_4096_bytes(self) -> None:
        held, disk = self._hold((disks.gpt(LENGTH, 4096),), 4096)
        order = held.order(LENGTH)
        self.assertEqual([(0, 4096)], list(order.late))
        for span in order.early:
            disk.write(held, span)
        self.assertEqual(
            [], signatures.find(disk.fd, sector_size=4096, forced=False)
        )

    def test_short_image(self) -> None:
        for length in (1, 446, 512, 513, 1080, 4096, 5000, MIB - 1):
            held = identity.Identity(LENGTH)
            self.addCleanup(held.close)
            held.put(0, memoryview(_image((disks.gpt(LENGTH),)))[:length])
            order = held.order(length)
            spans = sorted([*order.early, *order.late])
            self.assertEqual(0, spans[0][0])
            self.assertEqual(length, spans[-1][1])
            for before, after in itertools.pairwise(spans):
                self.assertEqual(before[1], after[0])


class TableTest(_IdentityTestCase):
    def _table(
        self, parts: disks.Parts, sector_size: int
    ) -> identity.Table | None:
        held = identity.Identity(LENGTH, sector_size)
        self.addCleanup(held.close)
        for offset, data in parts.items():
            if offset < MIB:
                held.put(offset, data)
        return held.table()

    def test_gpt_says_its_sectors(self) -> None:
        for size in (512, 4096):
            for own in (512, 4096):
                table = self._table(disks.gpt(LENGTH, size), own)
                assert table is not None
                self.assertEqual(size, table.sector_size)
                self.assertTrue(table.fits)

    def test_its_own_comes_first(self) -> None:
        both = disks.gpt(LENGTH, 4096) | disks.gpt(LENGTH, 512)
        table = self._table(both, 512)
        assert table is not None
        self.assertEqual(512, table.sector_size)

    def test_gpt_of_a_longer_disk(self) -> None:
        table = self._table(disks.gpt(LENGTH + MIB), 512)
        assert table is not None
        self.assertEqual(512, table.sector_size)
        self.assertFalse(table.fits)
        # For the other sectors, whether it would fit is no question.
        table = self._table(disks.gpt(LENGTH + MIB), 4096)
        assert table is not None
        self.assertEqual(512, table.sector_size)

    def test_limit_on_the_length_of_files(self) -> None:
        """It is above that of the disk, and no reason to refuse the image."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        limit = 2 * LENGTH
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
        table = self._table(disks.gpt(LENGTH), 512)
        assert table is not None
        self.assertEqual((512, True), (table.sector_size, table.fits))
        self.assertIsNone(self._table(disks.ext2(), 512))

    def test_limit_on_the_length_of_files_below_that_of_the_disk(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, limits[1]))
        held = identity.Identity(LENGTH)
        self.addCleanup(held.close)
        offset = LENGTH - 512
        held.hide(signatures.Signature(offset, b'EFI PART', 'gpt'), LENGTH)
        late = held.order(LENGTH).late
        self.assertEqual([(offset, offset + 8), (0, MIB)], list(late))
        self.assertEqual(b'EFI PART', held.get(*late[0]))

    def test_limit_that_nothing_can_be_held_back_with(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB - 1, limits[1]))
        error = self.assertRaises(
            errors.ResourceError, identity.Identity, LENGTH
        )
        self.assertEqual(errno.EFBIG, error.os_errno)
        self.assertIn('ulimit -f', str(error))
        # Of a small disk, less is held back.
        identity.Identity(MIB - 512).close()

    def test_mbr_does_not_say(self) -> None:
        table = self._table(disks.mbr(63, 1000), 512)
        assert table is not None
        self.assertIsNone(table.sector_size)
        self.assertEqual([63 * 512], table.starts[512])
        self.assertEqual([63 * 4096], table.starts[4096])

    def test_none(self) -> None:
        for parts in ({}, disks.ext2(), disks.swap()):
            self.assertIsNone(self._table(parts, 512))
