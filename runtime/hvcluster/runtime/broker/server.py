"""Sockets and timers of the embedded broker.

Law: the only module of the broker that knows asyncio. One `Connection` per client turns bytes into packets
for the core and carries what the core hands back. Clients are judged by three clocks here and nowhere else:
CONNECT must come soon, a silent client is dropped after 1.5 times its keepalive [MQTT 3.1.2.10], and a client
that does not read loses messages first and its connection second.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from hvcluster.runtime.broker import codec
from hvcluster.runtime.broker.core import Broker, Session

CONNECT_WITHIN_S = 5.0
"""A connection without CONNECT for so long is closed: ours send it at once."""
DROP_ABOVE_BYTES = 256 * 1024
"""Unsent bytes of one client above which messages to it are dropped: about a thousand heartbeats, all but the
newest of which are worthless to whoever reads them late (a frozen node, for instance).
"""
CLOSE_ABOVE_BYTES = 1024 * 1024
"""Unsent bytes above which the connection is closed: only a client that asks and never reads gets here."""
LISTEN_BACKLOG = 256
"""All nodes of a cluster reconnect within the same instant after a broker restart."""

Note = Callable[[str, str], None]
"""`note(text, subject)`: what a log should hold; the subject is a client identifier or an address."""


class Connection(asyncio.Protocol):
    """One client connection; the core's `Link`."""

    def __init__(self, broker: Broker, connections: "set[Connection]", note: Note) -> None:
        self._broker = broker
        self._connections = connections
        self._note = note
        self._decoder = codec.Decoder()
        self._session: Session | None = None
        self._transport: asyncio.Transport
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._patience_s = CONNECT_WITHIN_S
        self._heard_at = 0.0
        self._slow = False
        self._ended = False

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not of that class, only of that shape
        self._transport.set_write_buffer_limits(high=DROP_ABOVE_BYTES)
        self._connections.add(self)
        self._heard_at = self._loop.time()
        self._timer = self._loop.call_later(self._patience_s, self._check_silence)

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._heard_at = self._loop.time()
        try:
            for packet in self._decoder.feed(data):
                if self._ended:
                    return
                self._packet(packet)
        except codec.WrongProtocol as error:
            self.send(codec.connack(codec.ConnectCode.WRONG_PROTOCOL))
            self._reject(str(error))
        except codec.Malformed as error:
            self._reject(str(error))

    def pause_writing(self) -> None:
        self._slow = True

    def resume_writing(self) -> None:
        self._slow = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._session is not None:
            self._broker.lost(self._session)

    # --- core.Link

    def send(self, data: bytes) -> None:
        if self._ended:
            return
        if self._transport.get_write_buffer_size() > CLOSE_ABOVE_BYTES:
            self._reject("client does not read its answers")
            return
        self._transport.write(data)

    def offer(self, data: bytes) -> bool:
        if self._slow or self._ended:
            return False
        self._transport.write(data)
        return True

    def close(self, reason: str) -> None:
        self._ended = True
        if self._slow:
            self._transport.abort()
        else:
            self._transport.close()

    # ---

    def _packet(self, packet: codec.Packet) -> None:
        if self._session is not None:
            self._broker.handle(self._session, packet)
            return
        if not isinstance(packet, codec.Connect):
            raise codec.Malformed("first packet is not CONNECT")
        self._session = self._broker.connect(packet, self)
        self._patience_s = packet.keepalive_s * 1.5
        assert self._timer is not None
        self._timer.cancel()
        if self._patience_s and self._session is not None:
            self._timer = self._loop.call_later(self._patience_s, self._check_silence)

    def _check_silence(self) -> None:
        left_s = self._heard_at + self._patience_s - self._loop.time()
        if left_s <= 0:
            self._reject(f"silent for {self._patience_s:g} s")
        else:
            self._timer = self._loop.call_later(left_s, self._check_silence)

    def _reject(self, reason: str) -> None:
        """Close by our choice; the will, if any, is published when the connection is gone."""
        self._note(f"connection closed: {reason}", self._subject())
        self._ended = True
        if self._transport.get_write_buffer_size() > DROP_ABOVE_BYTES or self._session is not None:
            self._transport.abort()
        else:
            self._transport.close()

    def _subject(self) -> str:
        if self._session is not None:
            return self._session.client_id
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}" if peer else "unknown"


class Server:
    """A listening broker, made by `listen`, ended by `close`."""

    def __init__(self, broker: Broker, server: asyncio.Server, connections: set[Connection]) -> None:
        self.broker = broker
        self._server = server
        self._connections = connections

    @classmethod
    async def listen(cls, address: str, port: int, note: Note) -> "Server":
        """Listen on `address:port` (0: any free port). Raises `OSError` where the address cannot be had."""
        broker = Broker(note)
        connections: set[Connection] = set()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(broker, connections, note), address, port, backlog=LISTEN_BACKLOG
        )
        return cls(broker, server, connections)

    @property
    def port(self) -> int:
        """The port really listened on."""
        port = self._server.sockets[0].getsockname()[1]
        assert isinstance(port, int)
        return port

    async def close(self) -> None:
        """Stop listening and cut every client; wills are moot, for nobody is left to hear them."""
        self._server.close()
        for connection in tuple(self._connections):
            connection.close("broker stops")
        await self._server.wait_closed()
