"""Runs one seed: a lab, ten minutes of disasters, mending, and the question whether everything is well again.

Law: a verdict is data; printing is the command line's business.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from hvcluster.model.definition import ClusterDefinition, GroupDefinition, NodeDefinition
from hvcluster.model.facts import Fact
from hvcluster.model.properties import defaults, with_values
from hvcluster.model.vocabulary import US_PER_S, LunId, NodeId, PathName

from .disasters import Disasters
from .judge import Broken
from .world import World

HEAL_LIMIT_S = (
    900  # every wait of the protocol that can follow the last fault (arbitration, group wait, restarts), added up
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to simulate."""

    nodes: int = 5
    vms: int = 20
    witness: bool = True
    paths: int = 1
    minutes: float = 10.0
    fault_every_s: float = 20.0
    profile: str = "ws2012r2"
    connection_loss_detection: bool = False

    def definition(self) -> ClusterDefinition:
        """The lab as nodes are given it."""
        nodes = tuple(NodeDefinition(NodeId(n), f"HyperV-{n}") for n in range(1, self.nodes + 1))
        groups = tuple(GroupDefinition(f"D{n}", LunId(n + 1)) for n in range(1, self.vms + 1))
        properties = with_values(
            defaults(self.profile),
            {
                "connection_loss_detection": self.connection_loss_detection,
                "retry_period_on_failure_ms": 120_000,  # an hour would outlast the run
                "snapshot_entries": 200,
            },
        )
        paths = tuple(PathName(chr(ord("A") + n)) for n in range(self.paths))
        return ClusterDefinition("sim", "sim", nodes, groups, LunId(1) if self.witness else None, paths, properties)


@dataclass(slots=True)
class Verdict:
    """What came of one seed."""

    seed: int
    ok: bool
    broken: str
    virtual_s: float
    wall_s: float
    events: int
    healed_s: float
    counts: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)


def run_seed(plan: Plan, seed: int, *, keep_facts: bool = False) -> Verdict:
    """Simulate one seed to its verdict. Deterministic but for `wall_s`."""
    began = time.perf_counter()
    world = World(plan.definition(), seed)
    disasters = Disasters(world, plan.fault_every_s)
    broken, healed = "", -1.0
    try:
        world.start()
        disasters.start()
        world.run_until(int(plan.minutes * 60 * US_PER_S))
        disasters.mend_everything()
        mended = world.now
        limit = mended + HEAL_LIMIT_S * US_PER_S
        while (problems := world.judge.problems()) and world.now < limit:
            world.run_for(US_PER_S)
        healed = (world.now - mended) / US_PER_S
        if problems:
            broken = f"seed {seed}: not healthy {HEAL_LIMIT_S} s after the last fault: {'; '.join(problems)}"
    except Broken as error:
        broken = str(error)
    counts = dict(world.judge.counts)
    counts["acknowledged"] = world.clients.acknowledged_count
    return Verdict(
        seed,
        not broken,
        broken,
        world.now / US_PER_S,
        time.perf_counter() - began,
        world.events,
        healed,
        counts,
        dict(disasters.done),
        world.facts if keep_facts else [],
    )
