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


"""What is printed for programs is what cmd/records.py says, in every case."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import signal
import subprocess
from typing import Any

import jsonschema

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.cmd import records
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.octets import MIB
from tests.support import blockmaps
from tests.support import endpoints
from tests.support import metalink
from tests.support import program
from tests.support import qcow2s
from tools import document_events
from tools import run_pages

# Of those that the tests need not have.
_VALIDATOR = getattr(
    jsonschema, 'Draft202012Validator', jsonschema.Draft4Validator
)

_SCHEMA = json.loads(document_events.schema())

# More than lies between two records of an unfinished copy.
_LONG = 36 * MIB

_SECRETS = 'user:secret@'

Objects = list[dict[str, Any]]


class EventsTestCase(program.ProgramTestCase):
    """Compares what is printed with the tables.

    :ivar seen: the kinds of the objects of copies so far.
    :ivar phases: the phases that they were in.
    """

    def setUp(self) -> None:
        super().setUp()
        self.seen: set[str] = set()
        self.phases: set[str] = set()

    def objects(self, verb: str, text: str) -> Objects:
        """Return what was printed, when it has been compared."""
        self.assertTrue(text.isascii() and text.endswith('\n'), text)
        found = [json.loads(line) for line in text.splitlines()]
        for each in found:
            shape = '%s-%s' % (verb, each['event'])
            _VALIDATOR(_SCHEMA['$defs'][shape]).validate(each)
            _VALIDATOR(_SCHEMA).validate(each)
            keys = records.SHAPES[verb, each['event']].keys
            self.assertEqual([key.name for key in keys], list(each))
        self.assertNotIn('secret', text)
        self.assertEqual(
            [False] * (len(found) - 1) + [True],
            [each['event'] in ('done', 'failed') for each in found],
        )
        return found

    def copy(self, *argv: str, **given: Any) -> Objects:
        done = self.run_program(
            'copy', '--progress', 'json', *program.QUICK, *argv, **given
        )
        found = self.objects('copy', done.stdout)
        last = found[-1]
        self.assertEqual(done.returncode % 256, last['exit_code'] % 256)
        if last['event'] == 'failed':
            self.assertEqual(
                'fuel-agent-curl: error: ' + last['error'],
                done.stderr.splitlines()[-1],
            )
        self.seen |= self.kinds(found)
        self.phases |= {each['phase'] for each in found}
        moments = [each['seconds'] for each in found]
        self.assertEqual(sorted(moments), moments)
        return found

    def secret(self, url: str) -> str:
        return url.replace('://', '://' + _SECRETS) + '?sign=secret'

    def kinds(self, found: Objects) -> set[str]:
        return {each['event'] for each in found}


class TestKinds(EventsTestCase):
    """Every kind of object is seen in a run, and every phase."""

    def test_all_of_them(self) -> None:
        for check in (
            self.check_done,
            self.check_begun_again,
            self.check_continued,
            self.check_mirrors,
            self.check_reused,
        ):
            self.publish(program.LENGTH)
            check()
        self.assertEqual(
            {name for verb, name in records.SHAPES if verb == 'copy'},
            self.seen,
        )
        (phase,) = [key for key in records.COMMON if key.name == 'phase']
        self.assertEqual(set(phase.values), self.phases)

    def publish(self, length: int) -> None:
        """Have an image of this length, on a server without faults."""
        self.image = harmful.Pattern(length)[:]
        self.server.representations['/image'] = harmful.Representation(
            self.image
        )
        self.server.script()

    def check_done(self) -> None:
        checksum = 'sha256:' + hashlib.sha256(self.image).hexdigest()
        self.server.script(
            faults.reset(MIB + 1),
            faults.status(503, retry_after=1),
        )
        found = self.copy(
            *('--verify', '--attempts', '3', '--checksum', checksum),
            *(self.secret(self.url), self.target),
        )
        self.assertEqual(
            {'started', 'retry', 'resumed', 'progress', 'done'},
            self.kinds(found),
        )
        last = found[-1]
        self.assertEqual(self.url + '?***', last['url'])
        for name in ('bytes', 'unpacked', 'written', 'verified', 'length'):
            self.assertEqual(len(self.image), last[name])
        self.assertEqual((3, 1, 0), tuple(last[n] for n in _COUNTERS))
        self.assertLessEqual(len(self.image), last['transferred'])
        self.assertEqual(
            {
                'checksum': 'sha256',
                'image_checksum': None,
                'ranges': 0,
                'read_back': True,
            },
            last['checked'],
        )
        self.assertEqual('raw', last['container'])
        self.assertLessEqual(1.0, last['seconds'])
        retry = next(each for each in found if each['event'] == 'retry')
        self.assertEqual((1, 3), (retry['attempt'], retry['attempts']))

    def check_begun_again(self) -> None:
        # Less than is handed on at once, and then more than is kept.
        for at, event in ((100, 'restarted'), (_LONG - MIB, 'reread')):
            self.publish(_LONG)
            self.server.script(faults.reset(at), then=faults.ignore_range())
            found = self.copy(self.url, self.target)
            self.assertIn(event, self.kinds(found))
            self.assertEqual('done', found[-1]['event'])

    def check_continued(self) -> None:
        self.publish(_LONG)
        self.server.script(faults.reset(_LONG - MIB), then=faults.status(503))
        last = self.copy(self.url, self.target)[-1]
        self.assertEqual('failed', last['event'])
        # It is another file that is incomplete.
        self.assertEqual('untouched', last['target_state'])
        self.assertLess(MIB, last['continues_at'])
        # The first mebibyte is in our memory until the end.
        self.assertLess(0, last['written'])
        self.assertLessEqual(last['written'], last['unpacked'] - MIB)
        state = self.status()
        self.assertTrue(state['unfinished'])
        self.assertEqual(last['continues_at'], state['bytes'])
        self.server.script()
        found = self.copy(self.url, self.target)
        (continued,) = [e for e in found if e['event'] == 'continued']
        self.assertEqual(last['continues_at'], continued['saved'])
        self.assertEqual('done', found[-1]['event'])
        self.assertEqual(self.image, self.content())
        self.assertFalse(self.status()['unfinished'])

    def status(self) -> dict[str, Any]:
        done = self.run_program('status', '--json', self.target)
        (found,) = self.objects('status', done.stdout)
        self.assertEqual(0, done.returncode, done.stderr)
        return found

    def check_mirrors(self) -> None:
        self.server.script(then=faults.status(404))
        other = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(self.image))
        ).server
        found = self.copy(
            self.secret(self.url), self.secret(other.url()), self.target
        )
        self.assertIn('failover', self.kinds(found))
        self.assertEqual(other.url() + '?***', found[-1]['url'])

    def check_reused(self) -> None:
        self.server.representations['/image.meta4'] = harmful.Representation(
            metalink.document(self.image, [self.url], piece=MIB)
        )
        with open(self.target, 'wb') as file:
            file.write(self.image[: 2 * MIB])
        asked = '--reuse', self.server.url('/image.meta4'), self.target
        found = self.copy(*asked)
        (reused,) = [e for e in found if e['event'] == 'reused']
        self.assertEqual(2 * MIB, reused['compared'])
        self.assertEqual(len(self.image) - 2 * MIB, reused['missing'])
        self.assertEqual('done', found[-1]['event'])
        self.assertEqual(len(self.image), found[-1]['written'])
        self.assertEqual(self.image, self.content())
        # All of it is there now: it fails before anything else is done.
        last = self.copy('--checksum', 'sha256:' + '0' * 64, *asked)[-1]
        self.assertEqual(34, last['exit_code'])
        self.assertEqual('comparing', last['phase'])
        self.assertEqual('untouched', last['target_state'])


class TestCopy(EventsTestCase):
    def test_several_connections(self) -> None:
        found = self.copy(
            *('--connections', '3', '--segment-size', '1M'),
            *(self.url, self.target),
        )
        self.assertLess(1, found[-1]['requests'])

    def test_metalink(self) -> None:
        document = metalink.document(self.image, [self.url], piece=MIB)
        self.server.representations['/image.meta4'] = harmful.Representation(
            document
        )
        found = self.copy(self.server.url('/image.meta4'), self.target)
        self.assertEqual('done', found[-1]['event'])
        self.assertEqual(self.image, self.content())

    def test_packed(self) -> None:
        packed = gzip.compress(self.image, 1)
        self.server.representations['/image'] = harmful.Representation(packed)
        checksum = 'sha256:' + hashlib.sha256(self.image).hexdigest()
        found = self.copy('--image-checksum', checksum, self.url, self.target)
        last = found[-1]
        self.assertEqual('gzip', last['container'])
        self.assertEqual('sha256', last['checked']['image_checksum'])
        self.assertEqual(len(packed), last['bytes'])
        self.assertEqual(len(self.image), last['written'])

    def test_qcow2(self) -> None:
        made = qcow2s.sample(bits=14, seed=4, count=100)
        self.server.representations['/image'] = harmful.Representation(
            bytes(made.file)
        )
        last = self.copy('--verify', self.url, self.target)[-1]
        self.assertEqual('qcow2', last['container'])
        self.assertEqual(made.length, last['written'])
        self.assertEqual(made.expected, self.content())

    def test_block_map(self) -> None:
        path = self.path('image.bmap')
        with open(path, 'wb') as file:
            file.write(blockmaps.document(self.image, [(0, 511)]))
        last = self.copy('--bmap', path, self.url, self.target)[-1]
        self.assertEqual(1, last['checked']['ranges'])
        self.assertEqual(len(self.image), last['written'])

    def test_dry_run(self) -> None:
        last = self.copy('--dry-run', self.url, self.target)[-1]
        self.assertEqual('untouched', last['target_state'])
        self.assertEqual('made', last['plan']['target']['way'])
        last = self.copy('--dry-run', self.url, '/dev/null')[-1]
        self.assertEqual('stream', last['plan']['target']['kind'])

    def test_failed(self) -> None:
        wrong = 'sha256:' + '0' * 64
        for error, argv in (
            (
                errors.StatusError,
                (self.secret(self.server.url('/none')), self.target),
            ),
            (
                errors.AttemptsExhausted,
                (self.secret('http://127.0.0.1:1/'), self.target),
            ),
            (
                errors.DigestMismatch,
                ('--checksum', wrong, self.url, self.target),
            ),
            (errors.TargetIsDirectory, (self.url, self.directory)),
        ):
            last = self.copy(*argv)[-1]
            self.assertEqual('failed', last['event'])
            self.assertEqual(error.exit_code, last['exit_code'])
            self.assertIsNone(last['continues_at'])

    def test_usage(self) -> None:
        for argv in (
            (),
            ('--nonsense', self.url, self.target),
            ('--config-file', '/nonexistent', self.url, self.target),
            ('ftp://user:secret@host/', self.target),
        ):
            last = self.copy(*argv)[-1]
            self.assertEqual(2, last['exit_code'])
            self.assertEqual('untouched', last['target_state'])

    def test_interrupted(self) -> None:
        self.server.script(then=faults.trickle(100_000, 2 * MIB))
        process = subprocess.Popen(
            [
                *program.PROGRAM,
                *('copy', '--progress', 'json', self.url, self.target),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        text = ''
        for line in process.stdout:
            text += line
            if json.loads(line)['bytes']:
                break
        process.terminate()
        text += process.communicate(timeout=60)[0]
        last = self.objects('copy', text)[-1]
        self.assertEqual(-signal.SIGTERM, process.returncode)
        self.assertEqual(143, last['exit_code'])


class TestExample(EventsTestCase):
    def test_the_one_of_the_page(self) -> None:
        (example,) = [
            block
            for block in run_pages.blocks(document_events.PAGE.read_text())
            if block.language == 'json'
        ]
        found = json.loads(example.body)
        self.objects('copy', json.dumps(found) + '\n')


_COUNTERS = ('requests', 'resumes', 'stalls')


class TestOthers(EventsTestCase):
    def run_json(self, code: int, verb: str, *argv: str) -> dict[str, Any]:
        done = self.run_program(verb, '--json', *argv)
        self.assertEqual(code, done.returncode, done.stderr)
        (found,) = self.objects(verb, done.stdout)
        self.assertEqual(code, found['exit_code'])
        if code:
            self.assertIn(found['error'], done.stderr)
        return found

    def test_probe(self) -> None:
        found = self.run_json(0, 'probe', self.secret(self.url))
        self.assertIsNone(found['image'])
        self.assertEqual(len(self.image), found['length'])
        self.server.script(then=faults.ignore_range())
        self.assertFalse(self.run_json(0, 'probe', self.url)['ranges'])

    def test_probe_qcow2(self) -> None:
        made = qcow2s.sample(bits=14, seed=4, count=10)
        for file, usable in (
            (bytes(made.file), True),
            (bytes(made.set_head(backing=512).file), False),
        ):
            self.server.representations['/image'] = harmful.Representation(
                file
            )
            image = self.run_json(0, 'probe', self.url)['image']
            self.assertEqual(usable, image['error'] is None)
            self.assertEqual(usable, image['length'] == made.length)

    def test_probe_fails(self) -> None:
        for code, argv in (
            (19, (self.secret(self.server.url('/none')),)),
            (14, ('http://127.0.0.1:1/',)),
            (2, ('--nonsense', self.url)),
            (2, ()),
        ):
            self.run_json(code, 'probe', *argv)

    def test_status(self) -> None:
        self.assertFalse(self.run_json(0, 'status', self.target)['unfinished'])

    def test_status_fails(self) -> None:
        for argv in (('/dev/null',), (), ('--nonsense', 'x')):
            self.run_json(2, 'status', *argv)


class TestDescriptor(EventsTestCase):
    """What --progress-fd names."""

    def copy_to(
        self, descriptor: int, *argv: str
    ) -> subprocess.CompletedProcess[str]:
        return self.run_program(
            'copy',
            *('--progress-fd', str(descriptor), *program.QUICK, *argv),
            *(self.url, self.target),
            pass_fds=[descriptor],
        )

    def test_objects_go_there_and_words_to_stderr(self) -> None:
        for argv, is_logged in (
            ((), True),
            (('--progress', 'json'), True),
            (('--progress', 'none'), False),
        ):
            reader, writer = os.pipe()
            done = self.copy_to(writer, *argv)
            os.close(writer)
            with open(reader) as pipe:
                found = self.objects('copy', pipe.read())
            self.assertEqual('done', found[-1]['event'])
            self.assertEqual((0, ''), (done.returncode, done.stdout))
            self.assertEqual(is_logged, 'bytes written to' in done.stderr)
            self.assertNotIn('{', done.stderr)
            self.assertEqual(self.image, self.content())

    def test_a_bar_beside_it(self) -> None:
        with open(self.path('events'), 'w+') as file:
            done = self.copy_to(file.fileno(), '--progress', 'bar')
            self.assertIn('%|', done.stderr)
            file.seek(0)
            self.objects('copy', file.read())

    def test_the_standard_streams(self) -> None:
        done = self.run_program(
            'copy', '--progress-fd', '1', self.url, self.target
        )
        self.objects('copy', done.stdout)
        done = self.run_program(
            *('copy', '--progress-fd', '2', '--progress', 'none'),
            *(self.url, self.target),
        )
        self.objects('copy', done.stderr)

    def test_what_is_refused(self) -> None:
        before = len(self.server.requests)
        with open('/dev/null') as readable:
            for descriptor, part in (
                ('9', 'not open'),
                ('0', 'not open'),
                (str(readable.fileno()), 'not open'),
                ('x', 'not the number'),
                ('99999999999', 'not the number'),
            ):
                done = self.run_program(
                    *('copy', '--progress-fd', descriptor),
                    *(self.url, self.target),
                    pass_fds=[readable.fileno()],
                )
                self.assertEqual(2, done.returncode, done.stderr)
                self.assertEqual(1, done.stderr.count('\n'), done.stderr)
                self.assertIn(part, done.stderr)
        for number, target in (('1', '-'), ('1', '/dev/stdout')):
            done = self.run_program(
                'copy', '--progress-fd', number, self.url, target
            )
            self.assertEqual(2, done.returncode)
            self.assertIn('cannot both go to', done.stderr)
        self.assertEqual(before, len(self.server.requests))
        with open(self.target, 'wb') as file:
            done = self.copy_to(file.fileno())
        self.assertEqual(2, done.returncode)

    def test_a_command_line_that_cannot_be_used(self) -> None:
        reader, writer = os.pipe()
        done = self.copy_to(writer, '--nonsense')
        os.close(writer)
        with open(reader) as pipe:
            (last,) = self.objects('copy', pipe.read())
        self.assertEqual((2, ''), (done.returncode, done.stdout))
        self.assertIn(last['error'], done.stderr)

    def test_a_reader_that_went_away(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, writer)
        os.close(reader)
        done = self.copy_to(writer)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('cannot be printed any more', done.stderr)
        self.assertEqual(self.image, self.content())

    def test_a_reader_that_sleeps(self) -> None:
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b'x' * 4096)
        os.set_blocking(writer, True)
        done = self.copy_to(writer)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(self.image, self.content())
