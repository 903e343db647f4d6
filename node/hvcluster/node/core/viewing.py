"""What a core says of itself: its heartbeat to the others, its View to people.

Law: reads everything, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.resources import PHYSICAL_DISK, disk_name
from hvcluster.model.vocabulary import (
    GroupState,
    Instant,
    MigrationState,
    NodeId,
    NodeState,
    NodeStatus,
    ResourceState,
    ServiceState,
)

from .database import Group, Member
from .groups import Phase
from .heartbeats import DIRECT
from .messages import Heartbeat
from .migration import Step
from .move_queue import admitted
from .view import GroupView, NodeView, ResourceView, RouteView, RunView, View
from .witness import Hold

if TYPE_CHECKING:
    from .node import NodeCore
    from .parts import Parts

_RESOURCE = {
    GroupState.ONLINE: ResourceState.ONLINE,
    GroupState.OFFLINE: ResourceState.OFFLINE,
    GroupState.FAILED: ResourceState.FAILED,
    GroupState.PENDING: ResourceState.ONLINE_PENDING,
    GroupState.PARTIAL_ONLINE: ResourceState.ONLINE,
}

PAUSED = "PAUSED"
"""The phase shown of a VM that is frozen because its disk does not answer."""


def heartbeat_of(core: Parts, now: Instant) -> Heartbeat:
    """The next heartbeat of this node."""
    state = core.state
    return Heartbeat(
        core.me,
        state.store,
        core.incarnation,
        core.beats.next_sequence(now),
        core.replica.member,
        state.term,
        state.leader,
        state.leads and core.quorum.leader_says(now),
        state.log.last_index,
        state.commit,
        any(core.up_paths.values()),
        core.leaving.asked,
        core.beats.hears(now),
        tuple(sorted(core.presence.unlinked)),
        core.presence.ignores,
    )


def service_of(core: NodeCore, now: Instant) -> ServiceState:
    """Where the cluster service stands."""
    if core.leaving.ended:
        return ServiceState.STOPPED
    if core.leaving.asked:
        return ServiceState.STOPPING
    if not core.replica.member:
        return ServiceState.JOINING
    return ServiceState.UP if now < core.quorum.due() else ServiceState.ISOLATED


def view_of(core: NodeCore, now: Instant) -> View:
    """A copy of what the node knows and does."""
    state = core.state
    configuration = state.log.configuration
    voting = {voter.node for voter in configuration.voters}
    witness = core.witness
    database = core.replica.database
    used = database.has_witness or not database.members  # a node that knows nothing yet says what it was made with
    unmonitored = {member.id for member in core.replica.database.members.values() if member.isolated}
    if core.isolation.since is not None:
        unmonitored.add(core.me)
    return View(
        service=service_of(core, now),
        incarnation=core.incarnation,
        term=state.term,
        leader=state.leader,
        quorum=now < core.quorum.due(),
        commit=state.commit,
        last_index=state.log.last_index,
        nodes=tuple(_node(member, member.id in voting, database.forced) for member in database.members.values()),
        groups=_groups(core, unmonitored),
        votes=configuration.votes,
        needed=configuration.quorum if configuration.votes else 0,
        witness_lun=core.definition.witness_lun if used else None,
        tag_witness=core.definition.tag_witness if used else None,
        witness_dynamic_weight=int(configuration.witness),
        witness_held_here=witness is not None and witness.hold is Hold.HELD,
        routes=_routes(core, now),
        paths=tuple(core.up_paths.items()),
        runs=tuple(
            RunView(run.group, run.generation, PAUSED if run.paused else _phase(run.phase))
            for run in core.groups.runs.values()
        ),
        forced=database.forced,
        changes=database.changes,
        rules=database.rules,
        volumes=tuple(core.volumes.views()),
    )


def _phase(phase: Phase) -> str:
    if phase is Phase.WAITING:
        return Phase.ARBITRATING.name
    return phase.name


def _node(member: Member, votes: bool, forced: bool) -> NodeView:
    state = NodeState.DOWN
    if member.up and not member.isolated:
        state = NodeState.PAUSED if member.paused else NodeState.UP
    status = NodeStatus.ISOLATED if member.isolated else NodeStatus.NORMAL
    if member.quarantined:
        status = NodeStatus.QUARANTINED
    return NodeView(
        member.id, member.name, state, member.incarnation, member.weight, int(votes), member.drain, status,
        forced and not member.up and not member.outside, member.outside,
    )  # fmt: skip


def _groups(core: NodeCore, unmonitored: set[NodeId]) -> tuple[GroupView, ...]:
    groups = core.replica.database.groups
    let = admitted(groups, core.settings.now)
    return tuple(
        _group(group, unmonitored, _migration(core, group), group.migrates and group.name not in let)
        for group in groups.values()
    )


def _migration(core: NodeCore, group: Group) -> MigrationState:
    """How far a migration is, as this node knows it: its source knows most."""
    move = core.migrations.moves.get(group.name)
    if move is None or not group.migrates:
        return group.migration
    if move.step is Step.COPYING:
        return MigrationState.DATA_TRANSFER
    return MigrationState.MOVE if move.paused() else MigrationState.SETUP


def _group(group: Group, unmonitored: set[NodeId], migration: MigrationState, queued: bool) -> GroupView:
    state = _RESOURCE[group.state]
    name = group.name
    return GroupView(
        name,
        shown_state(group),
        group.owner,
        group.generation,
        group.definition.lun,
        group.definition.preferred,
        group.definition.possible,
        group.desired,
        group.moving_to,
        group.reason,
        group.definition.policy,
        migration,
        group.move_kind,
        queued,
        _resources(group, state),
        group.runs and group.owner in unmonitored,
    )


def shown_state(group: Group) -> GroupState:
    """The state of a group as its resources make it, the disk included."""
    if not group.resources or group.state is not GroupState.ONLINE:
        return group.state
    states = {each.state for each in group.resources}
    if ResourceState.FAILED in states:
        return GroupState.FAILED
    if states & {ResourceState.ONLINE_PENDING, ResourceState.OFFLINE_PENDING}:
        return GroupState.PENDING
    return GroupState.PARTIAL_ONLINE if ResourceState.OFFLINE in states else GroupState.ONLINE


def _resources(group: Group, state: ResourceState) -> tuple[ResourceView, ...]:
    """The disk first; then what depends on it."""
    name, disk = group.name, disk_name(group.definition.lun)
    if not group.definition.resources:
        configuration, machine = "Virtual Machine Configuration", "Virtual Machine"
        return (
            ResourceView(disk, PHYSICAL_DISK, state),
            ResourceView(f"{configuration} {name}", configuration, state, f"[{disk}]"),
            ResourceView(f"{machine} {name}", machine, state, f"[{configuration} {name}]"),
        )
    states = {each.name: each.state for each in group.resources}
    return (
        ResourceView(disk, PHYSICAL_DISK, state),
        *(
            ResourceView(each.name, each.type, states.get(each.name, state), each.depends)
            for each in group.definition.resources
        ),
    )


def _routes(core: NodeCore, now: Instant) -> tuple[RouteView, ...]:
    rows: list[RouteView] = []
    for peer in core.beats.peers.values():
        for route in sorted(peer.routes):
            up = now - peer.routes[route] < core.timing.detection
            if up or route != DIRECT:
                rows.append(RouteView(route, peer.id, up))
    return tuple(rows)
