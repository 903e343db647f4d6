"""The SAN array: logical units, who is logged in, and what every command does.

Law: `Array.handle` is the one door. It takes an instant and an event and returns effects in the order in
which they must be performed. It never raises for anything an initiator or an administrator can send; an
AssertionError is a bug of ours or of the driver.

Each command is executed whole before the next is looked at, so every command is atomic, COMPARE AND WRITE
included (its one read is answered before any other event).
"""

from __future__ import annotations

from typing import Final, assert_never

from hvcluster.model.scsi import (
    CONFLICT,
    GOOD,
    Ask,
    Capacity,
    CompareAndWrite,
    GetLbaStatus,
    Nexus,
    OrWrite,
    PersistentReserveIn,
    PersistentReserveOut,
    Prefetch,
    PreventRemoval,
    Read,
    ReadCapacity,
    ReleaseUnit,
    ReserveUnit,
    Result,
    Sense,
    StartStop,
    Status,
    SynchronizeCache,
    TestUnitReady,
    Topic,
    Unmap,
    Verify,
    Write,
    WriteSame,
)
from hvcluster.model.vocabulary import Instant, LunId

from . import sense
from .administration import Administration
from .answers import Effects, Session, good, journal, refuse
from .attentions import Attentions, take
from .commands import (
    NEEDS_MEDIUM,
    refusal,
)
from .conflicts import access_of
from .effects import (
    ArrayImage,
    EndSession,
    FlushBlocks,
    LoginAnswer,
    LoginError,
    LunImage,
    Respond,
)
from .events import (
    BlocksMapped,
    BlocksRead,
    CommandReceived,
    CreateLun,
    DeleteLun,
    Event,
    Login,
    Logout,
    Mask,
    ResetUnit,
    ResizeLun,
    Unmask,
)
from .medium import Medium
from .standing import describe, operate, reserved_for_another
from .unit import LogicalUnit

_EVER: Final = frozenset({Topic.INQUIRY, Topic.REPORT_LUNS, Topic.REQUEST_SENSE})
"""What is answered whatever is reserved, pending or missing (SPC-4 5.6)."""


class Array:
    """The whole array.

    Rebuilt from its saved image after a power loss; sessions and unit attentions start anew.
    """

    __slots__ = ("_administration", "_attentions", "_by_nexus", "_luns", "_medium", "_removable", "_sessions", "_thick")

    def __init__(
        self,
        image: ArrayImage,
        *,
        thick: frozenset[LunId] = frozenset(),
        removable: frozenset[LunId] = frozenset(),
    ) -> None:
        """`thick`: LUNs that are fully provisioned; `removable`: those with a removable medium."""
        self._thick = thick
        self._removable = removable
        self._luns: dict[LunId, LogicalUnit] = {lun.lun: self._unit(lun) for lun in image.luns}
        self._sessions: dict[int, Session] = {}
        self._by_nexus: dict[Nexus, Session] = {}
        self._attentions = Attentions()
        self._medium = Medium()
        self._administration = Administration(self._luns, self._attentions, self._unit)

    def _unit(self, image: LunImage) -> LogicalUnit:
        return LogicalUnit(image, thin=image.lun not in self._thick, removable=image.lun in self._removable)

    def handle(self, now: Instant, event: Event) -> Effects:
        """Everything the event leads to, in the order in which it must be done."""
        if type(event) is CommandReceived:
            return self._command(now, event)
        match event:
            case BlocksRead():
                return self._medium.was_read(now, event)
            case BlocksMapped():
                return self._medium.was_mapped(event)
            case ResetUnit():
                return self._reset(event)
            case Login():
                return self._login(event)
            case Logout():
                return self._logout(event)
            case CreateLun() | ResizeLun() | DeleteLun() | Mask() | Unmask():
                return self._administration.handle(event)
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
        for lun in self._luns.values():
            lun.lose(event.nexus)
        session = Session(event.nexus, event.session, queues, event.max_blocks)
        self._sessions[event.session] = self._by_nexus[event.nexus] = session
        if older is None:
            return (LoginAnswer(event.session),)
        del self._sessions[older.number]
        return EndSession(older.number), LoginAnswer(event.session)

    def _logout(self, event: Logout) -> Effects:
        session = self._sessions.pop(event.session, None)
        if session is not None:
            del self._by_nexus[session.nexus]
            for lun in self._luns.values():
                lun.lose(session.nexus)
        return ()

    def _reset(self, event: ResetUnit) -> Effects:
        """LOGICAL UNIT RESET and the target's. Everybody hears of it; no command is ever half done."""
        session = self._sessions.get(event.session)
        if session is not None:
            for lun in self._luns.values():
                if event.lun in (None, lun.id) and lun.shows(session.nexus.initiator):
                    lun.reset()
                    for nexus in self._by_nexus:  # who is not here will hear of the loss of its nexus
                        self._attentions.add(nexus, lun.id, sense.UNIT_RESET)
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
        if type(command) is Ask and command.topic in _EVER:
            return good(event, describe(session, self._luns.values(), lun, command))
        if lun is None or not lun.shows(nexus.initiator):
            return refuse(now, session, event, None, sense.NOT_SUPPORTED)
        key = lun.reservations.key_of(nexus)
        waiting = session.attentions.get(lun.id)
        if lun.prevented_by and type(command) is StartStop and command.load:  # whatever else there is to tell
            return refuse(now, session, event, key, sense.REMOVAL_PREVENTED)
        if waiting and waiting[0].asc == sense.RESET_FAMILY:
            return self._report_attention(now, session, event, key)
        if not lun.reservations.permits(access_of(command), nexus, key) or reserved_for_another(lun, nexus, command):
            return refuse(now, session, event, key, CONFLICT)
        if waiting:
            return self._report_attention(now, session, event, key)
        return self._execute(now, session, lun, event, key)

    def _execute(
        self, now: Instant, session: Session, lun: LogicalUnit, event: CommandReceived, key: int | None
    ) -> Effects:
        command = event.command
        if lun.ejected and type(command) in NEEDS_MEDIUM:
            return refuse(now, session, event, key, sense.NO_MEDIUM)
        match command:
            case Write():
                return self._medium.write(now, session, lun, event, command, key)
            case Read() | CompareAndWrite() | OrWrite() | Verify():
                return self._medium.read(now, session, lun, event, command, key)
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
            case WriteSame() | Unmap():
                return self._medium.fill(now, session, lun, event, command, key)
            case GetLbaStatus():
                return self._medium.status(now, session, lun, event, key)
            case Prefetch():
                refused = refusal(command.lba, command.blocks, lun.blocks, lun.blocks)
                return refuse(now, session, event, key, refused) if refused else good(event, GOOD)
            case StartStop() | PreventRemoval() | ReserveUnit() | ReleaseUnit():
                result = operate(session, lun, command)
                return journal(now, session, event, key, result), Respond(event.session, event.tag, result)
            case Ask():
                return good(event, describe(session, self._luns.values(), lun, command))
            case _:
                assert_never(command)
        return (Respond(event.session, event.tag, result),)

    def _reserve_out(
        self,
        now: Instant,
        session: Session,
        lun: LogicalUnit,
        event: CommandReceived,
        command: PersistentReserveOut,
        key: int | None,
    ) -> Effects:
        outcome = lun.reservations.out(session.nexus, command, lun.initiators)
        for nexus, what in outcome.attentions:
            self._attentions.add(nexus, lun.id, what)
        entry = journal(now, session, event, key, outcome.result)
        answer = Respond(event.session, event.tag, outcome.result)
        if not outcome.changed:
            return entry, answer
        return lun.save(), entry, answer

    def _report_attention(self, now: Instant, session: Session, event: CommandReceived, key: int | None) -> Effects:
        what: Sense = take(session.attentions, event.lun)
        return refuse(now, session, event, key, sense.attention(what))
