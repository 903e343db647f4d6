"""Which lab a command means, and what it says to type next."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hvcluster.model import codec
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator import demo, kept, lab_file, plan
from hvcluster.orchestrator.cli import faults, setup
from hvcluster.orchestrator.cli.options import Choice, lab_options
from hvcluster.orchestrator.driver import Member
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.lab import count, votes_at_start
from hvcluster.orchestrator.state import RECORD, LabDir, Life, Role, labs
from tests.orchestrator.test_cli import Hvc
from tests.orchestrator.test_lab_file import GOOD


@pytest.fixture
def hvc(tmp_path: Path) -> Hvc:
    """The command in an empty directory."""
    return Hvc(tmp_path)


def stop(home: Path, name: str) -> LabDir:
    """A lab that was stopped and has kept its data."""
    directory = LabDir(home / name)
    lab = lab_file.parse(GOOD.replace('"C1"', f'"{name}"'))
    directory.make()
    directory.definition.write_bytes(codec.dump(lab.definition("c0ffee")))
    directory.data("array").mkdir()
    (directory.data("array") / "lun-1.blocks").touch()
    kept.remember(lab, directory)
    return directory


def test_a_stopped_lab_is_listed_and_purged(hvc: Hvc) -> None:
    """What a plain `hvc down` leaves can be seen, and removed by name or as the only one there is."""
    home = hvc.folder / "state" / "hvcluster"
    one, two = stop(home, "ONE"), stop(home, "TWO")
    listed = hvc("labs").stdout.splitlines()
    assert [line.split()[:2] for line in listed] == [["ONE", "stopped"], ["TWO", "stopped"]]
    assert str(one.path) in listed[0]
    for command in ("down", "status"):
        assert hvc(command).returncode == Exit.NOT_FOUND, "none of them runs"
    refused = hvc("down", "--lab", "one")
    assert refused.returncode == Exit.NOT_FOUND
    assert "`hvc down --purge --lab one`" in refused.stderr
    assert hvc("status", "--lab", "ONE").returncode == Exit.NOT_FOUND
    which = hvc("down", "--purge")
    assert which.returncode == Exit.USAGE
    assert "ONE, TWO" in which.stderr
    assert hvc("down", "--purge", "--lab", "one").returncode == Exit.OK
    assert [directory.name for directory in labs(home)] == ["TWO"]
    assert hvc("down", "--purge").returncode == Exit.OK, "it is the only one"
    assert not two.path.exists()
    assert hvc("labs").stdout == ""
    assert hvc("down", "--purge").returncode == Exit.NOT_FOUND


def test_a_record_of_another_version_is_no_reason_to_fail(hvc: Hvc) -> None:
    """A lab whose record cannot be read is listed all the same, and its data can be removed."""
    directory = stop(hvc.folder / "state" / "hvcluster", "OLD")
    (directory.path / RECORD).write_text('{"version": 99}')
    assert "OLD" in hvc("labs").stdout
    assert hvc("down", "--purge").returncode == Exit.OK
    assert not directory.path.exists()


def test_a_port_belongs_to_its_lab_also_while_its_process_is_dead(tmp_path: Path) -> None:
    """Labs side by side: a killed node's port is free, and another lab that took it would keep the node from coming
    back. A stopped lab, one of another version, and a lab's own record keep nothing.
    """
    directories = [LabDir(tmp_path / name) for name in ("ONE", "TWO")]
    for directory in directories:
        directory.make()
        runtime = plan.runtime_of(demo.lab(connection_loss=False), directory, False, 0, 0, "")
        directory.save(runtime)
    (LabDir(tmp_path / "OLD").path).mkdir()
    (tmp_path / "OLD" / RECORD).write_text('{"version": 99}')
    one, two = (directory.load() for directory in directories)
    assert one is not None
    assert two is not None
    ports = {record.spec.port for record in one.processes}
    assert len(ports) == len(one.processes)
    assert plan.ports_of_other_labs(directories[1]) == ports
    assert ports.isdisjoint(record.spec.port for record in two.processes)
    directories[0].forget()
    assert plan.ports_of_other_labs(directories[1]) == set()


def test_the_size_of_a_lun_stays(tmp_path: Path) -> None:
    """A VHD's footer lies in the last block of its LUN: a file that changes a size is refused, one that adds is not."""
    directory = stop(tmp_path, "C1")
    more = GOOD + '[[lun]]\nid = 3\nsize = "1 MiB"\n'
    for text in (GOOD, more, GOOD + "port = 5000\n"):
        kept.check(lab_file.parse(text), directory)
    for size in ("65 MiB", "32 MiB"):
        with pytest.raises(Failure, match=f"LUN 2 from 64 MiB to {size}") as raised:
            kept.check(lab_file.parse(GOOD.replace("64 MiB", size)), directory)
        assert raised.value.status is Exit.REFUSED
        assert "--fresh" in raised.value.remedy
    kept.remember(lab_file.parse(more), directory)
    kept.remember(lab_file.parse(GOOD), directory)
    with pytest.raises(Failure, match="LUN 3 from 1 MiB to 2 MiB"):
        kept.check(lab_file.parse(GOOD + '[[lun]]\nid = 3\nsize = "2 MiB"\n'), directory)
    kept.remove(directory)
    kept.check(lab_file.parse(GOOD.replace("64 MiB", "65 MiB")), directory)


@pytest.mark.parametrize(
    ("change", "votes", "witness"),
    [
        ("", 3, 1),
        ("weight = 0", 1, 0),
        ("[witness]", 1, 0),
        ('profile = "ws2012"\n', 3, 1),
        ('profile = "ws2008r2"\nnode = 3', 4, 1),
        ("node = 3", 3, 0),
    ],
)
@pytest.mark.conforms("node-weight", "dynamic-witness")
def test_votes_are_those_that_status_will_show(change: str, votes: int, witness: int) -> None:
    """With a dynamic witness the votes are odd; in versions without one, and with static quorum, it always votes."""
    text = GOOD
    if change.startswith("weight"):
        text = text.replace('name = "A"', 'name = "A"\nweight = 0')
    if change == "[witness]":
        text = text.replace("[witness]\nlun = 1\n", "")
    if change.startswith("profile"):
        text = text.replace('name = "C1"', 'name = "C1"\n' + change.partition("\n")[0])
    if change.endswith("node = 3"):
        text += '[[node]]\nname = "C"\n'
    assert votes_at_start(lab_file.parse(text)) == (votes, witness)


def test_check_counts_as_people_do(tmp_path: Path) -> None:
    """One VM is no VMs."""
    file = tmp_path / "x.toml"
    file.write_text(GOOD)
    said = CliRunner().invoke(setup.check, [str(file)]).output
    assert "2 nodes, 1 VM\n" in said
    assert "2 of 3 votes needed, NodeAndDiskMajority, witness LUN 1 (vote 1)" in said
    assert (count(0, "VM"), count(1, "process", "processes")) == ("0 VMs", "1 process")


class Fake:
    """A lab of which one process is known, and where everything succeeds."""

    async def members(self) -> tuple[Member, ...]:
        return (Member("HyperV-1", Role.NODE, Life.RUNNING, NodeId(1)),)

    async def kill(self, name: str) -> None:
        return None


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((), "hvc start HyperV-1"),
        (("--compose",), "hvc start HyperV-1 --compose"),
        (("--compose", "--project", "mine"), "hvc start HyperV-1 --compose --project mine"),
        (("--lab", "TWO"), "hvc start HyperV-1 --lab TWO"),
    ],
)
def test_a_hint_names_the_command_that_works_there(
    monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], hint: str
) -> None:
    """Whoever types what a command says to type next reaches the same lab, also where containers are the lab."""
    monkeypatch.setattr(Choice, "driver", lambda _: Fake())
    done = CliRunner().invoke(faults.kill, ["1", *arguments])
    assert done.output == f"HyperV-1 killed; start it again: {hint}\n"

    @click.command()
    @lab_options
    def refuse(choice: Choice) -> None:
        raise Failure(
            Exit.REFUSED,
            "no",
            "try `hvc start HyperV-1`, `hvc resume 1`, or `docker compose up`, or `hvc up`",
        )

    failed = CliRunner().invoke(refuse, list(arguments)).exception
    assert isinstance(failed, Failure)
    there = hint.removeprefix("hvc start HyperV-1")
    assert failed.remedy == f"try `{hint}`, `hvc resume 1{there}`, or `docker compose up`, or `hvc up`"
