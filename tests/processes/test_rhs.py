"""The resource monitor as a process: its types, a script of one's own, hangs, deaths, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
import structlog

from hvcluster.model.resources import Entry, ResourceDefinition
from hvcluster.model.vocabulary import Generation
from hvcluster.node.core.effects import CallResource
from hvcluster.node.monitor import Monitor
from hvcluster.node.rhs.calls import Answer, Call, answer_in, call_in, line
from hvcluster.node.rhs.types import BACKLOG
from hvcluster.runtime import ports

SCRIPT = """
from pathlib import Path
def online(properties):
    Path(properties["mark"]).write_text("online")
def offline(properties):
    Path(properties["mark"]).write_text("offline")
def terminate(properties):
    Path(properties["mark"]).write_text("terminated")
def looks_alive(properties):
    return Path(properties["mark"]).read_text() == "online"
def is_alive(properties):
    if not looks_alive(properties):
        raise RuntimeError("somebody has touched the mark")
    return True
"""
HANGS = """
import threading
def online(properties):
    pass
def is_alive(properties):
    threading.Event().wait()
"""


class Node:
    """What a node makes of a monitor: calls, and what came back."""

    def __init__(self) -> None:
        self.answers: dict[int, asyncio.Future[tuple[bool, str]]] = {}
        self.died: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.monitor = Monitor(self._answered, self.died.set_result, structlog.get_logger())
        self._token = 0

    def _answered(self, token: int, ok: bool, reason: str) -> None:
        self.answers[token].set_result((ok, reason))

    def ask(self, entry: Entry, resource: ResourceDefinition) -> asyncio.Future[tuple[bool, str]]:
        """Call an entry point."""
        self._token += 1
        answer = self.answers[self._token] = asyncio.get_running_loop().create_future()
        self.monitor.call(CallResource(self._token, entry, "Shop", Generation(1), resource))
        return answer


@pytest_asyncio.fixture
async def node() -> AsyncIterator[Node]:
    """A node whose monitor is ended in the end."""
    made = Node()
    yield made
    made.monitor.end()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], ResourceDefinition]:
    """Makes a Generic Script of a text."""

    def make(text: str) -> ResourceDefinition:
        file = tmp_path / "shop.py"
        file.write_text(text)
        properties = (("mark", str(tmp_path / "mark")), ("script_file", str(file)))
        return ResourceDefinition("Web", "Generic Script", properties)

    return make


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    async with asyncio.timeout(10):
        while lives(pid):  # noqa: ASYNC110 - a process that is not our child tells nobody
            await asyncio.sleep(0.01)


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and f"\nPPid:\t{pid}\n" in Path(f"/proc/{entry}/status").read_text()
    ]


async def test_a_script_of_ones_own_is_a_resource(node: Node, script: Callable[[str], ResourceDefinition]) -> None:
    """Generic Script: five functions in a Python file, given the private properties."""
    web = script(SCRIPT)
    mark = Path(dict(web.properties)["mark"])
    assert await node.ask(Entry.ONLINE, web) == (True, "")
    assert mark.read_text() == "online"
    assert await node.ask(Entry.LOOKS_ALIVE, web) == (True, "")
    assert await node.ask(Entry.IS_ALIVE, web) == (True, "")
    assert await node.ask(Entry.OFFLINE, web) == (True, "")
    assert mark.read_text() == "offline"
    assert (await node.ask(Entry.LOOKS_ALIVE, web))[0] is False
    assert await node.ask(Entry.IS_ALIVE, web) == (False, "RuntimeError: somebody has touched the mark")
    assert await node.ask(Entry.TERMINATE, web) == (True, "")
    assert mark.read_text() == "terminated"


async def test_a_script_that_is_not_there_or_says_no_is_told_in_words(
    node: Node, script: Callable[[str], ResourceDefinition]
) -> None:
    """A failure of an entry point is an answer with a reason, and costs the monitor nothing."""
    missing = ResourceDefinition("Other", "Generic Script", (("script_file", "/no/such.py"),))
    assert await node.ask(Entry.ONLINE, missing) == (False, "there is no Python file /no/such.py")
    ok, reason = await node.ask(Entry.ONLINE, script("def online(p):\n    return False\n"))
    assert not ok
    assert reason == "online of shop.py returned False"
    assert (await node.ask(Entry.ONLINE, ResourceDefinition("X", "Tape Drive")))[1].startswith("there is no resource")
    assert (await node.ask(Entry.ONLINE, ResourceDefinition("Y", "IP Address")))[1].startswith("its properties")
    assert not node.died.done()


async def test_an_address_listens_while_it_is_online(node: Node) -> None:
    """IP Address: connections are taken; a port in use is a failure that names it."""
    port = ports.free(1)[0]
    address = ResourceDefinition("Address", "IP Address", (("address", "127.0.0.1"), ("port", str(port))))
    with socket.create_server(("127.0.0.1", port)):
        ok, reason = await node.ask(Entry.ONLINE, address)
        assert not ok
        assert str(port) in reason
    assert await node.ask(Entry.ONLINE, address) == (True, "")
    for _ in range(2 * BACKLOG):
        socket.create_connection(("127.0.0.1", port)).close()
    assert await node.ask(Entry.IS_ALIVE, address) == (True, "")
    assert await node.ask(Entry.OFFLINE, address) == (True, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_an_application_runs_while_it_is_online_and_its_end_is_seen(node: Node) -> None:
    """Generic Application: its process is the resource."""
    sleeper = ResourceDefinition("Sleeper", "Generic Application", (("command_line", "sleep 1000"),))
    assert await node.ask(Entry.ONLINE, sleeper) == (True, "")
    assert await node.ask(Entry.IS_ALIVE, sleeper) == (True, "")
    (child,) = children(node.monitor.pid)
    os.kill(child, signal.SIGKILL)
    await gone(child)
    assert (await node.ask(Entry.LOOKS_ALIVE, sleeper))[0] is False
    assert await node.ask(Entry.ONLINE, sleeper) == (True, "")
    (again,) = children(node.monitor.pid)
    assert await node.ask(Entry.OFFLINE, sleeper) == (True, "")
    assert not lives(again)


async def test_a_monitor_that_dies_is_told_once_and_leaves_no_application_behind(node: Node) -> None:
    """Its death ends what it hosted before the node hears of it; the next call starts another."""
    sleeper = ResourceDefinition("Sleeper", "Generic Application", (("command_line", "sleep 1000"),))
    await node.ask(Entry.ONLINE, sleeper)
    first = node.monitor.pid
    (child,) = children(first)
    os.kill(first, signal.SIGKILL)
    assert await node.died == "its process has ended"
    await gone(child)
    assert await node.ask(Entry.ONLINE, sleeper) == (True, "")
    assert node.monitor.pid not in (0, first)


async def test_a_call_that_hangs_holds_up_no_other_resource_and_termination_overtakes_it(
    node: Node, script: Callable[[str], ResourceDefinition]
) -> None:
    """A worker each; TERMINATE waits for nobody; ending the monitor ends what hangs as well."""
    web = script(HANGS)
    await node.ask(Entry.ONLINE, web)
    stuck = node.ask(Entry.IS_ALIVE, web)
    name = ResourceDefinition("Name", "Network Name")
    assert await node.ask(Entry.ONLINE, name) == (True, "")
    assert await node.ask(Entry.TERMINATE, web) == (True, "")
    assert not stuck.done()
    node.monitor.restart("a call has not returned")
    assert await node.died == "its process has ended"
    assert not stuck.done()


def test_a_monitor_ends_with_its_node_and_takes_everything_along() -> None:
    """No orphans: when the pipe to the node breaks, monitor and applications end, whatever they are doing."""
    monitor = subprocess.Popen(
        [sys.executable, "-m", "hvcluster.node.rhs"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    )
    assert monitor.stdin is not None
    assert monitor.stdout is not None
    call = Call(1, Entry.ONLINE, "Shop", "Sleeper", "Generic Application", (("command_line", "sleep 1000"),))
    monitor.stdin.write(line(call))
    monitor.stdin.flush()
    assert answer_in(monitor.stdout.readline()) == Answer(1, True, "")
    (child,) = children(monitor.pid)
    monitor.stdin.close()
    assert monitor.wait() == -signal.SIGKILL
    asyncio.run(gone(child))
    monitor.stdout.close()


def test_calls_and_answers_survive_their_wire() -> None:
    """One line each, whatever names and reasons contain."""
    call = Call(7, Entry.IS_ALIVE, "Shop\n", "W e b", "Generic Script", (("a", "b\nc"),))
    assert line(call).count(b"\n") == 1
    assert call_in(line(call)) == call
    answer = Answer(7, False, "no\nanswer")
    assert answer_in(line(answer)) == answer
