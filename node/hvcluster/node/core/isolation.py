"""Compute resiliency as an isolated node lives it: its VMs go on for a while when quorum is lost, unmonitored.

Law: nothing but how long. The node takes no decision meanwhile; that nobody else writes on its disks, and it on nobody
else's, is the reservations' doing, as always.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.properties import Properties, resiliency_us
from hvcluster.model.vocabulary import Generation, Instant

from .database import Database
from .groups import Groups, Phase, Run
from .offline import POWER_OFF
from .outbox import Outbox
from .quorum import Quorum


class Isolation:
    """Since when this node is on its own."""

    __slots__ = ("_database", "_groups", "_out", "_properties", "_quorum", "_stopped", "since")

    def __init__(
        self, properties: Properties, quorum: Quorum, groups: Groups, database: Callable[[], Database], out: Outbox
    ) -> None:
        self._properties = properties
        self._quorum = quorum
        self._groups = groups
        self._database = database
        self._out = out
        self._stopped: set[tuple[str, Generation]] = set()
        self.since: Instant | None = None
        """When quorum was lost; None while it is not."""

    def look(self) -> None:
        """Quorum stands, or may still: isolation is over once there is evidence that is newer than it."""
        if self.since is not None and self._quorum.evidence > self.since:
            self.since = None

    def _left_us(self, now: Instant, since: Instant, run: Run) -> int:
        group = self._database().groups.get(run.group)
        own_ms = group.definition.resiliency_period_ms if group is not None else None
        return resiliency_us(self._properties, own_ms) - (now - since)

    def longest_us(self, now: Instant) -> int:
        """For how long a VM may still go on here without quorum; 0 when none may."""
        since = self.since if self.since is not None else now
        return max(0, *(self._left_us(now, since, run) for run in self._groups.runs.values()), 0)

    def endures(self, now: Instant) -> bool:
        """Quorum is lost: whether the service goes on all the same, with the VMs that have time left."""
        if self.longest_us(now) == 0:
            return False
        if self.since is None:
            self.since = now
        roles = False
        for run in tuple(self._groups.runs.values()):
            life = (run.group, run.generation)
            over = self._left_us(now, self.since, run) <= 0
            if over and life not in self._stopped and run.phase in (Phase.BOOTING, Phase.RUNNING):
                self._stopped.add(life)
                roles = roles or run.has_resources
                self._groups.work.stop(now, run, POWER_OFF, "its node is isolated and its resiliency period is over")
        if roles:
            self._groups.work.end_monitor("quorum was lost, and nobody waits for resources to end")
        return True
