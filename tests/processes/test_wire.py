"""Messages from the wires: what fits comes back as it was sent, and nothing else gets through or raises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hvcluster.model.vocabulary import NOBODY, Generation, Incarnation, NodeId, StoreId
from hvcluster.model.votes import Configuration, Voter
from hvcluster.node import envelopes, wire
from hvcluster.node.core import messages as m
from hvcluster.node.core.commands import AssignGroup, Command, Configure, Noop, PauseNode
from hvcluster.node.envelopes import Delivery
from hvcluster.node.wire import Membership, Reason, Rejected
from hvcluster.v1 import consensus_pb2, heartbeat_pb2

US = Membership("lab-1", NodeId(1), frozenset(map(NodeId, (1, 2, 3))))
PEER = Membership("lab-1", NodeId(2), US.nodes)

numbers = st.integers(0, 2**63 - 1)
nodes = st.integers(1, 64).map(NodeId)
texts = st.text(max_size=60)
voters = st.lists(st.builds(Voter, nodes, numbers.map(StoreId)), unique_by=lambda v: v.node, max_size=8)
configurations = st.builds(Configuration, voters.map(lambda found: tuple(sorted(found))), st.booleans())
commands: st.SearchStrategy[Command] = st.one_of(
    st.just(Noop()),
    st.builds(Configure, configurations, texts),
    st.builds(PauseNode, nodes, st.booleans()),
    st.builds(
        AssignGroup,
        texts,
        numbers.map(Generation),
        nodes,
        texts,
        st.lists(nodes, max_size=4).map(tuple),
        texts,
        numbers,
    ),
)
heard = st.builds(m.Heard, nodes, numbers.map(Incarnation), numbers, st.booleans())
heartbeats = st.builds(
    m.Heartbeat,
    st.just(NodeId(2)),
    numbers.map(StoreId),
    numbers.map(Incarnation),
    numbers,
    st.booleans(),
    numbers,
    st.one_of(st.just(NOBODY), nodes),
    st.booleans(),
    numbers,
    numbers,
    st.booleans(),
    st.booleans(),
    st.lists(heard, unique_by=lambda h: h.node, max_size=64).map(tuple),
)


@st.composite
def appends(draw: st.DrawFn) -> m.AppendEntries:
    previous = draw(st.integers(0, 2**40))
    found = draw(st.lists(st.tuples(numbers, commands), max_size=4))
    entries = tuple(m.Entry(previous + 1 + at, term, command) for at, (term, command) in enumerate(found))
    return m.AppendEntries(draw(numbers), previous, draw(numbers), draw(numbers), entries, draw(numbers))


outcomes = st.sampled_from(("ONLINE", "OFFLINE", "FAILED"))
messages: st.SearchStrategy[m.Message] = st.one_of(
    heartbeats,
    st.builds(m.PreVote, numbers, numbers, numbers, st.booleans()),
    st.builds(m.PreVoteReply, numbers, st.booleans(), numbers, texts),
    st.builds(m.RequestVote, numbers, numbers, numbers, st.booleans()),
    st.builds(m.VoteReply, numbers, st.booleans(), numbers, texts),
    appends(),
    st.builds(m.AppendReply, numbers, st.booleans(), numbers, numbers),
    st.builds(m.InstallSnapshot, numbers, numbers, numbers, configurations, st.binary(max_size=99), numbers),
    st.builds(m.TimeoutNow, numbers),
    st.builds(m.GroupReport, texts, numbers.map(Generation), outcomes, texts, texts),
    st.builds(m.Forward, numbers, st.binary(max_size=99)),
    st.builds(m.Forwarded, numbers, st.booleans(), texts, texts),
)


def sent(message: m.Message, by: Membership = PEER, to: int = 1) -> bytes:
    return envelopes.envelope_bytes(by, StoreId(5), Incarnation(6), NodeId(to), message)


def only(payload: bytes) -> Delivery | Rejected:
    (item,) = envelopes.read(payload, US)
    return item


@given(heartbeats)
def test_a_heartbeat_comes_back_as_it_was_sent(beat: m.Heartbeat) -> None:
    """Consensus: heartbeats carry node, incarnation, sequence, term, leader, commit index and whom they hear."""
    assert wire.read_heartbeat(wire.heartbeat_bytes("lab-1", beat), US) == beat


@given(st.lists(messages, min_size=1, max_size=5))
def test_messages_come_back_in_order_with_their_sender(said: list[m.Message]) -> None:
    """House style: adapters translate and nothing else; messages that travel together keep their order."""
    payload = envelopes.join([sent(message) for message in said])
    expected = [Delivery(NodeId(2), StoreId(5), Incarnation(6), message) for message in said]
    assert list(envelopes.read(payload, US)) == expected


@given(st.binary(max_size=300))
def test_garbage_is_rejected_and_never_raises(garbage: bytes) -> None:
    """Bad input: malformed messages are counted and ignored."""
    assert all(isinstance(item, Rejected) for item in envelopes.read(garbage, US))
    with pytest.raises(Rejected):
        wire.read_heartbeat(garbage, US)
    with pytest.raises(Rejected):
        wire.read_will(garbage, US)


@given(messages, st.data())
def test_a_message_with_a_broken_byte_is_read_or_rejected(message: m.Message, data: st.DataObject) -> None:
    """Bad input: whatever a byte turns into, what comes through keeps to the limits."""
    payload = bytearray(sent(message))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    for item in envelopes.read(bytes(payload), US):
        if isinstance(item, Delivery):
            assert item.sender in US.nodes - {US.node}
            sent(item.message)


def reason(item: Delivery | Rejected) -> Reason:
    assert isinstance(item, Rejected)
    return item.reason


def test_strangers_are_told_apart() -> None:
    """Bad input: counted by reason, so that an operator sees a foreign cluster on the same wire."""
    note = m.TimeoutNow(3)
    assert reason(only(sent(note, Membership("lab-2", NodeId(2), US.nodes)))) is Reason.FOREIGN_CLUSTER
    assert reason(only(sent(note, Membership("lab-1", NodeId(9), US.nodes)))) is Reason.UNKNOWN_SENDER
    assert reason(only(sent(note, US))) is Reason.UNKNOWN_SENDER, "nobody speaks to itself over a wire"
    assert reason(only(sent(note, to=3))) is Reason.WRONG_RECEIVER
    assert reason(only(b"\0" * (envelopes.MAX_ENVELOPE_BYTES + 1))) is Reason.OVERSIZED


def test_numbers_out_of_range_are_rejected() -> None:
    """Node ids are 1..64; terms and indexes stay below 2^63, which saved state can keep."""
    beat = heartbeat_pb2.Heartbeat(cluster_id="lab-1", node=2)
    for bad in (
        heartbeat_pb2.Heartbeat(term=2**63),
        heartbeat_pb2.Heartbeat(leader=65),
        heartbeat_pb2.Heartbeat(hears=[heartbeat_pb2.Heard(node=0)]),
        heartbeat_pb2.Heartbeat(hears=[heartbeat_pb2.Heard(node=3), heartbeat_pb2.Heard(node=3)]),
        heartbeat_pb2.Heartbeat(unlinked=["x" * 33]),
        heartbeat_pb2.Heartbeat(unlinked=[str(number) for number in range(65)]),
    ):
        broken = heartbeat_pb2.Heartbeat()
        broken.CopyFrom(beat)
        broken.MergeFrom(bad)
        with pytest.raises(Rejected) as caught:
            wire.read_heartbeat(broken.SerializeToString(), US)
        assert caught.value.reason is Reason.OUT_OF_RANGE


def test_entries_with_a_gap_or_an_unknown_command_are_rejected() -> None:
    """The log follows without gaps; a command of a newer version is not taken for something else."""
    for entry in (
        consensus_pb2.Entry(index=9, term=1, command=b'["Noop",{}]'),
        consensus_pb2.Entry(index=5, term=1, command=b'["Explode",{}]'),
        consensus_pb2.Entry(index=5, term=1, command=b"\xff"),
    ):
        envelope = consensus_pb2.Envelope(cluster_id="lab-1", sender=2, receiver=1)
        envelope.append_entries.CopyFrom(consensus_pb2.AppendEntries(term=1, prev_index=4, entries=[entry]))
        assert reason(only(envelope.SerializeToString())) is Reason.MALFORMED


def test_one_bad_message_does_not_cost_its_companions() -> None:
    """Messages travel together; each is judged on its own."""
    good = sent(m.TimeoutNow(3))
    items = list(envelopes.read(envelopes.join([good, b"\xff\xff", sent(m.TimeoutNow(4))]), US))
    assert [type(item) for item in items] == [Delivery, Rejected, Delivery]


def test_our_own_long_reasons_are_cut_not_lost() -> None:
    """A sentence that grew too long must not cost the vote that carries it."""
    item = only(sent(m.VoteReply(1, False, 2, "because " * 1000)))
    assert isinstance(item, Delivery)
    assert isinstance(item.message, m.VoteReply)
    assert len(item.message.reason) == wire.MAX_TEXT
