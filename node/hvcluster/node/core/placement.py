"""Which node gets a group, and by which rule: pure functions of what the leader knows.

Law: no state. Every choice comes with its candidates and the rule that chose, in words. Source: the placement rules
that docs/divergence.md cites (preferred owners, fewest groups, next by id).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.values import value
from hvcluster.model.vocabulary import NodeId


class Why(Enum):
    """What makes a group look for an owner."""

    NODE_FAILURE = "its node went down"
    RESOURCE_FAILURE = "it failed on its node"
    MOVE = "an operator moves it"
    START = "the cluster formed"


@value
class Candidates:
    """Nodes that could take a group now, with the number of groups each has (planned ones included)."""

    groups: Mapping[NodeId, int]
    """Only nodes that are up, not paused, not leaving and see the array."""


@value
class Choice:
    """The owner chosen, among whom, and by which rule."""

    owner: NodeId
    candidates: tuple[NodeId, ...]
    rule: str


def choose(group: GroupDefinition, current: NodeId, why: Why, nodes: Candidates, leave: bool) -> Choice | None:
    """The next owner, or None when no node may take the group. `leave`: the current owner is not to be chosen."""
    able = tuple(
        node
        for node in sorted(nodes.groups)
        if (not group.possible or node in group.possible) and not (leave and node == current)
    )
    if not able:
        return None
    if why is Why.START and current in able:
        return Choice(current, able, "its last owner is up")
    if group.preferred:
        return _by_list(group, current, why, able)
    if why is Why.RESOURCE_FAILURE:
        owner = next((node for node in able if node > current), able[0])
        return Choice(owner, able, f"next node by id after node {current}")
    owner = min(able, key=lambda node: (nodes.groups[node], node))
    return Choice(owner, able, f"fewest groups ({nodes.groups[owner]}), lowest id among equals")


def _by_list(group: GroupDefinition, current: NodeId, why: Why, able: tuple[NodeId, ...]) -> Choice:
    """Preferred owners in order, then the others by id; after a failure, on from the current owner and round."""
    rest = tuple(node for node in able if node not in group.preferred)
    order = (*group.preferred, *rest)
    if why in (Why.MOVE, Why.START) or current not in order:
        owner = next(node for node in order if node in able)
        return Choice(owner, able, "first of the preferred owners list that is able")
    at = order.index(current)
    owner = next(node for node in (*order[at + 1 :], *order[: at + 1]) if node in able)
    return Choice(owner, able, f"next in the preferred owners list after node {current}")
