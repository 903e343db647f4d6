"""Facts: every state change, recorded once, with a reason an administrator understands.

Law: what may be recorded and how one line of it reads. Logs, event ids, golden traces, metrics and the judge read
facts; nothing else in the product reports the same thing a second time.
"""

from __future__ import annotations

from enum import Enum
from typing import TypeAlias

from .epochs import epoch_of, term_tag
from .values import value
from .vocabulary import Instant, NodeId

Value: TypeAlias = "int | str"


class FactKind(Enum):
    """name = (component in the cluster log, Windows event id or 0, what it means)."""

    SERVICE_STARTED = ("CS", 0, "the cluster service started")
    SERVICE_STOPPED = ("CS", 0, "the cluster service left the cluster and stopped")
    QUORUM_LOST = ("QUORUM", 1177, "the cluster service stops because quorum was lost")
    QUORUM_HELD = ("QUORUM", 0, "this node hears a leader that holds quorum")
    QUORUM_FORCED = ("QUORUM", 0, "an administrator forced quorum; this node's database is the cluster's from now on")
    FORCED_ENDED = ("QUORUM", 0, "the cluster has left the forced state; votes count again")
    QUORUM_YIELDED = ("QUORUM", 5396, "the cluster service stops because a side with forced quorum outranks it")
    ROUTE_UP = ("IM", 0, "a route to a peer is up")
    ROUTE_DOWN = ("IM", 0, "a route to a peer is down")
    NODE_UNREACHABLE = ("NDP", 0, "all routes to a peer are down")
    PRE_VOTE_STARTED = ("CORE", 0, "asking whether an election could be won")
    ELECTION_STARTED = ("CORE", 0, "standing as candidate")
    LEADER_ELECTED = ("CORE", 0, "this node leads")
    LEADER_RESIGNED = ("CORE", 0, "this node no longer leads")
    TERM_SEEN = ("CORE", 0, "a newer term was seen")
    CLUSTER_FORMED = ("CORE", 0, "the cluster formed")
    NODE_UP = ("CORE", 0, "a node became a member")
    NODE_DOWN = ("CORE", 1135, "a node was removed from membership")
    NODE_LOSS_SEEN = ("CORE", 1135, "a survivor was told that a node was removed from membership")
    NODE_ISOLATED = ("CORE", 1673, "a node is isolated: it is waited for before its VMs fail over")
    NODE_RETURNED = ("CORE", 1680, "a node is isolated no longer")
    VMS_UNMONITORED = ("RCM", 1681, "VMs on an isolated node are unmonitored")
    VMS_MONITORED = ("RCM", 1682, "VMs are no longer unmonitored")
    NODE_EVICTED = ("CORE", 1011, "a node was evicted: it belongs to the cluster no more")
    NODE_ADDED = ("CORE", 0, "a node was added to the cluster")
    NODE_QUARANTINED = ("CORE", 1672, "a node left suddenly too often and is quarantined")
    QUARANTINE_ENDED = ("CORE", 0, "a node is quarantined no longer")
    JOIN_REFUSED = ("CORE", 1675, "a quarantined node is not taken in")
    QUARANTINED_HERE = ("CORE", 1676, "this node is quarantined")
    NODE_REMOVED = ("CORE", 0, "this node was removed from membership; its cluster service restarts")
    NODE_LEAVING = ("CORE", 0, "a node was asked to stop and is drained")
    VOTES_CHANGED = ("QUORUM", 0, "the votes that count have changed")
    PROPERTY_CHANGED = ("CLUSTER", 0, "a property of the cluster has changed")
    QUORUM_CHANGED = ("QUORUM", 0, "the configuration of quorum has changed")
    SNAPSHOT_TAKEN = ("DM", 0, "the database was written as a snapshot")
    SNAPSHOT_INSTALLED = ("DM", 0, "the database was taken over from a snapshot")
    WITNESS_CHALLENGED = ("RES", 0, "the witness is held by another node; arbitration began")
    WITNESS_HELD = ("RES", 0, "this node holds the witness and casts its vote")
    WITNESS_DEFENDED = ("RES", 0, "a challenger was removed from the witness")
    WITNESS_LOST = ("RES", 1038, "the reservation on the witness is gone")
    WITNESS_REFUSED = ("RES", 0, "arbitration for the witness was lost, status 170")
    WITNESS_NEWER = ("QUORUM", 1561, "this node must not form: the witness knows of a newer database")
    WITNESS_CHECK_FAILED = ("RES", 1562, "a check of the file share witness failed")
    WITNESS_NOT_ONLINE = ("RES", 1563, "the file share witness cannot be brought online")
    WITNESS_NOT_WON = ("RES", 1564, "arbitration for the file share witness was lost")
    CLOUD_WITNESS_UNREACHABLE = ("RES", 1568, "the cloud witness does not answer")
    CLOUD_WITNESS_BARRED = ("RES", 1569, "the cloud witness refuses the account or its key")
    WITNESS_MISSING = ("QUORUM", 1573, "this node cannot form: the witness does not answer")
    WITNESS_OFFLINE = ("RCM", 1069, "the witness has failed and is offline")
    GROUP_ASSIGNED = ("RCM", 1641, "a group got an owner")
    GROUP_WAITING = ("RCM", 0, "a group has no node to run on")
    GROUP_CONFLICT = ("RCM", 1639, "a group stays offline rather than break an affinity rule")
    GROUP_CHANGED = ("RCM", 0, "a group has other wishes")
    RULE_CHANGED = ("RCM", 0, "an affinity rule has changed")
    GROUP_PREEMPTED = ("RCM", 1251, "a group gives up its place to one of higher priority")
    GROUP_MOVING = ("RCM", 1641, "a planned move began")
    MIGRATION_STARTED = ("RCM", 0, "a live migration began")
    MIGRATION_PAUSED = ("RCM", 0, "a VM is paused for the last of its memory")
    MIGRATION_HANDED = ("RCM", 0, "a paused VM is ready to be handed over")
    MIGRATION_RESUMED = ("RCM", 0, "a VM that was paused for a migration goes on where it was")
    MIGRATION_ENDED = ("RCM", 0, "a migration ended without a change of owner")
    GROUP_REPORTED = ("RCM", 0, "an owner reported a group's state")
    GROUP_FAILED = ("RCM", 1254, "a group is out of attempts and stays failed for a while")
    RESOURCE_FAILED = ("RCM", 1069, "a resource failed")
    RESOURCE_CHANGED = ("RCM", 1637, "a resource changed its state")
    RESOURCE_ASKED = ("RCM", 0, "an administrator asks something of a resource")
    RESTARTS_SPENT = ("RCM", 1638, "a resource has used up its restarts")
    RESOURCE_DEADLOCK = ("RCM", 1230, "a call to a resource took longer than DeadlockTimeout")
    MONITOR_RESTARTED = ("RCM", 1146, "the resource monitor has ended and is started again")
    APPLICATION_CRITICAL = ("RCM", 1250, "an application inside a VM is critical")
    NETWORK_CRITICAL = ("RCM", 1255, "a VM's protected network has no link on its host")
    DISK_ARBITRATING = ("RES", 0, "bringing a disk online began")
    DISK_PREEMPTED = ("RES", 0, "an older owner's registration was removed")
    DISK_ONLINE = ("RES", 0, "the disk is reserved for this node alone")
    VOLUME_ASSIGNED = ("RCM", 0, "a Cluster Shared Volume got a coordinator")
    VOLUME_JOINED = ("RES", 0, "this node's key is on a Cluster Shared Volume")
    DISK_SUPERSEDED = ("RES", 0, "a newer generation already has the disk")
    DISK_MISSING = ("RES", 1034, "a disk is missing")
    DISK_LOST = ("RES", 1038, "the reservation on a disk is gone")
    DISK_OFFLINE = ("RES", 0, "the disk is no longer in use here")
    VM_STARTING = ("RCM", 0, "a VM starts")
    VM_ONLINE = ("RCM", 0, "a VM is online")
    VM_PAUSED_CRITICAL = ("RCM", 0, "a VM has lost its disk and is frozen")
    VM_RESUMED = ("RCM", 0, "a frozen VM goes on")
    VM_STOPPED = ("RCM", 0, "a VM no longer runs")
    PATH_UP = ("RES", 0, "a path to the array is up")
    PATH_DOWN = ("RES", 0, "a path to the array is down")
    LINK_UP = ("NDP", 0, "the cable to a network of VMs is plugged in again")
    LINK_DOWN = ("NDP", 0, "the cable to a network of VMs is out")
    CONNECTION_LOST = ("NDP", 0, "last will and refused probe: the peer is gone")
    NODE_PAUSED = ("CORE", 0, "a node was paused or resumed")
    DRAIN_COMPLETED = ("RCM", 0, "the drain of a node is over")
    DRAIN_FAILED = ("RCM", 1677, "the drain of a node has failed")
    REQUEST_DONE = ("API", 0, "an operator's request was carried out")

    @property
    def component(self) -> str:
        """The bracketed component of a cluster log line."""
        return self.value[0]

    @property
    def event_id(self) -> int:
        """The Windows event id, 0 where the product writes none."""
        return self.value[1]

    @property
    def meaning(self) -> str:
        """What the kind says, without the particulars."""
        return self.value[2]


@value
class Fact:
    """One recorded change. `about` holds the particulars in a fixed order; `reason` is a sentence."""

    kind: FactKind
    at: Instant
    node: NodeId
    reason: str
    about: tuple[tuple[str, Value], ...] = ()

    def get(self, name: str) -> Value | None:
        """One particular by name, or None."""
        for key, known in self.about:
            if key == name:
                return known
        return None

    def line(self) -> str:
        """The fact as one line: `[COMP] meaning: reason (name=value ...)`."""
        particulars = " ".join(f"{key}={_shown(key, value)}" for key, value in self.about)
        tail = f" ({particulars})" if particulars else ""
        return f"[{self.kind.component}] {self.kind.meaning}: {self.reason}{tail}"


def _shown(key: str, known: Value) -> Value:
    """A particular as people read it: a term of a force epoch as both of its parts."""
    return term_tag(known) if key == "term" and isinstance(known, int) and epoch_of(known) else known
