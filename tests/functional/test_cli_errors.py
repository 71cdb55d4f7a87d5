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

"""The program's exit codes, and the one line it says why."""

from __future__ import annotations

import gzip
import json
import os
import subprocess

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import MIB
from tests.support import endpoints
from tests.support import loop
from tests.support import program


class TestBeforeAnyRequest(program.ProgramTestCase):
    """What can be known is refused before the server is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.check_untouched)

    def check_untouched(self) -> None:
        self.assertEqual([], self.server.requests)
        self.assertFalse(os.path.exists(self.target))

    def test_url(self) -> None:
        for url, part in (
            ('ftp://server/image', 'http:// or https://'),
            ('image', 'http:// or https://'),
            ('http:///image', 'names no host'),
            ('http://[::1/image', 'malformed URL'),
            ('http://server/imag\u00e9', 'write them as %XX'),
            ('http://server/\udcff', 'write them as %XX'),
        ):
            self.check_failure(2, part, url, self.target)

    def test_url_in_another_locale(self) -> None:
        self.check_failure(
            2,
            'write them as %XX',
            'http://server/imag\u00e9',
            self.target,
            env={**os.environ, 'LC_ALL': 'C', 'PYTHONUTF8': '0'},
        )

    def test_options(self) -> None:
        for flag, value, part in (
            ('--checksum', 'sha256:12', '64 hexadecimal digits'),
            ('--image-checksum', '12', '64 by sha256'),
            ('--header', 'nonsense', 'Name: value'),
            ('--config-file', self.path('none'), self.path('none')),
            ('--config-dir', self.path('none'), self.path('none')),
        ):
            self.check_failure(2, part, self.url, self.target, flag, value)

    def test_a_value_in_a_file(self) -> None:
        path = self.path('our.conf')
        with open(path, 'w') as conf:
            conf.write('[fuel_agent_curl]\ndeadline = soon\n')
        self.check_failure(
            2, 'deadline', self.url, self.target, '--config-file', path
        )

    def test_target(self) -> None:
        for code, target, part in (
            (42, self.directory, 'name a file in it'),
            (41, self.path('none/disk.img'), 'check the path'),
            (41, '/dev/no-such-disk', 'check the path'),
        ):
            self.check_failure(code, part, self.url, target)

    def test_target_without_permission(self) -> None:
        self.need_root()
        self.need_program('setpriv')
        theirs = self.path('theirs')
        os.mkdir(theirs)
        os.chown(theirs, 1, 1)
        # Root without its capabilities.
        self.check_failure(
            43,
            'run it as a user who may write there',
            self.url,
            os.path.join(theirs, 'disk.img'),
            before=('setpriv', '--bounding-set', '-all'),
        )

    def test_read_only_target(self) -> None:
        self.need_root()
        device = self.useFixture(
            loop.LoopDevice(self.directory, MIB, read_only=True)
        )
        self.check_failure(44, 'make it writable', self.url, device.path)


class TestAnswer(program.ProgramTestCase):
    def test_status(self) -> None:
        for code, path, part in (
            (19, '/none', 'the server has no such thing'),
            (19, '/status/401/image', 'Authorization'),
            (26, '/status/503/image', 'attempt 2 of 2'),
        ):
            url = self.server.url(path)
            self.check_failure(code, part, url, self.target)
            self.assertFalse(os.path.exists(self.target))

    def test_no_connection(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        self.check_failure(
            26,
            'attempt 2 of 2',
            'http://127.0.0.1:%d/image' % port,
            self.target,
        )

    def test_no_such_host(self) -> None:
        self.check_failure(
            26, 'name server', 'http://host.invalid/image', self.target
        )

    def test_a_file_of_authorities_that_is_not_there(self) -> None:
        """An error also where nobody would read it: http, or no redirect."""
        path = os.path.join(self.directory, 'none.pem')
        for flag in ('--cacert', '--cert'):
            said = 'the file %s of %s cannot be read' % (path, flag[2:])
            self.check_failure(2, said, flag, path, self.url, self.target)
            self.assertFalse(os.path.exists(self.target))

    def test_untrusted_certificate(self) -> None:
        authority = self.useFixture(endpoints.Authority(self.directory))
        server = self.useFixture(
            endpoints.HarmfulServer(
                harmful.Representation(self.image),
                tls=authority.context(endpoints.Certificate.UNTRUSTED),
            )
        ).server
        self.check_failure(
            16,
            'cacert',
            '--cacert',
            authority.path,
            server.url(),
            self.target,
        )


class TestPath(program.ProgramTestCase):
    def test_bytes_that_are_no_characters(self) -> None:
        """JSON has no word for them, and not every reader takes ours."""
        path = self.path('no').encode() + b'/\xff'
        done = subprocess.run(
            [*program.PROGRAM, 'copy', '--progress', 'json', self.url, path],
            check=False,
            capture_output=True,
            timeout=200,
        )
        self.assertEqual(41, done.returncode)
        last = json.loads(done.stdout.splitlines()[-1])
        self.assertIn('no/\\udcff: ', last['error'])
        self.assertIn(last['error'].encode(), done.stderr)


class TestContent(program.ProgramTestCase):
    def test_checksums(self) -> None:
        wrong = 'sha256:' + '0' * 64
        for flag in ('--checksum', '--image-checksum'):
            self.check_failure(34, wrong, flag, wrong, self.url, self.target)
            self.assertFalse(os.path.exists(self.target))

    def test_truncated(self) -> None:
        packed = gzip.compress(self.image)
        self.server.representations['/short'] = harmful.Representation(
            packed[:-1000]
        )
        self.check_failure(
            32, 'cut short', self.server.url('/short'), self.target
        )
        self.assertFalse(os.path.exists(self.target))

    def test_another_container(self) -> None:
        self.check_failure(
            31, 'xz', '--container', 'xz', self.url, self.target
        )


class TestTarget(program.ProgramTestCase):
    def test_full(self) -> None:
        self.need_root()
        small = self.useFixture(
            loop.Mount(self.directory, '-t', 'tmpfs', '-o', 'size=2M', 'tmpfs')
        )
        self.check_failure(
            47, 'make room', self.url, os.path.join(small.path, 'disk.img')
        )
        self.assertEqual([], os.listdir(small.path))

    def test_too_small(self) -> None:
        self.need_root()
        device = self.useFixture(loop.LoopDevice(self.directory, MIB))
        self.check_failure(46, 'larger target', self.url, device.path)
        self.assertEqual(b'\xa5' * MIB, device.read())
