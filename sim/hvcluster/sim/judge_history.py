"""What was committed, one history for each force epoch: the log that its nodes may apply, and no other.

Law: remembers and finds. Raft's invariants hold within an epoch, whole; an administrator who forces quorum begins a new
history with the forced node's own log, and what another side committed is no part of it.
"""

from __future__ import annotations

from hvcluster.model.configuration import Configuration
from hvcluster.model.epochs import epoch_of
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core.commands import Configure, NodeUp
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.saved import SavedState

FIRST = 2
"""The cluster is created with index 1."""


class History:
    """Committed entries from index FIRST on (None: committed, and never seen), the votes they brought, who joined."""

    __slots__ = ("committed", "configurations", "lives")

    def __init__(self, configuration: Configuration, at: int = 1) -> None:
        self.committed: list[Entry | None] = [None] * (at - 1)
        self.configurations = [(at, configuration)]
        self.lives: dict[NodeId, int] = {}

    def entry(self, index: int) -> Entry | None:
        """What is known to be committed at an index."""
        return self.committed[index - FIRST] if FIRST <= index < FIRST + len(self.committed) else None

    def last(self) -> Entry | None:
        """The newest committed entry."""
        return self.committed[-1] if self.committed else None

    def configuration_at(self, index: int) -> tuple[int, Configuration]:
        """The votes in force at an index, and since which one."""
        return next(row for row in reversed(self.configurations) if row[0] <= index)

    def until(self, index: int) -> History:
        """The part of it that a snapshot of `index` covers."""
        part = History(self.configurations[0][1], self.configurations[0][0])
        part.committed = self.committed[: index - FIRST + 1]
        for entry in part.committed:
            if entry is not None and isinstance(entry.command, Configure):
                part.configurations.append((entry.index, entry.command.configuration))
            elif entry is not None and isinstance(entry.command, NodeUp):
                part.lives[entry.command.node] = entry.command.incarnation
        return part


class Histories:
    """All epochs of one world."""

    def __init__(self, configuration: Configuration) -> None:
        self._of = {0: History(configuration)}

    def of(self, term: int) -> History:
        """The history that a node in a term follows."""
        return self._of[epoch_of(term)]

    def begin(self, term: int, saved: SavedState) -> None:
        """A node was forced: its own log is what the new epoch rests on."""
        snapshot = saved.snapshot
        assert snapshot is not None, "a node without a database is not forced"
        found = self.with_entry(snapshot.index, snapshot.term)
        history = found.until(snapshot.index) if found else History(snapshot.configuration, snapshot.index)
        self._of[epoch_of(term)] = history

    def begun(self, term: int) -> bool:
        """Whether the epoch of a term is known."""
        return epoch_of(term) in self._of

    def with_entry(self, index: int, term: int) -> History | None:
        """A history that has an entry (all that have it are the same up to there)."""
        if index < FIRST:
            return self._of[0]
        for history in self._of.values():
            entry = history.entry(index)
            if entry is not None and entry.term == term:
                return history
        return None

    def disproves(self, index: int, term: int) -> bool:
        """Whether something else is committed at an index in every history that could have an entry of this term."""
        possible = [history for epoch, history in self._of.items() if epoch >= epoch_of(term)]
        return all(history.entry(index) is not None for history in possible)
