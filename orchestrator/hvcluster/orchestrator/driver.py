"""What a lab lets itself be asked and done to, whoever runs its processes.

Law: a protocol with two implementations, `local` (processes of this machine) and `compose` (containers). The same
commands drive both; nothing here knows how.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NodeId

from .errors import Exit, Failure
from .lab_reader import near
from .state import Life, Role


@dataclass(frozen=True, slots=True)
class Address:
    """A TCP address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where to ask: nodes' admin services, the array, and the VMs' client ports. Absent: not reachable now."""

    nodes: Mapping[NodeId, Address] = field(default_factory=dict)
    san: Address | None = None
    vms: Mapping[str, Address] = field(default_factory=dict)


class Wire(Enum):
    """What a node can be cut from."""

    BUS = "bus"
    PEERS = "peers"
    ARRAY = "array"
    WITNESS = "witness"
    NETWORK = "network"


class Way(Enum):
    """Which way a cut works."""

    BOTH = "both"
    OUT = "out"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Cut:
    """One wire of one node. `name`: the bus, the peer's node id, the path or the network; empty for all."""

    wire: Wire
    name: str = ""
    way: Way = Way.BOTH


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a node's wires work. Shares are 0 to 0.9, delays 0 to 60 s; what the delays mean is in chaos.proto."""

    loss: float = 0.0
    doubling: float = 0.0
    message_delay_us: int = 0
    array_delay_us: int = 0
    witness_delay_us: int = 0


class How(Enum):
    """How a process is started: the argument that its command line gets for this once, and what it is for."""

    NORMAL = ("", "as it was started first")
    REJOIN_EMPTY = ("--rejoin-empty", "a node sets its saved state aside and joins without it")
    FORCE_QUORUM = ("--force-quorum", "a node forms the cluster by itself; its database replaces all others")
    PREVENT_QUORUM = ("--prevent-quorum", "a node only joins a cluster, and never helps to form one")
    IGNORE_PERSISTENT_STATE = ("--ignore-persistent-state", "a node helps to form a cluster whose groups stay offline")

    @property
    def arguments(self) -> tuple[str, ...]:
        """What is added to the command line."""
        return (self.value[0],) if self.value[0] else ()


@dataclass(frozen=True, slots=True)
class Member:
    """One process of a lab: its name, what it is, how it lives."""

    name: str
    role: Role
    life: Life
    node: NodeId
    pid: int = 0


class Driver(Protocol):
    """Starts, breaks and finds the processes of one lab."""

    @property
    def definition(self) -> ClusterDefinition:
        """The cluster this lab runs."""
        ...

    async def members(self) -> tuple[Member, ...]:
        """Every process with its life now."""
        ...

    async def addresses(self) -> Addresses:
        """Where to ask now."""
        ...

    def kept(self, name: str) -> Path | None:
        """The folder in which a process keeps its data, if it can be read from here."""
        ...

    async def kill(self, name: str) -> None:
        """End it at once (SIGKILL). Nothing happens if it is dead."""
        ...

    async def start(self, name: str, how: How = How.NORMAL) -> None:
        """Start it again and wait until it serves. Nothing happens if it runs."""
        ...

    async def freeze(self, name: str) -> None:
        """Stop it in its tracks (SIGSTOP)."""
        ...

    async def thaw(self, name: str) -> None:
        """Let a frozen one go on (SIGCONT)."""
        ...

    async def end(self, name: str) -> None:
        """Ask the process to end (SIGTERM) and wait for it."""
        ...

    async def wipe(self, name: str) -> None:
        """Empty a dead node's disk (its saved state)."""
        ...

    async def cut(self, name: str, cut: Cut) -> None:
        """Cut a node from a wire."""
        ...

    async def heal(self, name: str, cut: Cut | None) -> None:
        """Heal one wire of a node, or all."""
        ...

    async def degrade(self, name: str, quality: Quality) -> None:
        """Let a node's wires work that well from now on, as long as its process lives."""
        ...


async def member(driver: Driver, name: str, role: Role | None = None) -> Member:
    """A process by name (any case; a node also by its number). Raises Failure NOT_FOUND with near names."""
    members = [m for m in await driver.members() if role is None or m.role is role]
    for found in members:
        if found.name.lower() == name.lower() or (found.node and str(found.node) == name):
            return found
    names = [m.name for m in members]
    what = "process" if role is None else role.name.lower()
    raise Failure(Exit.NOT_FOUND, f"there is no {what} {name!r}", near(name, names) or f"there are {', '.join(names)}")
