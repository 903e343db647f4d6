"""The array's own command journal: who asked what, with which key registered, and what came of it.

Law: appends what the core said and reads it back; never edits. Lines are handed to the kernel before the answers
they describe leave, so killing the array loses none that an initiator could know of.

    <directory>/journal.0  the file being written: records of length, checksum, `SanJournalRow`
    <directory>/journal.1  the file before it; older ones are dropped
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hvcluster.runtime import scsi_wire
from hvcluster.v1 import san_pb2

from .core.effects import JournalEntry
from .media import MediaError

MAX_FILE_BYTES: Final = 64 * 1024 * 1024  # two such files hold about a million commands, a long day of a lab
_MARK_EVERY: Final = 1_024  # records between two remembered offsets: a reader skips at most this many
_HEADER: Final = struct.Struct("<II")


@dataclass(slots=True)
class _File:
    """One journal file: the sequence number of its first record, its length, and offsets to start reading at."""

    path: Path
    first: int
    records: int = 0
    size: int = 0
    marks: list[int] = field(default_factory=list)

    def note(self, length: int) -> None:
        if self.records % _MARK_EVERY == 0:
            self.marks.append(self.size)
        self.records += 1
        self.size += length


class Journal:
    """The opened journal. Not for use by several processes."""

    def __init__(self, directory: Path) -> None:
        """Open or begin. A record cut short by a kill is dropped; raises MediaError for any other damage."""
        self._directory = directory
        self._older = _scan(directory / "journal.1", 1)
        self._current = _scan(directory / "journal.0", self._older.first + self._older.records)
        self._file = os.open(self._current.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, self._current.size)
        self._pending: list[JournalEntry] = []
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def next_sequence(self) -> int:
        """The number the next entry will get; the first of all is 1."""
        return self._current.first + self._current.records

    def add(self, entry: JournalEntry) -> None:
        """Take an entry for the next `flush`."""
        self._pending.append(entry)

    def flush(self) -> None:
        """Write what was added and wake those who follow."""
        if not self._pending:
            return
        wall_ahead_us = time.time_ns() // 1_000 - time.monotonic_ns() // 1_000
        records: list[bytes] = []
        for entry in self._pending:
            data = _row(entry, self.next_sequence, wall_ahead_us).SerializeToString()
            self._current.note(_HEADER.size + len(data))
            records += (_HEADER.pack(len(data), zlib.crc32(data)), data)
        self._pending.clear()
        _write_all(self._file, b"".join(records))
        if self._current.size >= MAX_FILE_BYTES:
            self._rotate()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def appended(self) -> None:
        """Wait for the next flush that writes something."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        await waiter

    def read(self, sequence: int, limit: int) -> list[san_pb2.SanJournalRow]:
        """At most `limit` rows from a sequence number on; from the oldest kept row if that one is gone."""
        rows: list[san_pb2.SanJournalRow] = []
        for file in (self._older, self._current):
            if len(rows) < limit and sequence < file.first + file.records:
                rows += _read(file, max(sequence, file.first), limit - len(rows))
        return rows

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        os.close(self._file)

    def _rotate(self) -> None:
        os.close(self._file)
        older = self._directory / "journal.1"
        os.replace(self._current.path, older)
        first = self.next_sequence
        self._older, self._older.path = self._current, older
        self._current = _File(self._directory / "journal.0", first)
        self._file = os.open(self._current.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def _row(entry: JournalEntry, sequence: int, wall_ahead_us: int) -> san_pb2.SanJournalRow:
    return san_pb2.SanJournalRow(
        sequence=sequence,
        wall_us=entry.at + wall_ahead_us,
        monotonic_us=entry.at,
        nexus=scsi_wire.nexus_to_wire(entry.nexus),
        lun=entry.lun,
        command=entry.command,
        status=scsi_wire.status_to_wire(entry.status),
        sense=None if entry.sense is None else scsi_wire.sense_to_wire(entry.sense),
        key=entry.key,
        lba=entry.lba,
        blocks=entry.blocks,
        claimed_key=entry.claimed_key,
        service_key=entry.service_key,
        type=entry.type or 0,
    )


def _scan(path: Path, first: int) -> _File:
    """Find the whole records of a file. Raises MediaError where something other than its end is damaged."""
    found = _File(path, first)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return found
    for at, length in _records(data):
        body = data[at + _HEADER.size : at + length]
        if zlib.crc32(body) != _HEADER.unpack_from(data, at)[1]:
            raise MediaError(path, f"the record at byte {at} does not match its checksum", "Remove the file to go on.")
        if found.records == 0:
            found.first = san_pb2.SanJournalRow.FromString(body).sequence
        found.note(length)
    return found


def _records(data: bytes) -> Iterator[tuple[int, int]]:
    """Offset and whole length of each complete record."""
    at = 0
    while at + _HEADER.size <= len(data):
        length = _HEADER.size + _HEADER.unpack_from(data, at)[0]
        if at + length > len(data):
            return
        yield at, length
        at += length


def _read(file: _File, sequence: int, limit: int) -> list[san_pb2.SanJournalRow]:
    mark = (sequence - file.first) // _MARK_EVERY
    last = min(mark + 1 + limit // _MARK_EVERY + 1, len(file.marks))
    end = file.marks[last] if last < len(file.marks) else file.size
    with file.path.open("rb") as opened:
        opened.seek(file.marks[mark])
        data = opened.read(end - file.marks[mark])
    rows = []
    for skipped, (at, length) in enumerate(_records(data)):
        if file.first + mark * _MARK_EVERY + skipped >= sequence:
            rows.append(san_pb2.SanJournalRow.FromString(data[at + _HEADER.size : at + length]))
            if len(rows) == limit:
                break
    return rows


def _write_all(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, data[written:])
