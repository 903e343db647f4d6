"""`hvc status`, `watch`, `log`, `journal`.

Law: shows; changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit

from .options import SECONDS, Choice, lab_options

if TYPE_CHECKING:
    from hvcluster.orchestrator.driver import Driver
    from hvcluster.orchestrator.observer import Observer, Told

WATCH_S = 0.5
SETTLE_S = 0.3
"""How long a followed log waits before printing, so that lines of several nodes come out in order of time."""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts; keys are added, never renamed.")
@click.option("--wait", type=SECONDS, metavar="SECONDS", help="Wait until the lab is healthy first.")
@lab_options
def status(as_json: bool, wait: float | None, choice: Choice) -> int:
    """Nodes, groups, resources, LUN reservations and quorum votes.

    Exit status 0: answered; 8: no node answers. With --wait: 5 if it did not become healthy in time.
    """

    async def work(driver: Driver) -> int:
        from hvcluster.orchestrator import views
        from hvcluster.orchestrator.observer import Observer

        async with Observer(driver) as observer:
            picture = await observer.look() if wait is None else await observer.until_healthy(wait)
            addresses = await driver.addresses()
        if as_json:
            click.echo(json.dumps(views.as_json(picture, addresses), indent=2))
        else:
            from rich.console import Console

            from . import tables

            console = Console(highlight=False)
            console.print(tables.status(picture, addresses, console.width))
        return Exit.OK if picture.answers else Exit.UNREACHABLE

    return asyncio.run(work(choice.driver()))


@click.command()
@lab_options
def watch(choice: Choice) -> None:
    """The same as status, live, until Ctrl-C."""

    async def work(driver: Driver) -> None:
        from rich.console import Console
        from rich.live import Live

        from hvcluster.orchestrator.observer import Observer

        from . import tables

        async with Observer(driver) as observer:
            console = Console(highlight=False)
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    picture, addresses = await observer.look(), await driver.addresses()
                    live.update(tables.status(picture, addresses, console.width), refresh=True)
                    await asyncio.sleep(WATCH_S)

    asyncio.run(work(choice.driver()))


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Then go on with what happens.")
@click.option("-n", "--node", "nodes", multiple=True, metavar="NODE", help="Only these nodes.")
@click.option("-k", "--kind", "kinds", multiple=True, metavar="KIND", help="Only these facts, e.g. GROUP_ASSIGNED.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@lab_options
def log(follow: bool, nodes: tuple[str, ...], kinds: tuple[str, ...], as_json: bool, choice: Choice) -> None:
    """The cluster log of all nodes, merged by time; what dead nodes wrote is read from their files.

    \b
    hvc log -f -k GROUP_ASSIGNED -k VM_ONLINE
    hvc log --node HyperV-2
    """
    from hvcluster.model.facts import FactKind
    from hvcluster.orchestrator.errors import Failure
    from hvcluster.orchestrator.lab_reader import near

    for kind in kinds:
        if kind.upper() not in FactKind.__members__:
            remedy = near(kind, FactKind.__members__) or "see docs/glossary.md"
            raise Failure(Exit.NOT_FOUND, f"there is no fact {kind!r}", remedy)
    wanted = {kind.upper() for kind in kinds}

    async def work(driver: Driver) -> None:
        from hvcluster.orchestrator.driver import member
        from hvcluster.orchestrator.observer import Observer
        from hvcluster.orchestrator.state import Role

        ids = {(await member(driver, name, Role.NODE)).node for name in nodes}
        async with Observer(driver) as observer:
            async for told in _facts(observer, driver, follow):
                if (not ids or told.node in ids) and (not wanted or told.line.kind in wanted):
                    name = driver.definition.node_name(told.node)
                    click.echo(_json_line(told, name) if as_json else _log_line(told, name))

    asyncio.run(work(choice.driver()))


async def _facts(observer: Observer, driver: Driver, follow: bool) -> AsyncIterator[Told]:
    if not follow:
        from hvcluster.orchestrator import records

        for fact in (await records.read(observer)).facts:
            yield records.as_told(fact)
        return
    addresses = await driver.addresses()
    waiting: list[Told] = []
    arrived = asyncio.Event()

    async def listen(node: int) -> None:
        """One node's stream, taken up again when its process returns."""
        number = next(known for known in addresses.nodes if known == node)
        while True:
            async for told in observer.facts(number, addresses.nodes[number], follow=True):
                waiting.append(told)
                arrived.set()
            await asyncio.sleep(WATCH_S)

    async with asyncio.TaskGroup() as group:
        for node in addresses.nodes:
            group.create_task(listen(node), name=f"facts of node {node}")
        while True:
            await arrived.wait()
            arrived.clear()
            await asyncio.sleep(SETTLE_S)
            ready, waiting[:] = sorted(waiting, key=lambda t: (t.line.monotonic_us, t.node, t.line.sequence)), []
            for told in ready:
                yield told


def _log_line(told: Told, name: str) -> str:
    """Date and time, node, level, component, text, event; `hvc get log` writes the product's form."""
    from hvcluster.model.events import level_of

    seconds, micros = divmod(told.line.wall_us, 1_000_000)
    stamp = time.strftime("%Y/%m/%d-%H:%M:%S", time.gmtime(seconds))
    event = f" event {told.line.event_id}" if told.line.event_id else ""
    level = level_of(told.line.kind, told.line.event_id).column
    return f"{stamp}.{micros // 1000:03d} {name:<12} {level:<5} {told.line.line}{event}"


def _json_line(told: Told, name: str) -> str:
    line = told.line
    return json.dumps(
        {
            "node": name,
            "sequence": line.sequence,
            "wall_us": line.wall_us,
            "monotonic_us": line.monotonic_us,
            "kind": line.kind,
            "event_id": line.event_id,
            "reason": line.reason,
            "about": dict(line.about),
        }
    )


@click.command()
@click.option("--lun", type=int, help="Only this LUN.")
@click.option(
    "--refused", is_flag=True, help="Only what was not GOOD: reservation conflicts, CHECK CONDITION and BUSY."
)
@click.option("--conflicts", is_flag=True, help="Only RESERVATION CONFLICT: what a reservation kept from the LUN.")
@lab_options
def journal(lun: int | None, refused: bool, conflicts: bool, choice: Choice) -> None:
    """The array's journal: every command that changed something or was refused, with the key it came under.

    \b
    hvc journal --lun 2 --conflicts       late writes that the array kept out
    hvc journal --refused                 these, and whatever else was not GOOD
    """

    async def work(driver: Driver) -> None:
        from hvcluster.orchestrator import array_journal
        from hvcluster.orchestrator.observer import Observer

        async with Observer(driver) as observer:
            rows = [row for row in await observer.journal() if lun is None or row.lun == lun]
        if refused:
            rows = array_journal.refused(rows)
        if conflicts:
            rows = array_journal.conflicts(rows)
        for row in rows:
            click.echo(array_journal.journal_line(row))

    asyncio.run(work(choice.driver()))
