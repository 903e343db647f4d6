"""A history as a story: who did what, when and why, in the words an administrator knows.

Law: text from what was performed and recorded; what is of no use to a reader is left out, nothing is added.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.faults import AMOUNTS, Direction, Fault, FaultWord
from hvcluster.model.vocabulary import US_PER_S

from .schedule import Strike

_DULL = {
    FactKind.ROUTE_UP, FactKind.ROUTE_DOWN, FactKind.PATH_UP, FactKind.PATH_DOWN, FactKind.PRE_VOTE_STARTED,
    FactKind.SERVICE_STARTED, FactKind.DISK_ARBITRATING, FactKind.VM_STARTING, FactKind.SNAPSHOT_TAKEN,
    FactKind.GROUP_REPORTED,
}  # fmt: skip


def sentence(fault: Fault) -> str:
    """A fault in a sentence."""
    words = [fault.word.name.lower().replace("_", " ")]
    if fault.target:
        words.append(fault.target)
    if fault.wire:
        words.append(f"wire {fault.wire}")
    if fault.direction is not Direction.BOTH:
        words.append(f"({fault.direction.value})")
    if fault.side:
        words.append(f"[{', '.join(fault.side)}]")
    amount = AMOUNTS.get(fault.word)
    if amount is not None and not (amount.optional and not fault.amount):
        words.append(f"{fault.amount:g} {amount.unit}")
    if fault.via:
        words.append(f"asked of {fault.via}")
    return " ".join(words)


def story(strikes: Iterable[Strike], facts: Iterable[Fact], ending: str) -> Iterator[str]:
    """Line by line: faults (set off by a star) and decisions, in the order of time."""
    told = [(strike.at_us, 0, f"* {sentence(strike.fault)}: {strike.fault.word.value}") for strike in strikes]
    told += [(fact.at, 1, f"  HyperV-{fact.node}: {fact.line()}") for fact in facts if fact.kind not in _DULL]
    for at, _, text in sorted(told, key=lambda line: line[:2]):
        yield f"{at / US_PER_S:11.6f} s {text}"
    yield ending


__all__ = ["FaultWord", "sentence", "story"]
