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

"""Names that are none: of options, in files and on the command line."""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
import re

from fuel_agent_curl import errors
from fuel_agent_curl.config import options

#: What stands in an environment variable before the name of an option.
VARIABLE = 'OS_%s__' % options.GROUP.upper()

_NAMES = frozenset(option.name for option in options.ALL).union(
    options.IRONIC, options.FUEL_AGENT
)

_NAME = re.compile(r'[a-z][a-z0-9_-]{0,31}')

# How alike two names have to be for one to be taken for the other.
_ALIKE = 0.7


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return which of ``known`` was meant by ``name``; None: nobody knows.

    Where it is the beginning of several, 'one or other'.
    """
    known = list(known)
    begun = sorted(each for each in known if each.startswith(name))
    if begun and len(name) > 2:
        return ' or '.join(begun[:3])
    # Here: it is for who has mistyped something.
    import difflib

    alike = difflib.get_close_matches(name, known, 1, _ALIKE)
    return alike[0] if alike else None


def check_file(
    path: str,
    sections: Mapping[str, Iterable[str]],
    elsewhere: Container[str],
) -> None:
    """Refuse what looks like an option of ours and has no effect.

    Other sections are other programs', which may share the file.

    :param sections: the names in each, as they are in the file at ``path``.
    :param elsewhere: names that are known in the section DEFAULT.
    :raises errors.OptionError: for the first.
    """
    for section, names in sections.items():
        if section == options.GROUP:
            for name in names:
                _check(name, '%s: ' % path)
        elif section == 'DEFAULT':
            for name in names:
                if name in _NAMES and name not in elsewhere:
                    raise errors.OptionError(
                        '%s: %s belongs into the section [%s]'
                        % (path, name, options.GROUP)
                    )
        elif nearest(_folded(section), [options.GROUP]):
            raise errors.OptionError(
                '%s: there is no section [%s]'
                % (path, errors.one_line(section)),
                hint='did you mean [%s]?' % options.GROUP,
            )


def check_environment(variables: Iterable[str]) -> None:
    """Refuse variables of ours that name no option.

    :raises errors.OptionError: for the first.
    """
    for variable in variables:
        if variable.startswith(VARIABLE):
            name = variable.removeprefix(VARIABLE)
            _check(name.lower(), 'environment variable %s: ' % variable)


def _check(name: str, where: str) -> None:
    plain = name.replace('-', '_')
    if name in _NAMES:
        return
    meant = _BY_FLAG.get(plain) or nearest(plain, sorted(_NAMES))
    # A line in the wrong place may hold whatever it likes.
    raise errors.OptionError(
        where + 'there is no option ' + name
        if _NAME.fullmatch(name)
        else where + 'one of the names there is no option',
        hint='did you mean %s?' % meant if meant else None,
    )


def _folded(section: str) -> str:
    return section.strip().lower().replace('-', '_')


def _by_flag() -> dict[str, str]:
    """Return the names of options by what their flags are called."""
    return {
        flag.lstrip('-').replace('-', '_'): option.name
        for option in options.ALL
        for flag in option.flags
        if flag.startswith('--')
    }


_BY_FLAG = _by_flag()
