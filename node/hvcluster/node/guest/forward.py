"""Requests that reach the old host of a VM after it has moved: held until its new address is known, then passed on.

Law: passes on only what was surely never begun here, once, and gives the new owner's answer as it is. A connection that
was used is closed afterwards, so that its client comes by the VM's own address the next time.
"""

from __future__ import annotations

import asyncio
from typing import Final

import aiohttp
from aiohttp import web

WAIT_S: Final = 10.0
"""How long a request is held for the new address: longer than any hand-over that ends well."""
LINGER_S: Final = 5.0
"""How long the old host answers after that: clients with a connection that they rarely use learn of the move."""
ANSWER_S: Final = 60.0  # the new owner's disk may stall as long as a guest waits for its disk


class Forwarder:
    """One VM that has moved."""

    def __init__(self) -> None:
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    def redirect(self, address: str) -> None:
        """It is served at `address` (host:port); the first word counts."""
        if not self._address.done():
            self._address.set_result(address)

    def end(self) -> None:
        """Wait for nothing any more."""
        self._over.set()
        self._address.cancel()

    async def until_quiet(self) -> None:
        """As long as this host has to answer for the VM."""
        try:
            async with asyncio.timeout(WAIT_S):
                await asyncio.wait((self._address,))
            async with asyncio.timeout(LINGER_S):
                await self._over.wait()
        except TimeoutError:
            pass

    async def forward(self, method: str, path: str, body: bytes) -> web.Response:
        """The new owner's answer, or 503 where there is none."""
        try:
            async with asyncio.timeout(WAIT_S):
                address = await asyncio.shield(self._address)
        except (TimeoutError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not self._address.cancelled():
                raise
            return _closing(503, b'{"error": "moved", "reason": "the VM moves, and is not served yet"}')
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_S))
        try:
            async with self._session.request(method, f"http://{address}{path}", data=body or None) as answer:
                return _closing(answer.status, await answer.read())
        except (aiohttp.ClientError, TimeoutError):
            reason = b'{"error": "unknown", "reason": "the new host of the VM gave no answer"}'
            return _closing(503, reason)

    async def close(self) -> None:
        """Give up the connections to the new owner."""
        if self._session is not None:
            await self._session.close()


def _closing(status: int, body: bytes) -> web.Response:
    response = web.Response(status=status, body=body, content_type="application/json")
    response.force_close()
    return response
