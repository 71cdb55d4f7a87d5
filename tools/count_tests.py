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

The line goes to ``tests-count.txt`` in the directory of the repository,
too. Fails unless there was a test and all of them passed; a test that was
skipped counts as passed, unless FUEL_AGENT_CURL_NO_SKIP is set.
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


def count(stream: bytes) -> collections.Counter[str]:
    """Return how often each verdict occurs in ``stream``, subunit v2."""
    counter: collections.Counter[str] = collections.Counter()

    def on_test(test: real.TestDict) -> None:
        # What was never reported to have ended did not pass.
        status = test['status']
        if status in _PASSED:
            counter['passed'] += 1
        elif status == 'skip':
            counter['skipped'] += 1
        else:
            counter['failed'] += 1

    result = testtools.StreamToDict(on_test)
    result.startTestRun()
    # What a test prints past its capture lands among the results.
    subunit.ByteStreamToStreamResult(
        io.BytesIO(stream), non_subunit_name='stdout'
    ).run(result)
    result.stopTestRun()
    return counter


def main(repository: str) -> int:
    last = subprocess.run(
        ['stestr', '--repo-url', repository, 'last', '--subunit'],
        stdout=subprocess.PIPE,
    )
    counter = count(last.stdout)
    if not counter:
        print('no test ran', file=sys.stderr)
        return 1
    line = '%d passed, %d failed, %d skipped' % (
        counter['passed'],
        counter['failed'],
        counter['skipped'],
    )
    pathlib.Path(repository, 'tests-count.txt').write_text(line + '\n')
    print(line)
    no_skip = bool(os.environ.get('FUEL_AGENT_CURL_NO_SKIP'))
    return int(
        not counter['passed']
        or counter['failed'] > 0
        or (no_skip and counter['skipped'] > 0)
    )


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
