"""MQTT 3.1.1 packets: what a client may send is understood in any fragmentation, everything else is `Malformed`."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from hvcluster.runtime.broker import codec
from hvcluster.runtime.broker.codec import Connect, Decoder, Malformed, Packet, PubAck, Publish, Subscribe

LEVELS = st.sampled_from(["a", "b", "", "$sys", "+", "#"])
TOPICS = st.lists(st.sampled_from(["a", "b", "", "$sys"]), min_size=1, max_size=4).map("/".join).filter(bool)
FILTERS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(codec.valid_filter)
MESSAGES = st.builds(
    Publish,
    topic=TOPICS,
    payload=st.binary(max_size=300),
    qos=st.sampled_from([0, 1]),
    retain=st.booleans(),
    packet_id=st.integers(1, 0xFFFF),
).map(lambda m: m if m.qos else Publish(m.topic, m.payload, 0, m.retain, 0))

CONNECT = b"\x10\x29\x00\x04MQTT\x04\xee\x00\x3c" + b"".join(
    len(field).to_bytes(2, "big") + field for field in (b"node-1", b"t", b"gone", b"user", b"secret")
)


@given(st.lists(MESSAGES, max_size=6), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_packets_survive_any_fragmentation(messages: list[Publish], cuts: list[int]) -> None:
    """TCP has no packets: the decoder must find the same ones however the bytes arrive."""
    stream = b"".join(codec.publish(message) for message in messages)
    decoder, found, at, turn = Decoder(), list[Packet](), 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += decoder.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert found == messages


@given(st.binary(max_size=200))
def test_whatever_a_peer_sends_only_malformed_is_raised(noise: bytes) -> None:
    """A foreign program on the port must not end the broker."""
    with contextlib.suppress(Malformed):
        Decoder().feed(noise)


@given(st.integers(0, len(CONNECT) - 1), st.integers(0, 255))
def test_a_damaged_connect_is_understood_or_malformed(at: int, value: int) -> None:
    """One wrong byte anywhere in a real packet."""
    with contextlib.suppress(Malformed):
        Decoder().feed(CONNECT[:at] + bytes((value,)) + CONNECT[at + 1 :])


@given(FILTERS, TOPICS)
def test_filters_match_as_in_the_client_library(pattern: str, topic: str) -> None:
    """paho is the twin; it knows nothing of `$` topics, which no leading wildcard may match [MQTT 4.7.2-1]."""
    hidden = topic.startswith("$") and pattern[0] in "+#"
    assert codec.matches(pattern, topic) == (bool(topic_matches_sub(pattern, topic)) and not hidden)


def test_a_full_connect_is_read_field_by_field() -> None:
    """[MQTT 3.1]; user name and password are not used yet, but must be skipped."""
    will = Publish("t", b"gone", 1, True)
    assert Decoder().feed(CONNECT) == [Connect("node-1", 60, True, will)]


def test_subscriptions_and_acknowledgements_are_read() -> None:
    """[MQTT 3.8, 3.4]"""
    stream = b"\x82\x0a\x00\x07\x00\x01a\x01\x00\x01#\x02" + b"\x40\x02\x00\x09"
    assert Decoder().feed(stream) == [Subscribe(7, (("a", 1), ("#", 2))), PubAck(9)]


@pytest.mark.parametrize("length", [0, 1, 127, 128, 16_383, 16_384, 60_000])
def test_every_size_class_of_the_length_field_works(length: int) -> None:
    """[MQTT 2.2.3]: one to three bytes of length below 64 KiB."""
    message = Publish("t", b"x" * length)
    assert Decoder().feed(codec.publish(message)) == [message]


def test_a_packet_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    """The whole packet counts, less its first byte and length."""
    fits = codec.publish(Publish("t", b"x" * 80))
    over = codec.publish(Publish("t", b"x" * 81))
    assert len(Decoder(max_packet_bytes=len(fits)).feed(fits)) == 1
    with pytest.raises(Malformed, match="at most"):
        Decoder(max_packet_bytes=len(fits)).feed(over)


@pytest.mark.parametrize("pattern", ["", "a#", "#/a", "a/#/b", "a+", "+a/b", "a\0"])
def test_filters_that_are_none_are_refused(pattern: str) -> None:
    """[MQTT 4.7.1-2, 4.7.1-3, 4.7.3-2]"""
    assert not codec.valid_filter(pattern)
