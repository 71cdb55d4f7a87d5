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


"""fuel-agent's own tests, with our classes installed.

They run in a process of their own, this file: fuel-agent, its options and
the stand-in for ``unittest2`` (which no Python of today can import) stay out
of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
import json
import subprocess
import sys
import unittest

from tests import base

MODULES = (
    'fuel_agent.tests.test_artifact_utils',
    'fuel_agent.tests.test_manager',
)

# Each replaces fuel_agent.utils.utils.init_http_request, the call that ours
# do not make, by a mock, and counts its calls or scripts its answers.
LEFT_OUT = {
    'TestHttpUrl.test_httpurl_init_ok',
    'TestHttpUrl.test_httpurl_init_invalid_content_length',
    'TestHttpUrl.test_httpurl_next_ok',
    'TestHttpUrl.test_httpurl_next_slow_connection',
}


class TestUpstream(base.FunctionalTestCase):
    def run_theirs(self, driver: str) -> dict[str, list[str]]:
        done = subprocess.run(
            [sys.executable, '-m', __name__, driver],
            capture_output=True,
            text=True,
            check=True,
        )
        outcome: dict[str, list[str]] = json.loads(done.stdout)
        return outcome

    def test_their_artifact_and_manager_tests_pass_with_ours(self) -> None:
        for driver in ('nailgun', 'nailgun_curl'):
            outcome = self.run_theirs(driver)
            self.assertEqual(['fuel_agent_curl.artifact'] * 2, outcome['from'])
            self.assertEqual([], outcome['failed'])
            self.assertEqual(sorted(LEFT_OUT), sorted(outcome['left_out']))
            # As many as fuel-agent 11.0.0 has.
            self.assertEqual(40, len(outcome['passed']))
            for name in (
                'TestGunzipStream.test_gunzip_stream_next',
                'TestChain.test_process',
                'TestManager.test_do_copyimage',
            ):
                self.assertIn(name, outcome['passed'])


def _name(test: unittest.TestCase) -> str:
    return '.'.join(test.id().split('.')[-2:])


def _flat(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from _flat(test)
        else:
            yield test


def _main(driver: str) -> None:
    sys.modules['unittest2'] = unittest
    from fuel_agent import manager
    from oslo_config import cfg

    from fuel_agent_curl import artifact

    loader = unittest.defaultTestLoader
    tests = {
        _name(test): test for test in _flat(loader.loadTestsFromNames(MODULES))
    }
    cfg.CONF.set_override('data_driver', driver)
    artifact.install()
    outcome: dict[str, list[str]] = {
        'passed': [],
        'failed': [],
        'left_out': [],
    }
    for name, test in tests.items():
        if name in LEFT_OUT:
            outcome['left_out'].append(name)
            continue
        result = unittest.TestResult()
        test.run(result)
        passed = result.testsRun == 1 and result.wasSuccessful()
        passed = passed and not result.skipped
        outcome['passed' if passed else 'failed'].append(name)
        for _test, text in result.errors + result.failures:
            sys.stderr.write(text)
    outcome['from'] = [
        manager.au.HttpUrl.__module__,
        manager.au.GunzipStream.__module__,
    ]
    json.dump(outcome, sys.stdout)


if __name__ == '__main__':
    _main(sys.argv[1])
