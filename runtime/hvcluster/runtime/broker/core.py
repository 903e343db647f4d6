"""Who gets which message: sessions, subscriptions, retained messages and wills of the embedded broker.

Law: no I/O, no clock, no asyncio. A session writes through its `Link`; nothing else leaves this module.
Sessions end with their connection (clean sessions only), so nothing needs to survive the process. One client
identifier is one session: a newcomer takes over and the older connection is closed [MQTT 3.1.4-2].
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from hvcluster.runtime.broker import codec
from hvcluster.runtime.broker.codec import ConnectCode, Malformed, Publish

MAX_SESSIONS = 1024
"""Connections at once: 64 nodes, onlookers and probes stay below 200; more is a client that leaks
connections.
"""
MAX_SUBSCRIPTIONS = 128
"""Filters of one session: a node needs three."""
MAX_RETAINED = 8192
"""Retained topics: two facts per node and one per VM, 64 nodes with 100 VMs each, fit."""
MAX_UNACKNOWLEDGED = 1000
"""Quality of service 1 messages in flight to one client; further ones are dropped (Mosquitto's queue is as
long).
"""
MAX_CLIENT_ID_CHARS = 256
_MAX_ROUTES = 4096
"""Topics whose receivers are remembered; when full, forgotten and learnt anew."""
REFUSED = 0x80


class Link(Protocol):
    """The way to one client. Neither method may call back into the broker."""

    def send(self, data: bytes) -> None:
        """Hand over an answer the client asked for; never dropped."""

    def offer(self, data: bytes) -> bool:
        """Hand over a message; False: the client reads too slowly and it was dropped."""

    def close(self, reason: str) -> None:
        """End the connection, once what was sent has left where possible."""


@dataclass(slots=True, eq=False)
class Session:
    """One connected client."""

    client_id: str
    link: Link
    will: Publish | None
    subscriptions: dict[str, int] = field(default_factory=dict)
    unacknowledged: set[int] = field(default_factory=set)
    last_packet_id: int = 0
    dropped: int = 0

    def next_packet_id(self) -> int | None:
        """A free packet identifier, or None when too many messages are in flight."""
        if len(self.unacknowledged) >= MAX_UNACKNOWLEDGED:
            return None
        candidate = self.last_packet_id
        while True:
            candidate = candidate % 0xFFFF + 1
            if candidate not in self.unacknowledged:
                self.last_packet_id = candidate
                return candidate


@dataclass(slots=True)
class Counters:
    """What happened since start, in messages (sessions: connections accepted)."""

    received: int = 0
    delivered: int = 0
    dropped: int = 0
    sessions: int = 0
    taken_over: int = 0


class Broker:
    """Sessions by client identifier, and what is retained. `note(text, client_id)` is told what a log should
    hold.
    """

    def __init__(self, note: Callable[[str, str], None] = lambda text, client_id: None) -> None:
        self._sessions: dict[str, Session] = {}
        self._retained: dict[str, Publish] = {}
        self._routes: dict[str, list[tuple[Session, int]]] = {}
        self._note = note
        self._anonymous = 0
        self.counters = Counters()

    def connect(self, packet: codec.Connect, link: Link) -> Session | None:
        """Open a session and answer CONNACK; None: refused, answered and closed."""
        client_id = packet.client_id
        if len(client_id) > MAX_CLIENT_ID_CHARS or not (client_id or packet.clean_session):
            return self._refuse(link, ConnectCode.IDENTIFIER_REJECTED, "client identifier not acceptable")
        older = self._sessions.get(client_id) if client_id else None
        if older is None and len(self._sessions) >= MAX_SESSIONS:
            return self._refuse(link, ConnectCode.UNAVAILABLE, f"{MAX_SESSIONS} clients are connected already")
        if not client_id:
            self._anonymous += 1
            client_id = f"\0anonymous-{self._anonymous}"  # no client can name itself so
        if older is not None:
            self.counters.taken_over += 1
            self._note("session taken over", client_id)
            self.lost(older)
            older.link.close("another connection took this client identifier over")
        session = Session(client_id, link, packet.will)
        self._sessions[client_id] = session
        self.counters.sessions += 1
        link.send(codec.connack(ConnectCode.ACCEPTED))
        return session

    @staticmethod
    def _refuse(link: Link, code: ConnectCode, reason: str) -> None:
        link.send(codec.connack(code))
        link.close(reason)

    def handle(self, session: Session, packet: codec.Packet) -> None:
        """Act on one packet of an open session. Raises `Malformed` for a second CONNECT."""
        match packet:
            case Publish():
                self.publish(packet)
                if packet.qos:
                    session.link.send(codec.puback(packet.packet_id))
            case codec.PubAck():
                session.unacknowledged.discard(packet.packet_id)
            case codec.PingReq():
                session.link.send(codec.PINGRESP)
            case codec.Subscribe():
                self._subscribe(session, packet)
            case codec.Unsubscribe():
                for pattern in packet.filters:
                    session.subscriptions.pop(pattern, None)
                self._routes.clear()
                session.link.send(codec.unsuback(packet.packet_id))
            case codec.Disconnect():
                session.will = None
                self.lost(session)
                session.link.close("client disconnected")
            case codec.Connect():
                raise Malformed("a second CONNECT on one connection")

    def lost(self, session: Session) -> None:
        """The connection is over: forget the session; its will goes out if it said no goodbye. Idempotent."""
        if self._sessions.get(session.client_id) is not session:
            return
        del self._sessions[session.client_id]
        self._routes.clear()
        if session.will is not None:
            self.publish(session.will)

    def publish(self, message: Publish) -> None:
        """Retain if asked to; hand to every subscriber once, at the lower of both qualities of service."""
        self.counters.received += 1
        if message.retain:
            self._retain(message)
        plain = codec.publish(replace(message, qos=0, retain=False, packet_id=0))
        for session, granted in self._route(message.topic):
            if granted == 0 or message.qos == 0:
                self._count(session, session.link.offer(plain))
            else:
                self._deliver_once(session, replace(message, retain=False))

    def _deliver_once(self, session: Session, message: Publish) -> None:
        """Deliver with quality of service 1: "at least once" as long as this connection lives."""
        packet_id = session.next_packet_id()
        if packet_id is None:
            self._count(session, False)
            return
        sent = session.link.offer(codec.publish(replace(message, qos=1, packet_id=packet_id)))
        if sent:
            session.unacknowledged.add(packet_id)
        self._count(session, sent)

    def _count(self, session: Session, sent: bool) -> None:
        if sent:
            self.counters.delivered += 1
            return
        self.counters.dropped += 1
        session.dropped += 1
        if session.dropped == 1:
            self._note("client reads too slowly: messages are dropped", session.client_id)

    def _retain(self, message: Publish) -> None:
        if not message.payload:
            self._retained.pop(message.topic, None)
        elif message.topic in self._retained or len(self._retained) < MAX_RETAINED:
            self._retained[message.topic] = message
        else:
            self._note(f"{MAX_RETAINED} topics are retained already: {message.topic} is not", "")

    def _route(self, topic: str) -> list[tuple[Session, int]]:
        """Who subscribes to `topic`, each once with its highest granted quality of service; remembered."""
        route = self._routes.get(topic)
        if route is None:
            route = []
            for session in self._sessions.values():
                granted = [qos for pattern, qos in session.subscriptions.items() if codec.matches(pattern, topic)]
                if granted:
                    route.append((session, max(granted)))
            if len(self._routes) >= _MAX_ROUTES:
                self._routes.clear()
            self._routes[topic] = route
        return route

    def _subscribe(self, session: Session, packet: codec.Subscribe) -> None:
        granted = []
        for pattern, qos in packet.filters:
            if pattern not in session.subscriptions and len(session.subscriptions) >= MAX_SUBSCRIPTIONS:
                granted.append(REFUSED)
                continue
            session.subscriptions[pattern] = min(qos, 1)
            granted.append(min(qos, 1))
        self._routes.clear()
        session.link.send(codec.suback(packet.packet_id, tuple(granted)))
        for (pattern, _), qos in zip(packet.filters, granted, strict=True):
            if qos != REFUSED:
                self._send_retained(session, pattern, qos)

    def _send_retained(self, session: Session, pattern: str, granted: int) -> None:
        for topic, message in self._retained.items():
            if not codec.matches(pattern, topic):
                continue
            if min(granted, message.qos):
                self._deliver_once(session, message)
            else:
                self._count(session, session.link.offer(codec.publish(replace(message, qos=0, packet_id=0))))
