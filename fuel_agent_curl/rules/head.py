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

"""The head of a response: status line and fields, read strictly.

Rules only: no I/O, no clock. What libcurl lets pass (conflicting lengths,
a Content-Range with another total) is looked at here before a body byte is
used.
"""

from __future__ import annotations

from collections.abc import Iterable
import datetime
import functools
import re

from fuel_agent_curl import errors
from fuel_agent_curl import values

# RFC 9110 section 14.4, with the unit in any case; 19 digits are enough for
# any file offset here, and int() refuses some thousands of them.
_CONTENT_RANGE = re.compile(
    r'bytes[ \t]+(?:(\d{1,19})-(\d{1,19})|(\*))/(?:(\d{1,19})|(\*))',
    re.IGNORECASE | re.ASCII,
)
# RFC 9112 section 4; HTTP/2 and HTTP/3 heads come from libcurl in this form.
_STATUS_LINE = re.compile(rb'HTTP/(\d(?:\.\d)?)[ \t]+(\d{3})(?:[ \t]+(.*))?')
# RFC 9110 section 8.8.3, but for one that says nothing.
_ETAG = re.compile(r'(W/)?"[\x21\x23-\x7e\x80-\xff]+"')
# What may be sent back in If-Range; http_date accepts more.
_PRINTABLE = re.compile(r'[\x20-\x7e]+')

# RFC 9110 section 5.6.7: what is sent. The other forms are obsolete.
_MONTHS = (
    *('Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun'),
    *('Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'),
)
_IMF_FIXDATE = re.compile(
    r'(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) (%s) ([0-9]{4})'
    ' ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT' % '|'.join(_MONTHS)
)

# RFC 9110 section 8.8.2.2: a Last-Modified is a strong validator only where
# the Date of the same answer is enough later that no second change can hide
# behind the same time. The RFC leaves the margin to us; 60 s is that of its
# predecessor, RFC 7232 section 2.2.2.
_STRONG_DATE_MARGIN = 60
# Without a Date the time received stands in for it (section 6.6.1); the clock
# of a machine being provisioned may be wrong.
_OWN_CLOCK_MARGIN = 86400

_NO_CODINGS = ('', 'identity', 'aws-chunked')

# The largest length that any file offset here can hold.
_LENGTH_MAX = 2**63 - 1


@values.dataclass(frozen=True)
class Head:
    """Status and fields of one response; field names are in lower case."""

    status: int
    version: str = '1.1'
    reason: str = ''
    fields: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        # HTTP/2 has no reason, and HTTP/1.1 may leave it out.
        return ('%d %s' % (self.status, self.reason)).rstrip()

    def values(self, name: str) -> list[str]:
        """Return every value of the field, in the order sent."""
        return [value for field, value in self.fields if field == name]

    def get(self, name: str) -> str | None:
        """Return the field's value, None without such a field.

        A field given several times is one list (RFC 9110 section 5.3).
        """
        values = self.values(name)
        return ', '.join(values) if values else None


def parse(lines: Iterable[bytes]) -> Head:
    """Make a Head of a status line and the field lines after it.

    :raises errors.ProtocolError: if the first is not a status line.
    """
    lines = iter(lines)
    first = next(lines, b'').rstrip(b'\r\n')
    match = _STATUS_LINE.fullmatch(first)
    if not match:
        raise errors.ProtocolError(
            'not an HTTP status line: %r' % _text(first[:80])
        )
    fields: list[tuple[str, str]] = []
    for line in lines:
        text = _text(line.rstrip(b'\r\n'))
        if text[:1] in (' ', '\t') and fields:
            # A folded line (RFC 9112 section 5.2) continues the one before.
            name, value = fields[-1]
            fields[-1] = (name, value + ' ' + text.strip())
            continue
        name, colon, value = text.partition(':')
        if colon:
            fields.append((name.lower(), value.strip(' \t')))
    version, status, reason = match.groups()
    return Head(
        int(status), _text(version), _text(reason or b''), tuple(fields)
    )


def _text(octets: bytes) -> str:
    # RFC 9110 section 5.5: octets above 0x7f are opaque; latin-1 keeps them.
    return octets.decode('latin-1')


@values.dataclass(frozen=True)
class ContentRange:
    """Half-open byte positions of a 206, or of a 416 with no range.

    ``start`` and ``stop`` are None in the form ``*/N``; ``complete`` is None
    in the form ``a-b/*``.
    """

    start: int | None
    stop: int | None
    complete: int | None


def content_range(head: Head) -> ContentRange | None:
    """Return the Content-Range, None if it is missing or makes no sense."""
    values = set(head.values('content-range'))
    if len(values) != 1:
        return None
    match = _CONTENT_RANGE.fullmatch(values.pop())
    if not match:
        return None
    first, last, unsatisfied, complete, _any = match.groups()
    length = None if complete is None else int(complete)
    if unsatisfied:
        return None if length is None else ContentRange(None, None, length)
    start, stop = int(first), int(last) + 1
    if start >= stop or (length is not None and stop > length):
        return None
    return ContentRange(start, stop, length)


def content_length(head: Head) -> int | None:
    """Return the body's length, None where none is stated.

    RFC 9110 section 8.6 allows the same value several times; RFC 9112
    section 6.3: with Transfer-Encoding it does not count.

    :raises errors.ContentLengthError: if malformed or conflicting.
    :raises errors.ProtocolError: for a transfer coding other than chunked.
    """
    values = {
        value.strip()
        for field in head.values('content-length')
        for value in field.split(',')
    }
    if not values or _transfer_coded(head):
        return None
    if len(values) > 1:
        raise errors.ContentLengthError(
            'conflicting Content-Length: ' + ', '.join(sorted(values))[:80]
        )
    value = values.pop()
    if not re.fullmatch('[0-9]{1,19}', value) or int(value) > _LENGTH_MAX:
        raise errors.ContentLengthError(
            'malformed Content-Length: %r' % value[:80]
        )
    return int(value)


def proves_end(head: Head) -> bool:
    """Tell whether the body's end shows: a body cut short is told from it.

    RFC 9112 section 6.3: a length or the chunked coding; where there is
    neither, the body ends with the connection, whatever that ends by. The
    frames of HTTP/2 and HTTP/3 mark their last one.

    :raises errors.ProtocolError: as ``content_length`` does.
    """
    return (
        head.version not in ('1.0', '1.1')
        or content_length(head) is not None
        or _transfer_coded(head)
    )


def _transfer_coded(head: Head) -> bool:
    """Tell whether the body is chunked.

    A transfer coding that is empty, or the identity of old, ends nothing:
    a Content-Length beside it counts, or a body cut short would pass.
    """
    codings = {
        value.strip().lower()
        for field in head.values('transfer-encoding')
        for value in field.split(',')
    } - {'', 'identity'}
    if codings - {'chunked'}:
        raise errors.ProtocolError(
            'the server applied the transfer coding %s, which nobody asked '
            'for' % ', '.join(sorted(codings))[:80]
        )
    return bool(codings)


def content_coding(head: Head) -> str | None:
    """Return the content coding, None for the identity.

    aws-chunked is how an object came to the store that sends it, a framing
    that it takes off (Amazon S3, Signature Version 4); some keep the word.
    """
    codings = [
        value.strip().lower()
        for field in head.values('content-encoding')
        for value in field.split(',')
    ]
    applied = [coding for coding in codings if coding not in _NO_CODINGS]
    return ', '.join(applied) or None


@values.dataclass(frozen=True)
class Validator:
    """What tells one representation from the next (RFC 9110 section 8.8)."""

    etag: str | None = None
    last_modified: str | None = None
    #: Last-Modified is old enough to be strong.
    settled: bool = False

    @property
    def strong(self) -> str | None:
        """The value that may go into If-Range, None if there is none.

        RFC 9110 section 13.1.5: no weak entity tag, and no date where there
        is an entity tag, weak or strong. What has no quotes, or blanks in
        them, is none: a server that does not understand it must not be asked
        to compare it, and the date beside it counts.
        """
        tag = _ETAG.fullmatch(self.etag or '')
        if tag:
            return None if tag[1] else self.etag
        return self.last_modified if self.settled else None

    def same(self, other: Validator) -> bool | None:
        """Tell whether ``other`` belongs to the same representation.

        :return: True where that is proven, False where it is contradicted,
            None where nothing can be said.
        """
        if self.etag is not None and other.etag is not None:
            if self.etag == other.etag == self.strong:
                return True
            if _opaque(self.etag) != _opaque(other.etag):
                return False
        if self.last_modified is None or other.last_modified is None:
            return None
        if self.last_modified != other.last_modified:
            return False
        return True if self.strong == self.last_modified else None


def _opaque(etag: str) -> str:
    # Weak comparison, RFC 9110 section 8.8.3.2.
    return etag[2:] if etag.startswith('W/') else etag


def validator(head: Head, now: datetime.datetime) -> Validator:
    """Return the validators that the head holds.

    :param now: the wall-clock time, used without a Date.
    """
    last_modified = _only(head, 'last-modified')
    modified = http_date(last_modified or '')
    date, margin = http_date(_only(head, 'date') or ''), _STRONG_DATE_MARGIN
    if not head.values('date'):
        date, margin = now, _OWN_CLOCK_MARGIN
    settled = (
        modified is not None
        and date is not None
        and (date - modified).total_seconds() >= margin
        and _PRINTABLE.fullmatch(last_modified or '') is not None
    )
    return Validator(_only(head, 'etag') or None, last_modified, settled)


def _only(head: Head, name: str) -> str | None:
    # These fields are no lists: of two values, neither can be believed.
    values = set(head.values(name))
    return values.pop() if len(values) == 1 else None


@functools.lru_cache(maxsize=8)
def http_date(text: str) -> datetime.datetime | None:
    """Return the time an HTTP date names, None if it is none.

    The answers for the segments of one image hold the same few dates.
    """
    return _imf_fixdate(text) or _other_date(text)


def _imf_fixdate(text: str) -> datetime.datetime | None:
    """Return the time that a date in the form of today names."""
    found = _IMF_FIXDATE.fullmatch(text)
    if found is None:
        return None
    day, month, year, hour, minute, second = found.groups()
    try:
        return datetime.datetime(
            int(year),
            _MONTHS.index(month) + 1,
            int(day),
            int(hour),
            int(minute),
            int(second),
            tzinfo=datetime.UTC,
        )
    except ValueError:
        return None


def _other_date(text: str) -> datetime.datetime | None:
    """Return the time that a date in an obsolete form names, or in none."""
    if not text:
        return None
    # Here: it takes as long to import as all of our rules, and hardly any
    # server sends such a date.
    import email.utils

    try:
        parsed = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=datetime.UTC)
    return parsed


def retry_after(head: Head, now: datetime.datetime) -> float | None:
    """Return the delay asked for by Retry-After in seconds, None for none.

    RFC 9110 section 10.2.3: delay-seconds or an HTTP date. A date is
    measured against the server's own Date where it sends one: a machine
    being provisioned often has a wrong clock.

    :param now: the wall-clock time, used without a Date.
    """
    values = head.values('retry-after')
    if not values:
        return None
    value = values[0].strip()
    if re.fullmatch('[0-9]+', value):
        return float(value[:18])
    then = http_date(value)
    if then is None:
        return None
    since = http_date(head.get('date') or '') or now
    return max(0.0, (then - since).total_seconds())
