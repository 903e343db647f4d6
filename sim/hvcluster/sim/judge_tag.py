"""Judges the file of a file share or cloud witness: one vote in a term, a term and a tag that never fall.

Law: reads what is written there; it never asks a node.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from hvcluster.model.epochs import epoch_of
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core.tag_record import Tag, TagRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from .judge import Broken


class OnWitness(Protocol):
    """What stands on a witness of any kind, as far as consensus is judged by it."""

    @property
    def votes(self) -> dict[int, NodeId]:
        """By term: whom it voted for."""
        ...

    def held(self, index: int, term: int) -> bool:
        """Whether an entry counts as known to it."""
        ...


class TagFile:
    """What stands in the file, version by version."""

    def __init__(self, broken: Callable[[str], Broken]) -> None:
        self._broken = broken
        self._record = TagRecord.blank()
        self._tags: dict[int, Tag] = {}  # the newest of each force epoch
        self.votes: dict[int, NodeId] = {}
        """By term: whom it voted for."""

    def held(self, index: int, term: int) -> bool:
        """Whether its tag says at least that entry, or did while it was of the force epoch of `term`."""
        return (term, index) <= self._tags.get(epoch_of(term), (0, 0))

    def written(self, data: bytes) -> None:
        """A new version stands there."""
        old, new = self._record, TagRecord.decode(data)
        if new is None:
            raise self._broken("the witness's file was overwritten by something else")
        if new.term < old.term:
            raise self._broken(f"the witness goes back from term {old.term} to {new.term}")
        if new.tag < old.tag:
            raise self._broken(f"the witness's tag falls from {old.tag} to {new.tag}")
        if new.vote and self.votes.setdefault(new.term, new.vote) != new.vote:
            raise self._broken(f"the witness voted for {self.votes[new.term]} and for {new.vote} in term {new.term}")
        self._record = new
        self._tags[epoch_of(new.tag_term)] = new.tag
