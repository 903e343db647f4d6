"""Situations a cluster must find a way out of by itself, each built by hand in the simulator."""

from __future__ import annotations

import pytest

from hvcluster.model.vocabulary import NOBODY, US_PER_S, NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.campaign import Plan, run_seed
from hvcluster.sim.machines import Machine
from hvcluster.sim.world import World

TICKET = 7


def running(plan: Plan) -> World:
    """A healthy lab."""
    world = World(plan.definition(), seed=1)
    world.start()
    world.run_for(60 * US_PER_S)
    assert world.judge.problems() == []
    return world


def leader(world: World) -> Machine:
    """The node that leads."""
    return max((m for m in world.machines.values() if m.alive and m.core.state.leads), key=lambda m: m.core.state.term)


@pytest.mark.conforms("dynamic-quorum")
def test_the_only_voter_hands_its_vote_over_and_leaves() -> None:
    """Graceful stop of the only voter: the vote moves to the other node first, so the cluster survives."""
    world = running(Plan(nodes=2, vms=2, witness=False))
    first = leader(world)
    assert len(first.core.state.log.configuration.voters) == 1, "the tie is broken: one node votes"
    first.deliver(ev.Requested(TICKET, ev.StopNode(first.node)))
    world.run_for(60 * US_PER_S)
    assert first.exited
    assert first.replies[TICKET].ok
    assert [m for m in world.machines.values() if m.alive] == [leader(world)]
    assert world.judge.problems() == []


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("witness", [True, False])
def test_a_node_that_returns_costs_the_last_one_nothing(nodes: int, witness: bool) -> None:
    """New votes count only once their voters have echoed the leader, or it would lose quorum by adding them."""
    for seed in range(6):
        world = World(Plan(nodes=nodes, vms=2, witness=witness).definition(), seed)
        world.start()
        world.run_for(60 * US_PER_S)
        last = leader(world)
        others = [machine for machine in world.machines.values() if machine is not last]
        for machine in others:
            machine.kill()
            world.run_for(60 * US_PER_S)
        generations = dict(world.clients.serving)
        for machine in others:
            machine.start()
            world.run_for(60 * US_PER_S)
        assert world.judge.problems() == []
        assert world.judge.counts.get("QUORUM_LOST", 0) == 0
        assert world.clients.serving == generations, "every VM ran on, where it was"


def test_a_path_that_returns_costs_the_last_node_neither_the_witness_nor_its_quorum() -> None:
    """The witness is written only on paths that its holder registered on; when none of them is left it is held anew."""
    world = World(Plan(nodes=1, vms=1, paths=2).definition(), seed=1)
    world.start()
    world.run_for(2 * US_PER_S)
    node = world.machines[NodeId(1)]
    first, second = node.links.values()
    first.cut_out = first.cut_in = True
    world.run_for(60 * US_PER_S)
    assert world.judge.problems() == []
    generations = dict(world.clients.serving)
    for back, lost in ((first, None), (None, second), (second, first)):
        if back is not None:
            back.cut_out = back.cut_in = False
        if lost is not None:
            lost.cut_out = lost.cut_in = True
        world.run_for(30 * US_PER_S)
        for paused in (True, False):  # entries, which the witness has to take
            node.deliver(ev.Requested(TICKET, ev.SetNodePaused(node.node, paused)))
            world.run_for(10 * US_PER_S)
            assert node.replies.pop(TICKET).ok
    assert world.judge.counts.get("QUORUM_LOST", 0) == 0
    assert world.judge.counts.get("WITNESS_LOST", 0) == 0
    assert world.clients.serving == generations, "the VM ran on"
    assert world.judge.problems() == []


@pytest.mark.conforms("oracle-8")
def test_a_polite_stop_ends_although_votes_never_change() -> None:
    """Static quorum: the VMs move, the node leaves, its vote stays; a stop that would cost quorum is refused."""
    world = running(Plan(nodes=3, vms=3, witness=False, profile="ws2008r2"))
    first, second, third = world.machines.values()
    for machine in (second, first if leader(world) is first else third):
        machine.deliver(ev.Requested(TICKET, ev.StopNode(machine.node)))
        world.run_for(60 * US_PER_S)
    assert second.exited
    assert second.replies[TICKET].ok
    assert len(leader(world).core.state.log.configuration.voters) == 3
    assert sum(machine.alive for machine in world.machines.values()) == 2, "two of three votes are needed"
    assert world.judge.problems() == []


def test_a_polite_stop_right_after_an_unnoticed_death_costs_no_quorum() -> None:
    """New votes are confirmed before they count: a vote must not come to rest on a node that has just died."""
    world = running(Plan(nodes=5, vms=5, witness=False))
    first = leader(world)
    others = [m for m in world.machines.values() if m is not first]
    others[3].kill()
    world.run_for(60 * US_PER_S)
    voters = [v.node for v in first.core.state.log.configuration.voters if v.node != first.node]
    world.machines[voters[0]].kill()
    world.run_for(1 * US_PER_S)
    leaving = world.machines[voters[1]]
    leaving.deliver(ev.Requested(TICKET, ev.StopNode(leaving.node)))
    world.run_for(120 * US_PER_S)
    assert world.judge.problems() == []
    assert world.judge.counts.get("QUORUM_LOST", 0) == 0
    assert leaving.replies[TICKET].ok


def test_a_leader_whose_calls_do_not_get_through_makes_way() -> None:
    """A leader that is heard on the buses but cannot replicate must not keep the others from going on."""
    world = running(Plan(nodes=5, vms=5, witness=False))
    deaf = leader(world)
    others = tuple(node for node in world.machines if node != deaf.node)
    world.network.cut_peers(deaf.node, others, "both")
    world.run_for(20 * US_PER_S)
    world.machines[others[0]].kill()
    world.run_for(180 * US_PER_S)
    assert leader(world) is not deaf
    groups = leader(world).core.replica.database.groups.values()
    assert all(group.owner != others[0] for group in groups), "the dead node's VM runs elsewhere"
    assert not deaf.core.state.leads


@pytest.mark.conforms("oracle-1")
def test_regroup_delay_puts_the_products_delay_back() -> None:
    """`regroup_delay_ms`: a failover begins that much later."""
    from dataclasses import replace

    taken: list[float] = []
    for delay_ms in (0, 4_300):
        definition = Plan(nodes=3, vms=3).definition()
        definition = replace(definition, properties=replace(definition.properties, regroup_delay_ms=delay_ms))
        world = World(definition, seed=1)
        world.start()
        world.run_for(60 * US_PER_S)
        victim = next(m for m in world.machines.values() if m.guests and not m.core.state.leads)
        began = world.now
        victim.kill()
        world.run_for(1)
        while world.judge.problems():
            world.run_for(US_PER_S // 10)
        while any(g.owner == victim.node for g in leader(world).core.replica.database.groups.values()):
            world.run_for(US_PER_S // 10)
        while world.judge.problems():
            world.run_for(US_PER_S // 10)
        taken.append((world.now - began) / US_PER_S)
    assert 3.8 < taken[1] - taken[0] < 4.8


@pytest.mark.conforms("oracle-20")
def test_a_late_write_in_the_middle_of_a_planned_move_meets_the_reservation() -> None:
    """A LUN is never without a reservation, or an owner that was frozen long ago could write between two others."""
    world = running(Plan(nodes=3, vms=1))
    group = world.definition.groups[0].name
    generation, node = world.clients.serving[group]
    frozen = world.machines[node]
    frozen.freeze()
    assert frozen.cables.append(group, generation, TICKET, b"late"), "a client's request waits in its sockets"
    world.run_for(60 * US_PER_S)
    heir = leader(world)
    assert heir.core.replica.database.groups[group].owner != node
    world.array.slow_us = 2 * US_PER_S  # holds the move where nobody has reserved anew yet
    heir.deliver(ev.Requested(TICKET, ev.MoveGroup(group, NOBODY)))
    while heir.core.replica.database.groups[group].generation == generation + 1:
        world.run_for(US_PER_S // 100)
    frozen.thaw()
    world.run_for(120 * US_PER_S)
    assert world.judge.counts.get("refused writes", 0) > 0, "it was tried, and refused"
    world.array.slow_us = 0
    world.run_for(60 * US_PER_S)
    assert world.judge.problems() == []


def test_the_nodes_do_not_talk_themselves_to_a_standstill_over_a_changed_disk() -> None:
    """Seed 3100: votes of a node whose disk was just replaced were asked of both disks in turn, twice as often a round.

    The judge calls more events in a second than any lab needs a storm.
    """
    verdict = run_seed(Plan(), 3100)
    assert verdict.ok, verdict.broken
