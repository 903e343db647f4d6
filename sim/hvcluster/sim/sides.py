"""Looks once a second which nodes are cut off from which, and has every side judged that is alone for long.

Law: sees all wires, changes nothing. A wire in one direction is enough to belong together: only what nothing connects
are two sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.vocabulary import US_PER_S, NodeId

if TYPE_CHECKING:
    from .world import World

EVERY_US = US_PER_S


class Sides:
    """How long each side of one world has been one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._since: dict[tuple[NodeId, ...], int] = {}
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
        if not network.bus_cut and not network.peer_cut:
            self._since.clear()
            return
        sides = self._sides()
        self._since = {side: self._since.get(side, world.now) for side in sides if len(sides) > 1}
        for side, since in self._since.items():
            machines = [world.machines[node] for node in side]
            if any(not machine.alive or machine.frozen for machine in machines):
                self._since[side] = world.now
                continue
            timing = machines[0].timing
            bound = timing.detection + timing.regroup + timing.longest_arbitration + 12 * timing.delay
            if world.now - since > bound:
                world.judge.cut_off(side, since, bound)

    def _sides(self) -> list[tuple[NodeId, ...]]:
        """The nodes in groups that some wire holds together, whole or in one direction."""
        left = list(self._world.machines)
        found: list[tuple[NodeId, ...]] = []
        while left:
            side = [left.pop(0)]
            for node in side:
                near = [other for other in left if self._connected(node, other) or self._connected(other, node)]
                side += near
                left = [other for other in left if other not in near]
            found.append(tuple(sorted(side)))
        return found

    def _connected(self, sender: NodeId, hearer: NodeId) -> bool:
        network = self._world.network
        if (sender, hearer) not in network.peer_cut:
            return True
        cut = network.bus_cut
        return any(
            up and (bus, sender, "out") not in cut and (bus, hearer, "in") not in cut
            for bus, up in network.buses.items()
        )
