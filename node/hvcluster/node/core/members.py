"""What the cluster database consists of: its nodes, its groups, and the whole of it as one value.

Law: values, as they are written into snapshots, and what each becomes. When one changes is for `database` to say.
"""

from __future__ import annotations

from dataclasses import dataclass

from hvcluster.model.definition import GroupDefinition
from hvcluster.model.vocabulary import NOBODY, Generation, GroupState, Incarnation, NodeId, StoreId

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

    def assigned(self, owner: NodeId, cause: str, reason: str) -> Group:
        """The same with a new life under an owner, who may be the one it has."""
        generation = Generation(self.generation + 1)
        return Group(
            self.definition, owner, generation, GroupState.PENDING, self.desired, NOBODY, False, self.served, cause,
            reason,
        )  # fmt: skip

    def reported(self, state: GroupState, cause: str, reason: str) -> Group:
        """The same in the state that its owner reports."""
        served = self.served or state is GroupState.ONLINE
        return Group(
            self.definition, self.owner, self.generation, state, self.desired, self.moving_to, self.waiting, served,
            cause, reason,
        )  # fmt: skip

    def taken_offline(self, cause: str, reason: str, *, waiting: bool) -> Group:
        """The same when its owner has it no more."""
        return Group(
            self.definition, self.owner, self.generation, GroupState.OFFLINE, self.desired, NOBODY, waiting,
            self.served, cause, reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Image:
    """The whole database as a value, for snapshots."""

    members: tuple[Member, ...]
    groups: tuple[Group, ...]
    witness: bool
    dynamic_witness: bool
