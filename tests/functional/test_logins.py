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
"""Names and passwords: by the way the server asks for, and to it alone."""

from __future__ import annotations

import os
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl import harmful
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine
from tests.support import logins

NAME, PASSWORD = 'us:er', 'p@ss/ wörd'
URL_LOGIN = 'us%3Aer:p%40ss%2F%20w%C3%B6rd@'
BASIC = logins.basic(NAME, PASSWORD)


class LoginTestCase(engine.EngineTestCase):
    def url_of(self, server: harmful.Server, path: str = '/image') -> str:
        """Return a URL with name and password."""
        return server.url(path).replace('://', '://' + URL_LOGIN)

    def sent(self, server: harmful.Server | None = None) -> list[str | None]:
        """Return the scheme by which each request had a login."""
        requests = (server or self.server).requests
        fields = [request.field('Authorization') for request in requests]
        return [field and field.partition(' ')[0] for field in fields]

    def netrc(self, *lines: str) -> str:
        path = os.path.join(self.directory, 'netrc')
        with open(path, 'w') as file:
            file.write('\n'.join(lines))
        return path


class TestBasic(LoginTestCase):
    def test_only_when_asked_for(self) -> None:
        self.assert_arrives(url=self.url_of(self.server), requests=1)
        self.assertEqual([None], self.sent())

    def test_asked_once(self) -> None:
        self.assert_arrives(
            [faults.cut(9000), BASIC],
            [faults.cut(9000), BASIC],
            then=[BASIC],
            url=self.url_of(self.server),
            ranges=[None, None, 9000],
        )
        self.assertEqual([None, 'Basic', 'Basic'], self.sent())

    def test_several_connections(self) -> None:
        self.name(content=self.content * 10)
        self.assert_arrives(
            then=[BASIC],
            url=self.url_of(self.server),
            connections=3,
            segment_size=65536,
            chunk_size=65536,
        )
        self.assertEqual(1, self.sent().count(None))

    def test_wrong_ones_fail_at_once(self) -> None:
        outcome = self.assert_fails(
            errors.StatusError,
            [BASIC],
            url=self.server.url().replace('://', '://x:y@'),
            requests=2,
        )
        self.assertEqual(401, outcome.error.status)
        self.assertIn('does not take the credentials', str(outcome.error))
        self.server.requests.clear()
        outcome = self.assert_fails(errors.StatusError, [BASIC], requests=1)
        self.assertIsNone(outcome.error.hint)
        outcome = self.assert_fails(
            errors.StatusError,
            [BASIC],
            headers=('Authorization: Bearer x',),
            requests=2,
        )
        self.assertIn('does not take the credentials', str(outcome.error))

    def test_a_denial_without_a_question(self) -> None:
        outcome = self.assert_fails(
            errors.StatusError,
            faults.status(404),
            url=self.url_of(self.server),
            requests=1,
        )
        self.assertIn('has not asked', str(outcome.error))

    def test_a_field_given_comes_first(self) -> None:
        self.assert_arrives(
            url=self.url_of(self.server),
            headers=('Authorization: Bearer x',),
            requests=1,
        )
        self.assertEqual(['Bearer'], self.sent())


class TestTLS(LoginTestCase):
    """By https they are sent unasked."""

    def setUp(self) -> None:
        super().setUp()
        authority = self.useFixture(endpoints.Authority(self.directory))
        self.server = self.start_server(tls=authority.context())
        self.how: dict[str, Any] = {
            'cacert': authority.path,
            'url': self.url_of(self.server),
        }

    def test_basic(self) -> None:
        self.assert_arrives(
            [faults.cut(9000), BASIC],
            then=[BASIC],
            ranges=[None, 9000],
            **self.how,
        )
        self.assertEqual(['Basic'] * 2, self.sent())

    def test_digest(self) -> None:
        self.assert_arrives(
            then=[logins.digest('us:er', PASSWORD, logins.BASIC)], **self.how
        )
        self.assertEqual(['Basic', None, 'Digest'], self.sent())


class TestDigest(LoginTestCase):
    def test_the_password_is_never_sent(self) -> None:
        login = logins.digest('user', PASSWORD, logins.BASIC)
        self.assert_arrives(
            *[[faults.cut(9000), login]] * 4,
            then=[login],
            user='user:' + PASSWORD,
        )
        self.assertNotIn('Basic', self.sent())
        self.assertEqual([None, 'Digest'] * 3, self.sent())
        # The range that is missing, each time.
        self.assertEqual(
            [None, None] + ['bytes=9000-'] * 2 + ['bytes=18000-'] * 2,
            self.server.ranges,
        )

    def test_several_connections(self) -> None:
        self.name(content=self.content * 10)
        self.assert_arrives(
            then=[logins.digest('user', PASSWORD)],
            user='user:' + PASSWORD,
            connections=3,
            segment_size=65536,
            chunk_size=65536,
        )


class TestWhere(LoginTestCase):
    def test_those_of_a_url_come_first(self) -> None:
        self.assert_arrives(
            then=[BASIC], url=self.url_of(self.server), user='other:x'
        )

    def test_setting(self) -> None:
        self.assert_arrives(
            then=[logins.basic('user', 'a:b')], user='user:a:b', requests=2
        )
        self.assert_arrives(then=[logins.basic('user', '')], user='user')

    def test_netrc(self) -> None:
        path = self.netrc(
            'machine elsewhere login a password b',
            'machine 127.0.0.1 login user password secret',
        )
        login = logins.basic('user', 'secret')
        self.assert_arrives(then=[login], netrc_file=path, requests=2)
        # What is not there is not asked for twice.
        path = self.netrc('machine elsewhere login a password b')
        self.assert_fails(
            errors.StatusError, [login], netrc_file=path, requests=3
        )

    def test_a_netrc_that_is_not_there(self) -> None:
        outcome = self.assert_fails(
            errors.OptionError, netrc_file='/no/such/file', requests=0
        )
        self.assertIn('/no/such/file', str(outcome.error))

    def test_not_at_another_origin(self) -> None:
        other = self.start_server(host='127.0.0.2')
        self.server.script(then=[faults.redirect(other.url()), BASIC])
        netrc = self.netrc('default login us:er password "%s"' % PASSWORD)
        for how in (
            {'url': self.url_of(self.server)},
            {'user': '%s:%s' % (NAME, PASSWORD)},
            {'netrc_file': netrc},
        ):
            other.requests.clear()
            for login in BASIC, logins.digest('user', PASSWORD):
                other.script(then=[login])
                outcome = self.download(**how)
                self.assertIsInstance(outcome.error, errors.StatusError)
            self.assertEqual({None}, set(self.sent(other)), str(how))

    def test_at_home_again(self) -> None:
        """There, back, and to a relative place."""
        other = self.start_server(host='127.0.0.2')
        self.server.script(then=[BASIC])
        for path, place in (
            ('/a', other.url('/b')),
            ('/c', '/image'),
        ):
            self.server.script(then=[faults.redirect(place), BASIC], path=path)
        other.script(then=faults.redirect(self.server.url('/c')), path='/b')
        outcome = self.download(self.url_of(self.server, '/a'))
        self.assert_same(self.content, outcome.data)
        self.assertEqual([None], self.sent(other))
        self.assertEqual('Basic', self.sent()[-1])
        self.assertEqual(1, self.sent().count(None))
