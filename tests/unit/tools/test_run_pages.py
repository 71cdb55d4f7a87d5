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


"""Each block of each page says what it is, and why its commands are not run.

``tests.functional.test_pages`` runs those that are.
"""

from __future__ import annotations

import configparser
import re

from fuel_agent_curl.config import options
from tests import base
from tools import run_pages

#: What a line begins with that is a command.
_COMMAND = re.compile(
    r'^\s*([#$] )?(sudo |\./)*(apt|apt-get|blkid|curl|dd|export'
    r'|fuel-agent-curl|losetup|ln|lsblk|pip|pip3|python|python3|rm|sh|systemctl|tools/\w+'
    r'|tox|wget|wipefs|\S*/bin/\S+)(?= )',
    re.MULTILINE,
)

_PAGE = """\
Text::

    raw

.. not run: it takes
   too long

.. code-block:: console

   $ one \\
       two
   1
   # three

.. code-block:: ini
   :name: it

   [x]

End.
"""


class TestPages(base.TestCase):
    def test_each_command_is_run_or_says_why_not(self) -> None:
        for page in run_pages.pages():
            for block in run_pages.blocks(page.read_text()):
                where = '%s: "%s"' % (page.name, block.body.splitlines()[0])
                if block.language == 'console':
                    self.assertTrue(block.is_run or len(block.why) > 10, where)
                    run_pages.commands(block.body)
                    continue
                self.assertIn(
                    block.language,
                    ('', *run_pages.LANGUAGES),
                    where + ': commands are in ".. code-block:: console"',
                )
                self.assertEqual(
                    [],
                    [found[0] for found in _COMMAND.finditer(block.body)],
                    where + ': commands are in ".. code-block:: console",'
                    ' where tests run them, with $ or # before each; or'
                    ' behind a comment ".. not run: WHY"',
                )

    def test_a_reason_is_of_a_block(self) -> None:
        """One that stands elsewhere would be lost."""
        for page in run_pages.pages():
            text = page.read_text()
            blocks = list(run_pages.blocks(text))
            self.assertEqual(
                len(re.findall(r'^\.\. not run', text, re.MULTILINE)),
                len([block for block in blocks if block.why]),
                page.name,
            )
            self.assertEqual(
                len(re.findall(r'^ *\.\. code-block::', text, re.MULTILINE)),
                len([block for block in blocks if block.language]),
                page.name,
            )

    def test_options_in_files_are_ours(self) -> None:
        names = {option.name for option in (*options.OPTIONS, *options.COPY)}
        names |= {'mirrors', *options.IRONIC, *options.FUEL_AGENT}
        for page in run_pages.pages():
            for block in run_pages.blocks(page.read_text()):
                if block.language == 'ini':
                    parser = configparser.ConfigParser(
                        strict=False, interpolation=None
                    )
                    parser.read_string(block.body)
                    if options.GROUP in parser:
                        found = set(parser[options.GROUP])
                        self.assertEqual(set(), found - names, page.name)

    def test_python_can_be_read(self) -> None:
        for page in run_pages.pages():
            for block in run_pages.blocks(page.read_text()):
                if block.language == 'python':
                    compile(block.body, page.name, 'exec')


class TestRunPages(base.TestCase):
    def test_blocks(self) -> None:
        raw, console, ini = run_pages.blocks(_PAGE)
        self.assertEqual(('', 'raw\n'), (raw.language, raw.body))
        self.assertEqual('it takes too long', console.why)
        self.assertFalse(console.is_run)
        self.assertEqual('[x]\n', ini.body)
        self.assertEqual(
            [
                run_pages.Command('one \\\n    two', '1\n'),
                run_pages.Command('three', ''),
            ],
            run_pages.commands(console.body),
        )

    def test_what_is_right(self) -> None:
        for shown, printed, code, right in (
            ('', 'anything\n', 0, True),
            ('', '', 1, False),
            ('12:00:00 in 0.5 s\n', '13:59:59 in 21.75 s\n', 0, True),
            ('/dev/loop3 at byte 5\n', '/dev/loop12 at byte 5\n', 3, True),
            ('at byte 5\n', 'at byte 6\n', 0, False),
            ('a ... c\n', 'a b c\n', 0, True),
            ('a\n', 'a\nb\n', 0, False),
        ):
            command = run_pages.Command('x', shown)
            done = run_pages.Done(command, printed, code)
            self.assertEqual(right, done.is_right, shown + printed)

    def test_what_is_not_ours_is_not_run(self) -> None:
        for typed in ('x /dev/sda', 'x http://server/y', 'x /srv/y'):
            self.assertRaises(
                ValueError,
                *(run_pages.run, [run_pages.Command(typed, '')]),
                *('/nowhere', {}),
            )

    def test_what_is_recorded(self) -> None:
        text = _PAGE.replace('.. not run: it takes\n   too long\n\n', '')
        commands = run_pages.commands(list(run_pages.blocks(text))[1].body)
        done = [
            run_pages.Done(command, 'now\n\nmore\n', 0) for command in commands
        ]
        self.assertEqual(
            text.replace('   1\n', '   now\n\n   more\n'),
            run_pages.recorded(text, done),
        )
