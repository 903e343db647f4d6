"""Brokers as real processes for the tests: started on free ports, ended by their pid.

`HVC_BROKER_CANDIDATE` names a program (with arguments) that takes `--bind ADDRESS --port PORT`; the
conformance tests then run against it as well. That is how other brokers were judged
(docs/decisions/0002-embedded-broker.md).
"""

import asyncio
import contextlib
import os
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from hvcluster.runtime import brokers, parent, ports, ready, tied

DEADLINE_S = 20.0
"""For everything that should take milliseconds: the machine may be busy."""


def kinds() -> list[str]:
    """The kinds of broker to test on this machine."""
    found = ["embedded"]
    if brokers.find_mosquitto() is not None:
        found.append("mosquitto")
    if os.environ.get("HVC_BROKER_CANDIDATE"):
        found.append("candidate")
    return found


@dataclass
class BrokerProcess:
    """A broker that can be killed and started again on the same port."""

    kind: str
    folder: Path
    port: int
    process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start and wait until it serves."""
        log = self.folder / f"{self.kind}.log"
        with log.open("ab") as output, ready.Announcement() as announcement:
            argv, announces = self._argv(announcement)
            self.process = await asyncio.create_subprocess_exec(
                *argv, stdout=output, stderr=output, pass_fds=(announcement.fd,)
            )
            if announces:
                await announcement.wait(self.process, self.kind, DEADLINE_S, log)
            else:
                await ready.wait_listening(self.process, self.kind, ports.LOOPBACK, self.port, DEADLINE_S, log)

    def _argv(self, announcement: ready.Announcement) -> tuple[list[str], bool]:
        if self.kind == "candidate":
            words = shlex.split(os.environ["HVC_BROKER_CANDIDATE"])
            return tied.argv([*words, "--bind", ports.LOOPBACK, "--port", str(self.port)]), False
        kind: brokers.Kind = "mosquitto" if self.kind == "mosquitto" else "embedded"
        broker = brokers.command(kind, "A", self.port, self.folder / "mosquitto.conf")
        if broker.config is not None and broker.config_file is not None:
            broker.config_file.write_text(broker.config)
        if broker.announces:
            return [*broker.argv, *announcement.arguments(), *parent.arguments()], True
        return tied.argv(broker.argv), False

    async def kill(self) -> int:
        """SIGKILL, by its pid; returns the exit status."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        return await self.process.wait()

    async def terminate(self) -> int:
        """SIGTERM, by its pid; returns the exit status."""
        assert self.process is not None
        self.process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def running(kind: str, folder: Path) -> AsyncIterator[BrokerProcess]:
    """A broker of `kind` on a free port, ended afterwards."""
    broker = BrokerProcess(kind, folder, ports.free(1)[0])
    try:
        await broker.start()
        yield broker
    finally:
        if broker.process is not None and broker.process.returncode is None:
            await broker.kill()
