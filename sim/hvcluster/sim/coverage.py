"""What a campaign has exercised, and what it has never seen: a blind spot must be visible.

Law: counts what verdicts say; adding up is independent of order, so any number of workers gives the same table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.faults import FaultWord
from hvcluster.model.vocabulary import US_PER_S

from .schedule import Strike

PAIR_US: Final = 10 * US_PER_S
"""Two faults make a pair when the second strikes before the cluster can be done with the first."""
REPAIRS: Final = frozenset(
    {
        FaultWord.START, FaultWord.START_PREVENTED, FaultWord.START_IGNORING,
        FaultWord.THAW, FaultWord.HEAL, FaultWord.RESUME, FaultWord.ONLINE,
        FaultWord.BUS_START, FaultWord.SAN_START,
        FaultWord.START_ALL, FaultWord.MEND, FaultWord.DRIFT,
    }
)  # fmt: skip
NOT_DRAWN: Final = frozenset({FaultWord.ORCHESTRATOR_KILL, FaultWord.KILL_ALL, FaultWord.START_ALL, FaultWord.MEND})
"""Words that no schedule draws: the same is said by others, or there is nothing to strike in the simulator."""


@dataclass(slots=True)
class Coverage:
    """Counts by name. `pairs`: "KILL then FREEZE"; `transitions`: "GROUP_ASSIGNED then DISK_ONLINE" of one VM."""

    facts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    pairs: Counter[str] = field(default_factory=Counter)
    transitions: Counter[str] = field(default_factory=Counter)

    def add(self, other: Coverage) -> None:
        """Take in what another one counted."""
        self.facts.update(other.facts)
        self.faults.update(other.faults)
        self.pairs.update(other.pairs)
        self.transitions.update(other.transitions)

    def as_json(self) -> dict[str, dict[str, int]]:
        """Plain values, sorted by name."""
        return {name: dict(sorted(getattr(self, name).items())) for name in _PARTS}

    @staticmethod
    def from_json(values: Mapping[str, Mapping[str, int]]) -> Coverage:
        """What `as_json` gave."""
        return Coverage(*(Counter(values.get(name, {})) for name in _PARTS))


_PARTS: Final = ("facts", "faults", "pairs", "transitions")


def coverage_of(strikes: Iterable[Strike], facts: Iterable[Fact]) -> Coverage:
    """What one history exercised."""
    coverage = Coverage()
    recent: list[Strike] = []
    for strike in strikes:
        word = strike.fault.word
        coverage.faults[word.name] += 1
        if word in REPAIRS:
            continue
        recent = [old for old in recent if strike.at_us - old.at_us <= PAIR_US]
        coverage.pairs.update({f"{old.fault.word.name} then {word.name}" for old in recent})
        recent.append(strike)
    last: dict[object, str] = {}
    for fact in facts:
        name = fact.kind.name
        coverage.facts[name] += 1
        about = fact.get("group") or f"node {fact.node}"
        if about in last:
            coverage.transitions[f"{last[about]} then {name}"] += 1
        last[about] = name
    return coverage


def table(coverage: Coverage) -> Iterator[str]:
    """The blind spots first, then the figures."""
    words = [word.name for word in FaultWord if word not in NOT_DRAWN]
    kinds = [kind.name for kind in FactKind]
    striking = [word.name for word in FaultWord if word not in REPAIRS and word not in NOT_DRAWN]
    possible = [f"{first} then {second}" for first in striking for second in striking]
    rows = (
        ("faults", words, coverage.faults),
        ("facts", kinds, coverage.facts),
        ("fault pairs", possible, coverage.pairs),
    )
    yield f"{'':16}{'seen':>8}{'of':>8}   never seen"
    for name, known, seen in rows:
        never = [one for one in known if not seen[one]]
        yield f"{name:16}{len(known) - len(never):8}{len(known):8}   {_few(never)}"
    yield f"{'transitions':16}{len(coverage.transitions):8}{'':8}   one fact of a VM or a node after another"
    rarest = sorted(coverage.faults.items(), key=lambda item: (item[1], item[0]))[:5]
    yield f"rarest faults: {', '.join(f'{name} {count}' for name, count in rarest) or 'none'}"


def _few(names: list[str]) -> str:
    if not names:
        return "-"
    shown = ", ".join(names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
