"""What is pending in a world: which of it is a timer, which is on a wire that keeps order, which is over.

Law: one table for everything the simulator's parts schedule, by the name of what is scheduled. A name that is not in
it is an error here, so that a new kind of event cannot slip through as something it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, TypeAlias

from .guests import SimGuest
from .machines import Machine
from .storage import Link
from .world import World

Entry: TypeAlias = tuple[int, int, Callable[..., None], tuple[Any, ...]]

TIMERS: Final = frozenset({"_due", "_watch", "connect", "_append"})
DELIVERIES: Final = frozenset(
    {"_heard", "_will_heard", "_received", "_probe_arrives", "_probed", "_arrives", "_answers_arrive", "scsi_answered",
     "logout", "_log_out", "deliver"}
)  # fmt: skip


_LINK_WORDS: Final = {
    "_arrives": "the array gets ",
    "_answers_arrive": "answers of the array arrive",
    "_watch": "a command has had no answer for too long",
    "connect": "it logs in to the array",
}


def is_timer(entry: Entry) -> bool:
    """Whether it waits for its time; all else may arrive at once."""
    name = entry[2].__name__
    assert name in TIMERS or name in DELIVERIES, f"is {entry[2].__qualname__} a timer, or does it arrive?"
    return name in TIMERS


def wire_of(entry: Entry) -> Hashable:
    """What keeps order among deliveries: a path, one way; a bus, for one sender; two nodes, one way."""
    run, arguments = entry[2], entry[3]
    name, owner = run.__name__, _owner(run)
    if isinstance(owner, Link):
        return name, owner.node, owner.path
    if name in ("_heard", "_will_heard"):
        return "bus", arguments[0], arguments[1]
    if name == "_received":
        return "peer", arguments[0], arguments[1]
    return entry[1]


def _owner(run: Callable[..., None]) -> object:
    return getattr(run, "__self__", None)


def idle(world: World, entry: Entry) -> bool:
    """Whether it can have no effect any more, whatever happens before it."""
    run, arguments = entry[2], entry[3]
    name, owner = run.__name__, _owner(run)
    if name == "_due" and isinstance(owner, Machine):
        life, timer, at = arguments
        return bool(life != owner.life or owner._pending.get(timer) != at)
    if name == "_due" and isinstance(owner, SimGuest):
        timer, at = arguments
        return owner._over or owner.timers.get(timer) != at
    if isinstance(owner, Link):
        if name in ("connect", "_watch"):
            return owner._dead or (name == "connect" and owner.session is not None)
        if name == "_answers_arrive":
            return owner._dead or arguments[0] != owner.session
    if name == "_received":
        return not world.machines[arguments[1]].alive
    return False


def touched(world: World, entry: Entry) -> frozenset[object]:
    """Whose state it may change: node ids, "array". Everything else is looked at anew after every step."""
    run, arguments = entry[2], entry[3]
    name, owner = run.__name__, _owner(run)
    if isinstance(owner, Machine):
        return frozenset({owner.node})
    if isinstance(owner, SimGuest):
        return frozenset({owner._machine.node})
    if isinstance(owner, Link):
        return frozenset({owner.node} if name == "_answers_arrive" else {owner.node, "array"})
    if name == "_received":
        return frozenset({arguments[1]})
    return frozenset({*world.machines, "array"})


def describe(entry: Entry) -> str:
    """One line for people."""
    run, arguments = entry[2], entry[3]
    name, owner = run.__name__, _owner(run)
    if isinstance(owner, Link):
        what = _LINK_WORDS.get(name, name)
        if name == "_arrives":
            what += ", ".join(_command(command) for _, _, command in arguments[1])
        return f"node {owner.node}, path {owner.path}: {what}"
    if isinstance(owner, Machine):
        return f"node {owner.node}: " + (f"timer {arguments[1]}" if name == "_due" else name)
    if isinstance(owner, SimGuest):
        what = f"timer {arguments[0]}" if name == "_due" else name
        return f"VM {owner.group}, generation {owner.generation}: {what}"
    if name == "_received":
        return f"node {arguments[1]} gets {type(arguments[2].message).__name__} of node {arguments[0]}"
    if name == "_heard":
        return f"all hear a heartbeat of node {arguments[1]}"
    if name == "_append":
        return "a client appends a record"
    return f"{name.strip('_')} {arguments}"


def _command(command: Any) -> str:
    action = getattr(command, "action", None)
    name = type(command).__name__
    return f"{name} {action.name}" if action is not None else name
