"""Operators' requests that change who belongs to the cluster: a node is evicted, or added.

Law: decides as leader whether such a change may begin. Votes follow it as they follow any other wish, and an evicted
node goes down once its vote is gone: see `planner`.
"""

from __future__ import annotations

from hvcluster.model.vocabulary import Instant, NodeId

from .commands import AddMember, EvictMember
from .database import Database
from .decisions import Decision, Outcome, refused
from .operator_requests import AddNode, EvictNode
from .quorum_requests import QuorumRequests


def evict(now: Instant, me: NodeId, database: Database, request: EvictNode, votes: QuorumRequests) -> Decision:
    """A node is to belong to the cluster no more."""
    node = request.node
    member = database.members.get(node)
    if member is None:
        return refused("unknown-node", f"there is no node {node}")
    if not any(other.up and not other.outside for other in database.members.values() if other.id != node):
        return refused("quorum", f"node {node} is the last one that is up; destroy the cluster instead (`hvc down`)")
    if member.has_vote and (why := votes.refusal_without(now, node)) is not None:
        return refused("quorum", why)
    running = ", ".join(group.name for group in database.owned_by(node) if group.runs)
    if running and not request.force:
        return refused("refused", f"node {node} has {running}; drain it first, or force it: they are turned off then")

    def watch(database: Database) -> Outcome | None:
        member = database.members.get(node)
        if member is None or not member.outside or (member.up and node != me):
            return None  # who leads hands over, and has to answer before that
        return Outcome(True, "ok", f"node {node} does not belong to the cluster any more")

    return Decision(None, (EvictMember(node),), watch)


def add(database: Database, request: AddNode) -> Decision:
    """A node is to belong to the cluster."""
    node = request.node
    if node not in database.members:
        return refused("unknown-node", f"there is no node {node}")

    def watch(database: Database) -> Outcome | None:
        member = database.members.get(node)
        if member is None or member.outside:
            return None
        return Outcome(True, "ok", f"node {node} belongs to the cluster")

    return Decision(None, (AddMember(node),), watch)
