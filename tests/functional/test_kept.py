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

"""A download that goes on where an earlier one had ended."""

from __future__ import annotations

import dataclasses
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import messages
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import head
from fuel_agent_curl.rules import sources
from tests.support import engine

_CHUNK = engine.SETTINGS['chunk_size']
_AT = 20 * _CHUNK


class TestKept(engine.EngineTestCase):
    def kept(self, offset: int = _AT, **found: Any) -> sources.Kept:
        """Return what a download that got so far has left."""
        with self.fetch() as download:
            next(download)
            assert download.found is not None
            url, known = download.found
        self.server.requests.clear()
        known = dataclasses.replace(known, **found)
        return sources.Kept(offset, known, url)

    def goes_on(self, *answers: Any, **how: Any) -> engine.Outcome:
        how.setdefault('kept', self.kept())
        chunk = how.get('chunk_size', _CHUNK)
        begin = how['kept'].offset // chunk * chunk
        return self.assert_arrives(
            *answers, content=self.content[begin:], **how
        )

    def assert_arrives(self, *answers: Any, **how: Any) -> engine.Outcome:
        """As there, but for the length: of the whole."""
        self.server.script(*answers)
        outcome = self.download(
            **{k: v for k, v in how.items() if k not in ('content', 'ranges')}
        )
        if outcome.error is not None:
            raise outcome.error
        self.assert_same(how['content'], outcome.data)
        self.assertEqual(len(self.content), outcome.length)
        if 'ranges' in how:
            self.assertEqual(
                ['bytes=%d-' % each for each in how['ranges']],
                self.server.ranges,
            )
        return outcome

    def test_brings_the_rest_only(self) -> None:
        outcome = self.goes_on(ranges=[_AT])
        self.assertEqual(engine.LENGTH - _AT, outcome.stats.received)
        self.assertEqual(['"1"'], self.server.if_ranges)
        self.assertEqual(['started'], [e.kind for e in outcome.events])

    def test_begins_with_a_whole_chunk(self) -> None:
        self.goes_on(kept=self.kept(_AT + 17), ranges=[_AT])

    def test_less_than_a_chunk_is_nothing(self) -> None:
        with self.fetch(kept=self.kept(_CHUNK - 1)) as download:
            self.assertEqual(0, download.position)
            self.assert_same(self.content, b''.join(download))

    def test_nothing_is_left(self) -> None:
        self.name(content=self.content[: 30 * _CHUNK])
        self.goes_on(kept=self.kept(30 * _CHUNK - 1))

    def test_several_connections(self) -> None:
        self.name(content=harmful.Pattern(8 << 16)[0 : 8 << 16])
        for begin in 1, 64, 70, 510:
            kept = self.kept(begin * 1024)
            self.goes_on(
                kept=kept, connections=4, segment_size=65536, chunk_size=1024
            )
            asked = [
                (int(start), int(stop) + 1)
                for start, _dash, stop in (
                    (text or '').removeprefix('bytes=').partition('-')
                    for text in self.server.ranges
                )
            ]
            self.assertEqual(kept.offset, min(asked)[0])
            self.assertEqual(
                len(self.content) - kept.offset,
                sum(stop - start for start, stop in asked),
            )
            if begin < 300:
                self.assertLess(2, len(asked))

    def test_is_resumed_as_ever(self) -> None:
        self.goes_on(faults.reset(9000), ranges=[_AT, _AT + 9000])

    def test_checksum_is_of_all(self) -> None:
        kept = self.kept()
        for first in self.content[:_AT], b'x' * _AT:
            with self.fetch(kept=kept, checksum=self.checksum()) as download:
                self.assertEqual(_AT, download.position)
                download.precede(memoryview(first))
                if first[0] == self.content[0]:
                    self.assert_same(self.content[_AT:], b''.join(download))
                else:
                    self.assertRaises(
                        errors.DigestMismatch, b''.join, download
                    )

    def test_another_representation(self) -> None:
        kept = self.kept()
        self.name(content=self.content[:-1] + b'x', etag='"2"')
        self.cannot(kept=kept)

    def test_another_length(self) -> None:
        kept = self.kept()
        for content in self.content[: _AT // 2], self.content + b'x':
            self.name(content=content)
            self.server.requests.clear()
            self.cannot(kept=kept)
            self.assertEqual(1, len(self.server.requests))

    def test_changes_on_the_way(self) -> None:
        self.server.script(
            self.cut_after_use(20 * _CHUNK),
            then=faults.serve(
                dataclasses.replace(
                    self.image, content=self.content + b'x', etag='"2"'
                )
            ),
        )
        outcome = self.download(kept=self.kept())
        self.assertIsInstance(outcome.error, errors.CannotContinue)
        self.assertEqual(
            self.content[_AT : _AT + len(outcome.data)], outcome.data
        )

    def test_no_ranges_any_more(self) -> None:
        kept = self.kept()
        self.name(ranges=False)
        self.cannot(kept=kept)

    def test_no_strong_validator(self) -> None:
        self.name(etag='W/"1"', last_modified=messages.http_date())
        self.cannot(kept=self.kept())
        self.assertEqual([], self.server.requests)
        # Where a checksum decides, none is wanted.
        with self.fetch(kept=self.kept(), checksum=self.checksum()) as rest:
            rest.precede(memoryview(self.content[:_AT]))
            self.assert_same(self.content[_AT:], b''.join(rest))

    def test_another_mirror(self) -> None:
        """It proves nothing of what is kept, unless a checksum decides."""
        other = self.start_server()
        kept = self.kept()
        self.server.script(then=faults.status(404))
        mirrors = [other.url()]
        outcome = self.download(kept=kept, mirrors=mirrors)
        self.assertIsInstance(outcome.error, errors.CannotContinue)
        with self.fetch(
            kept=kept, mirrors=mirrors, checksum=self.checksum()
        ) as download:
            download.precede(memoryview(self.content[:_AT]))
            self.assert_same(self.content[_AT:], b''.join(download))

    def test_the_mirror_that_it_was_of(self) -> None:
        kept = self.kept()
        other = self.start_server()
        self.goes_on(
            kept=kept, url=other.url(), mirrors=[kept.url], ranges=[_AT]
        )
        self.assertEqual([], other.requests)

    def test_knows_no_other_representation(self) -> None:
        known = answer.Representation(
            head.Validator(etag='"0"'), engine.LENGTH, True, ''
        )
        self.cannot(kept=sources.Kept(_AT, known, self.server.url()))

    def cannot(self, **how: Any) -> None:
        outcome = self.download(**how)
        self.assertIsInstance(outcome.error, errors.CannotContinue)
        self.assertEqual(b'', outcome.data)
