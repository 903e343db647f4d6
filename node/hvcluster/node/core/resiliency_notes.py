"""What is recorded when the cluster has decided about a node that left suddenly.

Law: facts of committed commands, each once, with the VMs they concern.
"""

from __future__ import annotations

from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import NodeId

from .commands import Command, NodeDown, NodeIsolated, NodeReturned, QuarantineNode, ReleaseNode
from .database import Database
from .outbox import Outbox


def note(out: Outbox, database: Database, command: Command) -> None:
    """Record what the cluster has decided about a node that left suddenly; `database` is as it is afterwards."""
    fact = out.fact

    def groups_of(node: NodeId) -> str:
        return ",".join(group.name for group in database.owned_by(node) if group.runs)

    match command:
        case NodeIsolated(node, incarnation, reason):
            fact(FactKind.NODE_ISOLATED, reason, peer=node, incarnation=incarnation)
            text = f"node {node} is isolated; they stay with it until its resiliency period is over"
            fact(FactKind.VMS_UNMONITORED, text, peer=node, groups=groups_of(node))
        case NodeReturned(node, incarnation):
            text = f"node {node} is heard again under the same incarnation"
            fact(FactKind.NODE_RETURNED, text, peer=node, incarnation=incarnation)
            fact(FactKind.VMS_MONITORED, text, peer=node, groups=groups_of(node))
        case NodeDown(node, _, reason):
            if command.waited:
                fact(FactKind.VMS_MONITORED, f"{reason}; they fail over", peer=node)
        case QuarantineNode(node, seen, reason):
            fact(FactKind.NODE_QUARANTINED, reason, peer=node, losses=seen)
        case ReleaseNode(node, reason):
            fact(FactKind.QUARANTINE_ENDED, reason, peer=node)
        case _:
            pass
