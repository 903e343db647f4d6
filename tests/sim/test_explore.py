"""`hvc sim explore`: the same report whoever did the work, nothing lost when a worker or the whole campaign dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.faults import FaultWord
from hvcluster.sim.coverage import Coverage, coverage_of, table
from hvcluster.sim.explore import Done, Journal, Pool, Report, Wish, explore, run_one
from hvcluster.sim.explore_cli import main
from hvcluster.sim.labs import Plan, random_plan
from hvcluster.sim.schedule import draw

SMALL = Plan(nodes=2, vms=1, minutes=0.5, fault_every_s=8)
WISH = Wish(SMALL, random_lab=False, first=1, count=6)


def quietly(_: Report, __: str) -> None:
    """Nobody looks on."""


def without_time(report: Report) -> list[Done]:
    """What came of every seed, but for how long it took."""
    return [replace(report.done[seed], cpu_s=0.0) for seed in sorted(report.done)]


def dies(wish: Wish, seed: int) -> Done:
    """A worker that dies of one seed, the first time it has it or always."""
    mark = Path(os.environ["HVC_TEST_MARK"])
    if seed == 3 and (not mark.exists() or os.environ.get("HVC_TEST_ALWAYS")):
        mark.touch()
        os._exit(9)
    return run_one(wish, seed)


def test_the_report_does_not_depend_on_the_number_of_workers() -> None:
    """Explorer: seeds are independent of who runs them."""
    one = explore(WISH, Pool(1), None, quietly)
    two = explore(WISH, Pool(2), None, quietly)
    assert without_time(one) == without_time(two)
    assert one.coverage.as_json() == two.coverage.as_json()
    assert len(one.done) == WISH.count
    assert not one.broken


@pytest.mark.parametrize("always", [False, True])
def test_a_worker_that_dies_is_reported_with_its_seeds_and_they_are_run_again(
    always: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death by accident costs nothing; a seed that kills every worker is a finding with its name."""
    monkeypatch.setenv("HVC_TEST_MARK", str(tmp_path / "mark"))
    if always:
        monkeypatch.setenv("HVC_TEST_ALWAYS", "1")
    report = explore(WISH, Pool(2, dies), None, quietly)
    assert sorted(report.done) == list(WISH.seeds())
    assert any("3" in sentence and "run again" in sentence for sentence in report.deaths)
    assert [done.seed for done in report.broken] == ([3] if always else [])
    whole = explore(WISH, Pool(1), None, quietly)
    others = [done for done in without_time(report) if done.seed != 3 or not always]
    assert others == [done for done in without_time(whole) if done.seed != 3 or not always]


def test_an_interrupted_campaign_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Seeds that are in the journal are not run again; a line that was half written is."""
    file = tmp_path / "campaign.jsonl"

    class Interrupted(Exception):
        """Ctrl-C, as far as the campaign can tell."""

    def stop_after_two(report: Report, _: str) -> None:
        if len(report.done) == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        explore(WISH, Pool(1), Journal(file), stop_after_two)
    with file.open("a") as journal:
        journal.write('{"seed": 5, "bro')
    ran: list[int] = []

    class Counting(Pool):
        """Notes what it is asked for."""

        def run(self, wish, seeds):  # type: ignore[no-untyped-def]
            ran.extend(seeds)
            return super().run(wish, seeds)

    report = explore(WISH, Counting(2), Journal(file), quietly)
    assert len(ran) == WISH.count - 2
    assert without_time(report) == without_time(explore(WISH, Pool(1), None, quietly))
    assert len(file.read_text().splitlines()) == WISH.count + 1


def test_a_journal_of_another_campaign_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input: results of two labs are never mixed; the old ones are left alone."""
    file = tmp_path / "campaign.jsonl"
    explore(replace(WISH, count=1), Pool(1), Journal(file), quietly)
    before = file.read_text()
    with pytest.raises(SystemExit) as ended:
        main(["--nodes", "3", "--seeds", "1", "--journal", str(file)])
    assert ended.value.code == 2
    assert "of another campaign" in capsys.readouterr().err
    assert file.read_text() == before


def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input: notes, noise, a directory, a line that is no seed: each is named, and nothing is written."""
    good = tmp_path / "good.jsonl"
    explore(replace(WISH, count=2), Pool(1), Journal(good), quietly)
    head, seed, other = good.read_bytes().splitlines(keepends=True)
    cases = {
        "notes.txt": (b"my important notes\n", "is no journal of a campaign"),
        "noise": (b"\xff\x00\n" * 3, "is no journal of a campaign"),
        "odd.jsonl": (head + seed + b"[1]\n", "has no seed on line 3"),
        "torn.jsonl": (head + seed[:40] + b"\n" + other, "has no seed on line 2"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        assert words in refused(tmp_path / name, capsys)
        assert (tmp_path / name).read_bytes() == content
    assert "is a directory; name a file in it" in refused(tmp_path, capsys)
    assert "there is no directory" in refused(tmp_path / "none" / "x.jsonl", capsys)
    for begun in (b"", head[:30], head + seed + other[:40]):
        good.write_bytes(begun)
        arguments = ["--nodes", "2", "--vms", "1", "--minutes", "0.5", "--fault-every", "8", "--seeds", "2"]
        assert main([*arguments, "--workers", "1", "--journal", str(good)]) == 0
        assert len(good.read_bytes().splitlines()) == 3


def refused(journal: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a journal that cannot be used."""
    with pytest.raises(SystemExit) as ended:
        main(["--nodes", "2", "--vms", "1", "--minutes", "0.5", "--seeds", "1", "--journal", str(journal)])
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_ctrl_c_ends_a_campaign_of_large_labs_at_once(tmp_path: Path) -> None:
    """A worker does not finish its seed first, which takes a minute here; what to do next is said."""
    journal = tmp_path / "campaign.jsonl"
    listens = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # not so in the background
    program = f"{listens}; import sys; from hvcluster.sim.cli import main; sys.exit(main())"
    arguments = ["explore", "--nodes", "40", "--vms", "100", "--workers", "1", "--journal", str(journal)]
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as campaign:
        until = time.monotonic() + 60
        while time.monotonic() < until and len(children(campaign.pid)) < 2:  # the worker, and who counts its semaphores
            time.sleep(0.1)
        time.sleep(1)
        began = time.monotonic()
        os.kill(campaign.pid, signal.SIGINT)
        try:
            _, said = campaign.communicate(timeout=60)
        finally:
            campaign.kill()
        assert time.monotonic() - began < 10
    assert campaign.returncode == 130
    assert f"--journal {journal}, goes on" in said


def test_every_mistake_on_the_command_line_is_named_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Bad input: all problems in one go, with what would be right."""
    with pytest.raises(SystemExit) as ended:
        main(["--nodes", "65", "--vms", "-1", "--seeds", "0", "--minutes", "0", "--findings", __file__])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    for words in ("--nodes is 65; from 1 to 64", "--vms is -1", "--seeds is 0", "--minutes is 0", "is no directory"):
        assert words in said


def test_json_has_a_line_for_each_seed_and_one_for_the_campaign(capsys: pytest.CaptureFixture[str]) -> None:
    """What a script reads."""
    assert main(["--nodes", "2", "--vms", "1", "--minutes", "0.5", "--seeds", "2", "--workers", "1", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("seed") for line in lines] == [1, 2, None]
    assert lines[-1]["broken"] == []
    assert lines[-1]["coverage"]["facts"]["LEADER_ELECTED"] >= 2


def test_labs_and_schedules_are_drawn_from_the_seed_alone() -> None:
    """The same seed draws the same; over some hundred seeds every kind of lab and every word is drawn."""
    plans = [random_plan(seed, Plan()) for seed in range(400)]
    assert plans == [random_plan(seed, Plan()) for seed in range(400)]
    assert {plan.nodes for plan in plans} == set(range(1, 10))
    assert {plan.paths for plan in plans} == {0, 1, 2, 3}
    assert {plan.witness for plan in plans} == {True, False}
    assert len({plan.profile for plan in plans}) == 7
    assert max(plan.vms for plan in plans) > 30
    assert {plan.tag_witness for plan in plans if plan.witness} == {None, *TagWitnessKind}
    assert {plan.roles for plan in plans if plan.paths} == {0, 1, 2, 3}
    shared, roles = Plan(tag_witness=TagWitnessKind.FILE_SHARE), Plan(roles=2, role_draw=1)
    plans = [Plan(), shared, roles, Plan(wishes=1)]
    words = {strike.fault.word for plan in plans for seed in range(60) for strike in draw(plan, seed)}
    never = {FaultWord.ORCHESTRATOR_KILL, FaultWord.KILL_ALL, FaultWord.START_ALL, FaultWord.MEND}
    mending = {
        FaultWord.START, FaultWord.THAW, FaultWord.HEAL, FaultWord.RESUME, FaultWord.BUS_START, FaultWord.SAN_START,
        FaultWord.ONLINE, FaultWord.WITNESS_START, FaultWord.ONLINE_RESOURCE,
    }  # fmt: skip
    assert words == set(FaultWord) - never - mending


def test_every_disk_of_a_drawn_lab_has_a_lun_of_its_own() -> None:
    """VMs, volumes, roles and the witness: whatever is drawn together, nobody is given another one's LUN."""
    for seed in range(300):
        definition = random_plan(seed, Plan()).definition()
        luns = [group.lun for group in definition.groups if group.extent is None]
        luns += [volume.lun for volume in definition.volumes]
        luns += [definition.witness_lun] if definition.witness_lun is not None else []
        assert len(luns) == len(set(luns)), seed


def test_coverage_adds_up_in_any_order_and_names_what_was_never_seen() -> None:
    """A blind spot is visible: the table names faults and facts without a count."""
    done = [run_one(WISH, seed) for seed in (1, 2, 3)]
    parts = [Coverage.from_json(one.coverage) for one in done]
    forward, backward = Coverage(), Coverage()
    for part in parts:
        forward.add(part)
    for part in reversed(parts):
        backward.add(part)
    assert forward.as_json() == backward.as_json()
    lines = list(table(coverage_of((), ())))
    assert any(line.startswith("faults") and "KILL" in line for line in lines)
    assert asdict(done[0]) == asdict(replace(run_one(WISH, 1), cpu_s=done[0].cpu_s))


def test_workers_end_with_the_campaign_that_was_killed(tmp_path: Path) -> None:
    """Clean-up: nothing is left behind, not even after SIGKILL."""
    journal = tmp_path / "campaign.jsonl"
    command = "from hvcluster.sim.cli import main; main(['explore', '--seeds', '500', '--workers', '2', '--journal', "
    killed = subprocess.Popen([sys.executable, "-c", f"{command}{str(journal)!r}])"], stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and not (journal.exists() and len(journal.read_text().splitlines()) > 1):
            time.sleep(0.1)
        workers = children(killed.pid)
        assert len(workers) >= 2
    finally:
        killed.kill()
        killed.wait()
    until = time.monotonic() + 60
    while time.monotonic() < until and any(Path(f"/proc/{pid}").exists() for pid in workers):
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]


def children(parent: int) -> list[int]:
    """The processes that a process has started."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]
