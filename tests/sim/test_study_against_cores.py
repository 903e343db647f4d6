"""The short cut against the whole: what a study says without time must be what the real cores do."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from hvcluster.model.properties import defaults
from hvcluster.model.vocabulary import NOBODY, US_PER_S, NodeId, StoreId
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node.core.guest import GuestState
from hvcluster.sim.machines import Machine
from hvcluster.sim.study_file import Component, Topology
from hvcluster.sim.study_measure import Kind, Samples, Situation, measure, situations
from hvcluster.sim.study_quorum import Membership
from hvcluster.sim.study_years import Part, Years
from hvcluster.sim.world import World
from tests.sim.study_bench import rate, study, topology

CLUSTERS = {
    "two hosts": topology(2),
    "two hosts, static votes": topology(2, dynamic=False),
    "two hosts, witness": topology(2, witness=True),
    "three hosts": topology(3),
    "three hosts, witness, 2008 R2": replace(topology(3, witness=True), properties=defaults("ws2008r2")),
    "four hosts": topology(4),
    "four hosts, witness": topology(4, witness=True),
}
HISTORY_H = 5
LONG_S = 200  # longer than every wait of the protocol, ClusterGroupWaitDelay included


def leads(world: World) -> Machine | None:
    """The node that leads and holds quorum."""
    found = [
        m
        for m in world.machines.values()
        if m.alive and m.core.state.leads and m.core.replica.member and m.core.quorum.held
    ]
    return max(found, key=lambda m: m.core.state.term, default=None)


def votes(configuration: Configuration) -> tuple[tuple[int, ...], bool]:
    """Who votes, as far as two accounts of it can be compared."""
    return tuple(voter.node for voter in configuration.voters), configuration.witness


@pytest.mark.parametrize("name", CLUSTERS)
def test_votes_without_time_are_the_votes_of_the_cores(name: str) -> None:
    """Quorum: hosts die and return at random; whether the cluster lives and how many vote is foretold each time.

    Which of two equal nodes leads is chance, so leader and votes are taken over from the cores after each step.
    """
    cluster = CLUSTERS[name]
    for seed in range(3):
        world = World(cluster.definition(2), seed)
        world.start()
        world.run_for(60 * US_PER_S)
        first = leads(world)
        assert first is not None
        foretold = Membership(cluster.hosts, cluster.witness, cluster.properties, first.node)
        dice = random.Random(seed)
        for _ in range(6):
            machine = world.machines[NodeId(dice.randrange(cluster.hosts) + 1)]
            if machine.alive:
                machine.kill()
                foretold.fail(machine.node)
            else:
                waiting = set(foretold.up)
                machine.start()
                foretold.restore(machine.node)
                foretold.forms(waiting)
            foretold.notice(machine.node)
            world.run_for(LONG_S * US_PER_S)
            leader = leads(world)
            assert (leader is None) == (foretold.leader == NOBODY), f"seed {seed}, node {machine.node}"
            if leader is None:
                continue
            real = leader.core.state.log.configuration
            nodes, witness = votes(real)
            assert (len(nodes), witness) == (len(foretold.configuration.voters), foretold.configuration.witness)
            foretold.leader = leader.node
            foretold.configuration = Configuration(tuple(Voter(NodeId(n), StoreId(n)) for n in nodes), witness)


class Told(Years):
    """Virtual years that write down what failed and came back, and when."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.story: list[tuple[float, Part, bool]] = []

    def _fails(self, part: Part) -> None:
        self.story.append((self._now, part, False))
        super()._fails(part)

    def _repaired(self, part: Part) -> None:
        self.story.append((self._now, part, True))
        super()._repaired(part)


def strike(world: World, part: Part, back: bool) -> None:
    """Do to the simulated lab what befell the component."""
    if part.component is Component.ARRAY:
        (world.array.restart if back else world.array.kill)()
        return
    machine = world.machines[part.node]
    if part.component is Component.HOST:
        (machine.start if back else machine.kill)()
    else:
        for link in machine.links.values():
            link.cut_in = link.cut_out = not back


def served(world: World, machine: Machine, group: str) -> bool:
    """Whether the group's VM is online on this node and its disk answers."""
    sim = machine.guests.get(group)
    reaches = any(link.session is not None and not link.cut_in for link in machine.links.values())
    return machine.alive and sim is not None and sim.guest.state is GuestState.ONLINE and reaches and world.array.alive


def downtime_s(cluster: Topology, story: list[tuple[float, Part, bool]], until_s: float) -> float:
    """Seconds that VMs were away in the simulator while the story was played, looked at once a second."""
    world = World(cluster.definition(cluster.vms), 5, append_every_us=60 * US_PER_S)
    world.lun_blocks = 65_536
    world.start()
    world.run_for(60 * US_PER_S)
    assert world.judge.problems() == []
    begin, away, step = world.now, 0.0, US_PER_S
    left = sorted(story, key=lambda told: told[0])
    while (world.now - begin) / US_PER_S < until_s:
        while left and left[0][0] * US_PER_S <= world.now - begin:
            _, part, back = left.pop(0)
            strike(world, part, back)
        world.run_for(step)
        for group in cluster.definition(cluster.vms).groups:
            away += 0.0 if any(served(world, m, group.name) for m in world.machines.values()) else 1.0
    return away


@pytest.mark.parametrize(
    ("hosts", "witness", "dynamic", "seed"),
    [(2, True, False, "a"), (2, False, True, "b"), (3, False, False, "f"), (3, True, True, "d")],
)
def test_a_history_of_a_study_played_in_the_simulator_costs_the_same(
    hosts: int, witness: bool, dynamic: bool, seed: str
) -> None:
    """Studies: a few hours in which much fails, once with drawn waiting times, once with all of the protocol.

    With dynamic votes these are histories in which chance gives the last vote to the same host both times; where it
    does not, one history tells nothing about the other (docs/studies.md has the totals of many).
    """
    cluster = topology(hosts, witness, dynamic, vms=hosts)
    samples: Samples = {s: measure(cluster, s, 1) + measure(cluster, s, 2) for s in situations(cluster)}
    rates = {"host": rate(1.2, 0.25), "array": rate(4, 0.1), "path": rate(6, 0.2)}
    asked = study(HISTORY_H / 8766, None, **rates)
    years = Told(asked, cluster, samples, seed, asked.years)
    tally = years.run()
    drawn = sum(tally.down_s.values())
    played = downtime_s(cluster, years.story, HISTORY_H * 3600.0)
    assert sum(map(sum, tally.incidents.values())) >= 5, "there was something to compare"
    assert played == pytest.approx(drawn, rel=0.08)


def test_fresh_incidents_last_as_long_as_the_measured_ones() -> None:
    """Studies: samples under other seeds fall where those of a study lie, give or take a heartbeat and a half."""
    cluster = topology(3, witness=True)
    for situation in (Situation(Kind.FAILOVER, 3), Situation(Kind.FAILOVER, 2, True), Situation(Kind.BACK)):
        known = [time for seed in range(8) for time in measure(cluster, situation, seed)]
        fresh = [time for seed in range(100, 108) for time in measure(cluster, situation, seed)]
        assert min(known) - 1.5 <= min(fresh) <= max(fresh) <= max(known) + 1.5
        assert sum(fresh) / len(fresh) == pytest.approx(sum(known) / len(known), abs=1.5)


def test_what_can_happen_is_what_is_measured() -> None:
    """Studies: situations come from the votes; nobody measures a takeover that the votes forbid."""
    alone = {situation.kind for situation in situations(topology(1))}
    assert alone == {Kind.BACK, Kind.STALL, Kind.ACCESS}
    static = {situation.kind for situation in situations(topology(2, dynamic=False))}
    assert Kind.FAILOVER not in static
    pair = {s for s in situations(topology(2)) if s.kind is Kind.FAILOVER and s.buses}
    assert pair == {Situation(Kind.FAILOVER, 2, leader=False)}, "the leader has the only vote"
    helped = {s for s in situations(topology(2, witness=True)) if s.kind is Kind.FAILOVER and s.buses}
    assert helped == {Situation(Kind.FAILOVER, 2), Situation(Kind.FAILOVER, 2, leader=True)}
