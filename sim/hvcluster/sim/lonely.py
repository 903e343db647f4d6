"""Looks once a second for nodes that are cut off from every other one, and has them judged.

Law: sees all wires, changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.vocabulary import US_PER_S, NodeId

if TYPE_CHECKING:
    from .world import World

EVERY_US = US_PER_S


class Lonely:
    """How long each node of one world has been alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[NodeId, int] = {}
        self._resting = False
        world.after(EVERY_US, self._look)

    def rest(self) -> None:
        """Look no more: every wire is mended."""
        self._resting = True

    def _look(self) -> None:
        if self._resting:
            return
        world, network = self._world, self._world.network
        world.after(EVERY_US, self._look)
        if not network.bus_cut and not network.peer_cut and not self._since:
            return
        for node, machine in world.machines.items():
            if not self._alone(node) or not machine.alive or machine.frozen:
                self._since.pop(node, None)
                continue
            since = self._since.setdefault(node, world.now)
            timing = machine.timing
            bound = timing.detection + timing.regroup + timing.challenge + 12 * timing.delay
            if world.now - since > bound:
                world.judge.isolated(node, since)

    def _alone(self, node: NodeId) -> bool:
        network = self._world.network
        others = [n for n in self._world.machines if n != node]
        return all((n, node) in network.peer_cut and (node, n) in network.peer_cut for n in others) and all(
            not up or ((bus, node, "in") in network.bus_cut and (bus, node, "out") in network.bus_cut)
            for bus, up in network.buses.items()
        )
