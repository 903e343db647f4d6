"""What a VM serves its clients: HTTP on one listening socket, open while the guest is online.

Law: translates requests into guest events and their answers into JSON, errors included. It decides nothing: what is
acknowledged, refused or read is the guest's word.

    GET /                          {vm, node, node_name, generation, sequence, boots}
    POST /append                   {sequence, generation} once the LUN has it; 400 empty, 413 more than 400 bytes,
                                   503 not known or not possible now, 507 journal full
    GET /records?from=N&limit=M    [{sequence, generation, node, kind, boots, payload, encoding, previous, checksum}],
                                   N from 1 (default 1), M up to 128 (default 128); shorter at the end
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, TypeAlias

from aiohttp import web

from hvcluster.node.core.guest_io import Acknowledge, Fetched, Refuse
from hvcluster.node.core.guest_reads import MAX_FETCH
from hvcluster.node.core.journal import FIRST_SEQUENCE, MAX_PAYLOAD_BYTES, Kind, Record

from .forward import Forwarder

MAX_CONNECTIONS: Final = 256
"""Connections of one VM; one more is dropped at once. 64 VMs on a node then stay below 20,000 open files."""

BACKLOG: Final = 128  # connections the kernel holds while the loop is busy with a failover
BODY_TIMEOUT_S: Final = 10.0  # a client that takes longer to send 400 bytes is stuck
KEEPALIVE_S: Final = 75.0  # idle connections end then, as with common web servers
GRACE_S: Final = 1.0  # the last answers of a VM that stopped by itself may take this long to leave

Answer: TypeAlias = Acknowledge | Fetched | Refuse

MOVED: Final = Refuse(0, "moved", "the VM has moved")

STATUS_OF_REFUSAL: Final = {
    "size": 400,
    "busy": 503,
    "full": 507,
    "booting": 503,
    "stopping": 503,
    "stopped": 503,
    "application": 500,
    "unknown": 503,
    "damaged": 500,
    "moved": 503,
}


class GuestService:
    """The HTTP service of one VM. `append(payload)` and `fetch(first, limit)` give the future of the one answer."""

    def __init__(
        self,
        describe: Callable[[], dict[str, int | str]],
        append: Callable[[bytes], asyncio.Future[Answer]],
        fetch: Callable[[int, int], asyncio.Future[Answer]],
        reached: Callable[[], bool] = lambda: True,
    ) -> None:
        """`reached`: whether what clients send arrives; what does not is lost with its connection."""
        self._reached = reached
        self._describe = describe
        self._append = append
        self._fetch = fetch
        self._socket: socket.socket | None = None
        self._listener: asyncio.Server | None = None
        self._server = _Server(self._handle)
        self._forwarder: Forwarder | None = None

    def bind(self, host: str) -> int:
        """Listen on an ephemeral port of `host` and return it; clients may connect from now on. Raises OSError."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setblocking(False)
            listening.bind((host, 0))
            listening.listen(BACKLOG)
        except OSError:
            listening.close()
            raise
        self._socket = listening
        port: int = listening.getsockname()[1]
        return port

    async def serve(self) -> None:
        """Start to answer. `bind` comes first; nothing happens if the service was closed since."""
        if self._socket is None:
            return
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(self._server, sock=self._socket, backlog=BACKLOG)
        if self._socket is None:
            listener.close()
            return
        self._listener = listener

    def close(self) -> None:
        """Take no more connections, from this moment on."""
        self._server.closed = True
        if self._listener is not None:
            self._listener.close()
        if self._socket is not None:
            self._socket.close()
        self._listener = self._socket = None

    def moved(self) -> None:
        """The VM goes on elsewhere: from now on every request waits until `redirect` says where, and is passed on."""
        self._forwarder = Forwarder()

    def redirect(self, address: str) -> None:
        """The VM is served at `address` (host:port)."""
        if self._forwarder is not None:
            self._forwarder.redirect(address)

    async def linger(self) -> None:
        """Stay for those who have not heard yet that the VM has moved; then end."""
        assert self._forwarder is not None, "moved comes first"
        await self._forwarder.until_quiet()
        self.close()
        await self.drain()
        await self._forwarder.close()

    def abort(self) -> None:
        """Drop every connection at once, as a power failure would."""
        if self._forwarder is not None:
            self.close()
            self._forwarder.end()
        for connection in self._server.connections:
            if connection.transport is not None:
                connection.transport.abort()

    async def drain(self) -> None:
        """Let answers already given leave, then drop every connection."""
        await self._server.shutdown(GRACE_S)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if not self._reached() and request.transport is not None:
            request.transport.abort()
            return web.Response(status=503)
        match request.path, request.method:
            case "/", "GET":
                if self._forwarder is not None:
                    return await self._forwarder.forward("GET", "/", b"")
                return web.json_response(self._describe())
            case "/append", "POST":
                return await self._handle_append(request)
            case "/records", "GET":
                return await self._handle_records(request)
            case "/" | "/records", _:
                return _error(405, "method", f"{request.path} is read with GET", {"Allow": "GET"})
            case "/append", _:
                return _error(405, "method", "/append takes POST", {"Allow": "POST"})
            case path, _:
                return _error(404, "path", f"there is no {path[:80]}; try /, /append or /records")

    async def _handle_append(self, request: web.BaseRequest) -> web.StreamResponse:
        too_large = f"a record has at most {MAX_PAYLOAD_BYTES} bytes"
        if (request.content_length or 0) > MAX_PAYLOAD_BYTES:
            return _closing(_error(413, "size", too_large))
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                payload = await _body(request)
        except TimeoutError:
            return _closing(_error(408, "timeout", f"the body did not arrive within {BODY_TIMEOUT_S:g} s"))
        if len(payload) > MAX_PAYLOAD_BYTES:
            return _closing(_error(413, "size", too_large))
        if not payload:
            return _error(400, "size", "the body is empty; a record needs at least one byte")
        answer = await self._append(payload) if self._forwarder is None else MOVED
        if isinstance(answer, Refuse) and answer.code == "moved" and self._forwarder is not None:
            return await self._forwarder.forward("POST", "/append", payload)
        return self._respond(answer)

    async def _handle_records(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            first = int(request.query.get("from", FIRST_SEQUENCE))
            limit = int(request.query.get("limit", MAX_FETCH))
        except ValueError:
            return _error(400, "query", "from and limit are whole numbers")
        answer = await self._fetch(first, limit) if self._forwarder is None else MOVED
        if isinstance(answer, Refuse) and answer.code == "moved" and self._forwarder is not None:
            return await self._forwarder.forward("GET", f"/records?from={first}&limit={limit}", b"")
        return self._respond(answer)

    def _respond(self, answer: Answer) -> web.StreamResponse:
        match answer:
            case Acknowledge(_, sequence):
                generation = self._describe()["generation"]
                return web.json_response({"sequence": sequence, "generation": generation})
            case Fetched(_, records):
                return web.json_response([record_json(record) for record in records])
            case Refuse(_, code, reason):
                return _error(STATUS_OF_REFUSAL[code], code, reason)


def record_json(record: Record) -> dict[str, int | str]:
    """A record for people and scripts: payload is text where it is UTF-8, else hexadecimal like the checksums."""
    try:
        payload, encoding = record.payload.decode(), "utf-8"
    except UnicodeDecodeError:
        payload, encoding = record.payload.hex(), "hex"
    return {
        "sequence": record.sequence,
        "generation": record.generation,
        "node": record.node,
        "kind": Kind(record.kind).name.lower(),
        "boots": record.boots,
        "payload": payload,
        "encoding": encoding,
        "previous": f"{record.previous:016x}",
        "checksum": f"{record.checksum:016x}",
    }


def _error(status: int, code: str, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": code, "reason": reason}, status=status, headers=headers)


def _closing(response: web.Response) -> web.Response:
    response.force_close()
    return response


async def _body(request: web.BaseRequest) -> bytes:
    """The body, or its first bytes when it is longer than a record may be."""
    body = bytearray()
    while len(body) <= MAX_PAYLOAD_BYTES:
        part = await request.content.readany()
        if not part:
            break
        body += part
    return bytes(body)


class _Connection(web.RequestHandler):
    """A client's connection, whose protocol errors are JSON too and of interest to nobody else."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        if status < 500:
            return _closing(_error(status, "request", "this is not a well-formed HTTP/1.1 request"))
        return super().handle_error(request, status, exc, message)


class _Server(web.Server):
    """The library's low-level server with a limit on connections and without an access log."""

    closed = False
    """Whether connections that the kernel had already taken are dropped."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # the library tests it for truth
            keepalive_timeout=KEEPALIVE_S,
            lingering_time=0.0,
        )

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self.closed or len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
