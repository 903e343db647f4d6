"""`hvc backup` and `hvc restore`: the settings of a cluster, kept in a file and put back.

Law: words and files; what differs, and in which order it is asked for, is in `orchestrator.backup`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from .options import Choice, lab_options


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@lab_options
def backup(file: Path, choice: Choice) -> None:
    """Write what has been set in a running cluster to a file: policies, owners, rules, votes, what is to be online.

    \b
    hvc backup monday.json
    """

    async def work() -> str:
        from hvcluster.orchestrator import backup as backups
        from hvcluster.orchestrator.observer import Observer

        async with Observer(choice.driver()) as observer:
            now = await backups.current(observer)
        backups.save(file, now)
        return f"{file}: {len(now.groups)} groups, {len(now.rules)} rules, {len(now.voters)} nodes with a vote"

    click.echo(asyncio.run(work()))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--dry-run", is_flag=True, help="Show what differs, and do nothing.")
@lab_options
def restore(file: Path, dry_run: bool, choice: Choice) -> None:
    """Put the settings of a backup back, on every node, whatever has been set since (an authoritative restore).

    Each difference is a request that the cluster may refuse; the first refusal ends it, and says what is left. Where
    groups run is not changed, and nothing that VMs have written.

    \b
    hvc restore monday.json --dry-run
    hvc restore monday.json
    """

    async def work() -> None:
        from hvcluster.orchestrator import backup as backups
        from hvcluster.orchestrator.observer import Observer

        kept = backups.load(file)
        async with Observer(choice.driver()) as observer:
            if dry_run:
                steps = backups.differences(kept, await backups.current(observer))
                click.echo("\n".join(step.text for step in steps) or "nothing differs")
                return
            done = await backups.restore(observer, kept, click.echo)
        click.echo(f"{done} settings restored" if done else "nothing differs")

    asyncio.run(work())
