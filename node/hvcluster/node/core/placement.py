"""Which node gets a group, and by which rule: pure functions of what the leader knows.

Law: no state. Every choice comes with its candidates and the rule that chose, in words. Source: the placement rules
that docs/divergence.md cites (preferred owners, fewest groups, next by id; anti-affinity narrows before they choose).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum
from typing import TypeAlias

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import AffinityRule, FaultDomain, RuleKind
from hvcluster.model.values import value
from hvcluster.model.vocabulary import NodeId


class Why(Enum):
    """What makes a group look for an owner."""

    NODE_FAILURE = "its node went down"
    RESOURCE_FAILURE = "it failed on its node"
    MOVE = "an operator moves it"
    START = "the cluster formed"


@value
class Bond:
    """What a rule asks of one group: to share a node, or a domain, with others, or not to. A soft one gives way."""

    name: str
    together: bool
    level: FaultDomain | None
    soft: bool
    others: tuple[str, ...]


Bonds: TypeAlias = Mapping[str, tuple[Bond, ...]]


@value
class Candidates:
    """Nodes that could take a group now, with the number of groups each has (planned ones included)."""

    groups: Mapping[NodeId, int]
    """Only nodes that are up, not paused, not leaving and see the array."""
    where: Mapping[str, NodeId]
    """The nodes of groups that run or are about to."""
    bonds: Bonds
    places: Mapping[NodeId, tuple[str, ...]]
    """Site, rack and chassis of nodes that have one of them."""
    room: Mapping[NodeId, int]
    """Memory in MB that is left on nodes of which it is counted (planned groups included)."""

    @staticmethod
    def plain(groups: Mapping[NodeId, int]) -> Candidates:
        """Nodes with so many groups, of which nothing else is asked."""
        return Candidates(groups, {}, {}, {}, {})


@value
class Choice:
    """The owner chosen, among whom, and by which rule."""

    owner: NodeId
    candidates: tuple[NodeId, ...]
    rule: str


def bonds_of(groups: Iterable[GroupDefinition], rules: Iterable[AffinityRule], enforced: bool) -> Bonds:
    """Rules and AntiAffinityClassNames as each group sees them. `enforced`: class names do not give way."""
    found: dict[str, list[Bond]] = {}
    classes: dict[str, list[str]] = {}
    for group in groups:
        for name in group.policy.anti_affinity_class_names:
            classes.setdefault(name, []).append(group.name)
    for name, members in sorted(classes.items()):
        _bind(found, f"anti-affinity class {name!r}", RuleKind.DIFFERENT_NODE, not enforced, members, None)
    for rule in rules:
        _bind(found, f"affinity rule {rule.name!r}", rule.kind, rule.soft, rule.groups, rule.level)
    return {name: tuple(bonds) for name, bonds in found.items()}


def _bind(
    found: dict[str, list[Bond]],
    name: str,
    kind: RuleKind,
    soft: bool,
    members: Collection[str],
    level: FaultDomain | None,
) -> None:
    for member in members:
        others = tuple(other for other in members if other != member)
        if others:
            found.setdefault(member, []).append(
                Bond(name, kind.together, level if kind.by_domain else None, soft, others)
            )


def conflict(group: str, node: NodeId, nodes: Candidates) -> str:
    """The rule that forbids a node to a group, "" when none does."""
    for bond in nodes.bonds.get(group, ()):
        if not bond.soft and node not in _fitting(bond, (node,), nodes):
            return bond.name
    return ""


def blocked(group: GroupDefinition, current: NodeId, nodes: Candidates, leave: bool) -> str:
    """A hard rule that leaves a group without any of the nodes that could take it, "" when that is not so."""
    rules = [conflict(group.name, node, nodes) for node in eligible(group, current, nodes, leave)]
    return rules[0] if rules and all(rules) else ""


def _fitting(bond: Bond, able: tuple[NodeId, ...], nodes: Candidates) -> tuple[NodeId, ...]:
    """The nodes that keep a bond; all of them while none of the others runs. Outside every domain, a node is one."""
    taken = {_place(nodes.where[other], bond, nodes) for other in bond.others if other in nodes.where}
    return tuple(node for node in able if (_place(node, bond, nodes) in taken) is bond.together) if taken else able


def _place(node: NodeId, bond: Bond, nodes: Candidates) -> tuple[str, ...] | NodeId:
    return node if bond.level is None else bond.level.of(nodes.places.get(node, ())) or node


def _narrowed(group: str, able: tuple[NodeId, ...], nodes: Candidates) -> tuple[tuple[NodeId, ...], str]:
    """The nodes that keep the bonds of a group, and which of them made a difference. A hard one may leave none."""
    words = ""
    for bond in sorted(nodes.bonds.get(group, ()), key=lambda bond: bond.soft):
        fitting = _fitting(bond, able, nodes)
        if fitting == able or (not fitting and bond.soft):
            continue
        able = fitting
        words += f", after {bond.name}"
    return able, words


def has_room(group: GroupDefinition, node: NodeId, nodes: Candidates) -> bool:
    """Whether the memory that is left on a node is enough for a group."""
    return not group.memory_mb or nodes.room.get(node, group.memory_mb) >= group.memory_mb


def _open_to(group: GroupDefinition, current: NodeId, nodes: Candidates, leave: bool) -> tuple[NodeId, ...]:
    return tuple(node for node in eligible(group, current, nodes, leave) if has_room(group, node, nodes))


def eligible(group: GroupDefinition, current: NodeId, nodes: Candidates, leave: bool) -> tuple[NodeId, ...]:
    """Nodes that may take a group, be there room or not."""
    return tuple(n for n in sorted(nodes.groups) if group.may_run_on(n) and not (leave and n == current))


def choose(group: GroupDefinition, current: NodeId, why: Why, nodes: Candidates, leave: bool) -> Choice | None:
    """The next owner, or None when no node may take the group. `leave`: the current owner is not to be chosen."""
    able, words = _narrowed(group.name, _open_to(group, current, nodes, leave), nodes)
    if not able:
        return None
    if why is Why.START and current in able:
        return Choice(current, able, f"its last owner is up{words}")
    if group.preferred:
        return _by_list(group, current, why, able, words)
    able, near = _nearest(current, able, nodes)
    words += near
    if why is Why.RESOURCE_FAILURE:
        owner = next((node for node in able if node > current), able[0])
        return Choice(owner, able, f"next node by id after node {current}{words}")
    owner = min(able, key=lambda node: (nodes.groups[node], node))
    return Choice(owner, able, f"fewest groups ({nodes.groups[owner]}), lowest id among equals{words}")


def _nearest(current: NodeId, able: tuple[NodeId, ...], nodes: Candidates) -> tuple[tuple[NodeId, ...], str]:
    """The nodes in the narrowest fault domain of the current owner that has any, and in which; all where none has."""
    for level in reversed(FaultDomain):
        domain = level.of(nodes.places.get(current, ()))
        near = tuple(node for node in able if domain and level.of(nodes.places.get(node, ())) == domain)
        if near:
            return near, f", within {level.value} {domain[-1]!r}" if near != able else ""
    return able, ""


def _by_list(group: GroupDefinition, current: NodeId, why: Why, able: tuple[NodeId, ...], words: str) -> Choice:
    """Preferred owners in order, then the others by id; after a failure, on from the current owner and round."""
    rest = tuple(node for node in able if node not in group.preferred)
    order = (*group.preferred, *rest)
    if why in (Why.MOVE, Why.START) or current not in order:
        owner = next(node for node in order if node in able)
        return Choice(owner, able, f"first of the preferred owners list that is able{words}")
    at = order.index(current)
    owner = next(node for node in (*order[at + 1 :], *order[: at + 1]) if node in able)
    return Choice(owner, able, f"next in the preferred owners list after node {current}{words}")
