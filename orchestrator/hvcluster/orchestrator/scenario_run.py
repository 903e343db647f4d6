"""A scenario file on real processes or containers: the same story the simulator runs, with real signals and real time.

Law: tells the story and looks; faults are made by `scenario_hand`, and what was expected is judged by
`hvcluster.model.scenario`, which never acts. A lab of its own for every scenario, gone when the story is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hvcluster.model.definition import initiator_name
from hvcluster.model.faults import OTHER_SIDE, FaultWord
from hvcluster.model.invariants import (
    Recorded,
    one_leader_a_term,
    one_owner_a_generation,
    one_writer,
    one_writer_an_extent,
)
from hvcluster.model.scenario import Expectation, GroupSeen, Observation, Scenario, Step, unmet
from hvcluster.model.vocabulary import US_PER_S

from . import compose_project, detached, launcher
from .array_journal import conflicts, executed, is_write
from .driver import Driver
from .errors import Failure
from .launcher import Wish
from .observer import Observer
from .picture import Picture
from .probe import INTERVAL_S, Probe
from .scenario_hand import Hand, Orchestrator, look
from .scenario_lab import cuts_power, lab_of, require_real, words
from .state import LabDir

HEALTHY_S: Final = 60.0
LOOK_S: Final = 0.05
LAST_FACTS: Final = 40
"""Decisions that are told when a story went wrong: a failover has about twenty."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a story is played. `slack_s`: what real processes may take longer than virtual ones."""

    driver: Driver
    slack_s: float
    orchestrator: Orchestrator | None = None


PROCESS_SLACK_S: Final = 2.0
"""Starting Python on a busy machine, for one."""
CONTAINER_SLACK_S: Final = 6.0
"""An engine takes its time as well: a kill half a second, a network a second."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a scenario ended. `broken` is empty when every expectation was met and every invariant held."""

    name: str
    broken: str
    seconds: float


async def run(
    scenario: Scenario, home: Path, progress: Progress = launcher.silent, image: str | None = None
) -> Outcome:
    """Run one scenario in a lab of its own: containers of `image`, or processes where there is none.

    Raises Failure only where the lab itself could not be had.
    """
    require_real(scenario)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with _stage(scenario, home, progress, image) as stage, Observer(stage.driver) as observer:
        teller = Teller(stage, observer, progress)
        try:
            broken = await _play(scenario, stage, observer, teller)
        finally:
            await teller.end()
    return Outcome(scenario.name, broken, loop.time() - began)


async def _play(scenario: Scenario, stage: Stage, observer: Observer, teller: Teller) -> str:
    """The story, and what is left behind; why it is broken, or nothing."""
    switched_on = asyncio.get_running_loop().time()
    if not scenario.timed:
        await observer.until_healthy(HEALTHY_S)
    every_s = max(INTERVAL_S, scenario.requests_every_s * stage.driver.definition.properties.time_scale)
    async with Probe((await stage.driver.addresses()).vms, every_s) as probe:
        broken = await teller.tell(scenario, switched_on)
        await probe.pause()
        broken = broken or await teller.lights_on() or await _verify(probe, stage.driver) or await _judge(observer)
        if broken:
            await teller.explain()
        return broken


@contextlib.asynccontextmanager
async def _stage(scenario: Scenario, home: Path, progress: Progress, image: str | None) -> AsyncIterator[Stage]:
    """The lab of a scenario. One whose orchestrator is to be killed is started by another process."""
    definition, power = scenario.definition, cuts_power(scenario)
    lab = lab_of(definition, power)
    name = f"scenario-{scenario.name}-{id(scenario):x}"
    if image is not None:
        async with compose_project.up(lab, name, image, progress) as driver:
            yield Stage(driver, CONTAINER_SLACK_S, compose_project.Onlooker(driver))
    elif FaultWord.ORCHESTRATOR_KILL in words(scenario):
        async with detached.started(definition, LabDir(home / name), power) as (driver_alone, orchestrator):
            yield Stage(driver_alone, PROCESS_SLACK_S, orchestrator)
    else:
        async with launcher.tied(lab, LabDir(home / name), Wish(tied=True)) as tied:
            yield Stage(tied, PROCESS_SLACK_S)


async def _verify(probe: Probe, driver: Driver) -> str:
    for group in (each for each in driver.definition.groups if not each.resources):
        verdict = await probe.verify(group.name)
        if verdict.problems:
            return f"{group.name}: {'; '.join(verdict.problems[:3])}"
    return ""


async def _judge(observer: Observer) -> str:
    """The invariants, from the array's own journal and the facts that nodes recorded."""
    definition = observer.driver.definition
    groups = {group.lun: group.name for group in definition.groups if group.extent is None}
    extents = {group.name: (group.lun, group.extent) for group in definition.groups if group.extent is not None}
    volumes = {volume.lun: volume.name for volume in definition.volumes}
    rows = executed(await observer.journal())
    facts = [
        Recorded(told.line.kind, told.node, told.line.reason, dict(told.line.about))
        for told in await observer.all_facts()
    ]
    found = [
        *one_writer(rows, groups),
        *one_writer_an_extent(rows, extents, volumes),
        *one_leader_a_term(facts),
        *one_owner_a_generation(facts),
    ]
    return "; ".join(found[:3])


class Teller:
    """Tells one story on one stage: performs its steps, and looks."""

    def __init__(self, stage: Stage, observer: Observer, progress: Progress = launcher.silent) -> None:
        self._driver = stage.driver
        self._slack_s = stage.slack_s
        self._observer = observer
        self._progress = progress
        self._hand = Hand(stage.driver, observer, progress, stage.orchestrator)
        self._scale = stage.driver.definition.properties.time_scale

    async def end(self) -> None:
        """Nothing of the story goes on."""
        await self._hand.end()

    async def tell(self, scenario: Scenario, switched_on: float) -> str:
        """Why the story did not go as expected; empty if it did. `switched_on`: the loop's time when the lab was."""
        remembered = Observation() if scenario.timed else await self._see()
        for number, step in enumerate(scenario.steps, 1):
            if step.at_us is not None:
                await _until(switched_on + step.at_us / US_PER_S * self._scale)
            remembered, broken = await self._step(step, remembered)
            if broken:
                return f"step {number}: {broken}"
        return ""

    async def lights_on(self) -> str:
        """Liveness: where the story left something broken, all is well again once it is mended."""
        if not (await look(self._observer)).unhealthy():
            return ""
        self._progress("the story is over: mend everything, and read what the disks say")
        await self._hand.mend()
        try:
            await self._observer.until_healthy(HEALTHY_S)
        except Failure as error:
            return f"after everything was mended: {error.text}"
        return ""

    async def explain(self) -> None:
        """The last decisions, for whoever wants to know why a story went another way."""
        facts = (await self._observer.all_facts())[-LAST_FACTS:]
        for told in facts:
            ago_s = (told.line.monotonic_us - facts[-1].line.monotonic_us) / US_PER_S
            self._progress(f"{ago_s:+8.3f} s  {self._driver.definition.node_name(told.node)}  {told.line.line}")

    async def _step(self, step: Step, remembered: Observation) -> tuple[Observation, str]:
        if step.remember:
            remembered = await self._see()
        if step.fault is not None:
            await self._hand.strike(step.fault)
        if step.wait_s:
            await asyncio.sleep(step.wait_s * self._scale)
        broken = "" if step.expect is None else await self._expect(step.expect, remembered)
        return remembered, broken

    async def _expect(self, expect: Expectation, remembered: Observation) -> str:
        loop = asyncio.get_running_loop()
        if OTHER_SIDE in expect.off:
            named = tuple(name for name in expect.off if name != OTHER_SIDE)
            expect = replace(expect, off=named + self._hand.other_side)
        if "all" in expect.online:  # also while no node can be asked which groups there are
            expect = replace(expect, online=tuple(group.name for group in self._driver.definition.groups))
        end = loop.time() + expect.within_s * self._scale + (0.0 if expect.hold else self._slack_s)
        while True:
            missing = unmet(expect, await self._see(), remembered)
            if bool(missing) == expect.hold:
                return missing if expect.hold else ""
            if loop.time() >= end:
                return missing
            await asyncio.sleep(LOOK_S)

    async def _see(self) -> Observation:
        picture = await look(self._observer)
        best = picture.best
        rows = best.groups if best is not None else ()
        running: dict[str, list[str]] = {}
        for number, answer in sorted(picture.answers.items()):
            for vm in answer.vms:
                if vm.phase == "RUNNING":
                    running.setdefault(vm.group, []).append(picture.node_name(number))
        return Observation(
            groups={g.name: GroupSeen(g.state, picture.node_name(g.owner), g.generation) for g in rows},
            nodes={n.name: n.state for n in best.nodes} if best is not None and best.quorum else {},
            running={vm: tuple(names) for vm, names in running.items()},
            refused=await self._refused(picture),
        )

    async def _refused(self, picture: Picture) -> frozenset[str]:
        if picture.luns is None:
            return frozenset()
        names = {initiator_name(node.name): node.name for node in self._driver.definition.nodes}
        rows = conflicts(row for row in await self._observer.journal() if is_write(row))
        return frozenset(names[row.nexus.initiator] for row in rows if row.nexus.initiator in names)


async def _until(instant: float) -> None:
    """Sleep until an instant of the loop's clock."""
    await asyncio.sleep(max(0.0, instant - asyncio.get_running_loop().time()))
