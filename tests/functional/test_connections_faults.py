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

"""Several connections: faults in some segments do no harm to the others."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import itertools
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import server as harmful_server
from tests.support import engine
from tests.support import segmented
from tests.support.segmented import BySegment
from tests.support.segmented import ENDS
from tests.support.segmented import LENGTH
from tests.support.segmented import SEGMENT


class TestFaults(segmented.SegmentsTestCase):
    """What befalls some segments; for one connection see the other tests."""

    def assert_mended(
        self,
        *answers: harmful_server.Answer,
        harmed: Iterable[int] = (0, 4, 9),
        **how: Any,
    ) -> engine.Outcome:
        """Bad answers to some segments, one after the other, do no harm.

        :param harmed: the first, one in the middle, and the last.
        """
        script = BySegment(dict.fromkeys(harmed, answers))
        self.server.requests.clear()
        outcome = self.assert_arrives(then=script, **how)
        self.assertEqual(0, script.left)
        return outcome

    def serve_once_in_use(self, image: harmful.Representation) -> faults.Fault:
        """Serve another image once the consumer has some of this."""

        def changed(handler: faults.Handler) -> faults.Handler:
            def handle(
                request: harmful.Request, _image: harmful.Representation
            ) -> harmful.Reply:
                self._in_use.wait(20)
                return handler(request, image)

            return handle

        return changed

    def others(self) -> Iterator[tuple[harmful.Representation, faults.Fault]]:
        """Yield other images, and how the server treats an If-Range."""
        for length in (LENGTH, LENGTH - 1, LENGTH + SEGMENT, 1000):
            content = harmful.Pattern(length, seed=1)[0:length]
            image = harmful.Representation(content, etag='"2"')
            yield image, lambda honouring: honouring
            yield image, faults.ignore_if_range()

    def test_cut_anywhere(self) -> None:
        for at, harm in itertools.product(
            (0, 1, 4095, 4096, 30_000, SEGMENT - 1, SEGMENT),
            ENDS,
        ):
            self.assert_mended(harm(at), low_speed_time=0.2)

    def test_cut_inside_the_head(self) -> None:
        for at, harm in itertools.product((0, 20), ENDS):
            self.assert_mended(harm(at, in_head=True), low_speed_time=0.2)

    def test_every_answer_is_cut(self) -> None:
        # More than what counts as progress.
        for harm in (faults.cut, faults.reset):
            self.server.requests.clear()
            outcome = self.assert_arrives(then=harm(9000))
            self.assertEqual(LENGTH, outcome.stats.received)

    def test_every_answer_stalls(self) -> None:
        self.assert_arrives(then=faults.stall(20_000), low_speed_time=0.2)

    def test_chunked_parts_cut_short(self) -> None:
        self.assert_mended([faults.chunked(), faults.cut(9000)])
        self.assert_mended(faults.chunked(ended=False))

    def test_transient_status(self) -> None:
        for code in (408, 425, 429, 500, 502, 503, 504):
            self.assert_mended(faults.status(code))

    def test_416(self) -> None:
        for segment in (0, 4, 9):
            self.assert_mended(faults.status(416), harmed=[segment])

    def test_permanent_status_fails_at_once(self) -> None:
        for code in (401, 403, 404, 410):
            script = BySegment({at: [faults.status(code)] for at in (0, 4)})
            self.server.requests.clear()
            outcome = self.assert_fails(errors.StatusError, then=script)
            self.assertEqual(code, outcome.error.status)
            self.assertLessEqual(len(self.server.requests), 10)

    def test_wrong_part(self) -> None:
        for harm in (
            faults.move_range(1),
            faults.move_range(-1),
            faults.move_range(-SEGMENT),
            faults.force_range('bytes=7-'),
            faults.content_range(None),
            faults.content_range('bytes {first}-{last}/*'),
            faults.content_range('bytes */{length}'),
            faults.content_range('bytes {first}-{last}/{length}', 1),
            faults.content_range('bytes {first}-{last}/{length}', -1),
            faults.content_range('bytes {first}-{last}/1'),
            faults.multipart(),
            faults.ignore_range(),
            faults.refuse_if_range(),
            faults.content_length('5'),
            faults.more_field('Content-Length', '5'),
            faults.field('ETag', None),
            faults.field('ETag', 'W/"1"'),
            faults.head(b'garbage'),
        ):
            # Each of them may lead to one connection.
            for segment in (0, 4, 9):
                self.assert_mended(harm, harmed=[segment])

    def test_wrong_part_for_good(self) -> None:
        # What the first answer, which is right, cannot foretell.
        for harm in (
            faults.move_range(1),
            faults.move_range(-1),
            faults.content_range(None),
            faults.content_range('bytes {first}-{last}/{length}', -1),
            faults.multipart(),
            faults.ignore_range(),
            faults.refuse_if_range(),
        ):
            self.server.requests.clear()
            self.assert_arrives((), then=harm)
            self.assertLess(len(self.server.requests), 30)

    def test_other_length_in_one_part(self) -> None:
        # Nobody knows which of them is right.
        wrong = faults.content_range('bytes {first}-{last}/99999999')
        script = BySegment({4: [wrong]})
        self.server.script(then=script)
        self.assert_right_or_error(self.download())

    def test_capped_parts(self) -> None:
        outcome = self.assert_arrives(then=cap(10_000), attempts=1)
        self.assertEqual(LENGTH, outcome.stats.received)
        self.assertEqual(0, len(outcome.retries))

    def test_changed_before_anything_was_handed_on(self) -> None:
        for other, if_range in self.others():
            # The first segment waits for the others to find out.
            script = BySegment(
                {0: [faults.stall(100, 0.3)]},
                then=[faults.serve(other), if_range],
            )
            self.server.requests.clear()
            self.assert_arrives(
                then=script,
                content=bytes(other.content[0 : len(other.content)]),
                low_speed_time=2,
            )

    def test_changed_after_something_was_handed_on(self) -> None:
        for other, if_range in self.others():
            script = BySegment(
                {0: [()]}, then=[self.serve_once_in_use(other), if_range]
            )
            self.server.requests.clear()
            outcome = self.assert_fails(
                errors.RepresentationChanged, then=script
            )
            self.assertLessEqual(len(outcome.data), SEGMENT)

    def test_same_entity_tag_on_other_bytes_is_found_by_checksum(self) -> None:
        other = dataclasses.replace(
            self.image, content=harmful.Pattern(LENGTH, seed=1)[0:LENGTH]
        )
        script = BySegment({4: [faults.serve(other)]})
        self.server.script(then=script)
        outcome = self.download(checksum=self.checksum())
        self.assertIsInstance(outcome.error, errors.DigestMismatch)


class TestFaultsOfSixteen(TestFaults):
    connections = 16


def cap(length: int) -> faults.Fault:
    """Serve no more than ``length`` bytes of a range."""

    def capped(handler: faults.Handler) -> faults.Handler:
        def handle(
            request: harmful.Request, image: harmful.Representation
        ) -> harmful.Reply:
            start = segmented.begin(request)
            _, _, last = (request.range or '').rpartition('-')
            last = str(min(int(last or LENGTH), start + length - 1))
            value = 'bytes=%d-%s' % (start, last)
            return handler(request.having('Range', value), image)

        return handle

    return capped


class TestFirstAnswerWithoutABody(segmented.SegmentsTestCase):
    """It says how long the image is; the next has no ranges."""

    EMPTY = (faults.http_1_0(), faults.body(harmful.Ending.CLOSE))

    def test_another_image(self) -> None:
        other = harmful.Representation(
            harmful.Pattern(LENGTH, seed=7)[:], etag='"2"'
        )
        for whole in (
            [faults.ignore_range(), faults.trickle(400_000)],
            [
                *(faults.serve(other), faults.ignore_range()),
                faults.trickle(400_000),
            ],
        ):
            self.server.script(
                then=BySegment(
                    {0: [self.EMPTY, whole]}, then=faults.trickle(300_000)
                )
            )
            outcome = self.download(backoff=0)
            if outcome.error is not None:
                self.assertIsInstance(outcome.error, errors.Error)
            wanted = [self.content, other.content[0:LENGTH]]
            size = len(outcome.data)
            self.assertIn(outcome.data, [image[:size] for image in wanted])

    def test_mirror(self) -> None:
        mirror = self.start_server()
        trickle = faults.trickle(300_000)
        self.server.script(then=BySegment({0: [self.EMPTY]}, then=trickle))
        whole = [faults.ignore_range(), faults.trickle(400_000)]
        mirror.script(then=BySegment({0: [whole]}, then=trickle))
        outcome = self.download(
            mirrors=[mirror.url()], checksum=self.checksum()
        )
        self.assertIsNone(outcome.error)
        self.assert_same(self.content, outcome.data)
