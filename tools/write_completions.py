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

"""What bash, zsh and fish complete of our command line, from its parsers.

The scripts are the same for every installation, and start no program.
``tools/generate.py`` writes them below share/.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import re
import textwrap

from fuel_agent_curl.cmd import parsers

#: Where each shell looks, below the share/ of an installation.
BASH = 'bash-completion/completions/fuel-agent-curl'
ZSH = 'zsh/site-functions/_fuel-agent-curl'
FISH = 'fish/vendor_completions.d/fuel-agent-curl.fish'

#: What the help calls a value that may be a path.
_PATHS = ('CHECKSUM', 'FILE', 'FILE_OR_URL', 'TARGET')
_DIRECTORIES = ('DIR',)

#: Verbs whose last argument is a path.
_TAKE_PATH = ('copy', 'status')

#: Characters of what is said of an option.
_MOST = 68

_MADE = '# Made by tools/generate.py from the parsers of the program.\n'


@dataclasses.dataclass(frozen=True)
class Flag:
    """An option of the command line.

    :ivar value: what the help calls its value; '': it takes none.
    :ivar text: what it means, in a few words.
    :ivar again: it may be given more than once.
    """

    names: tuple[str, ...]
    value: str
    text: str
    again: bool

    @property
    def kind(self) -> str:
        """What is completed: 'none', 'choice', 'path', 'directory', 'any'."""
        if not self.value:
            return 'none'
        if '|' in self.value:
            return 'choice'
        if self.value in _PATHS:
            return 'path'
        return 'directory' if self.value in _DIRECTORIES else 'any'

    @property
    def choices(self) -> str:
        """All values there are, with blanks between them."""
        return self.value.replace('|', ' ')


def flags(parser: argparse.ArgumentParser) -> list[Flag]:
    """Return the options of a parser, in the order of its help."""
    return [
        Flag(
            tuple(action.option_strings),
            ''
            if action.nargs == 0
            else str(action.metavar or '|'.join(action.choices or ())),
            _brief(action.help or ''),
            isinstance(action, argparse._AppendAction),
        )
        for group in parser._action_groups
        for action in group._group_actions
        if action.option_strings and action.help != argparse.SUPPRESS
    ]


def _brief(text: str) -> str:
    """Return the beginning of a help."""
    first = ' '.join(text.replace('%%', '%').split()).partition('. ')[0]
    first = first.partition(' (default')[0].rstrip('.')
    if len(first) <= _MOST:
        return first
    # Up to where the sentence may be left, else to the last word.
    found = re.match(r'.{20,%d}(?=[;:] )' % _MOST, first)
    return (
        found[0]
        if found
        else textwrap.shorten(first, _MOST, placeholder=' ...')
    )


def _by_verb() -> dict[str, list[Flag]]:
    """Return the options of each verb."""
    return {v: flags(make()) for v, make in sorted(parsers.VERBS.items())}


def _meaning(verb: str) -> str:
    return _brief(parsers.VERBS[verb]().description or '')


_BASH = """\
%(made)s
_fuel_agent_curl() {
    local current=$2 before=$3 verb='' words='' place
    COMPREPLY=()
    # bash takes --option=value for three words.
    if [[ $current == = ]]; then
        current=''
    elif [[ $before == = ]] && ((COMP_CWORD > 2)); then
        before=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    for ((place = 1; place < COMP_CWORD; place++)); do
        case ${COMP_WORDS[place]} in
        --config-file | --config-dir)
            if [[ ${COMP_WORDS[place + 1]} == = ]]; then
                ((place += 2))
            else
                ((place += 1))
            fi
            ;;
        -*) ;;
        *)
            verb=${COMP_WORDS[place]}
            break
            ;;
        esac
    done
    case $before in
%(values)s
    esac
    case $verb:$current in
%(verbs)s
    esac
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    fi
}

_fuel_agent_curl_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}

complete -F _fuel_agent_curl fuel-agent-curl
"""


def bash() -> str:
    """Return the script for bash."""
    by_verb = _by_verb()
    top = flags(parsers.top())
    every = [flag for each in (top, *by_verb.values()) for flag in each]
    values = []
    for kind, does in (
        ('path', '_fuel_agent_curl_paths -f "$current"'),
        ('directory', '_fuel_agent_curl_paths -d "$current"'),
        ('any', ''),
    ):
        names = _names(flag for flag in every if flag.kind == kind)
        values.append(_case(names, *filter(None, (does, 'return'))))
    for choices in dict.fromkeys(f.choices for f in every if '|' in f.value):
        names = _names(f for f in every if f.choices == choices)
        values.append(
            _case(
                names,
                'mapfile -t COMPREPLY < <(compgen -W "%s" -- "$current")'
                % choices,
                'return',
            )
        )
    verbs = [
        _case([':-*'], _words(top)),
        _case([':*'], "words='%s'" % ' '.join(parsers.VERBS)),
        *(_case([v + ':-*'], _words(fs)) for v, fs in by_verb.items()),
        _case(
            [verb + ':*' for verb in _TAKE_PATH],
            '_fuel_agent_curl_paths -f "$current"',
        ),
    ]
    return _BASH % {
        'made': _MADE + '# shellcheck shell=bash\n',
        'values': '\n'.join(values),
        'verbs': '\n'.join(verbs),
    }


def _names(chosen: Iterable[Flag]) -> list[str]:
    return list(dict.fromkeys(name for f in chosen for name in f.names))


def _case(patterns: list[str], *commands: str) -> str:
    folded = ' | \\\n'.join(
        line.replace(' ', ' | ')
        for line in textwrap.wrap(
            ' '.join(patterns), 56, break_on_hyphens=False
        )
    )
    lines = [
        *textwrap.indent(folded + ')', ' ' * 8).splitlines(),
        *(textwrap.indent(command, ' ' * 12) for command in commands),
        ' ' * 12 + ';;',
    ]
    return '\n'.join(lines)


def _words(chosen: list[Flag]) -> str:
    text = textwrap.fill(' '.join(_names(chosen)), 60, break_on_hyphens=False)
    return "words='%s'" % text


_ZSH = """\
#compdef fuel-agent-curl
%(made)s
_fuel-agent-curl() {
    local context curcontext=$curcontext state state_descr line
    typeset -A opt_args
    local -a verbs=(
%(verbs)s
    )
    _arguments -C -S \\
%(top)s \\
        '1: :->verb' \\
        '*:: :->rest'
    case $state in
    verb)
        _describe -t verbs verb verbs
        ;;
    rest)
        case $words[1] in
%(cases)s
        esac
        ;;
    esac
}

_fuel-agent-curl "$@"
"""

_ZSH_CASE = """\
        %s)
            _arguments -S \\
%s
            ;;"""


def zsh() -> str:
    """Return the script for zsh."""
    cases = []
    for verb, chosen in _by_verb().items():
        specs = [_zsh_flag(flag) for flag in chosen]
        if verb in _TAKE_PATH:
            specs.append("'*:target:_files'")
        cases.append(_ZSH_CASE % (verb, _zsh_lines(specs, 16)))
    return _ZSH % {
        'made': _MADE,
        'verbs': '\n'.join(
            "        '%s:%s'" % (verb, _zsh_text(_meaning(verb)))
            for verb in parsers.VERBS
        ),
        'top': _zsh_lines(map(_zsh_flag, flags(parsers.top())), 8),
        'cases': '\n'.join(cases),
    }


def _zsh_lines(specs: Iterable[str], indent: int) -> str:
    return ' \\\n'.join(' ' * indent + spec for spec in specs)


def _zsh_flag(flag: Flag) -> str:
    """Return what _arguments is told of an option, between quotes."""
    value = {
        'none': '',
        'choice': ':value:(%s)' % flag.choices,
        'path': ':path:_files',
        'directory': ':directory:_path_files -/',
        'any': ':%s: ' % _zsh_text(flag.value),
    }[flag.kind]
    names = [
        # Where one follows, the value may be the next word, or behind a '='.
        name + ('=' if value and name.startswith('--') else '')
        for name in flag.names
    ]
    rest = '[%s]%s' % (_zsh_text(flag.text), value)
    if flag.again:
        return ' '.join("'*%s%s'" % (name, rest) for name in names)
    if len(names) == 1:
        return "'%s%s'" % (names[0], rest)
    return "'(%s)'{%s}'%s'" % (' '.join(flag.names), ','.join(names), rest)


def _zsh_text(text: str) -> str:
    for mark in '\\[]:':
        text = text.replace(mark, '\\' + mark)
    return text.replace("'", "'\\''")


def fish() -> str:
    """Return the script for fish."""
    lines = [
        _MADE.rstrip(),
        # No files, but where one is asked for.
        'complete -c fuel-agent-curl -f',
    ]
    before = "-n 'not __fish_seen_subcommand_from %s'" % ' '.join(
        parsers.VERBS
    )
    lines += [
        '%s -a %s -d %s' % (_fish(before), verb, _quoted(_meaning(verb)))
        for verb in parsers.VERBS
    ]
    lines += _fish_flags(before, flags(parsers.top()))
    for verb, chosen in _by_verb().items():
        after = "-n '__fish_seen_subcommand_from %s'" % verb
        if verb in _TAKE_PATH:
            lines.append(_fish(after) + ' -F')
        lines += _fish_flags(after, chosen)
    return '\n'.join(lines) + '\n'


def _fish(condition: str) -> str:
    return 'complete -c fuel-agent-curl ' + condition


def _fish_flags(condition: str, chosen: Iterable[Flag]) -> Iterator[str]:
    for flag in chosen:
        names = ' '.join(
            '-l ' + name[2:] if name.startswith('--') else '-s ' + name[1:]
            for name in flag.names
        )
        value = {
            'none': '',
            'choice': " -x -a '%s'" % flag.choices,
            'path': ' -r -F',
            'directory': " -x -a '(__fish_complete_directories)'",
            'any': ' -x',
        }[flag.kind]
        yield '%s %s%s -d %s' % (
            _fish(condition),
            names,
            value,
            _quoted(flag.text),
        )


def _quoted(text: str) -> str:
    """Return a word for fish."""
    return "'%s'" % text.replace('\\', '\\\\').replace("'", "\\'")
