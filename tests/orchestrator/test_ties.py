"""Nothing is left behind: a tied lab ends with its owner, and a signal reaches only the process it is meant for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvcluster.orchestrator import processes
from hvcluster.orchestrator.state import LabDir, Life, ProcessRecord, ProcessSpec, Role, boot_id, life, start_time
from hvcluster.runtime import ports

RUNNER = Path(__file__).parent / "lab_runner.py"
SPEC = ProcessSpec("x", Role.NODE, (), "127.0.0.1", 1, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_tied_lab_ends_with_its_owner(tmp_path: Path, number: signal.Signals) -> None:
    """Nothing is left behind: Ctrl-C, an exception or a SIGKILLed parent leaves no process and no port."""
    owner = subprocess.Popen(
        [sys.executable, str(RUNNER), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    assert len(pids) == 7, "two buses, the array, three nodes and the switch"
    runtime = LabDir(tmp_path / "TIED").load()
    assert runtime is not None
    taken = [record.spec.port for record in runtime.processes]
    os.kill(pids[3], signal.SIGSTOP)  # a frozen child ends with its owner too
    owner.send_signal(number)
    owner.wait(timeout=20)
    owner.stdout.close()
    end = time.monotonic() + 10
    while still := [pid for pid in pids if start_time(pid)]:
        assert time.monotonic() < end, f"still there: {still}"
        time.sleep(0.01)
    assert [port for port in taken if not ports.is_free(port)] == []


def test_a_reused_pid_is_never_signalled() -> None:
    """A process is the one of the record only if pid, start time and boot agree."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        real = ProcessRecord(SPEC, other.pid, start_time(other.pid))
        assert life(real, boot_id()) is Life.RUNNING
        reused = ProcessRecord(SPEC, other.pid, real.started - 1)
        assert life(reused, boot_id()) is Life.DEAD
        assert life(real, "another boot") is Life.DEAD
        assert not processes.send(reused, boot_id(), signal.SIGKILL)
        assert other.poll() is None
        assert processes.send(real, boot_id(), signal.SIGSTOP)
        end = time.monotonic() + 5
        while life(real, boot_id()) is not Life.FROZEN:
            assert time.monotonic() < end
        assert processes.send(real, boot_id(), signal.SIGKILL)
    assert life(real, boot_id()) is Life.DEAD


THREADS_AND_A_PORT = """
import socket, threading
server = socket.create_server(("127.0.0.1", 0))
for _ in range(40):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print(server.getsockname()[1], flush=True)
threading.Event().wait()
"""


def test_a_process_is_dead_only_when_its_port_is_free() -> None:
    """Its first thread may be a zombie while others still hold the sockets: it could not be started again yet."""
    for _ in range(25):
        with subprocess.Popen([sys.executable, "-c", THREADS_AND_A_PORT], stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            port = int(other.stdout.readline())
            record = ProcessRecord(SPEC, other.pid, start_time(other.pid))
            assert processes.send(record, boot_id(), signal.SIGKILL)
            end = time.monotonic() + 10
            while life(record, boot_id()) is not Life.DEAD:
                assert time.monotonic() < end
            assert ports.is_free(port)
