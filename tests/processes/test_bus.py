"""Heartbeat networks on real brokers: what arrives, what is ignored, and what survives a broker's end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiomqtt
import pytest

from hvcluster.model.vocabulary import NOBODY, Incarnation, NodeId, StoreId
from hvcluster.node import wire
from hvcluster.node.bus import MqttBus
from hvcluster.node.core.messages import Heartbeat
from hvcluster.node.cuts import PERFECT, Cuts, Direction, Quality, Wire
from hvcluster.node.wire import Membership
from hvcluster.runtime import logs, ports
from tests.processes.broker_process import DEADLINE_S, BrokerProcess, kinds, running

NODES = frozenset(map(NodeId, (1, 2, 3)))


def beat(node: int, sequence: int) -> Heartbeat:
    return Heartbeat(
        NodeId(node),
        StoreId(5),
        Incarnation(1),
        sequence,
        True,
        3,
        NOBODY,
        False,
        7,
        6,
        True,
        False,
        (),
        ("Production",),
        True,
    )


class Ear:
    """Remembers what a bus delivered."""

    def __init__(self) -> None:
        self.beats: list[tuple[int, int]] = []
        self.wills: list[tuple[int, int]] = []

    def heartbeat(self, bus: str, heartbeat: Heartbeat) -> None:
        self.beats.append((heartbeat.node, heartbeat.sequence))

    def will(self, bus: str, node: NodeId, incarnation: Incarnation) -> None:
        self.wills.append((node, incarnation))


class Node:
    """One node's end of the bus."""

    def __init__(self, number: int, port: int, cluster: str = "lab-1") -> None:
        self.ear = Ear()
        self.ignored = logs.OncePerSender(logs.get())
        self.cuts = Cuts({Wire.BUS: ("A",)})
        self.number = number
        self.bus = MqttBus(
            "A",
            (ports.LOOPBACK, port),
            Membership(cluster, NodeId(number), NODES),
            self.ear,
            self.cuts,
            self.ignored,
            logs.get(),
            scale=0.1,
        )
        self.bus.identify(Incarnation(1))
        self.cluster = cluster

    def publish(self, sequence: int) -> None:
        self.bus.publish(wire.heartbeat_bytes(self.cluster, beat(self.number, sequence)))

    async def reaches(self, other: Node, sequence: int) -> None:
        """Publish until it is heard: a heartbeat may be lost while either end connects."""

        def heard() -> bool:
            self.publish(sequence)
            return (self.number, sequence) in other.ear.beats

        await until(heard)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110  (what is awaited happens in other processes)
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def on_bus(*nodes: Node) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(node.bus.run(), name=f"bus of {node.number}") for node in nodes]
    try:
        await until(lambda: all(node.bus.connected for node in nodes))
        yield
    finally:
        for task in tasks:
            task.cancel()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=kinds())
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    async with running(request.param, tmp_path) as process:
        yield process


async def test_heartbeats_reach_the_others_and_not_their_sender(broker: BrokerProcess) -> None:
    """Consensus: every node publishes one heartbeat on every bus."""
    one, two = Node(1, broker.port), Node(2, broker.port)
    async with on_bus(one, two):
        await one.reaches(two, 1)
        await two.reaches(one, 2)
        assert {node for node, _ in one.ear.beats} == {2}


async def test_a_bus_comes_back_after_its_broker(broker: BrokerProcess) -> None:
    """Failure table, buses: a killed broker is reconnected to as soon as it is back, and announcements are there
    again.
    """
    one, two = Node(1, broker.port), Node(2, broker.port)
    one.bus.announce("vm", "D1", b"here")
    async with on_bus(one, two):
        await broker.kill()
        await until(lambda: not one.bus.connected)
        one.publish(1)
        await broker.start()
        await until(lambda: one.bus.connected and two.bus.connected)
        await one.reaches(two, 2)
        assert await retained(broker, "hvcluster/lab-1/vm/D1") == b"here"


async def retained(broker: BrokerProcess, topic: str) -> bytes:
    async with aiomqtt.Client(ports.LOOPBACK, broker.port, timeout=DEADLINE_S) as client:
        await client.subscribe(topic)
        async with asyncio.timeout(DEADLINE_S):
            async for message in client.messages:
                if message.topic.value == topic:
                    assert isinstance(message.payload, bytes)
                    return message.payload
    raise AssertionError("the stream of messages ended")


async def test_many_announcements_made_at_once_go_out_at_once(broker: BrokerProcess) -> None:
    """Owner of a VM: the switch learns where a VM is served when it is online, not some heartbeats later."""
    one = Node(1, broker.port)
    async with on_bus(one):
        for number in range(50):
            one.bus.announce("vm", f"D{number}", b"%d" % number)
        assert await retained(broker, "hvcluster/lab-1/vm/D49") == b"49"


async def test_a_bus_with_nothing_to_do_costs_nothing(broker: BrokerProcess) -> None:
    """Idle cost: nothing keeps turning the loop after a publication."""
    one = Node(1, broker.port)
    async with on_bus(one):
        one.publish(1)
        one.bus.announce("vm", "D1", b"here")
        await asyncio.sleep(0.1)
        before = time.process_time()
        await asyncio.sleep(0.5)
        assert time.process_time() - before < 0.1


async def test_a_lost_connection_leaves_a_will_and_a_polite_end_does_not(broker: BrokerProcess) -> None:
    """Consensus: the last will names the node and its incarnation; a node that says goodbye has none."""
    ear = Node(1, broker.port)
    payload = wire.will_bytes("lab-1", NodeId(3), Incarnation(9))
    will = aiomqtt.Will("hvcluster/lab-1/will/3", payload, qos=1)
    async with on_bus(ear):
        async with on_bus(Node(2, broker.port)):
            pass
        reader, writer = await dying(broker, will)
        writer.transport.abort()
        await until(lambda: bool(ear.ear.wills))
        del reader
    assert ear.ear.wills == [(3, 9)]


async def dying(broker: BrokerProcess, will: aiomqtt.Will) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that is about to be lost: MQTT's CONNECT by hand, for aiomqtt has no way to die."""
    reader, writer = await asyncio.open_connection(ports.LOOPBACK, broker.port)

    def field(value: bytes) -> bytes:
        return len(value).to_bytes(2, "big") + value

    assert isinstance(will.payload, bytes)
    body = field(b"MQTT") + bytes((4, 0x02 | 0x04 | will.qos << 3, 0, 60))
    body += field(b"dying") + field(will.topic.encode()) + field(will.payload)
    writer.write(bytes((0x10, len(body))) + body)
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    return reader, writer


async def test_what_does_not_belong_here_is_counted_and_ignored(broker: BrokerProcess) -> None:
    """Bad input: malformed, oversized, foreign, misplaced and retained messages on the bus."""
    one = Node(1, broker.port)
    good = wire.heartbeat_bytes("lab-1", beat(2, 1))
    topic = "hvcluster/lab-1/heartbeat/"
    async with on_bus(one), aiomqtt.Client(ports.LOOPBACK, broker.port, timeout=DEADLINE_S) as stranger:
        await stranger.publish(topic + "2", b"\xff\xff")
        await stranger.publish(topic + "2", b"\0" * 9000)
        await stranger.publish(topic + "2", wire.heartbeat_bytes("lab-2", beat(2, 1)))
        await stranger.publish(topic + "9", wire.heartbeat_bytes("lab-1", beat(9, 1)))
        await stranger.publish(topic + "3", good)
        await stranger.publish(topic + "2", good)
        await until(lambda: bool(one.ear.beats))
    assert one.ear.beats == [(2, 1)]
    reasons = sorted(reason for reason, _ in one.ignored.counts())
    assert reasons == ["foreign-cluster", "malformed", "oversized", "unknown-sender", "wrong-topic"]


async def test_a_new_incarnation_connects_anew_without_a_will(broker: BrokerProcess) -> None:
    """A restarted service speaks under its new incarnation; the old connection ends politely."""
    one, two = Node(1, broker.port), Node(2, broker.port)
    async with on_bus(one, two):
        two.bus.identify(Incarnation(2))
        await until(lambda: two.bus.connections == 2)
        await two.reaches(one, 1)
        assert one.ear.wills == []


async def test_a_cut_bus_stays_connected_and_silent_in_the_cut_direction(broker: BrokerProcess) -> None:
    """chaos.proto: a cut is like a cable pulled at the switch; one way too."""
    one, two = Node(1, broker.port), Node(2, broker.port)
    async with on_bus(one, two):
        one.cuts.cut(Wire.BUS, "A", Direction.OUT)
        one.publish(1)
        await two.reaches(one, 2)
        assert two.ear.beats == []
        one.cuts.heal(None, "")
        one.cuts.cut(Wire.BUS, "", Direction.IN)
        heard = len(one.ear.beats)
        two.publish(3)
        await one.reaches(two, 4)
        assert len(one.ear.beats) == heard
        assert one.bus.connected


async def test_a_silent_broker_blocks_nothing_and_is_noticed(broker: BrokerProcess) -> None:
    """Consensus: nothing a broker omits blocks the loop; a frozen one is found by its silence and reconnected to."""
    one, two = Node(1, broker.port), Node(2, broker.port)
    async with on_bus(one, two):
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            loop = asyncio.get_running_loop()
            worst, last = 0.0, loop.time()

            def tick() -> bool:
                nonlocal worst, last
                worst, last = max(worst, loop.time() - last), loop.time()
                one.publish(1)
                return not one.bus.connected

            await until(tick)
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        assert worst < 0.5, "the loop stood still"
        await until(lambda: one.bus.connected and two.bus.connected)
        await one.reaches(two, 2)


async def test_a_bad_bus_loses_a_share_of_the_heartbeats_and_delays_the_rest(broker: BrokerProcess) -> None:
    """chaos.proto, Quality: the share of heartbeats heard that is lost; a late one may be overtaken."""
    one, two = Node(1, broker.port), Node(2, broker.port)
    async with on_bus(one, two):
        await one.reaches(two, 1)
        two.cuts.degrade(Quality(loss=0.5))
        for sequence in range(100, 200):
            one.publish(sequence)
        two.ear.beats.clear()
        before = two.bus.delivered
        await until(lambda: two.bus.delivered >= before + 100)
        assert 15 < len(two.ear.beats) < 85
        two.cuts.degrade(Quality(message_delay_us=20_000))
        for sequence in range(200, 300):
            one.publish(sequence)
        await until(lambda: {(1, sequence) for sequence in range(200, 300)} <= set(two.ear.beats))
        late = [sequence for _, sequence in two.ear.beats if sequence >= 200]
        assert late != sorted(late)
        two.cuts.degrade(PERFECT)
        await one.reaches(two, 300)
