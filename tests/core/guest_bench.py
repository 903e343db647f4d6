"""A guest on a workbench: a tiny array with a clock, timers in order, and a journal of all that was asked and answered.

Law: for tests of the guest alone. The array is as dumb as can be: one LUN, no reservations, answers on demand.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

from hvcluster.model.scsi import (
    GOOD,
    Capacity,
    Command,
    Read,
    ReadCapacity,
    Result,
    Status,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, Generation, Instant, LunId, NodeId, PathName
from hvcluster.node.core.effects import CancelTimer, SetTimer, SubmitScsi
from hvcluster.node.core.events import ScsiAnswered, TimerFired
from hvcluster.node.core.guest import Guest
from hvcluster.node.core.guest_io import Acknowledge, Append, Boot, GuestEffect, GuestEvent, Online, Refuse, Stopped
from hvcluster.node.core.guest_state import GuestImage
from hvcluster.node.core.journal import JOURNAL_LBA, Chain, check, genesis

A, B = PathName("A"), PathName("B")
DISK_TIMEOUT_US = 60_000_000


class Lun:
    """Blocks in memory. `limit` ends a write after so many blocks, as a power failure would."""

    def __init__(self, blocks: int = 4096) -> None:
        self.blocks = blocks
        self.data = bytearray(blocks * BLOCK_BYTES)
        self.reads: list[Read] = []
        self.writes: list[Write] = []

    def execute(self, command: Command, kept: int | None = None) -> Result:
        """Do a command; of a WRITE only the first `kept` blocks."""
        match command:
            case ReadCapacity():
                return Result(Status.GOOD, payload=Capacity(self.blocks))
            case Read(lba, blocks):
                self.reads.append(command)
                return Result(Status.GOOD, payload=bytes(self.data[lba * BLOCK_BYTES : (lba + blocks) * BLOCK_BYTES]))
            case Write(lba, data, fua):
                assert fua, "a guest's writes are on the medium before GOOD"
                self.writes.append(command)
                part = data if kept is None else data[: kept * BLOCK_BYTES]
                self.data[lba * BLOCK_BYTES : lba * BLOCK_BYTES + len(part)] = part
                return GOOD
            case _:
                raise AssertionError(f"a guest has no use for {command}")

    def journal(self, vm: str = "D1") -> Chain:
        """The chain on the disk."""
        start = JOURNAL_LBA * BLOCK_BYTES
        end = (self.blocks - 1) * BLOCK_BYTES
        blocks = [bytes(self.data[at : at + BLOCK_BYTES]) for at in range(start, end, BLOCK_BYTES)]
        return check(genesis(vm), blocks)


@dataclass
class Bench:
    """One guest and its LUN. `answer` may replace what the array says; None means that it says nothing yet."""

    lun: Lun = field(default_factory=Lun)
    generation: int = 1
    node: int = 1
    boot_delay_us: int = 0
    paths: tuple[PathName, ...] = (A,)
    answer: Callable[[SubmitScsi], Result | None] | None = None
    format_blank: bool | None = None
    freeze_us: int = 0
    image: GuestImage | None = None
    restore_us: int = 0

    def __post_init__(self) -> None:
        self.guest = Guest(
            "D1",
            LunId(2),
            Generation(self.generation),
            NodeId(self.node),
            self.boot_delay_us,
            DISK_TIMEOUT_US,
            self.paths,
            self.format_blank,
            self.freeze_us,
            self.image,
            self.restore_us,
        )
        self.now = 0
        self.timers: dict[str, int] = {}
        self.open: list[SubmitScsi] = []  # asked and not answered
        self.sent: list[SubmitScsi] = []
        self.seen: list[GuestEffect] = []  # all but SCSI and timers
        self._due: list[tuple[int, str]] = []

    def feed(self, event: GuestEvent) -> None:
        """One event, and whatever the array answers to it."""
        inbox = [event]
        while inbox:
            for effect in self.guest.handle(Instant(self.now), inbox.pop(0)):
                match effect:
                    case SubmitScsi():
                        assert not self.stopped, "nothing is sent after the end"
                        self.sent.append(effect)
                        result = self.lun.execute(effect.command) if self.answer is None else self.answer(effect)
                        if result is None:
                            self.open.append(effect)
                        else:
                            inbox.append(ScsiAnswered(effect.token, result))
                    case SetTimer(name, at):
                        self.timers[name] = at
                        heapq.heappush(self._due, (at, name))
                    case CancelTimer(name):
                        self.timers.pop(name, None)
                    case _:
                        self.seen.append(effect)

    def power_on(self) -> Bench:
        """Boot and run until nothing more happens by itself."""
        self.feed(Boot())
        return self

    def append(self, *payloads: str, first: int = 1) -> None:
        """Appends with tickets from `first`."""
        for number, payload in enumerate(payloads):
            self.feed(Append(first + number, payload.encode()))

    def reply(self, result: Result | None = None) -> SubmitScsi:
        """Answer the oldest open command: with `result`, or by doing it."""
        asked = self.open.pop(0)
        self.feed(ScsiAnswered(asked.token, result or self.lun.execute(asked.command)))
        return asked

    def next_timer(self) -> str | None:
        """Let time pass until the next timer; its name, or None when none is set."""
        while self._due:
            at, name = heapq.heappop(self._due)
            if self.timers.get(name) == at:
                del self.timers[name]
                self.now = max(self.now, at)
                self.feed(TimerFired(name))
                return name
        return None

    @property
    def online(self) -> bool:
        """Whether the guest said Online."""
        return any(isinstance(effect, Online) for effect in self.seen)

    @property
    def stopped(self) -> Stopped | None:
        """The one Stopped, if any."""
        ends = [effect for effect in self.seen if isinstance(effect, Stopped)]
        assert len(ends) <= 1
        return ends[0] if ends else None

    @property
    def acknowledged(self) -> dict[int, int]:
        """Ticket -> sequence."""
        return {effect.ticket: effect.sequence for effect in self.seen if isinstance(effect, Acknowledge)}

    @property
    def refused(self) -> dict[int, str]:
        """Ticket -> code."""
        return {effect.ticket: effect.code for effect in self.seen if isinstance(effect, Refuse)}
