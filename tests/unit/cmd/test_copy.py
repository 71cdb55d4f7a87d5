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

"""What a copy reports: its position, and what it says at the end."""

from __future__ import annotations

import os
import types
from typing import Any

from fuel_agent_curl import copying
from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.cmd import copy
from fuel_agent_curl.image import digest
from fuel_agent_curl.rules import events
from fuel_agent_curl.target import opening
from fuel_agent_curl.target import sink
from tests import base

_DIGEST = digest.Checksum('sha256', '0' * 64)


class TestSummary(base.TestCase):
    def summary(
        self,
        image: pipeline.Result | None = None,
        checksum: digest.Checksum | None = None,
        **given: Any,
    ) -> str:
        stats = events.Stats(attempts=2, resumes=1, received=1024, seconds=2.0)
        image = image or pipeline.Result(2048, 'gzip')
        return copy.summary(
            copying.Request(url='http://a/', **{'target': 'disk'} | given),
            copying.Result(image, stats, checksum, checksum),
        )

    def test_without_a_checksum(self) -> None:
        self.assertEqual(
            '2048 bytes written to disk; 1024 received (gzip) in 2.0 s,'
            ' 512 B/s; 2 requests, 1 resume, 0 stalls; no checksum given',
            self.summary(),
        )

    def test_a_name_adds_no_line(self) -> None:
        text = self.summary(target='a\nb\x1b[31m')
        self.assertIn('written to a?b?[31m; ', text)

    def test_with_checks(self) -> None:
        text = self.summary(checksum=_DIGEST, verify=True)
        self.assertIn(
            'sha256 of the download verified, sha256 of the image verified,'
            ' read back and compared',
            text,
        )

    def test_with_a_block_map(self) -> None:
        text = self.summary(pipeline.Result(2048, 'raw', mapped=512))
        self.assertIn('512 of 2048 bytes written to disk;', text)
        self.assertIn('; no checksum given', text)
        text = self.summary(pipeline.Result(2048, 'raw', 512, checked=1))
        self.assertIn('; 1 range of the block map verified', text)


class TestIntention(base.TestCase):
    def intention(self, image: pipeline.Result) -> str:
        return copy.intention(
            copying.Request(url='http://a/', target='disk', verify=True),
            copying.Result(image, events.Stats(), image_checksum=_DIGEST),
        )

    def test_a_device(self) -> None:
        target = sink.Description('device', 'written', 4096)
        image = pipeline.Result(0, 'raw', length=2048, target=target)
        self.assertEqual(
            'nothing was written: this was a dry run; a copy would write'
            ' 2048 bytes to disk, a device of 4.0 KiB; sha256 of the image to'
            ' be verified, to be read back and compared',
            self.intention(image),
        )

    def test_what_becomes_of_a_file(self) -> None:
        for way, part in (
            ('made', 'a new file (1.0 KiB are free)'),
            ('replaced', 'replaced in the end (1.0 KiB'),
            ('overwritten', 'written over (1.0 KiB'),
            ('patched', 'changed in place (1.0 KiB'),
        ):
            target = sink.Description('file', way, free=1024)
            image = pipeline.Result(0, 'raw', target=target)
            self.assertIn(part, self.intention(image))

    def test_what_is_not_known(self) -> None:
        target = sink.Description('stream', 'written')
        image = pipeline.Result(0, 'gzip', target=target)
        self.assertIn(
            'an image of unknown length (unpacked from gzip) to disk; ',
            self.intention(image),
        )
        image = pipeline.Result(0, 'raw', 100, length=2048, target=target)
        self.assertIn('100 of 2048 bytes to disk; ', self.intention(image))


class TestOutput(base.TestCase):
    def check(self, mode: int) -> None:
        """Run the check with stdout, and the target, of such a mode."""
        status = types.SimpleNamespace(st_mode=mode, st_ino=1, st_dev=1)
        self.patch(os, 'fstat', lambda _fd: status)
        self.patch(os, 'stat', lambda _path: status)
        self.patch(os, 'isatty', lambda _fd: False)
        self.patch(opening, 'is_terminal', lambda _path: False)
        for target in ('/dev/stdout', '-'):
            copy.check_output(target, 1, [])

    def test_a_pipe_takes_one_of_both(self) -> None:
        self.assertRaises(errors.OptionError, self.check, 0o010600)

    def test_what_else_is_said_is_no_part_of_it(self) -> None:
        """As after ``>IMAGE 2>&1``."""
        for same in (True, False):
            self.patch(
                opening,
                'is_open_on',
                lambda _path, descriptor, same=same: same and descriptor == 2,
            )
            self.patch(opening, 'is_terminal', lambda _path: False)
            for descriptor in (None, 1, 3):
                for named in ([], ['-']):
                    copy.check_output('-', None, named, dry_run=True)
                    if not same:
                        copy.check_output('-', descriptor, named)
                        continue
                    error = self.assertRaises(
                        errors.OptionError,
                        copy.check_output,
                        *('-', descriptor, named),
                    )
                    self.assertIn('2>FILE', str(error))

    def test_dev_null_takes_both(self) -> None:
        self.check(0o020666)

    def test_a_terminal_is_filled_only_on_demand(self) -> None:
        self.patch(opening, 'is_terminal', lambda _path: True)
        for target, named in (
            ('-', []),
            ('/dev/stdout', ['/dev/stdout']),
            ('/dev/tty', ['/dev/tty']),
        ):
            error = self.assertRaises(
                errors.OptionError, copy.check_output, target, None, named
            )
            self.assertIn('-o -', str(error))
            copy.check_output(target, None, named, dry_run=True)
        copy.check_output('-', None, ['-'])
