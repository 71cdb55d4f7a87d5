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

"""What faults cost: a reset every 16 MiB, and a stall."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from collections.abc import Iterator
import dataclasses
import pathlib

from fuel_agent_curl import harmful
from fuel_agent_curl import octets
from fuel_agent_curl.harmful import faults
from tools.bench import contenders
from tools.bench import figures
from tools.bench import measure
from tools.bench import needs
from tools.bench import rounds
from tools.bench import scratch

#: What a stalled transfer is given, by the settings of each contender.
PATIENCE = 2

_RESETS = 'a reset every %d MiB'
_PATH = '/image'


def sent(starts: Iterable[int], step: int | None, length: int) -> int:
    """Return how many bytes of the image a server has sent in all.

    :param starts: where each request began.
    :param step: after how many bytes an answer ends; None: with the image.
    """
    return sum(
        min(length - start, length if step is None else step)
        for start in starts
    )


def start(request: harmful.Request) -> int:
    """Return where the bytes that were asked for begin."""
    return int((request.range or '').removeprefix('bytes=').split('-')[0] or 0)


@dataclasses.dataclass(frozen=True)
class _Case:
    """One course of things.

    :ivar answers: to the first requests; the last goes on for ever.
    :ivar step: after how many bytes each answer ends; None: with the image.
    :ivar waits: seconds that the settings demand.
    """

    name: str
    answers: tuple[harmful.server.Answer, ...]
    step: int | None
    waits: float = 0.0


def compare(
    options: argparse.Namespace, directory: pathlib.Path
) -> Iterator[figures.Section]:
    """Compare each contender with itself on a line without faults."""
    needs.require()
    size, step = (9, 2) if options.quick else (1032, 16)
    # Odd, so that what is resumed at is a multiple of nothing.
    length, step = size * octets.MIB, step * octets.MIB - 1
    needs.require_space(directory, 2 * length)
    content = harmful.Pattern(length)
    cases = _cases(length, step)
    for contender in rounds.present(
        [
            contenders.copy('image', '--low-speed-time %d' % PATIENCE),
            contenders.chain(
                'image',
                ours=False,
                options='http_request_timeout=%d' % PATIENCE,
            ),
        ]
    ):
        yield _section(contender, cases, content, options, directory)


def _cases(length: int, step: int) -> list[_Case]:
    reset = faults.reset(step)
    half = length // step // 2
    text = _RESETS % round(step / octets.MIB)
    return [
        _Case('no fault', ((),), None),
        _Case(text, (reset,), step),
        _Case(
            text + ', one stall',
            (*[reset] * half, faults.stall(step), reset),
            step,
            PATIENCE,
        ),
    ]


def _section(
    contender: contenders.Contender,
    cases: list[_Case],
    content: harmful.Pattern,
    options: argparse.Namespace,
    directory: pathlib.Path,
) -> figures.Section:
    by_name = {case.name: case for case in cases}
    twice = dict.fromkeys(by_name, 0)
    requests = dict.fromkeys(by_name, 0)
    expected = _digest(content)

    def run(candidate: contenders.Contender, check: bool) -> figures.Usage:
        case = by_name[candidate.name]
        target = directory / 'target'
        with harmful.Server(
            {_PATH: harmful.Representation(content)}
        ) as server:
            server.script(*case.answers[:-1], then=case.answers[-1])
            try:
                usage = measure.run(
                    candidate.stages(server.url('/'), str(target)),
                    directory / 'log',
                )
                if check and scratch.digest(target, len(content)) != expected:
                    raise measure.Failed(
                        '%s, %s: not the image' % (contender.name, case.name)
                    )
            finally:
                target.unlink(missing_ok=True)
        starts = [start(request) for request in server.requests]
        again = sent(starts, case.step, len(content)) - len(content)
        twice[case.name] = max(twice[case.name], again)
        requests[case.name] = max(requests[case.name], len(starts))
        return usage

    rows = rounds.compare(
        [dataclasses.replace(contender, name=case.name) for case in cases],
        run,
        options.runs,
        not options.quick,
    )
    return figures.Section(
        contender.name,
        '%s: %d MiB, raw, to a file' % (contender.name, len(content) >> 20),
        tuple(
            _with_counts(row, rows[0], by_name, twice, requests)
            for row in rows
        ),
        goals=tuple(
            figures.Goal(
                'bytes fetched twice, %s' % case.name,
                twice[case.name],
                0,
                at_most=True,
            )
            for case in cases
            if contender.name == contenders.COPY
        ),
        notes=(
            'lost: seconds above those without a fault and above the %d s'
            ' after which the settings take silence for a stall' % PATIENCE,
        ),
    )


def _with_counts(
    row: figures.Row,
    honest: figures.Row,
    cases: dict[str, _Case],
    twice: dict[str, int],
    requests: dict[str, int],
) -> figures.Row:
    lost = row.seconds - honest.seconds - cases[row.name].waits
    return dataclasses.replace(
        row,
        counts={
            'requests': requests[row.name],
            'lost': lost,
            'bytes twice': twice[row.name],
        },
    )


def _digest(content: harmful.Pattern) -> str:
    return scratch.digest_of(
        content[start : start + octets.MIB]
        for start in range(0, len(content), octets.MIB)
    )
