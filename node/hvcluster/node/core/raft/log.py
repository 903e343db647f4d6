"""The log of one node: a snapshot and the entries after it, and which configuration is in force.

Law: the log only remembers; who may append or truncate is decided in `replication` and `election`. Every change goes
through the outbox, so that memory and disk change together.
"""

from __future__ import annotations

from hvcluster.model.votes import Configuration
from hvcluster.node.core.commands import Configure
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.saved import SavedState, Snapshot

NO_CONFIGURATION = Configuration((), False)


class Log:
    """Entries are counted from `snapshot_index` + 1. Index 0 with term 0 is the empty beginning."""

    __slots__ = ("_configurations", "_entries", "_out", "snapshot")

    def __init__(self, saved: SavedState, out: Outbox) -> None:
        self._out = out
        self.snapshot: Snapshot | None = saved.snapshot
        self._entries: list[Entry] = list(saved.entries)
        self._configurations: list[tuple[int, Configuration]] = []
        self._find_configurations()

    def _find_configurations(self) -> None:
        base = self.snapshot.configuration if self.snapshot else NO_CONFIGURATION
        self._configurations = [(self.snapshot_index, base)]
        for entry in self._entries:
            if isinstance(entry.command, Configure):
                self._configurations.append((entry.index, entry.command.configuration))

    @property
    def snapshot_index(self) -> int:
        return self.snapshot.index if self.snapshot else 0

    @property
    def snapshot_term(self) -> int:
        return self.snapshot.term if self.snapshot else 0

    @property
    def last_index(self) -> int:
        return self._entries[-1].index if self._entries else self.snapshot_index

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.snapshot_term

    @property
    def length(self) -> int:
        """Entries kept after the snapshot."""
        return len(self._entries)

    @property
    def configuration(self) -> Configuration:
        """The newest configuration in the log, committed or not (Raft section 6)."""
        return self._configurations[-1][1]

    def configuration_at(self, index: int) -> Configuration:
        """The configuration in force at `index`, which is not before the snapshot."""
        found = self._configurations[0][1]
        for at, configuration in self._configurations:
            if at <= index:
                found = configuration
        return found

    def term_at(self, index: int) -> int | None:
        """The term of the entry at `index`; None when it is not (or no longer) in the log."""
        if index == self.snapshot_index:
            return self.snapshot_term
        offset = index - self.snapshot_index - 1
        if 0 <= offset < len(self._entries):
            return self._entries[offset].term
        return None

    def entry(self, index: int) -> Entry:
        """The entry at `index`, which must be in the log."""
        return self._entries[index - self.snapshot_index - 1]

    def entries_from(self, index: int, limit: int) -> tuple[Entry, ...]:
        """At most `limit` entries from `index` on; `index` is after the snapshot."""
        offset = index - self.snapshot_index - 1
        assert offset >= 0, "entries before the snapshot are gone"
        return tuple(self._entries[offset : offset + limit])

    def is_behind(self, last_term: int, last_index: int) -> bool:
        """Whether a log that ends there is at least as new as ours (Raft 5.4.1)."""
        return (last_term, last_index) >= (self.last_term, self.last_index)

    def append(self, entries: tuple[Entry, ...]) -> None:
        """Add entries that follow the last one."""
        if not entries:
            return
        assert entries[0].index == self.last_index + 1, "the log has no gaps"
        self._entries.extend(entries)
        for entry in entries:
            if isinstance(entry.command, Configure):
                self._configurations.append((entry.index, entry.command.configuration))
        self._out.save_append(entries)

    def truncate_from(self, index: int) -> None:
        """Forget entries from `index` on: they were never committed."""
        assert index > self.snapshot_index, "a snapshot is never undone"
        del self._entries[index - self.snapshot_index - 1 :]
        while len(self._configurations) > 1 and self._configurations[-1][0] >= index:
            self._configurations.pop()
        self._out.save_truncate(index)

    def compact(self, snapshot: Snapshot) -> None:
        """Replace everything up to `snapshot.index`, which is applied, by the snapshot."""
        del self._entries[: snapshot.index - self.snapshot_index]
        self.snapshot = snapshot
        self._find_configurations()
        self._out.save_snapshot(snapshot, reset_log=False)

    def replace(self, snapshot: Snapshot | None, entries: tuple[Entry, ...]) -> None:
        """Take over another log whole: from a leader's snapshot, or from the witness."""
        self.snapshot = snapshot
        self._entries = list(entries)
        self._find_configurations()
        self._out.save_snapshot(snapshot, reset_log=True)
        self._out.save_append(entries)
