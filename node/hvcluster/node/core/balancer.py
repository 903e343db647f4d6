"""Which VMs move because a node is too full: every half hour, and when a node joins.

Law: memory and processors count, the fuller of the two. Decides what moves where; the move itself is planned like any
other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hvcluster.model.definition import NodeDefinition
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Instant, NodeId

from .members import Group
from .placement import Candidates, conflict
from .settings import Settings

SHARES: Final = {1: 0.8, 2: 0.7, 3: 0.6}
"""AutoBalancerLevel: how full a node may be."""
OFF, ON_JOIN = 0, 1


class Usage:
    """How much of each node is used while moves are chosen: MB of memory, and percent of one logical processor."""

    __slots__ = ("_free", "_size")

    def __init__(self, sizes: Iterable[NodeDefinition], nodes: Candidates, running: Iterable[Group]) -> None:
        self._size = {node.id: (node.memory_mb, 100 * node.processors) for node in sizes}
        self._free = {node: [nodes.room.get(node, 0), load] for node, (_, load) in self._size.items()}
        for group in running:
            if group.owner in self._free:
                self._free[group.owner][1] -= group.definition.processor_load

    def counted(self) -> list[NodeId]:
        """Nodes of which anything is counted, the fullest first."""
        return sorted(
            (node for node, size in self._size.items() if any(size)), key=lambda node: (-self.full(node), node)
        )

    def full(self, node: NodeId, group: Group | None = None) -> float:
        """The share of a node that is used (with one more group): of its memory or of its processors, the larger."""
        more = (0, 0) if group is None else (group.definition.memory_mb, group.definition.processor_load)
        parts = zip(self._size[node], self._free[node], more, strict=True)
        return max((1 - (free - add) / size for size, free, add in parts if size), default=0.0)

    def relieved(self, node: NodeId, group: Group) -> bool:
        """Whether the node would be less full without a group."""
        less = (group.definition.memory_mb, group.definition.processor_load)
        parts = zip(self._size[node], self._free[node], less, strict=True)
        return max((1 - (free + gone) / size for size, free, gone in parts if size), default=0.0) < self.full(node)

    def move(self, group: Group, target: NodeId) -> None:
        """Count a move as done."""
        for node, sign in ((group.owner, 1), (target, -1)):
            self._free[node][0] += sign * group.definition.memory_mb
            self._free[node][1] += sign * group.definition.processor_load


class Balancer:
    """When this leader balanced last, and who was there then."""

    __slots__ = ("_able", "_at", "_settings", "_sizes", "_timing")

    def __init__(self, sizes: Iterable[NodeDefinition], settings: Settings, timing: Timing) -> None:
        self._sizes = tuple(node for node in sizes if node.memory_mb or node.processors)
        self._settings = settings
        self._timing = timing
        self._at = Instant(0)
        self._able: frozenset[NodeId] | None = None

    def start(self, now: Instant) -> None:
        """We lead a new term: the half hour begins anew."""
        self._at = now
        self._able = None

    def due(self, now: Instant, nodes: Candidates) -> bool:
        """Whether it is time to balance; asks once for each time."""
        able = frozenset(nodes.groups)
        joined = self._able is not None and bool(able - self._able)
        self._able = able
        mode = self._settings.now.auto_balancer_mode
        if mode == OFF or not self._sizes:
            return False
        turn = mode != ON_JOIN and now - self._at >= self._timing.balance
        if turn:
            self._at = now
        return turn or joined

    def moves(
        self, movable: Iterable[Group], nodes: Candidates, running: Iterable[Group]
    ) -> list[tuple[Group, NodeId]]:
        """VMs off nodes that are too full, each to the emptiest node that stays below the level with it.

        `running`: all groups that keep processors busy, whether they may be moved or not.
        """
        share = SHARES[self._settings.now.auto_balancer_level]
        usage = Usage(self._sizes, nodes, running)
        found: list[tuple[Group, NodeId]] = []
        smallest = sorted(movable, key=_size)
        for node in usage.counted():
            for group in [group for group in smallest if group.owner == node]:
                if usage.full(node) <= share:
                    break
                if not usage.relieved(node, group):
                    continue
                target = self._target(group, node, share, usage, nodes)
                if target is not None:
                    usage.move(group, target)
                    found.append((group, target))
        return found

    def _target(self, group: Group, source: NodeId, share: float, usage: Usage, nodes: Candidates) -> NodeId | None:
        fitting = [
            node
            for node in usage.counted()
            if node != source
            and node in nodes.groups
            and group.definition.may_run_on(node)
            and not conflict(group.name, node, nodes)
            and usage.full(node, group) <= share
        ]
        return min(fitting, key=lambda node: (usage.full(node), node), default=None)


def _size(group: Group) -> tuple[int, int, str]:
    return group.definition.memory_mb, group.definition.processor_load, group.name
