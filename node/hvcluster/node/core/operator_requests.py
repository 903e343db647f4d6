"""What an operator may ask of a node.

Law: shapes only. A node that does not lead sends them on to the leader as they are written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from hvcluster.model.policy import AffinityRule, Policy
from hvcluster.model.vocabulary import Failback, MoveKind, NodeId


@dataclass(frozen=True, slots=True)
class MoveGroup:
    """Move a group to a node, or to the best one (target NOBODY)."""

    group: str
    target: NodeId
    kind: MoveKind = MoveKind.LIVE


@dataclass(frozen=True, slots=True)
class MoveVolume:
    """Let another node coordinate a Cluster Shared Volume: one that is named, or the best (target NOBODY)."""

    volume: str
    target: NodeId


@dataclass(frozen=True, slots=True)
class CancelMigration:
    """End the live move of a group that is under way or waits for its turn; the VM stays where it is."""

    group: str


@dataclass(frozen=True, slots=True)
class SetGroupOnline:
    """Bring a group online or take it offline."""

    group: str
    online: bool


@dataclass(frozen=True, slots=True)
class SetResourceOnline:
    """Bring one resource online, and what it depends on, or take it offline, and what depends on it."""

    resource: str
    online: bool


@dataclass(frozen=True, slots=True)
class FailResource:
    """Have a resource that is online fail, as Test-ClusterResourceFailure does; its policy says what follows."""

    resource: str


@dataclass(frozen=True, slots=True)
class SetGroup:
    """Give a group other wishes, and other owners to prefer or to allow; what it runs as goes on."""

    group: str
    policy: Policy
    preferred: tuple[NodeId, ...]
    possible: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class StopNode:
    """Drain the node politely and stop its cluster service. Answered when it has left. Refused (5925) if quorum would
    be lost.

    `shutdown`: its host shuts down. That is not refused, and does not last longer than ShutdownTimeoutInMinutes.
    """

    node: NodeId
    shutdown: bool = False


@dataclass(frozen=True, slots=True)
class SetNodePaused:
    """Pause or resume a node. `drain`: move away what it has, and with `force` turn off what cannot be moved.

    `failback`: what becomes of the groups that a drain moved away, when the node is resumed.
    """

    node: NodeId
    paused: bool
    drain: bool = False
    force: bool = False
    failback: Failback = Failback.NO_FAILBACK


@dataclass(frozen=True, slots=True)
class ClearQuarantine:
    """Let a quarantined node join again, and forget how often it left."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class SetNodeWeight:
    """Give a node a vote (NodeWeight 1) or take it away (0); it stays a member. Refused if quorum would be lost."""

    node: NodeId
    weight: int


@dataclass(frozen=True, slots=True)
class EvictNode:
    """Take a node out of the cluster, up or not. Refused if quorum would be lost, or while it has groups that run.

    `force`: these are turned off, and start on the others.
    """

    node: NodeId
    force: bool = False


@dataclass(frozen=True, slots=True)
class AddNode:
    """Let a node that was evicted, or has never been in the cluster, join it."""

    node: NodeId


@dataclass(frozen=True, slots=True)
class SetClusterProperty:
    """Give a property of the cluster another value, one of those that may change while it runs."""

    name: str
    value: int


@dataclass(frozen=True, slots=True)
class SetQuorum:
    """Use the cluster's witness, or go on with the nodes' votes alone. Refused if quorum would be lost."""

    witness: bool


@dataclass(frozen=True, slots=True)
class SetAffinityRule:
    """Make an affinity rule, or replace the one of this name. It binds from the next placement on; nothing is moved."""

    rule: AffinityRule


@dataclass(frozen=True, slots=True)
class RemoveAffinityRule:
    """An affinity rule binds nobody any more."""

    name: str


Request: TypeAlias = (
    MoveGroup
    | MoveVolume
    | CancelMigration
    | SetGroup
    | SetGroupOnline
    | SetResourceOnline
    | FailResource
    | StopNode
    | SetNodePaused
    | ClearQuarantine
    | SetNodeWeight
    | SetQuorum
    | SetAffinityRule
    | RemoveAffinityRule
    | EvictNode
    | AddNode
    | SetClusterProperty
)
