"""The wire to a file share or cloud witness: one question, one answer.

Law: translates and keeps the deadline; decides nothing. What may have been carried out is UNKNOWN, also when the way
back was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import grpc.aio
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.share import (
    MAX_FILE_BYTES,
    NO_FILE,
    TURNED_AWAY,
    UNANSWERED,
    ReadFile,
    ShareAnswer,
    ShareOutcome,
    ShareRequest,
    WriteFile,
)
from hvcluster.runtime import channels, witness_file
from hvcluster.runtime.blob_account import BlobAccount
from hvcluster.runtime.channels import Outcome
from hvcluster.v1 import share_pb2, share_pb2_grpc

from .cuts import Cuts, Direction, Wire

NAME: Final = "witness"
"""The only wire of its kind."""
CONTAINER: Final = "msft-cloud-witness"
_CHANGED: Final = (404, 409, 412)
"""Blob services answer a condition that does not hold with one of these."""
_BARRED: Final = (401, 403)


WitnessAddress: TypeAlias = BlobAccount | Path | tuple[str, int]
"""An account of a blob service, a directory on a share, or the host and port of a place of the lab."""


class Place(Protocol):
    """Where the file lies."""

    async def ask(self, request: ShareRequest, deadline_s: float) -> ShareAnswer:
        """Raises nothing but CancelledError."""
        ...

    async def close(self) -> None:
        """Hang up."""
        ...


class ShareWire:
    """A node's wire to the witness. Without an address every question is UNKNOWN."""

    def __init__(
        self, kind: TagWitnessKind | None, where: WitnessAddress | None, cluster_id: str, cuts: Cuts, call_s: float
    ) -> None:
        self._cuts = cuts
        self._call_s = call_s
        self._tasks: set[asyncio.Task[None]] = set()
        self._place: Place | None = None
        self._make = _place(kind, where, cluster_id)

    def ask(self, request: ShareRequest, answer: Callable[[ShareAnswer], None]) -> None:
        """Ask; `answer` is called exactly once, within the time that a question may take."""
        task = asyncio.create_task(self._ask(request, answer), name=f"witness {type(request).__name__}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what is under way: nobody is answered any more."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._place is not None:
            await self._place.close()

    async def _ask(self, request: ShareRequest, answer: Callable[[ShareAnswer], None]) -> None:
        try:
            async with asyncio.timeout(self._call_s):
                result = await self._answered(request)
        except TimeoutError:
            result = UNANSWERED
        answer(result)

    async def _answered(self, request: ShareRequest) -> ShareAnswer:
        if self._make is None:
            return UNANSWERED
        if self._place is None:
            self._place = self._make()
        await asyncio.sleep(self._cuts.quality.witness_delay_us / 1_000_000)
        if self._cuts.loses(Wire.WITNESS, NAME, Direction.OUT):
            await asyncio.sleep(self._call_s)
        result = await self._place.ask(request, self._call_s)
        if self._cuts.loses(Wire.WITNESS, NAME, Direction.IN):
            await asyncio.sleep(self._call_s)
        return result


def _place(kind: TagWitnessKind | None, where: WitnessAddress | None, cluster_id: str) -> Callable[[], Place] | None:
    if kind is None or where is None:
        return None
    if isinstance(where, Path):
        return lambda: DirectoryPlace(where, cluster_id)
    if kind is TagWitnessKind.CLOUD or isinstance(where, BlobAccount):
        return lambda: BlobPlace(where, cluster_id)
    return lambda: FileSharePlace(where, cluster_id)


class FileSharePlace:
    """A file on a share, over gRPC."""

    def __init__(self, address: tuple[str, int], cluster_id: str) -> None:
        self._cluster_id = cluster_id
        self._channel: grpc.aio.Channel = channels.channel(*address)
        self._stub: share_pb2_grpc.FileShareAsyncStub = share_pb2_grpc.FileShareStub(self._channel)

    async def ask(self, request: ShareRequest, deadline_s: float) -> ShareAnswer:
        """One call."""
        answer: channels.Answer[share_pb2.FileReply]
        match request:
            case ReadFile():
                read = share_pb2.ReadFileRequest(cluster_id=self._cluster_id)
                answer = await channels.unary(self._stub.Read, read, deadline_s)
            case WriteFile(data, expected):
                write = share_pb2.ReplaceFileRequest(cluster_id=self._cluster_id, data=data, expected=expected)
                answer = await channels.unary(self._stub.Replace, write, deadline_s)
        reply = answer.reply
        if answer.outcome is not Outcome.OK or reply is None or len(reply.data) > MAX_FILE_BYTES:
            return UNANSWERED
        return ShareAnswer(ShareOutcome.DONE if reply.done else ShareOutcome.CHANGED, reply.data, reply.version)

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()


class DirectoryPlace:
    """A file in a directory that every node has mounted, changed under a lock of the file system.

    One question at a time: a share that hangs holds one thread, and whoever asks meanwhile has no answer.
    """

    def __init__(self, directory: Path, cluster_id: str) -> None:
        self._directory = directory
        self._cluster_id = cluster_id
        self._under_way: asyncio.Future[ShareAnswer] | None = None

    async def ask(self, request: ShareRequest, deadline_s: float) -> ShareAnswer:
        """One question; a share that is away, hangs, or holds something else is UNKNOWN or unreadable."""
        loop = asyncio.get_running_loop()
        end = loop.time() + deadline_s
        while self._under_way is not None and not self._under_way.done():
            if not (await asyncio.wait((self._under_way,), timeout=end - loop.time()))[0]:
                return UNANSWERED
        self._under_way = loop.run_in_executor(None, self._blocking, request, end - loop.time())
        done, _ = await asyncio.wait((self._under_way,), timeout=end - loop.time())
        return self._under_way.result() if done else UNANSWERED

    def _blocking(self, request: ShareRequest, deadline_s: float) -> ShareAnswer:
        try:
            return witness_file.ask(self._directory, self._cluster_id, request, deadline_s)
        except witness_file.NotAWitness:
            return ShareAnswer(ShareOutcome.CHANGED, b"?", "?")
        except (OSError, witness_file.Busy):
            return UNANSWERED

    async def close(self) -> None:
        """What is under way ends by itself."""


class BlobPlace:
    """A blob named by the cluster's id, written under If-Match, over HTTP or HTTPS."""

    def __init__(self, where: BlobAccount | tuple[str, int], cluster_id: str) -> None:
        self._account = where if isinstance(where, BlobAccount) else None
        self._container = f"{where.endpoint if isinstance(where, BlobAccount) else _plain(where)}/{CONTAINER}"
        self._blob = f"{self._container}/{cluster_id}"
        self._session = ClientSession(timeout=ClientTimeout(total=None), trust_env=False)

    async def ask(self, request: ShareRequest, deadline_s: float) -> ShareAnswer:
        """One request; a write whose condition does not hold is followed by a read, which tells what stands there."""
        try:
            async with asyncio.timeout(deadline_s):
                match request:
                    case ReadFile():
                        return await self._get()
                    case WriteFile(data, expected):
                        return await self._put(data, expected)
        except (TimeoutError, ClientError, OSError, ValueError):
            return UNANSWERED

    def _send(
        self, method: str, url: str, headers: dict[str, str], data: bytes = b""
    ) -> AbstractAsyncContextManager[ClientResponse]:
        sent = dict(headers)
        if method == "PUT":  # both are sent in any case, and what is sent is signed
            sent |= {"Content-Length": str(len(data)), "Content-Type": "application/octet-stream"}
        if self._account is not None:
            sent = self._account.signed(method, url, sent, datetime.now(UTC))
        return self._session.request(method, url, data=data or None, headers=sent)

    async def _get(self) -> ShareAnswer:
        async with self._send("GET", self._blob, {}) as response:
            if response.status == 404:
                return ShareAnswer(ShareOutcome.DONE)
            if response.status in _BARRED:
                return TURNED_AWAY
            tag = response.headers.get("ETag", "")
            if response.status != 200 or not tag:
                return UNANSWERED
            data = await response.content.read(MAX_FILE_BYTES + 1)
            while len(data) <= MAX_FILE_BYTES and (more := await response.content.read(MAX_FILE_BYTES)):
                data += more
        return ShareAnswer(ShareOutcome.DONE, data, tag) if len(data) <= MAX_FILE_BYTES else UNANSWERED

    async def _put(self, data: bytes, expected: str) -> ShareAnswer:
        condition = {"If-None-Match": "*"} if expected == NO_FILE else {"If-Match": expected}
        status, tag = await self._write(data, condition)
        if status == 404 and expected == NO_FILE and await self._made():
            status, tag = await self._write(data, condition)
        if status in (200, 201, 204) and tag:
            return ShareAnswer(ShareOutcome.DONE, b"", tag)
        if status in _BARRED:
            return TURNED_AWAY
        if status not in _CHANGED:
            return UNANSWERED
        found = await self._get()
        silent = found.outcome is not ShareOutcome.DONE
        return found if silent else ShareAnswer(ShareOutcome.CHANGED, found.data, found.version)

    async def _write(self, data: bytes, condition: dict[str, str]) -> tuple[int, str]:
        headers = condition | {"x-ms-blob-type": "BlockBlob"}
        async with self._send("PUT", self._blob, headers, data) as response:
            return response.status, response.headers.get("ETag", "")

    async def _made(self) -> bool:
        """Make the container of a new account, as Set-ClusterQuorum does; of two that try, one does."""
        async with self._send("PUT", f"{self._container}?restype=container", {}) as response:
            return response.status in (201, 409)

    async def close(self) -> None:
        """Hang up."""
        await self._session.close()


def _plain(address: tuple[str, int]) -> str:
    host, port = address
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
