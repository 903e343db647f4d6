"""The owner's side of groups: what the committed database says this node runs, and the run that makes it so.

Law: one run per group and generation, started because the database says "you, generation n" and for no other reason; a
generation is never run twice. Placement and everything else about other nodes is the leader's business (`planner`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from hvcluster.model.facts import FactKind, Value
from hvcluster.model.properties import Properties, Timing, watches_applications
from hvcluster.model.scsi import Keys, Reservation
from hvcluster.model.vocabulary import (
    NOBODY,
    US_PER_MS,
    Generation,
    GroupState,
    Incarnation,
    Instant,
    NodeId,
    PathName,
)

from .database import Database, Group
from .disk import DiskOutcome, bring_online
from .events import VmChecked, VmStarted
from .incoming import Incoming
from .messages import GroupReport
from .migration import Migrations
from .offline import POWER_OFF, Ending, ending_of, saving_us
from .outbox import Outbox
from .procedure import Answers, Paths, Procedures, ask_any
from .reservation import READ_KEYS, READ_RESERVATION
from .run_paths import RunPaths
from .runs import Phase, Run
from .volumes import Volumes
from .workloads import Workloads

__all__ = ["ALIVE_TIMER", "RETRY_TIMER", "Groups", "Phase", "Run"]

ALIVE_TIMER = "alive"
RETRY_TIMER = "disk-retry"


class Groups:
    """All runs of this node, and the reports the leader has not taken in yet."""

    __slots__ = (
        "_database", "_incarnation", "_incoming", "_initiator", "_me", "_migrations", "_out", "_paths",
        "_procedures", "_ran", "_starts", "_time_scale", "_timing", "_use", "_volumes", "_watches", "fresh",
        "look_again", "reports", "runs", "work",
    )  # fmt: skip

    def __init__(
        self,
        me: NodeId,
        incarnation: Incarnation,
        initiator: str,
        database: Callable[[], Database],
        procedures: Procedures,
        paths: Paths,
        timing: Timing,
        properties: Properties,
        out: Outbox,
        migrations: Migrations,
        incoming: Incoming,
        work: Workloads,
        volumes: Volumes,
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._initiator = initiator
        self._database = database
        self._procedures = procedures
        self._paths = paths
        self._timing = timing
        self._time_scale = properties.time_scale
        self._starts = properties.concurrent_starts
        self._watches = watches_applications(properties.profile)
        self._out = out
        self._migrations = migrations
        self._incoming = incoming
        self.work = work
        work.started, work.stopped, work.changed = self.role_started, self.vm_stopped, self.role_changed
        self._volumes = volumes
        self.runs: dict[str, Run] = {}
        volumes.runs = self.runs
        volumes.changed = self._volumes_changed
        self._use = RunPaths(self.runs, procedures, paths, volumes, work)
        self.reports: dict[str, GroupReport] = {}
        self.fresh = migrations.fresh
        """Reports made since they were last sent, those of migrations included."""
        self.look_again = False
        """A run ended; the database may want another one in its place."""
        self._ran: dict[str, Generation] = {}

    # what the database says

    def reconcile(self, now: Instant) -> None:
        """Compare runs with the database; end what is no longer ours, start what newly is."""
        self.look_again = False
        database = self._database()
        member = database.is_member(self._me, self._incarnation)
        for run in tuple(self.runs.values()):
            group = database.groups.get(run.group)
            ours = member and group is not None and group.owner == self._me and group.generation == run.generation
            if group is None or not ours:
                self._supersede(now, run, group)
            elif group.definition.resources and not group.leaves:
                self.work.follow(now, group)
            elif group.migrates:
                if run.phase is Phase.RUNNING:
                    self._migrations.leave(now, group)
            elif not group.leaves:
                self._migrations.stay(run.group)
            elif not run.planned:
                self._take_offline(now, run, group.cause if group.desired else "it is to be offline")
        self._incoming.look()
        self._volumes.look(now)
        if member:
            mine = [g for g in database.groups.values() if g.owner == self._me and g.state is GroupState.PENDING]
            for group in sorted(mine, key=lambda g: -g.definition.policy.priority):
                if group.name not in self.runs:
                    self._consider(now, group)
        for name, report in tuple(self.reports.items()):
            group = database.groups.get(name)
            known = group is not None and group.state.name == report.outcome and group.revision >= report.revision
            if known or group is None or group.generation != report.generation:
                del self.reports[name]

    def _consider(self, now: Instant, group: Group) -> None:
        if self._ran.get(group.name, 0) >= group.generation:
            return
        self._ran[group.name] = group.generation
        if group.leaves:
            self._report(group.name, group.generation, "OFFLINE", "", "it was not yet online")
            return
        delay = int(group.definition.boot_delay_ms * self._time_scale * US_PER_MS)
        run = Run(group, self._me, delay)
        run.restore_us = saving_us(group.definition, self._time_scale)
        memory = self._incoming.take(group)
        if memory is not None:
            run.image, run.source = memory
        self.runs[group.name] = run
        self._begin(now, run)

    def _begin(self, now: Instant, run: Run) -> None:
        busy = sum(1 for other in self.runs.values() if other.phase in (Phase.ARBITRATING, Phase.BOOTING))
        if busy >= self._starts or not self._paths():
            run.since = None  # it is not its fault that it waits
            self._out.timer(RETRY_TIMER, now + self._timing.delay)
            return
        run.since = now if run.since is None else run.since
        if run.extent is not None and self._volumes.standing(run.lun) is None:
            self._volumes.look(now)
            self._out.timer(RETRY_TIMER, now + self._timing.delay)
            return
        run.phase = Phase.ARBITRATING
        reason = f"the database says node {self._me}, generation {run.generation}"
        self._out.fact(FactKind.DISK_ARBITRATING, reason, group=run.group, lun=run.lun, generation=run.generation)
        if run.extent is not None:
            steps = self._volumes.online(run)
        else:
            steps = bring_online(self._out, self._paths, self._initiator, run.group, run.lun, run.key)
        self._procedures.start(now, f"disk:{run.group}", steps, partial(self._disk_done, run))

    def retry(self, now: Instant) -> None:
        """Start what waits, as far as it may."""
        self._volumes.look(now)
        waiting = [run for run in self.runs.values() if run.phase is Phase.WAITING]
        for run in sorted(waiting, key=lambda run: -run.priority):
            self._begin(now, run)

    def path_up(self, now: Instant, path: PathName, login: int) -> None:
        """A path logged in: VMs may use it once their key is found there."""
        self._use.logged_in(path, login)
        self.retry(now)
        self._use.offer(now)

    def path_down(self, path: PathName) -> None:
        """A path is lost; what was found on it says nothing of its next login."""
        self._use.down(path)

    def _volumes_changed(self, now: Instant) -> None:
        """Paths of this node have its key on a volume: VMs there may use them, and others may start."""
        self._use.offer(now)
        self.retry(now)

    def _disk_done(self, run: Run, now: Instant, ended: tuple[DiskOutcome, tuple[PathName, ...]]) -> None:
        outcome, verified = ended
        about: dict[str, Value] = {"group": run.group, "lun": run.lun, "generation": run.generation}
        match outcome:
            case DiskOutcome.ONLINE:
                run.phase = Phase.BOOTING
                run.since = now
                self.work.start(now, run, self._use.verified(run, verified))
                self._use.join(now, run)
            case DiskOutcome.NO_PATH:
                run.phase = Phase.WAITING
                if run.extent is not None:
                    self._volumes.doubt(run.lun)
                self._out.timer(RETRY_TIMER, now + self._timing.delay)
            case DiskOutcome.SUPERSEDED:
                self._out.fact(FactKind.DISK_SUPERSEDED, outcome.value, **about)
                self._fail(now, run, "superseded", outcome.value)
            case DiskOutcome.MISSING:
                self._out.fact(FactKind.DISK_MISSING, outcome.value, **about)
                self._fail(now, run, "disk", outcome.value)
            case DiskOutcome.FOREIGN | DiskOutcome.CONTENDED:
                self._out.fact(FactKind.RESOURCE_FAILED, outcome.value, **about)
                self._fail(now, run, "reservation", outcome.value)

    # what the VM says

    def vm_started(self, now: Instant, event: VmStarted) -> None:
        """The VM of a run serves."""
        name, generation = event.group, event.generation
        run = self.runs.get(name)
        if run is None or run.generation != generation or run.phase is not Phase.BOOTING:
            return
        run.phase = Phase.RUNNING
        self.work.serves(run, resumed=event.resumed, restored=event.restored)
        if run.source != NOBODY:
            self._incoming.serves(run.source, name, generation, event.address)
        self._out.timer(ALIVE_TIMER, now + self._timing.looks_alive)
        serves = "its resources are as they are to be" if run.has_resources else "its VM serves"
        self._report(name, generation, "ONLINE", "", serves)
        self.retry(now)

    def role_started(self, now: Instant, name: str, generation: Generation) -> None:
        """The resources of a run have come online, as far as they do."""
        self.vm_started(now, VmStarted(name, generation))

    def role_changed(self, name: str, generation: Generation) -> None:
        """A resource of a run has changed its state."""
        online = self.work.told(name, generation)[1]
        self._report(name, generation, "ONLINE" if online else "PENDING", "", "")

    def vm_stopped(self, now: Instant, name: str, generation: Generation, cause: str, reason: str) -> None:
        """The VM of a run is off, or its resources are."""
        self._volumes.stopped(name, generation)
        run = self.runs.get(name)
        if run is None or not run.has_resources:
            self._out.fact(FactKind.VM_STOPPED, reason, group=name, generation=generation, cause=cause)
        if run is None or run.generation != generation:
            return
        self._migrations.gone(name)
        if run.planned:
            self._released(run)
        elif run.phase is Phase.STOPPING:
            del self.runs[name]
            self.look_again = True
        else:
            if cause == "fenced":
                lost = "its write met RESERVATION CONFLICT: another node owns the disk"
                self._out.fact(FactKind.DISK_LOST, lost, group=name, lun=run.lun, generation=generation)
            if cause != "resource":  # which is recorded where it failed
                self._out.fact(FactKind.RESOURCE_FAILED, reason, group=name, generation=generation)
            self._fail(now, run, "reservation" if cause == "fenced" else cause, reason)

    def vm_paused(self, name: str, generation: Generation, reason: str | None) -> None:
        """The VM of a run is frozen, its resource stays Online; or it goes on (None)."""
        run = self.runs.get(name)
        if run is not None and run.generation == generation and run.paused != bool(reason):
            run.paused = bool(reason)
            kind = FactKind.VM_PAUSED_CRITICAL if reason else FactKind.VM_RESUMED
            self._out.fact(kind, reason or "its disk answers again", group=name, generation=generation)

    # ending a run

    def _supersede(self, now: Instant, run: Run, group: Group | None) -> None:
        """The database no longer says that this run is ours: power off, leave the disk to its new owner."""
        run.planned = False
        reason = "the group is gone"
        if group is not None:
            reason = f"the owner is node {group.owner} under generation {group.generation}"
        move = self._migrations.gone(run.group)
        moved = move is not None and group is not None and group.resumes == move.move
        if move is not None and moved and run.phase is Phase.RUNNING:
            self._migrations.handed_over(now, move)
        self._stop(now, run, POWER_OFF, reason=reason, moved=moved)

    def _take_offline(self, now: Instant, run: Run, reason: str, *, moves: bool = True) -> None:
        run.planned = True
        move = self._migrations.gone(run.group)
        ending = ending_of(self._database().groups.get(run.group), self._time_scale, moves=moves)
        if move is not None and not moves and move.handed():
            ending = POWER_OFF  # it may be another node's by now: nothing more is written
        self._stop(now, run, ending, reason=reason)

    def _stop(self, now: Instant, run: Run, how: Ending, *, reason: str, moved: bool = False) -> None:
        match run.phase:
            case Phase.BOOTING | Phase.RUNNING:
                run.phase = Phase.STOPPING
                run.since = now
                self._use.leave(run)
                run.saving_us = how.saving_us
                self.work.stop(now, run, how, reason, moved)
            case Phase.STOPPING:
                if not how.polite:
                    self.work.stop(now, run, POWER_OFF, reason)
            case Phase.WAITING | Phase.ARBITRATING:
                self._procedures.cancel(f"disk:{run.group}")
                if run.planned:
                    self._released(run)
                else:
                    del self.runs[run.group]
                    self.look_again = True

    def _released(self, run: Run) -> None:
        del self.runs[run.group]
        off = "it is offline" if run.has_resources else "its VM is off"
        reason = f"{off}; the reservation stays until the next owner preempts it"
        self._out.fact(FactKind.DISK_OFFLINE, reason, group=run.group, lun=run.lun, generation=run.generation)
        self._report(run.group, run.generation, "OFFLINE", "", "taken offline as planned")
        self.look_again = True

    def _fail(self, now: Instant, run: Run, cause: str, reason: str) -> None:
        del self.runs[run.group]
        self._report(run.group, run.generation, "FAILED", cause, reason)
        self.retry(now)

    def _report(self, name: str, generation: Generation, outcome: str, cause: str, reason: str) -> None:
        revision, _, states = self.work.told(name, generation)
        report = self.reports[name] = GroupReport(name, generation, outcome, cause, reason, revision, states)
        self.fresh.append(report)

    def stop_all(self, now: Instant, reason: str) -> None:
        """The node leaves with groups that nobody takes over before: each gets its OfflineAction."""
        for run in tuple(self.runs.values()):
            if not run.planned:
                self._take_offline(now, run, reason, moves=False)

    # pending and alive

    def check_pending(self, now: Instant) -> None:
        """Give up what has been coming online, or going offline, for longer than PendingTimeout."""
        for run in tuple(self.runs.values()):
            waited = 0 if run.since is None else now - run.since
            if run.phase is Phase.RUNNING or waited < self._timing.pending + run.saving_us:
                continue
            run.since = now
            if run.phase is Phase.STOPPING:
                self.work.stop(now, run, POWER_OFF, "it did not shut down in time (PendingTimeout)")
                continue
            reason = f"it was coming online for {self._timing.pending // 1000} ms without news (PendingTimeout)"
            self._out.fact(FactKind.RESOURCE_FAILED, reason, group=run.group, generation=run.generation)
            if run.phase is Phase.BOOTING:
                self._volumes.stops(run)
                self.work.stop(now, run, POWER_OFF, reason)
            else:
                self._procedures.cancel(f"disk:{run.group}")
                self._fail(now, run, "pending", reason)

    def check_alive(self, now: Instant) -> None:
        """Read the reservation of every running disk, which must still be ours, and ask every VM how it is."""
        running = [run for run in self.runs.values() if run.phase is Phase.RUNNING]
        for run in running:
            name = f"alive:{run.group}"
            if not self._procedures.active(name):
                steps = ask_any(self._paths, run.lun, READ_RESERVATION if run.extent is None else READ_KEYS)
                self._procedures.start(now, name, steps, partial(self._alive, run))
            self.work.check(run)
        if running:
            self._out.timer(ALIVE_TIMER, now + self._timing.looks_alive)

    def vm_checked(self, event: VmChecked) -> None:
        """How a VM is that runs here. One that is ill is turned off, which its owner then reports as a failure."""
        run, group = self.runs.get(event.group), self._database().groups.get(event.group)
        if run is not None and group is not None and run.generation == event.generation and run.phase is Phase.RUNNING:
            self.work.checked(run, group, event, watches=self._watches)

    def _alive(self, run: Run, now: Instant, answers: Answers) -> None:
        payload = answers[0].payload
        if run.phase is not Phase.RUNNING or self.runs.get(run.group) is not run:
            return
        if isinstance(payload, Keys):
            self._volumes.alive(run, payload.keys)
        if isinstance(payload, Reservation) and payload.key != run.key.encode():
            why = "another key holds it" if payload.key else "nobody holds it"
            self._out.fact(FactKind.DISK_LOST, why, group=run.group, lun=run.lun, generation=run.generation)
            self.work.stop(now, run, POWER_OFF, "the reservation on its disk is gone")
