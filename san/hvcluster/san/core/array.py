"""The SAN array: logical units, who is logged in, and what every command does.

Law: `Array.handle` is the one door. It takes an instant and an event and returns effects in the order in
which they must be performed. It never raises for anything an initiator or an administrator can send; an
AssertionError is a bug of ours or of the driver.

Each command is executed whole before the next is looked at, so every command is atomic, COMPARE AND WRITE
included (its one read is answered before any other event).
"""

from __future__ import annotations

from typing import assert_never

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    MAX_COMPARE_BLOCKS,
    MAX_INITIATOR_NAME,
    MAX_TRANSFER_BLOCKS,
    Capacity,
    Command,
    CompareAndWrite,
    Nexus,
    PersistentReserveIn,
    PersistentReserveOut,
    Read,
    ReadCapacity,
    Result,
    Sense,
    Status,
    SynchronizeCache,
    TestUnitReady,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, MAX_LUNS, Instant, LunId

from . import sense
from .attentions import Attentions, Queues, take
from .commands import (
    MAX_INITIATORS,
    MAX_LUN_BLOCKS,
    extent_of,
    name_of,
    refusal,
)
from .conflicts import access_of
from .effects import (
    AdminAnswer,
    AdminError,
    AllocateBlocks,
    ArrayImage,
    DiscardBlocks,
    Effect,
    EndSession,
    FlushBlocks,
    JournalEntry,
    LoginAnswer,
    LoginError,
    LunImage,
    ReadBlocks,
    Respond,
    SaveImage,
    WriteBlocks,
)
from .events import (
    AdminEvent,
    BlocksRead,
    CommandReceived,
    CreateLun,
    DeleteLun,
    Event,
    Login,
    Logout,
    Mask,
    ResizeLun,
    Unmask,
)
from .reservations import Reservations

Effects = tuple[Effect, ...]


class _Lun:
    """One logical unit as the core keeps it."""

    __slots__ = ("blocks", "id", "initiators", "reservations")

    def __init__(self, image: LunImage) -> None:
        self.id = image.lun
        self.blocks = image.blocks
        self.initiators = set(image.initiators)
        self.reservations = Reservations(image)

    def save(self) -> SaveImage:
        generation, registrations, holder, type = self.reservations.parts()
        initiators = tuple(sorted(self.initiators))
        return SaveImage(
            self.id,
            LunImage(self.id, self.blocks, initiators, generation, registrations, holder, type),
        )


class _Session:
    """One login that is in force."""

    __slots__ = ("attentions", "nexus", "number")

    def __init__(self, nexus: Nexus, number: int, attentions: Queues) -> None:
        self.nexus = nexus
        self.number = number
        self.attentions = attentions


class Array:
    """The whole array.

    Rebuilt from its saved image after a power loss; sessions and unit attentions start anew.
    """

    __slots__ = ("_attentions", "_by_nexus", "_luns", "_next_token", "_reads", "_sessions")

    def __init__(self, image: ArrayImage) -> None:
        self._luns: dict[LunId, _Lun] = {lun.lun: _Lun(lun) for lun in image.luns}
        self._sessions: dict[int, _Session] = {}
        self._by_nexus: dict[Nexus, _Session] = {}
        self._attentions = Attentions()
        self._reads: dict[int, tuple[_Session, _Lun, CommandReceived]] = {}
        self._next_token = 0

    def handle(self, now: Instant, event: Event) -> Effects:
        """Everything the event leads to, in the order in which it must be done."""
        if type(event) is CommandReceived:
            return self._command(now, event)
        match event:
            case BlocksRead():
                return self._blocks_read(now, event)
            case Login():
                return self._login(event)
            case Logout():
                return self._logout(event)
            case CreateLun() | ResizeLun() | DeleteLun() | Mask() | Unmask():
                return self._administer(event)
            case CommandReceived():  # pragma: no cover - taken above, named for the type checker
                return self._command(now, event)
            case _:
                assert_never(event)

    # -- sessions ----------------------------------------------------------------------------------

    def _login(self, event: Login) -> Effects:
        assert event.session not in self._sessions, "a driver gives each login a number of its own"
        queues = self._attentions.login(event.nexus, self._luns)
        if queues is None:
            return (LoginAnswer(event.session, LoginError.TOO_MANY_NEXUSES),)
        older = self._by_nexus.get(event.nexus)
        session = _Session(event.nexus, event.session, queues)
        self._sessions[event.session] = self._by_nexus[event.nexus] = session
        if older is None:
            return (LoginAnswer(event.session),)
        del self._sessions[older.number]
        return EndSession(older.number), LoginAnswer(event.session)

    def _logout(self, event: Logout) -> Effects:
        session = self._sessions.pop(event.session, None)
        if session is not None:
            del self._by_nexus[session.nexus]
        return ()

    # -- commands ----------------------------------------------------------------------------------

    def _command(self, now: Instant, event: CommandReceived) -> Effects:
        """Decide whether a command may run at all, in the order of SAM-4 5.3.3, then run it.

        First whether the unit is there, then unit attentions of the reset family, then RESERVATION CONFLICT,
        then every other unit attention.
        """
        session = self._sessions.get(event.session)
        if session is None:
            return ()
        nexus, lun, command = session.nexus, self._luns.get(event.lun), event.command
        if lun is None or nexus.initiator not in lun.initiators:
            return self._refuse(now, session, event, None, sense.NOT_SUPPORTED)
        key = lun.reservations.key_of(nexus)
        waiting = session.attentions.get(lun.id)
        if waiting and waiting[0].asc == sense.RESET_FAMILY:
            return self._report_attention(now, session, event, key)
        if not lun.reservations.permits(access_of(command), nexus, key):
            return self._refuse(now, session, event, key, CONFLICT)
        if waiting:
            return self._report_attention(now, session, event, key)
        return self._execute(now, session, lun, event, key)

    def _execute(self, now: Instant, session: _Session, lun: _Lun, event: CommandReceived, key: int | None) -> Effects:
        command = event.command
        match command:
            case Write():
                return self._write(now, session, lun, event, command, key)
            case Read() | CompareAndWrite():
                return self._read(now, session, lun, event, command, key)
            case TestUnitReady():
                result = GOOD
            case ReadCapacity():
                result = Result(Status.GOOD, None, Capacity(lun.blocks))
            case PersistentReserveIn():
                result = Result(Status.GOOD, None, lun.reservations.read(command.action))
            case SynchronizeCache():
                return FlushBlocks(lun.id), Respond(event.session, event.tag, GOOD)
            case PersistentReserveOut():
                return self._reserve_out(now, session, lun, event, command, key)
            case _:
                assert_never(command)
        return (Respond(event.session, event.tag, result),)

    def _write(
        self,
        now: Instant,
        session: _Session,
        lun: _Lun,
        event: CommandReceived,
        command: Write,
        key: int | None,
    ) -> Effects:
        data, lba = command.data, command.lba
        blocks, odd = divmod(len(data), BLOCK_BYTES)
        refused = sense.INVALID_FIELD if odd else refusal(lba, blocks, lun.blocks)
        if refused is not None:
            return self._refuse(now, session, event, key, refused)
        return (
            WriteBlocks(lun.id, lba, data, command.fua),
            JournalEntry(now, session.nexus, lun.id, "WRITE", Status.GOOD, None, key, lba, blocks),
            Respond(event.session, event.tag, GOOD),
        )

    def _read(
        self,
        now: Instant,
        session: _Session,
        lun: _Lun,
        event: CommandReceived,
        command: Read | CompareAndWrite,
        key: int | None,
    ) -> Effects:
        """READ, or the first half of COMPARE AND WRITE."""
        lba, blocks = extent_of(command)
        limit, odd = MAX_TRANSFER_BLOCKS, False
        if isinstance(command, CompareAndWrite):
            limit = MAX_COMPARE_BLOCKS
            odd = len(command.data) != len(command.expected) or len(command.data) % BLOCK_BYTES != 0
        refused = sense.INVALID_FIELD if odd else refusal(lba, blocks, lun.blocks, limit)
        if refused is not None:
            return self._refuse(now, session, event, key, refused)
        token = self._next_token
        self._next_token = token + 1
        self._reads[token] = (session, lun, event)
        return (ReadBlocks(token, lun.id, lba, blocks),)

    def _blocks_read(self, now: Instant, answer: BlocksRead) -> Effects:
        session, lun, event = self._reads.pop(answer.token)
        command = event.command
        key = lun.reservations.key_of(session.nexus)
        if answer.data is None:
            return self._refuse(now, session, event, key, sense.UNREADABLE)
        if isinstance(command, Read):
            return (Respond(event.session, event.tag, Result(Status.GOOD, None, answer.data)),)
        assert isinstance(command, CompareAndWrite)
        if answer.data != command.expected:
            return self._refuse(now, session, event, key, sense.MISCOMPARE)
        return (
            WriteBlocks(lun.id, command.lba, command.data, True),
            _journal(now, session, event, key, GOOD),
            Respond(event.session, event.tag, GOOD),
        )

    def _reserve_out(
        self,
        now: Instant,
        session: _Session,
        lun: _Lun,
        event: CommandReceived,
        command: PersistentReserveOut,
        key: int | None,
    ) -> Effects:
        outcome = lun.reservations.out(session.nexus, command, lun.initiators)
        for nexus, what in outcome.attentions:
            self._attentions.add(nexus, lun.id, what)
        entry = _journal(now, session, event, key, outcome.result)
        answer = Respond(event.session, event.tag, outcome.result)
        if not outcome.changed:
            return entry, answer
        return lun.save(), entry, answer

    def _report_attention(self, now: Instant, session: _Session, event: CommandReceived, key: int | None) -> Effects:
        what: Sense = take(session.attentions, event.lun)
        return self._refuse(now, session, event, key, sense.attention(what))

    def _refuse(
        self, now: Instant, session: _Session, event: CommandReceived, key: int | None, result: Result
    ) -> Effects:
        return _journal(now, session, event, key, result), Respond(event.session, event.tag, result)

    # -- administration ----------------------------------------------------------------------------

    def _administer(self, event: AdminEvent) -> Effects:
        lun = self._luns.get(event.lun)
        if isinstance(event, CreateLun):
            return self._create(event)
        if lun is None:
            return (AdminAnswer(event.request, AdminError.NO_SUCH_LUN),)
        match event:
            case ResizeLun():
                return self._resize(event, lun)
            case DeleteLun():
                return self._delete(event, lun)
            case Mask():
                lun.initiators.discard(event.initiator)
            case Unmask():
                if not 0 < len(event.initiator) <= MAX_INITIATOR_NAME:
                    return (AdminAnswer(event.request, AdminError.BAD_INITIATOR),)
                if event.initiator not in lun.initiators and len(lun.initiators) >= MAX_INITIATORS:
                    return (AdminAnswer(event.request, AdminError.TOO_MANY_INITIATORS),)
                lun.initiators.add(event.initiator)
            case _:
                assert_never(event)
        return lun.save(), AdminAnswer(event.request)

    def _create(self, event: CreateLun) -> Effects:
        error = None
        if not 0 <= event.lun < MAX_LUNS:
            error = AdminError.BAD_LUN
        elif event.lun in self._luns:
            error = AdminError.LUN_EXISTS
        elif not 0 < event.blocks <= MAX_LUN_BLOCKS:
            error = AdminError.BAD_SIZE
        if error is not None:
            return (AdminAnswer(event.request, error),)
        lun = self._luns[event.lun] = _Lun(LunImage(event.lun, event.blocks))
        return AllocateBlocks(lun.id, lun.blocks, True), lun.save(), AdminAnswer(event.request)

    def _resize(self, event: ResizeLun, lun: _Lun) -> Effects:
        if not 0 < event.blocks <= MAX_LUN_BLOCKS:
            return (AdminAnswer(event.request, AdminError.BAD_SIZE),)
        if event.blocks < lun.blocks:
            return (AdminAnswer(event.request, AdminError.SHRINK),)
        if event.blocks == lun.blocks:
            return (AdminAnswer(event.request),)
        lun.blocks = event.blocks
        self._attentions.add_for_all(lun.id, sense.CAPACITY_CHANGED)
        return AllocateBlocks(lun.id, lun.blocks, False), lun.save(), AdminAnswer(event.request)

    def _delete(self, event: DeleteLun, lun: _Lun) -> Effects:
        if lun.reservations.parts()[1] and not event.force:
            return (AdminAnswer(event.request, AdminError.REGISTERED),)
        del self._luns[lun.id]
        self._attentions.forget(lun.id)
        return SaveImage(lun.id, None), DiscardBlocks(lun.id), AdminAnswer(event.request)


def _journal(now: Instant, session: _Session, event: CommandReceived, key: int | None, result: Result) -> JournalEntry:
    command: Command = event.command
    lba, blocks = extent_of(command)
    name, status, why = name_of(command), result.status, result.sense
    if isinstance(command, PersistentReserveOut):
        claimed, service, type = command.key, command.service_key, command.type
        return JournalEntry(now, session.nexus, event.lun, name, status, why, key, 0, 0, claimed, service, type)
    return JournalEntry(now, session.nexus, event.lun, name, status, why, key, lba, blocks)
