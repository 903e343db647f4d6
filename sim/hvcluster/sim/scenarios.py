"""Runs a scenario file in the simulator, to its verdict.

Law: performs steps and looks; what a step means for an observation is judged in model.scenario, and every invariant by
the judge of the world. Virtual seconds are the scenario's own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hvcluster.model.definition import initiator_name
from hvcluster.model.facts import Fact
from hvcluster.model.faults import OTHER_SIDE, Fault
from hvcluster.model.scenario import Expectation, GroupSeen, Observation, Scenario, unmet
from hvcluster.model.vocabulary import US_PER_S, NodeState
from hvcluster.node.core.viewing import shown_state

from .judge import Broken
from .schedule import Strike
from .sides import Sides
from .strikes import Nobody, Strikes
from .world import World

HEALTHY_WITHIN_S = 60
LOOK_EVERY_US = US_PER_S // 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario: "" when every expectation was met and no invariant broke."""

    problem: str
    virtual_s: float
    facts: tuple[Fact, ...]
    performed: tuple[Strike, ...] = ()


class ScenarioFailed(Exception):
    """An expectation was not met; says at which step and what was seen."""


class Stage:
    """One scenario in one world."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._scenario = scenario
        every_us = int(scenario.requests_every_s * US_PER_S)
        self.world = World(scenario.definition, seed, append_every_us=every_us)
        self._scale = scenario.definition.properties.time_scale
        self._hand = Strikes(self.world)
        self._remembered = Observation()
        self._performed: list[Strike] = []

    def run(self) -> Outcome:
        """Play the whole story."""
        problem = ""
        try:
            self._play()
        except (Broken, ScenarioFailed) as error:
            problem = str(error)
        return Outcome(problem, self.world.now / US_PER_S, tuple(self.world.facts), tuple(self._performed))

    def _play(self) -> None:
        self.world.start()
        Sides(self.world)
        if not self._scenario.timed:
            self._settle()
        for number, step in enumerate(self._scenario.steps, 1):
            if step.at_us is not None:
                self.world.run_until(max(step.at_us, self.world.now))
            if step.remember:
                self._remembered = self._look()
            if step.fault is not None:
                self._strike(number, step.fault)
            self.world.run_for(self._us(step.wait_s))
            if step.expect is not None:
                self._await(number, step.expect)

    def _settle(self) -> None:
        """A story that tells no times begins with a lab that is well."""
        world = self.world
        limit = world.now + self._us(HEALTHY_WITHIN_S)
        while (found := world.judge.problems()) and world.now < limit:
            world.run_for(LOOK_EVERY_US)
        if found:
            raise ScenarioFailed(f"not healthy at the start: {'; '.join(found)}")
        world.run_for(self._us(3))

    def _strike(self, number: int, fault: Fault) -> None:
        try:
            self._performed.append(Strike(self.world.now, fault))
            self._hand.strike(fault)
        except Nobody as error:
            raise ScenarioFailed(f"step {number}: {error}") from None

    def _us(self, seconds: float) -> int:
        return int(seconds * self._scale * US_PER_S)

    def _await(self, number: int, expect: Expectation) -> None:
        until = self.world.now + self._us(expect.within_s)
        if OTHER_SIDE in expect.off:
            named = tuple(name for name in expect.off if name != OTHER_SIDE)
            expect = replace(expect, off=named + self._hand.other_side)
        why = self._unmet(expect)
        while self.world.now < until and (why == "") == expect.hold:
            self.world.run_for(min(LOOK_EVERY_US, until - self.world.now))
            why = self._unmet(expect)
        if why:
            what = "did not hold" if expect.hold else f"was not seen within {expect.within_s:g} s"
            raise ScenarioFailed(f"step {number} {what}: {why}")

    def _unmet(self, expect: Expectation) -> str:
        """What is missing; whether the lab is healthy is the judge's to say here."""
        if expect.healthy:
            problems = self.world.judge.problems()
            if problems:
                return "; ".join(problems)
            expect = replace(expect, healthy=False)
        return unmet(expect, self._look(), self._remembered)

    # looking

    def _name(self, node: int) -> str:
        return self._scenario.definition.node_name(node)  # type: ignore[arg-type]

    def _look(self) -> Observation:
        leader = self._hand.leader()
        running: dict[str, list[str]] = {}
        for machine in self.world.machines.values():
            for name, sim in machine.guests.items():
                if sim.guest.state.name in ("ONLINE", "STOPPING") and not machine.frozen:
                    running.setdefault(name, []).append(machine.name)
            for name in sorted(machine.monitor.groups()) if not machine.frozen else ():
                running.setdefault(name, []).append(machine.name)
        refused = frozenset(self.world.judge.refused)
        names = {initiator_name(m.name): m.name for m in self.world.machines.values()}
        seen = frozenset(names[name] for name in refused if name in names)
        if leader is None:
            return Observation(running={name: tuple(nodes) for name, nodes in running.items()}, refused=seen)
        database = leader.core.replica.database
        groups = {
            g.name: GroupSeen(shown_state(g).name, self._name(g.owner), g.generation) for g in database.groups.values()
        }
        nodes = {
            m.name: (NodeState.PAUSED if m.paused else NodeState.UP).name if m.up else NodeState.DOWN.name
            for m in database.members.values()
        }
        return Observation(groups, nodes, {name: tuple(nodes) for name, nodes in running.items()}, seen)


def run(scenario: Scenario, seed: int = 1) -> Outcome:
    """Play a scenario in the simulator, with its own seed where it has one."""
    return Stage(scenario, seed if scenario.seed is None else scenario.seed).run()
