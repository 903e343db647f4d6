"""The cables of one machine to the networks of VMs: pulled, plugged in again, and what clients send over them.

Law: a cable stays out when its host dies. What a lost link means is for the cluster service to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hvcluster.model.vocabulary import Generation
from hvcluster.node.core import events as ev
from hvcluster.node.core import guest_io as gio

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World


class Cables:
    """One machine's, by the names of the networks."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._machine = machine
        self._network = {group.name: group.network for group in world.definition.groups}
        self._out: set[str] = set()

    def begin(self) -> None:
        """A cluster service begins, and learns which cables are out."""
        for network in sorted(self._out):
            self._machine.deliver(ev.LinkChanged(network, False))

    def pull(self, networks: Iterable[str]) -> None:
        """The cables to these networks are out."""
        for network in networks:
            self._out.add(network)
            self._machine.deliver(ev.LinkChanged(network, False))

    def plug_in(self) -> None:
        """Every cable is in its socket again."""
        for network in sorted(self._out):
            self._machine.deliver(ev.LinkChanged(network, True))
        self._out.clear()

    def append(self, group: str, generation: Generation, ticket: int, payload: bytes) -> bool:
        """A client's request reaches the VM; False when it does not, or nothing listens."""
        machine = self._machine
        sim = machine.guests.get(group)
        if not machine.alive or sim is None or sim.generation != generation or self._network[group] in self._out:
            return False
        sim.deliver(gio.Append(ticket, payload))
        return True
