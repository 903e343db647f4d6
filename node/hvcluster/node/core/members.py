"""What the cluster database consists of: its nodes, its groups, and the whole of it as one value.

Law: values, as they are written into snapshots, and what each becomes. When one changes is for `database` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.dependencies import names
from hvcluster.model.policy import AffinityRule, Priority
from hvcluster.model.properties import Changes
from hvcluster.model.vocabulary import (
    NO_LIFE,
    NOBODY,
    DrainStatus,
    Generation,
    GroupState,
    Incarnation,
    MigrationState,
    MoveKind,
    NodeId,
    ResourceState,
    StoreId,
)

from .commands import (
    AssignGroup,
    BeginMove,
    CancelMove,
    FailNow,
    ForgetLosses,
    NodeIsolated,
    NodeReturned,
    PauseNode,
    QuarantineNode,
    ReleaseNode,
    ReportGroup,
    SetResource,
)

NEVER_ADMITTED = Generation(0)
_RUNS = (GroupState.ONLINE, GroupState.PENDING)


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster. `up`: a member under `incarnation`. `force`: its drain turns off what cannot
    move. `drains`: how many were begun. `isolated`: a member that is not heard and is waited for.

    `quarantined`: not taken in. `losses`: how often it left suddenly, as far as that still counts.
    `admission`: the number that its key on Cluster Shared Volumes carries. It rises when the node becomes a member, and
    whenever a VM on a volume that it owned is assigned anew, so that a key never outlives a VM that wrote under it.
    `outside`: it does not belong to the cluster, because it was evicted or has never been added.
    """

    id: NodeId
    name: str
    weight: int
    store: StoreId
    incarnation: Incarnation
    up: bool
    paused: bool
    drain: DrainStatus = DrainStatus.NOT_INITIATED
    force: bool = False
    drains: int = 0
    isolated: bool = False
    quarantined: bool = False
    losses: int = 0
    admission: Generation = NEVER_ADMITTED
    outside: bool = False

    @property
    def has_vote(self) -> bool:
        """Whether it may vote at all."""
        return self.weight > 0 and not self.outside

    def evicted(self) -> Member:
        """The same once it is to leave for good; it goes down when it leads no more and its vote is gone."""
        return replace(
            self, outside=True, paused=False, drain=DrainStatus.NOT_INITIATED, force=False, quarantined=False, losses=0
        )

    def paused_by(self, command: PauseNode) -> Member:
        """The same paused, drained or resumed."""
        drain = DrainStatus.IN_PROGRESS if command.paused and command.drain else DrainStatus.NOT_INITIATED
        drains = self.drains + (drain is DrainStatus.IN_PROGRESS)
        return replace(self, paused=command.paused, drain=drain, force=command.force, drains=drains)

    def admitted(self) -> Member:
        """The same with a new key on volumes."""
        return replace(self, admission=Generation(self.admission + 1))

    def after(self, command: NodeIsolated | NodeReturned | QuarantineNode | ReleaseNode | ForgetLosses) -> Member:
        """What it is when its isolation or its quarantine begins or ends; the same if the command's guard does not
        hold.
        """
        match command:
            case NodeIsolated():
                if self.up and not self.isolated and self.incarnation == command.incarnation:
                    return replace(self, isolated=True, losses=self.losses + 1)
            case NodeReturned():
                if self.isolated and self.incarnation == command.incarnation:
                    return replace(self, isolated=False)
            case QuarantineNode():
                if not self.quarantined and self.losses == command.seen:
                    return replace(self, quarantined=True)
            case ReleaseNode():
                return replace(self, quarantined=False, losses=0)
            case ForgetLosses():
                if self.losses == command.seen:
                    return replace(self, losses=command.left)
        return self


@dataclass(frozen=True, slots=True)
class ResourceStatus:
    """One resource of a role, besides its disk. `wanted`: it is to be online when its group is (PersistentState).

    `tries` and `tests` count how often an administrator had it tried again, or fail.
    """

    name: str
    state: ResourceState = ResourceState.OFFLINE
    wanted: bool = True
    tries: int = 0
    tests: int = 0


def fresh(definition: GroupDefinition) -> tuple[ResourceStatus, ...]:
    """The resources of a group that is defined just now."""
    return tuple(ResourceStatus(each.name) for each in definition.resources)


@dataclass(frozen=True, slots=True)
class Group:
    """One role. `waiting`: after the cluster formed, it waits a while for its last owner. `served`: it was online
    once. `home`: the node that a drain moved it away from. `restarts` and `failovers`: those that count still.
    `preempted`: it gives up its place to a group of higher priority.

    `moves`: the number of its latest move, unique in this group. `resumes` and `holder`: this generation goes on with
    the memory that the owner under that incarnation got in that move; 0: it boots. `revision`: of the newest report on
    its resources that this generation made.
    """

    definition: GroupDefinition
    owner: NodeId
    generation: Generation
    state: GroupState
    desired: bool
    moving_to: NodeId
    waiting: bool
    served: bool
    cause: str
    reason: str
    home: NodeId = NOBODY
    restarts: int = 0
    failovers: int = 0
    preempted: bool = False
    move_kind: MoveKind = MoveKind.SHUTDOWN
    moves: int = 0
    migration: MigrationState = MigrationState.NO_MIGRATION
    resumes: int = 0
    holder: Incarnation = NO_LIFE
    resources: tuple[ResourceStatus, ...] = ()
    revision: int = 0

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def runs(self) -> bool:
        """Whether its owner is to have it online, or is on its way there."""
        return self.state in _RUNS

    @property
    def leaves(self) -> bool:
        """Whether its owner is to take it offline."""
        return self.moving_to != NOBODY or not self.desired or self.preempted

    @property
    def migrates(self) -> bool:
        """Whether a live move is under way, and nothing else takes the group offline."""
        if self.moving_to == NOBODY or self.move_kind is not MoveKind.LIVE or self.state is not GroupState.ONLINE:
            return False
        return self.desired and not self.preempted

    def _ended(self, outcome: MigrationState) -> MigrationState:
        """How its last migration ended: one that is under way ends now."""
        return outcome if self.migrates else self.migration

    def assigned(self, by: AssignGroup) -> Group:
        """The same with a new life under an owner, who may be the one it has."""
        generation = Generation(self.generation + 1)
        home = self.home if by.owner in (self.moving_to, self.owner) else NOBODY
        ended = self._ended(MigrationState.NO_MIGRATION if by.resumes else MigrationState.FAILURE)
        return Group(
            self.definition, by.owner, generation, GroupState.PENDING, self.desired, NOBODY, False, self.served,
            by.cause, by.rule, home, by.restarts, by.failovers, False, self.move_kind, self.moves, ended, by.resumes,
            by.holder, self._offline(),
        )  # fmt: skip

    def begun(self, by: BeginMove, move: int) -> Group:
        """The same on its way to another node."""
        kind = MoveKind.SHUTDOWN if self.definition.resources else by.kind  # only a VM has a memory that could travel
        state = MigrationState.SETUP if kind is MoveKind.LIVE else MigrationState.NO_MIGRATION
        return replace(
            self, moving_to=by.target, cause=by.cause, home=by.home, move_kind=kind, moves=move, migration=state
        )

    def cancelled(self, by: CancelMove) -> Group:
        """The same where it is, after a live move that came to nothing."""
        return replace(self, moving_to=NOBODY, home=NOBODY, migration=by.outcome)

    def reported(self, by: ReportGroup) -> Group:
        """The same in the state that its owner reports."""
        state, cause, reason = by.state, by.cause or self.cause, by.reason or self.reason
        said = dict(by.resources)
        resources = tuple(replace(each, state=said.get(each.name, each.state)) for each in self.resources)
        served = self.served or state is GroupState.ONLINE
        return Group(
            self.definition, self.owner, self.generation, state, self.desired, self.moving_to, self.waiting, served,
            cause, reason, self.home, self.restarts, self.failovers, self.preempted, self.move_kind, self.moves,
            self._ended(MigrationState.FAILURE), self.resumes, self.holder, resources, max(self.revision, by.revision),
        )  # fmt: skip

    def news(self, by: ReportGroup) -> bool:
        """Whether a report of this generation says something that is not known yet; one that is late does not."""
        if by.state is GroupState.PENDING and self.state is not GroupState.PENDING:
            return False
        return by.state is not self.state or by.revision > self.revision

    def _offline(self) -> tuple[ResourceStatus, ...]:
        return tuple(replace(each, state=ResourceState.OFFLINE) for each in self.resources)

    def asked(self, by: SetResource | FailNow) -> Group:
        """The same as an administrator wishes one of its resources."""
        chosen = {by.resource}
        if isinstance(by, SetResource) and by.online:
            chosen = self._with_providers(by.resource)
        return replace(
            self, resources=tuple(_asked(each, by) if each.name in chosen else each for each in self.resources)
        )

    def _with_providers(self, name: str) -> set[str]:
        needs = {each.name: names(each.needs()) for each in self.definition.resources}
        found, ahead = {name}, [name]
        while ahead:
            further = [other for other in needs.get(ahead.pop(), ()) if other not in found]
            found.update(further)
            ahead.extend(further)
        return found

    def outranking(self, least: Generation) -> Group:
        """The same, with generations from now on above those that another side may hand out."""
        return replace(self, generation=max(self.generation, least))

    def taken_offline(self, cause: str, reason: str, *, waiting: bool) -> Group:
        """The same when its owner has it no more. Without auto-start it stays so until an operator wants it."""
        desired = self.desired and self.definition.policy.priority is not Priority.NO_AUTO_START
        return Group(
            self.definition, self.owner, self.generation, GroupState.OFFLINE, desired, NOBODY, waiting,
            self.served, cause, reason, self.home, self.restarts, self.failovers, self.preempted, self.move_kind,
            self.moves,
            self._ended(MigrationState.FAILURE), resources=self._offline(), revision=self.revision,
        )  # fmt: skip

    def wanted(self, online: bool) -> Group:
        """The same as an operator wishes it: one that has failed is tried at once, and its failures are forgotten."""
        state = GroupState.OFFLINE if online and self.state is GroupState.FAILED else self.state
        restarts, failovers = (0, 0) if online else (self.restarts, self.failovers)
        return Group(
            self.definition, self.owner, self.generation, state, online, self.moving_to, self.waiting, self.served,
            self.cause, self.reason, self.home, restarts, failovers, self.preempted, self.move_kind, self.moves,
            self.migration, self.resumes, self.holder, self._tried() if online else self.resources, self.revision,
        )  # fmt: skip

    def _tried(self) -> tuple[ResourceStatus, ...]:
        """What has failed is tried again."""
        failed = ResourceState.FAILED
        return tuple(replace(r, tries=r.tries + 1) if r.state is failed else r for r in self.resources)


def _asked(status: ResourceStatus, by: SetResource | FailNow) -> ResourceStatus:
    if isinstance(by, FailNow):
        return replace(status, tests=status.tests + 1)
    if not by.online:
        return replace(status, wanted=False)
    return replace(status, wanted=True, tries=status.tries + 1)


@dataclass(frozen=True, slots=True)
class Volume:
    """One Cluster Shared Volume. `coordinator`: NOBODY until it has its first; `changes`: how many it has had.

    `chosen`: an operator put it there.
    """

    name: str
    coordinator: NodeId = NOBODY
    changes: int = 0
    reason: str = ""
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """The whole database as a value, for snapshots. `epoch`: of the last forced quorum; `forced`: it still is.

    `changes`: properties that operators have changed.
    """

    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    witness: bool
    dynamic_witness: bool
    epoch: int = 0
    forced: bool = False
    rules: tuple[AffinityRule, ...] = ()
    volumes: tuple[Volume, ...] = ()
    changes: Changes = ()
