"""The array's driver: one inbox, one loop; performs the core's effects in their order.

Law: every event goes through the inbox, and the loop takes all that is there in one turn. What a turn ordered is made
durable once, at its end, and only then do its answers leave: a group commit that keeps `SaveImage` a barrier.
A medium that fails ends the process, for an array that goes on after a failed flush lies.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Final

from hvcluster.model.scsi import DeviceCommand, Nexus, Result, Status
from hvcluster.model.vocabulary import Instant, LunId
from hvcluster.runtime import scsi_wire
from hvcluster.v1 import san_pb2

from .core.array import Array
from .core.commands import MAX_OUTSTANDING_COMMANDS
from .core.effects import (
    AdminAnswer,
    AdminError,
    AllocateBlocks,
    DiscardBlocks,
    Effect,
    EndSession,
    FillBlocks,
    FlushBlocks,
    JournalEntry,
    LoginAnswer,
    LoginError,
    MapBlocks,
    ReadBlocks,
    Respond,
    SaveImage,
    WriteBlocks,
)
from .core.events import AdminEvent, BlocksMapped, BlocksRead, CommandReceived, Event, Login, Logout, ResetUnit
from .faults import Fault, Faults
from .journal import Journal
from .media import Media

MAX_EVENTS_PER_TURN: Final = 4_096  # a turn ends within tens of milliseconds even when flooded
MAX_OUTBOX_BYTES: Final = 8 * 1024 * 1024  # read data that waits for a slow reader of one session
_BUSY: Final = Result(Status.BUSY)


class Session:
    """One login as the transport sees it: what waits to be sent, and whether it still counts."""

    def __init__(self, number: int, nexus: Nexus, peer: str) -> None:
        self.number = number
        self.nexus = nexus
        self.peer = peer
        self.since_us = time.monotonic_ns() // 1_000
        self.commands = 0
        self.ended: str | None = None
        self.accepted: asyncio.Future[LoginError | None] = asyncio.get_running_loop().create_future()
        self._outstanding = 0
        self._outbox: deque[san_pb2.ScsiResult] = deque()
        self._outbox_bytes = 0
        self._filled = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    def take_command(self) -> bool:
        """Count a command in; False when too many are outstanding."""
        self.commands += 1
        self._outstanding += 1
        return self._outstanding <= MAX_OUTSTANDING_COMMANDS

    def drop_answer(self) -> None:
        """The answer to one command will never come."""
        self._outstanding -= 1

    def put(self, answer: san_pb2.ScsiResult) -> None:
        """Queue an answer; one for a session that has ended goes nowhere."""
        if self.ended is not None:
            return
        self._outbox.append(answer)
        self._outbox_bytes += len(answer.data)
        if self._outbox_bytes > MAX_OUTBOX_BYTES:
            self._drained.clear()
        self._filled.set()

    async def room(self) -> None:
        """Wait until the initiator has taken enough answers to be given more."""
        await self._drained.wait()

    async def next_batch(self) -> list[san_pb2.ScsiResult] | None:
        """Wait for answers and take as many as fit one message; None once the session has ended."""
        await self._filled.wait()
        if self.ended is not None:
            return None
        batch: list[san_pb2.ScsiResult] = []
        size = 0
        while self._outbox and len(batch) < scsi_wire.MAX_BATCH_COMMANDS and size <= scsi_wire.MAX_BATCH_BYTES:
            answer = self._outbox.popleft()
            size += len(answer.data)
            batch.append(answer)
        self._outstanding -= len(batch)
        self._outbox_bytes -= size
        if self._outbox_bytes <= MAX_OUTBOX_BYTES:
            self._drained.set()
        if not self._outbox:
            self._filled.clear()
        return batch

    def end(self, why: str) -> None:
        """From now on nothing is sent. The first reason stays."""
        if self.ended is None:
            self.ended = why
            self._outbox.clear()
            self._filled.set()
            self._drained.set()


class Target:
    """The array as a process runs it: core, media, journal and the sessions of all ports."""

    def __init__(
        self,
        media: Media,
        journal: Journal,
        *,
        thick: frozenset[LunId] = frozenset(),
        removable: frozenset[LunId] = frozenset(),
    ) -> None:
        """`thick`: LUNs that are fully provisioned; `removable`: those with a removable medium."""
        self._media = media
        self._journal = journal
        self._core = Array(media.image(), thick=thick, removable=removable)
        self._loop = asyncio.get_running_loop()
        self._inbox: deque[Event] = deque()
        self._scheduled = False
        self._departing: list[Callable[[], None]] = []
        self._sessions: dict[int, Session] = {}
        self._requests: dict[int, asyncio.Future[AdminError | None]] = {}
        self._numbers = 0
        self._ended: dict[int, Callable[[str], None]] = {}
        self._results: list[Result] = []
        self.faults = Faults()
        self.counts: Counter[str] = Counter()
        self.failed: asyncio.Future[None] = self._loop.create_future()

    # -- what initiators do ----------------------------------------------------------------------------------------

    def open(self, nexus: Nexus, peer: str) -> Session:
        """Begin a login; `session.accepted` tells how it went. Always `close` it in the end."""
        self._numbers += 1
        session = Session(self._numbers, nexus, peer)
        self._sessions[session.number] = session
        self.counts["logins"] += 1
        self._post(Login(nexus, session.number))
        return session

    def close(self, session: Session) -> None:
        """The transport of a session is gone."""
        session.end("closed")
        if self._sessions.pop(session.number, None) is not None:
            self._post(Logout(session.number))

    def receive(self, session: Session, commands: Iterable[san_pb2.ScsiCommand]) -> None:
        """Commands arrived on a session, in this order."""
        fault = self.faults.on(session.nexus)
        if fault is not None and fault.drop_requests:
            self.counts["batches_dropped"] += 1
            return
        for wire in commands:
            command = scsi_wire.command_from_wire(wire) if session.take_command() else _BUSY
            if isinstance(command, Result):
                self.counts["commands_malformed_or_busy"] += 1
                self._answer(session, wire.tag, command)
            else:
                self._post(CommandReceived(session.number, wire.tag, LunId(wire.lun), command))

    # -- at once ---------------------------------------------------------------------------------------------------

    def log_in(self, nexus: Nexus, max_blocks: int, ended: Callable[[str], None]) -> int | None:
        """Begin a session whose commands are executed at once; None when there are too many nexuses.

        `ended`: called when a newer login of the nexus takes its place.
        """
        self._numbers += 1
        number = self._numbers
        self.counts["logins"] += 1
        self._ended[number] = ended
        for effect in self._core.handle(self._now(), Login(nexus, number, max_blocks)):
            if isinstance(effect, LoginAnswer) and effect.error is not None:
                del self._ended[number]
                return None
            if isinstance(effect, EndSession):
                self._perform(self._now(), effect)
        return number

    def log_out(self, number: int) -> None:
        """A session of `log_in` is over."""
        if self._ended.pop(number, None) is not None:
            self._core.handle(self._now(), Logout(number))

    def execute(self, number: int, lun: LunId, command: DeviceCommand) -> Result:
        """Execute a command of a session of `log_in`. Nothing of it may leave the process before `settle`."""
        now = self._now()
        self._results.clear()
        for effect in self._core.handle(now, CommandReceived(number, 0, lun, command)):
            self._perform(now, effect)
        return self._results[0] if self._results else _BUSY

    def reset(self, number: int, lun: LunId | None) -> None:
        """A task management function of a session of `log_in`."""
        self._core.handle(self._now(), ResetUnit(number, lun))

    def settle(self) -> bool:
        """Make what was executed durable; False when the medium failed and nothing more may be answered."""
        if self.failed.done():
            return False
        try:
            self._media.commit()
            self._journal.flush()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more may be answered
            self.failed.set_exception(error)
            return False
        return True

    @staticmethod
    def _now() -> Instant:
        return Instant(time.monotonic_ns() // 1_000)

    # -- what administrators do ------------------------------------------------------------------------------------

    async def administer(self, make: Callable[[int], AdminEvent]) -> AdminError | None:
        """Carry out one request; `make` gives it its number. Returns why it was refused, or None."""
        self._numbers += 1
        answer: asyncio.Future[AdminError | None] = self._loop.create_future()
        self._requests[self._numbers] = answer
        self._post(make(self._numbers))
        return await answer

    def sessions(self) -> list[Session]:
        """Everyone who is logged in, or about to be, sorted by session number."""
        return [self._sessions[number] for number in sorted(self._sessions)]

    def end_sessions(self, why: str) -> None:
        """Close every transport; what has been answered is on its way."""
        for session in self.sessions():
            session.end(why)

    def put_fault(self, initiator: str, port: str, fault: Fault) -> bool:
        """Put a fault in force at once; False where there are too many."""
        put = self.faults.put(initiator, port, fault)
        for session in self.sessions():
            found = self.faults.on(session.nexus)
            if found is not None and found.refuse:
                session.end("the array refuses this initiator")
        return put

    # -- the loop --------------------------------------------------------------------------------------------------

    def _post(self, event: Event) -> None:
        self._inbox.append(event)
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Take what is in the inbox, make what it ordered durable, then let the answers go."""
        self._scheduled = False
        if self.failed.done():
            return
        try:
            now = Instant(time.monotonic_ns() // 1_000)
            for _ in range(min(len(self._inbox), MAX_EVENTS_PER_TURN)):
                for effect in self._core.handle(now, self._inbox.popleft()):
                    self._perform(now, effect)
            self._media.commit()
            self._journal.flush()
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing more may be answered
            self.failed.set_exception(error)
            return
        departing, self._departing = self._departing, []
        for depart in departing:
            depart()
        if self._inbox:
            self._schedule()

    def _perform(self, now: Instant, effect: Effect) -> None:
        match effect:
            case Respond():
                self._respond(effect)
            case JournalEntry():
                self.counts[f"{effect.command} {effect.status.name}"] += 1
                self._journal.add(effect)
            case WriteBlocks():
                self._media.write(effect.lun, effect.lba, effect.data, effect.durable)
            case ReadBlocks():
                data = self._media.read(effect.lun, effect.lba, effect.blocks)
                for following in self._core.handle(now, BlocksRead(effect.token, data)):
                    self._perform(now, following)
            case FillBlocks():
                self._media.fill(effect.lun, effect.lba, effect.blocks, effect.block)
            case MapBlocks():
                blocks, mapped = self._media.mapped(effect.lun, effect.lba)
                for following in self._core.handle(now, BlocksMapped(effect.token, blocks, mapped)):
                    self._perform(now, following)
            case FlushBlocks():
                self._media.flush(effect.lun)
            case SaveImage():
                self._media.save(effect.lun, effect.image)
            case AllocateBlocks():
                self._media.allocate(effect.lun, effect.blocks, effect.fresh)
            case DiscardBlocks():
                self._media.discard(effect.lun)
            case LoginAnswer():
                self._departing.append(lambda: self._answer_login(effect))
            case EndSession():
                self._reinstated(effect.session)
            case AdminAnswer():
                self._departing.append(lambda: self._answer_request(effect))

    def _reinstated(self, number: int) -> None:
        why = "a newer login of the same nexus took this session's place"
        session, ended = self._sessions.get(number), self._ended.pop(number, None)
        if session is not None or ended is not None:
            self.counts["sessions_reinstated"] += 1
        if session is not None:
            session.end(why)
        elif ended is not None:
            ended(why)

    def _respond(self, effect: Respond) -> None:
        session = self._sessions.get(effect.session)
        if session is not None:
            self._answer(session, effect.tag, effect.result)
        else:
            self._results.append(effect.result)

    def _answer(self, session: Session, tag: int, result: Result) -> None:
        """Let an answer leave at the end of this turn, or as a fault has it."""
        self.counts["answers"] += 1
        wire = scsi_wire.result_to_wire(tag, result)
        fault = self.faults.on(session.nexus)
        if fault is None:
            self._departing.append(lambda: session.put(wire))
        elif fault.drop_answers:
            self.counts["answers_dropped"] += 1
            session.drop_answer()
        else:
            delay_s = fault.delay_ms / 1_000
            self._departing.append(lambda: _later(self._loop, delay_s, session, wire))
        self._schedule()

    def _answer_login(self, effect: LoginAnswer) -> None:
        session = self._sessions.get(effect.session)
        if session is not None and not session.accepted.done():
            session.accepted.set_result(effect.error)

    def _answer_request(self, effect: AdminAnswer) -> None:
        answer = self._requests.pop(effect.request)
        if not answer.done():
            answer.set_result(effect.error)


def _later(loop: asyncio.AbstractEventLoop, delay_s: float, session: Session, wire: san_pb2.ScsiResult) -> None:
    loop.call_later(delay_s, session.put, wire)
