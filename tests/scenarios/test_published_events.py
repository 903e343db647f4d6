"""What a Windows cluster writes to its event log in a scenario whose outcome is published, and when.

Law: plays files of `scenarios/` in the simulator, under the versions the outcome is published for, and reads facts.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.properties import defaults
from hvcluster.model.scenario import parse
from hvcluster.model.vocabulary import US_PER_S, NodeId
from hvcluster.sim.scenarios import run
from tests.scenarios.test_in_simulator import SCENARIOS

STATIC, MODERN = "ws2008r2", "ws2016"
FILES = {path.stem: path for path in SCENARIOS}


def told(name: str, profile: str) -> tuple[Fact, ...]:
    """The facts of a story that ends as it says, in a cluster of this version where nobody is waited for."""
    scenario = parse(name, FILES[name].read_text(encoding="utf-8"))
    definition = replace(scenario.definition, properties=replace(defaults(profile), resiliency_default_period_ms=0))
    outcome = run(replace(scenario, definition=definition))
    assert outcome.problem == ""
    return outcome.facts


def nodes(facts: tuple[Fact, ...], kind: FactKind, event: int = 0) -> set[NodeId]:
    """Who recorded this kind; `event`: the product's id of it."""
    assert kind.event_id == event
    return {fact.node for fact in facts if fact.kind is kind}


def first(facts: tuple[Fact, ...], kind: FactKind, node: NodeId, since: int = 0) -> int:
    """When a node recorded this kind for the first time after an instant."""
    return min(fact.at for fact in facts if fact.kind is kind and fact.node == node and fact.at >= since)


@pytest.mark.parametrize("profile", [STATIC, MODERN])
@pytest.mark.conforms("oracle-5", "disk-arbitration")
def test_a_living_holder_defends_the_witness_and_the_other_side_stops(profile: str) -> None:
    """Oracle 5: two nodes cut apart; defended within 3 s, the challenger is refused (170), records 1177 and stops."""
    facts = told("two-nodes-cut-apart", profile)
    (holder,) = nodes(facts, FactKind.WITNESS_DEFENDED)
    other = NodeId(3 - holder)
    challenged = first(facts, FactKind.WITNESS_CHALLENGED, other)
    assert 0 < first(facts, FactKind.WITNESS_DEFENDED, holder) - challenged <= 3.1 * US_PER_S
    assert nodes(facts, FactKind.WITNESS_REFUSED) == {other}
    assert nodes(facts, FactKind.QUORUM_LOST, 1177) == {other}


@pytest.mark.parametrize("profile", [STATIC, MODERN])
@pytest.mark.conforms("oracle-4", "disk-arbitration")
def test_a_dead_holders_witness_is_won_after_seven_seconds(profile: str) -> None:
    """Oracle 4: the survivor challenges, waits 2 x DiskArbInterval + 1 s, preempts and goes on; nobody loses quorum."""
    facts = told("witness-holder-killed", profile)
    (survivor,) = nodes(facts, FactKind.WITNESS_CHALLENGED)
    began = first(facts, FactKind.WITNESS_CHALLENGED, survivor)
    took_s = (first(facts, FactKind.WITNESS_HELD, survivor, began) - began) / US_PER_S
    assert 7 <= took_s < 8
    assert nodes(facts, FactKind.QUORUM_LOST, 1177) == set()


@pytest.mark.parametrize(
    ("name", "profile", "lost"),
    [("two-nodes-static", STATIC, True), ("tie-breaker-lost", MODERN, True), ("tie-breaker-won", MODERN, False)],
)
@pytest.mark.conforms("oracle-3")
def test_of_two_nodes_without_a_witness_the_survivor_stops_unless_it_had_the_vote(
    name: str, profile: str, lost: bool
) -> None:
    """Oracle 3: 1177 at the survivor of two static votes, and at the one whose vote was taken; not at the voter."""
    facts = told(name, profile)
    assert len(nodes(facts, FactKind.QUORUM_LOST, 1177)) == lost


@pytest.mark.conforms("event-log")
def test_a_lost_node_and_its_groups_are_told_under_the_ids_of_the_product() -> None:
    """Event log: 1135 for the node from each survivor, 1641 once for each group that moved; for nobody else."""
    facts = told("node-killed", MODERN)
    lost = [(int(fact.node), fact.get("peer")) for fact in facts if fact.kind.event_id == 1135]
    assert sorted(lost) == [(2, 1), (3, 1)]
    died = next(fact.at for fact in facts if fact.kind.event_id == 1135)
    assert sorted(str(f.get("group")) for f in facts if f.kind.event_id == 1641 and f.at >= died) == ["D1", "D3"]


@pytest.mark.conforms("oracle-15", "force-quorum")
def test_a_side_with_quorum_stops_and_joins_the_side_that_was_forced() -> None:
    """Oracle 15 since 2012 R2: both nodes of the quorate side record 5396, and join as new incarnations."""
    facts = told("quorum-forced-beside-quorum", MODERN)
    assert nodes(facts, FactKind.QUORUM_FORCED) == {NodeId(1)}
    assert nodes(facts, FactKind.QUORUM_YIELDED, 5396) == {NodeId(2), NodeId(3)}
    forced = first(facts, FactKind.QUORUM_FORCED, NodeId(1))
    joined = {fact.get("peer") for fact in facts if fact.kind is FactKind.NODE_UP and fact.at >= forced}
    assert joined == {1, 2, 3}
    ended = first(facts, FactKind.FORCED_ENDED, NodeId(1))
    votes = [fact.get("nodes") for fact in facts if fact.kind is FactKind.VOTES_CHANGED and fact.at >= ended]
    assert votes[-1] == "1,2,3"


@pytest.mark.conforms("oracle-15")
def test_before_2012_r2_two_sides_may_run_until_one_is_started_with_prevented_quorum() -> None:
    """Oracle 15 in 2008 R2: nobody yields; the other side goes on after the network is mended, until it is stopped."""
    facts = told("quorum-forced-without-resiliency", STATIC)
    assert nodes(facts, FactKind.QUORUM_YIELDED, 5396) == set()
    forced = first(facts, FactKind.QUORUM_FORCED, NodeId(1))
    refused = [fact for fact in facts if fact.kind is FactKind.DISK_SUPERSEDED and fact.at > forced]
    assert {fact.node for fact in refused} <= {NodeId(2), NodeId(3)}
    assert refused, "the other side tries to have D1 back, and is refused by the reservation"
    ended = first(facts, FactKind.FORCED_ENDED, NodeId(1))
    votes = [fact.get("nodes") for fact in facts if fact.kind is FactKind.VOTES_CHANGED and fact.at >= ended]
    assert votes[-1] == "1,2,3", "static votes are given back to all"


@pytest.mark.conforms("force-quorum")
def test_a_cluster_leaves_the_forced_state_when_enough_votes_are_there() -> None:
    """Of five nodes the third that is present ends the forced state, and not the second."""
    facts = told("quorum-forced-on-a-minority", MODERN)
    ended = first(facts, FactKind.FORCED_ENDED, NodeId(1))
    forced = first(facts, FactKind.QUORUM_FORCED, NodeId(1))
    while_forced = [f for f in facts if f.kind is FactKind.VOTES_CHANGED and forced < f.at < ended]
    assert [fact.get("nodes") for fact in while_forced] in ([], ["1"]), "while quorum is forced, nobody else votes"
    third = min(f.at for f in facts if f.kind is FactKind.NODE_UP and f.get("peer") == 3 and f.at > forced)
    assert third <= ended


@pytest.mark.parametrize("profile", [STATIC, MODERN])
@pytest.mark.conforms("oracle-6", "usb-witness", "file-share-majority")
def test_of_two_halves_the_one_with_the_lock_of_the_file_share_lives(profile: str) -> None:
    """Oracle 6: four nodes, two and two; the other side waits 6 s, is refused (1564), records 1177 and stops."""
    facts = told("even-split-file-share", profile)
    (holder,) = nodes(facts, FactKind.WITNESS_DEFENDED)
    stopped = nodes(facts, FactKind.QUORUM_LOST, 1177)
    assert len(stopped) == 2
    assert holder not in stopped
    assert nodes(facts, FactKind.WITNESS_NOT_WON, 1564) <= stopped
    refused = next(fact.node for fact in facts if fact.kind is FactKind.WITNESS_NOT_WON)
    challenged = first(facts, FactKind.WITNESS_CHALLENGED, refused)
    waited_us = first(facts, FactKind.WITNESS_NOT_WON, refused) - challenged
    assert 6 * US_PER_S <= waited_us < 6.1 * US_PER_S
    assert first(facts, FactKind.QUORUM_LOST, refused) > challenged


@pytest.mark.conforms("oracle-7")
def test_a_dead_file_share_counts_only_where_votes_are_static() -> None:
    """Oracle 7: the witness dies, then one of three nodes; with 2008 R2 two votes of four are not enough."""
    old = told("file-share-lost-static", STATIC)
    assert len(nodes(old, FactKind.QUORUM_LOST, 1177)) == 2
    new = told("file-share-lost-then-a-node", MODERN)
    assert not nodes(new, FactKind.QUORUM_LOST, 1177)
    for facts in (old, new):
        assert len(nodes(facts, FactKind.WITNESS_CHECK_FAILED, 1562)) == 1


@pytest.mark.parametrize("profile", [STATIC, MODERN])
@pytest.mark.conforms("oracle-9")
def test_a_stale_node_does_not_form_with_a_file_share(profile: str) -> None:
    """Oracle 9: the share knows that a newer database exists, so the node that missed it records 1561 and waits."""
    facts = told("partition-in-time-file-share", profile)
    stale = nodes(facts, FactKind.WITNESS_NEWER, 1561)
    assert stale == {NodeId(1)}
    since = first(facts, FactKind.WITNESS_NEWER, NodeId(1))
    back = max(fact.at for fact in facts if fact.kind is FactKind.SERVICE_STARTED and fact.node == NodeId(2))
    formed = [fact for fact in facts if fact.kind is FactKind.LEADER_ELECTED and fact.at > since]
    assert all(fact.at > back for fact in formed)


def test_a_node_that_needs_a_file_share_and_cannot_reach_it_says_so() -> None:
    """wsfc.md 3.6: the witness is unreachable when forming: 1573."""
    assert nodes(told("file-share-lost-static", STATIC), FactKind.WITNESS_MISSING, 1573)


@pytest.mark.conforms("cloud-witness")
def test_of_two_halves_the_one_with_the_lease_on_the_blob_lives() -> None:
    """The cloud witness arbitrates as a file share does, without its event ids."""
    facts = told("even-split-cloud", MODERN)
    assert len(nodes(facts, FactKind.QUORUM_LOST, 1177)) == 2
    assert not nodes(facts, FactKind.WITNESS_NOT_WON, 1564)
    assert nodes(facts, FactKind.WITNESS_REFUSED)
