"""What a node shows of itself, for status commands and metrics.

Law: a copy, taken on demand; changing it changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.policy import AffinityRule, Policy
from hvcluster.model.properties import Changes
from hvcluster.model.vocabulary import (
    DrainStatus,
    Generation,
    GroupState,
    Incarnation,
    LunId,
    MigrationState,
    MoveKind,
    NodeId,
    NodeState,
    NodeStatus,
    PathName,
    ResourceState,
    ServiceState,
    VolumeState,
)


@dataclass(frozen=True, slots=True)
class NodeView:
    id: NodeId
    name: str
    state: NodeState
    incarnation: Incarnation
    weight: int
    dynamic_weight: int
    drain: DrainStatus
    status: NodeStatus
    needs_prevent_quorum: bool
    outside: bool


@dataclass(frozen=True, slots=True)
class ResourceView:
    name: str
    type: str
    state: ResourceState
    depends: str = ""


@dataclass(frozen=True, slots=True)
class GroupView:
    name: str
    state: GroupState
    owner: NodeId
    generation: Generation
    lun: LunId
    preferred: tuple[NodeId, ...]
    possible: tuple[NodeId, ...]
    desired_online: bool
    moving_to: NodeId
    reason: str
    policy: Policy
    migration: MigrationState
    move_kind: MoveKind
    queued: bool
    resources: tuple[ResourceView, ...]
    unmonitored: bool


@dataclass(frozen=True, slots=True)
class RouteView:
    bus: str
    peer: NodeId
    up: bool


@dataclass(frozen=True, slots=True)
class RunView:
    """A group this node is bringing online, runs, or takes offline: ARBITRATING, BOOTING, RUNNING, PAUSED, STOPPING."""

    group: str
    generation: Generation
    phase: str


@dataclass(frozen=True, slots=True)
class VolumeView:
    """A Cluster Shared Volume as this node reaches it. `number`: of its key there, 0 while it is no member."""

    name: str
    lun: LunId
    state: VolumeState
    number: Generation
    coordinator: NodeId


@dataclass(frozen=True, slots=True)
class View:
    service: ServiceState
    incarnation: Incarnation
    term: int
    leader: NodeId
    quorum: bool
    commit: int
    last_index: int
    nodes: tuple[NodeView, ...]
    groups: tuple[GroupView, ...]
    votes: int
    needed: int
    witness_lun: LunId | None
    tag_witness: TagWitnessKind | None
    witness_dynamic_weight: int
    witness_held_here: bool
    routes: tuple[RouteView, ...]
    paths: tuple[tuple[PathName, bool], ...]
    runs: tuple[RunView, ...]
    forced: bool
    changes: Changes
    rules: tuple[AffinityRule, ...]
    volumes: tuple[VolumeView, ...]
