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

"""Errors and logs: where it happened, and never a credential."""

from __future__ import annotations

from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from tests.support import endpoints
from tests.support import engine
from tests.support import logins

SECRET = 'Pa55word'
HOW: dict[str, Any] = {'headers': ('X-Auth-Token: ' + SECRET,)}


class TestSecrets(engine.EngineTestCase):
    def secret_url(self, path: str = '/image') -> str:
        url = self.server.url(path).replace('://', '://user:%s@' % SECRET)
        return url + '?X-Amz-Signature=' + SECRET

    def assert_silent(self, outcome: engine.Outcome) -> None:
        """Neither the error nor the log has the secret."""
        self.assertNotIn(SECRET, self.log.output)
        texts = [repr(event) for event in outcome.events]
        texts += [repr(outcome.stats), str(outcome.stats)]
        error: BaseException | None = outcome.error
        while error is not None:
            texts += [str(error), repr(error), repr(vars(error))]
            error = error.__cause__ or error.__context__
        for text in texts:
            self.assertNotIn(SECRET, text)

    def test_credentials_are_sent(self) -> None:
        login = logins.basic('user', SECRET)
        self.server.script(then=[login])
        outcome = self.download(self.secret_url(), **HOW)
        self.assert_same(self.content, outcome.data)
        first, *others = self.server.requests
        self.assertIsNone(first.field('Authorization'))
        self.assertEqual(1, len(others))
        for request in others:
            self.assertIn('Basic', request.field('Authorization') or '')
            self.assertEqual(SECRET, request.field('X-Auth-Token'))
            self.assertIn(SECRET, request.target)
        self.assert_silent(outcome)

    def test_no_error_names_them(self) -> None:
        closed = self.useFixture(endpoints.ClosedPort()).port
        for harm in (
            faults.status(404),
            faults.status(503),
            faults.status(503, retry_after=86400),
            faults.redirect(None),
            faults.redirect('ftp://user:%s@127.0.0.1/?%s' % (SECRET, SECRET)),
            faults.redirect(
                'http://user:%s@127.0.0.1:%d/?s=%s' % (SECRET, closed, SECRET)
            ),
            faults.redirect('http://u:%s@a b/?s=%s' % (SECRET, SECRET)),
            faults.redirect('http://u:%s@[::1/?s=%s' % (SECRET, SECRET)),
            faults.redirect(
                'http://u:%s@%s/?s=%s' % (SECRET, engine.NO_HOST, SECRET)
            ),
            faults.redirect('http:?' + SECRET),
            faults.redirect('/image?s=' + SECRET),
            faults.head(b'garbage\r\n\r\n'),
            faults.cut(0, in_head=True),
            faults.stall(0),
            faults.field('Content-Length', 'x'),
            faults.field('Content-Encoding', 'gzip'),
            faults.force_range('bytes=5-'),
        ):
            self.server.script(then=harm)
            outcome = self.download(
                self.secret_url(), attempts=2, low_speed_time=0.2, **HOW
            )
            if outcome.error is None:
                self.assert_same(self.content, outcome.data)
            self.assert_silent(outcome)

    def test_urls_that_are_refused(self) -> None:
        for url in (
            'ftp://user:%s@127.0.0.1/?s=%s',
            'http://user:%s@127.0.0.1:99999/?s=%s',
            'http://user:%s@[::1/?s=%s',
            'http://user:%s@/?s=%s',
            'http://user:%s@a b/?s=%s',
            'user:%s@127.0.0.1?%s',
            'http://user:%s@h/\r\n?%s',
            'http:/user:%s@127.0.0.1/?%s',
        ):
            outcome = self.download(url % (SECRET, SECRET))
            self.assertIsInstance(outcome.error, errors.OptionError, url)
            self.assert_silent(outcome)

    def test_proxys_password(self) -> None:
        closed = self.useFixture(endpoints.ClosedPort()).port
        for proxy in (
            'http://user:%s@127.0.0.1:%d' % (SECRET, closed),
            'http://user:%s@%s:3128' % (SECRET, engine.NO_HOST),
            'nonsense://user:%s@127.0.0.1' % SECRET,
            'http://user:%s@[::1:8' % SECRET,
        ):
            outcome = self.download(proxy=proxy, attempts=2)
            self.assertIsInstance(outcome.error, errors.Error)
            self.assert_silent(outcome)

    def test_download_tells_its_url_without_them(self) -> None:
        with self.fetch(self.secret_url(), **HOW) as download:
            self.assertNotIn(SECRET, repr(download) + download.url)
            self.assertIn('/image', download.url)
            list(download)
            self.assertNotIn(SECRET, repr(download.stats))


class TestErrors(engine.EngineTestCase):
    def test_offset_and_attempt_are_named(self) -> None:
        outcome = self.assert_gives_up(
            errors.StatusError, faults.cut(9000), faults.status(503)
        )
        error = outcome.error
        self.assertEqual(
            (9000, 4, 4), (error.offset, error.attempt, error.attempts)
        )
        self.assertIn('at byte 9000', str(error))
        self.assertIn('attempt 4 of 4', str(error))
        self.assertIn(self.server.url(), str(error))
        self.assertIn('503', str(error))

    def test_unlimited_attempts_are_named_so(self) -> None:
        outcome = self.assert_fails(
            errors.StatusError,
            faults.cut(9000),
            faults.status(404),
            attempts=0,
        )
        self.assertEqual(
            (9000, 1, 0),
            (
                outcome.error.offset,
                outcome.error.attempt,
                outcome.error.attempts,
            ),
        )

    def test_server_cannot_forge_lines(self) -> None:
        text = b'HTTP/1.1 404 No\x1b[2J\x07\x9b such\rthing\x00\r\n\r\n'
        self.server.script(then=faults.head(text))
        outcome = self.download(attempts=1)
        message = str(outcome.error)
        self.assertTrue(message.isprintable(), ascii(message))
        self.assertTrue(
            all(line.isprintable() for line in self.log.output.split('\n'))
        )

    def test_events_tell_the_story(self) -> None:
        outcome = self.assert_arrives(
            faults.cut(9000), faults.status(503), faults.stall(0, in_head=True)
        )
        kinds = [event.kind for event in outcome.events]
        self.assertEqual(
            ['started', 'retry', 'retry', 'retry', 'resumed'], kinds
        )
        retries = [event for event in outcome.events if event.kind == 'retry']
        self.assertEqual([9000] * 3, [event.offset for event in retries])
        self.assertEqual([1, 1, 2], [event.attempt for event in retries])
        self.assertEqual(0.0, retries[0].delay)
        self.assertEqual(
            {engine.LENGTH}, {event.length for event in outcome.events}
        )
