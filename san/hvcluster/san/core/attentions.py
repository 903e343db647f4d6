"""Unit attentions waiting for each I_T nexus (SAM-4 5.14), reported once each.

Law: bookkeeping only; which command reports one is decided in the array.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.scsi import Nexus, Sense
from hvcluster.model.vocabulary import LunId

from . import sense
from .commands import MAX_NEXUSES

Queues = dict[LunId, list[Sense]]
"""What one nexus has not been told yet. A LUN with nothing to tell has no entry."""


class Attentions:
    """Every pending unit attention of the array."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Nexus, Queues] = {}

    def login(self, nexus: Nexus, luns: Iterable[LunId]) -> Queues | None:
        """Queue POWER ON for a nexus never seen before, else I_T NEXUS LOSS; None when there is no room.

        POWER ON that was never reported outranks the nexus loss, which then adds nothing (SAM-4 5.14.3).
        """
        queues = self._queues.get(nexus)
        if queues is None:
            if len(self._queues) >= MAX_NEXUSES:
                return None
            queues = self._queues[nexus] = {lun: [sense.POWER_ON_OCCURRED] for lun in luns}
            return queues
        for lun in luns:
            queue = queues.setdefault(lun, [])
            if not queue or queue[0] != sense.POWER_ON_OCCURRED:
                queue[:] = [sense.NEXUS_LOSS_OCCURRED, *(what for what in queue if what.asc != sense.RESET_FAMILY)]
        return queues

    def add(self, nexus: Nexus, lun: LunId, what: Sense) -> None:
        """Establish a condition for a nexus; one that never logged in will hear POWER ON instead."""
        queues = self._queues.get(nexus)
        if queues is not None:
            queue = queues.setdefault(lun, [])
            if what not in queue:
                queue.append(what)

    def add_for_all(self, lun: LunId, what: Sense) -> None:
        """Establish a condition for every nexus that has logged in."""
        for nexus in self._queues:
            self.add(nexus, lun, what)

    def forget(self, lun: LunId) -> None:
        """The LUN is gone; nothing about it is left to tell."""
        for queues in self._queues.values():
            queues.pop(lun, None)


def take(queues: Queues, lun: LunId) -> Sense:
    """Remove and return the first condition of a queue that has one."""
    queue = queues[lun]
    first = queue.pop(0)
    if not queue:
        del queues[lun]
    return first
