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
"""Ask a server for one byte, and tell what the answer shows."""

from __future__ import annotations

import datetime
import time

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.config import settings as settings_module
from fuel_agent_curl.engine import address
from fuel_agent_curl.engine import easy
from fuel_agent_curl.engine import multi
from fuel_agent_curl.engine import window
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import head as http
from fuel_agent_curl.rules import segments


@values.dataclass(frozen=True)
class Probe:
    """What one request for the first byte told about a server.

    :ivar effective_url: the address that answered, redacted.
    :ivar proxy: HOST:PORT of the proxy asked, None for none; the rest of the
        way to the server is as in ``easy.Way``.
    :ivar ranges: a range was served.
    :ivar validator: ETag or Last-Modified, None without either.
    :ivar strong: it may go into If-Range (RFC 9110 section 13.1.5).
    :ivar length: complete length in bytes, None where not stated.
    :ivar timings: seconds from the start until 'resolve', 'connect', 'tls',
        'first_byte' and 'total' were done; 0 for what was not needed.
    """

    url: str
    effective_url: str
    status: int
    http_version: str
    ip: str | None
    ranges: bool
    validator: str | None
    strong: bool
    length: int | None
    server: str | None
    timings: dict[str, float]
    proxy: str | None = None
    passed_by: str | None = None
    port: int | None = None
    tls: str | None = None
    issuer: str | None = None
    expires: str | None = None
    content_type: str | None = None


class _Glimpse:
    """Takes a head, and no more of the body than it has to."""

    def __init__(self) -> None:
        self.answer: http.Head | None = None
        self.received = 0
        self.cursor = window.Cursor()

    def head(self, head: http.Head) -> None:
        self.answer = head
        if head.status not in (200, 206):
            raise answer.status_error(
                head, datetime.datetime.now(datetime.UTC)
            )

    def write(self, piece: memoryview) -> bool:
        self.received += len(piece)
        return True


def probe(
    url: str,
    settings: settings_module.Settings | None = None,
    *,
    if_range: str | None = None,
) -> Probe:
    """Ask for the first byte, once, and return what the answer tells.

    :param if_range: validator to send in If-Range; None for none.
    :raises errors.Error: if there is no answer, or an error status.
    """
    settings = settings or settings_module.Settings()
    asked = address.read(url)
    glimpse = _Glimpse()
    loop = multi.Loop()
    try:
        attempt = easy.Attempt(
            asked,
            segments.Request(0, 1, ranged=True, if_range=if_range),
            settings,
            glimpse,
            loop.memory,
            detailed=True,
        )
        loop.add(attempt)
        until = time.monotonic() + (
            settings.deadline
            or settings.connect_timeout
            + settings.first_byte_timeout
            + settings.low_speed_time
        )
        # The head and one byte are enough: a server without ranges would
        # send the whole image.
        ended: tuple[int, str] | None = None
        while (
            ended is None and not glimpse.received and time.monotonic() < until
        ):
            for _attempt, code, text in loop.turn(0.25):
                ended = code, text
        error = attempt.result(*ended) if ended else None
        if glimpse.answer is None and error is None:
            error = errors.Stalled(
                'no answer in time',
                hint='if the server needs longer, raise first_byte_timeout',
            )
        if error is not None:
            error.url = errors.redact(url)
            raise attempt.explained(error)
        assert glimpse.answer is not None
        return _describe(url, glimpse.answer, attempt)
    finally:
        loop.close()


def _describe(url: str, head: http.Head, attempt: easy.Attempt) -> Probe:
    now = datetime.datetime.now(datetime.UTC)
    validator = http.validator(head, now)
    given = http.content_range(head)
    if head.status == 206:
        length = given.complete if given else None
    else:
        length = http.content_length(head)
    way = attempt.way()
    return Probe(
        url=errors.redact(url),
        effective_url=errors.redact(attempt.address.url),
        status=head.status,
        http_version=head.version,
        proxy=way.proxy,
        passed_by=way.passed_by,
        ip=way.ip,
        port=way.port,
        tls=way.tls,
        issuer=way.issuer,
        expires=way.expires,
        content_type=head.get('content-type'),
        ranges=head.status == 206 and given is not None,
        validator=validator.etag or validator.last_modified,
        strong=validator.strong is not None,
        length=length,
        server=head.get('server'),
        timings=attempt.timings(),
    )
