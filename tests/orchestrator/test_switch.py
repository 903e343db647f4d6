"""The virtual switch over real sockets: newest generation wins, half-close is kept, older owners are dropped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.orchestrator.switch_relay import Port
from hvcluster.orchestrator.switch_routes import Heard, Owner, Routes, split_address


async def echo(prefix: bytes) -> tuple[asyncio.Server, str]:
    """A guest that answers everything it got, once the client has finished, with its own name before it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(prefix + data)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


class Bench:
    """A port over routes, as the switch wires them."""

    def __init__(self) -> None:
        self.routes = Routes(["D1"])
        self.failures = 0
        self.port = Port(lambda: self.routes.owner("D1"), self.fail)
        self.number = 0

    def fail(self) -> None:
        self.failures += 1

    async def start(self) -> None:
        self.number = await self.port.listen("127.0.0.1", 0)

    def hear(self, generation: int, address: str) -> None:
        if self.routes.hear("D1", generation, 1, address) is Heard.NEW:
            self.port.drop_older(generation)

    async def ask(self, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.number)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer


async def test_a_request_reaches_the_newest_owner_and_half_close_is_kept() -> None:
    """The virtual switch forwards to the newest announced generation."""
    bench = Bench()
    await bench.start()
    old, old_address = await echo(b"old ")
    new, new_address = await echo(b"new ")
    bench.hear(1, old_address)
    assert await bench.ask(b"hello") == b"old hello"
    bench.hear(2, new_address)
    assert await bench.ask(b"hello") == b"new hello"
    bench.hear(1, old_address)
    assert await bench.ask(b"x" * 3_000_000) == b"new " + b"x" * 3_000_000
    await bench.port.close()
    old.close()
    new.close()


async def test_nobody_serves_and_the_client_is_refused_at_once() -> None:
    """A client must not wait for an owner that is not there."""
    bench = Bench()
    await bench.start()
    with pytest.raises(OSError, match=r"reset|Connection"):
        async with asyncio.timeout(1):
            await bench.ask(b"hello")
    server, address = await echo(b"")
    server.close()
    await server.wait_closed()
    bench.hear(1, address)
    with pytest.raises(OSError, match=r"reset|Connection"):
        async with asyncio.timeout(1):
            await bench.ask(b"hello")
    assert bench.failures == 2
    await bench.port.close()


async def test_a_newer_generation_drops_connections_to_the_older() -> None:
    """A client of a frozen owner learns at once that it has to ask again."""
    bench = Bench()
    await bench.start()
    held = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.set()
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()

    frozen = await asyncio.start_server(hang, "127.0.0.1", 0)
    new, new_address = await echo(b"new ")
    bench.hear(1, f"127.0.0.1:{frozen.sockets[0].getsockname()[1]}")
    waiting = asyncio.create_task(bench.ask(b""), name="client of the frozen owner")
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.number)
    writer.write(b"GET / HTTP/1.1\r\n")
    async with asyncio.timeout(1):
        await held.wait()
    bench.hear(2, new_address)
    with pytest.raises(ConnectionResetError):
        async with asyncio.timeout(1):
            await reader.read()
    writer.close()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await bench.ask(b"again") == b"new again"
    await bench.port.close()
    frozen.close()
    new.close()


_NEWS = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), max_size=30)


@given(_NEWS)
def test_generations_only_rise(news: list[tuple[int, int]]) -> None:
    """Whatever order announcements arrive in, the owner's generation never falls and ends at the highest."""
    routes = Routes(["D1"])
    seen: list[int] = []
    for generation, node in news:
        routes.hear("D1", generation, node, f"10.0.0.{node}:80")
        owner = routes.owner("D1")
        assert owner is not None
        seen.append(owner.generation)
    assert all(a <= b for a, b in itertools.pairwise(seen))
    assert not news or seen[-1] == max(generation for generation, _ in news)


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:0", "host:65536", "host:8o"])
def test_what_is_no_address_changes_no_route(text: str) -> None:
    """Announcements come from the wire and are not trusted."""
    routes = Routes(["D1"])
    assert split_address(text) is None
    assert routes.hear("D1", 1, 1, text) is Heard.BAD_ADDRESS
    assert routes.hear("D2", 1, 1, "h:1") is Heard.UNKNOWN_VM
    assert routes.owner("D1") is None
    assert routes.hear("D1", 1, 1, "[::1]:80") is Heard.NEW
    assert routes.owner("D1") == Owner(1, 1, "::1", 80)
