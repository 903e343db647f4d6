"""Clients' reads of the journal: from the LUN each time, one after another, beside the writes.

Law: what is shown is what was read; a block that is not the record asked for is reported, never left out.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from hvcluster.model.scsi import Payload, Read
from hvcluster.model.vocabulary import BLOCK_BYTES, Instant, PathName

from .guest_boot import CHUNK_BLOCKS
from .guest_disk import Channel
from .guest_io import Fetch, Fetched, GuestEffect, Refuse
from .journal import Record, decode, lba_of

MAX_FETCH: Final = CHUNK_BLOCKS
"""Records of one Fetch: one read of 64 KiB."""

MAX_FETCHES: Final = 256
"""Fetches that may wait: as many as one VM's service takes connections."""


class FetchQueue:
    """The fetches of one guest. `last` is always the number of the last record that is surely on the LUN."""

    def __init__(self, vm: bytes, channel: Channel) -> None:
        self._vm = vm
        self._channel = channel
        self._current: tuple[int, int, int] | None = None  # ticket, first, count of the read under way
        self._waiting: deque[tuple[int, int, int]] = deque()  # ticket, first, limit

    def take(self, now: Instant, event: Fetch, last: int, paths: tuple[PathName, ...], out: list[GuestEffect]) -> None:
        """Queue a fetch, or refuse it."""
        if event.first < 1 or event.limit < 1:
            out.append(Refuse(event.ticket, "size", "records are numbered from 1, and at least one must be asked for"))
            return
        if len(self._waiting) >= MAX_FETCHES:
            out.append(Refuse(event.ticket, "busy", f"{MAX_FETCHES} reads are already waiting for the disk"))
            return
        self._waiting.append((event.ticket, event.first, min(event.limit, MAX_FETCH)))
        if not self._channel.busy:
            self._next(now, last, paths, out)

    def done(
        self, now: Instant, payload: Payload, last: int, paths: tuple[PathName, ...], out: list[GuestEffect]
    ) -> None:
        """The read under way has its data."""
        assert isinstance(payload, bytes)
        assert self._current is not None
        out.append(self._judged(*self._current, payload))
        self._current = None
        self._next(now, last, paths, out)

    def drain(self) -> tuple[int, ...]:
        """Forget everything; the tickets that still wait for an answer, in order."""
        rest = ([self._current] if self._current else []) + list(self._waiting)
        self._current = None
        self._waiting.clear()
        return tuple(ticket for ticket, _, _ in rest)

    def _next(self, now: Instant, last: int, paths: tuple[PathName, ...], out: list[GuestEffect]) -> None:
        while self._waiting:
            ticket, first, limit = self._waiting.popleft()
            count = min(limit, last - first + 1)
            if count > 0:
                self._current = ticket, first, count
                self._channel.begin(now, Read(lba_of(first), count), paths, out)
                return
            out.append(Fetched(ticket, ()))

    def _judged(self, ticket: int, first: int, count: int, data: bytes) -> Fetched | Refuse:
        records: list[Record] = []
        for at in range(count):
            record = decode(data[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES])
            if record is None or record.sequence != first + at or record.vm != self._vm:
                reason = f"block {lba_of(first + at)} does not hold record {first + at}: the disk is damaged"
                return Refuse(ticket, "damaged", reason)
            records.append(record)
        return Fetched(ticket, tuple(records))
