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

"""The base classes of the tests.

``TestCase`` is for unit tests: no socket, no process, no sleep.
``FunctionalTestCase`` is for tests with real servers and devices: it ends
them in time, and fails them for what they leave behind.
"""

from __future__ import annotations

import faulthandler
import itertools
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from typing import Any
from typing import NoReturn

import fixtures
from oslo_config import cfg
import testtools
from testtools import content

from fuel_agent_curl import errors
from fuel_agent_curl.engine import handles
from fuel_agent_curl.rules import codes
from tests.support import fence
from tests.support import leaks

LOG = logging.getLogger(__name__)

#: Not empty: what cannot run here fails in place of being skipped.
_NO_SKIP = 'FUEL_AGENT_CURL_NO_SKIP'

_PROXIES = ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy')

_SERIAL = itertools.count(1)

# Who runs the tests in the background, or by nohup, has these ignored, and so
# has every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


class _Base(testtools.TestCase):
    """What both kinds of test have.

    :ivar log: what was logged, down to DEBUG; ``self.log.output`` is its
        text, which is shown when the test fails.
    """

    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(
            fixtures.FakeLogger(
                level=logging.DEBUG,
                format='%(relativeCreated)d %(levelname)s '
                '%(threadName)s %(name)s: %(message)s',
            )
        )
        # oslo.config's; whoever runs the tests may have some.
        for name in list(os.environ):
            if name.startswith('OS_') and '__' in name:
                self.useFixture(fixtures.EnvironmentVariable(name))
        # In a worker of stestr, stdout carries the results.
        for name in ('stdout', 'stderr'):
            stream = self.useFixture(fixtures.StringStream(name)).stream
            self.useFixture(fixtures.MonkeyPatch('sys.' + name, stream))
        self.useFixture(
            fixtures.WarningsFilter(
                [
                    {
                        'action': 'error',
                        'category': Warning,
                        'module': r'fuel_agent_curl(\.|$)',
                    }
                ]
            )
        )
        self._watch_unhandled()

    def _watch_unhandled(self) -> None:
        """Fail for an exception that ends a thread or a finaliser."""
        unhandled: list[str] = []

        def of_thread(args: threading.ExceptHookArgs) -> None:
            unhandled.append('%r in %s' % (args.exc_value, args.thread))

        def of_finaliser(args: Any) -> None:
            # A traceback may hold the object: keep the text alone.
            unhandled.append('%r in %r' % (args.exc_value, args.object))

        self.patch(threading, 'excepthook', of_thread)
        self.patch(sys, 'unraisablehook', of_finaliser)
        self.addCleanup(self._must_be_empty, 'nobody handled', unhandled)

    def _must_be_empty(self, title: str, lines: list[str]) -> None:
        if lines:
            self.fail('%s: %s' % (title, '; '.join(lines)))

    def set_option(
        self,
        conf: cfg.ConfigOpts,
        name: str,
        value: object,
        group: str | None = None,
    ) -> None:
        """Override an option until the test ends."""

        def forget() -> None:
            conf.clear_override(name, group)
            # That leaves the location behind, and the option would count
            # as given in the tests to come.
            conf._get_opt_info(name, group).pop('location', None)

        self.addCleanup(forget)
        conf.set_override(name, value, group)

    def skipTest(self, reason: str) -> NoReturn:
        """Skip, or fail where everything has to run."""
        if os.environ.get(_NO_SKIP):
            raise self.failureException('must run here: ' + reason)
        raise self.skipException(reason)


class TestCase(_Base):
    """A unit test."""

    def setUp(self) -> None:
        super().setUp()
        self.fence = self.useFixture(fence.Fence())
        # Somebody may have swallowed the exception.
        self.addCleanup(
            self._must_be_empty, 'a unit test tried', self.fence.breaches
        )


class FunctionalTestCase(_Base):
    """A test with a real server, device or process.

    :ivar directory: where all files of the test belong, removed after it;
        that of ``tempfile``, and of the programs started, too.
    """

    #: Seconds for one test, its fixtures included, on a busy machine.
    timeout = 300
    #: Seconds for threads and processes that are on their way out, where
    #: many others want the processor.
    patience = 30.0

    def setUp(self) -> None:
        super().setUp()
        self._limit_time()
        # A loop device on a tmpfs, which /tmp may be, is in memory: it does
        # not do what a disk does, and takes what the tests need.
        if 'TMPDIR' not in os.environ:
            self.patch(tempfile, 'tempdir', '/var/tmp')
        # What one test has left is not for another to go on with; it is not
        # in the directory that the tests look into.
        state = self.useFixture(fixtures.TempDir()).path
        self.useFixture(fixtures.EnvironmentVariable('XDG_STATE_HOME', state))
        self.useFixture(fixtures.NestedTempfile())
        self.directory = tempfile.gettempdir()
        self.useFixture(fixtures.EnvironmentVariable('TMPDIR', self.directory))
        for name in _PROXIES:
            for variable in (name, name.upper()):
                self.useFixture(fixtures.EnvironmentVariable(variable))
        # Its cleanup comes after all those of the test itself.
        found = self.useFixture(leaks.Leaks(self.directory))
        self.addCleanup(self._check_leaks, found)

    def _limit_time(self) -> None:
        # The gentle limit raises in the main thread; should that be inside
        # a call that does not return, the other one ends the process.
        self.useFixture(fixtures.Timeout(self.timeout, gentle=True))
        faulthandler.dump_traceback_later(self.timeout + 60, exit=True, file=2)
        self.addCleanup(faulthandler.cancel_dump_traceback_later)

    def _check_leaks(self, picture: leaks.Leaks) -> None:
        found = picture.find(self.patience)
        if found:
            self.addDetail(
                'left behind', content.text_content('\n'.join(found))
            )
            self.fail('left behind: ' + '; '.join(found))

    def unique_name(self, what: str) -> str:
        """Return a name that no other test, running now, uses.

        A network namespace of another name is taken for a leak of every test
        that runs at the same time.
        """
        return 'fac-%d-%d-%s' % (os.getpid(), next(_SERIAL), what)

    def need_root(self) -> None:
        """Skip unless the test may make devices and namespaces."""
        if os.geteuid() != 0:
            self.skipTest('needs root')

    def need_http_version(self, version: str) -> None:
        """Skip unless libcurl was built with it."""
        try:
            codes.http_version(version, handles.features())
        except errors.OptionError as error:
            self.skipTest(error.message)

    def need_program(self, *names: str) -> None:
        """Skip unless every program is installed (see bindep.txt)."""
        for name in names:
            if shutil.which(name) is None:
                self.skipTest('needs the program ' + name)
