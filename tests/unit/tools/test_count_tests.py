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

"""Tests of the count of the tests."""

from __future__ import annotations

import io
from typing import Any

import subunit
import testtools

from tests import base
from tools import count_tests


def _examples() -> type[testtools.TestCase]:
    # Inside a function, where the loader of the tests does not find it.
    class Examples(testtools.TestCase):
        def test_passes(self) -> None:
            pass

        def test_fails(self) -> None:
            self.assertEqual('one', 'three')

        def test_skips(self) -> None:
            self.skipTest('there is no such device')

    return Examples


class TestCount(base.TestCase):
    def _count(self, *names: str) -> tuple[dict[str, int], list[str]]:
        stream = io.BytesIO()
        result: Any = testtools.ExtendedToStreamDecorator(
            subunit.StreamResultToBytes(stream)
        )
        result.startTestRun()
        for name in names:
            _examples()(name).run(result)
        result.stopTestRun()
        return count_tests.count(stream.getvalue())

    def test_verdicts(self) -> None:
        counter, _ = self._count('test_passes', 'test_fails', 'test_skips')
        self.assertEqual({'passed': 1, 'failed': 1, 'skipped': 1}, counter)

    def test_words(self) -> None:
        _, words = self._count('test_passes', 'test_fails', 'test_skips')
        text = '\n'.join(words)
        self.assertNotIn('test_passes', text)
        self.assertRegex(text, r"(?s)fail: \S+test_fails\n.*'three'")
        self.assertRegex(text, r'skip: \S+test_skips\n +there is no such')

    def test_never_ended(self) -> None:
        stream = io.BytesIO()
        subunit.StreamResultToBytes(stream).status(
            test_id='killed', test_status='inprogress'
        )
        counter, words = count_tests.count(stream.getvalue())
        self.assertEqual({'failed': 1}, counter)
        self.assertIn('killed', '\n'.join(words))
