"""Which groups give up their places when one of higher priority finds no room.

Law: pure functions. As few groups as possible go, the least important first, and none of high priority ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hvcluster.model.policy import Priority
from hvcluster.model.vocabulary import NodeId

from .commands import Preempt
from .members import Group
from .placement import Candidates

NEVER_PREEMPTED = Priority.HIGH  # MinimumNeverPreemptPriority, 3000


@dataclass(frozen=True, slots=True)
class Room:
    """Where there will be room, and who has to go for it (nobody, if enough are going already)."""

    node: NodeId
    preempted: tuple[Preempt, ...]


def make_room(
    group: Group, full: Collection[NodeId], groups: Iterable[Group], nodes: Candidates, leaving: Collection[str]
) -> Room | None:
    """The groups that leave one of the `full` nodes for `group`; None when all of them would not be enough.

    `leaving`: groups that give up their places already; where they make room enough, nobody else has to.
    """
    mine, need = group.definition.policy.priority, group.definition.memory_mb
    running = [other for other in groups if other.runs and other.owner in full]
    best: tuple[NodeId, list[Group]] | None = None
    for node in full:
        room = nodes.room[node]
        victims: list[Group] = []
        here = [other for other in running if other.owner == node]
        room += sum(g.definition.memory_mb for g in here if g.preempted or g.name in leaving)
        for other in sorted(here, key=_least_important):
            if room >= need:
                break
            priority = other.definition.policy.priority
            if priority < mine and priority < NEVER_PREEMPTED and not other.leaves and other.name not in leaving:
                victims.append(other)
                room += other.definition.memory_mb
        if room >= need and (best is None or len(victims) < len(best[1])):
            best = node, victims
    if best is None:
        return None
    cause = f"{group.name} has a higher priority and needs {need} MB"
    return Room(best[0], tuple(Preempt(victim.name, victim.generation, cause) for victim in best[1]))


def _least_important(group: Group) -> tuple[int, int, str]:
    return group.definition.policy.priority, -group.definition.memory_mb, group.name
