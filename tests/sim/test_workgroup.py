"""A cluster whose hosts are in no domain: how VMs leave a node there.

Law: virtual time, the real cores; the judge looks on.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import defaults, problems
from hvcluster.model.vocabulary import NodeId
from hvcluster.node.core import events as ev
from hvcluster.sim.labs import Plan
from hvcluster.sim.world import World
from tests.sim.test_operators_wishes import asked
from tests.sim.test_oracles import owners, since, wait

TWO = NodeId(2)


def moved(profile: str, *, workgroup: bool, drain: bool) -> tuple[bool, list[str]]:
    """D1 leaves node 1, by a move or a drain: whether it was saved on its way, and the reasons of the move."""
    definition = Plan(nodes=2, vms=1, profile=profile).definition()
    group = replace(definition.groups[0], owner=NodeId(1))
    properties = replace(defaults(profile), workgroup=workgroup)
    world = World(replace(definition, groups=(group,), properties=properties), 1)
    world.start()
    wait(world, 60)
    began = world.now
    request = ev.SetNodePaused(NodeId(1), True, drain=True) if drain else ev.MoveGroup("D1", TWO)
    assert asked(world, request).ok
    assert owners(world) == {"D1": TWO}
    assert world.judge.problems() == []
    saved = [fact for fact in since(world, began, FactKind.VM_STOPPED) if dict(fact.about).get("cause") == "saved"]
    return bool(saved), [fact.reason for fact in since(world, began, FactKind.GROUP_MOVING)]


@pytest.mark.conforms("workgroup")
@pytest.mark.parametrize("drain", [False, True])
def test_a_workgroup_saves_and_moves_vms_before_2025(drain: bool) -> None:
    """Live migration there needs the certificates of 2025; the reason is told with the move."""
    saved, (reason,) = moved("ws2016", workgroup=True, drain=drain)
    assert saved
    assert reason.endswith("; quick, for ws2016 migrates nobody live in a workgroup")
    for profile, workgroup in (("ws2025", True), ("ws2016", False)):
        saved, (reason,) = moved(profile, workgroup=workgroup, drain=drain)
        assert not saved, profile
        assert "workgroup" not in reason


@pytest.mark.conforms("workgroup")
def test_a_cluster_needs_a_domain_before_2016() -> None:
    """The lab file is refused, with the way out."""
    assert problems(replace(defaults("ws2016"), workgroup=True)) == []
    ((key, text),) = problems(replace(defaults("ws2012r2"), workgroup=True))
    assert key == "workgroup"
    assert "take ws2016" in text
