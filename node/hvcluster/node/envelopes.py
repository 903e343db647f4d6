"""Messages between peers as gRPC payloads, and back: the envelope says who speaks to whom, under which identity.

Law: translation and validation only, by the rules and limits of `wire`. Whatever does not fit raises `Rejected`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from google.protobuf.message import DecodeError

from hvcluster.model import codec
from hvcluster.model.vocabulary import MAX_NODES, NOBODY, Generation, Incarnation, NodeId, ResourceState, StoreId
from hvcluster.runtime import channels
from hvcluster.v1 import consensus_pb2

from .core import messages as m
from .core.commands import COMMANDS, Command, Configuration, Voter
from .core.migration_messages import MIGRATION_MESSAGES
from .wire import MAX_TEXT, Membership, Reason, Rejected, check_origin, heartbeat_in, heartbeat_out, number, text

MAX_ENVELOPE_BYTES: Final = channels.MAX_MESSAGE_BYTES - 64 * 1024
"""What fits into one gRPC message with room for its framing; gRPC itself refuses more."""
MAX_ENTRIES: Final = 8_192
"""Entries of one AppendEntries: the smallest entry takes some 30 bytes on the wire and ten times that in memory."""
MAX_NAME: Final = 256
"""Names of groups, codes and outcomes; Windows allows 64 characters for a VM's name, JSON may escape them."""

MAX_MIGRATION_BYTES: Final = 8 * 1024
"""Names, numbers, the end of a journal and a sentence: below 2 KiB; four times that is not ours."""

_OUTCOMES: Final = frozenset({"ONLINE", "OFFLINE", "FAILED", "PENDING"})
MAX_RESOURCES: Final = 256
"""Of one group; nobody keeps so many apart."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message from a peer, with the identity of the peer that sent it."""

    sender: NodeId
    store: StoreId
    incarnation: Incarnation
    message: m.Message


def envelope_bytes(
    membership: Membership, store: StoreId, incarnation: Incarnation, to: NodeId, message: m.Message
) -> bytes:
    """One message, addressed. Raises Rejected(OVERSIZED) for one that no peer would take.

    Envelopes to one peer may be sent together: `join`.
    """
    envelope = consensus_pb2.Envelope(
        cluster_id=membership.cluster_id, sender=membership.node, store=store, incarnation=incarnation, receiver=to
    )
    _fill(envelope, message, membership.cluster_id)
    data = envelope.SerializeToString()
    if len(data) > MAX_ENVELOPE_BYTES:
        raise Rejected(Reason.OVERSIZED, f"{type(message).__name__} of {len(data)} bytes", f"node {membership.node}")
    return data


def join(envelopes: Sequence[bytes]) -> bytes:
    """Several encoded envelopes to one receiver as one payload: the later ones travel in the first one's `more`.

    (Encoded protobuf messages are merged by putting them one after the other.)
    """
    if len(envelopes) == 1:
        return envelopes[0]
    return envelopes[0] + consensus_pb2.Envelope(more=envelopes[1:]).SerializeToString()


def read(data: bytes, membership: Membership) -> Iterator[Delivery | Rejected]:
    """The messages of one payload, in order; what must be ignored comes as its reason. Raises nothing."""
    if len(data) > MAX_ENVELOPE_BYTES:
        yield Rejected(Reason.OVERSIZED, f"{len(data)} bytes; a payload has {MAX_ENVELOPE_BYTES} at most")
        return
    envelope = _parsed(data)
    if isinstance(envelope, Rejected):
        yield envelope
        return
    yield _delivery(envelope, membership)
    for further in envelope.more:
        parsed = _parsed(further)
        yield parsed if isinstance(parsed, Rejected) else _delivery(parsed, membership)


def _parsed(data: bytes) -> consensus_pb2.Envelope | Rejected:
    try:
        return consensus_pb2.Envelope.FromString(data)
    except DecodeError:
        return Rejected(Reason.MALFORMED, "not an Envelope message")


def _delivery(envelope: consensus_pb2.Envelope, membership: Membership) -> Delivery | Rejected:
    try:
        check_origin(envelope.cluster_id, envelope.sender, membership)
    except Rejected as error:
        return error
    sender = f"node {envelope.sender}"
    if envelope.receiver != membership.node:
        return Rejected(Reason.WRONG_RECEIVER, f"addressed to node {envelope.receiver}", sender)
    if envelope.sender == membership.node:
        return Rejected(Reason.UNKNOWN_SENDER, "claims to come from this very node", sender)
    try:
        store = StoreId(number(envelope.store, "store"))
        incarnation = Incarnation(number(envelope.incarnation, "incarnation"))
        return Delivery(NodeId(envelope.sender), store, incarnation, _message(envelope, membership))
    except Rejected as error:
        return Rejected(error.reason, error.detail, sender)


def _fill(envelope: consensus_pb2.Envelope, message: m.Message, cluster_id: str) -> None:
    match message:
        case m.Heartbeat():
            envelope.heartbeat.CopyFrom(heartbeat_out(cluster_id, message))
        case m.PreVote(term, index, last_term, transfer):
            envelope.pre_vote.CopyFrom(
                consensus_pb2.PreVote(term=term, last_index=index, last_term=last_term, transfer=transfer)
            )
        case m.PreVoteReply(term, granted, own, reason):
            envelope.pre_vote_reply.CopyFrom(
                consensus_pb2.PreVoteReply(term=term, granted=granted, own_term=own, reason=reason[:MAX_TEXT])
            )
        case m.RequestVote(term, index, last_term, transfer):
            envelope.request_vote.CopyFrom(
                consensus_pb2.RequestVote(term=term, last_index=index, last_term=last_term, transfer=transfer)
            )
        case m.VoteReply(term, granted, own, reason):
            envelope.vote_reply.CopyFrom(
                consensus_pb2.VoteReply(term=term, granted=granted, own_term=own, reason=reason[:MAX_TEXT])
            )
        case m.AppendEntries():
            envelope.append_entries.CopyFrom(_append_out(message))
        case m.AppendReply(term, success, match, probe):
            envelope.append_reply.CopyFrom(
                consensus_pb2.AppendReply(term=term, success=success, match=match, probe=probe)
            )
        case m.InstallSnapshot():
            envelope.install_snapshot.CopyFrom(_snapshot_out(message))
        case m.TimeoutNow(term):
            envelope.timeout_now.CopyFrom(consensus_pb2.TimeoutNow(term=term))
        case m.GroupReport(group, generation, outcome, cause, reason, revision, resources):
            envelope.group_report.CopyFrom(
                consensus_pb2.GroupReport(
                    group=group,
                    generation=generation,
                    outcome=outcome,
                    cause=cause[:MAX_TEXT],
                    reason=reason[:MAX_TEXT],
                    revision=revision,
                    resources=[consensus_pb2.ResourceReport(name=n, state=s.name) for n, s in resources],
                )
            )
        case m.Forward(ticket, command):
            envelope.forward.CopyFrom(consensus_pb2.Forward(ticket=ticket, command=command))
        case m.OfferVm() | m.VmTaken() | m.LastOfVm() | m.WhereIsVm() | m.VmServed() | m.MoveReport():
            envelope.migration = codec.dump_tagged(message)
        case m.Forwarded(ticket, ok, code, text):
            envelope.forwarded.CopyFrom(consensus_pb2.Forwarded(ticket=ticket, ok=ok, code=code, text=text[:MAX_TEXT]))


def _message(envelope: consensus_pb2.Envelope, membership: Membership) -> m.Message:
    match envelope.WhichOneof("message"):
        case None:
            raise Rejected(Reason.MALFORMED, "an envelope without a message that this version knows")
        case "heartbeat":
            beat = envelope.heartbeat
            if beat.cluster_id != membership.cluster_id or beat.node != envelope.sender:
                raise Rejected(Reason.MALFORMED, "a heartbeat that is not its sender's own")
            return heartbeat_in(beat)
        case "pre_vote":
            v = envelope.pre_vote
            return m.PreVote(number(v.term), number(v.last_index), number(v.last_term), v.transfer)
        case "pre_vote_reply":
            r = envelope.pre_vote_reply
            return m.PreVoteReply(number(r.term), r.granted, number(r.own_term), text(r.reason))
        case "request_vote":
            q = envelope.request_vote
            return m.RequestVote(number(q.term), number(q.last_index), number(q.last_term), q.transfer)
        case "vote_reply":
            s = envelope.vote_reply
            return m.VoteReply(number(s.term), s.granted, number(s.own_term), text(s.reason))
        case "append_entries":
            return _append_in(envelope.append_entries)
        case "append_reply":
            a = envelope.append_reply
            return m.AppendReply(number(a.term), a.success, number(a.match), number(a.probe))
        case "install_snapshot":
            return _snapshot_in(envelope.install_snapshot)
        case "timeout_now":
            return m.TimeoutNow(number(envelope.timeout_now.term))
        case "group_report":
            return _report_in(envelope.group_report)
        case "forward":
            return m.Forward(number(envelope.forward.ticket), envelope.forward.command)
        case "forwarded":
            f = envelope.forwarded
            return m.Forwarded(number(f.ticket), f.ok, text(f.code, MAX_NAME), text(f.text))
        case "migration":
            return _migration_in(envelope.migration)


def _migration_in(data: bytes) -> m.MigrationMessage:
    if len(data) > MAX_MIGRATION_BYTES:
        raise Rejected(Reason.OVERSIZED, f"a message about a migration of {len(data)} bytes")
    try:
        return codec.load_tagged(MIGRATION_MESSAGES, data)
    except codec.Malformed as error:
        raise Rejected(Reason.MALFORMED, f"about a migration: {error}") from None


def _append_out(message: m.AppendEntries) -> consensus_pb2.AppendEntries:
    return consensus_pb2.AppendEntries(
        term=message.term,
        prev_index=message.prev_index,
        prev_term=message.prev_term,
        commit=message.commit,
        entries=[
            consensus_pb2.Entry(index=e.index, term=e.term, command=codec.dump_tagged(e.command))
            for e in message.entries
        ],
        probe=message.probe,
    )


def _append_in(proto: consensus_pb2.AppendEntries) -> m.AppendEntries:
    if len(proto.entries) > MAX_ENTRIES:
        raise Rejected(Reason.OUT_OF_RANGE, f"{len(proto.entries)} entries; {MAX_ENTRIES} at most")
    previous = number(proto.prev_index, "previous index")
    entries = []
    for at, entry in enumerate(proto.entries, previous + 1):
        if entry.index != at:
            raise Rejected(Reason.MALFORMED, f"entry {entry.index} where {at} should be")
        try:
            command: Command = codec.load_tagged(COMMANDS, entry.command)
        except codec.Malformed as error:
            raise Rejected(Reason.MALFORMED, f"entry {at}: {error}") from None
        entries.append(m.Entry(number(entry.index), number(entry.term), command))
    return m.AppendEntries(
        number(proto.term),
        previous,
        number(proto.prev_term),
        number(proto.commit),
        tuple(entries),
        number(proto.probe),
    )


def _snapshot_out(message: m.InstallSnapshot) -> consensus_pb2.InstallSnapshot:
    voters = (consensus_pb2.Voter(node=v.node, store=v.store) for v in message.configuration.voters)
    return consensus_pb2.InstallSnapshot(
        term=message.term,
        last_index=message.last_index,
        last_term=message.last_term,
        configuration=consensus_pb2.Configuration(voters=voters, witness=message.configuration.witness),
        database=message.database,
        probe=message.probe,
    )


def _snapshot_in(proto: consensus_pb2.InstallSnapshot) -> m.InstallSnapshot:
    configuration = Configuration(_voters(proto.configuration.voters), proto.configuration.witness)
    return m.InstallSnapshot(
        number(proto.term),
        number(proto.last_index),
        number(proto.last_term),
        configuration,
        proto.database,
        number(proto.probe),
    )


def _voters(protos: Iterable[consensus_pb2.Voter]) -> tuple[Voter, ...]:
    voters = tuple(Voter(_node(v.node), StoreId(number(v.store, "store"))) for v in protos)
    if len(voters) > MAX_NODES or any(a.node >= b.node for a, b in pairwise(voters)):
        raise Rejected(Reason.MALFORMED, "voters that are too many or not sorted by node")
    return voters


def _report_in(proto: consensus_pb2.GroupReport) -> m.GroupReport:
    if proto.outcome not in _OUTCOMES:
        raise Rejected(Reason.MALFORMED, f"no such outcome: {proto.outcome[:40]!r}")
    generation = Generation(number(proto.generation, "generation"))
    group = text(proto.group, MAX_NAME)
    if len(proto.resources) > MAX_RESOURCES:
        raise Rejected(Reason.OUT_OF_RANGE, f"{len(proto.resources)} resources; {MAX_RESOURCES} at most")
    states = ResourceState.__members__
    for row in proto.resources:
        if row.state not in states:
            raise Rejected(Reason.MALFORMED, f"no such state: {row.state[:40]!r}")
    resources = tuple((text(row.name, MAX_NAME), states[row.state]) for row in proto.resources)
    revision = number(proto.revision, "revision")
    return m.GroupReport(group, generation, proto.outcome, text(proto.cause), text(proto.reason), revision, resources)


def _node(value: int) -> NodeId:
    if not NOBODY < value <= MAX_NODES:
        raise Rejected(Reason.OUT_OF_RANGE, f"node id {value}")
    return NodeId(value)
