"""A simulated resource monitor: what it hosts on one machine, how long its calls take, and how it dies.

Law: does what it is called for, late, and answers once. It knows nothing of dependencies or policies; whether a call
should have been made is for `judge_roles` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hvcluster.model.resources import Entry
from hvcluster.model.vocabulary import US_PER_MS, Generation
from hvcluster.node.core import effects as ef
from hvcluster.node.core import events as ev

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World

SLOWEST_US: Final = 200 * US_PER_MS
"""Of one call that is not stuck."""
REBORN_US: Final = 20 * US_PER_MS
"""From the death of a monitor to the next one."""


class Hosted:
    """One resource that was called at least once."""

    __slots__ = ("call", "dead", "generation", "online")

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.online = False
        self.dead = False
        """It is online and does not work any more."""
        self.call = 0
        """Token of the newest call that changes it: an older one takes no effect any more."""


class SimMonitor:
    """The resource monitor of one machine."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self.life = 0
        self._dead = False
        """It has died, and nobody has noticed: calls reach nobody."""
        self.stuck = False
        """No call returns, until the monitor is ended."""
        self.hosted: dict[tuple[str, str], Hosted] = {}
        self.refuses: set[str] = set()
        """Resources that do not come online here."""

    def begin(self) -> None:
        """A new life of the machine's service: nothing of the last one is left."""
        self.life += 1
        self._dead = self.stuck = False
        self.hosted = {}

    def online(self, group: str) -> dict[str, Generation]:
        """What of a group is online here, by resource."""
        found = self.hosted.items()
        return {name: each.generation for (of, name), each in found if of == group and each.online}

    def groups(self) -> set[str]:
        """Groups of which anything is online here."""
        return {group for (group, _), each in self.hosted.items() if each.online}

    # effects

    def call(self, effect: ef.CallResource) -> None:
        """CallResource."""
        if self._dead:
            return
        self._world.judge.roles.called(self._machine, effect)
        key = (effect.group, effect.resource.name)
        hosted = self.hosted.setdefault(key, Hosted(effect.generation))
        if effect.entry in (Entry.ONLINE, Entry.OFFLINE, Entry.TERMINATE):
            hosted.call = effect.token
        delay = 1 + int(self._world.random.random() * SLOWEST_US)
        self._world.after(delay, self._done, self.life, effect, hosted)

    def restart(self, _: ef.RestartMonitor) -> None:
        """RestartMonitor."""
        self.crash()

    def crash(self) -> None:
        """It is gone with all that it hosts; another one is started."""
        if self._machine.alive and not self._dead:
            self.begin()
            self._dead = True
            self._world.after(REBORN_US, self._reborn, self._machine.life)

    def _reborn(self, life: int) -> None:
        if self._machine.life == life and self._machine.frozen:
            self._world.after(REBORN_US, self._reborn, life)  # it is its node that starts another one
        elif self._machine.life == life:
            self._dead = False
            self._machine.deliver(ev.MonitorDied("its process has ended"))

    def _done(self, life: int, effect: ef.CallResource, hosted: Hosted) -> None:
        if life != self.life:
            return
        if self.stuck:
            self._world.after(SLOWEST_US, self._done, life, effect, hosted)
            return
        entry, name = effect.entry, effect.resource.name
        ok, reason = True, ""
        changes = entry in (Entry.ONLINE, Entry.OFFLINE, Entry.TERMINATE)
        if changes and hosted.call != effect.token:
            ok, reason = False, "it was overtaken"
        elif entry is Entry.ONLINE and name in self.refuses:
            ok, reason = False, "it refuses"
        elif changes:
            hosted.online, hosted.dead = entry is Entry.ONLINE, False
            hosted.generation = effect.generation
        else:
            ok = hosted.online and not hosted.dead
            reason = "" if ok else "it does not work any more"
        self._machine.deliver(ev.ResourceAnswered(effect.token, ok, reason))

    # faults

    def kill_resource(self, name: str) -> bool:
        """A resource stops working without a word, if it is online here."""
        for (_, of), hosted in self.hosted.items():
            if of == name and hosted.online:
                hosted.dead = True
                return True
        return False
