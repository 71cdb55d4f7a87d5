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

"""Judge an answer: does it prove that it continues the representation?

Rules only. ``judge`` is called once for each response, before its first
body byte is used, with what was asked for and what is known so far.
"""

from __future__ import annotations

import datetime
import enum

from fuel_agent_curl import errors
from fuel_agent_curl import values
from fuel_agent_curl.rules import head as http
from fuel_agent_curl.rules import segments


@values.dataclass(frozen=True)
class Representation:
    """What pins a representation: validator and complete length.

    :ivar length: bytes, None where no answer has stated it.
    :ivar ranges: the server says, or has shown, that it serves ranges;
        None where it has said nothing.
    :ivar coding: of the bytes as they are stored, '' where none is named,
        None before an answer.
    """

    validator: http.Validator = http.Validator()
    length: int | None = None
    ranges: bool | None = None
    coding: str | None = None


class Verdict(enum.Enum):
    """What is to be done with an answer."""

    #: The body may be used.
    ACCEPT = enum.auto()
    #: Unchanged, yet sent whole: some caches do that to any If-Range.
    ASK_WITHOUT_IF_RANGE = enum.auto()
    #: Its validator is another, or is missing, and the length is the same:
    #: of another node of the same name, perhaps, with the same bytes.
    OTHER_NODE = enum.auto()
    #: It proves too little: read from 0 and compare what was handed on.
    REREAD = enum.auto()
    #: No use; ``error`` says why.
    REFUSE = enum.auto()


@values.dataclass(frozen=True)
class Judgement:
    """The verdict on an answer.

    :ivar start: position of the first body byte.
    :ivar stop: position after the last one, None where it is not stated.
    :ivar pinned: the representation as known from now on.
    :ivar error: why not, for every verdict but ACCEPT.
    """

    verdict: Verdict
    start: int = 0
    stop: int | None = None
    pinned: Representation = Representation()
    error: errors.Error | None = None


def judge(
    head: http.Head,
    request: segments.Request,
    pin: Representation | None,
    *,
    checksum: bool,
    now: datetime.datetime,
) -> Judgement:
    """Judge the answer to ``request``.

    :param pin: what the bytes kept belong to; None where none are, so that
        any representation will do.
    :param checksum: a checksum of the whole was given, which decides where
        the server can prove nothing, or states another validator.
    :param now: wall-clock time, for a Retry-After that is a date.
    """
    try:
        if head.status == 206:
            return _partial(head, request, pin, checksum, now)
        if head.status == 200:
            return _whole(head, request, pin, checksum, now)
        if head.status == 416 and request.ranged and not request.start:
            # An empty representation has no first byte to give.
            return _ask(Verdict.REREAD)
        return _refuse(_unusable(head, request, pin, now))
    except errors.Error as error:
        return _refuse(error)


def _refuse(error: errors.Error) -> Judgement:
    return Judgement(Verdict.REFUSE, error=error)


def _unusable(
    head: http.Head,
    request: segments.Request,
    pin: Representation | None,
    now: datetime.datetime,
) -> errors.Error:
    """Return the error for a status that brings no representation."""
    # A 304 is no redirect, but the answer to a question nobody asked.
    if 300 <= head.status < 400 and head.status != 304:
        return errors.RedirectError(
            'status %d %s'
            % (
                head.status,
                'is no redirect that is followed'
                if head.get('location')
                else 'without a Location to go to',
            )
        )
    if head.status == 416 and request.ranged:
        unsatisfied = http.content_range(head)
        if pin and unsatisfied:
            _same_length(pin, unsatisfied.complete)
        return errors.ContentRangeError(
            'the server cannot satisfy the range %s (status 416)'
            % segments.range_text(request.start, request.stop)
        )
    return status_error(head, now)


def status_error(
    head: http.Head, now: datetime.datetime
) -> errors.StatusError:
    """Return the error for a status; ``now`` is as for ``judge``."""
    error = errors.StatusError('the server answered %s' % head)
    error.status = head.status
    error.retry_after = http.retry_after(head, now)
    return error


def _whole(
    head: http.Head,
    request: segments.Request,
    pin: Representation | None,
    checksum: bool,
    now: datetime.datetime,
) -> Judgement:
    _check_whole(head)
    length = http.content_length(head)
    coding = _stored_coding(head, length, pin, 0)
    validator = http.validator(head, now)
    ranges = _serves_ranges(head)
    if pin:
        _same_length(pin, length)
        same = pin.validator.same(validator)
        # A later answer may leave out what an earlier one stated, or be the
        # first of another mirror.
        length = pin.length if length is None else length
        ranges = pin.ranges if ranges is None else ranges
        if request.ranged:
            if request.if_range and same and ranges:
                return _ask(Verdict.ASK_WITHOUT_IF_RANGE)
            if same is False and not checksum:
                return _ask(Verdict.OTHER_NODE)
            return _ask(Verdict.REREAD)
        if same is False and not checksum:
            return _ask(Verdict.OTHER_NODE)
        pinned = Representation(
            _either(pin, validator), length, ranges, coding
        )
    else:
        if request.ranged and request.start:
            return _ask(Verdict.REREAD)
        pinned = Representation(validator, length, ranges, coding)
    return Judgement(Verdict.ACCEPT, 0, http.content_length(head), pinned)


def _partial(
    head: http.Head,
    request: segments.Request,
    pin: Representation | None,
    checksum: bool,
    now: datetime.datetime,
) -> Judgement:
    media_type = (head.get('content-type') or '').lower()
    if media_type.startswith('multipart/byteranges'):
        raise errors.ContentRangeError(
            'several parts (multipart/byteranges) to a single range'
        )
    validator = http.validator(head, now)
    given = http.content_range(head)
    complete = given.complete if given else None
    coding = _stored_coding(head, complete, pin, request.start)
    if given is None or given.start is None or given.stop is None:
        if not request.ranged:
            raise errors.ContentRangeError('a part that nobody asked for')
        return _ask(Verdict.REREAD, ranges=True)
    if pin:
        _same_length(pin, given.complete)
    if given.start > request.start or given.stop <= request.start:
        raise errors.ContentRangeError(
            'asked for %s and got %s'
            % (
                segments.range_text(request.start, request.stop),
                head.get('content-range'),
            )
        )
    length = http.content_length(head)
    if length is not None and length != given.stop - given.start:
        raise errors.ContentRangeError(
            'Content-Length %d does not fit Content-Range %s'
            % (length, head.get('content-range'))
        )
    if given.complete is None:
        if not request.ranged:
            raise errors.ContentRangeError('a part that nobody asked for')
        return _ask(Verdict.REREAD, ranges=True)
    unproven = _unproven(request, pin, validator)
    if unproven is not None and not checksum:
        return _ask(unproven, ranges=True)
    if pin:
        validator = _either(pin, validator)
    pinned = Representation(validator, given.complete, True, coding)
    return Judgement(Verdict.ACCEPT, given.start, given.stop, pinned)


def _unproven(
    request: segments.Request,
    pin: Representation | None,
    validator: http.Validator,
) -> Verdict | None:
    """Return what follows where the validator proves too little for a part."""
    if pin is None:
        # No later part could be joined to this one.
        joinable = validator.strong or not request.ranged
        return None if joinable else Verdict.REREAD
    same = pin.validator.same(validator)
    if same or not request.ranged:
        return Verdict.OTHER_NODE if same is False else None
    if same is False or pin.validator.strong:
        return Verdict.OTHER_NODE
    return Verdict.REREAD


def _ask(verdict: Verdict, ranges: bool | None = None) -> Judgement:
    """Return the verdict; ``ranges``: what the answer shows of those."""
    why = {
        Verdict.ASK_WITHOUT_IF_RANGE: 'the server sends all to an If-Range',
        Verdict.OTHER_NODE: 'the server has another validator now, or none',
        Verdict.REREAD: 'the server does not prove that it resumes',
    }
    kind: type[errors.ProtocolError] = errors.ContentRangeError
    if verdict is Verdict.OTHER_NODE:
        kind = errors.ProtocolError
    return Judgement(
        verdict,
        pinned=Representation(ranges=ranges),
        error=kind(why[verdict]),
    )


def _stored_coding(
    head: http.Head,
    complete: int | None,
    pin: Representation | None,
    start: int,
) -> str:
    """Return the coding that merely names what is stored, '' for none.

    Servers say of a stored .gz that it is gzip. Its length and its positions
    are of the bytes sent then (RFC 9110 section 14.2), so that they can be
    taken as they are; what is coded on its way has no length beforehand.
    That they are gzip indeed is for the first of them to show.

    :param complete: complete length that the answer states.
    :param start: the first byte asked for.
    :raises errors.ContentCodingError: for any other coding.
    """
    coding = http.content_coding(head)
    before = pin.coding if pin else None
    if coding is None:
        return before or ''
    # A part does not show it, so that an answer before must have.
    shown = before or (before is None and not start)
    if coding in ('gzip', 'x-gzip') and complete is not None and shown:
        return coding
    if before is not None:
        # An answer before had none, so this is no setting of the server.
        raise errors.ProtocolError(
            'the server applied the content coding %s all at once' % coding
        )
    raise coding_error(coding)


def coding_error(coding: str) -> errors.ContentCodingError:
    """Return the error for a content coding that nobody asked for."""
    return errors.ContentCodingError(
        'the server applied the content coding %s, which nobody asked for'
        % coding,
        hint='make the server send the file as it is',
    )


def _check_whole(head: http.Head) -> None:
    # Content-Range means nothing in a 200 (RFC 9110 section 14.4), but there
    # are proxies that make one of a 206.
    given = http.content_range(head)
    if given is None or given.start is None:
        return
    if given.start or given.complete not in (None, given.stop):
        raise errors.ContentRangeError(
            'a status of 200 with the part %s' % head.get('content-range')
        )


def _either(pin: Representation, validator: http.Validator) -> http.Validator:
    known = pin.validator.etag or pin.validator.last_modified
    return pin.validator if known else validator


def _same_length(pin: Representation, length: int | None) -> None:
    if None not in (pin.length, length) and pin.length != length:
        error = errors.RepresentationChanged(
            'the complete length was %s and is %s now' % (pin.length, length)
        )
        error.length = length
        raise error


def _serves_ranges(head: http.Head) -> bool | None:
    units = head.get('accept-ranges')
    if units is None:
        return None
    return 'bytes' in [unit.strip().lower() for unit in units.split(',')]
