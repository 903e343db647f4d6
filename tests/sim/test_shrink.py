"""The shrinker: a small story that fails like the long one, as a file that anybody can play."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.scenario import parse
from hvcluster.model.scenario_text import text_of
from hvcluster.node.core.raft.log import Log
from hvcluster.sim.campaign import Plan, run_seed
from hvcluster.sim.labs import random_plan
from hvcluster.sim.replay_cli import main as replay
from hvcluster.sim.scenarios import run
from hvcluster.sim.schedule import draw
from hvcluster.sim.shrink import History, Shrinker, as_scenario, kind_of
from hvcluster.sim.story import story

PLAN = Plan(nodes=5, vms=4, minutes=5, fault_every_s=8)


def any_log_may_lead(patch: pytest.MonkeyPatch) -> None:
    """A deliberate fault: votes are given without looking at the candidate's log."""
    patch.setattr(Log, "is_behind", lambda *_: True)


def test_a_failing_seed_becomes_a_small_scenario_that_fails_alike(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fewer faults, less of a lab, less time; the file replays bit for bit, and holds on the sound protocol."""
    with monkeypatch.context() as broken:
        any_log_may_lead(broken)
        verdict = next(v for v in (run_seed(PLAN, seed) for seed in range(40)) if not v.ok)
        shrinker = Shrinker(History(PLAN, verdict.seed, verdict.performed), limit=250)
        small = shrinker.shrink()
        assert len(small.strikes) < len(verdict.performed) / 2
        assert small.plan.minutes < PLAN.minutes
        assert kind_of(shrinker.verdict.broken) == kind_of(verdict.broken)
        for at in range(len(small.strikes)):
            rest = History(small.plan, small.seed, small.strikes[:at] + small.strikes[at + 1 :]).run()
            assert rest.ok or kind_of(rest.broken) != shrinker.kind or shrinker.runs >= 250, "one fault too many"
        scenario = as_scenario(small, "finding", "A deliberate fault.")
        file = tmp_path / "finding.toml"
        file.write_text(text_of(scenario))
        assert parse(str(file), file.read_bytes()) == scenario
        assert run(scenario).problem == shrinker.verdict.broken, "the same history, from a file"
        told = "\n".join(story(small.strikes, run(scenario).facts, "the end"))
        assert told.count(" s * ") == len(small.strikes)
        assert replay([str(file), "--write"]) == 0
        assert replay([str(file)]) == 0
    capsys.readouterr()
    assert replay([str(file)]) == 1, "the sound protocol makes another history"
    assert "was\n" in capsys.readouterr().err
    assert run(scenario).problem == ""


def test_what_does_not_fail_is_not_shrunk() -> None:
    """There is nothing to look for."""
    with pytest.raises(ValueError, match="does not fail"):
        Shrinker(History(Plan(nodes=1, vms=1, minutes=0.2), 1, ()))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_any_drawn_history_can_be_written_and_read(seed: int) -> None:
    """A scenario file says everything that a history is."""
    plan = random_plan(seed, Plan(minutes=1))
    strikes = tuple(strike for strike in draw(plan, seed) if strike.at_us < 60_000_000)[:150]
    scenario = as_scenario(History(plan, seed, strikes), "drawn", 'Why? "Because" \\ of that.')
    assert parse("drawn.toml", text_of(scenario)) == scenario
