"""What may go wrong, in words that the simulator, a laboratory of processes and one of containers all know.

Law: shapes only. `target` names a node ("HyperV-1"), or one by what it does: "owner of D1", "leader", "a follower",
"holder of the witness".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


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


class Direction(Enum):
    """Which way a cut works, seen from the node that is cut."""

    BOTH = "nothing passes"
    OUT = "what it sends is lost"
    IN = "what is sent to it is lost"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault to make. `target`: a node, a bus or a group by name, "" where the word needs none."""

    word: FaultWord
    target: str = ""
    direction: Direction = Direction.BOTH
    side: tuple[str, ...] = ()
