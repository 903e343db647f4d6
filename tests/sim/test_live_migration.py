"""Live migration in a whole cluster: what an operator, a client and an administrator who reads the log see of it.

Law: virtual time, the real cores; the judge looks on. Stories that a file can tell are in `scenarios/`.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.properties import defaults
from hvcluster.model.vocabulary import MigrationState, MoveKind, NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_oracles import leader, owners, wait

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
TICKET = 9


def lab(*first: int, profile: str = "ws2012r2") -> World:
    """A healthy lab of three nodes, whose clients write twenty times a second."""
    definition = Plan(nodes=3, vms=len(first)).definition()
    both = zip(definition.groups, first, strict=True)
    groups = tuple(replace(g, owner=NodeId(n), active_mb=128) for g, n in both)
    most = defaults(profile).maximum_parallel_migrations
    properties = replace(definition.properties, profile=profile, maximum_parallel_migrations=most)
    world = World(replace(definition, groups=groups, properties=properties), 1, append_every_us=50_000)
    world.start()
    wait(world, 60)
    return world


def ask(world: World, *requests: ev.Request) -> None:
    for number, request in enumerate(requests):
        leader(world).deliver(ev.Requested(TICKET + number, request))


def since(world: World, begun: int) -> list[Fact]:
    return [fact for fact in world.facts if fact.at > begun]


def kinds(world: World, kind: FactKind, begun: int) -> list[str]:
    return [str(fact.get("group")) for fact in since(world, begun) if fact.kind is kind]


@pytest.mark.conforms("live-migration")
def test_a_live_migrated_vm_goes_on_and_its_clients_are_all_answered() -> None:
    """8 Live migration: setup, copy, a brief pause, and on elsewhere: no boot, no failed request, no quorum trouble."""
    world = lab(1)
    boots = world.machines[ONE].guests["D1"].guest.boots
    begun, asked, acknowledged = world.now, world.clients.asked, world.clients.acknowledged_count
    ask(world, ev.MoveGroup("D1", TWO))
    wait(world, 10)
    assert leader(world).replies[TICKET].ok
    assert owners(world) == {"D1": TWO}
    assert world.machines[TWO].guests["D1"].guest.boots == boots
    served, answered = world.clients.asked - asked, world.clients.acknowledged_count - acknowledged
    assert served > 100
    assert served - answered <= 1  # one may be under way
    paused = next(f.at for f in since(world, begun) if f.kind is FactKind.MIGRATION_PAUSED)
    online = next(f.at for f in since(world, begun) if f.kind is FactKind.VM_ONLINE)
    assert online - paused < 200_000


def test_a_vm_that_is_moved_by_shutdown_boots() -> None:
    """2 VM migration type: Shutdown is not Live."""
    world = lab(1)
    boots = world.machines[ONE].guests["D1"].guest.boots
    ask(world, ev.MoveGroup("D1", TWO, MoveKind.SHUTDOWN))
    wait(world, 20)
    assert owners(world) == {"D1": TWO}
    assert world.machines[TWO].guests["D1"].guest.boots == boots + 1


@pytest.mark.conforms("live-migration")
def test_a_failed_live_migration_leaves_the_vm_where_it_runs() -> None:
    """8 Failed live migration: the VM keeps running on the source, owner unchanged, MigrationState 5."""
    world = lab(1)
    begun = world.now
    ask(world, ev.MoveGroup("D1", TWO))
    wait(world, 0.3)
    world.network.cut_peers(ONE, (TWO,), "both")
    wait(world, 5)
    group = leader(world).core.replica.database.groups["D1"]
    assert (group.owner, group.generation, group.migration) == (ONE, 1, MigrationState.FAILURE)
    assert kinds(world, FactKind.MIGRATION_ENDED, begun) == ["D1"]
    assert not leader(world).replies[TICKET].ok
    world.network.heal()
    wait(world, 10)
    ask(world, ev.MoveGroup("D1", TWO))
    wait(world, 10)
    assert owners(world) == {"D1": TWO}


def test_memory_on_a_slow_network_arrives_all_the_same() -> None:
    """8 Live migration: five times as slow is late, and not for ever on its way."""
    world = lab(1)
    world.network.slowness = 5.0
    events = world.events
    ask(world, ev.MoveGroup("D1", TWO))
    wait(world, 60)
    assert owners(world) == {"D1": TWO}
    assert world.events - events < 60 * 1000


@pytest.mark.conforms("concurrent-migration", "parallel-migrations")
@pytest.mark.parametrize(("profile", "at_once"), [("ws2012r2", 2), ("ws2022", 1)])
def test_excess_migrations_wait_for_their_turn(profile: str, at_once: int) -> None:
    """8 LM concurrency: two per host, excess queued; from 2022 on one in the whole cluster, which outranks that."""
    world = lab(1, 1, 1, profile=profile)
    begun = world.now
    ask(world, *(ev.MoveGroup(f"D{n}", TWO) for n in (1, 2, 3)))
    wait(world, 0.3)
    assert len(kinds(world, FactKind.MIGRATION_STARTED, begun)) == at_once
    wait(world, 20)
    assert owners(world) == {"D1": TWO, "D2": TWO, "D3": TWO}
    running = most = 0
    for fact in since(world, begun):
        running += (fact.kind is FactKind.MIGRATION_STARTED) - (fact.kind is FactKind.GROUP_ASSIGNED)
        most = max(most, running)
    assert most == at_once


def test_a_drained_node_has_its_vms_live_migrated() -> None:
    """7.1 Drain: pause, and move everything off; no VM boots for it."""
    world = lab(1, 1)
    boots = {name: sim.guest.boots for name, sim in world.machines[ONE].guests.items()}
    ask(world, ev.SetNodePaused(ONE, True, drain=True))
    wait(world, 20)
    where = owners(world)
    assert ONE not in where.values()
    assert {name: world.machines[NodeId(node)].guests[name].guest.boots for name, node in where.items()} == boots


@pytest.mark.conforms("compressed-migration")
@pytest.mark.parametrize(("option", "mib"), [(0, 128), (1, 64)])
def test_compressed_memory_is_half_as_many_bytes(option: int, mib: int) -> None:
    """2012 R2: a choice of transport; compressed memory is copied in half the time."""
    world = lab(1)
    properties = replace(world.definition.properties, virtual_machine_migration_performance_option=option)
    world = World(replace(world.definition, properties=properties), 1)
    world.start()
    wait(world, 60)
    begun = world.now
    ask(world, ev.MoveGroup("D1", TWO))
    wait(world, 10)
    assert owners(world) == {"D1": TWO}
    started = next(f.at for f in since(world, begun) if f.kind is FactKind.MIGRATION_STARTED)
    paused = next(f.at for f in since(world, begun) if f.kind is FactKind.MIGRATION_PAUSED)
    assert mib / 100 <= (paused - started) / 1_000_000 < 1.25 * mib / 100
