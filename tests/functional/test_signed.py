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

"""Copies of what somebody has signed, or says so."""

from __future__ import annotations

from collections.abc import Callable
import functools
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from typing import Any

import fixtures

from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.config import settings
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.image import gpgv
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import copying as support
from tests.support import endpoints
from tests.support import gnupg
from tests.support import metalink
from tests.support import program

IMAGE = harmful.Pattern(3 * MIB + 17)[:]
# What is behind the end of a container is of the signature, too.
PACKED = gzip.compress(IMAGE, 1, mtime=0) + b'appended'
LIST = ('%s *image\n' % hashlib.sha256(IMAGE).hexdigest()).encode()
_OTHER_LIST = ('%s *image\n' % hashlib.sha256(b'').hexdigest()).encode()

# Once for all tests: it takes a second.
_made = functools.cache(gnupg.make)


def _children(pid: int | str = 'self') -> list[int]:
    found: list[int] = []
    for path in pathlib.Path('/proc/%s/task' % pid).glob('*/children'):
        found += [int(each) for each in path.read_text().split()]
    return found


def _wait_until(condition: Callable[[], Any]) -> Any:
    while not (found := condition()):
        time.sleep(0.01)
    return found


def _is_in(code: types.CodeType) -> bool:
    """Tell whether the main thread runs that, or what it has called."""
    ident = threading.main_thread().ident
    frame = sys._current_frames()[ident] if ident else None
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame is not None


class _SignedTestCase(base.FunctionalTestCase):
    """Has a server, and what is signed.

    :ivar made: of what ``document`` is.
    :ivar target: a file that is there.
    """

    document = IMAGE

    def setUp(self) -> None:
        super().setUp()
        self.need_program(*gnupg.PROGRAMS)
        self.made = _made(self.document)
        self.server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(IMAGE))
        ).server
        self.target = self.write('target', b'old')
        self.keyring = self.write('keyring', self.made.keyring)
        self.state = os.path.join(self.directory, 'state')
        self.addCleanup(lambda: self.assertEqual([], self.verifiers()))

    def verifiers(self) -> list[int]:
        """Return what runs, or ran, and is a child of this process."""
        return [
            pid
            for pid in _children()
            if 'gpgv' in pathlib.Path('/proc/%d/comm' % pid).read_text()
        ]

    def write(self, name: str, content: bytes) -> str:
        path = os.path.join(self.directory, name)
        pathlib.Path(path).write_bytes(content)
        return path

    def serve(self, name: str, content: bytes) -> str:
        self.server.representations['/' + name] = harmful.Representation(
            content
        )
        return self.server.url('/' + name)

    def request(self, **given: Any) -> copying.Request:
        asked: dict[str, Any] = {
            'url': self.server.url(),
            'target': self.target,
            'keyring': self.keyring,
            'state_dir': self.state,
            'settings': settings.Settings(attempts=1),
        }
        return copying.Request(**(asked | given))

    def copy(self, **given: Any) -> copying.Result:
        return copying.copy(self.request(**given))

    def arrives(self, **given: Any) -> None:
        result = self.copy(**given)
        self.assert_target(IMAGE)
        expected = gpgv.Signer(self.made.fingerprint, gnupg.USER)
        self.assertEqual(expected, result.signer)

    def assert_target(self, expected: bytes) -> None:
        # assertEqual would say megabytes.
        actual = pathlib.Path(self.target).read_bytes()
        if actual != expected:
            self.fail('%d bytes, or others' % len(actual))

    def refused(
        self, kind: type[errors.Error], part: str, **given: Any
    ) -> errors.Error:
        """Expect an error; nothing is left, and what was there is there."""
        self.write('target', b'old')
        before = set(os.listdir(self.directory))
        error = self.assertRaises(kind, self.copy, **given)
        self.assertIn(part, str(error))
        self.assert_target(b'old')
        self.assertEqual(before, set(os.listdir(self.directory)))
        self.assertIsNone(error.continues_at)
        return error

    def was_asked_for(self, path: str) -> bool:
        return any(each.path == path for each in self.server.requests)


class TestImage(_SignedTestCase):
    """The signature is of the image."""

    def setUp(self) -> None:
        super().setUp()
        self.signature = self.write('image.sig', self.made.good)

    def test_good(self) -> None:
        for signature in (
            self.signature,
            self.serve('image.sig', self.made.good),
            self.write('image.asc', self.made.signatures['armored']),
        ):
            self.arrives(signature=signature)
        for name in 'armored', 'keybox', 'two':
            path = self.write(name, self.made.keyrings[name])
            self.arrives(signature=self.signature, keyring=path)
        self.arrives(
            signature=self.signature,
            settings=settings.Settings(connections=4, segment_size=MIB),
            checksum='sha256:' + hashlib.sha256(IMAGE).hexdigest(),
        )
        self.assertIn('signed by ' + gnupg.USER, self.log.output)

    def test_any_byte(self) -> None:
        # One that is written first, one that is written last, the last one.
        for at in 2 * MIB, 0, len(IMAGE) - 1:
            self.server.script(faults.flip(at))
            error = self.refused(
                errors.BadSignature,
                'signature by %s is of other bytes' % gnupg.USER,
                signature=self.signature,
            )
            self.assertEqual(60, error.exit_code)
        self.serve('image', IMAGE[:-1])
        self.refused(
            errors.BadSignature, 'other bytes', signature=self.signature
        )
        self.serve('image', IMAGE + b'x')
        self.refused(
            errors.BadSignature, 'other bytes', signature=self.signature
        )

    def test_what_is_there_already(self) -> None:
        for image in IMAGE, IMAGE[:-1] + b'x':
            # All of it, and all but its first byte.
            for there in image, b'x' + image[1:]:
                text = metalink.document(image, [self.server.url()], piece=MIB)
                asked = {
                    'url': self.serve('image.meta4', text),
                    'signature': self.signature,
                    'reuse': True,
                }
                self.serve('image', image)
                self.write('target', there)
                if image == IMAGE:
                    self.arrives(**asked)
                else:
                    self.assertRaises(errors.BadSignature, self.copy, **asked)
                    self.assert_target(there)

    def test_an_end_that_nothing_else_proves(self) -> None:
        self.server.script(faults.http_1_0())
        self.arrives(signature=self.signature)
        self.serve('image', IMAGE[:-1])
        self.server.script(faults.http_1_0())
        self.refused(
            errors.BadSignature, 'other bytes', signature=self.signature
        )

    def test_who_is_not_trusted(self) -> None:
        signatures, keyrings = self.made.signatures, self.made.keyrings
        for signature, keyring, part in (
            (self.made.good, keyrings['other'], 'not in the keyring'),
            (signatures['expired key'], keyrings['expired'], 'key of Expired'),
            (signatures['revoked key'], keyrings['revoked'], 'been revoked'),
            (signatures['expired'], self.made.keyring, 'has expired'),
            (signatures['sha1'], self.made.keyring, 'by SHA-1'),
            (signatures['new key'], keyrings['new'], 'newer than the clock'),
        ):
            error = self.refused(
                errors.UntrustedSignature,
                part,
                signature=self.write('sig', signature),
                keyring=self.write('keys', keyring),
            )
            self.assertEqual(61, error.exit_code)

    def test_what_is_refused_before_the_image_is_asked_for(self) -> None:
        good, keyring = self.made.good, self.made.keyring
        armored = self.made.signatures['armored']
        damaged: tuple[
            tuple[type[errors.Error], str, dict[str, bytes]], ...
        ] = (
            (errors.BadSignature, 'cut short', {'signature': good[:-1]}),
            (errors.BadSignature, 'cut short', {'signature': armored[:-9]}),
            (errors.BadSignature, 'empty', {'signature': b''}),
            (
                errors.BadSignature,
                'there are 2 signatures',
                {'signature': self.made.signatures['two']},
            ),
            (
                errors.BadSignature,
                'is of text',
                {'signature': self.made.signatures['text']},
            ),
            (errors.SignatureError, 'cut short', {'keyring': keyring[:-1]}),
            (errors.SignatureError, 'no public key', {'keyring': good}),
            (
                errors.SignatureError,
                'secret keys',
                {'keyring': self.made.keyrings['secret']},
            ),
        )
        for kind, part, given in damaged:
            self.refused(
                kind,
                part,
                **{'signature': self.signature}
                | {
                    name: self.write('damaged-' + name, content)
                    for name, content in given.items()
                },
            )
        for name in 'signature', 'keyring':
            self.refused(
                errors.OptionError,
                'cannot read the ' + name,
                **{'signature': self.signature} | {name: '/nonexistent/x'},
            )
        self.refused(errors.ContentError, 'more than', signature='/dev/zero')
        self.refused(
            errors.StatusError,
            '404',
            signature=self.server.url('/none.sig'),
        )
        self.assertFalse(self.was_asked_for('/image'))

    def test_no_gpgv(self) -> None:
        for path in self.directory, '':
            self.useFixture(fixtures.EnvironmentVariable('PATH', path))
            error = self.refused(
                errors.NoVerifier,
                'the package is gpgv',
                signature=self.signature,
            )
            self.assertEqual(62, error.exit_code)
        self.assertFalse(self.was_asked_for('/image'))

    def _instead(self, script: str) -> None:
        """Have a script run in the place of gpgv."""
        directory = os.path.join(self.directory, 'bin')
        os.makedirs(directory, exist_ok=True)
        path = os.path.join(directory, 'gpgv')
        pathlib.Path(path).write_text('#!/bin/sh\n%s\n' % script)
        os.chmod(path, 0o755)
        self.useFixture(
            fixtures.EnvironmentVariable(
                'PATH', directory + os.pathsep + os.environ['PATH']
            )
        )

    def test_how_it_exits_is_not_enough(self) -> None:
        for script in 'cat >/dev/null', 'exit 0', 'cat >/dev/null; exit 2':
            self._instead(script)
            self.refused(
                errors.BadSignature, 'finds no', signature=self.signature
            )

    def test_one_that_dies(self) -> None:
        """That says nothing of the signature, nor of what was fetched."""
        program = shutil.which('gpgv')
        given = {
            'signature': self.signature,
            'spool': os.path.join(self.directory, 'spool'),
        }
        for script, code in (
            ('cat >/dev/null; kill -9 $$', -9),
            ('exit 127', 127),
        ):
            self._instead(script)
            error = self.assertRaises(
                errors.SignatureError, self.copy, **given
            )
            self.assertEqual(59, error.exit_code)
            self.assertIn('gpgv has failed (%d)' % code, str(error))
            self.assert_target(b'old')
            self.assertTrue(os.path.getsize(given['spool']))
        self._instead('exec %s "$@"' % program)
        # And then hardly a byte is fetched again.
        self.assertLess(len(IMAGE) - MIB, self.copy(**given).kept)
        self.assert_target(IMAGE)
        self.assertFalse(os.path.exists(given['spool']))

    def test_keys_that_are_not_the_right_ones(self) -> None:
        """Another run may have others, and checks all bytes again."""
        given = {
            'signature': self.signature,
            'spool': os.path.join(self.directory, 'spool'),
        }
        other = self.write('keys', self.made.keyrings['other'])
        self.assertRaises(
            errors.UntrustedSignature, self.copy, **given, keyring=other
        )
        self.assertLess(len(IMAGE) - MIB, self.copy(**given).kept)
        self.assertFalse(os.path.exists(given['spool']))

    def test_one_that_was_not_asked(self) -> None:
        """A bug of ours, which nothing but this would show."""
        self.patch(copying.Copy, '_checked_image', lambda _self, views: views)
        url = self.serve(
            'image.meta4',
            metalink.document(IMAGE, [self.server.url()], piece=MIB),
        )
        for given, there in (
            ({}, b'old'),
            ({'url': url, 'reuse': True}, IMAGE),
            ({'url': url, 'reuse': True}, b'x' + IMAGE[1:]),
        ):
            self.write('target', there)
            error = self.assertRaises(
                RuntimeError, self.copy, signature=self.signature, **given
            )
            self.assertIn('was not checked', str(error))
            self.assert_target(there)
        # Nobody says who has signed, of a dry run.
        self.copy(signature=self.signature, dry_run=True)

    def test_what_has_no_way_back(self) -> None:
        self.server.script(faults.flip(2 * MIB))
        error = self.assertRaises(
            errors.BadSignature,
            self.copy,
            signature=self.signature,
            in_place=True,
        )
        assert isinstance(error, errors.BadSignature)
        self.assertEqual('blank', error.target_state)
        self.assertEqual(
            b'', pathlib.Path(self.target).read_bytes()[:MIB].strip(b'\0')
        )

    def test_one_that_does_nothing(self) -> None:
        # Neither reads, or reads all and does not come to an end.
        for script in 'exec sleep 600', 'cat >/dev/null; exec sleep 600':
            self._instead(script)
            self.refused(
                errors.DeadlineExceeded,
                'the deadline has passed',
                signature=self.signature,
                settings=settings.Settings(deadline=2),
            )
            self.patch(gpgv, 'PATIENCE', 0.5)
            error = self.refused(
                errors.SignatureError,
                'gpgv does not',
                signature=self.signature,
            )
            self.assertEqual(59, error.exit_code)
            self.patch(gpgv, 'PATIENCE', 60.0)

    def test_cancelled(self) -> None:
        self._instead('exec sleep 600')
        copy = copying.Copy(self.request(signature=self.signature))

        def cancel() -> None:
            _wait_until(lambda: _is_in(gpgv.Check._wait.__code__))
            copy.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        began = time.monotonic()
        self.assertRaises(errors.Cancelled, copy.run)
        self.assertLess(time.monotonic() - began, gpgv.PATIENCE / 2)
        canceller.join()
        self.assertEqual([], _children())

    def test_it_is_never_gone_on_with(self) -> None:
        # It fails before anybody sees that this is not what was signed; by
        # then, as much is written as there has to be for a record.
        given = {
            'url': self.serve('long', harmful.Pattern(33 * MIB)[:]),
            'settings': settings.Settings(attempts=2, backoff=2.0),
        }
        self.server.script(faults.cut(32 * MIB), then=faults.status(503))
        signed = given | {'signature': self.signature}
        self.refused(errors.AttemptsExhausted, '', **signed)
        self.assertFalse(os.path.exists(self.state))
        self.server.script(faults.cut(32 * MIB), then=faults.status(503))
        unsigned = given | {'keyring': None}
        error = self.assertRaises(
            errors.AttemptsExhausted, self.copy, **unsigned
        )
        self.assertIsNotNone(error.continues_at)
        # What another copy has left is of no use to one that is signed.
        self.server.script()
        self.assertRaises(errors.BadSignature, self.copy, **signed)
        self.assert_target(b'old')
        self.assertNotIn('target.fuel-agent-curl', os.listdir(self.directory))
        # Nor does anything say that there is an unfinished copy.
        self.assertEqual([], os.listdir(self.state))

    def test_a_dry_run(self) -> None:
        result = self.copy(signature=self.signature, dry_run=True)
        self.assertIsNone(result.signer)
        self.assert_target(b'old')


class TestPacked(_SignedTestCase):
    document = PACKED

    def test_what_is_left_out_is_signed_too(self) -> None:
        signature = self.write('image.gz.sig', self.made.good)
        url = self.serve('image.gz', PACKED)
        trailing = settings.Settings(attempts=1, trailing_data='ignore')
        given = {'url': url, 'signature': signature, 'settings': trailing}
        self.arrives(**given)
        self.server.script(faults.flip(len(PACKED) - 1))
        self.refused(errors.BadSignature, 'other bytes', **given)


class TestList(_SignedTestCase):
    """The signature is of the list of checksums."""

    document = LIST

    def test_detached(self) -> None:
        signature = self.write('SUMS.sig', self.made.good)
        for listed in self.write('SUMS', LIST), self.serve('SUMS', LIST):
            self.arrives(checksum=listed, signature=signature)
            self.arrives(image_checksum=listed, signature=signature)
            self.arrives(
                checksum=listed, image_checksum=listed, signature=signature
            )
        self.server.requests.clear()
        for content in LIST + b'\n', _OTHER_LIST:
            self.refused(
                errors.BadSignature,
                'other bytes',
                checksum=self.write('SUMS', content),
                signature=signature,
            )
        self.assertEqual([], self.server.requests)
        # Another image than the list says.
        self.server.script(faults.flip(0))
        self.refused(
            errors.DigestMismatch,
            '',
            checksum=self.write('SUMS', LIST),
            signature=signature,
        )

    def test_of_text(self) -> None:
        """The ends of its lines say nothing, so they need not count."""
        signature = self.write('SUMS.sig', self.made.signatures['text'])
        for content in LIST, LIST.replace(b'\n', b'\r\n'):
            self.arrives(
                checksum=self.write('SUMS', content), signature=signature
            )

    def test_clear_signed(self) -> None:
        signed = self.made.clear_signed
        self.arrives(checksum=self.write('SUMS', signed))
        self.arrives(image_checksum=self.serve('SUMS', signed))
        # What is around it does not count.
        self.arrives(
            checksum=self.write('SUMS', _OTHER_LIST + signed + _OTHER_LIST)
        )

    def test_clear_signed_and_changed(self) -> None:
        signed = self.made.clear_signed
        digit = LIST[:1]
        other = b'0' if digit != b'0' else b'1'
        for content, part in (
            (LIST, 'nothing in the list is signed'),
            (signed.replace(digit + LIST[1:9], other + LIST[1:9]), 'other by'),
            (signed.replace(LIST, LIST + _OTHER_LIST), 'other bytes'),
            (signed.replace(LIST, b''), 'other bytes'),
            (signed + signed, 'several'),
            (signed[:-60], 'cut short'),
        ):
            self.refused(
                errors.BadSignature, part, checksum=self.write('SUMS', content)
            )
        self.refused(
            errors.UntrustedSignature,
            'not in the keyring',
            checksum=self.write('SUMS', signed),
            keyring=self.write('keys', self.made.keyrings['other']),
        )
        self.assertEqual([], self.server.requests)

    def test_a_dry_run(self) -> None:
        path = self.write('SUMS', self.made.clear_signed)
        result = self.copy(checksum=path, dry_run=True)
        self.assertIsNotNone(result.signer)
        self.write('SUMS', LIST)
        self.refused(errors.BadSignature, '', checksum=path, dry_run=True)


class TestDevice(support.DeviceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program(*gnupg.PROGRAMS)
        made = _made(IMAGE)
        self.server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(IMAGE))
        ).server
        self.given: dict[str, Any] = {}
        for name, content in (
            ('signature', made.good),
            ('keyring', made.keyring),
            ('other', made.keyrings['other']),
        ):
            path = os.path.join(self.directory, name)
            pathlib.Path(path).write_bytes(content)
            self.given[name] = path
        self.other = self.given.pop('other')

    def test_it_is_blank_until_the_signature_is_right(self) -> None:
        target = self.device()
        for at in 2 * MIB, len(IMAGE) - 1:
            self.server.script(faults.flip(at))
            error = self.assertRaises(
                errors.BadSignature, self.copy, target.path
            )
            self.assertEqual('blank', error.target_state)
            self.assert_blank(target)
        self.given['keyring'] = self.other
        self.assertRaises(errors.UntrustedSignature, self.copy, target.path)
        self.assert_blank(target)

    def test_good(self) -> None:
        target = self.device()
        self.copy(target.path)
        self.assert_device(target, IMAGE)

    def test_untouched_where_it_is_known_before(self) -> None:
        target = self.device()
        self.given['signature'] = self.given['keyring']
        error = self.assertRaises(errors.BadSignature, self.copy, target.path)
        self.assertEqual('untouched', error.target_state)
        self.assert_untouched(target)

    def copy(self, target: str) -> None:
        copying.copy(
            copying.Request(url=self.server.url(), target=target, **self.given)
        )


class TestQcow2(_SignedTestCase):
    """Its parts come before the file does, which is what is signed."""

    def test_in_the_order_of_the_file(self) -> None:
        self.need_program('qemu-img')
        raw = self.write('raw', IMAGE[: 3 * MIB])
        path = os.path.join(self.directory, 'qcow2')
        subprocess.run(
            ['qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', raw, path],
            check=True,
        )
        content = pathlib.Path(path).read_bytes()
        made = gnupg.make(content)
        given = {
            'url': self.serve('disk', content),
            'signature': self.write('signature', made.good),
            'keyring': self.write('keyring', made.keyring),
        }
        for container in 'auto', 'qcow2':
            result = self.copy(**given, container=container)
            assert result.signer is not None
            self.assertEqual(made.fingerprint, result.signer.fingerprint)
            self.assert_target(IMAGE[: 3 * MIB])
        self.write('target', b'old')
        self.serve('disk', content[:-1] + bytes([content[-1] ^ 1]))
        self.refused(errors.BadSignature, 'other bytes', **given)


class TestProgram(program.ProgramTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program(*gnupg.PROGRAMS)
        self.made = _made(IMAGE)
        assert self.image == IMAGE
        self.signature = self.write('image.sig', self.made.good)
        self.keyring = self.write('keyring', self.made.keyring)
        self.signed = (
            *('--signature', self.signature),
            *('--keyring', self.keyring),
        )

    def write(self, name: str, content: bytes) -> str:
        pathlib.Path(self.path(name)).write_bytes(content)
        return self.path(name)

    def test_who_signed_is_said(self) -> None:
        done = self.check_success(self.url, *self.signed, '--progress', 'json')
        self.assertIn('image signed by %s' % gnupg.USER, done.stderr)
        last = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(
            {
                'fingerprint': self.made.fingerprint,
                'user_id': gnupg.USER,
            },
            last['signer'],
        )

    def test_goes_on_with_a_spool(self) -> None:
        """The signature is of what was in there, too."""
        argv = [*self.signed, '--spool', self.path('spool')]
        argv += ['--attempts', '4', '--backoff', '0.5']
        self.server.script(
            faults.cut(len(IMAGE) * 3 // 4), then=faults.status(503)
        )
        done = self.run_program('copy', *argv, self.url, self.target)
        self.assertIn('for another run', done.stderr)
        self.server.script()
        done = self.check_success(*argv, self.url)
        self.assertIn('everything before it was in the spool', done.stderr)
        self.assertIn('signed by %s' % gnupg.USER, done.stderr)

    def test_a_dry_run(self) -> None:
        done = self.run_program(
            'copy', self.url, self.target, *self.signed, '--dry-run'
        )
        self.assertIn('signature of the download to be ver', done.stderr)

    def test_failures(self) -> None:
        self.server.script(faults.flip(0))
        self.check_failure(
            60, 'is of other bytes', self.url, self.target, *self.signed
        )
        self.assertFalse(os.path.exists(self.target))
        for code, part, argv in (
            (2, 'without the keys', self.signed[:2]),
            (2, 'nothing that is signed', self.signed[2:]),
            (2, 'not a URL', (*self.signed, '--keyring', self.url)),
            (
                2,
                'not of two lists',
                (*self.signed, '--checksum', './a', '--image-checksum', './b'),
            ),
            (
                61,
                'by SHA-1',
                (
                    *self.signed,
                    *(
                        '--signature',
                        self.write('sha1', self.made.signatures['sha1']),
                    ),
                ),
            ),
        ):
            self.check_failure(code, part, self.url, self.target, *argv)

    def test_an_interruption_leaves_no_process(self) -> None:
        self.server.script(faults.stall(2 * MIB), then=faults.stall(0))
        running = subprocess.Popen(
            [
                *(*program.PROGRAM, 'copy', '--progress', 'none'),
                *(*self.signed, self.url, self.target),
            ],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        (verifier,) = _wait_until(lambda: _children(running.pid))
        # As a terminal does: to all of the group.
        os.killpg(running.pid, signal.SIGINT)
        said = running.communicate(timeout=200)[1]
        self.assertEqual(-signal.SIGINT, running.returncode, said)
        self.assertIn('is untouched', said)
        # It may be a zombie until whoever inherits it has looked.
        _wait_until(
            lambda: (
                not os.path.exists('/proc/%d' % verifier)
                or not os.path.exists('/proc/%d/exe' % verifier)
            )
        )
