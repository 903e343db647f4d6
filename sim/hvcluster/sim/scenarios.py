"""Runs a scenario file in the simulator, to its verdict.

Law: performs steps and looks; what a step means for an observation is judged in model.scenario, and every invariant by
the judge of the world. Virtual seconds are the scenario's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvcluster.model.definition import initiator_name
from hvcluster.model.facts import Fact
from hvcluster.model.faults import OTHER_SIDE, Direction, Fault, FaultWord
from hvcluster.model.scenario import Expectation, GroupSeen, Observation, Scenario, unmet
from hvcluster.model.vocabulary import NOBODY, US_PER_S, NodeState
from hvcluster.node.core import events as ev
from hvcluster.node.core.witness import Hold

from .judge import Broken
from .machines import Machine
from .world import World

HEALTHY_WITHIN_S = 60
LOOK_EVERY_US = US_PER_S // 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario: "" when every expectation was met and no invariant broke."""

    problem: str
    virtual_s: float
    facts: tuple[Fact, ...]


class ScenarioFailed(Exception):
    """An expectation was not met; says at which step and what was seen."""


class Stage:
    """One scenario in one world."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        self.world = World(scenario.definition, seed, append_every_us=US_PER_S)
        self._scale = scenario.definition.properties.time_scale
        self._remembered = Observation()
        self._side: tuple[str, ...] = ()
        self._tickets = 0

    def run(self) -> Outcome:
        """Play the whole story."""
        problem = ""
        try:
            self._play()
        except (Broken, ScenarioFailed) as error:
            problem = str(error)
        return Outcome(problem, self.world.now / US_PER_S, tuple(self.world.facts))

    def _play(self) -> None:
        world = self.world
        world.start()
        limit = world.now + self._us(HEALTHY_WITHIN_S)
        while (found := world.judge.problems()) and world.now < limit:
            world.run_for(LOOK_EVERY_US)
        if found:
            raise ScenarioFailed(f"not healthy at the start: {'; '.join(found)}")
        world.run_for(self._us(3))
        for number, step in enumerate(self._scenario.steps, 1):
            if step.remember:
                self._remembered = self._look()
            if step.fault is not None:
                self._strike(step.fault)
            world.run_for(self._us(step.wait_s))
            if step.expect is not None:
                self._await(number, step.expect)

    def _us(self, seconds: float) -> int:
        return int(seconds * self._scale * US_PER_S)

    def _await(self, number: int, expect: Expectation) -> None:
        until = self.world.now + self._us(expect.within_s)
        if OTHER_SIDE in expect.off:
            named = tuple(name for name in expect.off if name != OTHER_SIDE)
            expect = replace(expect, off=named + self._side)
        why = unmet(expect, self._look(), self._remembered)
        while self.world.now < until and (why == "") == expect.hold:
            self.world.run_for(min(LOOK_EVERY_US, until - self.world.now))
            why = unmet(expect, self._look(), self._remembered)
        if why:
            what = "did not hold" if expect.hold else f"was not seen within {expect.within_s:g} s"
            raise ScenarioFailed(f"step {number} {what}: {why}")

    # looking

    def _name(self, node: int) -> str:
        return self._scenario.definition.node_name(node)  # type: ignore[arg-type]

    def _leader(self) -> Machine | None:
        """The leader with the newest term among the processes that run."""
        leaders = [m for m in self.world.machines.values() if m.alive and not m.frozen and m.core.state.leads]
        return max(leaders, key=lambda m: m.core.state.term, default=None)

    def _look(self) -> Observation:
        leader = self._leader()
        running: dict[str, list[str]] = {}
        for machine in self.world.machines.values():
            for name, sim in machine.guests.items():
                if sim.guest.state.name in ("ONLINE", "STOPPING") and not machine.frozen:
                    running.setdefault(name, []).append(machine.name)
        refused = frozenset(self.world.judge.refused)
        names = {initiator_name(m.name): m.name for m in self.world.machines.values()}
        seen = frozenset(names[name] for name in refused if name in names)
        if leader is None:
            return Observation(running={name: tuple(nodes) for name, nodes in running.items()}, refused=seen)
        database = leader.core.replica.database
        groups = {g.name: GroupSeen(g.state.name, self._name(g.owner), g.generation) for g in database.groups.values()}
        nodes = {
            m.name: (NodeState.PAUSED if m.paused else NodeState.UP).name if m.up else NodeState.DOWN.name
            for m in database.members.values()
        }
        return Observation(groups, nodes, {name: tuple(nodes) for name, nodes in running.items()}, seen)

    # acting

    def _machine(self, target: str) -> Machine:
        """A node by its name, or by what it does."""
        machines = {machine.name: machine for machine in self.world.machines.values()}
        leader = self._leader()
        if target.startswith("owner of "):
            group = self._look().groups.get(target.removeprefix("owner of "))
            found = machines.get(group.owner) if group is not None else None
        elif target == "leader":
            found = leader
        elif target == "a follower":
            found = next((m for m in machines.values() if m.alive and m is not leader), None)
        elif target == "holder of the witness":
            held = (m for m in machines.values() if m.alive and m.core.witness and m.core.witness.hold is Hold.HELD)
            found = next(held, None)
        else:
            found = machines.get(target)
        if found is None:
            raise ScenarioFailed(f"there is no {target!r} now")
        return found

    def _strike(self, fault: Fault) -> None:
        world = self.world
        way = fault.direction.name.lower()
        match fault.word:
            case FaultWord.KILL | FaultWord.START | FaultWord.FREEZE | FaultWord.THAW | FaultWord.WIPE:
                getattr(self._machine(fault.target), fault.word.name.lower())()
            case FaultWord.STOP:
                machine = self._machine(fault.target)
                self._ask(machine, ev.StopNode(machine.node))
            case FaultWord.MOVE:
                leader = self._leader()
                if leader is not None:
                    self._ask(leader, ev.MoveGroup(fault.target, NOBODY))
            case FaultWord.CUT_BUSES:
                for bus in world.network.buses:
                    world.network.cut_bus(self._machine(fault.target).node, bus, way)
            case FaultWord.CUT_PEERS:
                node = self._machine(fault.target).node
                world.network.cut_peers(node, tuple(n for n in world.machines if n != node), way)
            case FaultWord.CUT_ARRAY:
                for link in self._machine(fault.target).links.values():
                    link.cut_out = fault.direction is not Direction.IN
                    link.cut_in = fault.direction is not Direction.OUT
            case FaultWord.PARTITION:
                self._partition(fault.side)
            case FaultWord.HEAL:
                world.network.heal()
                for machine in world.machines.values():
                    for link in machine.links.values():
                        link.cut_in = link.cut_out = False
            case FaultWord.BUS_KILL | FaultWord.BUS_START:
                world.network.buses[fault.target] = fault.word is FaultWord.BUS_START
            case FaultWord.SAN_KILL:
                world.array.kill()
            case FaultWord.SAN_START:
                world.array.restart()
            case FaultWord.KILL_ALL:
                for machine in world.machines.values():
                    machine.kill()
            case FaultWord.START_ALL:
                for machine in world.machines.values():
                    machine.start()
            case FaultWord.ORCHESTRATOR_KILL:
                pass  # the simulator has no orchestrator that could take part in anything

    def _partition(self, side: tuple[str, ...]) -> None:
        chosen: list[Machine] = []
        for target in side:
            machine = self._machine(target)
            if machine in chosen:
                machine = next(m for m in self.world.machines.values() if m not in chosen)
            chosen.append(machine)
        inside = tuple(m.node for m in chosen)
        outside = tuple(node for node in self.world.machines if node not in inside)
        self.world.network.partition(inside, outside)
        self._side = tuple(self._name(node) for node in outside)

    def _ask(self, machine: Machine, request: ev.Request) -> None:
        self._tickets += 1
        machine.deliver(ev.Requested(self._tickets, request))


def run(scenario: Scenario, seed: int = 1) -> Outcome:
    """Play a scenario in the simulator."""
    return Stage(scenario, seed).run()
