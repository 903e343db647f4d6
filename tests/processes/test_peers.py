"""Direct wires between nodes on real sockets: order, loss, strangers, and the probe of a port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import grpc.aio

from hvcluster.model.vocabulary import Incarnation, NodeId, StoreId
from hvcluster.node import envelopes, peers
from hvcluster.node.core.events import ProbeOutcome
from hvcluster.node.core.messages import TimeoutNow
from hvcluster.node.cuts import PERFECT, Cuts, Direction, Quality, Wire
from hvcluster.node.envelopes import Delivery
from hvcluster.node.peers import Peers
from hvcluster.node.wire import Membership
from hvcluster.runtime import channels, logs, ports

NODES = frozenset(map(NodeId, (1, 2)))
DEADLINE_S = 20.0


class Node:
    """One node's end of the direct wires, with a server that can be stopped and started again."""

    def __init__(self, number: int, other_port: int) -> None:
        self.membership = Membership("lab-1", NodeId(number), NODES)
        other = NodeId(3 - number)
        self.cuts = Cuts({Wire.PEER: (str(other),)})
        self.ignored = logs.OncePerSender(logs.get())
        self.heard: list[Delivery] = []
        self.peers = Peers(
            {other: (ports.LOOPBACK, other_port)}, self.membership, self.cuts, self.ignored, logs.get(), 0.5
        )
        self.peers.identify(StoreId(7), Incarnation(8))

    def message(self, delivery: Delivery) -> None:
        self.heard.append(delivery)

    def terms(self) -> list[int]:
        return [d.message.term for d in self.heard if isinstance(d.message, TimeoutNow)]

    async def serve(self, port: int) -> channels.Served:
        def register(server: grpc.aio.Server) -> None:
            peers.add_to_server(server, self.membership, self, self.cuts, self.ignored)

        return await channels.serve(register, [peers.SERVICE], ports.LOOPBACK, port)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110  (what is awaited happens behind sockets)
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def sending(*nodes: Node) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(node.peers.run(), name="peers") for node in nodes]
    try:
        await asyncio.sleep(0)
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_messages_arrive_in_order_with_their_sender() -> None:
    """peers.py: messages to one peer leave in order, however many wait."""
    here, there = ports.free(2)
    one, two = Node(1, there), Node(2, here)
    served = await two.serve(there)
    try:
        async with sending(one):
            for term in range(400):
                one.peers.send(NodeId(2), TimeoutNow(term))
            await until(lambda: len(two.heard) == 400)
    finally:
        await served.stop(0)
    assert two.terms() == list(range(400))
    assert {(d.sender, d.store, d.incarnation) for d in two.heard} == {(1, 7, 8)}


async def test_what_cannot_be_delivered_is_dropped_and_counted_and_the_wire_heals() -> None:
    """Cores and shells: messages may be lost; a restarted peer is reached again within the backoff of half a second."""
    here, there = ports.free(2)
    one, two = Node(1, there), Node(2, here)
    async with sending(one):
        one.peers.send(NodeId(2), TimeoutNow(1))
        await until(lambda: sum(one.peers.lost().values()) == 1)
        served = await two.serve(there)
        try:

            def heard() -> bool:
                one.peers.send(NodeId(2), TimeoutNow(2))
                return bool(two.heard)

            await until(heard)
        finally:
            await served.stop(0)
    assert 1 not in two.terms()


async def test_the_queue_to_a_silent_peer_is_bounded() -> None:
    """Security and limits: every queue is a named limit; the oldest go first."""
    one = Node(1, ports.free(1)[0])
    for term in range(peers.MAX_WAITING + 10):
        one.peers.send(NodeId(2), TimeoutNow(term))
    assert one.peers.lost() == {"node 2: queue-full": 10}


async def test_strangers_are_counted_and_ignored() -> None:
    """Bad input: malformed or foreign-cluster messages on gRPC never reach the core."""
    here, there = ports.free(2)
    two = Node(2, here)
    served = await two.serve(there)
    foreign = Membership("lab-2", NodeId(1), NODES)
    payloads = [
        b"\xff\xff",
        envelopes.envelope_bytes(foreign, StoreId(1), Incarnation(1), NodeId(2), TimeoutNow(1)),
        envelopes.envelope_bytes(Node(1, there).membership, StoreId(1), Incarnation(1), NodeId(1), TimeoutNow(1)),
    ]
    channel = channels.channel(ports.LOOPBACK, there)
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{peers.SERVICE}/{peers.METHOD}")
    try:
        for payload in payloads:
            answer = await channels.unary(method, payload, DEADLINE_S)
            assert answer.outcome is channels.Outcome.OK
    finally:
        await channel.close()
        await served.stop(0)
    assert two.heard == []
    assert sorted(reason for reason, _ in two.ignored.counts()) == ["foreign-cluster", "malformed", "wrong-receiver"]


async def test_a_cut_peer_hears_nothing_one_way() -> None:
    """chaos.proto: OUT loses what this node sends, IN what is sent to it."""
    here, there = ports.free(2)
    one, two = Node(1, there), Node(2, here)
    served, back = await two.serve(there), await one.serve(here)
    try:
        async with sending(one, two):
            one.cuts.cut(Wire.PEER, "2", Direction.OUT)
            one.peers.send(NodeId(2), TimeoutNow(1))
            two.peers.send(NodeId(1), TimeoutNow(2))
            await until(lambda: one.terms() == [2])
            one.cuts.heal(Wire.PEER, "2")
            one.cuts.cut(Wire.PEER, "2", Direction.IN)
            two.peers.send(NodeId(1), TimeoutNow(3))
            one.peers.send(NodeId(2), TimeoutNow(4))
            await until(lambda: two.terms() == [4])
    finally:
        await served.stop(0)
        await back.stop(0)
    assert one.terms() == [2]


async def test_a_bad_wire_loses_doubles_and_lets_messages_overtake() -> None:
    """chaos.proto, Quality: shares of what is sent; late messages may be overtaken, as on a real network."""
    here, there = ports.free(2)
    one, two = Node(1, there), Node(2, here)
    served = await two.serve(there)

    async def sent(quality: Quality, terms: range) -> list[int]:
        """What arrives of these, in the order in which it does."""
        one.cuts.degrade(quality)
        for term in terms:
            one.peers.send(NodeId(2), TimeoutNow(term))
        one.cuts.degrade(PERFECT)
        arrived = 0
        while arrived < len(two.heard) or arrived == 0:  # nothing on the way any more
            arrived = len(two.heard)
            await asyncio.sleep(0.4)
        return [term for term in two.terms() if term in terms]

    try:
        async with sending(one):
            lossy = await sent(Quality(loss=0.5), range(300))
            assert 50 < len(lossy) < 250
            doubled = await sent(Quality(doubling=0.5), range(300, 600))
            assert set(doubled) == set(range(300, 600))
            assert 350 < len(doubled) < 550
            late = await sent(Quality(message_delay_us=20_000), range(600, 900))
            assert sorted(late) == list(range(600, 900))
            assert late != sorted(late)
    finally:
        await served.stop(0)


async def test_a_probe_tells_a_closed_port_from_an_open_one() -> None:
    """Consensus, connection loss: only a refused direct probe speaks for a peer that is gone."""
    here, there = ports.free(2)
    one, two = Node(1, there), Node(2, here)
    outcomes: list[ProbeOutcome] = []
    async with sending(one):
        one.peers.probe(NodeId(2), outcomes.append)
        await until(lambda: len(outcomes) == 1)
        served = await two.serve(there)
        one.peers.probe(NodeId(2), outcomes.append)
        await until(lambda: len(outcomes) == 2)
        one.cuts.cut(Wire.PEER, "", Direction.BOTH)
        one.peers.probe(NodeId(2), outcomes.append)
        await until(lambda: len(outcomes) == 3)
        await served.stop(0)
    assert outcomes == [ProbeOutcome.REFUSED, ProbeOutcome.ANSWERED, ProbeOutcome.UNKNOWN]
