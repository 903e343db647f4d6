"""What may be wrong inside a running VM: it hangs, or its application has crashed; a restart of the VM mends both.

Law: stands between a driver and its guest, and keeps from the guest what a sick one would not take in. The guest itself
knows nothing of it; what the cluster makes of it is decided in `groups`.
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.vocabulary import VmHealth

from .guest_io import Append, Fetch, GuestEvent, PowerOff, Refuse

MAX_UNHEARD: Final = 4096
"""Requests that may wait for a guest that hangs, as many as one that does not would let wait."""


class Ailment:
    """The health of one VM. `filtered` is asked for each event on its way to the guest."""

    __slots__ = ("_unheard", "health")

    def __init__(self) -> None:
        self.health = VmHealth.WELL
        self._unheard: list[int] = []

    def filtered(self, event: GuestEvent) -> tuple[GuestEvent | None, tuple[Refuse, ...]]:
        """The event, if the guest takes it in, and what clients are answered in its stead."""
        if self.health is VmHealth.WELL:
            return event, ()
        if isinstance(event, PowerOff):
            unheard, self._unheard = self._unheard, []
            return event, tuple(Refuse(ticket, "stopped", f"the VM hung: {event.reason}") for ticket in unheard)
        if not isinstance(event, Append | Fetch):
            return (event if self.health is VmHealth.CRITICAL else None), ()
        if self.health is VmHealth.CRITICAL:
            return None, (Refuse(event.ticket, "application", "the application in the VM has crashed"),)
        if len(self._unheard) >= MAX_UNHEARD:
            return None, (Refuse(event.ticket, "busy", f"{MAX_UNHEARD} requests wait for a VM that hangs"),)
        self._unheard.append(event.ticket)
        return None, ()
