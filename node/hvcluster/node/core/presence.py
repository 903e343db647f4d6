"""Who is there, as this node hears it: which life of a node, whether it leaves, whether it sees the array.

Law: reads heartbeats and remembers what is known of this node itself; decides nothing.
"""

from __future__ import annotations

from hvcluster.model.vocabulary import Incarnation, Instant, NodeId, StoreId

from .database import Database, Member
from .heartbeats import NEVER, Heartbeats
from .raft.state import RaftState


class Presence:
    """The nodes as they are heard now; of this one, what it knows itself."""

    __slots__ = ("_beats", "_incarnation", "_me", "_state", "ignores", "leaving", "storage", "unlinked")

    def __init__(self, me: NodeId, incarnation: Incarnation, state: RaftState, beats: Heartbeats) -> None:
        self._me = me
        self._incarnation = incarnation
        self._state = state
        self._beats = beats
        self.storage: tuple[bool, Instant] = (False, NEVER)  # of this node: whether a path is up, and since when
        self.leaving = False
        self.ignores = False
        self.unlinked: dict[str, Instant] = {}  # of this node: networks of VMs to which its cable is out, since when

    def alive(self, node: NodeId) -> tuple[Incarnation, StoreId] | None:
        """The life under which a node is heard now."""
        if node == self._me:
            return self._incarnation, self._state.store
        peer = self._beats.peers.get(node)
        if peer is None or peer.unreachable or peer.beat is None:
            return None
        return peer.incarnation, peer.store

    def carries_on(self, member: Member) -> bool:
        """Whether a member still lives the life under which it is up."""
        alive = self.alive(member.id)
        return member.up and alive is not None and alive[0] == member.incarnation

    def is_leaving(self, node: NodeId) -> bool:
        """Whether a node was asked to stop."""
        if node == self._me:
            return self.leaving
        peer = self._beats.peers.get(node)
        return peer is not None and peer.beat is not None and peer.beat.leaving

    @property
    def ignored(self) -> bool:
        """Whether a node that is heard was started to ignore persistent state, and has not joined yet."""
        peers = self._beats.peers.values()
        return self.ignores or any(p.beat is not None and p.beat.ignores and not p.unreachable for p in peers)

    def able(self, database: Database, without: set[NodeId]) -> dict[NodeId, int]:
        """Nodes that may take a group now, with how many they have."""
        able: dict[NodeId, int] = {}
        for member in database.members.values():
            if not member.up or member.paused or member.outside or member.id in without or self.is_leaving(member.id):
                continue
            if member.quarantined:
                continue
            if not self.carries_on(member) or not self.storage_of(member.id)[0]:
                continue
            able[member.id] = 0
        for group in database.groups.values():
            if group.owner in able and group.runs:
                able[group.owner] += 1
        return able

    def unlinked_since(self, node: NodeId, network: str) -> Instant | None:
        """Since when a node's cable to a network of VMs is out, as far as it is heard; None where it is not."""
        if node == self._me:
            return self.unlinked.get(network)
        peer = self._beats.peers.get(node)
        return None if peer is None else peer.unlinked.get(network)

    def storage_of(self, node: NodeId) -> tuple[bool, Instant]:
        """Whether a node sees the array, and since when."""
        if node == self._me:
            return self.storage
        peer = self._beats.peers[node]
        return peer.storage, peer.storage_since
