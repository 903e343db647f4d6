"""What may be wrong inside a running VM: it hangs, or a service has failed; a restart of the VM mends all of it.

Law: stands between a driver and its guest, and keeps from the guest what a sick one would not take in. The guest itself
knows nothing of it; what the cluster makes of it is decided in `groups`.
"""

from __future__ import annotations

from typing import Final

from hvcluster.model.policy import JOURNAL_SERVICE
from hvcluster.model.vocabulary import VmHealth

from .guest_io import Append, Fetch, GuestEvent, PowerOff, Refuse

SERVICE_PREFIX: Final = "service:"
"""What stands before the name of a service, where a way to break a VM is asked for."""
MAX_UNHEARD: Final = 4096
"""Requests that may wait for a guest that hangs, as many as one that does not would let wait."""
MAX_FAILED: Final = 64
"""Services that are told of; a guest has more, and one is enough."""


class Ailment:
    """The health of one VM. `filtered` is asked for each event on its way to the guest."""

    __slots__ = ("_failed", "_hangs", "_unheard")

    def __init__(self) -> None:
        self._hangs = False
        self._failed: set[str] = set()
        self._unheard: list[int] = []

    @property
    def health(self) -> VmHealth:
        """What the host hears."""
        if self._hangs:
            return VmHealth.SILENT
        return VmHealth.CRITICAL if self._failed else VmHealth.WELL

    @property
    def failed(self) -> tuple[str, ...]:
        """The services that have failed."""
        return tuple(sorted(self._failed))

    def fall_ill(self, how: str) -> None:
        """As a person says it: hang, service:NAME, or anything else for what clients are served with."""
        if how == "hang":
            self.hang()
        else:
            self.fail(how.removeprefix(SERVICE_PREFIX) if how.startswith(SERVICE_PREFIX) else JOURNAL_SERVICE)

    def hang(self) -> None:
        """The guest hangs."""
        self._hangs = True

    def fail(self, service: str = JOURNAL_SERVICE) -> None:
        """A service has failed, as often as it may before the guest gives it up."""
        if len(self._failed) < MAX_FAILED:
            self._failed.add(service)

    def filtered(self, event: GuestEvent) -> tuple[GuestEvent | None, tuple[Refuse, ...]]:
        """The event, if the guest takes it in, and what clients are answered in its stead."""
        if self._hangs:
            return self._unheard_by(event)
        if JOURNAL_SERVICE in self._failed and isinstance(event, Append | Fetch):
            return None, (Refuse(event.ticket, "application", "the application in the VM has crashed"),)
        return event, ()

    def _unheard_by(self, event: GuestEvent) -> tuple[GuestEvent | None, tuple[Refuse, ...]]:
        if isinstance(event, PowerOff):
            unheard, self._unheard = self._unheard, []
            return event, tuple(Refuse(ticket, "stopped", f"the VM hung: {event.reason}") for ticket in unheard)
        if not isinstance(event, Append | Fetch):
            return None, ()
        if len(self._unheard) >= MAX_UNHEARD:
            return None, (Refuse(event.ticket, "busy", f"{MAX_UNHEARD} requests wait for a VM that hangs"),)
        self._unheard.append(event.ticket)
        return None, ()
