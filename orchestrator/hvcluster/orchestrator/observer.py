"""Asking every process of a lab what it sees, and waiting until it sees something.

Law: reads only. Each question has a deadline, silence is an answer, and nothing asked here changes a cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final

import grpc.aio

from hvcluster.model.vocabulary import NodeId
from hvcluster.runtime import channels
from hvcluster.v1 import node_pb2, node_pb2_grpc, san_pb2, san_pb2_grpc

from .driver import Address, Driver
from .errors import Exit, Failure
from .picture import Picture
from .state import Life

ASK_S: Final = 1.0
"""A healthy process answers in milliseconds; a frozen one must not hold up the picture for long."""
LOOK_S: Final = 0.05
"""Between two looks while waiting."""
REQUEST_S: Final = 60.0
"""A planned move waits for a boot; the product's own pending timeout is 180 s, more than a person waits."""
RESTARTED: Final = "restarted"
"""The code of a node whose cluster service started again before it could answer."""
READ_S: Final = 10.0
MAX_FACTS: Final = 200_000
"""Per node: a long campaign's worth; beyond it the rest is left out rather than the memory used up."""


@dataclass(frozen=True, slots=True)
class Told:
    """A fact and the node that recorded it."""

    node: NodeId
    line: node_pb2.FactLine


class Observer:
    """Channels to the processes of one lab; use it as an async context manager."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._channels: dict[Address, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Observer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    def _channel(self, address: Address) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = channels.channel(address.host, address.port)
        return self._channels[address]

    def node_stub(self, address: Address) -> node_pb2_grpc.NodeAdminAsyncStub:
        """The admin service of a node."""
        return node_pb2_grpc.NodeAdminStub(self._channel(address))

    def san_stub(self, address: Address) -> san_pb2_grpc.SanAdminAsyncStub:
        """The admin service of the array."""
        return san_pb2_grpc.SanAdminStub(self._channel(address))

    async def look(self) -> Picture:
        """One look at everything."""
        members = await self.driver.members()
        addresses = await self.driver.addresses()
        running = {m.node for m in members if m.life is Life.RUNNING and m.node}
        asked = sorted(node for node in addresses.nodes if node in running)
        answers, luns = await asyncio.gather(
            asyncio.gather(*(self._status(addresses.nodes[node]) for node in asked)), self._luns(addresses.san)
        )
        replies = {node: reply for node, reply in zip(asked, answers, strict=True) if reply is not None}
        ours = {node: r for node, r in replies.items() if r.cluster_id == self.driver.definition.id and r.node == node}
        return Picture(self.driver.definition, members, ours, luns)

    async def _status(self, address: Address) -> node_pb2.StatusReply | None:
        return (await channels.unary(self.node_stub(address).Status, node_pb2.StatusRequest(), ASK_S)).reply

    async def _luns(self, address: Address | None) -> tuple[san_pb2.LunRow, ...] | None:
        if address is None:
            return None
        reply = (await channels.unary(self.san_stub(address).ListLuns, san_pb2.LunListRequest(), ASK_S)).reply
        return None if reply is None else tuple(reply.luns)

    async def until(
        self,
        wanted: Callable[[Picture], bool],
        what: str,
        deadline_s: float,
        shown: Callable[[Picture], None] | None = None,
    ) -> Picture:
        """Look until `wanted` holds. Raises Failure TIMEOUT, saying what is missing."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while True:
            picture = await self.look()
            if shown is not None:
                shown(picture)
            if wanted(picture):
                return picture
            if loop.time() >= end:
                missing = "; ".join(picture.unhealthy()[:6]) or "nothing else is missing"
                raise Failure(
                    Exit.TIMEOUT, f"{what} was not reached within {deadline_s:g} s ({missing})", "see `hvc log`"
                )
            await asyncio.sleep(LOOK_S)

    async def until_healthy(self, deadline_s: float, shown: Callable[[Picture], None] | None = None) -> Picture:
        """Wait until every node is UP and every VM is Online."""
        return await self.until(lambda picture: not picture.unhealthy(), "a healthy lab", deadline_s, shown)

    async def until_online_after(self, vm: str, generation: int, deadline_s: float) -> Picture:
        """Wait until a newer generation of a VM is Online."""

        def moved(picture: Picture) -> bool:
            group = picture.group(vm)
            return picture.quorum and group is not None and group.generation > generation and group.state == "ONLINE"

        return await self.until(moved, f"VM {vm} online after generation {generation}", deadline_s)

    async def request(self, request: node_pb2.OperatorRequest, at: NodeId | None = None) -> node_pb2.OperatorReply:
        """Ask the cluster for a change, at a given node or at the one to believe. Raises Failure."""
        return _granted(await self._asked(request, await self._whom(at)))

    async def insist(self, request: node_pb2.OperatorRequest, at: NodeId | None = None) -> node_pb2.OperatorReply:
        """The same for a change that asked twice is asked once (pause, resume, stop).

        A node whose cluster service starts again forgets what it was asked; it is asked again when it is back. Raises
        Failure.
        """
        end = asyncio.get_running_loop().time() + REQUEST_S
        while True:
            whom = await self._whom(at)
            reply = await self._asked(request, whom)
            left = end - asyncio.get_running_loop().time()
            if reply.ok or reply.code != RESTARTED or left <= 0:
                return _granted(reply)

            def back(picture: Picture, whom: NodeId = whom) -> bool:
                answer = picture.answers.get(whom)
                return picture.quorum and answer is not None and answer.service == "UP"

            await self.until(back, "the node back in the cluster, to be asked again,", left)

    async def _whom(self, at: NodeId | None) -> NodeId:
        if at is not None:
            return at
        picture = await self.look()
        best = picture.best
        if best is None:
            raise Failure(Exit.UNREACHABLE, "no node answers", "start one with `hvc start NODE`")
        return NodeId(best.leader if best.quorum and NodeId(best.leader) in picture.answers else best.node)

    async def _asked(self, request: node_pb2.OperatorRequest, at: NodeId) -> node_pb2.OperatorReply:
        name = next((node.name for node in self.driver.definition.nodes if node.id == at), f"node {at}")
        address = (await self.driver.addresses()).nodes.get(at)
        if address is None:
            raise Failure(Exit.UNREACHABLE, f"{name} cannot be reached", "see `hvc status`")
        answer = await channels.unary(self.node_stub(address).Request, request, REQUEST_S)
        if answer.outcome is channels.Outcome.DEADLINE:
            raise Failure(
                Exit.TIMEOUT, "the cluster did not answer in time", "it may still be going on: see `hvc status`"
            )
        if answer.reply is None:
            raise Failure(Exit.UNREACHABLE, f"{name} does not answer: {answer.detail}", "see `hvc status`")
        return answer.reply

    async def facts(self, node: NodeId, address: Address, follow: bool = False, start: int = 0) -> AsyncIterator[Told]:
        """The recorded facts of one node, oldest first; ends quietly when the node cannot be asked."""
        request = node_pb2.FactsRequest(from_sequence=start, follow=follow)
        try:
            async for line in self.node_stub(address).Facts(request, timeout=None if follow else READ_S):
                yield Told(node, line)
        except grpc.aio.AioRpcError:
            return

    async def all_facts(self) -> list[Told]:
        """The facts of every node that answers, in the order of the machine's monotonic clock."""
        addresses = await self.driver.addresses()
        running = {m.node for m in await self.driver.members() if m.life is Life.RUNNING}

        async def of(node: NodeId, address: Address) -> list[Told]:
            told: list[Told] = []
            async for fact in self.facts(node, address):
                told.append(fact)
                if len(told) >= MAX_FACTS:
                    break
            return told

        lists = await asyncio.gather(*(of(node, there) for node, there in addresses.nodes.items() if node in running))
        return sorted(
            (fact for told in lists for fact in told), key=lambda f: (f.line.monotonic_us, f.node, f.line.sequence)
        )

    async def journal(self, start: int = 1) -> list[san_pb2.SanJournalRow]:
        """The array's own journal of commands that changed something or were refused. Raises Failure."""
        address = (await self.driver.addresses()).san
        if address is None:
            raise Failure(Exit.UNREACHABLE, "the array cannot be reached", "start it with `hvc san start`")
        rows: list[san_pb2.SanJournalRow] = []
        try:
            request = san_pb2.SanJournalRequest(from_sequence=start)
            async for chunk in self.san_stub(address).ReadJournal(request, timeout=READ_S):
                rows.extend(chunk.rows)
        except grpc.aio.AioRpcError as error:
            text = f"the array does not show its journal: {error.details()}"
            raise Failure(Exit.UNREACHABLE, text, "start it with `hvc san start`") from None
        return rows


def _granted(reply: node_pb2.OperatorReply) -> node_pb2.OperatorReply:
    if not reply.ok:
        raise Failure(_status_of(reply.code), reply.text or reply.code)
    return reply


def _status_of(code: str) -> Exit:
    if code.startswith("unknown-"):
        return Exit.NOT_FOUND
    return Exit.TIMEOUT if code in ("timeout", "timed-out") else Exit.REFUSED
