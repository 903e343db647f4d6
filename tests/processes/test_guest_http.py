"""VMs on the event loop, their clients on real sockets, and the array's own core below them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field

import aiohttp
import pytest

from hvcluster.model.scsi import UNKNOWN, Command, Nexus, PersistentReserveOut, ReserveOut, Result, TestUnitReady
from hvcluster.model.vocabulary import Generation, LunId, NodeId, PathName
from hvcluster.node.core.journal import JOURNAL_LBA
from hvcluster.node.guest.host import VmHost
from hvcluster.node.guest.ports import Placement
from hvcluster.runtime import loop
from hvcluster.san.core.events import CreateLun, Unmask
from tests.core import array_driver

A, B = PathName("A"), PathName("B")
LUN = LunId(20)
LUN_BLOCKS = 4096
FIRST = Generation(1)
WAIT_S = 20.0


def on_both_loops(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., None]:
    """Run a coroutine test once on each of the loops that a node may run on."""

    def run(loop_name: loop.Loop, **arguments: object) -> None:
        loop.run(test(**arguments), loop_name)

    own = list(inspect.signature(test).parameters.values())
    added = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = inspect.Signature([*own, added])  # type: ignore[attr-defined]  # what pytest looks at
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return pytest.mark.parametrize("loop_name", ["asyncio", "uvloop"])(run)


class San:
    """The array's core in memory, with a wire that may be slow, silent or held."""

    def __init__(self, luns: int = 1, blocks: int = LUN_BLOCKS) -> None:
        self.bench = array_driver.Bench()
        for number in range(luns):
            lun = LunId(LUN + number)
            assert self.bench.administer(CreateLun(1, lun, blocks)) is None
            for name in "ab":
                assert self.bench.administer(Unmask(2, lun, name)) is None
        self.held: list[Callable[[], None]] | None = None
        self.asked = asyncio.Event()
        self.commands = 0

    def submit_of(self, name: str) -> Callable[[PathName, LunId, Command, Callable[[Result], None]], None]:
        """What the initiator of a node offers to its VM host."""

        def submit(path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None]) -> None:
            def execute() -> None:
                answer(self.bench.ask(Nexus(name, path), command, lun))

            self.commands += 1
            if self.held is not None:
                self.held.append(execute)
                self.asked.set()
            else:
                asyncio.get_running_loop().call_soon(execute)

        return submit

    def hold(self) -> None:
        """Hold back what is asked from now on; `asked` is set once something was."""
        self.held = []
        self.asked.clear()

    def go_on(self) -> None:
        """Do what was held back."""
        held, self.held = self.held or [], None
        for execute in held:
            execute()

    def take_over(self, name: str, lun: LunId = LUN) -> None:
        """Another node registers, reserves and preempts, as at a failover."""
        for who, key in ((Nexus("a", A), 1), (Nexus(name, A), 2)):
            ignore = ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY
            while self.bench.ask(who, TestUnitReady(), lun).status.name != "GOOD":
                pass
            command = PersistentReserveOut(ignore, service_key=key)
            assert self.bench.ask(who, command, lun).status.name == "GOOD"
        for action, service_key in ((ReserveOut.RESERVE, 0), (ReserveOut.PREEMPT, 1)):
            command = PersistentReserveOut(action, 2, service_key)
            assert self.bench.ask(Nexus(name, A), command, lun).status.name == "GOOD"


@dataclass
class Lab:
    """One node's VM host and what it reported."""

    san: San
    host: VmHost
    started: dict[tuple[str, Generation], str] = field(default_factory=dict)
    stopped: list[tuple[str, Generation, str, str]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, ready: Callable[[], bool]) -> None:
        """Wait for reports."""
        async with asyncio.timeout(WAIT_S):
            while not ready():
                self.changed.clear()
                await self.changed.wait()

    async def online(self, vm: str = "D1", generation: Generation = FIRST) -> str:
        """The base address of a VM once it is online."""
        await self.until(lambda: (vm, generation) in self.started)
        return f"http://{self.started[(vm, generation)]}"


@contextlib.asynccontextmanager
async def lab(san: San, name: str = "a", node: int = 1, disk_timeout_us: int = 60_000_000) -> AsyncIterator[Lab]:
    """A node called `name` with two paths."""
    made: Lab

    def on_started(group: str, generation: Generation, address: str) -> None:
        assert (group, generation) not in made.started
        made.started[(group, generation)] = address
        made.changed.set()

    def on_stopped(group: str, generation: Generation, cause: str, reason: str) -> None:
        made.stopped.append((group, generation, cause, reason))
        made.changed.set()

    placement = Placement(NodeId(node), f"HyperV-{node}")
    host = VmHost(placement, san.submit_of(name), on_started, on_stopped, disk_timeout_us)
    made = Lab(san, host)
    try:
        yield made
    finally:
        san.held = None
        await host.close()


async def get(url: str) -> tuple[int, object]:
    """Status and JSON of a GET."""
    async with aiohttp.ClientSession() as client, client.get(url) as answer:
        return answer.status, await answer.json()


async def post(url: str, body: bytes) -> tuple[int, dict[str, object]]:
    """Status and JSON of a POST."""
    async with aiohttp.ClientSession() as client, client.post(url, data=body) as answer:
        return answer.status, await answer.json()


async def raw(address: str, request: bytes) -> bytes:
    """What comes back on a bare connection until it ends; empty when it was dropped."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), WAIT_S)
    except ConnectionError:
        return b""
    finally:
        writer.close()


@on_both_loops
async def test_a_vm_serves_what_the_lun_has() -> None:
    """VMs: GET / tells VM, node, generation, sequence, boots; POST /append; GET /records?from=."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        assert await post(f"{base}/append", "grüße".encode()) == (200, {"sequence": 2, "generation": 1})
        assert await post(f"{base}/append", b"\xff\x00") == (200, {"sequence": 3, "generation": 1})
        status, about = await get(f"{base}/")
        assert (status, about) == (
            200,
            {"vm": "D1", "node": 1, "node_name": "HyperV-1", "generation": 1, "sequence": 3, "boots": 1},
        )
        _, records = await get(f"{base}/records?from=2")
        assert isinstance(records, list)
        assert [(r["sequence"], r["kind"], r["payload"], r["encoding"]) for r in records] == [
            (2, "data", "grüße", "utf-8"),
            (3, "data", "ff00", "hex"),
        ]
        assert records[1]["previous"] == records[0]["checksum"]
        assert (await get(f"{base}/records?from=1&limit=1"))[1] != records
        assert (await get(f"{base}/records?from=99"))[1] == []


@on_both_loops
async def test_the_next_owner_has_every_acknowledged_record() -> None:
    """Owner of a VM: kill the owner, boot from the same LUN elsewhere; nothing acknowledged is missing."""
    san = San()
    async with lab(san) as one, lab(san, "b", 2) as two:
        one.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await one.online()
        await asyncio.gather(*(post(f"{base}/append", f"r{n}".encode()) for n in range(30)))
        one.host.kill_all("the host dies")
        two.host.start("D1", Generation(2), LUN, 0, (A, B))
        base = await two.online("D1", Generation(2))
        _, records = await get(f"{base}/records")
        assert isinstance(records, list)
        assert {r["payload"] for r in records if r["kind"] == "data"} == {f"r{n}" for n in range(30)}
        assert [(r["generation"], r["node"]) for r in records if r["kind"] == "boot"] == [(1, 1), (2, 2)]


@on_both_loops
async def test_twenty_vms_boot_side_by_side() -> None:
    """Many VMs at once: 20 VMs after a kill; their boot delays must not add up."""
    async with lab(San(luns=20)) as node:
        begun = time.monotonic()
        for number in range(20):
            node.host.start(f"D{number}", FIRST, LunId(LUN + number), 250_000, (A, B))
        await node.until(lambda: len(node.started) == 20)
        assert time.monotonic() - begun < 20 * 0.25 / 2
        assert len(set(node.started.values())) == 20


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/append", b"", 400, "size"),
        ("POST", "/append", b"x" * 401, 413, "size"),
        ("GET", "/append", b"", 405, "method"),
        ("POST", "/", b"x", 405, "method"),
        ("GET", "/elsewhere", b"", 404, "path"),
        ("GET", "/records?from=one", b"", 400, "query"),
        ("GET", "/records?from=0", b"", 400, "size"),
        ("GET", "/records?limit=-5", b"", 400, "size"),
    ],
)
@on_both_loops
async def test_wrong_requests_are_told_why_in_json(method: str, path: str, body: bytes, status: int, code: str) -> None:
    """Errors a script can rely on, and no wrong request reaches the disk as a record."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        async with aiohttp.ClientSession() as client, client.request(method, base + path, data=body) as answer:
            told = await answer.json()
            assert (answer.status, told["error"]) == (status, code)
            assert told["reason"]
        _, about = await get(f"{base}/")
        assert isinstance(about, dict)
        assert about["sequence"] == 1


@on_both_loops
async def test_a_body_of_unstated_length_is_limited_too() -> None:
    """Message sizes are limited whatever the client says of them."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        head = b"POST /append HTTP/1.1\r\nHost: d1\r\nTransfer-Encoding: chunked\r\n\r\n"
        reply = await raw(base, head + b"320\r\n" + b"x" * 0x320 + b"\r\n0\r\n\r\n")
        assert b" 413 " in reply.splitlines()[0]
        reply = await raw(base, b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        assert b" 400 " in reply.splitlines()[0]
        assert b'"error": "request"' in reply


@on_both_loops
async def test_an_append_is_not_acknowledged_while_the_array_is_silent() -> None:
    """Owner of a VM: acknowledged only after the LUN has it."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        node.san.hold()
        waiting = asyncio.create_task(post(f"{base}/append", b"a"), name="append")
        await asyncio.wait_for(node.san.asked.wait(), WAIT_S)
        assert (await get(f"{base}/"))[0] == 200
        assert not waiting.done()
        node.san.go_on()
        assert (await waiting)[0] == 200


@on_both_loops
async def test_a_vm_whose_disk_was_taken_stops_and_says_what_it_does_not_know() -> None:
    """Owner of a VM: a late write meets RESERVATION CONFLICT; the VM turns off; the client hears 503."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        node.san.take_over("b")
        status, told = await post(f"{base}/append", b"late")
        assert (status, told["error"]) == (503, "unknown")
        assert "may or may not" in str(told["reason"])
        assert [entry[:3] for entry in node.stopped] == [("D1", FIRST, "fenced")]
        commands = node.san.commands
        with pytest.raises(aiohttp.ClientError):
            await get(f"{base}/")
        assert node.san.commands == commands


@on_both_loops
async def test_power_off_drops_every_connection_at_once() -> None:
    """Terminate is a pulled plug: no answer, no more port, one report."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        node.san.hold()
        append = raw(base, b"POST /append HTTP/1.1\r\nHost: d1\r\nContent-Length: 1\r\n\r\na")
        waiting = asyncio.create_task(append, name="append")
        await asyncio.wait_for(node.san.asked.wait(), WAIT_S)
        node.host.stop("D1", FIRST, polite=False, reason="killed")
        assert node.stopped == [("D1", FIRST, "terminated", "killed")]
        assert await waiting == b""
        with pytest.raises(aiohttp.ClientError):
            await get(f"{base}/")
        node.san.go_on()
        node.host.stop("D1", FIRST, polite=False, reason="again")
        assert len(node.stopped) == 1


@pytest.mark.conforms("vm-network-health")
@on_both_loops
async def test_clients_of_a_vm_whose_network_has_no_link_get_nothing_and_nothing_is_written() -> None:
    """The cable of its host is out: requests are lost; plugged in again, the VM goes on where it was."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        node.host.unplugged = frozenset({"D1"})
        assert await raw(base, b"POST /append HTTP/1.1\r\nHost: d1\r\nContent-Length: 1\r\n\r\na") == b""
        with pytest.raises(aiohttp.ClientError):
            await get(f"{base}/")
        node.host.unplugged = frozenset({"D2"})
        assert await post(f"{base}/append", b"b") == (200, {"sequence": 2, "generation": 1})


@on_both_loops
async def test_a_polite_stop_answers_those_who_wait() -> None:
    """Owner of a VM, planned offline: the guest finishes its writes and its clients hear of it."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        node.san.hold()
        waiting = asyncio.create_task(post(f"{base}/append", b"a"), name="append")
        await asyncio.wait_for(node.san.asked.wait(), WAIT_S)
        node.host.stop("D1", FIRST, polite=True, reason="moved")
        assert node.stopped == []
        node.san.go_on()
        assert await waiting == (200, {"sequence": 2, "generation": 1})
        assert node.stopped == [("D1", FIRST, "shutdown", "moved")]


@on_both_loops
async def test_an_array_that_never_answers_ends_the_vm_within_its_disk_timeout() -> None:
    """Failure table: VMs stall and retry within the guest timeout, not longer."""
    async with lab(San(), disk_timeout_us=200_000) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()

        def silent(path: PathName, lun: LunId, command: Command, answer: Callable[[Result], None]) -> None:
            answer(UNKNOWN)  # at once, from within the call: the worst case for the order of effects

        node.host._submit = silent
        status, told = await post(f"{base}/append", b"a")
        assert (status, told["error"]) == (503, "unknown")
        assert [entry[2] for entry in node.stopped] == ["disk"]


@on_both_loops
async def test_paths_that_come_and_go_are_followed() -> None:
    """Failure table, path lost: a VM uses whichever path is up, and waits while none is."""
    async with lab(San()) as node:
        node.host.start("D1", FIRST, LUN, 0, (A,))
        node.host.path_lost(A)
        before = node.san.commands
        node.host.use_path("D1", FIRST, B)
        base = await node.online()
        assert node.san.commands > before
        assert (await post(f"{base}/append", b"a"))[0] == 200


@on_both_loops
async def test_every_start_is_answered_by_exactly_one_stop() -> None:
    """Cores and shells: every question gets exactly one answer, whenever the VM is turned off."""
    async with lab(San(luns=4)) as node:
        node.host.start("D0", FIRST, LUN, 0, (A, B))
        node.host.start("D1", FIRST, LunId(LUN + 1), 60_000_000, (A, B))
        node.host.start("D2", FIRST, LunId(99), 0, (A, B))
        node.host.start("D3", FIRST, LunId(LUN + 3), 0, (A, B))
        node.host.stop("D3", FIRST, polite=True, reason="changed our minds")
        await node.online("D0")
        await node.until(lambda: len(node.stopped) == 2)
        node.host.kill_all("quorum lost")
        assert sorted((vm, cause) for vm, _, cause, _ in node.stopped) == [
            ("D0", "terminated"),
            ("D1", "terminated"),
            ("D2", "disk"),
            ("D3", "shutdown"),
        ]
        assert node.host.running() == ()


@on_both_loops
async def test_a_service_that_cannot_listen_is_a_crash_of_the_vm() -> None:
    """A bind host that is not ours is reported with its name, not by silence."""
    san = San()
    stopped: list[tuple[str, str]] = []
    done = asyncio.Event()

    def on_stopped(group: str, generation: Generation, cause: str, reason: str) -> None:
        stopped.append((cause, reason))
        done.set()

    placement = Placement(NodeId(1), "HyperV-1", bind_host="192.0.2.1")
    host = VmHost(placement, san.submit_of("a"), lambda *_: None, on_stopped, 60_000_000)
    host.start("D1", FIRST, LUN, 0, (A, B))
    await asyncio.wait_for(done.wait(), WAIT_S)
    ((cause, reason),) = stopped
    assert cause == "crashed"
    assert "192.0.2.1" in reason
    await host.close()


@on_both_loops
async def test_a_full_journal_answers_507() -> None:
    """Insufficient storage has a status of its own, so that a client does not retry."""
    async with lab(San(blocks=JOURNAL_LBA + 9)) as node:
        node.host.start("D1", FIRST, LUN, 0, (A, B))
        base = await node.online()
        statuses = [(await post(f"{base}/append", b"a"))[0] for _ in range(8)]
        assert statuses == [200] * 6 + [507] * 2
