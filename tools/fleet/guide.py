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

"""The configurations that the fleet guide recommends, as they stand there."""

from __future__ import annotations

from collections.abc import Mapping
import pathlib
import textwrap

_ROOT = pathlib.Path(__file__).parent.parent.parent
_GUIDE = _ROOT / 'doc' / 'source' / 'fleet.rst'


def block(name: str, changes: Mapping[str, str]) -> str:
    """Return the text of the code block of this ``:name:``.

    :param changes: what a machine of one's own has in place of the guide's
        addresses and paths. Each has to occur exactly once.
    :raises ValueError: if the guide is not as this expects it to be.
    """
    _before, mark, rest = _GUIDE.read_text().partition('   :name: %s\n' % name)
    if not mark:
        raise ValueError('no block %s in %s' % (name, _GUIDE))
    lines = []
    for line in rest.splitlines():
        if line and not line.startswith(' '):
            break
        lines.append(line)
    text = textwrap.dedent('\n'.join(lines)).strip() + '\n'
    for before, after in changes.items():
        if text.count(before) != 1:
            raise ValueError(
                '%r occurs %d times in the block %s of %s'
                % (before, text.count(before), name, _GUIDE)
            )
        text = text.replace(before, after)
    return text
