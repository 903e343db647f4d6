"""What an incident costs: the real cores in the simulator, hit at random phases, and how long their VMs were away.

Law: each situation is played out, never estimated; a seed gives one sample or more, in seconds. What the arithmetic of
votes says about a situation (`study_quorum`) must be what the cores do, or `Disagreement` is raised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Final

from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import NOBODY, US_PER_S, NodeId

from .machines import Machine
from .study_file import Topology
from .study_quorum import Membership
from .world import World

LOOK_EVERY_US: Final = US_PER_S
SETTLED_S: Final = 60  # after the last change of owner: votes, witness and databases have come to rest
MANY_BLOCKS: Final = 65_536
STALL_EVERY_US: Final = 100_000


class Kind(Enum):
    """What is measured, as the table says it."""

    FAILOVER = "owner's host dies"
    STOP = "quorum lost: survivors' VMs stop after"
    BACK = "cluster forms, last owner is back"
    AWAY = "cluster forms, last owner is away"
    STALL = "array back within the guest's timeout"
    ACCESS = "array back later"
    PATH = "owner loses its last path"
    VOTES = "a host dies: votes settled after"
    RETURN = "a host returns: VMs away for"


@dataclass(frozen=True, slots=True)
class Situation:
    """One kind of incident in one state of the cluster. `up`: hosts up before it, 0 where that makes no difference."""

    kind: Kind
    up: int = 0
    leader: bool = False
    buses: bool = True

    def __str__(self) -> str:
        if self.kind is Kind.RETURN:
            return f"{self.kind.value}, {self.up} up"
        if self.kind is not Kind.FAILOVER:
            return str(self.kind.value)
        role = "which led, " if self.leader else ""
        buses = "" if self.buses else ", every bus down"
        return f"{self.kind.value}, {role}{self.up} up{buses}"

    @property
    def key(self) -> tuple[str, int, bool, bool]:
        """An order."""
        return (self.kind.name, -self.up, self.leader, not self.buses)


Samples = Mapping[Situation, tuple[float, ...]]


class Disagreement(Exception):
    """The cores did not do what the arithmetic of votes says they would."""


def _after_losses(topology: Topology, up: int) -> Membership | None:
    """The votes once all but `up` hosts have failed, one after the other, never the leader; None if quorum was lost."""
    votes = Membership(topology.hosts, topology.witness, topology.properties)
    for node in sorted(votes.up - {votes.leader}, reverse=True)[: topology.hosts - up]:
        votes.fail(node)
        votes.notice(node)
    return votes if votes.leader != NOBODY else None


def _survives(topology: Topology, up: int, leader: bool) -> bool:
    """Whether quorum outlives the death of one more host."""
    votes = _after_losses(topology, up)
    if votes is None:
        return False
    votes.fail(votes.leader if leader else max(votes.up - {votes.leader}))
    return votes.leader != NOBODY


def _without(topology: Topology) -> bool:
    """Whether the cluster, all of it dead, can form again without one of its hosts."""
    votes = Membership(topology.hosts, topology.witness, topology.properties)
    for node in sorted(votes.up):
        votes.up.discard(node)
        if votes.up and votes.enough:
            return True
        votes.up.add(node)
    return False


def situations(topology: Topology) -> tuple[Situation, ...]:
    """Everything that has to be measured for a topology: what the votes allow to happen."""
    found = [Situation(Kind.BACK), Situation(Kind.STALL), Situation(Kind.ACCESS)]
    for up in range(topology.hosts, 1, -1):
        for leader in (False, True):
            if _survives(topology, up, leader):
                found.append(Situation(Kind.FAILOVER, up, leader))
                if up == topology.hosts:
                    found.append(Situation(Kind.FAILOVER, up, leader, buses=False))
    returns = (up for up in range(1, topology.hosts) if _after_losses(topology, up) is not None)
    found.extend(Situation(Kind.RETURN, up) for up in returns)
    if topology.hosts > 1:
        found.append(Situation(Kind.PATH))
        votes = Membership(topology.hosts, topology.witness, topology.properties)
        votes.up = {max(votes.up - {votes.leader})}
        if not votes.enough:
            found.append(Situation(Kind.STOP))
        if any(s.kind is Kind.FAILOVER for s in found):
            found.append(Situation(Kind.VOTES))
    if _without(topology):
        found.append(Situation(Kind.AWAY))
    return tuple(sorted(found, key=lambda situation: situation.key))


def measure(topology: Topology, situation: Situation, seed: int) -> tuple[float, ...]:
    """Play the situation out once; one sample for each VM that it hit."""
    return _Play(topology, situation, seed).run()


class _Play:
    def __init__(self, topology: Topology, situation: Situation, seed: int) -> None:
        stall = situation.kind is Kind.STALL
        vms = 1 if stall else max(topology.vms, topology.hosts)
        definition = topology.definition(vms)
        every = STALL_EVERY_US if stall else 5 * US_PER_S
        self._topology = topology
        self._situation = situation
        self._random = Random(f"measure/{seed}")
        self._timing = Timing.of(definition.properties)
        self._seed = seed
        self.world = World(definition, seed, buses=topology.bus_names, append_every_us=every)
        self.world.lun_blocks = MANY_BLOCKS

    def run(self) -> tuple[float, ...]:
        self.world.start()
        self._wait(lambda: not self.world.judge.problems(), "is not healthy at the start")
        self._pause(SETTLED_S)
        play: dict[Kind, Callable[[], Sequence[float]]] = {
            Kind.FAILOVER: self._failover,
            Kind.STOP: self._stop,
            Kind.BACK: lambda: self._form(NOBODY),
            Kind.AWAY: lambda: self._form(self._spare()),
            Kind.STALL: self._stall,
            Kind.ACCESS: self._access,
            Kind.PATH: self._path,
            Kind.VOTES: self._votes,
            Kind.RETURN: self._return,
        }
        return tuple(play[self._situation.kind]())

    # time

    def _pause(self, seconds: float) -> None:
        self.world.run_for(int(seconds * US_PER_S))

    def _any_phase(self) -> None:
        """Let some time pass, so that no timer stands where it stood for another seed."""
        self.world.run_for(self._random.randrange(2 * self._timing.detection))

    def _wait(self, done: Callable[[], bool], otherwise: str) -> None:
        """Until it is so, for as long as any wait of the protocol lasts."""
        timing = self._timing
        waits = timing.detection + timing.regroup + timing.challenge + timing.guest_disk + timing.scsi
        limit = self.world.now + 4 * waits + 2 * timing.pending + timing.group_wait
        while not done():
            if self.world.now >= limit:
                name = self._topology.name
                raise Disagreement(f"{name}, seed {self._seed}, {self._situation}: the cluster {otherwise}")
            self.world.run_for(LOOK_EVERY_US)

    # looking

    def _leader(self) -> Machine:
        leaders = [m for m in self.world.machines.values() if m.alive and m.core.state.leads]
        assert leaders, "a healthy lab has a leader"
        return max(leaders, key=lambda machine: machine.core.state.term)

    def _others(self) -> list[Machine]:
        leader = self._leader()
        return [m for m in self.world.machines.values() if m.alive and m is not leader]

    def _since(self, at: int, kind: FactKind) -> list[Fact]:
        """Facts of one kind that were recorded after an instant."""
        return [fact for fact in self.world.facts if fact.kind is kind and fact.at > at]

    def _came(self, groups: set[str], since: int, otherwise: str) -> list[float]:
        """How long after `since` each of the groups was online."""
        online: dict[str, float] = {}

        def all_there() -> bool:
            for fact in self._since(since, FactKind.VM_ONLINE):
                online.setdefault(str(fact.get("group")), (fact.at - since) / US_PER_S)
            return groups <= set(online)

        self._wait(all_there, otherwise)
        return [online[group] for group in sorted(groups)]

    # situations

    def _victim(self) -> Machine:
        """The host to die: the leader's or another one, with VMs on it."""
        if self._situation.leader:
            return self._leader()
        return max(self._others(), key=lambda machine: (len(machine.guests), machine.node))

    def _lose_hosts(self) -> None:
        """Down to as many hosts as the situation begins with, one after the other."""
        for _ in range(self._topology.hosts - self._situation.up):
            self._others()[-1].kill()
            self._pause(SETTLED_S + self._topology.boot_s)

    def _failover(self) -> list[float]:
        self._lose_hosts()
        if not self._situation.buses:
            for bus in self.world.network.buses:
                self.world.network.buses[bus] = False
            self._pause(SETTLED_S)
        self._any_phase()
        victim, since = self._victim(), self.world.now
        groups = set(victim.guests)
        victim.kill()
        return self._came(groups, since, "should have taken the VMs over and did not")

    def _votes(self) -> list[float]:
        roles = [s.leader for s in situations(self._topology) if s.kind is Kind.FAILOVER and s.buses]
        victim = self._leader() if roles[self._seed % len(roles)] else self._others()[-1]
        self._any_phase()
        since = self.world.now
        victim.kill()
        self._pause(SETTLED_S)
        changes = [fact.at - since for fact in self._since(since, FactKind.VOTES_CHANGED)]
        return [max(changes, default=self._timing.detection) / US_PER_S]

    def _return(self) -> list[float]:
        """Nothing should happen to the VMs that run; 0 when nothing does."""
        self._lose_hosts()
        self._any_phase()
        runs = {group for machine in self.world.machines.values() for group in machine.guests}
        since = self.world.now
        next(machine for machine in self.world.machines.values() if not machine.alive).start()
        self._pause(SETTLED_S + self._topology.boot_s)
        self._wait(lambda: not self.world.judge.problems(), "is not well again")
        lost = [fact.at for fact in self._since(since, FactKind.QUORUM_LOST)]
        online = {str(fact.get("group")): fact.at for fact in self._since(since, FactKind.VM_ONLINE)}
        return [(online[group] - lost[0]) / US_PER_S if lost and group in online else 0.0 for group in sorted(runs)]

    def _stop(self) -> list[float]:
        self._any_phase()
        survivor, since = self._others()[-1], self.world.now
        for machine in self.world.machines.values():
            if machine is not survivor:
                machine.kill()
        self._wait(lambda: not survivor.guests, "kept VMs without quorum")
        lost = self._since(since, FactKind.QUORUM_LOST)  # all VMs are turned off with it
        return [(fact.at - since) / US_PER_S for fact in lost[:1]]

    def _spare(self) -> NodeId:
        """A host without which the cluster can form."""
        configuration = self._leader().core.state.log.configuration
        for node in self.world.machines:
            votes = sum(1 for voter in configuration.voters if voter.node != node) + configuration.witness
            if votes >= configuration.quorum:
                return node
        raise Disagreement(f"{self._topology.name}, seed {self._seed}: no host is spare in {configuration}")

    def _form(self, away: NodeId) -> list[float]:
        self._any_phase()
        owned = {node: set(machine.guests) for node, machine in self.world.machines.items()}
        for machine in self.world.machines.values():
            machine.kill()
        self._pause(SETTLED_S)
        since = self.world.now
        for machine in self.world.machines.values():
            if machine.node != away:
                machine.start()
        groups = owned[away] if away != NOBODY else set().union(*owned.values())
        return self._came(groups, since, "should have formed and did not")

    def _stall(self) -> list[float]:
        self._any_phase()
        self.world.array.kill()
        self.world.run_for(int(self._timing.guest_disk * (0.1 + 0.7 * self._random.random())))
        before, since = self.world.clients.acknowledged_count, self.world.now
        self.world.array.restart()
        while self.world.clients.acknowledged_count == before:
            self.world.run_for(STALL_EVERY_US)
            if self.world.now - since > 2 * self._timing.guest_disk:
                raise Disagreement(f"{self._topology.name}, seed {self._seed}: no VM went on after a short stall")
        return [(self.world.now - since) / US_PER_S]

    def _access(self) -> list[float]:
        self._any_phase()
        groups = set().union(*(machine.guests for machine in self.world.machines.values()))
        self.world.array.kill()
        self.world.run_for(int(self._timing.guest_disk * (2 + 8 * self._random.random())))
        since = self.world.now
        self.world.array.restart()
        return self._came(groups, since, "should have started the VMs again and did not")

    def _path(self) -> list[float]:
        self._any_phase()
        victim = self._victim()
        groups, since = set(victim.guests), self.world.now
        for link in victim.links.values():
            link.cut_out = link.cut_in = True
        return self._came(groups, since, "should have moved the VMs to a host with a path and did not")
