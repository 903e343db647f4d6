"""An operator's request that a quarantined node be let in.

Law: decides as leader; what quarantine is, is for `resiliency` to say.
"""

from __future__ import annotations

from .commands import ReleaseNode
from .database import Database
from .decisions import Decision, Outcome, refused
from .operator_requests import ClearQuarantine


def clear_quarantine(database: Database, request: ClearQuarantine) -> Decision:
    """A node is to be let in again."""
    member = database.members.get(request.node)
    if member is None:
        return refused("unknown-node", f"there is no node {request.node}")
    if not member.quarantined:
        return Decision(Outcome(True, "ok", f"node {request.node} is not quarantined"))

    def watch(database: Database) -> Outcome | None:
        member = database.members.get(request.node)
        if member is None or member.quarantined:
            return None
        return Outcome(True, "ok", f"node {request.node} is quarantined no longer")

    return Decision(None, (ReleaseNode(request.node, "an operator cleared its quarantine"),), watch)
