"""A scenario: a lab, faults at their moments, and what must be seen. One file, run by the simulator or on real
processes.

Law: values, and the judgement of an observation against an expectation. It never waits and never acts; how a file is
read is in `scenario_file`. Durations are in seconds at time_scale 1.0; whoever runs the scenario scales them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .definition import ClusterDefinition
from .faults import Fault


class ScenarioError(ValueError):
    """The file is not a scenario. `problems` is never empty, each "LINE: what is wrong; what to write"."""

    def __init__(self, file: str, problems: Iterable[str]) -> None:
        self.file = file
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{file} has {count} problem{'s' if count > 1 else ''}; nothing was started"
        super().__init__("\n".join([head, *(f"{file}:{problem}" for problem in self.problems)]))


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be seen within `within_s` of the step before it, or, with `hold`, at every look until then.

    `online`: VMs (or "all") online on exactly one node. `off`: nodes that run no VM. `stayed`: VMs with owner and
    generation of the last `remember`. `moved`: VMs online under a newer generation on another node; `restarted`: on
    the same one. `down`: VMs that run nowhere, be they offline or failed. `not_on`: where VMs may not be.
    `node`/`state`: a node's state in the database. `refused`: nodes from which the array has refused a write.
    `healthy`: every node is UP and every VM online on exactly one of them.
    """

    within_s: float
    hold: bool = False
    online: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    node: str = ""
    state: str = ""
    refused: tuple[str, ...] = ()
    healthy: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story: a fault, a pause, a look, or a note of how things stand.

    `at_us`: microseconds after the lab was switched on; None: when the step before it is done.
    """

    fault: Fault | None = None
    at_us: int | None = None
    wait_s: float = 0.0
    expect: Expectation | None = None
    remember: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """The whole story.

    With `at_us` in its first step it begins when the lab is switched on, otherwise once the lab is healthy. `seed`:
    the one chance it was found with, for the simulator; None: any. `requests_every_s`: how often the client of each VM
    writes, in the simulator.
    """

    name: str
    why: str
    definition: ClusterDefinition
    steps: tuple[Step, ...]
    seed: int | None = None
    requests_every_s: float = 1.0

    @property
    def timed(self) -> bool:
        """Whether it tells the time of every step."""
        return bool(self.steps) and self.steps[0].at_us is not None


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """How a group stands: its state's name, its owner's name, its generation."""

    state: str
    owner: str
    generation: int


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at a lab. `running`: for each VM the names of the nodes on which it is running now."""

    groups: Mapping[str, GroupSeen] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    running: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    refused: frozenset[str] = frozenset()


def unmet(expect: Expectation, seen: Observation, remembered: Observation) -> str:
    """Why an observation does not meet an expectation; empty when it does."""
    wanted = (expect.online, expect.stayed, expect.moved, expect.restarted, expect.down)
    if (any(wanted) or expect.healthy) and not seen.nodes:
        return "no node leads"
    if expect.healthy:
        down = [f"{name} is {state}" for name, state in seen.nodes.items() if state != "UP"]
        if down:
            return "; ".join(down)
    for name in _names(("all",) if expect.healthy else expect.online, seen):
        group = seen.groups.get(name)
        running = seen.running.get(name, ())
        if group is None or group.state != "ONLINE" or running != (group.owner,):
            return f"{name} is {group}, and runs on {list(running)}"
    for name in _names(expect.stayed, remembered):
        group, before = seen.groups.get(name), remembered.groups.get(name)
        if group is None or before is None or group != before:
            return f"{name} was {before} and is {group}"
    for names, elsewhere in ((expect.moved, True), (expect.restarted, False)):
        for name in _names(names, remembered):
            group, before = seen.groups.get(name), remembered.groups.get(name)
            if group is None or before is None or group.state != "ONLINE":
                return f"{name} is {group}"
            if group.generation <= before.generation or (group.owner != before.owner) is not elsewhere:
                return f"{name} was {before} and is {group}"
            if seen.running.get(name, ()) != (group.owner,):
                return f"{name} is {group}, and runs on {list(seen.running.get(name, ()))}"
    for name in _names(expect.down, seen):
        if seen.running.get(name) or seen.groups[name].state not in ("OFFLINE", "FAILED"):
            return f"{name} is {seen.groups[name]}, and runs on {list(seen.running.get(name, ()))}"
    for node in expect.not_on:
        at = [name for name, group in seen.groups.items() if group.owner == node and group.state == "ONLINE"]
        if at:
            return f"{', '.join(at)} on {node}"
    for node in expect.off:
        at = [name for name, nodes in seen.running.items() if node in nodes]
        if at:
            return f"{node} still runs {', '.join(at)}"
    if expect.node and seen.nodes.get(expect.node) != expect.state:
        return f"{expect.node} is {seen.nodes.get(expect.node)}, not {expect.state}"
    for node in expect.refused:
        if node not in seen.refused:
            return f"the array has refused no write of {node}"
    return ""


def _names(names: tuple[str, ...], seen: Observation) -> tuple[str, ...]:
    return tuple(seen.groups) if names == ("all",) else names


def parse(file: str, data: str | bytes) -> Scenario:
    """Read the contents of a scenario file. `file` is its path, for messages; its last part names the scenario.

    Raises ScenarioError.
    """
    from .scenario_file import read

    return read(file, data)
