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

"""Tests of the judgement on parts sent to a resume: what may be joined.

A resume here asks for byte 40 and what follows, of 100.
"""

from __future__ import annotations

import dataclasses

from fuel_agent_curl import errors
from fuel_agent_curl.rules import segments
from tests.unit.rules.test_answer import ACCEPT
from tests.unit.rules.test_answer import DATE
from tests.unit.rules.test_answer import DATED
from tests.unit.rules.test_answer import FRESH
from tests.unit.rules.test_answer import JudgeTestCase
from tests.unit.rules.test_answer import MODIFIED
from tests.unit.rules.test_answer import NOTHING
from tests.unit.rules.test_answer import OTHER_NODE
from tests.unit.rules.test_answer import OTHER_TIME
from tests.unit.rules.test_answer import PART
from tests.unit.rules.test_answer import pinned
from tests.unit.rules.test_answer import RECENT
from tests.unit.rules.test_answer import REREAD
from tests.unit.rules.test_answer import resume
from tests.unit.rules.test_answer import STRONG
from tests.unit.rules.test_answer import STRONG_AND_DATE
from tests.unit.rules.test_answer import TAG
from tests.unit.rules.test_answer import WEAK
from tests.unit.rules.test_answer import WEAK_TAG
from tests.unit.rules.test_answer import WHOLE


class TestPart(JudgeTestCase):
    """A 206 that is to be joined to what was handed on."""

    def test_joined_where_start_length_and_validator_are_the_same(
        self,
    ) -> None:
        for fields, pin in (
            (TAG, STRONG),
            (TAG | DATE, STRONG_AND_DATE),
            # Only the strong one has to be there.
            (TAG, STRONG_AND_DATE),
            (DATE, DATED),
            # RFC 9110 section 15.3.7 wants a Date, but the pin has settled.
            ({'last-modified': MODIFIED}, DATED),
            (DATE | TAG, DATED),
        ):
            for if_range in pin.validator.strong, None:
                judgement = self.judge(
                    206,
                    PART | fields,
                    resume(pin, if_range=if_range),
                    pin,
                )
                self.assertAccepted(40, 100, judgement, str(fields))
                self.assertEqual(pin, judgement.pinned)

    def test_length_and_ranges_may_become_known(self) -> None:
        pin = pinned(TAG, None, None)
        judgement = self.judge(206, PART | TAG, resume(pin), pin)
        self.assertEqual(STRONG, judgement.pinned)

    def test_another_validator_is_joined_by_a_checksum_only(self) -> None:
        wrong = errors.ContentRangeError
        rows = tuple(
            (place | fields, pin, expected)
            for place, *expected in (
                (PART, OTHER_NODE, ACCEPT),
                ({'content-range': 'bytes 0-99/100'}, OTHER_NODE, ACCEPT),
                # Whatever else is wrong with the answer.
                ({}, REREAD, REREAD),
                ({'content-range': 'bytes 40-99/*'}, REREAD, REREAD),
                ({'content-range': 'bytes 50-99/100'}, wrong, wrong),
                ({'content-range': 'bytes */100'}, REREAD, REREAD),
            )
            for fields, pin in (
                ({'etag': '"b"'}, STRONG),
                ({'etag': 'W/"b"'}, STRONG),
                ({'etag': 'b'}, STRONG),
                ({'etag': '"b"'} | DATE, STRONG_AND_DATE),
                ({'last-modified': OTHER_TIME}, STRONG_AND_DATE),
                ({'last-modified': OTHER_TIME}, DATED),
                ({'last-modified': OTHER_TIME}, FRESH),
                ({'etag': 'W/"b"'}, WEAK),
                ({'etag': '"b"'}, WEAK),
            )
        )
        for checksum in False, True:
            table = [
                (fields, pin, expected[checksum])
                for fields, pin, expected in rows
            ]
            self.check_table(206, tuple(table), checksum)

    def test_another_length_is_never_joined(self) -> None:
        rows = tuple(
            ({'content-range': 'bytes ' + text} | fields, pin, changed)
            for changed in (errors.RepresentationChanged,)
            for text in ('40-99/101', '40-98/99', '40-99/999999', '30-98/99')
            for fields, pin in (
                (TAG, STRONG),
                (DATE, DATED),
                (WEAK_TAG, WEAK),
                ({}, NOTHING),
            )
        )
        for checksum in False, True:
            self.check_table(206, rows, checksum)

    def test_another_start_is_never_joined(self) -> None:
        rows = tuple(
            (
                TAG | {'content-range': 'bytes ' + text},
                STRONG,
                wrong,
            )
            for wrong in (errors.ContentRangeError,)
            for text in (
                '41-99/100',
                '99-99/100',
                '41-99/*',
                # Early, but not up to the byte asked for.
                '0-0/100',
                '0-39/100',
                '39-39/100',
                '0-39/*',
            )
        )
        for checksum in False, True:
            self.check_table(206, rows, checksum)

    def test_an_early_start_will_do(self) -> None:
        """Caches begin at a block of theirs."""
        for text, start, stop in (
            ('39-99/100', 39, 100),
            ('0-99/100', 0, 100),
            ('32-63/100', 32, 64),
            ('0-40/100', 0, 41),
        ):
            fields = TAG | {'content-range': 'bytes ' + text}
            judgement = self.judge(206, fields, resume(STRONG), STRONG)
            self.assertAccepted(start, stop, judgement, text)

    def test_an_early_start_without_a_proof_is_not_asked_for(self) -> None:
        fields = {'content-range': 'bytes 0-99/100'}
        self.check_table(206, ((fields, STRONG, OTHER_NODE),))

    def test_a_shorter_or_longer_part_will_do(self) -> None:
        for text, stop in (
            ('40-40/100', 41),
            ('40-49/100', 50),
            ('40-98/100', 99),
            ('40-99/100', 100),
        ):
            fields = TAG | {'content-range': 'bytes ' + text}
            for until in None, 50:
                judgement = self.judge(
                    206,
                    fields,
                    resume(STRONG, stop=until),
                    STRONG,
                )
                self.assertAccepted(40, stop, judgement, text)

    def test_a_body_of_another_length_than_its_place_is_refused(self) -> None:
        for length in '59', '61', '100', '0':
            fields = PART | TAG | {'content-length': length}
            self.check_table(
                206, ((fields, STRONG, errors.ContentRangeError),)
            )
        self.check_table(
            206,
            (
                # The coding's own end counts.
                (
                    PART
                    | TAG
                    | {'content-length': '1', 'transfer-encoding': 'chunked'},
                    STRONG,
                    ACCEPT,
                ),
                (
                    PART | TAG | {'content-length': '60, 61'},
                    STRONG,
                    errors.ContentLengthError,
                ),
            ),
        )

    def test_a_part_without_its_place_is_read_again(self) -> None:
        rows = tuple(
            (fields | TAG, STRONG, REREAD)
            for fields in (
                {},
                {'content-length': '60'},
                {'content-range': ''},
                {'content-range': 'bytes 40-99/*'},
                {'content-range': 'bytes */100'},
                {'content-range': 'bytes */*'},
                {'content-range': 'bytes 99-40/100'},
                {'content-range': 'bytes 40-100/100'},
                {'content-range': 'bytes=40-99/100'},
                {'content-range': 'bytes 40-' + '9' * 5000 + '/*'},
            )
        )
        for checksum in False, True:
            self.check_table(206, rows, checksum)

    def test_a_part_without_the_validator(self) -> None:
        """Other nodes may do better; a checksum decides anyway."""
        for checksum, verdict in (False, OTHER_NODE), (True, ACCEPT):
            rows = (
                (PART, STRONG, verdict),
                (PART | WEAK_TAG, STRONG, verdict),
                (PART | DATE, STRONG, verdict),
                (PART | DATE, STRONG_AND_DATE, verdict),
                (PART | DATE | WEAK_TAG, STRONG_AND_DATE, verdict),
                (PART, DATED, verdict),
                (PART | TAG, DATED, verdict),
            )
            self.check_table(206, rows, checksum)

    def test_a_server_without_a_strong_validator_needs_a_checksum(
        self,
    ) -> None:
        rows = (
            (PART, NOTHING),
            (PART | TAG, NOTHING),
            (PART | WEAK_TAG, WEAK),
            (PART | TAG, WEAK),
            (
                PART | WEAK_TAG | DATE,
                pinned(WEAK_TAG | DATE),
            ),
            (PART | RECENT, FRESH),
            (PART | DATE, FRESH),
        )
        self.check_table(206, tuple((*row, REREAD) for row in rows))
        self.check_table(
            206, tuple((*row, ACCEPT) for row in rows), checksum=True
        )

    def test_the_first_validator_seen_stays(self) -> None:
        for pin, fields, expected in (
            (NOTHING, TAG, STRONG),
            (NOTHING, WEAK_TAG, WEAK),
            (NOTHING, DATE, DATED),
            (WEAK, TAG, WEAK),
            (FRESH, DATE, FRESH),
            (DATED, DATE | TAG, DATED),
        ):
            judgement = self.judge(
                206, PART | fields, resume(pin), pin, checksum=True
            )
            self.assertEqual(expected, judgement.pinned)
            judgement = self.judge(
                200, WHOLE | fields, segments.Request(40), pin
            )
            self.assertEqual(expected, judgement.pinned)

    def test_several_parts_are_refused(self) -> None:
        for kind in (
            'multipart/byteranges; boundary=x',
            'Multipart/ByteRanges',
        ):
            for place in PART, {}:
                fields = place | TAG | {'content-type': kind}
                self.check_table(
                    206, ((fields, STRONG, errors.ContentRangeError),)
                )
        fields = PART | TAG | {'content-type': 'application/octet-stream'}
        self.check_table(206, ((fields, STRONG, ACCEPT),))

    def test_a_coding_nobody_asked_for_is_refused(self) -> None:
        fields = PART | TAG | {'content-encoding': 'gzip'}
        self.check_table(206, ((fields, STRONG, errors.ProtocolError),))

    def test_a_coding_that_names_what_is_stored_will_do(self) -> None:
        pin = dataclasses.replace(STRONG, coding='gzip')
        for coding in 'gzip', 'x-gzip', 'identity':
            fields = PART | TAG | {'content-encoding': coding}
            judgement = self.judge(206, fields, resume(pin), pin)
            self.assertAccepted(40, 100, judgement, coding)
        fields = PART | TAG | {'content-encoding': 'br'}
        self.check_table(206, ((fields, pin, errors.ProtocolError),))

    def test_unasked_while_reading_again(self) -> None:
        """The beginning will do, as it will at first."""
        self.assertRefused(
            errors.ContentRangeError,
            self.judge(206, PART | TAG, segments.Request(), NOTHING),
        )
        part = {'content-range': 'bytes 0-49/100'}
        for fields in TAG, WEAK_TAG, {}:
            judgement = self.judge(
                206, fields | part, segments.Request(), NOTHING
            )
            self.assertAccepted(0, 50, judgement)
