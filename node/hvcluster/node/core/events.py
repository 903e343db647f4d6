"""Everything that can happen to a node's cluster service.

Law: shapes only. Each question among the effects has exactly one answer among these events.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from hvcluster.model.scsi import Result
from hvcluster.model.share import ShareAnswer
from hvcluster.model.values import value
from hvcluster.model.vocabulary import Generation, Incarnation, NodeId, PathName, StoreId, VmHealth

from .guest_state import GuestImage
from .messages import Heartbeat, Message
from .operator_requests import (
    AddNode,
    CancelMigration,
    ClearQuarantine,
    EvictNode,
    FailResource,
    MoveGroup,
    MoveVolume,
    RemoveAffinityRule,
    Request,
    SetAffinityRule,
    SetClusterProperty,
    SetGroup,
    SetGroupOnline,
    SetNodePaused,
    SetNodeWeight,
    SetQuorum,
    SetResourceOnline,
    StopNode,
)


@value
class Started:
    """The process runs and its saved state is loaded. Always the first event. `day_us`: microseconds since midnight."""

    day_us: int = 0


@value
class TimerFired:
    """A named timer is due."""

    name: str


@value
class HeartbeatHeard:
    """A heartbeat of our cluster came over a bus."""

    bus: str
    heartbeat: Heartbeat


@value
class MessageReceived:
    """A peer of our cluster said something directly. `store` and `incarnation` are the sender's."""

    sender: NodeId
    store: StoreId
    incarnation: Incarnation
    message: Message


@value
class ScsiAnswered:
    """The one answer to SubmitScsi; Status.UNKNOWN when none came in time or the path broke."""

    token: int
    result: Result


@value
class WitnessAnswered:
    """The one answer to AskWitness; UNKNOWN when none came in time, though what was asked may have been done."""

    token: int
    answer: ShareAnswer


@value
class PathChanged:
    """A path to the array logged in (up) or was lost (down). Paths start down. `login` counts the logins of a path."""

    path: PathName
    up: bool
    login: int = 0


@value
class LinkChanged:
    """The cable to a network of VMs is out, or (`up`) plugged in again. Cables start plugged in."""

    network: str
    up: bool


@value
class WillHeard:
    """A bus published the last will of a peer's connection."""

    bus: str
    node: NodeId
    incarnation: Incarnation


class ProbeOutcome(Enum):
    """How a direct probe of a peer's port ended."""

    ANSWERED = "the peer answers"
    REFUSED = "the peer's machine says that nothing listens there"
    UNKNOWN = "no answer"


@value
class PeerProbed:
    """The one answer to ProbePeer."""

    node: NodeId
    outcome: ProbeOutcome


@value
class VmStarted:
    """The VM serves, at `address` for its clients. `resumed`: it goes on from its memory and has not booted.

    `restored`: nor did it then; it goes on from a saved state.
    """

    group: str
    generation: Generation
    resumed: bool = False
    address: str = ""
    restored: bool = False


@value
class VmPaused:
    """The answer to PauseVm of that move: until ContinueVm, the VM writes nothing more, and this is its memory."""

    group: str
    generation: Generation
    move: int
    image: GuestImage


@value
class MemorySent:
    """The one answer to SendMemory. Not `ok`: the peer did not take all of it, or it was cancelled."""

    token: int
    ok: bool
    reason: str = ""


@value
class VmFrozen:
    """The VM of this generation has lost its disk and is frozen (Paused-Critical)."""

    group: str
    generation: Generation
    reason: str


@value
class VmThawed:
    """The disk of a frozen VM answers again: it goes on."""

    group: str
    generation: Generation


@value
class VmStopped:
    """The VM is off, at our wish or not, and will write nothing more. Exactly once for each StartVm.

    `cause`: terminated | moved | shutdown | saved | fenced (its write met RESERVATION CONFLICT) | disk (guest disk
    timeout) | boot (no valid VHD) | crashed.
    """

    group: str
    generation: Generation
    cause: str
    reason: str


@value
class ResourceAnswered:
    """The one answer to CallResource: whether the entry point succeeded, or the resource is alive."""

    token: int
    ok: bool
    reason: str = ""


@value
class MonitorDied:
    """The resource monitor has ended, and nothing that it hosted runs any more; the next one runs."""

    reason: str


@value
class VmChecked:
    """How a VM is that still runs, and which services in it have failed."""

    group: str
    generation: Generation
    health: VmHealth
    failed: tuple[str, ...] = ()


@value
class Requested:
    """An operator asks for something at this node. Answered by exactly one Reply with the same ticket."""

    ticket: int
    request: Request


Event: TypeAlias = (
    Started
    | TimerFired
    | HeartbeatHeard
    | MessageReceived
    | ScsiAnswered
    | WitnessAnswered
    | PathChanged
    | LinkChanged
    | WillHeard
    | PeerProbed
    | VmStarted
    | VmPaused
    | MemorySent
    | VmStopped
    | VmChecked
    | ResourceAnswered
    | MonitorDied
    | VmFrozen
    | VmThawed
    | Requested
)

__all__ = [
    "AddNode",
    "CancelMigration",
    "ClearQuarantine",
    "Event",
    "EvictNode",
    "FailResource",
    "HeartbeatHeard",
    "LinkChanged",
    "MemorySent",
    "MessageReceived",
    "MonitorDied",
    "MoveGroup",
    "MoveVolume",
    "PathChanged",
    "PeerProbed",
    "ProbeOutcome",
    "RemoveAffinityRule",
    "Request",
    "Requested",
    "ResourceAnswered",
    "ScsiAnswered",
    "SetAffinityRule",
    "SetClusterProperty",
    "SetGroup",
    "SetGroupOnline",
    "SetNodePaused",
    "SetNodeWeight",
    "SetQuorum",
    "SetResourceOnline",
    "Started",
    "StopNode",
    "TimerFired",
    "VmChecked",
    "VmFrozen",
    "VmPaused",
    "VmStarted",
    "VmStopped",
    "VmThawed",
    "WillHeard",
    "WitnessAnswered",
]
