"""Every story in `scenarios/`, the failure table among them, in the simulator."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hvcluster.model.scenario import Scenario, ScenarioError, parse
from hvcluster.sim.scenarios import run

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))


def read(path: Path) -> Scenario:
    """One scenario file."""
    return parse(path.stem, path.read_text(encoding="utf-8"))


def test_every_story_is_listed_and_says_why() -> None:
    """docs/scenarios.md lists every file once; each has a `why` that a person learns from, not a label."""
    document = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([a-z-]+)` \|", document.partition("## The stories")[2], re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in SCENARIOS)
    assert len(SCENARIOS) >= 25
    short = [path.stem for path in SCENARIOS if len(re.findall(r"[.:;](?: |$)", read(path).why)) < 2]
    assert short == []


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_scenario_ends_as_it_says(path: Path, seed: int) -> None:
    """Failure table and oracle: each fault has the result its story expects, whatever the seed of the wires."""
    outcome = run(read(path), seed)
    assert outcome.problem == ""


def test_a_scenario_that_expects_the_impossible_fails(tmp_path: Path) -> None:
    """An expectation can fail: a killed node's VM does not stay where it was."""
    file = tmp_path / "impossible.toml"
    file.write_text(
        """
why = "to see that an expectation can fail"
[lab]
owners = [1, 2]
[[step]]
remember = true
[[step]]
do = "kill"
target = "HyperV-1"
[[step]]
expect = { within_s = 30, hold = true, stayed = ["D1"] }
""",
        encoding="utf-8",
    )
    assert "D1 was" in run(read(file), 1).problem


def test_everything_wrong_with_a_scenario_is_said_at_once(tmp_path: Path) -> None:
    """Bad input: all problems in one message, none of them an exception of another kind."""
    file = tmp_path / "bad.toml"
    file.write_text(
        """
colour = "blue"
[lab]
nodes = 3
profile = "ws95"
[[step]]
do = "explode"
[[step]]
expect = { online = "all" }
[[step]]
wait_s = "long"
""",
        encoding="utf-8",
    )
    with pytest.raises(ScenarioError) as caught:
        read(file)
    message = str(caught.value)
    for part in ("colour", "why", "ws95", "step 1", "step 2", "step 3"):
        assert part in message
