"""How many SCSI commands a second the array carries, and how long one takes.

    python bench/san.py [--seconds 3] [--no-power-loss-safe]

Starts one array on a directory of its own and measures 512-byte FUA writes and reads through the node's initiator at
queue depths 1 and 32, reservation changes, and the array's core alone. The last line is JSON:
`<what>_per_s` in commands a second, `<what>_p50_us` and `<what>_p99_us` in microseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from hvcluster.model.scsi import (
    GOOD,
    Command,
    Nexus,
    PersistentReserveOut,
    Read,
    ReserveOut,
    Result,
    Status,
    TestUnitReady,
    Write,
)
from hvcluster.model.vocabulary import BLOCK_BYTES, Instant, LunId, PathName
from hvcluster.node.initiator import Initiator
from hvcluster.runtime import loop, parent, ready
from hvcluster.san.core.array import Array
from hvcluster.san.core.effects import ArrayImage, LunImage, Respond
from hvcluster.san.core.events import CommandReceived, Login

LUN: Final = LunId(2)
PATH: Final = PathName("A")
NAME: Final = "iqn.2026-01.lab.hvcluster:bench"
TARGET: Final = "iqn.2026-01.lab.hvcluster:array"
BLOCKS: Final = 2_048
CORE_COMMANDS: Final = 100_000


async def measure(initiator: Initiator, command: Command, depth: int, seconds: float) -> list[float]:
    """Keep `depth` commands outstanding for `seconds`; the time each took, in microseconds."""
    clock = time.perf_counter
    took: list[float] = []
    done = asyncio.Event()
    outstanding = 0
    end = clock() + seconds

    def submit() -> None:
        nonlocal outstanding
        outstanding += 1
        began = clock()

        def answered(result: Result) -> None:
            nonlocal outstanding
            assert result.status is Status.GOOD, result
            took.append((clock() - began) * 1e6)
            outstanding -= 1
            if clock() < end:
                submit()
            elif outstanding == 0:
                done.set()

        initiator.submit(PATH, LUN, command, answered)

    for _ in range(depth):
        submit()
    await done.wait()
    return took


async def through_the_wire(seconds: float, array_options: list[str]) -> dict[str, float]:
    """Start an array, log in, measure everything."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="hvcluster-bench-", dir=Path.cwd()) as data, ready.Announcement() as said:
        arguments = ["-m", "hvcluster.san", "--data", data, "--lun", f"{LUN}:{BLOCKS}", "--unmask", f"{LUN}:{NAME}"]
        array = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            *array_options,
            *said.arguments(),
            *parent.arguments(),
            "--log-level",
            "error",
            pass_fds=(said.fd,),
        )
        said.started()
        try:
            announced = await said.wait(array, "array", 20)
            up = asyncio.Event()
            address = {PATH: ("127.0.0.1", announced.ports["grpc"])}
            initiator = Initiator(NAME, address, TARGET, lambda _, is_up: up.set() if is_up else None)
            async with asyncio.TaskGroup() as group:
                running = group.create_task(initiator.run(), name="initiator")
                await up.wait()
                figures = await _all(initiator, seconds)
                running.cancel()
        finally:
            array.terminate()
            await array.wait()
    return figures


async def _all(initiator: Initiator, seconds: float) -> dict[str, float]:
    first: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    initiator.submit(PATH, LUN, TestUnitReady(), first.set_result)
    await first  # reports POWER ON once
    register = PersistentReserveOut(ReserveOut.REGISTER_AND_IGNORE_EXISTING_KEY, service_key=7)
    figures: dict[str, float] = {}
    for what, command, depth in (
        ("write_qd1", Write(8, bytes(BLOCK_BYTES)), 1),
        ("write_qd32", Write(8, bytes(BLOCK_BYTES)), 32),
        ("read_qd1", Read(8, 1), 1),
        ("read_qd32", Read(8, 1), 32),
        ("register_qd1", register, 1),
        ("register_qd32", register, 32),
    ):
        took = sorted(await measure(initiator, command, depth, seconds))
        figures[f"{what}_per_s"] = round(len(took) / seconds)
        figures[f"{what}_p50_us"] = round(statistics.median(took))
        figures[f"{what}_p99_us"] = round(took[int(len(took) * 0.99)])
        print(
            f"{what:14} {figures[f'{what}_per_s']:8,.0f} commands/s   median {figures[f'{what}_p50_us']:6,.0f} us"
            f"   p99 {figures[f'{what}_p99_us']:6,.0f} us"
        )
    return figures


def core_alone() -> float:
    """Writes a second of the core without any shell, as the simulator runs it."""
    array = Array(ArrayImage((LunImage(LUN, BLOCKS, (NAME,)),)))
    array.handle(Instant(0), Login(Nexus(NAME, PATH), 1))
    array.handle(Instant(0), CommandReceived(1, 1, LUN, TestUnitReady()))
    event = CommandReceived(1, 2, LUN, Write(8, bytes(BLOCK_BYTES)))
    assert array.handle(Instant(1), event)[-1] == Respond(1, 2, GOOD)
    began = time.perf_counter()
    for _ in range(CORE_COMMANDS):
        array.handle(Instant(1), event)
    took = time.perf_counter() - began
    return CORE_COMMANDS / took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each figure (default %(default)s)")
    parser.add_argument("--no-power-loss-safe", action="store_true", help="hand writes to the kernel only")
    loop.add_argument(parser)
    options = parser.parse_args()
    core = core_alone()
    print(f"{'core alone':14} {core:8,.0f} writes/s     {1e6 / core:.1f} us each")
    array_options = ["--no-power-loss-safe"] if options.no_power_loss_safe else []
    figures = loop.run(through_the_wire(options.seconds, array_options), options.loop)
    figures |= {"core_writes_per_s": round(core), "power_loss_safe": not options.no_power_loss_safe}
    print(json.dumps({"bench": "san", "python": platform.python_version(), **figures}))


if __name__ == "__main__":
    main()
