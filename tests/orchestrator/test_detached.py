"""A scenario in which the orchestrator dies: a lab that another process has started, and that ends whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hvcluster.model.scenario import Scenario, parse
from hvcluster.orchestrator import detached
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.scenario_run import run
from hvcluster.orchestrator.state import LabDir, Life, marked, start_time

LAB = 'why = "whatever started the lab dies"\n[lab]\nvms = 1\n'
KILL = '[[step]]\ndo = "orchestrator_kill"\n'
PROCESSES = 7


def story(steps: str) -> Scenario:
    """A scenario of three nodes."""
    return parse("story.toml", LAB + steps)


async def test_the_orchestrator_is_a_process_and_nothing_dies_with_it(tmp_path: Path) -> None:
    """Failure table, orchestrator killed: nothing else happens; the lab is gone at the end although the block fails."""
    directory = LabDir(tmp_path / "ALONE")

    async def fail() -> None:
        async with detached.started(story(KILL).definition, directory) as (driver, orchestrator):
            pid = orchestrator.pid
            assert start_time(pid), "it stays after it has started the lab"
            assert driver.runtime.tied_to == 0, "its lab is tied to nobody"
            await orchestrator.kill()
            assert not start_time(pid)
            assert [member.life for member in await driver.members()] == [Life.RUNNING] * PROCESSES
            with pytest.raises(Failure) as raised:
                await orchestrator.kill()
            assert raised.value.status is Exit.REFUSED
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert marked(tmp_path / "ALONE") == []
    assert not directory.path.exists()


async def test_what_keeps_the_other_process_from_starting_is_told(tmp_path: Path) -> None:
    """A failure of the other process has the status and the words that it would have here, and harms no other lab."""
    directory = LabDir(tmp_path / "TAKEN")
    async with detached.started(story(KILL).definition, directory) as (driver, _):
        with pytest.raises(Failure, match="is up already") as raised:
            async with detached.started(story(KILL).definition, directory):
                pass
        assert raised.value.status is Exit.REFUSED
        assert [member.life for member in await driver.members()] == [Life.RUNNING] * PROCESSES


async def test_an_unmet_expectation_after_the_kill_leaves_nothing(tmp_path: Path) -> None:
    """The lab of a scenario ends with it, also one that nobody is tied to."""
    impossible = '[[step]]\nexpect = { within_s = 1, node = "HyperV-1", state = "DOWN" }\n'
    outcome = await run(story(KILL + impossible), tmp_path)
    assert "HyperV-1 is UP" in outcome.broken
    assert not any(tmp_path.iterdir())


def test_ctrl_c_after_the_kill_leaves_nothing(tmp_path: Path) -> None:
    """Nothing is left behind: Ctrl-C ends a scenario and the lab that its killed orchestrator had started."""
    file = tmp_path / "story.toml"
    file.write_text(LAB + KILL + "[[step]]\nwait_s = 600\n")
    home = tmp_path / "state"
    program = "from hvcluster.orchestrator.cli import main; main()"
    command = [sys.executable, "-c", program, "run", "-v", "--state", str(home), str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as runner:
        assert runner.stderr is not None
        assert runner.stderr.readline().strip() == "orchestrator_kill"
        (folder,) = home.iterdir()
        time.sleep(0.5)
        assert len(marked(folder)) == PROCESSES
        os.kill(runner.pid, signal.SIGINT)
        assert runner.wait(30) == 130
    assert marked(folder) == []
    assert not folder.exists()


def test_a_runner_that_is_killed_before_takes_its_lab_along(tmp_path: Path) -> None:
    """The other process ends the lab when whoever started it is gone without a word."""
    file = tmp_path / "story.toml"
    file.write_text(LAB + "[[step]]\nwait_s = 600\n" + KILL)
    home = tmp_path / "state"
    program = "from hvcluster.orchestrator.cli import main; main()"
    with subprocess.Popen([sys.executable, "-c", program, "run", "--state", str(home), str(file)]) as runner:
        end = time.monotonic() + 30
        while not home.is_dir() or len(marked(next(home.iterdir()))) < PROCESSES:
            assert time.monotonic() < end
            time.sleep(0.05)
        (folder,) = home.iterdir()
        runner.kill()
        runner.wait(10)
    end = time.monotonic() + 30
    while folder.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    assert marked(folder) == []
