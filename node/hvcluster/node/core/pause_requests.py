"""Operators' requests that a node be paused, drained or resumed.

Law: decides as leader; how a drain goes on is for `roles` to say.
"""

from __future__ import annotations

from collections.abc import Collection

from hvcluster.model.vocabulary import NOBODY, DrainStatus, Failback, GroupState, MoveKind, NodeId

from .commands import BeginMove, Command, PauseNode
from .database import Database
from .decisions import Decision, Outcome
from .operator_requests import SetNodePaused


def pause(database: Database, able: Collection[NodeId], request: SetNodePaused) -> Decision:
    """A node is to take no groups any more, and perhaps to lose those it has; or to take them again."""
    member = database.members.get(request.node)
    if member is None:
        return Decision(Outcome(False, "unknown-node", f"there is no node {request.node}"))
    if request.paused and request.drain:
        return _drain(request, database, able)
    back = [g for g in database.groups.values() if g.home == request.node and not request.paused]
    commands: list[Command] = [PauseNode(request.node, request.paused, failback=request.failback)]
    if request.failback is Failback.IMMEDIATE:
        ready = [g for g in back if g.state is GroupState.ONLINE and g.moving_to == NOBODY]
        cause = f"failback: node {request.node} is resumed"
        live = MoveKind.LIVE
        commands += [BeginMove(g.name, g.generation, request.node, cause, kind=live) for g in ready]

    def watch(database: Database) -> Outcome | None:
        member = database.members.get(request.node)
        if member is None or member.paused != request.paused:
            return None
        return Outcome(True, "ok", f"node {request.node} is {'paused' if request.paused else 'resumed'}")

    return Decision(None, tuple(commands), watch)


def _drain(request: SetNodePaused, database: Database, able: Collection[NodeId]) -> Decision:
    node, before = request.node, database.members[request.node].drains
    runs = [group.name for group in database.owned_by(node) if group.runs]
    if runs and not request.force and all(other == node for other in able):
        text = f"no other node is able to take {', '.join(runs)}; resume or start one, or drain with force"
        return Decision(Outcome(False, "no-candidate", text))

    def watch(database: Database) -> Outcome | None:
        member = database.members[node]
        left = ", ".join(group.name for group in database.owned_by(node) if group.runs)
        match member.drain:
            case DrainStatus.COMPLETED if not left:
                return Outcome(True, "ok", f"node {node} is paused and drained")
            case DrainStatus.FAILED if member.drains > before:
                return Outcome(False, "drain-failed", f"no other node could take {left}; node {node} stays paused")
            case _:
                return None

    return Decision(None, (PauseNode(node, True, drain=True, force=request.force),), watch)
