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

"""Whether another attempt is any use, and when: one table, one arithmetic.

Rules only: time, randomness and the error come in, a decision or a delay
goes out. Of mirrors it knows nothing, that is ``recovery``.
"""

from __future__ import annotations

from collections.abc import Callable
import math

from fuel_agent_curl import errors
from fuel_agent_curl.config import settings as settings_module

# Retry-After where the number of attempts has no limit: an hour.
_RETRY_AFTER_MAX = 3600.0

# A delay is not made shorter than this to fit in before the deadline.
_LAST_DELAY = 1.0

# The statuses below 500 that another answer could mend: a timeout, a range
# that was refused, a replay guard, and too many requests. A 204 or a 304 is
# how the server is set up.
_TRANSIENT = frozenset((408, 416, 425, 429))
# Those above that none will: not implemented, and no such version of HTTP
# (RFC 9110 sections 15.6.2 and 15.6.6).
_PERMANENT = frozenset((501, 505))


# What asking again is no use for; all else of these two kinds may be mended.
_LASTING = (
    errors.RetryAfterTooLong,
    errors.CertificateError,
    errors.ContentCodingError,
)
_TRANSIENT_KINDS = (errors.NetworkError, errors.ProtocolError)


def is_permanent(error: errors.Error) -> bool:
    """Tell whether no other answer of the same server could mend it.

    A RepresentationChanged is; how often it has to be said before it is
    believed is for ``recovery`` to say.
    """
    if isinstance(error, _LASTING):
        return True
    if isinstance(error, errors.StatusError):
        if error.status in _PERMANENT:
            return True
        return error.status < 500 and error.status not in _TRANSIENT
    return not isinstance(error, _TRANSIENT_KINDS)


def too_late(last: errors.Error | None) -> errors.DeadlineExceeded:
    """Return the error for a deadline that has passed.

    :param last: what ended the last attempt, None where none has failed.
    """
    # Not which: some of it may have gone by before this download began.
    text = 'the deadline has passed'
    if last is not None:
        text += '; the last error was: ' + last.message
    error = errors.DeadlineExceeded(text)
    error.__cause__ = last
    return error


def longest_wait(settings: settings_module.Settings, left: float) -> float:
    """Return the longest Retry-After that is waited for, in seconds.

    :param left: seconds until the deadline, infinite without one.
    """
    most = _RETRY_AFTER_MAX
    if settings.attempts:
        most = settings.attempts * max(settings.backoff_max, 1.0)
    return min(most, left)


class Series:
    """The attempts in a row that brought no progress.

    :ivar number: the attempt under way in this series, from 1.
    :param random: returns a number from 0 up to 1; jitter keeps a fleet
        from coming back in step.
    """

    def __init__(
        self,
        settings: settings_module.Settings,
        random: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._random = random
        self.number = 1

    def delay(
        self, error: errors.Error, progressed: bool, left: float
    ) -> float:
        """Return the seconds to wait before the next attempt, and count it.

        :param progressed: the attempt brought enough new bytes for the count
            to start again, and for the next one to follow at once.
        :param left: seconds until the deadline, infinite without one.
        :raises errors.AttemptsExhausted: if there is no next attempt.
        :raises errors.DeadlineExceeded: if there is no time for one.
        :raises errors.RetryAfterTooLong: if the server asks for too long a
            wait.
        """
        limit = self._settings.attempts
        if progressed:
            self.number = 0
        elif limit and self.number >= limit:
            raise errors.AttemptsExhausted(
                'gave up after %d attempt%s without progress: %s'
                % (limit, '' if limit == 1 else 's', error.message),
                hint=error.hint,
            ) from error
        if left <= 0:
            raise too_late(error)
        delay = 0.0
        if not progressed:
            delay = self._backoff() * (0.5 + 0.5 * self._random())
            # Come back before the deadline rather than at it.
            delay = min(delay, max(left / 2, _LAST_DELAY))
        asked = getattr(error, 'retry_after', None)
        if asked:
            # A minimum (RFC 9110 section 10.2.3): to come back each second
            # would use the attempts up before a long repair is done.
            delay = max(delay, self._as_asked(error, asked, left))
        self.number += 1
        return delay

    def _backoff(self) -> float:
        most = self._settings.backoff_max
        # 2.0**1024 overflows; by then the maximum has long been reached.
        doublings = min(self.number - 1, 64)
        return min(most, self._settings.backoff * 2.0**doublings)

    def _as_asked(
        self, error: errors.Error, asked: float, left: float
    ) -> float:
        most = longest_wait(self._settings, left)
        if asked > most:
            too_long = errors.RetryAfterTooLong(
                '%s and asks to wait %d s, longer than the %d s allowed'
                % (error.message, asked, math.floor(most)),
                hint='try again later',
            )
            too_long.status = getattr(error, 'status', 0)
            too_long.retry_after = asked
            raise too_long from error
        # Never earlier than asked; a little later, so that a fleet told the
        # same time does not come back in the same instant.
        spread = min(asked / 10, max(self._settings.backoff, 0.1))
        return min(asked + spread * self._random(), max(asked, left))
