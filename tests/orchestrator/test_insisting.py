"""Asking a node again whose cluster service started again before it could answer, over real gRPC."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import grpc.aio

from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator.driver import Address, Addresses, Driver, Member
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.observer import RESTARTED, Observer
from hvcluster.orchestrator.state import Life, Role
from hvcluster.runtime import channels
from hvcluster.v1 import node_pb2, node_pb2_grpc

ME = NodeId(1)
PAUSE = node_pb2.OperatorRequest(set_node_paused=node_pb2.SetNodePausedRequest(node=1, paused=True))


class Node(node_pb2_grpc.NodeAdminServicer):
    """A node that answers with the codes it was given, one a question, and joins only at the second look."""

    def __init__(self, codes: list[str]) -> None:
        self.codes = codes
        self.asked = 0
        self.looks = 0
        self.joined = True

    async def Status(self, request: node_pb2.StatusRequest, context: object) -> node_pb2.StatusReply:
        self.looks += 1
        self.joined = self.joined or self.looks % 2 == 0
        service = "UP" if self.joined else "JOINING"
        return node_pb2.StatusReply(cluster_id="c", node=1, service=service, quorum=self.joined, leader=1)

    async def Request(self, request: node_pb2.OperatorRequest, context: object) -> node_pb2.OperatorReply:
        self.asked += 1
        code = self.codes.pop(0)
        self.joined = self.joined and code != RESTARTED
        return node_pb2.OperatorReply(ok=not code, code=code, text=code)


class Lone(SimpleNamespace):
    """What an observer asks of a driver, for one node at a port."""

    port: int

    async def members(self) -> tuple[Member, ...]:
        return (Member("HyperV-1", Role.NODE, Life.RUNNING, ME),)

    async def addresses(self) -> Addresses:
        return Addresses({ME: Address("127.0.0.1", self.port)})


async def _insisting(codes: list[str]) -> tuple[Node, node_pb2.OperatorReply | Failure]:
    node = Node(codes)  # type: ignore[abstract]  # the base answers the other two questions

    def register(server: grpc.aio.Server) -> None:
        node_pb2_grpc.add_NodeAdminServicer_to_server(node, server)

    served = await channels.serve(register, [], "127.0.0.1", 0)
    try:
        driver = Lone(
            port=served.port, definition=SimpleNamespace(id="c", nodes=(SimpleNamespace(id=1, name="HyperV-1"),))
        )
        async with Observer(cast("Driver", driver)) as observer:
            try:
                return node, await observer.insist(PAUSE)
            except Failure as failure:
                return node, failure
    finally:
        await served.stop(0)


async def test_a_node_that_started_again_is_asked_again_once_it_is_back() -> None:
    """A pause asked twice is a pause asked once; the question waits until the node is a member with quorum."""
    node, reply = await _insisting([RESTARTED, RESTARTED, ""])
    assert (node.asked, isinstance(reply, node_pb2.OperatorReply)) == (3, True)
    assert node.joined


async def test_a_refusal_is_an_answer_and_nobody_asks_twice() -> None:
    """Only the code of a service that started again is worth a second question."""
    node, failure = await _insisting(["no-such-node", ""])
    assert isinstance(failure, Failure)
    assert (node.asked, failure.text) == (1, "no-such-node")
    assert failure.status is not Exit.OK
