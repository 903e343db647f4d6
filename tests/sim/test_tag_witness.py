"""The file share witness in the simulator: when it is written, how it fails, and when it is tried again."""

from __future__ import annotations

import pytest

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.facts import FactKind
from hvcluster.model.faults import Fault, FaultWord
from hvcluster.model.vocabulary import US_PER_S
from hvcluster.node.core.tag_record import TagRecord
from hvcluster.sim.labs import Plan
from hvcluster.sim.strikes import Strikes
from hvcluster.sim.world import World

RESTART_S = 900


def running(plan: Plan) -> tuple[World, Strikes]:
    """A healthy lab with a file share witness, some time after its start."""
    world = World(plan.definition(), 1)
    world.start()
    world.run_for(60 * US_PER_S)
    assert world.judge.problems() == []
    return world, Strikes(world)


def shared(nodes: int = 2, profile: str = "ws2012r2") -> Plan:
    """A lab with a file share witness."""
    return Plan(nodes=nodes, vms=2, profile=profile, tag_witness=TagWitnessKind.FILE_SHARE)


def seen(world: World, kind: FactKind, since: int = 0) -> int:
    """How often a fact was recorded after an instant."""
    return sum(1 for fact in world.facts if fact.kind is kind and fact.at > since)


def test_the_file_is_written_when_votes_change_and_not_with_every_entry() -> None:
    """wsfc.md 3.1: written only when the state of nodes changes; while enough nodes are there they commit alone."""
    world, hand = running(shared())
    version, began = world.share.file.version, world.now
    for vm in ("D1", "D2", "D1", "D2"):
        hand.strike(Fault(FaultWord.MOVE, vm))
        world.run_for(20 * US_PER_S)
    assert seen(world, FactKind.GROUP_ASSIGNED, began) >= 4
    assert world.share.file.version == version
    hand.strike(Fault(FaultWord.KILL, "a follower"))
    world.run_for(30 * US_PER_S)
    assert world.share.file.version > version


def test_the_tag_follows_every_entry_while_the_witness_is_half_of_the_quorum() -> None:
    """Decision 0014: with static votes and one node of two, an entry is committed by the tag alone."""
    world, hand = running(shared(profile="ws2008r2"))
    hand.strike(Fault(FaultWord.KILL, "a follower"))
    world.run_for(60 * US_PER_S)
    leader = hand.leader()
    assert leader is not None
    record = TagRecord.decode(world.share.file.data)
    assert record is not None
    state = leader.core.state
    assert record.tag == (state.log.term_at(state.commit), state.commit)
    assert seen(world, FactKind.QUORUM_LOST) == 0


def test_a_share_that_is_away_for_a_moment_has_not_failed() -> None:
    """A check that failed is repeated (1562); only when none succeeds is the witness offline."""
    world, hand = running(shared())
    hand.strike(Fault(FaultWord.WITNESS_KILL))
    world.run_for(4 * US_PER_S)
    hand.strike(Fault(FaultWord.WITNESS_START))
    world.run_for(60 * US_PER_S)
    assert seen(world, FactKind.WITNESS_CHECK_FAILED) == 1
    assert seen(world, FactKind.WITNESS_OFFLINE) == 0
    leader = hand.leader()
    assert leader is not None
    assert leader.core.state.log.configuration.witness


def test_a_failed_witness_is_tried_again_after_its_restart_interval() -> None:
    """wsfc.md 3.4: WitnessRestartInterval, 15 min; until then it has no vote."""
    world, hand = running(shared())
    hand.strike(Fault(FaultWord.WITNESS_KILL))
    world.run_for(30 * US_PER_S)
    hand.strike(Fault(FaultWord.WITNESS_START))
    began = world.now
    leader = hand.leader()
    assert leader is not None
    world.run_for((RESTART_S - 60) * US_PER_S)
    assert seen(world, FactKind.WITNESS_HELD, began) == 0
    assert not leader.core.state.log.configuration.witness
    world.run_for(60 * US_PER_S)
    assert seen(world, FactKind.WITNESS_HELD, began) == 1
    assert leader.core.state.log.configuration.witness


@pytest.mark.conforms("cloud-witness")
def test_a_key_that_was_changed_fails_the_cloud_witness_and_says_so() -> None:
    """1569, not 1568: the service answers. Nothing is written, and the right key brings the witness back."""
    plan = Plan(nodes=2, vms=2, profile="ws2016", tag_witness=TagWitnessKind.CLOUD)
    world, hand = running(plan)
    world.share.barred = True
    version = world.share.file.version
    world.run_for(60 * US_PER_S)
    assert seen(world, FactKind.CLOUD_WITNESS_BARRED) == 1
    assert seen(world, FactKind.CLOUD_WITNESS_UNREACHABLE) == 0
    assert seen(world, FactKind.WITNESS_OFFLINE) == 1
    assert world.share.file.version == version
    leader = hand.leader()
    assert leader is not None
    assert not leader.core.state.log.configuration.witness
    world.share.barred = False
    world.run_for((RESTART_S + 60) * US_PER_S)
    assert leader.core.state.log.configuration.witness
    assert world.judge.problems() == []


def test_a_failed_witness_is_tried_at_once_when_its_vote_is_needed() -> None:
    """Nobody loses quorum for want of a witness that has been back for minutes."""
    world, hand = running(shared(profile="ws2008r2"))
    hand.strike(Fault(FaultWord.WITNESS_KILL))
    world.run_for(30 * US_PER_S)
    hand.strike(Fault(FaultWord.WITNESS_START))
    world.run_for(60 * US_PER_S)
    began = world.now
    hand.strike(Fault(FaultWord.KILL, "a follower"))
    world.run_for(60 * US_PER_S)
    assert seen(world, FactKind.WITNESS_HELD, began) == 1
    assert seen(world, FactKind.QUORUM_LOST) == 0
