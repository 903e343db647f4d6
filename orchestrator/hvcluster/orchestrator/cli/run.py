"""`hvc run`: scenario files on real processes, or on containers.

Law: arguments in, verdicts out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit, Failure

if TYPE_CHECKING:
    from hvcluster.orchestrator.scenario_run import Outcome


@contextlib.contextmanager
def unreadable() -> Iterator[None]:
    """What is wrong with a scenario file, said alike by every command that reads one."""
    from hvcluster.model.scenario import ScenarioError

    try:
        yield
    except FileNotFoundError as error:
        remedy = "docs/scenarios.md says how to write one; scenarios/ has some"
        raise Failure(Exit.NOT_FOUND, f"there is no scenario file {error.filename}", remedy) from None
    except IsADirectoryError as error:
        remedy = f"name the files in it: {error.filename}/*.toml"
        raise Failure(Exit.NOT_FOUND, f"{error.filename} is a directory and no scenario file", remedy) from None
    except ScenarioError as error:
        raise Failure(Exit.LAB_INVALID, str(error), "docs/scenarios.md describes every key") from None


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--compose", is_flag=True, help="Containers instead of processes: a compose project for each story.")
@click.option("--image", envvar="HVC_IMAGE", help="What containers are made of; default hvcluster:latest.")
@click.option("--state", type=click.Path(path_type=Path), envvar="HVC_STATE", help="Where the labs keep their state.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON for each scenario.")
@click.option("-v", "--verbose", is_flag=True, help="Say each step.")
def run(
    files: tuple[Path, ...], compose: bool, image: str | None, state: Path | None, as_json: bool, verbose: bool
) -> int:
    """Run scenario files on real processes, one lab each, ten times faster than Windows.

    The same files run in virtual time with `hvc sim run FILE`, and with --compose in containers, which needs docker and
    an image (`docker compose build`). Afterwards nothing is left of a lab.

    Exit status 1 if an expectation was not met, an invariant broke or an acknowledged write is lost; 2 if a story has a
    fault that only the simulator can make; 3 and 6 if a file is missing or bad.

    \b
    hvc run scenarios/node-killed.toml
    hvc run -v scenarios/*.toml
    hvc run --compose scenarios/node-frozen.toml
    """
    from hvcluster.model.scenario import parse
    from hvcluster.orchestrator.compose_project import IMAGE
    from hvcluster.orchestrator.scenario_lab import require_real
    from hvcluster.orchestrator.scenario_run import run as play
    from hvcluster.orchestrator.state import state_home
    from hvcluster.runtime import signals

    with unreadable():
        scenarios = [parse(str(file), file.read_bytes()) for file in files]
    require_real(*scenarios)

    def tell(text: str) -> None:
        if verbose:
            click.echo(f"  {text}", err=True)

    async def work() -> bool:
        good = True
        for number, one in enumerate(scenarios, 1):
            if len(scenarios) > 1:
                click.echo(f"{number} of {len(scenarios)}: {one.name}", err=True)
            outcome = await play(one, state or state_home(), tell, (image or IMAGE) if compose else None)
            good = good and not outcome.broken
            click.echo(_line(outcome, "containers" if compose else "processes", as_json))
        return good

    async def until_stopped() -> bool | None:
        return await signals.until_stopped(signals.install(), work(), "scenarios")

    held = asyncio.run(until_stopped())
    if held is None:
        raise KeyboardInterrupt
    return Exit.OK if held else Exit.FAILED


def _line(outcome: Outcome, where: str, as_json: bool) -> str:
    if as_json:
        told = {"scenario": outcome.name, "on": where, "ok": not outcome.broken, "problem": outcome.broken}
        return json.dumps({**told, "seconds": round(outcome.seconds, 1)})
    verdict = f"BROKEN  {outcome.broken}" if outcome.broken else "held"
    return f"{outcome.name:<32} {outcome.seconds:5.1f} s  {verdict}"
