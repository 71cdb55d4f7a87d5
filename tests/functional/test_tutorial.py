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


"""The commands of the tutorial do what stands below them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
import doctest
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys

from tests import base
from tools import check_layers

PAGE = check_layers.ROOT / 'doc' / 'source' / 'tutorial.rst'

_MARK = '-- next --'


def commands(text: str) -> list[tuple[str, str]]:
    """Return each command of a page, and what it prints."""
    found: list[tuple[str, str]] = []
    blocks = re.findall(
        r'^\.\. code-block:: console\n\n((?:   .*\n|\n)+)', text, re.MULTILINE
    )
    for line in ''.join(blocks).splitlines():
        line = line.removeprefix('   ')
        if line.startswith('# '):
            found.append((line[2:], ''))
        elif line:
            command, output = found.pop()
            found.append((command, output + line + '\n'))
    return found


class TestTutorial(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_root()
        self.need_program('losetup', 'curl')
        with socket.create_server(('127.0.0.1', 0)) as free:
            self.port: int = free.getsockname()[1]
        self.path = pathlib.Path(self.directory)

    def install(self, name: str, *command: str) -> None:
        """Have the shell find ``command`` by a name."""
        program = self.path / 'bin' / name
        program.parent.mkdir(exist_ok=True)
        program.write_text('#!/bin/sh\nexec %s "$@"\n' % shlex.join(command))
        program.chmod(0o755)

    def test_each_command(self) -> None:
        self.install('python3', sys.executable)
        self.install(
            'fuel-agent-curl', sys.executable, '-m', 'fuel_agent_curl.cmd.main'
        )
        told = commands(PAGE.read_text().replace('8080', str(self.port)))
        self.assertGreater(len(told), 10)
        script = 'cd %s\n%s\n' % (
            shlex.quote(self.directory),
            '\n'.join(self.steps(command for command, _output in told)),
        )
        done = subprocess.run(
            ['bash', '-c', script],
            env={
                **os.environ,
                'PATH': '%s/bin:%s' % (self.directory, os.environ['PATH']),
                'PYTHONPATH': str(check_layers.ROOT),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self.timeout - 20,
        )
        printed = done.stdout.split(_MARK + '\n')
        self.assertEqual(len(told), len(printed) - 1, done.stdout)
        for (command, expected), found in zip(told, printed, strict=False):
            self.assertTrue(
                doctest.OutputChecker().check_output(
                    expected, found, doctest.ELLIPSIS
                ),
                '%s\nprinted\n%snot\n%s' % (command, found, expected),
            )

    def steps(self, told: Iterable[str]) -> Iterator[str]:
        for command in told:
            yield command
            if command.endswith('&'):
                # Whoever types is not that fast.
                yield 'until (: </dev/tcp/127.0.0.1/%d) 2>/dev/null' % (
                    self.port
                )
                yield 'do sleep 0.1; done'
            yield 'echo ' + shlex.quote(_MARK)
