"""The node's side of its resource monitor (RHS): starts it when it is first needed, speaks with it, ends it.

Law: one monitor at a time, in a process group of its own, so that ending it ends everything its resources have
started. Its death is told once, after the last of it is gone; the next call starts another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from structlog.typing import FilteringBoundLogger

from hvcluster.model.codec import Malformed

from .core.effects import CallResource
from .rhs.calls import MAX_LINE, Call, answer_in, line

Answered = Callable[[int, bool, str], None]
Died = Callable[[str], None]

WAYS_TO_BREAK: Final = {"crash-monitor": signal.SIGKILL, "hang-monitor": signal.SIGSTOP}
_END_S: Final = 5.0
"""The kernel ends a killed process within milliseconds; a process in an uninterruptible call may take longer."""


class Monitor:
    """The resource monitor of one node."""

    def __init__(self, answered: Answered, died: Died, log: FilteringBoundLogger) -> None:
        self._answered = answered
        self._died = died
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    def call(self, effect: CallResource) -> None:
        """Pass a call on; a monitor that cannot be started, or has just died, is told as dead."""
        try:
            process = self._process or self._start()
        except OSError as error:
            asyncio.get_running_loop().call_soon(self._died, f"it cannot be started: {error}")
            return
        resource = effect.resource
        call = Call(effect.token, effect.entry, effect.group, resource.name, resource.type, resource.properties)
        assert process.stdin is not None, "a pipe was asked for"
        with contextlib.suppress(OSError):  # it is dead: its reader tells
            process.stdin.write(line(call))
            process.stdin.flush()

    def restart(self, reason: str) -> None:
        """End it with all it hosts; that it died is told as always."""
        self._log.warning("the resource monitor is ended", reason=reason, pid=self.pid)
        if self._process is not None:
            _kill(self._process)

    def break_(self, how: str) -> bool:
        """Kill it, or let it hang; False while there is none."""
        if self._process is None:
            return False
        self._process.send_signal(WAYS_TO_BREAK[how])
        return True

    def end(self) -> None:
        """End it without a word: the node's life is over. Nothing of it runs when this returns."""
        process, self._process = self._process, None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
        if process is not None:
            _kill(process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "hvcluster.node.rhs"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )
        self._process = process
        self._reader = asyncio.get_running_loop().create_task(self._read(process), name="resource monitor")
        self._log.info("the resource monitor is started", pid=process.pid)
        return process

    async def _read(self, process: subprocess.Popen[bytes]) -> None:
        """Answers until it ends; then its death is told."""
        assert process.stdout is not None, "a pipe was asked for"
        loop = asyncio.get_running_loop()
        stream = asyncio.StreamReader(limit=MAX_LINE)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), process.stdout)
        try:
            while data := await stream.readline():
                answer = answer_in(data)
                self._answered(answer.token, answer.ok, answer.reason)
            reason = "its process has ended"
        except (Malformed, ValueError) as error:
            reason = f"it does not speak as it should: {error}"
        finally:
            transport.close()
        _kill(process)
        status = await asyncio.to_thread(process.wait)
        self._log.warning("the resource monitor has ended", pid=process.pid, status=status)
        if self._process is process:
            self._process = self._reader = None
            self._died(reason)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for it and for all in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
