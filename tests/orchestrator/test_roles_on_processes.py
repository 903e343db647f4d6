"""A role of resources on real processes: in order online, failed by its policy, moved, and gone with its lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hvcluster.orchestrator.errors import Exit
from hvcluster.orchestrator.state import marked
from tests.orchestrator.test_cli import Hvc

LAB = """[cluster]
name = "SHOP"
timing = "lab"
[[node]]
name = "HyperV-1"
[[node]]
name = "HyperV-2"
[[node]]
name = "HyperV-3"
[[lun]]
id = 1
size = "16 MiB"
[[lun]]
id = 2
size = "16 MiB"
[witness]
lun = 1
[[group]]
name = "Shop"
lun = 2
owner = "HyperV-1"
[[group.resource]]
name = "Shop name"
type = "Network Name"
depends = "[Cluster Disk 2]"
[[group.resource]]
name = "Shop script"
type = "Generic Script"
depends = "[Shop name]"
properties = {{ script_file = "{folder}/shop.py", journal = "{folder}/journal" }}
[[group.resource]]
name = "Shop service"
type = "Generic Application"
depends = "[Shop script] AND [Shop name]"
properties = {{ command_line = "sleep 86400" }}
"""
SCRIPT = """
def _note(properties, word):
    with open(properties["journal"], "a") as journal:
        print(word, file=journal)
def online(properties):
    _note(properties, "online")
def offline(properties):
    _note(properties, "offline")
"""
PATIENCE_S = 30.0


class Shop:
    """The lab and its command."""

    def __init__(self, hvc: Hvc) -> None:
        self.hvc = hvc
        (hvc.folder / "shop.py").write_text(SCRIPT)
        (hvc.folder / "lab.toml").write_text(LAB.format(folder=hvc.folder))
        self.folder = hvc.folder / "state" / "hvcluster" / "SHOP"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command."""
        return self.hvc(*arguments, "--lab", "SHOP")

    def ok(self, *arguments: str) -> str:
        """One command that succeeds."""
        done = self.run(*arguments)
        assert done.returncode == Exit.OK, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout

    def journal(self) -> list[str]:
        """What the script was called for."""
        return (self.hvc.folder / "journal").read_text().split()

    def states(self) -> dict[str, str]:
        """The state of each resource of the role."""
        rows = json.loads(self.ok("get", "resource", "-o", "json"))
        return {row["Name"]: row["State"] for row in rows if row["OwnerGroup"] == "Shop"}

    def group(self) -> tuple[str, str, int]:
        """Owner, state and generation."""
        row = json.loads(self.ok("get", "group", "Shop", "-o", "json"))[0]
        return row["OwnerNode"], row["State"], row["Generation"]

    def until(self, holds: Callable[[], bool]) -> None:
        """Look until it is so."""
        end = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < end, (self.group(), self.states())
            time.sleep(0.1)

    def online(self, owner: str, generation: int) -> Callable[[], bool]:
        """Everything is online there."""
        return lambda: self.group() == (owner, "Online", generation) and set(self.states().values()) == {"Online"}

    def running(self, words: str) -> list[int]:
        """Processes of the lab with that in their command line."""
        found = []
        for pid in marked(self.folder):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if words in line:
                found.append(pid)
        return found


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """The role runs on HyperV-1; whatever the test does, nothing is left afterwards."""
    made = Shop(Hvc(tmp_path))
    up = made.hvc("up", "lab.toml")
    assert up.returncode == Exit.OK, up.stderr
    yield made
    made.run("down", "--purge")
    assert marked(made.folder) == []


@pytest.mark.conforms("dependencies")
def test_a_role_of_resources_from_up_to_down(shop: Shop) -> None:
    """Restart on the same node, failover when restarts are spent, a monitor that is killed, a node that is killed."""
    assert shop.online("HyperV-1", 1)()
    rows = json.loads(shop.ok("get", "dependency", "-o", "json"))
    assert {"Resource": "Shop service", "DependencyExpression": "[Shop script] AND [Shop name]"} in rows
    shop.ok("fail", "shop name")
    shop.until(lambda: shop.journal() == ["online", "offline", "online"])
    shop.until(shop.online("HyperV-1", 1))
    shop.ok("fail", "Shop name")
    shop.until(shop.online("HyperV-2", 2))

    (monitor,) = [pid for pid in shop.running("hvcluster.node.rhs") if os.getpgid(pid) in _groups(shop)]
    os.kill(monitor, signal.SIGKILL)
    shop.until(lambda: monitor not in shop.running("hvcluster.node.rhs"))
    shop.until(shop.online("HyperV-2", 2))
    assert "1146" in shop.ok("get", "events", "--id", "1146")

    (service,) = shop.running("sleep 86400")
    shop.ok("kill", "HyperV-2")
    shop.until(shop.online("HyperV-1", 3))
    assert service not in shop.running("sleep 86400")
    assert shop.run("offline", "Cluster Disk 2").returncode != Exit.OK
    shop.ok("offline", "Shop script")
    assert shop.states() == {
        "Cluster Disk 2": "Online", "Shop name": "Online", "Shop script": "Offline", "Shop service": "Offline",
    }  # fmt: skip
    assert shop.group()[1] == "PartialOnline"
    shop.ok("online", "Shop service")
    shop.until(shop.online("HyperV-1", 3))


def _groups(shop: Shop) -> set[int]:
    """Process groups in which the service of the role runs: that of the monitor which hosts it."""
    return {os.getpgid(pid) for pid in shop.running("sleep 86400")}
