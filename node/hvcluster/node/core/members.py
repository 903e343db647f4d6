"""What the cluster database consists of: its nodes, its groups, and the whole of it as one value.

Law: shapes only, as they are written into snapshots. What changes them is `database`.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.vocabulary import Generation, GroupState, Incarnation, NodeId, StoreId

_RUNS = (GroupState.ONLINE, GroupState.PENDING)


@dataclass(frozen=True, slots=True)
class Member:
    """One node of the cluster. `up`: a member under `incarnation`."""

    id: NodeId
    name: str
    weight: int
    store: StoreId
    incarnation: Incarnation
    up: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class Group:
    """One role. `waiting`: after the cluster formed, it waits a while for its last owner. `served`: it was online
    once.
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

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def runs(self) -> bool:
        """Whether its owner is to have it online, or is on its way there."""
        return self.state in _RUNS


@dataclass(frozen=True, slots=True)
class Image:
    """The whole database as a value, for snapshots."""

    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    witness: bool
    dynamic_witness: bool
