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
    while any(start_time(pid) for pid in pids) or not all(ports.is_free(port) for port in taken):
        # A process of several threads is a zombie before the last of them has given its sockets back.
        still = [pid for pid in pids if start_time(pid)], [port for port in taken if not ports.is_free(port)]
        assert time.monotonic() < end, f"still there: processes {still[0]}, ports {still[1]}"
        time.sleep(0.01)


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
