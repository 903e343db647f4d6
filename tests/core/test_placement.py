"""Where a group goes, rule by rule (reference/wsfc.md 6.5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.vocabulary import NOBODY, LunId, NodeId
from hvcluster.node.core.placement import Candidates, Choice, Why, choose

A, B, C, D, E, F = (NodeId(n) for n in range(1, 7))


def group(*preferred: NodeId, possible: tuple[NodeId, ...] = ()) -> GroupDefinition:
    """A group with these preferred owners."""
    return GroupDefinition("D1", LunId(2), preferred=preferred, possible=possible)


def nodes(*able: NodeId, **counts: int) -> Candidates:
    """Nodes that are able, with how many groups each has (none, unless told: A=3)."""
    names = dict(zip("ABCDEF", (A, B, C, D, E, F), strict=True))
    return Candidates(
        {node: next((c for n, c in counts.items() if names[n] == node), 0) for node in able}, {}, {}, {}, {}
    )


def owner(choice: Choice | None) -> NodeId:
    """The node that was chosen."""
    assert choice is not None
    return choice.owner


@pytest.mark.conforms("preferred-owners")
def test_after_a_failure_the_list_goes_on_from_the_current_owner() -> None:
    """6.5 A, scenario 1: with the list A, C, E, B, D, F a failure on C goes to E, and one on E to B."""
    listed = group(A, C, E, B, D, F)
    for why in (Why.NODE_FAILURE, Why.RESOURCE_FAILURE):
        assert owner(choose(listed, C, why, nodes(A, B, D, E, F), leave=True)) == E
        assert owner(choose(listed, E, why, nodes(A, B, C, D, F), leave=True)) == B


@pytest.mark.conforms("preferred-owners")
def test_nodes_that_are_not_listed_follow_by_id() -> None:
    """6.5 A: the preferred owners in order, then the rest by node id, and round again."""
    listed = group(C, A)
    assert owner(choose(listed, A, Why.NODE_FAILURE, nodes(B, D, E), leave=True)) == B
    assert owner(choose(listed, B, Why.NODE_FAILURE, nodes(C, D, E), leave=True)) in (C, D)
    assert owner(choose(listed, C, Why.NODE_FAILURE, nodes(B, A), leave=True)) == A


def test_a_failed_resource_without_a_list_goes_to_the_next_node_by_id() -> None:
    """6.5 B: next in order of node id, wrapping at the end."""
    assert owner(choose(group(), B, Why.RESOURCE_FAILURE, nodes(A, C, D, C=9), leave=True)) == C
    assert owner(choose(group(), D, Why.RESOURCE_FAILURE, nodes(A, B, C, A=9), leave=True)) == A


def test_a_failed_node_without_a_list_gives_to_the_one_with_fewest_groups() -> None:
    """6.5 C: the node that owns the fewest groups; the lowest id among equals, so that all nodes agree."""
    assert owner(choose(group(), A, Why.NODE_FAILURE, nodes(B, C, D, B=2, C=1, D=1), leave=True)) == C


@pytest.mark.conforms("preferred-owners")
def test_best_possible_node_is_always_from_the_top_of_the_list() -> None:
    """6.5 D: a move to the best possible node starts from the top."""
    assert owner(choose(group(A, C, E), C, Why.MOVE, nodes(A, B, E), leave=True)) == A


def test_a_forming_cluster_gives_a_group_back_to_its_last_owner() -> None:
    """Failure table, all nodes killed: VMs return to their last owner when it is there."""
    assert owner(choose(group(A, B), C, Why.START, nodes(A, B, C, C=9), leave=False)) == C
    assert owner(choose(group(), C, Why.START, nodes(A, B, A=1), leave=False)) == B


@pytest.mark.conforms("possible-owners")
def test_without_a_node_that_may_there_is_no_choice() -> None:
    """6.5: a group that nobody may own waits."""
    assert choose(group(), A, Why.NODE_FAILURE, nodes(), leave=True) is None
    assert choose(group(), A, Why.NODE_FAILURE, nodes(A), leave=True) is None
    assert choose(group(possible=(B,)), A, Why.NODE_FAILURE, nodes(A, C), leave=False) is None


sets = st.sets(st.sampled_from((A, B, C, D, E, F)))
lists = st.lists(st.sampled_from((A, B, C, D, E, F)), unique=True)


@given(lists, sets, st.sampled_from((NOBODY, A, B, C, D)), st.sampled_from(Why), sets, st.booleans())
@pytest.mark.conforms("possible-owners")
def test_any_choice_is_a_node_that_may_and_is_explained(
    preferred: list[NodeId], possible: set[NodeId], current: NodeId, why: Why, able: set[NodeId], leave: bool
) -> None:
    """Filter: up and a possible owner; Invariants, reasons: candidates and rule are named, and it is repeatable."""
    wanted = group(*preferred, possible=tuple(sorted(possible)))
    choice = choose(wanted, current, why, nodes(*sorted(able)), leave)
    may = {n for n in able if (not possible or n in possible) and not (leave and n == current)}
    if not may:
        assert choice is None
        return
    assert choice is not None
    assert choice.owner in may
    assert choice.candidates == tuple(sorted(may))
    assert choice.rule
    assert choice == choose(wanted, current, why, nodes(*sorted(able, reverse=True)), leave)
