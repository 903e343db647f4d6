"""Bytes between a client and the VM's owner: both ways, half-close kept, nothing buffered beyond a bound.

Law: moves bytes and counts connections; it never looks into them and never chooses an owner. Written on asyncio
protocols, because streams would copy every byte once more.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final, cast

from .switch_routes import Owner

BUFFER_BYTES: Final = 256 * 1024
"""What one direction may hold for a slow reader; beyond it the faster side is told to wait by TCP itself."""
CONNECT_S: Final = 1.0
"""An owner on the cluster's own network answers at once or not at all."""
MAX_CONNECTIONS: Final = 4096
"""Per VM: a client that leaks connections must not take the descriptors of the other VMs."""

_LINGER_RESET = struct.pack("ii", 1, 0)


def reset(transport: asyncio.BaseTransport) -> None:
    """Close with RST: the other side learns at once that this connection is over, not merely finished."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    cast("asyncio.Transport", transport).abort()


class _Half(asyncio.Protocol):
    """One side of a relayed connection; writes what it reads to the other side."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.peer: _Half | None = None
        self.lost: Callable[[], None] | None = None
        self._early = bytearray()
        self._early_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        if self.peer is not None and self.peer.transport is not None:
            self.peer.transport.write(data)
            return
        self._early += data  # a loop may read although told to wait before the other side is there
        if len(self._early) >= BUFFER_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """Half-close: pass it on and stay open for the other direction."""
        if self.peer is None:
            self._early_end = True
            return True
        if self.peer.transport is None or self.peer.transport.is_closing():
            return False
        with contextlib.suppress(OSError):
            self.peer.transport.write_eof()
        return True

    def join(self, peer: _Half) -> None:
        """The other side is there: hand over what came early, and begin to relay."""
        assert self.transport is not None
        assert peer.transport is not None
        self.peer, peer.peer = peer, self
        if self._early:
            peer.transport.write(bytes(self._early))
            self._early.clear()
        if self._early_end:
            with contextlib.suppress(OSError):
                peer.transport.write_eof()
        with contextlib.suppress(RuntimeError):
            self.transport.resume_reading()

    def pause_writing(self) -> None:
        """This side is slow: stop reading from the other."""
        if self.peer is not None and self.peer.transport is not None:
            with contextlib.suppress(RuntimeError):
                self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and self.peer.transport is not None:
            with contextlib.suppress(RuntimeError):
                self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        peer = self.peer
        if peer is not None and peer.transport is not None and not peer.transport.is_closing():
            if error is None:
                peer.transport.close()
            else:
                reset(peer.transport)
        if self.lost is not None:
            self.lost()


class Port:
    """The listener of one VM, and the connections that go through it.

    `owner` answers where to forward now; `failed` is told when an owner cannot be reached, which is how the switch
    learns early that it should ask around.
    """

    def __init__(self, owner: Callable[[], Owner | None], failed: Callable[[], None]) -> None:
        self._owner = owner
        self._failed = failed
        self._open: dict[_Half, Owner] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many clients are connected through this port."""
        return len(self._open)

    async def listen(self, host: str, port: int) -> int:
        """Start listening; returns the port really used. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Client(self), host, port, backlog=512)
        address = self._server.sockets[0].getsockname()
        return int(address[1])

    def accept(self, client: _Half) -> None:
        """A client connected: forward it, or refuse it quickly."""
        owner = self._owner()
        assert client.transport is not None
        if owner is None or len(self._open) >= MAX_CONNECTIONS:
            reset(client.transport)
            self._failed()
            return
        self._open[client] = owner
        client.lost = lambda: self._forget(client)
        task = asyncio.get_running_loop().create_task(self._connect(client, owner), name="connect to the owner")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, client: _Half, owner: Owner) -> None:
        loop = asyncio.get_running_loop()
        far = _Half()
        assert client.transport is not None
        try:
            async with asyncio.timeout(CONNECT_S):
                await loop.create_connection(lambda: far, owner.host, owner.port)
        except OSError:  # a TimeoutError is one
            reset(client.transport)
            self._failed()
            return
        assert far.transport is not None
        if client not in self._open or client.transport.is_closing():
            reset(far.transport)
            return
        client.join(far)

    def _forget(self, client: _Half) -> None:
        self._open.pop(client, None)

    def drop_older(self, generation: int) -> int:
        """Reset every connection to an owner of an older generation; returns how many."""
        old = [client for client, owner in self._open.items() if owner.generation < generation]
        for client in old:
            self._open.pop(client, None)
            if client.peer is not None and client.peer.transport is not None:
                reset(client.peer.transport)
            if client.transport is not None:
                reset(client.transport)
        return len(old)

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        if self._server is not None:
            self._server.close()
        self.drop_older(1 << 62)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class _Client(_Half):
    """The client's side of a relayed connection."""

    def __init__(self, port: Port) -> None:
        super().__init__()
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._port.accept(self)
