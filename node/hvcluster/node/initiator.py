"""The node's SCSI initiator: one session with the array on each path.

Law: carries commands and answers, decides nothing. Every command is answered exactly once. A command that is not
answered in time costs its whole session: all that is outstanding is UNKNOWN, and a new login is accepted before
anything else is sent on that path. The array forgets the old session at that login, so no command whose answer was
UNKNOWN can be executed after a later command of the same path has been.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

import grpc
import grpc.aio

from hvcluster.model.scsi import UNKNOWN, Command, CompareAndWrite, Result, Status, Write
from hvcluster.model.vocabulary import LunId, PathName
from hvcluster.runtime import channels, logs, scsi_wire
from hvcluster.v1 import san_pb2, san_pb2_grpc

COMMAND_TIMEOUT_S: Final = 5.0  # an array answers in milliseconds; Windows waits up to 60 s for real disks
LOGIN_TIMEOUT_S: Final = 1.0  # one connection and one round trip
BACKOFF_MIN_S: Final = 0.05  # a restarted array is back within a few of these
BACKOFF_MAX_S: Final = 0.5  # so that a path is never down much longer than its cause
MAX_OUTSTANDING: Final = 1_024  # of one path, as the array allows; beyond it, BUSY without sending

Answer = Callable[[Result], None]
Stream = grpc.aio.StreamStreamCall[san_pb2.PathRequest, san_pb2.PathResponse]
_BUSY: Final = Result(Status.BUSY)


class Direction(Enum):
    """Which way a cut path loses messages, as the node sees it."""

    BOTH = "nothing gets through"
    OUT = "what the node sends is lost"
    IN = "what the array answers is lost"


class Initiator:
    """All paths of one node to one array. Use it on one event loop; `run` it as one task."""

    def __init__(
        self,
        name: str,
        paths: Mapping[PathName, tuple[str, int]],
        target: str,
        on_path: Callable[[PathName, bool], None],
        *,
        command_timeout_s: float = COMMAND_TIMEOUT_S,
        login_timeout_s: float = LOGIN_TIMEOUT_S,
    ) -> None:
        """`paths` gives each path its address and port; `on_path` hears when one goes up or down."""
        self._paths = {
            path: _Path(name, path, address, target, on_path, command_timeout_s, login_timeout_s)
            for path, address in sorted(paths.items())
        }

    async def run(self) -> None:
        """Keep every path logged in, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, path in self._paths.items():
                group.create_task(path.run(), name=f"path {name}")

    def submit(self, path: PathName, lun: LunId, command: Command, answer: Answer) -> None:
        """Send a command; `answer` is called exactly once, later, on the loop.

        UNKNOWN means that no answer came in time, or that the path is down (then it was not sent); BUSY, without
        anything sent, that too many commands are outstanding. Raises KeyError for a path that does not exist.
        """
        self._paths[path].submit(lun, command, answer)

    def is_up(self, path: PathName) -> bool:
        """Whether the path is logged in."""
        return self._paths[path].up

    def cut(self, path: PathName, direction: Direction) -> None:
        """Lose messages of a path on purpose, until `heal`."""
        self._paths[path].cut = direction

    def heal(self, path: PathName) -> None:
        """Lose no more messages of a path."""
        self._paths[path].cut = None

    def slow(self, delay_s: float) -> None:
        """Let every command of every path wait that long before it leaves; 0: not at all."""
        for path in self._paths.values():
            path.delay_s = delay_s

    def cuts(self) -> dict[PathName, Direction]:
        """The paths that are cut now."""
        return {name: path.cut for name, path in self._paths.items() if path.cut is not None}


class _Path:
    """One path: at most one session, its commands waiting to be sent and those waiting for an answer."""

    def __init__(
        self,
        initiator: str,
        name: PathName,
        address: tuple[str, int],
        target: str,
        on_path: Callable[[PathName, bool], None],
        command_timeout_s: float,
        login_timeout_s: float,
    ) -> None:
        self.up = False
        self.cut: Direction | None = None
        self.delay_s = 0.0
        self._name = name
        self._address = address
        self._login = san_pb2.PathRequest(
            login=san_pb2.PathLogin(
                protocol_version=scsi_wire.PROTOCOL_VERSION, target=target, initiator=initiator, port=name
            )
        )
        self._on_path = on_path
        self._command_timeout_s = command_timeout_s
        self._login_timeout_s = login_timeout_s
        self._tag = 0
        self._queue: deque[tuple[int, LunId, Command, float]] = deque()  # the float: when it leaves, 0.0 at once
        self._queued = asyncio.Event()
        self._outstanding: dict[int, tuple[Answer, float]] = {}  # by tag, oldest first; the float is a deadline
        self._late = asyncio.Event()
        self._watch: asyncio.TimerHandle | None = None
        self._last_refusal = ""

    def submit(self, lun: LunId, command: Command, answer: Answer) -> None:
        loop = asyncio.get_running_loop()
        if not self.up:
            loop.call_soon(answer, UNKNOWN)
            return
        if len(self._outstanding) >= MAX_OUTSTANDING:
            loop.call_soon(answer, _BUSY)
            return
        self._tag += 1
        self._outstanding[self._tag] = (answer, loop.time() + self._command_timeout_s)
        self._queue.append((self._tag, lun, command, loop.time() + self.delay_s if self.delay_s else 0.0))
        self._queued.set()
        if self._watch is None:
            self._watch = loop.call_later(self._command_timeout_s, self._check_deadlines)

    async def run(self) -> None:
        """Log in again and again, with a short pause that grows while logins fail."""
        pause_s = BACKOFF_MIN_S
        while True:
            pause_s = BACKOFF_MIN_S if await self._session() else min(2 * pause_s, BACKOFF_MAX_S)
            await asyncio.sleep(pause_s)

    async def _session(self) -> bool:
        """One session from login to its end; False if the login failed.

        Every session has a connection of its own: a new one must not wait behind what is stuck on the old.
        """
        channel = channels.channel(*self._address)
        call: Stream | None = None
        try:
            try:
                async with asyncio.timeout(self._login_timeout_s):
                    call = await self._log_in(channel)
            except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return False
            if call is None:
                return False
            self._set_up(True)
            await self._carry(call)
            return True
        finally:
            if call is not None:
                call.cancel()
            self._set_up(False)
            self._abandon()
            await channel.close()

    async def _log_in(self, channel: grpc.aio.Channel) -> Stream | None:
        if self.cut in (Direction.BOTH, Direction.OUT):
            await asyncio.Event().wait()  # until the deadline: the login never arrives
        call: Stream = san_pb2_grpc.SanStub(channel).Path()
        try:
            await call.write(self._login)
            response = await call.read()
            if self.cut is not None:
                await asyncio.Event().wait()  # until the deadline: the answer was lost
        except BaseException:
            call.cancel()
            raise
        if isinstance(response, san_pb2.PathResponse) and response.login.accepted:
            self._last_refusal = ""
            return call
        call.cancel()
        refusal = response.login.reason if isinstance(response, san_pb2.PathResponse) else "the array closed the stream"
        if refusal != self._last_refusal:
            self._last_refusal = refusal
            logs.get().warning("login refused", path=self._name, reason=refusal[:200])
        return None

    async def _carry(self, call: Stream) -> None:
        """Send and receive until the stream breaks or an answer is late."""
        tasks = (
            asyncio.create_task(self._send(call), name=f"path {self._name} sends"),
            asyncio.create_task(self._receive(call), name=f"path {self._name} receives"),
            asyncio.create_task(self._late.wait(), name=f"path {self._name} deadline"),
        )
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        expected = (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, expected):
                raise result

    async def _send(self, call: Stream) -> None:
        while True:
            await self._queued.wait()
            batch: list[san_pb2.ScsiCommand] = []
            size = 0
            while self._queue and len(batch) < scsi_wire.MAX_BATCH_COMMANDS and size <= scsi_wire.MAX_BATCH_BYTES:
                tag, lun, command, leaves = self._queue[0]
                if leaves and (wait_s := leaves - asyncio.get_running_loop().time()) > 0.0:
                    if batch:
                        break
                    await asyncio.sleep(wait_s)  # those behind it wait as well: a path keeps order
                self._queue.popleft()
                batch.append(scsi_wire.command_to_wire(tag, lun, command))
                size += _data_bytes(command)
            if not self._queue:
                self._queued.clear()
            if self.cut not in (Direction.BOTH, Direction.OUT):
                await call.write(san_pb2.PathRequest(commands=batch))

    async def _receive(self, call: Stream) -> None:
        while isinstance(response := await call.read(), san_pb2.PathResponse):
            if self.cut in (Direction.BOTH, Direction.IN):
                continue
            for wire in response.results:
                waiting = self._outstanding.pop(wire.tag, None)
                if waiting is not None:
                    waiting[0](scsi_wire.result_from_wire(wire))

    def _check_deadlines(self) -> None:
        """One timer for all: commands have the same timeout, so the oldest is the first to be late."""
        self._watch = None
        oldest = next(iter(self._outstanding.values()), None)
        if oldest is None:
            return
        loop = asyncio.get_running_loop()
        if oldest[1] <= loop.time():
            self._late.set()
        else:
            self._watch = loop.call_at(oldest[1], self._check_deadlines)

    def _abandon(self) -> None:
        """The session is over: nothing queued will be sent, nothing outstanding will be answered."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._queue.clear()
        self._queued.clear()
        self._late.clear()
        outstanding, self._outstanding = self._outstanding, {}
        for answer, _ in outstanding.values():
            answer(UNKNOWN)

    def _set_up(self, up: bool) -> None:
        if self.up != up:
            self.up = up
            self._on_path(self._name, up)


def _data_bytes(command: Command) -> int:
    if isinstance(command, Write):
        return len(command.data)
    return 2 * len(command.data) if isinstance(command, CompareAndWrite) else 0
