"""Nodes are evicted and added while the cluster runs.

Law: virtual time, the real cores. What must not be is refused, and then nothing has changed.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev
from hvcluster.node.core.forcing import refusal
from hvcluster.sim.labs import Plan
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World
from tests.sim.test_operators_wishes import asked
from tests.sim.test_oracles import leader, owners, since, wait
from tests.sim.test_votes_by_operators import database, lab, votes

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)


def test_an_evicted_node_has_no_vote_and_no_vm() -> None:
    """Remove-ClusterNode: its VMs start elsewhere, its vote is gone, and it does not come back by itself."""
    world = lab(3, witness=True)
    gone = next(node for node in (ONE, TWO, THREE) if node != leader(world).node)
    began = world.now
    assert asked(world, ev.EvictNode(gone, force=True)).ok
    wait(world, 60)
    nodes, witness = votes(world)
    assert (nodes, witness) == ({1, 2, 3} - {int(gone)}, True)
    assert gone not in owners(world).values()
    assert len(owners(world)) == 3
    (fact,) = since(world, began, FactKind.NODE_EVICTED)
    assert fact.get("peer") == gone
    assert world.judge.problems() == []
    for machine in (world.machines[gone], leader(world)):
        machine.kill()
        machine.start()
    wait(world, 60)
    assert gone not in votes(world)[0]
    assert gone not in owners(world).values()
    assert since(world, began, FactKind.QUORUM_LOST) == []
    assert asked(world, ev.AddNode(gone)).ok
    wait(world, 60)
    assert votes(world) == ({1, 2, 3}, False)
    assert world.judge.problems() == []


@pytest.mark.parametrize("static", [False, True])
def test_a_leader_that_is_evicted_hands_over(static: bool) -> None:
    """Whoever leads then takes its vote away, and quorum is never lost."""
    world = lab(3, witness=True, static=static)
    first, began = leader(world).node, world.now
    assert asked(world, ev.EvictNode(first, force=True)).ok
    wait(world, 60)
    assert leader(world).node != first
    assert first not in votes(world)[0]
    assert first not in owners(world).values()
    assert since(world, began, FactKind.QUORUM_LOST) == []
    assert world.judge.problems() == []


def test_a_node_with_vms_is_not_evicted_without_force() -> None:
    """Nobody turns VMs off by the way: drained first, it may go."""
    world = lab(3, witness=True)
    before = database(world)
    reply = asked(world, ev.EvictNode(TWO), seconds=5)
    assert (reply.ok, reply.code) == (False, "refused")
    assert "drain it first" in reply.text
    assert database(world) == before
    assert asked(world, ev.SetNodePaused(TWO, True, drain=True)).ok
    wait(world, 60)
    assert asked(world, ev.EvictNode(TWO)).ok
    assert TWO not in votes(world)[0]


def test_what_would_lose_quorum_is_not_evicted() -> None:
    """Static votes, one of three is dead: the second of the two that are left is needed; the dead one may go."""
    world = lab(3, witness=False, static=True)
    world.machines[THREE].kill()
    wait(world, 60)
    before = database(world), votes(world)
    reply = asked(world, ev.EvictNode(TWO, force=True), seconds=5)
    assert (reply.ok, reply.code) == (False, "quorum")
    assert (database(world), votes(world)) == before
    assert asked(world, ev.EvictNode(THREE)).ok
    assert votes(world) == ({1, 2}, False)


def test_the_last_node_is_not_evicted_nor_an_unknown_one() -> None:
    """Somebody must be left; and whoever is not there cannot go or come."""
    world = lab(2, witness=True)
    world.machines[TWO].kill()
    wait(world, 60)
    before = database(world)
    assert asked(world, ev.EvictNode(ONE, force=True), seconds=5).code == "quorum"
    assert asked(world, ev.EvictNode(NodeId(9)), seconds=5).code == "unknown-node"
    assert asked(world, ev.AddNode(NodeId(9)), seconds=5).code == "unknown-node"
    assert database(world) == before


def test_an_evicted_node_that_is_away_waits_when_it_returns() -> None:
    """A node that was evicted while it was dead learns it from the others, however old its own log is."""
    world = lab(3, witness=False)
    world.machines[THREE].kill()
    wait(world, 60)
    assert asked(world, ev.EvictNode(THREE)).ok
    wait(world, 10)
    world.machines[THREE].start()
    wait(world, 60)
    assert world.machines[THREE].core.replica.evicted
    assert not world.machines[THREE].core.replica.member
    assert votes(world)[0] <= {1, 2}
    assert THREE not in owners(world).values()


def test_a_cluster_grows_from_one_node() -> None:
    """`outside`: a machine that runs and was never added has no vote; added, it has one."""
    definition = Plan(nodes=3, vms=3, witness=True).definition()
    nodes = tuple(replace(node, outside=node.id != ONE) for node in definition.nodes)
    world = World(replace(definition, nodes=nodes), 1)
    world.start()
    wait(world, 60)
    assert votes(world) == ({1}, False)
    assert set(owners(world).values()) == {ONE}
    for node, expected in ((TWO, ({1, 2}, True)), (THREE, ({1, 2, 3}, False))):
        assert asked(world, ev.AddNode(node), node=node).ok, "any node may be asked, the new one as well"
        wait(world, 20)
        assert votes(world) == expected
    assert world.judge.problems() == []


def test_quorum_is_not_forced_on_a_node_that_was_evicted() -> None:
    """Its database is one to which it does not belong: the refusal says what to do instead."""
    world = lab(3, witness=True)
    assert asked(world, ev.EvictNode(THREE, force=True)).ok
    wait(world, 10)
    assert "add this one afterwards" in (refusal(THREE, world.machines[THREE].saved) or "")
    assert refusal(ONE, world.machines[ONE].saved) is None


def test_who_is_evicted_while_nobody_else_has_the_log_helps_to_elect_another() -> None:
    """It has the newest log and its vote still: without it nobody could lead, so it does, and hands over."""
    world = lab(3, witness=False)
    first = leader(world).node
    gone, other = (node for node in (ONE, TWO, THREE) if node != first)
    hand = Strikes(world)
    hand.strike(Fault(FaultWord.PARTITION, side=(f"HyperV-{other}",)))
    world.machines[first].deliver(ev.Requested(9, ev.EvictNode(gone, force=True)))
    state = world.machines[gone].core.state
    before = state.log.last_index
    while state.log.last_index == before:
        world.run_for(100)
    assert state.log.configuration.voters == world.machines[other].core.state.log.configuration.voters
    world.machines[first].kill()
    hand.strike(Fault(FaultWord.HEAL))
    wait(world, 90)
    assert leader(world).node == other
    for f in world.facts:
        print(f.at / 1e6, f.node, f.kind.name, f.reason) if f.at > 59e6 else 0
    assert votes(world)[0] == {int(other)}
    assert world.judge.problems() == []
