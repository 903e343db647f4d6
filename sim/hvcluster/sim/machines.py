"""A simulated machine: one node's process with its timers, VMs, paths and a disk that keeps only what was saved.

Law: performs the core's effects in order and may crash before any of them. Saved state is what `Save` effects said,
nothing else survives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hvcluster.model.facts import Fact
from hvcluster.model.properties import Timing
from hvcluster.model.scsi import Result
from hvcluster.model.vocabulary import Incarnation, Instant, NodeId, PathName, StoreId
from hvcluster.model.votes import Configuration
from hvcluster.node.core import effects as ef
from hvcluster.node.core import events as ev
from hvcluster.node.core import guest_io as gio
from hvcluster.node.core.forcing import Start
from hvcluster.node.core.genesis import wiped
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.saved import SavedState

from .cables import Cables
from .disks import saved_after
from .guests import SimGuest, asked_to_end, switched_on
from .memory import MemoryStream, Migrations
from .monitors import SimMonitor
from .storage import Link

if TYPE_CHECKING:
    from .world import World

CLOCK_APART_US = (
    1_000_003_000  # clocks count from when a machine was switched on; an instant of one means nothing elsewhere
)


class Machine:
    """One node's machine. `life` rises with every start and death, so that what belongs to an older life is ignored."""

    def __init__(self, world: World, node: NodeId, saved: SavedState) -> None:
        self._world = world
        self.node = node
        self.name = world.definition.node_name(node)
        self.saved = saved
        self.timing = Timing.of(world.definition.properties)
        self.scsi_timeout_us = self.timing.scsi
        self.alive = self.frozen = False
        self.life = 0
        self.exited = False
        self.forced_in: set[int] = set()  # lives that an administrator began with forced quorum
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
        self.streams: dict[int, MemoryStream] = {}
        self.monitor = SimMonitor(world, self)
        self.cables = Cables(world, self)
        self.replies: dict[int, ef.Reply] = {}
        self._wipes = 0
        self.batching = False
        """Commands were submitted since the last event ended; they travel together."""
        self._rate = 1.0
        self._rate_since = (0, int(node) * CLOCK_APART_US)  # the world's clock and ours when the rate was set
        self._performs: dict[type, Callable[[Any], None]] = {
            ef.SetTimer: self._set_timer,
            ef.CancelTimer: self._cancel_timer,
            ef.Publish: self._publish,
            ef.Send: self._send,
            ef.Save: self._save,
            ef.SubmitScsi: self._submit,
            ef.AskWitness: self._ask_witness,
            ef.Record: self._record,
            ef.StartVm: self._start_vm,
            ef.StopVm: self._stop_vm,
            **Migrations(world, self).performs(),
            ef.UsePath: self._use_path,
            ef.CheckVm: self._check_vm,
            ef.CallResource: self.monitor.call,
            ef.RestartMonitor: self.monitor.restart,
            ef.Announce: self._announce,
            ef.ProbePeer: self._probe,
            ef.Reply: self._reply,
            ef.RestartService: self._restart,
            ef.EndProcess: self._end,
        }

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

    def in_world(self, at: int) -> int:
        """When this clock will have come to `at`, not before now."""
        world, ours = self._rate_since
        passed = at - ours
        due = world + (passed if self._rate == 1.0 else int(passed / self._rate) + 1)
        return max(due, self._world.now)

    # power

    def start(self, how: Start = Start.NORMAL) -> None:
        """Start the process; nothing happens when it runs."""
        if self.alive:
            return
        self.alive = True
        self.frozen = self.exited = False
        self.crash_in = self._freeze_in = None
        for path in self._world.definition.paths:
            old = self.links.get(path)
            link = self.links[path] = Link(self._world, self, self.node, self.name, path)
            link._life = self.life + 1
            if old is not None:
                link.cut_out, link.cut_in = old.cut_out, old.cut_in
        if how is Start.FORCED:
            self.forced_in.add(self.life + 1)
        self._begin(how)

    def _begin(self, how: Start) -> None:
        self.life += 1
        self._timers = {}
        self._pending = {}
        self._waiting = []
        self.guests = {}
        self.monitor.begin()
        self.streams = {}
        self.core = NodeCore(self._world.definition, self.node, self.saved, how)
        self._world.judge.started(self)
        self._event(ev.Started())
        self.cables.begin()
        for link in self.links.values():
            link._life = self.life
            if link.session is None:
                self._world.after(1000, link.connect)
            else:
                self._event(ev.PathChanged(link.path, True, link.session))

    def kill(self) -> None:
        """SIGKILL."""
        if not self.alive:
            return
        self.alive = self.frozen = False
        self.died_at = self._world.now
        self.life += 1
        self.guests = {}
        self.monitor.begin()
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
                sim, event = event
                sim.handle(event)

    # events

    def deliver(self, event: ev.Event) -> None:
        """Something happened to the node."""
        if not self.alive:
            return
        if self.frozen:
            self.wait("node", event)
            return
        self._event(event)

    def wait(self, kind: str, event: Any) -> None:
        """Keep what happens to a frozen machine until it thaws."""
        self._waiting.append((kind, event))

    def _event(self, event: ev.Event) -> None:
        core = self.core
        applied, votes = core.replica.applied, core.state.log.configuration
        effects = core.handle(self.clock(), event)
        if effects or self.batching or core.replica.applied != applied:
            self._finish(core, effects, applied, votes)

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
            self.sent()
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

    def sent(self) -> None:
        """What follows travels in the next batch."""
        self.batching = False
        for link in self.links.values():
            link.sent()

    def _effect(self, core: NodeCore, effect: ef.Effect) -> None:
        self._performs[type(effect)](effect)

    def _publish(self, effect: ef.Publish) -> None:
        self._world.judge.published(self, effect.heartbeat.term)
        self._world.network.publish(self.node, effect.heartbeat)

    def _send(self, effect: ef.Send) -> None:
        core = self.core
        self._world.judge.said(self, effect)
        self._world.network.send(self.node, core.state.store, core.incarnation, effect.to, effect.message)

    def _save(self, effect: ef.Save) -> None:
        self.saved = saved_after(self.saved, effect)
        self._world.judge.saved(self, effect)

    def _submit(self, effect: ef.SubmitScsi) -> None:
        self.links[effect.path].submit(None, effect.token, effect.lun, effect.command)

    def _ask_witness(self, effect: ef.AskWitness) -> None:
        self._world.share.ask(self, effect.token, effect.request)

    def _record(self, effect: ef.Record) -> None:
        fact = effect.fact
        self._world.record(Fact(fact.kind, self._world.now, fact.node, fact.reason, fact.about))

    def _cancel_timer(self, effect: ef.CancelTimer) -> None:
        self._timers.pop(effect.name, None)

    def _announce(self, effect: ef.Announce) -> None:
        self._world.clients.announced(effect.group, effect.generation, self.node)

    def _probe(self, effect: ef.ProbePeer) -> None:
        self._world.network.probe(self.node, effect.node)

    def _reply(self, effect: ef.Reply) -> None:
        self.replies[effect.ticket] = effect

    def _restart(self, _: ef.RestartService) -> None:
        self._begin(self.core.next_start)

    def _end(self, _: ef.EndProcess) -> None:
        self.exited = True
        self.kill()

    # timers

    def _set_timer(self, effect: ef.SetTimer) -> None:
        name, at = effect.name, effect.at
        self._timers[name] = at
        pending = self._pending.get(name)
        if pending is None or pending > at:
            self._pending[name] = at
            self._world.at(self.in_world(at), self._due, self.life, name, at)

    def _due(self, life: int, name: str, at: int) -> None:
        if life != self.life or self._pending.get(name) != at:
            return
        del self._pending[name]
        due = self._timers.get(name)
        if due is None:
            return
        if due > self.clock():
            self._pending[name] = due
            self._world.at(self.in_world(due), self._due, life, name, due)
            return
        del self._timers[name]
        self.deliver(ev.TimerFired(name))

    # storage

    def path_changed(self, path: PathName, up: bool) -> None:
        self.deliver(ev.PathChanged(path, up, self.links[path].session or 0))
        if not up:
            for sim in tuple(self.guests.values()):
                sim.deliver(ev.PathChanged(path, False))

    def scsi_answered(self, life: int, owner: SimGuest | None, token: int, result: Result) -> None:
        if life != self.life or not self.alive:
            return
        event = ev.ScsiAnswered(token, result)
        if owner is None:
            self.deliver(event)
        else:
            owner.deliver(event)

    # VMs

    def _start_vm(self, effect: ef.StartVm) -> None:
        self._world.judge.vm_started(self, effect)
        assert effect.group not in self.guests, "an older VM of the group still runs here"
        sim = self.guests[effect.group] = switched_on(self._world, self, effect)
        sim.handle(gio.Boot())

    def _use_path(self, effect: ef.UsePath) -> None:
        sim = self.guests.get(effect.group)
        if sim is not None and sim.generation == effect.generation and self.links[effect.path].session == effect.login:
            sim.deliver(ev.PathChanged(effect.path, True))

    def _stop_vm(self, effect: ef.StopVm) -> None:
        sim = self.guests.get(effect.group)
        if sim is None or sim.generation != effect.generation:
            return
        off = gio.PowerOff(effect.reason, "moved" if effect.moved else "terminated")
        if self.off_us and not effect.polite:
            delay = int(self.off_us * self._world.random.random())
            self._world.after(delay, sim.deliver, off)
            return
        sim.handle(asked_to_end(effect) if effect.polite else off)

    def _check_vm(self, effect: ef.CheckVm) -> None:
        sim = self.guests.get(effect.group)
        if sim is not None and sim.generation == effect.generation:
            self.deliver(ev.VmChecked(effect.group, effect.generation, sim.ailment.health, sim.ailment.failed))

    def fall_ill(self, group: str, service: str = "") -> None:
        """A VM hangs, or a service in it fails, if it runs here."""
        sim = self.guests.get(group)
        if self.alive and sim is not None:
            sim.ailment.fail(service) if service else sim.ailment.hang()

    def crash_vm(self, group: str) -> None:
        """The worker process of a VM dies, if it runs here."""
        sim = self.guests.get(group)
        if self.alive and sim is not None:
            sim.deliver(gio.PowerOff("its worker process died", "crashed"))
