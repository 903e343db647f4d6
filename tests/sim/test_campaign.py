"""Random disasters: a short sample of what `hvc sim --seeds` runs for hours."""

from __future__ import annotations

import pytest

from hvcluster.sim.campaign import Plan, run_seed

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


def test_a_seed_is_one_history() -> None:
    """Determinism: the same seed gives the same facts, to the microsecond."""
    first = run_seed(Plan(nodes=3, vms=4, minutes=5), 11, keep_facts=True)
    second = run_seed(Plan(nodes=3, vms=4, minutes=5), 11, keep_facts=True)
    assert first.facts == second.facts
    assert first.events == second.events
    other = run_seed(Plan(nodes=3, vms=4, minutes=5), 12, keep_facts=True)
    assert other.facts != first.facts
