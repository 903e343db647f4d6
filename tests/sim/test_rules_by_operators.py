"""An operator makes, changes and removes affinity rules while the cluster runs.

Law: virtual time, the real cores. What does not fit together is refused, and then nothing has changed.
"""

from __future__ import annotations

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.policy import AffinityRule, RuleKind
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev
from tests.sim.test_operators_wishes import asked, lab
from tests.sim.test_oracles import leader, owners, since, wait

ONE, TWO, THREE = NodeId(1), NodeId(2), NodeId(3)
APART = AffinityRule("apart", RuleKind.DIFFERENT_NODE, ("D1", "D2"))


@pytest.mark.conforms("affinity-rules")
def test_a_new_rule_binds_from_the_next_placement_on_until_it_is_removed() -> None:
    """6.6: nothing moves because of it; a move against it is refused; without it the same move is made."""
    world = lab(1, 2, 3)
    began = world.now
    assert asked(world, ev.SetAffinityRule(APART), node=TWO).text == "rule apart is set: different-node for D1, D2"
    assert owners(world) == {"D1": ONE, "D2": TWO, "D3": THREE}
    refused = asked(world, ev.MoveGroup("D1", TWO))
    assert (refused.ok, refused.code) == (False, "refused")
    assert owners(world)["D1"] == ONE
    assert asked(world, ev.RemoveAffinityRule("apart")).ok
    assert asked(world, ev.MoveGroup("D1", TWO)).ok
    assert owners(world)["D1"] == TWO
    assert [fact.get("rule") for fact in since(world, began, FactKind.RULE_CHANGED)] == ["apart", "apart"]


@pytest.mark.conforms("affinity-rules")
def test_a_rule_of_the_running_cluster_outlives_leaders_and_restarts() -> None:
    """It is in the replicated database: who leads next, and a cluster that has formed anew, keep to it."""
    world = lab(1, 2, 3)
    assert asked(world, ev.SetAffinityRule(APART)).ok
    for machine in world.machines.values():
        machine.kill()
    for machine in world.machines.values():
        machine.start()
    wait(world, 120)
    assert leader(world).core.replica.database.rules == (APART,)
    world.machines[ONE].kill()
    wait(world, 60)
    assert owners(world)["D1"] == THREE, "node 2 has what it must not share a node with"


@pytest.mark.conforms("affinity-rules")
def test_two_vms_that_share_a_node_are_parted_when_one_is_placed_again() -> None:
    """A rule that is broken when it is made: both stay; replaced by its opposite, it asks for the opposite."""
    world = lab(1, 1, 2)
    assert asked(world, ev.SetAffinityRule(APART)).ok
    assert owners(world) == {"D1": ONE, "D2": ONE, "D3": TWO}
    world.machines[ONE].kill()
    wait(world, 60)
    assert owners(world)["D1"] != owners(world)["D2"]
    together = AffinityRule("apart", RuleKind.SAME_NODE, ("D1", "D2"))
    assert asked(world, ev.SetAffinityRule(together)).ok
    assert leader(world).core.replica.database.rules == (together,)


@pytest.mark.conforms("affinity-rules")
def test_rules_that_do_not_fit_are_refused_and_nothing_has_changed() -> None:
    """Groups that do not exist or stand twice, no name, a contradiction, a rule that is not there."""
    world = lab(1, 2, 3)
    assert asked(world, ev.SetAffinityRule(APART)).ok
    before = leader(world).core.replica.database.encode()
    different = RuleKind.DIFFERENT_NODE
    for rule, code in (
        (AffinityRule("x", different, ("D1", "D9")), "unknown-group"),
        (AffinityRule("x", different, ("D1", "D1")), "refused"),
        (AffinityRule(" ", different, ("D1", "D3")), "refused"),
        (AffinityRule("x", RuleKind.SAME_NODE, ("D1", "D2")), "refused"),
    ):
        assert asked(world, ev.SetAffinityRule(rule), seconds=2).code == code, rule
    assert asked(world, ev.RemoveAffinityRule("x"), seconds=2).code == "unknown-rule"
    assert leader(world).core.replica.database.encode() == before
