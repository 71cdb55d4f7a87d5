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

"""The arithmetic of a comparison."""

from __future__ import annotations

from collections.abc import Iterable
import dataclasses
import statistics

from fuel_agent_curl import octets


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one run took: seconds and bytes; None: not known.

    :ivar largest: peak memory of the largest process.
    :ivar total: the peaks of all processes together.
    """

    seconds: float
    cpu: float | None = None
    largest: int | None = None
    total: int | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """The runs of one contender.

    :ivar counts: other figures, by name, that are the same in every run or
        the worst of all.
    """

    name: str
    runs: tuple[Usage, ...]
    counts: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return statistics.median(run.seconds for run in self.runs)

    @property
    def least(self) -> float:
        return min(run.seconds for run in self.runs)

    @property
    def most(self) -> float:
        return max(run.seconds for run in self.runs)

    @property
    def cpu(self) -> float | None:
        known = _known(run.cpu for run in self.runs)
        return statistics.median(known) if known else None

    @property
    def largest(self) -> int | None:
        known = _known(run.largest for run in self.runs)
        return int(max(known)) if known else None

    @property
    def total(self) -> int | None:
        known = _known(run.total for run in self.runs)
        return int(max(known)) if known else None


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a figure is wanted to be.

    :ivar value: None where a contender was left out.
    """

    text: str
    value: float | None
    limit: float
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        if self.value is None:
            return None
        if self.at_most:
            return self.value <= self.limit
        return self.value >= self.limit


@dataclasses.dataclass(frozen=True)
class Measured:
    """A line of the table that is published: a figure beside its limit.

    Both are of the same run.

    :ivar work: what was done, in a few words.
    :ivar unit: of all figures: 'seconds', or 'CPU seconds'.
    :ivar limit: what it takes at best.
    :ivar limited_by: how that was found: 'dd from memory'.
    :ivar goal: how many times the limit it may take; None: there is no goal.
    :ivar others: what one would run instead, and what that takes.
    """

    work: str
    unit: str
    ours: float
    limit: float
    limited_by: str
    goal: float | None = None
    others: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def times(self) -> float:
        """How many times the limit it took."""
        return self.ours / self.limit


@dataclasses.dataclass(frozen=True)
class Section:
    """One comparison.

    :ivar rows: the first is what the others are compared with.
    :ivar measures: what the chart shows: 'seconds', 'cpu' or 'largest'.
    :ivar notes: what has to be known to read the table.
    :ivar measured: what of it is published.
    """

    key: str
    title: str
    rows: tuple[Row, ...]
    measures: tuple[str, ...] = ('seconds',)
    goals: tuple[Goal, ...] = ()
    notes: tuple[str, ...] = ()
    measured: tuple[Measured, ...] = ()

    def row(self, name: str) -> Row | None:
        """Return the row of a contender, None where it was left out."""
        for row in self.rows:
            if row.name == name:
                return row
        return None

    def ratio(self, row: Row) -> float:
        """Return how many times as long as the first row this one took."""
        return row.seconds / self.rows[0].seconds


def measured(
    section: Section,
    work: str,
    limit: float | Row | None,
    limited_by: str,
    *,
    ours: str | None = None,
    others: Iterable[str] = (),
    goal: float | None = None,
    cpu: bool = False,
) -> tuple[Measured, ...]:
    """Return the line to publish; none where the limit is not known.

    :param limit: a number, or the row that took it.
    :param ours: the name of our row, None for the first.
    :param others: names of rows; who was left out is not mentioned.
    :param cpu: not the seconds are meant, but the CPU seconds.
    """

    def figure(row: Row | None) -> float | None:
        return None if row is None else row.cpu if cpu else row.seconds

    if isinstance(limit, Row):
        limit = figure(limit)
    mine = figure(section.row(ours) if ours else section.rows[0])
    if mine is None or limit is None:
        return ()
    beside = {name: figure(section.row(name)) for name in others}
    return (
        Measured(
            work,
            'CPU seconds' if cpu else 'seconds',
            mine,
            limit,
            limited_by,
            goal,
            {name: value for name, value in beside.items() if value},
        ),
    )


def times_as_fast(
    section: Section, slower: str, limit: float, faster: str | None = None
) -> Goal:
    """Return the goal to be ``limit`` times as fast as another.

    :param faster: None for the first row.
    """
    name = faster or section.rows[0].name
    ours, other = section.row(name), section.row(slower)
    value = other.seconds / ours.seconds if ours and other else None
    return Goal('%s: times as fast as %s' % (name, slower), value, limit)


def seconds_within(section: Section, limit: float, percent: float) -> Goal:
    """Return the goal of the first row to keep to a limit in seconds."""
    first = section.rows[0]
    return Goal(
        '%s: percent above %.2f s' % (first.name, limit),
        (first.seconds / limit - 1) * 100,
        percent,
        at_most=True,
    )


def memory_within(section: Section, limit: int, *names: str) -> list[Goal]:
    """Return the goals of rows, or of the first, to stay in some bytes."""
    goals = []
    for name in names or (section.rows[0].name,):
        row = section.row(name)
        largest = row.largest if row else None
        goals.append(
            Goal(
                '%s: peak memory, MiB' % name,
                None if largest is None else largest / octets.MIB,
                limit // octets.MIB,
                at_most=True,
            )
        )
    return goals


def cpu_within(
    section: Section,
    length: int,
    limit: float,
    ours: str,
    theirs: str,
    start_up: str,
) -> tuple[Goal, Goal]:
    """Return the goals for CPU seconds per GiB, another's being the measure.

    The second is of what comes after the start.

    :param length: of what was fetched, in bytes.
    :param start_up: what is added to the name of a row for the row with the
        same for nearly nothing.
    """

    def goal(text: str, start_up: str | None) -> Goal:
        mine = _per_gibibyte(section, ours, start_up, length)
        other = _per_gibibyte(section, theirs, start_up, length)
        value = None
        if mine is not None and other:
            text += ' (%.2f and %.2f)' % (mine, other)
            value = mine / other
        return Goal(
            "CPU seconds per GiB%s: times %s's" % (text, theirs),
            value,
            limit,
            at_most=True,
        )

    return goal('', None), goal(' after the start', start_up)


def _per_gibibyte(
    section: Section, name: str, start_up: str | None, length: int
) -> float | None:
    """Return CPU seconds per GiB, without those of the start where named."""
    row = section.row(name)
    start = section.row(name + start_up) if start_up is not None else None
    if row is None or row.cpu is None:
        return None
    if start_up is None:
        return row.cpu / (length / octets.GIB)
    if start is None or start.cpu is None:
        return None
    return (row.cpu - start.cpu) / (length / octets.GIB)


def limit_seconds(length: int, rates: Iterable[float]) -> float:
    """Return the seconds that ``length`` bytes take at best.

    :param rates: bytes per second of each connection.
    """
    return length / sum(rates)


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
