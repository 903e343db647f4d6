"""The parts of a cluster service, and how they know each other.

Law: construction only, in the order of who needs whom. What happens to them is `node`'s business.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.definition import ClusterDefinition, initiator_name
from hvcluster.model.properties import Timing
from hvcluster.model.values import value
from hvcluster.model.vocabulary import Incarnation, Instant, NodeId, PathName

from .disk_witness import DiskWitness
from .forcing import Start
from .groups import Groups
from .heartbeats import Heartbeats
from .incoming import Incoming
from .isolation import Isolation
from .leaving import Leaving
from .migration import Migrations
from .outbox import Outbox
from .planner import Planner
from .presence import Presence
from .procedure import Procedures
from .quorum import Quorum
from .quorum_requests import QuorumRequests
from .raft.election import Election
from .raft.replication import Replication
from .raft.state import RaftState
from .replica import Replica
from .requests import Requests
from .resiliency import Resiliency
from .roles import Roles
from .saved import SavedState
from .settings import Settings
from .tag_witness import TagWitness
from .volumes import Volumes
from .witness import Witness
from .workloads import Workloads

REQUEST_PATIENCE_DELAYS = 120  # a move with a long boot is done by then; in units of SameSubnetDelay


@value
class Hooks:
    """What parts call back: an election was won, the witness has new data, the leader lets us leave (our ticket)."""

    won: Callable[[Instant], None]
    witness_progress: Callable[[Instant], None]
    leave: Callable[[Instant, int], None]


class Parts:
    """One of each. Also the surroundings an election asks about."""

    def __init__(
        self, definition: ClusterDefinition, node: NodeId, saved: SavedState, start: Start, hooks: Hooks
    ) -> None:
        self.definition = definition
        self.start = start
        self.joined = False
        """This life was a member, now or before."""
        self.me = node
        properties = definition.properties
        self.timing = timing = Timing.of(properties)
        self.incarnation = incarnation = Incarnation(saved.incarnation + 1)
        self.out = out = Outbox(node)
        self.up_paths: dict[PathName, bool] = dict.fromkeys(definition.paths, False)
        self.procedures = Procedures(out)
        self.state = state = RaftState(node, saved, out)
        self.settings = settings = Settings(properties)
        self.replica = replica = Replica(node, incarnation, saved, settings, out)
        peers = [n.id for n in definition.nodes]
        self.beats = beats = Heartbeats(node, incarnation, peers, timing, properties.connection_loss_detection, out)
        self.replication = replication = Replication(state, timing, out, replica.install)
        self.election = Election(state, timing, self, out, hooks.won)
        self.quorum = quorum = Quorum(state, beats, timing, out)
        self.presence = presence = Presence(node, incarnation, state, beats)
        presence.ignores = start is Start.IGNORING
        self.roles = roles = Roles(presence, replica.get, definition, settings, timing, out)
        self.resiliency = resiliency = Resiliency(node, settings, timing, presence, beats, out)
        roles.unmonitored = resiliency.unmonitored
        self.planner = Planner(
            node, incarnation, state, replication, beats, quorum, replica.get, definition, settings, timing, presence,
            roles, resiliency,
        )  # fmt: skip
        initiator = initiator_name(definition.node_name(node))
        self.migrations = Migrations(replica.get, settings, timing, out)
        self.incoming = Incoming(node, incarnation, replica.get, self.paths, out)
        self.work = Workloads(timing, out)
        self.volumes = Volumes(
            definition.volumes, node, incarnation, initiator, replica.get, self.procedures, self.paths, out
        )
        self.groups = Groups(
            node, incarnation, initiator, replica.get, self.procedures, self.paths, timing,
            properties, out, self.migrations, self.incoming, self.work, self.volumes,
        )  # fmt: skip
        self.isolation = Isolation(properties, quorum, self.groups, replica.get, out)
        patience_us = REQUEST_PATIENCE_DELAYS * timing.delay
        self.leaving = Leaving(
            node, state, replication, replica, beats, self.groups, quorum, settings, patience_us, out
        )  # fmt: skip
        votes = QuorumRequests(node, state, beats, replica.get)
        self.requests = Requests(node, state, replica.get, patience_us, out, votes, properties)
        self.requests.candidates = roles.candidates
        self.requests.may_leave = self.leaving.refusal
        self.requests.leave = hooks.leave
        self.witness: Witness | None = None
        if definition.witness_lun is not None:
            self.witness = DiskWitness(
                definition.witness_lun, incarnation, state, replication, self.election, self.procedures, self.paths,
                timing, out, hooks.witness_progress,
            )  # fmt: skip
        elif definition.tag_witness is not None:
            self.witness = TagWitness(
                definition.tag_witness, incarnation, state, replication, self.election, self.procedures, self.reachable,
                timing, out, hooks.witness_progress,
            )  # fmt: skip
        self.election.witness = quorum.witness = self.planner.witness = votes.witness = self.witness

    def paths(self) -> tuple[PathName, ...]:
        """The paths to the array that are up."""
        return tuple(path for path, up in self.up_paths.items() if up)

    # surroundings of an election

    def reachable(self, node: NodeId) -> bool:
        """Whether any route to a node is up."""
        return self.beats.reachable(node)

    def known(self) -> tuple[NodeId, ...]:
        """All peers."""
        return tuple(self.beats.peers)

    def lease_stands(self, now: Instant) -> bool:
        """As leader: no other can have been elected yet."""
        return self.quorum.lease_stands(now)

    def may_stand(self) -> bool:
        """A node that is being stopped does not stand; nor does one with prevented quorum before it has joined.

        One that was evicted stands only while it still has a vote: the others may need its log.
        """
        if self.replica.evicted and not self.state.votes:
            return False
        return not self.leaving.asked and self.may_vote()

    def may_vote(self) -> bool:
        """A node with prevented quorum helps nobody to form a cluster; once it has joined it is like any other."""
        return self.start is not Start.PREVENTED or self.joined
