"""The cluster service of one node: routes each event to the part it concerns, then lets consequences settle.

Law: routing and order only; every decision is made in one of the parts. After an event: commit, apply, plan,
replicate, and only then leave; the outbox puts the one Save first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.facts import FactKind
from hvcluster.model.scsi import TestUnitReady
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId

from . import events as ev
from . import messages as msg
from .commands import Command, Noop
from .effects import Effect, Publish, Reply, Send
from .groups import ALIVE_TIMER, RETRY_TIMER
from .heartbeats import DIRECT, Peer
from .parts import Hooks, Parts
from .procedure import PREFIX
from .quorum import TIMER as QUORUM_TIMER
from .raft.election import TIMER as ELECTION_TIMER
from .raft.state import Role
from .requests import TIMER as REQUEST_TIMER
from .saved import SavedState
from .view import View
from .viewing import heartbeat_of, view_of
from .witness import TIMER as WITNESS_TIMER
from .witness import Hold

TICK = "tick"


class NodeCore(Parts):
    """One life of the cluster service on one node. The only door is `handle`."""

    def __init__(self, definition: ClusterDefinition, node: NodeId, saved: SavedState) -> None:
        super().__init__(definition, node, saved, Hooks(self._won, self._witness_progress, self._leave))
        self._identity = (saved.store, self.incarnation)
        self._dirty = False  # something the planner looks at has changed
        self._led = False
        self._announced = (0, 0)
        self._replied: tuple[NodeId, StoreId] | None = None  # whose answer this event was
        self._handlers: dict[type, Callable[..., None]] = {
            ev.Started: self._started,
            ev.TimerFired: self._timer,
            ev.MessageReceived: self._message,
            ev.ScsiAnswered: self._scsi,
            ev.PathChanged: self._path,
            ev.WillHeard: self._will,
            ev.PeerProbed: self._probed,
            ev.VmStarted: self._vm_started,
            ev.VmStopped: self._vm_stopped,
            ev.Requested: self._requested,
        }
        self._timers: dict[str, Callable[[Instant], None]] = {
            TICK: self._tick,
            ELECTION_TIMER: self.election.timer,
            QUORUM_TIMER: self._check_quorum,
            WITNESS_TIMER: self._witness_timer,
            ALIVE_TIMER: self.groups.check_alive,
            RETRY_TIMER: self.groups.retry,
            REQUEST_TIMER: self.requests.timer,
        }

    def handle(self, now: Instant, event: ev.Event) -> Sequence[Effect]:
        """Take in one event; returns what to do, in order, the one Save (if any) first."""
        if self.leaving.ended:
            return ()
        self.out.now = now
        if type(event) is ev.HeartbeatHeard:  # by far the most frequent event, and mostly nothing follows from it
            if self._beat(now, event.bus, event.heartbeat):
                self._settle(now)
        else:
            self._handlers[type(event)](now, event)
            self._settle(now)
        return self.out.take()

    def view(self, now: Instant) -> View:
        """A copy of what this node shows of itself."""
        return view_of(self, now)

    # events

    def _started(self, now: Instant, _: ev.Started) -> None:
        self.out.save_identity(*self._identity)
        wiped = self.state.log.snapshot is None
        reason = "its disk is empty: it waits to be taken in" if wiped else "it looks for its cluster"
        self.out.fact(
            FactKind.SERVICE_STARTED, reason, incarnation=self.incarnation, term=self.state.term,
            last_index=self.state.log.last_index,
        )  # fmt: skip
        self.election.start(now)
        self._tick(now)

    def _timer(self, now: Instant, event: ev.TimerFired) -> None:
        name = event.name
        handler = self._timers.get(name)
        if handler is not None:
            handler(now)
        elif name.startswith(PREFIX):
            self.procedures.timer(now, name[len(PREFIX) :])
        else:
            self.beats.timer(now, name)

    def _beat(self, now: Instant, route: str, beat: msg.Heartbeat) -> bool:
        """Take in a heartbeat; False when nothing can follow from it."""
        known = self.beats.peers.get(beat.node)
        old = known.beat if known is not None else None
        peer = self.beats.heard(now, route, beat)
        if peer is None:
            return False
        state = self.state
        commit, term = state.commit, state.term
        if beat.term > term:
            state.see_term(beat.term, f"heartbeat of node {beat.node}")
        if beat.leader == beat.node and beat.term == state.term:
            self._leader_beat(now, beat)
        elif state.leader == beat.node and beat.leader != beat.node and beat.term >= state.term:
            self.election.leader_lost(now, f"node {beat.node} says that it no longer leads")
        if state.role is Role.LEADER:
            self._follower_beat(now, peer, old, beat)
            return self._dirty or bool(self.beats.lost)
        return state.commit != commit or state.term != term or bool(self.beats.lost)

    def _leader_beat(self, now: Instant, beat: msg.Heartbeat) -> None:
        if self.state.leads:
            return  # a peer that breaks the rules: there is one leader in a term, and we won it
        self.state.follow(beat.node, now)
        if beat.quorum:
            self.quorum.heard_leader(now)
            self.quorum.lost(now)
        self.replication.commit_to(beat.commit)

    def _follower_beat(self, now: Instant, peer: Peer, old: msg.Heartbeat | None, beat: msg.Heartbeat) -> None:
        if beat.last_index < self.state.log.last_index or old is None:
            self.replication.send(now, peer.id, peer.store)
        if old is None or not beat.member or (old.storage, old.leaving) != (beat.storage, beat.leaving):
            self._dirty = True

    def _message(self, now: Instant, event: ev.MessageReceived) -> None:
        sender, store, message = event.sender, event.store, event.message
        if sender not in self.beats.peers:
            return
        match message:
            case msg.Heartbeat():
                self._beat(now, DIRECT, message)
            case msg.AppendEntries():
                self.replication.append(now, sender, message)
            case msg.AppendReply():
                self.state.see_term(message.term, f"answer of node {sender}")
                if self.replication.replied(now, sender, store, message):
                    self._dirty = True
                if self.state.leads:
                    self._replied = (sender, store)
            case msg.InstallSnapshot():
                self.replication.install(now, sender, message)
            case msg.PreVote():
                self.election.pre_vote(now, sender, message)
            case msg.PreVoteReply():
                self.election.pre_vote_replied(now, sender, store, message)
            case msg.RequestVote():
                self.election.request_vote(now, sender, message)
            case msg.VoteReply():
                self.election.vote_replied(now, sender, store, message)
            case msg.TimeoutNow():
                self.election.transfer(now, sender, message)
            case msg.GroupReport():
                self._report(sender, event.incarnation, message)
            case msg.Forward():
                self._propose(self.requests.forward(now, sender, message))
            case msg.Forwarded():
                self.requests.forwarded(now, message)

    def _scsi(self, now: Instant, event: ev.ScsiAnswered) -> None:
        self.procedures.answered(now, event.token, event.result)

    def _path(self, now: Instant, event: ev.PathChanged) -> None:
        had = bool(self.paths())
        self.up_paths[event.path] = event.up
        has = bool(self.paths())
        kind = FactKind.PATH_UP if event.up else FactKind.PATH_DOWN
        reason = "the array took the login" if event.up else "the array does not answer"
        self.out.fact(kind, reason, path=event.path)
        if had != has:
            self.planner.storage = (has, now)
            self._dirty = True
        if event.up:
            for (
                group
            ) in self.definition.groups:  # takes the unit attention of the new login out of a later takeover's way
                self.procedures.submit(event.path, group.lun, TestUnitReady())
            self.groups.path_up(now, event.path, event.login)
        else:
            self.groups.path_down(event.path)

    def _will(self, now: Instant, event: ev.WillHeard) -> None:
        self.beats.will_heard(event.node, event.incarnation)

    def _probed(self, now: Instant, event: ev.PeerProbed) -> None:
        self.beats.probed(now, event.node, event.outcome is ev.ProbeOutcome.REFUSED)

    def _vm_started(self, now: Instant, event: ev.VmStarted) -> None:
        self.groups.vm_started(now, event.group, event.generation)

    def _vm_stopped(self, now: Instant, event: ev.VmStopped) -> None:
        self.groups.vm_stopped(now, event.group, event.generation, event.cause, event.reason)

    def _requested(self, now: Instant, event: ev.Requested) -> None:
        if isinstance(event.request, ev.StopNode) and self.leaving.asked:
            self.out.add(Reply(event.ticket, False, "busy", "this node is already being stopped"))
            return
        self._propose(self.requests.requested(now, event.ticket, event.request))

    # timers

    def _tick(self, now: Instant) -> None:
        state = self.state
        self.out.timer(TICK, now + self.timing.delay)
        self.beats.check_routes(now)
        if self.replica.applied == state.commit:
            self.replication.compact(self.replica.database.encode, self.definition.properties.snapshot_entries)
        self._publish(now)
        self._dirty = True
        self._check_quorum(now)
        if state.leads:
            for peer in self.beats.peers.values():
                if not peer.unreachable and self.replication.match(peer.id, peer.store) < state.log.last_index:
                    self.replication.send(now, peer.id, peer.store)
            if self.leaving.asked:
                self.leaving.hand_over()
            if self.replication.stalled(now, self.timing.detection):
                state.resign(f"entries after {state.commit} were not taken over, although heartbeats arrive")
                self.out.timer(ELECTION_TIMER, now + self.timing.detection)
        if self.leaving.give_up(now):
            self.planner.leaving = False
        self._resend_reports()
        self.groups.check_pending(now)

    def _publish(self, now: Instant) -> None:
        beat = heartbeat_of(self, now)
        self.out.add(Publish(beat))
        for node in self.beats.wants_direct(now):
            self.out.add(Send(node, beat))

    def _witness_timer(self, now: Instant) -> None:
        if self.witness is not None:
            self.witness.timer(now)

    def _witness_progress(self, now: Instant) -> None:
        self._dirty = True

    def _check_quorum(self, now: Instant) -> None:
        if not self.quorum.lost(now):
            self.quorum.again(now)
            return
        reason = "no leader with quorum was heard within the lease"
        if self.state.leads:
            reason = "too few voters answered within the lease"
        configuration = self.state.log.configuration
        self.out.fact(
            FactKind.QUORUM_LOST,
            reason,
            votes=configuration.votes,
            needed=configuration.quorum,
            runs=len(self.groups.runs),
        )
        self.leaving.restart(f"quorum was lost: {reason}")

    def _resend_reports(self) -> None:
        for report in tuple(self.groups.reports.values()):
            self._send_report(report)

    def _send_report(self, report: msg.GroupReport) -> None:
        leader = self.state.leader
        if leader == self.me:
            self._report(self.me, self.incarnation, report)
        elif leader != NOBODY:
            self.out.send(leader, report)

    def _report(self, sender: NodeId, incarnation: Incarnation, report: msg.GroupReport) -> None:
        if self.state.leads:
            command = self.planner.report(sender, incarnation, report)
            if command is not None:
                self._propose((command,))

    # leading

    def _propose(self, commands: Sequence[Command]) -> None:
        if commands and self.state.leads:
            self.replication.propose(commands)

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
        self.planner.leaving = True
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
        while True:
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
                    self.replication.propose(commands)
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
            self.groups.reconcile(now)
            self.requests.look()

    def _send_fresh(self) -> bool:
        """Send new reports; True when there were any."""
        fresh = self.groups.fresh
        if not fresh:
            return False
        self.groups.fresh = []
        for report in fresh:
            self._send_report(report)
        return True

    def _leader_sends(self, now: Instant) -> None:
        state = self.state
        if self._replied is not None:
            self.replication.follow_up(now, *self._replied)
            self._replied = None
        at = (state.log.last_index, state.commit)
        if at == self._announced:
            return
        self._announced = at
        for peer in self.beats.peers.values():
            if not peer.unreachable:
                self.replication.send(now, peer.id, peer.store)
        if self.witness is not None:
            self.witness.replicate(now)
