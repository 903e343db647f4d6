"""SIGTERM and SIGINT, told to an event loop.

Law: the first signal asks (an event is set), the second one does not wait (the process exits hard with the
status a shell expects). Nothing here decides what a polite stop is.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

HANDLED = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """The wish to stop: `event` is set by the first signal or by `request`; `signal` says which signal it
    was.
    """

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.signal: signal.Signals | None = None
        self.reason: str | None = None

    def request(self, reason: str) -> None:
        """Ask to stop for a reason of our own; the first reason stays."""
        if not self.event.is_set():
            self.reason = reason
            self.event.set()

    def _signalled(self, number: signal.Signals) -> None:
        if self.signal is not None:
            sys.stderr.flush()
            os._exit(128 + number)
        self.signal = number
        self.request(f"received {number.name}")

    @property
    def exit_status(self) -> int:
        """0 after a polite stop: who sent SIGTERM or SIGINT got what was asked for."""
        return 0


def install() -> Stop:
    """Handle SIGTERM and SIGINT on the running loop, from the main thread; returns the `Stop` they set."""
    stop = Stop()
    loop = asyncio.get_running_loop()
    for number in HANDLED:
        loop.add_signal_handler(number, stop._signalled, number)
    return stop


async def until_stopped(stop: Stop, work: Coroutine[Any, Any, T], name: str = "work") -> T | None:
    """Run `work` until it returns or a stop is asked for; then it is cancelled and awaited, and None
    returned.

    What `work` raises is raised here (a TaskGroup's ExceptionGroup included), also when it raises while being
    cancelled. Put the process's TaskGroup inside `work`: cancelling it cancels the whole group.
    """
    task = asyncio.create_task(work, name=name)
    asked = asyncio.create_task(stop.event.wait(), name="stop signal")
    try:
        await asyncio.wait((task, asked), return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
        if not task.done():
            task.cancel()
        await asyncio.wait((task, asked))
    return None if task.cancelled() else task.result()
