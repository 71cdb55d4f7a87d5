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

"""A copy that is killed, at any moment, and run again: the right bytes."""

from __future__ import annotations

from collections.abc import Callable
import gzip
import hashlib
import os
from typing import Any

from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.state import record
from fuel_agent_curl.target import storage
from tests.support import blockmaps
from tests.support import killing

#: How many copies are killed, in each way; more are for a night. With as many
#: ways as there are, it is more than a hundred.
KILLS = int(os.environ.get('FUEL_AGENT_CURL_KILLS', '8'))

# As often one copy is killed before it may come to its end.
_TURNS = 5

# Where it is killed: twice as often anywhere.
_PLACES = 'any', 'any', 'record', 'publish', 'read'

# What is received ahead, and what a kill may cost of a raw image: that, what
# is written between two records, what is under way to that, and the first
# mebibyte once more.
_WINDOW = 2 * MIB
_LOST = _WINDOW + 6 * MIB
_SMALL = '--window-size', str(_WINDOW), '--chunk-size', str(256 * KIB)


class KillTestCase(killing.KillTestCase):
    def killed(
        self,
        *argv: str,
        after: Callable[[], Any] | None = None,
        raw: bool = False,
    ) -> None:
        """Kill copies, up to five times each; each has to arrive in the end.

        :param after: called after each kill; what it does may make a copy
            start over.
        :param raw: a kill costs no more than a window, and what is not
            recorded yet.
        """
        argv = (*argv, *_SMALL)
        self.arrives(*argv)
        # Of those that read, there are some where it is gone on with.
        most = dict(self.counts, read=killing.LENGTH // MIB)
        # Some images cannot be gone on with: nothing is recorded.
        places = [where for where in _PLACES if most[where]]
        killed = 0
        while killed < KILLS:
            if not self.backing and os.path.exists(self.target):
                os.unlink(self.target)
            kills = fetched = 0
            for _turn in range(killing.RANDOM.randrange(1, _TURNS + 1)):
                where = killing.RANDOM.choice(places)
                at = killing.RANDOM.randrange(1, most[where] + 1)
                code = self.run_program(*argv, kill=at, where=where)
                fetched += self.counts['received']
                if code is not None:
                    self.assertEqual(0, code, self.said)
                    break
                kills += 1
                self.assert_no_image()
                if after is not None:
                    after()
                if not self.backing and self.content == self.read():
                    # It was killed when all was done but to forget it.
                    self.arrives(*argv)
                    break
            else:
                self.arrives(*argv)
                fetched += self.counts['received']
            self.assert_whole()
            if raw:
                self.assertLessEqual(fetched, killing.LENGTH + kills * _LOST)
            killed += kills


class TestKills(KillTestCase):
    def test_file(self) -> None:
        self.killed(raw=True)

    def test_file_in_place(self) -> None:
        self.killed('--in-place', raw=True)

    def test_device(self) -> None:
        self.disk()
        self.killed(raw=True)

    def test_device_verify_and_checksum(self) -> None:
        self.disk()
        digest = hashlib.sha256(self.content).hexdigest()
        self.killed('--verify', '--checksum', 'sha256:' + digest, raw=True)

    def test_device_several_connections(self) -> None:
        self.disk()
        self.killed(
            *('--connections', '4', '--segment-size', '1M'),
            *('--image-checksum', hashlib.sha256(self.content).hexdigest()),
            raw=True,
        )

    def test_gzip(self) -> None:
        self.pack(gzip.compress(self.content, 1))
        self.killed()

    def test_gzip_with_a_spool(self) -> None:
        self.disk()
        self.pack(gzip.compress(self.content, 1))
        self.killed('--spool', os.path.join(self.directory, 'spool'))

    def test_xz_of_many_blocks(self) -> None:
        self.disk()
        self.pack(killing.packed('xz'))
        self.killed('--verify')

    def test_xz_with_a_spool(self) -> None:
        packed = killing.packed('xz')
        self.pack(packed)
        self.killed(
            *('--connections', '4', '--segment-size', '1M'),
            *('--checksum', hashlib.sha256(packed).hexdigest()),
            *('--spool', os.path.join(self.directory, 'spool')),
        )

    def test_block_map(self) -> None:
        size = 64 * KIB
        holes = range(9 * MIB // size, 13 * MIB // size)
        ranges = [
            (0, holes[0] - 1),
            (holes[-1] + 1, killing.LENGTH // size - 1),
        ]
        path = os.path.join(self.directory, 'bmap')
        with open(path, 'wb') as file:
            file.write(blockmaps.document(self.content, ranges, size))
        for packed in self.content, killing.packed('zstd'):
            self.pack(packed)
            self.killed('--bmap', path)
            os.unlink(self.target)

    def test_power_cut(self) -> None:
        """What was written and not synced is gone, as is the boot."""
        self.disk()
        self.snapshot = os.path.join(self.directory, 'synced')

        def cut() -> None:
            self.boot += 1
            if not os.path.exists(self.snapshot):
                return
            with open(self.snapshot, 'rb') as synced:
                content = synced.read()
            with open(self.target, 'r+b', buffering=0) as disk:
                for start in range(0, killing.LENGTH, MIB):
                    os.pwrite(
                        disk.fileno(), content[start : start + MIB], start
                    )
                os.fsync(disk.fileno())
            self.assert_no_image()

        self.killed(after=cut)

    def test_damage(self) -> None:
        """A byte is changed after each kill: of a record, or of the target."""
        self.disk()
        self.damaged()

    def test_damage_to_what_is_packed(self) -> None:
        """The same, or of the spool."""
        self.disk()
        self.pack(killing.packed('xz'))
        self.damaged('--spool', os.path.join(self.directory, 'spool'))

    def damaged(self, *argv: str) -> None:
        def damage() -> None:
            if self.read()[:4096].strip(b'\0'):
                # The image of the last copy is there still.
                return
            path, most = self.target, 20 * MIB
            start = killing.RANDOM.choice((MIB, storage.RECORDS))
            records = os.path.exists(self.state) and os.listdir(self.state)
            if records and killing.RANDOM.random() < 0.3:
                path, start = os.path.join(self.state, records[0]), 0
            if start != MIB:
                most = record.SLOTS * record.SLOT
            spooled = argv and os.path.exists(argv[1])
            if spooled and killing.RANDOM.random() < 0.5:
                path, start = argv[1], 0
                most = os.stat(path).st_size
            fd = os.open(path, os.O_RDWR)
            try:
                for _number in range(1 if start == MIB else 40):
                    at = start + killing.RANDOM.randrange(most)
                    byte = os.pread(fd, 1, at)
                    if byte:
                        os.pwrite(fd, bytes([byte[0] ^ 0x40]), at)
                os.fsync(fd)
            finally:
                os.close(fd)

        self.killed(*argv, after=damage)
