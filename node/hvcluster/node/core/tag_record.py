"""What stands on a file share or cloud witness: who holds it, whom it voted for, and a tag instead of a database.

Law: one value and its bytes, checked on the way in. The tag is how new the newest log was that the witness helped to
commit; it never falls.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from hvcluster.model.codec import Malformed, dump, load
from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId

Tag: TypeAlias = tuple[int, int]
"""Term and index of a log entry."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A node in one life of its service. Node NOBODY: nobody."""

    node: NodeId
    incarnation: Incarnation


FREE = Owner(NOBODY, Incarnation(0))


@dataclass(frozen=True, slots=True)
class TagRecord:
    """The whole file. `challenger`: who waits whether the owner still lives."""

    owner: Owner
    challenger: Owner
    term: int
    vote: NodeId
    tag_term: int
    tag_index: int

    @staticmethod
    def blank() -> TagRecord:
        """A witness that nobody has used."""
        return TagRecord(FREE, FREE, 0, NOBODY, 0, 0)

    def encode(self) -> bytes:
        """Its bytes."""
        return dump(self)

    @staticmethod
    def decode(data: bytes) -> TagRecord | None:
        """The record in a file, or None when it is not one."""
        try:
            record = load(TagRecord, data)
        except Malformed:
            return None
        numbers = (record.owner.node, record.owner.incarnation, record.term, record.vote, *record.tag)
        return record if min(numbers) >= 0 and record.tag_term <= record.term else None

    @property
    def tag(self) -> Tag:
        """Term and index of the newest entry it may have helped to commit."""
        return self.tag_term, self.tag_index

    def defended(self) -> TagRecord:
        """The same without a challenger."""
        return replace(self, challenger=FREE)

    def voted(self, term: int, vote: NodeId) -> TagRecord:
        """The same with a vote in a term."""
        return replace(self, term=term, vote=vote)

    def raised(self, tag: Tag) -> TagRecord:
        """The same with a tag that is not lower."""
        term, index = max(self.tag, tag)
        return replace(self, tag_term=term, tag_index=index)
