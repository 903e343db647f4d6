"""Whether anything was wrong when quorum was lost: in a calm lab nobody may lose it.

Law: sees everything, changes nothing. Safety alone would allow a cluster that stops its VMs whenever it likes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.facts import Fact
from hvcluster.model.vocabulary import US_PER_S

if TYPE_CHECKING:
    from .world import World

MARGIN_US = 12 * US_PER_S
"""What comes after detection and arbitration: elections, restarts, votes that follow one after another."""


class Calm:
    """Remembers when a lab was last disturbed. A node that starts or returns disturbs nobody."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._disturbed_at = 0

    def disturbed(self) -> None:
        """Something was broken or mended just now."""
        self._disturbed_at = self._world.now

    def _since(self) -> int:
        """Since when nothing has been wrong; now, if something is."""
        world, network = self._world, self._world.network
        wrong = (
            network.bus_cut
            or network.peer_cut
            or network.loss
            or network.slowness != 1.0
            or not any(network.buses.values())
            or not world.array.alive
            or world.array.slow_us
            or not world.share.well
        )
        machines = world.machines.values()
        ill = any(
            machine.frozen
            or any(link.session is None for link in machine.links.values())
            or machine.crash_in is not None
            for machine in machines
            if machine.alive
        )
        if wrong or ill:
            return world.now
        return max(self._disturbed_at, *(machine.died_at for machine in machines))

    def quorum_lost(self, fact: Fact) -> str:
        """Why nobody should have lost quorum now; empty when somebody may have."""
        world = self._world
        timing = world.machines[fact.node].timing
        bound = timing.detection + timing.regroup + timing.longest_arbitration + MARGIN_US
        since = self._since()
        configuration = world.machines[fact.node].core.state.log.configuration
        here = [m for m in world.machines.values() if m.alive and configuration.has(m.node, m.saved.store)]
        if world.now - since < bound or len(here) + configuration.witness < configuration.quorum:
            return ""
        return (
            f"node {fact.node} lost quorum although nothing has been wrong since {since / US_PER_S:.1f} s, "
            f"and {len(here)} of {len(configuration.voters)} voters are there: {fact.reason}"
        )
