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

"""Segments: which bytes of the representation one transfer delivers.

Positions are half-open, ``start`` to ``stop``, everywhere but on the wire;
the inclusive form of RFC 9110 section 14.1.2 is made here only.
"""

from __future__ import annotations

from fuel_agent_curl import values


@values.dataclass(frozen=True)
class Segment:
    """The bytes from ``start`` up to ``stop``, None for the end."""

    start: int = 0
    stop: int | None = None


@values.dataclass(frozen=True)
class Request:
    """What one attempt asks for.

    :ivar start: first byte wanted.
    :ivar stop: byte to stop before; None for the end.
    :ivar ranged: send a Range; without it the whole representation is asked
        for, and ``start`` is 0.
    :ivar if_range: validator to send in If-Range; None for none.
    """

    start: int = 0
    stop: int | None = None
    ranged: bool = False
    if_range: str | None = None


def range_text(start: int, stop: int | None) -> str:
    """Return the ranges-specifier for half-open positions."""
    if stop is None:
        return 'bytes=%d-' % start
    return 'bytes=%d-%d' % (start, stop - 1)
