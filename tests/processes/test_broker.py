"""What nodes need of the broker of a heartbeat network, shown on real processes of every kind there is."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from hvcluster.runtime import ports
from tests.processes.broker_process import DEADLINE_S, BrokerProcess, kinds, running

KEEPALIVE_S = 1

DYING_CLIENT = """
import asyncio, sys, aiomqtt
async def main():
    will = aiomqtt.Will("lab/nodes/2/gone", b"gone", qos=1, retain=True)
    async with aiomqtt.Client("127.0.0.1", int(sys.argv[1]), identifier="node-2", will=will):
        print("connected", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest.fixture(params=kinds())
async def broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    async with running(request.param, tmp_path) as process:
        yield process


@pytest.fixture
async def embedded(tmp_path: Path) -> AsyncIterator[BrokerProcess]:
    async with running("embedded", tmp_path) as process:
        yield process


def client(
    broker: BrokerProcess, identifier: str, will: aiomqtt.Will | None = None, keepalive: int = 60
) -> aiomqtt.Client:
    return aiomqtt.Client(
        ports.LOOPBACK, broker.port, identifier=identifier, will=will, keepalive=keepalive, timeout=DEADLINE_S
    )


async def take(source: aiomqtt.Client) -> aiomqtt.Message:
    async with asyncio.timeout(DEADLINE_S):
        return await anext(source.messages)


async def take_until(source: aiomqtt.Client, topic: str) -> list[aiomqtt.Message]:
    """All messages up to and including the first on `topic`: proves what was *not* delivered before it."""
    seen: list[aiomqtt.Message] = []
    while not seen or seen[-1].topic.value != topic:
        seen.append(await take(source))
    return seen


async def test_a_late_subscriber_gets_retained_facts_marked_as_such(broker: BrokerProcess) -> None:
    """Onlookers learn node status at once [MQTT 3.3.1-6, 3.3.1-8]."""
    async with client(broker, "node-1") as node, client(broker, "onlooker") as onlooker:
        await node.publish("lab/nodes/1/status", b"up", qos=1, retain=True)
        await node.publish("lab/nodes/2/status", b"up", qos=1, retain=True)
        await onlooker.subscribe("lab/nodes/1/status", qos=1)
        message = await take(onlooker)
        assert (message.topic.value, message.payload, message.retain) == ("lab/nodes/1/status", b"up", True)


async def test_an_established_subscriber_gets_a_retained_fact_unmarked(broker: BrokerProcess) -> None:
    """Retain is clear on messages of the present [MQTT 3.3.1-9]."""
    async with client(broker, "node-1") as node, client(broker, "onlooker") as onlooker:
        await onlooker.subscribe("lab/nodes/+/status", qos=1)
        await node.publish("lab/nodes/1/status", b"up", qos=1, retain=True)
        assert (await take(onlooker)).retain is False


async def test_retained_facts_reach_only_those_who_asked_for_their_topic(broker: BrokerProcess) -> None:
    """A client that subscribes to heartbeats must not be handed somebody's retained status."""
    async with client(broker, "node-1") as node:
        await node.publish("lab/nodes/1/status", b"up", qos=1, retain=True)
        async with client(broker, "onlooker") as onlooker:
            await onlooker.subscribe("lab/nodes/+/status", qos=1)
            await take(onlooker)
            async with client(broker, "node-2") as other:
                await other.subscribe("lab/heartbeats/#", qos=1)
                await node.publish("lab/heartbeats/1", b"beat", qos=1)
                seen = await take_until(other, "lab/heartbeats/1")
                assert [message.topic.value for message in seen] == ["lab/heartbeats/1"]


async def test_an_empty_retained_message_clears_the_fact(broker: BrokerProcess) -> None:
    """[MQTT 3.3.1-10]"""
    async with client(broker, "node-1") as node, client(broker, "onlooker") as onlooker:
        await node.publish("lab/nodes/1/status", b"up", qos=1, retain=True)
        await node.publish("lab/nodes/1/status", b"", qos=1, retain=True)
        await onlooker.subscribe("lab/nodes/#", qos=1)
        await node.publish("lab/nodes/end", b"end", qos=1)
        assert len(await take_until(onlooker, "lab/nodes/end")) == 1


async def test_wildcards_match_levels_as_the_standard_says(broker: BrokerProcess) -> None:
    """`+` is one level, `#` any number, parents included [MQTT 4.7.1]."""
    async with client(broker, "node-1") as node, client(broker, "one") as one, client(broker, "all") as all_:
        await one.subscribe("lab/+/beat", qos=1)
        await one.subscribe("end", qos=1)
        await all_.subscribe("lab/#", qos=1)
        await all_.subscribe("end", qos=1)
        for topic in ("lab", "lab/1/beat", "lab/1/2/beat", "lab//beat", "other/1/beat", "end"):
            await node.publish(topic, b"x", qos=1)
        one_level = [message.topic.value for message in await take_until(one, "end")]
        any_level = [message.topic.value for message in await take_until(all_, "end")]
        assert one_level == ["lab/1/beat", "lab//beat", "end"]
        assert any_level == ["lab", "lab/1/beat", "lab/1/2/beat", "lab//beat", "end"]


async def test_messages_of_one_publisher_arrive_in_order(broker: BrokerProcess) -> None:
    """[MQTT 4.6]: heartbeat sequence numbers must not run backwards."""
    async with client(broker, "node-1") as node, client(broker, "node-2") as other:
        await other.subscribe("beat", qos=0)
        for number in range(200):
            await node.publish("beat", str(number), qos=0)
        assert [int(bytes((await take(other)).payload)) for _ in range(200)] == list(range(200))


async def test_the_will_of_a_killed_client_is_published_and_retained(broker: BrokerProcess) -> None:
    """Connection-loss detection rests on it (half of it: the direct probe is the other half)."""
    async with client(broker, "node-1") as node:
        await node.subscribe("lab/nodes/+/gone", qos=1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", DYING_CLIENT, str(broker.port), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await process.stdout.readline() == b"connected\n"
        process.send_signal(signal.SIGKILL)
        await process.wait()
        message = await take(node)
        assert (message.topic.value, message.payload) == ("lab/nodes/2/gone", b"gone")
        async with client(broker, "onlooker") as onlooker:
            await onlooker.subscribe("lab/nodes/#", qos=1)
            assert (await take(onlooker)).retain is True


async def test_a_client_that_says_goodbye_leaves_no_will(broker: BrokerProcess) -> None:
    """[MQTT 3.14.4-3]"""
    async with client(broker, "node-1") as node:
        await node.subscribe("lab/#", qos=1)
        async with client(broker, "node-2", will=aiomqtt.Will("lab/gone", b"gone", qos=1)):
            pass
        await node.publish("lab/end", b"end", qos=1)
        assert len(await take_until(node, "lab/end")) == 1


async def test_a_client_silent_beyond_its_keepalive_is_dropped_and_its_will_published(
    broker: BrokerProcess,
) -> None:
    """A frozen node keeps its connection open but is silent [MQTT 3.1.2-24]."""
    async with client(broker, "node-1") as node:
        await node.subscribe("gone", qos=1)
        reader, writer = await raw(broker, connect("frozen", keepalive_s=KEEPALIVE_S, will=("gone", b"gone")))
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.read() == b""
        assert (await take(node)).payload == b"gone"
        writer.close()


async def test_a_second_connection_of_a_client_takes_over_and_ends_the_first(broker: BrokerProcess) -> None:
    """A restarted node reconnects before its old connection is known dead [MQTT 3.1.4-2]; the old one's will
    goes out, for it never said goodbye, and the new one is subscribed to nothing but what it asks for.
    """
    async with client(broker, "observer") as observer:
        await observer.subscribe("gone", qos=1)
        reader, old = await raw(broker, connect("node-1", will=("gone", b"gone")))
        async with client(broker, "node-1") as node:
            async with asyncio.timeout(DEADLINE_S):
                assert await reader.read() == b""
            assert (await take(observer)).payload == b"gone"
            await node.subscribe("beat", qos=1)
            await observer.publish("beat", b"1", qos=1)
            assert (await take(node)).payload == b"1"
        old.close()


async def test_clients_come_back_after_the_broker_was_killed_and_restarted(broker: BrokerProcess) -> None:
    """One bus dead and back: same port, nothing remembered, everybody may connect again at once."""
    async with client(broker, "node-1") as node:
        await node.publish("status", b"up", qos=1, retain=True)
        assert await broker.kill() == -signal.SIGKILL
        with pytest.raises(aiomqtt.MqttError):
            await take(node)
    await broker.start()
    async with client(broker, "node-1") as node, client(broker, "node-2") as other:
        await other.subscribe("#", qos=1)
        await node.publish("beat", b"1", qos=1)
        assert [message.topic.value for message in await take_until(other, "beat")] == ["beat"]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n" + b"X-Long: header\r\n" * 20,
        b"\x30\x05\x00\x09abc",
        b"\x82\x03\x00\x01\x00",
        b"\x36\x07\x00\x01a\x00\x01hi",
        b"\x30\xff\xff\xff\xff\x7f",
        b"\x30\x80\x80\x08" + b"x" * 131_072,
    ],
    ids=["http", "torn field", "no filters", "bad quality", "endless length", "over 64 KiB"],
)
async def test_a_client_that_breaks_the_protocol_is_cut_and_harms_nobody(broker: BrokerProcess, garbage: bytes) -> None:
    """[MQTT 4.8.0-1]: the sender loses its connection, everybody else notices nothing."""
    async with client(broker, "node-1") as node, client(broker, "node-2") as other:
        await other.subscribe("beat", qos=1)
        reader, writer = await raw(broker, connect("intruder"))
        writer.write(garbage)
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        await node.publish("beat", b"1", qos=1)
        assert (await take(other)).payload == b"1"
        writer.close()


async def test_sigterm_ends_the_broker_with_status_zero(broker: BrokerProcess) -> None:
    """`hvc down` ends brokers politely first."""
    async with client(broker, "node-1"):
        assert await broker.terminate() == 0


async def test_a_client_that_never_reads_costs_bounded_memory_and_delays_nobody(
    embedded: BrokerProcess,
) -> None:
    """A frozen node is subscribed to everything; what it will not read is dropped, not hoarded."""
    async with client(embedded, "node-1") as node, client(embedded, "node-2") as other:
        _, writer = await raw(embedded, connect("frozen") + b"\x82\x06\x00\x01\x00\x01#\x00")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await other.subscribe("beat", qos=0)
        before = resident_bytes(embedded.pid)
        for _ in range(500):
            await node.publish("beat", b"x" * 60_000, qos=0)
            assert len(bytes((await take(other)).payload)) == 60_000
        assert resident_bytes(embedded.pid) - before < 8 * 1024 * 1024  # 30 MB were offered
        writer.close()


async def test_a_protocol_version_that_is_not_spoken_is_named_in_the_answer(embedded: BrokerProcess) -> None:
    """A client configured for MQTT 5 learns why it cannot connect [MQTT 3.1.2-2]."""
    packet = bytearray(connect("modern"))
    packet[8] = 5
    reader, writer = await asyncio.open_connection(ports.LOOPBACK, embedded.port)
    writer.write(packet)
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.read() == b"\x20\x02\x00\x01"
    writer.close()


async def test_overlapping_filters_deliver_a_message_once(embedded: BrokerProcess) -> None:
    """Two filters of one client that both match mean one delivery, at the higher quality of service."""
    async with client(embedded, "node-1") as node:
        await node.subscribe("lab/+", qos=0)
        await node.subscribe("lab/#", qos=1)
        await node.publish("lab/1", b"x", qos=1)
        await node.publish("lab/end", b"x", qos=1)
        seen = await take_until(node, "lab/end")
        assert [(message.topic.value, message.qos) for message in seen] == [("lab/1", 1), ("lab/end", 1)]


async def test_a_busy_port_is_reported_with_its_holder(embedded: BrokerProcess, tmp_path: Path) -> None:
    """Bad input of an operator: which port, and by whom, where known."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "hvcluster.runtime.broker", "--port", str(embedded.port), "--name", "B"),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_S):
        _, errors = await process.communicate()
    assert process.returncode == 3
    assert f"127.0.0.1:{embedded.port} is busy: held by pid {embedded.pid} (" in errors.decode()


# --- a client that can misbehave


def connect(identifier: str, keepalive_s: int = 60, will: tuple[str, bytes] | None = None) -> bytes:
    """A CONNECT packet with a clean session (short enough for a one-byte length)."""
    flags, body = 2, field(identifier.encode())
    if will is not None:
        flags |= 4
        body += field(will[0].encode()) + field(will[1])
    body = b"\x00\x04MQTT\x04" + bytes((flags,)) + keepalive_s.to_bytes(2, "big") + body
    assert len(body) < 128
    return bytes((0x10, len(body))) + body


def field(raw_bytes: bytes) -> bytes:
    return len(raw_bytes).to_bytes(2, "big") + raw_bytes


async def raw(broker: BrokerProcess, hello: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A bare connection that has been accepted by the broker."""
    reader, writer = await asyncio.open_connection(ports.LOOPBACK, broker.port)
    writer.write(hello)
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.readexactly(4) == b"\x20\x02\x00\x00"
    return reader, writer


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
