"""A quarantined node that is heard again while its VMs still run: they are migrated away before it has to go.

Law: virtual time, the real cores; the judge looks on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import NodeId
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_live_migration import since
from tests.sim.test_oracles import leader, owners, wait
from tests.sim.test_quick_migration import boots

THREE = NodeId(3)


@pytest.mark.conforms("quarantine")
def test_vms_of_a_quarantined_node_are_live_migrated_off() -> None:
    """7.3 Quarantine: a quarantined node may not join, its VMs are drained (live-migrated) off."""
    properties = (("resiliency_default_period_ms", 120_000), ("quarantine_threshold", 1))
    definition = Plan(nodes=4, vms=1, profile="ws2016", properties=properties).definition()
    groups = tuple(replace(group, owner=THREE) for group in definition.groups)
    world = World(replace(definition, groups=groups), 1, append_every_us=50_000)
    world.start()
    wait(world, 60)
    before, begun = boots(world, "D1"), world.now
    for bus in world.network.buses:
        world.network.cut_bus(THREE, bus, "both")
    world.network.cut_peers(THREE, tuple(node for node in world.machines if node != THREE), "both")
    wait(world, 40)
    assert leader(world).core.replica.database.members[THREE].quarantined
    world.network.heal()
    wait(world, 60)
    (moving,) = [fact for fact in since(world, begun) if fact.kind is FactKind.GROUP_MOVING]
    assert (moving.get("type"), moving.reason) == ("live", "node 3 is quarantined")
    assert owners(world)["D1"] != THREE
    assert boots(world, "D1") == before
    member = leader(world).core.replica.database.members[THREE]
    assert (member.up, member.quarantined) == (False, True)
    assert world.judge.problems() == ["node 3 has not joined"]
