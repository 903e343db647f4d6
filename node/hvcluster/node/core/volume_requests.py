"""Operators' requests about Cluster Shared Volumes.

Law: decides as leader who coordinates a volume. No VM notices: each writes to the volume itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from hvcluster.model.vocabulary import NOBODY, NodeId

from .commands import AssignVolume
from .database import Database
from .decisions import Decision, Outcome, refused
from .operator_requests import MoveVolume


def move_volume(database: Database, request: MoveVolume, able: Mapping[NodeId, int]) -> Decision:
    """Another node is to coordinate a volume; `able`: those that can, and how many groups each has."""
    volume, target = database.volumes.get(request.volume), request.target
    if volume is None:
        return refused("unknown-volume", f"there is no shared volume {request.volume!r}")
    if target == NOBODY:
        counts = {node: 0 for node in able if node != volume.coordinator}
        for each in database.volumes.values():
            if each.coordinator in counts:
                counts[each.coordinator] += 1
        if not counts:
            return refused("no-candidate", f"no other node is able to coordinate {volume.name}")
        target = min(counts, key=lambda node: (counts[node], node))
    elif target not in database.members:
        return refused("unknown-node", f"there is no node {target}")
    elif target not in able:
        return refused("no-candidate", f"node {target} is not up, or has no path to the array, or is paused or leaving")

    def watch(database: Database) -> Outcome | None:
        if database.volumes[volume.name].coordinator != target:
            return None
        return Outcome(True, "ok", f"node {target} coordinates {volume.name}")

    return Decision(None, (AssignVolume(volume.name, volume.changes, target, "an operator moved it", True),), watch)
