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

"""Run the commands that the documentation shows, and look at what they print.

A block of commands is ``.. code-block:: console``; a line of it that begins
with ``$`` or ``#`` (as root) is a command, and what stands below is what it
prints; ``...`` there stands for anything. The tests run all of them, but for
the blocks behind a comment ``.. not run: WHY``.

``tools/run_pages.py PAGE ...`` writes what the commands of these pages print
now, as root, below those that something stands below already. Blocks that
name other machines or disks than of this run are left as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import dataclasses
import doctest
import os
import pathlib
import re
import shlex
import socket
import subprocess
import sys
import tempfile

# Run as a file, the path has our directory in place of the one above.
if __name__ == '__main__':
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from tools import check_layers

ROOT = check_layers.ROOT

#: The languages of blocks that hold no commands.
LANGUAGES = ('ini', 'json', 'nginx', 'python', 'squid', 'text', 'xml', 'yaml')

_BLOCK = re.compile(
    r'(?:^\.\. not run:(?P<why>(?:.*\n)(?:   .*\n)*)\n)?'
    r'^(?P<indent> *)(?:\.\. code-block:: (?P<language>\w+)|(?!\.\. ).*::)\n'
    r'(?:(?P=indent)   :.*\n)*\n'
    r'(?P<body>(?:(?P=indent) +.*\n|\n)+)',
    re.MULTILINE,
)

#: What changes from one run to the next.
_VARIES = (
    # How far a copy is, every ten seconds: on a machine that is busy.
    (
        re.compile(
            r'^[\d:]{8} INFO [\d.]+ [KMG]?i?B(?: of [\d.]+ [KMG]?i?B)?'
            r'(?: read back)?(?: \(\d+%\))?, .*\n',
            re.MULTILINE,
        ),
        '',
    ),
    (re.compile(r'\b\d\d:\d\d:\d\d\b'), '00:00:00'),
    # Whoever sees it first has words of their own.
    (re.compile(r'(the deadline has passed)[^;]*'), r'\1'),
    (re.compile(r'/dev/loop\d+'), '/dev/loop0'),
    (re.compile(r'\b\d+(\.\d+)? [KMG]?i?B/s'), '1.0 MiB/s'),
    (re.compile(r'\b\d+\.\d+ (s|ms)\b'), '1.0 s'),
    (re.compile(r'127\.0\.0\.1:\d+'), '127.0.0.1:80'),
    (re.compile(r'\bport \d+'), 'port 80'),
    (re.compile(r'\bcontinues at [0-9.]+ \w+'), 'continues at 1.0 MiB'),
)

# What is not made for a run: other machines, and disks.
_ELSEWHERE = re.compile(r'//(?!127\.0\.0\.1:)\w|/dev/[a-km-z]d[a-z]|/srv/')

_MARK = '-- the end of command %d: '


def pages() -> list[pathlib.Path]:
    """Return every page that people read."""
    return [
        ROOT / 'README.rst',
        ROOT / 'CONTRIBUTING.rst',
        *sorted((ROOT / 'contrib').rglob('*.rst')),
        *sorted((ROOT / 'doc' / 'source').rglob('*.rst')),
    ]


@dataclasses.dataclass(frozen=True)
class Block:
    """A literal block.

    :ivar language: '' where none is said.
    :ivar why: why its commands are not run; '' where nothing is said.
    :ivar body: without its indentation.
    :ivar place: where the body begins in the text of the page.
    """

    language: str
    why: str
    body: str
    indent: str
    place: int

    @property
    def is_run(self) -> bool:
        return self.language == 'console' and not self.why


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page."""
    for found in _BLOCK.finditer(text):
        body = found['body'].rstrip('\n') + '\n'
        indent = re.match(' *', body.lstrip('\n'))[0]  # type: ignore[index]
        yield Block(
            found['language'] or '',
            ' '.join((found['why'] or '').split()),
            re.sub('^' + indent, '', body, flags=re.MULTILINE),
            indent,
            found.start('body'),
        )


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, and what stands below it; '' if that is nothing."""

    typed: str
    shown: str


def commands(body: str) -> list[Command]:
    """Return the commands of the body of a block."""
    found: list[Command] = []
    for line in body.splitlines(keepends=True):
        last = found[-1] if found else None
        if last and last.typed.endswith('\\\n'):
            found[-1] = Command(last.typed + line, '')
        elif line.startswith(('$ ', '# ')):
            found.append(Command(line[2:], ''))
        elif last:
            found[-1] = Command(last.typed, last.shown + line)
        elif line.strip():
            raise ValueError('no command: ' + line)
    return [Command(each.typed.rstrip('\n'), each.shown) for each in found]


@dataclasses.dataclass(frozen=True)
class Done:
    """What a command did.

    :ivar printed: on both streams.
    """

    command: Command
    printed: str
    exit_code: int

    @property
    def is_right(self) -> bool:
        """It prints what stands below it; where nothing does, it succeeds."""
        if not self.command.shown:
            return self.exit_code == 0
        return doctest.OutputChecker().check_output(
            _steady(self.command.shown),
            _steady(self.printed),
            doctest.ELLIPSIS,
        )


def _steady(text: str) -> str:
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    # As the pages are stripped at the ends of lines.
    return re.sub(r' +$', '', text, flags=re.MULTILINE)


def run(
    chosen: list[Command],
    directory: str,
    instead: Mapping[str, str],
    timeout: float = 100.0,
) -> list[Done]:
    """Run commands in one shell, one after the other.

    :param directory: where; its ``bin`` is the first on the path.
    :param instead: what is typed in place of what the page says; in what is
        printed, the page's word stands for it again.
    """
    words = sorted(instead.items(), key=lambda item: -len(item[0]))
    script = ['cd ' + shlex.quote(directory)]
    for number, command in enumerate(chosen):
        typed = command.typed
        for word, ours in words:
            typed = typed.replace(word, ours)
        if _ELSEWHERE.search(typed):
            raise ValueError('not run, as it is not ours: ' + typed)
        script.append(typed)
        mark = _MARK % number
        script.append('printf "%%s%%d\\n" %s "$?"' % shlex.quote(mark))
        if typed.endswith('&'):
            # Whoever types is not that fast.
            script.append(_LISTENS % re.findall(r' (\d{4,5})\b', typed)[0])
    printed = subprocess.run(
        ['bash', '-c', '\n'.join(script)],
        env={
            **os.environ,
            'PATH': '%s/bin:%s' % (directory, os.environ['PATH']),
            'PYTHONPATH': str(ROOT),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    ).stdout
    for word, ours in words:
        printed = printed.replace(ours, word)
    done = []
    for number, command in enumerate(chosen):
        before, mark, rest = printed.partition(_MARK % number)
        if not mark:
            raise ValueError('%s: no end\n%s' % (command.typed, printed))
        code, _, printed = rest.partition('\n')
        done.append(Done(command, before, int(code)))
    return done


_LISTENS = 'until (: </dev/tcp/127.0.0.1/%s) 2>/dev/null; do sleep 0.1; done'


def install(directory: str) -> None:
    """Have a shell that runs there find our programs."""
    for name, words in (
        ('python3', [sys.executable]),
        ('fuel-agent-curl', [sys.executable, '-m', _PROGRAM]),
    ):
        program = pathlib.Path(directory, 'bin', name)
        program.parent.mkdir(exist_ok=True)
        program.write_text('#!/bin/sh\nexec %s "$@"\n' % shlex.join(words))
        program.chmod(0o755)


_PROGRAM = 'fuel_agent_curl.cmd.main'


def free_port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as free:
        port: int = free.getsockname()[1]
    return port


def recorded(text: str, done: list[Done]) -> str:
    """Return a page with what its commands have printed."""
    left = iter(done)
    made = ''
    end = 0
    for block in blocks(text):
        if not _is_recorded(block):
            continue
        body = ''
        for command in commands(block.body):
            found = next(left)
            for number, line in enumerate(command.typed.split('\n')):
                body += ('' if number else _prompt(block, line)) + line + '\n'
            if command.shown:
                body += re.sub(' +$', '', found.printed, flags=re.MULTILINE)
        made += text[end : block.place]
        made += re.sub('^(?=.)', block.indent, body, flags=re.MULTILINE)
        end = block.place + len(
            re.sub('^(?=.)', block.indent, block.body, flags=re.MULTILINE)
        )
    return made + text[end:]


def _is_recorded(block: Block) -> bool:
    return block.is_run and not _ELSEWHERE.search(block.body)


def _prompt(block: Block, line: str) -> str:
    return '$ ' if '$ ' + line in block.body else '# '


def main(names: list[str]) -> int:
    for name in names:
        path = pathlib.Path(name)
        text = path.read_text()
        chosen = [
            command
            for block in blocks(text)
            if _is_recorded(block)
            for command in commands(block.body)
        ]
        with tempfile.TemporaryDirectory(dir='/var/tmp') as directory:
            install(directory)
            done = run(chosen, directory, {'8080': str(free_port())})
        path.write_text(recorded(text, done))
    return 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
