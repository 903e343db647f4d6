"""A lab from `hvc up` to `hvc down`, as a script drives it: real processes, real ports, real signals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict, cast

import pytest

from hvcluster.orchestrator.errors import Exit
from hvcluster.orchestrator.state import marked
from tests.orchestrator.test_cli import Hvc

LAB = """[cluster]
name = "{name}"
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
[[vm]]
name = "D1"
lun = 2
owner = "HyperV-1"
boot_delay_ms = 500
"""


class Group(TypedDict):
    """What a script reads of a group."""

    name: str
    state: str
    owner: str
    generation: int
    address: str


class Lab:
    """A running lab and its command."""

    def __init__(self, hvc: Hvc, name: str) -> None:
        self.hvc = hvc
        self.name = name
        (hvc.folder / f"{name}.toml").write_text(LAB.format(name=name))

    @property
    def folder(self) -> Path:
        return self.hvc.folder / "state" / "hvcluster" / self.name

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.hvc(*arguments, "--lab", self.name)

    def ok(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == Exit.OK, f"{arguments}: {done.stderr}{done.stdout}"
        return done.stdout

    def up(self) -> None:
        done = self.hvc("up", f"{self.name}.toml")
        assert done.returncode == Exit.OK, done.stderr

    def d1(self) -> Group:
        groups = cast("list[Group]", json.loads(self.ok("status", "--json"))["groups"])
        return groups[0]

    def healthy(self) -> Group:
        self.ok("status", "--wait", "30")
        return self.d1()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A healthy lab of three nodes; whatever the test does, it is down afterwards."""
    made = Lab(Hvc(tmp_path), "ONE")
    made.up()
    yield made
    made.run("down", "--purge")
    assert marked(made.folder) == []


def test_a_killed_owner_loses_its_vm_and_takes_nothing_back(lab: Lab) -> None:
    """Failure table, node killed: VM elsewhere, rejoined as a new life; a client's journal stays one chain."""
    assert lab.d1()["owner"] == "HyperV-1"
    lab.ok("kill", "hyperv-1")
    probe = json.loads(lab.ok("probe", "D1", "--seconds", "3", "--json"))
    assert probe["acknowledged"] > 10
    assert probe["problems"] == []
    moved = lab.d1()
    assert (moved["owner"], moved["generation"], moved["state"]) == ("HyperV-2", 2, "ONLINE")
    assert lab.run("kill", "HyperV-1").returncode == Exit.REFUSED
    lab.ok("start", "1")
    assert lab.healthy() == moved


def test_the_lab_outlives_its_command_and_down_ends_it_from_anywhere(lab: Lab) -> None:
    """Processes: `hvc up` returns when healthy; `hvc down` ends everything; what was written is still there."""
    address = lab.d1()["address"]
    assert len(marked(lab.folder)) == 7
    lab.hvc.folder.joinpath("elsewhere").mkdir()
    assert lab.hvc("up", "ONE.toml").returncode == Exit.REFUSED, "it is up already"
    before = json.loads(lab.ok("probe", "D1", "--seconds", "0.5", "--json"))
    lab.ok("down")
    assert marked(lab.folder) == []
    assert lab.run("status").returncode == Exit.NOT_FOUND
    assert lab.hvc("labs").stdout.split()[:2] == ["ONE", "stopped"]
    lab.up()
    assert lab.hvc("labs").stdout.split()[:2] == ["ONE", "running"]
    after = json.loads(lab.ok("probe", "D1", "--seconds", "0.5", "--json"))
    assert after["records"] > before["records"]
    assert after["problems"] == []
    assert lab.d1()["address"] != "" != address


def test_a_changed_lab_file_needs_a_fresh_start(lab: Lab) -> None:
    """Saved state belongs to the cluster that wrote it: nothing is guessed about another."""
    lab.ok("down")
    file = lab.hvc.folder / "ONE.toml"
    file.write_text(file.read_text().replace("boot_delay_ms = 500", "boot_delay_ms = 600"))
    refused = lab.hvc("up", "ONE.toml")
    assert refused.returncode == Exit.REFUSED
    assert "--fresh" in refused.stderr
    file.write_text(LAB.format(name="ONE").replace('id = 2\nsize = "16 MiB"', 'id = 2\nsize = "32 MiB"'))
    larger = lab.hvc("up", "ONE.toml")
    assert larger.returncode == Exit.REFUSED, "the VM could not find the footer of its VHD"
    assert "LUN 2 from 16 MiB to 32 MiB" in larger.stderr
    assert lab.hvc("up", "ONE.toml", "--fresh").returncode == Exit.OK


def test_names_that_are_not_there_are_answered_with_near_ones(lab: Lab) -> None:
    """Bad input: unknown names in commands suggest near ones."""
    for arguments, words in (
        (("kill", "HyperV-11"), "HyperV-1"),
        (("move", "D2"), "D1"),
        (("cut", "HyperV-1", "bus:C"), "A, B"),
        (("freeze", "buz-A"), "bus-A"),
    ):
        done = lab.run(*arguments)
        assert done.returncode == Exit.NOT_FOUND, done.stderr
        assert words in done.stderr
    assert lab.run("cut", "HyperV-1", "buss").returncode == Exit.USAGE


def test_two_labs_run_side_by_side(lab: Lab) -> None:
    """Processes: two labs can run side by side; ending one leaves the other alone."""
    other = Lab(lab.hvc, "TWO")
    other.up()
    assert lab.hvc("status").returncode == Exit.USAGE, "which one?"
    lab.ok("kill", "HyperV-1")
    assert other.d1()["generation"] == 1
    other.ok("down", "--purge")
    assert marked(other.folder) == []
    assert not other.folder.exists()
    lab.ok("start", "HyperV-1")
    assert lab.healthy()["state"] == "ONLINE"


@pytest.mark.conforms("drain")
def test_planned_work_moves_the_vm(lab: Lab) -> None:
    """A move goes where it was told; a polite stop moves VMs away first and ends the process."""
    lab.ok("move", "d1", "--to", "HyperV-3")
    assert lab.d1()["owner"] == "HyperV-3"
    lab.ok("stop", "HyperV-3")
    assert lab.d1()["owner"] != "HyperV-3"
    lab.ok("start", "HyperV-3")
    assert lab.healthy()["owner"] != "HyperV-3"


@pytest.mark.conforms("drain", "oracle-18")
def test_a_paused_node_takes_no_vm_until_it_is_resumed(lab: Lab) -> None:
    """Oracle 18: it keeps what it has; when the owner dies, the VM goes elsewhere."""
    assert lab.ok("pause", "hyperv-2").strip() == "HyperV-2 is paused"
    refused = lab.run("move", "D1", "--to", "HyperV-2")
    assert refused.returncode == Exit.REFUSED
    assert "paused" in refused.stderr
    owner = lab.d1()["owner"]
    lab.ok("kill", owner)
    end = time.monotonic() + 30
    while (d1 := lab.d1())["owner"] == owner or d1["state"] != "ONLINE":
        assert time.monotonic() < end, d1
    assert d1["owner"] == "HyperV-3"
    lab.ok("resume", "HyperV-2")
    lab.ok("move", "D1", "--to", "HyperV-2")
    assert lab.d1()["owner"] == "HyperV-2"


@pytest.mark.conforms("drain", "failback")
def test_a_node_is_drained_and_gets_its_vm_back_by_its_policy(lab: Lab) -> None:
    """7.1: pause -Drain returns when nothing runs there; resume -Failback Policy brings back what may return."""
    owner = lab.d1()["owner"]
    assert lab.run("set", "group", "D1", "priority=urgent").returncode == Exit.USAGE
    assert lab.run("set", "group", "D1", "preferred=HyperV-9").returncode == Exit.NOT_FOUND
    refused = lab.run("set", "group", "D1", "possible=" + next(n for n in ("HyperV-2", "HyperV-3") if n != owner))
    assert (refused.returncode, "move it first" in refused.stderr) == (Exit.REFUSED, True)
    lab.ok("set", "group", "d1", "auto_failback=true", "anti_affinity_class_names=web,db")
    assert "already" in lab.ok("set", "group", "D1", "auto_failback=true")
    assert lab.ok("pause", owner, "--drain").strip() == f"{owner} is drained and paused"
    assert lab.d1()["owner"] != owner
    lab.ok("resume", owner, "--failback", "policy")
    end = time.monotonic() + 30
    while (d1 := lab.d1())["owner"] != owner or d1["state"] != "ONLINE":
        assert time.monotonic() < end, d1


@pytest.mark.conforms("cluster-aware-updating")
def test_an_update_goes_round_the_nodes_and_loses_nobody(lab: Lab) -> None:
    """Cluster-Aware Updating: each node once, the VM back where it was; refused while the cluster is not healthy."""
    before = lab.d1()
    rows = json.loads(lab.ok("status", "--json"))["nodes"]
    order = lab.ok("update", "--dry-run").split()
    assert sorted(order) == ["HyperV-1", "HyperV-2", "HyperV-3"]
    told = lab.ok("update")
    assert [line.split(":")[0] for line in told.splitlines() if line.endswith("drained")] == order
    after = json.loads(lab.ok("status", "--json"))["nodes"]
    assert all(new["incarnation"] > old["incarnation"] for new, old in zip(after, rows, strict=True))
    assert (lab.d1()["owner"], lab.d1()["state"]) == (before["owner"], "ONLINE")
    lab.ok("kill", order[0])
    refused = lab.run("update")
    assert (refused.returncode, "not updated: " in refused.stderr) == (Exit.REFUSED, True)


@pytest.mark.conforms("oracle-11", "restart-policy")
def test_a_crashed_vm_is_restarted_where_it_was(lab: Lab) -> None:
    """Oracle 11, from the command line: another generation on the same node."""
    before = lab.d1()
    assert lab.run("break", "vm", "D9").returncode == Exit.NOT_FOUND
    assert before["owner"] in lab.ok("break", "vm", "d1")
    end = time.monotonic() + 30
    while (d1 := lab.d1())["generation"] == before["generation"] or d1["state"] != "ONLINE":
        assert time.monotonic() < end, d1
    assert (d1["owner"], d1["generation"]) == (before["owner"], before["generation"] + 1)


def test_a_vm_taken_offline_stays_so_until_it_is_brought_online(lab: Lab) -> None:
    """What an operator shut down no failure starts again."""
    owner = lab.d1()["owner"]
    assert "offline" in lab.ok("offline", "d1")
    lab.ok("kill", owner)
    lab.ok("start", owner)
    assert lab.d1()["state"] == "OFFLINE"
    assert "offline already" in lab.ok("offline", "D1")
    assert "online" in lab.ok("online", "D1")
    assert "online already" in lab.ok("online", "D1")
    assert lab.d1()["state"] == "ONLINE"


def test_buses_and_array_come_back(lab: Lab) -> None:
    """Failure table: buses dead and back: no VM moves; array dead and back: VMs stall, and nothing is lost."""
    lab.ok("bus", "kill", "A")
    lab.ok("bus", "kill", "b")
    probe = json.loads(lab.ok("probe", "D1", "--seconds", "2", "--json"))
    assert probe["longest_gap_ms"] is None or probe["longest_gap_ms"] < 1000
    lab.ok("bus", "start", "A")
    lab.ok("bus", "start", "B")
    found = lab.healthy()
    assert (found["owner"], found["generation"]) == ("HyperV-1", 1)
    lab.ok("san", "kill")
    lab.ok("san", "start")
    assert lab.healthy()["state"] == "ONLINE"
    after = json.loads(lab.ok("probe", "D1", "--seconds", "0.5", "--json"))
    assert after["records"] > probe["records"]
    assert after["problems"] == []


def test_the_demo_keeps_its_promises(tmp_path: Path) -> None:
    """The demo: in under a minute; every promise held; nothing is left."""
    hvc = Hvc(tmp_path)
    done = hvc("demo", timeout=120)
    assert done.returncode == Exit.OK, done.stdout + done.stderr
    assert "Every promise held" in done.stdout
    assert "RESERVATION CONFLICT" in done.stdout
    home = tmp_path / "state" / "hvcluster"
    assert not any(home.iterdir())
    assert str(os.getpid()) not in done.stderr


@pytest.mark.conforms("vm-monitoring")
def test_a_service_in_a_vm_counts_once_it_is_monitored(lab: Lab) -> None:
    """Add-ClusterVMMonitoredItem, from the command line: before, its failure is the affair of the VM alone."""
    before = lab.d1()
    assert "service:spooler" in lab.ok("break", "vm", "D1", "--service", "spooler")
    assert lab.run("break", "vm", "D1", "--service", "no/name").returncode == Exit.REFUSED
    assert lab.d1()["generation"] == before["generation"]
    lab.ok("set", "group", "D1", "monitored_services=journal,spooler")
    end = time.monotonic() + 30
    while lab.d1()["generation"] == before["generation"]:
        assert time.monotonic() < end, lab.d1()


@pytest.mark.conforms("database")
def test_settings_of_a_backup_are_put_back_on_every_node(lab: Lab, tmp_path: Path) -> None:
    """An authoritative restore: what was set since is gone everywhere, and the VM has not been touched."""
    kept = str(tmp_path / "kept.json")
    assert "1 groups" in lab.ok("backup", kept)
    assert lab.run("backup", kept).returncode == Exit.REFUSED
    before = lab.d1()
    lab.ok("set", "group", "D1", "auto_failback=true", "preferred=HyperV-2")
    lab.ok("set", "node", "HyperV-3", "--weight", "0")
    assert "lower_quorum_priority_node_id is 2" in lab.ok("set", "cluster", "LowerQuorumPriorityNodeID=2")
    shown = json.loads(lab.ok("get", "cluster", "-o", "json"))[0]["Properties"]
    assert shown["lower_quorum_priority_node_id"] == 2
    assert lab.run("set", "cluster", "SameSubnetDelay=500").returncode == Exit.USAGE
    assert lab.run("set", "cluster", "LowerQuorumPriorityNodeID=9").returncode == Exit.NOT_FOUND
    lab.ok("set", "affinityrule", "pair", "--kind", "same-node", "--add", "D1")
    assert len(lab.ok("restore", kept, "--dry-run").splitlines()) == 4
    assert "4 settings restored" in lab.ok("restore", kept)
    assert lab.ok("restore", kept).strip() == "nothing differs"
    assert (lab.d1()["generation"], lab.d1()["owner"]) == (before["generation"], before["owner"])
    assert lab.run("restore", str(lab.folder / "cluster.json")).returncode == Exit.USAGE


def test_the_disk_of_a_vm_is_a_file_that_other_tools_open(lab: Lab, tmp_path: Path) -> None:
    """A fixed VHD, byte for byte what the array holds; not of a VM that may write, and nothing is left on the array."""
    file = tmp_path / "D1.vhd"
    refused = lab.run("vhd", "export", "D1", str(file))
    assert (refused.returncode, "hvc offline D1" in refused.stderr, file.exists()) == (Exit.REFUSED, True, False)
    assert lab.run("vhd", "export", "D9", str(file)).returncode == Exit.NOT_FOUND
    probe = json.loads(lab.ok("probe", "D1", "--seconds", "1", "--json"))
    assert probe["acknowledged"] > 0
    lab.ok("offline", "D1")
    assert "fixed VHD of 16777216 bytes" in lab.ok("vhd", "export", "D1", str(file))
    assert lab.run("vhd", "export", "D1", str(file)).returncode == Exit.REFUSED
    data = file.read_bytes()
    assert len(data) == 16 << 20
    assert data[-512:-504] == b"conectix"
    assert "export" not in lab.ok("status", "--json")
    image = shutil.which("qemu-img")
    if image is not None:
        info = json.loads(subprocess.check_output([image, "info", "-f", "vpc", "--output=json", str(file)]))
        assert info["virtual-size"] == (16 << 20) - 512
    lab.ok("online", "D1")
    assert lab.healthy()["state"] == "ONLINE"


def test_the_array_tells_of_its_luns_sessions_and_reservations(lab: Lab) -> None:
    """One session for each node, D1's disk held by its owner, and counters that have counted."""
    luns = json.loads(lab.ok("san", "luns", "-o", "json"))
    assert {row["LUN"]: row["Size"] for row in luns} == {1: "16 MiB", 2: "16 MiB"}
    sessions = json.loads(lab.ok("san", "sessions", "-o", "json"))
    assert len({row["Initiator"] for row in sessions}) == len(sessions) == 3
    (disk,) = [row for row in json.loads(lab.ok("san", "reservations", "-o", "json")) if row["LUN"] == 2]
    assert disk["Initiator"].endswith(lab.d1()["owner"].lower())
    assert disk["Holds"].startswith("5 ")
    counted = {row["Counter"]: row["Value"] for row in json.loads(lab.ok("san", "counters", "-o", "json"))}
    assert sum(counted.values()) > 0
    lab.ok("san", "kill")
    assert lab.run("san", "luns").returncode == Exit.UNREACHABLE
    lab.ok("san", "start")
    lab.healthy()


def test_a_node_leaves_the_cluster_for_good_and_another_joins_it(lab: Lab) -> None:
    """Evict, clear and add by the cmdlets' names: what is listed, what is refused, and what clients notice: nothing."""
    refused = lab.run("remove", "node", "HyperV-1")
    assert refused.returncode == Exit.REFUSED
    assert "drain it first" in refused.stderr
    assert lab.run("clear", "node", "HyperV-3").returncode == Exit.REFUSED, "it belongs to the cluster"
    assert "does not belong to the cluster any more" in lab.ok("Remove-ClusterNode", "HyperV-3")

    def listed() -> list[str]:
        return [row["Name"] for row in json.loads(lab.ok("get", "node", "-o", "json"))]

    assert listed() == ["HyperV-1", "HyperV-2"]
    assert lab.healthy()["owner"] == "HyperV-1"
    assert "no cluster configuration any more" in lab.ok("clear", "node", "HyperV-3")
    lab.healthy()
    assert "belongs to the cluster" in lab.ok("add", "node", "HyperV-3")
    assert lab.healthy()["owner"] == "HyperV-1"
    assert listed() == ["HyperV-1", "HyperV-2", "HyperV-3"]
    assert lab.d1()["generation"] == 1
