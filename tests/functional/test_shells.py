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


"""The shells complete our command line, and man shows the pages."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import textwrap

from tests import base
from tests.support import netns
from tools import generate
from tools import write_completions

#: What is typed, and what is among that which is offered for its last word.
_TYPED = {
    'a verb': ('', 'probe'),
    'a verb, begun': ('co', 'copy'),
    'behind an option with a value': ('--config-file x.conf co', 'copy'),
    'an option': ('copy --image-ch', '--image-checksum'),
    'an option, short': ('probe -', '-4'),
    'a value': ('copy --container zs', 'zstd'),
    'a value, behind =': ('copy --container=zs', 'zstd'),
    'a path': ('copy http://server/x ./tar', 'target.img'),
    'the path of an option': ('copy --cacert ./tar', 'target.img'),
    'a directory': ('copy --config-dir ./con', 'conf.d'),
    'no directory': ('copy --config-dir ./tar', ''),
    'no path': ('probe ./tar', ''),
    'no such option': ('demo --image-ch', ''),
}

#: Writes what is offered to a file, and shows nothing.
_ZSHRC = """
PS1='ready> ' fpath=(%s $fpath)
unsetopt prompt_cr prompt_sp; unset zle_bracketed_paste
autoload -Uz compinit && compinit -D -u
compadd() {
    # Where it is asked for words, and not to offer any.
    if [[ " ${(j: :)argv[1,(i)-(|-)]} " == *' -'[OAD]' '* ]]; then
        builtin compadd "$@"
        return
    fi
    local -a hits
    builtin compadd -A hits "$@"
    print -rl -- $hits >>$OFFERED.part
    builtin compadd "$@"
}
offer() {
    : >$OFFERED.part
    _main_complete
    compstate[insert]= compstate[list]=
    mv $OFFERED.part $OFFERED
}
zle -C offer complete-word offer
bindkey '^I' offer
"""


class TestBash(base.FunctionalTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('bash')
        os.mkdir(os.path.join(self.directory, 'conf.d'))
        for name in ('target.img', 'README'):
            open(os.path.join(self.directory, name), 'x').close()

    def offered(self, words: list[str]) -> str:
        # bash takes --option=value for three words.
        words = [
            part for word in words for part in re.split('(=)', word) if part
        ] + [''] * (not words[-1])
        script = textwrap.dedent("""
            source "$1"
            shift
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _fuel_agent_curl "$1" "${@: -1}" "${@: -2:1}"
            printf '%s\\n' "${COMPREPLY[@]}"
        """)
        path = generate.SHARE / write_completions.BASH
        return subprocess.run(
            ['bash', '-u', '-c', script, 'bash', path, *words],
            cwd=self.directory,
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    def test_it_completes(self) -> None:
        for what, (typed, wanted) in _TYPED.items():
            printed = self.offered(['fuel-agent-curl', *typed.split(' ')])
            offered = [os.path.basename(w.strip('/')) for w in printed.split()]
            if wanted:
                self.assertIn(wanted, offered, what)
                self.assertNotIn('README', offered, what)
            else:
                self.assertEqual([], offered, what)


class TestFish(TestBash):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('fish')

    def offered(self, words: list[str]) -> str:
        path = generate.SHARE / write_completions.FISH
        printed = subprocess.run(
            [
                *('fish', '--no-config', '--private', '-c'),
                'source %s; complete -C "%s"' % (path, ' '.join(words)),
            ],
            cwd=self.directory,
            env={**os.environ, 'HOME': self.directory},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        # --option=value is offered as a whole, and a meaning with each.
        return re.sub(r'^(\S+=)?(\S*).*$', r'\2', printed, flags=re.MULTILINE)


class TestZsh(TestBash):
    def setUp(self) -> None:
        super().setUp()
        self.need_program('zsh')

    def offered(self, words: list[str]) -> str:
        """Return what is listed, by a shell that takes this for a terminal."""
        functions = (generate.SHARE / write_completions.ZSH).parent
        with open(os.path.join(self.directory, '.zshrc'), 'w') as begin:
            begin.write(_ZSHRC % functions)
        found = os.path.join(self.directory, 'offered')
        if os.path.exists(found):
            os.unlink(found)
        leader, follower = pty.openpty()
        with (
            open(leader, 'r+b', buffering=0) as terminal,
            subprocess.Popen(
                # -d: nothing of the machine's own.
                ['zsh', '-d', '-i'],
                cwd=self.directory,
                env={
                    **os.environ,
                    'OFFERED': found,
                    'TERM': 'dumb',
                    'ZDOTDIR': self.directory,
                },
                stdin=follower,
                stdout=follower,
                stderr=follower,
                start_new_session=True,
            ) as shell,
        ):
            os.close(follower)
            try:
                printed = b''
                while b'ready> ' not in printed:
                    printed += terminal.read(1000)
                terminal.write(' '.join(words).encode() + b'\t')
                netns.wait_for('offers', lambda: os.path.exists(found), 30)
            finally:
                shell.kill()
        with open(found) as offered:
            return offered.read()


class TestMan(base.FunctionalTestCase):
    def printed(self, *command: str) -> str:
        self.need_program(command[0])
        done = subprocess.run(
            [*command, *sorted((generate.SHARE / 'man/man1').iterdir())],
            env={**os.environ, 'MANWIDTH': '80', 'LC_ALL': 'C.UTF-8'},
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertEqual('', done.stderr)
        return done.stdout

    def test_man_shows_each_without_a_warning(self) -> None:
        text = self.printed('man', '--warnings', '--local-file')
        for title in ('NAME', 'SYNOPSIS', 'OPTIONS', 'SEE ALSO'):
            self.assertRegex(text, '(?m)^%s$' % title)
        for line in text.splitlines():
            self.assertLess(len(line), 90, line)

    def test_mandoc_has_nothing_against_any(self) -> None:
        """But that they have no date, as that would change every day."""
        said = self.printed('mandoc', '-T', 'lint', '-W', 'warning')
        self.assertEqual(
            [],
            [x for x in said.splitlines() if 'missing date' not in x],
        )
