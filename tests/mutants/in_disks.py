"""Mutants of who may write: the reservation procedure, groups and their VMs, the guest, the array.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from hvcluster.model.scsi import (
    GOOD,
    Nexus,
    PersistentReserveOut,
    ReservationType,
    ReserveOut,
    Result,
    SenseKey,
    Status,
    Write,
)
from hvcluster.model.vocabulary import Generation, Incarnation, Instant, LunId, NodeId, PathName
from hvcluster.node.core import disk, guest_boot, guest_disk, procedure
from hvcluster.node.core.commands import AssignGroup, Command, ReportGroup
from hvcluster.node.core.database import Database, Group
from hvcluster.node.core.disk import DiskOutcome
from hvcluster.node.core.effects import StopVm
from hvcluster.node.core.groups import RETRY_TIMER, Groups, Phase, Run
from hvcluster.node.core.guest import Guest
from hvcluster.node.core.guest_io import Acknowledge, GuestEffect
from hvcluster.node.core.messages import GroupReport
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.planner import Planner
from hvcluster.node.core.procedure import Steps, ask
from hvcluster.node.core.quorum import Quorum
from hvcluster.node.core.reservation import Seen, preempt, register, reserve, unregister
from hvcluster.node.core.roles import REPORTED, Roles
from hvcluster.san.core import effects
from hvcluster.san.core.array import Array
from hvcluster.san.core.conflicts import Access
from hvcluster.san.core.events import Login, Logout
from hvcluster.san.core.reservations import Outcome, Reservations
from hvcluster.san.core.unit import LogicalUnit
from tests.mutants.patching import Patch, breaks

# the reservation procedure


@breaks("after step 5 no older owner is registered")
def nobody_is_preempted(patch: Patch) -> None:
    """A takeover starts its VM beside the old owner's registration."""

    def take(*_: object) -> Steps[bool]:
        yield from ()
        return True

    patch.set(disk, "_take", take)
    patch.set(disk, "_alone", lambda *_: True)


@breaks("PREEMPT names the key that was seen: one command that fails if somebody else was first")
def preempt_does_not_name_the_key(patch: Patch) -> None:
    """A takeover removes whoever is registered by then, and registers and reserves anew."""

    def whoever(path: PathName, lun: LunId, key: int, victim: int) -> Steps[Status]:
        yield from ask(path, lun, PersistentReserveOut(ReserveOut.CLEAR, key=key))
        yield from register(lambda: (path,), lun, key)
        return (yield from reserve(path, lun, key))

    patch.set(disk, "preempt", whoever)


@breaks("a key of a newer generation means: stop")
def a_newer_generation_is_not_noticed(patch: Patch) -> None:
    """A takeover does not ask whether a newer generation has the disk."""
    patch.set(disk, "_refusal", lambda *_: None)


@breaks("a reservation is never released (decision 0010)")
def an_offline_disk_is_released(patch: Patch) -> None:
    """A planned offline takes the reservation back."""
    real = Groups._released

    def released(self: Groups, run: Run) -> None:
        real(self, run)
        name = f"release:{run.group}"
        if not self._procedures.active(name):
            self._procedures.start(self._out.now, name, unregister(self._paths, run.lun), lambda *_: None)

    patch.set(Groups, "_released", released)


@breaks("step 5 removes every other registration, not only the holder's")
def only_the_holder_is_preempted(patch: Patch) -> None:
    """A takeover preempts the holder of the reservation, and leaves whoever else is registered."""

    def take(out: Outbox, path: PathName, group: str, lun: LunId, mine: int, what: Seen) -> Steps[bool]:
        if what.holder is None:
            return (yield from reserve(path, lun, mine)) is Status.GOOD
        return what.holder == mine or (yield from preempt(path, lun, mine, what.holder)) is Status.GOOD

    patch.set(disk, "_take", take)
    patch.set(disk, "_alone", lambda *_: True)


@breaks("an UNKNOWN is never taken for GOOD")
def an_unknown_preempt_is_taken_for_good(patch: Patch) -> None:
    """A PREEMPT that had no answer counts as done, and nobody looks again."""

    def hopeful(path: PathName, lun: LunId, key: int, victim: int) -> Steps[Status]:
        status = yield from preempt(path, lun, key, victim)
        return Status.GOOD if status is Status.UNKNOWN else status

    patch.set(disk, "preempt", hopeful)
    patch.set(disk, "_alone", lambda *_: True)


@breaks("a command that met a unit attention was not executed")
def a_unit_attention_is_ignored(patch: Patch) -> None:
    """A command that was answered with a unit attention counts as done."""
    real = procedure.Procedures._resume

    def good(result: Result) -> Result:
        attention = result.sense is not None and result.sense.key is SenseKey.UNIT_ATTENTION
        return Result(Status.GOOD, None, result.payload) if attention else result

    def resume(self: procedure.Procedures, now: Instant, running: procedure._Running, answers: Any) -> None:
        scsi = isinstance(answers, tuple)  # and not what a file share or cloud witness said
        real(self, now, running, tuple(map(good, answers)) if scsi else answers)

    patch.set(procedure.Procedures, "_resume", resume)


# groups and VMs


@breaks("an older VM is off before its node registers a newer generation")
def registered_before_the_old_vm_is_off(patch: Patch) -> None:
    """A superseded VM is turned off only when its node brings the same disk online again."""
    done = Groups._disk_done

    def supersede(self: Groups, now: Instant, run: Run, group: Group | None) -> None:
        if run.phase in (Phase.WAITING, Phase.ARBITRATING):
            self._procedures.cancel(f"disk:{run.group}")
        del self.runs[run.group]
        self.look_again = True

    def disk_done(self: Groups, run: Run, now: Instant, ended: tuple[DiskOutcome, tuple[PathName, ...]]) -> None:
        if ended[0] is DiskOutcome.ONLINE:
            newest = run.generation  # of a force epoch it may be a very large number
            for older in sorted({*range(1, min(20, newest)), *range(max(1, newest - 20), newest)}):
                self._out.add(StopVm(run.group, Generation(older), False, "its disk comes online again"))
        done(self, run, now, ended)

    patch.set(Groups, "_supersede", supersede)
    patch.set(Groups, "_disk_done", disk_done)


@breaks("a node runs what the database gives to this very life of its service")
def a_restarted_node_runs_what_its_last_life_owned(patch: Patch) -> None:
    """Membership is looked up by node, whatever its incarnation."""

    def is_member(self: Database, node: NodeId, incarnation: Incarnation) -> bool:
        member = self.members.get(node)
        return member is not None and member.up

    patch.set(Database, "is_member", is_member)


@breaks("a generation boots once")
def a_failed_vm_starts_again_by_itself(patch: Patch) -> None:
    """An owner starts a VM that failed again, under the same generation, and tells nobody."""

    def fail(self: Groups, now: Instant, run: Run, cause: str, reason: str) -> None:
        run.phase = Phase.WAITING
        self._out.timer(RETRY_TIMER, now + self._timing.delay)

    patch.set(Groups, "_fail", fail)


@breaks("each assignment has a generation of its own (decision 0005)")
def an_assignment_to_the_same_owner_keeps_the_generation(patch: Patch) -> None:
    """A group that is given to its last owner again keeps its generation."""
    real = Database.apply

    def apply(self: Database, command: Command) -> bool:
        before = self.groups.get(command.group) if isinstance(command, AssignGroup) else None
        changed = real(self, command)
        if changed and before is not None and before.owner == self.groups[before.name].owner:
            self.groups[before.name] = replace(self.groups[before.name], generation=before.generation)
        return changed

    patch.set(Database, "apply", apply)


@breaks("a report counts for the generation it speaks of")
def a_late_report_counts(patch: Patch) -> None:
    """The leader takes a report for the present generation, whoever sent it."""

    def report(self: Roles, sender: NodeId, incarnation: Incarnation, report: GroupReport) -> Command | None:
        group = self._database().groups.get(report.group)
        state = REPORTED.get(report.outcome)
        if group is None or state is None or group.state is state:
            return None
        return ReportGroup(group.name, group.generation, state, report.cause, report.reason)

    patch.set(Roles, "report", report)


@breaks("a life of a service that was removed does not come back")
def a_removed_life_is_taken_in_again(patch: Patch) -> None:
    """A node that was removed is taken in again under the same incarnation."""
    real = Planner._joiners

    def joiners(self: Planner, now: Instant, database: Database, down: dict[NodeId, object]) -> list[Command]:
        members = {
            m.id: m if m.up or m.id == self._me else replace(m, incarnation=Incarnation(m.incarnation - 1))
            for m in database.members.values()
        }
        return real(self, now, SimpleNamespace(members=members), down)  # type: ignore[arg-type]

    patch.set(Planner, "_joiners", joiners)


@breaks("no quorum, no VMs")
def the_loss_of_quorum_is_not_noticed(patch: Patch) -> None:
    """A node without quorum goes on."""
    real = Quorum.lost

    def lost(self: Quorum, now: Instant) -> bool:
        real(self, now)
        return False

    patch.set(Quorum, "lost", lost)


@breaks("a leader vouches for quorum only while it has it")
def a_leader_always_vouches_for_quorum(patch: Patch) -> None:
    """A leader tells its followers that quorum stands, whether it does or not."""
    patch.set(Quorum, "leader_says", lambda *_: True)


# the guest


@breaks("an UNKNOWN is never taken for GOOD")
def an_unknown_write_is_acknowledged(patch: Patch) -> None:
    """A guest acknowledges a write that had no answer."""
    _answer_writes(patch, Status.UNKNOWN)


@breaks("a write that was refused is not acknowledged")
def a_refused_write_is_acknowledged(patch: Patch) -> None:
    """A guest takes RESERVATION CONFLICT for GOOD."""
    _answer_writes(patch, Status.RESERVATION_CONFLICT)


def _answer_writes(patch: Patch, taken_for_good: Status) -> None:
    real = guest_disk.Channel.answered

    def answered(self, now, result, paths, out):  # type: ignore[no-untyped-def]
        if result.status is taken_for_good and isinstance(self._command, Write):
            result = GOOD
        return real(self, now, result, paths, out)

    patch.set(guest_disk.Channel, "answered", answered)


@breaks("a client is acknowledged after the array has answered")
def acknowledged_before_it_is_written(patch: Patch) -> None:
    """A guest acknowledges when it sends the write."""
    real = Guest._write_group

    def write_group(self: Guest, now: Instant, out: list[GuestEffect]) -> None:
        real(self, now, out)
        out.extend(Acknowledge(ticket, self._tail.sequence + n) for n, ticket in enumerate(self._flight, 1))
        self._flight.clear()

    patch.set(Guest, "_write_group", write_group)


@breaks("a journal is one chain through all lives of its VM")
def a_vm_begins_its_journal_anew(patch: Patch) -> None:
    """A guest does not look for the end of its journal."""
    patch.set(guest_boot.TailSearch, "feed", lambda self, data: guest_boot.Found(self._empty))


# the array


@breaks("reservations survive a loss of power")
def the_array_forgets_reservations(patch: Patch) -> None:
    """An array that restarts has forgotten every registration."""

    def save(self: LogicalUnit) -> effects.SaveImage:
        image = effects.LunImage(self.id, self.blocks, tuple(sorted(self.initiators)))
        return effects.SaveImage(self.id, image)

    patch.set(LogicalUnit, "save", save)


@breaks("PREEMPT removes the registrations of the key it names")
def the_array_keeps_who_is_preempted(patch: Patch) -> None:
    """PREEMPT takes the reservation, and leaves its old holder registered."""
    real = Reservations._preempt_holder

    def preempt_holder(self: Reservations, nexus: Nexus, victims: list[Nexus], type: ReservationType) -> Outcome:
        return real(self, nexus, [], type)

    patch.set(Reservations, "_preempt_holder", preempt_holder)
    patch.set(disk, "_alone", lambda *_: True)


@breaks("a write without a registration is refused")
def the_array_lets_everybody_write(patch: Patch) -> None:
    """The array does not look at the reservation when it writes."""
    real = Reservations.permits

    def permits(self: Reservations, access: Access, nexus: Nexus, key: int | None) -> bool:
        return access is Access.WRITES or real(self, access, nexus, key)

    patch.set(Reservations, "permits", permits)


@breaks("a new login of a nexus ends what is under way on the old one")
def an_older_session_lives_on(patch: Patch) -> None:
    """The array executes commands of a session although its nexus has logged in again."""
    real_login, real_logout = Array._login, Array._logout

    def login(self: Array, event: Login) -> Sequence[effects.Effect]:
        older = self._by_nexus.get(event.nexus)
        done = real_login(self, event)
        if older is not None:
            self._sessions[older.number] = older
        return tuple(effect for effect in done if not isinstance(effect, effects.EndSession))

    def logout(self: Array, event: Logout) -> Sequence[effects.Effect]:
        session = self._sessions.get(event.session)
        if session is not None and self._by_nexus.get(session.nexus) is not session:
            del self._sessions[event.session]
            return ()
        return real_logout(self, event)

    patch.set(Array, "_login", login)
    patch.set(Array, "_logout", logout)


DISKS = (
    nobody_is_preempted,
    preempt_does_not_name_the_key,
    a_newer_generation_is_not_noticed,
    an_offline_disk_is_released,
    only_the_holder_is_preempted,
    an_unknown_preempt_is_taken_for_good,
    a_unit_attention_is_ignored,
    registered_before_the_old_vm_is_off,
    a_restarted_node_runs_what_its_last_life_owned,
    a_failed_vm_starts_again_by_itself,
    an_assignment_to_the_same_owner_keeps_the_generation,
    a_late_report_counts,
    a_removed_life_is_taken_in_again,
    the_loss_of_quorum_is_not_noticed,
    a_leader_always_vouches_for_quorum,
    an_unknown_write_is_acknowledged,
    a_refused_write_is_acknowledged,
    acknowledged_before_it_is_written,
    a_vm_begins_its_journal_anew,
    the_array_forgets_reservations,
    the_array_keeps_who_is_preempted,
    the_array_lets_everybody_write,
    an_older_session_lives_on,
)
