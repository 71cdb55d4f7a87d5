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

"""Dry runs: what can be found out, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator
import gzip
import os

from fuel_agent_curl import errors
from fuel_agent_curl import pipeline
from fuel_agent_curl.image import bmap
from fuel_agent_curl.octets import MIB
from fuel_agent_curl.target import sink
from fuel_agent_curl.target import writing
from tests.support import blockmaps
from tests.support import copying

IMAGE = copying.IMAGE


class DryRunTest(copying.FileTestCase):
    def _try(
        self,
        source: copying.Source | None = None,
        in_place: bool = False,
        block_map: bmap.BlockMap | None = None,
    ) -> pipeline.Result:
        """Try; nothing is different after it."""
        before = self._seen()
        result = pipeline.copy(
            source or copying.whole(IMAGE),
            self.path,
            options=writing.Options(dry_run=True, in_place=in_place),
            bmap=block_map,
        )
        self.assertEqual(before, self._seen())
        return result

    def _seen(self) -> list[tuple[str, int, int]]:
        found = [
            (entry.name, entry.stat()) for entry in os.scandir(self.directory)
        ]
        return [
            (name, status.st_mtime_ns, status.st_ino) for name, status in found
        ]

    def _target(self, result: pipeline.Result) -> sink.Description:
        assert result.target is not None
        return result.target

    def test_new_file(self) -> None:
        result = self._try()
        self.assertEqual(0, result.written)
        self.assertEqual('raw', result.container)
        self.assertEqual(len(IMAGE), result.length)
        target = self._target(result)
        self.assertEqual(('file', 'made'), (target.kind, target.way))
        self.assertIsNone(target.size)
        assert target.free is not None
        self.assertLess(len(IMAGE), target.free)

    def test_file_that_is_there(self) -> None:
        self.old(b'old')
        for in_place, way in ((False, 'replaced'), (True, 'overwritten')):
            target = self._target(self._try(in_place=in_place))
            self.assertEqual(('file', way), (target.kind, target.way))
            self.assertEqual(3, target.size)

    def test_block_map(self) -> None:
        self.old(b'old')
        block_map = bmap.parse(blockmaps.document(IMAGE, [(0, 1), (300, 400)]))
        result = self._try(block_map=block_map)
        self.assertEqual('patched', self._target(result).way)
        self.assertEqual(103 * 4096, result.mapped)
        self.assertEqual(len(IMAGE), result.length)

    def test_container(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        result = self._try(copying.whole(packed))
        self.assertEqual('gzip', result.container)
        self.assertIsNone(result.length)

    def test_stream(self) -> None:
        self.path = '/dev/null'
        result = pipeline.copy(
            copying.whole(IMAGE),
            self.path,
            options=writing.Options(dry_run=True),
        )
        self.assertEqual(sink.Description('stream', 'written'), result.target)

    def test_pipe_that_nobody_reads(self) -> None:
        """It need not be read, and nobody who reads it sees an end."""
        os.mkfifo(self.path)
        self.assertEqual('stream', self._target(self._try()).kind)
        reader = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        writer = os.open(self.path, os.O_WRONLY)
        self.assertEqual('stream', self._target(self._try()).kind)
        os.write(writer, b'theirs')
        self.assertEqual(b'theirs', os.read(reader, 100))
        os.close(writer)

    def test_not_more_is_read_than_is_needed(self) -> None:
        def chunks() -> Iterator[bytes]:
            yield IMAGE[:MIB]
            raise AssertionError('asked for more')

        self._try(copying.Source(chunks(), len(IMAGE)))

    def test_what_would_be_refused(self) -> None:
        packed = gzip.compress(IMAGE, 1)
        unproven = copying.Source([IMAGE])
        unproven.end_proven = False
        for cls, source in (
            (errors.ImageTooShort, copying.whole(b'')),
            (errors.TruncatedError, copying.whole(packed[:12])),
            (errors.UnprovenEnd, unproven),
            (errors.Stalled, copying.Source([errors.Stalled('x')])),
        ):
            error = self.assertRaises(cls, self._try, source)
            self.assertEqual('untouched', getattr(error, 'target_state', None))
        self.path = self.directory
        self.assertRaises(errors.TargetIsDirectory, self._try)
