"""The migration network: memory of VMs on its way to peers, as streams of bounded chunks.

Law: moves bytes that mean nothing, and says whether all of them arrived. One stream is one question of the core; it
ends with its answer, with a deadline, or when the core cancels it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Final

import grpc
import grpc.aio

from hvcluster.model.vocabulary import NodeId
from hvcluster.runtime import channels
from hvcluster.v1 import consensus_pb2, consensus_pb2_grpc

from .core.effects import SendMemory
from .cuts import Cuts, Direction, Wire
from .wire import Membership, Rejected, check_origin

CHUNK_BYTES: Final = 512 * 1024
"""Small enough for heartbeats to get in between, large enough that the calls do not count."""
STALL_S: Final = 2.0
"""A peer that takes no chunk for so long is gone, or as good as gone."""
SLOWEST_BYTES_PER_S: Final = 4 << 20
"""A round on a slower network than this would not end before the VM has changed its memory again."""
SERVICE: Final = consensus_pb2.DESCRIPTOR.services_by_name["Memory"].full_name

_PAGES: Final = bytes(CHUNK_BYTES)


class _WireCut(Exception):
    """A laboratory has cut the wire that the stream goes over."""


class MemoryStreams:
    """All streams away from this node. `addresses`: where peers listen."""

    def __init__(self, addresses: Mapping[NodeId, tuple[str, int]], membership: Membership, cuts: Cuts) -> None:
        self._addresses = dict(addresses)
        self._membership = membership
        self._cuts = cuts
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def send(self, effect: SendMemory, answer: Callable[[bool, str], None]) -> None:
        """Begin a stream; `answer` is called exactly once, later."""
        task = asyncio.get_running_loop().create_task(self._send(effect, answer), name=f"memory of {effect.group}")
        self._tasks[effect.token] = task

        def over(_: asyncio.Task[None]) -> None:
            if self._tasks.get(effect.token) is task:
                del self._tasks[effect.token]

        task.add_done_callback(over)

    def cancel(self, token: int) -> None:
        """End a stream early."""
        task = self._tasks.get(token)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End all streams."""
        tasks = tuple(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, effect: SendMemory, answer: Callable[[bool, str], None]) -> None:
        try:
            answer(*await self._stream(effect))
        except asyncio.CancelledError:
            answer(False, "it was cancelled")
            raise

    async def _stream(self, effect: SendMemory) -> tuple[bool, str]:
        address = self._addresses.get(effect.to)
        if address is None:
            return False, f"no address of node {effect.to} is known"
        deadline_s = STALL_S + effect.size / SLOWEST_BYTES_PER_S
        wire = channels.channel(*address)
        try:
            stub = consensus_pb2_grpc.MemoryStub(wire)
            copied = await stub.Copy(self._chunks(effect), timeout=deadline_s)
        except grpc.aio.AioRpcError as error:
            return False, error.details() or error.code().name
        except _WireCut:
            return False, "the wire is cut"
        finally:
            await wire.close()
        return copied.bytes == effect.size, f"{copied.bytes} of {effect.size} bytes arrived"

    async def _chunks(self, effect: SendMemory) -> AsyncIterator[consensus_pb2.MemoryChunk]:
        left = effect.size
        chunk = consensus_pb2.MemoryChunk(
            cluster_id=self._membership.cluster_id,
            sender=self._membership.node,
            receiver=effect.to,
            group=effect.group,
        )
        while left > 0:
            if self._cuts.loses(Wire.PEER, str(effect.to), Direction.OUT):
                raise _WireCut
            size = min(left, CHUNK_BYTES)
            chunk.data = _PAGES if size == CHUNK_BYTES else _PAGES[:size]
            yield chunk
            left -= size
            chunk = consensus_pb2.MemoryChunk()


class MemoryServer(consensus_pb2_grpc.MemoryServicer):
    """Takes the memory of VMs that are on their way here."""

    def __init__(self, membership: Membership, cuts: Cuts) -> None:
        self._membership = membership
        self._cuts = cuts

    async def Copy(
        self,
        request_iterator: AsyncIterator[consensus_pb2.MemoryChunk],
        context: grpc.aio.ServicerContext[consensus_pb2.MemoryChunk, consensus_pb2.MemoryCopied],
    ) -> consensus_pb2.MemoryCopied:
        """One round of one VM."""
        taken, sender = 0, ""
        async for chunk in request_iterator:
            if not sender:
                problem = self._problem(chunk)
                if problem:
                    await context.abort(grpc.StatusCode.PERMISSION_DENIED, problem)
                sender = str(chunk.sender)
            if self._cuts.loses(Wire.PEER, sender, Direction.IN):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the wire is cut")
            taken += len(chunk.data)
        return consensus_pb2.MemoryCopied(bytes=taken)

    def _problem(self, chunk: consensus_pb2.MemoryChunk) -> str:
        try:
            check_origin(chunk.cluster_id, chunk.sender, self._membership)
        except Rejected as error:
            return str(error)
        if chunk.receiver != self._membership.node or chunk.sender == self._membership.node:
            return f"addressed to node {chunk.receiver}"
        return ""


def add_to_server(server: grpc.aio.Server, membership: Membership, cuts: Cuts) -> None:
    """Serve Memory."""
    consensus_pb2_grpc.add_MemoryServicer_to_server(MemoryServer(membership, cuts), server)
