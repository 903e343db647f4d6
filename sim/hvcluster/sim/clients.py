"""The clients: they keep one address per VM, append records now and then, and remember what was acknowledged.

Law: clients know only what an announcement says; the newest generation is where they go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.vocabulary import Generation, NodeId

if TYPE_CHECKING:
    from .world import World

STALE = 0.1
"""How many requests go where the VM was served before: not everybody has heard of the newest address."""


class Clients:
    """One client per VM."""

    def __init__(self, world: World, every_us: int) -> None:
        self._world = world
        self._every_us = every_us
        self.serving: dict[str, tuple[Generation, NodeId]] = {}
        self._before: dict[str, tuple[Generation, NodeId]] = {}
        self._open: dict[int, tuple[str, bytes]] = {}
        self._held: dict[str, list[int]] = {}
        self._tickets = 0
        self.asked = 0
        self.acknowledged_count = 0

    def start(self) -> None:
        for group in (g for g in self._world.definition.groups if not g.resources):
            self._world.after(self._world.random.randrange(self._every_us), self._append, group.name)

    def announced(self, group: str, generation: Generation, node: NodeId) -> None:
        """A node serves the VM from now on; older generations are not believed any more."""
        if generation > self.serving.get(group, (0, 0))[0]:
            if group in self.serving:
                self._before[group] = self.serving[group]
            self.serving[group] = (generation, node)

    def _append(self, group: str) -> None:
        self._world.after(self._every_us, self._append, group)
        where = self.serving.get(group)
        if where is None:
            return
        self._tickets += 1
        payload = b"%d" % self._tickets
        self.asked += 1
        before = self._before.get(group)
        if before is not None and self._world.random.random() < STALE:
            where = before
        generation, node = where
        self._open[self._tickets] = (group, payload)
        if not self._world.machines[node].cables.append(group, generation, self._tickets, payload):
            del self._open[self._tickets]

    def acknowledged(self, group: str, ticket: int, sequence: int) -> None:
        """The VM says that a record is on the LUN."""
        asked = self._open.pop(ticket, None)
        if asked is not None:
            self.acknowledged_count += 1
            self._world.judge.acknowledged(group, sequence, asked[1])

    def refused(self, group: str, ticket: int, code: str) -> None:
        """The VM will not write it; where it has moved, its old host keeps the request for the new one."""
        if code == "moved" and ticket in self._open:
            self._held.setdefault(group, []).append(ticket)
        else:
            self._open.pop(ticket, None)

    def redirected(self, group: str) -> None:
        """The old host knows where the VM is served now, and passes on what it has kept."""
        where = self.serving.get(group)
        self._before.pop(group, None)  # who still comes to the old host is passed on as well
        for ticket in self._held.pop(group, []):
            asked = self._open.get(ticket)
            if asked is None or where is None:
                continue
            generation, node = where
            if not self._world.machines[node].cables.append(group, generation, ticket, asked[1]):
                del self._open[ticket]
