"""Quorum arithmetic by brute force over small electorates, and the survival table of reference/wsfc.md 3.3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import chain, combinations, permutations

import pytest

from hvcluster.model.vocabulary import NOBODY, NodeId, StoreId
from hvcluster.model.votes import Configuration, Electorate, Voter, next_step

LEADER = NodeId(1)
MODES = ((False, False), (True, False), (True, True))
"""Dynamic quorum, dynamic witness."""
WITNESSES = ((False, False, False), (True, False, False), (True, True, False), (True, True, True))
"""Configured, usable, ready."""


def voter(node: int, disk: int = 0) -> Voter:
    """The vote of a node's disk; `disk` counts how often it was lost."""
    return Voter(NodeId(node), StoreId(node * 10 + disk))


def subsets(nodes: range) -> Iterator[tuple[int, ...]]:
    """All sets of nodes."""
    return chain.from_iterable(combinations(nodes, size) for size in range(len(nodes) + 1))


def electorate(entitled: tuple[Voter, ...], ready: tuple[Voter, ...], **more: object) -> Electorate:
    """What the leader knows; a dynamic cluster without a witness unless told otherwise."""
    nothing = {field.name: False for field in fields(Electorate)}
    known = {
        "leader": LEADER,
        "entitled": entitled,
        "ready": ready,
        "lower_priority": NOBODY,
        "configured": (),
        "weightless": (),
        "outside": (),
        "silent": (),
    }
    plain = Electorate(**{**nothing, **known, "dynamic_quorum": True, "dynamic_witness": True})  # type: ignore[arg-type]
    return replace(plain, **more)  # type: ignore[arg-type]


def everything(nodes: int) -> Iterator[tuple[Configuration, Electorate]]:
    """Every configuration with every electorate of so many nodes, in every mode."""
    others = range(2, nodes + 1)
    for voting in subsets(others):
        for up in subsets(others):
            for late in subsets(others):
                if not set(late) <= set(up):
                    continue
                entitled = tuple(voter(n) for n in (1, *up))
                ready = tuple(voter(n) for n in (1, *up) if n not in late)
                for witness, usable, caught_up in (
                    (False,) * 3,
                    (True, False, False),
                    (True, True, False),
                    (True,) * 3,
                ):
                    for counts in (False, True) if witness else (False,):
                        for dynamic, dynamic_witness in MODES:
                            yield (
                                Configuration(tuple(voter(n) for n in (1, *voting)), counts),
                                electorate(
                                    entitled, ready, witness_configured=witness, witness_usable=usable,
                                    witness_ready=caught_up,
                                    dynamic_quorum=dynamic, dynamic_witness=dynamic_witness,
                                ),
                            )  # fmt: skip


def majorities(configuration: Configuration) -> Iterator[frozenset[object]]:
    """Every smallest majority; the witness is one of the voters."""
    all_voters: tuple[object, ...] = (*configuration.voters, *(("witness",) if configuration.witness else ()))
    for chosen in combinations(all_voters, configuration.quorum):
        yield frozenset(chosen)


def test_every_step_changes_one_voter_and_keeps_majorities_together() -> None:
    """Raft 6, single-server changes: any majority before a step and any majority after it have a voter in common."""
    seen: set[tuple[Configuration, Configuration]] = set()
    for before, knows in everything(4):
        step = next_step(before, knows)
        if step is None or (before, step.configuration) in seen:
            continue
        after = step.configuration
        seen.add((before, after))
        changed = set(before.voters) ^ set(after.voters)
        assert len(changed) + (before.witness != after.witness) == 1, step
        assert step.reason
        for old in majorities(before):
            assert all(old & new for new in majorities(after)), step
    assert len(seen) > 20


@pytest.mark.conforms("node-weight", "quorum-online")
def test_what_an_operator_takes_away_goes_one_vote_at_a_time() -> None:
    """NodeWeight 0 and a witness that is given up, in every mode: single steps to where none of them votes.

    The leader alone keeps its vote, for another one to take; and majorities on the way have a voter in common.
    """
    ends = 0
    for start, knows in everything(4):
        for weightless in subsets(range(1, 5)):
            has_weight = {"entitled": knows.entitled, "ready": knows.ready}
            left = {k: tuple(v for v in voters if v.node not in weightless) for k, voters in has_weight.items()}
            given_up = {f"witness_{word}": False for word in ("configured", "usable", "ready", "coming")}
            nodes = tuple(map(NodeId, weightless))
            wishes = replace(knows, **left, **given_up, weightless=nodes)  # type: ignore[arg-type]
            here = start
            while (step := next_step(here, wishes)) is not None:
                after = step.configuration
                changed = set(here.voters) ^ set(after.voters)
                assert len(changed) + (here.witness != after.witness) == 1, step
                assert voter(1) in after.voters
                here = after
            assert not here.witness
            assert {v.node for v in here.voters} & set(weightless) <= {LEADER}, f"from {start} with {wishes}"
            ends += 1
    assert ends > 1000


def test_the_leader_never_takes_its_own_vote() -> None:
    """Who proposes the change must be able to commit it."""
    for before, knows in everything(4):
        step = next_step(before, knows)
        assert step is None or voter(1) in step.configuration.voters


def test_a_vote_is_given_only_to_a_node_whose_log_has_caught_up() -> None:
    """Ongaro's dissertation 4.2.1: a new server gets its vote when it holds the log, or it would stall commits."""
    for before, knows in everything(4):
        step = next_step(before, knows)
        if step is not None:
            assert set(step.configuration.voters) - set(before.voters) <= set(knows.ready)


@pytest.mark.conforms("dynamic-quorum", "dynamic-witness", "tie-breaker")
def test_steps_come_to_an_end_and_where_they_end_is_right() -> None:
    """wsfc.md 3.3: who is up votes, and the number of votes ends odd wherever it can."""
    for start, knows in everything(4):
        here = start
        for _ in range(12):
            step = next_step(here, knows)
            if step is None:
                break
            here = step.configuration
        assert next_step(here, knows) is None, f"no end from {start} with {knows}"
        if not knows.dynamic_quorum:
            assert set(start.voters) <= set(here.voters), "static quorum takes no votes away"
            continue
        assert set(here.voters) <= set(knows.entitled), "nobody votes who is not there"
        assert not here.witness or knows.witness_usable
        if knows.dynamic_witness and knows.ready == knows.entitled and knows.witness_usable == knows.witness_ready:
            assert here.votes % 2 == 1, f"even votes from {start} with {knows}: {here}"
            assert len(knows.entitled) - len(here.voters) <= (not knows.witness_usable)


def test_static_quorum_replaces_only_the_vote_of_a_lost_disk() -> None:
    """ws2008r2 never changes votes; but a wiped disk's old vote must not stay for ever, nor be cast again."""
    before = Configuration((voter(1), voter(2), voter(3)), False)
    knows = electorate((voter(1), voter(2), voter(3, 1)), (voter(1), voter(2), voter(3, 1)), dynamic_quorum=False)
    first = next_step(before, knows)
    assert first is not None
    assert first.configuration == Configuration((voter(1), voter(2)), False)
    second = next_step(first.configuration, knows)
    assert second is not None
    assert second.configuration == Configuration((voter(1), voter(2), voter(3, 1)), False)
    assert next_step(second.configuration, knows) is None


def test_a_node_on_a_new_disk_never_has_two_votes() -> None:
    """Failure table: the old disk's vote goes before the new disk's comes."""
    here = Configuration((voter(1), voter(2), voter(3)), False)
    knows = electorate((voter(1), voter(2), voter(3, 1)), (voter(1), voter(2), voter(3, 1)))
    while (step := next_step(here, knows)) is not None:
        here = step.configuration
        assert len({v.node for v in here.voters}) == len(here.voters)
    assert voter(3, 1) in here.voters


@pytest.mark.conforms("tie-breaker")
def test_the_tie_breaker_is_the_node_the_operator_named() -> None:
    """wsfc.md 3.3 (5): LowerQuorumPriorityNodeID goes without a vote first, but never the leader."""
    four = tuple(voter(n) for n in (1, 2, 3, 4))
    for named, loser in ((3, 3), (2, 2), (1, 4), (0, 4)):
        step = next_step(Configuration(four, False), electorate(four, four, lower_priority=NodeId(named)))
        assert step is not None
        assert set(four) - set(step.configuration.voters) == {voter(loser)}


def test_votes_do_not_wander() -> None:
    """A node that already goes without a vote stays the tie breaker when another joins or leaves."""
    four = tuple(voter(n) for n in (1, 2, 3, 4))
    without_2 = Configuration(tuple(v for v in four if v.node != 2), False)
    assert next_step(without_2, electorate(four, four)) is None


# the survival table: a cluster is a configuration and the nodes that are up


def settled(configuration: Configuration, up: tuple[int, ...], leader: int, witness: bool) -> Configuration:
    """The configuration after the survivors' leader has changed all it can."""
    voters = tuple(voter(n) for n in up)
    knows = electorate(
        voters,
        voters,
        leader=NodeId(leader),
        witness_configured=witness,
        witness_usable=witness,
        witness_ready=witness,
    )
    while (step := next_step(configuration, knows)) is not None:
        configuration = step.configuration
    return configuration


def lives(configuration: Configuration, up: tuple[int, ...]) -> int | None:
    """The leader of a side that has quorum and owns the witness, or None."""
    voting = [v.node for v in configuration.voters if v.node in up]
    return voting[0] if voting and len(voting) + configuration.witness >= configuration.quorum else None


def survives(nodes: int, witness: bool, losses: tuple[tuple[int, ...], ...]) -> bool:
    """Whether a cluster outlives losing these nodes, group after group, with time to settle between."""
    up = tuple(range(1, nodes + 1))
    here = settled(Configuration(tuple(voter(n) for n in up), False), up, 1, witness)
    for lost in losses:
        up = tuple(n for n in up if n not in lost)
        leader = lives(here, up)
        if leader is None:
            return False
        here = settled(here, up, leader, witness)
    return True


TABLE = [
    # nodes, witness, one fails, one then another, two at once (wsfc.md 3.3)
    (2, False, "50/50", "no", "no"),
    (2, True, "yes", "no", "no"),
    (3, False, "yes", "50/50", "no"),
    (3, True, "yes", "yes", "no"),
    (4, False, "yes", "yes", "50/50"),
    (4, True, "yes", "yes", "yes"),
    (5, False, "yes", "yes", "yes"),
    (5, True, "yes", "yes", "yes"),
    (6, False, "yes", "yes", "yes"),
]


@pytest.mark.parametrize(("nodes", "witness", "one", "one_then_another", "two_at_once"), TABLE)
@pytest.mark.conforms("dynamic-quorum", "dynamic-witness")
def test_a_cluster_survives_what_the_table_says(
    nodes: int, witness: bool, one: str, one_then_another: str, two_at_once: str
) -> None:
    """reference/wsfc.md 3.3, survival table (2012 R2 and later)."""
    everyone = range(1, nodes + 1)
    assert verdict(nodes, witness, [((n,),) for n in everyone]) == one
    pairs = list(permutations(everyone, 2))
    alone_is_enough = nodes == 2 and witness  # the table calls the second loss of two nodes a loss of the cluster
    if not alone_is_enough:
        assert verdict(nodes, witness, [((a,), (b,)) for a, b in pairs]) == one_then_another
    assert verdict(nodes, witness, [((a, b),) for a, b in pairs]) == two_at_once


def verdict(nodes: int, witness: bool, cases: list[tuple[tuple[int, ...], ...]]) -> str:
    """yes, no, or 50/50 when it depends on who is lost."""
    results = {survives(nodes, witness, losses) for losses in cases}
    return "50/50" if len(results) == 2 else ("yes" if results == {True} else "no")


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_vote_of_who_is_silent_ends_first(dynamic: bool) -> None:
    """Two votes are to end, and one of the two is dead: the one that is there is needed to end that of the other."""
    votes = Configuration((voter(1), voter(2), voter(3)), False)
    known = electorate(
        (voter(1),), (voter(1),), dynamic_quorum=dynamic, outside=(NodeId(2), NodeId(3)), silent=(NodeId(3),)
    )
    for left in ({1, 2}, {1}):
        step = next_step(votes, known)
        assert step is not None
        votes = step.configuration
        assert {int(v.node) for v in votes.voters} == left
        assert "does not belong to the cluster" in step.reason
    assert next_step(votes, known) is None
