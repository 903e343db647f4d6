"""Which VMs move because a node is too full: every half hour, and when a node joins.

Law: memory alone counts here. Decides what moves where; the move itself is planned like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from hvcluster.model.properties import Properties, Timing
from hvcluster.model.vocabulary import Instant, NodeId

from .members import Group
from .placement import Candidates, conflict

SHARES: Final = {1: 0.8, 2: 0.7, 3: 0.6}
"""AutoBalancerLevel: how full a node may be."""
OFF, ON_JOIN = 0, 1


class Balancer:
    """When this leader balanced last, and who was there then."""

    __slots__ = ("_able", "_at", "_memory", "_properties", "_timing")

    def __init__(self, memory: Mapping[NodeId, int], properties: Properties, timing: Timing) -> None:
        self._memory = memory
        self._properties = properties
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
        mode = self._properties.auto_balancer_mode
        if mode == OFF or not self._memory:
            return False
        turn = mode != ON_JOIN and now - self._at >= self._timing.balance
        if turn:
            self._at = now
        return turn or joined

    def moves(self, groups: Iterable[Group], nodes: Candidates) -> list[tuple[Group, NodeId]]:
        """VMs off nodes that are too full, each to the emptiest node that stays below the level with it."""
        share = SHARES[self._properties.auto_balancer_level]
        room = dict(nodes.room)
        found: list[tuple[Group, NodeId]] = []
        movable = sorted(groups, key=lambda group: (group.definition.memory_mb, group.name))
        for node in sorted(room, key=lambda node: room[node] / self._memory[node]):
            for group in [group for group in movable if group.owner == node]:
                if self._used(node, room) <= share:
                    break
                target = self._target(group, node, share, room, nodes)
                if target is not None:
                    room[node] += group.definition.memory_mb
                    room[target] -= group.definition.memory_mb
                    found.append((group, target))
        return found

    def _used(self, node: NodeId, room: Mapping[NodeId, int]) -> float:
        return 1 - room[node] / self._memory[node]

    def _target(
        self, group: Group, source: NodeId, share: float, room: Mapping[NodeId, int], nodes: Candidates
    ) -> NodeId | None:
        need = group.definition.memory_mb
        fitting = [
            node
            for node in room
            if node != source
            and node in nodes.groups
            and group.definition.may_run_on(node)
            and not conflict(group.name, node, nodes)
            and 1 - (room[node] - need) / self._memory[node] <= share
        ]
        return max(fitting, key=lambda node: (room[node] / self._memory[node], -node), default=None)
