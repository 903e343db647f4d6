"""Scenarios of Windows clusters whose outcome is published, built by hand where no file in `scenarios/` has them.

Law: virtual time, the real cores; a figure that the product publishes is compared with what happens here, not with a
property. docs/conformance.md says which scenario is which.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from hvcluster.model.definition import GroupDefinition, initiator_name
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.vocabulary import BLOCK_BYTES, US_PER_S, GroupState, LunId, NodeId, ServiceState
from hvcluster.node.core import events as ev
from hvcluster.san.core import events as ae
from hvcluster.sim.labs import Plan
from hvcluster.sim.machines import Machine
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World

TICKET = 7
BOTH = pytest.mark.parametrize("profile", ["ws2008r2", "ws2016"])
"""The two versions whose outcomes are published; where they agree, both are asked."""


def running(plan: Plan, *owners: int, seed: int = 1) -> World:
    """A healthy lab; `owners`: where each VM is at first."""
    definition = plan.definition()
    if owners:
        groups = zip(definition.groups, owners, strict=True)
        definition = replace(definition, groups=tuple(replace(g, owner=NodeId(n)) for g, n in groups))
    world = World(definition, seed)
    world.start()
    wait(world, 60)
    assert world.judge.problems() == []
    return world


def wait(world: World, seconds: float) -> None:
    """Let time pass."""
    world.run_for(int(seconds * US_PER_S))


def leader(world: World) -> Machine:
    """The node that leads."""
    return max((m for m in world.machines.values() if m.alive and m.core.state.leads), key=lambda m: m.core.state.term)


def owners(world: World) -> dict[str, int]:
    """Who has each VM that is Online."""
    groups = leader(world).core.replica.database.groups.values()
    return {group.name: group.owner for group in groups if group.state is GroupState.ONLINE}


def since(world: World, instant: int, kind: FactKind) -> list[Fact]:
    """What was recorded of a kind after an instant."""
    return [fact for fact in world.facts if fact.kind is kind and fact.at > instant]


def witnesses(world: World, instant: int) -> list[int]:
    """The nodes that have recorded 1135 for node 1 after an instant, each as often as it did."""
    told = [fact for fact in world.facts if fact.kind.event_id == 1135 and fact.at > instant]
    assert {fact.get("peer") for fact in told} <= {1}
    return sorted(int(fact.node) for fact in told)


def stop(world: World, node: int) -> str:
    """Ask a node to leave politely; what it answers, "" for yes."""
    machine = world.machines[NodeId(node)]
    machine.replies.pop(TICKET, None)
    machine.deliver(ev.Requested(TICKET, ev.StopNode(machine.node)))
    wait(world, 60)
    reply = machine.replies[TICKET]
    assert machine.exited == reply.ok
    return "" if reply.ok else reply.text


def hide(world: World, lun: int, *from_nodes: int) -> None:
    """These nodes do not see the LUN any more."""
    for node in from_nodes:
        world.array.feed(ae.Mask(0, LunId(lun), initiator_name(world.definition.node_name(NodeId(node)))))


@pytest.mark.parametrize(
    ("profile", "detection_s"),
    [
        pytest.param("ws2008r2", 5, marks=pytest.mark.conforms("oracle-1")),
        pytest.param("ws2016", 10, marks=pytest.mark.conforms("oracle-2")),
    ],
)
def test_four_vms_of_a_dead_host_are_shared_out_after_detection_and_regroup(profile: str, detection_s: int) -> None:
    """Oracles 1 and 2: heartbeats missed, 4.3 s of regroup, 1135 on both survivors, then two VMs on each of them."""
    at_once = (("resiliency_default_period_ms", 0),) if profile == "ws2016" else ()
    plan = Plan(nodes=3, vms=4, witness=False, profile=profile, properties=(("regroup_delay_ms", 4_300), *at_once))
    world = running(plan, 1, 1, 1, 1)
    died = world.now
    world.machines[NodeId(1)].kill()
    wait(world, detection_s + 4.3 - 1)
    assert since(world, died, FactKind.NODE_DOWN) == []
    wait(world, 3)
    assert witnesses(world, died) == [2, 3]
    wait(world, 5)
    assert Counter(owners(world).values()) == {2: 2, 3: 2}


@pytest.mark.conforms("oracle-1", "isolated")
def test_a_dead_host_is_isolated_and_its_vms_fail_over_four_minutes_later() -> None:
    """Oracle 1, ws2016: 1673 and 1681 after 10 s, the VMs stay assigned for 240 s, then 1135, 1682, two VMs each."""
    world = running(Plan(nodes=3, vms=4, witness=False, profile="ws2016"), 1, 1, 1, 1)
    died = world.now
    world.machines[NodeId(1)].kill()
    wait(world, 9)
    assert since(world, died, FactKind.NODE_ISOLATED) == []
    wait(world, 4)
    (isolated,) = since(world, died, FactKind.NODE_ISOLATED)
    (unmonitored,) = since(world, died, FactKind.VMS_UNMONITORED)
    assert (isolated.kind.event_id, isolated.get("peer")) == (1673, 1)
    assert (unmonitored.kind.event_id, unmonitored.get("groups")) == (1681, "D1,D2,D3,D4")
    assert [v.node for v in leader(world).core.state.log.configuration.voters] in ([2], [3]), "its vote is gone"
    world.run_until(isolated.at + 239 * US_PER_S)
    assert since(world, died, FactKind.NODE_DOWN) == since(world, died, FactKind.GROUP_ASSIGNED) == []
    assert Counter(owners(world).values()) == {1: 4}
    wait(world, 6)
    assert witnesses(world, died) == [2, 3]
    assert [fact.kind.event_id for fact in since(world, died, FactKind.VMS_MONITORED)] == [1682]
    wait(world, 5)
    assert Counter(owners(world).values()) == {2: 2, 3: 2}


@pytest.mark.parametrize("victim", [1, 3])
@pytest.mark.conforms("unmonitored", "isolated")
def test_vms_of_a_node_that_is_back_in_time_have_never_stopped(victim: int) -> None:
    """A node without network is isolated and its VMs go on; heard again after 2 min it is a member as before, 1680."""
    world = running(Plan(nodes=3, vms=3, profile="ws2016"), 1, 2, 3)
    began = world.now
    strikes = Strikes(world)
    strikes.strike(Fault(FaultWord.PARTITION, side=(f"HyperV-{victim}",)))
    wait(world, 120)
    alone = world.machines[NodeId(victim)]
    assert list(alone.guests) == [f"D{victim}"]
    assert alone.core.view(alone.clock()).service is ServiceState.ISOLATED
    strikes.strike(Fault(FaultWord.HEAL))
    wait(world, 30)
    assert [fact.kind.event_id for fact in since(world, began, FactKind.NODE_RETURNED)] == [1680]
    assert [fact.get("groups") for fact in since(world, began, FactKind.VMS_MONITORED)] == [f"D{victim}"]
    for kind in (FactKind.VM_STOPPED, FactKind.SERVICE_STARTED, FactKind.NODE_DOWN, FactKind.GROUP_ASSIGNED):
        assert since(world, began, kind) == []
    assert world.judge.problems() == []
    assert len(leader(world).core.state.log.configuration.voters) == 3, "its vote is back"


@pytest.mark.conforms("unmonitored")
def test_an_isolated_node_turns_its_vms_off_when_the_period_is_over() -> None:
    """Nobody else may own the VM, so nobody fences it: the node's own clock ends it, and it boots when it is back."""
    definition = Plan(nodes=3, vms=3, profile="ws2016").definition()
    bound = replace(definition.groups[2], possible=(NodeId(3),))
    world = World(replace(definition, groups=(*definition.groups[:2], bound)), 1)
    world.start()
    wait(world, 60)
    strikes = Strikes(world)
    strikes.strike(Fault(FaultWord.PARTITION, side=("HyperV-3",)))
    alone = world.machines[NodeId(3)]
    wait(world, 12 + 239)
    assert list(alone.guests) == ["D3"]
    wait(world, 20)
    assert not alone.guests
    assert alone.alive
    strikes.strike(Fault(FaultWord.HEAL))
    wait(world, 60)
    assert world.judge.problems() == []


@pytest.mark.conforms("isolated")
def test_a_vm_with_a_period_of_its_own_fails_over_by_that() -> None:
    """ResiliencyPeriod 0 of one VM: it fails over at once, while its host is waited for because of the other one."""
    definition = Plan(nodes=3, vms=2, witness=False, profile="ws2016").definition()
    first, second = (replace(group, owner=NodeId(1)) for group in definition.groups)
    world = World(replace(definition, groups=(replace(first, resiliency_period_ms=0), second)), 1)
    world.start()
    wait(world, 60)
    world.machines[NodeId(1)].kill()
    wait(world, 20)
    assert owners(world)["D1"] in (2, 3)
    assert owners(world)["D2"] == 1
    wait(world, 250)
    assert owners(world)["D2"] in (2, 3)


@pytest.mark.conforms("isolated")
def test_a_service_that_starts_again_is_not_waited_for() -> None:
    """The VMs died with the old life of the service: 1682 at once, and they boot again."""
    world = running(Plan(nodes=3, vms=3, profile="ws2016"), 1, 2, 3)
    victim = world.machines[NodeId(3)]
    victim.kill()
    wait(world, 30)
    assert owners(world)["D3"] == 3
    victim.start()
    wait(world, 20)
    assert world.judge.problems() == []
    assert [fact.kind.event_id for fact in since(world, 0, FactKind.VMS_MONITORED)] == [1682]
    assert leader(world).core.replica.database.groups["D3"].generation == 2


@pytest.mark.conforms("unmonitored")
def test_a_cluster_without_quorum_runs_its_vms_for_the_period_and_goes_on_when_it_is_back() -> None:
    """Every node is alone: VMs go on unmonitored, and none of them has stopped when the network is mended in time."""
    world = running(Plan(nodes=3, vms=3, witness=False, profile="ws2016"), 1, 2, 3)
    began = world.now
    strikes = Strikes(world)
    for node in (1, 2):
        strikes.strike(Fault(FaultWord.PARTITION, side=(f"HyperV-{node}",)))
    wait(world, 100)
    assert {fact.node for fact in since(world, began, FactKind.QUORUM_LOST)} == {1, 2, 3}
    strikes.strike(Fault(FaultWord.HEAL))
    wait(world, 60)
    assert since(world, began, FactKind.VM_STOPPED) == []
    assert world.judge.problems() == []


@pytest.mark.parametrize("profile", ["ws2008r2", "ws2012r2"])
@pytest.mark.conforms("oracle-7", "dynamic-witness")
def test_a_dead_witness_counts_only_where_votes_are_static(profile: str) -> None:
    """Oracle 7: of four static votes two are left; a dynamic witness had no vote, and then the tie is broken."""
    world = running(Plan(nodes=3, vms=3, profile=profile), 1, 2, 3)
    hide(world, 1, 1, 2, 3)
    wait(world, 60)
    assert world.judge.problems() == [], "the loss of the witness alone costs nothing"
    world.machines[NodeId(3)].kill()
    wait(world, 60)
    if profile == "ws2008r2":
        assert {fact.node for fact in world.facts if fact.kind.event_id == 1177} == {1, 2}
        assert not any(machine.guests for machine in world.machines.values())
        return
    assert Counter(owners(world).keys()) == {"D1": 1, "D2": 1, "D3": 1}
    votes = leader(world).core.state.log.configuration
    assert (len(votes.voters), votes.witness) == (1, False)


@pytest.mark.conforms("oracle-8")
def test_of_five_nodes_with_static_votes_the_third_polite_stop_is_refused() -> None:
    """Oracle 8: two of five votes would be left, so the node stays (5925); with its VM, as do the others."""
    world = running(Plan(nodes=5, vms=5, witness=False, profile="ws2008r2"), 1, 2, 3, 4, 5)
    assert [stop(world, node) for node in (1, 2)] == ["", ""]
    assert since(world, 0, FactKind.NODE_LOSS_SEEN) == [], "a polite stop is no loss"
    before = owners(world)
    assert "5925" in stop(world, 3)
    assert owners(world) == before
    assert set(before) == {"D1", "D2", "D3", "D4", "D5"}


@pytest.mark.conforms("oracle-8", "dynamic-quorum")
def test_of_five_nodes_with_dynamic_votes_four_are_stopped_and_the_last_one_serves_all() -> None:
    """Oracle 8: each that leaves hands its vote back, down to the last one; that one is not stopped (5925)."""
    world = running(Plan(nodes=5, vms=5, witness=False, profile="ws2016"), 1, 2, 3, 4, 5)
    assert [stop(world, node) for node in (1, 2, 3, 4)] == ["", "", "", ""]
    assert owners(world) == {f"D{n}": 5 for n in range(1, 6)}
    assert "5925" in stop(world, 5)


@BOTH
@pytest.mark.conforms("oracle-13", "failover-budget")
def test_a_group_that_fails_everywhere_is_left_alone_for_an_hour(profile: str) -> None:
    """Oracle 13: a restart, nodes - 1 failovers; then 1254 and Failed, and an hour later there is another try."""
    plan = Plan(nodes=3, vms=2, profile=profile, properties=(("retry_period_on_failure_ms", 3_600_000),))
    world = running(plan, 1, 2)
    began = world.now
    medium, footer = world.array.media[LunId(2)], slice(-BLOCK_BYTES, None)
    whole = medium[footer]
    medium[footer] = b"?" * BLOCK_BYTES  # no VM boots from it any more
    hide(world, 2, 1)
    wait(world, 60)
    given_up = since(world, began, FactKind.GROUP_FAILED)
    assert [(fact.kind.event_id, fact.get("group")) for fact in given_up] == [(1254, "D1")]
    assigned = [fact for fact in since(world, began, FactKind.GROUP_ASSIGNED) if fact.get("group") == "D1"]
    assert [fact.get("owner") for fact in assigned] == [1, 2, 3], "a restart where it was, then nodes - 1 failovers"
    assert leader(world).core.replica.database.groups["D1"].state is GroupState.FAILED
    medium[footer] = whole
    world.array.feed(ae.Unmask(0, LunId(2), initiator_name("HyperV-1")))
    world.run_until(given_up[0].at + 3_590 * US_PER_S)
    assert owners(world) == {"D2": 2}, "nothing is tried before the hour is over"
    wait(world, 20)
    assert set(owners(world)) == {"D1", "D2"}


@pytest.mark.conforms("oracle-16")
def test_a_node_that_dies_three_times_within_an_hour_rejoins_each_time() -> None:
    """Oracle 16, before quarantine existed: as often as a node comes back, it is a member again."""
    world = running(Plan(nodes=3, vms=3, profile="ws2008r2"))
    victim = world.machines[NodeId(3)]
    for _ in range(3):
        victim.kill()
        wait(world, 60)
        assert not leader(world).core.replica.database.members[victim.node].up
        victim.start()
        wait(world, 60)
        assert leader(world).core.replica.database.members[victim.node].up
    assert world.judge.problems() == []


@pytest.mark.conforms("oracle-16", "quarantine")
def test_a_node_that_dies_three_times_within_an_hour_is_kept_out_for_two() -> None:
    """Oracle 16, ws2016: the third time it is quarantined (1672) and refused (1675, 1676); after two hours it joins."""
    world = running(Plan(nodes=3, vms=3, profile="ws2016"), 1, 2, 3)
    victim = world.machines[NodeId(3)]
    for _ in range(3):
        assert since(world, 0, FactKind.NODE_QUARANTINED) == []
        victim.kill()
        wait(world, 60)
        victim.start()
        wait(world, 60)
    (quarantined,) = since(world, 0, FactKind.NODE_QUARANTINED)
    (refused,) = since(world, 0, FactKind.JOIN_REFUSED)
    assert (quarantined.kind.event_id, quarantined.get("losses"), refused.kind.event_id) == (1672, 3, 1675)
    assert [(fact.node, fact.kind.event_id) for fact in since(world, 0, FactKind.QUARANTINED_HERE)] == [(3, 1676)]
    assert 3 not in owners(world).values()
    assert 3 not in [voter.node for voter in leader(world).core.state.log.configuration.voters]
    world.run_until(quarantined.at + 7_190 * US_PER_S)
    assert not leader(world).core.replica.database.members[victim.node].up
    wait(world, 60)
    assert world.judge.problems() == []


@pytest.mark.conforms("quarantine")
def test_losses_are_counted_by_a_new_leader_as_well_and_forgotten_after_an_hour() -> None:
    """Two losses, the leader dies, an hour later there is another one: nobody is quarantined."""
    world = running(Plan(nodes=5, vms=5, profile="ws2016"), 1, 2, 3, 4, 5)
    victim = world.machines[NodeId(5)]
    for _ in range(2):
        victim.kill()
        wait(world, 30)
        victim.start()
        wait(world, 60)
    first = leader(world)
    assert first is not victim
    first.kill()
    wait(world, 30)
    losses = {m.id: m.losses for m in leader(world).core.replica.database.members.values() if m.losses}
    assert losses == {first.node: 1, victim.node: 2}
    first.start()
    wait(world, 3_700)
    assert {m.losses for m in leader(world).core.replica.database.members.values()} == {0}
    victim.kill()
    wait(world, 30)
    assert leader(world).core.replica.database.members[victim.node].losses == 1
    assert since(world, 0, FactKind.NODE_QUARANTINED) == []


@BOTH
@pytest.mark.conforms("oracle-19")
def test_after_a_restart_of_all_a_vm_waits_two_minutes_for_its_last_node(profile: str) -> None:
    """Oracle 19, ClusterGroupWaitDelay: VMs return to where they were; one whose node stays away moves after 120 s."""
    world = running(Plan(nodes=3, vms=3, profile=profile), 1, 2, 3)
    for machine in world.machines.values():
        machine.kill()
    for node in (1, 2):
        world.machines[NodeId(node)].start()
    began = world.now
    wait(world, 110)
    assert owners(world) == {"D1": 1, "D2": 2}
    elected = max(fact.at for fact in since(world, began, FactKind.LEADER_ELECTED))
    world.run_until(elected + 119 * US_PER_S)
    assert owners(world) == {"D1": 1, "D2": 2}
    wait(world, 15)
    assert set(owners(world)) == {"D1", "D2", "D3"}


@pytest.mark.conforms("node-weight")
def test_a_node_without_weight_is_a_member_and_never_votes() -> None:
    """NodeWeight 0: it gets the database and runs VMs; its death and its return change no vote."""
    definition = Plan(nodes=5, vms=5, witness=False).definition()  # were all five to vote, no tie would hide it
    nodes = tuple(replace(node, weight=0 if node.id >= 4 else 1) for node in definition.nodes)
    group: GroupDefinition = replace(definition.groups[0], owner=NodeId(4))
    world = World(replace(definition, nodes=nodes, groups=(group, *definition.groups[1:])), 1)
    world.start()
    wait(world, 60)
    assert world.judge.problems() == []
    assert owners(world)["D1"] == 4
    silent = world.machines[NodeId(4)]
    assert silent.core.replica.database.encode() == leader(world).core.replica.database.encode()
    for _ in range(2):
        assert [voter.node for voter in leader(world).core.state.log.configuration.voters] == [1, 2, 3]
        if silent.alive:
            silent.kill()
        else:
            silent.start()
        wait(world, 60)
    assert world.judge.problems() == []
    assert world.judge.counts.get("VOTES_CHANGED", 0) == 0


@pytest.mark.conforms("preferred-owners", "possible-owners")
def test_a_group_goes_down_its_list_and_never_to_a_node_that_may_not_own_it() -> None:
    """Preferred owners are asked in their order, whatever else they have; the last possible owner is waited for."""
    at_once = (("resiliency_default_period_ms", 0),)
    definition = Plan(nodes=4, vms=4, profile="ws2016", properties=at_once).definition()
    d1, *others = definition.groups
    d1 = replace(d1, preferred=(NodeId(3), NodeId(2)), possible=(NodeId(2), NodeId(3), NodeId(4)))
    others = [replace(group, owner=NodeId(2)) for group in others]
    world = World(replace(definition, groups=(d1, *others)), 1)
    world.start()
    wait(world, 60)
    assert owners(world)["D1"] == 3
    for victim, heir in ((3, 2), (2, 4)):  # node 4 is not on the list; node 1 has nothing to do, and may not own it
        world.machines[NodeId(victim)].kill()
        wait(world, 40)
        assert owners(world)["D1"] == heir
    world.machines[NodeId(4)].kill()
    wait(world, 200)
    assert set(owners(world)) == {"D2", "D3", "D4"}
    world.machines[NodeId(3)].start()
    wait(world, 40)
    assert owners(world)["D1"] == 3


@pytest.mark.parametrize("profile", ["ws2012r2", "ws2016"])
@pytest.mark.conforms("storage-resiliency")
def test_a_vm_whose_disk_is_away_for_five_minutes_is_frozen_from_2016_on(profile: str) -> None:
    """Paused-Critical: no VM has stopped when the array is back. Before, each was turned off after a minute."""
    world = running(Plan(nodes=2, vms=2, profile=profile), 1, 2)
    began = world.now
    strikes = Strikes(world)
    strikes.strike(Fault(FaultWord.SAN_KILL))
    wait(world, 300)
    frozen = {str(fact.get("group")) for fact in since(world, began, FactKind.VM_PAUSED_CRITICAL)}
    stopped = {str(fact.get("group")) for fact in since(world, began, FactKind.VM_STOPPED)}
    assert (frozen, stopped) == ((set(), {"D1", "D2"}) if profile == "ws2012r2" else ({"D1", "D2"}, set()))
    if profile == "ws2016":
        assert set(owners(world)) == {"D1", "D2"}, "a paused VM is an Online resource"
        phases = {run.phase for machine in world.machines.values() for run in machine.core.view(machine.clock()).runs}
        assert phases == {"PAUSED"}
    strikes.strike(Fault(FaultWord.SAN_START))
    wait(world, 130)
    assert world.judge.problems() == []
    resumed = {str(fact.get("group")) for fact in since(world, began, FactKind.VM_RESUMED)}
    assert resumed == frozen
