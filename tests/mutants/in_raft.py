"""Mutants of consensus: votes, logs, commits, leases, changes of votes.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId
from hvcluster.model.votes import Configuration, Electorate, Step, next_step
from hvcluster.node.core import planner
from hvcluster.node.core.commands import Command, Noop
from hvcluster.node.core.consequences import Consequences
from hvcluster.node.core.effects import Effect, Save
from hvcluster.node.core.heartbeats import NEVER
from hvcluster.node.core.messages import AppendEntries, Entry, VoteReply
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.parts import Parts
from hvcluster.node.core.quorum import Quorum
from hvcluster.node.core.raft.election import Election
from hvcluster.node.core.raft.log import Log
from hvcluster.node.core.raft.replication import Replication
from hvcluster.node.core.raft.state import RaftState, Role
from tests.mutants.patching import Patch, breaks

# votes


@breaks("a vote is on the disk before it is sent")
def votes_are_not_saved(patch: Patch) -> None:
    """A voter saves the term but not whom it voted for."""
    real = Outbox.save_vote

    def save_vote(self: Outbox, term: int, voted_for: NodeId) -> None:
        real(self, term, NOBODY)

    patch.set(Outbox, "save_vote", save_vote)


@breaks("what is said rests on what is saved")
def saved_after_it_is_said(patch: Patch) -> None:
    """The Save of an event comes last instead of first."""
    real = Outbox.take

    def take(self: Outbox) -> list[Effect]:
        effects = real(self)
        if effects and isinstance(effects[0], Save):
            effects.append(effects.pop(0))
        return effects

    patch.set(Outbox, "take", take)


@breaks("one vote in a term")
def a_vote_can_be_given_twice(patch: Patch) -> None:
    """A voter forgets in the middle of a term whom it voted for."""
    real = RaftState.vote_for

    def vote_for(self: RaftState, node: NodeId) -> None:
        self.voted_for = NOBODY
        real(self, node)
        self.voted_for = NOBODY

    patch.set(RaftState, "vote_for", vote_for)


@breaks("a leader has everything that was committed")
def any_log_may_lead(patch: Patch) -> None:
    """Votes are given without looking at the candidate's log."""
    patch.set(Log, "is_behind", lambda *_: True)


@breaks("a vote counts in the term it was given in")
def votes_of_any_term_count(patch: Patch) -> None:
    """A candidate counts late votes of its earlier candidacies."""
    real = Election.vote_replied

    def vote_replied(self: Election, now: Instant, sender: NodeId, store: StoreId, reply: VoteReply) -> None:
        real(self, now, sender, store, replace(reply, term=self.state.term))

    patch.set(Election, "vote_replied", vote_replied)


@breaks("a pre-vote promises nothing")
def pre_votes_are_counted_as_votes(patch: Patch) -> None:
    """A candidate leads as soon as its pre-vote is won."""
    real = Election._stand

    def stand(self: Election, now: Instant, *, transfer: bool) -> None:
        would = set(self._granted)
        real(self, now, transfer=transfer)
        if self.state.role is Role.CANDIDATE:
            self._granted |= would
            self._count_votes(now)

    patch.set(Election, "_stand", stand)


@breaks("quorum is more than half of the votes")
def half_is_a_quorum(patch: Patch) -> None:
    """Half of the votes are enough."""
    patch.set(Configuration, "quorum", property(lambda self: max(1, (self.votes + 1) // 2)))


@breaks("a voter is a node together with its store (decision 0008)")
def a_wiped_disk_votes(patch: Patch) -> None:
    """A node that lost its disk votes as if it had not."""
    patch.set(Configuration, "has", lambda self, node, store: any(v.node == node for v in self.voters))


# logs


@breaks("an entry is committed when a quorum has it")
def one_copy_is_enough(patch: Patch) -> None:
    """A leader commits what it alone has."""

    def advance(self: Replication) -> bool:
        self.state.commit = self.state.log.last_index
        return True

    patch.set(Replication, "advance", advance)


@breaks("a leader commits only entries of its own term by counting (Raft 5.4.2)")
def older_terms_are_committed_by_counting(patch: Patch) -> None:
    """A leader begins its term without an entry of its own, and commits what a quorum has of older terms."""
    real = Replication.propose

    def propose(self: Replication, commands: Sequence[Command]) -> int:
        return real(self, [command for command in commands if not isinstance(command, Noop)])

    def advance(self: Replication) -> bool:
        configuration = self.state.log.configuration
        copies = [self.match(voter.node, voter.store) for voter in configuration.voters]
        if configuration.witness:
            copies.append(self.witness_match)
        copies.sort(reverse=True)
        index = copies[configuration.quorum - 1] if len(copies) >= configuration.quorum else 0
        if index <= self.state.commit:
            return False
        self.state.commit = index
        return True

    patch.set(Replication, "propose", propose)
    patch.set(Replication, "advance", advance)


@breaks("only what is committed is applied")
def applied_before_it_is_committed(patch: Patch) -> None:
    """A node applies whatever is in its log."""
    real = Consequences._follow_database

    def follow_database(self: Consequences, now: Instant) -> None:
        committed = self.state.commit
        self.state.commit = max(committed, self.state.log.last_index)
        self.replica.apply(self.state)
        self.state.commit = committed
        real(self, now)

    patch.set(Consequences, "_follow_database", follow_database)


@breaks("a follower obeys the leader of the newest term alone")
def a_stale_leader_is_obeyed(patch: Patch) -> None:
    """A follower takes entries from a leader whose term is over."""
    real = Replication.append

    def append(self: Replication, now: Instant, sender: NodeId, message: AppendEntries) -> None:
        real(self, now, sender, replace(message, term=max(message.term, self.state.term)))

    patch.set(Replication, "append", append)


@breaks("a leader that sees a newer term steps down")
def a_stale_leader_still_moves_groups(patch: Patch) -> None:
    """A leader takes over a newer term that it hears of, and goes on leading."""
    real = RaftState.see_term

    def see_term(self: RaftState, term: int, reason: str) -> None:
        if self.role is Role.LEADER and term > self.term:
            self.term = term
            self._out.save_vote(term, NOBODY)
        real(self, term, reason)

    patch.set(RaftState, "see_term", see_term)


@breaks("two logs that agree at an index agree before it (log matching)")
def the_entry_before_is_not_compared(patch: Patch) -> None:
    """A follower appends without comparing the term of the entry before."""
    real = Replication.append

    def append(self: Replication, now: Instant, sender: NodeId, message: AppendEntries) -> None:
        found = self.state.log.term_at(message.prev_index)
        real(self, now, sender, message if found is None else replace(message, prev_term=found))

    patch.set(Replication, "append", append)


@breaks("what differs from the leader's log is replaced")
def a_conflicting_suffix_is_kept(patch: Patch) -> None:
    """A follower keeps the entries it has, although the leader has others in their place."""
    real = Replication.append

    def append(self: Replication, now: Instant, sender: NodeId, message: AppendEntries) -> None:
        log = self.state.log

        def kept(entry: Entry) -> Entry:
            return log.entry(entry.index) if log.snapshot_index < entry.index <= log.last_index else entry

        real(self, now, sender, replace(message, entries=tuple(kept(entry) for entry in message.entries)))

    patch.set(Replication, "append", append)


@breaks("a follower commits only what is known to match the leader's log")
def followers_commit_what_they_have(patch: Patch) -> None:
    """A follower commits its own entries up to the leader's commit index."""

    def commit_to(self: Replication, leader_commit: int) -> bool:
        index = min(leader_commit, self.state.log.last_index)
        if index <= self.state.commit:
            return False
        self.state.commit = index
        return True

    patch.set(Replication, "commit_to", commit_to)


@breaks("an entry is on the disk before the leader is told so")
def entries_are_kept_in_memory(patch: Patch) -> None:
    """Appended entries are not saved."""

    def save_append(self: Outbox, entries: Sequence[Entry]) -> None:
        pass

    patch.set(Outbox, "save_append", save_append)


@breaks("a snapshot says who voted when it was taken")
def a_snapshot_keeps_the_votes_of_the_one_before(patch: Patch) -> None:
    """A snapshot is written with the votes of the snapshot before it."""
    patch.set(Log, "configuration_at", lambda self, index: self._configurations[0][1])


# leases


@breaks("a voter that heard the leader refuses everybody else for a while")
def voters_do_not_keep_their_promise(patch: Patch) -> None:
    """A voter gives its vote although it hears a leader."""
    patch.set(Election, "_refusal", lambda *_: None)


@breaks("a restarted voter refuses for as long as it may have promised")
def a_restarted_voter_votes_at_once(patch: Patch) -> None:
    """A voter that has just started gives its vote away."""
    real = Election.start

    def start(self: Election, now: Instant) -> None:
        real(self, now)
        self._quiet_until = now

    patch.set(Election, "start", start)


@breaks("a lease ends before anybody else can be elected")
def the_lease_is_longer_than_the_election(patch: Patch) -> None:
    """A leader counts on its followers for three times as long."""
    real = Quorum.lease_stands

    def lease_stands(self: Quorum, now: Instant) -> bool:
        timing = self._timing
        self._timing = replace(timing, lease=3 * timing.lease)
        try:
            return real(self, now)
        finally:
            self._timing = timing

    patch.set(Quorum, "lease_stands", lease_stands)


@breaks("a lease counts from when the heartbeat was sent (decision 0007)")
def the_lease_counts_from_the_answer(patch: Patch) -> None:
    """A leader's lease counts from when it heard a follower, not from when it sent what the follower echoed."""
    real = Quorum._echoes

    def echoes(self: Quorum, configuration: Configuration) -> list[Instant]:
        times = []
        for voter in configuration.voters:
            peer = self._beats.peers.get(voter.node)
            if voter.node == self._state.me:
                times.append(self._out.now)
            elif peer is None or peer.store != voter.store:
                times.append(NEVER)
            else:
                times.append(peer.last_heard)
        return sorted(times, reverse=True) if times else real(self, configuration)

    patch.set(Quorum, "_echoes", echoes)


@breaks("a leader that hands over has no lease any more")
def the_lease_outlives_the_handover(patch: Patch) -> None:
    """A leader asks another node to lead, and believes in its own lease."""
    patch.set(Quorum, "hand_over", lambda self: None)


# changes of votes


@breaks("votes change one voter at a time")
def one_voter_goes_and_another_comes(patch: Patch) -> None:
    """One entry removes a voter and adds another."""

    def both(configuration: Configuration, electorate: Electorate) -> Step | None:
        first = next_step(configuration, electorate)
        if first is None or len(first.configuration.voters) >= len(configuration.voters):
            return first
        return next_step(first.configuration, electorate) or first

    patch.set(planner, "next_step", both)


@breaks("a change of votes waits for the one before it")
def votes_change_before_the_last_change_is_committed(patch: Patch) -> None:
    """The leader plans while its last plan is not committed."""

    def lead(self: Consequences, now: Instant) -> None:
        state, replica = self.state, self.replica
        while True:
            if state.commit < state.log.last_index:
                self.replication.advance()
            if replica.applied < state.commit:
                replica.apply(state)
                self._dirty = True
                continue
            if self._dirty:
                self._dirty = False
                commands = self.planner.plan(now)
                if commands:
                    self.replication.propose(commands)
                    continue
            self._follow_database(now)
            if not self._send_fresh():
                break
        replica.left.clear()
        self._leader_sends(now)

    patch.set(Consequences, "_lead", lead)


@breaks("votes change only where the evidence for quorum goes on (decision 0011)")
def votes_count_before_there_is_evidence(patch: Patch) -> None:
    """A leader lets new votes count that have echoed nothing yet, and loses quorum by its own plan."""
    patch.set(Quorum, "would_stand", lambda *_: True)


@breaks("every life of a node's service has an incarnation of its own")
def the_incarnation_does_not_rise(patch: Patch) -> None:
    """A service that starts again calls itself what its last life was called."""
    real = Parts.__init__

    def init(self: Parts, definition, node, saved, start, hooks) -> None:  # type: ignore[no-untyped-def]
        older = Incarnation(max(0, saved.incarnation - 1))
        real(self, definition, node, replace(saved, incarnation=older), start, hooks)

    patch.set(Parts, "__init__", init)


@breaks("only the leader can ask a node to stand while others still hear it")
def everybody_claims_that_the_leader_asked(patch: Patch) -> None:
    """Every candidate says that the leader has handed over to it."""
    real = Election._stand

    def stand(self: Election, now: Instant, *, transfer: bool) -> None:
        real(self, now, transfer=True)

    patch.set(Election, "_stand", stand)


RAFT = (
    votes_are_not_saved,
    saved_after_it_is_said,
    a_vote_can_be_given_twice,
    any_log_may_lead,
    votes_of_any_term_count,
    pre_votes_are_counted_as_votes,
    half_is_a_quorum,
    a_wiped_disk_votes,
    one_copy_is_enough,
    older_terms_are_committed_by_counting,
    applied_before_it_is_committed,
    a_stale_leader_is_obeyed,
    a_stale_leader_still_moves_groups,
    the_entry_before_is_not_compared,
    a_conflicting_suffix_is_kept,
    followers_commit_what_they_have,
    entries_are_kept_in_memory,
    a_snapshot_keeps_the_votes_of_the_one_before,
    voters_do_not_keep_their_promise,
    a_restarted_voter_votes_at_once,
    the_lease_is_longer_than_the_election,
    the_lease_counts_from_the_answer,
    the_lease_outlives_the_handover,
    one_voter_goes_and_another_comes,
    votes_change_before_the_last_change_is_committed,
    votes_count_before_there_is_evidence,
    the_incarnation_does_not_rise,
    everybody_claims_that_the_leader_asked,
)
