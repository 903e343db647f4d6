"""Policies and operators at work in a whole cluster: what only shows when leaders change, nodes return and time passes.

Law: virtual time, the real cores. Stories that a file can tell are in `scenarios/`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.policy import AffinityRule, GroupSet, Policy, Priority, RuleKind
from hvcluster.model.vocabulary import NOBODY, DrainStatus, Failback, GroupState, NodeId
from hvcluster.node.core import events as ev
from hvcluster.node.core.effects import Reply
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_oracles import leader, owners, since, wait

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
HOUR_S = 3600


def lab(
    *owners: int,
    nodes: int = 3,
    rules: tuple[AffinityRule, ...] = (),
    sets: tuple[GroupSet, ...] = (),
    preferred: tuple[int, ...] = (),
    **policies: Policy,
) -> World:
    """A healthy lab: the first owner of each VM; policies by the VM's name."""
    definition = Plan(nodes=nodes, vms=len(owners)).definition()
    groups = tuple(
        replace(g, owner=NodeId(n), policy=policies.get(g.name, Policy()), preferred=tuple(map(NodeId, preferred)))
        for g, n in zip(definition.groups, owners, strict=True)
    )
    world = World(replace(definition, groups=groups, rules=rules, sets=sets), 1)
    world.start()
    wait(world, 60)
    return world


def asked(world: World, request: ev.Request, *, node: NodeId | None = None, seconds: float = 60) -> Reply:
    """What an operator is answered within a while."""
    machine = leader(world) if node is None else world.machines[node]
    machine.replies.pop(9, None)
    machine.deliver(ev.Requested(9, request))
    wait(world, seconds)
    return machine.replies[9]


@pytest.mark.conforms("drain")
def test_a_drained_node_gets_its_groups_back_when_the_operator_says_so() -> None:
    """7.1 Resume -Failback Immediate: what the drain moved away returns; what was moved by hand meanwhile does not."""
    world = lab(1, 1, 2)
    reply = asked(world, ev.SetNodePaused(ONE, True, drain=True))
    assert (reply.ok, reply.text) == (True, "node 1 is paused and drained")
    assert leader(world).core.replica.database.members[ONE].drain is DrainStatus.COMPLETED
    assert owners(world)["D1"] != ONE != owners(world)["D2"]
    target = THREE if owners(world)["D2"] == TWO else TWO
    assert asked(world, ev.MoveGroup("D2", target)).ok
    assert asked(world, ev.SetNodePaused(ONE, False, failback=Failback.IMMEDIATE)).ok
    wait(world, 30)
    assert owners(world) == {"D1": ONE, "D2": target, "D3": TWO}
    assert leader(world).core.replica.database.members[ONE].drain is DrainStatus.NOT_INITIATED


@pytest.mark.conforms("drain")
@pytest.mark.parametrize(("failback", "back"), [(Failback.NO_FAILBACK, set[str]()), (Failback.POLICY, {"D1"})])
def test_after_a_drain_only_those_return_that_may(failback: Failback, back: set[str]) -> None:
    """7.1 Resume -Failback NoFailback and Policy: nothing returns, or what has auto_failback."""
    world = lab(1, 1, D1=Policy(auto_failback=True))
    assert asked(world, ev.SetNodePaused(ONE, True, drain=True)).ok
    assert asked(world, ev.SetNodePaused(ONE, False, failback=failback)).ok
    wait(world, 30)
    assert {name for name, owner in owners(world).items() if owner == ONE} == back


@pytest.mark.conforms("drain")
def test_a_drain_fails_where_nobody_takes_what_is_left_and_a_forced_one_turns_it_off() -> None:
    """7.1 Drain status Failed (1677), -ForceDrain; draining the last node is refused and changes nothing."""
    world = lab(1, 1, nodes=2)
    definition = world.definition
    assert len(definition.groups) == 2
    world.machines[TWO].kill()
    wait(world, 60)
    refused = asked(world, ev.SetNodePaused(ONE, True, drain=True))
    assert (refused.ok, refused.code) == (False, "no-candidate")
    assert not leader(world).core.replica.database.members[ONE].paused
    forced = asked(world, ev.SetNodePaused(ONE, True, drain=True, force=True))
    assert forced.ok, forced.text
    assert owners(world) == {}
    groups = leader(world).core.replica.database.groups.values()
    assert {(group.state, group.desired) for group in groups} == {(GroupState.OFFLINE, False)}


@pytest.mark.conforms("drain")
def test_what_a_rule_forbids_everywhere_else_fails_a_drain() -> None:
    """A group that no other node may take stays, and so does the pause; the fact names it."""
    apart = AffinityRule("apart", RuleKind.DIFFERENT_NODE, ("D1", "D2"))
    world = lab(1, 2, 2, nodes=2, rules=(apart,))
    began = world.now
    reply = asked(world, ev.SetNodePaused(ONE, True, drain=True))
    assert (reply.ok, reply.code) == (False, "drain-failed")
    assert "D1" in reply.text
    assert owners(world) == {"D1": ONE, "D2": TWO, "D3": TWO}
    (failed,) = since(world, began, FactKind.DRAIN_FAILED)
    assert failed.kind.event_id == 1677
    again = asked(world, ev.SetNodePaused(ONE, True, drain=True))
    assert again.code == "drain-failed", "a second drain is a drain of its own, not the memory of the first"


@pytest.mark.conforms("failback")
def test_a_group_goes_back_in_its_window_only() -> None:
    """6.8: the preferred node is back at one o'clock; the window opens at three."""
    policy = Policy(auto_failback=True, failback_window_start=3, failback_window_end=4)
    world = lab(1, nodes=2, preferred=(1, 2), D1=policy)
    world.machines[ONE].kill()
    wait(world, HOUR_S)
    world.machines[ONE].start()
    wait(world, 1.5 * HOUR_S)
    assert owners(world) == {"D1": TWO}
    wait(world, HOUR_S)
    assert owners(world) == {"D1": ONE}


@pytest.mark.conforms("failback")
def test_what_an_operator_moved_is_not_taken_back() -> None:
    """6.8: failback follows the return of a node, not a move; a new leader makes no difference."""
    world = lab(1, nodes=3, preferred=(1, 2), D1=Policy(auto_failback=True))
    assert asked(world, ev.MoveGroup("D1", TWO)).ok
    leads = leader(world)
    assert leads.node == THREE, "so that the leader's death is not the return of a preferred owner"
    leads.kill()
    wait(world, 60)
    assert owners(world) == {"D1": TWO}
    leads.start()
    wait(world, 60)
    world.machines[ONE].kill()
    wait(world, 60)
    world.machines[ONE].start()
    wait(world, 60)
    assert owners(world) == {"D1": ONE}, "now its preferred node has returned"


@pytest.mark.conforms("priorities")
def test_vms_of_high_priority_are_first_in_the_queue_of_a_node() -> None:
    """6.7: with one start at a time, High before Medium before Low, whatever their names are."""
    wishes = {"D1": Policy(priority=Priority.LOW), "D2": Policy(), "D3": Policy(priority=Priority.HIGH)}
    plan = Plan(nodes=2, vms=3, properties=(("concurrent_starts", 1),)).definition()
    groups = tuple(replace(g, owner=ONE, policy=wishes[g.name]) for g in plan.groups)
    world = World(replace(plan, groups=groups), 1)
    world.start()
    wait(world, 60)
    died = world.now
    world.machines[ONE].kill()
    wait(world, 60)
    started = [fact.get("group") for fact in since(world, died, FactKind.VM_ONLINE)]
    assert started == ["D3", "D2", "D1"]


@pytest.mark.conforms("priorities")
def test_a_vm_without_auto_start_waits_for_its_operator() -> None:
    """6.7, priority 0: not when the cluster forms, and not after its node has died."""
    world = lab(1, 2, D1=Policy(priority=Priority.NO_AUTO_START))
    assert owners(world) == {"D2": TWO}
    assert asked(world, ev.SetGroupOnline("D1", True)).ok
    assert owners(world)["D1"] == ONE
    world.machines[ONE].kill()
    wait(world, 60)
    assert owners(world) == {"D2": TWO}
    assert world.judge.problems() == [], "that is as it should be"


@pytest.mark.conforms("groupsets")
def test_a_set_starts_anyway_when_the_one_before_it_never_does() -> None:
    """6.7 GroupDependencyTimeout, 600 s."""
    first = GroupSet("first", ("D1",))
    world = lab(1, 2, sets=(first, GroupSet("second", ("D2",), ("first",))), D1=Policy(priority=Priority.NO_AUTO_START))
    wait(world, 500)
    assert owners(world) == {}
    wait(world, 150)
    assert owners(world) == {"D2": TWO}


@pytest.mark.conforms("affinity-rules")
def test_no_operator_moves_a_group_against_a_rule_or_a_lock() -> None:
    """Refused with the product's reason, and nothing is changed: a hard rule, a locked group, an unknown one."""
    apart = AffinityRule("apart", RuleKind.DIFFERENT_NODE, ("D1", "D2"))
    world = lab(1, 2, 3, rules=(apart,), D3=Policy(locked_from_moving=True))
    before = owners(world)
    answers = [asked(world, ev.MoveGroup(vm, node)) for vm, node in (("D1", TWO), ("D3", ONE), ("D9", ONE))]
    assert [(answer.ok, answer.code) for answer in answers] == [
        (False, "refused"), (False, "locked"), (False, "unknown-group"),
    ]  # fmt: skip
    assert "'apart'" in answers[0].text
    assert owners(world) == before


def test_what_is_so_already_is_answered_at_once() -> None:
    """An operator who asks twice is not left to wait until the deadline."""
    world = lab(1, 2)
    for request in (
        ev.SetGroupOnline("D1", True), ev.SetNodePaused(TWO, False), ev.SetNodePaused(THREE, True),
        ev.SetNodePaused(THREE, True),
    ):  # fmt: skip
        assert asked(world, request, seconds=2).ok


@pytest.mark.conforms("failover-budget")
def test_a_failed_group_is_tried_at_once_when_an_operator_wants_it_online() -> None:
    """Start-ClusterGroup does not wait for RetryPeriodOnFailure."""
    world = lab(1, 2, D1=Policy(restart_threshold=0))
    for _ in range(3):
        for machine in world.machines.values():
            machine.crash_vm("D1")
        wait(world, 20)
    assert leader(world).core.replica.database.groups["D1"].state is GroupState.FAILED
    assert asked(world, ev.SetGroupOnline("D1", True), seconds=20).ok
    assert "D1" in owners(world)
    assert owners(world)["D1"] != NOBODY


def test_a_policy_is_changed_while_the_cluster_runs_and_nonsense_is_refused() -> None:
    """Set-ClusterOwnerNode and the common properties: at once; a refusal changes nothing."""
    world = lab(1, 2)
    wished = Policy(restart_threshold=0)
    assert asked(world, ev.SetGroup("D1", wished, (TWO, ONE), ()), seconds=5).ok
    definition = leader(world).core.replica.database.groups["D1"].definition
    assert (definition.policy, definition.preferred, owners(world)["D1"]) == (wished, (TWO, ONE), ONE)
    for preferred, possible, code in (
        ((NodeId(9),), (), "unknown-node"), ((ONE,), (TWO,), "refused"), ((), (TWO, THREE), "refused"),
    ):  # fmt: skip
        assert asked(world, ev.SetGroup("D1", wished, preferred, possible), seconds=5).code == code
    assert asked(world, ev.SetGroup("D9", wished, (), ()), seconds=5).code == "unknown-group"
    assert leader(world).core.replica.database.groups["D1"].definition == definition
    for machine in world.machines.values():
        machine.crash_vm("D1")
    wait(world, 30)
    assert owners(world)["D1"] == THREE, "no restart where it was: on from its owner in the list"


@pytest.mark.conforms("preemption")
def test_room_is_made_on_the_node_that_a_rule_asks_for() -> None:
    """6.7 with 6.6: other nodes have room and may not take it; the one that may is full, and a lesser VM leaves it."""
    together = AffinityRule("pair", RuleKind.SAME_NODE, ("D1", "D3"))
    wishes = {"D1": Policy(), "D2": Policy(priority=Priority.LOW), "D3": Policy(priority=Priority.NO_AUTO_START)}
    plan = Plan(nodes=2, vms=3).definition()
    nodes = tuple(replace(node, memory_mb=2048) for node in plan.nodes)
    groups = tuple(replace(g, owner=ONE, policy=wishes[g.name]) for g in plan.groups)
    world = World(replace(plan, nodes=nodes, groups=groups, rules=(together,)), 1)
    world.start()
    wait(world, 60)
    assert owners(world) == {"D1": ONE, "D2": ONE}
    assert asked(world, ev.SetGroup("D3", Policy(), (), ()), seconds=5).ok
    assert asked(world, ev.SetGroupOnline("D3", True)).ok
    assert owners(world) == {"D1": ONE, "D2": TWO, "D3": ONE}
    assert [f.get("group") for f in world.facts if f.kind is FactKind.GROUP_PREEMPTED] == ["D2"]


@pytest.mark.conforms("preemption")
def test_room_that_is_being_made_is_not_given_to_those_who_had_to_go() -> None:
    """Two small VMs leave for a larger one, and one of them is off long before the other: it does not come back then.

    It would have to go again, and again, without an end and without a moment in between.
    """
    plan = Plan(nodes=2, vms=3, witness=True).definition()
    nodes = tuple(replace(node, memory_mb=2048) for node in plan.nodes)
    wishes = {"D1": (Priority.LOW, TWO, 1024), "D2": (Priority.LOW, TWO, 1024), "D3": (Priority.MEDIUM, ONE, 2048)}
    groups = tuple(
        replace(g, owner=owner, memory_mb=memory_mb, policy=Policy(priority=priority))
        for g, (priority, owner, memory_mb) in ((g, wishes[g.name]) for g in plan.groups)
    )
    world = World(replace(plan, nodes=nodes, groups=groups), 1)
    world.start()
    wait(world, 60)
    world.machines[TWO].off_us = 10_000_000
    began = world.now
    world.machines[ONE].kill()
    wait(world, 60)
    assert owners(world) == {"D3": TWO}
    assert [f.get("group") for f in since(world, began, FactKind.GROUP_PREEMPTED)] == ["D1", "D2"]
    assert [f.get("group") for f in since(world, began, FactKind.GROUP_ASSIGNED)] == ["D3"]
