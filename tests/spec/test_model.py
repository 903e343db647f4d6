"""The Promela models hold, their bad variants do not, and docs/model.md shows what a run gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECK = ROOT / "spec" / "check.py"

SPIN = shutil.which("spin")
COMPILER = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
needs_spin = pytest.mark.skipif(
    SPIN is None or COMPILER is None, reason="spin or a C compiler is not installed (apt-get install spin gcc)"
)


def _run(*arguments: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ) if path is None else {"PATH": path}
    command = [sys.executable, str(CHECK), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=290, check=False)


@needs_spin
def test_the_protocol_holds_and_every_bad_variant_breaks_what_it_must() -> None:
    """Issue 3, a model: checked exhaustively by spin; the known-bad variants fail; docs/model.md tells the figures."""
    done = _run("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    runs = figures["runs"]
    assert figures["wrong"] == []
    assert all(run["states"] > 100_000 for run in runs if run["expected"] == "holds")
    broken = {run["result"] for run in runs if run["expected"] not in ("holds", "not_reached")}
    assert {"one_leader_a_term", "committed_entries_survive", "one_owner_a_generation", "one_writer"} <= broken
    text = (ROOT / "docs" / "model.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells for line in text.splitlines() if len(cells := line.split("|")) > 4}
    shown = {name: cells[2].strip().replace(",", "") for name, cells in rows.items()}
    stale = [run["name"] for run in runs if shown.get(run["name"]) != str(run["states"])]
    assert not stale, f"docs/model.md does not show the states of: {stale}"


def test_a_machine_without_spin_is_told_the_remedy(tmp_path: Path) -> None:
    """Commands: what is missing is said with its remedy, all of it at once, and the exit status is not that of a
    broken model.
    """
    done = _run("--json", path=str(tmp_path))
    assert done.returncode == 2
    assert "apt-get install spin" in done.stderr
    assert "no C compiler" in done.stderr


def test_an_unknown_search_is_a_usage_error() -> None:
    """Commands: bad input is refused with what would be right."""
    done = _run("no-such-search", "nor-this")
    assert done.returncode == 2
    assert "no-such-search, nor-this" in done.stderr
    assert "--list" in done.stderr
