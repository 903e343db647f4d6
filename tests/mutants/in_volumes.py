"""Mutants of Cluster Shared Volumes: whose key is on a volume, and when a VM's older owner can write no more.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hvcluster.model.scsi import FullStatus, PersistentReserveOut, ReserveOut, Status
from hvcluster.model.vocabulary import Instant, LunId, PathName
from hvcluster.node.core import volume_disk, volume_keys
from hvcluster.node.core.commands import AssignGroup, BeginMove, CancelMove, Preempt, ReportGroup, SetDesired
from hvcluster.node.core.database import Database, Group
from hvcluster.node.core.groups import Groups, Run
from hvcluster.node.core.procedure import Steps, ask
from hvcluster.node.core.volume_disk import Standing
from hvcluster.node.core.volume_keys import Known, Whose
from hvcluster.node.core.volumes import Volumes
from tests.mutants.patching import Mutant, Patch, breaks


@breaks("before a VM starts on a volume, every key of an older life is removed")
def nobody_is_preempted_on_a_volume(patch: Patch) -> None:
    """A takeover starts its VM beside the keys that are registered."""

    def clear(*_: object) -> Steps[bool]:
        yield from ()
        return True

    patch.set(volume_disk, "_clear", clear)
    patch.set(volume_disk, "_verified", lambda _status, _initiator, at, _judge: at.paths if at is not None else ())


@breaks("a node takes a new number on a volume only once the VMs are off that it has lost")
def a_new_key_before_the_old_vm_is_off(patch: Patch) -> None:
    """A node first takes the key that the database gives it, and then turns off the VMs that it has lost."""
    supersede, changed = Groups._supersede, Groups._volumes_changed

    def later(self: Groups, now: Instant, run: Run, group: Group | None) -> None:
        member = self._database().is_member(self._me, self._incarnation)
        if run.extent is None or not member or self._volumes.standing(run.lun) is not None:
            supersede(self, now, run, group)

    def first(self: Groups, now: Instant) -> None:
        changed(self, now)
        self.look_again = True

    patch.set(Volumes, "_outlived", lambda _self, _lun: False)
    patch.set(Groups, "_supersede", later)
    patch.set(Groups, "_volumes_changed", first)


@breaks("the assignment of a VM on a volume makes the key void under which its last owner wrote")
def an_assignment_leaves_the_key_as_it_is(patch: Patch) -> None:
    """A VM is assigned anew, and its owner's key stays good: it has other VMs there."""
    real = Database._change_group

    def change(
        self: Database, command: AssignGroup | BeginMove | CancelMove | Preempt | ReportGroup | SetDesired
    ) -> bool:
        before = dict(self.members)
        changed = real(self, command)
        for node, member in before.items():
            self.members[node] = member
        return changed

    patch.set(Database, "_change_group", change)


@breaks("a node with VMs on a volume changes its key by naming the old one")
def a_key_is_changed_whatever_it_was(patch: Patch) -> None:
    """A key that was preempted meanwhile is simply registered again."""

    def key_on(
        path: PathName, known: Known, rows: dict[PathName, int], initiator: str, lun: LunId, mine: int
    ) -> Steps[bool]:
        command = PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=mine)
        answers = yield from ask(path, lun, command)
        if answers[0].status is not Status.GOOD:
            return False
        known[path] = (mine,)
        return True

    patch.set(volume_keys, "_key_on", key_on)
    patch.set(volume_keys, "_stands", lambda *_: True)


@breaks("an extent is claimed for a generation before its VM starts")
def an_extent_is_not_claimed(patch: Patch) -> None:
    """Whoever is registered starts its VM, be its assignment ever so old."""

    def stake(*_: object) -> Steps[str | None]:
        yield from ()
        return "ours"

    patch.set(volume_disk, "stake", stake)


@breaks("a volume is never without a holder")
def a_volume_is_used_without_a_reservation(patch: Patch) -> None:
    """Registrations are looked after, and nobody reserves."""

    def reserve(*_: object) -> Steps[Status]:
        yield from ()
        return Status.GOOD

    patch.set(volume_disk, "reserve", reserve)
    patch.set(volume_keys, "reserve", reserve)
    real = volume_disk._verified

    def verified(
        status: FullStatus | None, initiator: str, at: Standing | None, judge: Callable[[int], Whose]
    ) -> tuple[PathName, ...]:
        if status is None:
            return ()
        held = tuple(replace(row, holder=True) for row in status.registrations)
        return real(replace(status, registrations=held), initiator, at, judge)

    patch.set(volume_disk, "_verified", verified)


VOLUMES: tuple[Mutant, ...] = (
    nobody_is_preempted_on_a_volume,
    a_new_key_before_the_old_vm_is_off,
    an_assignment_leaves_the_key_as_it_is,
    a_key_is_changed_whatever_it_was,
    an_extent_is_not_claimed,
    a_volume_is_used_without_a_reservation,
)
