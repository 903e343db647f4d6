"""The saved state of a node on disk: one SQLite file that a kill or a power cut cannot leave half written.

Law: what `save` returned from is found by the next `load`, and nothing else is; a file that is not wholly right is
refused, never repaired. What the state means is the core's affair.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from hvcluster.model import codec
from hvcluster.model.vocabulary import MAX_NODES, Incarnation, NodeId, StoreId
from hvcluster.runtime import durable

from .core.commands import COMMANDS, Command, Configuration
from .core.effects import Save
from .core.messages import Entry
from .core.saved import SavedState, Snapshot

FILE_NAME: Final = "clusdb.sqlite"
APPLICATION_ID: Final = 0x68766364
"""Written into the file's header ("hvcd"), so that another program's database is not taken for ours."""
FORMAT: Final = 1
CHECKPOINT_PAGES: Final = 1_000
"""The write-ahead log is folded back after 4 MiB: SQLite's own default, long enough to cost nothing per save."""
REMEDY: Final = (
    "move the file away and start the node with --rejoin-empty: it joins again and takes the database from its peers"
)

_SCHEMA: Final = (
    "CREATE TABLE identity (one INTEGER PRIMARY KEY CHECK (one = 1), store, incarnation, sum)",
    "CREATE TABLE vote (one INTEGER PRIMARY KEY CHECK (one = 1), term, voted_for, sum)",
    "CREATE TABLE snapshot (one INTEGER PRIMARY KEY CHECK (one = 1), position, term, configuration, database, sum)",
    "CREATE TABLE log (position INTEGER PRIMARY KEY, term, command, sum)",
    "CREATE TABLE tail (one INTEGER PRIMARY KEY CHECK (one = 1), first, last, sum)",
)
_COLUMNS: Final = {
    "identity": "one, store, incarnation",
    "vote": "one, term, voted_for",
    "snapshot": "one, position, term, configuration, database",
    "log": "position, term, command",
    "tail": "one, first, last",
}
_PUT: Final = {
    table: f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * (columns.count(',') + 2))})"
    for table, columns in _COLUMNS.items()
}


class CorruptState(Exception):
    """A saved-state file that must not be used: `path`, `what` is wrong, and the way back (`remedy`)."""

    def __init__(self, path: Path, what: str, remedy: str = REMEDY) -> None:
        super().__init__(f"{path} cannot be used: {what}. To go on, {remedy}.")
        self.path = path
        self.what = what
        self.remedy = remedy


class CannotSave(Exception):
    """The disk did not take a save: nothing of it is stored, and nothing that depends on it may leave the process."""


class Store:
    """One node's saved state: `open` it, `load` it, `save` to it, `close` it. One connection, one owner."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self._path = path
        self._db = connection
        self._first, self._last = 1, 0  # positions of the log's first and last entry; last = first - 1 when empty

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether anything of a saved state lies in `folder`, whole or not."""
        return any((folder / (FILE_NAME + suffix)).exists() for suffix in ("", "-wal", "-shm", "-journal"))

    @classmethod
    def create(cls, folder: Path, state: SavedState) -> Store:
        """Write a first state, durably and all at once, and open it. Raises CannotSave."""
        path = folder / FILE_NAME
        fresh = folder / (FILE_NAME + ".new")
        assert not cls.exists(folder), "a saved state exists already"
        try:
            fresh.unlink(missing_ok=True)
            with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                db.execute(f"PRAGMA user_version = {FORMAT}")
                with _transaction(db):
                    for statement in _SCHEMA:
                        db.execute(statement)
                    _put_first(db, state)
            os.replace(fresh, path)
            durable.sync_directory(folder)
        except (sqlite3.Error, OSError) as error:
            raise CannotSave(f"{path}: {error}") from None
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Open what `create` made. Raises CorruptState for a file that is something else."""
        path = folder / FILE_NAME
        if not path.exists():
            raise CorruptState(path, "the file is missing, but its write-ahead log is there")
        try:
            # check_same_thread stays on: all saves happen on the loop's thread.
            db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            db.execute("PRAGMA synchronous = FULL")
            identity = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise CorruptState(path, f"not a database that can be read ({error})") from None
        if identity != APPLICATION_ID or version != FORMAT:
            db.close()
            raise CorruptState(path, f"not a saved state of format {FORMAT} (mark {identity:#x}, format {version})")
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        except sqlite3.DatabaseError as error:
            db.close()
            raise CorruptState(path, f"not a database that can be read ({error})") from None
        return cls(path, db)

    def load(self) -> SavedState:
        """All of the saved state, verified. Raises CorruptState."""
        try:
            check = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if check != "ok":
                raise CorruptState(self._path, f"the database is damaged ({check})")
            return self._read()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise CorruptState(self._path, f"the database is damaged ({error})") from None
        except codec.Malformed as error:
            raise CorruptState(self._path, f"a value cannot be read ({error})") from None

    def save(self, saves: Sequence[Save]) -> None:
        """Make all of `saves`, in order, durable in one step. Raises CannotSave; then none of them is."""
        first, last = self._first, self._last
        try:
            with _transaction(self._db):
                for save in saves:
                    self._apply(save)
                if (first, last) != (self._first, self._last):
                    _put(self._db, "tail", (1, self._first, self._last))
        except sqlite3.Error as error:
            self._first, self._last = first, last
            raise CannotSave(f"{self._path}: {error}") from None

    def close(self) -> None:
        """Fold the write-ahead log back and let the file go."""
        self._db.close()

    def _apply(self, save: Save) -> None:
        if save.identity is not None:
            _put(self._db, "identity", (1, *save.identity))
        if save.vote is not None:
            _put(self._db, "vote", (1, *save.vote))
        if save.snapshot is not None:
            self._replace_snapshot(save.snapshot, save.reset_log)
        if save.truncate_from is not None:
            assert save.truncate_from >= self._first, "entries of the snapshot cannot be truncated"
            self._db.execute("DELETE FROM log WHERE position >= ?", (save.truncate_from,))
            self._last = min(self._last, save.truncate_from - 1)
        if save.append:
            _append(self._db, save.append, self._last)
            self._last = save.append[-1].index

    def _replace_snapshot(self, snapshot: Snapshot, reset_log: bool) -> None:
        _put(self._db, "snapshot", _snapshot_row(snapshot))
        keep = not reset_log and self._first <= snapshot.index + 1 <= self._last
        if keep:
            self._db.execute("DELETE FROM log WHERE position <= ?", (snapshot.index,))
        else:
            self._db.execute("DELETE FROM log")
            self._last = snapshot.index
        self._first = snapshot.index + 1

    def _read(self) -> SavedState:
        store, incarnation = self._single("identity", (int, int))
        term, voted_for = self._single("vote", (int, int))
        first, last = self._single("tail", (int, int))
        row = self._row("snapshot", (int, int, bytes, bytes))
        snapshot = None
        if row is not None:
            snapshot = Snapshot(row[0], row[1], codec.load(Configuration, row[2]), row[3])
        if not 0 <= voted_for <= MAX_NODES or min(store, incarnation, term) < 0:
            raise CorruptState(self._path, "a number is out of its range")
        if first != (snapshot.index + 1 if snapshot else 1):
            raise CorruptState(self._path, f"the log begins at entry {first}, which does not follow the snapshot")
        entries = tuple(self._entries(first, last))
        self._first, self._last = first, last
        return SavedState(StoreId(store), Incarnation(incarnation), term, NodeId(voted_for), snapshot, entries)

    def _entries(self, first: int, last: int) -> Iterator[Entry]:
        expected = first
        kinds: tuple[type, ...] = (int, int, bytes)
        for row in self._db.execute("SELECT position, term, command, sum FROM log ORDER BY position"):
            position, term, command = self._verified("log", row, kinds)
            if position != expected:
                raise CorruptState(self._path, f"the log has a gap: entry {expected} is missing")
            kind: Command = codec.load_tagged(COMMANDS, command)
            yield Entry(position, term, kind)
            expected += 1
        if expected != last + 1:
            raise CorruptState(self._path, f"the log ends with entry {expected - 1}; {last} was saved")

    def _single(self, table: str, kinds: tuple[type, ...]) -> tuple[int, int]:
        row = self._row(table, kinds)
        if row is None:
            raise CorruptState(self._path, f"nothing in table {table}")
        return row[0], row[1]

    def _row(self, table: str, kinds: tuple[type, ...]) -> list[Any] | None:
        row = self._db.execute(f"SELECT {_COLUMNS[table]}, sum FROM {table}").fetchone()
        return None if row is None else self._verified(table, row, (int, *kinds))[1:]

    def _verified(self, table: str, row: Sequence[object], kinds: tuple[type, ...]) -> list[Any]:
        """The row's values if each is of its kind and the checksum fits: rows come from a file, hence untyped."""
        *values, found = row
        if any(type(value) is not kind for value, kind in zip(values, kinds, strict=True)):
            raise CorruptState(self._path, f"a row of table {table} has values of the wrong kind")
        if found != _sum(table, values):
            raise CorruptState(self._path, f"the checksum of a row of table {table} (key {values[0]}) does not fit")
        return values


def set_aside(folder: Path, suffix: str) -> list[Path]:
    """Rename whatever there is of a saved state to names ending in `.suffix`; returns the new names."""
    moved = []
    for part in ("", "-wal", "-shm", "-journal"):
        path = folder / (FILE_NAME + part)
        if path.exists():
            target = folder / f"{FILE_NAME}.{suffix}{part}"
            path.rename(target)
            moved.append(target)
    durable.sync_directory(folder)
    return moved


def _put_first(db: sqlite3.Connection, state: SavedState) -> None:
    base = 0
    _put(db, "identity", (1, state.store, state.incarnation))
    _put(db, "vote", (1, state.term, state.voted_for))
    if state.snapshot is not None:
        base = state.snapshot.index
        _put(db, "snapshot", _snapshot_row(state.snapshot))
    _append(db, state.entries, base)
    _put(db, "tail", (1, base + 1, base + len(state.entries)))


def _append(db: sqlite3.Connection, entries: Iterable[Entry], last: int) -> None:
    for entry in entries:
        last += 1
        assert entry.index == last, f"entry {entry.index} does not follow {last - 1}"
        _put(db, "log", (entry.index, entry.term, codec.dump_tagged(entry.command)))


def _snapshot_row(snapshot: Snapshot) -> tuple[object, ...]:
    return (1, snapshot.index, snapshot.term, codec.dump(snapshot.configuration), snapshot.database)


def _put(db: sqlite3.Connection, table: str, values: Sequence[object]) -> None:
    db.execute(_PUT[table], (*values, _sum(table, values)))


def _sum(table: str, values: Sequence[object]) -> int:
    """CRC-32 over the table's name and all values: a row moved to another place does not fit either."""
    total = zlib.crc32(table.encode())
    for value in values:
        raw = value if isinstance(value, bytes) else str(value).encode()
        total = zlib.crc32(len(raw).to_bytes(8, "big"), total)
        total = zlib.crc32(raw, total)
    return total


@contextlib.contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
