"""compose.yaml on a real engine: the failure table through `docker kill`, `pause` and `network disconnect`.

Needs a Docker engine, compose v2 and the image (built here unless HVC_IMAGE names one). Skipped with the reason if not.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from hvcluster.model.definition import initiator_name
from hvcluster.model.invariants import one_writer
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator import saboteur
from hvcluster.orchestrator.array_journal import accepted, executed, writes
from hvcluster.orchestrator.compose import Compose
from hvcluster.orchestrator.driver import Cut, Wire
from hvcluster.orchestrator.observer import Observer
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.probe import Probe
from tests.docker import engine

PROJECT = "hvcluster-test"
WAIT_S = 40.0

pytestmark = pytest.mark.timeout(600)


def _compose(*arguments: str) -> None:
    engine.compose(PROJECT, *arguments)


@pytest.fixture(scope="module")
def project() -> Iterator[None]:
    """The project up and healthy for all tests of this module, and nothing of it afterwards."""
    if reason := engine.missing():
        pytest.skip(f"no engine: {reason}")
    image = os.environ.get("HVC_IMAGE", "")
    _compose("up", "-d", "--no-build" if image else "--build", "--wait-timeout", "120")
    yield
    _compose("down", "-v", "--timeout", "2")


@dataclass(frozen=True, slots=True)
class Lab:
    """A healthy project and a client that writes."""

    driver: Compose
    observer: Observer
    probe: Probe

    async def owner(self) -> tuple[str, NodeId, int]:
        """Name, id and generation of D1's owner."""
        picture = await self.observer.until_healthy(WAIT_S)
        group = picture.group("D1")
        assert group is not None
        return picture.node_name(group.owner), NodeId(group.owner), group.generation

    async def moved(self, generation: int) -> Picture:
        """Wait until D1 is online in a newer generation."""
        return await self.observer.until_online_after("D1", generation, WAIT_S)

    async def served(self) -> None:
        """The client is answered again."""
        last = self.probe.seen["D1"].last_s or 0.0
        assert await self.probe.until_acknowledged("D1", last, WAIT_S)


@pytest.fixture
async def lab(project: None) -> AsyncIterator[Lab]:
    """Healthy before; after the test nothing that was acknowledged is lost and the chain is one."""
    driver = Compose(PROJECT)
    async with Observer(driver) as observer:
        await observer.until_healthy(WAIT_S)
        async with Probe((await driver.addresses()).vms) as probe:
            made = Lab(driver, observer, probe)
            await made.served()
            yield made
            await observer.until_healthy(WAIT_S)
            await made.served()
            await probe.pause()
            verdict = await probe.verify("D1")
            assert verdict.problems == ()
            assert verdict.acknowledged > 0
            groups = {group.lun: group.name for group in made.driver.definition.groups}
            assert one_writer(executed(await observer.journal()), groups) == []


async def test_docker_kill_of_the_owner_moves_its_vm(lab: Lab) -> None:
    """Failure table: node killed (`docker kill`)."""
    name, node, generation = await lab.owner()
    await saboteur.kill(lab.driver, name)
    after = await lab.moved(generation)
    group = after.group("D1")
    assert group is not None
    assert group.owner != node
    await lab.served()
    await saboteur.start(lab.driver, name)
    assert (await lab.owner())[2] == group.generation, "it takes nothing back"


async def test_docker_pause_of_the_owner_and_its_late_writes(lab: Lab) -> None:
    """Failure table: node frozen (`docker pause`) then thawed: no write of it is executed after the takeover."""
    name, _, generation = await lab.owner()
    await saboteur.freeze(lab.driver, name)
    await lab.moved(generation)
    await lab.served()
    mark = max(row.sequence for row in await lab.observer.journal())
    await saboteur.thaw(lab.driver, name)
    await lab.observer.until_healthy(WAIT_S)
    rows = await lab.observer.journal(mark + 1)
    assert accepted(writes(rows, 2, initiator_name(name))) == []


async def test_dead_buses_move_no_vm(lab: Lab) -> None:
    """Failure table: one bus dead, both buses dead, buses back."""
    before = await lab.owner()
    await saboteur.kill(lab.driver, "bus-A")
    await lab.served()
    await saboteur.kill(lab.driver, "bus-B")
    await asyncio.sleep(2.5)  # longer than detection takes: what must not happen needs time not to happen
    await lab.served()
    for bus in ("bus-A", "bus-B"):
        await saboteur.start(lab.driver, bus)
    assert await lab.owner() == before


async def test_a_disconnected_minority_stops_and_the_majority_runs_its_vm(lab: Lab) -> None:
    """Failure table: minority cut off (`docker network disconnect`)."""
    name, node, generation = await lab.owner()
    await saboteur.cut(lab.driver, name, (Cut(Wire.BUS), Cut(Wire.PEERS)))
    after = await lab.moved(generation)
    assert after.group("D1") is not None
    await lab.served()
    picture = await lab.observer.until(
        lambda look: node in look.answers and not look.answers[node].vms, f"{name} without a VM", WAIT_S
    )
    assert not picture.answers[node].quorum
    await saboteur.heal(lab.driver, name, ())


async def test_a_node_without_a_path_loses_its_vm(lab: Lab) -> None:
    """Failure table: path from one node to the SAN lost (`docker network disconnect`)."""
    name, node, generation = await lab.owner()
    await saboteur.cut(lab.driver, name, (Cut(Wire.ARRAY),))
    after = await lab.moved(generation)
    group = after.group("D1")
    assert group is not None
    assert group.owner != node
    await lab.served()
    await saboteur.heal(lab.driver, name, ())


async def test_a_killed_array_comes_back_as_it_was(lab: Lab) -> None:
    """Failure table: SAN killed and restarted."""
    await lab.owner()
    await saboteur.kill(lab.driver, "san")
    await saboteur.start(lab.driver, "san")
    await lab.served()


async def test_a_killed_orchestrator_changes_nothing(lab: Lab) -> None:
    """Failure table: orchestrator killed."""
    before = await lab.owner()
    _compose("kill", "orchestrator")
    await lab.served()
    assert await lab.owner() == before
    _compose("start", "orchestrator")
