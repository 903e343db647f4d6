"""Whatever started a lab may die: it takes no part in anything."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from hvcluster.orchestrator import launcher
from hvcluster.orchestrator.errors import Exit
from hvcluster.orchestrator.state import LabDir, marked
from tests.orchestrator.test_cli import Hvc
from tests.orchestrator.test_lab_end_to_end import LAB

STARTED_S = 30.0
PROCESSES = 7


def recorded(folder: Path) -> int:
    """How many processes of the lab run, by its own record."""
    return len(launcher.alive(LabDir(folder).load())) if folder.is_dir() else 0


def test_a_lab_forms_and_fails_over_although_its_orchestrator_was_killed(tmp_path: Path) -> None:
    """Failure table, orchestrator killed: nothing else happens, and `hvc down` still finds and ends everything."""
    hvc = Hvc(tmp_path)
    (tmp_path / "ORPHAN.toml").write_text(LAB.format(name="ORPHAN"))
    folder = tmp_path / "state" / "hvcluster" / "ORPHAN"
    program = "from hvcluster.orchestrator.cli import main; main()"
    starter = subprocess.Popen(
        [sys.executable, "-c", program, "up", "ORPHAN.toml"],
        cwd=tmp_path,
        env=hvc.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + STARTED_S
        # Not before all are started: what an orchestrator had not started yet, nobody starts in its place.
        while recorded(folder) < PROCESSES and starter.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        starter.send_signal(signal.SIGKILL)
        starter.wait(10)
        assert len(marked(folder)) == PROCESSES, "every process of the lab runs on"
        assert hvc("status", "--wait", "30", "--lab", "ORPHAN").returncode == Exit.OK, "the cluster forms without it"
        assert hvc("kill", "HyperV-1", "--lab", "ORPHAN").returncode == Exit.OK
        probe = json.loads(hvc("probe", "D1", "--seconds", "3", "--json", "--lab", "ORPHAN").stdout)
        assert probe["problems"] == []
        assert probe["acknowledged"] > 0
        status = json.loads(hvc("status", "--json", "--lab", "ORPHAN").stdout)
        assert (status["groups"][0]["state"], status["groups"][0]["generation"]) == ("ONLINE", 2)
    finally:
        starter.kill()
        starter.wait()
        hvc("down", "--purge", "--lab", "ORPHAN")
    assert marked(folder) == []
