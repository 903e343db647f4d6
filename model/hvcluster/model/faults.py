"""What may go wrong, in words that the simulator, a laboratory of processes and one of containers all know.

Law: shapes only. `target` names a node ("HyperV-1"), or one by what it does: "owner of D1", "leader", "a follower",
"holder of the witness".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class FaultWord(Enum):
    """The fault and what it stands for. Words without a target concern the whole lab."""

    KILL = "SIGKILL of a node's process"
    START = "start a node's process"
    FREEZE = "SIGSTOP of a node's process"
    THAW = "SIGCONT of a node's process"
    STOP = "stop a node's cluster service politely"
    WIPE = "lose the disk of a node that is down"
    MOVE = "move a group, as an operator does"
    CUT_BUSES = "cut a node from every bus"
    CUT_PEERS = "cut a node from direct calls with its peers"
    CUT_ARRAY = "cut a node from the array"
    PARTITION = "cut the nodes of `side` from all others, on every wire but the array"
    HEAL = "mend every cut"
    BUS_KILL = "SIGKILL of a bus"
    BUS_START = "start a bus"
    SAN_KILL = "SIGKILL of the array"
    SAN_START = "start the array"
    KILL_ALL = "SIGKILL of all nodes at once"
    START_ALL = "start all nodes"
    ORCHESTRATOR_KILL = "SIGKILL of whatever started the lab"


class Target(Enum):
    """What the target of a fault may be."""

    NODE = auto()
    """A node by its name or by what it does at that moment."""
    NAMED_NODE = auto()
    """A node by its name alone: one that is dead or frozen does nothing."""
    VM = auto()
    BUS = auto()


TARGETS: Final[dict[FaultWord, Target]] = {
    FaultWord.KILL: Target.NODE,
    FaultWord.START: Target.NAMED_NODE,
    FaultWord.FREEZE: Target.NODE,
    FaultWord.THAW: Target.NAMED_NODE,
    FaultWord.STOP: Target.NODE,
    FaultWord.WIPE: Target.NAMED_NODE,
    FaultWord.MOVE: Target.VM,
    FaultWord.CUT_BUSES: Target.NODE,
    FaultWord.CUT_PEERS: Target.NODE,
    FaultWord.CUT_ARRAY: Target.NODE,
    FaultWord.BUS_KILL: Target.BUS,
    FaultWord.BUS_START: Target.BUS,
}
"""Faults that strike somebody; the others concern the whole lab."""

LEADER: Final = "leader"
A_FOLLOWER: Final = "a follower"
HOLDER: Final = "holder of the witness"
OWNER_OF: Final = "owner of "
"""Then the name of a VM."""
BY_DEED: Final = (LEADER, A_FOLLOWER, HOLDER)
OTHER_SIDE: Final = "the other side"
"""In an expectation: the nodes that the last partition did not name."""


class Direction(Enum):
    """Which way a cut works, seen from the node that is cut."""

    BOTH = "nothing passes"
    OUT = "what it sends is lost"
    IN = "what is sent to it is lost"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to make. `target`: what TARGETS says, "" where the word has none."""

    word: FaultWord
    target: str = ""
    direction: Direction = Direction.BOTH
    side: tuple[str, ...] = ()
