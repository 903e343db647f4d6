"""Protected networks: VMs leave a host whose cable to their network is out, for one that has it.

Law: virtual time, the real cores; the judge looks on, and clients who are cut off get no answer.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.policy import Policy
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World
from tests.sim.test_operators_wishes import asked
from tests.sim.test_oracles import leader, owners, since, wait

NETWORK = "Production"
PULL, HEAL = FaultWord.CUT_NETWORK, FaultWord.HEAL


def running(profile: str = "ws2012r2", policy: Policy | None = None, possible: tuple[int, ...] = ()) -> World:
    """Three nodes, all VMs on the first; D1 has a card on the network, D2 has none."""
    definition = Plan(nodes=3, vms=2, profile=profile).definition()
    first, second = (replace(group, owner=NodeId(1)) for group in definition.groups)
    first = replace(
        first, network=NETWORK, policy=policy or Policy(), possible=tuple(NodeId(node) for node in possible)
    )
    world = World(replace(definition, groups=(first, second)), 1)
    world.start()
    wait(world, 60)
    assert owners(world) == {"D1": 1, "D2": 1}
    return world


def strike(world: World, word: FaultWord, *nodes: int) -> int:
    """Pull the cables of nodes, or plug them in again; when that was."""
    for node in nodes:
        Strikes(world).strike(Fault(word, f"HyperV-{node}"))
    return world.now


@pytest.mark.conforms("vm-network-health")
def test_a_vm_whose_network_has_no_link_is_live_migrated_to_a_host_that_has_it() -> None:
    """1255 says why; the VM goes on from its memory, not to node 2 that lacks the link as well; D2 stays."""
    world = running()
    machines = world.machines
    boots = machines[NodeId(1)].guests["D1"].guest.boots
    began = strike(world, PULL, 1, 2)
    wait(world, 4)
    assert owners(world) == {"D1": 1, "D2": 1}, "a link has one LooksAlive interval to return"
    wait(world, 20)
    assert owners(world) == {"D1": 3, "D2": 1}
    assert machines[NodeId(3)].guests["D1"].guest.boots == boots, "it has not booted"
    (critical,) = since(world, began, FactKind.NETWORK_CRITICAL)
    assert critical.kind.event_id == 1255
    assert "'Production' has no link on node 1; the VM is live-migrated to node 3" in critical.reason
    assert world.judge.problems() == []


@pytest.mark.conforms("vm-network-health")
def test_a_vm_stays_where_no_host_has_its_link_until_one_has() -> None:
    """It is said once that nobody has it; clients get no answer meanwhile."""
    world = running()
    began = strike(world, PULL, 1, 2, 3)
    wait(world, 60)
    served = world.clients.acknowledged_count
    wait(world, 30)
    assert owners(world)["D1"] == 1
    assert world.machines[NodeId(1)].cables.append("D1", world.clients.serving["D1"][0], 10**6, b"x") is False
    assert world.clients.acknowledged_count > served, "D2 is on another network"
    (critical,) = since(world, began, FactKind.NETWORK_CRITICAL)
    assert critical.reason.endswith("so it stays")
    strike(world, HEAL, 2)
    wait(world, 10)
    assert owners(world)["D1"] == 2
    assert world.judge.problems() == []


@pytest.mark.conforms("vm-network-health")
def test_a_cable_that_is_back_in_time_moves_nothing() -> None:
    """Within the interval, nothing has happened."""
    world = running()
    began = strike(world, PULL, 1)
    wait(world, 3)
    strike(world, HEAL, 1)
    wait(world, 30)
    assert owners(world)["D1"] == 1
    assert since(world, began, FactKind.NETWORK_CRITICAL) == []


@pytest.mark.conforms("vm-network-health")
def test_a_network_that_is_not_protected_holds_nobody_to_it() -> None:
    """Switched off, or before 2012 R2, the VM stays; switched on while the cluster runs, it leaves."""
    old = running("ws2012")
    strike(old, PULL, 1)
    wait(old, 30)
    assert owners(old)["D1"] == 1
    world = running(policy=Policy(protected_network=False))
    strike(world, PULL, 1)
    wait(world, 30)
    assert owners(world)["D1"] == 1
    group = leader(world).core.replica.database.groups["D1"].definition
    assert asked(world, ev.SetGroup("D1", Policy(), group.preferred, group.possible)).ok
    wait(world, 30)
    assert owners(world)["D1"] != 1


@pytest.mark.conforms("vm-network-health")
def test_what_may_not_leave_stays_and_says_so() -> None:
    """A VM that is locked from moving, and one that no other node may own."""
    for world, words in (
        (running(policy=Policy(locked_from_moving=True)), "locked from moving"),
        (running(possible=(1, 2)), "no other node that may take"),
    ):
        began = strike(world, PULL, 1, 2)
        wait(world, 30)
        assert owners(world)["D1"] == 1
        (critical,) = since(world, began, FactKind.NETWORK_CRITICAL)
        assert words in critical.reason


@pytest.mark.conforms("vm-network-health")
def test_a_new_leader_and_a_service_that_starts_again_know_the_link() -> None:
    """Whoever leads hears it in heartbeats, and a host tells its next cluster service."""
    world = running()
    strike(world, PULL, 2)
    world.machines[NodeId(2)].kill()
    wait(world, 30)
    world.machines[NodeId(2)].start()
    wait(world, 60)
    first = leader(world)
    first.kill()
    wait(world, 60)
    first.start()
    wait(world, 60)
    strike(world, PULL, *(node for node in (1, 3) if owners(world)["D1"] == node))
    wait(world, 30)
    assert owners(world)["D1"] != 2
    assert world.judge.problems() == []


@pytest.mark.conforms("vm-network-health")
def test_failback_leads_no_vm_to_a_host_without_its_link() -> None:
    """It goes home once the link is back there, and not before."""
    definition = Plan(nodes=2, vms=1).definition()
    policy = Policy(auto_failback=True)
    group = replace(definition.groups[0], owner=NodeId(1), preferred=(NodeId(1),), network=NETWORK, policy=policy)
    world = World(replace(definition, groups=(group,)), 1)
    world.start()
    wait(world, 60)
    strike(world, PULL, 1)
    wait(world, 30)
    assert owners(world) == {"D1": 2}
    world.machines[NodeId(1)].kill()
    wait(world, 40)
    world.machines[NodeId(1)].start()
    wait(world, 60)
    assert owners(world) == {"D1": 2}
    strike(world, HEAL, 1)
    wait(world, 30)
    assert owners(world) == {"D1": 1}
