"""One command at a time against the guest's disk, repeated until it is surely done or surely hopeless.

Law: UNKNOWN is never GOOD: the same command is sent again, so a channel is for commands that may run twice.
RESERVATION CONFLICT ends everything at once. All other failures are retried, on any path that is up, until the guest's
disk timeout has passed since the first of them.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from hvcluster.model.scsi import Capacity, Command, Payload, Read, ReadCapacity, Result, Sense, SenseKey, Status, Write
from hvcluster.model.vocabulary import BLOCK_BYTES, US_PER_MS, Instant, LunId, PathName

from .effects import CancelTimer, SetTimer, SubmitScsi
from .guest_io import GuestEffect

FIRST_BACKOFF_US: Final = 5 * US_PER_MS
MAX_BACKOFF_US: Final = 250 * US_PER_MS  # a restarted array must not wait longer for its guests than people notice
MAX_AT_ONCE: Final = 4
"""Retries without a pause after a unit attention: each path reports a few of them, each only once."""

HOPELESS: Final = frozenset({SenseKey.ILLEGAL_REQUEST, SenseKey.DATA_PROTECT, SenseKey.MISCOMPARE})
"""Sense keys that no retry changes: the LUN is gone, masked away, too small or write protected."""


class Outcome(Enum):
    """How far a command has come."""

    DONE = "GOOD was answered and its data has the expected form"
    WAITING = "an answer, a pause or a path is awaited"
    FENCED = "a persistent reservation forbids it: another node owns the disk"
    LOST = "the disk cannot be used, or not within the guest's disk timeout"


class Channel:
    """One command in flight with its retries. Timers: `retry.NAME` (pause) and `disk.NAME` (the disk timeout)."""

    def __init__(
        self, name: str, lun: LunId, timeout_us: int, first_token: int, token_step: int, first_block: int = 0
    ) -> None:
        """`first_block`: where the guest's disk begins on the LUN; commands count from there."""
        self._first_block = first_block
        self.retry_timer: Final = f"retry.{name}"
        self.disk_timer: Final = f"disk.{name}"
        self._lun = lun
        self._timeout_us = timeout_us
        self._next_token = first_token
        self._token_step = token_step
        self._command: Command | None = None
        self._token = -1  # of the command in flight, -1 while none is
        self._turn = 0  # which of the paths that are up is used
        self._failures = 0  # of the present command
        self._pausing = False
        self._why = ""
        self._extra_us = 0

    @property
    def busy(self) -> bool:
        """Whether a command is under way."""
        return self._command is not None

    @property
    def why(self) -> str:
        """The latest failure as a sentence."""
        return self._why

    @property
    def stalled(self) -> bool:
        """Whether the present command has failed and is being repeated."""
        return self._command is not None and self._failures > 0

    def extend(self, now: Instant, more_us: int, out: list[GuestEffect]) -> None:
        """Give the present command more time than the disk timeout, from now on."""
        self._extra_us = more_us
        out.append(SetTimer(self.disk_timer, Instant(now + more_us)))

    def begin(self, now: Instant, command: Command, paths: tuple[PathName, ...], out: list[GuestEffect]) -> None:
        """Send a command. The channel must not be busy."""
        assert self._command is None
        self._command = command
        self._failures = 0
        self._extra_us = 0
        self._submit(now, paths, out)

    def awaits(self, token: int) -> bool:
        """Whether an answer with this token is the one awaited."""
        return token == self._token and self._command is not None

    def answered(self, now: Instant, result: Result, paths: tuple[PathName, ...], out: list[GuestEffect]) -> Outcome:
        """Take in the awaited answer; after DONE the channel is free."""
        self._token = -1
        if result.status is Status.GOOD and self._fits(result.payload):
            if self._failures:
                out.append(CancelTimer(self.disk_timer))
            self._command = None
            return Outcome.DONE
        match result.status:
            case Status.RESERVATION_CONFLICT:
                self._why = "the array answered RESERVATION CONFLICT: another node has the disk"
                return Outcome.FENCED
            case Status.CHECK_CONDITION:
                return self._sensed(now, result.sense, paths, out)
            case Status.UNKNOWN:
                self._turn += 1
                self._fail(now, "the array did not answer", out)
                self._again(now, self._failures == 1, paths, out)
            case Status.BUSY:
                self._fail(now, "the array is busy", out)
                self._again(now, False, paths, out)
            case Status.GOOD:
                self._fail(now, "the array sent data of another form than asked for", out)
                self._again(now, False, paths, out)
        return Outcome.WAITING

    def timer(self, now: Instant, name: str, paths: tuple[PathName, ...], out: list[GuestEffect]) -> Outcome:
        """Take in one of the two timers."""
        if self._command is None:
            return Outcome.WAITING
        if name == self.disk_timer and self._failures:
            waited_us = self._timeout_us + self._extra_us
            self._why = f"the disk did not come back within {waited_us // US_PER_MS} ms: {self._why}"
            return Outcome.LOST
        if name == self.retry_timer and self._pausing:
            self._submit(now, paths, out)
        return Outcome.WAITING

    def path_up(self, now: Instant, paths: tuple[PathName, ...], out: list[GuestEffect]) -> None:
        """A path came up: whatever waits for one, or pauses, goes on at once."""
        if self._command is None or self._token >= 0:
            return
        if self._pausing:
            out.append(CancelTimer(self.retry_timer))
        self._submit(now, paths, out)

    def _submit(self, now: Instant, paths: tuple[PathName, ...], out: list[GuestEffect]) -> None:
        assert self._command is not None
        self._pausing = False
        if not paths:
            self._fail(now, "no path to the array is up", out)
            return
        self._token = self._next_token
        self._next_token += self._token_step
        out.append(SubmitScsi(self._token, paths[self._turn % len(paths)], self._lun, self._placed(self._command)))

    def _placed(self, command: Command) -> Command:
        """The command as the LUN has to be told."""
        match command:
            case Read(lba, blocks):
                return Read(self._first_block + lba, blocks)
            case Write(lba, data, fua):
                return Write(self._first_block + lba, data, fua)
            case _:
                return command

    def _sensed(
        self, now: Instant, sense: Sense | None, paths: tuple[PathName, ...], out: list[GuestEffect]
    ) -> Outcome:
        self._fail(now, f"the array answered CHECK CONDITION, {sense or 'no sense data'}", out)
        if sense is not None and sense.key in HOPELESS:
            return Outcome.LOST
        attention = sense is not None and sense.key is SenseKey.UNIT_ATTENTION
        self._again(now, attention and self._failures <= MAX_AT_ONCE, paths, out)
        return Outcome.WAITING

    def _fail(self, now: Instant, why: str, out: list[GuestEffect]) -> None:
        self._why = why
        self._failures += 1
        if self._failures == 1:
            out.append(SetTimer(self.disk_timer, Instant(now + self._timeout_us)))

    def _again(self, now: Instant, at_once: bool, paths: tuple[PathName, ...], out: list[GuestEffect]) -> None:
        if at_once or not paths:  # without a path: PathChanged goes on, no timer does
            self._submit(now, paths, out)
            return
        pause = min(FIRST_BACKOFF_US << min(self._failures - 1, 16), MAX_BACKOFF_US)
        self._pausing = True
        out.append(SetTimer(self.retry_timer, Instant(now + pause)))

    def _fits(self, payload: Payload) -> bool:
        match self._command:
            case Read(_, blocks):
                return isinstance(payload, bytes) and len(payload) == blocks * BLOCK_BYTES
            case ReadCapacity():
                return isinstance(payload, Capacity)
            case _:
                return True
