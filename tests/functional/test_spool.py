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

"""A copy whose bytes are kept in a file until it has succeeded."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import os
import re
from typing import Any

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import blockmaps
from tests.support import killing
from tests.support import qcow2s

# Of the calls that are counted, somewhere in the middle.
_MIDDLE = 40


class TestSpool(killing.KillTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.packed = gzip.compress(self.content, 1)
        self.pack(self.packed)
        self.spool = os.path.join(self.directory, 'spool')
        self.argv = ['--spool', self.spool]

    def stop(self, *argv: str, kill: int = _MIDDLE) -> None:
        code = self.run_program(*self.argv, *argv, kill=kill)
        self.assertIsNone(code, self.said)
        self.assert_no_image()
        self.server.requests.clear()

    def goes_on(self, *argv: str) -> dict[str, Any]:
        """Run it again; return what it said of what was there."""
        self.arrives(*self.argv, *argv)
        self.assertFalse(os.path.exists(self.spool))
        found: list[dict[str, Any]]
        found = [e for e in self.events if e['event'] == 'continued']
        self.assertEqual(1, len(found), self.said)
        self.assertIn(
            'bytes=%d-' % found[0]['saved'],
            [
                (text or '').partition('-')[0] + '-'
                for text in self.server.ranges
            ],
        )
        self.assertNotIn(None, self.server.ranges)
        return found[0]

    def starts_over(self, why: str, *argv: str) -> None:
        self.arrives(*self.argv, *argv)
        self.assertFalse(os.path.exists(self.spool))
        self.assertIn(why, self.said)

    def test_one_member(self) -> None:
        digest = 'sha256:' + hashlib.sha256(self.packed).hexdigest()
        for argv in ([], ['--checksum', digest], ['--connections', '4']):
            self.stop(*argv)
            self.assertNotIn('if this is killed', self.said)
            event = self.goes_on(*argv)
            self.assertEqual(0, event['compared'])
            self.assertLess(2 * MIB, event['saved'])
            self.assertIn('before it was in the spool', self.said)
            os.unlink(self.target)

    def test_blocks_and_a_checksum(self) -> None:
        """Unpacking goes on in the middle, and all is compared."""
        self.disk()
        packed = killing.packed('xz')
        self.pack(packed)
        argv = ['--checksum', 'sha256:' + hashlib.sha256(packed).hexdigest()]
        self.stop(*argv)
        event = self.goes_on(*argv)
        self.assertLess(2 * MIB, event['compared'])
        self.assertLessEqual(event['offset'], event['saved'])

    def test_raw(self) -> None:
        self.disk()
        self.pack(self.content)
        self.stop('--verify')
        self.assertLess(2 * MIB, self.goes_on('--verify')['compared'])

    def test_damage(self) -> None:
        for at in 32768 + 5000, 32768 + (MIB + 4096) * 2 + 9999:
            self.stop()
            with open(self.spool, 'r+b') as file:
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 8]))
            self.starts_over('is damaged')
            # All before that was used.
            begins = (at - 32768) // (MIB + 4096) * MIB
            asked = [text for text in self.server.ranges if text]
            if begins:
                self.assertIn('bytes=%d-' % begins, asked)
            os.unlink(self.target)

    def test_another_image_by_now(self) -> None:
        self.stop()
        self.server.representations['/image'] = harmful.Representation(
            gzip.compress(self.content, 2), etag='"2"'
        )
        self.starts_over('it starts over: the complete length was')

    def test_another_url(self) -> None:
        self.stop()
        self.server.representations['/other'] = self.server.representations[
            '/image'
        ]
        self.url = self.server.url('/other')
        self.starts_over('it begins anew')

    def test_another_checksum(self) -> None:
        """It is another image by now, of the same URL and length."""
        digest = hashlib.sha256(self.content).hexdigest()
        for before, now in (
            ('sha256:' + '0' * 64, digest),
            (digest, 'md5:' + hashlib.md5(self.content).hexdigest()),
        ):
            self.stop('--image-checksum', before)
            self.starts_over('it begins anew', '--image-checksum', now)
            os.unlink(self.target)

    def test_no_continue(self) -> None:
        self.stop()
        self.arrives(*self.argv, '--no-continue')
        self.assertEqual([None], self.server.ranges)

    def test_what_it_must_not_be(self) -> None:
        with open(self.spool, 'w') as file:
            file.write('somebody needs this')
        links = {}
        for name in 'empty', 'missing':
            links[name] = os.path.join(self.directory, name + '.link')
            os.symlink(os.path.join(self.directory, name), links[name])
        empty = os.path.join(self.directory, 'empty')
        with open(empty, 'w'):
            os.chmod(empty, 0o644)
        for path, why in (
            (self.spool, 'is no spool'),
            (self.target, 'is the target'),
            (self.target + '.fuel-agent-curl', 'is the target'),
            (self.directory, 'cannot be opened'),
            ('/dev/null', 'is no file'),
            (self.state, 'where records are'),
            (links['empty'], 'is a symbolic link, so it is no spool'),
            (links['missing'], 'is a symbolic link, so it is no spool'),
        ):
            code = self.run_program('--spool', path)
            self.assertEqual(53, code, path)
            self.assertIn(why, self.said)
        self.assertEqual([], self.server.requests)
        self.assertFalse(os.path.exists(self.target))
        with open(self.spool) as file:
            self.assertEqual('somebody needs this', file.read())
        status = os.stat(empty)
        self.assertEqual((0, 0o644), (status.st_size, status.st_mode & 0o777))
        self.assertFalse(
            os.path.exists(os.path.join(self.directory, 'missing'))
        )

    def test_a_directory_by_a_link(self) -> None:
        """That is followed, and not the name of the spool itself."""
        os.mkdir(os.path.join(self.directory, 'elsewhere'))
        link = os.path.join(self.directory, 'link')
        os.symlink('elsewhere', link)
        self.spool = os.path.join(link, 'spool')
        self.argv = ['--spool', self.spool]
        self.stop()
        self.assertEqual(
            ['spool'], os.listdir(os.path.join(self.directory, 'elsewhere'))
        )
        self.goes_on()

    def test_a_failure_of_the_network(self) -> None:
        quick = ['--attempts', '4', '--backoff', '0.5']
        self.server.script(faults.cut(9 * MIB), then=faults.status(503))
        code = self.run_program(*self.argv, *quick)
        self.assertIn(code, (17, 26), self.said)
        (kept,) = re.findall(r'spool keeps the first (\d+) bytes', self.said)
        self.assertLess(MIB, int(kept))
        self.server.script()
        self.server.requests.clear()
        self.assertLess(MIB, self.goes_on()['saved'])

    def test_what_is_wrong_is_not_kept(self) -> None:
        argv = ['--checksum', 'sha256:' + '0' * 64]
        self.assertEqual(34, self.run_program(*self.argv, *argv))
        self.assertFalse(os.path.exists(self.spool))

    def test_what_another_run_allows_is_kept(self) -> None:
        self.pack(self.packed + b'a signature')
        self.assertEqual(33, self.run_program(*self.argv), self.said)
        self.server.requests.clear()
        self.arrives(*self.argv, '--trailing-data', 'ignore')
        self.assertIn('continues at', self.said)

    def test_what_is_lost_without_one(self) -> None:
        """It is said at the beginning, of what is long enough."""
        image = qcow2s.sample(bits=16, count=1000, packed=False)
        path = os.path.join(self.directory, 'bmap')
        last = len(self.content) // 4096 - 1
        with open(path, 'wb') as file:
            file.write(blockmaps.document(self.content, [(0, last)]))
        digest = 'sha256:' + hashlib.sha256(self.content).hexdigest()
        mapped = ['--bmap', path]
        for sent, argv, what in (
            (self.packed, [], 'a gzip image that is one member'),
            (bytes(image.file), [], 'a qcow2 image'),
            (self.content, [*mapped, '--checksum', digest], 'this block map'),
            (self.content, mapped, None),
            (self.content, [], None),
        ):
            self.pack(sent)
            for spooled in [], self.argv:
                self.run_program(*argv, *spooled)
                said = 'if this is killed' in self.said
                self.assertEqual(
                    what is not None and not spooled, said, self.said
                )
                self.assertIn(what if said and what else '', self.said)

    def test_qcow2(self) -> None:
        image = qcow2s.sample(bits=16, count=300, packed=False)
        self.content = image.expected
        self.server.representations['/image'] = harmful.Representation(
            bytes(image.file)
        )
        self.stop()
        self.assertLess(0, self.goes_on()['saved'])
        self.server.representations['/image'] = dataclasses.replace(
            self.server.representations['/image'], ranges=False
        )
        os.unlink(self.target)
        self.assertEqual(57, self.run_program())
        self.assertIn('--spool FILE', self.said)
        self.arrives(*self.argv)
