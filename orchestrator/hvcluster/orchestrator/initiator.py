"""A SCSI initiator of the orchestrator's own, for looking at the array as a host would.

Law: one session, one command at a time, over the same protocol that nodes speak. It never uses a node's name, so that
no session of a node is ended by it.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

import grpc.aio

from hvcluster.model.scsi import UNKNOWN, Command, Result, SenseKey, Status
from hvcluster.model.vocabulary import LunId
from hvcluster.runtime import channels, scsi_wire
from hvcluster.v1 import san_pb2, san_pb2_grpc

from .driver import Address
from .errors import Exit, Failure

TARGET: Final = "iqn.2026-01.lab.hvcluster:array"
"""The array's name, as every process of a lab has it."""
ANSWER_S: Final = 5.0
ATTENTIONS: Final = 8
"""Unit attentions that are read away before a command; an array holds each condition once."""


class Session:
    """One path to the array. Use it as an async context manager. Raises Failure where the array takes no login."""

    def __init__(self, address: Address, initiator: str, port: str) -> None:
        self.initiator = initiator
        self.port = port
        self._channel = channels.channel(address.host, address.port)
        self._call: grpc.aio.StreamStreamCall[san_pb2.PathRequest, san_pb2.PathResponse] = san_pb2_grpc.SanStub(
            self._channel
        ).Path()
        self._tag = 0
        self._turn = asyncio.Lock()
        self._broken = False

    async def __aenter__(self) -> Session:
        login = san_pb2.PathLogin(
            protocol_version=scsi_wire.PROTOCOL_VERSION, target=TARGET, initiator=self.initiator, port=self.port
        )
        answer = await self._ask(san_pb2.PathRequest(login=login))
        if answer is None or not answer.login.accepted:
            await self._close()
            said = "it does not answer" if answer is None else answer.login.reason
            raise Failure(Exit.UNREACHABLE, f"the array takes no login of {self.initiator}: {said}", "see `hvc status`")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        self._call.cancel()
        await self._channel.close()

    async def do(self, lun: LunId, command: Command) -> Result:
        """The result of one command; unit attentions are read away before. Commands wait for each other.

        UNKNOWN: no answer came in time; then the session is over, and every later command is UNKNOWN as well.
        """
        result = UNKNOWN
        async with self._turn:
            for _ in range(ATTENTIONS):
                result = await self._once(lun, command)
                attention = result.sense is not None and result.sense.key is SenseKey.UNIT_ATTENTION
                if result.status is not Status.CHECK_CONDITION or not attention:
                    break
        return result

    async def _once(self, lun: LunId, command: Command) -> Result:
        if self._broken:
            return UNKNOWN
        self._tag += 1
        wire = scsi_wire.command_to_wire(self._tag, lun, command)
        answer = await self._ask(san_pb2.PathRequest(commands=[wire]))
        if answer is None or [result.tag for result in answer.results] != [self._tag]:
            self._broken = True
            return UNKNOWN
        return scsi_wire.result_from_wire(answer.results[0])

    async def _ask(self, request: san_pb2.PathRequest) -> san_pb2.PathResponse | None:
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._call.write(request)
                answer = await self._call.read()
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return None
        return answer if isinstance(answer, san_pb2.PathResponse) else None
