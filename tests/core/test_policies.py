"""Policies, rules and sets as people write them, and which nodes rules leave (reference/wsfc.md 6.2, 6.4, 6.6, 6.7)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import (
    AffinityRule,
    FaultDomain,
    GroupSet,
    Policy,
    Priority,
    RuleKind,
    complaints,
)
from hvcluster.model.policy_file import (
    policy_values,
    read_policy,
    read_rule,
    read_set,
    rule_values,
    set_values,
)
from hvcluster.model.vocabulary import LunId, NodeId
from hvcluster.node.core.placement import Candidates, Why, blocked, bonds_of, choose, conflict
from tests.core.strategies import policies

A, B, C = NodeId(1), NodeId(2), NodeId(3)
PLACES = {A: ("Paris", "Left", "Blue"), B: ("Paris", "Left", ""), C: ("Paris", "Right", "Red")}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"priority": "urgent"}, "priority"),
        ({"priority": 2000}, "priority"),
        ({"restart_threshold": -1}, "restart_threshold"),
        ({"restart_threshold": True}, "restart_threshold"),
        ({"restart_period_ms": 10**9}, "restart_period_ms"),
        ({"restart_delay_ms": 0.5}, "restart_delay_ms"),
        ({"restart_action": "never"}, "restart_action"),
        ({"auto_failback": 1}, "auto_failback"),
        ({"auto_failback": True, "failback_window": [25, 3]}, "failback_window"),
        ({"auto_failback": True, "failback_window": [3, 3]}, "failback_window"),
        ({"failback_window": [1, 3]}, "failback_window"),
        ({"anti_affinity_class_names": "web"}, "anti_affinity_class_names"),
        ({"anti_affinity_class_names": ["web", "web"]}, "anti_affinity_class_names"),
        ({"anti_affinity_class_names": [str(n) for n in range(17)]}, "anti_affinity_class_names"),
        ({"locked_from_moving": "yes"}, "locked_from_moving"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused_with_a_remedy(values: dict[str, Any], key: str) -> None:
    """Bad input: the key, a sentence, and what to write instead."""
    _, wrong = read_policy(values)
    assert [each for each, _ in wrong] == [key]
    assert "; " in wrong[0][1]


@given(policies)
def test_what_is_written_of_a_policy_is_read_back(policy: Policy) -> None:
    """A scenario file says everything that a policy is."""
    assert read_policy(policy_values(policy)) == (policy, [])


def test_rules_and_sets_are_read_back_as_well() -> None:
    """The same for affinity rules and sets."""
    rule = AffinityRule("apart", RuleKind.DIFFERENT_NODE, ("D1", "D2"), soft=True)
    assert read_rule(rule_values(rule), ("D1", "D2")) == (rule, [])
    each = GroupSet("web", ("D2",), ("database",), 5, trigger_delay=False)
    assert read_set(set_values(each), ("D1", "D2")) == (each, [])


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"name": "r", "kind": "different-node", "groups": ["D1"]}, "groups"),
        ({"name": "r", "kind": "different-node", "groups": ["D1", "D9"]}, "groups"),
        ({"name": "r", "kind": "different-node", "groups": ["D1", "D1"]}, "groups"),
        ({"name": "r", "groups": ["D1", "D2"]}, "kind"),
        ({"name": "r", "kind": "other-planet", "groups": ["D1", "D2"]}, "kind"),
        ({"kind": "same-node", "groups": ["D1", "D2"]}, "name"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(values: dict[str, Any], key: str) -> None:
    """Bad input of [[affinity]]."""
    assert [each for each, _ in read_rule(values, ("D1", "D2"))[1]] == [key]


def test_sets_that_wait_for_each_other_and_rules_that_contradict_are_refused() -> None:
    """Impossible cycles, unknown sets, names that stand twice, apart and together."""
    first, second = GroupSet("a", ("D1",), ("b",)), GroupSet("b", ("D2",), ("a",))
    assert {key for key, _ in complaints((), (first, second))} == {"set"}
    assert "does not exist" in complaints((), (first,))[0][1]
    assert "twice" in complaints((), (GroupSet("a", ("D1",)), GroupSet("a", ("D2",))))[0][1]
    apart = AffinityRule("apart", RuleKind.DIFFERENT_NODE, ("D1", "D2"))
    together = AffinityRule("together", RuleKind.SAME_NODE, ("D1", "D2", "D3"))
    assert "keeps together" in complaints((apart, together), ())[0][1]
    assert complaints((apart,), (GroupSet("b", ("D2",), ("c",)), GroupSet("c", ("D1",)))) == []


def group(name: str, *classes: str) -> GroupDefinition:
    """A group of these anti-affinity classes."""
    return GroupDefinition(name, LunId(2), policy=Policy(anti_affinity_class_names=classes))


def test_a_class_keeps_groups_apart_while_there_is_another_node() -> None:
    """6.6: the first node without an anti-affine group; where every one has such a group, the wish gives way."""
    groups = [group("D1", "web"), group("D2", "web"), group("D3")]
    bonds = bonds_of(groups, (), enforced=False)
    there = Candidates({A: 0, B: 5}, {"D2": A, "D3": A}, bonds, {}, {})
    choice = choose(groups[0], C, Why.NODE_FAILURE, there, leave=True)
    assert choice is not None
    assert choice.owner == B, "A has fewer groups, but D2 is one of them"
    assert "anti-affinity class 'web'" in choice.rule
    alone = choose(groups[0], C, Why.NODE_FAILURE, Candidates({A: 0}, {"D2": A}, bonds, {}, {}), leave=True)
    assert alone is not None
    assert alone.owner == A


def test_an_enforced_class_leaves_a_group_offline_rather() -> None:
    """6.6 ClusterEnforcedAntiAffinity: no node, and the rule is named."""
    groups = [group("D1", "web"), group("D2", "web")]
    there = Candidates({A: 0}, {"D2": A}, bonds_of(groups, (), enforced=True), {}, {})
    assert choose(groups[0], C, Why.NODE_FAILURE, there, leave=True) is None
    assert blocked(groups[0], C, there, leave=True) == "anti-affinity class 'web'"
    assert conflict("D1", A, there) == "anti-affinity class 'web'"
    assert conflict("D1", B, there) == ""


def test_a_rule_keeps_groups_together() -> None:
    """6.6, same node: where the others run, whatever the numbers say; anywhere while none of them runs."""
    groups = [group("D1"), group("D2")]
    bonds = bonds_of(groups, (AffinityRule("pair", RuleKind.SAME_NODE, ("D1", "D2")),), enforced=False)
    chosen = [
        choose(groups[0], C, Why.NODE_FAILURE, Candidates({A: 0, B: 5}, where, bonds, {}, {}), leave=True)
        for where in ({"D2": B}, {})
    ]
    assert [choice and choice.owner for choice in chosen] == [B, A]
    there = Candidates({A: 0}, {"D2": B}, bonds, {}, {})
    assert choose(groups[0], C, Why.NODE_FAILURE, there, leave=True) is None, "it is no soft rule"


@given(
    st.dictionaries(st.sampled_from((A, B, C)), st.integers(0, 3), min_size=1),
    st.dictionaries(st.sampled_from(("D2", "D3")), st.sampled_from((A, B, C))),
    st.lists(
        st.builds(
            AffinityRule,
            st.just("rule"),
            st.sampled_from(RuleKind),
            st.sampled_from((("D1", "D2"), ("D1", "D3"), ("D2", "D3"))),
            st.booleans(),
            st.sampled_from(FaultDomain),
        ),
        max_size=3,
    ),
)
def test_a_hard_rule_is_never_broken_and_a_soft_one_never_keeps_a_group_down(
    counts: dict[NodeId, int], where: dict[str, NodeId], rules: list[AffinityRule]
) -> None:
    """Against a dumb twin: which nodes each rule alone allows."""

    def allows(rule: AffinityRule, node: NodeId) -> bool:
        def place(node: NodeId) -> object:
            site, rack, chassis = PLACES.get(node, ("", "", "")) if "domain" in rule.kind.value else ("", "", "")
            named = {FaultDomain.SITE: site, FaultDomain.RACK: rack, FaultDomain.CHASSIS: chassis}
            return named[rule.level] or node

        others = {place(where[name]) for name in rule.groups if name != "D1" and name in where}
        return "D1" not in rule.groups or not others or (place(node) in others) == rule.kind.value.startswith("same")

    groups = [group("D1"), group("D2"), group("D3")]
    nodes = Candidates(counts, where, bonds_of(groups, rules, enforced=False), PLACES, {})
    fine = {node for node in counts if all(allows(rule, node) for rule in rules if not rule.soft)}
    choice = choose(groups[0], NodeId(9), Why.NODE_FAILURE, nodes, leave=True)
    assert (choice is None) == (not fine)
    assert choice is None or choice.owner in fine


def test_priorities_have_the_numbers_of_the_product() -> None:
    """Section 2, group priority."""
    assert [int(Priority[name]) for name in ("NO_AUTO_START", "LOW", "MEDIUM", "HIGH")] == [0, 1000, 2000, 3000]


@pytest.mark.conforms("sites")
def test_a_group_stays_in_its_site_while_a_node_of_it_can_take_it() -> None:
    """6.5 F: nodes of the owner's site first, whatever the numbers say; another site where there is none."""
    sites = {A: ("Paris",), B: ("Paris",), C: ("Rome",)}
    for able, chosen in (({B: 7, C: 0}, B), ({C: 0}, C)):
        choice = choose(group("D1"), A, Why.NODE_FAILURE, Candidates(able, {}, {}, sites, {}), leave=True)
        assert choice is not None
        assert choice.owner == chosen
    listed = GroupDefinition("D1", LunId(2), preferred=(A, C, B))
    choice = choose(listed, A, Why.NODE_FAILURE, Candidates({B: 0, C: 0}, {}, {}, sites, {}), leave=True)
    assert choice is not None
    assert choice.owner == C, "a list of preferred owners says more than a site"


@pytest.mark.conforms("fault-domains")
def test_a_group_goes_to_the_nearest_fault_domain_that_can_take_it() -> None:
    """Chassis, then rack, then site, whatever the numbers say; then anywhere. A node without a chassis has no mates."""
    places = {
        NodeId(1): ("Paris", "R1", "C1"), NodeId(2): ("Paris", "R1", "C1"), NodeId(3): ("Paris", "R1", ""),
        NodeId(4): ("Paris", "R2", "C1"), NodeId(5): ("Rome", "R1", "C1"),
    }  # fmt: skip
    able = {NodeId(2): 9, NodeId(3): 7, NodeId(4): 5, NodeId(5): 0}
    said = []
    while able:
        choice = choose(group("D1"), NodeId(1), Why.NODE_FAILURE, Candidates(able, {}, {}, places, {}), leave=True)
        assert choice is not None
        said.append((choice.owner, choice.rule.partition(", within ")[2]))
        del able[choice.owner]
    assert said == [(2, "chassis 'C1'"), (3, "rack 'R1'"), (4, "site 'Paris'"), (5, "")]
    choice = choose(
        group("D1"),
        NodeId(3),
        Why.NODE_FAILURE,
        Candidates({NodeId(1): 9, NodeId(4): 0}, {}, {}, places, {}),
        leave=True,
    )
    assert choice is not None
    assert choice.owner == 1


@pytest.mark.conforms("fault-domains")
def test_a_rule_keeps_groups_apart_in_the_domains_of_its_level() -> None:
    """Two VMs may share a site, and not a rack; racks of one name in two sites are two."""
    places = {A: ("Paris", "R1", ""), B: ("Paris", "R1", ""), C: ("Rome", "R1", "")}
    rule = AffinityRule("apart", RuleKind.DIFFERENT_FAULT_DOMAIN, ("D1", "D2"), level=FaultDomain.RACK)
    groups = [group("D1"), group("D2")]
    bonds = bonds_of(groups, (rule,), enforced=False)
    choice = choose(groups[1], B, Why.MOVE, Candidates({B: 0, C: 9}, {"D1": A}, bonds, places, {}), leave=False)
    assert choice is not None
    assert (choice.owner, choice.candidates) == (C, (C,))
    assert (
        blocked(groups[1], C, Candidates({B: 0}, {"D1": A}, bonds, places, {}), leave=False) == "affinity rule 'apart'"
    )
