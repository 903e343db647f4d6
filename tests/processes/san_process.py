"""An array as a real process for the tests, and an initiator to talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, Signals

import grpc.aio

from hvcluster.model.scsi import Command, Result, Sense, SenseKey, Status
from hvcluster.model.scsi import TestUnitReady as UnitReady
from hvcluster.model.vocabulary import LunId, PathName
from hvcluster.node.initiator import Initiator
from hvcluster.runtime import channels, parent, ports, ready
from hvcluster.v1 import san_pb2, san_pb2_grpc

TARGET = "iqn.2026-01.lab.hvcluster:array"
LUN = LunId(2)
BLOCKS = 4_096
PATH = PathName("A")
DEADLINE_S = 20.0
"""For everything that should take milliseconds: the machine may be busy."""


@dataclass
class SanProcess:
    """An array that can be killed and started again on the same port and directory."""

    data: Path
    port: int
    options: Sequence[str] = ()
    initiators: Sequence[str] = ("a", "b")
    process: asyncio.subprocess.Process | None = None
    _channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return self.data.with_suffix(".log")

    def argv(self) -> list[str]:
        """The command line, without what announces readiness."""
        arguments = ["--data", str(self.data), "--port", str(self.port), "--lun", f"{LUN}:{BLOCKS}"]
        for name in self.initiators:
            arguments += ["--unmask", f"{LUN}:{name}"]
        return [sys.executable, "-m", "hvcluster.san", *arguments, *self.options, "--log", str(self.log)]

    async def start(self) -> None:
        """Start and wait until it serves."""
        with ready.Announcement() as said:
            self.process = await asyncio.create_subprocess_exec(
                *self.argv(), *said.arguments(), *parent.arguments(), pass_fds=(said.fd,)
            )
            said.started()
            await said.wait(self.process, "array", DEADLINE_S, self.log)

    async def run_to_the_end(self) -> tuple[int, str]:
        """Start it where it should not come up: exit status and what it said."""
        process = await asyncio.create_subprocess_exec(*self.argv(), stderr=asyncio.subprocess.PIPE)
        async with asyncio.timeout(DEADLINE_S):
            _, said = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    def signal(self, number: Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: Signals) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.signal(number)
        assert self.process is not None
        return await self.process.wait()

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()
        if self.process is not None and self.process.returncode is None:
            await self.end(SIGKILL)

    def channel(self) -> grpc.aio.Channel:
        """A channel of its own, closed with the array."""
        channel = channels.channel("127.0.0.1", self.port)
        self._channels.append(channel)
        return channel

    def admin(self) -> san_pb2_grpc.SanAdminAsyncStub:
        return san_pb2_grpc.SanAdminStub(self.channel())

    def chaos(self) -> san_pb2_grpc.SanChaosAsyncStub:
        return san_pb2_grpc.SanChaosStub(self.channel())

    async def journal(self, sequence: int = 1) -> list[san_pb2.SanJournalRow]:
        """Every row from a sequence number on."""
        rows: list[san_pb2.SanJournalRow] = []
        async for chunk in self.admin().ReadJournal(
            san_pb2.SanJournalRequest(from_sequence=sequence), timeout=DEADLINE_S
        ):
            rows += chunk.rows
        return rows


@contextlib.asynccontextmanager
async def array(folder: Path, *options: str) -> AsyncIterator[SanProcess]:
    """A running array with LUN 2, which a and b see."""
    san = SanProcess(folder / "array", ports.free(1)[0], options)
    try:
        await san.start()
        yield san
    finally:
        await san.close()


class Host:
    """An initiator with one path, for a test to await."""

    def __init__(self, name: str, port: int, command_timeout_s: float = DEADLINE_S) -> None:
        self.changes: list[bool] = []
        self._changed = asyncio.Event()
        self.initiator = Initiator(
            name, {PATH: ("127.0.0.1", port)}, TARGET, self._on_path, command_timeout_s=command_timeout_s
        )

    def _on_path(self, path: PathName, up: bool) -> None:
        assert path == PATH
        self.changes.append(up)
        self._changed.set()

    async def path(self, up: bool) -> None:
        """Wait until the path is up, or down."""
        async with asyncio.timeout(DEADLINE_S):
            while self.initiator.is_up(PATH) != up:
                self._changed.clear()
                await self._changed.wait()

    def submit(self, command: Command, lun: LunId = LUN) -> asyncio.Future[Result]:
        """Send a command; the future gets its one answer."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self.initiator.submit(PATH, lun, command, future.set_result)
        return future

    async def ask(self, command: Command, lun: LunId = LUN) -> Result:
        """The answer to a command."""
        async with asyncio.timeout(DEADLINE_S):
            return await self.submit(command, lun)

    async def ready(self) -> None:
        """Wait for the path and hear what the array has to tell."""
        await self.path(True)
        for _ in range(8):
            if (await self.ask(UnitReady())).status is Status.GOOD:
                return
        raise AssertionError("the unit does not get ready")


@contextlib.asynccontextmanager
async def host(name: str, san: SanProcess, command_timeout_s: float = DEADLINE_S) -> AsyncIterator[Host]:
    """A host whose path is up and whose unit attentions are heard."""
    found = Host(name, san.port, command_timeout_s)
    running = asyncio.create_task(found.initiator.run(), name=f"host {name}")
    try:
        await found.ready()
        yield found
    finally:
        running.cancel()
        await asyncio.wait((running,))
        assert running.cancelled(), running


def is_attention(result: Result) -> bool:
    """Whether a result reports a unit attention."""
    return (
        result.status is Status.CHECK_CONDITION
        and isinstance(result.sense, Sense)
        and (result.sense.key is SenseKey.UNIT_ATTENTION)
    )
