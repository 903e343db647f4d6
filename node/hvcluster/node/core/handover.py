"""What the leader makes of a live move: it hands the VM over, or ends the move; nobody else decides.

Law: pure; reads the database and who is able, returns a command. Both commands name the move, so that only the first
of them to be committed has an effect.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.vocabulary import Incarnation, MigrationState, NodeId

from .commands import AssignGroup, CancelMove
from .database import Database, Group
from .migration_messages import MoveReport


def decide(
    database: Database, able: Iterable[NodeId], sender: NodeId, incarnation: Incarnation, report: MoveReport
) -> AssignGroup | CancelMove | None:
    """What to propose after a source's report; None when it is not the owner's or no longer news.

    `able`: the nodes that may take a group now.
    """
    group = database.groups.get(report.group)
    if group is None or group.owner != sender or not database.is_member(sender, incarnation):
        return None
    if not _under_way(group, report):
        return None
    if not report.handed:
        return _end(group, report.reason)
    nodes = tuple(sorted(able))
    if report.target != group.moving_to or report.target not in nodes:
        return _end(group, f"node {report.target} is not able to take it any more")
    if not database.is_member(report.target, report.holder):
        return _end(group, f"node {report.target} has restarted since it got the memory")
    rule = f"live migration: node {report.target} has the memory of the paused VM"
    return AssignGroup(
        group.name, group.generation, report.target, group.cause, nodes, rule, group.restarts, group.failovers,
        group.moves, report.holder,
    )  # fmt: skip


def _under_way(group: Group, report: MoveReport) -> bool:
    return group.migrates and (group.generation, group.moves) == (report.generation, report.move)


def lost(group: Group, able: Iterable[NodeId]) -> CancelMove | None:
    """End a live move whose target cannot take the VM any more."""
    if group.migrates and group.moving_to not in able:
        return _end(group, f"node {group.moving_to} is not able to take it any more")
    return None


def cancelled(group: Group) -> CancelMove:
    """End a live move because an operator wants that."""
    return CancelMove(group.name, group.generation, group.moves, MigrationState.CANCELED, "an operator cancelled it")


def _end(group: Group, reason: str) -> CancelMove:
    return CancelMove(group.name, group.generation, group.moves, MigrationState.FAILURE, reason)
