"""Who votes: the voters and whether the witness counts, with how many votes are enough.

Law: two values that are written to disk, and arithmetic on them. Which votes come next is decided in `votes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .vocabulary import NodeId, StoreId


@dataclass(frozen=True, slots=True, order=True)
class Voter:
    """A node whose vote counts, and the saved state that may cast it."""

    node: NodeId
    store: StoreId


@dataclass(frozen=True, slots=True)
class Configuration:
    """Who votes: nodes with DynamicWeight 1, sorted, and whether the witness counts (WitnessDynamicWeight 1)."""

    voters: tuple[Voter, ...]
    witness: bool

    @property
    def votes(self) -> int:
        """All votes there are."""
        return len(self.voters) + self.witness

    @property
    def quorum(self) -> int:
        """floor(votes / 2) + 1."""
        return self.votes // 2 + 1

    def has(self, node: NodeId, store: StoreId) -> bool:
        """Whether this saved state of this node votes."""
        return any(v.node == node and v.store == store for v in self.voters)

    def with_voter(self, voter: Voter) -> Configuration:
        """The same with one more voter."""
        return Configuration(tuple(sorted((*self.voters, voter))), self.witness)

    def without(self, voter: Voter) -> Configuration:
        """The same with one voter less."""
        return Configuration(tuple(v for v in self.voters if v != voter), self.witness)

    def with_witness(self, counts: bool) -> Configuration:
        """The same voters, with or without the witness."""
        return Configuration(self.voters, counts)
