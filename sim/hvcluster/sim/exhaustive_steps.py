"""One step of an exhaustive search: what may happen next in a world, and how it is made to happen.

Law: time stands still while anything is under way; then the earliest timer fires. All else is a choice: which message,
command or answer arrives next, and what breaks. Chance has no say.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from hvcluster.model.vocabulary import NOBODY, Instant, NodeId
from hvcluster.node.core import effects as ef

from .exhaustive_wires import Entry, describe, idle, is_timer, touched, wire_of
from .world import World

INVISIBLE = (ef.SetTimer, ef.CancelTimer, ef.Record)
"""A crash after one of these is the same as a crash before it."""


class Fixed(random.Random):
    """No chance: whatever chance decides in the simulator is a choice here, or always the same."""

    def random(self) -> float:
        return 0.5

    def __reduce__(self) -> tuple[type[Fixed], tuple[()]]:
        return Fixed, ()

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        return start // 2 if stop is None else (start + stop) // 2


@dataclass(frozen=True, slots=True)
class Faults:
    """What may still go wrong on the way to a state."""

    crashes: int = 0
    """A living node dies, between two events or between two effects of one."""
    losses: int = 0
    """A message between nodes, or a heartbeat, does not arrive."""
    starts: int = 0
    """A dead node is started, at any moment when nothing is under way."""
    thaws: int = 0
    """A frozen node wakes up, at any moment."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One step: `run` or `lose` the pending entry of that number, or `crash`, `start`, `thaw` a node.

    A `run` with a node: it dies when `effects` of what the entry made it do are done.
    """

    what: str
    entry: int = 0
    node: NodeId = NOBODY
    effects: int = 0


def options(world: World, faults: Faults, until: int) -> Iterator[Choice]:
    """What may happen next. Nothing: the time is over."""
    for node, machine in world.machines.items():
        if faults.thaws and machine.frozen:
            yield Choice("thaw", node=node)
    fronts: set[Any] = set()
    timers: list[Entry] = []
    for entry in world._heap:
        if is_timer(entry):
            timers.append(entry)
            continue
        wire = wire_of(entry)
        if wire is not None and wire in fronts:
            continue
        fronts.add(wire)
        yield Choice("run", entry[1])
        if faults.losses and entry[2].__name__ in ("_received", "_heard"):
            yield Choice("lose", entry[1])
    if not fronts:
        earliest = min((entry[0] for entry in timers), default=until + 1)
        if earliest > until:
            return
        yield from (Choice("run", entry[1]) for entry in timers if entry[0] == earliest)
        if faults.starts:
            yield from (Choice("start", node=node) for node, m in world.machines.items() if not m.alive)
    if faults.crashes:
        yield from (Choice("crash", node=node) for node, m in world.machines.items() if m.alive)


def apply(world: World, choice: Choice) -> list[tuple[NodeId, int]]:
    """Make one step. Returns after how many effects which node might have crashed in the middle of it."""
    done: dict[NodeId, list[bool]] = {}
    if choice.what == "run" and not choice.node:
        for machine in world.machines.values():
            _watch(machine, done.setdefault(machine.node, []))
    world.facts.clear()
    perform(world, choice)
    for machine in world.machines.values():
        vars(machine).pop("_effect", None)
    # After the last effect of an event it is a crash between two events.
    return [(node, at) for node, visible in done.items() for at, seen in enumerate(visible[:-1], 1) if seen]


def perform(world: World, choice: Choice) -> None:
    """Make one step, and nothing else."""
    _perform(world, choice)
    tidy(world)


def _perform(world: World, choice: Choice) -> None:
    if choice.what in ("run", "lose"):
        entry = _entry(world, choice)
        world._heap.remove(entry)
        if choice.what == "lose":
            return
        if is_timer(entry):
            world.now = Instant(max(entry[0], world.now))
        if choice.node:
            world.machines[choice.node].crash_in = choice.effects + 1
        entry[2](*entry[3])
        if choice.node:
            world.machines[choice.node].crash_in = None
        return
    machine = world.machines[choice.node]
    if choice.what == "crash":
        machine.kill()
    elif choice.what == "start":
        machine.start()
    else:
        machine.thaw()


def changes(world: World, choice: Choice) -> frozenset[object]:
    """What a step may change, see `exhaustive_wires.touched`. Asked before the step is made."""
    if choice.what == "run":
        return touched(world, _entry(world, choice))
    return frozenset() if choice.what == "lose" else frozenset({choice.node})


def _entry(world: World, choice: Choice) -> Entry:
    return next(entry for entry in world._heap if entry[1] == choice.entry)


def _watch(machine: Any, done: list[bool]) -> None:
    """Note each effect of a node, and whether a crash after it would be seen by somebody."""
    perform = machine._effect

    def effect(core: Any, what: ef.Effect) -> None:
        done.append(not isinstance(what, INVISIBLE))
        perform(core, what)

    machine._effect = effect


def tidy(world: World) -> None:
    """Drop what can have no effect any more, and put the rest in the order in which it came to be."""
    for machine in world.machines.values():
        if not machine.alive:  # its memory is gone
            machine.core.procedures._running.clear()
            machine.core.procedures._tokens.clear()
    world._heap = sorted((entry for entry in world._heap if not idle(world, entry)), key=_order)


def _order(entry: Entry) -> int:
    return entry[1]


def quiet(world: World) -> bool:
    """No procedure is under way: the world can be copied."""
    return not any(m.core.procedures._running or m.core.procedures._tokens for m in world.machines.values())


def left(faults: Faults, choice: Choice) -> Faults:
    """What may still go wrong after a step."""
    match choice.what:
        case "crash":
            return replace(faults, crashes=faults.crashes - 1)
        case "lose":
            return replace(faults, losses=faults.losses - 1)
        case "start":
            return replace(faults, starts=faults.starts - 1)
        case "thaw":
            return replace(faults, thaws=faults.thaws - 1)
        case _:
            return replace(faults, crashes=faults.crashes - 1) if choice.node else faults


def in_words(world: World, choice: Choice) -> str:
    """A step, told before it is made."""
    match choice.what:
        case "crash":
            return f"node {choice.node} dies"
        case "start":
            return f"node {choice.node} is started"
        case "thaw":
            return f"node {choice.node} wakes up"
        case "lose":
            return f"lost: {describe(_entry(world, choice))}"
        case _:
            words = describe(_entry(world, choice))
            return f"{words}; node {choice.node} dies after {choice.effects} effects" if choice.node else words
