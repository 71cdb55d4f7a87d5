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

"""Print how many tests passed, failed and were skipped in the last run.

Before that come the names of those that failed or were skipped, each with
the last lines of what it said, since a report of thousands of tests is often
kept only in part. All of it goes to ``tests-count.txt`` in the directory of
the repository, too. Fails unless there was a test and all of them passed; a
test that was skipped counts as passed, unless FUEL_AGENT_CURL_NO_SKIP is set.
"""

from __future__ import annotations

import collections
import io
import os
import pathlib
import subprocess
import sys

import subunit
import testtools
from testtools.testresult import real

_PASSED = ('success', 'xfail')
# Of a test that did not pass: lines, and octets of each.
_LINES = 6
_WIDTH = 300


def _last_words(test: real.TestDict) -> list[str]:
    """Return the last lines of the reason, or of the traceback."""
    details = test['details']
    for name in ('reason', 'traceback'):
        if name in details:
            lines = details[name].as_text().strip().splitlines()
            return [line[:_WIDTH] for line in lines[-_LINES:]]
    return []


def count(stream: bytes) -> tuple[collections.Counter[str], list[str]]:
    """Return how often each verdict occurs in ``stream``, subunit v2.

    And the lines to print about the tests that did not pass.
    """
    counter: collections.Counter[str] = collections.Counter()
    words = []

    def on_test(test: real.TestDict) -> None:
        # What was never reported to have ended did not pass.
        status = test['status']
        if status in _PASSED:
            counter['passed'] += 1
            return
        counter['skipped' if status == 'skip' else 'failed'] += 1
        words.append('%s: %s' % (status, test['id']))
        words.extend('    ' + line for line in _last_words(test))

    result = testtools.StreamToDict(on_test)
    result.startTestRun()
    # What a test prints past its capture lands among the results.
    subunit.ByteStreamToStreamResult(
        io.BytesIO(stream), non_subunit_name='stdout'
    ).run(result)
    result.stopTestRun()
    return counter, words


def main(repository: str) -> int:
    last = subprocess.run(
        ['stestr', '--repo-url', repository, 'last', '--subunit'],
        stdout=subprocess.PIPE,
    )
    counter, words = count(last.stdout)
    if not counter:
        print('no test ran', file=sys.stderr)
        return 1
    line = '%d passed, %d failed, %d skipped' % (
        counter['passed'],
        counter['failed'],
        counter['skipped'],
    )
    text = '\n'.join([*words, line])
    pathlib.Path(repository, 'tests-count.txt').write_text(text + '\n')
    print(text)
    no_skip = bool(os.environ.get('FUEL_AGENT_CURL_NO_SKIP'))
    return int(
        not counter['passed']
        or counter['failed'] > 0
        or (no_skip and counter['skipped'] > 0)
    )


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
