"""The array's gRPC face: paths for initiators, administration, and faults where chaos is allowed.

Law: translates between the wire and the target. Whatever a stranger sends is refused with a sentence, counted, and
logged once for each sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
import grpc.aio

from hvcluster.model.scsi import Nexus, Registration
from hvcluster.model.vocabulary import LunId
from hvcluster.runtime import scsi_wire
from hvcluster.runtime.logs import OncePerSender
from hvcluster.v1 import san_pb2, san_pb2_grpc

from .core.conflicts import ALL_REGISTRANTS
from .core.effects import AdminError, LunImage
from .core.events import AdminEvent, CreateLun, DeleteLun, Mask, ResizeLun, Unmask
from .faults import MAX_DELAY_MS, MAX_FAULTS, Fault
from .journal import Journal
from .media import Media
from .target import Session, Target

Context = grpc.aio.ServicerContext[Any, Any]

SERVICES: Final = ("hvcluster.v1.San", "hvcluster.v1.SanAdmin")
CHAOS_SERVICES: Final = ("hvcluster.v1.SanChaos",)
JOURNAL_CHUNK_ROWS: Final = 512  # about 64 KiB in one message, and under 2 ms of the loop's time


class Paths(san_pb2_grpc.SanServicer):
    """One stream, one I_T nexus."""

    def __init__(self, target: Target, name: str, ignored: OncePerSender) -> None:
        self._target = target
        self._name = name
        self._ignored = ignored

    async def Path(
        self, request_iterator: AsyncIterator[san_pb2.PathRequest], context: Context
    ) -> AsyncIterator[san_pb2.PathResponse]:
        """Log in, then serve until either side ends; a reinstated session ends with ABORTED."""
        first = await anext(request_iterator, None)
        if first is None:
            return
        nexus, refusal = self._check(first)
        if nexus is None:
            self._ignored.report("login", context.peer(), refusal)
            yield _login_answer(refusal)
            return
        fault = self._target.faults.on(nexus)
        if fault is not None and fault.drop_requests:
            await asyncio.Event().wait()  # the login never arrived: only the initiator ends this
        session = self._target.open(nexus, context.peer())
        try:
            error = await session.accepted
            fault = self._target.faults.on(nexus)
            if fault is not None and fault.drop_answers:
                await asyncio.Event().wait()
            yield _login_answer("" if error is None else error.value)
            if error is None:
                async for response in self._serve(session, request_iterator):
                    yield response
        finally:
            ended = session.ended
            self._target.close(session)
        if ended is not None:
            await context.abort(grpc.StatusCode.ABORTED, ended)

    async def _serve(
        self, session: Session, requests: AsyncIterator[san_pb2.PathRequest]
    ) -> AsyncIterator[san_pb2.PathResponse]:
        reader = asyncio.create_task(self._read(session, requests), name=f"path reader {session.number}")
        try:
            while (batch := await session.next_batch()) is not None:
                yield san_pb2.PathResponse(results=batch)
        finally:
            reader.cancel()
            await asyncio.wait((reader,))

    async def _read(self, session: Session, requests: AsyncIterator[san_pb2.PathRequest]) -> None:
        try:
            async for request in requests:
                if request.HasField("login"):
                    self._ignored.report("second login on one stream", session.peer)
                    break
                self._target.receive(session, request.commands)
                await session.room()
        finally:
            session.end("the initiator left")

    def _check(self, request: san_pb2.PathRequest) -> tuple[Nexus | None, str]:
        """The nexus that logs in, or None and why it may not."""
        login = request.login
        if not request.HasField("login") or request.commands:
            return None, "the first message of a stream carries a login, and only that"
        if login.protocol_version != scsi_wire.PROTOCOL_VERSION:
            asked, known = login.protocol_version, scsi_wire.PROTOCOL_VERSION
            return None, f"protocol version {asked} is asked for, this array speaks {known}"
        if login.target != self._name:
            return None, f"this is the array {self._name}, not {login.target[:80]}"
        nexus = scsi_wire.nexus_from_wire(login.initiator, login.port)
        if nexus is None:
            return None, "initiator names have 1 to 223 printable characters, port names 1 to 32"
        fault = self._target.faults.on(nexus)
        if fault is not None and fault.refuse:
            return None, "the array refuses this initiator"
        return nexus, ""


def _login_answer(refusal: str) -> san_pb2.PathResponse:
    return san_pb2.PathResponse(login=san_pb2.PathLoginAnswer(accepted=not refusal, reason=refusal))


class Admin(san_pb2_grpc.SanAdminServicer):
    """What an administrator asks of the array."""

    def __init__(self, target: Target, media: Media, journal: Journal) -> None:
        self._target = target
        self._media = media
        self._journal = journal

    async def ListLuns(self, request: san_pb2.LunListRequest, context: Context) -> san_pb2.LunList:
        """Every LUN, sorted by number, as last saved."""
        return san_pb2.LunList(luns=[_lun_row(image) for image in self._media.image().luns])

    async def CreateLun(self, request: san_pb2.LunSizeRequest, context: Context) -> san_pb2.LunReply:
        """A new LUN, hidden from all."""
        return await self._ask(lambda number: CreateLun(number, LunId(request.lun), request.blocks))

    async def ResizeLun(self, request: san_pb2.LunSizeRequest, context: Context) -> san_pb2.LunReply:
        """More blocks for a LUN."""
        return await self._ask(lambda number: ResizeLun(number, LunId(request.lun), request.blocks))

    async def DeleteLun(self, request: san_pb2.LunDeleteRequest, context: Context) -> san_pb2.LunReply:
        """No LUN and no blocks any more."""
        return await self._ask(lambda number: DeleteLun(number, LunId(request.lun), request.force))

    async def MaskLun(self, request: san_pb2.LunMaskRequest, context: Context) -> san_pb2.LunReply:
        """Hide a LUN."""
        return await self._ask(lambda number: Mask(number, LunId(request.lun), request.initiator))

    async def UnmaskLun(self, request: san_pb2.LunMaskRequest, context: Context) -> san_pb2.LunReply:
        """Show a LUN."""
        return await self._ask(lambda number: Unmask(number, LunId(request.lun), request.initiator))

    async def ListSessions(self, request: san_pb2.SanSessionsRequest, context: Context) -> san_pb2.SanSessions:
        """Who is logged in."""
        rows = [
            san_pb2.SanSessionRow(
                session=session.number,
                nexus=scsi_wire.nexus_to_wire(session.nexus),
                peer=session.peer,
                since_us=session.since_us,
                commands=session.commands,
            )
            for session in self._target.sessions()
        ]
        return san_pb2.SanSessions(sessions=rows)

    async def Counters(self, request: san_pb2.SanCountersRequest, context: Context) -> san_pb2.SanCounters:
        """Counts since the array started."""
        media = {"image_commits": self._media.commits, "block_syncs": self._media.syncs}
        return san_pb2.SanCounters(counters={**self._target.counts, **media})

    async def ReadJournal(
        self, request: san_pb2.SanJournalRequest, context: Context
    ) -> AsyncIterator[san_pb2.SanJournalChunk]:
        """The journal in chunks of at most `JOURNAL_CHUNK_ROWS`."""
        sequence = max(1, request.from_sequence)
        while True:
            rows = self._journal.read(sequence, JOURNAL_CHUNK_ROWS)
            if rows:
                sequence = rows[-1].sequence + 1
                yield san_pb2.SanJournalChunk(rows=rows)
            elif request.follow:
                await self._journal.appended()
            else:
                return

    async def _ask(self, make: Callable[[int], AdminEvent]) -> san_pb2.LunReply:
        error: AdminError | None = await self._target.administer(make)
        if error is None:
            return san_pb2.LunReply(ok=True)
        return san_pb2.LunReply(code=error.name, text=error.value)


def _lun_row(image: LunImage) -> san_pb2.LunRow:
    everyone = image.type in ALL_REGISTRANTS
    registrations = []
    for nexus, key in image.registrations:
        holder = everyone or nexus == image.holder
        row = Registration(nexus, key, holder, image.type if holder else None)
        registrations.append(scsi_wire.registration_to_wire(row))
    return san_pb2.LunRow(
        lun=image.lun,
        blocks=image.blocks,
        initiators=image.initiators,
        pr_generation=image.pr_generation,
        registrations=registrations,
        type=image.type or 0,
    )


class Chaos(san_pb2_grpc.SanChaosServicer):
    """Faults on purpose; registered only where chaos is allowed."""

    def __init__(self, target: Target) -> None:
        self._target = target

    async def SetFault(self, request: san_pb2.SanFault, context: Context) -> san_pb2.SanFaults:
        """Put one fault in force."""
        if request.delay_ms > MAX_DELAY_MS:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"a delay is at most {MAX_DELAY_MS} ms")
        fault = Fault(request.delay_ms, request.drop_requests, request.drop_answers, request.refuse)
        if not self._target.put_fault(request.initiator, request.port, fault):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"at most {MAX_FAULTS} faults at once")
        return self._listed()

    async def ClearFaults(self, request: san_pb2.SanFaultsRequest, context: Context) -> san_pb2.SanFaults:
        """Heal one, or all."""
        self._target.faults.clear(request.initiator, request.port)
        return self._listed()

    async def ListFaults(self, request: san_pb2.SanFaultsRequest, context: Context) -> san_pb2.SanFaults:
        """What is in force."""
        return self._listed()

    def _listed(self) -> san_pb2.SanFaults:
        rows = [
            san_pb2.SanFault(
                initiator=initiator,
                port=port,
                delay_ms=fault.delay_ms,
                drop_requests=fault.drop_requests,
                drop_answers=fault.drop_answers,
                refuse=fault.refuse,
            )
            for initiator, port, fault in self._target.faults.listed()
        ]
        return san_pb2.SanFaults(faults=rows)
