"""Named timers of one core on the event loop.

Law: a timer is never early and fires once; one that was moved or cancelled is not heard of again, not even if it waits
in the inbox already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hvcluster.model.vocabulary import Instant


class Due:
    """One setting of a timer; handed on when it is due, and then to be taken (`Timers.take`) when its turn comes."""

    __slots__ = ("at", "fired", "handle", "name")

    def __init__(self, name: str, at: int) -> None:
        self.name = name
        self.at = at
        self.handle: asyncio.TimerHandle | None = None
        self.fired = False


class Timers:
    """All timers of one core. `due` is called when one is, on the loop's thread."""

    def __init__(self, due: Callable[[Due], None]) -> None:
        self._due = due
        self._loop = asyncio.get_running_loop()
        self._set: dict[str, Due] = {}

    def set(self, name: str, at: Instant) -> None:
        """Set or move a timer to an instant (CLOCK_MONOTONIC, microseconds).

        Moving one later, by far the most frequent case, only notes the instant: the handle finds out when it fires.
        """
        timer = self._set.get(name)
        if timer is not None and not timer.fired and at >= timer.at:
            timer.at = at
            return
        if timer is not None and timer.handle is not None:
            timer.handle.cancel()
        self._set[name] = timer = Due(name, at)
        self._arm(timer)

    def cancel(self, name: str) -> None:
        """Forget a timer, if there is one."""
        timer = self._set.pop(name, None)
        if timer is not None and timer.handle is not None:
            timer.handle.cancel()

    def take(self, timer: Due) -> bool:
        """Whether a due timer still stands; it is used up then."""
        if self._set.get(timer.name) is not timer:
            return False
        del self._set[timer.name]
        return True

    def clear(self) -> None:
        """Forget all timers."""
        for name in tuple(self._set):
            self.cancel(name)

    def _arm(self, timer: Due) -> None:
        # Whole milliseconds, rounded up: uvloop counts in them and would round down.
        left_ms = max(0, -((time.monotonic_ns() // 1000 - timer.at) // 1000))
        timer.handle = self._loop.call_later(left_ms / 1000, self._fire, timer)

    def _fire(self, timer: Due) -> None:
        timer.handle = None
        if time.monotonic_ns() // 1000 < timer.at:
            self._arm(timer)
            return
        timer.fired = True
        self._due(timer)
