"""Starting a whole lab, and ending it from wherever one is.

Law: order and cleanliness. What was started is recorded before anything is waited for; what fails to start takes
everything down again; a tied lab ends with its owner however that ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hvcluster.model import codec
from hvcluster.runtime import brokers, ready, witness_file

from . import kept, plan, processes
from .errors import Exit, Failure
from .lab import Lab
from .local import Local
from .processes import NO_TIE, STOP_ORDER, Child, Tie
from .state import LabDir, Life, ProcessRecord, Role, Runtime, life, start_time

Progress = Callable[[str], None]

_WAVES = ((Role.BUS, Role.SAN, Role.WITNESS), (Role.NODE, Role.SWITCH))
"""Who must serve before whom: nodes retry, but a lab whose wires are there first is healthy sooner."""


def silent(_: str) -> None:
    """No progress shown."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a lab should be started."""

    tied: bool = False
    chaos: bool = True
    fresh: bool = False
    lab_file: str = ""


def alive(runtime: Runtime | None) -> tuple[ProcessRecord, ...]:
    """The processes of a record that live."""
    if runtime is None:
        return ()
    return tuple(p for p in runtime.processes if life(p, runtime.boot) is not Life.DEAD)


async def up(lab: Lab, directory: LabDir, wish: Wish, progress: Progress = silent) -> Local:
    """Start every process of a lab and wait until each serves. Raises Failure; nothing stays started then.

    Whether the cluster is healthy is the observer's question.
    """
    runtime = _prepare(lab, directory, wish)
    children: dict[str, Child] = {}
    tie_fd = _open_tie(directory) if wish.tied else -1
    try:
        for wave in _WAVES:
            specs = [p.spec for p in runtime.processes if p.spec.role in wave]
            progress(f"starting {', '.join(spec.name for spec in specs)}")
            async with asyncio.TaskGroup() as group:
                started = [
                    group.create_task(
                        processes.start(spec, directory, Tie(own=True) if wish.tied else NO_TIE),
                        name=f"start {spec.name}",
                    )
                    for spec in specs
                ]
            children |= {spec.name: task.result()[0] for spec, task in zip(specs, started, strict=True)}
    except BaseException as error:
        await down(directory)
        if tie_fd >= 0:
            os.close(tie_fd)
        if isinstance(error, ExceptionGroup):
            raise _failure(error) from None
        raise
    return Local(directory, children)


def _prepare(lab: Lab, directory: LabDir, wish: Wish) -> Runtime:
    with directory.locked():
        running = alive(_record(directory))
        if running:
            names = ", ".join(f"{p.spec.name} (pid {p.pid})" for p in running[:4])
            raise Failure(
                Exit.REFUSED,
                f"lab {directory.name!r} is up already: {names}",
                "end it with `hvc down`, or give this one another name",
            )
        if wish.fresh:
            kept.remove(directory)
        kept.check(lab, directory)
        directory.make()
        kept.remember(lab, directory)
        owner = os.getpid() if wish.tied else 0
        try:
            runtime = plan.runtime_of(
                lab, directory, wish.chaos, owner, start_time(owner) if owner else 0, wish.lab_file
            )
        except plan.PortsBusy as error:
            raise Failure(
                Exit.PORT_BUSY, str(error), "end the holder, or choose another port in the lab file"
            ) from None
        except OSError as error:
            if not isinstance(error, socket.gaierror) and error.errno != errno.EADDRNOTAVAIL:
                raise
            remedy = "write an address of this machine as bind in [network], or leave it out"
            raise Failure(Exit.LAB_INVALID, f"nothing can listen at {lab.bind!r}: {error.strerror}", remedy) from None
        except brokers.NoMosquitto as error:
            raise Failure(Exit.REFUSED, str(error)) from None
        plan.make_directories(directory, runtime)
        if lab.witness_directory is not None:
            _make_share(lab.witness_directory, runtime.definition.id)
        directory.save(runtime)
    return runtime


def _make_share(share: Path, cluster_id: str) -> None:
    try:
        witness_file.prepare(share, cluster_id)
    except OSError as error:
        text = f"the witness cannot be made in {share}: {error.strerror}"
        raise Failure(Exit.REFUSED, text, "let this user write to the share, or mount it") from None


def _record(directory: LabDir) -> Runtime | None:
    try:
        return directory.load()
    except codec.Malformed:
        return None  # another version wrote it; the sweep of `down` finds its processes


def _open_tie(directory: LabDir) -> int:
    """Create the lab's tie and keep its writing end: its end of file is our end (see `Local.start`)."""
    directory.tie.unlink(missing_ok=True)
    os.mkfifo(directory.tie, 0o600)
    reading = os.open(directory.tie, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return os.open(directory.tie, os.O_WRONLY | os.O_CLOEXEC)
    finally:
        os.close(reading)


def _failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of several simultaneous failures, as one a person can use."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, ready.NotReady):
        busy = "busy" in str(first) or "in use" in str(first)
        return Failure(Exit.PORT_BUSY if busy else Exit.FAILED, str(first), "see above; nothing stays started")
    return first


async def down(directory: LabDir, purge: bool = False, progress: Progress = silent) -> int:
    """End every process of a lab; returns how many lived. The record goes, data and logs stay unless `purge`."""
    runtime = _record(directory)
    running = alive(runtime)
    if runtime is not None:
        for role, grace_s in STOP_ORDER:
            records = [p for p in running if p.spec.role is role]
            if records:
                progress(f"ending {', '.join(p.spec.name for p in records)}")
                await processes.end(records, runtime.boot, grace_s)
    swept = processes.sweep(directory)
    if purge:
        directory.purge()
    else:
        directory.forget()
    return len(running) + len(swept)


@contextlib.asynccontextmanager
async def tied(
    lab: Lab, directory: LabDir, wish: Wish | None = None, progress: Progress = silent, purge: bool = True
) -> AsyncIterator[Local]:
    """A lab that lives as long as the block: Ctrl-C, an exception or SIGKILL of this process leaves nothing behind."""
    driver = await up(lab, directory, wish or Wish(tied=True), progress)
    try:
        yield driver
    finally:
        await asyncio.shield(down(directory, purge))


def remove_leftovers(home: Path, prefix: str) -> Sequence[str]:
    """Directories of tied labs of a kind whose owner was killed: removes them, returns their names."""
    removed = []
    for entry in sorted(home.glob(f"{prefix}*")) if home.is_dir() else ():
        directory = LabDir(entry)
        runtime = _record(directory)
        orphaned = runtime is None or (runtime.tied_to and start_time(runtime.tied_to) != runtime.tied_started)
        if orphaned and not alive(runtime):
            directory.purge()
            removed.append(directory.name)
    return removed
