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

"""A command line, taken apart: verb, options, operands.

No error repeats what was typed, but for names of options and of what is
there: a misplaced word may be a credential.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import itertools
import os
import re
import typing

from fuel_agent_curl.cmd import parsers
from fuel_agent_curl.config import names

PROG = parsers.PROG

# A URL, or what was meant to be one; a path may begin with './'.
_URL = re.compile(r'[a-z][a-z0-9+.-]*:/|[^/]*:[^/]*@', re.IGNORECASE)

_FLAG = re.compile(r'--?[a-z][a-z0-9-]{0,31}|-.')

# What other programs call what we have, or have no need of.
_OTHERS = {
    '--capath': '--cacert',
    '--max-time': '--deadline',
    '-m': '--deadline',
    '--no-check-certificate': '--insecure',
    '--noproxy': '--no-proxy',
    '--retry': '--attempts',
    '--speed-limit': '--low-speed-limit',
    '-Y': '--low-speed-limit',
    '--speed-time': '--low-speed-time',
    '-y': '--low-speed-time',
    '--tries': '--attempts',
    '-A': '--user-agent',
    '-E': '--cert',
    '-O': '-o TARGET',
    '-q': '--silent',
    '--quiet': '--silent',
    '-#': '--progress bar',
}
_NEEDLESS = ('-C', '-c', '--continue-at')


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Take a command line apart.

    The result has ``verb``, ``config_file`` and ``config_dir`` (lists),
    ``debug``, what ``given`` reads, and of ``copy`` ``url``, ``mirrors``,
    ``target`` and ``output`` (targets that were named by ``-o``).

    :raises errors.OptionError: for a command line that cannot be used.
    :raises SystemExit: after --help or --version.
    """
    top = parsers.top()
    place = _place_of_verb(argv)
    before, unknown = top.parse_known_args(argv[:place])
    if unknown:
        _refuse_before_verb(top, unknown[0])
    if place == len(argv):
        top.error('a verb is missing: ' + ', '.join(parsers.VERBS))
    verb = argv[place]
    if verb not in parsers.VERBS:
        top.error(_no_verb(verb))
    parser = parsers.VERBS[verb]()
    words, operands = _split(argv[place + 1 :])
    after, rest = parser.parse_known_args(words)
    for word in rest:
        if word.startswith('-') and word != '-':
            parser.error(_no_option(word, parser.flags()))
    operands = rest + operands
    if verb == 'copy':
        _read_copy(parser, after, operands)
    elif verb == 'probe':
        _read_probe(parser, after, operands)
    elif verb == 'status':
        if len(operands) != 1:
            parser.error('one TARGET is asked for')
        (after.target,) = operands
    elif operands:
        parser.error('takes no arguments')
    after.verb = verb
    after.config_file = before.config_file + after.config_file
    after.config_dir = before.config_dir + after.config_dir
    after.debug = before.debug or after.debug
    return after


def json_descriptor(argv: Sequence[str]) -> int | None:
    """Return where ``argv``, which may be wrong, asks for JSON; None: no."""
    found = None
    for before, word in itertools.pairwise(['', *argv]):
        name, equals, value = word.partition('=')
        if not equals:
            name, value = before, word
        if name == '--progress-fd' and parsers.DESCRIPTOR.fullmatch(value):
            return int(value)
        if (name, value) == ('--progress', 'json'):
            found = 1
    return found


def given(arguments: argparse.Namespace) -> dict[str, typing.Any]:
    """Return the values of the options that were given as flags."""
    return {
        name.removeprefix(parsers.OPTION): value
        for name, value in vars(arguments).items()
        if name.startswith(parsers.OPTION)
    }


def _place_of_verb(argv: Sequence[str]) -> int:
    """Return where the verb is; the length of ``argv`` where there is none."""
    place = 0
    while place < len(argv) and argv[place].startswith('-'):
        place += 2 if argv[place] in parsers.WITH_VALUE else 1
    return min(place, len(argv))


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what comes before a '--', and after it."""
    words = list(words)
    if '--' not in words:
        return words, []
    place = words.index('--')
    return words[:place], words[place + 1 :]


def _refuse_before_verb(top: parsers.Parser, word: str) -> typing.NoReturn:
    for verb in ('copy', 'probe'):
        flags = parsers.VERBS[verb]().flags()
        if _name(word) in flags:
            top.error(
                '%s belongs behind the verb: %s %s %s ...'
                % (_name(word), PROG, verb, _name(word))
            )
    top.error(_no_option(word, top.flags()))


def _no_verb(word: str) -> str:
    if _URL.match(word):
        return 'a verb is missing: %s copy URL TARGET' % PROG
    meant = names.nearest(word, parsers.VERBS)
    if meant:
        return 'there is no verb %s (did you mean %s?)' % (word, meant)
    return 'there is no such verb (choose from %s)' % ', '.join(parsers.VERBS)


def _no_option(word: str, flags: Sequence[str]) -> str:
    name = _name(word)
    if not _FLAG.fullmatch(name):
        return 'one of the options is none of ours'
    if name in _NEEDLESS and word in (name, '-C-'):
        return '%s is not needed: every copy is resumed' % name
    meant = _OTHERS.get(name)
    if meant is None and len(word) > 2:
        long = name if name.startswith('--') else '-' + word
        meant = names.nearest(long, [each for each in flags if each[2:]])
    text = 'there is no option ' + name
    return '%s (did you mean %s?)' % (text, meant) if meant else text


def _name(word: str) -> str:
    """Return the option of ``word`` without its value."""
    return word.partition('=')[0] if word.startswith('--') else word[:2]


def _read_copy(
    parser: parsers.Parser,
    arguments: argparse.Namespace,
    operands: list[str],
) -> None:
    """Set ``url``, ``mirrors`` and ``target``, or say what is wrong."""
    targets = arguments.output
    if not targets and operands and not _URL.match(operands[-1]):
        targets = [operands.pop()]
    if not operands:
        parser.error(
            'URL is missing' if targets else 'URL and TARGET are missing'
        )
    if not targets and os.path.exists(operands[0]):
        parser.error('URL and TARGET have changed places')
    if not targets:
        # Else a forgotten TARGET would make a file of the mirror's name.
        parser.error('TARGET is missing: the last argument is a URL')
    for number, word in enumerate(operands, 1):
        if not word:
            parser.error('argument %d is empty' % number)
        if not _URL.match(word) and os.path.exists(word):
            parser.error(_no_url(number, word))
    if len(targets) > 1:
        parser.error('there is one TARGET, and -o was given again')
    arguments.url, *arguments.mirrors = operands
    (arguments.target,) = targets
    if not arguments.target:
        parser.error('TARGET is empty')
    if _URL.match(arguments.target):
        parser.error('TARGET is a URL: no images are sent anywhere')


def _no_url(number: int, word: str) -> str:
    """Return what is wrong with a path in the place of a URL."""
    if number == 1:
        return 'URL is a path, %s: images come by http or https' % word
    return (
        'there is one TARGET, the last argument or that of -o, and argument'
        ' %d, %s, is no URL: run it once for each target' % (number, word)
    )


def _read_probe(
    parser: parsers.Parser,
    arguments: argparse.Namespace,
    operands: list[str],
) -> None:
    if len(operands) != 1:
        parser.error(
            'one URL is asked for, and %d were given' % len(operands)
            if operands
            else 'URL is missing'
        )
    (arguments.url,) = operands
