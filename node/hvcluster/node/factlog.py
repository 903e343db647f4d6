"""The facts of one node, kept for whoever asks: a bounded ring in memory, a file of JSON lines, and the log.

Law: facts are written as they come and never changed. Sequence numbers go on where the file ended, so that an onlooker
who follows a node through a restart misses nothing it can still get.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from structlog.typing import FilteringBoundLogger

from hvcluster.model.facts import Fact

FILE_NAME: Final = "facts.jsonl"
KEPT: Final = 100_000
"""Facts in memory: a day of a busy lab, about 50 MB at most."""
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
"""Then the file becomes `facts.jsonl.1` and a new one begins: two of them bound the disk."""
_TAIL_BYTES: Final = 64 * 1024
"""Enough to find the last line: one fact is below 4 KiB."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A fact, when it was recorded here: microseconds since 1970 and on CLOCK_MONOTONIC."""

    sequence: int
    wall_us: int
    monotonic_us: int
    fact: Fact


class FactLog:
    """Record facts, and read or follow them. The file is flushed to the system, not to the device."""

    def __init__(self, folder: Path, log: FilteringBoundLogger, kept: int = KEPT) -> None:
        self._path = folder / FILE_NAME
        self._log = log
        self._ring: deque[Numbered] = deque(maxlen=kept)
        self._next = last_sequence(self._path) + 1
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._bytes = _begin_a_line(self._file, self._path)
        self._more = asyncio.Event()

    def record(self, fact: Fact) -> None:
        """Keep one fact. A full disk costs the file its line, not the node its life."""
        item = Numbered(self._next, time.time_ns() // 1000, time.monotonic_ns() // 1000, fact)
        self._next += 1
        self._ring.append(item)
        try:
            self._write(line(item))
        except OSError as error:
            self._log.error("a fact could not be written to its file", error=str(error))
        about = {f"fact_{key}": value for key, value in fact.about}
        self._log.info(fact.line(), fact=fact.kind.name, event_id=fact.kind.event_id, **about)
        self._more.set()
        self._more = asyncio.Event()

    def since(self, sequence: int) -> list[Numbered]:
        """What is kept of `sequence` and later, in order."""
        if not self._ring or sequence >= self._next:
            return []
        skip = max(0, sequence - self._ring[0].sequence)
        ring = self._ring
        return [ring[at] for at in range(skip, len(ring))] if skip > len(ring) // 2 else list(ring)[skip:]

    async def follow(self, sequence: int) -> AsyncIterator[Numbered]:
        """The same, and then each further fact as it is recorded, for ever."""
        while True:
            more = self._more
            for item in self.since(sequence):
                sequence = item.sequence + 1
                yield item
            if more is self._more:
                await more.wait()

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)

    def _write(self, text: bytes) -> None:
        if self._bytes + len(text) > MAX_FILE_BYTES:
            os.replace(self._path, self._path.with_name(FILE_NAME + ".1"))
            os.close(self._file)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._bytes = 0
        self._bytes += os.write(self._file, text)


def line(item: Numbered) -> bytes:
    """One line of the file: the fields of FactLine (node.proto), `at`, the instant the core was told, and `pid`."""
    fact = item.fact
    document = {
        "sequence": item.sequence,
        "wall_us": item.wall_us,
        "monotonic_us": item.monotonic_us,
        "at": fact.at,
        "kind": fact.kind.name,
        "node": fact.node,
        "pid": os.getpid(),
        "event_id": fact.kind.event_id,
        "reason": fact.reason,
        "line": fact.line(),
        "about": dict(fact.about),
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def last_sequence(path: Path) -> int:
    """The highest sequence number of a facts file; 0 without one. A torn last line does not count."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().splitlines()
    except OSError:
        return 0
    for text in reversed(lines):
        try:
            return int(json.loads(text)["sequence"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0


def _begin_a_line(file: int, path: Path) -> int:
    """End a line that a kill tore; returns the size of the file."""
    size = path.stat().st_size
    if size:
        with path.open("rb") as reader:
            reader.seek(size - 1)
            torn = reader.read(1) != b"\n"
        if torn:
            size += os.write(file, b"\n")
    return size
