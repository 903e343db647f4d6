"""An orchestrator in a process of its own: it starts a lab that stands alone, and then only stays, until it is killed.

Law: for stories in which whatever started the lab dies. The lab is not tied to it; whoever started *it* ends the lab.
Should that one die without a word, the end of standard input tells, and this process ends the lab in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from hvcluster.model import codec
from hvcluster.model.definition import ClusterDefinition

from . import launcher
from .errors import Exit, Failure
from .launcher import Wish
from .local import Local
from .processes import python
from .scenario_lab import lab_of
from .state import LabDir

STARTED_S: Final = 60.0
UP: Final = b"up\n"
WRITE_CACHE: Final = "write-cache"


class Detached:
    """The process that started a lab."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def kill(self) -> None:
        """SIGKILL, once. Raises Failure if it is dead already."""
        if self._process.returncode is not None:
            raise Failure(Exit.REFUSED, "the orchestrator is dead already", "kill it once in a scenario")
        await self.end()

    async def end(self) -> None:
        """SIGKILL, if it still lives."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


@contextlib.asynccontextmanager
async def started(
    definition: ClusterDefinition, directory: LabDir, write_cache: bool = False
) -> AsyncIterator[tuple[Local, Detached]]:
    """A lab started by another process, for as long as the block: however it ends, lab and process are gone then."""
    process = await asyncio.create_subprocess_exec(
        *python(__name__, str(directory.path), *((WRITE_CACHE,) if write_cache else ())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us alone
    )
    other = Detached(process)
    up = False
    try:
        await _until_up(process, definition)
        up = True
        yield Local(directory), other
    finally:
        refused = not up and (process.returncode or 0) > 0  # then nothing stays started, and what runs is not ours
        if not refused:
            await asyncio.shield(_clean_up(other, directory))


async def _clean_up(other: Detached, directory: LabDir) -> None:
    await other.end()  # first, so that nothing is started any more
    await launcher.down(directory, purge=True)


async def _until_up(process: asyncio.subprocess.Process, definition: ClusterDefinition) -> None:
    assert process.stdin is not None, "it is a pipe"
    assert process.stdout is not None, "it is a pipe"
    assert process.stderr is not None, "it is a pipe"
    process.stdin.write(codec.dump(definition) + b"\n")  # and stays open: its end would end the lab
    try:
        async with asyncio.timeout(STARTED_S):
            said = await process.stdout.readline()
    except TimeoutError:
        raise Failure(Exit.TIMEOUT, f"the lab was not started within {STARTED_S:g} s") from None
    if said != UP:
        text = (await process.stderr.read()).decode(errors="replace").strip()
        status = await process.wait()
        known = status in list(Exit) and status not in (Exit.OK, Exit.USAGE)
        raise Failure(Exit(status) if known else Exit.FAILED, text or f"the orchestrator ended with status {status}")


async def _stay(directory: LabDir, write_cache: bool) -> int:
    loop = asyncio.get_running_loop()
    line = await loop.run_in_executor(None, sys.stdin.buffer.readline)
    try:
        await launcher.up(lab_of(codec.load(ClusterDefinition, line), write_cache), directory, Wish(tied=False))
    except Failure as error:
        print(error, file=sys.stderr)
        return error.status
    try:
        os.write(sys.stdout.fileno(), UP)
        await loop.run_in_executor(None, sys.stdin.buffer.read)
    except BrokenPipeError:
        pass  # whoever started us died while the lab was starting
    await launcher.down(directory, purge=True)
    return Exit.OK


if __name__ == "__main__":
    sys.exit(asyncio.run(_stay(LabDir(Path(sys.argv[1])), WRITE_CACHE in sys.argv[2:])))
