"""A scenario: a lab, faults at their moments, and what must be seen. One file, run by the simulator or on real
processes.

Law: reads a TOML document into values, and judges an observation against an expectation. It never waits and never acts.
Durations are in seconds at time_scale 1.0; whoever runs the scenario scales them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .definition import ClusterDefinition, GroupDefinition, NodeDefinition
from .faults import Direction, Fault, FaultWord
from .properties import DEFAULT_PROFILE, Properties, defaults, problems, with_values
from .vocabulary import LunId, NodeId, PathName

MAX_STEPS = 200


class ScenarioError(ValueError):
    """The file is not a scenario; the message lists everything that is wrong with it."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must be seen within `within_s` of the step before it, or, with `hold`, at every look until then.

    `online`: VMs (or "all") online on exactly one node. `off`: nodes that run no VM. `stayed`: VMs with owner and
    generation of the last `remember`. `moved`: VMs online under a newer generation on another node. `not_on`: where
    they may not be.
    `node`/`state`: a node's state in the database. `refused`: nodes from which the array has refused a write.
    """

    within_s: float
    hold: bool = False
    online: tuple[str, ...] = ()
    stayed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    not_on: tuple[str, ...] = ()
    off: tuple[str, ...] = ()
    node: str = ""
    state: str = ""
    refused: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the story: a fault, a pause, a look, or a note of how things stand."""

    fault: Fault | None = None
    wait_s: float = 0.0
    expect: Expectation | None = None
    remember: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """The whole story. `docker`: it makes sense with containers too."""

    name: str
    why: str
    definition: ClusterDefinition
    steps: tuple[Step, ...]
    docker: bool = False
    only: tuple[str, ...] = ()


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
    for name in _names(expect.online, seen):
        group = seen.groups.get(name)
        running = seen.running.get(name, ())
        if group is None or group.state != "ONLINE" or running != (group.owner,):
            return f"{name} is {group}, and runs on {list(running)}"
    for name in _names(expect.stayed, remembered):
        group, before = seen.groups.get(name), remembered.groups.get(name)
        if group is None or before is None or group != before:
            return f"{name} was {before} and is {group}"
    for name in _names(expect.moved, remembered):
        group, before = seen.groups.get(name), remembered.groups.get(name)
        if group is None or before is None or group.state != "ONLINE":
            return f"{name} is {group}"
        if group.generation <= before.generation or group.owner == before.owner:
            return f"{name} was {before} and is {group}"
        if seen.running.get(name, ()) != (group.owner,):
            return f"{name} is {group}, and runs on {list(seen.running.get(name, ()))}"
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


def parse(name: str, text: str) -> Scenario:
    """Read the text of a scenario file called `name`. Raises ScenarioError."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{name}: {error}") from None
    reader = _Reader(name, document)
    scenario = reader.scenario()
    if reader.wrong:
        raise ScenarioError("\n".join(f"{name}: {what}" for what in reader.wrong))
    assert scenario is not None, "a scenario without anything wrong is one"
    return scenario


_LAB_KEYS = {"nodes", "vms", "witness", "paths", "profile", "owners", "properties"}
_STEP_KEYS = {"do", "target", "direction", "side", "wait_s", "expect", "remember"}
_EXPECT_KEYS = {"within_s", "hold", "online", "stayed", "moved", "not_on", "off", "node", "state", "refused"}


class _Reader:
    """Collects everything that is wrong while it reads."""

    def __init__(self, name: str, document: dict[str, Any]) -> None:
        self._name = name
        self._document = document
        self.wrong: list[str] = []

    def scenario(self) -> Scenario | None:
        document = self._document
        self._known("the file", document, {"why", "lab", "step", "docker", "only"})
        why = document.get("why")
        if not isinstance(why, str) or not why.strip():
            self.wrong.append("`why` is missing: say in a sentence what the scenario is for")
        definition = self._definition(document.get("lab", {}))
        steps = document.get("step", [])
        if not isinstance(steps, list) or not steps or len(steps) > MAX_STEPS:
            self.wrong.append(f"there must be 1 to {MAX_STEPS} [[step]] tables")
            steps = []
        read = tuple(self._step(number, step) for number, step in enumerate(steps, 1))
        if self.wrong or definition is None:
            return None
        only = tuple(document.get("only", ()))
        return Scenario(self._name, str(why).strip(), definition, read, bool(document.get("docker", False)), only)

    def _known(self, where: str, table: Mapping[str, Any], keys: set[str]) -> None:
        for key in sorted(set(table) - keys):
            self.wrong.append(f"{where}: `{key}` is unknown; one of {', '.join(sorted(keys))}")

    def _definition(self, lab: Any) -> ClusterDefinition | None:
        if not isinstance(lab, dict):
            self.wrong.append("[lab] must be a table")
            return None
        self._known("[lab]", lab, _LAB_KEYS)
        count, vms, paths = lab.get("nodes", 3), lab.get("vms", 2), lab.get("paths", 1)
        if not all(type(value) is int and 0 < value <= 64 for value in (count, vms, paths)):
            self.wrong.append("[lab]: nodes, vms and paths are whole numbers from 1 to 64")
            return None
        owners = lab.get("owners", [])
        groups = tuple(
            GroupDefinition(f"D{n}", LunId(n + 1), owner=NodeId(owners[n - 1]) if n <= len(owners) else None)
            for n in range(1, vms + 1)
        )
        properties = self._properties(lab)
        if properties is None:
            return None
        nodes = tuple(NodeDefinition(NodeId(n), f"HyperV-{n}") for n in range(1, count + 1))
        names = tuple(PathName(chr(ord("A") + n)) for n in range(paths))
        witness = LunId(1) if lab.get("witness", True) else None
        return ClusterDefinition(self._name[:15], self._name, nodes, groups, witness, names, properties)

    def _properties(self, lab: dict[str, Any]) -> Properties | None:
        try:
            properties = with_values(defaults(lab.get("profile", DEFAULT_PROFILE)), lab.get("properties", {}))
            found = problems(properties)
        except (KeyError, TypeError) as error:
            self.wrong.append(f"[lab]: no such profile or property, or a value of the wrong type: {error}")
            return None
        self.wrong.extend(f"[lab.properties]: {text}" for _, text in found)
        return None if found else properties

    def _step(self, number: int, step: Any) -> Step:
        where = f"step {number}"
        if not isinstance(step, dict):
            self.wrong.append(f"{where} must be a table")
            return Step()
        self._known(where, step, _STEP_KEYS)
        fault = self._fault(where, step) if "do" in step else None
        expect = self._expect(where, step["expect"]) if "expect" in step else None
        wait_s = step.get("wait_s", 0.0)
        if not isinstance(wait_s, int | float) or wait_s < 0:
            self.wrong.append(f"{where}: wait_s is a number of seconds")
            wait_s = 0.0
        return Step(fault, float(wait_s), expect, bool(step.get("remember", False)))

    def _fault(self, where: str, step: dict[str, Any]) -> Fault | None:
        words = {word.name.lower(): word for word in FaultWord}
        word = words.get(str(step["do"]).replace(" ", "_").replace("-", "_"))
        direction = {way.name.lower(): way for way in Direction}.get(step.get("direction", "both"))
        if word is None or direction is None:
            self.wrong.append(f"{where}: `do` is one of {', '.join(sorted(words))}; direction is both, in or out")
            return None
        return Fault(word, str(step.get("target", "")), direction, tuple(step.get("side", ())))

    def _expect(self, where: str, table: Any) -> Expectation | None:
        if not isinstance(table, dict) or not isinstance(table.get("within_s"), int | float):
            self.wrong.append(f"{where}: `expect` is a table with within_s")
            return None
        self._known(f"{where}.expect", table, _EXPECT_KEYS)
        lists = ("online", "stayed", "moved", "not_on", "off", "refused")
        values: dict[str, Any] = {}
        for key in lists:
            value = table.get(key, [])
            values[key] = (value,) if isinstance(value, str) else tuple(value)
        return Expectation(
            float(table["within_s"]),
            bool(table.get("hold", False)),
            node=str(table.get("node", "")),
            state=str(table.get("state", "")),
            **values,
        )
