"""Two sites, and one of them is preferred: who has the votes, and who lives when the line between them breaks.

Law: virtual time, the real cores.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.vocabulary import NodeId
from hvcluster.sim.labs import Plan
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World
from tests.sim.test_oracles import leader, owners, wait

PARIS, ROME = {1, 2}, {3, 4}


def two_sites(preferred: str, *, first_in_rome: bool = False) -> World:
    """Four nodes in two sites, no witness, a VM on each."""
    definition = Plan(nodes=4, vms=4, witness=False, profile="ws2016").definition()
    rome = {1, 2} if first_in_rome else ROME
    nodes = tuple(replace(node, site="Rome" if node.id in rome else "Paris") for node in definition.nodes)
    groups = tuple(replace(g, owner=NodeId(n)) for n, g in enumerate(definition.groups, 1))
    # Nobody is waited for, so that what moves does so at once.
    properties = replace(definition.properties, resiliency_level=0)
    world = World(replace(definition, nodes=nodes, groups=groups, properties=properties, preferred_site=preferred), 1)
    world.start()
    wait(world, 60)
    return world


@pytest.mark.conforms("preferred-site")
def test_the_preferred_site_keeps_its_votes_in_a_tie_and_outlives_the_other() -> None:
    """One node of the other site goes without a vote; cut in two, the preferred site runs everything."""
    world = two_sites("Paris")
    voting = {int(voter.node) for voter in leader(world).core.state.log.configuration.voters}
    assert voting >= PARIS
    assert len(voting & ROME) == 1
    Strikes(world).strike(Fault(FaultWord.PARTITION, side=("HyperV-1", "HyperV-2")))
    wait(world, 60)
    assert int(leader(world).node) in PARIS
    assert set(owners(world).values()) <= {NodeId(node) for node in PARIS}
    assert len(owners(world)) == 4
    for node in ROME:
        assert not world.machines[NodeId(node)].guests


@pytest.mark.conforms("preferred-site")
def test_the_site_that_is_preferred_decides_and_not_the_ids() -> None:
    """The same with the names changed: a node of Rome goes without again, although its ids are lower now."""
    world = two_sites("Paris", first_in_rome=True)
    voting = {int(voter.node) for voter in leader(world).core.state.log.configuration.voters}
    assert voting >= {3, 4}
    assert len(voting) == 3
