"""What an operator asks of single resources: Start-, Stop-ClusterResource, Test-ClusterResourceFailure.

Law: from a request and the database to a decision; the owner of the group carries it out, for the database says so.
"""

from __future__ import annotations

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.resources import disk_name
from hvcluster.model.vocabulary import GroupState, ResourceState

from .commands import FailNow, SetResource
from .database import Database, Group
from .decisions import Decision, Outcome, state_of
from .members import ResourceStatus
from .operator_requests import FailResource, SetResourceOnline


def decide(database: Database, request: SetResourceOnline | FailResource) -> Decision:
    """What to do about a request that concerns one resource."""
    for group in database.groups.values():
        if request.resource in _fixed(group.definition):
            text = f"{request.resource!r} goes online and offline with its group; say so of {group.name}"
            return Decision(Outcome(False, "refused", text))
    found = _find(database, request.resource)
    if found is None:
        return Decision(Outcome(False, "unknown-resource", f"there is no resource {request.resource!r}"))
    group, status = found
    if isinstance(request, FailResource):
        return _fail(group, status)
    return _set_online(group, status, request.online)


def _fixed(definition: GroupDefinition) -> tuple[str, ...]:
    """Resources that the group cannot be without."""
    disk, name = disk_name(definition.lun), definition.name
    if definition.resources:
        return (disk,)
    return disk, f"Virtual Machine Configuration {name}", f"Virtual Machine {name}"


def _find(database: Database, resource: str) -> tuple[Group, ResourceStatus] | None:
    for group in database.groups.values():
        for status in group.resources:
            if status.name == resource:
                return group, status
    return None


def _fail(group: Group, status: ResourceStatus) -> Decision:
    if group.state is not GroupState.ONLINE or status.state is not ResourceState.ONLINE:
        state = status.state.name.lower().replace("_", " ")
        return Decision(Outcome(False, "refused", f"{status.name} is {state}; only what is online can fail"))

    def watch(database: Database) -> Outcome | None:
        found = _find(database, status.name)
        if found is None or found[1].tests <= status.tests:
            return None
        return Outcome(True, "ok", f"{status.name} fails now on node {found[0].owner}; its policy says what follows")

    return Decision(None, (FailNow(group.name, status.name),), watch)


def _set_online(group: Group, status: ResourceStatus, online: bool) -> Decision:
    if online and group.state is not GroupState.ONLINE:
        text = f"its group {group.name} is {state_of(group)}; bring that online"
        return Decision(Outcome(False, "refused", text))
    wanted = ResourceState.ONLINE if online else ResourceState.OFFLINE
    tries = status.tries

    def watch(database: Database) -> Outcome | None:
        found = _find(database, status.name)
        if found is None or found[1].wanted != online:
            return None
        now = found[1]
        if now.state is wanted:
            return Outcome(True, "ok", f"{now.name} is {wanted.name.lower()}")
        if online and now.tries > tries and now.state is ResourceState.FAILED:
            return Outcome(False, "failed", f"{now.name} has failed; the cluster log of node {found[0].owner} says why")
        return None

    return Decision(None, (SetResource(group.name, status.name, online),), watch)
