"""What a leader proposes: who is a member, who votes, and then what `roles` plans for the groups.

Law: reads the applied database and what is heard, returns commands; nothing changes until they are committed. It plans
only while nothing of its own is in flight, so every plan rests on the newest state.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.epochs import epoch_of
from hvcluster.model.properties import Timing, spreads_coordinators
from hvcluster.model.vocabulary import NOBODY, Incarnation, Instant, NodeId, StoreId
from hvcluster.model.votes import Configuration, Electorate, Voter, next_step

from .commands import Command, Configure, EndForced, FormCluster, NodeDown, NodeUp
from .coordinators import coordinators
from .database import Database, Member
from .heartbeats import Heartbeats, Peer
from .presence import Presence
from .quorum import Quorum
from .raft.replication import Replication
from .raft.state import RaftState
from .replica import EVICTED, STOPPED_POLITELY
from .resiliency import Resiliency
from .roles import Roles
from .settings import Settings
from .witness import Witness

FRESH_DELAYS = 3


class Planner:
    """The leader's plans. Volatile: a new leader starts with none."""

    __slots__ = (
        "_asked",
        "_beats",
        "_database",
        "_definition",
        "_formed",
        "_incarnation",
        "_me",
        "_presence",
        "_properties",
        "_quorum",
        "_replication",
        "_resiliency",
        "_roles",
        "_settings",
        "_state",
        "_timing",
        "witness",
        "yields",
    )

    def __init__(
        self,
        me: NodeId,
        incarnation: Incarnation,
        state: RaftState,
        replication: Replication,
        beats: Heartbeats,
        quorum: Quorum,
        database: Callable[[], Database],
        definition: ClusterDefinition,
        settings: Settings,
        timing: Timing,
        presence: Presence,
        roles: Roles,
        resiliency: Resiliency,
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._state = state
        self._replication = replication
        self._beats = beats
        self._quorum = quorum
        self._database = database
        self._definition = definition
        self._properties = definition.properties
        self._settings = settings
        self._timing = timing
        self._presence = presence
        self._roles = roles
        self._resiliency = resiliency
        self.witness: Witness | None = None
        self._asked: tuple[Configuration, Instant] | None = None  # votes being confirmed, and since when
        self._formed = False
        self.yields = False
        """Votes are even, and an operator has named this node, which leads, as the one that goes without."""

    def start(self, now: Instant) -> None:
        """We lead a new term."""
        self._asked = None
        self._formed = False
        self.yields = False
        self._roles.start(now)

    def plan(self, now: Instant) -> list[Command]:
        """Everything to propose now; empty when all is as it should be."""
        database = self._database()
        self.yields = False
        if not self._formed:
            self._formed = True
            if not any(self._presence.carries_on(member) for member in database.members.values()):
                reason = "no node of the last membership is still running"
                if self._presence.ignored:
                    reason += "; an administrator has persistent state ignored, and groups stay offline"
                return [FormCluster(reason, self._presence.ignored)]
        commands: list[Command] = []
        down = self._lost_members(database)
        commands.extend(self._resiliency.settle(now, database, down))
        settled = not commands
        commands.extend(down.values())
        commands.extend(self._joiners(now, database, down))
        if settled and not down and self._quorum.lease_stands(now):
            commands.extend(self._votes(now, database))
        commands.extend(self._roles.plan(now, database, {**down, **self._resiliency.waited_for}))
        if database.volumes:
            able = self._presence.able(database, set(down))
            commands.extend(coordinators(database, able, spreads_coordinators(self._properties.profile)))
        return commands

    # membership

    def _lost_members(self, database: Database) -> dict[NodeId, NodeDown]:
        lost: dict[NodeId, NodeDown] = {}
        for member in database.members.values():
            if not member.up or self._presence.carries_on(member):
                continue
            alive = self._presence.alive(member.id)
            if alive is None:
                reason = f"all routes to node {member.id} are down"
            elif alive[0] < member.incarnation:
                continue
            else:
                reason = f"node {member.id} restarted: incarnation {alive[0]} follows {member.incarnation}"
            lost[member.id] = NodeDown(member.id, member.incarnation, reason)
        for member in database.members.values():
            if member.id not in lost and self._has_left(database, member):
                lost[member.id] = NodeDown(member.id, member.incarnation, STOPPED_POLITELY)
            elif member.id not in lost and self._has_been_evicted(member):
                lost[member.id] = NodeDown(member.id, member.incarnation, EVICTED)
        return lost

    def _has_left(self, database: Database, member: Member) -> bool:
        """A leaving node is out once it is drained (or nobody can take what it has) and, if votes change, has none."""
        if not member.up or member.id == self._me or not self._presence.is_leaving(member.id):
            return False
        votes = any(voter.node == member.id for voter in self._state.log.configuration.voters)
        if votes and self._properties.dynamic_quorum:
            return False
        return self._drained(database, member.id)

    def _has_been_evicted(self, member: Member) -> bool:
        """An evicted node is out once it leads no more, and has no vote that might be needed to take it away."""
        if not (member.up and member.outside) or member.id == self._me:
            return False
        return all(voter.node != member.id for voter in self._state.log.configuration.voters)

    def _drained(self, database: Database, node: NodeId) -> bool:
        """Whether a node has nothing left that another one could take."""
        return not any(group.runs for group in database.owned_by(node)) or not self._presence.able(database, {node})

    def _caught_up(self, node: NodeId, store: StoreId) -> bool:
        return self._replication.match(node, store) >= self._state.commit

    def _hears_us(self, now: Instant, peer: Peer) -> bool:
        sent = self._beats.sent_at(peer.echo)
        return sent is not None and now - sent < self._timing.sticky

    def _joiners(self, now: Instant, database: Database, down: dict[NodeId, NodeDown]) -> list[Command]:
        commands: list[Command] = []
        me = database.members.get(self._me)
        # A life that was removed does not come back.
        if me is not None and not me.outside and me.incarnation < self._incarnation:
            commands.append(NodeUp(self._me, self._incarnation, self._state.store))
        for peer in self._beats.peers.values():
            member = database.members.get(peer.id)
            if member is None or member.outside or peer.unreachable or peer.beat is None or peer.beat.leaving:
                continue
            if member.up and peer.id not in down:
                continue
            if peer.incarnation > member.incarnation and self._resiliency.refuses(member, peer.incarnation):
                continue
            if epoch_of(peer.beat.term) > epoch_of(self._state.term):
                continue  # it has gone over to a side that was forced; what it once had of our log says nothing
            if (
                peer.incarnation > member.incarnation
                and self._hears_us(now, peer)
                and self._caught_up(peer.id, peer.store)
            ):
                commands.append(NodeUp(peer.id, peer.incarnation, peer.store))
        return commands

    # votes

    def _votes(self, now: Instant, database: Database) -> list[Command]:
        properties = self._properties
        members = [m for m in database.members.values() if m.has_vote]
        if database.forced:
            present = sum(1 for m in members if self._presence.carries_on(m))
            ended = self._forced_ended(now, present, len(members), database.has_witness)
            if ended is not None:
                return [ended]
            if not self._presence.leaving:
                return []  # whatever joins or leaves: the one vote there is stays where it was forced
        mine = database.members.get(self._me)
        hands_over = mine is not None and not mine.has_vote
        witness = self.witness if database.has_witness else None
        entitled = tuple(
            Voter(m.id, m.store)
            for m in members
            if self._resiliency.votes(m)
            and (m.up or self._is_coming(m) or self._is_kept(now, m))
            and (m.id == self._me or not self._drained_and_leaving(database, m))
        )
        ready = tuple(voter for voter in entitled if self._is_ready(now, voter))
        usable = witness is not None and witness.usable(now)
        coming = witness is not None and witness.coming(now)
        tie = properties.dynamic_witness and len(entitled) % 2 == 0 and not (usable or coming)
        self.yields = tie and self._settings.now.lower_quorum_priority_node_id == self._me
        electorate = Electorate(
            self._me,
            entitled,
            ready,
            self._presence.leaving or hands_over or self.yields,
            witness is not None,
            usable,
            witness is not None and witness.ready(now),
            coming,
            properties.dynamic_quorum,
            properties.dynamic_witness,
            self._lower_priority(entitled),
            tuple(Voter(m.id, m.store) for m in members) if database.epoch else (),
            tuple(m.id for m in database.members.values() if not m.weight),
            tuple(m.id for m in database.members.values() if m.outside),
            tuple(v.node for v in self._state.log.configuration.voters if not self._lives_on(v)),
        )
        step = next_step(self._state.log.configuration, electorate)
        if step is None or not self._confirmed(now, step.configuration):
            return []
        if not self._quorum.would_stand(now, step.configuration):
            return []
        return [Configure(step.configuration, step.reason)]

    def _lower_priority(self, entitled: tuple[Voter, ...]) -> NodeId:
        """The node that goes without a vote in a tie: the one that was named, else one outside the preferred site."""
        named = NodeId(self._settings.now.lower_quorum_priority_node_id)
        site = self._definition.preferred_site
        if named or not site:
            return named
        sites = {node.id: node.site for node in self._definition.nodes}
        away = [v for v in entitled if v.node != self._me and sites.get(v.node, "") != site]
        without = [v for v in away if v not in self._state.log.configuration.voters]
        return (without or away)[-1].node if away else NOBODY

    def _forced_ended(self, now: Instant, present: int, configured: int, has_witness: bool) -> EndForced | None:
        """Enough of all configured votes are here: from now on they count again."""
        witness = has_witness and self.witness is not None and self.witness.usable(now)
        votes = configured + has_witness
        if present + witness <= votes // 2:
            return None
        return EndForced(f"{present + witness} of {votes} configured votes are present; they count again")

    def _confirmed(self, now: Instant, configuration: Configuration) -> bool:
        """Whether a quorum of new votes has answered since they were first thought of; asks them, if not.

        A change takes effect when it is appended. Were its quorum to rest on a node that has just died unnoticed, the
        change could not be committed, and no other one begun.
        """
        if self._asked is None or self._asked[0] != configuration:
            self._asked = (configuration, now)
        since = self._asked[1]
        votes = 0
        for voter in configuration.voters:
            if self._replication.answers_since(voter.node, voter.store, since):
                votes += 1
            elif self._lives_on(voter):
                self._replication.send(now, voter.node, voter.store)
        if configuration.witness and self.witness is not None:
            votes += self.witness.usable(now)
        return votes >= configuration.quorum

    def _is_ready(self, now: Instant, voter: Voter) -> bool:
        """Its log has caught up, and it was heard a moment ago: a vote given to a dead node may be the one missing."""
        if voter.node == self._me:
            return True
        peer = self._beats.peers.get(voter.node)
        fresh = peer is not None and now - peer.last_heard < FRESH_DELAYS * self._timing.delay
        return fresh and self._caught_up(voter.node, voter.store)

    def _is_coming(self, member: Member) -> bool:
        """A voter that is heard, with the disk it voted with, but not yet taken in: it keeps the vote it has."""
        return self._lives_on(Voter(member.id, member.store)) and not self._presence.is_leaving(member.id)

    def _is_kept(self, now: Instant, member: Member) -> bool:
        """A dead node whose vote stays beside that of the last node and of the disk that both can form with.

        The last node is then a quorum only with its disk, which so has everything that is committed: whoever of the two
        comes back alone may form with what stands there.
        """
        configuration = self._state.log.configuration
        if not (self._properties.last_node_keeps_disk_witness and configuration.witness) or self.witness is None:
            return False
        if self._definition.witness_lun is None or not self.witness.usable(now) or self._presence.is_leaving(member.id):
            return False
        return len(configuration.voters) == 2 and Voter(member.id, member.store) in configuration.voters

    def _lives_on(self, voter: Voter) -> bool:
        """Whether a voter is heard, with the disk it votes with."""
        alive = self._presence.alive(voter.node)
        return alive is not None and alive[1] == voter.store

    def _drained_and_leaving(self, database: Database, member: Member) -> bool:
        return self._presence.is_leaving(member.id) and self._drained(database, member.id)
