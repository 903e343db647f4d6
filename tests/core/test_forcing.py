"""Forced and prevented quorum at one node's core: epochs, who leads, who yields, what is thrown away."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.epochs import (
    GENERATION_BITS,
    MAX_ROUND,
    TERM_BITS,
    epoch_of,
    epoch_text,
    first_generation,
    first_term,
    forced_node,
    next_epoch,
    round_of,
    tag_text,
    term_text,
)
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.properties import PROFILES, defaults
from hvcluster.model.vocabulary import MAX_NODES, NOBODY, Generation, GroupState, Incarnation, Instant, NodeId, StoreId
from hvcluster.node.core.commands import AssignGroup, DefineGroup, EndForced, ForceQuorum, NodeUp, Noop
from hvcluster.node.core.database import Database
from hvcluster.node.core.effects import RestartService, Save
from hvcluster.node.core.forcing import Start, refusal
from hvcluster.node.core.genesis import founded, wiped
from hvcluster.node.core.messages import AppendEntries, AppendReply, Entry, InstallSnapshot, PreVote, VoteReply
from hvcluster.node.core.saved import SavedState, Snapshot
from tests.core.desk import Desk, cluster
from tests.core.test_replication import Side, talk, voters

NODES = st.integers(1, MAX_NODES).map(NodeId)
EPOCH = next_epoch(0, NodeId(3))
"""Node 3 was forced."""
TERM = first_term(EPOCH)


# epochs


@given(st.lists(NODES, min_size=1, max_size=20), NODES)
def test_whoever_is_forced_next_outranks_all_it_knows_of(history: list[NodeId], last: NodeId) -> None:
    """An epoch is above the one it was forced under, in terms and in generations, however many came before."""
    epoch = 0
    for node in history:
        epoch = next_epoch(epoch, node)
    newest = next_epoch(epoch, last)
    assert first_term(newest) > first_term(epoch) + 2**TERM_BITS - 2
    assert first_generation(newest) > first_generation(epoch) + 2**GENERATION_BITS - 1
    assert (forced_node(newest), round_of(newest)) == (last, len(history) + 1)
    assert epoch_of(first_term(newest)) == newest


@given(st.integers(0, MAX_ROUND - 1), NODES, NODES, NODES)
def test_two_nodes_that_are_forced_apart_never_begin_the_same_epoch(round_: int, by: int, one: int, two: int) -> None:
    """Epochs of two nodes differ, and one outranks the other, although neither knew of it."""
    known = round_ << 6 | by - 1
    first, second = next_epoch(known, NodeId(one)), next_epoch(known, NodeId(two))
    assert (first == second) == (one == two)
    assert (first < second) == (one < two)


def test_generations_of_every_epoch_fit_into_a_reservation_key() -> None:
    """A key has 32 bits for the generation: the last epoch there can be leaves room for its assignments."""
    last = next_epoch(MAX_ROUND - 1 << 6, NodeId(MAX_NODES))
    assert round_of(last) == MAX_ROUND
    assert first_generation(last) + 2**GENERATION_BITS - 1 == 2**32 - 1


def test_a_tag_is_shown_as_epoch_term_and_index() -> None:
    """What people see in place of a Paxos tag, and of a term."""
    assert tag_text(7, 276) == "0:7:276"
    assert tag_text(TERM + 1, 9) == "1.3:2:9"
    assert (term_text(7), term_text(TERM), epoch_text(EPOCH)) == ("7", "1 of epoch 1.3", "1.3")
    line = Fact(FactKind.LEADER_ELECTED, Instant(0), NodeId(3), "forced", (("term", TERM),)).line()
    assert line.endswith("(term=1.3:1)")


# a forced start


def test_a_forced_node_leads_by_itself_with_its_epoch_on_the_disk_first() -> None:
    """Votes are ignored: it leads at once and commits alone; nothing leaves before the epoch is durable."""
    desk = Desk(cluster(5), 2, start=Start.FORCED)
    state = desk.core.state
    assert state.leads
    assert isinstance(desk.effects[0], Save)
    epoch = next_epoch(0, NodeId(2))
    assert (desk.saved.term, desk.saved.voted_for) == (first_term(epoch), 2)
    assert isinstance(desk.saved.entries[1].command, ForceQuorum)
    assert [voter.node for voter in state.log.configuration.voters] == [2]
    assert state.commit == state.log.last_index
    assert desk.facts(FactKind.QUORUM_FORCED) == ["an administrator started node 2 with forced quorum"]
    view = desk.core.view(desk.now)
    assert view.forced
    assert [row.id for row in view.nodes if row.needs_prevent_quorum] == [1, 3, 4, 5]
    assert all(group.generation > first_generation(epoch) or group.owner != 2 for group in view.groups)


def test_what_the_forced_node_had_not_known_to_be_committed_is_the_clusters_now() -> None:
    """The database of the forced node is authoritative, with the tail of its log."""
    definition = cluster()
    tail = (Entry(2, 4, Noop()), Entry(3, 4, Noop()))
    saved = replace(founded(definition, NodeId(3)), term=4, entries=tail)
    desk = Desk(definition, 3, saved, start=Start.FORCED)
    assert desk.core.state.commit > 3
    assert desk.saved.entries[:2] == tail


def test_a_forced_node_that_starts_again_is_not_forced_again() -> None:
    """One administrator's word, one epoch: the next life leads its next term, for the one vote there is is its own."""
    lasting = [Start.NORMAL, Start.NORMAL, Start.PREVENTED, Start.IGNORING]
    assert [how.after(joined=False) for how in Start] == lasting
    assert [how.after(joined=True) for how in Start] == [Start.NORMAL] * 4
    desk = Desk(cluster(), 3, start=Start.FORCED)
    desk.restart()
    assert not desk.core.state.leads
    desk.awake()
    desk.fire("election")
    assert desk.core.state.leads
    assert desk.core.state.term == TERM + 1


def test_a_node_without_a_database_cannot_be_forced() -> None:
    """Bad input: the reason and the way out are told, and the core starts as if nobody had asked."""
    empty = wiped(StoreId(9), Incarnation(5))
    why = refusal(NodeId(1), empty)
    assert why is not None
    assert "its disk is empty" in why
    assert "without --force-quorum" in why
    desk = Desk(cluster(), 1, empty, start=Start.FORCED)
    assert not desk.core.state.leads
    assert desk.core.state.term == 0
    last = replace(founded(cluster(), NodeId(1)), term=first_term(next_epoch(MAX_ROUND - 1 << 6, NodeId(1))))
    assert refusal(NodeId(1), founded(cluster(), NodeId(1))) is None
    assert f"was forced {MAX_ROUND} times" in (refusal(NodeId(1), last) or "")


def test_the_database_of_a_forced_cluster_has_nobody_up_and_generations_above_all_others() -> None:
    """Members join anew; a group that is assigned next outranks what another side may still hand out."""
    definition = cluster(2, vms=1)
    database = Database.created(definition)
    group = database.groups["D1"]
    assert database.apply(ForceQuorum(EPOCH, "forced"))
    raised = database.groups["D1"]
    assert raised.generation == first_generation(EPOCH) > group.generation
    assert (raised.state, raised.waiting) == (GroupState.OFFLINE, True)
    assert not any(member.up for member in database.members.values())
    assert not database.apply(AssignGroup("D1", Generation(0), NodeId(1), "", (), "", 0, 0)), "it saw an older one"
    again = Database.decode(database.encode())
    assert (again.epoch, again.forced) == (EPOCH, True)
    new = replace(definition.groups[0], name="D9", lun=99)  # type: ignore[arg-type]
    assert again.apply(DefineGroup(new))
    assert again.groups["D9"].generation == first_generation(EPOCH)
    assert again.apply(EndForced("enough"))
    assert not again.apply(EndForced("enough"))
    assert (again.epoch, again.forced) == (EPOCH, False)


# who yields


def member(profile: str, start: Start = Start.NORMAL) -> Desk:
    """A leader of three nodes that is a member, in a version of the product."""
    definition = replace(cluster(), properties=defaults(profile))
    desk = Desk(definition, 1, start=start)
    term = desk.lead(2, 3)
    last = desk.core.state.log.last_index
    for node in (2, 3):
        desk.receive(node, AppendReply(term, True, last, 1))
    for node in (2, 3):
        desk.receive(node, AppendReply(term, True, desk.core.state.log.last_index, 2))
    assert desk.core.replica.member
    return desk


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.conforms("force-quorum", "oracle-15")
def test_a_side_with_quorum_yields_to_a_forced_one_from_2012_r2_on(profile: str) -> None:
    """Oracle 15: event 5396, the service stops and starts again, and the epoch is on its disk; before, it goes on."""
    desk = member(profile)
    yields = profile not in ("ws2008r2", "ws2012")
    desk.hear(3, leader=3, term=TERM)
    assert FactKind.QUORUM_YIELDED.event_id == 5396
    assert bool(desk.facts(FactKind.QUORUM_YIELDED)) is yields
    assert desk.core.state.leads is not yields
    if yields:
        assert isinstance(desk.effects[0], Save)
        assert isinstance(desk.effects[-1], RestartService)
        assert epoch_of(desk.saved.term) == EPOCH


def test_a_call_of_a_forced_side_is_not_answered_by_the_life_that_yields() -> None:
    """What a service believes under its older epoch is worth nothing: it ends before it says another word."""
    desk = member("ws2012r2")
    desk.receive(3, AppendEntries(TERM, 1, 1, 1, (), 7))
    assert desk.sent(AppendReply) == []
    assert isinstance(desk.effects[-1], RestartService)


def test_before_2012_r2_a_node_without_quorum_joins_the_forced_side() -> None:
    """Only a side with quorum goes on; a node that looks for a cluster takes the side that was forced."""
    desk = Desk(replace(cluster(), properties=defaults("ws2008r2")))
    desk.hear(3, leader=3, term=TERM)
    assert isinstance(desk.effects[-1], RestartService)
    assert epoch_of(desk.saved.term) == EPOCH
    assert desk.facts(FactKind.QUORUM_YIELDED) == [], "it had no quorum to yield"


def test_nobody_stands_in_an_epoch_of_which_it_has_nothing() -> None:
    """Nodes that yielded must not elect each other by the votes of their old side: those are not the epoch's."""
    desk = Desk(cluster(), 1)
    desk.hear(3, leader=3, term=TERM)
    desk.restart()
    desk.awake()
    desk.hear(2, term=TERM)
    desk.fire("election")
    assert desk.sent(PreVote) == []
    assert not desk.core.state.may_stand


# what is thrown away


def stale(entries: list[int], snapshot: tuple[int, int], term: int) -> Side:
    """A follower that yielded to `term`: a snapshot at (index, term), and entries of these terms behind it."""
    side = Side(1, [], voters(1, 2, 3), term)
    log = tuple(Entry(snapshot[0] + n, t, Noop()) for n, t in enumerate(entries, 1))
    saved = SavedState(
        StoreId(1), Incarnation(2), term, NOBODY, Snapshot(*snapshot, voters(1, 2, 3), b'{"of":"theirs"}'), log
    )
    side.state.log = type(side.state.log)(saved, side.out)
    side.state.commit = snapshot[0]
    return side


def forced(terms: list[int]) -> Side:
    """Node 3, forced with entries of these terms from index 2 on; it has an entry of its epoch."""
    leader = Side(3, terms, voters(3), 1)
    leader.state.force(TERM)
    leader.replication.start()
    leader.replication.propose((Noop(),))
    leader.replication.advance()
    return leader


@pytest.mark.parametrize(
    ("entries", "snapshot", "whole"),
    [
        ([1, 1], (1, 1), False),  # the same beginning, and less of it
        ([2, 2, 2, 2], (1, 1), False),  # another log after the same beginning
        ([], (3, 1), False),  # a snapshot that is part of the forced side's log
        ([], (3, 2), True),  # one that is not, at an index that the forced side has as well
        ([2, 2], (40, 2), True),  # one that lies far beyond the forced side's log
        ([3, 3, 3], (2, 2), True),  # one that is not, with entries behind it that reach further than the forced side's
    ],
)
def test_a_follower_of_an_older_epoch_takes_over_the_forced_database(
    entries: list[int], snapshot: tuple[int, int], whole: bool
) -> None:
    """Its own log stays as far as it is proven to be the same; otherwise it is replaced, even where it is longer."""
    leader, follower = forced([1, 1, 1]), stale(entries, snapshot, TERM)
    talk(leader, follower)
    assert bool(follower.installed) is whole
    assert follower.state.log.last_index == leader.state.log.last_index == 5
    assert follower.state.log.last_term == TERM
    assert follower.state.log.term_at(4) == 1
    assert follower.state.commit <= 5


def test_what_was_acknowledged_within_an_epoch_is_never_thrown_away() -> None:
    """A late call of the forced leader reaches nothing that the follower already has of the epoch."""
    leader, follower = forced([1]), stale([], (3, 1), TERM)
    talk(leader, follower)
    last = follower.state.log.last_index
    follower.replication.append(leader.out.now, NodeId(3), AppendEntries(TERM, 1, 1, 1, (), 99))
    old = InstallSnapshot(TERM, 1, 1, voters(3), b"{}", 99)
    follower.replication.install(leader.out.now, NodeId(3), old)
    assert follower.state.log.last_index == last
    assert follower.state.log.last_term == TERM


# prevented quorum


def test_a_node_with_prevented_quorum_helps_nobody_to_form_a_cluster() -> None:
    """It neither stands nor votes before it has joined."""
    desk = Desk(cluster(), start=Start.PREVENTED)
    desk.awake()
    desk.hear(2, 3)
    desk.fire("election")
    assert desk.sent(PreVote) == []
    reply = desk.pre_vote(2, 2)
    assert not reply.granted
    assert "prevented quorum" in reply.reason
    assert not desk.vote(2, 2).granted
    assert desk.sent(VoteReply, 2) != []
    assert desk.core.next_start is Start.PREVENTED


def test_a_node_with_prevented_quorum_that_has_joined_is_like_any_other() -> None:
    """Once a leader has taken it in, its vote counts, and its next life starts normally."""
    desk = Desk(cluster(), start=Start.PREVENTED)
    definition = desk.definition
    database = Database.created(definition)
    database.apply(NodeUp(NodeId(1), desk.core.incarnation, desk.store(1)))
    snapshot = InstallSnapshot(2, 5, 2, database.first_configuration(), database.encode(), 1)
    desk.receive(2, snapshot)
    assert desk.core.replica.member
    assert desk.core.next_start is Start.NORMAL
    desk.wait(2 * desk.timing.detection)
    assert desk.vote(3, 3, (2, 5)).granted
