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


"""What is on a target already is reused: only what differs is fetched."""

from __future__ import annotations

import dataclasses
import gzip
import os
import re
from typing import Any

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from tests.support import blockmaps
from tests.support import disks
from tests.support import endpoints
from tests.support import killing
from tests.support import loop
from tests.support import metalink

_PIECE = 256 * KIB
_LENGTH = killing.LENGTH
# What is asked for before anything else.
_FIRST = 64 * KIB

# In blocks: not the zeros, and the first one ends within the first mebibyte.
_RANGES = [(0, 99), (100, 1023), (1024, 2303), (3328, 6143)]


class ReuseTestCase(killing.KillTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.disk_image = self.content
        self.publish()

    def publish(self, *urls: str, **how: Any) -> None:
        """Describe the image by a Metalink document; ask for that."""
        how.setdefault('piece', _PIECE)
        text = metalink.document(
            self.content, urls or [self.server.url()], **how
        )
        self.server.representations['/image.meta4'] = harmful.Representation(
            text
        )
        self.url = self.server.url('/image.meta4')

    def map(self) -> list[str]:
        """Describe it by a block map; return what names that."""
        path = os.path.join(self.directory, 'image.bmap')
        with open(path, 'wb') as file:
            file.write(blockmaps.document(self.content, _RANGES))
        self.url = self.server.url()
        return ['--bmap', path]

    def put(self, content: bytes) -> None:
        """Have that on the target."""
        with open(self.target, 'r+b' if self.backing else 'wb') as target:
            target.write(content)
            os.fsync(target.fileno())

    def other(self, *places: int) -> bytes:
        """Return the image with other bytes at these places."""
        content = bytearray(self.content)
        for at in places:
            content[at] ^= 1
        return bytes(content)

    def fetched(self) -> int:
        """Return how many bytes of the image were asked for."""
        count = 0
        for request in self.server.requests:
            if request.path == '/image':
                asked = request.range or ''
                match = re.fullmatch('bytes=([0-9]+)-([0-9]+)', asked)
                assert match is not None
                count += int(match[2]) + 1 - int(match[1])
        self.server.requests.clear()
        return count

    def reused(self) -> tuple[int, int]:
        """Return how many bytes were there, and how many were missing."""
        (event,) = [e for e in self.events if e['event'] == 'reused']
        return event['compared'], event['missing']


class TestReuse(ReuseTestCase):
    def test_the_pieces_that_differ(self) -> None:
        # Within the first mebibyte, one of the backup of the partition
        # table, and two neighbours.
        places = 5000, 6 * MIB, 6 * MIB + _PIECE, _LENGTH - 100
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
            for argv in [], ['--verify', '--connections', '4']:
                self.put(self.other(*places))
                self.arrives('--reuse', *argv)
                self.assertEqual(
                    (_LENGTH - 4 * _PIECE, 4 * _PIECE), self.reused()
                )
                self.assertEqual(_FIRST + 4 * _PIECE, self.fetched())
                if self.backing:
                    # What is there is not written once more.
                    self.assertLess(self.counts['any'], 30)
                self.assertIn(
                    '%d of which were there already' % (_LENGTH - 4 * _PIECE),
                    self.said,
                )

    def test_the_ranges_that_differ(self) -> None:
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
            mapped = self.map()
            self.put(self.other(5000, 4 * MIB + 1))
            # What the map leaves out stays.
            self.content = self.content[: 10 * MIB] + self.content[10 * MIB :]
            self.arrives('--reuse', *mapped)
            missing = (100 + 1280) * 4096
            self.assertEqual(
                (_LENGTH - 4 * MIB - missing, missing), self.reused()
            )
            self.assertEqual(_FIRST + missing, self.fetched())

    def test_nothing_differs(self) -> None:
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
            for mapped in False, True:
                self.publish()
                argv = self.map() if mapped else []
                self.put(self.content)
                before = os.stat(self.target)
                self.arrives('--reuse', *argv)
                self.assertEqual(0, self.reused()[1])
                self.assertEqual(_FIRST, self.fetched())
                self.assertEqual(before.st_ino, os.stat(self.target).st_ino)
                self.assertIn('none are fetched', self.said)
                if self.backing:
                    # It was synced, and not written to; the other calls are
                    # for what is held back, in memory.
                    self.assertEqual(4, self.counts['any'])

    def test_nothing_differs_on_a_disk_of_other_sectors(self) -> None:
        """It is refused, as if it was written."""
        # An MBR does not say it: by where a file system begins.
        begins = {2 * MIB + 1024: disks.ext2()[1024]}
        images = (
            disks.laid_out(_LENGTH, disks.gpt(_LENGTH)),
            disks.laid_out(_LENGTH, disks.mbr(2 * MIB // 512), begins),
        )
        device = self.useFixture(
            loop.LoopDevice(self.directory, _LENGTH, sector_size=4096)
        )
        self.target, self.backing = device.path, device.backing
        for number, content in enumerate(map(bytes, images)):
            self.content = content
            self.server.representations['/image'] = harmful.Representation(
                content
            )
            self.publish()
            self.put(content)
            # A dry run reads nothing of where a file system begins.
            tried = [['--dry-run']] if number == 0 else []
            for argv in [], *tried:
                code = self.run_program('--reuse', *argv)
                self.assertEqual(50, code, self.said)
                self.assertIn('sectors of 512 bytes', self.said)
            self.assertEqual('untouched', self.events[-1]['target_state'])
            self.assertTrue(content == self.read())
            self.arrives('--reuse', '--any-sector-size')

    def test_nothing_is_there(self) -> None:
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
                self.put(bytes(_LENGTH))
            self.arrives('--reuse', '--connections', '3')
            there = 0
            if self.backing:
                # So many zeros.
                there = 4 * MIB
            self.assertEqual((there, _LENGTH - there), self.reused())
            self.assertEqual(_FIRST + _LENGTH - there, self.fetched())

    def test_a_file_of_another_length(self) -> None:
        for argv in [], ['--in-place']:
            for content, missing in (
                (self.content + b'more', 0),
                (self.content[: 20 * MIB], 4 * MIB),
                (b'', _LENGTH),
            ):
                self.put(content)
                self.arrives('--reuse', *argv)
                self.assertEqual(missing, self.reused()[1])
                self.assertEqual(_FIRST + missing, self.fetched())

    def test_a_file_is_replaced_in_the_end(self) -> None:
        old = self.other(7 * MIB)
        self.put(old)
        self.server.script((), then=faults.status(404), path='/image')
        self.assertEqual(19, self.run_program('--reuse'), self.said)
        with open(self.target, 'rb') as file:
            self.assertTrue(old == file.read())

    def test_a_dry_run(self) -> None:
        old = self.other(7 * MIB)
        self.put(old)
        code = self.run_program('--reuse', '--dry-run')
        self.assertEqual(0, code, self.said)
        self.assertEqual(
            _LENGTH - _PIECE, self.events[-1]['plan']['reused'], self.said
        )
        self.assertTrue(old == self.read())

    def test_a_checksum_of_all(self) -> None:
        self.disk()
        wrong = ['--checksum', 'sha256:' + '0' * 64]
        # With nothing missing, nothing is touched.
        for content, state in (
            (self.content, 'untouched'),
            (self.other(7 * MIB), 'incomplete'),
        ):
            self.put(content)
            code = self.run_program('--reuse', *wrong)
            self.assertEqual(34, code, self.said)
            self.assertEqual(state, self.events[-1]['target_state'])
            self.assertEqual(state == 'untouched', content == self.read())


class TestReuseFaults(ReuseTestCase):
    quick = ('--attempts', '3', '--backoff', '0.1')

    def setUp(self) -> None:
        super().setUp()
        self.disk()
        self.put(self.other(*range(3 * MIB, _LENGTH, 2 * MIB)))

    def test_a_mirror_has_something_else(self) -> None:
        wrong = harmful.Representation(self.other(5 * MIB, 17 * MIB))
        mirror = self.useFixture(endpoints.HarmfulServer(wrong)).server
        self.publish(mirror.url(), self.server.url())
        self.arrives('--reuse', '--connections', '2')

    def test_the_only_one_has_something_else(self) -> None:
        right = self.server.representations['/image']
        self.server.representations['/image'] = dataclasses.replace(
            right, content=self.other(17 * MIB)
        )
        code = self.run_program('--reuse', *self.quick)
        self.assertIn(code, (26, 28), self.said)
        self.assertIn('do not match their hashes', self.said)
        self.assert_no_image()
        # What was written is there, and needs no record.
        self.server.representations['/image'] = right
        self.server.requests.clear()
        self.arrives('--reuse')
        self.assertLess(self.fetched(), 9 * MIB)

    def test_another_image_midway(self) -> None:
        image = self.server.representations['/image']
        for other in (
            dataclasses.replace(image, content=bytes(_LENGTH), etag='"2"'),
            dataclasses.replace(image, content=bytes(_LENGTH + 1), etag='"2"'),
        ):
            right: tuple[faults.Fault, ...] = ()
            self.server.script(
                *(right, right, right, right),
                then=faults.serve(other),
                path='/image',
            )
            code = self.run_program('--reuse', *self.quick)
            self.assertIn(code, (24, 26, 28), self.said)
            self.assert_no_image()
        self.server.script(path='/image')
        self.arrives('--reuse')

    def test_a_bad_line(self) -> None:
        self.server.script(
            (),
            faults.cut(1000),
            faults.status(503),
            faults.reset(50_000),
            path='/image',
        )
        self.arrives('--reuse', '--backoff', '0.1', '--connections', '2')

    def test_no_ranges(self) -> None:
        self.server.script(then=faults.ignore_range(), path='/image')
        self.arrives('--reuse')
        self.assertIn('nothing of it is reused, and all is fetched', self.said)

    def test_killed_and_run_again(self) -> None:
        self.arrives('--reuse')
        most = self.counts['any']
        self.fetched()
        old = self.other(*range(3 * MIB, _LENGTH, 2 * MIB))
        for number in range(3):
            self.put(old)
            kill = killing.RANDOM.randrange(1, most + 1)
            argv = ['--verify'] if number % 2 else []
            killed = self.run_program('--reuse', *argv, kill=kill) is None
            if killed and self.read() != old:
                self.assert_no_image()
            self.arrives('--reuse', *argv)

    def test_what_another_run_has_left(self) -> None:
        self.url = self.server.url()
        self.assertIsNone(self.run_program(kill=20), self.said)
        self.assertNotEqual([], os.listdir(self.state))
        self.publish()
        self.arrives('--reuse')


class TestReuseRefused(ReuseTestCase):
    def refused(self, why: str, *argv: str, code: int = 2) -> None:
        before = self.read()
        self.assertEqual(code, self.run_program('--reuse', *argv), self.said)
        self.assertIn(why, self.said)
        self.assertEqual('untouched', self.events[-1]['target_state'])
        self.assertEqual(before, self.read())

    def test_no_hashes(self) -> None:
        self.url = self.server.url()
        self.refused('hashes of the parts of the image are needed')
        self.publish(piece=None)
        self.refused('hashes of the parts of the image are needed')

    def test_a_range_without_a_hash(self) -> None:
        """Parts of it might be of different images."""
        mapped = self.map()
        with open(mapped[1], 'rb') as file:
            document = file.read()
        with open(mapped[1], 'wb') as file:
            file.write(blockmaps.without(document, 2))
        self.refused('hashes of the parts of the image are needed', *mapped)

    def test_a_packed_image(self) -> None:
        mapped = self.map()
        self.refused('for a raw image alone', '--container', 'gzip')
        packed = gzip.compress(self.content, 1)
        self.server.representations['/image'] = harmful.Representation(packed)
        self.refused('what the server has is not packed', *mapped, code=35)
        self.content = packed
        self.publish()
        self.refused('this one is packed: gzip')

    def test_a_pipe(self) -> None:
        self.target = os.path.join(self.directory, 'pipe')
        os.mkfifo(self.target)
        self.read = lambda: b''  # type: ignore[method-assign]
        self.backing = 'none'
        reader = os.open(self.target, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.refused('has nothing that could be reused')
