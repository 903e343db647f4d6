"""How a node leaves: politely, drained first and with its vote handed back; or because the others went on without it.

Law: the end of one life of the service. `ended` is final: nothing is handled afterwards.
"""

from __future__ import annotations

from hvcluster.model.epochs import epoch_of, epoch_text
from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import Instant, NodeId

from .effects import EndProcess, Reply, RestartService
from .groups import Groups
from .heartbeats import Heartbeats
from .messages import TimeoutNow
from .outbox import Outbox
from .quorum import Quorum
from .raft.replication import Replication
from .raft.state import RaftState
from .replica import Replica
from .settings import Settings


class Leaving:
    """One node's way out."""

    __slots__ = (
        "_beats",
        "_groups",
        "_me",
        "_out",
        "_patience_us",
        "_quorum",
        "_replica",
        "_replication",
        "_restart",
        "_settings",
        "_state",
        "_until",
        "alone",
        "ended",
        "host",
        "ticket",
    )

    def __init__(
        self,
        me: NodeId,
        state: RaftState,
        replication: Replication,
        replica: Replica,
        beats: Heartbeats,
        groups: Groups,
        quorum: Quorum,
        settings: Settings,
        patience_us: int,
        out: Outbox,
    ) -> None:
        self._patience_us = patience_us
        self._me = me
        self._state = state
        self._replication = replication
        self._replica = replica
        self._beats = beats
        self._groups = groups
        self._quorum = quorum
        self._settings = settings
        self._out = out
        self._restart: str | None = None
        self._until = Instant(0)
        self.ticket: int | None = None  # of the operator who stops this node
        self.ended = False
        self.host = False  # its host shuts down: this node does not stay, whatever becomes of its VMs
        self.alone = False  # it ends although the others have not agreed

    @property
    def asked(self) -> bool:
        """An operator has asked this node to leave."""
        return self.ticket is not None

    def refusal(self, node: NodeId) -> str | None:
        """As leader: why a node must not be stopped politely now, or None."""
        configuration = self._state.log.configuration
        reachable = self._beats.reachable
        left = [v for v in configuration.voters if v.node != node and reachable(v.node)]
        members = self._replica.database.members.values()
        if not any(m.up and m.id != node and reachable(m.id) for m in members):
            return f"node {node} is the last one; stop the whole cluster instead (status 5925)"
        if not self._settings.now.dynamic_quorum and len(left) + configuration.witness < configuration.quorum:
            return f"without node {node} only {len(left)} votes are left of {configuration.quorum} needed (status 5925)"
        return None

    def begin(self, now: Instant, ticket: int) -> None:
        """The leader has agreed: from now on our heartbeats say that we leave."""
        self.ticket = ticket
        self._until = Instant(now + self._patience_us)
        self._out.fact(FactKind.NODE_LEAVING, "an operator stops it; its groups move first", node=self._me)

    def shut_down(self, now: Instant, ticket: int, limit_us: int) -> None:
        """Its host shuts down: nobody is asked. Where the others could not go on without it, only its VMs are ended."""
        refusal = self.refusal(self._me)
        self.host = True
        self.ticket = ticket
        self._until = Instant(now + limit_us)
        drained = self._settings.now.drain_on_shutdown
        how = "its VMs are migrated first" if drained else "its VMs are saved, and move"
        reason = how if refusal is None else f"its VMs are taken offline: {refusal}"
        self._out.fact(FactKind.NODE_LEAVING, f"its host shuts down; {reason}", node=self._me)
        self.alone = refusal is not None

    def give_up(self, now: Instant) -> bool:
        """Nobody could take over in time: stay, and say so. True when that is so now. A host that shuts down ends."""
        if self.ticket is None or now < self._until:
            return False
        if self.host:
            self.alone = True
            return False
        text = "nobody could take its groups or its vote in time; it stays in the cluster"
        self._out.add(Reply(self.ticket, False, "timeout", text))
        self._out.fact(FactKind.REQUEST_DONE, text, node=self._me)
        self.ticket = None
        return True

    @property
    def leads_without_vote(self) -> bool:
        """An operator took away the vote of this node while it leads: somebody else is to lead, and take it away."""
        me = self._replica.database.members.get(self._me)
        return me is not None and not me.has_vote

    def heir_needs_witness(self) -> bool:
        """Whether nobody who is heard has quorum without the witness, which a leader that hands over holds."""
        configuration = self._state.log.configuration
        here = sum(1 for v in configuration.voters if v.node == self._me or self._beats.reachable(v.node))
        return configuration.witness and here < configuration.quorum

    def hand_over(self) -> None:
        """A leader that leaves, or is to have no vote, asks the most up-to-date voter to stand."""
        state, members = self._state, self._replica.database.members
        for voter in state.log.configuration.voters:
            if voter.node == self._me or not self._beats.reachable(voter.node):
                continue
            if voter.node not in members or not members[voter.node].has_vote:
                continue  # its vote is about to go: it could only hand over again
            if self._replication.match(voter.node, voter.store) == state.log.last_index:
                self._quorum.hand_over()
                self._out.send(voter.node, TimeoutNow(state.term))
                return

    def restart(self, reason: str) -> None:
        """This life of the service is over; VMs end with it."""
        self._restart = self._restart or reason

    def settle(self, now: Instant) -> None:
        """Leave, if it is time."""
        if self._state.outranked and not self.ended:
            self._yield()
        if self.host and self._restart is not None and not self.ended:
            self.alone = True
            self._end()  # it ends anyway, and does not look for the others first
            return
        if self._replica.member and self._restart is None and not self.alone:
            return
        if self.asked and (self.alone or not self._replica.member):
            if self._groups.runs:
                why = "its host shuts down" if self.host else "this node has left the cluster"
                self._groups.stop_all(now, why)
            else:
                self._end()
        elif self._restart is None and self._replica.removed:
            reason = "the others went on without it; it joins again as a new incarnation"
            if self._replica.evicted:
                reason = "it was evicted; it joins again when an operator has added it"
            self._out.fact(FactKind.NODE_REMOVED, reason, runs=len(self._groups.runs))
            self._restart = "removed from membership"
        if self._restart is not None and not self.ended:
            self._out.add(RestartService(self._restart))
            self.ended = True

    def _yield(self) -> None:
        """A side with a higher force epoch exists: nothing that this life believes counts there."""
        epoch = epoch_text(epoch_of(self._state.term))
        kind = FactKind.QUORUM_YIELDED if self._replica.member else FactKind.TERM_SEEN
        reason = f"{self._state.outranked}; its quorum was forced, and it joins that side as a new incarnation"
        self._out.fact(kind, reason, epoch=epoch, runs=len(self._groups.runs))
        self.restart(f"quorum was forced elsewhere: {self._state.outranked}")

    def _end(self) -> None:
        assert self.ticket is not None, "only a node that was asked to leaves"
        who = "its host shuts down" if self.host else "an operator stopped it"
        what = "its VMs were taken offline" if self.alone else "its groups were moved first"
        self._out.fact(FactKind.SERVICE_STOPPED, f"{who}; {what}", node=self._me)
        self._out.add(Reply(self.ticket, True, "ok", f"node {self._me} has left the cluster"))
        self._out.add(EndProcess())
        self.ended = True
