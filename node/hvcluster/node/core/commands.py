"""The commands of the replicated cluster database.

Law: shapes only; `database` applies them. Each is guarded by what its author saw, so that a repeated or late one does
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias, get_args

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.policy import AffinityRule, Policy
from hvcluster.model.vocabulary import (
    NO_LIFE,
    NOBODY,
    DrainStatus,
    Failback,
    Generation,
    GroupState,
    Incarnation,
    MigrationState,
    MoveKind,
    NodeId,
    ResourceState,
    StoreId,
)
from hvcluster.model.votes import Configuration, Voter

__all__ = ["COMMANDS", "Command", "Configuration", "Voter"]


@dataclass(frozen=True, slots=True)
class Noop:
    """The first entry of a leader's term: with it, everything before it is committed."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Change who votes by one voter; takes effect when appended, not when committed (Raft section 6)."""

    configuration: Configuration
    reason: str


@dataclass(frozen=True, slots=True)
class FormCluster:
    """No node carries on from before: all members are down and groups wait for their last owner.

    `offline`: no group is wanted online any more, until an operator asks for it.
    """

    reason: str
    offline: bool = False


@dataclass(frozen=True, slots=True)
class NodeUp:
    """A node is a member under this incarnation and saved state."""

    node: NodeId
    incarnation: Incarnation
    store: StoreId


@dataclass(frozen=True, slots=True)
class NodeDown:
    """The node's membership under this incarnation is over."""

    node: NodeId
    incarnation: Incarnation
    reason: str
    sudden: bool = False  # it left without a word, and that counts towards quarantine
    waited: bool = False  # it was isolated before


@dataclass(frozen=True, slots=True)
class NodeIsolated:
    """A member is not heard any more and has VMs: it is waited for, and stays a member. Counts towards quarantine."""

    node: NodeId
    incarnation: Incarnation
    reason: str


@dataclass(frozen=True, slots=True)
class NodeReturned:
    """An isolated member is heard again under the same incarnation."""

    node: NodeId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class QuarantineNode:
    """The node left suddenly too often: it is not taken in for a while. Ignored unless it left `seen` times."""

    node: NodeId
    seen: int
    reason: str


@dataclass(frozen=True, slots=True)
class ReleaseNode:
    """Quarantine of a node is over, and what it was for is forgotten."""

    node: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class ForgetLosses:
    """Of `seen` sudden losses of a node only `left` are recent enough to count."""

    node: NodeId
    seen: int
    left: int


@dataclass(frozen=True, slots=True)
class AssignGroup:
    """Give a group an owner; its generation rises by one. Ignored unless the generation is still `seen`.

    One that `resumes` a live move is ignored unless that move is still under way: once it was cancelled, or another
    one was begun, the VM may have gone on where it was.
    """

    group: str
    seen: Generation
    owner: NodeId
    cause: str
    candidates: tuple[NodeId, ...]
    rule: str
    restarts: int  # on its node, within RestartPeriod
    failovers: int  # within FailoverPeriod
    resumes: int = 0  # the live move whose paused VM it goes on with; 0: it boots
    holder: Incarnation = NO_LIFE  # of the owner, which has the VM's memory


@dataclass(frozen=True, slots=True)
class BeginMove:
    """Planned move: the owner takes the group offline, or hands its VM over; then the leader assigns it to `target`.

    `home`: the node that is drained and may get it back, else NOBODY.
    """

    group: str
    seen: Generation
    target: NodeId
    cause: str
    home: NodeId = NOBODY
    kind: MoveKind = MoveKind.SHUTDOWN


@dataclass(frozen=True, slots=True)
class CancelMove:
    """A live move is over, and the VM stays where it is. From now on its hand-over is ignored.

    `move` counts the moves of the group, `outcome` is CANCELED or FAILURE.
    """

    group: str
    seen: Generation
    move: int
    outcome: MigrationState
    reason: str


@dataclass(frozen=True, slots=True)
class Preempt:
    """A group of lower priority gives up its place; it is assigned again where there is room."""

    group: str
    seen: Generation
    cause: str


@dataclass(frozen=True, slots=True)
class ReportGroup:
    """What the owner of this generation reported. `revision` rises with every change of the states of its resources."""

    group: str
    seen: Generation
    state: GroupState
    cause: str
    reason: str
    revision: int = 0
    resources: tuple[tuple[str, ResourceState], ...] = ()


@dataclass(frozen=True, slots=True)
class SetResource:
    """Whether a resource should be online (PersistentState). Online: what it depends on as well, and one that has
    failed is tried again.
    """

    group: str
    resource: str
    online: bool


@dataclass(frozen=True, slots=True)
class FailNow:
    """An administrator has a resource fail, if it is online."""

    group: str
    resource: str


@dataclass(frozen=True, slots=True)
class SetDesired:
    """Whether the group should be online at all (PersistentState). Online: one that has failed is tried again."""

    group: str
    online: bool


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """A group has other wishes and owners from now on."""

    group: str
    policy: Policy
    preferred: tuple[NodeId, ...]
    possible: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class PauseNode:
    """A paused node gets no new groups; survives restarts. It keeps those it has, unless it is to be drained.

    `failback`: what becomes of the groups that a drain moved away when the node is resumed.
    """

    node: NodeId
    paused: bool
    drain: bool = False
    force: bool = False
    failback: Failback = Failback.NO_FAILBACK


@dataclass(frozen=True, slots=True)
class EndDrain:
    """The drain of a node is over: everything has left it, or what is left can go nowhere."""

    node: NodeId
    status: DrainStatus
    reason: str


@dataclass(frozen=True, slots=True)
class DefineGroup:
    """Add a group to the cluster. Ignored when the name or the LUN is taken."""

    definition: GroupDefinition


@dataclass(frozen=True, slots=True)
class RemoveGroup:
    """Take a group out of the cluster; only when it is offline."""

    group: str


@dataclass(frozen=True, slots=True)
class SetWeight:
    """NodeWeight of a node from now on, 0 or 1. Whether it votes is changed by the Configure that follows."""

    node: NodeId
    weight: int


@dataclass(frozen=True, slots=True)
class EvictMember:
    """A node belongs to the cluster no more. Its vote and its membership end with the Configure and NodeDown that
    follow.
    """

    node: NodeId


@dataclass(frozen=True, slots=True)
class AddMember:
    """A node that does not belong to the cluster may join it."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class SetProperty:
    """A property of the cluster has this value from now on (`model.properties.CHANGEABLE`)."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class UseWitness:
    """Whether the witness belongs to the quorum from now on. Its vote is changed by the Configure that follows."""

    used: bool


@dataclass(frozen=True, slots=True)
class PutRule:
    """An affinity rule from now on, in the place of the one of this name if there is one."""

    rule: AffinityRule


@dataclass(frozen=True, slots=True)
class DropRule:
    """There is no affinity rule of this name any more."""

    name: str


@dataclass(frozen=True, slots=True)
class AssignVolume:
    """Give a Cluster Shared Volume a coordinator. Ignored unless it has had `seen` of them so far.

    `chosen`: by an operator; it stays there until that node is not able any more.
    """

    volume: str
    seen: int
    owner: NodeId
    reason: str
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class ForceQuorum:
    """An administrator forced quorum: an epoch begins in which nobody is a member yet; generations jump to its own."""

    epoch: int
    reason: str


@dataclass(frozen=True, slots=True)
class EndForced:
    """Enough votes have joined: the forced state is over, and votes follow the usual rules."""

    reason: str


Command: TypeAlias = (
    Noop
    | Configure
    | FormCluster
    | NodeUp
    | NodeDown
    | AssignGroup
    | BeginMove
    | Preempt
    | CancelMove
    | ReportGroup
    | SetDesired
    | SetResource
    | FailNow
    | ChangeGroup
    | PauseNode
    | EndDrain
    | DefineGroup
    | RemoveGroup
    | NodeIsolated
    | NodeReturned
    | QuarantineNode
    | ReleaseNode
    | ForgetLosses
    | ForceQuorum
    | EndForced
    | SetWeight
    | UseWitness
    | PutRule
    | DropRule
    | AssignVolume
    | EvictMember
    | AddMember
    | SetProperty
)

COMMANDS: tuple[type[Command], ...] = get_args(Command)
