"""Random disasters: a short sample of what `hvc sim explore` runs for hours."""

from __future__ import annotations

import os

import pytest

from hvcluster.sim.campaign import Plan, run_seed
from hvcluster.sim.labs import random_plan
from tests.conftest import SEED_BASE

FRESH = 15

PLANS = {
    "five nodes, witness": Plan(),
    "two nodes, witness": Plan(nodes=2, vms=4),
    "four nodes, node majority": Plan(nodes=4, vms=6, witness=False),
    "static quorum": Plan(nodes=3, vms=4, profile="ws2008r2"),
    "two paths, connection-loss detection": Plan(nodes=3, vms=6, paths=2, connection_loss_detection=True),
    "one node": Plan(nodes=1, vms=2),
}


@pytest.mark.parametrize("name", PLANS)
def test_no_invariant_breaks_under_random_disasters(name: str) -> None:
    """Invariants: one writer, one chain, Raft's five, no quorum no VMs, liveness, reasons; after every event."""
    for seed in range(8):
        verdict = run_seed(PLANS[name], seed)
        assert verdict.ok, verdict.broken
        assert verdict.counts["acknowledged"] > 20, "clients were served, between the disasters"


@pytest.mark.parametrize("part", range(6))
def test_no_invariant_breaks_in_labs_that_nobody_has_seen_before(part: int) -> None:
    """Every run draws labs and disasters of its own; its first line tells how to draw them again."""
    base = int(os.environ[SEED_BASE])
    for seed in range(base + part * FRESH, base + (part + 1) * FRESH):
        plan = random_plan(seed, Plan(minutes=3))
        verdict = run_seed(plan, seed)
        again = f"hvc sim explore --random-lab --minutes 3 --seeds 1 --first {seed}"
        assert verdict.ok, f"{verdict.broken}\n{plan.sentence()}\n{again}"


def test_a_seed_is_one_history() -> None:
    """Determinism: the same seed gives the same facts, to the microsecond."""
    first = run_seed(Plan(nodes=3, vms=4, minutes=5), 11, keep_facts=True)
    second = run_seed(Plan(nodes=3, vms=4, minutes=5), 11, keep_facts=True)
    assert first.facts == second.facts
    assert first.events == second.events
    other = run_seed(Plan(nodes=3, vms=4, minutes=5), 12, keep_facts=True)
    assert other.facts != first.facts
