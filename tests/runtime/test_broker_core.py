"""The embedded broker's decisions, without a socket: limits and corners the real processes rarely reach."""

from dataclasses import dataclass, field

import pytest

from hvcluster.runtime.broker import codec, core
from hvcluster.runtime.broker.codec import Connect, Decoder, Disconnect, Packet, PubAck, Publish, Subscribe


@dataclass(eq=False)
class Wire:
    """The client's end: what was sent to it. `blocked` plays a client that does not read."""

    sent: list[bytes] = field(default_factory=list)
    closed: str | None = None
    blocked: bool = False

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def offer(self, data: bytes) -> bool:
        if not self.blocked:
            self.sent.append(data)
        return not self.blocked

    def close(self, reason: str) -> None:
        self.closed = reason

    def messages(self) -> list[Packet]:
        return Decoder().feed(b"".join(data for data in self.sent if data[0] >> 4 == 3))


def opened(broker: core.Broker, client_id: str, will: Publish | None = None) -> tuple[core.Session, Wire]:
    wire = Wire()
    session = broker.connect(Connect(client_id, 60, True, will), wire)
    assert session is not None
    return session, wire


def test_an_unacknowledged_flood_is_dropped_at_the_limit_and_goes_on_after_an_acknowledgement() -> None:
    """A client that takes messages but never acknowledges must not use up the packet identifiers."""
    broker = core.Broker()
    session, wire = opened(broker, "node-1")
    broker.handle(session, Subscribe(1, (("beat", 1),)))
    for number in range(core.MAX_UNACKNOWLEDGED + 5):
        broker.publish(Publish("beat", str(number).encode(), qos=1))
    assert len(wire.messages()) == core.MAX_UNACKNOWLEDGED
    assert broker.counters.dropped == 5
    broker.handle(session, PubAck(1))
    broker.publish(Publish("beat", b"after", qos=1))
    assert len(wire.messages()) == core.MAX_UNACKNOWLEDGED + 1


def test_a_slow_client_is_noted_once_and_only_its_messages_are_dropped() -> None:
    """A frozen node costs the others nothing, and the log one line."""
    notes: list[tuple[str, str]] = []
    broker = core.Broker(lambda text, client_id: notes.append((text, client_id)))
    slow, slow_wire = opened(broker, "slow")
    quick, quick_wire = opened(broker, "quick")
    for session in (slow, quick):
        broker.handle(session, Subscribe(1, (("beat", 0),)))
    slow_wire.blocked = True
    for _ in range(3):
        broker.publish(Publish("beat", b"x"))
    assert (len(slow_wire.messages()), len(quick_wire.messages())) == (0, 3)
    assert [client_id for _, client_id in notes] == ["slow"]


def test_quality_of_service_two_is_granted_as_one() -> None:
    """[MQTT 3.8.4-6] allows the server to grant less."""
    broker = core.Broker()
    session, wire = opened(broker, "node-1")
    broker.handle(session, Subscribe(1, (("a", 2), ("b", 0))))
    assert wire.sent[-1] == codec.suback(1, (1, 0))


def test_too_many_subscriptions_are_refused_one_by_one() -> None:
    """[MQTT 3.9.3]: 0x80 for each filter beyond the limit; those held go on."""
    broker = core.Broker()
    session, wire = opened(broker, "node-1")
    for number in range(core.MAX_SUBSCRIPTIONS):
        broker.handle(session, Subscribe(1, ((f"t/{number}", 0),)))
    broker.handle(session, Subscribe(2, (("t/0", 1), ("one/too/many", 1))))
    assert wire.sent[-1] == codec.suback(2, (1, core.REFUSED))


def test_too_many_clients_are_refused_but_a_known_one_may_take_over() -> None:
    """A full broker must still let a restarted node back in."""
    broker = core.Broker()
    _, first = opened(broker, "node-0")
    for number in range(1, core.MAX_SESSIONS):
        opened(broker, f"node-{number}")
    late = Wire()
    assert broker.connect(Connect("late", 60, True, None), late) is None
    assert late.sent == [codec.connack(codec.ConnectCode.UNAVAILABLE)]
    assert late.closed is not None
    opened(broker, "node-0")
    assert first.closed is not None


def test_a_lost_session_that_was_taken_over_publishes_its_will_once() -> None:
    """The old connection's end arrives after the take-over: it must not touch the new session."""
    broker = core.Broker()
    observer, wire = opened(broker, "observer")
    broker.handle(observer, Subscribe(1, (("gone", 0),)))
    old, _ = opened(broker, "node-1", Publish("gone", b"old"))
    new, _ = opened(broker, "node-1", Publish("gone", b"new"))
    broker.lost(old)
    assert wire.messages() == [Publish("gone", b"old")]
    broker.handle(new, Disconnect())
    assert wire.messages() == [Publish("gone", b"old")]


@pytest.mark.parametrize(("client_id", "clean"), [("", False), ("x" * 257, True)])
def test_identifiers_that_cannot_be_are_rejected(client_id: str, clean: bool) -> None:
    """[MQTT 3.1.3-8]: an anonymous client must ask for a clean session."""
    wire = Wire()
    assert core.Broker().connect(Connect(client_id, 60, clean, None), wire) is None
    assert wire.sent == [codec.connack(codec.ConnectCode.IDENTIFIER_REJECTED)]


def test_clients_without_a_name_do_not_take_each_other_over() -> None:
    """[MQTT 3.1.3-6]"""
    broker = core.Broker()
    _, first = opened(broker, "")
    opened(broker, "")
    assert first.closed is None


def test_a_retained_message_is_delivered_at_the_lower_quality_of_service() -> None:
    """Retained with 1, subscribed with 0: no packet identifier; the other way round: likewise."""
    broker = core.Broker()
    broker.publish(Publish("one", b"x", qos=1, retain=True))
    broker.publish(Publish("nought", b"x", qos=0, retain=True))
    session, wire = opened(broker, "node-1")
    broker.handle(session, Subscribe(1, (("one", 0), ("nought", 1))))
    assert wire.messages() == [Publish("one", b"x", 0, True), Publish("nought", b"x", 0, True)]
