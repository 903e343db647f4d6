"""When is a child ready? When it says so: one JSON line `{"ready": true, "ports": {"grpc": 4711}}`.

Law: the child writes the line once it serves, to an inherited pipe (`--ready-fd`) or to a file
(`--ready-file`); the parent waits for it with a deadline and, if the child dies first or keeps silent, says
so with the child's last log lines. No sleeping, no guessing by log text. Programs that cannot say it
(Mosquitto) are asked by connecting.
"""

import argparse
import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from hvcluster.runtime import durable

LINE_LIMIT_BYTES = 64 * 1024
"""A readiness line names a handful of ports; more is not one."""
LOG_TAIL_LINES = 12
_LOG_TAIL_BYTES = 16 * 1024
_CONNECT_RETRY_S = 0.01
"""Pause between two attempts to connect to a program that cannot tell when it listens."""


class Process(Protocol):
    """What is needed of a child: `asyncio.subprocess.Process` fits."""

    @property
    def pid(self) -> int: ...

    async def wait(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Ready:
    """A child's announcement: its named ports, and further words it chose to add."""

    pid: int
    ports: Mapping[str, int] = field(default_factory=dict)
    details: Mapping[str, str] = field(default_factory=dict)


class NotReady(Exception):
    """A child did not become ready: it died first (`exit_status`, negative: by that signal) or kept silent
    (None).
    """

    def __init__(self, name: str, why: str, exit_status: int | None, log_tail: Sequence[str]) -> None:
        self.name = name
        self.why = why
        self.exit_status = exit_status
        self.log_tail = tuple(log_tail)
        lines = [f"{name} {why}", *(f"  {line}" for line in self.log_tail)]
        super().__init__("\n".join(lines))


# --- the child's side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--ready-fd FD` and `--ready-file PATH`; hand their values to `announce`."""
    parser.add_argument("--ready-fd", type=int, metavar="FD", help="write one JSON line here once serving")
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="write one JSON line to this file once serving")


def announce(
    fd: int | None,
    file: Path | None = None,
    ports: Mapping[str, int] | None = None,
    details: Mapping[str, str] | None = None,
) -> None:
    """Say "ready", once; `fd` is closed after. A parent that has stopped listening is no error."""
    document = {"ready": True, "pid": os.getpid(), "ports": dict(ports or {}), "details": dict(details or {})}
    line = json.dumps(document).encode() + b"\n"
    if file is not None:
        durable.write(file, line)
    if fd is None:
        return
    try:
        os.write(fd, line)
    except BrokenPipeError:
        pass
    finally:
        os.close(fd)


# --- the parent's side


class Announcement:
    """The parent's end of the pipe. Pass `fd` to the child (`pass_fds=(a.fd,)`, `--ready-fd {a.fd}`), then
    call `started()` so that the child holds the only writing end, then `await wait(...)`. Close it in any
    case.
    """

    def __init__(self) -> None:
        self._reading, self.fd = os.pipe()
        os.set_blocking(self._reading, False)

    def __enter__(self) -> "Announcement":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def arguments(self) -> list[str]:
        """What to add to the child's command line."""
        return ["--ready-fd", str(self.fd)]

    def started(self) -> None:
        """The child has been started: give the writing end away."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def close(self) -> None:
        """Release both ends; idempotent."""
        self.started()
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1

    async def wait(self, process: Process, name: str, deadline_s: float, log: Path | None = None) -> Ready:
        """The child's announcement. Raises `NotReady`; the child is left as it is (kill it if it lives)."""
        self.started()
        try:
            async with asyncio.timeout(deadline_s):
                line = await self._line()
        except TimeoutError:
            raise NotReady(name, f"did not become ready within {deadline_s:g} s", None, tail(log)) from None
        if line:
            return _parse(line, process.pid, name, log)
        try:
            async with asyncio.timeout(deadline_s):
                status = await process.wait()
        except TimeoutError:
            raise NotReady(name, "closed its ready pipe without a word", None, tail(log)) from None
        raise NotReady(name, died(status), status, tail(log))

    async def _line(self) -> bytes:
        """Everything up to the first newline; empty: the pipe ended before one."""
        loop = asyncio.get_running_loop()
        buffer = b""
        while b"\n" not in buffer and len(buffer) < LINE_LIMIT_BYTES:
            readable: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._reading, _wake, readable)
            try:
                await readable
            finally:
                loop.remove_reader(self._reading)
            try:
                chunk = os.read(self._reading, 4096)
            except BlockingIOError:
                continue
            if not chunk:
                return b""
            buffer += chunk
        return buffer.partition(b"\n")[0]


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _parse(line: bytes, pid: int, name: str, log: Path | None) -> Ready:
    try:
        document = json.loads(line)
        if document["ready"] is not True:
            raise ValueError
        ports = {str(key): int(value) for key, value in document.get("ports", {}).items()}
        details = {str(key): str(value) for key, value in document.get("details", {}).items()}
        return Ready(int(document.get("pid", pid)), ports, details)
    except (ValueError, KeyError, TypeError, AttributeError):
        said = line[:200].decode(errors="replace")
        raise NotReady(name, f"said something other than ready: {said}", None, tail(log)) from None


def read_file(path: Path) -> Ready | None:
    """The announcement in a ready file, or None while there is none. Raises `NotReady` for a file that is not
    one.
    """
    try:
        line = path.read_bytes()
    except FileNotFoundError:
        return None
    return _parse(line.partition(b"\n")[0], 0, str(path), None)


async def wait_listening(
    process: Process, name: str, address: str, port: int, deadline_s: float, log: Path | None = None
) -> Ready:
    """Wait until something accepts connections on `address:port`, for programs that cannot announce
    themselves.

    Raises `NotReady` when the process dies first (its port may be held by another: then the program's own log
    says so) or the deadline passes.
    """
    death = asyncio.create_task(process.wait(), name=f"exit of {name}")
    try:
        async with asyncio.timeout(deadline_s):
            while not death.done():
                if await _accepts(address, port) and not death.done():
                    return Ready(process.pid, {"tcp": port})
                await asyncio.wait((death,), timeout=_CONNECT_RETRY_S)
    except TimeoutError:
        why = f"did not listen on {address}:{port} within {deadline_s:g} s"
        raise NotReady(name, why, None, tail(log)) from None
    finally:
        if not death.done():
            death.cancel()
    raise NotReady(name, died(death.result()), death.result(), tail(log))


async def _accepts(address: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, port)
    except OSError:
        return False
    writer.close()
    return True


def died(status: int) -> str:
    """An exit status in words; negative means a signal, as in `subprocess`."""
    if status < 0:
        return f"was killed by signal {-status} before it was ready"
    return f"exited with status {status} before it was ready"


def tail(log: Path | None, lines: int = LOG_TAIL_LINES) -> list[str]:
    """The last lines of a log file; empty where there is none."""
    if log is None:
        return []
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-lines:]
    except OSError:
        return []
