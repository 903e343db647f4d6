"""Every row of the failure table on real processes: the scenario files that the simulator runs in virtual time."""

from __future__ import annotations

from pathlib import Path

import pytest

from hvcluster.model.scenario import parse
from hvcluster.orchestrator.scenario_run import run
from hvcluster.orchestrator.state import marked

FILES = sorted((Path(__file__).parents[2] / "scenarios").glob("*.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
async def test_scenario_on_real_processes(file: Path, tmp_path: Path) -> None:
    """DESIGN 7: each row is a scenario file that runs in the simulator and on real processes."""
    outcome = await run(parse(file.stem, file.read_text(encoding="utf-8")), tmp_path)
    assert outcome.broken == "", outcome.broken
    assert not any(tmp_path.iterdir())
    assert marked(tmp_path) == []
