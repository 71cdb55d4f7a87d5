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

"""What a download tells about itself: counters and events."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses

from fuel_agent_curl import errors
from fuel_agent_curl import values


@dataclasses.dataclass
class MirrorStats:
    """Counters of one URL."""

    attempts: int = 0
    #: Body bytes that arrived, those skipped or thrown away included.
    received: int = 0
    failures: int = 0


@dataclasses.dataclass
class Stats:
    """Counters of one download; the network thread updates them."""

    #: HTTP requests, those of redirects not counted.
    attempts: int = 0
    #: Attempts whose answer continued where another had ended.
    resumes: int = 0
    #: Attempts ended because they were too slow.
    stalls: int = 0
    #: Body bytes that arrived, those skipped or thrown away included.
    received: int = 0
    #: From the start to the end, or to now.
    seconds: float = 0.0
    #: By redacted URL.
    mirrors: dict[str, MirrorStats] = dataclasses.field(default_factory=dict)
    #: The content coding that the bytes are stored in, as the server says;
    #: they are handed on as they are. None where it names none.
    coding: str | None = None


def together(all_of_them: Iterable[Stats]) -> Stats:
    """Return the counters of one download after the other."""
    found = Stats()
    for each in all_of_them:
        found.attempts += each.attempts
        found.resumes += each.resumes
        found.stalls += each.stalls
        found.received += each.received
        found.seconds += each.seconds
        found.coding = found.coding or each.coding
        # All at once: the network thread may be about to add one.
        for url, mirror in list(each.mirrors.items()):
            sums = found.mirrors.setdefault(url, MirrorStats())
            sums.attempts += mirror.attempts
            sums.received += mirror.received
            sums.failures += mirror.failures
    return found


@values.dataclass(frozen=True)
class Event:
    """Something that happened to a download.

    :ivar kind: 'started' (the first usable head is here), 'resumed' (at
        ``offset``), 'restarted' (from 0: there was no byte yet, or those that
        there were are of another representation), 'reread'
        (from 0, to be compared up to ``offset``), 'retry' (``error`` ended
        an attempt, the next starts in ``delay`` seconds), 'failover'
        (``error`` ended one, the next asks the mirror ``url`` at once),
        'continued' (what an earlier run has left, ``compared`` bytes of the
        image, was found to be right: the copy goes on at ``offset``) or
        'reused' (``compared`` bytes of the image were found on the target,
        and ``missing`` ones are fetched).
    :ivar url: redacted.
    :ivar offset: next byte of the representation.
    :ivar length: complete length in bytes, None where unknown.
    :ivar attempt: attempts in a row without progress, from 1.
    :ivar attempts: the limit of those; 0: none.
    :ivar compared: bytes, of 'continued' and 'reused' alone.
    :ivar saved: bytes of the representation that are not fetched again, of
        'continued' alone.
    :ivar missing: bytes, of 'reused' alone.
    """

    kind: str
    url: str
    offset: int
    length: int | None
    attempt: int
    attempts: int
    error: errors.Error | None = None
    delay: float = 0.0
    compared: int = 0
    saved: int = 0
    missing: int = 0
