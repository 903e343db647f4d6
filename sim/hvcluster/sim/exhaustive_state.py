"""One world as a number: two worlds have the same fingerprint only if nothing that happens later can tell them apart.

Law: looks, changes nothing. Everything counts (cores with their procedures, guests, disks, wires, the array, what the
judge remembers, the virtual time) but what only tells of the past: facts, counters, tickets already answered. An order
of dicts and sets does not count, for no core's behaviour depends on it (contract 4 of ARCHITECTURE.md).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import marshal
import types
from collections import Counter, deque
from collections.abc import Callable, Container
from enum import Enum
from typing import Any, Final, TypeAlias

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.properties import Properties, Timing
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.saved import Snapshot

from .clients import Clients
from .exhaustive_wires import is_timer, wire_of
from .guests import SimGuest
from .judge import Judge
from .machines import Machine
from .network import Network
from .storage import Link, SimArray
from .world import World

Plain: TypeAlias = Any
"""Nested tuples of numbers, text, bytes and None: what `marshal` writes the same way every time."""

_ATOMS: Final = frozenset({int, str, bytes, bool, float, type(None)})
_UNCHANGING: Final = frozenset({Entry, Snapshot})
"""Big values that many worlds have in common: written down once."""

_NAMED: Final[dict[type, Callable[[Any], Plain]]] = {
    World: lambda _: "world",
    Network: lambda _: "network",
    SimArray: lambda _: "array",
    Clients: lambda _: "clients",
    Judge: lambda _: "judge",
    Outbox: lambda _: "outbox",
    ClusterDefinition: lambda _: "definition",
    Properties: lambda _: "properties",
    Timing: lambda _: "timing",
    Machine: lambda machine: ("machine", machine.node),
    Link: lambda link: ("path", link.node, link.path),
    SimGuest: lambda sim: ("vm", sim.group, sim.generation),
}
"""What is met inside something else, and is written down by itself or never changes."""

_PAST: Final = frozenset({"counts", "refused", "replies", "asked", "acknowledged_count"})
_TABLES: Final = frozenset({"_performs", "_handlers"})
_TIMES: Final = frozenset({"_arrival", "_return"})
_IGNORED: Final = _PAST | _TABLES | _TIMES
"""Attributes that nothing reads in order to decide, tables that never change, times that are choices here."""

_OPENED: Final = frozenset({"saved", "guests", "links", "core"})
"""Of a machine: what is written down by itself."""


Digests: TypeAlias = dict[object, bytes]
"""Of each node, and of the array: what takes long to write down and seldom changes."""


def fingerprint(world: World, parts: Digests) -> bytes:
    """Sixteen bytes for everything that may still matter. `parts`: what `digests` says of this world."""
    rest = (
        world.now,
        _walked(world.network),
        _walked(world.clients),
        _walked(world.judge),
        pending(world),
    )
    return _digest(_written(rest) + b"".join(parts.values()))


def digests(world: World, before: Digests, touched: Container[object]) -> Digests:
    """The parts, those anew that were touched since `before`: node ids, "array"."""
    parts: Digests = {}
    for node, machine in world.machines.items():
        known = None if node in touched else before.get(node)
        parts[node] = known or _digest(_written(_machine(machine)))
    known = None if "array" in touched else before.get("array")
    parts["array"] = known or _digest(_written(_walked(world.array)))
    return parts


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _written(value: Plain) -> bytes:
    """Version 2 of the format knows no references: equal values are equal bytes."""
    return marshal.dumps(value, 2)


def pending(world: World) -> Plain:
    """What is set or on its way: timers with their times, deliveries with their places on their wires."""
    places: Counter[object] = Counter()
    calls = []
    for entry in sorted(world._heap, key=lambda entry: entry[1]):
        wire = wire_of(entry)
        places[wire] += 1
        memo: dict[int, int] = {}
        run, arguments = plain(entry[2], memo), tuple(plain(argument, memo) for argument in entry[3])
        calls.append((entry[0] if is_timer(entry) else 0, places[wire], run, arguments))
    return _unordered(calls)


def _machine(machine: Machine) -> Plain:
    """A dead machine is its disk; a living one is its memory too."""
    memo: dict[int, int] = {}
    disk = plain(machine.saved, memo)
    if not machine.alive:
        return machine.node, disk, machine.life, machine.died_at
    guests = tuple(
        (sim.generation, plain(sim.timers, memo), _walked(sim.guest)) for _, sim in sorted(machine.guests.items())
    )
    links = tuple(_walked(link) for _, link in sorted(machine.links.items()))
    rest = {name: value for name, value in vars(machine).items() if name not in _OPENED | _IGNORED}
    return machine.node, disk, _walked(machine.core), guests, links, plain(rest, memo)


def _walked(part: object) -> Plain:
    """Something of `_NAMED`, opened."""
    return _opened(part, {id(part): 0})


def plain(value: Any, memo: dict[int, int]) -> Plain:
    """Any value as nested tuples. `memo`: parts of a core that were met, by id, in order: they know each other."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is tuple:
        return tuple([plain(item, memo) for item in value])
    if kind in _UNCHANGING:
        return _unchanging(value)
    named = _NAMED.get(kind)
    if named is not None:
        return named(value)
    if isinstance(value, Enum):
        return kind.__name__, value.name
    simple = _SIMPLE.get(kind)
    if simple is not None:
        return simple(value, memo)
    if dataclasses.is_dataclass(kind):  # a value: whether two equal ones are one object is of no importance
        return _opened(value, memo)
    known = memo.get(id(value))
    if known is not None:
        return "again", known
    memo[id(value)] = len(memo)
    return _opened(value, memo)


@functools.lru_cache(maxsize=100_000)
def _unchanging(value: Any) -> Plain:
    return _opened(value, {})


def _opened(value: Any, memo: dict[int, int]) -> Plain:
    kind = type(value)
    slots = _SLOTS.get(kind)
    if slots is None:
        slots = _SLOTS[kind] = _slots(kind)
    fields = [plain(getattr(value, name, None), memo) for name in slots]
    inside = getattr(value, "__dict__", None)
    if inside:
        fields += [plain(inside[name], memo) for name in sorted(inside) if name not in _IGNORED]
    return kind.__name__, tuple(fields)


_SLOTS: Final[dict[type, tuple[str, ...]]] = {}


def _slots(kind: type) -> tuple[str, ...]:
    names = {name for base in kind.__mro__ for name in getattr(base, "__slots__", ())}
    return tuple(sorted(name for name in names if name not in _IGNORED and not name.startswith("__")))


def _unordered(items: Any) -> Plain:
    return tuple(sorted(items, key=_written))


def _generator(steps: Any, memo: dict[int, int]) -> Plain:
    """A procedure: where it stands, what its variables are, and the same for the one it waits for."""
    frame = steps.gi_frame
    if frame is None:
        return steps.__qualname__, None
    inner = steps.gi_yieldfrom
    return steps.__qualname__, frame.f_lasti, plain(frame.f_locals, memo), plain(inner, memo)


def _function(function: Any, memo: dict[int, int]) -> Plain:
    cells = function.__closure__ or ()
    return function.__qualname__, tuple(plain(cell.cell_contents, memo) for cell in cells)


_SIMPLE: Final[dict[type, Callable[[Any, dict[int, int]], Plain]]] = {
    list: lambda value, memo: tuple([plain(item, memo) for item in value]),
    deque: lambda value, memo: tuple([plain(item, memo) for item in value]),
    dict: lambda value, memo: _unordered([(plain(key, memo), plain(item, memo)) for key, item in value.items()]),
    set: lambda value, memo: _unordered([plain(item, memo) for item in value]),
    frozenset: lambda value, memo: _unordered([plain(item, memo) for item in value]),
    bytearray: lambda value, memo: bytes(value),
    functools.partial: lambda value, memo: (plain(value.func, memo), plain(value.args, memo)),
    type: lambda value, memo: value.__qualname__,
    types.GeneratorType: _generator,
    types.FunctionType: _function,
    types.MethodType: lambda value, memo: (value.__func__.__qualname__, _whose(value.__self__)),
}


def _whose(owner: object) -> Plain:
    """A bound method belongs to one part of one core, which is written down where it is; a wire needs its name."""
    named = _NAMED.get(type(owner))
    return named(owner) if named is not None else type(owner).__name__
