"""What may go wrong, in words that the simulator, a laboratory of processes and one of containers all know.

Law: shapes only. `target` names a node ("HyperV-1"), or one by what it does: "owner of D1", "leader", "a follower",
"holder of the witness".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from .properties import MAX_CLOCK_DRIFT


class FaultWord(Enum):
    """The fault and what it stands for. Words without a target concern the whole lab."""

    KILL = "SIGKILL of a node's process"
    START = "start a node's process"
    START_FORCED = "start a node's process with forced quorum"
    START_PREVENTED = "start a node's process with prevented quorum: it joins a cluster and forms none"
    START_IGNORING = "start a node's process; if it helps to form the cluster, all groups stay offline"
    FREEZE = "SIGSTOP of a node's process, at once or before the `amount`-th thing it does from now on"
    THAW = "SIGCONT of a node's process"
    STOP = "stop a node's cluster service politely"
    SHUTDOWN = "shut a host down politely: its VMs move first, or are saved, and its process ends"
    CRASH = "SIGKILL of a node's process before the `amount`-th thing it does from now on"
    WIPE = "lose the disk of a node that is down"
    PAUSE = "pause a node: it keeps what it has and is given nothing"
    DRAIN = "pause a node and move away what it has"
    RESUME = "resume a paused node"
    MOVE = "move a group, as an operator does"
    OFFLINE = "take a VM offline, as an operator does"
    ONLINE = "bring a VM online, as an operator does; one that has failed is tried again"
    HANG_VM = "let the guest of a VM hang: it takes nothing in and gives no heartbeat"
    CRASH_APP = "let the application in a VM crash"
    CRASH_VM = "end a VM as if its worker process had died"
    FAIL_RESOURCE = "have a resource of a role fail, as an operator does"
    OFFLINE_RESOURCE = "take a resource of a role offline, as an operator does"
    ONLINE_RESOURCE = "bring a resource of a role online, as an operator does"
    CRASH_RESOURCE = "let a resource of a role stop working without a word"
    CRASH_MONITOR = "SIGKILL of a node's resource monitor"
    HANG_MONITOR = "let no call to the resources of a node return"
    CANCEL_MOVE = "end the live migration of a group, as an operator does"
    WEIGH = "give a node a vote, or take it away: `amount` is NodeWeight"
    EVICT = "evict a node, as an operator does who does not mind that its VMs are turned off"
    ADD_NODE = "add a node that was evicted, as an operator does"
    SET_PROPERTY = "give a property of the cluster another value, as an operator does"
    USE_WITNESS = "let the witness belong to the quorum (`amount` 1) or not (0)"
    CUT_BUSES = "cut a node from every bus, or from `wire` alone"
    CUT_PEERS = "cut a node from direct calls with its peers, or with those of `side` alone"
    CUT_ARRAY = "cut a node from the array, or its path `wire` alone"
    HOLD_PATH = "hold what a node has sent to the array for `amount` seconds; it arrives late, and in order"
    SLOW_OFF = "let turning a VM off take a node `amount` seconds"
    PARTITION = "cut the nodes of `side` from all others, on every wire but the array"
    HEAL = "mend every cut, or those of one node"
    LOSS = "lose that share of all messages between nodes"
    DOUBLING = "deliver that share of all calls between nodes a second time, late"
    SLOWNESS = "let messages between nodes take that many times as long"
    DRIFT = "let a node's clock run faster by that share, or slower"
    BUS_KILL = "SIGKILL of a bus"
    BUS_START = "start a bus"
    SAN_KILL = "SIGKILL of the array"
    SAN_CRASH = "SIGKILL of the array before the `amount`-th thing it does from now on, even half way through a write"
    SAN_POWER_LOSS = "cut the array's power: what was not flushed may be gone"
    SAN_SLOW = "let every command take `amount` ms longer on its way to the array"
    SAN_START = "start the array"
    WITNESS_KILL = "SIGKILL of the process that keeps a file share or cloud witness"
    WITNESS_START = "start it"
    WITNESS_SLOW = "let every question to it take `amount` ms longer on its way"
    CUT_NETWORK = "pull a node's cable to the networks of VMs, or to `wire` alone"
    CUT_WITNESS = "cut a node from a file share or cloud witness"
    KILL_ALL = "SIGKILL of all nodes at once"
    START_ALL = "start all nodes"
    MEND = "mend everything: wires, array and buses, and start, thaw and resume every node"
    ORCHESTRATOR_KILL = "SIGKILL of whatever started the lab"


class Target(Enum):
    """What the target of a fault may be."""

    NODE = auto()
    """A node by its name or by what it does at that moment."""
    NAMED_NODE = auto()
    """A node by its name alone: one that is dead or frozen does nothing."""
    NODE_OR_ALL = auto()
    """A node, or with an empty name the whole lab."""
    VM = auto()
    RESOURCE = auto()
    """A resource of a role, by its name."""
    BUS = auto()
    PROPERTY = auto()
    """A property of the cluster that may change while it runs, by its name."""


TARGETS: Final[dict[FaultWord, Target]] = {
    FaultWord.KILL: Target.NODE,
    FaultWord.START: Target.NAMED_NODE,
    FaultWord.START_FORCED: Target.NAMED_NODE,
    FaultWord.START_PREVENTED: Target.NAMED_NODE,
    FaultWord.START_IGNORING: Target.NAMED_NODE,
    FaultWord.FREEZE: Target.NODE,
    FaultWord.THAW: Target.NAMED_NODE,
    FaultWord.STOP: Target.NODE,
    FaultWord.SHUTDOWN: Target.NODE,
    FaultWord.CRASH: Target.NODE,
    FaultWord.WIPE: Target.NAMED_NODE,
    FaultWord.PAUSE: Target.NODE,
    FaultWord.RESUME: Target.NAMED_NODE,
    FaultWord.DRAIN: Target.NODE,
    FaultWord.WEIGH: Target.NODE,
    FaultWord.EVICT: Target.NODE,
    FaultWord.ADD_NODE: Target.NAMED_NODE,
    FaultWord.MOVE: Target.VM,
    FaultWord.CANCEL_MOVE: Target.VM,
    FaultWord.FAIL_RESOURCE: Target.RESOURCE,
    FaultWord.OFFLINE_RESOURCE: Target.RESOURCE,
    FaultWord.ONLINE_RESOURCE: Target.RESOURCE,
    FaultWord.CRASH_RESOURCE: Target.RESOURCE,
    FaultWord.CRASH_MONITOR: Target.NODE,
    FaultWord.HANG_MONITOR: Target.NODE,
    FaultWord.OFFLINE: Target.VM,
    FaultWord.ONLINE: Target.VM,
    FaultWord.HANG_VM: Target.VM,
    FaultWord.CRASH_APP: Target.VM,
    FaultWord.CRASH_VM: Target.VM,
    FaultWord.CUT_BUSES: Target.NODE,
    FaultWord.CUT_PEERS: Target.NODE,
    FaultWord.CUT_ARRAY: Target.NODE,
    FaultWord.CUT_WITNESS: Target.NODE,
    FaultWord.CUT_NETWORK: Target.NODE,
    FaultWord.HOLD_PATH: Target.NODE,
    FaultWord.SLOW_OFF: Target.NODE,
    FaultWord.HEAL: Target.NODE_OR_ALL,
    FaultWord.DRIFT: Target.NAMED_NODE,
    FaultWord.BUS_KILL: Target.BUS,
    FaultWord.BUS_START: Target.BUS,
    FaultWord.SET_PROPERTY: Target.PROPERTY,
}
"""Faults that strike somebody; the others concern the whole lab."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a fault: its unit, and what makes sense. One that is `optional` is 0 when nothing is said."""

    unit: str
    least: float
    most: float
    optional: bool = False


AMOUNTS: Final[dict[FaultWord, Amount]] = {
    FaultWord.CRASH: Amount("effects", 1, 1000),
    FaultWord.FREEZE: Amount("effects", 0, 1000, optional=True),
    FaultWord.WEIGH: Amount("NodeWeight", 0, 1),
    FaultWord.USE_WITNESS: Amount("used", 0, 1),
    FaultWord.SET_PROPERTY: Amount("value", -1, 3001),
    FaultWord.HOLD_PATH: Amount("seconds", 0.001, 600),
    FaultWord.SLOW_OFF: Amount("seconds", 0, 60),
    FaultWord.SAN_CRASH: Amount("effects", 1, 1000),
    FaultWord.SAN_SLOW: Amount("ms", 0, 60_000),
    FaultWord.WITNESS_SLOW: Amount("ms", 0, 60_000),
    FaultWord.LOSS: Amount("share", 0.0, 0.9),
    FaultWord.DOUBLING: Amount("share", 0.0, 0.9),
    FaultWord.SLOWNESS: Amount("factor", 1.0, 1000.0),
    FaultWord.DRIFT: Amount("share", -MAX_CLOCK_DRIFT / 2, MAX_CLOCK_DRIFT / 2),
}
"""Faults of which there is more or less; the others have no amount."""

ONE_WIRE: Final = (FaultWord.CUT_BUSES, FaultWord.CUT_ARRAY, FaultWord.HOLD_PATH, FaultWord.CUT_NETWORK)
"""Faults that may strike one wire of several."""
ON_THE_FILE: Final = (
    FaultWord.WITNESS_KILL, FaultWord.WITNESS_START, FaultWord.WITNESS_SLOW, FaultWord.CUT_WITNESS,
)  # fmt: skip
"""Faults of a lab whose witness is a file share or in the cloud."""
OF_RESOURCES: Final = (
    FaultWord.FAIL_RESOURCE, FaultWord.OFFLINE_RESOURCE, FaultWord.ONLINE_RESOURCE, FaultWord.CRASH_RESOURCE,
)  # fmt: skip
"""Faults of a role of resources."""
SIMULATED_ONLY: Final = (
    FaultWord.DRIFT, FaultWord.HOLD_PATH, FaultWord.SLOW_OFF, FaultWord.CRASH_RESOURCE,
)  # fmt: skip
"""Faults that real processes cannot be given: they share one clock, and nothing stands between them and the wire."""

MOVE_TYPES: Final = ("live", "quick", "shutdown")
"""How an operator may have a group moved."""

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
    """One fault to make. `target`: what TARGETS says, "" where the word has none; `amount`: in the unit of AMOUNTS.

    `wire`: one bus, path or network instead of all. `via`: the node that an operator asks, "" for the leader. `type`:
    how a group is moved, one of MOVE_TYPES, "" for the usual way.
    """

    word: FaultWord
    target: str = ""
    direction: Direction = Direction.BOTH
    side: tuple[str, ...] = ()
    amount: float = 0.0
    wire: str = ""
    via: str = ""
    type: str = ""
