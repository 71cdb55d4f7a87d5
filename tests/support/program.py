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

"""The program in a process of its own, against a harmful server."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from testtools import matchers

from fuel_agent_curl import harmful
from fuel_agent_curl.octets import MIB
from tests import base
from tests.support import endpoints

PROGRAM = [sys.executable, '-m', 'fuel_agent_curl.cmd.main']

#: Of the image, in bytes.
LENGTH = 3 * MIB + 17

# Quick to notice, to come back and to give up.
QUICK = (
    *('--attempts', '2', '--backoff', '0.1'),
    *('--low-speed-time', '2', '--first-byte-timeout', '2'),
)


class ProgramTestCase(base.FunctionalTestCase):
    """Runs the program.

    :ivar image: what the server's ``/image`` names; ``url`` is its URL.
    :ivar target: a path where there is nothing.
    """

    def setUp(self) -> None:
        super().setUp()
        self.image = harmful.Pattern(LENGTH)[:]
        self.server = self.useFixture(
            endpoints.HarmfulServer(harmful.Representation(self.image))
        ).server
        self.url = self.server.url()
        self.target = self.path('disk.img')

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def content(self) -> bytes:
        with open(self.target, 'rb') as written:
            return written.read()

    def run_program(
        self, *argv: str, before: tuple[str, ...] = (), **given: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run the program to its end.

        :param before: a command that runs a command.
        """
        done = subprocess.run(
            [*before, *PROGRAM, *argv],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            **given,
        )
        self.assertNotIn('Traceback', done.stderr)
        return done

    def check_success(
        self, *argv: str, **given: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ``copy``, which has to bring the image to the target."""
        done = self.run_program('copy', *argv, self.target, **given)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual(self.image, self.content())
        return done

    def check_failure(
        self, code: int, part: str, *argv: str, **given: Any
    ) -> None:
        """Run ``copy``, which has to fail with this code, saying ``part``."""
        done = self.run_program(
            'copy', '--progress', 'none', *QUICK, *argv, **given
        )
        self.assertEqual(code, done.returncode, done.stderr)
        self.assertEqual('', done.stdout)
        self.assertThat(
            done.stderr, matchers.StartsWith('fuel-agent-curl: error: ')
        )
        self.assertEqual(1, done.stderr.count('\n'), done.stderr)
        self.assertIn(part, done.stderr)
