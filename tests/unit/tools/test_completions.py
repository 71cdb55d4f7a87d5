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


"""What the shells complete, and the manual pages, have every option."""

from __future__ import annotations

import re

from fuel_agent_curl.cmd import parsers
from tests import base
from tools import generate
from tools import write_completions

_FILES = {
    write_completions.BASH: write_completions.bash,
    write_completions.ZSH: write_completions.zsh,
    write_completions.FISH: write_completions.fish,
}


class TestCompletions(base.TestCase):
    def test_they_are_current(self) -> None:
        for name, made in _FILES.items():
            self.assertTrue(
                (generate.SHARE / name).read_text() == made(),
                '%s: mend it by: python tools/generate.py' % name,
            )

    def test_each_has_every_option(self) -> None:
        names = {
            name for make in parsers.VERBS.values() for name in make().flags()
        }
        bash = write_completions.bash()
        zsh = write_completions.zsh()
        fish = write_completions.fish()
        for name in names:
            self.assertRegex(bash, r"[ '\n]%s[ '\n]" % re.escape(name))
            self.assertRegex(zsh, r"[*({,']%s[]=',}[]" % re.escape(name))
            dashes = '-l' if name.startswith('--') else '-s'
            self.assertRegex(
                fish, '%s %s ' % (dashes, re.escape(name.lstrip('-')))
            )

    def test_what_a_help_holds_does_no_harm(self) -> None:
        flag = write_completions.Flag(
            ('--a', '-b'), 'FILE', "it's [a: b] \\", again=True
        )
        self.assertEqual(
            r"""'*--a=[it'\''s \[a\: b\] \\]:path:_files'"""
            r""" '*-b[it'\''s \[a\: b\] \\]:path:_files'""",
            write_completions._zsh_flag(flag),
        )
        self.assertEqual(
            r"complete -c fuel-agent-curl -n x -l a -s b -r -F -d"
            r" 'it\'s [a: b] \\'",
            *write_completions._fish_flags('-n x', [flag]),
        )


class TestManual(base.TestCase):
    def test_there_is_a_page_for_each_verb(self) -> None:
        pages = {path.name for path in (generate.SHARE / 'man/man1').iterdir()}
        self.assertEqual(
            {'fuel-agent-curl.1'}
            | {'fuel-agent-curl-%s.1' % verb for verb in parsers.VERBS},
            pages,
        )

    def test_each_page_has_every_option(self) -> None:
        for verb, make in parsers.VERBS.items():
            page = generate.SHARE / f'man/man1/fuel-agent-curl-{verb}.1'
            text = page.read_text().replace('\\', '')
            for name in make().flags():
                self.assertRegex(text, r'(\.B |, )%s\b' % re.escape(name))


class TestStale(base.TestCase):
    def test_what_is_left_over_is_told(self) -> None:
        """A verb that is gone leaves no page."""
        page = generate.SHARE / 'man/man1/fuel-agent-curl-demo.1'
        files = {
            path: path.read_text()
            for path in generate.SHARE.rglob('*')
            if path.is_file()
        }
        self.assertEqual([], generate.stale(files))
        text = files.pop(page)
        self.assertEqual([page], generate.stale(files))
        self.assertEqual([page], generate.stale({**files, page: text + '.'}))
