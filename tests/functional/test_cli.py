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

"""The program as its user sees it, when all goes well in the end."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import subprocess
import sys
import time

import fixtures
from testtools import matchers

from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import endpoints
from tests.support import loop
from tests.support import program

# Prints what of these was imported when the network thread was started.
_IMPORTED = """
import sys, threading
before = {*sys.modules}
from fuel_agent_curl.cmd import main

start = threading.Thread.start

def noted(thread):
    if thread.name == 'fuel-agent-curl':
        print(sorted(late & {*sys.modules} - before), flush=True)
    start(thread)

late = {
    'backports.zstd', 'defusedxml', 'difflib', 'email.utils',
    'fuel_agent_curl.image.bmap', 'hashlib', 'importlib.metadata', 'json',
    'oslo_config', 'oslo_log', 'shutil', 'ssl', 'statistics', 'tqdm',
    'zlib_ng.gzip_ng',
}
threading.Thread.start = noted
sys.exit(main.main(sys.argv[1:]))
"""


# Prints whether that was imported by the end of a copy.
_READ_A_DATE = """
import sys
from fuel_agent_curl.cmd import main

code = main.main(sys.argv[1:])
print('email.utils' in sys.modules)
sys.exit(code)
"""


def _sha256(content: bytes) -> str:
    return 'sha256:' + hashlib.sha256(content).hexdigest()


_WITHOUT_PROC = 'umount --lazy /proc && exec "$@"'


class TestCopy(program.ProgramTestCase):
    def test_raw(self) -> None:
        done = self.check_success(self.url)
        self.assertEqual('', done.stdout)
        last = done.stderr.splitlines()[-1]
        self.assertIn('%d bytes written to ' % len(self.image), last)
        self.assertIn('1 request, 0 resumes, 0 stalls', last)
        self.assertIn('no checksum given', last)
        self.assertEqual([None], self.server.ranges)

    def test_gzip_with_checksums(self) -> None:
        packed = gzip.compress(self.image, 1)
        self.server.representations['/packed'] = harmful.Representation(packed)
        done = self.check_success(
            self.server.url('/packed'),
            '--checksum=' + _sha256(packed),
            '--image-checksum=' + _sha256(self.image),
            '--verify',
        )
        last = done.stderr.splitlines()[-1]
        self.assertIn('(gzip)', last)
        self.assertIn('sha256 of the download verified', last)
        self.assertIn('sha256 of the image verified', last)
        self.assertIn('read back and compared', last)

    def test_to_a_block_device(self) -> None:
        self.need_root()
        device = self.useFixture(loop.LoopDevice(self.directory, 4 * MIB))
        done = self.run_program('copy', self.url, device.path)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(self.image, device.read()[: len(self.image)])

    def test_through_a_reset(self) -> None:
        self.server.script(faults.reset(MIB + 1))
        done = self.check_success(*program.QUICK, self.url)
        self.assertEqual([None, 'bytes=%d-' % (MIB + 1)], self.server.ranges)
        self.assertIn('WARNING', done.stderr)
        self.assertIn('at byte %d, attempt 1 of 2' % (MIB + 1), done.stderr)
        self.assertIn('resumed at byte %d' % (MIB + 1), done.stderr)
        self.assertIn('2 requests, 1 resume, 0 stalls', done.stderr)

    def test_the_second_url_where_the_first_fails(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        for first in (
            'http://127.0.0.1:%d/image' % port,
            self.server.url('/none'),
        ):
            done = self.check_success(*program.QUICK, first, self.url)
            self.assertIn('no checksum given', done.stderr)

    def test_a_mirror_in_the_file_where_none_is_named(self) -> None:
        path = self.path('our.conf')
        first = self.server.url('/none/image')
        with open(path, 'w') as conf:
            conf.write(
                '[fuel_agent_curl]\nmirrors = %s=%s\n'
                % (self.server.url('/none'), self.server.url('/'))
            )
        self.check_success('--config-file', path, first)
        before = len(self.server.requests)
        done = self.run_program(
            *('copy', '--config-file', path, *program.QUICK),
            *(first, self.server.url('/other/image'), self.target),
        )
        self.assertEqual(19, done.returncode)
        self.assertEqual(
            ['/none/image', '/other/image'],
            [request.path for request in self.server.requests[before:]],
        )

    def test_silence_where_it_is_asked_for(self) -> None:
        self.server.script(faults.reset(MIB + 1))
        done = self.check_success(
            '--progress', 'none', *program.QUICK, self.url
        )
        self.assertEqual(('', ''), (done.stdout, done.stderr))

    def test_an_existing_file_ends_where_the_image_does(self) -> None:
        with open(self.target, 'wb') as old:
            old.write(b'old' * 2 * MIB)
        self.check_success(self.url)

    def test_a_flag_beats_the_file(self) -> None:
        path = self.path('our.conf')
        with open(path, 'w') as conf:
            conf.write('[fuel_agent_curl]\nuser_agent = file\nheaders = A: 1')
        for flags, agent in (
            ((), 'file'),
            (('--user-agent', 'flag'), 'flag'),
        ):
            for place in (0, 1):
                argv = ['copy', *flags, self.url, self.target]
                argv[place:place] = ['--config-file', path]
                done = self.run_program(*argv)
                self.assertEqual(0, done.returncode, done.stderr)
                request = self.server.requests[-1]
                self.assertEqual(agent, request.field('User-Agent'))
                self.assertEqual('1', request.field('A'))

    def test_the_rate_is_limited(self) -> None:
        began = time.monotonic()
        self.check_success('--limit-rate', '1.5M', self.url)
        self.assertGreater(time.monotonic() - began, 1.0)

    def test_to_a_pipe(self) -> None:
        done = subprocess.run(
            [*program.PROGRAM, 'copy', self.url, '/dev/stdout'],
            capture_output=True,
            check=False,
            timeout=200,
        )
        self.assertEqual(0, done.returncode)
        self.assertEqual(self.image, done.stdout)

    def test_closed_standard_streams(self) -> None:
        """Else the target would be opened as one of them, and printed to."""
        for progress in ('json', 'auto'):
            self.check_success(
                '--progress',
                progress,
                self.url,
                before=('sh', '-c', 'exec "$@" <&- >&- 2>&-', 'sh'),
            )

    def test_progress_where_standard_output_is_closed(self) -> None:
        done = self.check_success(
            *('--progress', 'json', self.url),
            before=('sh', '-c', 'exec "$@" >&-', 'sh'),
        )
        self.assertIn('the progress cannot be printed', done.stderr)

    def test_a_bar_as_other_programs_are_to_have_it(self) -> None:
        for value in 'x', '', '-1':
            names = 'NCOLS', 'MININTERVAL', 'POSITION', 'FILE', 'DISABLE'
            meant = {'TQDM_' + name: value for name in names}
            self.check_success(
                *('--progress', 'bar', self.url), env={**os.environ, **meant}
            )

    def test_a_closed_target(self) -> None:
        for target in ('/dev/stdout', '-'):
            done = self.run_program(
                'copy',
                self.url,
                target,
                before=('sh', '-c', 'exec "$@" >&-', 'sh'),
            )
            self.assertEqual(41, done.returncode, done.stderr)
            self.assertIn('is not open', done.stderr)

    def test_standard_output_is_appended_to(self) -> None:
        path = self.path('all')
        with open(path, 'wb') as out:
            out.write(b'before')
            out.flush()
            for argv in ([self.url, '-'], ['-o', '-', self.url]):
                subprocess.run(
                    [*program.PROGRAM, 'copy', '-s', *argv],
                    check=True,
                    stdout=out,
                    timeout=200,
                )
        with open(path, 'rb') as written:
            self.assertEqual(b'before' + 2 * self.image, written.read())

    def test_the_image_is_not_mixed_with_what_is_said(self) -> None:
        path = self.path('all')
        for argv in (['-'], ['-o', '-'], ['/dev/stderr'], [path]):
            with open(path, 'wb') as out:
                done = subprocess.run(
                    [*program.PROGRAM, 'copy', self.url, *argv],
                    check=False,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=200,
                )
            self.assertEqual(2, done.returncode, str(argv))
            with open(path, 'rb') as written:
                self.assertThat(
                    written.read(),
                    matchers.StartsWith(b'fuel-agent-curl: error: '),
                )

    def test_standard_output_is_a_device(self) -> None:
        target = self.useFixture(loop.LoopDevice(self.directory))
        for before in (
            (),
            ('unshare', '--mount', 'sh', '-c', _WITHOUT_PROC, 'sh'),
        ):
            with open(target.path, 'wb') as out:
                done = subprocess.run(
                    [*before, *program.PROGRAM, 'copy', '-s', self.url, '-'],
                    check=False,
                    stdout=out,
                    stderr=subprocess.PIPE,
                    timeout=200,
                )
            self.assertEqual(0, done.returncode, str(done.stderr))
            self.assertEqual(self.image, target.read()[: len(self.image)])

    def test_a_file_that_only_another_process_has(self) -> None:
        """What the link of its descriptor says is no path."""
        with open(self.target, 'w+b') as gone:
            os.unlink(self.target)
            gone.write(b'old')
            gone.flush()
            process = subprocess.Popen(
                [sys.executable, '-c', 'input()'],
                stdin=subprocess.PIPE,
                stdout=gone,
            )
            self.addCleanup(process.communicate)
            for flags in ((), ('--in-place',)):
                done = self.run_program(
                    *('copy', *flags, self.url),
                    '/proc/%d/fd/1' % process.pid,
                )
                self.assertEqual(51, done.returncode, done.stderr)
                self.assertIn('is untouched', done.stderr)
            gone.seek(0)
            self.assertEqual(b'old', gone.read())
        self.assertEqual([], os.listdir(self.directory))

    def test_in_a_directory_that_is_gone(self) -> None:
        gone = self.path('gone')
        line = 'cd "$0" && rmdir "$0" && exec "$@"'
        for target, code in (
            (self.target, 0),
            ('-', 0),
            ('disk.img', 41),
        ):
            os.mkdir(gone)
            done = subprocess.run(
                [
                    *('sh', '-c', line, gone),
                    *(*program.PROGRAM, 'copy', self.url, target),
                ],
                check=False,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, 'HOME': 'home'},
                timeout=200,
            )
            self.assertEqual(code, done.returncode, done.stderr)
            self.assertNotIn('Traceback', done.stderr)

    def test_a_dry_run(self) -> None:
        with open(self.target, 'wb') as old:
            old.write(b'old')
        for more in ((), ('--in-place',), ('--verify',)):
            done = self.run_program(
                'copy', '--dry-run', *more, self.url, self.target
            )
            self.assertEqual(0, done.returncode, done.stderr)
            last = done.stderr.splitlines()[-1]
            self.assertIn('nothing was written', last)
            self.assertIn('%d bytes to ' % len(self.image), last)
            self.assertEqual(b'old', self.content())
        done = self.run_program(
            *('copy', '--dry-run', '--progress', 'json', self.url),
            self.path('none'),
        )
        last = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual('done', last['event'])
        self.assertEqual(0, last['written'])
        self.assertEqual(len(self.image), last['plan']['length'])
        self.assertEqual(['disk.img'], os.listdir(self.directory))

    def test_a_dry_run_fails_where_a_copy_would(self) -> None:
        self.need_root()
        device = self.useFixture(loop.LoopDevice(self.directory, MIB))
        for code, argv in (
            (46, (self.url, device.path)),
            (41, (self.url, self.path('none/disk'))),
            (19, (self.server.url('/none'), self.target)),
            (39, (self.server.url('/http-1.0/image'), self.target)),
            (31, ('--container', 'xz', self.url, self.target)),
            (2, ('--checksum', self.path('none'), self.url, self.target)),
        ):
            done = self.run_program('copy', '--dry-run', *argv)
            self.assertEqual(code, done.returncode, done.stderr)
            self.assertIn(' is untouched', done.stderr)
        self.assertEqual(b'\xa5' * MIB, device.read())

    def test_a_dry_run_leaves_a_device_as_it_is(self) -> None:
        self.need_root()
        device = self.useFixture(loop.LoopDevice(self.directory, 4 * MIB))
        for image in (self.image, b'\0' * 4 * MIB):
            self.server.representations['/other'] = harmful.Representation(
                image
            )
            done = self.run_program(
                'copy', '--dry-run', self.server.url('/other'), device.path
            )
            self.assertEqual(0, done.returncode, done.stderr)
            self.assertIn('a device of 4.0 MiB', done.stderr)
        self.assertEqual(b'\xa5' * 4 * MIB, device.read())


class TestSecrets(program.ProgramTestCase):
    def test_credentials_are_nowhere(self) -> None:
        self.server.script(faults.reset(MIB), then=faults.status(403))
        host = '127.0.0.1:%d' % self.server.port
        for progress in ('json', 'auto'):
            done = self.run_program(
                'copy',
                '--debug',
                '--progress',
                progress,
                '--header',
                'Authorization: Bearer hush',
                *program.QUICK,
                'http://user:hush@%s/image?signature=hush' % host,
                self.target,
            )
            self.assertEqual(19, done.returncode, done.stderr)
            self.assertNotIn('hush', done.stdout + done.stderr)
            self.assertIn('http://%s/image?***' % host, done.stderr)


class TestOtherVerbs(program.ProgramTestCase):
    def test_demo(self) -> None:
        began = time.monotonic()
        done = self.run_program('demo')
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertLess(time.monotonic() - began, 30)
        for part in (
            'resets the connection',
            'falls silent',
            'answers 503',
            'short of the length',
            'request 5: bytes=',
            'Bytes fetched twice: 0.',
            'Verdict: right.',
        ):
            self.assertIn(part, done.stdout)
        self.assertEqual([], os.listdir(self.directory))

    def test_demo_needs_no_proxy(self) -> None:
        done = self.run_program(
            'demo', env={**os.environ, 'http_proxy': 'http://127.0.0.1:1'}
        )
        self.assertEqual((0, ''), (done.returncode, done.stderr))

    def test_probe(self) -> None:
        done = self.run_program('probe', self.url)
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        for part in (
            'server     127.0.0.1, HTTP/1.1',
            'length     %d bytes' % len(self.image),
            'validator  "1" (strong)',
            'If-Range   honoured',
            'asks for the missing bytes only',
        ):
            self.assertIn(part, done.stdout)
        # The last one tells whether it is a qcow2 image.
        self.assertEqual(
            ['bytes=0-0'] * 3 + ['bytes=0-511'], self.server.ranges
        )
        self.assertEqual('"1"', self.server.if_ranges[1])

    def test_probe_where_if_range_is_ignored(self) -> None:
        self.server.script(then=faults.ignore_if_range())
        done = self.run_program('probe', '--json', self.url)
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        record = json.loads(done.stdout)
        self.assertEqual(206, record['status'])
        self.assertIn('ignored', record['if_range'])

    def test_probe_of_a_server_without_ranges(self) -> None:
        self.server.script(then=faults.ignore_range())
        done = self.run_program('probe', self.url)
        self.assertEqual((0, ''), (done.returncode, done.stderr))
        self.assertIn('ranges     not served', done.stdout)
        self.assertIn('reads again from byte 0', done.stdout)

    def test_probe_fails(self) -> None:
        done = self.run_program('probe', self.server.url('/none'))
        self.assertEqual((19, ''), (done.returncode, done.stdout))
        self.assertEqual(1, done.stderr.count('\n'))

    def test_probe_tells_json_what_failed(self) -> None:
        for argv, code in (
            ((self.server.url('/none'),), 19),
            (('--nonsense', self.url), 2),
            (('http://127.0.0.1:1/',), 14),
            ((), 2),
        ):
            done = self.run_program('probe', '--json', *argv)
            self.assertEqual(code, done.returncode, done.stderr)
            record = json.loads(done.stdout)
            self.assertEqual(code, record['exit_code'])
            self.assertIn(record['error'], done.stderr)

    def test_in_charge_of_ctrl_c_before_the_long_imports(self) -> None:
        done = subprocess.run(
            [
                sys.executable,
                '-c',
                'import sys, fuel_agent_curl.cmd.main\n'
                'print({"pycurl", "oslo_config", "tqdm"} & {*sys.modules})',
            ],
            capture_output=True,
            check=True,
            text=True,
            timeout=200,
        )
        self.assertEqual('set()\n', done.stdout)

    def test_what_can_wait_is_imported_after_the_first_request(self) -> None:
        self.assertEqual('[]\n', self.copied_by(_IMPORTED))

    def test_a_date_of_the_usual_form_takes_no_import(self) -> None:
        self.assertEqual('False\n', self.copied_by(_READ_A_DATE))

    def copied_by(self, script: str) -> str:
        """Return what a Python script prints that copies the image."""
        # Whatever measures the coverage imports what it likes.
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith('COVERAGE')
        }
        done = subprocess.run(
            [sys.executable, '-c', script, 'copy', self.url, self.target],
            capture_output=True,
            check=True,
            text=True,
            timeout=200,
            env=environment,
        )
        return done.stdout

    def test_the_same_lines_with_oslo_log_and_without(self) -> None:
        path = self.path('our.conf')
        open(path, 'w').close()
        texts = [
            re.sub(
                r'\d[\d.]*( [KM]i?B)?',
                'N',
                self.check_success(*more, self.url).stderr,
            )
            for more in ((), ('--config-file', path))
        ]
        self.assertThat(texts[0], matchers.StartsWith('N:N:N INFO '))
        self.assertEqual(*texts)
        for more in ((), ('--config-file', path)):
            done = self.check_success('--debug', *more, self.url)
            (line,) = [
                each
                for each in done.stderr.splitlines()
                if 'attempt 1: ' in each
            ]
            self.assertIn(' DEBUG attempt 1: ', line)
            self.assertThat(line, matchers.EndsWith('if_range=None)'))

    def test_usage(self) -> None:
        done = self.run_program()
        self.assertEqual((2, ''), (done.returncode, done.stdout))
        self.assertIn('a verb is missing', done.stderr)

    def test_output_that_cannot_be_written(self) -> None:
        for unbuffered in ('', '1'):
            for argv in (
                ('--help',),
                ('--version',),
                ('copy', '--help'),
                ('probe', self.url),
                ('probe', '--json', self.url),
                ('demo',),
            ):
                with open('/dev/full', 'w') as full:
                    done = subprocess.run(
                        [*program.PROGRAM, *argv],
                        stdout=full,
                        stderr=subprocess.PIPE,
                        check=False,
                        text=True,
                        timeout=200,
                        env={**os.environ, 'PYTHONUNBUFFERED': unbuffered},
                    )
                self.assertEqual(47, done.returncode, done.stderr)
                self.assertEqual(1, done.stderr.count('\n'), done.stderr)
                self.assertIn('standard output', done.stderr)

    def test_standard_output_that_is_closed(self) -> None:
        for argv in (
            ('--version',),
            ('probe', self.url),
            ('probe', '--json', self.url),
            ('status', self.target),
            ('demo',),
        ):
            done = self.run_program(
                *argv, before=('sh', '-c', 'exec "$@" >&-', 'sh')
            )
            self.assertEqual(48, done.returncode, done.stderr)
            self.assertEqual(1, done.stderr.count('\n'), done.stderr)
            self.assertIn('standard output', done.stderr)

    def test_another_locale(self) -> None:
        """Names and what a server says hold whatever they like."""
        locale = {'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0'}
        # tox says another one.
        self.useFixture(fixtures.EnvironmentVariable('PYTHONIOENCODING'))
        self.server.script(then=faults.field('Server', 'caf\xe9'))
        target = os.fsencode(self.path('bild-')) + b'\xc3\xa9-\xff'
        for argv, code in (
            (['probe', self.url], 0),
            (['copy', self.url, target], 0),
            (['copy', '--progress', 'json', self.url, target], 0),
            (['copy', self.server.url('/none'), target], 19),
        ):
            done = subprocess.run(
                [*program.PROGRAM, *argv],
                capture_output=True,
                check=False,
                timeout=200,
                env={**os.environ, **locale},
            )
            self.assertEqual(code, done.returncode, str(done.stderr))
            self.assertNotIn(b'Traceback', done.stderr)
            (done.stdout + done.stderr).decode('ascii')

    def test_a_reader_of_the_help_that_has_seen_enough(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        self.addCleanup(os.close, writer)
        for argv in (('--help',), ('copy', '--help')):
            done = subprocess.run(
                [*program.PROGRAM, *argv],
                stdout=writer,
                stderr=subprocess.PIPE,
                check=False,
                timeout=200,
            )
            self.assertEqual(b'', done.stderr)
