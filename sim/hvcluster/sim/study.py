"""A study from question to answer: measure the situations, let the years pass, count.

Law: what is run, in which parts and under which seeds; the answer is data. Two runs of one study differ in nothing,
whatever the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Final

from .study_file import Study, Topology
from .study_measure import Samples, Situation, measure, situations
from .study_pool import spread
from .study_tally import BINS_S, CAUSES, YEAR_S, Tally
from .study_years import Years

REPLICATIONS: Final = 40
STUDENT_39: Final = 2.0227
"""Student's t for 95 % and 39 degrees of freedom: one less than there are replications."""

MINUTES_A_YEAR: Final = YEAR_S / 60
SEEDS: Final = 12


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over the replications, with its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Interval:
        """Student's t-interval of one value per replication; nothing measured here can be below zero."""
        mean = fmean(values)
        half = STUDENT_39 * stdev(values) / math.sqrt(len(values))
        return Interval(mean, max(0.0, mean - half), mean + half)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the virtual years of one topology came to. All figures are those of one VM, in the mean of all."""

    topology: Topology
    samples: Samples
    unavailability: Interval
    incidents_a_year: Interval
    minutes_by_cause: Mapping[str, float]
    """Downtime minutes a year by what began the incident."""
    histogram: Mapping[str, tuple[float, ...]]
    """Incidents a year by what began them, then by duration (BINS_S)."""
    longest_s: float
    substituted: int

    @property
    def minutes_a_year(self) -> Interval:
        """Downtime a year."""
        u = self.unavailability
        return Interval(u.mean * MINUTES_A_YEAR, u.low * MINUTES_A_YEAR, u.high * MINUTES_A_YEAR)

    @property
    def mean_incident_s(self) -> float | None:
        """Seconds of downtime per incident; None when there was none."""
        incidents = self.incidents_a_year.mean
        return self.unavailability.mean * YEAR_S / incidents if incidents else None


def nines(unavailability: float) -> float | None:
    """3.0 for 99.9 %; None for no downtime at all, which no finite number of years proves."""
    return -math.log10(unavailability) if unavailability > 0 else None


@dataclass(frozen=True, slots=True)
class MeasurePart:
    """One situation of one topology, under several seeds."""

    topology: Topology
    situation: Situation
    seeds: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.topology.name}: {self.situation}, seeds {self.seeds[0]} to {self.seeds[-1]}"


@dataclass(frozen=True, slots=True)
class YearsPart:
    """One replication of one topology."""

    study: Study
    topology: Topology
    samples: Samples
    replication: int

    def __str__(self) -> str:
        return f"{self.topology.name}: replication {self.replication}"


def run_measure(part: MeasurePart) -> tuple[float, ...]:
    """The samples of one part."""
    found: list[float] = []
    for seed in part.seeds:
        found.extend(measure(part.topology, part.situation, seed))
    return tuple(found)


def run_years(part: YearsPart) -> Tally:
    """The tally of one part."""
    seed = f"{part.study.seed}/{part.replication}"
    return Years(part.study, part.topology, part.samples, seed, part.study.years / REPLICATIONS).run()


Progress = Callable[[str, int, int], None]
Lost = Callable[[Sequence[MeasurePart] | Sequence[YearsPart]], None]


def run(study: Study, seeds: int, workers: int, progress: Progress, lost: Lost) -> list[Answer]:
    """Every topology's answer. Raises Disagreement or WorkersLost."""
    first = study.seed * 1000
    asked = [
        MeasurePart(topology, situation, tuple(range(first, first + seeds)))
        for topology in study.topologies
        for situation in situations(topology)
    ]
    times = spread(
        run_measure, asked, workers, lambda done: progress("situations measured", done, len(asked)), lost
    )  # fmt: skip
    measured: dict[str, dict[Situation, tuple[float, ...]]] = {}
    for measured_part, samples in zip(asked, times, strict=True):
        measured.setdefault(measured_part.topology.name, {})[measured_part.situation] = samples
    parts = [
        YearsPart(study, topology, measured[topology.name], replication)
        for topology in study.topologies
        for replication in range(REPLICATIONS)
    ]
    tallies = spread(run_years, parts, workers, lambda done: progress("replications run", done, len(parts)), lost)
    return [
        _answer(topology, measured[topology.name], tallies[at * REPLICATIONS : (at + 1) * REPLICATIONS])
        for at, topology in enumerate(study.topologies)
    ]


def _answer(topology: Topology, samples: Samples, tallies: Sequence[Tally]) -> Answer:
    vm_years = sum(tally.vm_s for tally in tallies) / YEAR_S
    bins = range(len(BINS_S) + 1)
    return Answer(
        topology,
        samples,
        Interval.of([sum(tally.down_s.values()) / tally.vm_s for tally in tallies]),
        Interval.of([sum(map(sum, tally.incidents.values())) * YEAR_S / tally.vm_s for tally in tallies]),
        {cause: sum(tally.down_s[cause] for tally in tallies) / 60 / vm_years for cause in CAUSES},
        {
            cause: tuple(sum(tally.incidents[cause][at] for tally in tallies) / vm_years for at in bins)
            for cause in CAUSES
        },
        max(tally.longest_s for tally in tallies),
        sum(tally.substituted for tally in tallies),
    )
