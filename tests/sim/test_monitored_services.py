"""Services in a VM that its host watches, and those that it does not (Add-ClusterVMMonitoredItem)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.policy import Policy
from hvcluster.model.properties import defaults
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_operators_wishes import asked
from tests.sim.test_oracles import leader, since, wait

SPOOLER = "spooler"


def running(*services: str, profile: str = "ws2012r2") -> World:
    """Two nodes and D1, of which these services are watched."""
    definition = Plan(nodes=2, vms=1, profile=profile).definition()
    group = replace(definition.groups[0], policy=Policy(monitored_services=services))
    properties = replace(defaults(profile), retry_period_on_failure_ms=120_000)
    world = World(replace(definition, groups=(group,), properties=properties), 1)
    world.start()
    wait(world, 60)
    return world


def fail(world: World, service: str) -> list[str]:
    """A service in D1 fails; why the host took the VM for critical, if it did."""
    began = world.now
    for machine in world.machines.values():
        machine.fall_ill("D1", service)
    wait(world, 30)
    return [fact.reason for fact in since(world, began, FactKind.APPLICATION_CRITICAL)]


def generation(world: World) -> int:
    """How often D1 has been assigned."""
    return leader(world).core.replica.database.groups["D1"].generation


@pytest.mark.conforms("vm-monitoring")
def test_a_service_that_is_watched_fails_its_vm_and_is_named() -> None:
    """1250 names it; the VM is restarted where it was."""
    world = running("journal", SPOOLER)
    (reason,) = fail(world, SPOOLER)
    assert reason.endswith(": spooler")
    assert generation(world) == 2
    assert world.judge.problems() == []


@pytest.mark.conforms("vm-monitoring")
def test_a_service_that_nobody_watches_is_the_affair_of_its_vm() -> None:
    """Nothing happens, until an operator has it watched; before 2012 nothing happens in any case."""
    world = running("journal")
    assert fail(world, SPOOLER) == []
    group = leader(world).core.replica.database.groups["D1"]
    watched = replace(group.definition.policy, monitored_services=(SPOOLER,))
    assert asked(world, ev.SetGroup("D1", watched, group.definition.preferred, group.definition.possible)).ok
    wait(world, 30)
    assert generation(world) == 2
    assert fail(world, "journal") == []
    assert fail(running(SPOOLER, profile="ws2008r2"), SPOOLER) == []
