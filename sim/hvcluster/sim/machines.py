"""A simulated machine: one node's process with its timers, VMs, paths and a disk that keeps only what was saved.

Law: performs the core's effects in order and may crash before any of them. Saved state is what `Save` effects said,
nothing else survives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hvcluster.model.facts import Fact
from hvcluster.model.properties import Timing
from hvcluster.model.scsi import Result
from hvcluster.model.vocabulary import Generation, Incarnation, Instant, NodeId, PathName, StoreId
from hvcluster.model.votes import Configuration
from hvcluster.node.core import effects as ef
from hvcluster.node.core import events as ev
from hvcluster.node.core import guest_io as gio
from hvcluster.node.core.genesis import wiped
from hvcluster.node.core.guest import Guest
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.saved import SavedState

from .storage import Link

if TYPE_CHECKING:
    from .world import World

CLOCK_APART_US = (
    1_000_003_000  # clocks count from when a machine was switched on; an instant of one means nothing elsewhere
)


def saved_after(saved: SavedState, save: ef.Save) -> SavedState:
    """What is on the disk once a Save has been performed."""
    store, incarnation = save.identity or (saved.store, saved.incarnation)
    term, voted_for = save.vote or (saved.term, saved.voted_for)
    snapshot, entries = saved.snapshot, saved.entries
    if save.snapshot is not None:
        snapshot = save.snapshot
        entries = tuple(entry for entry in entries if entry.index > snapshot.index)
    if save.reset_log:
        entries = ()
    if save.truncate_from is not None:
        entries = tuple(entry for entry in entries if entry.index < save.truncate_from)
    return SavedState(store, incarnation, term, voted_for, snapshot, entries + save.append)


class SimGuest:
    """One VM on a machine."""

    __slots__ = ("generation", "group", "guest", "life", "tickets", "timers")

    def __init__(self, group: str, generation: Generation, guest: Guest, life: int) -> None:
        self.group = group
        self.generation = generation
        self.guest = guest
        self.life = life
        self.timers: dict[str, int] = {}


class Machine:
    """One node's machine. `life` rises with every start and death, so that what belongs to an older life is ignored."""

    def __init__(self, world: World, node: NodeId, saved: SavedState) -> None:
        self._world = world
        self.node = node
        self.name = world.definition.node_name(node)
        self.saved = saved
        self.timing = Timing.of(world.definition.properties)
        self.scsi_timeout_us = self.timing.scsi
        self.alive = False
        self.frozen = False
        self.life = 0
        self.exited = False
        self.died_at = -1_000_000
        self.core: NodeCore
        self.crash_in: int | None = None
        self._freeze_in: int | None = None
        self.off_us = 0
        """How long turning a VM off takes."""
        self._timers: dict[str, int] = {}
        self._pending: dict[str, int] = {}
        self._waiting: list[tuple[str, Any]] = []
        self.guests: dict[str, SimGuest] = {}
        self.links: dict[PathName, Link] = {}
        self.replies: dict[int, ef.Reply] = {}
        self._wipes = 0
        self.batching = False
        """Commands were submitted since the last event ended; they travel together."""
        self.paused_by_operator = False
        self._rate = 1.0
        self._rate_since = (0, int(node) * CLOCK_APART_US)  # the world's clock and ours when the rate was set

    # clock

    def clock(self) -> Instant:
        """What this machine's monotonic clock says, in microseconds; no two machines' clocks agree."""
        world, ours = self._rate_since
        passed = self._world.now - world
        return Instant(ours + (passed if self._rate == 1.0 else int(passed * self._rate)))

    def drift(self, share: float) -> None:
        """Let the clock run faster by a share from now on, or slower."""
        self._rate_since = (self._world.now, self.clock())
        self._rate = 1.0 + share

    def _in_world(self, at: int) -> int:
        """When this clock will have come to `at`, not before now."""
        world, ours = self._rate_since
        passed = at - ours
        due = world + (passed if self._rate == 1.0 else int(passed / self._rate) + 1)
        return max(due, self._world.now)

    # power

    def start(self) -> None:
        """Start the process; nothing happens when it runs."""
        if self.alive:
            return
        self.alive = True
        self.frozen = False
        self.exited = False
        self.crash_in = self._freeze_in = None
        for path in self._world.definition.paths:
            old = self.links.get(path)
            link = self.links[path] = Link(self._world, self, self.node, self.name, path)
            link._life = self.life + 1
            if old is not None:
                link.cut_out, link.cut_in = old.cut_out, old.cut_in
        self._begin()

    def _begin(self) -> None:
        self.life += 1
        self._timers = {}
        self._pending = {}
        self._waiting = []
        self.guests = {}
        self.core = NodeCore(self._world.definition, self.node, self.saved)
        self._world.judge.started(self)
        self._event(ev.Started())
        for link in self.links.values():
            link._life = self.life
            if link.session is None:
                self._world.after(1000, link.connect)
            else:
                self._event(ev.PathChanged(link.path, True))

    def kill(self) -> None:
        """SIGKILL."""
        if not self.alive:
            return
        self.alive = self.frozen = False
        self.died_at = self._world.now
        self.life += 1
        self.guests = {}
        for link in self.links.values():
            link.close()
        self._world.network.will(self.node, self.core.incarnation)

    def wipe(self) -> None:
        """The disk is lost; the machine must be down. It comes back under a new identity."""
        assert not self.alive, "a running node's disk is not wiped"
        self._wipes += 1
        store = StoreId((self.node << 40) + self._world.seed * 1000 + self._wipes)
        self.saved = wiped(store, Incarnation(self._wipes * 1_000_000))

    def freeze(self, effects: int = 0) -> None:
        """SIGSTOP, at once or before that many more things are done."""
        if self.alive and effects:
            self._freeze_in = effects
        elif self.alive:
            self.frozen = True

    def thaw(self) -> None:
        """SIGCONT: everything that waited comes at once, in order."""
        self._freeze_in = None
        if not self.frozen:
            return
        self.frozen = False
        waiting, self._waiting = self._waiting, []
        life = self.life
        for at, (kind, event) in enumerate(waiting):
            if not self.alive or self.life != life:
                return
            if self.frozen:
                self._waiting = waiting[at:] + self._waiting
                return
            if kind == "rest":
                self._finish(*event)
            elif kind == "node":
                self._event(event)
            elif kind == "guest":
                self._guest_event(*event)

    # events

    def deliver(self, event: ev.Event) -> None:
        """Something happened to the node."""
        if not self.alive:
            return
        if self.frozen:
            self._waiting.append(("node", event))
            return
        self._event(event)

    def _event(self, event: ev.Event) -> None:
        core = self.core
        applied, votes = core.replica.applied, core.state.log.configuration
        self._finish(core, core.handle(self.clock(), event), applied, votes)

    def _finish(self, core: NodeCore, effects: Sequence[ef.Effect], applied: int, votes: Configuration) -> None:
        """Perform what one event asked for, and have it judged."""
        life = self.life
        done = self._perform(core, effects)
        if done < len(effects):
            self._waiting.insert(0, ("rest", (core, effects[done:], applied, votes)))
        elif core.replica.applied != applied and self.life == life:
            # Of another life: what a process thought before it died with it unsaved was never so.
            self._world.judge.after(self, core, votes)

    def _perform(self, core: NodeCore, effects: Sequence[ef.Effect]) -> int:
        """Perform effects until all are done, the process is dead, or it is frozen; returns how many need no more."""
        life = self.life
        for done, effect in enumerate(effects):
            if self.crash_in is not None or self._freeze_in is not None:
                self._count_down()
            if self.life != life:
                return len(effects)
            if self.frozen:
                return done
            self._effect(core, effect)
        if self.batching:
            self._sent()
        return len(effects)

    def _count_down(self) -> None:
        """One thing more is about to be done."""
        if self.crash_in is not None:
            self.crash_in -= 1
            if self.crash_in <= 0:
                self.kill()
        if self._freeze_in is not None:
            self._freeze_in -= 1
            if self._freeze_in <= 0:
                self._freeze_in = None
                self.frozen = self.alive

    def _sent(self) -> None:
        self.batching = False
        for link in self.links.values():
            link.sent()

    def _effect(self, core: NodeCore, effect: ef.Effect) -> None:
        world = self._world
        if isinstance(effect, ef.SetTimer):
            self._set_timer(effect.name, effect.at)
        elif isinstance(effect, ef.Publish):
            world.network.publish(self.node, effect.heartbeat)
        elif isinstance(effect, ef.Send):
            state = core.state
            world.judge.said(self, effect)
            world.network.send(self.node, state.store, core.incarnation, effect.to, effect.message)
        elif isinstance(effect, ef.Save):
            self.saved = saved_after(self.saved, effect)
            world.judge.saved(self, effect)
        elif isinstance(effect, ef.SubmitScsi):
            self.links[effect.path].submit(None, effect.token, effect.lun, effect.command)
        elif isinstance(effect, ef.Record):
            fact = effect.fact
            world.record(Fact(fact.kind, world.now, fact.node, fact.reason, fact.about))
        elif isinstance(effect, ef.CancelTimer):
            self._timers.pop(effect.name, None)
        elif isinstance(effect, ef.StartVm):
            self._start_vm(effect)
        elif isinstance(effect, ef.StopVm):
            self._stop_vm(effect)
        elif isinstance(effect, ef.Announce):
            world.clients.announced(effect.group, effect.generation, self.node)
        elif isinstance(effect, ef.ProbePeer):
            world.network.probe(self.node, effect.node)
        elif isinstance(effect, ef.Reply):
            self.replies[effect.ticket] = effect
        elif isinstance(effect, ef.RestartService):
            self._begin()
        elif isinstance(effect, ef.EndProcess):
            self.exited = True
            self.kill()
        else:
            raise AssertionError(f"no such effect: {effect}")

    # timers

    def _set_timer(self, name: str, at: int) -> None:
        self._timers[name] = at
        pending = self._pending.get(name)
        if pending is None or pending > at:
            self._pending[name] = at
            self._world.at(self._in_world(at), self._due, self.life, name, at)

    def _due(self, life: int, name: str, at: int) -> None:
        if life != self.life or self._pending.get(name) != at:
            return
        del self._pending[name]
        due = self._timers.get(name)
        if due is None:
            return
        if due > self.clock():
            self._pending[name] = due
            self._world.at(self._in_world(due), self._due, life, name, due)
            return
        del self._timers[name]
        self.deliver(ev.TimerFired(name))

    # storage

    def path_changed(self, path: PathName, up: bool) -> None:
        self.deliver(ev.PathChanged(path, up))
        for sim in tuple(self.guests.values()):
            self._to_guest(sim, ev.PathChanged(path, up))

    def scsi_answered(self, life: int, owner: object, token: int, result: Result) -> None:
        if life != self.life or not self.alive:
            return
        event = ev.ScsiAnswered(token, result)
        if isinstance(owner, SimGuest):
            self._to_guest(owner, event)
        else:
            self.deliver(event)

    # VMs

    def _start_vm(self, effect: ef.StartVm) -> None:
        self._world.judge.vm_started(self, effect)
        paths = tuple(path for path, link in self.links.items() if link.session is not None)
        guest = Guest(
            effect.group, effect.lun, effect.generation, self.node, effect.boot_delay_us, self.timing.guest_disk, paths,
            effect.format_blank,
        )  # fmt: skip
        assert effect.group not in self.guests, "an older VM of the group still runs here"
        sim = self.guests[effect.group] = SimGuest(effect.group, effect.generation, guest, self.life)
        self._guest_event(sim, gio.Boot())

    def _stop_vm(self, effect: ef.StopVm) -> None:
        sim = self.guests.get(effect.group)
        if sim is None or sim.generation != effect.generation:
            return
        if self.off_us and not effect.polite:
            delay = int(self.off_us * self._world.random.random())
            self._world.after(delay, self._to_guest, sim, gio.PowerOff(effect.reason))
            return
        self._guest_event(sim, gio.ShutDown(effect.reason) if effect.polite else gio.PowerOff(effect.reason))

    def append(self, group: str, generation: Generation, ticket: int, payload: bytes) -> bool:
        """A client's request reaches the VM; False when nothing listens."""
        sim = self.guests.get(group)
        if not self.alive or sim is None or sim.generation != generation:
            return False
        self._to_guest(sim, gio.Append(ticket, payload))
        return True

    def _to_guest(self, sim: SimGuest, event: gio.GuestEvent) -> None:
        if self.frozen:
            self._waiting.append(("guest", (sim, event)))
        else:
            self._guest_event(sim, event)

    def _guest_event(self, sim: SimGuest, event: gio.GuestEvent) -> None:
        if self.guests.get(sim.group) is not sim:
            return
        for effect in sim.guest.handle(self.clock(), event):
            if isinstance(effect, ef.SubmitScsi):
                self.links[effect.path].submit(sim, effect.token, effect.lun, effect.command)
            elif isinstance(effect, ef.SetTimer):
                self._guest_timer(sim, effect.name, effect.at)
            elif isinstance(effect, ef.CancelTimer):
                sim.timers.pop(effect.name, None)
            elif isinstance(effect, gio.Acknowledge):
                self._world.clients.acknowledged(sim.group, effect.ticket, effect.sequence)
            elif isinstance(effect, gio.Refuse):
                self._world.clients.refused(effect.ticket)
            elif isinstance(effect, gio.Online):
                self.deliver(ev.VmStarted(sim.group, sim.generation))
            elif isinstance(effect, gio.Stopped):
                if self.guests.get(sim.group) is sim:
                    del self.guests[sim.group]
                stopped = ev.VmStopped(sim.group, sim.generation, effect.cause, effect.reason)
                self.deliver(stopped)
        if self.batching:
            self._sent()

    def _guest_timer(self, sim: SimGuest, name: str, at: Instant) -> None:
        sim.timers[name] = at
        self._world.at(self._in_world(at), self._guest_due, sim, name, at)

    def _guest_due(self, sim: SimGuest, name: str, at: int) -> None:
        if sim.timers.get(name) == at and self.guests.get(sim.group) is sim:
            if self.clock() < at:
                self._world.at(self._in_world(at), self._guest_due, sim, name, at)
                return
            del sim.timers[name]
            self._to_guest(sim, ev.TimerFired(name))
