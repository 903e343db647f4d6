"""iSCSI over TCP: portals, their connections, and the array as these know it.

Law: moves bytes and time, and decides nothing. Everything that arrived together is executed, then made durable once,
and only then do its answers leave.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Final, cast

from hvcluster.model.scsi import DeviceCommand, Nexus, Result
from hvcluster.model.vocabulary import LunId
from hvcluster.runtime.logs import OncePerSender
from hvcluster.san.scsi.face import Face
from hvcluster.san.scsi.parameter_data import MAX_TRANSFER
from hvcluster.san.scsi.reserve_out import port_of
from hvcluster.san.target import Target

from .chap import Secrets
from .connection import Connection
from .host import LoginStatus, Opened

LOGIN_S: Final = 15.0
"""A connection that has not logged in by then is closed."""
MAX_CONNECTIONS: Final = 4_096
MAX_UNSENT: Final = 16 * 1024 * 1024
"""Bytes that wait for a slow reader before nothing more is read from it."""


class Session:
    """A normal session as the array knows it."""

    def __init__(self, portals: Portals, number: int, tsih: int, nexus: Nexus, group: int, line: Line) -> None:
        self._portals = portals
        self.number = number
        self.tsih = tsih
        self.nexus = nexus
        self.line = line
        self.face = Face(self._perform, portals.name, group, portals.is_thin)

    def _perform(self, lun: LunId, command: DeviceCommand) -> Result:
        return self._portals.target.execute(self.number, lun, command)

    def reset(self, lun: LunId | None) -> None:
        """A task management function of this session."""
        self._portals.target.reset(self.number, lun)
        for session in self._portals.sessions():
            if session is not self:
                session.line.connection.drop(lun)


class Portals:
    """All portals of the array; the host of their connections."""

    def __init__(
        self,
        target: Target,
        name: str,
        secrets: Secrets | None,
        is_thin: Callable[[LunId], bool],
        report: OncePerSender,
    ) -> None:
        self.target = target
        self.name = name
        self.is_thin = is_thin
        self.report = report
        self.lines: set[Line] = set()
        self._secrets = secrets
        self._bound: list[tuple[str, int]] = []
        self._servers: list[asyncio.Server] = []
        self._sessions: dict[int, Session] = {}
        self._tsih = 0

    async def serve(self, host: str, port: int, advertise: str = "") -> int:
        """Open one more portal, under a target portal group of its own; returns its port."""
        group = len(self._bound) + 1
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Line(self, group), host, port, backlog=1_024)
        bound = int(server.sockets[0].getsockname()[1])
        shown = advertise or host
        self._bound.append((f"[{shown}]:{bound}" if ":" in shown else f"{shown}:{bound}", group))
        self._servers.append(server)
        return bound

    async def close(self, why: str) -> None:
        """End every connection and portal."""
        for server in self._servers:
            server.close()
        for line in tuple(self.lines):
            line.end(why)
        for server in self._servers:
            await server.wait_closed()

    def sessions(self) -> list[Session]:
        """Everyone who is logged in, by number."""
        return [self._sessions[number] for number in sorted(self._sessions)]

    def ended(self, session: Session) -> None:
        """Its connection is gone."""
        if self._sessions.pop(session.number, None) is not None:
            self.target.log_out(session.number)

    # -- as Host -----------------------------------------------------------------------------------------------------

    def knows(self, target: str) -> bool:
        return target == self.name

    def secrets(self, initiator: str) -> Secrets | None:
        return self._secrets

    def addresses(self) -> list[tuple[str, list[tuple[str, int]]]]:
        return [(self.name, self._bound)]

    def random(self, size: int) -> bytes:
        return os.urandom(size)

    def opened(self, line: Line, initiator: str, isid: bytes, group: int) -> Opened | LoginStatus:
        """A session on a connection."""
        nexus = Nexus(initiator, port_of(isid, group))
        number = self.target.log_in(nexus, MAX_TRANSFER, line.end)
        if number is None:
            return LoginStatus.OUT_OF_RESOURCES
        self._tsih = self._tsih % 0xFFFE + 1
        session = self._sessions[number] = Session(self, number, self._tsih, nexus, group, line)
        return session


class Line(asyncio.Protocol):
    """One TCP connection."""

    def __init__(self, portals: Portals, group: int) -> None:
        self._portals = portals
        self._group = group
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.peer = ""
        self.connection = Connection(self, group)

    # -- Host, for one connection ------------------------------------------------------------------------------------

    def knows(self, target: str) -> bool:
        return self._portals.knows(target)

    def secrets(self, initiator: str) -> Secrets | None:
        return self._portals.secrets(initiator)

    def addresses(self) -> list[tuple[str, list[tuple[str, int]]]]:
        return self._portals.addresses()

    def random(self, size: int) -> bytes:
        return self._portals.random(size)

    def open(self, initiator: str, isid: bytes, group: int, target: str) -> Opened | LoginStatus:
        return self._portals.opened(self, initiator, isid, group)

    # -- asyncio -----------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.peer = str(transport.get_extra_info("peername"))
        self._transport.set_write_buffer_limits(high=MAX_UNSENT)
        if len(self._portals.lines) >= MAX_CONNECTIONS:
            self._transport.abort()
            return
        self._portals.lines.add(self)
        self._deadline = asyncio.get_running_loop().call_later(LOGIN_S, self._late)

    def _late(self) -> None:
        self._deadline = None
        if not self.connection.login.done:
            self.end("it did not log in in time")

    def data_received(self, data: bytes) -> None:
        connection = self.connection
        connection.receive(data)
        if not self._portals.target.settle():
            return
        out = connection.out
        if out and self._transport is not None:
            self._transport.writelines(out)
            connection.out = []
        if connection.closing:
            self.end(connection.closing)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._portals.lines.discard(self)
        session = self.connection.session
        if isinstance(session, Session):
            self._portals.ended(session)
        self._transport = None

    def end(self, why: str) -> None:
        """Close it; what was answered is sent first."""
        if why not in ("logged out", ""):
            self._portals.report.report("iscsi", self.peer, why)
        self.connection.closing = self.connection.closing or why
        if self._transport is not None:
            self._transport.close()
