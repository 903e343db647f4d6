"""Liveness: heartbeats out, routes in, and the moment when all routes to a peer are down.

Law: what is heard and since when. Nothing here votes, leads or moves a group. A peer is unreachable only when every
route is; a last will and a refused probe together mean the same at once, either alone means nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing
from hvcluster.model.vocabulary import Incarnation, Instant, NodeId, StoreId

from .effects import ProbePeer
from .messages import Heard, Heartbeat
from .outbox import Outbox

DIRECT = "direct"
NEVER = Instant(-(10**15))
PEER_TIMER = "peer:"
PROBE_TIMER = "probe:"
PROBE_PAUSE_US = 10_000  # doubles; a process that was killed has let go of its port within a few of these
MAX_PROBES = 5
QUIET_DELAYS = (
    2.5  # after so many heartbeats missed in a row a bus is quiet towards a peer; then we also speak directly
)
WANTED_DELAYS = 3  # how long after a heartbeat that does not say it hears us on a bus the peer gets ours directly


class Peer:
    """What is known of one peer's life. Read by others, written only here."""

    __slots__ = (
        "beat",
        "direct_wanted_until",
        "echo",
        "id",
        "incarnation",
        "last_bus",
        "last_heard",
        "probes",
        "regrouping",
        "routes",
        "storage_since",
        "store",
        "suspected_at",
        "unlinked",
        "unreachable",
    )

    def __init__(self, node: NodeId) -> None:
        self.id = node
        self.incarnation = Incarnation(0)
        self.store = StoreId(0)
        self.beat: Heartbeat | None = None
        self.routes: dict[str, Instant] = {}
        self.last_heard = NEVER
        self.last_bus = NEVER
        self.echo = 0  # newest sequence of ours that it says it heard
        self.direct_wanted_until = NEVER
        self.unreachable = True
        self.regrouping: str | None = None  # silent for the detection time; the reason, until the regroup delay is over
        self.suspected_at = NEVER  # when its last will was heard
        self.probes = 0  # how often it was probed since, without being refused
        self.storage_since = NEVER  # since when its storage flag is what it is
        self.unlinked: dict[str, Instant] = {}  # networks of VMs it has no link to, and since when

    @property
    def storage(self) -> bool:
        """Whether it last said that it has a path to the array."""
        return self.beat is not None and self.beat.storage


class Heartbeats:
    """Peers, their routes, and our own sequence."""

    __slots__ = (
        "_connection_loss",
        "_detection",
        "_incarnation",
        "_me",
        "_out",
        "_quiet",
        "_sent",
        "_timing",
        "lost",
        "peers",
        "sequence",
    )

    def __init__(
        self,
        me: NodeId,
        incarnation: Incarnation,
        peers: Iterable[NodeId],
        timing: Timing,
        connection_loss: bool,
        out: Outbox,
    ) -> None:
        self._me = me
        self._incarnation = incarnation
        self._out = out
        self._timing = timing
        self._detection = timing.detection
        self._quiet = int(timing.delay * QUIET_DELAYS)
        self._connection_loss = connection_loss
        self.peers: dict[NodeId, Peer] = {node: Peer(node) for node in sorted(peers) if node != me}
        self.sequence = 0
        self._sent: dict[int, Instant] = {}
        self.lost: list[NodeId] = []
        """Peers that became unreachable or came back as a new life since `take_lost`."""

    def reachable(self, node: NodeId) -> bool:
        """Whether any route to a peer is up (always true of oneself)."""
        if node == self._me:
            return True
        peer = self.peers.get(node)
        return peer is not None and not peer.unreachable

    def take_lost(self) -> list[NodeId]:
        lost, self.lost = self.lost, []
        return lost

    def sent_at(self, sequence: int) -> Instant | None:
        """When our heartbeat of that sequence was sent; None when that is longer ago than matters."""
        return self._sent.get(sequence)

    def next_sequence(self, now: Instant) -> int:
        """Number the heartbeat that is about to be sent."""
        self.sequence += 1
        self._sent[self.sequence] = now
        self._sent.pop(self.sequence - self._timing.threshold - 4, None)
        return self.sequence

    def hears(self, now: Instant) -> tuple[Heard, ...]:
        """What our heartbeat says of every peer that is reachable."""
        quiet = now - self._quiet
        return tuple(
            Heard(peer.id, peer.incarnation, peer.beat.sequence, peer.last_bus > quiet)
            for peer in self.peers.values()
            if not peer.unreachable and peer.beat is not None
        )

    def wants_direct(self, now: Instant) -> list[NodeId]:
        """Peers that must be spoken to directly, because a bus is quiet between us in either direction."""
        quiet = now - self._quiet
        return [p.id for p in self.peers.values() if p.last_bus <= quiet or p.direct_wanted_until > now]

    def heard(self, now: Instant, route: str, beat: Heartbeat) -> Peer | None:
        """Take in a heartbeat. None when it says nothing new (older life, or late)."""
        peer = self.peers.get(beat.node)
        if peer is None or beat.incarnation < peer.incarnation:
            return None
        old = peer.beat
        if beat.incarnation > peer.incarnation or old is None:
            if old is not None and not peer.unreachable:
                self.lost.append(peer.id)
            peer.incarnation = beat.incarnation
            peer.echo = 0
            peer.beat = old = None
            peer.routes.clear()
            peer.unlinked = {}
        peer.store = beat.store
        peer.last_heard = now
        if route not in peer.routes or now - peer.routes[route] >= self._detection:
            self._out.fact(
                FactKind.ROUTE_UP, f"heartbeats of node {peer.id} arrive on {route}", peer=peer.id, route=route
            )
        peer.routes[route] = now
        if route != DIRECT:
            peer.last_bus = now
        peer.regrouping = None
        if peer.unreachable:
            peer.unreachable = False
            self._out.timer(f"{PEER_TIMER}{peer.id}", now + self._detection)
        if old is not None and beat.sequence <= old.sequence:
            return None
        if old is None or old.storage != beat.storage:
            peer.storage_since = now
        if peer.unlinked or beat.unlinked:
            peer.unlinked = {network: peer.unlinked.get(network, now) for network in beat.unlinked}
        peer.beat = beat
        self._read_echo(now, peer, beat)
        return peer

    def _read_echo(self, now: Instant, peer: Peer, beat: Heartbeat) -> None:
        for heard in beat.hears:
            if heard.node == self._me:
                if heard.incarnation == self._incarnation:
                    if heard.sequence > peer.echo:
                        peer.echo = heard.sequence
                    if heard.on_bus:
                        return
                break
        peer.direct_wanted_until = Instant(now + WANTED_DELAYS * self._timing.delay)

    def detection_due(self, now: Instant, node: NodeId) -> None:
        """The detection timer of a peer fired: either it was heard meanwhile, or it is unreachable."""
        peer = self.peers.get(node)
        if peer is None or peer.unreachable:
            return
        if peer.regrouping is not None:
            self._unreachable(peer, peer.regrouping)
            return
        due = peer.last_heard + self._detection
        if now < due:
            self._out.timer(f"{PEER_TIMER}{node}", due)
            return
        silence_ms = (now - peer.last_heard) // 1000
        self._lose(now, peer, f"nothing heard on any route for {silence_ms} ms ({self._timing.threshold} heartbeats)")

    def _lose(self, now: Instant, peer: Peer, reason: str) -> None:
        """A peer is lost, at once or when the regroup delay is over and nothing was heard meanwhile."""
        if self._timing.regroup == 0:
            self._unreachable(peer, reason)
            return
        peer.regrouping = reason
        self._out.timer(f"{PEER_TIMER}{peer.id}", now + self._timing.regroup)

    def _unreachable(self, peer: Peer, reason: str) -> None:
        for route in sorted(peer.routes):
            self._out.fact(FactKind.ROUTE_DOWN, f"no heartbeat of node {peer.id} on {route}", peer=peer.id, route=route)
        peer.routes.clear()
        peer.unreachable = True
        peer.regrouping = None
        self.lost.append(peer.id)
        self._out.fact(FactKind.NODE_UNREACHABLE, reason, peer=peer.id, incarnation=peer.incarnation)

    def check_routes(self, now: Instant) -> None:
        """Record routes that went quiet while another still carries heartbeats."""
        for peer in self.peers.values():
            if len(peer.routes) > 1:
                for route, at in tuple(peer.routes.items()):
                    if now - at >= self._detection:
                        del peer.routes[route]
                        reason = f"no heartbeat of node {peer.id} on {route}; another route is up"
                        self._out.fact(FactKind.ROUTE_DOWN, reason, peer=peer.id, route=route)

    def will_heard(self, node: NodeId, incarnation: Incarnation) -> None:
        """A peer's bus connection broke. With connection-loss detection: probe it."""
        peer = self.peers.get(node)
        if self._connection_loss and peer is not None and peer.incarnation == incarnation and not peer.unreachable:
            peer.suspected_at = self._out.now
            peer.probes = 0
            self._out.add(ProbePeer(node))

    def probed(self, now: Instant, node: NodeId, refused: bool) -> None:
        """The answer to a probe. A dying process may still hold its port when its bus connection is gone: ask again."""
        peer = self.peers.get(node)
        if peer is None:
            return
        if refused:
            self.probe_refused(node, peer.incarnation)
            return
        if peer.unreachable or peer.last_heard > peer.suspected_at or peer.probes >= MAX_PROBES:
            return
        self._out.timer(f"{PROBE_TIMER}{node}", now + (PROBE_PAUSE_US << peer.probes))
        peer.probes += 1

    def timer(self, now: Instant, name: str) -> None:
        """One of our timers fired."""
        if name.startswith(PEER_TIMER):
            self.detection_due(now, NodeId(int(name.removeprefix(PEER_TIMER))))
        elif name.startswith(PROBE_TIMER):
            peer = self.peers.get(NodeId(int(name.removeprefix(PROBE_TIMER))))
            if peer is not None and not peer.unreachable and peer.last_heard <= peer.suspected_at:
                self._out.add(ProbePeer(peer.id))

    def probe_refused(self, node: NodeId, incarnation: Incarnation) -> None:
        """After a last will, nothing listens at the peer any more: it is gone."""
        peer = self.peers.get(node)
        if peer is None or peer.unreachable or peer.incarnation != incarnation:
            return
        self._out.fact(
            FactKind.CONNECTION_LOST, "its last will was published and its port refuses connections", peer=node
        )
        self._lose(self._out.now, peer, "connection loss: last will and refused probe together")

    def left(self, node: NodeId) -> None:
        """A peer was taken out of membership politely; do not wait for its silence."""
        peer = self.peers.get(node)
        if peer is not None and not peer.unreachable:
            self._unreachable(peer, "it left politely")
