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

"""What a benchmark needs, and which package has it."""

from __future__ import annotations

from collections.abc import Iterable
import importlib.util
import os
import pathlib
import shutil
import sys

#: Debian's package of a program, where it is named otherwise.
_PACKAGES = {
    'aria2c': 'aria2',
    'dd': 'coreutils',
    'gunzip': 'gzip',
    'igzip': 'isal',
    'losetup': 'mount',
    'mkfs.ext4': 'e2fsprogs',
    'xz': 'xz-utils',
}

ROOT = pathlib.Path(__file__).parent.parent.parent

#: The command line of this project, as it is installed for this Python.
OURS = os.path.join(os.path.dirname(sys.executable), 'fuel-agent-curl')


class Missing(Exception):
    """Something without which nothing can be measured."""


def missing(programs: Iterable[str]) -> list[str]:
    """Return a phrase for each program that is not installed.

    A name with a colon is a module of Python: ``python:fuel_agent``.
    """
    phrases = []
    for name in sorted(set(programs)):
        kind, _, module = name.partition(':')
        if module:
            if importlib.util.find_spec(module) is None:
                phrases.append('%s (pip install %s)' % (module, _dist(module)))
        elif shutil.which(name) is None:
            phrases.append('%s (%s)' % (os.path.basename(kind), _hint(name)))
    return phrases


def require(*programs: str, root: bool = False) -> None:
    """Raise unless everything is there.

    :raises Missing: with one line about all that is not.
    """
    phrases = missing((OURS, *programs))
    if root and os.geteuid() != 0:
        phrases.append('root, for loop devices')
    if phrases:
        raise Missing('missing: ' + ', '.join(phrases))


def require_space(directory: pathlib.Path, length: int) -> None:
    """Raise unless ``length`` bytes are free.

    :raises Missing: with one line about it.
    """
    free = shutil.disk_usage(directory).free
    if free < length:
        raise Missing(
            'missing: space in %s: %d MiB are free, %d needed; see --scratch'
            % (directory, free >> 20, length >> 20)
        )


def _hint(name: str) -> str:
    if name == OURS:
        return 'pip install --editable .'
    return 'package ' + _PACKAGES.get(name, name)


def _dist(module: str) -> str:
    return module.replace('_', '-')
