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

"""Tests of the judgement on answers with all of it, where bytes are kept.

A resume here asks for byte 40 and what follows, of 100.
"""

from __future__ import annotations

import dataclasses

from fuel_agent_curl import errors
from fuel_agent_curl.rules import answer
from fuel_agent_curl.rules import segments
from tests.unit.rules.test_answer import DATE
from tests.unit.rules.test_answer import DATED
from tests.unit.rules.test_answer import FRESH
from tests.unit.rules.test_answer import JudgeTestCase
from tests.unit.rules.test_answer import NOTHING
from tests.unit.rules.test_answer import OTHER_NODE
from tests.unit.rules.test_answer import OTHER_TIME
from tests.unit.rules.test_answer import pinned
from tests.unit.rules.test_answer import RECENT
from tests.unit.rules.test_answer import REREAD
from tests.unit.rules.test_answer import resume
from tests.unit.rules.test_answer import Rows
from tests.unit.rules.test_answer import STRONG
from tests.unit.rules.test_answer import STRONG_AND_DATE
from tests.unit.rules.test_answer import TAG
from tests.unit.rules.test_answer import WEAK
from tests.unit.rules.test_answer import WEAK_TAG
from tests.unit.rules.test_answer import WHOLE
from tests.unit.rules.test_answer import WITHOUT_IF_RANGE


class TestWhole(JudgeTestCase):
    """A 200 to a request that wanted a part."""

    def test_all_to_an_if_range_is_asked_for_without_it(self) -> None:
        """Unchanged, and the server is known to serve ranges."""
        for fields, pin in (
            (WHOLE | TAG, STRONG),
            (TAG, STRONG),
            (WHOLE | DATE, DATED),
        ):
            row = fields, pin, WITHOUT_IF_RANGE
            self.check_table(200, (row,))
            self.check_table(200, ((*row[:2], REREAD),), if_range=None)
            for ranges in None, False:
                unknown = dataclasses.replace(pin, ranges=ranges)
                self.check_table(200, ((fields, unknown, REREAD),))
                fields_too = fields | {'accept-ranges': 'bytes'}
                self.check_table(
                    200, ((fields_too, unknown, WITHOUT_IF_RANGE),)
                )
            none = fields | {'accept-ranges': 'none'}
            self.check_table(200, ((none, pin, REREAD),))

    def test_without_a_proof_it_is_read_again(self) -> None:
        rows: Rows = (
            (WHOLE, STRONG, REREAD),
            (WHOLE | WEAK_TAG, STRONG, REREAD),
            (WHOLE | WEAK_TAG, WEAK, REREAD),
            (WHOLE | RECENT, FRESH, REREAD),
            (WHOLE, NOTHING, REREAD),
            ({}, NOTHING, REREAD),
            ({}, STRONG, REREAD),
        )
        for checksum in False, True:
            self.check_table(200, rows, checksum)

    def test_another_validator_may_be_of_another_node(self) -> None:
        """With a checksum it says nothing, but that there are no ranges."""
        later = {'last-modified': OTHER_TIME}
        for fields, pin in (
            (WHOLE | {'etag': '"b"'}, STRONG),
            ({'etag': '"b"'}, STRONG),
            (WHOLE | {'etag': 'W/"b"'}, STRONG),
            (WHOLE | {'etag': 'b'}, STRONG),
            (WHOLE | later, DATED),
            (WHOLE | later, STRONG_AND_DATE),
            (WHOLE | {'etag': 'W/"b"'}, WEAK),
        ):
            for if_range in pin.validator.strong, None:
                self.check_table(
                    200, ((fields, pin, OTHER_NODE),), if_range=if_range
                )
                self.check_table(
                    200, ((fields, pin, REREAD),), True, if_range=if_range
                )

    def test_another_length_is_never_joined(self) -> None:
        changed = errors.RepresentationChanged
        rows: Rows = (
            (TAG | {'content-length': '101'}, STRONG, changed),
            # As long as what was there already: libcurl takes it for done.
            (TAG | {'content-length': '40'}, STRONG, changed),
            ({'content-length': '40'}, STRONG, changed),
            ({'content-length': '60'}, NOTHING, changed),
            ({'content-length': '0'}, NOTHING, changed),
        )
        for checksum in False, True:
            self.check_table(200, rows, checksum)
            self.check_table(200, rows, checksum, if_range=None)
            # The same while reading again.
            self.check_table(200, rows, checksum, ranged=False)

    def test_nothing_kept_and_not_from_the_beginning(self) -> None:
        self.assertIs(
            REREAD,
            self.judge(200, WHOLE, resume(None), None).verdict,
        )

    def test_a_length_without_sense_is_refused(self) -> None:
        fields = TAG | {'content-length': '100, 101'}
        self.check_table(200, ((fields, STRONG, errors.ContentLengthError),))

    def test_a_coding_nobody_asked_for_is_refused(self) -> None:
        fields = WHOLE | TAG | {'content-encoding': 'gzip'}
        self.check_table(200, ((fields, STRONG, errors.ProtocolError),))


class TestReread(JudgeTestCase):
    """All of it, asked for to be compared with what was handed on."""

    def reread(
        self, fields: dict[str, str], pin: answer.Representation
    ) -> answer.Judgement:
        return self.judge(200, fields, segments.Request(), pin)

    def test_is_used_from_the_beginning(self) -> None:
        for fields, pin in (
            (WHOLE, NOTHING),
            (WHOLE, STRONG),
            (WHOLE | TAG, STRONG),
            (WHOLE | WEAK_TAG, STRONG),
            (WHOLE | WEAK_TAG, WEAK),
            (WHOLE | RECENT, FRESH),
        ):
            judgement = self.reread(fields, pin)
            self.assertAccepted(0, 100, judgement)
            self.assertEqual(pin, judgement.pinned)

    def test_a_length_is_not_forgotten(self) -> None:
        """The answer may end anywhere; that it is all is known before."""
        judgement = self.reread({}, STRONG)
        self.assertAccepted(0, None, judgement)
        self.assertEqual(100, judgement.pinned.length)

    def test_what_was_unknown_is_noted(self) -> None:
        judgement = self.reread(
            WHOLE | {'accept-ranges': 'bytes'},
            pinned({}, None, None),
        )
        self.assertAccepted(0, 100, judgement)
        self.assertEqual(NOTHING, judgement.pinned)
        judgement = self.reread(WHOLE | {'accept-ranges': 'none'}, STRONG)
        self.assertIs(False, judgement.pinned.ranges)
