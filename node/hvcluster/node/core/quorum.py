"""Whether this node stands on a side with quorum: the leader's lease, and when a node must stop its VMs.

Law: evidence and its age; nothing is voted here. A leader's evidence is its followers' echoes of its own heartbeats; a
follower's is a leader that says its evidence stands.
"""

from __future__ import annotations

from hvcluster.model.epochs import term_text
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Instant, NodeId
from hvcluster.model.votes import Configuration

from .heartbeats import NEVER, Heartbeats
from .outbox import Outbox
from .raft.state import RaftState
from .witness import Hold, Witness

TIMER = "quorum"
GRACE_DELAYS = 3  # an election after detection takes less; losing VMs to an election that succeeds would be worse
ARBITRATION_SLACK_DELAYS = 4


class Quorum:
    """One node's evidence of quorum."""

    __slots__ = ("_beats", "_elected_at", "_evidence", "_handed_over", "_held", "_out", "_state", "_timing", "witness")

    def __init__(self, state: RaftState, beats: Heartbeats, timing: Timing, out: Outbox) -> None:
        self._state = state
        self._beats = beats
        self._timing = timing
        self._out = out
        self.witness: Witness | None = None
        self._evidence = NEVER
        self._elected_at = NEVER
        self._held = False
        self._handed_over = 0  # the term in which we asked another node to lead: our lease of it is void

    @property
    def held(self) -> bool:
        """Evidence stands, as far as was known when it was last looked at."""
        return self._held

    def elected(self, now: Instant) -> None:
        """A quorum has just voted for us."""
        self._elected_at = now

    def hand_over(self) -> None:
        """We are about to ask another node to lead."""
        self._handed_over = self._state.term

    def _echoes(self, configuration: Configuration) -> list[Instant]:
        """For each vote that counts: when we sent what its voter last echoed in our term, newest first."""
        state = self._state
        times: list[Instant] = []
        for voter in configuration.voters:
            if voter.node == state.me:
                times.append(self._out.now)
                continue
            peer = self._beats.peers.get(voter.node)
            beat = peer.beat if peer is not None else None
            if (
                peer is None
                or beat is None
                or beat.term != state.term
                or beat.leader != state.me
                or peer.store != voter.store
            ):
                times.append(NEVER)
            else:
                times.append(self._beats.sent_at(peer.echo) or NEVER)
        return sorted(times, reverse=True)

    def lease_stands(self, now: Instant) -> bool:
        """As leader: no other leader can have been elected yet. Strict; shortened by the clocks' drift."""
        if self._handed_over == self._state.term:
            return False
        configuration = self._state.log.configuration
        votes = sum(1 for at in self._echoes(configuration) if now < at + self._timing.lease)
        if configuration.witness and self.witness is not None and self.witness.hold is Hold.HELD:
            votes += now < self.witness.lease_until()
        return self._state.leads and votes >= configuration.quorum

    def _leader_evidence(self) -> Instant:
        return max(self._evidence_by(self._state.log.configuration), self._elected_at)

    def _evidence_by(self, configuration: Configuration) -> Instant:
        """Up to when a quorum of some votes is known to have followed us."""
        times = self._echoes(configuration)
        if configuration.witness:
            held = self.witness is not None and self.witness.hold is Hold.HELD
            times.append(self.witness.defended_at if held and self.witness is not None else NEVER)
            times.sort(reverse=True)
        return times[configuration.quorum - 1] if len(times) >= configuration.quorum else NEVER

    def would_stand(self, now: Instant, configuration: Configuration) -> bool:
        """As leader: whether our evidence would stand by these votes as well.

        A change of votes counts from the moment it is appended: with new ones that have echoed nothing yet, the oldest
        evidence would be all there is, and quorum lost in that moment.
        """
        return now - self._evidence_by(configuration) < self._timing.sticky

    def leader_says(self, now: Instant) -> bool:
        """As leader: whether our heartbeat may tell followers that quorum stands."""
        return now - self._leader_evidence() < self._timing.sticky

    def heard_leader(self, now: Instant) -> None:
        """As follower: the leader of our term says that its evidence stands."""
        self._evidence = now

    @property
    def evidence(self) -> Instant:
        """How new the evidence is."""
        return self._leader_evidence() if self._state.leads else self._evidence

    def due(self) -> Instant:
        """When evidence runs out if nothing more is heard."""
        due = self.evidence + self._timing.detection + self._timing.regroup + GRACE_DELAYS * self._timing.delay
        if self.witness is not None and (self.witness.arbitrating or self._won_the_witness):
            due += self.witness.challenge + ARBITRATION_SLACK_DELAYS * self._timing.delay
        return Instant(due)

    @property
    def _won_the_witness(self) -> bool:
        """The witness is ours, and the election that it was won for is still to come."""
        return self.witness is not None and self.witness.hold is Hold.HELD and not self._state.leads

    def lost(self, now: Instant) -> bool:
        """Look at the evidence; True at the moment when held quorum has run out."""
        due = self.due()
        if now < due:
            if not self._held:
                self._held = True
                leader: NodeId = self._state.leader
                reason = f"node {leader} leads term {term_text(self._state.term)}"
                self._out.fact(FactKind.QUORUM_HELD, reason, leader=leader, term=self._state.term)
                self._out.timer(TIMER, due)
            return False
        return self._held

    def again(self, now: Instant) -> None:
        """The timer fired and quorum still stands: look again when it may have run out."""
        if self._held:
            self._out.timer(TIMER, max(self.due(), now + self._timing.delay // 4))
