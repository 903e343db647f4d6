"""Elections at one node's core, rule by rule (Raft 5.2 and 5.4.1; Ongaro's dissertation 4.2.3, 6.4.1 and 9.6)."""

from __future__ import annotations

from dataclasses import replace

from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import StoreId
from hvcluster.node.core.commands import Noop
from hvcluster.node.core.effects import Save, Send
from hvcluster.node.core.messages import (
    AppendEntries,
    Entry,
    PreVote,
    PreVoteReply,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from hvcluster.node.core.raft.state import Role
from tests.core.desk import Desk, cluster


def test_a_node_that_starts_listens_before_it_stands() -> None:
    """A follower starts an election only after an election timeout without a leader (5.2)."""
    desk = Desk(cluster())
    assert desk.core.state.role is Role.FOLLOWER
    assert desk.timers["election"] >= desk.timing.detection
    assert desk.sent(PreVote) == []


def test_one_vote_in_a_term_to_the_first_who_asks() -> None:
    """Each server votes for at most one candidate in a term, first come first served (5.2)."""
    desk = Desk(cluster())
    desk.awake()
    assert desk.vote(2, 2).granted
    assert not desk.vote(3, 2).granted
    assert desk.vote(2, 2).granted, "a doubled message is answered alike"
    assert desk.vote(3, 3).granted, "a new term is a new vote"


def test_a_vote_is_on_the_disk_before_it_leaves() -> None:
    """Term and vote are persistent state, updated before answering (figure 2)."""
    desk = Desk(cluster())
    desk.awake()
    assert desk.vote(2, 2).granted
    first = desk.effects[0]
    assert isinstance(first, Save)
    assert first.vote == (2, 2)
    assert any(isinstance(effect, Send) for effect in desk.effects[1:])
    assert (desk.saved.term, desk.saved.voted_for) == (2, 2)


def test_a_vote_is_remembered_through_a_crash() -> None:
    """A restarted server votes for nobody else in a term it has voted in (figure 2)."""
    desk = Desk(cluster())
    desk.awake()
    assert desk.vote(2, 2).granted
    desk.restart()
    desk.awake()
    assert not desk.vote(3, 2).granted
    assert desk.vote(2, 2).granted


def test_a_candidate_with_an_older_log_gets_no_vote() -> None:
    """A voter denies its vote if its own log is more up to date: last term first, then length (5.4.1)."""
    desk = Desk(cluster())
    desk.awake()
    desk.receive(2, AppendEntries(3, 1, 1, 1, (Entry(2, 3, Noop()), Entry(3, 3, Noop())), 1))
    desk.awake()
    desk.awake()
    assert not desk.vote(3, 9, (2, 9)).granted, "longer, but its last term is older"
    assert not desk.vote(3, 9, (3, 2)).granted, "shorter"
    assert desk.vote(3, 9, (3, 3)).granted, "as new as ours"


def test_who_hears_a_leader_refuses_everybody_else() -> None:
    """A server that heard a leader within the minimum election timeout does not vote, nor move to the term (4.2.3)."""
    desk = Desk(cluster())
    desk.awake()
    desk.hear(2, leader=2)
    reply = desk.vote(3, 5)
    assert not reply.granted
    assert desk.core.state.term == 1
    desk.wait(desk.timing.sticky)
    assert desk.vote(3, 5).granted


def test_a_leader_that_hands_over_overrides_the_refusal() -> None:
    """A transfer's RequestVote says that the leader itself asked for it (4.2.3, 3.10)."""
    desk = Desk(cluster())
    desk.awake()
    desk.hear(2, leader=2)
    assert desk.vote(3, 2, transfer=True).granted


def test_a_restarted_voter_keeps_the_promise_it_forgot() -> None:
    """Leases rest on refusing others; a restarted voter forgot whom it heard, and refuses that long (6.4.1)."""
    desk = Desk(cluster())
    desk.wait(desk.timing.sticky - 1)
    assert not desk.vote(2, 2).granted
    desk.wait(1)
    assert desk.vote(2, 2).granted


def test_a_pre_vote_changes_nothing() -> None:
    """A server asked for a pre-vote neither moves to the term nor gives its vote away (9.6)."""
    desk = Desk(cluster())
    desk.awake()
    assert desk.pre_vote(2, 7).granted
    assert desk.pre_vote(3, 7).granted
    assert not any(isinstance(effect, Save) for effect in desk.effects)
    assert (desk.core.state.term, desk.core.state.voted_for) == (1, 0)


def test_a_pre_vote_is_refused_for_the_reasons_a_vote_would_be() -> None:
    """Pre-vote asks whether an election could be won: by term, log and leader (9.6)."""
    desk = Desk(cluster())
    desk.awake()
    assert not desk.pre_vote(2, 1).granted
    assert not desk.pre_vote(2, 2, (1, 0)).granted
    desk.hear(3, leader=3)
    assert not desk.pre_vote(2, 2).granted


def test_nobody_becomes_a_candidate_without_a_majority_of_pre_votes() -> None:
    """A server raises its term only when a majority would vote for it, so a cut-off one disturbs nobody (9.6)."""
    desk = Desk(cluster(5))
    desk.awake()
    desk.hear(2, 3, 4, 5)
    desk.fire("election")
    assert len(desk.sent(PreVote)) == 4
    desk.receive(2, PreVoteReply(2, True, 1, ""))
    for _ in range(3):
        desk.fire("election")
        assert (desk.core.state.role, desk.core.state.term) == (Role.PRE_CANDIDATE, 1)


def test_a_candidate_votes_for_itself_and_asks_all_voters() -> None:
    """To begin an election a server increments its term, votes for itself and asks the others (5.2)."""
    desk = Desk(cluster(5))
    term = desk.stand(2, 3)
    assert (desk.saved.term, desk.saved.voted_for) == (term, 1)
    assert {message.term for message in desk.sent(RequestVote)} == {term}
    assert len(desk.sent(RequestVote)) == 4


def test_a_doubled_vote_is_one_vote() -> None:
    """A candidate wins with votes from a majority of servers, not of messages (5.2)."""
    desk = Desk(cluster(5))
    term = desk.stand(2, 3)
    for _ in range(3):
        desk.receive(2, VoteReply(term, True, term, ""))
    assert desk.core.state.role is Role.CANDIDATE
    desk.receive(3, VoteReply(term, True, term, ""))
    assert desk.core.state.leads


def test_a_vote_of_an_older_term_does_not_count() -> None:
    """Votes belong to one term (5.2)."""
    desk = Desk(cluster(3))
    term = desk.stand(2)
    desk.receive(2, VoteReply(term - 1, True, term, ""))
    assert desk.core.state.role is Role.CANDIDATE


def test_the_vote_of_a_wiped_disk_does_not_count() -> None:
    """Failure table: a wiped voter comes back without a vote; it could have voted otherwise on its old disk."""
    desk = Desk(cluster(3))
    term = desk.stand(2)
    desk.receive(2, VoteReply(term, True, term, ""), StoreId(4711))
    assert desk.core.state.role is Role.CANDIDATE
    desk.receive(3, VoteReply(term, True, term, ""))
    assert desk.core.state.leads


def test_a_wiped_node_does_not_stand() -> None:
    """An empty disk is in no configuration: it waits to be taken in."""
    definition = cluster(3)
    saved = replace(Desk(definition).saved, store=StoreId(4711), snapshot=None, entries=(), term=0)
    desk = Desk(definition, 1, saved)
    desk.awake()
    desk.hear(2, 3)
    for _ in range(5):
        desk.fire("election")
        assert desk.sent(PreVote) == []


def test_a_refusal_with_a_newer_term_ends_the_candidacy() -> None:
    """A candidate that sees a newer term becomes a follower of it (5.1)."""
    desk = Desk(cluster(5))
    term = desk.stand(2, 3)
    desk.receive(4, VoteReply(term, False, term + 5, "a newer term has begun"))
    assert (desk.core.state.role, desk.core.state.term) == (Role.FOLLOWER, term + 5)
    assert desk.saved.term == term + 5


def test_a_candidate_follows_the_leader_of_its_term() -> None:
    """AppendEntries of the same term means that another has won (5.2)."""
    desk = Desk(cluster(5))
    term = desk.stand(2, 3)
    desk.receive(4, AppendEntries(term, 1, 1, 1, (), 1))
    assert (desk.core.state.role, desk.core.state.leader) == (Role.FOLLOWER, 4)


def test_a_leader_resigns_when_it_sees_a_newer_term() -> None:
    """If a leader discovers that its term is out of date it reverts to follower at once (5.1)."""
    desk = Desk(cluster(3))
    term = desk.lead(2)
    desk.receive(3, AppendEntries(term + 1, 1, 1, 1, (), 1))
    assert desk.core.state.role is Role.FOLLOWER
    assert desk.facts(FactKind.LEADER_RESIGNED)


def test_a_leader_whose_lease_stands_gives_its_vote_to_nobody() -> None:
    """The lease promises that no other leader was elected: its holder refuses as its followers do (6.4.1)."""
    desk = Desk(cluster(3))
    term = desk.lead(2)
    desk.echo(2, term=term, leader=1)
    assert desk.core.quorum.lease_stands(desk.now)
    assert not desk.vote(3, term + 1, (9, 99)).granted
    assert desk.core.state.leads


def test_the_first_entry_of_a_term_is_the_leaders_own() -> None:
    """A leader commits older entries only by an entry of its own term: it appends one when elected (5.4.2, 8)."""
    desk = Desk(cluster(3))
    term = desk.lead(2)
    first = next(entry for entry in desk.saved.entries if entry.term == term)
    assert isinstance(first.command, Noop)


def test_only_the_leader_of_the_term_can_hand_over() -> None:
    """TimeoutNow of anybody else, or of an older term, starts no election (3.10)."""
    desk = Desk(cluster(3))
    desk.awake()
    desk.hear(2, leader=2)
    desk.receive(3, TimeoutNow(1))
    desk.receive(2, TimeoutNow(0))
    assert desk.sent(RequestVote) == []
    desk.receive(2, TimeoutNow(1))
    assert desk.core.state.role is Role.CANDIDATE
    assert all(message.transfer for message in desk.sent(RequestVote))


def test_the_election_timer_is_never_forgotten() -> None:
    """Whatever happened, a node without a leader will stand again (liveness, 5.2)."""
    desk = Desk(cluster(3))
    desk.awake()
    desk.hear(2, 3)
    for _ in range(50):
        assert "election" in desk.timers
        desk.fire("election")
        term = desk.core.state.term
        if desk.core.state.role is Role.PRE_CANDIDATE:
            desk.receive(2, PreVoteReply(term + 1, True, term, ""))
        elif desk.core.state.role is Role.CANDIDATE:
            desk.receive(2, VoteReply(term, False, term, "no"))
    assert "election" in desk.timers
