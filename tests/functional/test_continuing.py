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

"""A copy that goes on where another one had to stop."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import subprocess
from typing import Any

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import KIB
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.state import directory
from fuel_agent_curl.state import record
from fuel_agent_curl.target import storage
from tests.support import blockmaps
from tests.support import killing
from tests.support import metalink
from tests.support import program

# Somewhere in the middle: of the calls that are counted, there is one for
# each mebibyte at the least.
_MIDDLE = 30


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


class TestContinuing(killing.KillTestCase):
    def stop(self, *argv: str) -> None:
        """Kill a copy in the middle."""
        self.assertIsNone(self.run_program(*argv, kill=_MIDDLE), self.said)
        self.assert_no_image()
        self.server.requests.clear()

    def status(self) -> dict[str, Any]:
        done = subprocess.run(
            [*program.PROGRAM, 'status', '--json', self.target],
            check=True,
            capture_output=True,
            text=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def continued(self) -> int:
        """Return the bytes that were there already; 0: it started over."""
        found = [e for e in self.events if e['event'] == 'continued']
        if not found:
            return 0
        (event,) = found
        self.assertEqual(event['offset'], event['compared'])
        offset: int = event['offset']
        self.assertIn(
            'bytes=%d-' % offset,
            [text for text in self.server.ranges if text],
        )
        return offset

    def starts_over(self, why: str, *argv: str) -> None:
        self.arrives(*argv)
        self.assertEqual(0, self.continued())
        self.assertIn('starts over: ' + why, self.said)

    def test_fetches_the_rest_only(self) -> None:
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
            self.assertFalse(self.status()['unfinished'])
            self.stop()
            seen = self.status()
            self.assertTrue(seen['unfinished'] and seen['trusted'])
            self.assertEqual(self.server.url(), seen['url'])
            self.assertLess(2 * MIB, seen['written'])
            self.arrives()
            at = self.continued()
            self.assertLess(seen['written'] - 2 * MIB, at)
            self.assertIn('(everything before it was compared)', self.said)
            self.assertEqual(self.events[-1]['bytes'], killing.LENGTH)
            # The rest, and the first mebibyte once more.
            self.assertEqual(2, len(self.server.requests))
            self.assertFalse(self.status()['unfinished'])

    def test_killed_while_it_compares(self) -> None:
        """What was there before is there still, by the record, too."""
        self.disk()
        self.stop()
        before = self.status()['written']
        self.assertIsNone(self.run_program(kill=8), self.said)
        self.assertLessEqual(before, self.status()['written'])
        self.arrives()
        self.assertLess(before - 2 * MIB, self.continued())

    def describe(self, **how: Any) -> None:
        """Describe the image by a Metalink document; ask for that."""
        text = metalink.document(self.content, [self.server.url()], **how)
        self.server.representations['/image.meta4'] = harmful.Representation(
            text
        )
        self.url = self.server.url('/image.meta4')

    def test_hashes_of_pieces(self) -> None:
        """They prove what is there, and a record that anybody has made."""
        self.disk()
        for how in (
            {'whole': False, 'piece': 256 * KIB},
            # More than what is held at once.
            {'whole': False, 'piece': 6 * MIB},
            {'whole': True},
            {'whole': False},
        ):
            self.describe(**how)
            for is_ours in True, False:
                self.stop()
                if not is_ours:
                    shutil.rmtree(self.state)
                self.arrives()
                proven = bool(is_ours or how['whole'] or 'piece' in how)
                self.assertEqual(proven, self.continued() > 0, self.said)
                # Once for all.
                paths = [each.path for each in self.server.requests]
                self.assertEqual(1, paths.count('/image.meta4'))

    def test_other_hashes_of_pieces(self) -> None:
        """What is there is what was written, and is not the image."""
        for piece, spooled in (
            (256 * KIB, False),
            (6 * MIB, False),
            (256 * KIB, True),
        ):
            self.content = killing.image()
            self.pack(self.content)
            argv = ['--spool', self.directory + '/spool'] if spooled else []
            self.describe(whole=False, piece=piece)
            self.stop(*argv)
            # By a server that says it is the same.
            content = bytearray(self.content)
            content[5 * MIB // 2] ^= 1
            self.content = bytes(content)
            self.pack(self.content)
            self.describe(whole=False, piece=piece)
            if spooled:
                self.arrives(*argv)
                self.assertIn('starts over: of what was left', self.said)
            else:
                self.starts_over('of what was left, the piece of ')
            os.unlink(self.target)

    def test_killed_while_it_is_published(self) -> None:
        """All is there, but for what the end of the image is known by."""
        for way in 'device', 'file':
            if way == 'device':
                self.disk()
            for at in 1, 3, 5:
                code = self.run_program(kill=at, where='publish')
                self.assertIsNone(code, self.said)
                self.assertTrue(self.status()['unfinished'])
                self.server.requests.clear()
                self.arrives()
                self.assertLess(killing.LENGTH - 4 * MIB, self.continued())

    def test_packed(self) -> None:
        """Unpacking goes on at the last boundary that is on the target."""
        self.disk()
        for name in 'gzip', 'xz', 'zstd', 'bzip2':
            packed = killing.packed(name)
            self.pack(packed)
            self.stop()
            self.assertIn('if this is killed', self.said)
            self.arrives()
            (event,) = [e for e in self.events if e['event'] == 'continued']
            self.assertLess(2 * MIB, event['compared'], name)
            self.assertLess(MIB, event['saved'], name)
            self.assertIn(
                'bytes=%d-' % event['saved'],
                [text for text in self.server.ranges if text],
            )
            self.assertEqual(len(packed), event['length'])

    def test_one_member_begins_again(self) -> None:
        self.pack(gzip.compress(self.content, 1))
        self.stop()
        self.assertIn('a gzip image that is one member', self.said)
        self.arrives()
        self.assertEqual(0, self.continued())

    def test_a_checksum_of_what_is_packed(self) -> None:
        """It is of bytes that are not there: nothing is recorded."""
        self.disk()
        packed = killing.packed('xz')
        self.pack(packed)
        argv = ['--checksum', 'sha256:' + hashlib.sha256(packed).hexdigest()]
        self.stop(*argv)
        self.assertIn('with a checksum of the download', self.said)
        self.assertFalse(self.status()['unfinished'])
        self.arrives(*argv)
        self.assertEqual(0, self.continued())

    def test_a_checksum_of_the_unpacked(self) -> None:
        """It is of what is read back, too; so a record alone will do."""
        self.disk()
        argv = ['--image-checksum', 'sha256:' + self.sha256(), '--verify']
        self.pack(killing.packed('xz'))
        self.stop(*argv)
        shutil.rmtree(self.state)
        self.arrives(*argv)
        self.assertIn('continued', [e['event'] for e in self.events])

    def test_what_is_behind_does_not_stay(self) -> None:
        """Where the rest of a file is zeros, nothing is written."""
        self.pack(killing.packed('xz'))
        self.stop()
        with open(self.target + '.fuel-agent-curl', 'r+b') as file:
            file.seek(0, os.SEEK_END)
            file.write(b'x' * 20 * MIB)
        self.arrives()
        self.assertIn('continued', [e['event'] for e in self.events])

    def test_other_arguments(self) -> None:
        for argv in (
            ['--checksum', 'sha256:' + self.sha256()],
            ['--container', 'raw'],
        ):
            self.stop()
            self.starts_over('that one was asked for in another way', *argv)

    def test_no_continue(self) -> None:
        self.stop()
        self.arrives('--no-continue')
        self.assertEqual(0, self.continued())

    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def test_another_image_by_now(self) -> None:
        self.stop()
        self.content = self.content[: -2 * MIB] + bytes(2 * MIB)
        self.server.representations['/image'] = dataclasses.replace(
            self.server.representations['/image'],
            content=self.content,
            etag='"2"',
        )
        self.starts_over('the server does not prove that it goes on')

    def test_no_validator(self) -> None:
        """All would have to be read again: to start over is no more."""
        checksums = [
            ['--%schecksum' % which, 'sha256:' + self.sha256()]
            for which in ('', 'image-')
        ]
        for argv, packed in (
            (checksums[0], self.content),
            (checksums[1], self.content),
            (checksums[1], killing.packed('xz')),
            ([], self.content),
        ):
            self.server.representations['/image'] = harmful.Representation(
                packed, etag=None, last_modified=None
            )
            self.stop(*argv)
            if argv:
                self.arrives(*argv)
                self.assertIn('continued', [e['event'] for e in self.events])
                continue
            self.starts_over('the server does not prove that it goes on')
            self.assertEqual([None], self.server.ranges)
            self.assertEqual(killing.LENGTH, self.counts['received'])
        # As after a failure within a run.
        self.server.requests.clear()
        self.server.script(faults.cut(15 * MIB), then=())
        self.arrives()
        self.assertEqual([None, None], self.server.ranges)

    def test_no_ranges(self) -> None:
        self.stop()
        self.server.script(then=faults.ignore_range())
        self.starts_over('the server does not prove that it goes on')

    def test_a_record_on_the_disk_alone(self) -> None:
        self.disk()
        checksum = ['--checksum', 'sha256:' + self.sha256()]
        for argv, goes_on in ([], False), (checksum, True):
            self.stop(*argv)
            # A ramdisk that went down.
            shutil.rmtree(self.state)
            self.assertFalse(self.status()['trusted'])
            self.arrives(*argv)
            self.assertEqual(goes_on, self.continued() > 0, self.said)
            if not goes_on:
                self.assertIn('anybody may have put it', self.said)

    def test_a_record_that_somebody_has_made_up(self) -> None:
        """It costs the time that it takes to see that, and no more."""
        self.disk()
        checksum = ['--image-checksum', 'sha256:' + self.sha256()]
        for container in 'gzip', 'xz', 'zstd', 'bzip2':
            self.stop(*checksum)
            shutil.rmtree(self.state)
            with open(self.target, 'r+b') as disk:
                found = directory.read_slots(
                    disk.fileno(), storage.RECORDS, self.target
                )
                assert found is not None
                made = record.pack(
                    dataclasses.replace(
                        found, container=container, number=found.number + 1
                    )
                )
                assert made is not None
                for place in 0, record.SLOT:
                    disk.seek(storage.RECORDS + place)
                    disk.write(made)
            self.starts_over('', *checksum)

    def test_any_byte_is_damaged(self) -> None:
        """Of the records, or of what is there: at most, it starts over."""
        self.stop()
        (name,) = os.listdir(self.state)
        left = {
            path: open(path, 'rb').read()  # noqa: SIM115
            for path in (
                os.path.join(self.state, name),
                self.target + '.fuel-agent-curl',
            )
        }
        mine, there = left
        written = self.status()['written']
        places = [
            (path, start + killing.RANDOM.randrange(stop - start))
            for path, start, stop in (
                (mine, 0, 36),
                (mine, 36, 900),
                (mine, record.SLOT, record.SLOT + 900),
                (there, storage.RECORDS, storage.RECORDS + 900),
                (there, MIB, written),
                (there, MIB, written),
                (there, written, written + 1),
            )
        ]
        for damaged, at in places:
            os.makedirs(self.state, exist_ok=True)
            for path, content in left.items():
                with open(path, 'wb', opener=_private) as file:
                    file.write(content)
                    if path == damaged:
                        file.seek(at)
                        byte = content[at] if at < len(content) else 0
                        file.write(bytes([byte ^ 0x40]))
            self.arrives()
            self.assertEqual(
                damaged == there and MIB <= at < written,
                'starts over' in self.said,
                '%s, byte %d: %s' % (damaged, at, self.said),
            )

    def test_a_block_map_without_a_checksum(self) -> None:
        """Nothing would prove the first mebibyte, which is not there."""
        path = os.path.join(self.directory, 'bmap')
        blocks = len(self.content) // 4096 - 1
        document = blockmaps.document(self.content, [(0, 999), (1000, blocks)])
        for number in 1, 2:
            with open(path, 'wb') as file:
                file.write(blockmaps.without(document, number))
            self.stop('--bmap', path)
            self.arrives('--bmap', path)
            self.assertEqual(0, self.continued())

    def test_a_block_map_and_other_hashes(self) -> None:
        """What the map leaves out is not there to be compared with them."""
        path = os.path.join(self.directory, 'bmap')
        blocks = len(self.content) // 4096 - 1
        # Nothing but zeros, as in what is never written.
        hole = slice(8 * MIB, 10 * MIB)
        content = bytearray(self.content)
        content[hole] = bytes(2 * MIB)
        self.content = bytes(content)
        self.pack(self.content)
        with open(path, 'wb') as file:
            file.write(
                blockmaps.document(self.content, [(0, 2047), (2560, blocks)])
            )
        for how in {'whole': True}, {'whole': False, 'piece': 256 * KIB}:
            self.describe(**how)
            # There are fewer calls where nothing is recorded.
            code = self.run_program('--bmap', path, kill=_MIDDLE // 2)
            self.assertIsNone(code, self.said)
            self.arrives('--bmap', path)
            self.assertEqual(0, self.continued())
            os.unlink(self.target)

    def test_somebody_has_written_there(self) -> None:
        self.disk()
        self.stop()
        with open(self.target, 'r+b') as disk:
            disk.seek(3 * MIB)
            disk.write(b'x')
        self.starts_over('what is on %s is not what was' % self.target)

    def test_what_was_done_before_it_started_over(self) -> None:
        """The word on the target is of all attempts, not of the last."""
        self.disk()
        self.stop()
        with open(self.target, 'r+b') as disk:
            disk.seek(3 * MIB)
            disk.write(b'x')
        before = self.read()
        self.server.script((), (), then=faults.status(404))
        self.assertEqual(19, self.run_program())
        self.assertIn('starts over', self.said)
        self.assertNotEqual(before, self.read())
        self.assertIn('is incomplete', self.said)
        self.assertEqual('incomplete', self.events[-1]['target_state'])

    def test_the_file_is_gone(self) -> None:
        self.stop()
        os.unlink(self.target + '.fuel-agent-curl')
        self.starts_over('%s.fuel-agent-curl is gone' % self.target)

    def test_a_failure_of_the_network(self) -> None:
        quick = ['--attempts', '4', '--backoff', '0.5']
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
            self.server.script(faults.cut(15 * MIB), then=faults.status(503))
            code = self.run_program(*quick)
            self.assertIn(code, (17, 26), self.said)
            self.assertIn('run again, it continues at ', self.said)
            self.assert_no_image()
            self.server.script()
            self.arrives(*quick)
            self.assertLess(0, self.continued())

    def test_a_wrong_image_leaves_nothing(self) -> None:
        for way in 'file', 'device':
            if way == 'device':
                self.disk()
            code = self.run_program('--checksum', 'sha256:' + '0' * 64)
            self.assertEqual(34, code, self.said)
            self.assertNotIn('continues', self.said)
            self.assertFalse(self.status()['unfinished'])
            self.assertFalse(os.path.exists(self.target + '.fuel-agent-curl'))

    def test_nothing_is_seen_in_a_record(self) -> None:
        self.disk()
        self.stop()
        with open(self.target, 'rb') as disk:
            first = disk.read(MIB)
        self.assertIn(b'fuel-agent-curl record', first)
        self.assertEqual(bytes(storage.RECORDS), first[: storage.RECORDS])
        seen = subprocess.run(
            ['blkid', '-p', self.target],
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual('', seen.stdout)
        self.arrives()

    def test_it_cannot_be_recorded(self) -> None:
        with open(self.state, 'w'):
            pass
        self.assertEqual(0, self.run_program(), self.said)
        self.assertIn('cannot be written', self.said)
        self.assertTrue(self.content == self.read())
