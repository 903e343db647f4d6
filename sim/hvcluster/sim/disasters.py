"""Random faults for one world: what breaks, when, and when it is mended.

Law: only draws and schedules; the world does it. Every fault is one a laboratory can make, and all are mended at the
end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from hvcluster.model.vocabulary import NOBODY, US_PER_MS, US_PER_S, NodeId
from hvcluster.model.votes import Voter
from hvcluster.node.core import events as ev

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World

MEND_LOW_S, MEND_HIGH_S = 2, 60
DIRECTIONS = ("in", "out", "both")
ALONE_EVERY_US = US_PER_S


class Disasters:
    """Draws a fault every `every_s` seconds on average and mends it after a while."""

    def __init__(self, world: World, every_s: float) -> None:
        self._world = world
        self._every_us = every_s * US_PER_S
        self._over = False
        self._tickets = 1_000_000
        self._alone: dict[NodeId, int] = {}
        self.done: dict[str, int] = {}
        self._words: tuple[tuple[str, int, Callable[[], None]], ...] = (
            ("kill", 20, self._kill),
            ("crash between effects", 10, self._crash),
            ("freeze", 12, self._freeze),
            ("cut bus", 10, self._cut_bus),
            ("cut peers", 6, self._cut_peers),
            ("partition", 12, self._partition),
            ("cut array", 10, self._cut_array),
            ("kill bus", 5, self._kill_bus),
            ("kill array", 6, self._kill_array),
            ("array crashes between effects", 4, self._crash_array),
            ("slow array", 4, self._slow_array),
            ("bad network", 6, self._bad_network),
            ("kill all", 2, self._kill_all),
            ("wipe disk", 4, self._wipe),
            ("move", 8, self._move),
            ("stop politely", 5, self._stop),
            ("pause", 2, self._pause),
        )
        self._total = sum(weight for _, weight, _ in self._words)

    def start(self) -> None:
        self._next()
        self._world.after(ALONE_EVERY_US, self._look_for_the_lonely)

    def _next(self) -> None:
        self._world.after(int(self._world.random.expovariate(1.0) * self._every_us), self._strike)

    def _strike(self) -> None:
        if self._over:
            return
        draw = self._world.random.randrange(self._total)
        for word, weight, strike in self._words:
            if draw < weight:
                self.done[word] = self.done.get(word, 0) + 1
                strike()
                break
            draw -= weight
        self._next()

    def mend_everything(self) -> None:
        """The disasters are over: heal every wire, thaw and start every machine."""
        self._over = True
        world = self._world
        world.network.heal()
        for bus in world.network.buses:
            world.network.buses[bus] = True
        world.array.slow_us = 0
        world.array.crash_in = None
        world.array.restart()
        for machine in world.machines.values():
            machine.crash_in = None
            for link in machine.links.values():
                link.cut_in = link.cut_out = False
            machine.thaw()
            machine.start()
            self._ask(machine, ev.SetNodePaused(machine.node, False))

    # drawing

    def _machine(self) -> Machine:
        machines = tuple(self._world.machines.values())
        return machines[self._world.random.randrange(len(machines))]

    def _later(self, mend: Callable[[], object]) -> None:
        seconds = self._world.random.randrange(MEND_LOW_S, MEND_HIGH_S)
        self._world.after(seconds * US_PER_S, self._mend, mend)

    def _mend(self, mend: Callable[[], object]) -> None:
        if not self._over:
            mend()

    def _direction(self) -> str:
        return DIRECTIONS[self._world.random.randrange(3)]

    # faults

    def _kill(self) -> None:
        machine = self._machine()
        machine.kill()
        self._later(machine.start)

    def _crash(self) -> None:
        machine = self._machine()
        machine.crash_in = self._world.random.randrange(1, 12)
        self._later(machine.start)

    def _freeze(self) -> None:
        machine = self._machine()
        machine.freeze()
        self._later(machine.thaw)

    def _cut_bus(self) -> None:
        machine, network = self._machine(), self._world.network
        buses = tuple(network.buses)
        for bus in buses if self._world.random.random() < 0.5 else buses[:1]:
            network.cut_bus(machine.node, bus, self._direction())
        self._later(network.heal)

    def _cut_peers(self) -> None:
        machine = self._machine()
        others = tuple(node for node in self._world.machines if node != machine.node)
        self._world.network.cut_peers(machine.node, others, self._direction())
        self._later(self._world.network.heal)

    def _partition(self) -> None:
        nodes = list(self._world.machines)
        self._world.random.shuffle(nodes)
        size = self._world.random.randrange(1, max(2, len(nodes)))
        side, other = tuple(sorted(nodes[:size])), tuple(sorted(nodes[size:]))
        self._world.network.partition(side, other)
        self._later(self._world.network.heal)

    def _cut_array(self) -> None:
        machine = self._machine()
        direction = self._direction()
        for link in machine.links.values():
            link.cut_out = direction in ("out", "both")
            link.cut_in = direction in ("in", "both")

        def mend() -> None:
            for link in machine.links.values():
                link.cut_in = link.cut_out = False

        self._later(mend)

    def _kill_bus(self) -> None:
        network = self._world.network
        both = self._world.random.random() < 0.4
        for bus in tuple(network.buses) if both else tuple(network.buses)[:1]:
            network.buses[bus] = False

        def mend() -> None:
            for bus in network.buses:
                network.buses[bus] = True

        self._later(mend)

    def _kill_array(self) -> None:
        self._world.array.kill()
        self._later(self._world.array.restart)

    def _crash_array(self) -> None:
        self._world.array.crash_in = self._world.random.randrange(1, 30)
        self._later(self._world.array.restart)

    def _slow_array(self) -> None:
        self._world.array.slow_us = self._world.random.randrange(10, 2000) * US_PER_MS

        def mend() -> None:
            self._world.array.slow_us = 0

        self._later(mend)

    def _bad_network(self) -> None:
        network, draw = self._world.network, self._world.random.random
        network.loss, network.doubling, network.slowness = draw() * 0.3, draw() * 0.3, 1 + draw() * 100
        self._later(network.heal)

    def _kill_all(self) -> None:
        for machine in self._world.machines.values():
            machine.kill()
            self._later(machine.start)

    def _wipe(self) -> None:
        """Lose one disk, while every other node is up and the votes on their disks are a quorum.

        Losing a disk in the middle of another loss can take the last copy of a vote for good; no protocol mends that,
        only an operator who forces quorum.
        """
        machine = self._machine()
        others = [m for m in self._world.machines.values() if m is not machine]
        leader = next((m for m in others if m.alive and m.core.state.leads), None)
        if leader is None or not all(m.alive and not m.frozen and m.core.replica.member for m in others):
            return
        configuration = leader.core.state.log.configuration
        if not any(voter.node == machine.node for voter in configuration.voters):
            configuration = configuration.with_voter(Voter(machine.node, machine.saved.store))
        left = sum(1 for m in others if configuration.has(m.node, m.saved.store))
        if left < configuration.quorum or leader.core.state.commit < leader.core.state.log.last_index:
            return
        machine.kill()
        machine.wipe()
        self._later(machine.start)

    def _ask(self, machine: Machine, request: ev.Request) -> None:
        self._tickets += 1
        machine.deliver(ev.Requested(self._tickets, request))

    def _move(self) -> None:
        groups = self._world.definition.groups
        if groups:
            group = groups[self._world.random.randrange(len(groups))]
            self._ask(self._machine(), ev.MoveGroup(group.name, NOBODY))

    def _stop(self) -> None:
        machine = self._machine()
        self._ask(machine, ev.StopNode(machine.node))
        self._later(machine.start)

    def _pause(self) -> None:
        machine = self._machine()
        self._ask(machine, ev.SetNodePaused(machine.node, True))
        self._later(lambda: self._ask(machine, ev.SetNodePaused(machine.node, False)))

    # omniscience

    def _look_for_the_lonely(self) -> None:
        """Note how long each node has been without any wire to any other, and have it judged."""
        world, network = self._world, self._world.network
        if not self._over:
            world.after(ALONE_EVERY_US, self._look_for_the_lonely)
        for node, machine in world.machines.items():
            others = [n for n in world.machines if n != node]
            alone = all(((n, node) in network.peer_cut and (node, n) in network.peer_cut) for n in others) and all(
                not up or ((bus, node, "in") in network.bus_cut and (bus, node, "out") in network.bus_cut)
                for bus, up in network.buses.items()
            )
            if not alone or not machine.alive or machine.frozen:
                self._alone.pop(node, None)
                continue
            since = self._alone.setdefault(node, world.now)
            timing = machine.timing
            bound = timing.detection + timing.regroup + timing.challenge + 12 * timing.delay
            if world.now - since > bound:
                world.judge.isolated(node, since)
