"""Mutants of quick migration and saved VMs: which saved state counts, how often, and what comes before it.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from hvcluster.model.scsi import Payload
from hvcluster.model.vocabulary import Instant
from hvcluster.node.core.guest import Guest, GuestState
from hvcluster.node.core.guest_boot import Found, TailSearch
from hvcluster.node.core.guest_io import GuestEffect
from hvcluster.node.core.guest_power import GuestPower
from hvcluster.node.core.journal import Kind, Tail, decode
from tests.mutants.patching import Mutant, Patch, breaks


@breaks("a saved state is used up by the VM that goes on from it")
def a_saved_state_is_resumed_twice(patch: Patch) -> None:
    """A VM that went on from its saved state, and ended before it wrote anything, is restored from it once more."""
    ends: dict[Tail, bool] = {}
    real = TailSearch.feed

    def feed(self: TailSearch, data: bytes) -> object:
        found = real(self, data)
        if isinstance(found, Found):
            blocks = (decode(data[at : at + 512]) for at in range(0, len(data), 512))
            ends[found.tail] = any(
                r is not None and r.kind is Kind.RESTORED and r.sequence == found.tail.sequence for r in blocks
            )
        return found

    patch.set(TailSearch, "feed", feed)
    patch.set(Guest, "_restores", lambda self: self._tail.saved or ends.get(self._tail, False))


@breaks("a saved state counts as long as it is the end of the journal")
def a_stale_saved_state_is_resumed(patch: Patch) -> None:
    """A host that has saved a VM once goes on from that memory whenever it gets the VM again."""
    saved: set[bytes] = set()
    real = GuestPower._seal

    def seal(self: GuestPower, now: Instant, out: list[GuestEffect]) -> None:
        saved.add(self._tail.vm)
        real(self, now, out)

    patch.set(GuestPower, "_seal", seal)
    patch.set(Guest, "_restores", lambda self: self._tail.vm in saved)


@breaks("a VM that is being saved writes nothing more")
def a_saved_vm_runs_on(patch: Patch) -> None:
    """The record that makes a saved state count is written, and the VM goes on with what waits for it."""
    real = Guest._written

    def done(self: Guest, now: Instant, payload: Payload, out: list[GuestEffect]) -> None:
        if self._state is GuestState.SEALING:
            self._state = GuestState.ONLINE
            real(self, now, out)
        else:
            done_before(self, now, payload, out)

    done_before = Guest._done
    patch.set(Guest, "_done", done)


SAVING: tuple[Mutant, ...] = (
    a_saved_state_is_resumed_twice,
    a_stale_saved_state_is_resumed,
    a_saved_vm_runs_on,
)
