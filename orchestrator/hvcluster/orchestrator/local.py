"""A lab of processes on this machine.

Law: signals and starts the processes of one record, whoever started them first. What they do to the cluster is none of
its business.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NodeId
from hvcluster.runtime import ports, ready

from . import chaos, processes
from .driver import Address, Addresses, Cut, How, Member, Quality
from .errors import Exit, Failure
from .processes import NO_TIE, Child, Tie
from .state import LabDir, Life, ProcessRecord, Role, Runtime, life, start_time


class Local:
    """Driver of one recorded lab. Raises Failure everywhere it cannot do what it was asked."""

    def __init__(self, directory: LabDir, children: Mapping[str, Child] | None = None) -> None:
        self.directory = directory
        runtime = directory.load()
        if runtime is None:
            raise Failure(Exit.NOT_FOUND, f"lab {directory.name!r} is not running", "start it with `hvc up`")
        self._first = runtime
        self._children: dict[str, Child] = dict(children or {})

    @property
    def definition(self) -> ClusterDefinition:
        """The cluster this lab runs."""
        return self._first.definition

    @property
    def runtime(self) -> Runtime:
        """The record as it is now: other commands change it too."""
        for child in self._children.values():
            child.reap()
        return self.directory.load() or self._first

    async def members(self) -> tuple[Member, ...]:
        """Every process with its life now."""
        runtime = self.runtime
        return tuple(
            Member(p.spec.name, p.spec.role, life(p, runtime.boot), NodeId(p.spec.node), p.pid)
            for p in runtime.processes
        )

    async def addresses(self) -> Addresses:
        """From the record; frozen processes included, dead ones too (asking them fails at once)."""
        runtime = self.runtime
        san = runtime.of_role(Role.SAN)
        return Addresses(
            nodes={NodeId(p.spec.node): Address(p.spec.host, p.spec.port) for p in runtime.of_role(Role.NODE)},
            san=Address(san[0].spec.host, san[0].spec.port) if san else None,
            vms={vm.vm: Address(vm.host, vm.port) for vm in runtime.ports},
        )

    def kept(self, name: str) -> Path | None:
        """From the record; the folder may be gone."""
        record = self.runtime.process(name)
        return Path(record.spec.data) if record is not None and record.spec.data else None

    def _record(self, name: str) -> tuple[Runtime, ProcessRecord]:
        runtime = self.runtime
        record = runtime.process(name)
        assert record is not None, f"{name} was looked up before"
        return runtime, record

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        runtime, record = self._record(name)
        processes.send(record, runtime.boot, signal.SIGKILL)
        await processes.gone(record, runtime.boot, processes.STOP_S)

    async def freeze(self, name: str) -> None:
        """SIGSTOP, and wait until the kernel shows it stopped."""
        runtime, record = self._record(name)
        if not processes.send(record, runtime.boot, signal.SIGSTOP):
            raise Failure(Exit.REFUSED, f"{name} does not run", f"start it with `hvc start {name}`")
        for _ in range(200):
            if life(record, runtime.boot) is not Life.RUNNING:
                return
            await asyncio.sleep(0.005)

    async def thaw(self, name: str) -> None:
        """SIGCONT."""
        runtime, record = self._record(name)
        if not processes.send(record, runtime.boot, signal.SIGCONT):
            raise Failure(Exit.REFUSED, f"{name} does not run", f"start it with `hvc start {name}`")

    async def end(self, name: str) -> None:
        """SIGTERM, then SIGKILL for one that does not listen."""
        runtime, record = self._record(name)
        await processes.end([record], runtime.boot)

    async def start(self, name: str, how: How = How.NORMAL) -> None:
        """Start again with the command line of the record."""
        runtime, record = self._record(name)
        if life(record, runtime.boot) is not Life.DEAD:
            return
        if not ports.is_free(record.spec.port, record.spec.host) and record.spec.port:
            busy = ports.busy(record.spec.host, record.spec.port)
            raise Failure(Exit.PORT_BUSY, f"{name} cannot start: {busy}", "end that process, or choose another port")
        if record.spec.data:
            Path(record.spec.data).mkdir(parents=True, exist_ok=True, mode=0o700)
        tie, fd = self._tie(runtime)
        try:
            child, _ = await processes.start(record.spec, self.directory, tie, how.arguments)
        except ready.NotReady as error:
            raise Failure(Exit.FAILED, str(error), f"its log is {record.spec.log}") from None
        finally:
            if fd >= 0:
                os.close(fd)
        self._children[record.spec.name] = child

    def _tie(self, runtime: Runtime) -> tuple[Tie, int]:
        """Children of a tied lab end with its owner, also those that another command starts."""
        if not runtime.tied_to:
            return NO_TIE, -1
        if runtime.tied_to == os.getpid() and runtime.tied_started == start_time(os.getpid()):
            return Tie(own=True), -1
        if start_time(runtime.tied_to) != runtime.tied_started:
            raise Failure(Exit.REFUSED, f"the command that ran lab {self.directory.name!r} has ended", "run `hvc down`")
        fd = os.open(self.directory.tie, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(fd, True)
        return Tie(fd=fd), fd

    async def wipe(self, name: str) -> None:
        """Remove what the node saved; the marker that it was part of the cluster stays."""
        runtime, record = self._record(name)
        if life(record, runtime.boot) is not Life.DEAD:
            raise Failure(Exit.REFUSED, f"{name} runs", f"kill it first: `hvc kill {name}`")
        shutil.rmtree(record.spec.data, ignore_errors=True)
        Path(record.spec.data).mkdir(parents=True, mode=0o700)

    async def cut(self, name: str, cut: Cut) -> None:
        """Through the node's own chaos service."""
        _, record = self._record(name)
        await chaos.cut(Address(record.spec.host, record.spec.port), name, cut)

    async def heal(self, name: str, cut: Cut | None) -> None:
        """Through the node's own chaos service."""
        _, record = self._record(name)
        await chaos.heal(Address(record.spec.host, record.spec.port), name, cut)

    async def degrade(self, name: str, quality: Quality) -> None:
        """Through the node's own chaos service."""
        _, record = self._record(name)
        await chaos.degrade(Address(record.spec.host, record.spec.port), name, quality)
