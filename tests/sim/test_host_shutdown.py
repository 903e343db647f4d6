"""A host whose operating system shuts down: what becomes of its VMs, and that it ends in any case.

Law: virtual time, the real cores; the judge looks on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import defaults
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_live_migration import TICKET, since
from tests.sim.test_oracles import leader, owners, wait
from tests.sim.test_quick_migration import boots

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def lab(nodes: int = 3, *, drain: bool = True, possible: tuple[NodeId, ...] = ()) -> World:
    """A healthy lab whose one VM is on the first node."""
    definition = Plan(nodes=nodes, vms=1).definition()
    groups = tuple(replace(group, owner=ONE, possible=possible) for group in definition.groups)
    properties = replace(definition.properties, drain_on_shutdown=drain)
    world = World(replace(definition, groups=groups, properties=properties), 1, append_every_us=50_000)
    world.start()
    wait(world, 60)
    return world


def shut_down(world: World, node: NodeId) -> None:
    world.machines[node].deliver(ev.Requested(TICKET, ev.StopNode(node, shutdown=True)))


def ways(world: World, begun: int) -> list[str]:
    return [str(fact.get("type")) for fact in since(world, begun) if fact.kind is FactKind.GROUP_MOVING]


@pytest.mark.conforms("drain-on-shutdown")
@pytest.mark.parametrize(("profile", "way"), [("ws2012", "quick"), ("ws2012r2", "live")])
def test_a_host_that_shuts_down_is_drained_from_2012_r2_on(profile: str, way: str) -> None:
    """7.1 DrainOnShutdown = 1 from 2012 R2 on: live migration; before, VMs were saved, moved and restored."""
    world = lab(drain=defaults(profile).drain_on_shutdown)
    before, begun = boots(world, "D1"), world.now
    shut_down(world, ONE)
    wait(world, 60)
    assert world.machines[ONE].exited
    assert owners(world)["D1"] in (TWO, THREE)
    assert ways(world, begun) == [way]
    assert boots(world, "D1") == before
    world.machines[ONE].start()
    wait(world, 60)
    assert world.judge.problems() == []


def test_the_last_host_shuts_down_and_its_vm_goes_on_when_it_is_back() -> None:
    """A shutdown is not refused (5925 is for the cluster service): what nobody takes over is saved where it is."""
    world = lab(1)
    before = boots(world, "D1")
    shut_down(world, ONE)
    wait(world, 30)
    assert world.machines[ONE].exited
    world.machines[ONE].start()
    wait(world, 180)
    assert owners(world) == {"D1": ONE}
    assert boots(world, "D1") == before


def test_a_vm_that_nobody_else_may_run_is_saved() -> None:
    """A drain that cannot empty the host does not keep it from its shutdown."""
    world = lab(possible=(ONE,))
    before = boots(world, "D1")
    shut_down(world, ONE)
    wait(world, 120)
    assert world.machines[ONE].exited
    world.machines[ONE].start()
    wait(world, 120)
    assert owners(world) == {"D1": ONE}
    assert boots(world, "D1") == before
    assert world.judge.problems() == []


def test_a_host_that_shuts_down_saves_no_vm_that_it_may_have_handed_over() -> None:
    """A paused VM whose memory the target holds is not written for any more, whoever ends up with it."""
    definition = Plan(nodes=2, vms=1, witness=False).definition()
    properties = replace(definition.properties, dynamic_quorum=False, dynamic_witness=False)
    groups = tuple(replace(group, owner=ONE) for group in definition.groups)
    world = World(replace(definition, groups=groups, properties=properties), 1, append_every_us=50_000)
    world.start()
    wait(world, 60)
    leader(world).deliver(ev.Requested(TICKET, ev.MoveGroup("D1", TWO)))
    source, begun = world.machines[ONE], world.now
    while "D1" not in source.core.migrations.moves or not source.core.migrations.moves["D1"].handed():
        world.run_for(100)
        assert world.now < begun + 10_000_000
    shut_down(world, ONE)  # static votes: the others could not go on, so it only takes its VMs offline
    wait(world, 0.001)
    assert [fact.get("cause") for fact in since(world, begun) if fact.kind is FactKind.VM_STOPPED] == ["terminated"]
    world.machines[ONE].start()
    wait(world, 120)
    assert list(owners(world)) == ["D1"]
    assert world.judge.problems() == []


def test_a_host_without_quorum_shuts_down_all_the_same() -> None:
    """Nobody to ask: its VMs get their OfflineAction within ShutdownTimeoutInMinutes, and its process ends."""
    world = lab()
    for bus in world.network.buses:
        world.network.cut_bus(ONE, bus, "both")
    world.network.cut_peers(ONE, (TWO, THREE), "both")
    wait(world, 2)
    shut_down(world, ONE)
    wait(world, 120)
    assert world.machines[ONE].exited
    assert owners(world)["D1"] in (TWO, THREE)
    world.network.heal()
    world.machines[ONE].start()
    wait(world, 60)
    assert world.judge.problems() == []
