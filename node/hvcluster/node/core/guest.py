"""One VM from power on to its end: it boots from the VHD on its LUN and keeps a journal there for its clients.

Law: a pure state machine; time and answers come in as events, all I/O goes out as effects. A client is acknowledged
only after the array answered GOOD to a WRITE with FUA of its record. A reservation conflict ends the guest at once:
whoever owns the disk now must never see another write of it. One Guest is one generation of the VM, never booted twice.
"""

from __future__ import annotations

from typing import Final, assert_never

from hvcluster.model.scsi import Capacity, Command, Payload, Read, ReadCapacity, Result, Write
from hvcluster.model.vocabulary import Instant, PathName

from .effects import SetTimer
from .events import PathChanged, ScsiAnswered, TimerFired
from .guest_boot import Broken, Found, TailSearch, may_follow
from .guest_disk import Channel, Outcome
from .guest_io import (
    Acknowledge,
    Append,
    Boot,
    Continue,
    Fetch,
    GuestEffect,
    GuestEvent,
    Online,
    Pause,
    Paused,
    PowerOff,
    Refuse,
    Save,
    ShutDown,
)
from .guest_parts import FIRST_GENERATION, GuestState
from .guest_power import SAVE_TIMER, GuestPower
from .guest_reads import MAX_FETCHES
from .guest_state import GuestImage, look_at, stands
from .journal import (
    MAX_GROUP,
    MAX_PAYLOAD_BYTES,
    Kind,
    capacity,
    encode,
    is_blank,
    lba_of,
    size_problem,
)
from .vhd import footer_problem, format_disk

MAX_WAITING: Final = 4096
"""Appends that may wait for the disk: 64 full groups, more than a disk with 100 ms a write clears in six seconds."""

BOOT_RESERVE: Final = 1024
"""Records kept free for boots when a journal is full (at most an eighth of it), so that failover still works."""

__all__ = ["BOOT_RESERVE", "FIRST_GENERATION", "MAX_WAITING", "Guest", "GuestState"]

BOOT_TIMER: Final = "boot"


class Guest(GuestPower):
    """See the module. `handle` is the only way in; the properties tell, they change nothing."""

    def handle(self, now: Instant, event: GuestEvent) -> tuple[GuestEffect, ...]:
        """Take in one event; the effects are to be performed in order."""
        out: list[GuestEffect] = []
        match event:
            case Append():
                self._append(now, event, out)
            case ScsiAnswered(token, result):
                self._answered(now, token, result, out)
            case Fetch():
                self._take_fetch(now, event, out)
            case TimerFired(name):
                self._timer(now, name, out)
            case PathChanged(path, up):
                self._path(now, path, up, out)
            case Boot():
                self._boot(now, out)
            case ShutDown(reason, forced):
                self._shut_down(reason, out, forced=forced)
            case Save():
                self._save(now, event, out)
            case PowerOff(reason, cause):
                self._stop(cause, reason, out)
            case Pause(move):
                self._pause(move, out)
            case Continue():
                self._continue(now, out)
            case _:
                assert_never(event)
        return tuple(out)

    # -- power ---------------------------------------------------------------------------------------------

    def _boot(self, now: Instant, out: list[GuestEffect]) -> None:
        """The disk is read while the boot delay runs; the boot record waits for both."""
        if self._state is not GuestState.OFF:
            return
        if self._image is not None:
            self._sized_as(self._image.lun_blocks)
            self._state = GuestState.RESUMING
            self._disk.begin(now, Read(*look_at(self._image)), self._paths, out)
            return
        self._power_on(now, out)

    def _power_on(self, now: Instant, out: list[GuestEffect]) -> None:
        self._state = GuestState.SIZING
        self._delay_over = self._boot_delay_us <= 0
        if not self._delay_over:
            out.append(SetTimer(BOOT_TIMER, Instant(now + self._boot_delay_us)))
        self._disk.begin(now, ReadCapacity(), self._paths, out)

    # -- paused for a migration ----------------------------------------------------------------------------

    def _pause(self, move: int, out: list[GuestEffect]) -> None:
        if self._state is GuestState.ONLINE:
            self._held = move
            if not self._disk.busy:
                out.append(Paused(move, GuestImage(self._tail, self._lun_blocks)))

    def _continue(self, now: Instant, out: list[GuestEffect]) -> None:
        if not self._held or self._state is not GuestState.ONLINE:
            return
        self._held = 0
        if self._waiting and not self._disk.busy:
            self._write_group(now, out)
        fetches, self._held_fetches = self._held_fetches, []
        for fetch in fetches:
            self._take_fetch(now, fetch, out)

    # -- what the machine reports --------------------------------------------------------------------------

    def _answered(self, now: Instant, token: int, result: Result, out: list[GuestEffect]) -> None:
        if self._state is GuestState.STOPPED:
            return
        if self._disk.awaits(token):
            outcome = self._disk.answered(now, result, self._paths, out)
            if outcome is Outcome.DONE:
                self._freeze.answered(self._disk, out)
                self._done(now, result.payload, out)
            else:
                self._judge(self._disk, outcome, out)
        elif self._reader.awaits(token):
            outcome = self._reader.answered(now, result, self._paths, out)
            if outcome is Outcome.DONE:
                self._freeze.answered(self._reader, out)
                self._fetches.done(now, result.payload, self._tail.sequence, self._paths, out)
            else:
                self._judge(self._reader, outcome, out)

    def _judge(self, channel: Channel, outcome: Outcome, out: list[GuestEffect]) -> None:
        match outcome:
            case Outcome.FENCED:
                self._stop("fenced", channel.why, out)
            case Outcome.LOST:
                self._stop("disk", channel.why, out)
            case Outcome.DONE | Outcome.WAITING:
                pass

    def _timer(self, now: Instant, name: str, out: list[GuestEffect]) -> None:
        if self._state is GuestState.STOPPED:
            return
        if name == BOOT_TIMER:
            self._delay_over = True
            if self._state is GuestState.DELAYED:
                self._come_up(now, out)
            return
        if name == SAVE_TIMER:
            self._seal(now, out)
            return
        for channel in (self._disk, self._reader):
            over = name == channel.disk_timer and channel.stalled and self._state is GuestState.ONLINE
            if over and self._freeze.holds(now, channel, out):
                return
            if name in (channel.retry_timer, channel.disk_timer):
                self._judge(channel, channel.timer(now, name, self._paths, out), out)

    def _path(self, now: Instant, path: PathName, up: bool, out: list[GuestEffect]) -> None:
        others = tuple(p for p in self._paths if p != path)
        self._paths = tuple(sorted((*others, path))) if up else others
        if up and self._state is not GuestState.STOPPED:
            self._disk.path_up(now, self._paths, out)
            self._reader.path_up(now, self._paths, out)

    # -- boot, step by step --------------------------------------------------------------------------------

    def _done(self, now: Instant, payload: Payload, out: list[GuestEffect]) -> None:
        """The command of the main channel is done: what comes next depends on the state alone."""
        match self._state:
            case GuestState.ONLINE | GuestState.STOPPING | GuestState.SAVING:
                self._written(now, out)
            case GuestState.SEALING:
                self._stop("saved", self._stop_reason, out)
            case GuestState.SIZING:
                assert isinstance(payload, Capacity)
                self._sized(now, self._disk_blocks(payload.blocks), out)
            case GuestState.CHECKING:
                assert isinstance(payload, bytes)
                self._footer_read(now, payload, out)
            case GuestState.SEARCHING:
                assert isinstance(payload, bytes)
                self._searched(now, payload, out)
            case GuestState.FORMATTING:
                self._disk_ready(now, out)
            case GuestState.RESUMING:
                assert isinstance(payload, bytes)
                assert self._image is not None
                if stands(self._image, payload):
                    self._tail = self._image.tail
                    self._write_first_record(now, Kind.RESUME, out)
                else:
                    self._image = None
                    self._power_on(now, out)
            case GuestState.BOOTING:
                self._tail = self._next_tail
                self._state = GuestState.ONLINE
                out.append(Online(self._generation, self._image is not None, self._restored))
            case GuestState.OFF | GuestState.DELAYED | GuestState.STOPPED:
                raise AssertionError(f"no command is under way in {self._state.name}")

    def _sized(self, now: Instant, lun_blocks: int, out: list[GuestEffect]) -> None:
        problem = size_problem(lun_blocks)
        if problem is not None:
            self._stop("boot", problem, out)
            return
        self._sized_as(lun_blocks)
        self._state = GuestState.CHECKING
        self._disk.begin(now, Read(lun_blocks - 1, 1), self._paths, out)

    def _sized_as(self, lun_blocks: int) -> None:
        self._lun_blocks = lun_blocks
        records = capacity(lun_blocks)
        self._last_data = records - min(BOOT_RESERVE, max(1, records // 8))

    def _footer_read(self, now: Instant, footer: bytes, out: list[GuestEffect]) -> None:
        problem = footer_problem(footer, self._lun_blocks)
        if problem is not None:
            self._unformatted = is_blank(footer)
            if not (self._unformatted and self._format_blank):
                self._stop("boot", problem, out)
                return
        self._state = GuestState.SEARCHING
        self._search = TailSearch(self._tail, capacity(self._lun_blocks))
        self._disk.begin(now, Read(*self._search.next_read()), self._paths, out)

    def _searched(self, now: Instant, data: bytes, out: list[GuestEffect]) -> None:
        assert self._search is not None
        if self._unformatted:
            self._format(now, data, out)
            return
        match self._search.feed(data):
            case None:
                self._disk.begin(now, Read(*self._search.next_read()), self._paths, out)
            case Broken(reason):
                self._stop("boot", reason, out)
            case Found(tail):
                self._search = None
                newer = may_follow(tail, self._generation, self._node)
                if newer is not None:
                    self._stop("fenced", newer, out)
                    return
                self._tail = tail
                self._disk_ready(now, out)

    def _format(self, now: Instant, journal: bytes, out: list[GuestEffect]) -> None:
        if not is_blank(journal):
            self._stop("boot", "the VHD has lost its footer: the LUN ends with a blank block but is not blank", out)
            return
        self._search = None
        self._state = GuestState.FORMATTING
        ((lba, footer),) = format_disk(self._lun_blocks, self._vm)
        self._disk.begin(now, Write(lba, footer, fua=True), self._paths, out)

    def _disk_ready(self, now: Instant, out: list[GuestEffect]) -> None:
        self._state = GuestState.DELAYED
        self._restored = self._restores()
        if self._restored:
            self._delay_over = False  # reading its memory takes its own time, and no boot
            out.append(SetTimer(BOOT_TIMER, Instant(now + self._restore_us)))
        elif self._delay_over:
            self._come_up(now, out)

    def _restores(self) -> bool:
        """Whether it goes on from a saved state: one that nothing was written behind."""
        return self._tail.saved

    def _come_up(self, now: Instant, out: list[GuestEffect]) -> None:
        self._write_first_record(now, Kind.RESTORED if self._restored else Kind.BOOT, out)

    def _write_first_record(self, now: Instant, kind: Kind, out: list[GuestEffect]) -> None:
        if self._tail.sequence >= capacity(self._lun_blocks):
            self._stop("boot", "the journal is full to its last block: no boot record fits", out)
            return
        self._state = GuestState.BOOTING
        block, self._next_tail = encode(self._tail, kind, self._generation, self._node)
        self._disk.begin(now, Write(lba_of(self._next_tail.sequence), block, fua=True), self._paths, out)

    # -- appends -------------------------------------------------------------------------------------------

    def _append(self, now: Instant, event: Append, out: list[GuestEffect]) -> None:
        refusal = self._refusal()
        if refusal is None and not 0 < len(event.payload) <= MAX_PAYLOAD_BYTES:
            refusal = "size", f"a record has 1 to {MAX_PAYLOAD_BYTES} bytes, this has {len(event.payload)}"
        if refusal is None and len(self._waiting) >= MAX_WAITING:
            refusal = "busy", f"{MAX_WAITING} appends are already waiting for the disk"
        if refusal is None and self._next_tail.sequence + len(self._waiting) >= self._last_data:
            refusal = "full", f"the journal is full: it has room for {self._last_data} records"
        if refusal is not None:
            out.append(Refuse(event.ticket, *refusal))
            return
        self._waiting.append((event.ticket, event.payload))
        if not self._disk.busy and not self._held:
            self._write_group(now, out)

    def _refusal(self) -> tuple[str, str] | None:
        match self._state:
            case GuestState.ONLINE:
                return None
            case GuestState.STOPPING:
                return "stopping", "the VM is shutting down"
            case GuestState.SAVING | GuestState.SEALING:
                return "stopping", "the VM is being saved"
            case GuestState.STOPPED:
                return "stopped", "the VM is off"
            case _:
                return "booting", "the VM has not booted yet"

    def _write_group(self, now: Instant, out: list[GuestEffect]) -> None:
        """One WRITE with as many waiting records as fit. A retry sends the very same blocks."""
        tail = self._tail
        first = tail.sequence + 1
        blocks: list[bytes] = []
        while self._waiting and len(blocks) < MAX_GROUP:
            ticket, payload = self._waiting.popleft()
            block, tail = encode(tail, Kind.DATA, self._generation, self._node, payload)
            blocks.append(block)
            self._flight.append(ticket)
        self._next_tail = tail
        command: Command = Write(lba_of(first), b"".join(blocks), fua=True)
        self._disk.begin(now, command, self._paths, out)

    def _written(self, now: Instant, out: list[GuestEffect]) -> None:
        sequence = self._tail.sequence
        for ticket in self._flight:
            sequence += 1
            out.append(Acknowledge(ticket, sequence))
        self._flight.clear()
        self._tail = self._next_tail
        if self._held and self._state is GuestState.ONLINE:
            out.append(Paused(self._held, GuestImage(self._tail, self._lun_blocks)))
        elif self._state is GuestState.SAVING:
            self._save_memory(now, out)
        elif self._waiting and not self._forced:
            self._write_group(now, out)
        elif self._state is GuestState.STOPPING:
            self._stop("shutdown", self._stop_reason, out)

    def _take_fetch(self, now: Instant, event: Fetch, out: list[GuestEffect]) -> None:
        refusal = self._refusal()
        if refusal is not None:
            out.append(Refuse(event.ticket, *refusal))
            return
        if self._held and len(self._held_fetches) < MAX_FETCHES:
            self._held_fetches.append(event)
            return
        self._fetches.take(now, event, self._tail.sequence, self._paths, out)
