"""The wires: two buses and the direct links between nodes, with loss, delay, doubling and cuts.

Law: decides only whether and when a message arrives. A cut is per wire and direction; what is on the way when a wire
is cut is lost, as with a pulled cable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.vocabulary import Incarnation, NodeId, StoreId
from hvcluster.node.core import events as ev
from hvcluster.node.core.messages import Heartbeat, Message

if TYPE_CHECKING:
    from .world import World

BUS_LOW_US, BUS_HIGH_US = 300, 3_000
PEER_LOW_US, PEER_HIGH_US = 200, 2_000
LINGER_US = 15_000  # how long a killed process may hold its port after its bus connections are gone
WILL_LOW_US, WILL_HIGH_US = 500, 20_000


class Network:
    """Buses and peer links of one lab."""

    def __init__(self, world: World, buses: tuple[str, ...]) -> None:
        self._world = world
        self.buses = dict.fromkeys(buses, True)
        self.bus_cut: set[tuple[str, NodeId, str]] = set()  # bus, node, "in" | "out"
        self.peer_cut: set[tuple[NodeId, NodeId]] = set()  # from, to
        self.loss = 0.0
        self.doubling = 0.0
        self.slowness = 1.0

    def _delay(self, low: int, high: int) -> int:
        return int((low + self._world.random.random() * (high - low)) * self.slowness)

    def _lost(self) -> bool:
        return self.loss > 0.0 and self._world.random.random() < self.loss

    # buses

    def publish(self, sender: NodeId, beat: Heartbeat) -> None:
        """A heartbeat on every bus that is up."""
        for bus, up in self.buses.items():
            if up and (bus, sender, "out") not in self.bus_cut:
                self._world.after(self._delay(BUS_LOW_US, BUS_HIGH_US), self._heard, bus, sender, beat)

    def _heard(self, bus: str, sender: NodeId, beat: Heartbeat) -> None:
        if not self.buses[bus] or ((bus, sender, "out") in self.bus_cut):
            return
        event = ev.HeartbeatHeard(bus, beat)
        for node, machine in self._world.machines.items():
            if node != sender and machine.alive and (bus, node, "in") not in self.bus_cut and not self._lost():
                machine.deliver(event)

    def will(self, node: NodeId, incarnation: Incarnation) -> None:
        """The connections of a dead process break: each bus publishes its last will."""
        for bus in self.buses:
            self._world.after(self._delay(WILL_LOW_US, WILL_HIGH_US), self._will_heard, bus, node, incarnation)

    def _will_heard(self, bus: str, gone: NodeId, incarnation: Incarnation) -> None:
        if not self.buses[bus] or (bus, gone, "out") in self.bus_cut:
            return
        for node, machine in self._world.machines.items():
            if node != gone and machine.alive and (bus, node, "in") not in self.bus_cut:
                machine.deliver(ev.WillHeard(bus, gone, incarnation))

    # peers

    def send(self, sender: NodeId, store: StoreId, incarnation: Incarnation, to: NodeId, message: Message) -> None:
        """A direct message; it may be lost, doubled, or overtaken."""
        if (sender, to) in self.peer_cut or self._lost():
            return
        event = ev.MessageReceived(sender, store, incarnation, message)
        self._world.after(self._delay(PEER_LOW_US, PEER_HIGH_US), self._received, sender, to, event)
        if self.doubling > 0.0 and self._world.random.random() < self.doubling:
            self._world.after(self._delay(PEER_LOW_US, PEER_HIGH_US * 50), self._received, sender, to, event)

    def _received(self, sender: NodeId, to: NodeId, event: ev.MessageReceived) -> None:
        machine = self._world.machines[to]
        if machine.alive and (sender, to) not in self.peer_cut:
            machine.deliver(event)

    def probe(self, prober: NodeId, target: NodeId) -> None:
        """A connection attempt to a peer's port."""
        delay = self._delay(PEER_LOW_US, PEER_HIGH_US)
        if (prober, target) in self.peer_cut or (target, prober) in self.peer_cut:
            self._world.after(200_000, self._probed, prober, target, ev.ProbeOutcome.UNKNOWN)
        else:
            self._world.after(delay, self._probe_arrives, prober, target)

    def _probe_arrives(self, prober: NodeId, target: NodeId) -> None:
        machine = self._world.machines[target]
        alive = machine.alive or self._world.now - machine.died_at < LINGER_US
        self._probed(prober, target, ev.ProbeOutcome.ANSWERED if alive else ev.ProbeOutcome.REFUSED)

    def _probed(self, prober: NodeId, target: NodeId, outcome: ev.ProbeOutcome) -> None:
        machine = self._world.machines[prober]
        if machine.alive:
            machine.deliver(ev.PeerProbed(target, outcome))

    # cuts

    def cut_bus(self, node: NodeId, bus: str, direction: str) -> None:
        for way in ("in", "out") if direction == "both" else (direction,):
            self.bus_cut.add((bus, node, way))

    def cut_peers(self, node: NodeId, others: tuple[NodeId, ...], direction: str) -> None:
        for other in others:
            if direction in ("both", "out"):
                self.peer_cut.add((node, other))
            if direction in ("both", "in"):
                self.peer_cut.add((other, node))

    def partition(self, side: tuple[NodeId, ...], other: tuple[NodeId, ...]) -> None:
        """Nothing passes between two sides: each side keeps the buses only for itself.

        A broker reaches both sides or neither, so the smaller truth is kept: both buses are cut for `side`, whose
        nodes then speak directly, and every direct link between the sides is cut.
        """
        for node in side:
            for bus in self.buses:
                self.cut_bus(node, bus, "both")
            self.cut_peers(node, other, "both")

    def heal(self) -> None:
        """Mend every cut."""
        self.bus_cut.clear()
        self.peer_cut.clear()

    def heal_node(self, node: NodeId) -> None:
        """Mend every cut of one node."""
        self.bus_cut = {cut for cut in self.bus_cut if cut[1] != node}
        self.peer_cut = {cut for cut in self.peer_cut if node not in cut}

    def calm(self) -> None:
        """Lose, double and delay nothing any more."""
        self.loss = self.doubling = 0.0
        self.slowness = 1.0
