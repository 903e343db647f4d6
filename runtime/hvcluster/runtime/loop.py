"""The event loop of a process.

Law: the one place that chooses between uvloop and asyncio's own loop; grpc.aio, aiomqtt and aiohttp run on
both.
"""

import argparse
import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Loop = Literal["uvloop", "asyncio", "auto"]
CHOICES: tuple[Loop, ...] = ("auto", "uvloop", "asyncio")


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--loop auto|uvloop|asyncio`."""
    parser.add_argument(
        "--loop",
        choices=CHOICES,
        default="auto",
        help="event loop; auto takes uvloop where it can be imported",
    )


def factory(loop: Loop) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; None is asyncio's own. Raises `ImportError` if uvloop is demanded but missing."""
    if loop == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if loop == "uvloop":
            raise
        return None
    return uvloop.new_event_loop


def run(main: Coroutine[Any, Any, T], loop: Loop = "auto") -> T:
    """Run `main` on a new loop and return its result, like `asyncio.run`."""
    with asyncio.Runner(loop_factory=factory(loop)) as runner:
        return runner.run(main)
