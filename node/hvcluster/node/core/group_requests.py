"""Operators' requests about one group: what it is wished for, and whether it is to be online.

Law: decides as leader. Where it runs is for `requests` (moves) and `roles` to say.
"""

from __future__ import annotations

from hvcluster.model.vocabulary import GroupState

from .commands import ChangeGroup, SetDesired
from .database import Database
from .decisions import Decision, Outcome, state_of
from .operator_requests import SetGroup, SetGroupOnline


def set_group(database: Database, request: SetGroup) -> Decision:
    """A group is to have other wishes, or other owners."""
    group = database.groups.get(request.group)
    if group is None:
        return Decision(Outcome(False, "unknown-group", f"there is no group {request.group!r}"))
    unknown = sorted({*request.preferred, *request.possible} - set(database.members))
    if unknown:
        return Decision(Outcome(False, "unknown-node", f"there is no node {unknown[0]}"))
    if request.possible and not set(request.preferred) <= set(request.possible):
        text = "a preferred owner is not a possible one; make it possible, or do not prefer it"
        return Decision(Outcome(False, "refused", text))
    if request.possible and group.runs and group.owner not in request.possible:
        text = f"{group.name} is on node {group.owner}, which would not be allowed; move it first"
        return Decision(Outcome(False, "refused", text))
    wanted = (request.policy, request.preferred, request.possible)

    def watch(database: Database) -> Outcome | None:
        found = database.groups.get(request.group)
        definition = found.definition if found is not None else None
        if definition is None or (definition.policy, definition.preferred, definition.possible) != wanted:
            return None
        return Outcome(True, "ok", f"{request.group} is as wished")

    return Decision(None, (ChangeGroup(group.name, *wanted),), watch)


def set_online(database: Database, request: SetGroupOnline) -> Decision:
    """A group is to be online, or offline."""
    group = database.groups.get(request.group)
    if group is None:
        return Decision(Outcome(False, "unknown-group", f"there is no group {request.group!r}"))
    wanted = GroupState.ONLINE if request.online else GroupState.OFFLINE

    def watch(database: Database) -> Outcome | None:
        now = database.groups.get(request.group)
        if now is None or now.desired != request.online or now.state is not wanted:
            return None
        return Outcome(True, "ok", f"{now.name} is {state_of(now)}")

    return Decision(None, (SetDesired(group.name, request.online),), watch)
