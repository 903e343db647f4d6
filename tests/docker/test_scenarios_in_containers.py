"""Stories of `scenarios/` in containers, as `hvc run --compose` plays them: a project of its own for each.

Needs a Docker engine, compose v2 and the image (built here unless HVC_IMAGE names one). Skipped with the reason if not.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hvcluster.model.scenario import parse
from hvcluster.orchestrator import compose_lab, compose_project, lab_file
from hvcluster.orchestrator.errors import Exit, Failure
from hvcluster.orchestrator.scenario_run import run
from tests.docker import engine

STORIES = (
    "node-killed",  # docker kill
    "late-write-refused",  # docker pause
    "minority-cut-off",  # docker network disconnect
    "even-split-file-share",  # the same for two nodes at once, and a witness in a container of its own
    "array-power-lost",  # an array with a cache, killed
    "slow-network",  # through each node's chaos service
    "orchestrator-killed",  # the project's onlooker
)
AT_ONCE = 1
"""An engine that removes two projects at once may keep an endpoint of one, and with it its network, for good."""

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What was wrong with every story that was asked for, "" where nothing was."""
    if reason := engine.missing():
        pytest.skip(f"no engine: {reason}")
    if "HVC_IMAGE" not in os.environ:
        engine.compose("hvcluster-build", "build", "array")
    asked = [name for name in STORIES if any(f"[{name}]" in item.name for item in request.session.items)]
    home = tmp_path_factory.mktemp("stories")

    async def tell(name: str, turn: asyncio.Semaphore) -> str:
        file = engine.ROOT / "scenarios" / f"{name}.toml"
        async with turn:
            try:
                return (await run(parse(str(file), file.read_bytes()), home, image=engine.IMAGE)).broken
            except Failure as error:  # its lab could not even be had
                return str(error)

    async def tell_all() -> list[str]:
        turn = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(tell(name, turn) for name in asked))

    return dict(zip(asked, asyncio.run(tell_all()), strict=True))


@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_in_containers_as_it_says(name: str, verdicts: Mapping[str, str]) -> None:
    """One language: the same file, the same verdict by the same invariants, also in containers."""
    assert verdicts[name] == ""


def test_nothing_is_left_of_them(verdicts: Mapping[str, str]) -> None:
    """Nothing is left behind: containers, volumes and networks of a story go with it."""
    for listing in (["ps", "-a"], ["volume", "ls"], ["network", "ls"]):
        command = ["docker", *listing, "--format", '{{.Label "com.docker.compose.project"}}']
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        assert [name for name in done.stdout.split() if name.startswith(compose_project.PREFIX)] == []


async def test_an_interrupted_story_leaves_nothing(verdicts: Mapping[str, str], tmp_path: Path) -> None:
    """Nothing is left behind: not of a project either that was interrupted while the engine was starting it."""
    starting = asyncio.Event()
    story = parse("interrupted", 'why = "a test"\n[[step]]\nwait_s = 600\n')
    telling = asyncio.create_task(run(story, tmp_path, lambda _: starting.set(), image=engine.IMAGE))
    await starting.wait()
    await asyncio.sleep(0.5)  # somewhere in the middle of `docker compose up`
    telling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await telling
    test_nothing_is_left_of_them(verdicts)


def test_a_made_project_has_the_services_of_compose_yaml() -> None:
    """compose_project: for the lab of compose.yaml it writes what stands there, down to every argument and network."""
    if reason := engine.missing():
        pytest.skip(f"no engine: {reason}")
    written = json.loads(engine.compose("hvcluster-compare", "config", "--format", "json"))["services"]
    lab = lab_file.load(engine.ROOT / compose_lab.LAB_FILE)
    made = compose_project.project(lab, engine.IMAGE, Path("/made"))["services"]
    assert set(made) == set(written) - {"definition"}
    for name, service in made.items():
        assert service["image"] == written[name]["image"]
        assert service.get("command") == written[name].get("command"), name
        assert _networks(service) == _networks(written[name]), name
        kept = {volume for volume in service["volumes"] if not volume.startswith("/")}
        assert kept == {
            f"{volume['source']}:{volume['target']}"
            for volume in written[name]["volumes"]
            if volume["type"] == "volume" and volume["source"] != "definition"
        }, name


def _networks(service: dict[str, Any]) -> dict[str, list[str]]:
    networks = service["networks"]
    if isinstance(networks, list):
        return {name: [] for name in networks}
    return {name: (settings or {}).get("aliases", []) for name, settings in networks.items()}


def test_brokers_are_set_up_as_in_compose_yaml() -> None:
    """compose_project: its broker configuration is that of compose/mosquitto.conf, but for the comment."""
    lines = (engine.ROOT / "compose" / "mosquitto.conf").read_text(encoding="utf-8").splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == compose_project.BROKER_CONFIG


async def test_an_image_that_is_not_there_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """Bad input: the image is named, with the command that builds one."""
    if reason := engine.missing():
        pytest.skip(f"no engine: {reason}")
    with pytest.raises(Failure, match="docker compose build") as raised:
        await run(parse("x", 'why = "a test"\n[[step]]\nwait_s = 1\n'), tmp_path, image="hvcluster:never-built")
    assert raised.value.status is Exit.REFUSED
    assert "hvcluster:never-built" in raised.value.text
