"""The stories of `scenarios/` on real processes: the files that the simulator runs in virtual time.

Those of the failure table and those with a published outcome are told in every run, as docs/scenarios.md marks them;
of the others a quarter, another one from run to run. `make stories` tells all.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from hvcluster.model.scenario import parse
from hvcluster.orchestrator.errors import Failure
from hvcluster.orchestrator.scenario_run import run
from hvcluster.orchestrator.state import marked
from tests.conftest import SEED_BASE

ROOT = Path(__file__).parents[2]
SHARE = 4
"""One of so many of the stories that are not told in every run."""


def _chosen() -> list[Path]:
    files = sorted((ROOT / "scenarios").glob("*.toml"))
    if os.environ.get("HVC_STORIES") == "all":
        return files
    text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    always = set(re.findall(r"^\| `([a-z0-9-]+)` \| *[T0-9][^|]*\|", text, re.MULTILINE))
    others = [file for file in files if file.stem not in always]
    return sorted({*files} - {*others} | {*others[int(os.environ[SEED_BASE]) % SHARE :: SHARE]})


FILES = _chosen()
AT_ONCE = 2
"""Stories told at the same time: they wait most of the time, but each starts a dozen processes."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[Path, str]]:
    """What was wrong with every story that was asked for, "" where nothing was; and nothing is left behind."""
    asked = [file for file in FILES if any(f"[{file.stem}]" in item.name for item in request.session.items)]
    home = tmp_path_factory.mktemp("stories")

    async def tell(file: Path, turn: asyncio.Semaphore) -> str:
        async with turn:
            try:
                return (await run(parse(str(file), file.read_bytes()), home)).broken
            except Failure as error:  # its lab could not even be had
                return str(error)

    async def tell_all() -> list[str]:
        turn = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(tell(file, turn) for file in asked))

    yield dict(zip(asked, asyncio.run(tell_all()), strict=True))
    assert not any(home.iterdir())
    assert marked(home) == []


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_a_story_ends_on_real_processes_as_it_says(file: Path, verdicts: Mapping[Path, str]) -> None:
    """Failure table and oracle: each is a scenario file that runs in the simulator and on real processes."""
    assert verdicts[file] == ""
