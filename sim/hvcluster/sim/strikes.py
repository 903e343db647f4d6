"""Performs faults in a world, and remembers which: the one place where a word of the language becomes a deed.

Law: does what a Fault says, at once, or says why it cannot. When and why is for schedules and scenarios to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hvcluster.model.epochs import epoch_of
from hvcluster.model.faults import A_FOLLOWER, HOLDER, LEADER, OWNER_OF, Direction, Fault, FaultWord
from hvcluster.model.policy import JOURNAL_SERVICE
from hvcluster.model.vocabulary import US_PER_MS, US_PER_S, NodeId
from hvcluster.model.votes import Voter
from hvcluster.node.core import events as ev
from hvcluster.node.core.forcing import Start, refusal
from hvcluster.node.core.witness import Hold

from .wishes import wish_of

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World


class Nobody(Exception):
    """There is nothing now that the fault could strike."""


class Strikes:
    """One hand that strikes in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tickets = 0
        self.other_side: tuple[str, ...] = ()
        """Names of the nodes that the last partition did not name."""

    # who

    def leader(self) -> Machine | None:
        """The leader with the newest term among the processes that run."""
        leaders = [m for m in self._world.machines.values() if m.alive and not m.frozen and m.core.state.leads]
        return max(leaders, key=lambda m: m.core.state.term, default=None)

    def machine(self, target: str) -> Machine:
        """A node by its name, or by what it does. Raises Nobody."""
        machines = {machine.name: machine for machine in self._world.machines.values()}
        leader = self.leader()
        found: Machine | None = None
        if target.startswith(OWNER_OF):
            database = leader.core.replica.database if leader is not None else None
            group = database.groups.get(target.removeprefix(OWNER_OF)) if database is not None else None
            found = self._world.machines.get(group.owner) if group is not None else None
        elif target == LEADER:
            found = leader
        elif target == A_FOLLOWER:
            found = next((m for m in machines.values() if m.alive and m is not leader), None)
        elif target == HOLDER:
            held = (m for m in machines.values() if m.alive and m.core.witness and m.core.witness.hold is Hold.HELD)
            found = next(held, None)
        else:
            found = machines.get(target)
        if found is None:
            raise Nobody(f"there is no {target!r} now")
        return found

    # what

    def strike(self, fault: Fault) -> None:
        """Make one fault. Raises Nobody."""
        world, word = self._world, fault.word
        if word not in _HARMLESS:
            world.calm.disturbed()
        if word in _ON_A_MACHINE:
            self._on_machine(self.machine(fault.target), fault)
            return
        wish = wish_of(fault)
        if wish is not None:
            self.ask(self._asked(fault), wish)
            return
        match word:
            case FaultWord.HANG_VM | FaultWord.CRASH_APP:
                for machine in world.machines.values():
                    machine.fall_ill(fault.target, JOURNAL_SERVICE if word is FaultWord.CRASH_APP else "")
            case FaultWord.CRASH_VM:
                for machine in world.machines.values():
                    machine.crash_vm(fault.target)
            case FaultWord.CRASH_RESOURCE:
                for machine in world.machines.values():
                    machine.monitor.kill_resource(fault.target)
            case FaultWord.PARTITION:
                self._partition(fault.side)
            case FaultWord.HEAL:
                self._heal(fault.target)
            case FaultWord.LOSS:
                world.network.loss = fault.amount
            case FaultWord.DOUBLING:
                world.network.doubling = fault.amount
            case FaultWord.SLOWNESS:
                world.network.slowness = fault.amount
            case FaultWord.BUS_KILL | FaultWord.BUS_START:
                world.network.buses[fault.target] = word is FaultWord.BUS_START
            case FaultWord.SAN_KILL:
                world.array.kill()
            case FaultWord.SAN_CRASH:
                world.array.crash_in = int(fault.amount)
            case FaultWord.SAN_POWER_LOSS:
                world.array.lose_power()
            case FaultWord.SAN_SLOW:
                world.array.slow_us = int(fault.amount * US_PER_MS)
            case FaultWord.SAN_START:
                world.array.crash_in = None
                world.array.restart()
            case FaultWord.WITNESS_KILL:
                world.share.kill()
            case FaultWord.WITNESS_START:
                world.share.start()
            case FaultWord.WITNESS_SLOW:
                world.share.slow_us = int(fault.amount * US_PER_MS)
            case FaultWord.KILL_ALL:
                for machine in world.machines.values():
                    machine.kill()
            case FaultWord.START_ALL:
                for machine in world.machines.values():
                    machine.start()
            case FaultWord.MEND:
                self._mend()
            case FaultWord.ORCHESTRATOR_KILL:
                pass  # the simulator has no orchestrator that could take part in anything
            case _:
                raise AssertionError(f"{word} strikes a machine")

    def _on_machine(self, machine: Machine, fault: Fault) -> None:
        network, way = self._world.network, fault.direction.name.lower()
        wish = wish_of(fault, machine.node)
        if wish is not None:
            self.ask(self._asked(fault), wish)
            return
        match fault.word:
            case FaultWord.KILL:
                machine.kill()
            case word if word in _HOW:
                self._start(machine, _HOW[fault.word])
            case FaultWord.FREEZE:
                machine.freeze(int(fault.amount))
            case FaultWord.THAW:
                machine.thaw()
            case FaultWord.CRASH:
                if machine.alive:
                    machine.crash_in = int(fault.amount)
            case FaultWord.WIPE:
                if machine.alive:
                    raise Nobody(f"{machine.name} runs; a running node's disk is not wiped")
                machine.wipe()
            case FaultWord.STOP:
                self.ask(machine if not fault.via else self.machine(fault.via), ev.StopNode(machine.node))
            case FaultWord.SHUTDOWN:
                self.ask(machine, ev.StopNode(machine.node, shutdown=True))
            case FaultWord.DRIFT:
                machine.drift(fault.amount)
            case FaultWord.CUT_BUSES:
                for bus in network.buses if not fault.wire else (fault.wire,):
                    network.cut_bus(machine.node, bus, way)
            case FaultWord.CUT_PEERS:
                others = [self.machine(name).node for name in fault.side] or list(self._world.machines)
                network.cut_peers(machine.node, tuple(node for node in others if node != machine.node), way)
            case FaultWord.HOLD_PATH:
                for path, link in machine.links.items():
                    if fault.wire in ("", path):
                        link.hold(int(fault.amount * US_PER_S), logins=fault.direction is Direction.BOTH)
            case FaultWord.CRASH_MONITOR:
                machine.monitor.crash()
            case FaultWord.HANG_MONITOR:
                machine.monitor.stuck = machine.alive
            case FaultWord.SLOW_OFF:
                machine.off_us = int(fault.amount * US_PER_S)
            case FaultWord.CUT_WITNESS:
                if fault.direction is not Direction.IN:
                    self._world.share.cut_out.add(machine.node)
                if fault.direction is not Direction.OUT:
                    self._world.share.cut_in.add(machine.node)
            case FaultWord.CUT_NETWORK:
                machine.cables.pull((fault.wire,) if fault.wire else self._world.definition.networks)
            case FaultWord.CUT_ARRAY:
                for path, link in machine.links.items():
                    if fault.wire in ("", path):
                        link.cut_out = link.cut_out or fault.direction is not Direction.IN
                        link.cut_in = link.cut_in or fault.direction is not Direction.OUT
            case _:
                raise AssertionError(f"{fault.word} strikes no machine")

    def _start(self, machine: Machine, how: Start) -> None:
        if machine.alive:
            machine.crash_in = None
            self._start_when_down(machine)
            return  # it runs
        why = refusal(machine.node, machine.saved) if how is Start.FORCED else None
        if why is not None:
            raise Nobody(f"{machine.name} cannot be forced: {why}")
        machine.crash_in = None
        machine.start(how)

    def _start_when_down(self, machine: Machine) -> None:
        """A host that shuts down is switched on again once it is off."""
        if machine.alive and machine.core.leaving.host:
            self._world.after(US_PER_S, self._start_when_down, machine)
        elif machine.exited:
            machine.start()

    def ask(self, machine: Machine, request: ev.Request) -> None:
        """An operator asks a node for something."""
        self._tickets += 1
        machine.deliver(ev.Requested(self._tickets, request))

    def _asked(self, fault: Fault) -> Machine:
        return self.machine(fault.via or LEADER)

    def _partition(self, side: tuple[str, ...]) -> None:
        chosen: list[Machine] = []
        for target in side:
            machine = self.machine(target)
            if machine in chosen:
                machine = next(m for m in self._world.machines.values() if m not in chosen)
            chosen.append(machine)
        inside = tuple(m.node for m in chosen)
        outside = tuple(node for node in self._world.machines if node not in inside)
        self._world.network.partition(inside, outside)
        self.other_side = tuple(self._world.definition.node_name(node) for node in outside)

    def _heal(self, target: str) -> None:
        if target:
            machines = [self.machine(target)]
            self._world.network.heal_node(machines[0].node)
        else:
            machines = list(self._world.machines.values())
            self._world.network.heal()
        for machine in machines:
            self._world.share.heal(machine.node)
            machine.cables.plug_in()
            for link in machine.links.values():
                link.cut_in = link.cut_out = False

    def _mend(self) -> None:
        world = self._world
        self._heal("")
        world.network.calm()
        for bus in world.network.buses:
            world.network.buses[bus] = True
        world.array.slow_us = 0
        world.array.crash_in = None
        world.array.restart()
        world.share.slow_us = 0
        world.share.start()
        for machine in world.machines.values():
            machine.crash_in = None
            machine.off_us = 0
            machine.thaw()
            self._start(machine, Start.NORMAL)
        self._let_all_in()
        world.after(30 * US_PER_S, self._join_all)

    def _join_all(self) -> None:
        """An administrator starts whoever is left on a side that was not forced, until there is one side.

        Only the first versions of the product need that; in later ones a side yields by itself. Who was started with
        prevented quorum, and then found no cluster to join, is started again without.
        """
        world = self._world
        machines = world.machines.values()
        epoch = max(epoch_of(machine.saved.term) for machine in machines)
        again: dict[NodeId, Start] = {}
        for machine in machines:
            if machine.core.start is Start.PREVENTED and not machine.core.joined:
                again[machine.node] = Start.NORMAL
            elif epoch_of(machine.saved.term) < epoch and not world.definition.properties.force_quorum_resiliency:
                again[machine.node] = Start.PREVENTED
        for node, how in again.items():
            world.calm.disturbed()
            world.machines[node].kill()
            world.machines[node].start(how)
        if again:
            world.after(60 * US_PER_S, self._join_all)

    def _let_all_in(self) -> None:
        """An operator asks until nobody is paused, evicted or quarantined; who asks a node too early is refused."""
        leader = self.leader()
        if leader is not None and leader.core.state.log.term_at(leader.core.state.commit) != leader.core.state.term:
            leader = None  # it has just been elected: its database is not up to date before it has committed an entry
        members = leader.core.replica.database.members.values() if leader is not None else ()
        wishes: list[ev.Request] = [ev.SetNodePaused(m.id, False) for m in members if m.paused]
        wishes += [ev.AddNode(m.id) for m in members if m.outside]
        wishes += [ev.ClearQuarantine(m.id) for m in members if m.quarantined]
        for wish in wishes:
            if leader is not None:
                self.ask(leader, wish)
        if leader is None or wishes:
            self._world.after(US_PER_S, self._let_all_in)

    def wipe_is_survivable(self, node: NodeId) -> bool:
        """Whether a node's disk can be lost now and the rest still be a quorum that goes on by itself.

        Losing a disk in the middle of another loss can take the last copy of a vote for good; no protocol mends that,
        only an operator who forces quorum.
        """
        machines, leader = self._world.machines, self.leader()
        if leader is None or not leader.core.quorum.lease_stands(leader.clock()):
            return False
        others = [m for m in machines.values() if m.node != node]
        state = leader.core.state
        configuration = state.log.configuration
        if not any(voter.node == node for voter in configuration.voters):
            configuration = configuration.with_voter(Voter(node, machines[node].saved.store))
        left = sum(1 for m in others if configuration.has(m.node, m.saved.store))
        return left >= configuration.quorum and state.commit == state.log.last_index


_HOW: Final = {
    FaultWord.START: Start.NORMAL,
    FaultWord.START_FORCED: Start.FORCED,
    FaultWord.START_PREVENTED: Start.PREVENTED,
    FaultWord.START_IGNORING: Start.IGNORING,
}
_HARMLESS = frozenset(
    {
        FaultWord.START, FaultWord.START_IGNORING, FaultWord.START_ALL, FaultWord.MOVE, FaultWord.OFFLINE,
        FaultWord.ONLINE, FaultWord.CRASH_VM,
        FaultWord.HANG_VM, FaultWord.CRASH_APP, FaultWord.FAIL_RESOURCE, FaultWord.CRASH_RESOURCE,
        FaultWord.OFFLINE_RESOURCE, FaultWord.ONLINE_RESOURCE, FaultWord.CRASH_MONITOR, FaultWord.HANG_MONITOR,
        FaultWord.PAUSE, FaultWord.DRAIN, FaultWord.RESUME, FaultWord.CANCEL_MOVE,
        FaultWord.WEIGH, FaultWord.USE_WITNESS, FaultWord.EVICT, FaultWord.ADD_NODE,
        FaultWord.SET_PROPERTY,
    }
)  # fmt: skip
"""What an administrator does every day: nobody may lose quorum over it."""
_ON_A_MACHINE = frozenset(
    {
        FaultWord.KILL, FaultWord.START, FaultWord.START_FORCED, FaultWord.START_PREVENTED,
        FaultWord.START_IGNORING, FaultWord.FREEZE,
        FaultWord.THAW, FaultWord.CRASH, FaultWord.WIPE,
        FaultWord.STOP, FaultWord.SHUTDOWN, FaultWord.PAUSE, FaultWord.DRAIN, FaultWord.RESUME,
        FaultWord.WEIGH, FaultWord.EVICT, FaultWord.ADD_NODE, FaultWord.DRIFT,
        FaultWord.CUT_BUSES, FaultWord.CUT_PEERS, FaultWord.CUT_ARRAY, FaultWord.CUT_WITNESS,
        FaultWord.CUT_NETWORK, FaultWord.HOLD_PATH, FaultWord.SLOW_OFF, FaultWord.CRASH_MONITOR, FaultWord.HANG_MONITOR,
    }
)  # fmt: skip
