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

"""Status codes: permanent ones fail at once, the others are tried again."""

from __future__ import annotations

import time

from fuel_agent_curl import errors
from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful import messages
from tests.support import engine

DAY = 86400


class TestStatus(engine.EngineTestCase):
    def test_permanent_status_fails_after_one_request(self) -> None:
        for code in (
            400,
            401,
            402,
            403,
            404,
            405,
            406,
            407,
            409,
            410,
            411,
            412,
            413,
            414,
            415,
            417,
            418,
            421,
            422,
            423,
            424,
            426,
            428,
            431,
            451,
            499,
        ):
            self.server.requests.clear()
            outcome = self.assert_fails(
                errors.StatusError, faults.status(code), requests=1
            )
            self.assertEqual(code, outcome.error.status)

    def test_transient_status_is_asked_again(self) -> None:
        for code in (408, 425, 429, 500, 502, 503, 504):
            self.server.requests.clear()
            outcome = self.assert_arrives(faults.status(code), requests=2)
            self.assertEqual([errors.StatusError], outcome.retries)

    def test_transient_status_for_good_uses_up_the_attempts(self) -> None:
        for code in (408, 425, 429, 500, 502, 503, 504):
            self.server.requests.clear()
            self.assert_gives_up(
                errors.StatusError, faults.status(code), requests=4
            )

    def test_416_to_the_first_request_is_transient(self) -> None:
        self.assert_arrives(faults.status(416), requests=2)

    def test_unexpected_success_ends_at_once(self) -> None:
        for code in (201, 202, 203, 204, 205, 207, 226, 304, 501, 505):
            for connections in 1, 4:
                self.server.requests.clear()
                outcome = self.assert_fails(
                    errors.StatusError,
                    faults.status(code, body=b''),
                    requests=1,
                    connections=connections,
                )
                self.assertEqual(code, outcome.error.status)
                self.assertEqual(b'', outcome.data)

    def test_unexpected_success_with_the_bytes_is_no_success(self) -> None:
        for code in (201, 203, 226):
            self.server.requests.clear()
            outcome = self.assert_fails(
                errors.StatusError,
                faults.status(code, body=self.content),
                requests=1,
            )
            self.assertEqual(b'', outcome.data)

    def test_300_is_not_the_representation(self) -> None:
        for code in (300, 305, 306):
            self.server.requests.clear()
            self.assert_fails(
                errors.RedirectError,
                faults.status(code, body=b''),
                requests=1,
            )

    def test_unknown_status_of_known_class(self) -> None:
        self.assert_arrives(faults.status(599), requests=2)

    def test_error_page_never_gets_into_the_body(self) -> None:
        page = faults.status(503, body=b'<html>' * 10000)
        self.assert_arrives(page, faults.cut(9000), page, requests=4)

    def test_permanent_status_in_the_middle_fails_at_once(self) -> None:
        outcome = self.assert_fails(
            errors.StatusError,
            faults.cut(9000),
            faults.status(404),
            requests=2,
        )
        self.assertEqual(9000, outcome.error.offset)

    def test_transient_status_on_a_resume_keeps_the_offset(self) -> None:
        self.assert_arrives(
            faults.cut(9000),
            faults.status(503),
            faults.status(500),
            ranges=[None, 9000, 9000, 9000],
        )

    def test_error_body_that_stalls_is_not_waited_for(self) -> None:
        began = time.monotonic()
        self.assert_arrives(
            [faults.status(503, body=b'x' * 5000), faults.stall(100)],
            low_speed_time=20,
        )
        self.assertLess(time.monotonic() - began, 10)

    def test_head_method_is_never_used(self) -> None:
        self.assert_arrives(faults.cut(9000))
        self.assertEqual(
            {'GET'}, {request.method for request in self.server.requests}
        )

    def test_every_request_asks_for_the_bytes_as_they_are(self) -> None:
        self.assert_arrives(faults.cut(9000), user_agent='agent/1')
        for request in self.server.requests:
            self.assertEqual('identity', request.field('Accept-Encoding'))
            self.assertEqual('agent/1', request.field('User-Agent'))


class TestRetryAfter(engine.EngineTestCase):
    def _gap(self) -> float:
        first, second = self.server.requests[:2]
        return second.moment - first.moment

    def test_seconds_are_waited_even_above_backoff_max(self) -> None:
        self.assert_arrives(faults.status(503, retry_after=1), requests=2)
        self.assertGreaterEqual(self._gap(), 1.0)
        self.assertLess(self._gap(), 5.0)

    def test_date_is_waited_for(self) -> None:
        # Dates have no fractions: 2 s is one at least.
        date = messages.http_date(2)
        self.assert_arrives(faults.status(429, retry_after=date), requests=2)
        self.assertGreaterEqual(self._gap(), 0.8)
        self.assertLess(self._gap(), 6.0)

    def test_date_counts_from_the_servers_own_date(self) -> None:
        answer = [
            faults.status(503, retry_after='Sat, 01 Jan 2000 00:00:01 GMT'),
            faults.field('Date', 'Sat, 01 Jan 2000 00:00:00 GMT'),
        ]
        self.assert_arrives(answer, requests=2)
        self.assertGreaterEqual(self._gap(), 1.0)

    def test_on_a_resume_it_is_honoured_as_well(self) -> None:
        self.assert_arrives(
            faults.cut(300),
            faults.status(503, retry_after=1),
            ranges=[None, 300, 300],
        )
        _first, second, third = self.server.requests
        self.assertGreaterEqual(third.moment - second.moment, 1.0)

    def test_nothing_or_nonsense_means_the_usual_backoff(self) -> None:
        values = (
            '0',
            '',
            '-1',
            'soon',
            '1.5',
            '1,1',
            '١',
            'Thu, 99 Foo',
            messages.http_date(-DAY),
        )
        for value in values:
            self.server.requests.clear()
            answer = faults.status(
                503, retry_after=value.encode().decode('latin-1')
            )
            began = time.monotonic()
            self.assert_arrives(answer, requests=2)
            self.assertLess(time.monotonic() - began, 15, value)

    def test_a_day_is_an_error_now(self) -> None:
        for value in (DAY, messages.http_date(DAY), '9' * 30, '9' * 400):
            self.server.requests.clear()
            began = time.monotonic()
            self.assert_fails(
                errors.RetryAfterTooLong,
                faults.status(503, retry_after=value),
                requests=1,
            )
            self.assertLess(time.monotonic() - began, 15)

    def test_a_day_is_an_error_with_unlimited_attempts(self) -> None:
        self.assert_fails(
            errors.RetryAfterTooLong,
            faults.status(503, retry_after=DAY),
            requests=1,
            attempts=0,
        )

    def test_longer_than_the_deadline_is_an_error_now(self) -> None:
        began = time.monotonic()
        self.assert_fails(
            errors.RetryAfterTooLong,
            faults.status(503, retry_after=30),
            requests=1,
            deadline=20,
            backoff_max=60,
        )
        self.assertLess(time.monotonic() - began, 15)

    def test_of_a_permanent_status_it_means_nothing(self) -> None:
        self.assert_fails(
            errors.StatusError, faults.status(404, retry_after=1), requests=1
        )
