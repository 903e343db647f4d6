"""A simulated VM: one guest on a machine, its timers, and its way to the paths and the clients.

Law: performs the guest's effects in order. A guest that is no longer its machine's is over: nothing reaches it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hvcluster.model.vocabulary import Generation
from hvcluster.node.core import effects as ef
from hvcluster.node.core import events as ev
from hvcluster.node.core import guest_io as gio
from hvcluster.node.core.guest import Guest
from hvcluster.node.core.guest_health import Ailment

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World


def switched_on(world: World, machine: Machine, effect: ef.StartVm) -> SimGuest:
    """The VM of a StartVm, on the paths whose logins still stand; it has not booted yet."""
    paths = tuple(path for path, login in effect.paths if machine.links[path].session == login)
    timing = machine.timing
    guest = Guest(
        effect.group, effect.lun, effect.generation, machine.node, effect.boot_delay_us, timing.guest_disk, paths,
        effect.format_blank, timing.storage_resiliency, effect.image, effect.restore_us, effect.extent,
    )  # fmt: skip
    return SimGuest(world, machine, effect.group, effect.generation, guest)


def asked_to_end(effect: ef.StopVm) -> gio.Save | gio.ShutDown:
    """What a guest is told that is stopped politely."""
    if effect.saving_us:
        return gio.Save(effect.reason, effect.saving_us)
    return gio.ShutDown(effect.reason, effect.forced)


class SimGuest:
    """One VM on a machine."""

    __slots__ = ("_machine", "_performs", "_world", "ailment", "generation", "group", "guest", "timers")

    def __init__(self, world: World, machine: Machine, group: str, generation: Generation, guest: Guest) -> None:
        self._world = world
        self._machine = machine
        self.group = group
        self.generation = generation
        self.guest = guest
        self.ailment = Ailment()
        self.timers: dict[str, int] = {}
        self._performs: dict[type, Callable[[Any], None]] = {
            ef.SubmitScsi: self._submit,
            ef.SetTimer: self._set_timer,
            ef.CancelTimer: self._cancel_timer,
            gio.Acknowledge: self._acknowledge,
            gio.Refuse: self._refuse,
            gio.Online: self._online,
            gio.Paused: self._paused,
            gio.Stopped: self._stopped,
            gio.Frozen: self._frozen,
            gio.Thawed: self._thawed,
        }

    @property
    def _over(self) -> bool:
        return self._machine.guests.get(self.group) is not self

    def deliver(self, event: gio.GuestEvent) -> None:
        """Something happened to the guest; when its machine is frozen, it has to wait."""
        if self._machine.frozen:
            self._machine.wait("guest", (self, event))
        else:
            self.handle(event)

    def handle(self, event: gio.GuestEvent) -> None:
        """Let the guest take in an event, and do what it asks for."""
        if self._over:
            return
        taken, refusals = self.ailment.filtered(event)
        for refusal in refusals:
            self._refuse(refusal)
        for effect in self.guest.handle(self._machine.clock(), taken) if taken is not None else ():
            self._performs[type(effect)](effect)
        if self._machine.batching:
            self._machine.sent()

    # effects

    def _submit(self, effect: ef.SubmitScsi) -> None:
        self._machine.links[effect.path].submit(self, effect.token, effect.lun, effect.command)

    def _acknowledge(self, effect: gio.Acknowledge) -> None:
        self._world.clients.acknowledged(self.group, effect.ticket, effect.sequence)

    def _refuse(self, effect: gio.Refuse) -> None:
        self._world.clients.refused(self.group, effect.ticket, effect.code)

    def _online(self, effect: gio.Online) -> None:
        name, resumed, restored = self._machine.name, effect.resumed, effect.restored
        self._machine.deliver(ev.VmStarted(self.group, self.generation, resumed, name, restored))

    def _paused(self, effect: gio.Paused) -> None:
        self._world.judge.vm_paused(self)
        self._machine.deliver(ev.VmPaused(self.group, self.generation, effect.move, effect.image))

    def _stopped(self, effect: gio.Stopped) -> None:
        if not self._over:
            del self._machine.guests[self.group]
        self._machine.deliver(ev.VmStopped(self.group, self.generation, effect.cause, effect.reason))

    def _frozen(self, effect: gio.Frozen) -> None:
        self._machine.deliver(ev.VmFrozen(self.group, self.generation, effect.reason))

    def _thawed(self, _: gio.Thawed) -> None:
        self._machine.deliver(ev.VmThawed(self.group, self.generation))

    # timers

    def _set_timer(self, effect: ef.SetTimer) -> None:
        self.timers[effect.name] = effect.at
        self._world.at(self._machine.in_world(effect.at), self._due, effect.name, effect.at)

    def _cancel_timer(self, effect: ef.CancelTimer) -> None:
        self.timers.pop(effect.name, None)

    def _due(self, name: str, at: int) -> None:
        if self.timers.get(name) != at or self._over:
            return
        if self._machine.clock() < at:
            self._world.at(self._machine.in_world(at), self._due, name, at)
            return
        del self.timers[name]
        self.deliver(ev.TimerFired(name))
