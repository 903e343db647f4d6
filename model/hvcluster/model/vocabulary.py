"""The nouns every process shares, with their limits and the sentence that explains each state.

Law: plain values only. Nothing here decides, remembers or does I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final, NewType

NodeId = NewType("NodeId", int)
"""1..64, fixed when the node is added; 0 (NOBODY) stands for no node."""

Instant = NewType("Instant", int)
"""Microseconds on a process's own monotonic clock. Instants of two processes are never compared."""

Generation = NewType("Generation", int)
"""How often a group was assigned to an owner. One generation is one life of its VM on one node."""

Incarnation = NewType("Incarnation", int)
"""Which life of a node's cluster service: rises with every start. A wiped disk goes on from the seconds since 1970."""

StoreId = NewType("StoreId", int)
"""63 bits that name one saved state. A wiped disk comes back with another, so its old votes cannot be repeated.
"""

LunId = NewType("LunId", int)
"""Logical unit number, 0..255."""

PathName = NewType("PathName", str)
"""One initiator port of a node, e.g. "A": one path is one I_T nexus with the array."""

NOBODY: Final = NodeId(0)
NO_LIFE: Final = Incarnation(0)
"""The incarnation of a node that has never started."""
MAX_NODES: Final = 64  # Windows Server 2012 and later; 16 in 2008 R2
MAX_LUNS: Final = 256  # single-level LUN addressing stops at 255
BLOCK_BYTES: Final = 512

US_PER_MS: Final = 1_000
US_PER_S: Final = 1_000_000

KEY_MARK: Final = 0x734D
"""Low 16 bits of every registration key of a Windows failover cluster (seen in published cluster logs)."""


@dataclass(frozen=True, slots=True, order=True)
class ReservationKey:
    """A registration key taken apart: generation (32 bits) | node id (16) | mark (16)."""

    generation: Generation
    node: NodeId

    def encode(self) -> int:
        """The 8-byte key as an unsigned integer, never 0."""
        return (self.generation << 32) | (self.node << 16) | KEY_MARK

    @staticmethod
    def decode(key: int) -> ReservationKey | None:
        """The parts of a key of ours, or None for a key that some other software registered."""
        if key & 0xFFFF != KEY_MARK:
            return None
        return ReservationKey(Generation(key >> 32), NodeId((key >> 16) & 0xFFFF))


class NodeState(IntEnum):
    """State of a node as the cluster database has it; numbers as in clusapi.h."""

    UP = 0
    DOWN = 1
    PAUSED = 2
    JOINING = 3


class NodeStatus(IntEnum):
    """What keeps a node from being simply up or down (2016 and later); numbers as in clusapi.h."""

    NORMAL = 0
    ISOLATED = 1
    QUARANTINED = 2


class GroupState(IntEnum):
    """State of a group (role); numbers as in clusapi.h."""

    ONLINE = 0
    OFFLINE = 1
    FAILED = 2
    PARTIAL_ONLINE = 3
    PENDING = 4


class VolumeState(IntEnum):
    """How a node reaches a Cluster Shared Volume; numbers as in the product (SharedVolumeStateInfo)."""

    UNAVAILABLE = 0
    DIRECT = 2


class ResourceState(IntEnum):
    """State of a resource; numbers as in clusapi.h."""

    ONLINE = 2
    OFFLINE = 3
    FAILED = 4
    ONLINE_PENDING = 129
    OFFLINE_PENDING = 130


class VmHealth(Enum):
    """What the host hears of the inside of a VM. The value is the sentence shown to people."""

    WELL = "its guest answers, and its services run"
    SILENT = "its guest gives no heartbeat"
    CRITICAL = "a service in it has failed for good, and is reported as critical"


class MoveKind(IntEnum):
    """How a VM moves to another node; numbers as in the product (VM migration type)."""

    QUICK = 1
    SHUTDOWN = 2
    LIVE = 4


class OfflineAction(IntEnum):
    """What is done to a VM that is taken offline; numbers as in the product."""

    TURN_OFF = 0
    SAVE = 1
    SHUTDOWN = 2
    SHUTDOWN_FORCE = 3


class MigrationState(IntEnum):
    """How far the migration of a VM is, or how its last one ended; numbers as in the product (MigrationState)."""

    NO_MIGRATION = 0
    SETUP = 1
    DATA_TRANSFER = 2
    MOVE = 3
    CANCELED = 4
    FAILURE = 5


class DrainStatus(IntEnum):
    """How far the drain of a paused node is; numbers as in the product (NodeDrainStatus)."""

    NOT_INITIATED = 0
    IN_PROGRESS = 1
    COMPLETED = 2
    FAILED = 3


class Failback(Enum):
    """What becomes of groups that a drain moved away once their node is resumed. The value is the sentence shown."""

    NO_FAILBACK = "they stay where they are"
    IMMEDIATE = "they return at once"
    POLICY = "those with auto_failback return, in their window"


class ServiceState(Enum):
    """Where the cluster service of one node stands. The value is the sentence shown to people."""

    JOINING = "The service looks for a leader that takes it in."
    UP = "The node is a member and hears a leader that holds quorum."
    ISOLATED = "No leader with quorum is heard; VMs stop when the lease ends, or go on unmonitored for their period."
    STOPPING = "A polite stop was asked for; groups are being moved away."
    STOPPED = "The node has left the cluster and may end its process."
