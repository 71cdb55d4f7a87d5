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

"""What libblkid makes of a disk, and what is said where it is missing."""

from __future__ import annotations

import ctypes
import os
import random
from typing import Any

import fixtures

from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import signatures
from tests import base
from tests.support import disks

LENGTH = 64 * MIB

#: Name, what it is, and where.
KNOWN: tuple[tuple[str, disks.Parts, list[int]], ...] = (
    ('dos', disks.mbr(), [510]),
    ('ext2', disks.ext2(), [1080]),
    ('iso9660', disks.iso9660(), [32769]),
    ('swap', disks.swap(), [4086]),
    ('crypto_LUKS', disks.luks2(2 * MIB), [0, 2 * MIB]),
    ('linux_raid_member', disks.md_1_0(LENGTH), [LENGTH - 8192]),
    ('linux_raid_member', disks.md_0_90(LENGTH), [LENGTH - 65536]),
    ('isw_raid_member', disks.imsm(LENGTH), [LENGTH - 1024]),
)


class FindTest(base.TestCase):
    def _disk(self, *parts: disks.Parts, length: int = LENGTH) -> int:
        fd = os.memfd_create('disk')
        self.addCleanup(os.close, fd)
        os.ftruncate(fd, length)
        for each in parts:
            for offset, data in each.items():
                os.pwrite(fd, data, offset)
        return fd

    def test_each_alone(self) -> None:
        for name, parts, offsets in KNOWN:
            found = signatures.find(self._disk(parts))
            self.assertEqual({name}, {each.name for each in found})
            self.assertEqual(offsets, [each.offset for each in found])
            for each in found:
                self.assertEqual(
                    each.magic,
                    disks.laid_out(LENGTH, parts)[each.offset : each.stop],
                )

    def test_all_at_once(self) -> None:
        """Not only what hides the others."""
        parts = [parts for _name, parts, _offsets in KNOWN if 0 not in parts]
        found = signatures.find(self._disk(*parts))
        self.assertEqual(
            {name for name, parts, _offsets in KNOWN if 0 not in parts},
            {each.name for each in found},
        )

    def test_copies_of_the_same(self) -> None:
        for sector in (512, 4096):
            disk = self._disk(disks.gpt(LENGTH, sector))
            found = signatures.find(disk, sector_size=sector)
            self.assertEqual(
                [('PMBR', 510), ('gpt', sector), ('gpt', LENGTH - sector)],
                [(each.name, each.offset) for each in found],
            )
        found = signatures.find(self._disk(disks.zfs(LENGTH)))
        self.assertLess(500, len(found))

    def test_backup_is_forced(self) -> None:
        parts = disks.gpt(LENGTH)
        disk = self._disk({max(parts): parts[max(parts)]}, parts)
        os.pwrite(disk, bytes(MIB), 0)
        self.assertEqual([], signatures.find(disk, forced=False))
        found = signatures.find(disk)
        self.assertEqual([LENGTH - 512], [each.offset for each in found])

    def test_nothing(self) -> None:
        noise = random.Random(20261128).randbytes(MIB)
        for length in (0, 1, 511, 512, 4096, MIB):
            disk = self._disk({0: noise[:length]}, length=length)
            self.assertEqual([], signatures.find(disk))

    def test_names(self) -> None:
        found = signatures.find(self._disk(disks.gpt(LENGTH), disks.iso9660()))
        self.assertIn('gpt (at byte 512)', signatures.names(found))
        self.assertIn('iso9660 (at byte 32769)', signatures.names(found))

    def test_what_cannot_be_read(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        self.assertRaises(OSError, signatures.find, writing)

    def test_no_library(self) -> None:
        def missing(name: str, **_options: Any) -> None:
            raise OSError('%s: cannot open shared object file' % name)

        signatures._library.cache_clear()
        self.addCleanup(signatures._library.cache_clear)
        disk = self._disk(disks.mbr())
        with fixtures.MonkeyPatch('ctypes.CDLL', missing):
            for _turn in range(2):
                self.assertEqual([], signatures.find(disk))
        self.assertEqual(1, self.log.output.count('nobody looks'))

    def test_library_of_old(self) -> None:
        """Without the functions that came with 2.31."""

        class Old:
            def __init__(self, *_arguments: object, **_options: object):
                self._library = ctypes.PyDLL(None)

            def __getattr__(self, name: str) -> object:
                if name == 'blkid_probe_hide_range':
                    raise AttributeError(name)
                return lambda *_arguments: 0

        signatures._library.cache_clear()
        self.addCleanup(signatures._library.cache_clear)
        with fixtures.MonkeyPatch('ctypes.CDLL', Old):
            self.assertEqual([], signatures.find(self._disk(disks.mbr())))
        self.assertIn('blkid_probe_hide_range', self.log.output)
