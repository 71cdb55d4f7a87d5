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

"""What the programs share: options, the report, how they end."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterator
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import sys
from typing import Any

from tools.bench import chart
from tools.bench import figures
from tools.bench import measure
from tools.bench import needs
from tools.bench import report
from tools.bench import rounds
from tools.bench import scratch
from tools.bench import signals

#: Takes the options and a directory that will be removed; yields what was
#: compared, one section after the other.
Comparison = Callable[
    [argparse.Namespace, pathlib.Path], Iterator[figures.Section]
]

#: MiB of an image that is only to show that all works.
_QUICK_SIZE = 48


def parser(
    description: str, sections: Collection[str]
) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has.

    :param sections: the keys of what it compares.
    """

    def keys(text: str) -> list[str]:
        given = text.split(',')
        for key in given:
            if key not in sections:
                raise argparse.ArgumentTypeError('no section: %r' % key)
        return given

    made = argparse.ArgumentParser(description=description)
    made.add_argument(
        '--runs',
        type=positive,
        default=5,
        help='how often each contender is measured (default: 5)',
    )
    made.add_argument(
        '--scratch',
        metavar='DIR',
        help='where to make what is needed, on a disk, not in memory'
        ' (default: where temporary files go)',
    )
    made.add_argument(
        '--output',
        metavar='DIR',
        default='bench-results',
        help='where the report goes (default: bench-results)',
    )
    made.add_argument(
        '--only',
        metavar='NAME[,NAME...]',
        type=keys,
        help='sections to run: %s (default: all)' % ', '.join(sections),
    )
    made.add_argument(
        '--quick',
        action='store_true',
        help='small sizes, one run, no warm-up: to see that it works',
    )
    return made


def add_size(
    parser: argparse.ArgumentParser,
    default: int,
    what: str = 'length of the image',
) -> None:
    """Add ``--size``, in MiB."""
    parser.add_argument(
        '--size',
        type=positive,
        default=default,
        metavar='MIB',
        help='%s (default: %d)' % (what, default),
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Add ``--images``, a directory that outlives the benchmark."""
    parser.add_argument(
        '--images',
        metavar='DIR',
        help='keep the images there, and use those that are (default: make'
        ' them, which takes minutes, and remove them)',
    )


def parse(
    parser: argparse.ArgumentParser, argv: list[str] | None
) -> argparse.Namespace:
    """Return the options; ``--quick`` goes before the others."""
    options = parser.parse_args(argv)
    if options.quick:
        options.runs = 1
        if 'size' in options:
            options.size = _QUICK_SIZE
    return options


def positive(text: str) -> int:
    """Convert an argument; for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def wanted(options: argparse.Namespace, key: str) -> bool:
    """Return whether a section is asked for."""
    return not options.only or key in options.only


def run(
    name: str, title: str, options: argparse.Namespace, compare: Comparison
) -> int:
    """Run a benchmark; return its exit code.

    The report is written anew after every section, so that what was measured
    is there whatever comes later.

    :param name: of the files of the report, without a suffix.
    """
    about = _about(options)
    if about['load'] > 0.5:
        rounds.say(
            'the machine is not idle (load %.1f): the figures will not mean'
            ' much' % about['load']
        )
    sections: list[figures.Section] = []
    with signals.interruptible():
        try:
            with scratch.directory(options.scratch) as directory:
                _set_environment(directory, options.quick)
                for section in compare(options, directory):
                    if options.quick:
                        # Nobody should believe any of it.
                        section = _without_goals(section)
                    print(report.table(section), flush=True)
                    sections.append(section)
                    _write(options.output, name, title, sections, about)
        except needs.Missing as error:
            print(error, file=sys.stderr)
            return 2
        except (measure.Failed, OSError) as error:
            print('failed: %s' % error, file=sys.stderr)
            return 1
    return 0


def _without_goals(section: figures.Section) -> figures.Section:
    return dataclasses.replace(
        section,
        goals=(),
        measured=tuple(
            dataclasses.replace(line, goal=None) for line in section.measured
        ),
    )


def forget_proxies() -> None:
    """Have no proxy asked: loopback is all that is asked for."""
    for variable in list(os.environ):
        if variable.lower().endswith('_proxy'):
            del os.environ[variable]


def _set_environment(directory: pathlib.Path, quick: bool) -> None:
    """Set what every contender, and every server, inherits."""
    forget_proxies()
    if not quick:
        # What is installed has been compiled; here, the warm-up does that.
        os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
        os.environ['PYTHONPYCACHEPREFIX'] = str(directory / 'pycache')


def _write(
    output: str,
    name: str,
    title: str,
    sections: list[figures.Section],
    about: dict[str, Any],
) -> None:
    directory = pathlib.Path(output)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.with_suffix('.txt').write_text(
        '\n'.join(report.table(section) for section in sections)
    )
    path.with_suffix('.json').write_text(
        json.dumps(report.document(sections, about), indent=1) + '\n'
    )
    path.with_suffix('.svg').write_text(chart.svg(title, sections))


def _about(options: argparse.Namespace) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.UTC)
    return {
        'date': now.isoformat(timespec='seconds'),
        # Where it was is nobody's business.
        'options': {
            name: value
            for name, value in vars(options).items()
            if name not in ('scratch', 'output', 'images')
        },
        'load': os.getloadavg()[0],
        'cpus': os.cpu_count(),
        'machine': platform.machine(),
        'processor': _processor(),
        'kernel': platform.release(),
        'python': platform.python_version(),
    }


def _processor() -> str:
    """Return what the processor calls itself; empty: it does not."""
    with open('/proc/cpuinfo', encoding='utf-8') as file:
        for line in file:
            name, _colon, value = line.partition(':')
            if name.strip() == 'model name':
                return value.strip()
    return ''
