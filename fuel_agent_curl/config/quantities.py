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

"""Sizes and durations as people write them, in files and as flags."""

from __future__ import annotations

import re

from fuel_agent_curl import octets

# Not what int() and float() take: '1_0', ' 1 ', '1e3', 'nan'.
_NUMBER = re.compile(r'(\d+)(\.\d+)?([A-Za-z]*)', re.ASCII)

_SIZES = {
    '': 1,
    'k': octets.KIB,
    'm': octets.MIB,
    'g': octets.GIB,
}
_DURATIONS = {'': 1, 's': 1, 'm': 60, 'h': 3600}


def size(text: str) -> int:
    """Return the bytes that ``text`` stands for: '512K', '4M', '1.5G', '100'.

    K, M and G, in either case, are of 1024; KiB, MiB and GiB mean the same.

    :raises ValueError: if it is not such a number; the text, which may be
        anything, is not in the message.
    """
    match = _NUMBER.fullmatch(text)
    if match is not None:
        whole, part, unit = match.groups()
        factor = _SIZES.get(unit.lower().removesuffix('ib'))
        if factor is not None and unit.lower() != 'ib':
            # A float would round what is large.
            return int(whole) * factor + int(
                float('0' + (part or '')) * factor
            )
    raise ValueError('not a number of bytes such as 65536, 512K or 1.5G')


def duration(text: str) -> float:
    """Return the seconds that ``text`` stands for: '90', '1.5s', '5m', '1h'.

    :raises ValueError: as ``size`` does.
    """
    match = _NUMBER.fullmatch(text)
    if match is not None:
        whole, part, unit = match.groups()
        factor = _DURATIONS.get(unit.lower())
        if factor is not None:
            return float(whole + (part or '')) * factor
    raise ValueError('not a duration such as 90, 1.5s, 5m or 1h')


def shown_size(number: int) -> str:
    """Return ``number`` as ``size`` reads it, in the largest unit it has."""
    for unit, factor in (('G', octets.GIB), ('M', octets.MIB), ('K', 1024)):
        if number and number % factor == 0:
            return '%d%s' % (number // factor, unit)
    return str(number)
