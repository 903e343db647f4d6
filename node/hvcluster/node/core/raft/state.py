"""The part of Raft that election and replication share: term, vote, role, leader, commit index.

Law: every change of term or vote is saved before it matters (through the outbox); roles change only by the methods
here.
"""

from __future__ import annotations

from enum import Enum

from hvcluster.model.epochs import epoch_of, term_text
from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import NOBODY, Instant, NodeId, StoreId
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.saved import SavedState

from .log import Log


class Role(Enum):
    """What a node is in its term."""

    FOLLOWER = "follows a leader, or waits for one"
    PRE_CANDIDATE = "asks whether it could win"
    CANDIDATE = "stands for election"
    LEADER = "leads"


class RaftState:
    """Persistent state (term, vote, log) and volatile state (role, leader, commit) of one node."""

    __slots__ = (
        "_out",
        "commit",
        "leader",
        "leader_heard",
        "log",
        "me",
        "outranked",
        "role",
        "store",
        "term",
        "verified",
        "voted_for",
    )

    def __init__(self, me: NodeId, saved: SavedState, out: Outbox) -> None:
        self.me = me
        self.store: StoreId = saved.store
        self.term = saved.term
        self.voted_for = saved.voted_for
        self.log = Log(saved, out)
        self.role = Role.FOLLOWER
        self.leader = NOBODY
        self.leader_heard = Instant(0)
        self.commit = self.log.snapshot_index
        self.verified = 0  # our log is known to match the leader's of this term up to here
        self.outranked = ""
        """Why this life of the service is over: a side with a higher force epoch exists."""
        self._out = out

    @property
    def leads(self) -> bool:
        return self.role is Role.LEADER

    @property
    def votes(self) -> bool:
        """Whether this saved state is a voter in the newest configuration."""
        return self.log.configuration.has(self.me, self.store)

    @property
    def may_stand(self) -> bool:
        """A voter may; so may one that a change takes out which is not known to be committed.

        Nobody stands in a force epoch of which it has nothing: the votes it knows of are not those of the epoch.

        It may be the only one with the newest log, and is needed until the change is committed (Ongaro's dissertation,
        4.2.2). Its own vote counts only if the newest configuration has it.
        """
        if epoch_of(self.log.last_term) != epoch_of(self.term):
            return False
        return self.votes or self.log.configuration_at(self.commit).has(self.me, self.store)

    def see_term(self, term: int, reason: str) -> None:
        """A newer term exists: follow it. Nothing happens for our own or an older term."""
        if term <= self.term:
            return
        if epoch_of(term) > epoch_of(self.term) and self.log.snapshot is not None:
            self.outranked = reason
        if self.role is not Role.FOLLOWER:
            self.resign(f"term {term_text(term)} is newer than {term_text(self.term)}: {reason}")
        self.term = term
        self.voted_for = NOBODY
        self.leader = NOBODY
        self.verified = 0
        self._out.save_vote(term, NOBODY)

    def vote_for(self, node: NodeId) -> None:
        """Give our vote in this term; never twice to different nodes."""
        assert self.voted_for in (NOBODY, node), "one vote in a term"
        if self.voted_for != node:
            self.voted_for = node
            self._out.save_vote(self.term, node)

    def stand(self) -> None:
        """Become candidate of the next term, with our own vote."""
        self.term += 1
        self.voted_for = self.me
        self.leader = NOBODY
        self.verified = 0
        self.role = Role.CANDIDATE
        self._out.save_vote(self.term, self.me)

    def force(self, term: int) -> None:
        """Lead the first term of a new force epoch, by an administrator's word instead of votes."""
        assert epoch_of(term) > epoch_of(self.term), "a forced node outranks whatever it has heard of"
        self.term = term
        self.voted_for = self.leader = self.me
        self.verified = 0
        self.role = Role.LEADER
        self._out.save_vote(term, self.me)

    def lead(self) -> None:
        """The votes are there."""
        assert self.role is Role.CANDIDATE, "only a candidate can win"
        self.role = Role.LEADER
        self.leader = self.me

    def follow(self, leader: NodeId, now: Instant) -> None:
        """A leader of our term was heard."""
        assert self.role is not Role.LEADER or leader == self.me, "two leaders in one term"
        if self.role is not Role.FOLLOWER:
            self.resign(f"node {leader} leads term {term_text(self.term)}")
        self.leader = leader
        self.leader_heard = now

    def resign(self, reason: str) -> None:
        """Stop leading or standing."""
        if self.role is Role.LEADER:
            self._out.fact(FactKind.LEADER_RESIGNED, reason, term=self.term)
            self.leader = NOBODY
        self.role = Role.FOLLOWER
