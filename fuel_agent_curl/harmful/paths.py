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

"""Faults by URL, for a human with curl: /cut/5000/no-range/image."""

from __future__ import annotations

from collections.abc import Callable
import http
import re

from fuel_agent_curl.harmful import faults
from fuel_agent_curl.harmful.faults import Fault

_BY_NAME: dict[str, Callable[..., Fault]] = {
    'cap-range': faults.cap_range,
    'chunked': faults.chunked,
    'cut': faults.cut,
    'flip': faults.flip,
    'http-1.0': faults.http_1_0,
    'multipart': faults.multipart,
    'move-range': faults.move_range,
    'no-range': faults.ignore_range,
    'reset': faults.reset,
    'stall': faults.stall,
    'status': faults.status,
    'trickle': faults.trickle,
}


def by_path(path: str) -> tuple[list[Fault], str]:
    """Take the faults off the front of a path.

    Each is its name, then its numbers as segments of their own.

    :return: the faults, and the path of the representation.
    """
    found = []
    names = path.split('/')[1:]
    while len(names) > 1 and names[0] in _BY_NAME:
        make = _BY_NAME[names.pop(0)]
        numbers = []
        while len(names) > 1 and re.fullmatch('-?[0-9]+', names[0]):
            numbers.append(int(names.pop(0)))
        try:
            found.append(make(*numbers))
        except TypeError:
            found.append(faults.status(http.HTTPStatus.NOT_FOUND))
    return found, '/' + '/'.join(names)


def demo(length: int) -> list[Fault]:
    """Return one fault for each of the first requests of a demonstration.

    :param length: of the representation.
    """
    step = length // 5
    return [
        faults.reset(step),
        faults.stall(step),
        faults.status(503, retry_after=1),
        faults.cut(step),
    ]
