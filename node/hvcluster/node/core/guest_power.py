"""How a guest ends: it is shut down, saved, or simply stops.

Law: as in `guest`. A saved state is one record, the last of its journal: it is there whole or not at all, whatever
dies meanwhile, and whoever writes behind it has used it up or thrown it away. No more is needed to resume a VM once.
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.scsi import Write
from hvcluster.model.vocabulary import Instant

from .effects import SetTimer
from .guest_io import GuestEffect, Refuse, Save, Stopped
from .guest_parts import GuestParts, GuestState
from .journal import Kind, capacity, encode, lba_of

SAVE_TIMER: Final = "save"
SAVE_RECORDS: Final = 2
"""A saved state is of use only where the record fits as well with which the VM goes on."""


class GuestPower(GuestParts):
    """A guest on its way out."""

    def _shut_down(self, reason: str, out: list[GuestEffect], *, forced: bool) -> None:
        match self._state:
            case GuestState.ONLINE if not self._freeze.frozen:
                self._state = GuestState.STOPPING
                self._stop_reason = reason
                self._forced = forced
                if not self._disk.busy:
                    self._stop("shutdown", reason, out)
            case GuestState.STOPPING:
                self._forced = self._forced or forced
            case GuestState.SAVING | GuestState.SEALING | GuestState.STOPPED:
                pass
            case _:
                self._stop("shutdown", reason, out)

    def _save(self, now: Instant, event: Save, out: list[GuestEffect]) -> None:
        """Hold everything; the memory is saved once the write under way is done."""
        if self._state is not GuestState.ONLINE or self._freeze.frozen:
            self._shut_down(event.reason, out, forced=False)
            return
        if self._next_tail.sequence + SAVE_RECORDS > capacity(self._lun_blocks):
            self._shut_down(f"{event.reason}; its disk has no room for a saved state", out, forced=True)
            return
        self._state = GuestState.SAVING
        self._stop_reason = event.reason
        self._save_us = event.lasts_us
        if not self._disk.busy:
            self._save_memory(now, out)

    def _save_memory(self, now: Instant, out: list[GuestEffect]) -> None:
        out.append(SetTimer(SAVE_TIMER, Instant(now + self._save_us)))

    def _seal(self, now: Instant, out: list[GuestEffect]) -> None:
        """All of the memory is on the disk: from this record on it counts."""
        if self._state is not GuestState.SAVING:
            return
        self._state = GuestState.SEALING
        block, self._next_tail = encode(self._tail, Kind.SAVED, self._generation, self._node)
        self._disk.begin(now, Write(lba_of(self._next_tail.sequence), block, fua=True), self._paths, out)

    def _stop(self, cause: str, reason: str, out: list[GuestEffect]) -> None:
        """Answer everyone who waits, then stop for good."""
        if self._state is GuestState.STOPPED:
            return
        self._state = GuestState.STOPPED
        unknown = f"the VM stopped while the record was being written, it may or may not be on the disk: {reason}"
        out.extend(Refuse(ticket, "unknown", unknown) for ticket in self._flight)
        stopped = f"the VM stopped: {reason}"
        code = "moved" if cause == "moved" else "stopped"
        out.extend(Refuse(ticket, code, stopped) for ticket, _ in self._waiting)
        out.extend(Refuse(ticket, code, stopped) for ticket in self._fetches.drain())
        out.extend(Refuse(fetch.ticket, code, stopped) for fetch in self._held_fetches)
        self._flight.clear()
        self._waiting.clear()
        self._held_fetches.clear()
        out.append(Stopped(cause, reason))
