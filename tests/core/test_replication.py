"""Replication between a real leader and a real follower: log matching, what commits, what a follower may apply."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hvcluster.model.properties import Timing, defaults
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node.core.commands import Configure, Noop
from hvcluster.node.core.effects import Send
from hvcluster.node.core.messages import AppendEntries, AppendReply, Entry, InstallSnapshot
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.raft.replication import Replication
from hvcluster.node.core.raft.state import RaftState
from hvcluster.node.core.saved import SavedState, Snapshot

TIMING = Timing.of(defaults("ws2012r2"))
NOW = Instant(10**9)


def voters(*nodes: int, witness: bool = False) -> Configuration:
    """A configuration of these nodes, each on its first disk."""
    return Configuration(tuple(Voter(NodeId(n), StoreId(n)) for n in nodes), witness)


class Side:
    """One node's replication, and what it wants to send."""

    def __init__(self, node: int, terms: Sequence[int], configuration: Configuration, term: int) -> None:
        entries = tuple(Entry(2 + n, t, Noop()) for n, t in enumerate(terms))
        snapshot = Snapshot(1, 1, configuration, b"{}")
        saved = SavedState(StoreId(node), Incarnation(1), term, NOBODY, snapshot, entries)
        self.out = Outbox(NodeId(node))
        self.out.now = NOW
        self.state = RaftState(NodeId(node), saved, self.out)
        self.installed: list[bytes] = []
        self.replication = Replication(self.state, TIMING, self.out, self._install)

    def _install(self, database: bytes) -> bool:
        self.installed.append(database)
        return True

    def lead(self) -> Side:
        """Win an election (5.2)."""
        self.state.stand()
        self.state.lead()
        self.replication.start()
        return self

    def said(self) -> list[AppendEntries | InstallSnapshot | AppendReply]:
        """Messages since the last look."""
        sends = [effect.message for effect in self.out.take() if isinstance(effect, Send)]
        return [m for m in sends if isinstance(m, AppendEntries | InstallSnapshot | AppendReply)]

    def terms(self) -> list[int]:
        """The terms of all entries after index 1."""
        return [entry.term for entry in self.state.log.entries_from(self.state.log.snapshot_index + 1, 10_000)]


def talk(leader: Side, follower: Side, rounds: int = 60) -> None:
    """Let the two exchange messages until the leader has nothing more to say."""
    me, them = leader.state.me, follower.state.me
    leader.replication.send(NOW, them, follower.state.store)
    for _ in range(rounds):
        questions = leader.said()
        if not questions:
            return
        for message in questions:
            if isinstance(message, AppendEntries):
                follower.replication.append(NOW, me, message)
            elif isinstance(message, InstallSnapshot):
                follower.replication.install(NOW, me, message)
        for reply in follower.said():
            assert isinstance(reply, AppendReply)
            leader.replication.replied(NOW, them, follower.state.store, reply)
        leader.replication.advance()
        leader.replication.follow_up(NOW, them, follower.state.store)
    raise AssertionError("the exchange does not end")


FIGURE_7 = {
    "a": [1, 1, 1, 4, 4, 5, 5, 6, 6],
    "b": [1, 1, 1, 4],
    "c": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    "d": [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    "e": [1, 1, 1, 4, 4, 4, 4],
    "f": [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
}


@pytest.mark.parametrize("name", sorted(FIGURE_7))
def test_any_follower_of_figure_7_is_brought_in_line(name: str) -> None:
    """The leader forces followers' logs to duplicate its own: missing and extra entries both go (5.3, figure 7)."""
    leader = Side(1, [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], voters(1, 2), 7).lead()
    follower = Side(2, FIGURE_7[name], voters(1, 2), 7)
    leader.replication.propose((Noop(),))
    talk(leader, follower)
    assert follower.terms() == leader.terms() == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8]
    assert leader.state.commit == leader.state.log.last_index


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 4), max_size=14), st.lists(st.integers(1, 4), max_size=14), st.integers(0, 14))
@pytest.mark.conforms("database")
def test_any_two_logs_become_one(ours: list[int], theirs: list[int], common: int) -> None:
    """Log matching (5.3): whatever two logs with a common beginning differ in, the follower ends with the leader's."""
    mine = sorted(ours)
    other = [*mine[:common], *(t for t in sorted(theirs) if not mine[:common] or t >= mine[:common][-1])]
    split = next((n for n, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), None)
    if split is not None:
        other = [*other[:split], *(t + 4 if t in mine[split:] else t for t in other[split:])]
        other = [*other[:split], *sorted(other[split:])]
    leader, follower = Side(1, mine, voters(1, 2), 9).lead(), Side(2, other, voters(1, 2), 9)
    leader.replication.propose((Noop(),))
    talk(leader, follower)
    assert follower.terms() == leader.terms()
    assert leader.state.commit == leader.state.log.last_index


def test_an_entry_of_an_older_term_commits_only_through_one_of_the_leaders_own() -> None:
    """Figure 8: counting copies of older entries could commit what another leader overwrites (5.4.2)."""
    leader = Side(1, [2], voters(1, 2, 3), 3).lead()
    follower = Side(2, [], voters(1, 2, 3), 3)
    talk(leader, follower)
    assert follower.terms() == [2]
    assert leader.state.commit == 1
    leader.replication.propose((Noop(),))
    talk(leader, follower)
    assert leader.state.commit == 3


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 8), max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
    st.one_of(st.none(), st.integers(1, 8)),
)
def test_what_commits_is_what_a_dumb_count_of_copies_says(
    matches: list[int], right_disk: list[bool], witness: int | None
) -> None:
    """An index is committed when a quorum of the newest configuration holds it on the disks that vote (5.3)."""
    nodes = range(2, 2 + len(matches))
    configuration = voters(1, *nodes, witness=witness is not None)
    leader = Side(1, [], configuration, 1).lead()
    leader.replication.propose(tuple(Noop() for _ in range(7)))
    for node, match, right in zip(nodes, matches, right_disk, strict=False):
        store = StoreId(node if right else 99)
        leader.replication.follower(NodeId(node), store)
        reply = AppendReply(leader.state.term, True, match, 0)
        leader.replication.replied(NOW, NodeId(node), store, reply)
    leader.replication.witness_match = witness or 0
    leader.replication.advance()

    def copies(index: int) -> int:
        held = [match for match, right in zip(matches, right_disk, strict=False) if right]
        return 1 + sum(match >= index for match in held) + (witness is not None and witness >= index)

    expected = max((i for i in range(2, 9) if copies(i) > (1 + len(matches) + (witness is not None)) // 2), default=1)
    assert leader.state.commit == expected


def test_a_change_of_votes_counts_from_the_moment_it_is_in_the_log() -> None:
    """A server uses the latest configuration in its log, whether committed or not (6)."""
    leader = Side(1, [], voters(1, 2), 1).lead()
    leader.replication.propose((Configure(voters(1), "node 2 left"),))
    assert leader.replication.advance()
    assert leader.state.commit == 2
    leader.replication.propose((Configure(voters(1, 2), "node 2 is up"),))
    assert not leader.replication.advance()


def test_a_follower_applies_nothing_beyond_what_it_knows_to_match() -> None:
    """A follower commits min(leaderCommit, last entry that is the leader's), never its own unverified tail (5.3)."""
    follower = Side(2, [1, 1, 1], voters(1, 2, 3), 2)
    follower.replication.append(NOW, NodeId(1), AppendEntries(2, 2, 1, 4, (), 1))
    assert follower.state.commit == 2
    assert not follower.replication.commit_to(4)
    follower.replication.append(NOW, NodeId(1), AppendEntries(2, 4, 1, 4, (), 2))
    assert follower.state.commit == 4


def test_what_was_verified_under_one_leader_is_not_under_the_next() -> None:
    """A heartbeat's commit index of a new term says nothing about entries the new leader may overwrite."""
    follower = Side(2, [1, 1, 1], voters(1, 2, 3), 2)
    follower.replication.append(NOW, NodeId(1), AppendEntries(2, 4, 1, 1, (), 1))
    follower.state.see_term(3, "an election")
    assert not follower.replication.commit_to(4)


def test_entries_of_an_older_term_are_refused_with_our_term() -> None:
    """A deposed leader learns from the answer that it is one (5.1)."""
    follower = Side(2, [1], voters(1, 2, 3), 5)
    follower.replication.append(NOW, NodeId(1), AppendEntries(4, 1, 1, 2, (Entry(2, 4, Noop()),), 1))
    (reply,) = follower.said()
    assert isinstance(reply, AppendReply)
    assert (reply.success, reply.term) == (False, 5)
    assert follower.terms() == [1]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_messages_late_doubled_and_out_of_order_do_no_harm(order: list[int]) -> None:
    """AppendEntries is idempotent, and an older one never removes what a newer one brought (5.3)."""
    leader = Side(1, [], voters(1, 2), 1).lead()
    leader.replication.propose(tuple(Noop() for _ in range(8)))
    log, term = leader.state.log, leader.state.term
    messages = [
        AppendEntries(term, first, log.term_at(first) or 0, min(first, 5), log.entries_from(first + 1, count), 0)
        for first in range(1, 9)
        for count in (0, 2, 8)
    ]
    follower = Side(2, [], voters(1, 2), 1)
    longest = 1
    for at in order:
        message = messages[at]
        if message.prev_index <= longest:
            longest = max(longest, message.prev_index + len(message.entries))
        follower.replication.append(NOW, NodeId(1), message)
        assert follower.state.log.last_index == longest
        assert follower.state.commit <= longest
    assert follower.terms() == leader.terms()[: longest - 1]


def test_a_follower_that_lacks_what_was_compacted_gets_the_snapshot() -> None:
    """InstallSnapshot, when the leader has discarded the next entry it needs to send (7)."""
    leader = Side(1, [], voters(1, 2), 1).lead()
    leader.replication.propose(tuple(Noop() for _ in range(9)))
    leader.state.commit = leader.state.log.last_index
    leader.replication.compact(lambda: b'{"of":10}', 3)
    leader.replication.propose((Noop(),))
    follower = Side(2, [], voters(1, 2), 1)
    talk(leader, follower)
    assert follower.installed == [b'{"of":10}']
    assert follower.state.log.last_index == leader.state.log.last_index == 11
    assert follower.state.log.snapshot_index == 10
    assert leader.state.commit == 11


def test_a_follower_that_returns_on_an_empty_disk_starts_from_nothing() -> None:
    """What the old disk held says nothing of the new one (Failure table, disk of a node lost)."""
    leader = Side(1, [], voters(1, 2), 1).lead()
    leader.replication.propose((Noop(),))
    talk(leader, Side(2, [], voters(1, 2), 1))
    assert leader.replication.match(NodeId(2), StoreId(2)) == 2
    assert leader.replication.match(NodeId(2), StoreId(99)) == 0
    late = AppendReply(leader.state.term, True, 2, 0)
    assert not leader.replication.replied(NOW, NodeId(2), StoreId(99), late)
    assert leader.replication.match(NodeId(2), StoreId(99)) == 0


def test_one_exchange_at_a_time_and_again_when_no_answer_comes() -> None:
    """A lost message is sent again after two heartbeats, and not before: a slow follower is not flooded."""
    leader = Side(1, [], voters(1, 2), 1).lead()
    leader.replication.propose((Noop(),))
    for at, count in ((0, 1), (TIMING.delay, 0), (2 * TIMING.delay, 1)):
        leader.replication.send(Instant(NOW + at), NodeId(2), StoreId(2))
        assert len(leader.said()) == count


def test_a_disk_that_is_gone_is_never_talked_to_again() -> None:
    """Two disks of one node in one exchange would reset each other, and every answer would begin two more."""
    leader = Side(1, [], voters(1, 2), 1).lead()
    leader.replication.propose((Noop(),))
    leader.replication.send(NOW, NodeId(2), StoreId(99))
    assert len(leader.said()) == 1
    late = AppendReply(leader.state.term, True, 2, 0)
    leader.replication.replied(NOW, NodeId(2), StoreId(2), late)
    leader.replication.follow_up(NOW, NodeId(2), StoreId(2))
    assert leader.said() == []
    leader.replication.send(NOW, NodeId(2), StoreId(99))
    assert leader.said() == [], "the exchange with the new disk is still under way"
