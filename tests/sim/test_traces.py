"""Traces: the same history bit for bit, under any hash seed and any Python that can run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = os.pathsep.join(str(ROOT / part) for part in ("model", "node", "san", "sim"))
STORIES = sorted(str(path) for path in (ROOT / "scenarios").glob("*.toml"))[:6]
SEEDS = """
from hvcluster.sim.campaign import Plan, run_seed
from hvcluster.sim.labs import random_plan
from hvcluster.sim.trace import digest, trace
for seed in (3, 5, 8):
    verdict = run_seed(random_plan(seed, Plan(minutes=3)), seed, keep_facts=True)
    print(digest(trace(verdict.facts, verdict.broken)), verdict.events)
"""


def traces(python: str, hash_seed: str) -> list[str]:
    """Digests of some stories and of some random histories, as one interpreter makes them."""
    env = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": SOURCES}
    command = [python, "-c", "import sys; from hvcluster.sim.cli import main; sys.exit(main(sys.argv[1:]))"]
    ran = subprocess.run(
        [*command, "run", "--json", *STORIES], env=env, capture_output=True, text=True, check=True, timeout=240
    )
    found = [json.loads(line)["trace"] for line in ran.stdout.splitlines()]
    ran = subprocess.run([python, "-c", SEEDS], env=env, capture_output=True, text=True, check=True, timeout=240)
    return found + ran.stdout.splitlines()


def test_a_trace_is_the_same_under_any_hash_seed() -> None:
    """Determinism: no order of a set or of a dict of objects decides anything."""
    first = traces(sys.executable, "0")
    assert len(set(first)) == len(first) == len(STORIES) + 3
    assert traces(sys.executable, "1") == first
    assert traces(sys.executable, "31337") == first


def other_pythons() -> list[str]:
    """Interpreters of another version than ours that can run the simulator."""
    found: dict[tuple[int, int], str] = {}
    candidates = [shutil.which(f"python3.{minor}") for minor in range(11, 16)]
    candidates += [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))]
    for candidate in candidates:
        if candidate is None:
            continue
        ask = "import sys, hvcluster.sim.campaign; print(*sys.version_info[:2])"
        env = {**os.environ, "PYTHONPATH": SOURCES}
        ran = subprocess.run([candidate, "-c", ask], env=env, capture_output=True, text=True, check=False)
        if ran.returncode == 0:
            major, minor = map(int, ran.stdout.split())
            if (3, 11) <= (major, minor) != sys.version_info[:2]:
                found[major, minor] = candidate
    return [found[version] for version in sorted(found)]


def test_a_trace_is_the_same_under_another_python() -> None:
    """Determinism: the standard library's random numbers and orders are the same from version to version."""
    others = other_pythons()
    if not others:
        pytest.skip("no other Python from 3.11 on is installed here")
    first = traces(sys.executable, "0")
    for python in others[-2:]:
        assert traces(python, "7") == first, python
