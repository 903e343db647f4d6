"""What a node knows of one generation of one group that it brings online, runs, or takes offline.

Law: a record; what becomes of it is for `groups` to say.
"""

from __future__ import annotations

from enum import Enum

from hvcluster.model.vocabulary import NOBODY, Instant, NodeId, PathName, ReservationKey

from .database import Group
from .guest_state import GuestImage


class Phase(Enum):
    """Where a run is."""

    WAITING = "for one of the starts that are allowed at a time, or for a path"
    ARBITRATING = "its disk is being brought online"
    BOOTING = "its VM boots"
    RUNNING = "its VM is online"
    STOPPING = "its VM is being stopped"


class Run:
    """One generation of one group on this node."""

    __slots__ = (
        "assigned",
        "boot_delay_us",
        "extent",
        "format_blank",
        "generation",
        "group",
        "image",
        "key",
        "lun",
        "paths",
        "paused",
        "phase",
        "planned",
        "priority",
        "restore_us",
        "saving_us",
        "since",
        "source",
    )

    def __init__(self, group: Group, me: NodeId, boot_delay_us: int) -> None:
        self.group = group.name
        self.assigned = group  # as the database had it then
        self.generation = group.generation
        self.lun = group.definition.lun
        self.extent = group.definition.extent
        self.key = ReservationKey(group.generation, me)
        self.boot_delay_us = boot_delay_us
        self.format_blank = not group.served
        self.phase = Phase.WAITING
        self.priority = group.definition.policy.priority
        self.since: Instant | None = None  # when its disk, or then its VM, was asked to come online while a path was up
        self.paths: set[PathName] = set()  # on which its VM may write
        self.paused = False  # its VM is frozen, for its disk does not answer (Paused-Critical)
        self.planned = False  # it ends because a move or an operator wants it offline
        self.image: GuestImage | None = None  # it goes on from this memory, of node `source`
        self.source = NOBODY
        self.restore_us = 0  # reading a saved state takes that long
        self.saving_us = 0  # its memory is being saved, which takes that long

    @property
    def has_resources(self) -> bool:
        """Whether it consists of resources, and not of a VM."""
        return bool(self.assigned.definition.resources)


def joining(run: Run, path: PathName) -> str:
    """The name of the procedure that brings a path to a run's disk."""
    return f"join:{run.group}:{path}"
