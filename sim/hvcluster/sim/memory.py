"""The migration network: memory of VMs on its way from one machine to another, at so many bytes a second.

Law: moves no bytes, only time. Each chunk needs both machines and the wire between them; a stream that stands still
for too long is given up, as a deadline does on a real one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hvcluster.model.vocabulary import US_PER_S
from hvcluster.node.core import effects as ef
from hvcluster.node.core import events as ev
from hvcluster.node.core import guest_io as gio

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World

BYTES_PER_S = 100 << 20  # a network of 1 Gbit/s
CHUNK_US = 20_000
LEAST_US = 200  # of any call on it
STALL_US = US_PER_S
MOST_SLOWNESS = 20.0  # a slow network delays every message; a stream suffers less


class MemoryStream:
    """One SendMemory under way."""

    def __init__(self, world: World, machine: Machine, effect: ef.SendMemory) -> None:
        self._world = world
        self._machine = machine
        self._life = machine.life
        self._token = effect.token
        self._to = effect.to
        self._left_us = max(LEAST_US, effect.size * US_PER_S // BYTES_PER_S)
        self._stalled_us = 0
        self._over = False
        self._next()

    def _next(self) -> None:
        part_us = min(CHUNK_US, self._left_us)
        self._world.after(int(part_us * min(self._world.network.slowness, MOST_SLOWNESS)), self._moved, part_us)

    def _moved(self, part_us: int) -> None:
        if self._over or self._machine.life != self._life:
            return
        network, sender, target = self._world.network, self._machine, self._world.machines[self._to]
        ways = ((sender.node, self._to), (self._to, sender.node))
        if not target.alive:
            self.end(False, "the connection was refused or lost")
            return
        if sender.frozen or target.frozen or any(way in network.peer_cut for way in ways):
            self._stalled_us += CHUNK_US
            if self._stalled_us >= STALL_US and not sender.frozen:
                self.end(False, "nothing was taken for a second")
                return
            self._world.after(CHUNK_US, self._moved, 0)
            return
        self._stalled_us = 0
        self._left_us -= part_us
        if self._left_us <= 0:
            self.end(True, "")
        else:
            self._next()

    def end(self, ok: bool, reason: str) -> None:
        """Answer, once."""
        if not self._over:
            self._over = True
            self._machine.streams.pop(self._token, None)
            self._machine.deliver(ev.MemorySent(self._token, ok, reason))


class Migrations:
    """How a machine performs the effects that live migration needs."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine

    def performs(self) -> dict[type, Callable[[Any], None]]:
        """What to do for each kind of effect."""
        return {
            ef.PauseVm: self._pause,
            ef.ContinueVm: self._go_on,
            ef.RedirectVm: self._redirect,
            ef.SendMemory: self._send,
            ef.CancelMemory: self._cancel,
        }

    def _to_vm(self, effect: ef.PauseVm | ef.ContinueVm, event: gio.GuestEvent) -> None:
        sim = self._machine.guests.get(effect.group)
        if sim is not None and sim.generation == effect.generation:
            sim.handle(event)

    def _pause(self, effect: ef.PauseVm) -> None:
        self._to_vm(effect, gio.Pause(effect.move))

    def _go_on(self, effect: ef.ContinueVm) -> None:
        self._world.judge.vm_continued(effect.group, effect.generation)
        self._to_vm(effect, gio.Continue())

    def _redirect(self, effect: ef.RedirectVm) -> None:
        self._world.clients.redirected(effect.group)

    def _send(self, effect: ef.SendMemory) -> None:
        self._machine.streams[effect.token] = MemoryStream(self._world, self._machine, effect)

    def _cancel(self, effect: ef.CancelMemory) -> None:
        stream = self._machine.streams.get(effect.token)
        if stream is not None:
            stream.end(False, "it was cancelled")
