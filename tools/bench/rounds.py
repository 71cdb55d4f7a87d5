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

"""Contenders take turns."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
import sys

from tools.bench import contenders
from tools.bench import figures

#: Runs a contender, and, if told to, compares what it has made.
Run = Callable[[contenders.Contender, bool], figures.Usage]


def present(
    candidates: Iterable[contenders.Contender],
) -> list[contenders.Contender]:
    """Return those that can run here; say, in a line each, why others not."""
    chosen = []
    for contender in candidates:
        missing = contender.missing
        if missing:
            say('left out: %s: missing: %s' % (contender.name, missing[0]))
        else:
            chosen.append(contender)
    return chosen


def compare(
    candidates: Iterable[contenders.Contender],
    run: Run,
    runs: int,
    warm_up: bool = True,
) -> tuple[figures.Row, ...]:
    """Return a row for each contender that can run here.

    :param runs: how often each is measured.
    :param warm_up: begin with a round that does not count.
    """
    chosen = present(candidates)
    found: dict[str, list[figures.Usage]] = {c.name: [] for c in chosen}
    for number in range(runs + warm_up):
        for contender in _taking_part(chosen, number):
            usage = run(contender, number == 0)
            counts = number >= warm_up or contender.once
            say(
                '  %s %s: %.2f s'
                % (
                    'round %d,' % (number + 1 - warm_up)
                    if counts
                    else 'warm-up,',
                    contender.name,
                    usage.seconds,
                )
            )
            if counts:
                found[contender.name].append(usage)
    return tuple(figures.Row(n, tuple(usages)) for n, usages in found.items())


def _taking_part(
    chosen: Sequence[contenders.Contender], number: int
) -> list[contenders.Contender]:
    return [c for c in chosen if number == 0 or not c.once]


def say(text: str) -> None:
    """Tell how far it is; the results alone are on stdout."""
    print(text, file=sys.stderr, flush=True)
