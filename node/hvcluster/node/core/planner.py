"""What a leader proposes: membership, votes, and an owner for every group that should be online.

Law: reads the applied database and what is heard, returns commands; nothing changes until they are committed. It plans
only while nothing of its own is in flight, so every plan rests on the newest state.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Properties, Timing
from hvcluster.model.vocabulary import NOBODY, Generation, GroupState, Incarnation, Instant, NodeId, StoreId
from hvcluster.model.votes import Configuration, Electorate, Voter, next_step

from .commands import AssignGroup, BeginMove, Command, Configure, FormCluster, NodeDown, NodeUp, ReportGroup
from .database import Database, Group, Member
from .heartbeats import NEVER, Heartbeats, Peer
from .messages import GroupReport
from .outbox import Outbox
from .placement import Candidates, Choice, Why, choose
from .quorum import Quorum
from .raft.replication import Replication
from .raft.state import RaftState
from .replica import STOPPED_POLITELY
from .witness import Witness

FRESH_DELAYS = 3
REPORTED = {"ONLINE": GroupState.ONLINE, "OFFLINE": GroupState.OFFLINE, "FAILED": GroupState.FAILED}


class Planner:
    """The leader's plans. Volatile: a new leader starts with none."""

    __slots__ = (
        "_asked",
        "_beats",
        "_database",
        "_failures",
        "_formed",
        "_incarnation",
        "_leading_since",
        "_me",
        "_out",
        "_properties",
        "_quorum",
        "_replication",
        "_retry_at",
        "_state",
        "_stranded",
        "_timing",
        "leaving",
        "storage",
        "witness",
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
        properties: Properties,
        timing: Timing,
        out: Outbox,
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._state = state
        self._replication = replication
        self._beats = beats
        self._quorum = quorum
        self._database = database
        self._properties = properties
        self._timing = timing
        self._out = out
        self.witness: Witness | None = None
        self.storage: tuple[bool, Instant] = (False, NEVER)  # of this node: whether a path is up, and since when
        self.leaving = False
        self._leading_since = NEVER
        self._asked: tuple[Configuration, Instant] | None = None  # votes being confirmed, and since when
        self._formed = False
        self._failures: dict[str, list[Instant]] = {}
        self._retry_at: dict[str, Instant] = {}
        self._stranded: dict[str, Generation] = {}

    def start(self, now: Instant) -> None:
        """We lead a new term."""
        self._leading_since = now
        self._asked = None
        self._formed = False
        self._failures = {}
        self._retry_at = {}
        self._stranded = {}

    def plan(self, now: Instant) -> list[Command]:
        """Everything to propose now; empty when all is as it should be."""
        database = self._database()
        if not self._formed:
            self._formed = True
            if not any(self._carries_on(member) for member in database.members.values()):
                return [FormCluster("no node of the last membership is still running")]
        commands: list[Command] = []
        down = self._lost_members(database)
        commands.extend(down.values())
        commands.extend(self._joiners(now, database, down))
        if not down and self._quorum.lease_stands(now):
            commands.extend(self._votes(now, database))
        commands.extend(self._groups(now, database, down))
        return commands

    # membership

    def _alive(self, node: NodeId) -> tuple[Incarnation, StoreId] | None:
        """The life under which a node is heard now."""
        if node == self._me:
            return self._incarnation, self._state.store
        peer = self._beats.peers.get(node)
        if peer is None or peer.unreachable or peer.beat is None:
            return None
        return peer.incarnation, peer.store

    def _carries_on(self, member: Member) -> bool:
        alive = self._alive(member.id)
        return member.up and alive is not None and alive[0] == member.incarnation

    def _lost_members(self, database: Database) -> dict[NodeId, NodeDown]:
        lost: dict[NodeId, NodeDown] = {}
        for member in database.members.values():
            if not member.up or self._carries_on(member):
                continue
            alive = self._alive(member.id)
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
        return lost

    def _is_leaving(self, node: NodeId) -> bool:
        if node == self._me:
            return self.leaving
        peer = self._beats.peers.get(node)
        return peer is not None and peer.beat is not None and peer.beat.leaving

    def _has_left(self, database: Database, member: Member) -> bool:
        """A leaving node is out once it is drained (or nobody can take what it has) and, if votes change, has none."""
        if not member.up or member.id == self._me or not self._is_leaving(member.id):
            return False
        votes = any(voter.node == member.id for voter in self._state.log.configuration.voters)
        if votes and self._properties.dynamic_quorum:
            return False
        return not any(group.runs for group in database.owned_by(member.id)) or not self._able(database, {member.id})

    def _caught_up(self, node: NodeId, store: StoreId) -> bool:
        return self._replication.match(node, store) >= self._state.commit

    def _hears_us(self, now: Instant, peer: Peer) -> bool:
        sent = self._beats.sent_at(peer.echo)
        return sent is not None and now - sent < self._timing.sticky

    def _joiners(self, now: Instant, database: Database, down: dict[NodeId, NodeDown]) -> list[Command]:
        commands: list[Command] = []
        me = database.members.get(self._me)
        if me is not None and me.incarnation < self._incarnation:  # a life that was removed does not come back
            commands.append(NodeUp(self._me, self._incarnation, self._state.store))
        for peer in self._beats.peers.values():
            member = database.members.get(peer.id)
            if member is None or peer.unreachable or peer.beat is None or peer.beat.leaving:
                continue
            if member.up and peer.id not in down:
                continue
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
        members = [m for m in database.members.values() if m.weight]
        entitled = tuple(
            Voter(m.id, m.store)
            for m in members
            if (m.up or self._is_coming(m)) and (m.id == self._me or not self._drained_and_leaving(database, m))
        )
        ready = tuple(voter for voter in entitled if self._is_ready(now, voter))
        electorate = Electorate(
            self._me,
            entitled,
            ready,
            self.leaving,
            self.witness is not None,
            self.witness is not None and self.witness.usable(now),
            self.witness is not None and self.witness.ready(now),
            self.witness is not None and self.witness.coming(now),
            properties.dynamic_quorum,
            properties.dynamic_witness,
            NodeId(properties.lower_quorum_priority_node_id),
        )
        step = next_step(self._state.log.configuration, electorate)
        if step is None or not self._confirmed(now, step.configuration):
            return []
        if not self._quorum.would_stand(now, step.configuration):
            return []
        return [Configure(step.configuration, step.reason)]

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
        return self._lives_on(Voter(member.id, member.store)) and not self._is_leaving(member.id)

    def _lives_on(self, voter: Voter) -> bool:
        """Whether a voter is heard, with the disk it votes with."""
        alive = self._alive(voter.node)
        return alive is not None and alive[1] == voter.store

    def _drained_and_leaving(self, database: Database, member: Member) -> bool:
        if not self._is_leaving(member.id):
            return False
        return not any(g.runs for g in database.owned_by(member.id)) or not self._able(database, {member.id})

    # groups

    def able(self) -> dict[NodeId, int]:
        """Nodes that may take a group now, with how many they have."""
        return self._able(self._database(), set())

    def _able(self, database: Database, without: set[NodeId]) -> dict[NodeId, int]:
        """Nodes that may take a group now, with how many they have."""
        able: dict[NodeId, int] = {}
        for member in database.members.values():
            if not member.up or member.paused or member.id in without or self._is_leaving(member.id):
                continue
            if not self._carries_on(member) or not self._storage_of(member.id)[0]:
                continue
            able[member.id] = 0
        for group in database.groups.values():
            if group.owner in able and group.runs:
                able[group.owner] += 1
        return able

    def _storage_of(self, node: NodeId) -> tuple[bool, Instant]:
        if node == self._me:
            return self.storage
        peer = self._beats.peers[node]
        return peer.storage, peer.storage_since

    def _groups(self, now: Instant, database: Database, down: dict[NodeId, NodeDown]) -> list[Command]:
        commands: list[Command] = []
        counts = self._able(database, set(down))
        for group in database.groups.values():
            if not group.desired or (group.runs and group.owner in counts):
                continue  # nothing to do, or where it runs it may stay
            command = self._group(now, database, group, down, counts)
            if command is not None:
                commands.append(command)
                taker = command.owner if isinstance(command, AssignGroup) else command.target
                counts[taker] = counts.get(taker, 0) + 1
        return commands

    def _group(
        self, now: Instant, database: Database, group: Group, down: dict[NodeId, NodeDown], counts: dict[NodeId, int]
    ) -> AssignGroup | BeginMove | None:
        """What to do about one group that should be online."""
        owner = database.members.get(group.owner)
        if group.runs and group.owner in down:
            return self._assign(now, group, Why.NODE_FAILURE, down[group.owner].reason, counts, leave=True)
        if group.runs:
            return self._running(now, group, counts)
        if group.state is GroupState.FAILED:
            return self._failed(now, group, counts)
        if group.moving_to != NOBODY:
            return self._arrive(now, group, counts)
        if group.waiting or group.owner in counts:
            if group.owner in counts:
                return self._assign(now, group, Why.START, group.reason, counts, leave=False)
            gone = owner is None or now - self._leading_since >= self._timing.group_wait
            if not gone:
                return None
        return self._assign(now, group, Why.NODE_FAILURE, group.reason, counts, leave=True)

    def _running(self, now: Instant, group: Group, counts: dict[NodeId, int]) -> AssignGroup | BeginMove | None:
        """An owner has it: move it away only from a node that lost the array, or that is asked to stop."""
        storage, since = self._storage_of(group.owner)
        if not storage and now - since >= self._timing.path_grace:
            grace = (
                self._timing.path_grace
            )  # when the array itself was away, its owner may only be the last to log in again
            if any(node != group.owner and now - self._storage_of(node)[1] >= grace for node in counts):
                reason = f"node {group.owner} has lost every path to the array"
                return self._assign(now, group, Why.RESOURCE_FAILURE, reason, counts, leave=True)
        elif self._is_leaving(group.owner) and group.moving_to == NOBODY and group.state is GroupState.ONLINE:
            choice = choose(group.definition, group.owner, Why.MOVE, Candidates(counts), leave=True)
            if choice is not None:
                return BeginMove(group.name, group.generation, choice.owner, f"node {group.owner} is being stopped")
        return None

    def _failed(self, now: Instant, group: Group, counts: dict[NodeId, int]) -> AssignGroup | None:
        retry_at = self._retry_at.get(group.name)
        if retry_at is not None and now < retry_at:
            return None
        failures = [at for at in self._failures.get(group.name, []) if now - at < self._timing.failover_period]
        threshold = self._properties.failover_threshold
        if threshold < 0:
            threshold = max(1, len(self._beats.peers))
        if retry_at is None and len(failures) >= threshold:
            self._retry_at[group.name] = Instant(now + self._timing.retry)
            retry_ms = self._timing.retry // 1000
            reason = f"it failed {len(failures)} times within the failover period; next attempt in {retry_ms} ms"
            self._out.fact(FactKind.GROUP_FAILED, reason, group=group.name, generation=group.generation)
            return None
        self._retry_at.pop(group.name, None)
        command = self._assign(now, group, Why.RESOURCE_FAILURE, f"{group.cause}: {group.reason}", counts, leave=True)
        if command is None:
            command = self._assign(now, group, Why.RESOURCE_FAILURE, group.reason, counts, leave=False)
        if command is not None:
            self._failures[group.name] = [*failures, now]
        return command

    def _arrive(self, now: Instant, group: Group, counts: dict[NodeId, int]) -> AssignGroup | None:
        """A planned move: the old owner is done."""
        if group.moving_to in counts:
            able = tuple(sorted(counts))
            rule = f"planned move: {group.cause}"
            return self._command(group, Choice(group.moving_to, able, rule), group.cause, failure=False)
        return self._assign(now, group, Why.MOVE, "the node it was to move to is gone", counts, leave=False)

    def _assign(
        self, now: Instant, group: Group, why: Why, cause: str, counts: dict[NodeId, int], *, leave: bool
    ) -> AssignGroup | None:
        choice = choose(group.definition, group.owner, why, Candidates(counts), leave)
        if choice is None:
            if self._stranded.get(group.name) != group.generation:
                self._stranded[group.name] = group.generation
                reason = f"{cause}; no node that is up, sees the array and may own it"
                self._out.fact(FactKind.GROUP_WAITING, reason, group=group.name, generation=group.generation)
            return None
        self._stranded.pop(group.name, None)
        return self._command(group, choice, cause, failure=why is Why.RESOURCE_FAILURE)

    def _command(self, group: Group, choice: Choice, cause: str, *, failure: bool) -> AssignGroup:
        return AssignGroup(group.name, group.generation, choice.owner, cause, choice.candidates, choice.rule, failure)

    def report(self, sender: NodeId, incarnation: Incarnation, report: GroupReport) -> Command | None:
        """An owner's report, if it is the owner's and news."""
        database = self._database()
        group = database.groups.get(report.group)
        state = REPORTED.get(report.outcome)
        if group is None or state is None or group.owner != sender or group.generation != report.generation:
            return None
        if group.state is state or not database.is_member(sender, incarnation):
            return None
        return ReportGroup(group.name, group.generation, state, report.cause, report.reason)
