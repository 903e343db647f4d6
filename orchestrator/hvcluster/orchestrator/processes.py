"""Starting and ending one process of a lab.

Law: knows processes, not clusters. Every child gets a session of its own (Ctrl-C reaches the orchestrator alone, which
then ends its children in order), an environment mark by which it can be found again, and a log file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hvcluster.runtime import parent, ready, tied

from .state import MARK, LabDir, Life, ProcessRecord, ProcessSpec, Role, life, marked, start_time

READY_S: Final = 20.0
"""Python with grpc takes half a second to start on an idle core, and many nodes start at once."""
STOP_S: Final = 5.0
"""A polite stop that takes longer than this has failed; SIGKILL follows."""
_OF_A_MACHINE: Final = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)
_POLL_S: Final = 0.01


class Child:
    """A child that may outlive us: unlike asyncio's subprocesses it is not killed when its handle is dropped."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        """The process id."""
        return self._popen.pid

    async def wait(self) -> int:
        """The exit status, negative for a signal."""
        try:
            fd = os.pidfd_open(self.pid)
        except (OSError, AttributeError):
            while self._popen.poll() is None:  # noqa: ASYNC110 - no pidfd, nothing tells us
                await asyncio.sleep(_POLL_S)
            return self._popen.returncode
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        loop.add_reader(fd, _wake, ended)
        try:
            await ended
        finally:
            loop.remove_reader(fd)
            os.close(fd)
        return self._popen.wait()

    def reap(self) -> int | None:
        """Collect the exit status if the child has ended."""
        return self._popen.poll()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@dataclass(frozen=True, slots=True)
class Tie:
    """How children end with their parent. `fd`: the reading end of the lab's tie, for children of a foreign command."""

    own: bool = False
    fd: int = -1


NO_TIE: Final = Tie()


def spawn(spec: ProcessSpec, lab: LabDir, tie: Tie, more: Sequence[str], keep_fds: Sequence[int]) -> Child:
    """Start the process without waiting for anything. Raises OSError if the program cannot be run.

    Called from the main thread only: the kernel takes the starting thread for the parent (see runtime.parent).
    """
    argv = [*spec.argv, *more]
    if tie.own:
        argv = [*argv, *parent.arguments()] if spec.announces else tied.argv(argv)
    elif tie.fd >= 0 and spec.announces:
        argv += ["--parent-fd", str(tie.fd)]
    with open(spec.log, "ab", buffering=0) as log:
        return Child(
            subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[*keep_fds, *([tie.fd] if tie.fd >= 0 else [])],
                env={**os.environ, MARK: str(lab.path), "PYTHONUNBUFFERED": "1"},
                cwd="/",
            )
        )


async def start(spec: ProcessSpec, lab: LabDir, tie: Tie, more: Sequence[str] = ()) -> tuple[Child, ready.Ready]:
    """Start the process, record it, wait until it says it is ready. Raises ready.NotReady (it is ended then)."""
    log = Path(spec.log)
    with ready.Announcement() as announcement:
        extra = [*more, *(announcement.arguments() if spec.announces else ())]
        child = spawn(spec, lab, tie, extra, [announcement.fd] if spec.announces else [])
        lab.update(ProcessRecord(spec, child.pid, start_time(child.pid)))
        try:
            if spec.announces:
                return child, await announcement.wait(child, spec.name, READY_S, log)
            return child, await ready.wait_listening(child, spec.name, spec.host, spec.port, READY_S, log)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            raise


def send(record: ProcessRecord, boot: str, number: signal.Signals) -> bool:
    """Signal the process of a record; False if it is dead. What stops or ends a machine concerns all that runs on it:
    the resource monitor and the applications of a node are of its session.
    """
    if life(record, boot) is Life.DEAD:
        return False
    others = session(record.pid) if number in _OF_A_MACHINE else ()
    try:
        os.kill(record.pid, number)
    except ProcessLookupError:
        return False
    for pid in others:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    return True


def session(leader: int) -> list[int]:
    """The other processes of a session that a process leads."""
    found: list[int] = []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit() and int(entry) != leader:
            with contextlib.suppress(OSError, IndexError):  # it has ended meanwhile
                behind_name = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                if int(behind_name[3]) == leader:
                    found.append(int(entry))
    return found


async def gone(record: ProcessRecord, boot: str, deadline_s: float) -> bool:
    """Wait until the process of a record has ended; False if it has not in time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while life(record, boot) is not Life.DEAD:
        if loop.time() >= end:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def end(records: Sequence[ProcessRecord], boot: str, grace_s: float = STOP_S) -> None:
    """SIGTERM to all, SIGKILL to those that stay (a frozen one is killed at once); returns when all are gone."""
    loop = asyncio.get_running_loop()
    last = loop.time() + grace_s
    for record in records:
        frozen = life(record, boot) is Life.FROZEN
        send(record, boot, signal.SIGKILL if frozen or grace_s <= 0 else signal.SIGTERM)
    for record in records:
        if not await gone(record, boot, last - loop.time()):
            send(record, boot, signal.SIGKILL)
            await gone(record, boot, STOP_S)


def sweep(lab: LabDir) -> list[int]:
    """SIGKILL whatever still carries the lab's mark; returns the pids. The last resort of `hvc down`."""
    pids = marked(lab.path)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return pids


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command line of one of our own processes."""
    return (sys.executable, "-m", module, *arguments)


STOP_ORDER: Final = (
    (Role.NODE, 0.0),
    (Role.SWITCH, STOP_S),
    (Role.SAN, STOP_S),
    (Role.WITNESS, STOP_S),
    (Role.BUS, STOP_S),
)
"""Who ends when, with which grace. Nodes first and at once: a node asked politely would move its VMs to nodes that end
too; what was acknowledged is on the LUNs already."""
