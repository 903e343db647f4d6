"""Mutants of live migration: who may go on with a paused VM, and from which memory.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from hvcluster.model.vocabulary import Instant, NodeId
from hvcluster.node.core import guest
from hvcluster.node.core.database import Group
from hvcluster.node.core.disk import DiskOutcome
from hvcluster.node.core.effects import ContinueVm
from hvcluster.node.core.groups import Groups, Phase, Run
from hvcluster.node.core.guest import Guest, GuestState
from hvcluster.node.core.guest_io import GuestEffect, Paused
from hvcluster.node.core.guest_state import GuestImage
from hvcluster.node.core.incoming import Held, Incoming
from hvcluster.node.core.migration import Migrations, Step
from tests.mutants.patching import Mutant, Patch, breaks


@breaks("once a VM may be handed over, its source goes on only when the database says that the move is over")
def the_source_goes_on_by_itself(patch: Patch) -> None:
    """A source that has reported its VM as ready, and hears nothing for a while, lets it go on."""
    real = Migrations.timer

    def timer(self: Migrations, now: Instant) -> None:
        real(self, now)
        for move in tuple(self.moves.values()):
            if move.step is Step.HANDED and now - move.since >= self._timing.delay // 2:
                self._out.add(ContinueVm(move.group, move.generation))

    patch.set(Migrations, "timer", timer)


@breaks("a paused VM has nothing under way")
def a_pause_does_not_wait_for_the_write(patch: Patch) -> None:
    """A VM that is asked to pause says at once that it has."""

    def pause(self: Guest, move: int, out: list[GuestEffect]) -> None:
        if self._state is GuestState.ONLINE:
            self._held = move
            out.append(Paused(move, GuestImage(self._tail, self._lun_blocks)))

    patch.set(Guest, "_pause", pause)


@breaks("a VM that goes on from its memory waits for the reservation of its disk as one that boots does")
def a_resumed_vm_starts_before_its_reservation(patch: Patch) -> None:
    """The target starts a VM whose memory it holds without bringing its disk online."""
    real = Groups._begin

    def begin(self: Groups, now: Instant, run: Run) -> None:
        if run.image is not None and self._paths():
            run.phase = Phase.ARBITRATING
            self._disk_done(run, now, (DiskOutcome.ONLINE, self._paths()))
        else:
            real(self, now, run)

    patch.set(Groups, "_begin", begin)


@breaks("memory is resumed by the assignment that names its move, and with the disk it was written for")
def memory_of_an_older_move_is_resumed(patch: Patch) -> None:
    """A node keeps the memory of a move that came to nothing, and resumes it when it gets the VM for another reason."""

    def take(self: Incoming, group: Group) -> tuple[GuestImage, NodeId] | None:
        held = self.held.get(group.name)
        return (held.image, held.source) if held is not None and held.image is not None else None

    def is_over(self: Incoming, group: Group, held: Held) -> bool:
        return False

    patch.set(Incoming, "take", take)
    patch.set(Incoming, "_is_over", is_over)
    patch.set(guest, "stands", lambda *_: True)


MIGRATION: tuple[Mutant, ...] = (
    the_source_goes_on_by_itself,
    a_pause_does_not_wait_for_the_write,
    a_resumed_vm_starts_before_its_reservation,
    memory_of_an_older_move_is_resumed,
)
