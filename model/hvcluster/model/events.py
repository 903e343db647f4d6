"""What the product's logs make of a fact: the level of its line, and the event with its id, level, channel and gist.

Law: data about kinds of facts, and nothing of particular ones. An id is the product's, documented or seen in its
published event texts; the sentences are ours. A kind of fact shows an id by carrying it (`FactKind.event_id`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from .facts import FactKind
from .values import value


class Level(Enum):
    """name = (from which cluster log level on it is written, what the cluster log's column shows, what it means)."""

    DEBUG = (4, "DBG", "for whoever looks into the cluster service itself")
    INFORMATION = (3, "INFO", "something went as it should")
    WARNING = (2, "WARN", "something is amiss, and the cluster copes with it")
    ERROR = (1, "ERR", "something failed")
    CRITICAL = (1, "ERR", "a node, or its cluster service, is lost")

    @property
    def number(self) -> int:
        """The lowest cluster log level (0 to 5) at which such a line is written."""
        return self.value[0]

    @property
    def column(self) -> str:
        """What a line of the cluster log shows."""
        return self.value[1]


class Channel(Enum):
    """Where Windows keeps an event of the cluster service."""

    SYSTEM = "System"
    OPERATIONAL = "Microsoft-Windows-FailoverClustering/Operational"


PROVIDER: Final = "Microsoft-Windows-FailoverClustering"
"""The source of all these events."""
LOG_LEVEL: Final = 3
"""ClusterLogLevel as the product sets it: errors, warnings and information."""


@value
class Event:
    """One kind of event. `gist` is what it says, without the particulars."""

    id: int
    level: Level
    gist: str
    channel: Channel = Channel.SYSTEM


_ROWS: Final = (
    Event(1006, Level.CRITICAL, "the cluster service halted: it could not reach all other nodes"),
    Event(1011, Level.WARNING, "a node was evicted from the cluster"),
    Event(1034, Level.ERROR, "a cluster disk could not be found"),
    Event(1035, Level.ERROR, "a volume of a cluster disk could not be mounted"),
    Event(1037, Level.ERROR, "a file system on a cluster disk may be corrupt"),
    Event(1038, Level.ERROR, "this node has unexpectedly lost ownership of a cluster disk"),
    Event(1069, Level.ERROR, "a resource of a role failed"),
    Event(1070, Level.CRITICAL, "a node failed to join the cluster"),
    Event(1073, Level.CRITICAL, "the cluster service halted to prevent an inconsistency"),
    Event(1125, Level.WARNING, "a network interface is unreachable for another node"),
    Event(1127, Level.ERROR, "a network interface failed"),
    Event(1129, Level.ERROR, "a cluster network is partitioned"),
    Event(1130, Level.ERROR, "a cluster network is down"),
    Event(1135, Level.CRITICAL, "a node was removed from the active cluster membership"),
    Event(1137, Level.ERROR, "a role could not be moved off a node that is drained"),
    Event(1146, Level.CRITICAL, "the resource hosting subsystem ended and is restarted"),
    Event(1155, Level.WARNING, "a pending move of a role did not complete"),
    Event(1177, Level.CRITICAL, "the cluster service stops because quorum was lost"),
    Event(1205, Level.ERROR, "a role could not be brought completely online or offline"),
    Event(1230, Level.ERROR, "a resource exceeded its time-out"),
    Event(1250, Level.ERROR, "an application in a VM is critical"),
    Event(1251, Level.WARNING, "a role was taken offline for one of higher priority"),
    Event(1254, Level.ERROR, "a role has exceeded its failover threshold and stays failed"),
    Event(1255, Level.ERROR, "the network of a VM is critical"),
    Event(1553, Level.CRITICAL, "this node has no network connectivity"),
    Event(1554, Level.CRITICAL, "this node has lost all network connectivity"),
    Event(1557, Level.ERROR, "the cluster database on the witness could not be updated"),
    Event(1558, Level.WARNING, "there is a problem with the witness; it is tried on another node"),
    Event(1561, Level.CRITICAL, "this node does not form a cluster: its database is not the newest"),
    Event(1562, Level.WARNING, "the file share witness failed a health check"),
    Event(1563, Level.ERROR, "the file share witness failed to come online"),
    Event(1564, Level.CRITICAL, "arbitration for the file share witness failed"),
    Event(1568, Level.ERROR, "the cloud witness cannot be reached"),
    Event(1569, Level.ERROR, "the cloud witness refuses the account or its key"),
    Event(1569, Level.ERROR, "the cloud witness does not accept the access token"),
    Event(1573, Level.ERROR, "this node failed to form a cluster: the witness cannot be reached"),
    Event(1592, Level.INFORMATION, "communication with a node was lost and has come back"),
    Event(1594, Level.INFORMATION, "the functional level of the cluster was raised"),
    Event(1635, Level.INFORMATION, "a resource of a role failed", Channel.OPERATIONAL),
    Event(1637, Level.INFORMATION, "a resource changed its state", Channel.OPERATIONAL),
    Event(1638, Level.INFORMATION, "a resource has used up its restarts", Channel.OPERATIONAL),
    Event(1639, Level.INFORMATION, "a role stays offline because of anti-affinity", Channel.OPERATIONAL),
    Event(1640, Level.INFORMATION, "roles of low priority wait for others", Channel.OPERATIONAL),
    Event(1641, Level.INFORMATION, "a role is moving to a node", Channel.OPERATIONAL),
    Event(1648, Level.INFORMATION, "the cluster service waits for the witness", Channel.OPERATIONAL),
    Event(1649, Level.INFORMATION, "a control code takes long", Channel.OPERATIONAL),
    Event(1650, Level.INFORMATION, "the heartbeats of a route have changed", Channel.OPERATIONAL),
    Event(1651, Level.INFORMATION, "the link of a network adapter has changed", Channel.OPERATIONAL),
    Event(1652, Level.ERROR, "a node failed to join: no connection could be made"),
    Event(1653, Level.ERROR, "a node failed to join: it reached no other node"),
    Event(1672, Level.CRITICAL, "a node was quarantined"),
    Event(1673, Level.WARNING, "a node has entered the isolated state"),
    Event(1675, Level.WARNING, "a quarantined node is not let in"),
    Event(1676, Level.CRITICAL, "this node is quarantined"),
    Event(1677, Level.ERROR, "a node could not be drained"),
    Event(1680, Level.INFORMATION, "a node has left the isolated state"),
    Event(1681, Level.WARNING, "the VMs of a node are no longer monitored"),
    Event(1682, Level.INFORMATION, "VMs are no longer unmonitored"),
    Event(4869, Level.ERROR, "the cluster service does not respond"),
    Event(4870, Level.ERROR, "the cluster service did not respond and was ended"),
    Event(5120, Level.WARNING, "a Cluster Shared Volume is paused; its I/O is queued"),
    Event(5121, Level.INFORMATION, "a Cluster Shared Volume is no longer directly accessible from this node"),
    Event(5136, Level.INFORMATION, "access to a Cluster Shared Volume was redirected on request"),
    Event(5142, Level.ERROR, "a Cluster Shared Volume is no longer accessible from this node"),
    Event(5150, Level.ERROR, "the disk of a Cluster Shared Volume was put into the failed state"),
    Event(5157, Level.INFORMATION, "a Cluster Shared Volume is paused, as was expected"),
    Event(5377, Level.ERROR, "an operation took too long; the cluster service ends to recover"),
    Event(5396, Level.ERROR, "other nodes have quorum; the cluster service on this node stops"),
    Event(5398, Level.ERROR, "the cluster failed to start: the newest database is not among the nodes that are there"),
)
EVENTS: Final[dict[int, Event]] = {row.id: row for row in _ROWS}
"""Every event of the product that is about what a cluster of VMs can go through, by its id."""

_WITHOUT_EVENT: Final[dict[FactKind, Level]] = {
    FactKind.NODE_UNREACHABLE: Level.WARNING,
    FactKind.CONNECTION_LOST: Level.WARNING,
    FactKind.NODE_REMOVED: Level.WARNING,
    FactKind.LEADER_RESIGNED: Level.WARNING,
    FactKind.WITNESS_DEFENDED: Level.WARNING,
    FactKind.WITNESS_REFUSED: Level.WARNING,
    FactKind.GROUP_WAITING: Level.WARNING,
    FactKind.DISK_SUPERSEDED: Level.WARNING,
    FactKind.DISK_PREEMPTED: Level.WARNING,
    FactKind.PATH_DOWN: Level.WARNING,
    FactKind.LINK_DOWN: Level.WARNING,
    FactKind.PRE_VOTE_STARTED: Level.DEBUG,
    FactKind.TERM_SEEN: Level.DEBUG,
    FactKind.SNAPSHOT_TAKEN: Level.DEBUG,
}


def event_of(event_id: int) -> Event:
    """The event of an id; one that is not in the table is a warning that says so."""
    return EVENTS.get(event_id) or Event(event_id, Level.WARNING, "an event that has no description here")


def level_of(kind: str, event_id: int = 0) -> Level:
    """The level of a fact's line in the cluster log. `kind` is a FactKind's name, or one that another version knows."""
    known = FactKind.__members__.get(kind)
    number = event_id or (known.event_id if known is not None else 0)
    if number:
        return event_of(number).level
    return Level.INFORMATION if known is None else _WITHOUT_EVENT.get(known, Level.INFORMATION)
