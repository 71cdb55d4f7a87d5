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

import argparse
from collections.abc import Iterator
import os
import types
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.cmd import copying
from fuel_agent_curl.rules import events
from tests import base

_DIGEST = 'sha256:' + '0' * 64


class Download:
    """As much of a download as a copy looks at."""

    length: int | None = 100

    def __init__(self) -> None:
        self.stats = events.Stats()
        self.closed = False

    def views(self) -> Iterator[memoryview]:
        yield memoryview(bytes(30))
        yield memoryview(bytes(30))

    def close(self) -> None:
        self.closed = True


class TestLazySource(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.download = Download()
        self.fetched = 0
        self.source = copying.LazySource(self.fetch, 50)

    def fetch(self) -> Any:
        self.fetched += 1
        return self.download

    def test_nothing_is_asked_before_somebody_asks(self) -> None:
        self.assertEqual(0, self.source.received)
        self.source.close()
        self.assertEqual(0, self.fetched)
        self.assertEqual(100, self.source.length)
        self.assertEqual(60, sum(map(len, self.source.views())))
        self.assertEqual(1, self.fetched)
        self.source.close()
        self.assertTrue(self.download.closed)

    def test_received(self) -> None:
        views = self.source.views()
        next(views)
        # Handed on, received, and so the position: no less than was handed
        # on, no more than fits in the window, nor than there is.
        for received, expected in ((0, 30), (40, 40), (90, 80)):
            self.download.stats.received = received
            self.assertEqual(expected, self.source.received)
        next(views)
        self.download.stats.received = 500
        self.assertEqual(100, self.source.received)
        self.download.length = None
        self.assertEqual(110, self.source.received)


class TestSummary(base.TestCase):
    def summary(
        self, result: pipeline.Result | None = None, **given: Any
    ) -> str:
        arguments = argparse.Namespace(
            target='disk', checksum=None, image_checksum=None, verify=False
        )
        vars(arguments).update(given)
        return copying.summary(
            arguments,
            result or pipeline.Result(2048, 'gzip'),
            events.Stats(attempts=2, resumes=1, received=1024, seconds=2.0),
        )

    def test_without_a_checksum(self) -> None:
        self.assertEqual(
            '2048 bytes written to disk; 1024 received (gzip) in 2.0 s,'
            ' 512 B/s; 2 requests, 1 resume, 0 stalls; no checksum given',
            self.summary(),
        )

    def test_with_checks(self) -> None:
        text = self.summary(
            checksum=_DIGEST, image_checksum=_DIGEST, verify=True
        )
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


class TestStandardOutput(base.TestCase):
    def check(self, mode: int) -> None:
        """Run the check with stdout, and the target, of such a mode."""
        status = types.SimpleNamespace(st_mode=mode, st_ino=1, st_dev=1)
        self.patch(os, 'fstat', lambda _fd: status)
        self.patch(os, 'stat', lambda _path: status)
        copying.check(
            argparse.Namespace(
                url='http://a/',
                mirrors=[],
                checksum=None,
                image_checksum=None,
                progress='json',
                target='/dev/stdout',
            )
        )

    def test_a_pipe_takes_one_of_both(self) -> None:
        self.assertRaises(errors.OptionError, self.check, 0o010600)

    def test_dev_null_takes_both(self) -> None:
        self.check(0o020666)
