"""The wires of a scenario's lab: what the story has cut and degraded so far, and what each process knows of it.

Law: remembers what the story wants and tells nodes. A process that died has forgotten its cuts and a frozen one cannot
be told: both are told as soon as they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable

from .driver import Cut, Driver, Quality, Wire
from .errors import Failure
from .state import Life

PERFECT = Quality()


class Wires:
    """All wires of all nodes of one lab. Nodes are meant by name."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._ids = {node.name: str(node.id) for node in driver.definition.nodes}
        self._wanted: dict[str, list[Cut]] = {}
        self._told: dict[str, list[Cut]] = {}
        self.quality = PERFECT

    async def cut(self, name: str, cuts: Iterable[Cut]) -> None:
        """Cut a node from wires."""
        self._wanted.setdefault(name, []).extend(cuts)
        await self._tell(name)

    async def heal(self, name: str = "") -> None:
        """Heal every wire of a node, or all wires of all."""
        if name:
            self._wanted.pop(name, None)
            self._wanted = {other: self._without(other, cuts, name) for other, cuts in self._wanted.items()}
        else:
            self._wanted.clear()
        await asyncio.gather(*(self._tell(other) for other in self._ids))

    def _without(self, owner: str, cuts: list[Cut], healed: str) -> list[Cut]:
        """What is left of a node's cuts when the direct wire to another one is healed."""
        left: list[Cut] = []
        for cut in cuts:
            if cut.wire is not Wire.PEERS:
                left.append(cut)
                continue
            names = [cut.name] if cut.name else [number for name, number in self._ids.items() if name != owner]
            left += [Cut(Wire.PEERS, number, cut.way) for number in names if number != self._ids[healed]]
        return left

    async def degrade(self, quality: Quality) -> None:
        """Let all wires work that well from now on."""
        if quality == self.quality:
            return
        self.quality = quality
        await asyncio.gather(*(self._say(name, self._driver.degrade(name, quality)) for name in await self._running()))

    async def woken(self, name: str) -> None:
        """A process runs again: tell it everything."""
        if self.quality != PERFECT:
            await self._say(name, self._driver.degrade(name, self.quality))
        await self._bring(name, forgotten=True)

    async def _tell(self, name: str) -> None:
        """Tell a node what has changed; one that does not run is told when it does."""
        if self._wanted.get(name, []) != self._told.get(name, []) and name in await self._running():
            await self._bring(name, forgotten=False)

    async def _bring(self, name: str, *, forgotten: bool) -> None:
        """Bring a node's own cuts to what is wanted. `forgotten`: it may know nothing of what it was told."""
        wanted, told = list(self._wanted.get(name, [])), self._told.get(name, [])
        if any(cut not in wanted for cut in told):
            await self._say(name, self._driver.heal(name, None))
            told = []
        for cut in wanted:
            if forgotten or cut not in told:
                await self._say(name, self._driver.cut(name, cut))
        self._told[name] = wanted

    async def _say(self, name: str, word: Coroutine[None, None, None]) -> None:
        """One word to a node, which may have ended since it was looked at."""
        try:
            await word
        except Failure:
            if name in await self._running():
                raise

    async def _running(self) -> list[str]:
        return [m.name for m in await self._driver.members() if m.node and m.life is Life.RUNNING]
