"""What administrators read of one running lab: logs, events, why a group is where it is; of dead nodes as well."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hvcluster.orchestrator.errors import Exit
from hvcluster.orchestrator.state import marked
from tests.orchestrator.test_cli import Hvc
from tests.orchestrator.test_cluster_log import LINE
from tests.orchestrator.test_lab_end_to_end import Lab


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all tests of this module, whose first owner is dead: D1 has moved from HyperV-1 to HyperV-2."""
    made = Lab(Hvc(tmp_path_factory.mktemp("reading")), "READ")
    made.up()
    made.ok("kill", "HyperV-1")
    end = time.monotonic() + 30
    while ((d1 := made.d1())["owner"], d1["state"]) != ("HyperV-2", "ONLINE"):
        assert time.monotonic() < end, d1
    yield made
    made.run("down", "--purge")
    assert marked(made.folder) == []


@pytest.mark.conforms("cluster-log")
def test_the_log_of_a_dead_node_can_be_read(lab: Lab, tmp_path: Path) -> None:
    """Get-ClusterLog: one file per node, that of the killed one among them, every line in the product's form."""
    listed = lab.ok("get", "log", "--destination", str(tmp_path)).splitlines()
    assert listed[0].split() == ["Mode", "LastWriteTime", "Length", "Name"]
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == [f"HyperV-{n}_cluster.log" for n in (1, 2, 3)]
    for file in files:
        lines = file.read_text().splitlines()
        assert len(lines) > 5
        assert all(LINE.fullmatch(line) for line in lines)
        assert not any(line.startswith("00000000.") for line in lines), "each line names its process"
    dead = files[0].read_text()
    assert "a VM is online" in dead
    assert lab.ok("get", "log", "-n", "HyperV-1") == dead
    assert "HyperV-1     INFO  [RCM] a VM is online" in lab.ok("log"), "hvc log reads it as well"
    assert lab.ok("get", "log", "-n", "1", "--time-span", "0.0001") == "", "nothing was written by the dead since"


@pytest.mark.conforms("event-log")
def test_events_are_told_with_ids_and_nodes(lab: Lab) -> None:
    """1135 for the node that was lost, 1641 for its role; filters by id, node and time."""
    rows = [json.loads(line) for line in lab.ok("get", "events", "--json").splitlines()]
    assert {(1135, "Critical"), (1641, "Information")} <= {(row["id"], row["level"]) for row in rows}
    lost = json.loads(lab.ok("get", "events", "--json", "--id", "1135").splitlines()[0])
    assert "'HyperV-1'" in lost["message"]
    assert lost["computer"] != "HyperV-1", "who is dead records no loss of its own"
    assert len(lab.ok("Get-WinEvent", "-LogName", "System", "-MaxEvents", "1").splitlines()) == 1
    assert {row["channel"] for row in rows} >= {"System", "Microsoft-Windows-FailoverClustering/Operational"}
    assert "1641" not in lab.ok("get", "events", "--channel", "system")
    assert "1135" not in lab.ok("get", "events", "--node", "HyperV-1")
    assert lab.ok("get", "events", "--since", "0s") == ""
    assert "1135" in lab.ok("get", "events", "--since", "1h")
    for arguments, status in (
        (("--id", "4711"), Exit.NOT_FOUND),
        (("--since", "soon"), Exit.USAGE),
        (("--node", "HyperV-9"), Exit.NOT_FOUND),
    ):
        assert lab.run("get", "events", *arguments).returncode == status


@pytest.mark.conforms("event-log")
def test_why_a_group_is_where_it_is(lab: Lab) -> None:
    """`hvc why`: the kill, who noticed, who decided by which rule, the preemption and the VM, of real processes."""
    account = json.loads(lab.ok("why", "d1", "--json"))
    assert (account["trigger"], account["previous_owner"], account["owner"]) == ("node", "HyperV-1", "HyperV-2")
    assert account["candidates"] == ["HyperV-2", "HyperV-3"]
    facts = [step["fact"] for step in account["steps"]]
    wanted = ["NODE_UNREACHABLE", "NODE_DOWN", "GROUP_ASSIGNED", "DISK_PREEMPTED", "DISK_ONLINE", "VM_ONLINE"]
    assert [kind for kind in dict.fromkeys(facts) if kind in wanted] == wanted
    assert account["steps"][0]["after_us"] == 0
    assert account["unknown"] != [], "how a killed node died is in no log"
    text = lab.ok("why", "D1")
    assert text.startswith("D1 is online on HyperV-2, generation 2.\n")
    assert "HyperV-1 was removed from membership" in text
    assert "when the cluster formed" in lab.ok("why", "D1", "--generation", "1")
    assert lab.run("why", "D1", "--generation", "9").returncode == Exit.FAILED
    assert lab.run("why", "D2").returncode == Exit.NOT_FOUND


def test_nouns_and_cmdlets_of_a_running_lab(lab: Lab) -> None:
    """`hvc get` and the product's cmdlets ask the same cluster; a dead node is Down, its interfaces Unavailable."""
    assert lab.ok("get", "node").splitlines()[2].split() == ["HyperV-1", "1", "Down"]
    assert lab.ok("Get-ClusterNode", "hyperv-2", "-o", "name") == "HyperV-2\n"
    assert json.loads(lab.ok("get", "groups", "-o", "json"))[0]["OwnerNode"] == "HyperV-2"
    assert lab.ok("Get-ClusterQuorum").splitlines()[2].split() == [
        "READ",
        "Cluster",
        "Disk",
        "1",
        "NodeAndDiskMajority",
    ]
    assert lab.ok("Get-ClusterNetwork").splitlines()[2:] == ["Cluster Network A Up", "Cluster Network B Up"]
    interfaces = json.loads(lab.ok("get", "networkinterface", "-o", "json"))
    assert [row["State"] for row in interfaces] == ["Unavailable"] * 2 + ["Up"] * 4
    resources = lab.ok("get", "resource", "-o", "name").splitlines()
    assert resources == ["Cluster Disk 2", "Virtual Machine Configuration D1", "Virtual Machine D1", "Cluster Disk 1"]
    assert "time_scale: 0.1" in lab.ok("get", "cluster", "-o", "yaml")
    assert lab.run("get", "node", "HyperV-7").returncode == Exit.NOT_FOUND


def test_verbs_with_nouns_do_what_the_plain_ones_do(lab: Lab) -> None:
    """Suspend, resume, start, stop and move, as nouns and as cmdlets; what is not emulated is refused with a reason."""
    lab.ok("Suspend-ClusterNode", "HyperV-3")
    assert lab.ok("get", "node", "HyperV-3").splitlines()[2].split()[2] == "Paused"
    lab.ok("resume", "node", "HyperV-3")
    lab.ok("Move-ClusterGroup", "D1", "-Node", "HyperV-3")
    assert lab.d1()["owner"] == "HyperV-3"
    lab.ok("move", "group", "D1", "--node", "HyperV-2")
    assert lab.d1()["owner"] == "HyperV-2"
    lab.ok("stop", "group", "D1")
    assert json.loads(lab.ok("Get-ClusterGroup", "-o", "json"))[0]["State"] == "Offline"
    lab.ok("Start-ClusterGroup", "-Name", "D1")
    assert lab.d1()["state"] == "ONLINE"
    refused = lab.hvc("Add-ClusterSharedVolume", "x")
    assert refused.returncode == Exit.REFUSED
    assert "volumes are made with the lab" in refused.stderr


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    """`hvc completion` prints what a shell needs; it completes commands, and cmdlets by their capital."""
    hvc = Hvc(tmp_path)
    for shell in ("bash", "zsh", "fish"):
        assert "_HVC_COMPLETE" in hvc("completion", shell).stdout
    assert hvc("completion", "cmd").returncode == Exit.USAGE
    hvc.environment |= {"_HVC_COMPLETE": "bash_complete", "COMP_WORDS": "hvc Move-", "COMP_CWORD": "1"}
    assert hvc().stdout.split() == [
        "plain,Move-ClusterGroup",
        "plain,Move-ClusterSharedVolume",
        "plain,Move-ClusterVirtualMachineRole",
    ]
    hvc.environment |= {"COMP_WORDS": "hvc get no"}
    hvc.environment |= {"COMP_CWORD": "2"}
    assert hvc().stdout.split() == ["plain,node"]


@pytest.mark.conforms("validation")
def test_a_lab_is_validated(lab: Lab, tmp_path: Path) -> None:
    """Test-Cluster: storage passes on disks of its own, a dead node fails the rest; page, JSON and status agree."""
    page = tmp_path / "report.html"
    before = json.loads(lab.ok("status", "--json"))["luns"]
    storage = json.loads(lab.ok("Test-Cluster", "-Include", "Storage", "--json", "--report", str(page)))
    assert storage["passed"]
    tested = {test["name"]: test["outcome"] for test in storage["tests"]}
    for name in ("Disk Arbitration", "Multiple Arbitration", "SCSI-3 Persistent Reservation", "Disk Failover"):
        assert tested[f"Validate {name}"] == "Success"
    skipped = [line["text"] for test in storage["tests"] for line in test["lines"] if line["outcome"] != "Success"]
    assert "LUN 2 is in use by the online role D1: it is not tested" in skipped
    assert json.loads(lab.ok("status", "--json"))["luns"] == before, "no disk of the cluster was touched"
    assert "The cluster has passed validation." in page.read_text()
    whole = lab.run("test", "cluster", "--json")
    assert whole.returncode == Exit.FAILED, "HyperV-1 is dead"
    found = {test["name"]: test["outcome"] for test in json.loads(whole.stdout)["tests"]}
    assert found["Validate Required Services"] == "Failed"
    assert list((lab.folder / "reports").glob("Validation Report *.html")) != []
    assert lab.run("test", "cluster", "--include", "Sotrage").returncode == Exit.NOT_FOUND
    assert "Validate Disk Failover" in lab.ok("test", "cluster", "--list")
