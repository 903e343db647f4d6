"""A study's answer for people and for programs: tables as plain text or Markdown, and one JSON document.

Law: words and columns; every figure comes from the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from .study import REPLICATIONS, Answer, nines
from .study_file import Study
from .study_tally import BINS_S, CAUSES

BIN_NAMES = ("< 1 s", "< 10 s", "< 1 min", "< 5 min", "< 15 min", "< 1 h", "< 4 h", "< 24 h", "longer")
CAUSE_NAMES = {cause: cause.replace("_", " ") for cause in CAUSES}
assert len(BIN_NAMES) == len(BINS_S) + 1
BEGIN, END = "<!-- begin study -->", "<!-- end study -->"

METHOD = (
    f"Intervals: 95 %, Student's t over {REPLICATIONS} independent replications. Figures are those of one VM. An "
    "incident is one time that it did not serve, and belongs to whatever began it; `quorum` is a host's failure after "
    "which another host could have run the VM, but had not the votes."
)


def duration(seconds: float | None) -> str:
    """A duration with two or three figures and the unit that fits."""
    if seconds is None:
        return "-"
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _nines(unavailability: float) -> str:
    value = nines(unavailability)
    return "-" if value is None else f"{value:.2f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Columns under their heads; the first to the left, the others to the right."""
    if markdown:
        rule = ["---", *["--:"] * (len(head) - 1)]
        return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))
    widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
    lines = [
        "  ".join(cell.rjust(widths[at]) if at else cell.ljust(widths[at]) for at, cell in enumerate(row))
        for row in (head, ["-" * width for width in widths], *rows)
    ]
    return "\n".join(line.rstrip() for line in lines)


def _main_rows(answers: Sequence[Answer]) -> list[list[str]]:
    rows = []
    for answer in answers:
        u, minutes = answer.unavailability, answer.minutes_a_year
        rows.append(
            [
                answer.topology.name,
                f"{100 * (1 - u.mean):.4f} %",
                f"{_nines(u.mean)} ({_nines(u.high)} to {_nines(u.low)})",
                f"{minutes.mean:.1f} ({minutes.low:.1f} to {minutes.high:.1f})",
                f"{answer.incidents_a_year.mean:.2f}",
                duration(answer.mean_incident_s),
                duration(answer.longest_s) if answer.longest_s else "-",
            ]
        )
    return rows


def _figure(value: float) -> str:
    if not value:
        return "-"
    return f"{value:.2f}" if value >= 0.005 else f"{value:.4f}" if value >= 0.00005 else "< 0.0001"


def _histogram_rows(answers: Sequence[Answer]) -> list[list[str]]:
    bins = range(len(BIN_NAMES))
    return [
        [answer.topology.name, *(_figure(sum(answer.histogram[cause][at] for cause in CAUSES)) for at in bins)]
        for answer in answers
    ]


def _measured_rows(answers: Sequence[Answer]) -> list[list[str]]:
    return [
        [
            f"{answer.topology.name}: {situation}",
            str(len(times)),
            f"{min(times):.1f}",
            f"{fmean(times):.1f}",
            f"{max(times):.1f}",
        ]
        for answer in answers
        for situation, times in answer.samples.items()
    ]


def text(study: Study, answers: Sequence[Answer], *, markdown: bool = False, measured: bool = True) -> str:
    """Everything there is to say, a table for each question."""
    years = f"{study.years:g} virtual years for each topology, seed {study.seed}"
    causes = [
        [answer.topology.name, *(_figure(answer.minutes_by_cause[cause]) for cause in CAUSES)] for answer in answers
    ]
    head = ["topology", "availability", "nines (95 %)", "downtime, min a year (95 %)", "incidents a year", "each"]
    parts = [
        f"{study.name}: {study.why}" if not markdown else "",
        f"{years}. {METHOD}",
        _table([*head, "longest"], _main_rows(answers), markdown),
        "Downtime in minutes a year, by cause:",
        _table(["topology", *CAUSE_NAMES.values()], causes, markdown),
        "Incidents a year, by duration:",
        _table(["topology", *BIN_NAMES], _histogram_rows(answers), markdown),
    ]
    if measured:
        parts.append("Measured with the real cores in the simulator, in seconds:")
        parts.append(_table(["situation", "samples", "least", "mean", "most"], _measured_rows(answers), markdown))
    substituted = sum(answer.substituted for answer in answers)
    if substituted:
        parts.append(f"{substituted} waiting times came from the nearest situation that was measured.")
    return "\n\n".join(part for part in parts if part) + "\n"


def into(document: str, table: str) -> str:
    """A document with everything between its two marks replaced. Raises ValueError when it has not both, in order."""
    before, found, rest = document.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError(f"the lines {BEGIN} and {END} are not both in it")
    return f"{before}{BEGIN}\n\n{table}\n{END}{after}"


def as_json(study: Study, answers: Sequence[Answer]) -> dict[str, object]:
    """The same for programs; durations in seconds, rates per year and VM."""
    return {
        "study": study.name,
        "years": study.years,
        "seed": study.seed,
        "replications": REPLICATIONS,
        "bins_s": list(BINS_S),
        "topologies": [_topology(answer) for answer in answers],
    }


def _topology(answer: Answer) -> dict[str, object]:
    u, minutes, incidents = answer.unavailability, answer.minutes_a_year, answer.incidents_a_year
    return {
        "name": answer.topology.name,
        "hosts": answer.topology.hosts,
        "witness": answer.topology.witness,
        "dynamic_quorum": answer.topology.properties.dynamic_quorum,
        "availability": 1 - u.mean,
        "availability_95": [1 - u.high, 1 - u.low],
        "nines": nines(u.mean),
        "nines_95": [nines(u.high), nines(u.low)],
        "downtime_min_a_year": minutes.mean,
        "downtime_min_a_year_95": [minutes.low, minutes.high],
        "incidents_a_year": incidents.mean,
        "incidents_a_year_95": [incidents.low, incidents.high],
        "mean_incident_s": answer.mean_incident_s,
        "longest_s": answer.longest_s,
        "downtime_min_a_year_by_cause": dict(answer.minutes_by_cause),
        "incidents_a_year_by_cause_and_bin": {cause: list(bins) for cause, bins in answer.histogram.items()},
        "substituted": answer.substituted,
        "measured_s": {str(situation): list(times) for situation, times in answer.samples.items()},
    }
