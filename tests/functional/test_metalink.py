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

"""Metalink 4 documents as a source: mirrors, length and piece hashes."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine
from tests.support import metalink
from tests.support import program
from tests.support import segmented
from tests.support.segmented import BySegment
from tests.support.segmented import LENGTH
from tests.support.segmented import SEGMENT

PIECE = 8192
DOCUMENT = '/image.meta4'


class TestMetalink(segmented.SegmentsTestCase):
    """Two mirrors, and a third server that has the document."""

    def setUp(self) -> None:
        super().setUp()
        self.mirror = self.start_server()
        self.library = self.start_server()

    def describe(self, **how: Any) -> str:
        """Publish a document; return its URL."""
        how.setdefault('urls', [self.server.url(), self.mirror.url()])
        self.publish(metalink.document(self.content, **how))
        return self.library.url(DOCUMENT)

    def publish(self, text: bytes) -> None:
        self.library.representations[DOCUMENT] = harmful.Representation(text)

    def read(self, **how: Any) -> engine.Outcome:
        """Download what ``describe`` has described."""
        for server in (self.server, self.mirror, self.library):
            server.requests.clear()
        return self.download(self.library.url(DOCUMENT), **how)

    def assert_read(self, **how: Any) -> engine.Outcome:
        outcome = self.read(**how)
        if outcome.error is not None:
            raise outcome.error
        self.assert_same(self.content, outcome.data)
        self.assertEqual(LENGTH, outcome.length)
        return outcome

    def spoil(self, server: harmful.Server, *places: int) -> None:
        """Let the server have some wrong bytes."""
        content = bytearray(self.content)
        for at in places:
            content[at] ^= 1
        server.representations['/image'] = dataclasses.replace(
            self.image, content=bytes(content)
        )

    def test_the_preferred_one_is_asked(self) -> None:
        self.describe(urls=[self.mirror.url(), self.server.url()])
        outcome = self.assert_read(connections=1)
        self.assertEqual([None], self.mirror.ranges)
        self.assertEqual([], self.server.ranges)
        self.assertEqual(1, len(self.library.requests))
        self.assertEqual(
            {self.mirror.url(), self.server.url()}, set(outcome.stats.mirrors)
        )

    def test_hashes_let_segments_come_from_all(self) -> None:
        for hashes in ({'piece': PIECE, 'whole': False}, {'piece': None}):
            self.describe(**hashes)
            self.assert_read(connections=6)
            self.assert_each_segment_once(self.server, self.mirror)
            self.assertLess(0, len(self.mirror.requests))

    def test_without_a_hash_one_is_used_at_a_time(self) -> None:
        self.describe(whole=False)
        self.assert_read()
        self.assertEqual([], self.mirror.requests)

    def test_mirrors_beside_those_of_the_document(self) -> None:
        self.describe(urls=[self.server.url()])
        self.server.script(then=faults.status(404))
        self.assert_read(mirrors=[self.mirror.url(), self.server.url()])
        self.assertEqual(1, len(self.server.requests))

    def test_one_of_another_length_is_left(self) -> None:
        for hashes in ({'whole': True}, {'whole': False}, {'piece': PIECE}):
            self.describe(**hashes)
            for length in (0, LENGTH - 1, LENGTH + 1):
                self.server.representations['/image'] = dataclasses.replace(
                    self.image, content=harmful.Pattern(length)[0:length]
                )
                for connections in (1, 4):
                    self.assert_read(connections=connections)
                    # It is believed the third time.
                    self.assertLessEqual(
                        len(self.server.requests), 2 + connections
                    )

    def test_no_one_has_the_length_described(self) -> None:
        for connections in (1, 4):
            self.describe(size=LENGTH + 1, whole=False)
            outcome = self.read(connections=connections)
            self.assertIsInstance(outcome.error, errors.RepresentationChanged)
            self.assertEqual(b'', outcome.data)
            for server in (self.server, self.mirror):
                # It is believed the third time.
                self.assertEqual(3, len(server.requests))

    def test_length_that_is_not_stated_is_checked_all_the_same(self) -> None:
        self.describe(urls=[self.server.url()], whole=False)
        self.server.script(then=[faults.ignore_range(), faults.http_1_0()])
        self.assert_read()
        self.server.script(
            then=[
                faults.ignore_range(),
                faults.http_1_0(),
                faults.body(self.content + b'x'),
            ]
        )
        outcome = self.read()
        self.assertIsInstance(outcome.error, errors.Error)

    def test_what_does_not_match_the_hash(self) -> None:
        self.describe()
        for server in (self.server, self.mirror):
            self.spoil(server, 5 * SEGMENT + 1)
        outcome = self.read()
        self.assertIsInstance(outcome.error, errors.DigestMismatch)
        self.assertLess(len(outcome.data), LENGTH)

    def test_given_checksum_goes_before_that_of_the_document(self) -> None:
        self.publish(
            metalink.document(
                self.content + b'x', [self.server.url()], size=LENGTH
            )
        )
        self.assertIsInstance(self.read().error, errors.DigestMismatch)
        self.assert_read(checksum=self.checksum())

    def test_bad_piece_comes_from_elsewhere(self) -> None:
        self.describe(piece=PIECE, whole=False)
        # The first, one in the middle, the last but one, the last.
        for at in (0, 4 * SEGMENT + 5 * PIECE + 7, LENGTH - 5000, LENGTH - 1):
            self.spoil(self.server, at)
            for connections in (1, 4, 16):
                outcome = self.assert_read(connections=connections)
                # Only the piece, or what the server sent before we hung up.
                self.assertLessEqual(outcome.stats.received, LENGTH + PIECE)
                stats = outcome.stats.mirrors
                self.assertLessEqual(stats[self.server.url()].failures, 2)

    def test_bad_pieces_everywhere_but_not_the_same(self) -> None:
        self.describe(piece=PIECE)
        self.spoil(self.server, *range(0, LENGTH, 2 * PIECE))
        self.spoil(self.mirror, *range(PIECE, LENGTH, 2 * PIECE))
        for connections in (1, 4):
            self.assert_read(connections=connections)

    def test_piece_that_is_bad_everywhere(self) -> None:
        self.describe(piece=PIECE, whole=False)
        for at in (0, 5 * SEGMENT + 3 * PIECE, LENGTH - 1):
            for server in (self.server, self.mirror):
                self.spoil(server, at)
            for connections in (1, 4):
                outcome = self.read(connections=connections)
                self.assertIsInstance(outcome.error, errors.AttemptsExhausted)
                self.assertIsInstance(
                    outcome.error.__cause__, errors.PieceMismatch
                )
                self.assert_same(
                    self.content[: len(outcome.data)], outcome.data
                )
                self.assertLessEqual(len(outcome.data), at // PIECE * PIECE)
                self.assertLessEqual(outcome.stats.attempts, 4 * 4 + 11)

    def test_bad_piece_that_was_cut_and_resumed(self) -> None:
        # One has sent the beginning of it, another one the end.
        self.describe(piece=PIECE, whole=False)
        at = 4 * SEGMENT + 100
        self.spoil(self.server, at)
        self.server.script(then=BySegment({4: [faults.cut(5000)]}))
        for connections in (1, 4):
            self.assert_read(connections=connections)

    def test_bad_piece_of_a_segment_that_is_taken_over(self) -> None:
        self.describe(piece=PIECE, whole=False)
        for bad in (self.server, self.mirror):
            self.spoil(self.server)
            self.spoil(self.mirror)
            self.spoil(bad, *range(4 * SEGMENT + 100, 6 * SEGMENT, PIECE))
            for server in (self.server, self.mirror):
                server.script(
                    then=BySegment(
                        {
                            4: [faults.trickle(20_000, at=10_000)],
                            5: [faults.stall(12_000)],
                        }
                    )
                )
            began = time.monotonic()
            self.assert_read(low_speed_time=20)
            self.assertLess(time.monotonic() - began, 15)

    def test_pieces_longer_than_chunks(self) -> None:
        self.describe(piece=100_000, whole=False)
        self.spoil(self.server, LENGTH // 2)
        for connections in (1, 4):
            self.server.script()
            with self.fetch(
                self.library.url(DOCUMENT), connections=connections
            ) as download:
                chunks = list(download)
            self.assertLessEqual(max(map(len, chunks)), 4096)
            self.assert_same(self.content, b''.join(chunks))

    def test_piece_hashes_hold_in_any_window(self) -> None:
        self.describe(piece=PIECE, whole=False)
        self.spoil(self.server, 5 * SEGMENT)
        for connections in (1, 4):
            for how in (
                {'window_size': 256 * 1024},
                {'window_size': 65536, 'chunk_size': 1 << 20},
                {'chunk_size': 1 << 24},
                {'chunk_size': 1 << 30, 'window_size': 1 << 20},
            ):
                self.assert_read(connections=connections, **how)

    def test_pieces_longer_than_the_window_are_compared_too(self) -> None:
        """They cannot be brought again, but what is wrong is an error."""
        for whole in (False, True):
            self.describe(piece=300_000, whole=whole)
            for connections in (1, 4):
                self.assert_read(
                    window_size=1_000_000, connections=connections
                )
        self.describe(piece=300_000, whole=False)
        for at in (5, 299_999, 300_000, LENGTH - 1):
            self.spoil(self.server, at)
            self.spoil(self.mirror, at)
            for connections in (1, 4):
                outcome = self.read(
                    window_size=1_000_000, connections=connections
                )
                self.assertIsInstance(outcome.error, errors.DigestMismatch)
                stop = min(LENGTH, (at // 300_000 + 1) * 300_000)
                self.assertLess(len(outcome.data), stop)

    def test_bytes_of_two_mirrors_that_no_hash_brings_together(self) -> None:
        """Too long a piece says that it is wrong when it is too late."""
        self.describe(piece=300_000, whole=False)
        self.spoil(self.mirror, 5)
        self.server.script(*[faults.cut(100_000)] * 2, then=faults.status(404))
        outcome = self.read(window_size=1_000_000, connections=1)
        self.assertIsInstance(outcome.error, errors.Error)
        self.assert_same(self.content[: len(outcome.data)], outcome.data)

    def test_hashes_that_nothing_is_compared_with(self) -> None:
        def document(piece: int | None, whole: bool) -> bytes:
            return metalink.document(
                self.content, [self.server.url()], piece=piece, whole=whole
            )

        for text in (
            document(PIECE, False).replace(b'sha-256', b'tiger'),
            document(None, True).replace(b'sha-256', b'tiger'),
            document(PIECE, False).replace(b'size', b'length'),
        ):
            self.publish(text)
            outcome = self.read()
            self.assertIs(errors.ContentError, type(outcome.error))
            self.assertIn('nothing can be compared', str(outcome.error))
            self.assertEqual([], self.server.requests)
            self.assert_read(checksum=self.checksum())
            self.assertIn('nothing can be compared', self.log.output or '')

    def test_document_that_makes_no_sense(self) -> None:
        good = metalink.document(
            self.content, [self.server.url()], piece=PIECE
        )
        for text in (
            b'',
            b'<html>not here</html>',
            good[:-1],
            good[: len(good) // 2],
            good.replace(b'metalink"', b'metalink/3"'),
            good.replace(b'</file>', b'</file><file name="b"/>'),
            good.replace(b'<size>', b'<size>x'),
            good.replace(b'http:', b'ftp:'),
            good.replace(self.server.url().encode(), b'image'),
            good.replace(b'</pieces>', b'<hash>00</hash></pieces>'),
            good.replace(b'>', b'><!DOCTYPE x [<!ENTITY a "b">]>', 1),
        ):
            self.publish(text)
            outcome = self.read()
            self.assertIs(
                errors.ContentError, type(outcome.error), ascii(text)
            )
            self.assertIn(DOCUMENT, str(outcome.error))
            self.assertEqual([], self.server.requests)

    def test_document_that_is_not_there(self) -> None:
        self.library.script(then=faults.status(404))
        outcome = self.read()
        self.assertIsInstance(outcome.error, errors.StatusError)
        self.assertEqual(1, len(self.library.requests))

    def test_document_comes_through_faults_too(self) -> None:
        self.describe(piece=2048)
        self.library.script(faults.status(503), faults.cut(3000))
        self.assert_read()
        self.assertEqual(3, len(self.library.requests))


class TestCommand(program.ProgramTestCase):
    def test_copy(self) -> None:
        text = metalink.document(
            self.image, ['http://127.0.0.1:1/image', self.url], piece=1 << 18
        )
        self.server.representations[DOCUMENT] = harmful.Representation(text)
        self.check_success(self.server.url(DOCUMENT))
        self.check_success('--connections', '4', self.server.url(DOCUMENT))

    def test_copy_of_what_does_not_match(self) -> None:
        text = metalink.document(self.image[:-1] + b'x', [self.url])
        self.server.representations[DOCUMENT] = harmful.Representation(text)
        self.check_failure(
            errors.DigestMismatch.exit_code,
            'sha256',
            self.server.url(DOCUMENT),
            self.target,
        )
        self.assertFalse(os.path.exists(self.target))

    def test_copy_of_no_metalink(self) -> None:
        self.server.representations[DOCUMENT] = harmful.Representation(b'<a/>')
        self.check_failure(
            errors.ContentError.exit_code,
            'Metalink',
            self.server.url(DOCUMENT),
            self.target,
        )
