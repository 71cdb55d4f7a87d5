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


"""ironic-python-agent's own unit tests of its downloads, with our plug.

Prints, as JSON, how many ran, and the names of those that did not pass.
"""

import dataclasses
import io
import json
import sys
import unittest

from ironic_python_agent import config  # noqa: F401  (first: it registers)

from fuel_agent_curl import ironic

TESTS = 'ironic_python_agent.tests.unit.extensions.test_standby'


def main() -> int:
    if '--alone' not in sys.argv:
        ironic.install()
        made = ironic.settings_for
        # There is no network: whoever asks is not to ask again.
        ironic.settings_for = lambda *given: dataclasses.replace(
            made(*given), attempts=1
        )
    suite = unittest.defaultTestLoader.loadTestsFromName(TESTS)
    runner = unittest.TextTestRunner(stream=io.StringIO())
    result = runner.run(suite)
    failed = [test for test, _text in result.failures + result.errors]
    json.dump(
        {
            'ran': result.testsRun,
            'failed': sorted(
                '.'.join(test.id().split('.')[-2:]) for test in failed
            ),
        },
        sys.stdout,
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
