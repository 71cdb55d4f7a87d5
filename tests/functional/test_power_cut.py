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

"""A power cut at any moment: what is on the disk then is no image.

The disk is a loop device on a file whose writes and syncs are kept. It is put
together again for each moment, from what was written before.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
import gzip
import os
import random
import subprocess
import sys
import time

import fixtures

from fuel_agent_curl import pipeline
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import signatures
from tests.support import copying
from tests.support import disks
from tests.support import faultfs

LENGTH = 16 * MIB
_SECTOR = 512
_RANDOM = random.Random(20261130)
_NOISE = _RANDOM.randbytes(MIB)

#: Names of what one sector makes the difference for.
IMAGES: dict[str, tuple[disks.Parts, ...]] = {
    'gpt': (disks.gpt(LENGTH),),
    'dos': (disks.mbr(),),
    'ext2': (disks.ext2(),),
    'iso9660': (disks.iso9660(),),
    'md': (disks.md_1_0(LENGTH),),
}


_COPY = """
import sys
from fuel_agent_curl import pipeline

def chunks():
    with open(sys.argv[1], 'rb') as image:
        while chunk := image.read(1 << 20):
            yield chunk

pipeline.write(chunks(), sys.argv[2])
"""


def _image(parts: Sequence[disks.Parts]) -> bytes:
    filling = {
        0: _NOISE[:446],
        96 * 1024: _NOISE[: 100 * 1024],
        3 * MIB: _NOISE,
        9 * MIB: _NOISE,
    }
    return bytes(disks.laid_out(LENGTH, filling, *parts))


class PowerCutTest(copying.DeviceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.faults = self.useFixture(faultfs.FaultFs(self.directory))

    def _disk(self, old: disks.Parts) -> faultfs.Disk:
        target = self.useFixture(
            faultfs.Disk(self.faults.path, LENGTH, fill=b'\0')
        )
        with open(target.path, 'r+b', buffering=0) as device:
            for offset, data in old.items():
                os.pwrite(device.fileno(), data, offset)
            os.fsync(device.fileno())
        return target

    def _moments(
        self, journal: Sequence[faultfs.Entry], fd: int
    ) -> Iterator[str]:
        """Have on ``fd`` what a power cut leaves, for each moment.

        All that was synced is there, and any of the rest; here that is what
        came first, or some sectors of it.
        """
        before: dict[int, bytes] = {}
        for number, entry in enumerate(journal):
            if entry.data is None:
                yield from self._torn(before, fd, number)
                before = {}
                continue
            stop = entry.offset + len(entry.data)
            for offset in range(entry.offset, stop, _SECTOR):
                before.setdefault(offset, os.pread(fd, _SECTOR, offset))
            os.pwrite(fd, entry.data, entry.offset)
            yield 'after write %d, at %d' % (number, entry.offset)

    def _torn(
        self, before: dict[int, bytes], fd: int, number: int
    ) -> Iterator[str]:
        """The same for some of what was written since a sync.

        :param before: what was there, sector by sector.
        """
        after = {offset: os.pread(fd, _SECTOR, offset) for offset in before}
        changed = [at for at, data in before.items() if data != after[at]]
        if len(changed) > 3 * MIB // _SECTOR:
            return
        for share in sorted({1, len(changed) // 2, len(changed) - 1}):
            if 0 < share < len(changed):
                kept = _RANDOM.sample(changed, len(changed) - share)
                for offset in kept:
                    os.pwrite(fd, before[offset], offset)
                yield 'some sectors before sync %d' % number
                for offset in kept:
                    os.pwrite(fd, after[offset], offset)

    def _known(
        self, image: bytes, old: disks.Parts, packed: bool = False
    ) -> list[str]:
        """Return when, and by what, an incomplete image is known."""
        target = self._disk(old)
        start = len(self.faults.journal())
        source = gzip.compress(image, 1) if packed else image
        pipeline.copy(copying.whole(source, 3 * MIB), target.path)
        self.assertTrue(image == target.read())
        journal = self.faults.journal()[start:]
        fd = os.memfd_create('cut')
        self.addCleanup(os.close, fd)
        os.ftruncate(fd, LENGTH)
        for offset, data in old.items():
            os.pwrite(fd, data, offset)
        # Until then it is what was there, or the rest of it.
        first = [entry.data for entry in journal].index(None)
        for entry in journal[:first]:
            assert entry.data is not None
            os.pwrite(fd, entry.data, entry.offset)
        known = []
        for moment in self._moments(journal[first:], fd):
            found = signatures.find(fd, forced=False)
            if found and os.pread(fd, LENGTH, 0) != image:
                known.append('%s: %s' % (moment, signatures.names(found)))
        self.assertTrue(image == os.pread(fd, LENGTH, 0))
        return known

    def test_no_moment(self) -> None:
        for number, (name, parts) in enumerate(IMAGES.items()):
            old = [disks.mbr(), disks.md_0_90(LENGTH), disks.gpt(LENGTH)][
                number % 3
            ]
            known = self._known(_image(parts), old, packed=number % 2 == 1)
            self.assertEqual([], known, name)

    def test_between_any_two_writes(self) -> None:
        """A process that is killed: the page cache has what it wrote."""
        real = os.pwrite
        for name, parts in IMAGES.items():
            image = _image(parts)
            target = self._disk(disks.gpt(LENGTH))
            known: list[str] = []
            blanked: list[int] = []

            def watching(
                fd: int,
                view: memoryview,
                offset: int,
                target: faultfs.Disk = target,
                image: bytes = image,
                known: list[str] = known,
                blanked: list[int] = blanked,
            ) -> int:
                written = real(fd, view, offset)
                if offset < MIB:
                    blanked.append(offset)
                with open(target.path, 'rb', buffering=0) as device:
                    found = signatures.find(device.fileno(), forced=False)
                # Before that it still is what it was.
                if blanked and found and target.read() != image:
                    known.append('%d: %s' % (offset, signatures.names(found)))
                return written

            with fixtures.MonkeyPatch('os.pwrite', watching):
                pipeline.copy(copying.whole(image, 3 * MIB), target.path)
            self.assertEqual([], known, name)
            self.assertTrue(image == target.read())

    def test_killed(self) -> None:
        image = _image((disks.gpt(LENGTH),))
        path = os.path.join(self.directory, 'image')
        with open(path, 'wb') as file:
            file.write(image)
        target = self._disk(disks.gpt(LENGTH))
        # All of it takes about two seconds.
        self.faults.set(write={'errno': 'SLOW', 'seconds': 0.012})
        whole = 0
        for turn in range(6):
            process = subprocess.Popen(
                [sys.executable, '-c', _COPY, path, target.path]
            )
            with process, open(target.path, 'rb', buffering=0) as device:
                while os.pread(device.fileno(), 4096, 0).strip(b'\0'):
                    time.sleep(0.01)
                time.sleep(0.4 * turn)
                process.kill()
            with open(target.path, 'rb', buffering=0) as device:
                found = signatures.find(device.fileno(), forced=False)
            if found:
                self.assertTrue(image == target.read(), str(turn))
                whole += 1
        self.assertGreater(6, whole)
        self.faults.set()

    def test_several_signs(self) -> None:
        """Then it is the last two syncs that matter."""
        for parts in (disks.mbr() | disks.iso9660(), disks.luks2(4 * MIB)):
            known = self._known(_image((parts,)), disks.ext2())
            self.assertGreaterEqual(3, len(known), known)
