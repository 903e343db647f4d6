"""What follows from an event: reports reach the leader; a leader commits, plans and tells the others.

Law: lets consequences settle, in one order. Which part an event concerns is `node`'s business, what is decided the
parts'.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId

from . import handover
from . import messages as msg
from .commands import Command, Noop
from .effects import Publish, Send
from .forcing import Start
from .offline import within_means
from .parts import Hooks, Parts
from .raft.state import Role
from .saved import SavedState
from .viewing import heartbeat_of
from .witness import Hold

MOST_ROUNDS: Final = 5_000
"""Of decisions that follow from one event: each settles something of at most some hundred VMs. A node that thinks for
ever is worse than one that ends: the others would not be told."""


class Consequences(Parts):
    """The parts of a node, and the way from one decision to the next."""

    def __init__(self, definition: ClusterDefinition, node: NodeId, saved: SavedState, start: Start) -> None:
        super().__init__(definition, node, saved, start, Hooks(self._won, self._look_again, self._leave))
        self._dirty = False  # something the planner looks at has changed
        self._led = False
        self._announced = (0, 0)
        self._replied: tuple[NodeId, StoreId] | None = None  # whose answer this event was

    def _look_again(self, now: Instant) -> None:
        """Something has changed that plans rest on, be it the hour."""
        self._dirty = True

    def _publish(self, now: Instant) -> None:
        beat = heartbeat_of(self, now)
        self.out.add(Publish(beat))
        for node in self.beats.wants_direct(now):
            self.out.add(Send(node, beat))

    def _resend_reports(self) -> None:
        for report in tuple(self.groups.reports.values()):
            self._send_report(report)
        for said in tuple(self.migrations.reports.values()):
            self._send_report(said)

    def _send_report(self, report: msg.GroupReport | msg.MoveReport) -> None:
        leader = self.state.leader
        if leader == self.me:
            self._report(self.me, self.incarnation, report)
        elif leader != NOBODY:
            self.out.send(leader, report)

    def _report(self, sender: NodeId, incarnation: Incarnation, report: msg.GroupReport | msg.MoveReport) -> None:
        if self.state.leads:
            command: Command | None
            if isinstance(report, msg.MoveReport):
                able = self.roles.candidates().groups
                command = handover.decide(self.replica.database, able, sender, incarnation, report)
            else:
                command = self.roles.report(sender, incarnation, report)
            if command is not None:
                self._propose((command,))

    # leading

    def _propose(self, commands: Sequence[Command]) -> None:
        if commands and self.state.leads:
            self.replication.propose(within_means(commands, self.settings.now))

    def _won(self, now: Instant) -> None:
        """We were elected."""
        self.replication.start()
        self.planner.start(now)
        self.quorum.elected(now)
        self.quorum.lost(now)
        self._led = True
        self._dirty = True
        self.replication.propose((Noop(),))
        self._publish(now)
        if self.witness is not None:
            self.witness.lead(now)

    def _resigned(self, now: Instant) -> None:
        self._led = False
        self.requests.resigned()
        if self.witness is not None and self.state.role is Role.FOLLOWER and self.witness.hold is Hold.HELD:
            self.witness.release(now)

    def _leave(self, now: Instant, ticket: int) -> None:
        """The leader agrees that we are stopped politely."""
        self.leaving.begin(now, ticket)
        self._is_leaving(now)

    def _shut_down(self, now: Instant, ticket: int) -> None:
        """Our host shuts down."""
        self.leaving.shut_down(now, ticket, self.timing.shutdown)
        self._is_leaving(now)

    def _is_leaving(self, now: Instant) -> None:
        self.presence.leaving = True
        self._dirty = True
        self._publish(now)

    # consequences

    def _settle(self, now: Instant) -> None:
        """Let one event's consequences work through: losses, commits, plans, messages."""
        state, replica, groups = self.state, self.replica, self.groups
        if self.beats.lost:
            self._dirty = True
            for node in self.beats.take_lost():
                if node == state.leader:
                    self.election.leader_lost(now, f"node {node} is unreachable")
        leads = state.role is Role.LEADER
        if self._led and not leads:
            self._resigned(now)
        if leads:
            self._lead(now)
        else:
            while replica.applied < state.commit or replica.changed or groups.look_again or groups.fresh:
                replica.apply(state)
                self._follow_database(now)
                self._send_fresh()
        self.leaving.settle(now)

    def _lead(self, now: Instant) -> None:
        """As leader: commit, apply and plan until nothing follows any more, then tell the others."""
        state, replica = self.state, self.replica
        rounds = 0
        while True:
            rounds += 1
            assert rounds <= MOST_ROUNDS, "the plans of one moment contradict each other, and never come to rest"
            if state.commit < state.log.last_index:
                self.replication.advance()
            if replica.applied < state.commit:
                replica.apply(state)
                self._dirty = True
                continue
            if self._dirty and state.commit == state.log.last_index:
                self._dirty = False
                commands = self.planner.plan(now)
                if commands:
                    self.replication.propose(within_means(commands, self.settings.now))
                    continue
            self._follow_database(now)
            if not self._send_fresh():
                break
        if replica.left:
            for node in replica.left:
                self.beats.left(node)
            replica.left.clear()
        self._leader_sends(now)

    def _follow_database(self, now: Instant) -> None:
        """Do at this node what the database says."""
        if self.replica.changed or self.groups.look_again:
            self.replica.changed = False
            self.resiliency.observe(now, self.replica.database)
            self.joined = self.joined or self.replica.member
            self.presence.ignores = self.presence.ignores and not self.joined
            self.groups.reconcile(now)
            self.requests.look()

    def _send_fresh(self) -> bool:
        """Send new reports; True when there were any."""
        fresh = tuple(self.groups.fresh)
        self.groups.fresh.clear()
        for report in fresh:
            self._send_report(report)
        return bool(fresh)

    def _leader_sends(self, now: Instant) -> None:
        state = self.state
        if self._replied is not None:
            self.replication.follow_up(now, *self._replied)
            self._replied = None
        if self.witness is not None:
            self.witness.look(now)
        at = (state.log.last_index, state.commit)
        if at == self._announced:
            return
        self._announced = at
        for peer in self.beats.peers.values():
            if not peer.unreachable:
                self.replication.send(now, peer.id, peer.store)
        if self.witness is not None:
            self.witness.replicate(now)
