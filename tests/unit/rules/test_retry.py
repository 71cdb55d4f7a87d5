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

"""Tests of guarantee 5: which error is permanent, and how long to wait."""

from __future__ import annotations

from collections.abc import Iterator
import math
from typing import Any

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings
from fuel_agent_curl.rules import retry
from tests import base

TRANSIENT = False
PERMANENT = True


def with_status(
    status: int, retry_after: float | None = None
) -> errors.StatusError:
    error = errors.StatusError('the server answered %d' % status)
    error.status = status
    error.retry_after = retry_after
    return error


def series(random: float = 1.0, **values: Any) -> retry.Series:
    """Return a series in which every random number is the same."""
    return retry.Series(settings.Settings(**values), lambda: random)


LOST = errors.ReceiveError('connection reset', hint='look at the cable')


class TestIsPermanent(base.TestCase):
    def test_each_class(self) -> None:
        decisions = {
            'Error': PERMANENT,
            'OptionError': PERMANENT,
            'NetworkError': TRANSIENT,
            'ResolveError': TRANSIENT,
            'ConnectError': TRANSIENT,
            'TLSError': TRANSIENT,
            'CertificateError': PERMANENT,
            'ReceiveError': TRANSIENT,
            'Stalled': TRANSIENT,
            'RetryAfterTooLong': PERMANENT,
            'RedirectError': PERMANENT,
            # StatusError goes by its status; see below.
            'ProtocolError': TRANSIENT,
            'ContentRangeError': TRANSIENT,
            'ContentLengthError': TRANSIENT,
            'PieceMismatch': TRANSIENT,
            'RepresentationChanged': PERMANENT,
            'DeadlineExceeded': PERMANENT,
            'AttemptsExhausted': PERMANENT,
        }

        def tree(kind: type[errors.Error]) -> Iterator[type[errors.Error]]:
            yield kind
            for child in kind.__subclasses__():
                if child.__module__ == errors.__name__:
                    yield from tree(child)

        for kind in tree(errors.Error):
            # What the stages and the sink report is never the network's.
            expected = decisions.get(kind.__name__, PERMANENT)
            self.assertIs(
                expected, retry.is_permanent(kind('x')), kind.__name__
            )

    def test_permanent_statuses(self) -> None:
        transient = 408, 416, 425, 429
        for status in range(400, 500):
            expected = TRANSIENT if status in transient else PERMANENT
            self.assertIs(
                expected, retry.is_permanent(with_status(status)), str(status)
            )

    def test_transient_statuses(self) -> None:
        for status in (
            *(500, 502, 503, 504),
            # Nothing that must not be; another answer could mend it.
            *(507, 511, 520, 529, 599, 600, 999),
        ):
            self.assertIs(TRANSIENT, retry.is_permanent(with_status(status)))

    def test_statuses_that_are_how_the_server_is_set_up(self) -> None:
        for status in (*range(201, 227), *range(300, 400), 501, 505):
            self.assertIs(PERMANENT, retry.is_permanent(with_status(status)))

    def test_too_long_a_wait_is_permanent_whatever_the_status(self) -> None:
        for status in 0, 429, 503:
            error = errors.RetryAfterTooLong('busy')
            error.status = status
            self.assertIs(PERMANENT, retry.is_permanent(error))


class SeriesTestCase(base.TestCase):
    def delays(
        self,
        made: retry.Series,
        *progress: bool,
        error: errors.Error = LOST,
        left: float = math.inf,
    ) -> list[float]:
        """Return the delay after each failed attempt, until none is left."""
        found = []
        for progressed in progress:
            try:
                found.append(made.delay(error, progressed, left))
            except errors.AttemptsExhausted:
                break
        return found


class TestAttempts(SeriesTestCase):
    def test_no_more_in_a_row_than_the_limit(self) -> None:
        for limit in 1, 2, 3, 31:
            made = series(attempts=limit)
            # The first attempt was made before any delay.
            self.assertEqual(limit - 1, len(self.delays(made, *[False] * 100)))

    def test_the_last_error_is_the_cause(self) -> None:
        made = series(attempts=1)
        error = self.assertRaises(
            errors.AttemptsExhausted, made.delay, LOST, False, math.inf
        )
        self.assertIs(LOST, error.__cause__)
        self.assertIn('after 1 attempt without', str(error))
        self.assertIn('connection reset', str(error))
        self.assertEqual('look at the cable', error.hint)

    def test_no_limit(self) -> None:
        made = series(attempts=0)
        self.assertEqual(5000, len(self.delays(made, *[False] * 5000)))
        self.assertEqual(5001, made.number)

    def test_each_attempt_has_its_number(self) -> None:
        made = series(attempts=4)
        numbers = [made.number]
        for progressed in False, False, True, False, False, False:
            made.delay(LOST, progressed, math.inf)
            numbers.append(made.number)
        self.assertEqual([1, 2, 3, 1, 2, 3, 4], numbers)

    def test_the_count_starts_again_after_progress(self) -> None:
        made = series(attempts=3)
        for _round in range(50):
            self.assertEqual(3, len(self.delays(made, False, False, True)))
        self.assertEqual(2, len(self.delays(made, False, False, False)))

    def test_progress_in_the_last_attempt_counts(self) -> None:
        for limit in 1, 2:
            made = series(attempts=limit)
            self.delays(made, *[False] * (limit - 1))
            self.assertEqual(limit, made.number)
            self.assertEqual([0.0], self.delays(made, True))
            self.assertEqual(limit - 1, len(self.delays(made, *[False] * 9)))


class TestBackoff(SeriesTestCase):
    def test_doubles_up_to_the_most(self) -> None:
        made = series(backoff=2, backoff_max=60)
        self.assertEqual(
            [2, 4, 8, 16, 32, 60, 60, 60], self.delays(made, *[False] * 8)
        )

    def test_is_never_more_than_the_most(self) -> None:
        for backoff, most, expected in (
            (10, 5, [5, 5]),
            (0, 60, [0, 0]),
            (2, 0, [0, 0]),
            (0.25, 0.3, [0.25, 0.3]),
        ):
            made = series(backoff=backoff, backoff_max=most)
            self.assertEqual(expected, self.delays(made, False, False))

    def test_jitter_takes_up_to_half_of_it(self) -> None:
        for random, expected in (
            (0.0, [1, 2, 4]),
            (0.5, [1.5, 3, 6]),
            (0.9999, [1.9999, 3.9998, 7.9996]),
        ):
            made = series(random, backoff=2)
            found = self.delays(made, False, False, False)
            for number, delay in zip(expected, found, strict=True):
                self.assertAlmostEqual(number, delay)

    def test_each_delay_has_a_jitter_of_its_own(self) -> None:
        numbers = iter([0.0, 1.0, 0.0])
        made = retry.Series(
            settings.Settings(backoff=2), lambda: next(numbers)
        )
        self.assertEqual([1, 4, 4], self.delays(made, False, False, False))

    def test_the_first_retry_after_progress_is_immediate(self) -> None:
        made = series(backoff=2)
        self.assertEqual(
            [2, 4, 0, 2, 4, 0, 0, 2],
            self.delays(
                made, False, False, True, False, False, True, True, False
            ),
        )

    def test_a_long_series_does_not_overflow(self) -> None:
        made = series(attempts=0, backoff=86400, backoff_max=86400)
        self.assertEqual({86400.0}, set(self.delays(made, *[False] * 2000)))


class TestRetryAfter(SeriesTestCase):
    def delay(
        self,
        asked: float | None,
        *,
        progressed: bool = False,
        left: float = math.inf,
        random: float = 0.0,
        **values: Any,
    ) -> float:
        made = series(random, **values)
        return made.delay(with_status(503, asked), progressed, left)

    def test_is_a_minimum_beside_the_backoff(self) -> None:
        for asked, expected in (0.5, 15), (1, 15), (16, 16), (120, 120):
            self.assertEqual(expected, self.delay(asked, backoff=30))

    def test_without_one_it_is_the_backoff(self) -> None:
        for asked in None, 0.0:
            self.assertEqual(15, self.delay(asked, backoff=30))
            self.assertEqual(0, self.delay(asked, progressed=True))

    def test_counts_above_backoff_max(self) -> None:
        self.assertEqual(
            300, self.delay(300, backoff=1, backoff_max=10, attempts=31)
        )

    def test_counts_after_progress(self) -> None:
        self.assertEqual(7, self.delay(7, progressed=True))

    def test_is_never_shortened_by_jitter(self) -> None:
        """A fleet told the same time does not come back in an instant."""
        for random, expected in ((0.0, 100), (0.5, 105), (1.0, 110)):
            self.assertEqual(
                expected, self.delay(100, random=random, backoff=50)
            )
        # The spread is no more than the backoff, but a little it is.
        self.assertEqual(102, self.delay(100, random=1.0, backoff=2))
        self.assertEqual(100.1, self.delay(100, random=1.0, backoff=0))

    def test_is_counted_as_an_attempt(self) -> None:
        made = series(attempts=3)
        self.assertEqual(
            2,
            len(self.delays(made, *[False] * 9, error=with_status(503, 5))),
        )

    def assertTooLong(self, asked: float, **how: Any) -> None:
        error = self.assertRaises(
            errors.RetryAfterTooLong, self.delay, asked, **how
        )
        self.assertEqual((503, asked), (error.status, error.retry_after))
        self.assertIsInstance(error.__cause__, errors.StatusError)
        self.assertIn('503', str(error))

    def test_longer_than_all_attempts_is_an_error(self) -> None:
        for attempts, most, limit in (
            (31, 60, 1860),
            (2, 10, 20),
            (5, 0.5, 5),
            (5, 0, 5),
        ):
            how: Any = {'attempts': attempts, 'backoff_max': most}
            self.assertEqual(limit, self.delay(limit, **how))
            self.assertTooLong(limit + 1, **how)
            self.assertTooLong(86400, **how)

    def test_longer_than_an_hour_is_an_error_without_a_limit(self) -> None:
        self.assertEqual(3600, self.delay(3600, attempts=0))
        self.assertTooLong(3601, attempts=0)
        self.assertTooLong(10.0**18, attempts=0)

    def test_longer_than_what_is_left_is_an_error(self) -> None:
        for attempts in 0, 31:
            self.assertEqual(30, self.delay(30, left=30, attempts=attempts))
            self.assertTooLong(31, left=30, attempts=attempts)
            self.assertTooLong(31, left=30, progressed=True)

    def test_the_spread_does_not_pass_the_deadline(self) -> None:
        self.assertEqual(30, self.delay(30, left=30, random=1.0, backoff=60))
        self.assertEqual(32, self.delay(30, left=32, random=1.0, backoff=60))


class TestDeadline(SeriesTestCase):
    def test_none_left(self) -> None:
        for left in 0.0, -1.0, -math.inf:
            for progressed in False, True:
                made = series(deadline=60)
                error = self.assertRaises(
                    errors.DeadlineExceeded, made.delay, LOST, progressed, left
                )
                self.assertIs(LOST, error.__cause__)
                self.assertIn('the deadline has passed', str(error))
                self.assertIn('connection reset', str(error))

    def test_the_last_attempt_is_before_it(self) -> None:
        # But not many in the last second.
        for left, expected in ((100, 8), (16, 8), (10, 5), (1, 1)):
            made = series(backoff=8)
            self.assertEqual([expected], self.delays(made, False, left=left))

    def test_after_progress_there_is_no_wait(self) -> None:
        self.assertEqual([0.0], self.delays(series(), True, left=0.1))
