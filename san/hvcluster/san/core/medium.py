"""Commands that read and change the blocks of a unit: what is checked, what the medium is asked, what comes of it.

Law: each is executed whole before the next is looked at; one that looks before it writes has its answer before any
other event.
"""

from __future__ import annotations

from hvcluster.model.scsi import (
    GOOD,
    MAX_COMPARE_BLOCKS,
    CompareAndWrite,
    GetLbaStatus,
    Mapping,
    OrWrite,
    Read,
    Result,
    Status,
    Unmap,
    Verify,
    Write,
    WriteSame,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, Instant

from . import sense
from .answers import Effects, Session, extent, good, journal, refuse
from .commands import MAX_UNMAP_EXTENTS, MAX_WRITE_SAME_BLOCKS, extent_of, refusal
from .effects import FillBlocks, JournalEntry, MapBlocks, ReadBlocks, Respond, WriteBlocks
from .events import BlocksMapped, BlocksRead, CommandReceived
from .unit import LogicalUnit


class Medium:
    """Questions to the medium that have no answer yet, and what to do with it."""

    __slots__ = ("_asked", "_next_token")

    def __init__(self) -> None:
        self._asked: dict[int, tuple[Session, LogicalUnit, CommandReceived]] = {}
        self._next_token = 0

    def write(
        self,
        now: Instant,
        session: Session,
        lun: LogicalUnit,
        event: CommandReceived,
        command: Write,
        key: int | None,
    ) -> Effects:
        data, lba = command.data, command.lba
        blocks, odd = divmod(len(data), BLOCK_BYTES)
        refused = sense.INVALID_FIELD if odd else refusal(lba, blocks, lun.blocks, session.max_blocks)
        if refused is not None:
            return refuse(now, session, event, key, refused)
        return (
            WriteBlocks(lun.id, lba, data, command.fua),
            JournalEntry(now, session.nexus, lun.id, "WRITE", Status.GOOD, None, key, lba, blocks),
            Respond(event.session, event.tag, GOOD),
        )

    def read(
        self,
        now: Instant,
        session: Session,
        lun: LogicalUnit,
        event: CommandReceived,
        command: Read | CompareAndWrite | OrWrite | Verify,
        key: int | None,
    ) -> Effects:
        """READ, or the first half of a command that looks before it writes or says."""
        lba, blocks = extent_of(command)
        limit, odd = session.max_blocks, False
        match command:
            case CompareAndWrite():
                limit = MAX_COMPARE_BLOCKS
                odd = len(command.data) != len(command.expected) or len(command.data) % BLOCK_BYTES != 0
            case OrWrite():
                odd = len(command.data) % BLOCK_BYTES != 0
            case Verify():
                odd = command.expected is not None and len(command.expected) != blocks * BLOCK_BYTES
            case Read():
                pass
        refused = sense.INVALID_FIELD if odd else refusal(lba, blocks, lun.blocks, limit)
        if refused is not None:
            return refuse(now, session, event, key, refused)
        return (ReadBlocks(self._asks(session, lun, event), lun.id, lba, blocks),)

    def fill(
        self,
        now: Instant,
        session: Session,
        lun: LogicalUnit,
        event: CommandReceived,
        command: WriteSame | Unmap,
        key: int | None,
    ) -> Effects:
        """WRITE SAME and UNMAP."""
        if isinstance(command, Unmap):
            extents, block, most = command.extents, None, lun.blocks
            odd = len(extents) > MAX_UNMAP_EXTENTS or not lun.thin
        else:
            unmap = command.unmap and lun.thin
            blocks = command.blocks or max(0, lun.blocks - command.lba)  # none: up to the end
            extents, block, most = (
                ((command.lba, blocks),),
                None if unmap else command.block,
                MAX_WRITE_SAME_BLOCKS,
            )
            odd = len(command.block) != BLOCK_BYTES or (command.unmap and not lun.thin)
        refused = sense.INVALID_FIELD if odd else None
        for lba, blocks in extents:
            refused = refused or refusal(lba, blocks, lun.blocks, most)
        if refused is not None:
            return refuse(now, session, event, key, refused)
        return (
            *(FillBlocks(lun.id, lba, blocks, block) for lba, blocks in extents if blocks),
            *(extent(now, session, event, key, lba, blocks) for lba, blocks in extents),
            Respond(event.session, event.tag, GOOD),
        )

    def status(
        self, now: Instant, session: Session, lun: LogicalUnit, event: CommandReceived, key: int | None
    ) -> Effects:
        """GET LBA STATUS."""
        assert isinstance(event.command, GetLbaStatus), "dispatched by its type"
        if event.command.lba >= lun.blocks:
            return refuse(now, session, event, key, sense.OUT_OF_RANGE)
        return (MapBlocks(self._asks(session, lun, event), lun.id, event.command.lba),)

    def was_mapped(self, answer: BlocksMapped) -> Effects:
        _, lun, event = self._asked.pop(answer.token)
        mapped = answer.mapped or not lun.thin
        blocks = (
            answer.blocks if lun.thin or not isinstance(event.command, GetLbaStatus) else lun.blocks - event.command.lba
        )
        return (Respond(event.session, event.tag, Result(Status.GOOD, None, Mapping(blocks, mapped))),)

    def was_read(self, now: Instant, answer: BlocksRead) -> Effects:
        session, lun, event = self._asked.pop(answer.token)
        command = event.command
        if type(command) is Read and answer.data is not None:
            return (Respond(event.session, event.tag, Result(Status.GOOD, None, answer.data)),)
        key = lun.reservations.key_of(session.nexus)
        if answer.data is None:
            return refuse(now, session, event, key, sense.UNREADABLE)
        match command:
            case Verify():
                if command.expected is not None and answer.data != command.expected:
                    return refuse(now, session, event, key, sense.MISCOMPARE)
                return good(event, GOOD)
            case OrWrite():
                new, durable = _either(answer.data, command.data), command.fua
            case CompareAndWrite():
                new, durable = command.data, True
                if answer.data != command.expected:
                    return refuse(now, session, event, key, sense.MISCOMPARE)
            case _:
                raise AssertionError(f"{command} reads nothing")
        return (
            WriteBlocks(lun.id, command.lba, new, durable),
            journal(now, session, event, key, GOOD),
            Respond(event.session, event.tag, GOOD),
        )

    def _asks(self, session: Session, lun: LogicalUnit, event: CommandReceived) -> int:
        """A token for a question to the medium."""
        token = self._next_token
        self._next_token = token + 1
        self._asked[token] = (session, lun, event)
        return token


def _either(old: bytes, new: bytes) -> bytes:
    """Bit by bit, one or the other."""
    return (int.from_bytes(old, "little") | int.from_bytes(new, "little")).to_bytes(len(old), "little")
