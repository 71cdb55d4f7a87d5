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

"""Words for amounts of bytes, times and attempts, as a person reads them."""

from __future__ import annotations

import math

from fuel_agent_curl import errors

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB')


def brief(error: errors.Error) -> str:
    """Return what happened and at which byte, for a line with little room."""
    if error.offset is None:
        return error.message
    return '%s at byte %d' % (error.message, error.offset)


def count(attempt: int, attempts: int) -> str:
    """Return '3/31', or '3' where there is no limit."""
    return '%d/%d' % (attempt, attempts) if attempts else str(attempt)


def size(number: float) -> str:
    """Return '512 B', '1.5 KiB', '20.0 GiB'."""
    unit = 0
    # 1023.95 would be printed as 1024.0.
    while number >= (1023.95 if unit else 1023.5) and unit + 1 < len(_UNITS):
        number /= 1024
        unit += 1
    return '%.*f %s' % (1 if unit else 0, number, _UNITS[unit])


def clock(seconds: float) -> str:
    """Return '0:07', '12:34', '1:02:03', rounded up, or 'over 99 h'."""
    if seconds >= 99 * 3600:
        return 'over 99 h'
    whole = math.ceil(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return '%d:%02d:%02d' % (hours, minutes, rest)
    return '%d:%02d' % (minutes, rest)


def counted(number: int, what: str) -> str:
    """Return '1 request', '2 requests'."""
    return '%d %s%s' % (number, what, '' if number == 1 else 's')
