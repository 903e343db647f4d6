"""MQTT 3.1.1 packets, as a server reads and writes them (OASIS mqtt-v3.1.1-os; sections are cited as [n.n]).

Law: bytes in, packets out, and back; no sockets, no sessions, no clock. Whatever a peer sends, `Decoder.feed`
either returns packets or raises `Malformed`; after that the connection has no meaning any more and must be
closed [4.8]. Quality of service 2 is refused, not emulated: no heartbeat and no status needs it.
"""

from dataclasses import dataclass
from enum import IntEnum

MAX_PACKET_BYTES = 64 * 1024
"""Largest packet taken: a heartbeat is about 200 bytes, a status below 4 KiB; more is a mistake or an attack.
"""
MAX_FILTERS_PER_PACKET = 64
"""Filters one SUBSCRIBE may carry; our clients send three."""
_MAX_HEADER_BYTES = 5
_PROTOCOL_NAME = b"\x00\x04MQTT"
PROTOCOL_LEVEL = 4


class Malformed(Exception):
    """The peer sent what MQTT 3.1.1 does not allow, or more than `max_packet_bytes`; the text says what."""


class WrongProtocol(Malformed):
    """A CONNECT of another protocol version; answered with CONNACK 1 before closing [3.1.2.2]."""


class ConnectCode(IntEnum):
    """Answers to CONNECT [3.2.2.3]."""

    ACCEPTED = 0
    WRONG_PROTOCOL = 1
    IDENTIFIER_REJECTED = 2
    UNAVAILABLE = 3


@dataclass(frozen=True, slots=True)
class Publish:
    """One application message. `packet_id` is 0 with quality of service 0."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False
    packet_id: int = 0


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT [3.1]. `keepalive_s` 0 means: never time out. User name and password are read and dropped."""

    client_id: str
    keepalive_s: int
    clean_session: bool
    will: Publish | None


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE [3.8]: (filter, wanted quality of service) in the order sent; filters are valid."""

    packet_id: int
    filters: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE [3.10]."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PubAck:
    """PUBACK [3.4] of a message this server sent with quality of service 1."""

    packet_id: int


@dataclass(frozen=True, slots=True)
class PingReq:
    """PINGREQ [3.12]."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """DISCONNECT [3.14]: the polite end, which drops the will."""


Packet = Connect | Publish | PubAck | Subscribe | Unsubscribe | PingReq | Disconnect

_PING = PingReq()
_BYE = Disconnect()
PINGRESP = b"\xd0\x00"


class Decoder:
    """Reassembles the packets of one connection from chunks of any size."""

    __slots__ = ("_max_packet_bytes", "_rest")

    def __init__(self, max_packet_bytes: int = MAX_PACKET_BYTES) -> None:
        self._max_packet_bytes = max_packet_bytes
        self._rest = b""

    def feed(self, chunk: bytes) -> list[Packet]:
        """The packets that `chunk` completes, in order.

        Raises `Malformed` (and loses the packets before it in the same chunk: the connection ends anyway).
        """
        data = self._rest + chunk if self._rest else chunk
        packets: list[Packet] = []
        start, end = 0, len(data)
        while start < end:
            header = _remaining_length(data, start, end)
            if header is None:
                break
            body, length = header
            if body - start + length > self._max_packet_bytes:
                raise Malformed(f"packet of {length} bytes; at most {self._max_packet_bytes} are taken")
            if body + length > end:
                break
            packets.append(_packet(data[start], data[body : body + length]))
            start = body + length
        self._rest = data[start:]
        return packets


def _remaining_length(data: bytes, start: int, end: int) -> tuple[int, int] | None:
    """(where the body starts, its length), or None while the fixed header is incomplete [2.2.3]."""
    length = shift = 0
    for at in range(start + 1, min(end, start + _MAX_HEADER_BYTES)):
        length |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return at + 1, length
        shift += 7
    if end - start >= _MAX_HEADER_BYTES:
        raise Malformed("remaining length of more than four bytes")
    return None


def _packet(first: int, body: bytes) -> Packet:
    kind, flags = first >> 4, first & 0x0F
    if kind == 3:
        return _publish(flags, body)
    if flags != (2 if kind in (8, 10) else 0):
        raise Malformed(f"packet type {kind} with flags {flags}")
    match kind:
        case 1:
            return _connect(body)
        case 4:
            if len(body) != 2:
                raise Malformed("PUBACK that is not two bytes long")
            return PubAck(_packet_id(body, 0))
        case 8:
            return _subscribe(body)
        case 10:
            return _unsubscribe(body)
        case 12 | 14:
            if body:
                raise Malformed(f"packet type {kind} with a body")
            return _PING if kind == 12 else _BYE
        case _:
            raise Malformed(f"packet type {kind} is not for this server")


def _publish(flags: int, body: bytes) -> Publish:
    qos = flags >> 1 & 3
    if qos > 1:
        raise Malformed(f"PUBLISH with quality of service {qos}; at most 1 is served")
    topic, at = _text(body, 0)
    if not topic or "+" in topic or "#" in topic:
        raise Malformed(f"PUBLISH to {topic[:80]!r}, which is not a topic name")
    packet_id = 0
    if qos:
        packet_id = _packet_id(body, at)
        at += 2
    return Publish(topic, body[at:], qos, bool(flags & 1), packet_id)


def _connect(body: bytes) -> Connect:
    if body[:6] != _PROTOCOL_NAME or len(body) < 10:
        raise WrongProtocol("CONNECT of a protocol that is not MQTT 3.1.1")
    if body[6] != PROTOCOL_LEVEL:
        raise WrongProtocol(f"CONNECT with protocol level {body[6]}; this server speaks 4 (MQTT 3.1.1)")
    flags = body[7]
    if flags & 1:
        raise Malformed("CONNECT with its reserved flag set")
    keepalive_s = int.from_bytes(body[8:10], "big")
    client_id, at = _text(body, 10)
    will = None
    if flags & 0x04:
        topic, at = _text(body, at)
        payload, at = _binary(body, at)
        qos = flags >> 3 & 3
        if qos > 1:
            raise Malformed(f"will with quality of service {qos}; at most 1 is served")
        if not topic or "+" in topic or "#" in topic:
            raise Malformed(f"will on {topic[:80]!r}, which is not a topic name")
        will = Publish(topic, payload, qos, bool(flags & 0x20))
    elif flags & 0x38:
        raise Malformed("CONNECT with will flags but no will")
    if flags & 0x80:
        _, at = _text(body, at)
    elif flags & 0x40:
        raise Malformed("CONNECT with a password but no user name")
    if flags & 0x40:
        _, at = _binary(body, at)
    if at != len(body):
        raise Malformed("CONNECT with bytes after its end")
    return Connect(client_id, keepalive_s, bool(flags & 0x02), will)


def _subscribe(body: bytes) -> Subscribe:
    packet_id, at = _packet_id(body, 0), 2
    filters: list[tuple[str, int]] = []
    while at < len(body):
        pattern, at = _filter(body, at)
        if at >= len(body) or body[at] > 2:
            raise Malformed("SUBSCRIBE without a valid quality of service")
        filters.append((pattern, body[at]))
        at += 1
    _check_filter_count(len(filters))
    return Subscribe(packet_id, tuple(filters))


def _unsubscribe(body: bytes) -> Unsubscribe:
    packet_id, at = _packet_id(body, 0), 2
    filters: list[str] = []
    while at < len(body):
        pattern, at = _filter(body, at)
        filters.append(pattern)
    _check_filter_count(len(filters))
    return Unsubscribe(packet_id, tuple(filters))


def _check_filter_count(count: int) -> None:
    if not 1 <= count <= MAX_FILTERS_PER_PACKET:
        raise Malformed(f"{count} filters in one packet; 1 to {MAX_FILTERS_PER_PACKET} are taken")


def _filter(body: bytes, at: int) -> tuple[str, int]:
    pattern, at = _text(body, at)
    if not valid_filter(pattern):
        raise Malformed(f"{pattern[:80]!r} is not a topic filter")
    return pattern, at


def _binary(body: bytes, at: int) -> tuple[bytes, int]:
    start = at + 2
    end = start + int.from_bytes(body[at:start], "big")
    if start > len(body) or end > len(body):
        raise Malformed("a field reaches past the end of its packet")
    return body[start:end], end


def _text(body: bytes, at: int) -> tuple[str, int]:
    raw, at = _binary(body, at)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise Malformed("text that is not UTF-8") from None
    if "\0" in text:
        raise Malformed("text with a null character")
    return text, at


def _packet_id(body: bytes, at: int) -> int:
    packet_id = int.from_bytes(body[at : at + 2], "big")
    if len(body) < at + 2 or packet_id == 0:
        raise Malformed("missing or zero packet identifier")
    return packet_id


def valid_filter(pattern: str) -> bool:
    """Whether `pattern` is a topic filter: `+` and `#` stand alone in their level, `#` only in the last
    [4.7.1].
    """
    if not pattern or "\0" in pattern:
        return False
    levels = pattern.split("/")
    return (
        all(level in ("+", "#") or ("+" not in level and "#" not in level) for level in levels)
        and "#" not in levels[:-1]
    )


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic name falls under a valid filter [4.7]; a leading wildcard never matches `$` topics."""
    if topic[0] == "$" and pattern[0] in "+#":
        return False
    if "+" not in pattern and "#" not in pattern:
        return pattern == topic
    levels, names = pattern.split("/"), topic.split("/")
    for at, level in enumerate(levels):
        if level == "#":
            return True
        if at >= len(names) or level not in ("+", names[at]):
            return False
    return len(levels) == len(names)


def publish(message: Publish) -> bytes:
    """PUBLISH as bytes [3.3]; topic and payload must fit (the caller took them from a decoded packet)."""
    topic = message.topic.encode()
    body = len(topic).to_bytes(2, "big") + topic
    if message.qos:
        body += message.packet_id.to_bytes(2, "big")
    first = 0x30 | message.qos << 1 | message.retain
    return bytes((first,)) + _length(len(body) + len(message.payload)) + body + message.payload


def connack(code: ConnectCode) -> bytes:
    """CONNACK [3.2]; "session present" is never set, for no session outlives its connection here."""
    return bytes((0x20, 2, 0, code))


def puback(packet_id: int) -> bytes:
    """PUBACK [3.4]."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def suback(packet_id: int, granted: tuple[int, ...]) -> bytes:
    """SUBACK [3.9]: one granted quality of service (or 0x80: refused) per filter."""
    return b"\x90" + _length(2 + len(granted)) + packet_id.to_bytes(2, "big") + bytes(granted)


def unsuback(packet_id: int) -> bytes:
    """UNSUBACK [3.11]."""
    return b"\xb0\x02" + packet_id.to_bytes(2, "big")


def _length(count: int) -> bytes:
    """The remaining length, seven bits a byte, low bits first [2.2.3]."""
    if count < 0x80:
        return bytes((count,))
    out = bytearray()
    while count >= 0x80:
        out.append(count & 0x7F | 0x80)
        count >>= 7
    out.append(count)
    return bytes(out)
