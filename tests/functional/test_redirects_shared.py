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

"""Segments share the address that a redirect led to, until it fails."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import logins
from tests.support import segmented
from tests.support.segmented import BySegment
from tests.support.segmented import LENGTH

SECRET = 'Bearer secret'


class TestRedirects(segmented.SegmentsTestCase):
    """``/from`` leads to a place on another server.

    :ivar store: that server.
    """

    def setUp(self) -> None:
        super().setUp()
        self.store = self.start_server(host='127.0.0.2')
        for name in ('/a', '/b'):
            self.store.representations[name] = self.image
        self.lead('/a')
        self.url = self.server.url('/from')

    def lead(self, *names: str) -> None:
        """Redirect to one after the other, for good to the last."""
        answers = [faults.redirect(self.store.url(name)) for name in names]
        self.server.script(*answers[:-1], then=answers[-1], path='/from')

    def paths(self) -> set[str]:
        return {request.path for request in self.store.requests}

    def test_it_is_asked_for_once(self) -> None:
        for connections in (4, 16):
            self.server.requests.clear()
            self.store.requests.clear()
            self.assert_arrives(
                url=self.url, connections=connections, requests=1
            )
            self.assert_each_segment_once(self.store)

    def test_after_a_failure_the_original_is_asked_again(self) -> None:
        for harm in (
            faults.reset(20_000),
            faults.stall(20_000),
            faults.status(503),
            faults.head(b'garbage'),
        ):
            self.server.requests.clear()
            self.store.requests.clear()
            self.lead('/a', '/b')
            self.store.script(then=BySegment({9: [harm]}))
            self.assert_arrives(url=self.url, low_speed_time=1)
            self.assertLessEqual(len(self.server.requests), 3)
            self.assertLessEqual(len(self.store.requests), 13)

    def test_expired(self) -> None:
        # After some answers the first place is no longer to be had.
        for code in (401, 403, 404, 410):
            self.server.requests.clear()
            self.store.requests.clear()
            self.lead('/a', '/b')
            self.store.script((), (), (), then=faults.status(code), path='/a')
            outcome = self.assert_arrives(url=self.url)
            self.assertEqual({'/a', '/b'}, self.paths())
            self.assertEqual(LENGTH, outcome.stats.received)
            # As many as asked for the old place at the same time.
            self.assertLessEqual(len(self.server.requests), 6)

    def test_expired_and_the_original_is_gone_too(self) -> None:
        self.store.script((), (), (), then=faults.status(403), path='/a')
        self.server.script(
            faults.redirect(self.store.url('/a')),
            then=faults.status(404),
            path='/from',
        )
        outcome = self.assert_fails(errors.StatusError, url=self.url, then=())
        self.assertEqual(404, outcome.error.status)
        self.assertLessEqual(len(self.server.requests), 5)

    def test_expired_for_good(self) -> None:
        self.store.script((), (), (), then=faults.status(403), path='/a')
        outcome = self.assert_fails(errors.StatusError, url=self.url, then=())
        self.assertEqual(403, outcome.error.status)
        self.assertLessEqual(len(self.server.requests), 6)

    def test_other_places_hold_other_bytes(self) -> None:
        other = harmful.Pattern(LENGTH, seed=1)[0:LENGTH]
        for etag, checksum, kind in (
            ('"2"', None, errors.RepresentationChanged),
            # Which decides about all of it.
            ('"2"', self.checksum(), errors.DigestMismatch),
            ('"1"', self.checksum(), errors.DigestMismatch),
        ):
            self.store.representations['/b'] = harmful.Representation(
                other, etag=etag
            )
            self.lead('/a', '/b')
            script = BySegment({0: [()]}, then=self.once_in_use(403))
            self.store.script(then=script, path='/a')
            outcome = self.download(self.url, checksum=checksum)
            self.assertIsInstance(outcome.error, kind)

    def once_in_use(self, code: int) -> faults.Fault:
        """Answer with this status when the consumer has some bytes."""

        def refuse(handler: faults.Handler) -> faults.Handler:
            def handle(
                request: harmful.Request, image: harmful.Representation
            ) -> harmful.Reply:
                self._in_use.wait(20)
                return faults.status(code)(handler)(request, image)

            return handle

        return refuse

    def test_authorization_does_not_travel(self) -> None:
        login = logins.basic('user', 'secret')
        given = ('Authorization: ' + SECRET, 'Cookie: a=secret')
        for url, headers, asks in (
            (self.url.replace('://', '://user:secret@'), (), [login]),
            (self.url, given, []),
        ):
            self.store.requests.clear()
            self.server.requests.clear()
            place = faults.redirect(self.store.url('/a'))
            self.server.script(then=[place, *asks], path='/from')
            outcome = self.download(url, headers=headers, connections=4)
            self.assert_same(self.content, outcome.data)
            self.assertLess(0, len(self.store.requests))
            for request in self.store.requests:
                self.assertIsNone(request.field('Authorization'))
                self.assertIsNone(request.field('Cookie'))
            last = self.server.requests[-1]
            self.assertIsNotNone(last.field('Authorization'))

    def test_on_the_same_server_authorization_goes_along(self) -> None:
        self.server.script(then=faults.redirect('/image'), path='/from')
        self.assert_arrives(
            url=self.url, headers=('Authorization: ' + SECRET,), requests=11
        )
        for request in self.server.requests:
            self.assertEqual(SECRET, request.field('Authorization'))
