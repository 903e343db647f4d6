"""What travels over the buses as protobuf bytes, and back; and the rules every message from a wire must keep.

Law: translation and validation only. Bytes from a wire are never trusted: whatever does not fit raises `Rejected`
with a reason that is counted, and nothing else. What the core is handed afterwards is within the limits named here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from google.protobuf.message import DecodeError

from hvcluster.model.vocabulary import MAX_NODES, Incarnation, NodeId, StoreId
from hvcluster.v1 import heartbeat_pb2

from .core import messages as m

MAX_NUMBER: Final = 2**63 - 1
"""Terms, indexes and the like: saved state keeps signed 64-bit integers (a million a second last 290,000 years)."""
MAX_HEARTBEAT_BYTES: Final = 8 * 1024
"""64 nodes hear 63 peers at about 25 bytes each, plus identifiers: below 2 KiB; four times that is not ours."""
MAX_NETWORKS, MAX_NETWORK = 64, 32
"""Each VM is on one network, and a name has no more characters."""
MAX_TEXT: Final = 1_024
"""A reason is one sentence. Ours are cut to this length, longer ones from elsewhere are refused."""


class Reason(Enum):
    """Why a message was ignored; the values are the words that status and metrics show."""

    OVERSIZED = "oversized"
    MALFORMED = "malformed"
    OUT_OF_RANGE = "out-of-range"
    FOREIGN_CLUSTER = "foreign-cluster"
    UNKNOWN_SENDER = "unknown-sender"
    WRONG_RECEIVER = "wrong-receiver"
    WRONG_TOPIC = "wrong-topic"


class Rejected(Exception):
    """A message that must be ignored. `sender` is who it claims to be from, as far as it could be read."""

    def __init__(self, reason: Reason, detail: str, sender: str = "unreadable") -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail
        self.sender = sender


@dataclass(frozen=True, slots=True)
class Membership:
    """Who may speak to whom here: our cluster, ourselves, and all nodes of the definition (ourselves included)."""

    cluster_id: str
    node: NodeId
    nodes: frozenset[NodeId]


# --- heartbeats and wills (MQTT payloads)


def heartbeat_bytes(cluster_id: str, beat: m.Heartbeat) -> bytes:
    """The MQTT payload of a heartbeat."""
    return heartbeat_out(cluster_id, beat).SerializeToString()


def read_heartbeat(payload: bytes, membership: Membership) -> m.Heartbeat:
    """A peer's (or our own) heartbeat. Raises Rejected."""
    if len(payload) > MAX_HEARTBEAT_BYTES:
        raise Rejected(Reason.OVERSIZED, f"{len(payload)} bytes; a heartbeat has {MAX_HEARTBEAT_BYTES} at most")
    try:
        proto = heartbeat_pb2.Heartbeat.FromString(payload)
    except DecodeError:
        raise Rejected(Reason.MALFORMED, "not a Heartbeat message") from None
    check_origin(proto.cluster_id, proto.node, membership)
    return heartbeat_in(proto)


def will_bytes(cluster_id: str, node: NodeId, incarnation: Incarnation) -> bytes:
    """The MQTT payload of a last will."""
    return heartbeat_pb2.Will(cluster_id=cluster_id, node=node, incarnation=incarnation).SerializeToString()


def read_will(payload: bytes, membership: Membership) -> tuple[NodeId, Incarnation]:
    """Whose connection was lost. Raises Rejected."""
    if len(payload) > MAX_HEARTBEAT_BYTES:
        raise Rejected(Reason.OVERSIZED, f"{len(payload)} bytes; a will has {MAX_HEARTBEAT_BYTES} at most")
    try:
        proto = heartbeat_pb2.Will.FromString(payload)
    except DecodeError:
        raise Rejected(Reason.MALFORMED, "not a Will message") from None
    check_origin(proto.cluster_id, proto.node, membership)
    return NodeId(proto.node), Incarnation(number(proto.incarnation, "incarnation"))


def check_origin(cluster_id: str, sender: int, membership: Membership) -> None:
    if cluster_id != membership.cluster_id:
        raise Rejected(
            Reason.FOREIGN_CLUSTER, f"of cluster {cluster_id[:64]!r}", f"node {sender} of {cluster_id[:64]!r}"
        )
    if sender not in membership.nodes:
        raise Rejected(
            Reason.UNKNOWN_SENDER, f"node {sender} is not in the definition of this cluster", f"node {sender}"
        )


def heartbeat_out(cluster_id: str, beat: m.Heartbeat) -> heartbeat_pb2.Heartbeat:
    proto = heartbeat_pb2.Heartbeat(
        cluster_id=cluster_id,
        node=beat.node,
        store=beat.store,
        incarnation=beat.incarnation,
        sequence=beat.sequence,
        member=beat.member,
        term=beat.term,
        leader=beat.leader,
        quorum=beat.quorum,
        last_index=beat.last_index,
        commit=beat.commit,
        storage=beat.storage,
        leaving=beat.leaving,
        ignores=beat.ignores,
    )
    proto.unlinked.extend(beat.unlinked)
    add = proto.hears.add
    for heard in beat.hears:
        add(node=heard.node, incarnation=heard.incarnation, sequence=heard.sequence, on_bus=heard.on_bus)
    return proto


def heartbeat_in(proto: heartbeat_pb2.Heartbeat) -> m.Heartbeat:
    numbers = (
        proto.store, proto.incarnation, proto.sequence, proto.term, proto.last_index, proto.commit
    )  # fmt: skip
    if max(numbers) > MAX_NUMBER or proto.leader > MAX_NODES or not 1 <= proto.node <= MAX_NODES:
        raise Rejected(Reason.OUT_OF_RANGE, "a number of the heartbeat", f"node {proto.node}")
    if len(proto.hears) > MAX_NODES:
        raise Rejected(Reason.OUT_OF_RANGE, f"hears {len(proto.hears)} peers", f"node {proto.node}")
    if len(proto.unlinked) > MAX_NETWORKS or any(len(network) > MAX_NETWORK for network in proto.unlinked):
        raise Rejected(Reason.OUT_OF_RANGE, "its networks", f"node {proto.node}")
    hears = []
    seen: set[int] = set()
    for heard in proto.hears:
        node = heard.node
        if not 1 <= node <= MAX_NODES or node in seen or heard.incarnation > MAX_NUMBER or heard.sequence > MAX_NUMBER:
            raise Rejected(Reason.OUT_OF_RANGE, "what it hears of a peer", f"node {proto.node}")
        seen.add(node)
        hears.append(m.Heard(NodeId(node), Incarnation(heard.incarnation), heard.sequence, heard.on_bus))
    store, incarnation, sequence, term, last_index, commit = numbers
    return m.Heartbeat(
        NodeId(proto.node),
        StoreId(store),
        Incarnation(incarnation),
        sequence,
        proto.member,
        term,
        NodeId(proto.leader),
        proto.quorum,
        last_index,
        commit,
        proto.storage,
        proto.leaving,
        tuple(hears),
        tuple(sorted(set(proto.unlinked))),
        proto.ignores,
    )


def number(value: int, name: str = "a number") -> int:
    if value > MAX_NUMBER:
        raise Rejected(Reason.OUT_OF_RANGE, f"{name} is {value}")
    return value


def text(value: str, limit: int = MAX_TEXT) -> str:
    if len(value) > limit:
        raise Rejected(Reason.OVERSIZED, f"text of {len(value)} characters")
    return value
