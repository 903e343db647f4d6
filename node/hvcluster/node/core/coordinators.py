"""Which node coordinates which Cluster Shared Volume: one that is able, and no node more than its share.

Law: pure; reads the applied database and who is able, returns commands. A coordinator that is able stays, unless the
volumes are spread so unevenly that a move makes it better (from 2012 R2 on). Where an operator put one, it stays.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.vocabulary import NOBODY, NodeId

from .commands import AssignVolume
from .database import Database, Volume


def coordinators(database: Database, able: Iterable[NodeId], balances: bool) -> list[AssignVolume]:
    """A coordinator for every volume that has none or whose one is not able; then at most one move for balance."""
    counts = dict.fromkeys(sorted(able), 0)
    for volume in database.volumes.values():
        if volume.coordinator in counts:
            counts[volume.coordinator] += 1
    planned: list[AssignVolume] = []
    for volume in database.volumes.values():
        if counts and volume.coordinator not in counts:
            owner = _least(counts)
            counts[owner] += 1
            planned.append(_assign(volume, owner, _why(volume)))
    if planned or not balances or not counts:
        return planned
    fullest = max(counts, key=lambda node: (counts[node], -node))
    owner = _least(counts)
    if counts[fullest] - counts[owner] < 2:
        return []
    movable = [v for v in database.volumes.values() if v.coordinator == fullest and not v.chosen]
    reason = f"node {fullest} coordinates {counts[fullest]} volumes, node {owner} fewer"
    return [_assign(movable[0], owner, reason)] if movable else []


def _least(counts: dict[NodeId, int]) -> NodeId:
    return min(counts, key=lambda node: (counts[node], node))


def _assign(volume: Volume, owner: NodeId, reason: str) -> AssignVolume:
    return AssignVolume(volume.name, volume.changes, owner, reason)


def _why(volume: Volume) -> str:
    if volume.coordinator == NOBODY:
        return "it has had no coordinator yet"
    return f"node {volume.coordinator} is not up, or has no path to the array, or is paused or leaving"
