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

"""The base class of the unit tests lets nothing out of the process."""

from collections.abc import Callable
import gc
import os
import socket
import subprocess
import sys
import threading
import time
from typing import Any
import unittest
import warnings

import fixtures
from oslo_config import cfg
import testtools
from testtools import matchers

from fuel_agent_curl.engine import handles
from tests import base
from tests.support import fence


def run(
    body: Callable[[Any], object], kind: type[testtools.TestCase]
) -> unittest.TestResult:
    """Run a test of the class ``kind`` with ``body(test)`` inside."""

    class Inner(kind):  # type: ignore[misc, valid-type]
        def test(self) -> None:
            body(self)

    result = unittest.TestResult()
    unittest.TestSuite([Inner('test')]).run(result)
    return result


def swallow(function: Callable[..., object], *args: object) -> None:
    """Call, and keep quiet about it, as code under test may do."""
    try:
        function(*args)
    except Exception:
        pass


class TestFence(base.TestCase):
    def assertRefused(self, what: str, body: Callable[[Any], object]) -> None:
        for call in (body, lambda test: swallow(body, test)):
            result = run(call, base.TestCase)
            self.assertEqual(1, result.testsRun)
            (failure,) = result.failures + result.errors
            self.assertThat(failure[1], matchers.Contains(what))

    def test_nothing_done(self) -> None:
        self.assertTrue(run(lambda test: None, base.TestCase).wasSuccessful())

    def test_socket(self) -> None:
        self.assertRefused('a socket', lambda test: socket.socket())
        self.assertRefused('a socket', lambda test: socket.socketpair())

    def test_look_up(self) -> None:
        self.assertRefused(
            'a look-up', lambda test: socket.getaddrinfo('localhost', 80)
        )
        self.assertRefused(
            'a look-up', lambda test: socket.gethostbyname('localhost')
        )

    def test_subprocess(self) -> None:
        self.assertRefused('a process', lambda test: subprocess.run(['true']))
        self.assertRefused('a process', lambda test: os.popen('true'))

    def test_os_system(self) -> None:
        self.assertRefused('a process', lambda test: os.system('true'))

    def test_fork(self) -> None:
        self.assertRefused('a process', lambda test: os.fork())
        self.assertRefused(
            'a process', lambda test: os.posix_spawn('/bin/true', ['true'], {})
        )

    def test_sleep(self) -> None:
        self.assertRefused('sleep', lambda test: time.sleep(0.001))

    def test_giving_up_the_turn_is_no_sleep(self) -> None:
        self.assertTrue(
            run(lambda test: time.sleep(0), base.TestCase).wasSuccessful()
        )

    def test_in_a_thread(self) -> None:
        def body(test: object) -> None:
            thread = threading.Thread(target=swallow, args=(socket.socket,))
            thread.start()
            thread.join()

        self.assertRefused('a socket', body)

    def test_open_again_after_the_test(self) -> None:
        barrier = fence.Fence()
        with barrier:
            self.assertRaises(fence.Forbidden, time.sleep, 1)
        self.assertEqual(['sleep'], barrier.breaches)
        # Now the fence of this very test is in force again.
        self.assertThat(
            self.fence, matchers.MatchesStructure.byEquality(breaches=[])
        )
        swallow(time.sleep, 1)
        self.assertEqual(['sleep'], self.fence.breaches)
        self.fence.breaches.clear()


class TestBothKinds(base.TestCase):
    def assertFails(self, what: str, body: Callable[[Any], object]) -> None:
        result = run(body, base.TestCase)
        (failure,) = result.failures + result.errors
        self.assertThat(failure[1], matchers.Contains(what))

    def test_exception_that_ends_a_thread(self) -> None:
        def body(test: object) -> None:
            thread = threading.Thread(target=lambda: 1 / 0)
            thread.start()
            thread.join()

        self.assertFails('ZeroDivisionError', body)

    def test_exception_in_a_finaliser(self) -> None:
        class Bad:
            def __del__(self) -> None:
                raise OSError('not seen by anybody')

        def body(test: object) -> None:
            Bad()
            gc.collect()

        self.assertFails('not seen by anybody', body)

    def test_warning_from_the_package(self) -> None:
        def body(test: object) -> None:
            warnings.warn_explicit(
                'old', DeprecationWarning, 'x.py', 1, 'fuel_agent_curl.x'
            )

        self.assertFails('DeprecationWarning: old', body)

    def test_warning_from_another_package(self) -> None:
        def body(test: object) -> None:
            warnings.warn_explicit(
                'old', DeprecationWarning, 'x.py', 1, 'fuel_agent_curly'
            )

        self.assertTrue(run(body, base.TestCase).wasSuccessful())

    def test_log_is_kept(self) -> None:
        def body(test: base.TestCase) -> None:
            base.LOG.debug('%d of %d', 1, 2)
            test.assertThat(test.log.output, matchers.Contains('1 of 2'))

        self.assertTrue(run(body, base.TestCase).wasSuccessful())

    def test_log_that_cannot_be_formatted(self) -> None:
        self.assertFails(
            'TypeError', lambda test: base.LOG.debug('%d', 'no number')
        )

    def test_option_is_as_if_never_set(self) -> None:
        conf = cfg.ConfigOpts()
        conf.register_opts([cfg.IntOpt('number', default=1)], group='group')
        conf([])

        def body(test: base.TestCase) -> None:
            test.set_option(conf, 'number', 2, 'group')
            test.assertEqual(2, conf.group.number)

        before = conf.get_location('number', 'group')
        self.assertTrue(run(body, base.TestCase).wasSuccessful())
        self.assertEqual(1, conf.group.number)
        self.assertEqual(before, conf.get_location('number', 'group'))

    def test_output_is_kept(self) -> None:
        def body(test: base.TestCase) -> None:
            sys.stdout.write('hello')
            test.fail('to see the details')

        self.assertFails('hello', body)


class TestNeeds(base.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.EnvironmentVariable('FUEL_AGENT_CURL_NO_SKIP')
        )

    def test_no_such_program(self) -> None:
        def body(test: base.FunctionalTestCase) -> None:
            test.need_program('sh', 'no-such-program')

        result = run(body, base.FunctionalTestCase)
        ((_test, reason),) = result.skipped
        self.assertEqual('needs the program no-such-program', reason)

    def test_no_skip(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('FUEL_AGENT_CURL_NO_SKIP', '1')
        )

        def body(test: base.FunctionalTestCase) -> None:
            test.need_program('no-such-program')

        result = run(body, base.FunctionalTestCase)
        self.assertEqual([], result.skipped)
        ((_test, text),) = result.failures
        self.assertThat(text, matchers.Contains('must run here'))

    def test_root(self) -> None:
        def body(test: base.FunctionalTestCase) -> None:
            test.need_root()

        for uid, skipped in ((0, 0), (1000, 1)):
            self.patch(os, 'geteuid', lambda uid=uid: uid)
            result = run(body, base.FunctionalTestCase)
            self.assertTrue(result.wasSuccessful())
            self.assertThat(result.skipped, matchers.HasLength(skipped))

    def test_http_version(self) -> None:
        def body(test: base.FunctionalTestCase) -> None:
            test.need_http_version('3')

        for features, skipped in ((1 << 25, 0), (0, 1)):
            self.patch(handles, 'features', lambda features=features: features)
            result = run(body, base.FunctionalTestCase)
            self.assertTrue(result.wasSuccessful())
            self.assertThat(result.skipped, matchers.HasLength(skipped))

    def test_all_there(self) -> None:
        def body(test: base.FunctionalTestCase) -> None:
            test.need_program('sh', 'ls')

        result = run(body, base.FunctionalTestCase)
        self.assertTrue(result.wasSuccessful())
        self.assertEqual([], result.skipped)
