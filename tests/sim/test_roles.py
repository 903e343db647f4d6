"""Roles of resources in the simulator: order, restarts, failover, a monitor that dies or hangs.

Law: virtual time and the real cores; the judge looks at every call, and each test at one requirement besides.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.policy import Policy, RestartAction
from hvcluster.model.resources import Entry, ResourceDefinition, ResourcePolicy
from hvcluster.model.vocabulary import US_PER_S, GroupState, LunId, NodeId, ResourceState
from hvcluster.node.core import effects as ef
from hvcluster.node.core.database import Group
from hvcluster.sim.labs import Plan
from hvcluster.sim.machines import Machine
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World

SCRIPT = "Generic Script"
WEB = (
    ResourceDefinition("Address 1", SCRIPT),
    ResourceDefinition("Address 2", SCRIPT),
    ResourceDefinition("Name", SCRIPT, depends="[Address 1] OR [Address 2]"),
    ResourceDefinition("Web", SCRIPT, depends="[Name] AND [Cluster Disk 2]"),
)
"""As a file server has it: a name with an address in either of two networks, and a service on both name and disk."""


def lab(*resources: ResourceDefinition, nodes: int = 3, profile: str = "ws2012r2") -> World:
    """A lab with one role of these resources, first on node 1, once it runs."""
    role = GroupDefinition(
        "Shop", LunId(2), owner=NodeId(1), policy=Policy(restart_threshold=0), memory_mb=0, resiliency_period_ms=0,
        resources=resources or WEB,
    )  # fmt: skip
    definition = replace(Plan(nodes=nodes, vms=0, profile=profile).definition(), groups=(role,))
    world = World(definition, 1)
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


def shop(world: World) -> Group:
    """The role, as the database has it."""
    return leader(world).core.replica.database.groups["Shop"]


def states(world: World) -> dict[str, str]:
    """The state of each resource, as the database has it."""
    return {each.name: each.state.name for each in shop(world).resources}


def strike(world: World, word: FaultWord, target: str) -> None:
    """One fault."""
    Strikes(world).strike(Fault(word, target))


def policy(**values: int | RestartAction) -> ResourcePolicy:
    """A resource's policy that differs from the usual one."""
    return replace(ResourcePolicy(), **values)  # type: ignore[arg-type]


def since(world: World, instant: int, kind: FactKind) -> list[Fact]:
    """What was recorded of a kind after an instant."""
    return [fact for fact in world.facts if fact.kind is kind and fact.at > instant]


def changes(world: World, instant: int) -> list[tuple[str, str]]:
    """Which resource took which step, in order."""
    found = since(world, instant, FactKind.RESOURCE_CHANGED)
    return [(str(fact.get("resource")), fact.reason.split(":")[0]) for fact in found]


ALL_ONLINE = {"Address 1": "ONLINE", "Address 2": "ONLINE", "Name": "ONLINE", "Web": "ONLINE"}


@pytest.mark.conforms("dependencies")
def test_resources_come_online_after_what_they_depend_on_and_leave_before_it() -> None:
    """Online goes from providers to dependents, offline the other way round; the disk first, and last."""
    world = lab()
    assert states(world) == ALL_ONLINE
    came = [name for name, step in changes(world, 0) if step.endswith("to ONLINE")]
    assert came.index("Name") > min(came.index("Address 1"), came.index("Address 2"))
    assert came[-1] == "Web"
    at = world.now
    strike(world, FaultWord.OFFLINE, "Shop")
    wait(world, 30)
    went = [name for name, step in changes(world, at) if step.endswith("to OFFLINE")]
    assert went[:2] == ["Web", "Name"]
    assert set(went[2:]) == {"Address 1", "Address 2"}
    assert shop(world).state is GroupState.OFFLINE
    assert since(world, at, FactKind.DISK_OFFLINE)


@pytest.mark.conforms("dependencies")
def test_a_dependent_stays_online_while_an_alternative_of_what_failed_is() -> None:
    """OR: losing one of two addresses takes nothing offline; the one that failed is restarted."""
    world = lab()
    at = world.now
    strike(world, FaultWord.CRASH_RESOURCE, "Address 1")
    wait(world, 30)
    assert {name for name, _ in changes(world, at)} == {"Address 1"}
    assert states(world) == ALL_ONLINE
    assert shop(world).generation == 1


@pytest.mark.conforms("dependencies")
def test_what_depends_on_a_failed_resource_is_offline_before_it_is_restarted() -> None:
    """AND: dependents leave first, then the provider is restarted, then they return; nothing moves."""
    world = lab()
    at = world.now
    strike(world, FaultWord.FAIL_RESOURCE, "Name")
    wait(world, 30)
    steps = changes(world, at)
    assert steps.index(("Web", "OFFLINE_PENDING to OFFLINE")) < steps.index(("Name", "OFFLINE to ONLINE_PENDING"))
    assert states(world) == ALL_ONLINE
    assert shop(world).generation == 1


@pytest.mark.conforms("restart-policy", "failover-budget")
def test_a_role_fails_over_once_the_restarts_of_a_resource_are_spent() -> None:
    """RestartThreshold 1 within RestartPeriod: the second failure takes the whole group to another node."""
    world = lab()
    at = world.now
    for _ in range(2):
        strike(world, FaultWord.CRASH_RESOURCE, "Web")
        wait(world, 40)
    assert [fact.get("resource") for fact in since(world, at, FactKind.RESTARTS_SPENT)] == ["Web"]
    assert (shop(world).owner, shop(world).generation) == (2, 2)
    assert states(world) == ALL_ONLINE
    assert world.judge.problems() == []


def test_a_resource_that_must_not_be_restarted_stays_failed_and_the_rest_stays_online() -> None:
    """RestartAction 0: only what depends on it goes offline; an administrator may try again."""
    once = replace(WEB[2], policy=policy(restart_action=RestartAction.DONT_RESTART))
    world = lab(*WEB[:2], once, WEB[3])
    strike(world, FaultWord.CRASH_RESOURCE, "Name")
    wait(world, 60)
    assert states(world) == {"Address 1": "ONLINE", "Address 2": "ONLINE", "Name": "FAILED", "Web": "OFFLINE"}
    assert shop(world).generation == 1
    strike(world, FaultWord.ONLINE_RESOURCE, "Web")
    wait(world, 30)
    assert states(world) == ALL_ONLINE


def test_a_resource_that_may_not_take_its_group_along_is_tried_again_after_a_while() -> None:
    """RestartAction 1: restarts spent, it stays Failed until RetryPeriodOnFailure is over."""
    alone = replace(
        WEB[3],
        policy=policy(restart_action=RestartAction.RESTART_NO_NOTIFY, retry_period_on_failure_ms=900_000),
    )
    world = lab(*WEB[:3], alone)
    for _ in range(2):
        strike(world, FaultWord.CRASH_RESOURCE, "Web")
        wait(world, 40)
    assert states(world)["Web"] == "FAILED"
    wait(world, 800)
    assert states(world)["Web"] == "FAILED"
    wait(world, 120)
    assert states(world) == ALL_ONLINE
    assert shop(world).generation == 1


def test_a_resource_that_does_not_come_online_in_time_has_failed() -> None:
    """PendingTimeout: it is terminated, restarted by its policy, and then its group goes elsewhere."""
    world = lab(*(replace(each, policy=policy(pending_timeout_ms=10_000)) for each in WEB))
    machine = world.machines[NodeId(1)]
    real = machine.monitor.call

    def never_online(effect: ef.CallResource) -> None:
        if effect.entry is not Entry.ONLINE or effect.resource.name != "Web":
            real(effect)

    machine._performs[ef.CallResource] = never_online
    at = world.now
    strike(world, FaultWord.CRASH_RESOURCE, "Web")
    wait(world, 60)
    reasons = [fact.reason for fact in since(world, at, FactKind.RESOURCE_FAILED)]
    assert any("PendingTimeout" in reason for reason in reasons)
    assert shop(world).owner == 2
    assert states(world) == ALL_ONLINE


def test_a_monitor_that_dies_takes_its_resources_along_and_not_the_node() -> None:
    """Event 1146: resources fail, are restarted by policy on the same node; no membership changes."""
    world = lab()
    at = world.now
    strike(world, FaultWord.CRASH_MONITOR, "HyperV-1")
    wait(world, 30)
    assert since(world, at, FactKind.MONITOR_RESTARTED)
    assert not since(world, at, FactKind.NODE_DOWN)
    assert (shop(world).owner, shop(world).generation) == (1, 1)
    assert states(world) == ALL_ONLINE


def test_a_call_that_does_not_return_costs_the_monitor_its_life() -> None:
    """DeadlockTimeout: events 1230 and 1146 after 300 s, then everything is restarted."""
    world = lab()
    at = world.now
    strike(world, FaultWord.HANG_MONITOR, "HyperV-1")
    wait(world, 290)
    assert not since(world, at, FactKind.RESOURCE_DEADLOCK)
    wait(world, 40)
    assert since(world, at, FactKind.RESOURCE_DEADLOCK)
    assert len(since(world, at, FactKind.MONITOR_RESTARTED)) == 1
    assert states(world) == ALL_ONLINE
    assert not since(world, at, FactKind.NODE_DOWN)


def test_a_role_of_a_dead_node_comes_online_elsewhere_once_its_disk_is_reserved() -> None:
    """Failover: the reservation procedure first, then the resources in their order (the judge looks at each call)."""
    world = lab()
    world.machines[NodeId(1)].kill()
    wait(world, 60)
    assert (shop(world).owner, shop(world).generation) == (2, 2)
    assert states(world) == ALL_ONLINE


@pytest.mark.conforms("dependencies")
def test_an_operator_takes_one_resource_offline_and_back() -> None:
    """Stop-ClusterResource takes along what depends on it; Start-ClusterResource brings what it depends on."""
    world = lab()
    strike(world, FaultWord.OFFLINE_RESOURCE, "Name")
    wait(world, 20)
    assert states(world) == ALL_ONLINE | {"Name": "OFFLINE", "Web": "OFFLINE"}
    world.machines[NodeId(1)].kill()
    wait(world, 60)
    assert states(world) == ALL_ONLINE | {"Name": "OFFLINE", "Web": "OFFLINE"}, "what was wished outlives a failover"
    strike(world, FaultWord.ONLINE_RESOURCE, "Web")
    wait(world, 20)
    assert states(world) == ALL_ONLINE


def test_a_planned_move_takes_a_role_offline_before_it_comes_online_elsewhere() -> None:
    """Resources have no memory that could travel: a move is offline, move, online."""
    world = lab()
    at = world.now
    strike(world, FaultWord.MOVE, "Shop")
    wait(world, 60)
    steps = changes(world, at)
    assert steps.index(("Address 1", "OFFLINE_PENDING to OFFLINE")) < steps.index(
        ("Address 1", "OFFLINE to ONLINE_PENDING")
    )
    assert shop(world).generation == 2
    assert not since(world, at, FactKind.MIGRATION_STARTED)
    assert shop(world).resources[0].state is ResourceState.ONLINE


@pytest.mark.conforms("unmonitored")
def test_resources_end_with_quorum_although_their_monitor_hangs_and_vms_go_on() -> None:
    """A node that is cut off ends its roles at once, whether calls return or not; its VM has four minutes."""
    plan = Plan(nodes=3, vms=1, profile="ws2016").definition()
    role = GroupDefinition(
        "Shop", LunId(3), owner=NodeId(1), policy=Policy(restart_threshold=0), memory_mb=0, resiliency_period_ms=0,
        resources=WEB[:3],
    )  # fmt: skip
    world = World(replace(plan, groups=(replace(plan.groups[0], owner=NodeId(1)), role)), 1)
    world.start()
    wait(world, 60)
    host = world.machines[NodeId(1)]
    assert host.monitor.groups() == {"Shop"}
    strike(world, FaultWord.HANG_MONITOR, "HyperV-1")
    Strikes(world).strike(Fault(FaultWord.PARTITION, side=("HyperV-1",)))
    wait(world, 25)
    assert host.monitor.groups() == set()
    assert set(host.guests) == {"D1"}
    Strikes(world).strike(Fault(FaultWord.MEND))
    wait(world, 120)
    assert world.judge.problems() == []


def test_a_monitor_that_is_ended_twice_dies_once() -> None:
    """Two calls are stuck: what the next monitor hosts is not taken for dead with the first one."""
    world = lab()
    monitor = world.machines[NodeId(1)].monitor
    at = world.now
    monitor.crash()
    wait(world, 0.01)
    monitor.crash()
    wait(world, 30)
    assert len(since(world, at, FactKind.MONITOR_RESTARTED)) == 1
    assert states(world) == ALL_ONLINE
