"""The compiled simulator gives the histories that the sources give, and is used only where it is what they say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hvcluster.sim import overlay

RUN = """
import json
from hvcluster.sim import overlay
runs = overlay.use()
from hvcluster.sim.campaign import Plan, run_seed
from hvcluster.sim.labs import random_plan
verdicts = [run_seed(random_plan(seed, Plan(minutes=2)), seed, keep_facts=True) for seed in range(40, 48)]
told = [[v.broken, v.events, v.counts, [f"{f.at} {f.node} {f.line()}" for f in v.facts]] for v in verdicts]
print(json.dumps([runs, told]))
"""


def histories(*, compiled: bool) -> list[object]:
    """What ran, and eight histories, from a process of their own."""
    environment = {**os.environ, overlay.SWITCH: "yes" if compiled else "no"}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, check=True)
    told: list[object] = json.loads(done.stdout)
    return told


def test_compiled_and_interpreted_histories_are_the_same() -> None:
    """A seed and a lab give one history, whatever the simulator is made of."""
    if not overlay.current():
        pytest.skip("the compiled simulator is not there or older than the sources: make compiled")
    made, compiled = histories(compiled=True)
    assert made == "compiled"
    _, interpreted = histories(compiled=False)
    assert compiled == interpreted


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    """What was compiled from other sources is never run."""
    for folder in overlay.TREES.values():
        shutil.copytree(overlay.ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / overlay.COMPILER).parent.mkdir()
    shutil.copy(overlay.ROOT / overlay.COMPILER, tmp_path / overlay.COMPILER)
    assert overlay.fingerprint(tmp_path) == overlay.fingerprint()
    changed = tmp_path / overlay.TREES["hvcluster.node.core"] / "quorum.py"
    changed.write_text(changed.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert overlay.fingerprint(tmp_path) != overlay.fingerprint()


def test_the_switch_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources can be run although they are compiled."""
    monkeypatch.setenv(overlay.SWITCH, "no")
    assert overlay.use() == f"interpreted: {overlay.SWITCH} says no"


def test_nothing_compiled_is_used_where_a_source_is_loaded() -> None:
    """Compiled modules and sources never mix: a value of one is none of the other."""
    import hvcluster.sim.campaign  # noqa: F401

    assert overlay.use().startswith("interpreted: ")
