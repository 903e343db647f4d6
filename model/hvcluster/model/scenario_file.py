"""The text of a scenario file, read and judged: everything wrong with it at once, each with its place and a remedy.

Law: shapes of values and names that must exist. Nothing is guessed: a file with one problem makes no scenario.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Any, Final

from .definition import ClusterDefinition, GroupDefinition, NodeDefinition
from .faults import (
    A_FOLLOWER,
    BY_DEED,
    HOLDER,
    OTHER_SIDE,
    OWNER_OF,
    TARGETS,
    Direction,
    Fault,
    FaultWord,
    Target,
)
from .properties import DEFAULT_PROFILE, PROFILES, Properties, defaults, problems, with_values
from .scenario import Expectation, Scenario, ScenarioError, Step
from .vocabulary import MAX_NODES, LunId, NodeId, NodeState, PathName

MAX_STEPS: Final = 200
MAX_VMS: Final = 64
MAX_PATHS: Final = 4
BUSES: Final = ("A", "B")

_FILE_KEYS: Final = ("lab", "step", "why")
_LAB_KEYS: Final = ("nodes", "owners", "paths", "profile", "properties", "vms", "witness")
_STEP_KEYS: Final = ("direction", "do", "expect", "remember", "side", "target", "wait_s")
_VM_LISTS: Final = ("online", "stayed", "moved")
_NODE_LISTS: Final = ("not_on", "off", "refused")
_EXPECT_KEYS: Final = (*_VM_LISTS, *_NODE_LISTS, "hold", "node", "state", "within_s")
_CUTS: Final = (FaultWord.CUT_BUSES, FaultWord.CUT_PEERS, FaultWord.CUT_ARRAY)


def read(file: str, data: str | bytes) -> Scenario:
    """The scenario in the text of `file`, which names it as well. Raises ScenarioError."""
    try:
        document = tomllib.loads(data if isinstance(data, str) else data.decode())
    except UnicodeDecodeError:
        raise ScenarioError(file, ["the file is not UTF-8; save it as UTF-8"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ScenarioError(file, [f"not TOML: {error}; correct that first"]) from None
    reader = _Reader(file.replace("\\", "/").rpartition("/")[2].removesuffix(".toml"))
    scenario = reader.scenario(document)
    if scenario is None:
        raise ScenarioError(file, reader.wrong)
    return scenario


def _seconds(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")


class _Reader:
    """Collects everything that is wrong while it reads."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: tuple[str, ...] = ()
        self._vms: tuple[str, ...] = ()
        self._witness = True
        self.wrong: list[str] = []

    def scenario(self, document: dict[str, Any]) -> Scenario | None:
        """The whole file, None if anything is wrong with it."""
        self._known("", document, _FILE_KEYS)
        why = document.get("why")
        if not isinstance(why, str) or not why.strip():
            self.wrong.append("`why` is missing; say in a sentence what the scenario is for")
        definition = self._definition(document.get("lab", {}))
        steps = document.get("step", [])
        if not isinstance(steps, list) or not 1 <= len(steps) <= MAX_STEPS:
            self.wrong.append(f"there is no list of steps; write 1 to {MAX_STEPS} [[step]] tables")
            steps = []
        read = tuple(self._step(f"step {number}", step) for number, step in enumerate(steps, 1))
        if self.wrong or definition is None:
            return None
        return Scenario(self._name, str(why).strip(), definition, read)

    def _complain(self, where: str, text: str) -> None:
        self.wrong.append(f"{where}: {text}" if where else text)

    def _known(self, where: str, table: Mapping[str, Any], keys: Collection[str]) -> None:
        for key in sorted(set(table) - set(keys)):
            self._complain(where, f"`{key}` is unknown; one of {', '.join(sorted(keys))}")

    def _truth(self, where: str, table: Mapping[str, Any], key: str, default: bool) -> bool:
        value = table.get(key, default)
        if not isinstance(value, bool):
            self._complain(where, f"`{key}` is {value!r}; write true or false")
            return default
        return value

    # [lab]

    def _definition(self, lab: Any) -> ClusterDefinition | None:
        if not isinstance(lab, dict):
            self.wrong.append("`lab` is no table; write it as [lab]")
            return None
        self._known("[lab]", lab, _LAB_KEYS)
        counts = [
            self._count(lab, "nodes", 3, MAX_NODES),
            self._count(lab, "vms", 2, MAX_VMS),
            self._count(lab, "paths", 1, MAX_PATHS),
        ]
        nodes, vms, paths = counts
        self._nodes = tuple(f"HyperV-{number}" for number in range(1, nodes + 1))
        self._vms = tuple(f"D{number}" for number in range(1, vms + 1))
        self._witness = self._truth("[lab]", lab, "witness", True)
        owners = self._owners(lab)
        properties = self._properties(lab)
        if properties is None:
            return None
        return ClusterDefinition(
            name=self._name[:15],
            id=self._name,
            nodes=tuple(NodeDefinition(NodeId(number), name) for number, name in enumerate(self._nodes, 1)),
            groups=tuple(
                GroupDefinition(name, LunId(number + 1), owner=owners[number - 1] if number <= len(owners) else None)
                for number, name in enumerate(self._vms, 1)
            ),
            witness_lun=LunId(1) if self._witness else None,
            paths=tuple(PathName(chr(ord("A") + number)) for number in range(paths)),
            properties=properties,
        )

    def _count(self, lab: Mapping[str, Any], key: str, default: int, most: int) -> int:
        value = lab.get(key, default)
        if type(value) is int and 1 <= value <= most:
            return value
        self._complain("[lab]", f"`{key}` is {value!r}; write a whole number from 1 to {most}")
        return default

    def _owners(self, lab: Mapping[str, Any]) -> list[NodeId]:
        owners = lab.get("owners", [])
        if not isinstance(owners, list) or len(owners) > len(self._vms):
            self._complain("[lab]", "`owners` is no list of at most one node id per VM; write one such as [1, 2]")
            return []
        for owner in owners:
            if type(owner) is not int or not 1 <= owner <= len(self._nodes):
                self._complain("[lab]", f"`owners` names no node: {owner!r}; write ids from 1 to {len(self._nodes)}")
                return []
        return [NodeId(owner) for owner in owners]

    def _properties(self, lab: Mapping[str, Any]) -> Properties | None:
        profile, values = lab.get("profile", DEFAULT_PROFILE), lab.get("properties", {})
        if profile not in PROFILES:
            self._complain("[lab]", f"there is no profile {profile!r}; one of {', '.join(PROFILES)}")
            return None
        if not isinstance(values, dict):
            self._complain("[lab]", "`properties` is no table; write [lab.properties]")
            return None
        kinds = {field.name: type(field.default) for field in fields(Properties) if field.name != "profile"}
        self._known("[lab.properties]", values, tuple(kinds))
        good = True
        for key, value in values.items():
            kind = kinds.get(key)
            if kind is not None and type(value) is not kind and not (kind is float and type(value) is int):
                words = {bool: "true or false", int: "a whole number", float: "a number"}
                self._complain("[lab.properties]", f"`{key}` is {value!r}; write {words[kind]}")
                good = False
            good = good and kind is not None
        if not good:
            return None
        properties = with_values(defaults(profile), values)
        found = problems(properties)
        for _, text in found:
            self._complain("[lab.properties]", text)
        return None if found else properties

    # [[step]]

    def _step(self, where: str, step: Any) -> Step:
        if not isinstance(step, dict):
            self._complain(where, "this is no table; write [[step]]")
            return Step()
        self._known(where, step, _STEP_KEYS)
        fault = self._fault(where, step) if "do" in step else None
        if "do" not in step and step.keys() & {"target", "direction", "side"}:
            self._complain(where, "there is a target and no fault; add `do`")
        expect = self._expect(f"{where}, expect", step["expect"]) if "expect" in step else None
        wait_s = step.get("wait_s", 0.0)
        if not _seconds(wait_s):
            self._complain(where, f"`wait_s` is {wait_s!r}; write a number of seconds")
            wait_s = 0.0
        return Step(fault, float(wait_s), expect, self._truth(where, step, "remember", False))

    def _fault(self, where: str, step: Mapping[str, Any]) -> Fault | None:
        words = {word.name.lower(): word for word in FaultWord}
        word = words.get(str(step["do"]).replace(" ", "_").replace("-", "_"))
        if word is None:
            self._complain(where, f"there is no fault {step['do']!r}; `do` is one of {', '.join(sorted(words))}")
            return None
        ways = {way.name.lower(): way for way in Direction}
        direction = ways.get(str(step.get("direction", "both")))
        if direction is None:
            self._complain(where, f"`direction` is {step['direction']!r}; write both, in or out")
        elif "direction" in step and word not in _CUTS:
            self._complain(where, f"`{step['do']}` has no direction; leave it out")
        if "side" in step and word is not FaultWord.PARTITION:
            self._complain(where, f"`{step['do']}` has no side; leave it out")
        side = self._side(where, step) if word is FaultWord.PARTITION else ()
        target = self._target(where, word, step.get("target", ""))
        return Fault(word, target, direction or Direction.BOTH, side)

    def _target(self, where: str, word: FaultWord, target: Any) -> str:
        wanted = TARGETS.get(word)
        if wanted is None:
            if target != "":
                self._complain(where, f"`{word.name.lower()}` has no target; leave it out")
            return ""
        if wanted is Target.BUS:
            good, known = target in BUSES, "A or B"
        elif wanted is Target.VM:
            good, known = target in self._vms, _list(self._vms)
        elif wanted is Target.NAMED_NODE:
            good, known = target in self._nodes, _list(self._nodes)
        else:
            good, known = self._is_node(target), f"{_list(self._nodes)}, {_list(BY_DEED)} or {OWNER_OF}D1"
        if not good:
            self._complain(where, f"{target!r} is no target of `{word.name.lower()}`; write {known}")
        return str(target)

    def _is_node(self, target: Any) -> bool:
        if not isinstance(target, str):
            return False
        if target == HOLDER:
            return self._witness
        owner = target.removeprefix(OWNER_OF)
        return target in self._nodes or target in BY_DEED or (owner != target and owner in self._vms)

    def _side(self, where: str, step: Mapping[str, Any]) -> tuple[str, ...]:
        side = step.get("side")
        good = isinstance(side, list) and 1 <= len(side) < len(self._nodes)
        if not good or not isinstance(side, list):
            self._complain(where, "`side` is no list of some of the nodes, but not all; write one such as ['HyperV-1']")
            return ()
        for target in side:
            if not self._is_node(target):
                known = f"{_list(self._nodes)}, {_list(BY_DEED)} or {OWNER_OF}D1"
                self._complain(where, f"`side` names no node: {target!r}; write {known}")
            elif target != A_FOLLOWER and side.count(target) > 1:
                self._complain(where, f"`side` names {target!r} twice; name it once")
                break
        return tuple(str(target) for target in side)

    def _expect(self, where: str, table: Any) -> Expectation | None:
        if not isinstance(table, dict):
            self._complain(where, "this is no table; write { within_s = 20, ... }")
            return None
        self._known(where, table, _EXPECT_KEYS)
        within_s = table.get("within_s")
        if not _seconds(within_s):
            self._complain(where, "`within_s` is missing or no number; write how many seconds it may take")
            within_s = 0.0
        lists = {key: self._names(where, table, key, (*self._vms, "all")) for key in _VM_LISTS}
        for key, names in lists.items():
            if "all" in names and len(names) > 1:
                self._complain(where, f"`{key}` says 'all' and more; write one or the other")
        lists |= {
            key: self._names(where, table, key, (*self._nodes, OTHER_SIDE) if key == "off" else self._nodes)
            for key in _NODE_LISTS
        }
        node, state = table.get("node", ""), table.get("state", "")
        states = tuple(word.name for word in NodeState)
        if ("node" in table) != ("state" in table):
            self._complain(where, "`node` and `state` belong together; write both or none")
        if "node" in table and node not in self._nodes:
            self._complain(where, f"`node` names no node: {node!r}; write {_list(self._nodes)}")
        if "state" in table and state not in states:
            self._complain(where, f"there is no state {state!r}; write {_list(states)}")
        hold = self._truth(where, table, "hold", False)
        return Expectation(float(within_s or 0.0), hold, node=str(node), state=str(state), **lists)

    def _names(self, where: str, table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        value = table.get(key, [])
        names = value if isinstance(value, list) else [value]
        for name in names:
            if not isinstance(name, str):
                self._complain(where, f"`{key}` has {name!r}; write names in quotes")
            elif name not in known:
                self._complain(where, f"`{key}` names nothing of this lab: {name!r}; write {_list(known)}")
        return tuple(name for name in names if isinstance(name, str))


def _list(names: tuple[str, ...]) -> str:
    """Names for people: all of a few, the first and the last of many."""
    return ", ".join(names) if len(names) <= 6 else f"{names[0]} to {names[-1]}"
