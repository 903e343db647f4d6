"""An operator changes properties of the cluster while it runs.

Law: virtual time, the real cores. What must not be is refused, and then nothing has changed.
"""

from __future__ import annotations

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import CHANGEABLE, LIMITS, Properties
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_operators_wishes import asked
from tests.sim.test_oracles import leader, since, wait
from tests.sim.test_votes_by_operators import database, lab, votes


@pytest.mark.conforms("tie-breaker")
def test_who_goes_without_a_vote_in_a_tie_is_chosen_while_the_cluster_runs() -> None:
    """LowerQuorumPriorityNodeID: the vote moves at once, and again; the leader's own never goes."""
    world = lab(4, witness=False)
    first, began = int(leader(world).node), world.now
    for named in [node for node in (1, 2, 3, 4) if node != first]:
        reply = asked(world, ev.SetClusterProperty("lower_quorum_priority_node_id", named))
        assert (reply.ok, reply.text) == (True, f"lower_quorum_priority_node_id is {named}")
        assert votes(world)[0] == {1, 2, 3, 4} - {named}
    facts = since(world, began, FactKind.PROPERTY_CHANGED)
    assert [fact.get("property") for fact in facts] == ["lower_quorum_priority_node_id"] * 3


def test_every_node_has_a_change_and_keeps_it() -> None:
    """It is part of the database: followers, nodes that start again and a node with an empty disk all have it."""
    world = lab(3, witness=True)
    assert asked(world, ev.SetClusterProperty("cluster_enforced_anti_affinity", 1)).ok
    assert asked(world, ev.SetClusterProperty("maximum_parallel_migrations", 4)).ok
    wait(world, 5)
    one, two = world.machines[NodeId(1)], world.machines[NodeId(2)]
    one.kill()
    one.start()
    two.kill()
    two.wipe()
    two.start()
    wait(world, 60)
    for machine in world.machines.values():
        now = machine.core.settings.now
        assert (now.cluster_enforced_anti_affinity, now.maximum_parallel_migrations) == (True, 4)
        assert now.same_subnet_delay_ms == world.definition.properties.same_subnet_delay_ms
    assert world.judge.problems() == []


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("same_subnet_delay_ms", 500, "does not change while the cluster runs"),
        ("no_such_thing", 1, "does not change while the cluster runs"),
        ("auto_balancer_mode", 3, "from 0 to 2"),
        ("cluster_enforced_anti_affinity", 2, "from 0 to 1"),
        ("failover_threshold", -2, "from -1 to"),
        ("lower_quorum_priority_node_id", 9, "no node 9"),
    ],
)
def test_what_cannot_be_is_refused(name: str, value: int, word: str) -> None:
    """Whichever node is asked, nothing has changed."""
    world = lab(3, witness=True)
    before = database(world)
    for node in world.machines:
        reply = asked(world, ev.SetClusterProperty(name, value), node=node, seconds=5)
        assert not reply.ok
        assert word in reply.text
    assert database(world) == before


def test_what_a_version_does_not_have_is_refused() -> None:
    """Windows Server 2012 has no drain on shutdown, and 2008 R2 compresses no memory."""
    for profile, name in (
        ("ws2012", "drain_on_shutdown"),
        ("ws2008r2", "virtual_machine_migration_performance_option"),
    ):
        world = World(Plan(nodes=2, vms=2, profile=profile).definition(), 1)
        world.start()
        wait(world, 60)
        reply = asked(world, ev.SetClusterProperty(name, 1), seconds=5)
        assert (reply.ok, reply.code) == (False, "refused")
        assert profile in reply.text


def test_what_may_change_are_properties_with_limits_or_truths() -> None:
    """Numbers have limits, and the others are truths; nothing that leases rest on is among them."""
    plain = Properties()
    for name in CHANGEABLE:
        value = getattr(plain, name)
        assert isinstance(value, bool) is (name not in LIMITS)
    assert not [name for name in CHANGEABLE if name.endswith("_ms") or "subnet" in name]


def test_quarantine_that_is_switched_off_ends_when_it_would_have_ended() -> None:
    """QuarantineThreshold 0: nobody is quarantined any more, and who is inside is not forgotten there."""
    short = (("quarantine_threshold", 1), ("quarantine_duration_ms", 120_000), ("resiliency_level", 0))
    world = World(Plan(nodes=3, vms=3, profile="ws2016", properties=short).definition(), 1)
    world.start()
    wait(world, 60)
    lost = next(machine for machine in world.machines.values() if machine.node != leader(world).node)
    lost.kill()
    wait(world, 30)
    lost.start()
    wait(world, 30)
    assert leader(world).core.replica.database.members[lost.node].quarantined
    assert asked(world, ev.SetClusterProperty("quarantine_threshold", 0), seconds=5).ok
    wait(world, 150)
    assert lost.core.replica.member
    assert world.judge.problems() == []
