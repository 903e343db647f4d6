"""`hvc scenario`: scenario files on real processes.

Law: arguments in, verdicts out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import click

from hvcluster.orchestrator.errors import Exit, Failure


@contextlib.contextmanager
def unreadable() -> Iterator[None]:
    """What is wrong with a scenario file, said alike by every command that reads one."""
    from hvcluster.model.scenario import ScenarioError

    try:
        yield
    except FileNotFoundError as error:
        remedy = "docs/scenarios.md says how to write one; scenarios/ has some"
        raise Failure(Exit.NOT_FOUND, f"there is no scenario file {error.filename}", remedy) from None
    except ScenarioError as error:
        raise Failure(Exit.LAB_INVALID, str(error), "docs/scenarios.md describes every key") from None


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--state", type=click.Path(path_type=Path), envvar="HVC_STATE", help="Where the labs keep their state.")
@click.option("-v", "--verbose", is_flag=True, help="Say each step.")
def scenario(files: tuple[Path, ...], state: Path | None, verbose: bool) -> int:
    """Run scenario files on real processes, one lab each; `hvc sim FILE` runs the same files in virtual time.

    Exit status 1 if an expectation was not met or an acknowledged write is lost; 3 and 6 if a file is missing or bad.

    \b
    hvc scenario scenarios/node-killed.toml
    """
    from hvcluster.model.scenario import parse
    from hvcluster.orchestrator.scenario_run import run
    from hvcluster.orchestrator.state import state_home
    from hvcluster.runtime import signals

    with unreadable():
        scenarios = [parse(str(file), file.read_bytes()) for file in files]

    def tell(text: str) -> None:
        if verbose:
            click.echo(f"  {text}", err=True)

    async def work() -> bool:
        good = True
        for one in scenarios:
            outcome = await run(one, state or state_home(), tell)
            good = good and not outcome.broken
            verdict = f"BROKEN  {outcome.broken}" if outcome.broken else "held"
            click.echo(f"{outcome.name:<32} {outcome.seconds:5.1f} s  {verdict}")
        return good

    async def until_stopped() -> bool | None:
        return await signals.until_stopped(signals.install(), work(), "scenarios")

    held = asyncio.run(until_stopped())
    if held is None:
        raise KeyboardInterrupt
    return Exit.OK if held else Exit.FAILED
