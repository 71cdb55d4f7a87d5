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

"""Redirects: followed each time anew, and never to where they must not."""

from __future__ import annotations

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine


class TestRedirects(engine.EngineTestCase):
    def redirect(self, *locations: str | None, code: int = 302) -> str:
        """Make /0 lead to /1 and so on; return the URL of /0."""
        for number, location in enumerate(locations):
            self.server.script(
                then=faults.redirect(location, code), path='/%d' % number
            )
        return self.server.url('/0')

    def paths(self) -> list[str]:
        return [request.path for request in self.server.requests]

    def test_every_kind_is_followed(self) -> None:
        for code in (301, 302, 303, 307, 308):
            self.server.requests.clear()
            url = self.redirect('/image', code=code)
            self.assert_arrives(url=url, requests=2)

    def test_chain_is_followed(self) -> None:
        url = self.redirect('/1', self.server.url('/2'), '3', './image')
        self.assert_arrives(url=url)
        self.assertEqual(['/0', '/1', '/2', '/3', '/image'], self.paths())

    def test_retry_starts_at_the_original(self) -> None:
        url = self.redirect('/image')
        self.assert_arrives(faults.cut(9000), faults.status(503), url=url)
        self.assertEqual(['/0', '/image'] * 3, self.paths())
        self.assertEqual(
            ['bytes=9000-', '"1"'],
            [
                self.server.requests[-1].range,
                self.server.requests[-1].if_range,
            ],
        )

    def test_other_target_on_the_retry(self) -> None:
        other = self.start_server()
        self.server.script(
            faults.redirect(other.url()),
            then=faults.redirect('/image'),
            path='/0',
        )
        other.script(then=faults.reset(9000))
        self.assert_arrives(url=self.server.url('/0'))
        self.assertEqual(
            [
                None,
                None,
            ],
            other.ranges + self.server.ranges[:1],
        )
        self.assertEqual('bytes=9000-', self.server.ranges[-1])

    def test_loop(self) -> None:
        url = self.redirect('/1', '/0')
        self.assert_fails(errors.RedirectError, url=url)
        self.assertLessEqual(len(self.server.requests), 51)
        self.server.requests.clear()
        self.assert_fails(errors.RedirectError, url=self.redirect('/0'))

    def test_endless_chain(self) -> None:
        locations = ['/%d' % (number + 1) for number in range(60)]
        url = self.redirect(*locations)
        self.assert_fails(errors.RedirectError, url=url)
        self.assertLess(len(self.server.requests), 60)

    def test_without_location(self) -> None:
        for code in (301, 302, 303, 307, 308):
            self.server.requests.clear()
            url = self.redirect(None, code=code)
            self.assert_fails(errors.RedirectError, url=url, requests=1)

    def test_without_location_on_a_resume(self) -> None:
        self.assert_fails(
            errors.RedirectError,
            faults.cut(9000),
            faults.redirect(None),
            requests=2,
        )

    def test_empty_location(self) -> None:
        url = self.redirect('')
        outcome = self.download(url)
        self.assertIsInstance(outcome.error, errors.RedirectError)
        self.assertLessEqual(len(self.server.requests), 25)

    def test_to_another_scheme(self) -> None:
        for location in (
            'ftp://127.0.0.1/image',
            'file:///etc/hostname',
            'gopher://127.0.0.1/',
            'data:,hello',
            'FILE:///x',
            'mailto:a@example.com',
            'javascript:0',
            'dict://x/',
        ):
            self.server.requests.clear()
            url = self.redirect(location)
            self.assert_fails(errors.RedirectError, url=url, requests=1)

    def test_to_nonsense(self) -> None:
        for location in (
            'http://',
            'http://:80/',
            'http://127.0.0.1:99999/',
            'http://[::1/',
            'http:///x',
            'http://a b/',
            '//',
        ):
            self.server.requests.clear()
            url = self.redirect(location)
            self.server.script(path='//')
            outcome = self.download(url, attempts=2)
            self.assertIsInstance(outcome.error, errors.Error, location)
            self.assertNotIsInstance(
                outcome.error, errors.OptionError, location
            )

    def test_to_a_dead_host_is_tried_again_from_the_original(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        dead = 'http://127.0.0.1:%d/image' % port
        self.server.script(
            faults.redirect(dead),
            faults.redirect(dead),
            then=faults.redirect('/image'),
            path='/0',
        )
        outcome = self.assert_arrives(url=self.server.url('/0'), requests=4)
        self.assertEqual([errors.ConnectError] * 2, outcome.retries)

    def test_to_a_dead_host_for_good(self) -> None:
        port = self.useFixture(endpoints.ClosedPort()).port
        url = self.redirect('http://127.0.0.1:%d/image' % port)
        self.assert_gives_up(errors.ConnectError, url=url, requests=4)

    def test_to_a_silent_host(self) -> None:
        port = self.useFixture(endpoints.FullPort()).port
        url = self.redirect('http://127.0.0.1:%d/image' % port)
        self.assert_gives_up(
            errors.ConnectError,
            url=url,
            requests=2,
            attempts=2,
            connect_timeout=0.5,
        )

    def test_to_what_is_not_there(self) -> None:
        url = self.redirect('/missing')
        self.assert_fails(errors.StatusError, url=url, requests=2)

    def test_body_of_a_redirect_is_no_part_of_the_image(self) -> None:
        self.server.script(
            then=[faults.status(302, location='/image', body=b'moved' * 9999)],
            path='/0',
        )
        self.assert_arrives(url=self.server.url('/0'))

    def test_authorization_stays_with_the_host_it_is_for(self) -> None:
        other = self.start_server(host='127.0.0.2')
        url = self.redirect(other.url())
        url = url.replace('://', '://user:secret@')
        self.assertIsNone(
            self.download(
                url,
                headers=('Authorization: Bearer secret', 'Cookie: a=secret'),
            ).error
        )
        self.assertEqual(
            'Bearer secret', self.server.requests[0].field('Authorization')
        )
        self.assertIsNone(other.requests[0].field('Authorization'))
        self.assertIsNone(other.requests[0].field('Cookie'))

    def test_validator_of_the_redirect_is_not_that_of_the_image(self) -> None:
        self.server.script(
            then=[faults.redirect('/image'), faults.field('ETag', '"9"')],
            path='/0',
        )
        self.assert_arrives(
            faults.cut(9000),
            url=self.server.url('/0'),
            if_ranges=[None, None, '"1"', '"1"'],
        )
