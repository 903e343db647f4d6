"""An old client of one owner: connected straight to its guest, past the switch, and still writing to it.

Law: sends bytes and counts answers; whether a write may happen is the array's word.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Final

from .switch_routes import split_address

CLIENTS: Final = 4
LATE: Final = 8
"""Requests each of them hands to the frozen owner: one is certain to be read before it learns what happened."""
ANSWER_S: Final = 2.0


class LateWriter:
    """A few keep-alive connections to one guest. An address that is none makes a writer that does nothing."""

    def __init__(self, address: str) -> None:
        self._place = split_address(address)
        self._streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> LateWriter:
        if self._place is not None:
            for _ in range(CLIENTS):
                with contextlib.suppress(OSError):
                    self._streams.append(await asyncio.open_connection(*self._place))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, writer in self._streams:
            writer.close()

    async def warm(self) -> None:
        """One acknowledged write on each connection, so that the guest has accepted them all."""
        for number, (reader, writer) in enumerate(self._streams):
            writer.write(_request(f"old-client-{number}"))
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(ANSWER_S):
                    await reader.readuntil(b"}")

    async def press(self) -> None:
        """Hand the (frozen) owner more writes; they wait in its sockets."""
        for number, (_, writer) in enumerate(self._streams):
            for late in range(LATE):
                writer.write(_request(f"late-{number}-{late}"))
            with contextlib.suppress(OSError):
                await writer.drain()

    async def acknowledged(self) -> int:
        """How many of them it acknowledged in the end."""
        count = 0
        for reader, _ in self._streams:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(ANSWER_S):
                    count += (await reader.read()).count(b" 200 OK")
        return count


def _request(payload: str) -> bytes:
    return f"POST /append HTTP/1.1\r\nHost: vm\r\nContent-Length: {len(payload)}\r\n\r\n{payload}".encode()
