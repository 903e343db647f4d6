"""What a group consists of besides its disk: a VM, which the host runs, or resources, which the resource monitor hosts.

Law: turns "start it" and "stop it" of `groups` into effects for the one or calls for the other; decides nothing about
groups. Every call to the monitor has one token, and an answer to a call that nobody waits for any more is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Generation, Instant, PathName, ResourceState, VmHealth

from .database import Group
from .effects import Announce, CallResource, CheckVm, RestartMonitor, StartVm, StopVm, UsePath
from .events import ResourceAnswered, VmChecked
from .offline import POWER_OFF, Ending
from .outbox import Outbox
from .rcm import Held, ResourceControl
from .runs import Run

TIMER = "resources"

States: TypeAlias = tuple[tuple[str, ResourceState], ...]
Started: TypeAlias = Callable[[Instant, str, Generation], None]
Stopped: TypeAlias = Callable[[Instant, str, Generation, str, str], None]


class Workloads:
    """All VMs and resources of this node's runs."""

    __slots__ = ("_asked", "_calls", "_controls", "_out", "_timing", "_token", "_told", "changed", "started", "stopped")

    def __init__(self, timing: Timing, out: Outbox) -> None:
        self._timing = timing
        self._out = out
        self._controls: dict[str, tuple[Generation, ResourceControl]] = {}
        self._told: dict[str, int] = {}
        self._asked: dict[str, str] = {}  # why a role is being stopped
        self._calls: dict[int, tuple[str, Generation, str]] = {}
        self._token = 0
        self.started: Started = lambda _now, _group, _generation: None
        self.stopped: Stopped = lambda _now, _group, _generation, _cause, _reason: None
        self.changed: Callable[[str, Generation], None] = lambda _group, _generation: None

    # for groups

    def start(self, now: Instant, run: Run, paths: tuple[tuple[PathName, int], ...]) -> None:
        """Its disk is reserved: boot the VM, or bring the resources online."""
        if not run.has_resources:
            how = f"goes on from its memory of node {run.source}" if run.image else "starts from its VHD"
            reason = f"its disk is reserved for this node alone; it {how}"
            self._out.fact(FactKind.VM_STARTING, reason, group=run.group, generation=run.generation)
            delay, blank = run.boot_delay_us, run.format_blank
            self._out.add(
                StartVm(run.group, run.generation, run.lun, delay, blank, paths, run.image, run.restore_us, run.extent)
            )
            return
        run.since = None  # each resource has a PendingTimeout of its own
        control = ResourceControl(run.assigned, self._timing, self._out, self._ask)
        self._controls[run.group] = run.generation, control
        control.advance(now)
        self._settle(now, run.group)

    def stop(self, now: Instant, run: Run, how: Ending, reason: str, moved: bool = False) -> None:
        """End the VM in that way; take the resources offline, or end them where it is not polite."""
        if not run.has_resources:
            stop = StopVm(run.group, run.generation, how.polite, reason, moved, how.saving_us, how.forced)
            self._out.add(stop)
        elif run.group in self._controls:
            run.since = None
            self._asked.setdefault(run.group, reason)
            self._controls[run.group][1].stop(now, polite=how.polite)
            self._settle(now, run.group)

    def check(self, run: Run) -> None:
        """Ask a VM how it is; resources are polled by intervals of their own."""
        if not run.has_resources:
            self._out.add(CheckVm(run.group, run.generation))

    def checked(self, run: Run, group: Group, said: VmChecked, *, watches: bool) -> None:
        """How a VM is. One that is ill is turned off; `watches`: also for the services in it that are monitored."""
        policy = group.definition.policy
        failed = sorted(set(said.failed) & set(policy.monitored_services))
        if said.health is VmHealth.SILENT and policy.check_heartbeat:
            self.stop(self._out.now, run, POWER_OFF, said.health.value)
        elif said.health is VmHealth.CRITICAL and watches and failed:
            reason = f"{said.health.value}: {failed[0]}"
            self._out.fact(FactKind.APPLICATION_CRITICAL, reason, group=run.group, generation=run.generation)
            self.stop(self._out.now, run, POWER_OFF, reason)

    def use_path(self, run: Run, path: PathName, login: int) -> None:
        """A VM may use one more path."""
        if not run.has_resources:
            self._out.add(UsePath(run.group, run.generation, path, login))

    def serves(self, run: Run, *, resumed: bool, restored: bool) -> None:
        """Tell onlookers where a VM serves."""
        if not run.has_resources:
            how = "goes on from its memory" if resumed else "has booted from its VHD"
            how = "goes on from its saved state" if restored else how
            self._out.fact(FactKind.VM_ONLINE, f"it {how} and serves", group=run.group, generation=run.generation)
            self._out.add(Announce(run.group, run.generation))

    def follow(self, now: Instant, group: Group) -> None:
        """What the database says of single resources."""
        found = self._controls.get(group.name)
        if found is not None and found[0] == group.generation:
            found[1].follow(now, group.resources)
            self._settle(now, group.name)

    def told(self, name: str, generation: Generation) -> tuple[int, bool, States]:
        """For a report: the revision, whether the role was online, and the states of its resources."""
        found = self._controls.get(name)
        if found is None or found[0] != generation:
            return 0, False, ()
        control = found[1]
        return control.revision, control.online, control.states()

    # for the node

    def answered(self, now: Instant, event: ResourceAnswered) -> None:
        """The monitor answers a call."""
        name, generation, resource = self._calls.pop(event.token, ("", Generation(0), ""))
        found = self._controls.get(name)
        if found is not None and found[0] == generation:
            found[1].answered(now, resource, event.token, event.ok, event.reason)
            self._settle(now, name)

    def monitor_died(self, now: Instant, reason: str) -> None:
        """The resource monitor is gone; a new one has been started, and hosts nothing yet."""
        self._calls.clear()
        self._out.fact(FactKind.MONITOR_RESTARTED, reason)
        for name, (_, control) in tuple(self._controls.items()):
            control.died(now, "its resource monitor has ended")
            self._settle(now, name)

    def end_monitor(self, reason: str) -> None:
        """End the resource monitor with all it hosts, whether its calls return or not."""
        self._out.add(RestartMonitor(reason))

    def timer(self, now: Instant) -> None:
        """Polls, restarts and deadlines."""
        stuck = False
        for name, (_, control) in tuple(self._controls.items()):
            stuck = control.look(now) or stuck
            self._settle(now, name)
        if stuck:
            self._out.add(RestartMonitor("a call to a resource has not returned within DeadlockTimeout"))
        self._arm()

    # inside

    def _ask(self, control: ResourceControl, held: Held) -> int:
        self._token += 1
        generation = self._controls[control.group][0]
        self._calls[self._token] = control.group, generation, held.name
        assert held.call is not None, "set by the asker"
        self._out.add(CallResource(self._token, held.call, control.group, generation, held.definition))
        return self._token

    def _settle(self, now: Instant, name: str) -> None:
        """After each event of a role: what groups and the leader are told."""
        generation, control = self._controls[name]
        if self._told.get(name) != control.revision:
            self._told[name] = control.revision
            self.changed(name, generation)
        if control.over:
            self._told.pop(name, None)
            asked = self._asked.pop(name, "")
            cause, reason = ("resource", control.reason) if control.reason else ("terminated", asked)
            self.stopped(now, name, generation, cause, reason)
            del self._controls[name]
            self._calls = {token: call for token, call in self._calls.items() if call[:2] != (name, generation)}
        elif control.going and control.settled and not control.online:
            control.online = True
            self.started(now, name, generation)
        self._arm()

    def _arm(self) -> None:
        moments = [control.due(self._out.now) for _, control in self._controls.values()]
        due = min((at for at in moments if at is not None), default=None)
        if due is not None:
            self._out.timer(TIMER, due)
