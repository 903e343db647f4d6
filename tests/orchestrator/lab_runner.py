"""A tied lab in a process of its own, for the test that kills it: prints the pids it started, then waits for ever."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from hvcluster.orchestrator import demo, launcher
from hvcluster.orchestrator.launcher import Wish
from hvcluster.orchestrator.state import LabDir


async def main(home: Path) -> None:
    async with launcher.tied(demo.lab(connection_loss=False), LabDir(home / "TIED"), Wish(tied=True)) as driver:
        print(" ".join(str(member.pid) for member in await driver.members()), flush=True)
        await asyncio.Event().wait()


signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
asyncio.run(main(Path(sys.argv[1])))
