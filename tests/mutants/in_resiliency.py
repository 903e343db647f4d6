"""Mutants of compute and storage resiliency: who is waited for, for how long, and what a frozen VM may say.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from hvcluster.model.vocabulary import Incarnation, Instant
from hvcluster.node.core.guest import Guest
from hvcluster.node.core.guest_io import Acknowledge, Frozen, GuestEffect
from hvcluster.node.core.isolation import Isolation
from hvcluster.node.core.members import Member
from hvcluster.node.core.resiliency import Resiliency
from tests.mutants.patching import Patch, breaks


@breaks("without quorum no VM runs once the lease and the resiliency period are over")
def an_isolated_node_runs_its_vms_for_ever(patch: Patch) -> None:
    """A node without quorum never looks at the clock: its VMs go on as long as nobody fences them."""

    def endures(self: Isolation, now: Instant) -> bool:
        if self.since is None and self.longest_us(now) > 0:
            self.since = now
        return self.since is not None

    patch.set(Isolation, "endures", endures)


@breaks("quarantine ends")
def quarantine_is_for_life(patch: Patch) -> None:
    """A leader that has refused a node once refuses it for ever."""
    real = Resiliency.refuses

    def refuses(self: Resiliency, member: Member, incarnation: Incarnation) -> bool:
        return real(self, member, incarnation) or member.id in self._refused

    patch.set(Resiliency, "refuses", refuses)


@breaks("no client hears that its record is on the disk before it is")
def a_frozen_vm_answers_its_clients(patch: Patch) -> None:
    """A VM that is frozen acknowledges what it could not write, for it will be able to later."""
    real = Guest._timer

    def timer(self: Guest, now: Instant, name: str, out: list[GuestEffect]) -> None:
        real(self, now, name, out)
        if any(isinstance(effect, Frozen) for effect in out):
            first = self._tail.sequence + 1
            out.extend(Acknowledge(ticket, first + at) for at, ticket in enumerate(self._flight))

    patch.set(Guest, "_timer", timer)


RESILIENCY = (
    an_isolated_node_runs_its_vms_for_ever,
    quarantine_is_for_life,
    a_frozen_vm_answers_its_clients,
)
