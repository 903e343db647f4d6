"""A scenario file on real processes: the same story the simulator runs, with real signals and real time.

Law: performs steps and looks; what was expected is judged by `hvcluster.model.scenario`, which never acts. A lab of its
own, tied to this process, for every scenario.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hvcluster.model.definition import ClusterDefinition, initiator_name
from hvcluster.model.faults import Direction, Fault, FaultWord
from hvcluster.model.invariants import Recorded, one_leader_a_term, one_owner_a_generation, one_writer
from hvcluster.model.scenario import Expectation, GroupSeen, Observation, Scenario, Step, unmet
from hvcluster.model.vocabulary import LunId

from . import launcher
from .array_journal import conflicts, executed, is_write
from .driver import Cut, Driver, Way, Wire
from .errors import Exit, Failure
from .lab import LAB_TIME_SCALE, Lab, LabLun, LabNode, LabVm
from .launcher import Wish
from .observer import Observer
from .picture import Picture
from .probe import Probe
from .state import LabDir, Life

LUN_BYTES: Final = 16 << 20
HEALTHY_S: Final = 60.0
LOOK_S: Final = 0.05
LOOKS: Final = 3
OTHER_SIDE: Final = "the other side"
"""In an expectation: the nodes that the last partition did not name."""
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


def lab_of(definition: ClusterDefinition) -> Lab:
    """The lab of a scenario, ten times faster than Windows."""
    witness = () if definition.witness_lun is None else (definition.witness_lun,)
    luns = sorted({*witness, *(group.lun for group in definition.groups)})
    return Lab(
        name=definition.name,
        nodes=tuple(LabNode(n.id, n.name, n.weight) for n in definition.nodes),
        luns=tuple(LabLun(LunId(lun), LUN_BYTES) for lun in luns),
        vms=tuple(LabVm(g.name, g.lun, g.preferred, g.possible, g.owner, g.boot_delay_ms) for g in definition.groups),
        witness_lun=definition.witness_lun,
        properties=replace(definition.properties, time_scale=LAB_TIME_SCALE),
        san_ports=(0,) * len(definition.paths),
    )


async def run(scenario: Scenario, home: Path, progress: Progress = launcher.silent) -> Outcome:
    """Run one scenario in a lab of its own. Raises Failure only where the lab itself could not be had."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    directory = LabDir(home / f"scenario-{scenario.name}-{id(scenario):x}")
    async with (
        launcher.tied(lab_of(scenario.definition), directory, Wish(tied=True)) as driver,
        Observer(driver) as observer,
    ):
        await observer.until_healthy(HEALTHY_S)
        async with Probe((await driver.addresses()).vms) as probe:
            broken = await Runner(driver, observer, progress).steps(scenario)
            await probe.pause()
            broken = broken or await _verify(probe, driver) or await _judge(observer)
    return Outcome(scenario.name, broken, loop.time() - began)


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

    def __init__(self, driver: Driver, observer: Observer, progress: Progress = launcher.silent) -> None:
        self._driver = driver
        self._observer = observer
        self._progress = progress
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
            await self._fault(step.fault)
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

    async def _named(self, target: str) -> str:
        """A node by its name or by what it does."""
        picture = await self._observer.look()
        best = picture.best
        if target == "leader" and best is not None:
            return picture.node_name(best.leader)
        if target == "a follower" and best is not None:
            alive = [number for number in sorted(picture.answers) if number != best.leader]
            return picture.node_name(alive[0]) if alive else ""
        if target == "holder of the witness":
            held = [n for n, a in sorted(picture.answers.items()) if a.quorum_row.witness_held_here]
            return picture.node_name(held[0]) if held else ""
        group = picture.group(target.removeprefix("owner of "))
        if target.startswith("owner of ") and group is not None:
            return picture.node_name(group.owner)
        return target

    async def _fault(self, fault: Fault) -> None:
        from . import saboteur

        driver, way = self._driver, _WAYS[fault.direction]
        nodes = [node.name for node in driver.definition.nodes]
        match fault.word:
            case FaultWord.KILL:
                await saboteur.kill(driver, await self._named(fault.target))
            case FaultWord.START:
                name = fault.target or await self._dead()
                if name not in await self._running():  # a story that killed "the leader" may start the wrong one
                    await saboteur.start(driver, name)
            case FaultWord.FREEZE:
                await saboteur.freeze(driver, await self._named(fault.target))
            case FaultWord.THAW:
                await saboteur.thaw(driver, fault.target or await self._frozen())
            case FaultWord.STOP:
                await saboteur.stop(driver, self._observer, await self._named(fault.target))
            case FaultWord.WIPE:
                await saboteur.wipe(driver, fault.target or await self._dead())
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
                await self._partition([await self._named(name) for name in fault.side])
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
                pass  # it takes no part: tests/docker kills one for real, and tied labs end with theirs on purpose

    async def _dead(self) -> str:
        return next((m.name for m in await self._driver.members() if m.node and m.life is Life.DEAD), "")

    async def _frozen(self) -> str:
        return next((m.name for m in await self._driver.members() if m.node and m.life is Life.FROZEN), "")

    async def _running(self) -> list[str]:
        return [m.name for m in await self._driver.members() if m.node and m.life is Life.RUNNING]

    async def _partition(self, side: list[str]) -> None:
        """Two sides on every wire but the array. A bus cannot be split by peers, so both sides lose it where needed."""
        from . import saboteur

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
