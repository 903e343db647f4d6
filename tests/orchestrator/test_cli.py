"""`hvc` as scripts use it: exit statuses, where errors go, and how fast it answers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hvcluster.orchestrator.errors import Exit
from hvcluster.orchestrator.lab_template import render
from hvcluster.orchestrator.state import RECORD


class Hvc:
    """The command in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "NO_COLOR": "1"}
        for name in ("HVC_LAB", "HVC_STATE", "HVC_COMPOSE", "HVC_INSIDE"):
            self.environment.pop(name, None)

    def __call__(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        program = "from hvcluster.orchestrator.cli import main; main()"
        return subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


@pytest.fixture
def hvc(tmp_path: Path) -> Hvc:
    """The command in an empty directory."""
    return Hvc(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--help",), Exit.OK, ""),
        (("version",), Exit.OK, ""),
        (("labs",), Exit.OK, ""),
        (("kil",), Exit.USAGE, "did you mean 'kill'"),
        (("kill",), Exit.USAGE, "Missing argument"),
        (("start", "HyperV-1", "-fq", "-pq"), Exit.USAGE, "--force-quorum and --prevent-quorum contradict each other"),
        (("status",), Exit.NOT_FOUND, "no lab is running"),
        (("status", "--lab", "x"), Exit.NOT_FOUND, "no lab 'x'"),
        (("check",), Exit.NOT_FOUND, "hvc new lab"),
        (("check", "."), Exit.NOT_FOUND, "is a directory"),
        (("up", "--timeout", "nan"), Exit.USAGE, "nan is no length of time"),
        (("probe", "--seconds", "-1"), Exit.USAGE, "-1"),
        (("new", "lab", "--name", "no good"), Exit.USAGE, "no cluster name"),
        (("log", "-k", "VM_ONLIN"), Exit.NOT_FOUND, "'VM_ONLINE'"),
    ],
)
def test_exit_statuses(hvc: Hvc, arguments: tuple[str, ...], status: Exit, words: str) -> None:
    """Exit statuses and errors a script can rely on; errors on standard error with a remedy."""
    done = hvc(*arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert (done.stdout == "") == (status is not Exit.OK or arguments == ("labs",))


def test_a_bad_lab_file_starts_nothing(hvc: Hvc) -> None:
    """Bad input: all problems at once, exit status 6, nothing started."""
    (hvc.folder / "lab.toml").write_text('[cluster]\nname = 3\n[[vm]]\nname = "D1"\nlun = 4\n')
    done = hvc("up")
    assert done.returncode == Exit.LAB_INVALID
    assert "lab.toml:2:" in done.stderr
    assert "lab.toml:5:" in done.stderr
    assert not (hvc.folder / "state").exists()


def test_a_busy_port_is_named_with_its_holder(hvc: Hvc) -> None:
    """Bad input: a busy port says which and by whom; nothing stays started."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        text = render("BUSY", "lab.toml").replace("# ports = [1883, 1884]", f"ports = [{port}, 0]")
        (hvc.folder / "lab.toml").write_text(text)
        done = hvc("up")
    assert done.returncode == Exit.PORT_BUSY, done.stderr
    assert f":{port}" in done.stderr
    assert f"pid {os.getpid()}" in done.stderr
    assert not (hvc.folder / "state" / "hvcluster" / "BUSY" / RECORD).exists()


def test_new_lab_does_not_overwrite(hvc: Hvc) -> None:
    """A file that exists is somebody's."""
    assert hvc("new", "lab").returncode == Exit.OK
    assert hvc("new", "lab").returncode == Exit.REFUSED
    assert hvc("check").returncode == Exit.OK


def test_help_needs_no_grpc(hvc: Hvc) -> None:
    """A command answers at once: what is heavy is imported by the commands that need it."""
    program = (
        "import sys, json; from hvcluster.orchestrator.cli import run; run(['--help']); run(['kill', '--help']);"
        "print(json.dumps([m for m in ('grpc', 'rich', 'aiohttp', 'aiomqtt', 'uvloop') if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
