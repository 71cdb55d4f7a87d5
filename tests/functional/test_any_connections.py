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


"""The same faults with one, four and sixteen connections.

Which of the requests meets a fault differs, so what is asked for is not
looked at here, but what arrives, and how much is asked for at most.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import segmented
from tests.support.segmented import SEGMENT

SEGMENTS = 24
LENGTH = SEGMENTS * SEGMENT - 99

#: What another answer can mend.
TRANSIENT: dict[str, faults.Fault] = {
    'empty reply': faults.cut(0, in_head=True),
    'reset in place of an answer': faults.reset(0, in_head=True),
    'cut inside the head': faults.cut(20, in_head=True),
    'reset inside the head': faults.reset(20, in_head=True),
    'cut before the body': faults.cut(0),
    'cut in the body': faults.cut(9000),
    'reset in the body': faults.reset(9000),
    'silent': faults.stall(0, in_head=True),
    'silent inside the head': faults.stall(20, in_head=True),
    'silent before the body': faults.stall(0),
    'silent in the body': faults.stall(9000),
    'dripping': faults.trickle(200, 9000),
    'garbage': faults.head(b'\x16\x03garbage'),
    'endless head': faults.endless_head(),
    'chunks cut short': faults.chunked(7777, ended=False),
    'length that is no number': faults.content_length('x'),
    'negative length': faults.content_length('-5'),
    'conflicting lengths': faults.more_field('Content-Length', '5'),
    'unknown transfer coding': faults.field('Transfer-Encoding', 'gzip'),
    'multipart': faults.multipart(),
    **{
        'status %d' % code: faults.status(code)
        for code in (408, 416, 425, 429, 500, 502, 503, 504)
    },
}

_SLOW = [what for what in TRANSIENT if what.startswith(('silent', 'drip'))]

#: What proves too little, or something else, about the range asked for.
OTHER_RANGE: dict[str, faults.Fault] = {
    'ranges ignored': faults.ignore_range(),
    'If-Range ignored': faults.ignore_if_range(),
    'If-Range refused': faults.refuse_if_range(),
    'ranges capped': faults.cap_range(9000),
    'begins early': faults.move_range(-5000),
    'begins late': faults.move_range(100),
    'no Content-Range': faults.content_range(None),
    'Content-Range without length': faults.content_range(
        'bytes {first}-{last}/*'
    ),
    'garbage in Content-Range': faults.content_range('x'),
    'Content-Range of another place': faults.content_range(
        'bytes {first}-{last}/{length}', 100
    ),
}

PERMANENT: dict[str, tuple[faults.Fault, type[errors.Error]]] = {
    **{
        'status %d' % code: (faults.status(code), errors.StatusError)
        for code in (400, 401, 403, 404, 410)
    },
    'no Location': (faults.redirect(None), errors.RedirectError),
    'another scheme': (
        faults.redirect('ftp://127.0.0.1/'),
        errors.RedirectError,
    ),
    'to itself': (faults.redirect('/image'), errors.RedirectError),
}


class _Faults(segmented.SegmentsTestCase):
    """Hidden from the loader by its name."""

    def setUp(self) -> None:
        super().setUp()
        self.name(content=harmful.Pattern(LENGTH)[0:LENGTH])

    def fetch(self, url: str | None = None, **how: Any) -> Any:
        how.setdefault('chunk_size', 16384)
        return super().fetch(url, **how)

    def check(self, what: str, *answers: Any, **how: Any) -> None:
        # Of the one before, a request may still be on its way.
        self.server = self.start_server()
        # Only what is to be found too slow is, on a busy machine.
        how.setdefault('low_speed_time', 1 if what in _SLOW else 20)
        try:
            self.assert_arrives(*answers, **how)
        except (errors.Error, AssertionError) as error:
            raise AssertionError('%s: %s' % (what, error)) from error

    def test_transient_at_first(self) -> None:
        for what, fault in TRANSIENT.items():
            self.check(what, fault)

    def test_transient_later(self) -> None:
        for what, fault in TRANSIENT.items():
            self.check(what, faults.cut(30_000), fault, fault)
            # A segment, or what is left of it, for each answer.
            self.assertLessEqual(len(self.server.requests), SEGMENTS + 8, what)

    def test_another_range(self) -> None:
        for what, fault in OTHER_RANGE.items():
            self.check(what, faults.cut(30_000), fault, fault)

    def test_another_range_at_first(self) -> None:
        for what, fault in OTHER_RANGE.items():
            self.check(what, fault)

    def test_a_reset_of_every_answer(self) -> None:
        self.check('resets', then=faults.reset(30_000))

    def test_unproven(self) -> None:
        """Without ranges, or without a validator to join them by."""
        for changes in (
            {'ranges': False},
            {'etag': 'W/"1"', 'last_modified': None},
            {'etag': None, 'last_modified': None},
            {'etag': None},
        ):
            self.image = harmful.Representation(self.content)
            self.image = dataclasses.replace(self.image, **changes)
            self.check(str(changes), faults.cut(30_000), faults.reset(40_000))

    def test_permanent_at_first(self) -> None:
        for what, (fault, kind) in PERMANENT.items():
            self.server = self.start_server()
            self.assert_fails(kind, fault)
            if what != 'to itself':
                self.assertEqual(1, len(self.server.requests), what)

    def test_permanent_later(self) -> None:
        for what, (fault, kind) in PERMANENT.items():
            self.server = self.start_server()
            self.assert_fails(kind, faults.cut(30_000), fault)
            if what != 'to itself':
                self.assertLessEqual(
                    len(self.server.requests), 1 + self.connections, what
                )

    def test_transient_for_good(self) -> None:
        for what in ('status 503', 'reset in place of an answer', 'silent'):
            self.server = self.start_server()
            self.assert_fails(errors.AttemptsExhausted, TRANSIENT[what])
            self.assertEqual(4, len(self.server.requests), what)

    def test_changed(self) -> None:
        """There is never a byte of each."""
        other = dataclasses.replace(
            self.image,
            content=harmful.Pattern(LENGTH, 7)[0:LENGTH],
            etag='"2"',
        )
        for spoils in (
            [faults.serve(other)],
            [faults.serve(other), faults.ignore_if_range()],
        ):
            self.server = self.start_server()
            self.server.script(self.cut_after_use(30_000), then=spoils)
            outcome = self.download()
            if outcome.error is None:
                self.assert_same(other.content[0:LENGTH], outcome.data)
            else:
                self.assertIsInstance(
                    outcome.error, errors.RepresentationChanged
                )
                self.assert_same(
                    self.content[: len(outcome.data)], outcome.data
                )


class TestOneConnection(_Faults):
    connections = 1


class TestFourConnections(_Faults):
    connections = 4


class TestSixteenConnections(_Faults):
    connections = 16


# Or it would be run by itself as well.
del _Faults
