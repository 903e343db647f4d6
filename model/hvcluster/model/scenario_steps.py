"""The steps of a scenario file: faults with their targets, moments, and what must be seen.

Law: shapes of values and names that must exist; complaints go where the whole file's go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from .complaints import Complaints, listed
from .faults import (
    A_FOLLOWER,
    AMOUNTS,
    BY_DEED,
    HOLDER,
    MOVE_TYPES,
    ON_THE_FILE,
    ONE_WIRE,
    OTHER_SIDE,
    OWNER_OF,
    TARGETS,
    Direction,
    Fault,
    FaultWord,
    Target,
)
from .properties import CHANGEABLE
from .scenario import Expectation, Step
from .toml_lines import Path
from .vocabulary import US_PER_S, NodeState

MAX_STEPS: Final = 200
MAX_S: Final = 1e7
BUSES: Final = ("A", "B")

_FAULT_KEYS: Final = ("amount", "direction", "side", "target", "type", "via", "wire")
_STEP_KEYS: Final = (*_FAULT_KEYS, "at_s", "do", "expect", "remember", "wait_s")
_VM_LISTS: Final = ("online", "stayed", "moved", "restarted", "down")
_NODE_LISTS: Final = ("not_on", "off", "refused")
_EXPECT_KEYS: Final = (*_VM_LISTS, *_NODE_LISTS, "healthy", "hold", "node", "state", "within_s")
_CUTS: Final = (
    FaultWord.CUT_BUSES,
    FaultWord.CUT_PEERS,
    FaultWord.CUT_ARRAY,
    FaultWord.CUT_WITNESS,
    FaultWord.HOLD_PATH,
)
_SIDES: Final = (FaultWord.PARTITION, FaultWord.CUT_PEERS)
_OPERATOR: Final = (
    FaultWord.MOVE, FaultWord.CANCEL_MOVE, FaultWord.OFFLINE, FaultWord.ONLINE, FaultWord.STOP, FaultWord.PAUSE,
    FaultWord.DRAIN, FaultWord.RESUME, FaultWord.FAIL_RESOURCE, FaultWord.OFFLINE_RESOURCE, FaultWord.ONLINE_RESOURCE,
    FaultWord.WEIGH, FaultWord.USE_WITNESS, FaultWord.EVICT, FaultWord.ADD_NODE,
    FaultWord.SET_PROPERTY,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cast:
    """Who there is to strike and to look at."""

    nodes: tuple[str, ...]
    vms: tuple[str, ...]
    witness: bool
    file: bool = False
    """Whether the witness is a file share or a cloud witness."""
    resources: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    def is_node(self, target: object) -> bool:
        """Whether a text names a node, or one by its deed."""
        if not isinstance(target, str):
            return False
        if target == HOLDER:
            return self.witness
        owner = target.removeprefix(OWNER_OF)
        return target in self.nodes or target in BY_DEED or (owner != target and owner in self.vms)

    @property
    def somebody(self) -> str:
        """How a node is named."""
        return f"{listed(self.nodes)}, {listed(BY_DEED)} or {OWNER_OF}D1"


def read_steps(steps: object, cast: Cast, paths: tuple[str, ...], wrong: Complaints) -> tuple[Step, ...]:
    """All steps of a file, in their order."""
    if not isinstance(steps, list) or not 1 <= len(steps) <= MAX_STEPS:
        wrong.add((), f"there is no list of steps; write 1 to {MAX_STEPS} [[step]] tables", "step")
        return ()
    reader = _Steps(cast, paths, wrong)
    read = tuple(reader.step(("step", number), step) for number, step in enumerate(steps))
    _judge_times(read, wrong)
    return read


def _judge_times(steps: tuple[Step, ...], wrong: Complaints) -> None:
    """Times are told for the steps of the whole story or for none, and never run backwards."""
    timed = bool(steps) and steps[0].at_us is not None
    last = 0
    for number, step in enumerate(steps):
        path: Path = ("step", number)
        if step.at_us is None:
            if timed and step.fault is not None:
                wrong.add(path, "`at_s` is missing; the first step tells its time, so every fault does")
        elif not timed:
            wrong.add(path, "`at_s` needs one in the first step as well; write `wait_s` to count from the step before")
        elif step.at_us < last:
            wrong.add(path, f"`at_s` is earlier than {last / US_PER_S:g} s of a step before; put them in order", "at_s")
        last = max(last, step.at_us or 0)


class _Steps:
    """Reads one step after another."""

    def __init__(self, cast: Cast, paths: tuple[str, ...], wrong: Complaints) -> None:
        self._cast = cast
        self._paths = paths
        self._wrong = wrong

    def step(self, path: Path, step: object) -> Step:
        """One [[step]]."""
        wrong = self._wrong
        if not isinstance(step, dict):
            wrong.add(path, "this is no table; write [[step]]")
            return Step()
        wrong.known(path, step, _STEP_KEYS)
        fault = self._fault(path, step) if "do" in step else None
        if "do" not in step and step.keys() & set(_FAULT_KEYS):
            wrong.add(path, "there is a target and no fault; add `do`")
        expect = self._expect((*path, "expect"), step["expect"]) if "expect" in step else None
        seconds: dict[str, float | None] = {"wait_s": 0.0, "at_s": None}
        for key in seconds:
            if key in step:
                seconds[key] = wrong.number(path, step, key, 0.0, MAX_S, "write a number of seconds, 0 to 10000000")
        at_s = seconds["at_s"]
        at_us = None if at_s is None else round(at_s * US_PER_S)
        return Step(fault, at_us, seconds["wait_s"] or 0.0, expect, wrong.truth(path, step, "remember", False))

    def _fault(self, path: Path, step: Mapping[str, Any]) -> Fault | None:
        wrong = self._wrong
        words = {word.name.lower(): word for word in FaultWord}
        word = words.get(str(step["do"]).replace(" ", "_").replace("-", "_"))
        if word is None:
            wrong.add(path, f"there is no fault {step['do']!r}; `do` is one of {', '.join(sorted(words))}", "do")
            return None
        if word in ON_THE_FILE and not self._cast.file:
            remedy = 'write witness = "file-share" in [lab]'
            wrong.add(path, f"`{step['do']}` strikes a file share or cloud witness, and there is none; {remedy}", "do")
        if word is FaultWord.CUT_NETWORK and not self._cast.networks:
            remedy = 'give one a network, such as network = "Production"'
            wrong.add(path, f"`{step['do']}` strikes a network of VMs, and no VM is on one; {remedy}", "do")
        ways = {way.name.lower(): way for way in Direction}
        direction = ways.get(str(step.get("direction", "both")))
        if direction is None:
            wrong.add(path, f"`direction` is {step['direction']!r}; write both, in or out", "direction")
        for key, words_with in (("direction", _CUTS), ("side", _SIDES), ("via", _OPERATOR)):
            if key in step and word not in words_with:
                wrong.add(path, f"`{step['do']}` has no {key}; leave it out", key)
        sided = word is FaultWord.PARTITION or (word is FaultWord.CUT_PEERS and "side" in step)
        most = len(self._cast.nodes) - (word is FaultWord.PARTITION)
        side = self._side(path, step, most) if sided else ()
        target = self._target(path, word, step.get("target", ""))
        via = step.get("via", "")
        if via != "" and not self._cast.is_node(via):
            wrong.add(path, f"`via` names no node: {via!r}; write {self._cast.somebody}", "via")
        return Fault(
            word, target, direction or Direction.BOTH, side, self._amount(path, word, step),
            self._wire(path, word, step), str(via), self._type(path, word, step),
        )  # fmt: skip

    def _type(self, path: Path, word: FaultWord, step: Mapping[str, Any]) -> str:
        how = step.get("type", "")
        if word is not FaultWord.MOVE and "type" in step:
            self._wrong.add(path, f"`{step['do']}` has no type; leave it out", "type")
        elif how not in ("", *MOVE_TYPES):
            self._wrong.add(path, f"`type` is {how!r}; write {listed(MOVE_TYPES)}", "type")
        return str(how)

    def _amount(self, path: Path, word: FaultWord, step: Mapping[str, Any]) -> float:
        amount = AMOUNTS.get(word)
        if amount is not None and amount.optional and "amount" not in step:
            return 0.0
        if amount is not None:
            remedy = f"write {amount.least:g} to {amount.most:g} ({amount.unit})"
            return self._wrong.number(path, step, "amount", amount.least, amount.most, remedy) or 0.0
        if "amount" in step:
            self._wrong.add(path, f"`{step['do']}` has no amount; leave it out", "amount")
        return 0.0

    def _wire(self, path: Path, word: FaultWord, step: Mapping[str, Any]) -> str:
        wire = step.get("wire", "")
        if wire == "":
            return ""
        known = {FaultWord.CUT_BUSES: BUSES, FaultWord.CUT_NETWORK: self._cast.networks}.get(word, self._paths)
        if word not in ONE_WIRE:
            self._wrong.add(path, f"`{step['do']}` has no wire; leave it out", "wire")
        elif wire not in known:
            self._wrong.add(path, f"`wire` is {wire!r}; write {listed(known)}, or leave it out for all", "wire")
        return str(wire)

    def _target(self, path: Path, word: FaultWord, target: Any) -> str:
        wanted, cast = TARGETS.get(word), self._cast
        if wanted is None:
            if target != "":
                self._wrong.add(path, f"`{word.name.lower()}` has no target; leave it out", "target")
            return ""
        if wanted is Target.BUS:
            good, known = target in BUSES, "A or B"
        elif wanted is Target.PROPERTY:
            good, known = target in CHANGEABLE, listed(CHANGEABLE)
        elif wanted is Target.VM:
            good, known = target in cast.vms, listed(cast.vms)
        elif wanted is Target.RESOURCE:
            good, known = target in cast.resources, listed(cast.resources) if cast.resources else "[[lab.group]] first"
        elif wanted is Target.NAMED_NODE:
            good, known = target in cast.nodes, listed(cast.nodes)
        else:
            whole = wanted is Target.NODE_OR_ALL and target == ""
            good, known = whole or cast.is_node(target), cast.somebody
        if not good:
            self._wrong.add(path, f"{target!r} is no target of `{word.name.lower()}`; write {known}", "target")
        return str(target)

    def _side(self, path: Path, step: Mapping[str, Any], most: int) -> tuple[str, ...]:
        side, cast = step.get("side"), self._cast
        good = isinstance(side, list) and 1 <= len(side) <= most
        if not good or not isinstance(side, list):
            remedy = "write one such as ['HyperV-1']"
            self._wrong.add(path, f"`side` is no list of some of the nodes, but not all; {remedy}", "side")
            return ()
        for target in side:
            if not cast.is_node(target):
                self._wrong.add(path, f"`side` names no node: {target!r}; write {cast.somebody}", "side")
            elif target != A_FOLLOWER and side.count(target) > 1:
                self._wrong.add(path, f"`side` names {target!r} twice; name it once", "side")
                break
        return tuple(str(target) for target in side)

    def _expect(self, path: Path, table: Any) -> Expectation | None:
        wrong, cast = self._wrong, self._cast
        if not isinstance(table, dict):
            wrong.add(path, "this is no table; write { within_s = 20, ... }")
            return None
        wrong.known(path, table, _EXPECT_KEYS)
        within_s = wrong.number(path, table, "within_s", 0.0, MAX_S, "write how many seconds it may take")
        lists = {key: self._names(path, table, key, (*cast.vms, "all")) for key in _VM_LISTS}
        for key, names in lists.items():
            if "all" in names and len(names) > 1:
                wrong.add(path, f"`{key}` says 'all' and more; write one or the other", key)
        lists |= {
            key: self._names(path, table, key, (*cast.nodes, OTHER_SIDE) if key == "off" else cast.nodes)
            for key in _NODE_LISTS
        }
        node, state = table.get("node", ""), table.get("state", "")
        states = tuple(word.name for word in NodeState)
        if ("node" in table) != ("state" in table):
            wrong.add(path, "`node` and `state` belong together; write both or none")
        if "node" in table and node not in cast.nodes:
            wrong.add(path, f"`node` names no node: {node!r}; write {listed(cast.nodes)}", "node")
        if "state" in table and state not in states:
            wrong.add(path, f"there is no state {state!r}; write {listed(states)}", "state")
        hold, healthy = (wrong.truth(path, table, key, False) for key in ("hold", "healthy"))
        return Expectation(within_s or 0.0, hold, node=str(node), state=str(state), healthy=healthy, **lists)

    def _names(self, path: Path, table: Mapping[str, Any], key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        value = table.get(key, [])
        names = value if isinstance(value, list) else [value]
        for name in names:
            if not isinstance(name, str):
                self._wrong.add(path, f"`{key}` has {name!r}; write names in quotes", key)
            elif name not in known:
                self._wrong.add(path, f"`{key}` names nothing of this lab: {name!r}; write {listed(known)}", key)
        return tuple(name for name in names if isinstance(name, str))
