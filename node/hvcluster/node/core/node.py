"""The cluster service of one node: routes each event to the part it concerns, then lets consequences settle.

Law: routing only; every decision is made in one of the parts. After an event: commit, apply, plan, replicate
(`consequences`), and only then leave; the outbox puts the one Save first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.epochs import epoch_of, epoch_text
from hvcluster.model.facts import FactKind
from hvcluster.model.scsi import TestUnitReady
from hvcluster.model.vocabulary import Instant, NodeId

from . import events as ev
from . import messages as msg
from .consequences import Consequences
from .effects import Effect, Reply
from .forcing import Start, force, refusal
from .groups import ALIVE_TIMER, RETRY_TIMER
from .heartbeats import DIRECT, Peer
from .migration import TIMER as MIGRATION_TIMER
from .procedure import PREFIX
from .quorum import TIMER as QUORUM_TIMER
from .raft.election import TIMER as ELECTION_TIMER
from .raft.state import Role
from .requests import TIMER as REQUEST_TIMER
from .roles import TIMER as ROLES_TIMER
from .saved import SavedState
from .view import View
from .viewing import view_of
from .witness import TIMER as WITNESS_TIMER
from .workloads import TIMER as RESOURCES_TIMER

TICK = "tick"


class NodeCore(Consequences):
    """One life of the cluster service on one node. The only door is `handle`."""

    def __init__(
        self, definition: ClusterDefinition, node: NodeId, saved: SavedState, start: Start = Start.NORMAL
    ) -> None:
        super().__init__(definition, node, saved, start)
        self._identity = (saved.store, self.incarnation)
        self._forced = start is Start.FORCED and refusal(node, saved) is None
        self._handlers: dict[type, Callable[..., None]] = {
            ev.Started: self._started,
            ev.TimerFired: self._timer,
            ev.MessageReceived: self._message,
            ev.ScsiAnswered: self._scsi,
            ev.WitnessAnswered: self._witness_answered,
            ev.PathChanged: self._path,
            ev.LinkChanged: self._link,
            ev.WillHeard: self._will,
            ev.PeerProbed: self._probed,
            ev.VmStarted: self.groups.vm_started,
            ev.VmPaused: self.migrations.vm_paused,
            ev.MemorySent: self.migrations.memory_sent,
            ev.VmStopped: self._vm_stopped,
            ev.VmChecked: self._vm_checked,
            ev.ResourceAnswered: self._resource_answered,
            ev.MonitorDied: self._monitor_died,
            ev.VmFrozen: self._vm_frozen,
            ev.VmThawed: self._vm_thawed,
            ev.Requested: self._requested,
        }
        self._timers: dict[str, Callable[[Instant], None]] = {
            TICK: self._tick,
            ELECTION_TIMER: self.election.timer,
            QUORUM_TIMER: self._check_quorum,
            WITNESS_TIMER: self._witness_timer,
            ALIVE_TIMER: self.groups.check_alive,
            RETRY_TIMER: self.groups.retry,
            RESOURCES_TIMER: self.work.timer,
            MIGRATION_TIMER: self.migrations.timer,
            REQUEST_TIMER: self.requests.timer,
            ROLES_TIMER: self._look_again,
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

    @property
    def next_start(self) -> Start:
        """How the next life of this process begins."""
        return self.start.after(self.joined)

    def view(self, now: Instant) -> View:
        """A copy of what this node shows of itself."""
        return view_of(self, now)

    # events

    def _started(self, now: Instant, event: ev.Started) -> None:
        self.roles.failbacks.midnight = Instant(now - event.day_us)
        self.out.save_identity(*self._identity)
        wiped = self.state.log.snapshot is None
        reason = "its disk is empty: it waits to be taken in" if wiped else "it looks for its cluster"
        if self.replica.evicted:
            reason = "it does not belong to the cluster: it waits until an operator adds it"
        self.out.fact(
            FactKind.SERVICE_STARTED, reason, incarnation=self.incarnation, term=self.state.term,
            last_index=self.state.log.last_index,
        )  # fmt: skip
        self.election.start(now)
        if self._forced:
            force(self.state, self.out)
            self._won(now)
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
        if epoch_of(beat.term) > epoch_of(term):
            return self._yields(beat.term, beat.node)
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

    def _yields(self, term: int, sender: NodeId) -> bool:
        """A peer is in a higher force epoch: nothing it says concerns us, but that this life must end.

        The first versions of the product know no force quorum resiliency: who has quorum there goes on until it is
        started again.
        """
        bound = self.replica.member and self.start is not Start.PREVENTED
        if bound and not self.definition.properties.force_quorum_resiliency:
            return False
        self.state.see_term(term, f"node {sender} is in force epoch {epoch_text(epoch_of(term))}")
        return True

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
        if old is None or not beat.member or _shown(old) != _shown(beat):
            self._dirty = True

    def _message(self, now: Instant, event: ev.MessageReceived) -> None:
        sender, store, message = event.sender, event.store, event.message
        if sender not in self.beats.peers:
            return
        term = msg.term_in(message)
        if epoch_of(term) > epoch_of(self.state.term) and not isinstance(message, msg.Heartbeat):
            self._yields(term, sender)
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
            case msg.OfferVm():
                self.incoming.offered(sender, message, busy=message.group in self.groups.runs)
            case msg.VmTaken():
                self.migrations.taken(now, sender, event.incarnation, message)
            case msg.LastOfVm():
                self.incoming.last(sender, message)
            case msg.WhereIsVm():
                self.incoming.asked(sender, message)
            case msg.VmServed():
                self.migrations.served(sender, message)
            case msg.GroupReport() | msg.MoveReport():
                self._report(sender, event.incarnation, message)
            case msg.Forward():
                self._propose(self.requests.forward(now, sender, message))
            case msg.Forwarded():
                self.requests.forwarded(now, message)

    def _scsi(self, now: Instant, event: ev.ScsiAnswered) -> None:
        self.procedures.answered(now, event.token, event.result)

    def _witness_answered(self, now: Instant, event: ev.WitnessAnswered) -> None:
        self.procedures.share_answered(now, event.token, event.answer)

    def _path(self, now: Instant, event: ev.PathChanged) -> None:
        had = bool(self.paths())
        self.up_paths[event.path] = event.up
        has = bool(self.paths())
        kind = FactKind.PATH_UP if event.up else FactKind.PATH_DOWN
        reason = "the array took the login" if event.up else "the array does not answer"
        self.out.fact(kind, reason, path=event.path)
        if had != has:
            self.presence.storage = (has, now)
            self._dirty = True
        if event.up:
            for (
                group
            ) in self.definition.groups:  # takes the unit attention of the new login out of a later takeover's way
                self.procedures.submit(event.path, group.lun, TestUnitReady())
            self.groups.path_up(now, event.path, event.login)
        else:
            self.groups.path_down(event.path)

    def _link(self, now: Instant, event: ev.LinkChanged) -> None:
        unlinked = self.presence.unlinked
        if (event.network in unlinked) is not event.up or event.network not in self.definition.networks:
            return
        if event.up:
            del unlinked[event.network]
        else:
            unlinked[event.network] = now
        kind, word = (FactKind.LINK_UP, "plugged in again") if event.up else (FactKind.LINK_DOWN, "out")
        self.out.fact(kind, f"its cable to network {event.network!r} is {word}", network=event.network)
        self._dirty = True

    def _will(self, now: Instant, event: ev.WillHeard) -> None:
        self.beats.will_heard(event.node, event.incarnation)

    def _probed(self, now: Instant, event: ev.PeerProbed) -> None:
        self.beats.probed(now, event.node, event.outcome is ev.ProbeOutcome.REFUSED)

    def _vm_stopped(self, now: Instant, event: ev.VmStopped) -> None:
        self.groups.vm_stopped(now, event.group, event.generation, event.cause, event.reason)

    def _vm_checked(self, now: Instant, event: ev.VmChecked) -> None:
        self.groups.vm_checked(event)

    def _resource_answered(self, now: Instant, event: ev.ResourceAnswered) -> None:
        self.work.answered(now, event)

    def _monitor_died(self, now: Instant, event: ev.MonitorDied) -> None:
        self.work.monitor_died(now, event.reason)

    def _vm_frozen(self, now: Instant, event: ev.VmFrozen) -> None:
        self.groups.vm_paused(event.group, event.generation, event.reason)

    def _vm_thawed(self, now: Instant, event: ev.VmThawed) -> None:
        self.groups.vm_paused(event.group, event.generation, None)

    def _requested(self, now: Instant, event: ev.Requested) -> None:
        if isinstance(event.request, ev.StopNode) and self.leaving.asked:
            self.out.add(Reply(event.ticket, False, "busy", "this node is already being stopped"))
            return
        if event.request == ev.StopNode(self.state.me, shutdown=True):
            self._shut_down(now, event.ticket)
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
            if self.leaving.asked or self.leaving.leads_without_vote or self.planner.yields:
                self._hand_over(now)
            if self.replication.stalled(now, self.timing.detection):
                state.resign(f"entries after {state.commit} were not taken over, although heartbeats arrive")
                self.out.timer(ELECTION_TIMER, now + self.timing.detection)
        if self.leaving.give_up(now):
            self.presence.leaving = False
        self._resend_reports()
        self.groups.check_pending(now)

    def _hand_over(self, now: Instant) -> None:
        """Ask another voter to lead; where it can only win with the witness, that has to be free first."""
        if self.witness is not None and self.leaving.heir_needs_witness():
            self.witness.give_to_heir(now, self.leaving.hand_over)
        else:
            self.leaving.hand_over()

    def _witness_timer(self, now: Instant) -> None:
        if self.witness is not None:
            self.witness.timer(now)

    def _check_quorum(self, now: Instant) -> None:
        if not self.quorum.lost(now):
            self.isolation.look()
            self.quorum.again(now)
            return
        again = self.isolation.since is not None
        endures = not self.leaving.asked and self.isolation.endures(now)
        if endures and again:
            return
        reason = "no leader with quorum was heard within the lease"
        if self.state.leads:
            reason = "too few voters answered within the lease"
        if again:
            self.leaving.restart("no VM may go on without quorum any longer")
            return
        configuration = self.state.log.configuration
        if endures:
            reason += f"; its VMs go on unmonitored for {self.isolation.longest_us(now) // 1000} ms at most"
        self.out.fact(
            FactKind.QUORUM_LOST,
            reason,
            votes=configuration.votes,
            needed=configuration.quorum,
            runs=len(self.groups.runs),
        )
        if not endures:
            self.leaving.restart(f"quorum was lost: {reason}")
        elif self.state.leads:
            self.state.resign(reason)
            self.out.timer(ELECTION_TIMER, now + self.timing.detection)


def _shown(beat: msg.Heartbeat) -> tuple[bool, bool, tuple[str, ...]]:
    """What of a heartbeat a leader's plans depend on."""
    return beat.storage, beat.leaving, beat.unlinked
