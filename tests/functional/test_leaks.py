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

"""The base class of the functional tests finds what a test leaves behind."""

from __future__ import annotations

from collections.abc import Callable
import os
import pathlib
import subprocess
import sys
import threading
import time
import unittest

import fixtures
from testtools import matchers

from tests import base


def run(body: Callable[[base.FunctionalTestCase], object]) -> str:
    """Run ``body(test)`` as a test; return why it failed, '' if it passed."""

    class Inner(base.FunctionalTestCase):
        timeout = 30
        patience = 0.5

        def test(self) -> None:
            body(self)

    result = unittest.TestResult()
    unittest.TestSuite([Inner('test')]).run(result)
    return ''.join(text for _test, text in result.failures + result.errors)


class TestLeaks(base.FunctionalTestCase):
    def assertFound(
        self, what: str, body: Callable[[base.FunctionalTestCase], object]
    ) -> None:
        self.assertThat(
            run(body),
            matchers.MatchesAll(
                matchers.Contains('left behind: '), matchers.Contains(what)
            ),
        )

    def test_nothing(self) -> None:
        self.assertEqual('', run(lambda test: None))

    def test_thread(self) -> None:
        end = threading.Event()
        self.addCleanup(end.set)

        def body(test: base.FunctionalTestCase) -> None:
            for name, daemon in (('first', False), ('second', True)):
                threading.Thread(
                    target=end.wait, name=name, daemon=daemon
                ).start()

        self.assertFound('first', body)
        self.assertFound('second', body)

    def test_thread_that_soon_ends(self) -> None:
        self.assertEqual(
            '',
            run(
                lambda test: threading.Thread(
                    target=time.sleep, args=(0.1,)
                ).start()
            ),
        )

    def test_descriptor(self) -> None:
        held = []

        def body(test: base.FunctionalTestCase) -> None:
            descriptor = os.open('/etc/hostname', os.O_RDONLY)
            held.append(descriptor)

        self.assertFound('/etc/hostname', body)
        os.close(held[0])

    def test_descriptor_in_the_place_of_another(self) -> None:
        descriptor = os.open('/dev/null', os.O_RDONLY)
        self.addCleanup(os.close, descriptor)

        def body(test: base.FunctionalTestCase) -> None:
            other = os.open('/dev/zero', os.O_RDONLY)
            os.dup2(other, descriptor)
            os.close(other)

        self.assertFound('/dev/zero', body)

    def test_process(self) -> None:
        held = []

        def body(test: base.FunctionalTestCase) -> None:
            held.append(subprocess.Popen(['sleep', '60'], env={}))

        self.assertFound('sleep 60', body)
        # It was ended, too, and waited for.
        self.assertRaises(ProcessLookupError, os.kill, held[0].pid, 0)

    def test_process_that_nobody_waited_for(self) -> None:
        held = []

        def body(test: base.FunctionalTestCase) -> None:
            held.append(subprocess.Popen(['true']))

        self.assertFound('not waited for', body)

    def test_daemon(self) -> None:
        """It is nobody's child, but has the mark in its environment."""
        program = (
            'import os, time\n'
            'if not os.fork():\n'
            '    os.setsid()\n'
            '    time.sleep(60)\n'
        )
        self.assertFound(
            'time.sleep(60)',
            lambda test: subprocess.run(
                [sys.executable, '-c', program], check=True
            ),
        )

    def test_files_are_removed(self) -> None:
        found: list[pathlib.Path] = []

        def body(test: base.FunctionalTestCase) -> None:
            found.append(
                pathlib.Path(test.useFixture(fixtures.TempDir()).path)
            )
            found.append(pathlib.Path(test.directory, 'file'))
            found[-1].touch()
            test.assertTrue(found[0].is_relative_to(test.directory))

        self.assertEqual('', run(body))
        for path in found:
            self.assertFalse(path.exists())

    def test_proxies_are_unset(self) -> None:
        self.useFixture(
            fixtures.EnvironmentVariable('HTTPS_PROXY', 'http://proxy.invalid')
        )
        seen: list[str | None] = []
        run(lambda test: seen.append(os.environ.get('HTTPS_PROXY')))
        self.assertEqual([None], seen)

    def test_timeout(self) -> None:
        class Inner(base.FunctionalTestCase):
            timeout = 1

            def test(self) -> None:
                time.sleep(30)

        result = unittest.TestResult()
        start = time.monotonic()
        unittest.TestSuite([Inner('test')]).run(result)
        self.assertLess(time.monotonic() - start, 20)
        self.assertIn('TimeoutException', result.errors[0][1])


class TestMachine(base.FunctionalTestCase):
    """Leaks that only root can make."""

    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program('losetup', 'mkfs.ext4', 'mount', 'ip')

    def attach(self, test: base.FunctionalTestCase, size: int) -> str:
        image = pathlib.Path(test.directory, 'image')
        with image.open('wb') as handle:
            handle.truncate(size)
        command = ['losetup', '--find', '--show', str(image)]
        return subprocess.check_output(command, text=True).strip()

    def test_loop_device(self) -> None:
        text = run(lambda test: self.attach(test, 1 << 20))
        self.assertThat(text, matchers.Contains('left behind: /dev/loop'))
        # It was detached, too; another test may have it by now.
        self.assertThat(
            subprocess.check_output(['losetup', '--all'], text=True),
            matchers.Not(matchers.Contains(self.directory)),
        )

    def test_mount(self) -> None:
        def body(test: base.FunctionalTestCase) -> None:
            device = self.attach(test, 4 << 20)
            mount = pathlib.Path(test.directory, 'mount')
            mount.mkdir()
            for command in (
                ['mkfs.ext4', '-q', device],
                ['mount', device, str(mount)],
            ):
                subprocess.run(command, check=True)

        text = run(body)
        self.assertThat(text, matchers.Contains('/mount is mounted'))
        self.assertThat(text, matchers.Contains('/dev/loop'))
        self.assertThat(
            pathlib.Path('/proc/self/mounts').read_text(),
            matchers.Not(matchers.Contains(self.directory)),
        )

    def test_namespace(self) -> None:
        names = []

        def body(test: base.FunctionalTestCase) -> None:
            names.append(test.unique_name('forgotten'))
            subprocess.run(['ip', 'netns', 'add', names[0]], check=True)

        self.assertThat(
            run(body), matchers.Contains('network namespace ' + names[0])
        )
        self.assertFalse(pathlib.Path('/run/netns', names[0]).exists())

    def test_namespace_of_another_process(self) -> None:
        """It runs tests of its own at the same time."""
        other = subprocess.Popen(['sleep', '60'])
        self.addCleanup(other.wait)
        self.addCleanup(other.kill)
        name = 'fac-%d-x' % other.pid
        self.addCleanup(subprocess.run, ['ip', 'netns', 'del', name])
        self.assertEqual(
            '',
            run(
                lambda test: subprocess.run(
                    ['ip', 'netns', 'add', name], check=True
                )
            ),
        )
