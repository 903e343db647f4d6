"""What a validation found: tests with their outcomes and what each of them did and saw.

Law: shapes and their JSON form; nothing is tested here. Names of categories and tests are the product's where it has
such a test.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from hvcluster.orchestrator.views import Json


class Outcome(Enum):
    """How a test ended, as the product's report says it."""

    SUCCESS = "Success"
    WARNING = "Warning"
    FAILED = "Failed"
    NOT_APPLICABLE = "Not applicable"


class Category(Enum):
    """The parts of a report, in its order."""

    INVENTORY = "Inventory"
    CONFIGURATION = "Cluster Configuration"
    NETWORK = "Network"
    STORAGE = "Storage"
    SYSTEM = "System Configuration"


_RANK: Final = (Outcome.NOT_APPLICABLE, Outcome.SUCCESS, Outcome.WARNING, Outcome.FAILED)


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was done or seen; its outcome is SUCCESS unless it is the reason for another one."""

    text: str
    outcome: Outcome = Outcome.SUCCESS


@dataclass(frozen=True, slots=True)
class Finding:
    """One test and what came of it."""

    category: Category
    name: str
    lines: tuple[Line, ...]

    @property
    def outcome(self) -> Outcome:
        """That of the worst line; not applicable only if nothing at all was tested."""
        return max((line.outcome for line in self.lines), key=_RANK.index, default=Outcome.SUCCESS)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole validation. `when` is a time in GMT, for people."""

    cluster: str
    profile: str
    when: str
    findings: tuple[Finding, ...]

    def count(self, outcome: Outcome) -> int:
        """How many tests ended so."""
        return sum(finding.outcome is outcome for finding in self.findings)

    @property
    def passed(self) -> bool:
        """Nothing failed; there may be warnings."""
        return self.count(Outcome.FAILED) == 0


def ok(text: str) -> Line:
    """Something that is as it should be."""
    return Line(text)


def warning(text: str) -> Line:
    """Something the cluster copes with."""
    return Line(text, Outcome.WARNING)


def failed(text: str) -> Line:
    """Something that is not as it must be."""
    return Line(text, Outcome.FAILED)


def skipped(text: str) -> Line:
    """Something that was not tested, and why."""
    return Line(text, Outcome.NOT_APPLICABLE)


def as_json(report: Report) -> dict[str, Json]:
    """For scripts; keys are added, never renamed."""
    return {
        "cluster": report.cluster,
        "profile": report.profile,
        "when": report.when,
        "passed": report.passed,
        "counts": {outcome.value: report.count(outcome) for outcome in Outcome},
        "tests": [
            {
                "category": finding.category.value,
                "name": finding.name,
                "outcome": finding.outcome.value,
                "lines": [{"text": line.text, "outcome": line.outcome.value} for line in finding.lines],
            }
            for finding in report.findings
        ],
    }


def problems(findings: Iterable[Finding]) -> list[tuple[Finding, Line]]:
    """Every line that is a warning or a failure, with its test."""
    bad = (Outcome.WARNING, Outcome.FAILED)
    return [(finding, line) for finding in findings for line in finding.lines if line.outcome in bad]
