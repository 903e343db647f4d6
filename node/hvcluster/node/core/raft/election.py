"""Elections: pre-vote, votes, and the witness when nodes alone are not enough.

Law: who may lead. A voter that heard a leader within the sticky time refuses everybody else, which is what leases rest
on; a restarted voter refuses for that time too, because it has forgotten whom it heard. Sources: Raft 5.2 and 5.4.1,
Ongaro's dissertation 4.2.3 (disruptive servers), 6.4.1 (leases) and 9.6 (pre-vote).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hvcluster.model.epochs import term_text
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import NOBODY, Instant, NodeId, StoreId
from hvcluster.node.core.messages import PreVote, PreVoteReply, RequestVote, TimeoutNow, VoteReply
from hvcluster.node.core.outbox import Outbox

from .state import RaftState, Role

TIMER = "election"


class WitnessVote(Protocol):
    """What an election asks of the witness."""

    @property
    def arbitrating(self) -> bool:
        """Arbitration is under way on behalf of a candidate."""
        ...

    def arbitrate(self, now: Instant) -> None:
        """Try to hold the witness; ends in Election.witness_answered."""
        ...

    def cast(self, now: Instant, term: int) -> None:
        """Write our vote of `term` to the witness we hold; ends in Election.witness_voted."""

    def release(self, now: Instant) -> None:
        """Let others have the witness, if we hold it."""
        ...


class Surroundings(Protocol):
    """What an election must know of this node's surroundings."""

    def reachable(self, node: NodeId) -> bool: ...
    def known(self) -> tuple[NodeId, ...]: ...
    def lease_stands(self, now: Instant) -> bool: ...
    def may_stand(self) -> bool: ...
    def may_vote(self) -> bool: ...


class Election:
    """Standing and voting of one node."""

    __slots__ = (
        "_answered",
        "_around",
        "_granted",
        "_out",
        "_quiet_until",
        "_refused",
        "_timing",
        "_won",
        "state",
        "witness",
    )

    def __init__(
        self, state: RaftState, timing: Timing, around: Surroundings, out: Outbox, won: Callable[[Instant], None]
    ) -> None:
        self.state = state
        self._timing = timing
        self._around = around
        self._out = out
        self._won = won
        self.witness: WitnessVote | None = None
        self._granted: set[NodeId] = set()
        self._answered: set[NodeId] = set()
        self._refused: dict[NodeId, str] = {}
        self._quiet_until = Instant(0)

    def start(self, now: Instant) -> None:
        """The service starts: listen first, and vote for nobody until any promise we may have forgotten has run out."""
        self._quiet_until = Instant(now + self._timing.sticky)
        self._out.timer(TIMER, now + self._timing.detection + self._stagger())

    def _stagger(self) -> int:
        """Voters that can be reached stand one after the other, in order of their ids."""
        state = self.state
        ahead = sum(
            1
            for voter in state.log.configuration.voters
            if voter.node < state.me and voter.node != state.leader and self._around.reachable(voter.node)
        )
        return ahead * self._timing.stagger

    def leader_lost(self, now: Instant, reason: str) -> None:
        """The leader is known to be gone: stand in turn, without waiting for the timer."""
        if self.state.role is Role.FOLLOWER:
            stagger = self._stagger()
            self.state.leader = NOBODY
            self._out.timer(TIMER, now + stagger)

    def timer(self, now: Instant) -> None:
        """The election timer fired."""
        state = self.state
        if state.leads:
            return
        if self.witness is not None and self.witness.arbitrating:
            self._out.timer(TIMER, now + self._timing.delay)  # arbitration ends by itself and calls us
            return
        if state.role is Role.FOLLOWER and state.leader != NOBODY:
            due = state.leader_heard + self._timing.detection + self._timing.regroup
            if now < due:
                self._out.timer(TIMER, due + self._stagger())
                return
            state.leader = NOBODY
        if not state.may_stand or not self._around.may_stand():
            state.role = Role.FOLLOWER
            self._out.timer(TIMER, now + self._timing.detection)
            return
        self._ask(now)

    def _ask(self, now: Instant) -> None:
        """Begin a round of pre-votes."""
        state = self.state
        first = state.role is not Role.PRE_CANDIDATE
        state.role = Role.PRE_CANDIDATE
        self._granted = {state.me} if state.votes else set()
        self._answered = {state.me}
        self._refused = {}
        log = state.log
        if first:
            reason = "no leader is heard"
            self._out.fact(FactKind.PRE_VOTE_STARTED, reason, term=state.term + 1, last_index=log.last_index)
        self._out.timer(TIMER, now + 2 * self._timing.stagger + self._stagger())
        for node in self._around.known():
            if self._around.reachable(node):
                self._out.send(node, PreVote(state.term + 1, log.last_index, log.last_term))
        self._count_pre_votes(now)

    def transfer(self, now: Instant, sender: NodeId, message: TimeoutNow) -> None:
        """The leader hands over to us: stand at once."""
        state = self.state
        if message.term != state.term or state.leader != sender or not state.may_stand:
            return
        if not self._around.may_vote():
            return
        voters = state.log.configuration.voters
        here = sum(1 for voter in voters if voter.node == state.me or self._around.reachable(voter.node))
        if state.log.configuration.witness and here < state.log.configuration.quorum:
            state.leader = NOBODY  # the witness has to be won first, as before any election
            self._ask(now)
        else:
            self._stand(now, transfer=True)

    # answering

    def _refusal(self, now: Instant, sender: NodeId, transfer: bool) -> str | None:
        """Why nobody but the leader may have our vote now, or None."""
        state = self.state
        if self.witness is not None and self.witness.arbitrating:
            return "this node arbitrates for the witness"
        if not self._around.may_vote():
            return "this node was started with prevented quorum, and has not joined"
        if transfer:
            return None
        if state.leads and self._around.lease_stands(now):
            return "this node leads and its lease stands"
        if now < self._quiet_until:
            return "this node restarted too recently to vote"
        alive = state.leader not in (NOBODY, sender, state.me) and self._around.reachable(state.leader)
        if alive and now - state.leader_heard < self._timing.sticky:
            return f"node {state.leader} leads and was heard {(now - state.leader_heard) // 1000} ms ago"
        return None

    def pre_vote(self, now: Instant, sender: NodeId, message: PreVote) -> None:
        """Somebody asks whether it could win."""
        state = self.state
        reason = self._refusal(now, sender, message.transfer)
        if reason is None and message.term <= state.term:
            reason = f"term {term_text(state.term)} has begun"
        if reason is None and not state.log.is_behind(message.last_term, message.last_index):
            reason = "this node's log is newer"
        self._out.send(sender, PreVoteReply(message.term, reason is None, state.term, reason or ""))

    def request_vote(self, now: Instant, sender: NodeId, message: RequestVote) -> None:
        """Somebody stands for election."""
        state = self.state
        reason = self._refusal(now, sender, message.transfer)
        if reason is None and message.term < state.term:
            reason = f"term {term_text(state.term)} has begun"
        if reason is None:
            state.see_term(message.term, f"node {sender} stands for election")
            if state.voted_for not in (NOBODY, sender):
                reason = f"this node voted for node {state.voted_for} in term {term_text(state.term)}"
            elif state.role is not Role.FOLLOWER:
                reason = "this node stands itself"
            elif not state.log.is_behind(message.last_term, message.last_index):
                reason = "this node's log is newer"
        if reason is None:
            state.vote_for(sender)
            self._out.timer(TIMER, now + self._timing.detection + self._stagger())
        self._out.send(sender, VoteReply(message.term, reason is None, state.term, reason or ""))

    # counting

    def pre_vote_replied(self, now: Instant, sender: NodeId, store: StoreId, reply: PreVoteReply) -> None:
        """An answer to our pre-vote."""
        state = self.state
        if state.role is not Role.PRE_CANDIDATE or reply.term != state.term + 1:
            return
        if reply.own_term > state.term:
            state.see_term(reply.own_term, f"node {sender} is in it")
            self._out.timer(TIMER, now + self._timing.stagger)
            return
        if not reply.granted:
            self._refused[sender] = reply.reason
            if self.witness is not None:
                self.witness.release(now)  # won for a candidacy that failed; whoever refuses may be waiting for it
            return
        self._answered.add(sender)
        if state.log.configuration.has(sender, store):
            self._granted.add(sender)
        self._count_pre_votes(now)

    def _count_pre_votes(self, now: Instant) -> None:
        state = self.state
        configuration = state.log.configuration
        if state.role is not Role.PRE_CANDIDATE:
            return
        if len(self._granted) >= configuration.quorum:
            self._stand(now, transfer=False)
            return
        if not configuration.witness or len(self._granted) + 1 < configuration.quorum or self.witness is None:
            return
        within_reach = {v.node for v in configuration.voters if self._around.reachable(v.node)}
        if within_reach <= self._answered and not self.witness.arbitrating:
            self.witness.arbitrate(now)

    def witness_answered(self, now: Instant, held: bool) -> None:
        """Arbitration ended. Held: the witness's newer database, if it had one, is already ours."""
        state = self.state
        if held and state.leader == NOBODY and not state.leads:
            self._stand(now, transfer=False)
        elif not state.leads:
            state.role = Role.FOLLOWER
            self._out.timer(TIMER, now + self._timing.detection)

    def _stand(self, now: Instant, *, transfer: bool) -> None:
        """Stand for election in the next term."""
        state = self.state
        if not state.may_stand:
            state.role = Role.FOLLOWER
            self._out.timer(TIMER, now + self._timing.detection)
            return
        state.stand()
        log = state.log
        reason = "the leader handed over" if transfer else "the pre-vote was won"
        self._out.fact(FactKind.ELECTION_STARTED, reason, term=state.term, last_index=log.last_index)
        self._granted = {state.me} if state.votes else set()
        self._out.timer(TIMER, now + 2 * self._timing.delay + self._stagger())
        for voter in log.configuration.voters:
            if voter.node != state.me:
                self._out.send(voter.node, RequestVote(state.term, log.last_index, log.last_term, transfer))
        if log.configuration.witness and self.witness is not None:
            self.witness.cast(now, state.term)
        self._count_votes(now)

    def vote_replied(self, now: Instant, sender: NodeId, store: StoreId, reply: VoteReply) -> None:
        """An answer to our RequestVote."""
        state = self.state
        if reply.own_term > state.term:
            state.see_term(reply.own_term, f"node {sender} is in it")
            return
        if state.role is not Role.CANDIDATE or reply.term != state.term:
            return
        if not reply.granted:
            self._refused[sender] = reply.reason
            return
        if state.log.configuration.has(sender, store):
            self._granted.add(sender)
            self._count_votes(now)

    def witness_voted(self, now: Instant, term: int) -> None:
        """The witness has our vote of `term` written on it."""
        if self.state.role is Role.CANDIDATE and term == self.state.term:
            self._granted.add(NOBODY)
            self._count_votes(now)

    def _count_votes(self, now: Instant) -> None:
        state = self.state
        configuration = state.log.configuration
        if len(self._granted) < configuration.quorum:
            return
        voters = ", ".join("the witness" if node == NOBODY else f"node {node}" for node in sorted(self._granted))
        state.lead()
        reason = f"{len(self._granted)} of {configuration.votes} votes ({configuration.quorum} needed): {voters}"
        self._out.fact(FactKind.LEADER_ELECTED, reason, term=state.term)
        self._won(now)
