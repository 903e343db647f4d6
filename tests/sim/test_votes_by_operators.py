"""An operator changes who votes while the cluster runs: NodeWeight, and whether the witness is used.

Law: virtual time, the real cores. What must not be is refused, and then nothing has changed.
"""

from __future__ import annotations

import pytest

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.facts import FactKind
from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.vocabulary import US_PER_S, NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World
from tests.sim.test_operators_wishes import asked
from tests.sim.test_oracles import leader, owners, since, wait

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
STATIC = (("dynamic_quorum", False), ("dynamic_witness", False))


def lab(nodes: int, *, witness: bool, static: bool = False) -> World:
    """A healthy lab with one VM for each node."""
    plan = Plan(nodes=nodes, vms=nodes, witness=witness, properties=STATIC if static else ())
    world = World(plan.definition(), 1)
    world.start()
    wait(world, 60)
    return world


def votes(world: World) -> tuple[set[int], bool]:
    """Who votes, as the leader has it: ids of nodes, and whether the witness does."""
    configuration = leader(world).core.state.log.configuration
    return {int(voter.node) for voter in configuration.voters}, configuration.witness


def database(world: World) -> bytes:
    """All that the cluster has agreed on."""
    return leader(world).core.replica.database.encode()


@pytest.mark.conforms("node-weight")
def test_a_node_loses_its_vote_and_gets_it_back() -> None:
    """NodeWeight 0: it stays a member and keeps its VMs, has no vote, and the witness makes the number odd."""
    world = lab(3, witness=True)
    began, before = world.now, owners(world)
    assert votes(world) == ({1, 2, 3}, False)
    reply = asked(world, ev.SetNodeWeight(THREE, 0))
    assert (reply.ok, reply.text) == (True, "NodeWeight of node 3 is 0")
    assert votes(world) == ({1, 2}, True)
    assert owners(world) == before
    (fact,) = since(world, began, FactKind.QUORUM_CHANGED)
    assert (fact.get("peer"), fact.get("weight")) == (3, 0)
    assert asked(world, ev.SetNodeWeight(THREE, 1)).ok
    assert votes(world) == ({1, 2, 3}, False)


@pytest.mark.conforms("node-weight")
def test_a_leader_without_weight_hands_over_and_keeps_its_vms() -> None:
    """Who leads never takes its own vote: another node leads then, and takes it."""
    world = lab(3, witness=False)
    first, before = leader(world).node, owners(world)
    assert asked(world, ev.SetNodeWeight(first, 0)).ok
    assert leader(world).node != first
    assert first not in votes(world)[0]
    assert owners(world) == before


@pytest.mark.conforms("node-weight")
def test_static_votes_are_those_the_operator_gives() -> None:
    """Static quorum: nothing changes by itself, and what an operator says changes at once, also of who is away."""
    world = lab(5, witness=False, static=True)
    world.machines[NodeId(5)].kill()
    wait(world, 60)
    assert votes(world) == ({1, 2, 3, 4, 5}, False)
    assert asked(world, ev.SetNodeWeight(NodeId(5), 0)).ok
    assert votes(world) == ({1, 2, 3, 4}, False)
    world.machines[NodeId(5)].start()
    wait(world, 60)
    assert votes(world) == ({1, 2, 3, 4}, False)
    assert asked(world, ev.SetNodeWeight(NodeId(5), 1)).ok
    assert votes(world) == ({1, 2, 3, 4, 5}, False)


@pytest.mark.parametrize("weight", [-1, 2, 7])
@pytest.mark.conforms("node-weight")
def test_a_weight_is_none_or_one(weight: int) -> None:
    """Weights other than 0 and 1 are refused, whichever node is asked, and nothing has changed."""
    world = lab(3, witness=True)
    before = database(world), votes(world)
    for node in (ONE, TWO, THREE):
        reply = asked(world, ev.SetNodeWeight(TWO, weight), node=node, seconds=5)
        assert (reply.ok, reply.code) == (False, "refused")
        assert "0 or 1" in reply.text
    assert (database(world), votes(world)) == before
    assert asked(world, ev.SetNodeWeight(NodeId(9), 0), seconds=5).code == "unknown-node"


@pytest.mark.conforms("node-weight")
def test_what_would_lose_quorum_is_refused() -> None:
    """Static quorum, two of three are up: without the vote of one of them the rest are one of two; nothing changes."""
    world = lab(3, witness=False, static=True)
    world.machines[THREE].kill()
    wait(world, 60)
    before = database(world), votes(world)
    reply = asked(world, ev.SetNodeWeight(TWO, 0), seconds=5)
    assert (reply.ok, reply.code) == (False, "quorum")
    assert "quorum would be lost" in reply.text
    assert (database(world), votes(world)) == before
    assert asked(world, ev.SetNodeWeight(THREE, 0)).ok, "the vote of the one that is away is no loss"
    assert votes(world) == ({1, 2}, False)


@pytest.mark.conforms("node-weight")
def test_the_last_vote_stays() -> None:
    """Somebody must vote: the last vote of a node that is up is not taken away."""
    world = lab(3, witness=False)
    for node in (ONE, TWO):
        assert asked(world, ev.SetNodeWeight(node, 0)).ok
    before = database(world), votes(world)
    assert before[1] == ({3}, False)
    reply = asked(world, ev.SetNodeWeight(THREE, 0), seconds=5)
    assert (reply.ok, reply.code) == (False, "quorum")
    assert (database(world), votes(world)) == before


@pytest.mark.conforms("quorum-online", "disk-majority")
@pytest.mark.parametrize("static", [False, True])
def test_the_witness_is_given_up_and_used_again(static: bool) -> None:
    """Set-ClusterQuorum -NodeMajority and back: the votes of nodes alone count, and then the witness's again."""
    world = lab(4, witness=True, static=static)
    before = owners(world)
    assert votes(world) == ({1, 2, 3, 4}, True)
    reply = asked(world, ev.SetQuorum(witness=False))
    assert (reply.ok, reply.text) == (True, "the nodes' votes alone are counted")
    nodes, witness = votes(world)
    assert (len(nodes), witness) == (4 if static else 3, False)
    assert asked(world, ev.SetQuorum(witness=True)).ok
    assert votes(world) == ({1, 2, 3, 4}, True)
    assert owners(world) == before


@pytest.mark.conforms("quorum-online", "disk-majority")
def test_a_witness_that_is_needed_is_not_given_up() -> None:
    """Static quorum, two nodes of which one is dead: the witness has the second vote; refused, and nothing changes."""
    world = lab(2, witness=True, static=True)
    world.machines[TWO if leader(world).node == ONE else ONE].kill()
    wait(world, 90)
    before = database(world), votes(world)
    reply = asked(world, ev.SetQuorum(witness=False), seconds=5)
    assert (reply.ok, reply.code) == (False, "quorum")
    assert (database(world), votes(world)) == before


@pytest.mark.conforms("quorum-online", "node-majority")
def test_there_is_no_witness_to_use_where_none_was_made() -> None:
    """A cluster without a witness cannot begin to use one; nothing changes."""
    world = lab(3, witness=False)
    before = database(world)
    reply = asked(world, ev.SetQuorum(witness=True), seconds=5)
    assert (reply.ok, reply.code) == (False, "refused")
    assert database(world) == before


@pytest.mark.conforms("node-weight")
@pytest.mark.parametrize("kind", [None, TagWitnessKind.FILE_SHARE, TagWitnessKind.CLOUD])
def test_a_leader_without_weight_gives_the_witness_to_its_heir(kind: TagWitnessKind | None) -> None:
    """Two nodes and a witness, static votes: who leads by another's vote and the witness's can give up both.

    The one voter cannot reach the witness for a while, so the other leads; once that is over, it hands over.
    """
    world = World(Plan(nodes=2, vms=2, tag_witness=kind, properties=STATIC).definition(), 1)
    world.start()
    wait(world, 60)
    first = leader(world).node
    heir = TWO if first == ONE else ONE
    assert asked(world, ev.SetNodeWeight(first, 0)).ok
    assert votes(world) == ({int(heir)}, True)
    hand, cut = Strikes(world), world.now
    hand.strike(Fault(FaultWord.CUT_ARRAY if kind is None else FaultWord.CUT_WITNESS, f"HyperV-{heir}"))
    while world.now < cut + 300 * US_PER_S:
        leads = hand.leader()
        if leads is not None and leads.node == first:
            break
        world.run_for(US_PER_S // 10)
    assert leader(world).node == first
    hand.strike(Fault(FaultWord.HEAL))
    began = world.now
    wait(world, 60)
    assert leader(world).node == heir
    assert since(world, began, FactKind.QUORUM_LOST) == []
    assert len(owners(world)) == len(world.definition.groups)
    assert world.judge.problems() == []
