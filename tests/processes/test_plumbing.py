"""Ties between processes, readiness, signals, ports and servers: with real processes and real signals."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hvcluster.runtime import brokers, parent, ports, ready, tied

DEADLINE_S = 20.0

PARENT_OF_A_TIED_CHILD = """
import os, subprocess, sys, time
from hvcluster.runtime import parent, tied
kind = sys.argv[1]
reading, writing = os.pipe()
if kind == "foreign":
    argv = tied.argv(["sleep", "600"])
elif kind == "pipe":
    argv = [sys.executable, "-c", sys.argv[2], "--parent-fd", str(reading)]
else:
    argv = [sys.executable, "-c", sys.argv[2], *parent.arguments()]
child = subprocess.Popen(argv, pass_fds=(reading,) if kind == "pipe" else (), stdout=subprocess.PIPE)
if kind == "foreign":
    while open(f"/proc/{child.pid}/comm").read().strip() != "sleep":
        time.sleep(0.01)
else:
    child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""

TIED_CHILD = """
import argparse, time
from hvcluster.runtime import parent
parser = argparse.ArgumentParser()
parent.add_arguments(parser)
options = parser.parse_args()
parent.tie(options.die_with_parent, options.parent_fd)
print("tied", flush=True)
time.sleep(600)
"""

STOPPABLE = """
import asyncio, sys
from hvcluster.runtime import loop, signals
async def work():
    try:
        await asyncio.Event().wait()
    finally:
        print("cleaning up", flush=True)
        if sys.argv[2] == "slow":
            await asyncio.Event().wait()
async def main():
    stop = signals.install()
    print("ready", flush=True)
    assert await signals.until_stopped(stop, work()) is None
    print(stop.reason, flush=True)
    return stop.exit_status
sys.exit(loop.run(main(), sys.argv[1]))
"""


@pytest.fixture
async def children() -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes a test started; those that live are ended by their pid."""
    started: list[asyncio.subprocess.Process] = []
    yield started
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def python(
    children: list[asyncio.subprocess.Process], program: str, *arguments: str, fds: tuple[int, ...] = ()
) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=fds,
    )
    children.append(process)
    return process


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        return (await process.stdout.readline()).decode().strip()


async def gone(pid: int) -> None:
    """Wait for the end of a process that is not our child, by its pidfd."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ended.set)
    try:
        async with asyncio.timeout(DEADLINE_S):
            await ended.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


# --- ties


@pytest.mark.parametrize("kind", ["kernel", "pipe", "foreign"])
async def test_a_tied_child_dies_when_its_parent_is_sigkilled(
    kind: str, children: list[asyncio.subprocess.Process]
) -> None:
    """`hvc demo` and tests leave no process behind, even if they are SIGKILLed themselves."""
    process = await python(children, PARENT_OF_A_TIED_CHILD, kind, TIED_CHILD)
    grandchild = int(await line(process))
    process.kill()
    await process.wait()
    await gone(grandchild)


async def test_a_child_whose_parent_died_before_the_tie_ends_at_once(
    children: list[asyncio.subprocess.Process],
) -> None:
    """The race of PR_SET_PDEATHSIG: the parent named on the command line is not the parent any more."""
    process = await python(children, TIED_CHILD, "--die-with-parent", "1")
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == parent.ORPHAN_EXIT_STATUS


@pytest.mark.skipif(brokers.find_mosquitto() is None, reason="mosquitto is not installed")
async def test_mosquitto_stays_tied_although_it_would_change_its_user(
    tmp_path: Path, children: list[asyncio.subprocess.Process]
) -> None:
    """Started by root, Mosquitto changes to the user `mosquitto` unless told otherwise; the kernel would
    untie it.
    """
    broker = brokers.command("mosquitto", "A", ports.free(1)[0], tmp_path / "mosquitto.conf")
    assert broker.config_file is not None
    assert broker.config is not None
    broker.config_file.write_text(broker.config)
    launcher = (
        "import subprocess, sys, time\nfrom hvcluster.runtime import tied\n"
        "print(subprocess.Popen(tied.argv(sys.argv[1:])).pid, flush=True)\ntime.sleep(600)"
    )
    process = await python(children, launcher, *broker.argv)
    pid = int(await line(process))
    port = int(broker.config.split()[1])
    await ready.wait_listening(process, "mosquitto", ports.LOOPBACK, port, DEADLINE_S)
    process.kill()
    await process.wait()
    await gone(pid)


async def test_a_program_that_does_not_exist_is_named(children: list[asyncio.subprocess.Process]) -> None:
    """`tied` fails like a shell: status 127 and the name."""
    process = await asyncio.create_subprocess_exec(*tied.argv(["no-such-program"]), stderr=asyncio.subprocess.PIPE)
    children.append(process)
    _, errors = await process.communicate()
    assert (process.returncode, b"no-such-program" in errors) == (127, True)


# --- readiness

ANNOUNCING = "import sys; from hvcluster.runtime import ready; ready.announce(int(sys.argv[1]), ports={'grpc': 4711})"


async def test_a_ready_child_names_its_ports(children: list[asyncio.subprocess.Process]) -> None:
    """The parent learns ports from the child, not by guessing."""
    with ready.Announcement() as announcement:
        process = await python(children, ANNOUNCING, str(announcement.fd), fds=(announcement.fd,))
        said = await announcement.wait(process, "node 1", DEADLINE_S)
    assert (said.pid, said.ports) == (process.pid, {"grpc": 4711})


async def test_a_child_that_dies_first_is_reported_with_its_last_log_lines(
    tmp_path: Path, children: list[asyncio.subprocess.Process]
) -> None:
    """`hvc up` must say why a node did not come up, not only that it did not."""
    log = tmp_path / "node-1.log"
    log.write_text("".join(f"line {number}\n" for number in range(100)) + "disk is full\n")
    with ready.Announcement() as announcement:
        process = await python(children, "import sys; sys.exit(7)", fds=(announcement.fd,))
        with pytest.raises(ready.NotReady, match="exited with status 7") as caught:
            await announcement.wait(process, "node 1", DEADLINE_S, log)
    assert caught.value.exit_status == 7
    assert caught.value.log_tail[-1] == "disk is full"
    assert len(caught.value.log_tail) == ready.LOG_TAIL_LINES


async def test_a_silent_child_is_given_up_at_the_deadline(children: list[asyncio.subprocess.Process]) -> None:
    """It is left running: whoever started it decides what to do with it."""
    with ready.Announcement() as announcement:
        process = await python(children, "import time; time.sleep(600)", fds=(announcement.fd,))
        with pytest.raises(ready.NotReady, match=r"within 0\.2 s"):
            await announcement.wait(process, "node 1", 0.2)
    assert process.returncode is None


async def test_a_child_that_says_something_else_is_not_ready(
    children: list[asyncio.subprocess.Process],
) -> None:
    """A program that prints into an inherited pipe must not pass for ready."""
    with ready.Announcement() as announcement:
        program = "import os, sys; os.write(int(sys.argv[1]), b'{\"ready\": 1}\\n')"
        process = await python(children, program, str(announcement.fd), fds=(announcement.fd,))
        with pytest.raises(ready.NotReady, match="something other than ready"):
            await announcement.wait(process, "node 1", DEADLINE_S)


def test_a_ready_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    """For parents that are not the parent: compose health checks, `hvc up` from another terminal."""
    path = tmp_path / "ready.json"
    assert ready.read_file(path) is None
    ready.announce(None, path, {"grpc": 1}, {"node": "HyperV-1"})
    assert ready.read_file(path) == ready.Ready(os.getpid(), {"grpc": 1}, {"node": "HyperV-1"})


# --- signals


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_first_signal_cancels_the_work_and_awaits_its_cleanup(
    loop: str, number: signal.Signals, children: list[asyncio.subprocess.Process]
) -> None:
    """A polite stop ends with status 0."""
    process = await python(children, STOPPABLE, loop, "quick")
    assert await line(process) == "ready"
    process.send_signal(number)
    assert await line(process) == "cleaning up"
    assert await line(process) == f"received {number.name}"
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 0


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_second_signal_does_not_wait(loop: str, children: list[asyncio.subprocess.Process]) -> None:
    """An impatient operator presses Ctrl-C twice."""
    process = await python(children, STOPPABLE, loop, "slow")
    assert await line(process) == "ready"
    process.send_signal(signal.SIGINT)
    assert await line(process) == "cleaning up"
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == 128 + signal.SIGINT
