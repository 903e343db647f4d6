"""A history as text, bit for bit: what is compared when somebody says "the same".

Law: everything that was decided and nothing of the machine it ran on. A line a fact, in the order of time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from hvcluster.model.facts import Fact

HEAD = "hvcluster trace 1"


def trace(facts: Iterable[Fact], verdict: str) -> list[str]:
    """The lines of a trace; `verdict` ends it ("" when all was well)."""
    return [HEAD, *(_line(fact) for fact in facts), f"verdict: {verdict or 'every invariant held'}"]


def _line(fact: Fact) -> str:
    return f"{fact.at} node {fact.node} {fact.kind.name} {fact.line()}"


def digest(lines: Sequence[str]) -> str:
    """A trace in 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def difference(before: Sequence[str], now: Sequence[str]) -> str:
    """Where two traces part, in words; empty when they do not."""
    for number, (was, is_now) in enumerate(zip(before, now, strict=False), 1):
        if was != is_now:
            return f"line {number} was\n  {was}\nand is\n  {is_now}"
    if len(before) != len(now):
        return f"there were {len(before)} lines and there are {len(now)}"
    return ""
