"""Performs the faults of a scenario on a lab of processes or containers: the hand that strikes.

Law: does what a Fault says, at once, or says why it cannot. Operators ask and do not wait: what becomes of a request is
for the story to expect. What was seen is judged elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Final, Protocol

from hvcluster.model.faults import A_FOLLOWER, HOLDER, LEADER, ONE_WIRE, OWNER_OF, Direction, Fault, FaultWord
from hvcluster.model.vocabulary import US_PER_MS, NodeId
from hvcluster.v1 import node_pb2

from . import saboteur
from .driver import Cut, Driver, How, Way, Wire
from .errors import Exit, Failure
from .observer import Observer
from .picture import Picture
from .scenario_wires import PERFECT, Wires
from .scenario_wishes import wish_of
from .state import Life, Role

LOOKS: Final = 3
MESSAGE_US: Final = 1_100
"""What a message between nodes takes in the simulator, on average: a slowness is told in multiples of it."""
RESUME_EVERY_S: Final = 0.2

_WAYS: Final = {Direction.BOTH: Way.BOTH, Direction.OUT: Way.OUT, Direction.IN: Way.IN}
_CUTS: Final = {
    FaultWord.CUT_BUSES: Wire.BUS,
    FaultWord.CUT_PEERS: Wire.PEERS,
    FaultWord.CUT_ARRAY: Wire.ARRAY,
    FaultWord.CUT_WITNESS: Wire.WITNESS,
    FaultWord.CUT_NETWORK: Wire.NETWORK,
}


class Orchestrator(Protocol):
    """Whatever started a lab and may be killed."""

    async def kill(self) -> None:
        """SIGKILL, once."""
        ...


async def look(observer: Observer) -> Picture:
    """A picture with every running node in it, as far as a few looks can give one: silence is no answer."""
    picture = await observer.look()
    for _ in range(LOOKS):
        alive = {m.node for m in picture.members if m.node and m.life is Life.RUNNING}
        if alive <= picture.answers.keys():
            break
        picture = await observer.look()
    return picture


class Hand:
    """One hand that strikes in one lab. `end` lets go of everything it still holds."""

    def __init__(
        self,
        driver: Driver,
        observer: Observer,
        tell: Callable[[str], None],
        orchestrator: Orchestrator | None = None,
    ) -> None:
        self._driver = driver
        self._observer = observer
        self._say = tell
        self._orchestrator = orchestrator
        self._wires = Wires(driver)
        self._scale = driver.definition.properties.time_scale
        self._asked: set[asyncio.Task[None]] = set()
        self._leaving: dict[str, asyncio.Task[None]] = {}
        self.other_side: tuple[str, ...] = ()
        """Names of the nodes that the last partition did not name."""

    async def end(self) -> None:
        """No request is waited for any more."""
        tasks = tuple(self._asked)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # who

    async def named(self, target: str, taken: Iterable[str] = ()) -> str:
        """A node by its name or by what it does; another running one if that is taken. Raises Failure."""
        picture = await look(self._observer)
        found = _by_deed(picture, target)
        if found in taken:
            running = sorted((m.node, m.name) for m in picture.members if m.node and m.life is Life.RUNNING)
            found = next((name for _, name in running if name not in taken), "")
        if not found:
            raise Failure(Exit.NOT_FOUND, f"there is no {target!r} now", "wait for it in a step before")
        return found

    def _id(self, name: str) -> NodeId:
        return next(node.id for node in self._driver.definition.nodes if node.name == name)

    async def _of_life(self, *lives: Life, role: Role | None = None) -> list[str]:
        members = await self._driver.members()
        return [m.name for m in members if m.life in lives and (role is None or m.role is role)]

    # what

    async def strike(self, fault: Fault) -> None:
        """Make one fault. Raises Failure where there is nobody to strike."""
        word = fault.word
        if word in _ON_A_NODE:
            await self._on_node(await self.named(fault.target), fault)
            return
        if word is not FaultWord.PARTITION:
            self._say(_sentence(fault, fault.target))
        wish = wish_of(fault)
        if wish is not None:
            await self._ask(fault, wish)
            return
        match word:
            case FaultWord.CRASH_VM | FaultWord.HANG_VM | FaultWord.CRASH_APP:
                owner = await self.named(f"{OWNER_OF}{fault.target}")
                await saboteur.break_vm(self._driver, owner, fault.target, _BREAKS[word])
            case FaultWord.PARTITION:
                await self._partition(fault.side)
            case FaultWord.HEAL:
                await self._wires.heal(await self.named(fault.target) if fault.target else "")
            case FaultWord.LOSS:
                await self._wires.degrade(replace(self._wires.quality, loss=fault.amount))
            case FaultWord.DOUBLING:
                await self._wires.degrade(replace(self._wires.quality, doubling=fault.amount))
            case FaultWord.SLOWNESS:
                late_us = int((fault.amount - 1.0) * MESSAGE_US * self._scale)
                await self._wires.degrade(replace(self._wires.quality, message_delay_us=late_us))
            case FaultWord.SAN_SLOW:
                slow_us = int(fault.amount * US_PER_MS * self._scale)
                await self._wires.degrade(replace(self._wires.quality, array_delay_us=slow_us))
            case FaultWord.BUS_KILL:
                await self._kill(f"bus-{fault.target}")
            case FaultWord.BUS_START:
                await self._start(f"bus-{fault.target}")
            case FaultWord.SAN_KILL | FaultWord.SAN_CRASH | FaultWord.SAN_POWER_LOSS:
                await self._kill("san")
            case FaultWord.SAN_START:
                await self._start("san")
            case FaultWord.WITNESS_KILL:
                await self._kill("witness")
            case FaultWord.WITNESS_START:
                await self._start("witness")
            case FaultWord.WITNESS_SLOW:
                slow_us = int(fault.amount * US_PER_MS * self._scale)
                await self._wires.degrade(replace(self._wires.quality, witness_delay_us=slow_us))
            case FaultWord.KILL_ALL:
                await asyncio.gather(*(self._kill(node.name) for node in self._driver.definition.nodes))
            case FaultWord.START_ALL:
                await asyncio.gather(*(self._start(node.name) for node in self._driver.definition.nodes))
            case FaultWord.MEND:
                await self.mend()
            case FaultWord.ORCHESTRATOR_KILL:
                assert self._orchestrator is not None, "a lab of such a scenario has an orchestrator of its own"
                await self._orchestrator.kill()
            case _:
                raise AssertionError(f"{word} strikes a node, or is for the simulator alone")

    async def _on_node(self, name: str, fault: Fault) -> None:
        self._say(_sentence(fault, name))
        wish = wish_of(fault, self._id(name))
        if wish is not None:
            await self._ask(fault, wish)
            return
        match fault.word:
            case FaultWord.KILL | FaultWord.CRASH:
                await self._kill(name)
            case FaultWord.START | FaultWord.START_FORCED | FaultWord.START_PREVENTED | FaultWord.START_IGNORING:
                await self._start(name, _HOW[fault.word])
            case FaultWord.FREEZE:
                if name in await self._of_life(Life.RUNNING):
                    await saboteur.freeze(self._driver, name)
            case FaultWord.THAW:
                await self._thaw(name)
            case FaultWord.WIPE:
                await saboteur.wipe(self._driver, name)
            case FaultWord.STOP:
                via = self._id(await self.named(fault.via)) if fault.via else None
                self._leaving[name] = self._later(self._stop(name, via), f"stop {name}")
            case FaultWord.SHUTDOWN:
                self._leaving[name] = self._later(self._stop(name, None, shutdown=True), f"shut down {name}")
            case FaultWord.CRASH_MONITOR | FaultWord.HANG_MONITOR:
                await saboteur.break_vm(self._driver, name, "", _BREAKS[fault.word])
            case word if word in _CUTS:
                await self._cut(name, fault)
            case _:
                raise AssertionError(f"{fault.word} strikes no node")

    async def _kill(self, name: str) -> None:
        if name in await self._of_life(Life.RUNNING, Life.FROZEN):
            await saboteur.kill(self._driver, name)

    async def _start(self, name: str, how: How = How.NORMAL) -> None:
        if name in self._leaving:
            await asyncio.wait((self._leaving.pop(name),))  # who is stopped is not started before
        if name in await self._of_life(Life.DEAD):
            await saboteur.start(self._driver, name, how)
            if name in await self._of_life(Life.RUNNING, role=Role.NODE):
                await self._wires.woken(name)

    async def _thaw(self, name: str) -> None:
        if name in await self._of_life(Life.FROZEN):
            await saboteur.thaw(self._driver, name)
            if name in await self._of_life(Life.RUNNING, role=Role.NODE):
                await self._wires.woken(name)

    # wires

    async def _cut(self, name: str, fault: Fault) -> None:
        wire, way = _CUTS[fault.word], _WAYS[fault.direction]
        names = [fault.wire if fault.word in ONE_WIRE else ""]
        if fault.side:
            side = [await self.named(target) for target in fault.side]
            names = [str(self._id(other)) for other in side if other != name]
        await self._wires.cut(name, [Cut(wire, each, way) for each in names])

    async def _partition(self, targets: Iterable[str]) -> None:
        """Two sides on every wire but the array. A bus cannot be split by peers, so both sides lose it where needed."""
        side: list[str] = []
        for target in targets:
            side.append(await self.named(target, side))
        nodes = self._driver.definition.nodes
        here = [node for node in nodes if node.name in side]
        there = [node for node in nodes if node.name not in side]
        if not here or not there:
            raise Failure(Exit.USAGE, "a partition needs nodes on both sides", "name some of them in `side`")
        self.other_side = tuple(node.name for node in there)
        self._say(f"partition: {', '.join(side)} from {', '.join(self.other_side)}")
        between = [Cut(Wire.PEERS, str(other.id)) for other in there]
        cuts = {node.name: [Cut(Wire.BUS), *between] for node in here}
        if len(here) > 1:
            cuts |= {node.name: [Cut(Wire.BUS)] for node in there}
        await asyncio.gather(*(self._wires.cut(name, what) for name, what in cuts.items()))

    # operators

    def _later(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)
        return task

    async def _ask(self, fault: Fault, request: node_pb2.OperatorRequest) -> None:
        at = self._id(await self.named(fault.via)) if fault.via else None
        self._later(self._request(request, at), _sentence(fault, fault.target))

    async def _request(self, request: node_pb2.OperatorRequest, at: NodeId | None) -> None:
        try:
            reply = await self._observer.request(request, at)
        except Failure as error:
            self._say(f"the operator is refused: {error.text}")
        else:
            self._say(f"the operator is answered: {reply.text}")

    async def _stop(self, name: str, via: NodeId | None, *, shutdown: bool = False) -> None:
        try:
            await saboteur.stop(self._driver, self._observer, name, via, shutdown=shutdown)
        except Failure as error:
            self._say(f"the operator is refused: {error.text}")

    # the end of all faults

    async def mend(self) -> None:
        """Wires, array and buses are well again, and every process runs."""
        await self._wires.heal()
        await self._wires.degrade(PERFECT)
        for name in await self._of_life(Life.FROZEN):
            await self._thaw(name)
        starting = {*await self._of_life(Life.DEAD), *self._leaving}
        await asyncio.gather(*(self._start(name) for name in sorted(starting)))
        self._later(self._let_all_in(), "resume all nodes")

    async def _let_all_in(self) -> None:
        """An operator asks until nobody is paused or evicted: who asks a node that has just started is refused.

        A leader that has just been elected shows an older database for a moment, so it is looked at twice.
        """
        clear = 0
        while clear < 2:
            best = (await look(self._observer)).best
            rows = best.nodes if best is not None and best.quorum else ()
            wishes = [wish_of(Fault(FaultWord.RESUME, row.name), row.id) for row in rows if row.state == "PAUSED"]
            wishes += [wish_of(Fault(FaultWord.ADD_NODE, row.name), row.id) for row in rows if row.outside]
            clear = clear + 1 if best is not None and best.quorum and not wishes else 0
            for wish in wishes:
                if wish is not None:
                    await self._request(wish, None)
            await asyncio.sleep(RESUME_EVERY_S)


_BREAKS: Final = {
    FaultWord.CRASH_VM: "crash",
    FaultWord.HANG_VM: "hang",
    FaultWord.CRASH_APP: "application",
    FaultWord.CRASH_MONITOR: "crash-monitor",
    FaultWord.HANG_MONITOR: "hang-monitor",
}

_HOW: Final = {
    FaultWord.START: How.NORMAL,
    FaultWord.START_FORCED: How.FORCE_QUORUM,
    FaultWord.START_PREVENTED: How.PREVENT_QUORUM,
    FaultWord.START_IGNORING: How.IGNORE_PERSISTENT_STATE,
}
_ON_A_NODE: Final = frozenset(
    {
        FaultWord.KILL, FaultWord.CRASH, FaultWord.START, FaultWord.START_FORCED, FaultWord.START_PREVENTED,
        FaultWord.START_IGNORING,
        FaultWord.FREEZE, FaultWord.THAW, FaultWord.WIPE, FaultWord.STOP, FaultWord.SHUTDOWN,
        FaultWord.PAUSE, FaultWord.DRAIN,
        FaultWord.RESUME, FaultWord.CUT_BUSES, FaultWord.CUT_PEERS, FaultWord.CUT_ARRAY,
        FaultWord.CUT_WITNESS, FaultWord.CUT_NETWORK, FaultWord.CRASH_MONITOR, FaultWord.HANG_MONITOR, FaultWord.WEIGH,
        FaultWord.EVICT, FaultWord.ADD_NODE,
    }
)  # fmt: skip


def _sentence(fault: Fault, whom: str) -> str:
    """What is done, in the words of the file."""
    told = [fault.word.name.lower(), whom, *fault.side, fault.wire, fault.type]
    told += [f"{fault.amount:g}"] if fault.amount else []
    told += [fault.direction.name.lower()] if fault.direction is not Direction.BOTH else []
    return " ".join(word for word in told if word)


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
