"""A scenario file on real processes: the same story the simulator runs, with real signals and real time.

Law: performs steps and looks; what was expected is judged by `hvcluster.model.scenario`, which never acts. A lab of its
own for every scenario, tied to this process; one whose orchestrator is to be killed is started by another process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hvcluster.model.definition import initiator_name
from hvcluster.model.faults import A_FOLLOWER, HOLDER, LEADER, OTHER_SIDE, OWNER_OF, Direction, Fault, FaultWord
from hvcluster.model.invariants import Recorded, one_leader_a_term, one_owner_a_generation, one_writer
from hvcluster.model.scenario import Expectation, GroupSeen, Observation, Scenario, Step, unmet

from . import detached, launcher
from .array_journal import conflicts, executed, is_write
from .detached import Detached
from .driver import Cut, Driver, Way, Wire
from .errors import Exit, Failure
from .launcher import Wish
from .local import Local
from .observer import Observer
from .picture import Picture
from .probe import Probe
from .scenario_lab import lab_of
from .state import LabDir, Life

HEALTHY_S: Final = 60.0
LOOK_S: Final = 0.05
LOOKS: Final = 3
OVERHEAD_S: Final = 2.0
"""Real processes take time that virtual ones do not: starting Python on a busy machine, for one."""

_WAYS: Final = {Direction.BOTH: Way.BOTH, Direction.OUT: Way.OUT, Direction.IN: Way.IN}
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a scenario ended. `broken` is empty when every expectation was met and nothing acknowledged is lost."""

    name: str
    broken: str
    seconds: float


async def run(scenario: Scenario, home: Path, progress: Progress = launcher.silent) -> Outcome:
    """Run one scenario in a lab of its own. Raises Failure only where the lab itself could not be had."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    directory = LabDir(home / f"scenario-{scenario.name}-{id(scenario):x}")
    async with _lab(scenario, directory) as (driver, orchestrator), Observer(driver) as observer:
        await observer.until_healthy(HEALTHY_S)
        async with Probe((await driver.addresses()).vms) as probe:
            broken = await Runner(driver, observer, progress, orchestrator).steps(scenario)
            await probe.pause()
            broken = broken or await _verify(probe, driver) or await _judge(observer)
    return Outcome(scenario.name, broken, loop.time() - began)


@contextlib.asynccontextmanager
async def _lab(scenario: Scenario, directory: LabDir) -> AsyncIterator[tuple[Local, Detached | None]]:
    """The lab of a scenario, and the process that started it where that one is to be killed."""
    words = [step.fault.word for step in scenario.steps if step.fault is not None]
    if FaultWord.ORCHESTRATOR_KILL in words:
        async with detached.started(scenario.definition, directory) as (driver, orchestrator):
            yield driver, orchestrator
    else:
        async with launcher.tied(lab_of(scenario.definition), directory, Wish(tied=True)) as driver:
            yield driver, None


async def _verify(probe: Probe, driver: Driver) -> str:
    for group in driver.definition.groups:
        verdict = await probe.verify(group.name)
        if verdict.problems:
            return f"{group.name}: {'; '.join(verdict.problems[:3])}"
    return ""


async def _judge(observer: Observer) -> str:
    """The invariants, from the array's own journal and the facts that nodes recorded."""
    groups = {group.lun: group.name for group in observer.driver.definition.groups}
    facts = [
        Recorded(told.line.kind, told.node, told.line.reason, dict(told.line.about))
        for told in await observer.all_facts()
    ]
    found = [
        *one_writer(executed(await observer.journal()), groups),
        *one_leader_a_term(facts),
        *one_owner_a_generation(facts),
    ]
    return "; ".join(found[:3])


class Runner:
    """Performs the steps of one scenario on one lab."""

    def __init__(
        self,
        driver: Driver,
        observer: Observer,
        progress: Progress = launcher.silent,
        orchestrator: Detached | None = None,
    ) -> None:
        self._driver = driver
        self._observer = observer
        self._progress = progress
        self._orchestrator = orchestrator
        self._scale = driver.definition.properties.time_scale
        self._other_side: tuple[str, ...] = ()

    async def steps(self, scenario: Scenario) -> str:
        """Why the story did not go as expected; empty if it did."""
        remembered = await self._see()
        for number, step in enumerate(scenario.steps, 1):
            remembered, broken = await self._step(step, remembered)
            if broken:
                return f"step {number}: {broken}"
        return ""

    async def _step(self, step: Step, remembered: Observation) -> tuple[Observation, str]:
        if step.remember:
            remembered = await self._see()
        if step.fault is not None:
            self._progress(f"{step.fault.word.name.lower()} {step.fault.target}".rstrip())
            await self.fault(step.fault)
        if step.wait_s:
            await asyncio.sleep(step.wait_s * self._scale)
        broken = "" if step.expect is None else await self._expect(step.expect, remembered)
        return remembered, broken

    async def _expect(self, expect: Expectation, remembered: Observation) -> str:
        loop = asyncio.get_running_loop()
        if OTHER_SIDE in expect.off:
            named = tuple(name for name in expect.off if name != OTHER_SIDE)
            expect = replace(expect, off=named + self._other_side)
        end = loop.time() + expect.within_s * self._scale + (0.0 if expect.hold else OVERHEAD_S)
        while True:
            missing = unmet(expect, await self._see(), remembered)
            if bool(missing) == expect.hold:
                return missing if expect.hold else ""
            if loop.time() >= end:
                return missing
            await asyncio.sleep(LOOK_S)

    async def _look(self) -> Picture:
        """A picture with every running node in it, as far as a few looks can give one: silence is no answer."""
        picture = await self._observer.look()
        for _ in range(LOOKS):
            alive = {m.node for m in picture.members if m.node and m.life is Life.RUNNING}
            if alive <= picture.answers.keys():
                break
            picture = await self._observer.look()
        return picture

    async def _see(self) -> Observation:
        picture = await self._look()
        best = picture.best
        rows = best.groups if best is not None else ()
        running: dict[str, list[str]] = {}
        for number, answer in sorted(picture.answers.items()):
            for vm in answer.vms:
                if vm.phase == "RUNNING":
                    running.setdefault(vm.group, []).append(picture.node_name(number))
        return Observation(
            groups={g.name: GroupSeen(g.state, picture.node_name(g.owner), g.generation) for g in rows},
            nodes={n.name: n.state for n in best.nodes} if best is not None else {},
            running={vm: tuple(names) for vm, names in running.items()},
            refused=await self._refused(picture),
        )

    async def _refused(self, picture: Picture) -> frozenset[str]:
        if picture.luns is None:
            return frozenset()
        names = {initiator_name(node.name): node.name for node in self._driver.definition.nodes}
        rows = conflicts(row for row in await self._observer.journal() if is_write(row))
        return frozenset(names[row.nexus.initiator] for row in rows if row.nexus.initiator in names)

    async def _named(self, target: str, taken: Sequence[str] = ()) -> str:
        """A node by its name or by what it does; another running one if that is taken. Raises Failure."""
        picture = await self._look()
        found = _by_deed(picture, target)
        if found in taken:
            running = sorted((m.node, m.name) for m in picture.members if m.node and m.life is Life.RUNNING)
            found = next((name for _, name in running if name not in taken), "")
        if not found:
            raise Failure(Exit.NOT_FOUND, f"there is no {target!r} now", "wait for it in a step before")
        return found

    async def fault(self, fault: Fault) -> None:
        """Make one fault. Raises Failure where there is nobody to strike."""
        from . import saboteur

        driver, way = self._driver, _WAYS[fault.direction]
        nodes = [node.name for node in driver.definition.nodes]
        match fault.word:
            case FaultWord.KILL:
                await saboteur.kill(driver, await self._named(fault.target))
            case FaultWord.START:
                if fault.target not in await self._running():  # a story that killed "leader" may name another one
                    await saboteur.start(driver, fault.target)
            case FaultWord.FREEZE:
                await saboteur.freeze(driver, await self._named(fault.target))
            case FaultWord.THAW:
                await saboteur.thaw(driver, fault.target)
            case FaultWord.STOP:
                await saboteur.stop(driver, self._observer, await self._named(fault.target))
            case FaultWord.WIPE:
                await saboteur.wipe(driver, fault.target)
            case FaultWord.MOVE:
                from hvcluster.v1 import node_pb2

                move = node_pb2.MoveGroupRequest(group=fault.target)
                await self._observer.request(node_pb2.OperatorRequest(move_group=move))
            case FaultWord.CUT_BUSES:
                await saboteur.cut(driver, await self._named(fault.target), (Cut(Wire.BUS, way=way),))
            case FaultWord.CUT_PEERS:
                await saboteur.cut(driver, await self._named(fault.target), (Cut(Wire.PEERS, way=way),))
            case FaultWord.CUT_ARRAY:
                await saboteur.cut(driver, await self._named(fault.target), (Cut(Wire.ARRAY, way=way),))
            case FaultWord.PARTITION:
                await self._partition(fault.side)
            case FaultWord.HEAL:
                await asyncio.gather(*(saboteur.heal(driver, name, ()) for name in await self._running()))
            case FaultWord.BUS_KILL:
                await saboteur.kill(driver, f"bus-{fault.target}")
            case FaultWord.BUS_START:
                await saboteur.start(driver, f"bus-{fault.target}")
            case FaultWord.SAN_KILL:
                await saboteur.kill(driver, "san")
            case FaultWord.SAN_START:
                await saboteur.start(driver, "san")
            case FaultWord.KILL_ALL:
                await asyncio.gather(*(saboteur.kill(driver, name) for name in nodes))
            case FaultWord.START_ALL:
                dead = sorted(set(nodes) - set(await self._running()))
                await asyncio.gather(*(saboteur.start(driver, name) for name in dead))
            case FaultWord.ORCHESTRATOR_KILL:
                assert self._orchestrator is not None, "a lab of such a scenario has an orchestrator of its own"
                await self._orchestrator.kill()

    async def _running(self) -> list[str]:
        return [m.name for m in await self._driver.members() if m.node and m.life is Life.RUNNING]

    async def _partition(self, targets: Sequence[str]) -> None:
        """Two sides on every wire but the array. A bus cannot be split by peers, so both sides lose it where needed."""
        from . import saboteur

        side: list[str] = []
        for target in targets:
            side.append(await self._named(target, side))
        nodes = self._driver.definition.nodes
        here = [node for node in nodes if node.name in side]
        there = [node for node in nodes if node.name not in side]
        if not here or not there:
            raise Failure(Exit.USAGE, "a partition needs nodes on both sides", "name some of them in `side`")
        self._other_side = tuple(node.name for node in there)
        without_bus = here if len(here) == 1 else [*here, *there]
        for node in without_bus:
            await saboteur.cut(self._driver, node.name, (Cut(Wire.BUS),))
        for node in here:
            await saboteur.cut(self._driver, node.name, tuple(Cut(Wire.PEERS, str(other.id)) for other in there))


def _by_deed(picture: Picture, target: str) -> str:
    """The name of the node that does what `target` says; a name is its own, and nobody is an empty text."""
    best = picture.best
    if target == LEADER:
        return picture.node_name(best.leader) if best is not None and best.leader else ""
    if target == A_FOLLOWER:
        alive = [number for number in sorted(picture.answers) if best is not None and number != best.leader]
        return picture.node_name(alive[0]) if alive else ""
    if target == HOLDER:
        held = [n for n, answer in sorted(picture.answers.items()) if answer.quorum_row.witness_held_here]
        return picture.node_name(held[0]) if held else ""
    if target.startswith(OWNER_OF):
        group = picture.group(target.removeprefix(OWNER_OF))
        return picture.node_name(group.owner) if group is not None and group.owner else ""
    return target
