"""Which wires of this node are cut, and how well the others work: what the adapters ask before they send or deliver.

Law: a table and its observers; nothing here sends. A cut is like a cable pulled at the switch: connections stay, what
is sent is lost.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, Flag
from typing import Final, TypeAlias


class Wire(Enum):
    """The wires a node has; the names on each are those of its command line."""

    BUS = "bus"
    PEER = "peer"
    ARRAY = "path"
    WITNESS = "witness"
    NETWORK = "network"


class Direction(Flag):
    """What a cut loses, as this node sees it."""

    OUT = 1
    IN = 2
    BOTH = 3


class UnknownWire(ValueError):
    """No wire of that name; the text suggests near ones."""


Observer: TypeAlias = Callable[[Wire, str, Direction], None]
"""Told the wire, its name and all directions that are cut now (`Direction(0)`: healed)."""

WHOLE = Direction(0)

MAX_SHARE: Final = 0.9
"""With more than that lost or doubled nothing is learned that a cut would not show."""
MAX_DELAY_US: Final = 60_000_000
"""A slower wire is better told as one that is cut."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well wires work that are not cut. Shares are 0 to MAX_SHARE, delays 0 to MAX_DELAY_US.

    `loss` of heartbeats heard and of direct messages sent; `doubling` of direct messages sent. `message_delay_us` is a
    mean: a message takes a random time up to twice that longer. `array_delay_us`: of each command, `witness_delay_us`:
    of each question to a file share or cloud witness, on its way.
    """

    loss: float = 0.0
    doubling: float = 0.0
    message_delay_us: int = 0
    array_delay_us: int = 0
    witness_delay_us: int = 0

    def problem(self) -> str:
        """What is out of range; empty if nothing is."""
        for name, share in (("loss", self.loss), ("doubling", self.doubling)):
            if not 0.0 <= share <= MAX_SHARE:
                return f"{name} is {share}, not 0 to {MAX_SHARE}"
        for name in ("message_delay_us", "array_delay_us", "witness_delay_us"):
            delay_us = getattr(self, name)
            if not 0 <= delay_us <= MAX_DELAY_US:
                return f"{name} is {delay_us}, not 0 to {MAX_DELAY_US}"
        return ""


PERFECT: Final = Quality()


class Cuts:
    """The cuts of one node. Cutting twice is cutting once; cutting out and then in is cutting both."""

    def __init__(self, names: Mapping[Wire, tuple[str, ...]]) -> None:
        self._names = dict(names)
        self._cut: dict[tuple[Wire, str], Direction] = {}
        self._observers: list[Observer] = []
        self._degraded: list[Callable[[Quality], None]] = []
        self.quality = PERFECT

    def observe(self, observer: Observer) -> None:
        """Be told of every change from now on."""
        self._observers.append(observer)

    def observe_quality(self, observer: Callable[[Quality], None]) -> None:
        """Be told how well wires work from now on, whenever that changes."""
        self._degraded.append(observer)

    def degrade(self, quality: Quality) -> None:
        """Let wires work that well from now on, in place of what was set before."""
        self.quality = quality if quality != PERFECT else PERFECT
        for observer in self._degraded:
            observer(quality)

    def loses(self, wire: Wire, name: str, direction: Direction) -> bool:
        """Whether what goes in `direction` (OUT or IN) on that wire is lost."""
        return bool(self._cut) and bool(self._cut.get((wire, name), WHOLE) & direction)

    def cut(self, wire: Wire, name: str, direction: Direction) -> None:
        """Cut one wire, or all of a kind (empty name). Raises UnknownWire."""
        for each in self._chosen(wire, name):
            self._set(wire, each, self._cut.get((wire, each), WHOLE) | direction)

    def heal(self, wire: Wire | None, name: str) -> None:
        """Heal one wire, all of a kind (empty name), or everything (no wire). Raises UnknownWire."""
        for kind in Wire if wire is None else (wire,):
            for each in self._chosen(kind, name if wire is not None else ""):
                self._set(kind, each, WHOLE)

    def now(self) -> tuple[tuple[Wire, str, Direction], ...]:
        """What is cut, sorted."""
        return tuple(
            (wire, name, direction)
            for (wire, name), direction in sorted(self._cut.items(), key=lambda item: (item[0][0].value, item[0][1]))
        )

    def _chosen(self, wire: Wire, name: str) -> tuple[str, ...]:
        names = self._names.get(wire, ())
        if not name:
            return names
        if name in names:
            return (name,)
        near = difflib.get_close_matches(name, names, 3, 0.4) or names[:8]
        raise UnknownWire(f"this node has no {wire.value} named {name[:64]!r}; there is: {', '.join(near) or 'none'}")

    def _set(self, wire: Wire, name: str, direction: Direction) -> None:
        if self._cut.get((wire, name), WHOLE) == direction:
            return
        if direction:
            self._cut[wire, name] = direction
        else:
            del self._cut[wire, name]
        for observer in self._observers:
            observer(wire, name, direction)
