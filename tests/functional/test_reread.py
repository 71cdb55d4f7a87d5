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

"""Reading again from 0: nothing is joined before all has been compared."""

from __future__ import annotations

import dataclasses
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import engine

#: More than what a reread needs to get past, less than was handed on.
CUT = 500


class TestReread(engine.EngineTestCase):
    """Another representation answers, with a validator of its own.

    That it is another one shows where it is compared with what was handed
    on. The answer is cut before: its validator must not be what the next
    request, for the rest only, is proven by.
    """

    def other(self, **changes: Any) -> harmful.Representation:
        """Return a representation as long as ``/image``, of other bytes."""
        content = bytes(reversed(self.content))
        return dataclasses.replace(self.image, content=content, **changes)

    def test_cut_before_it_is_compared(self) -> None:
        other = self.other(etag='"2"')
        self.assert_fails(
            errors.RepresentationChanged,
            [
                faults.field('ETag', None),
                faults.field('Last-Modified', None),
                *self.cut_after_use(20000),
            ],
            [faults.serve(other), faults.cut(CUT)],
            then=faults.serve(other),
            requests=3,
        )
        self.assertEqual([None] * 3, self.server.ranges)

    def test_another_length_that_was_not_known_before(self) -> None:
        """What a reread said of it goes, too, when it was cut."""
        plain = [
            faults.field('ETag', None),
            faults.field('Last-Modified', None),
        ]
        other = dataclasses.replace(self.image, content=self.content + b'x')
        self.assert_arrives(
            [*plain, *self.cut_after_use(20000), faults.chunked(ended=False)],
            [faults.serve(other), faults.cut(CUT)],
            plain,
            ranges=[None] * 3,
        )

    def test_cut_before_a_mirror_is_compared(self) -> None:
        mirror = self.start_server(self.other(etag='"2"'))
        mirror.script(faults.cut(CUT))
        outcome = self.fail_over(mirror, self.cut_after_use(20000))
        self.assertIsInstance(outcome.error, errors.RepresentationChanged)
        self.assert_same(self.content[: len(outcome.data)], outcome.data)
        self.assertEqual([None, None], mirror.ranges)

    def test_another_length_of_a_mirror(self) -> None:
        other = dataclasses.replace(self.image, content=self.content + b'x')
        mirror = self.start_server()
        mirror.script([faults.serve(other), faults.cut(CUT)])
        outcome = self.fail_over(
            mirror, [*self.cut_after_use(20000), faults.chunked(ended=False)]
        )
        self.assertIsNone(outcome.error)
        self.assert_same(self.content, outcome.data)
        self.assertEqual([None, None], mirror.ranges)

    def test_what_comes_again_is_no_progress(self) -> None:
        """Nor is it said to be; what would help is."""
        self.name(etag='W/"1"', last_modified=None)
        outcome = self.assert_gives_up(
            errors.ReceiveError,
            self.cut_after_use(20000),
            then=faults.cut(20000),
            attempts=3,
        )
        self.assertTrue(len(outcome.data) <= outcome.received <= 20000)
        self.assertGreater(outcome.stats.received, 2 * outcome.received)
        self.assertIn('give a checksum', outcome.error.hint)

    def fail_over(
        self, mirror: harmful.Server, first: list[faults.Fault]
    ) -> engine.Outcome:
        """Download from a server that is of no use after its first answer."""
        self.server.script(first, then=faults.status(404))
        return self.download(mirrors=[mirror.url()])
