"""`hvc get log` and `hvc get events`.

Law: arguments in, lines out; what a line says is decided in `cluster_log` and `event_log`.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit, Failure

from .options import SECONDS, Choice, lab_options

if TYPE_CHECKING:
    from hvcluster.model.vocabulary import NodeId
    from hvcluster.orchestrator.driver import Driver
    from hvcluster.orchestrator.records import Records


async def recorded(driver: Driver) -> Records:
    """The record of every node, and a word on standard error for each that could not be read."""
    from hvcluster.orchestrator import records
    from hvcluster.orchestrator.observer import Observer

    async with Observer(driver) as observer:
        found = await records.read(observer)
    for node in found.unread:
        click.echo(f"hvc: nothing {driver.definition.node_name(node)} recorded can be read", err=True)
    if not found.facts and found.unread:
        raise Failure(Exit.UNREACHABLE, "no node's record can be read", "see `hvc status`")
    return found


async def numbers(driver: Driver, names: tuple[str, ...]) -> list[NodeId]:
    """The nodes that are named, each once; all of them when none is. Raises Failure."""
    from hvcluster.orchestrator.driver import member
    from hvcluster.orchestrator.state import Role

    found = [(await member(driver, name, Role.NODE)).node for name in names]
    return sorted(set(found)) or [node.id for node in driver.definition.nodes]


def now_us() -> int:
    """The machine's clock, as facts carry it."""
    return time.time_ns() // 1000


@click.command()
@click.option("-n", "--node", "nodes", multiple=True, metavar="NODE", help="Only these nodes.")
@click.option("--time-span", type=SECONDS, metavar="MINUTES", help="Only the last so many minutes.")
@click.option("--use-local-time", is_flag=True, help="The machine's own time zone instead of GMT.")
@click.option("--destination", type=click.Path(path_type=Path), metavar="DIR", help="One NODE_cluster.log per node.")
@click.option("--level", type=click.IntRange(0, 5), default=3, show_default=True, help="ClusterLogLevel.")
@lab_options
def log(
    nodes: tuple[str, ...],
    time_span: float | None,
    use_local_time: bool,
    destination: Path | None,
    level: int,
    choice: Choice,
) -> None:
    """The cluster log of each node, in the product's form.

    Dead nodes are read from their files. Times are GMT, as the product's are.

    \b
    hvc get log --node HyperV-2 --time-span 5
    hvc get log --destination .        writes HyperV-1_cluster.log, ...
    """
    from hvcluster.orchestrator import cluster_log

    async def work(driver: Driver) -> None:
        wanted = await numbers(driver, nodes)
        found = await recorded(driver)
        begin = 0 if time_span is None else now_us() - int(time_span * 60e6)
        facts = [fact for fact in found.facts if fact.wall_us >= begin]
        logs = {
            f"{driver.definition.node_name(node)}_cluster.log": list(
                cluster_log.of_node(facts, driver.definition, node, use_local_time, level)
            )
            for node in wanted
            if node not in found.unread
        }
        if destination is not None:
            _write(logs, destination)
            return
        for name, lines in logs.items():
            if len(logs) > 1:
                click.echo(f"==> {name} <==")
            click.echo("".join(f"{each}\n" for each in lines), nl=False)

    asyncio.run(work(choice.driver()))


def _write(logs: dict[str, list[str]], folder: Path) -> None:
    """Write the files, and list them as Get-ClusterLog does."""
    folder.mkdir(parents=True, exist_ok=True)
    click.echo(f"{'Mode':<7} {'LastWriteTime':<19} {'Length':>10} Name")
    for name, lines in logs.items():
        path = folder / name
        path.write_text("".join(f"{each}\n" for each in lines), encoding="utf-8")
        stat = path.stat()
        when = time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(stat.st_mtime))
        click.echo(f"{'-a----':<7} {when:<19} {stat.st_size:>10} {name}")


@click.command()
@click.option("-n", "--node", "nodes", multiple=True, metavar="NODE", help="Only these nodes.")
@click.option("--id", "ids", multiple=True, type=int, help="Only these event ids.")
@click.option("--since", metavar="WHEN", help="30s, 90 (minutes), 2h, 1d ago, or a time as the log shows it (GMT).")
@click.option("--channel", type=click.Choice(["System", "Operational"], case_sensitive=False), help="Only this one.")
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@lab_options
def events(
    nodes: tuple[str, ...],
    ids: tuple[int, ...],
    since: str | None,
    channel: str | None,
    last: int | None,
    as_json: bool,
    choice: Choice,
) -> None:
    """The event log: every recorded fact that the product has an event id for, oldest first.

    \b
    hvc get events --id 1135 --since 1h
    hvc Get-WinEvent -LogName Microsoft-Windows-FailoverClustering/Operational
    """
    from hvcluster.model.events import EVENTS
    from hvcluster.orchestrator import event_log
    from hvcluster.orchestrator.cluster_log import stamp

    for number in ids:
        if number not in EVENTS:
            known = ", ".join(str(each) for each in EVENTS)
            raise Failure(Exit.NOT_FOUND, f"event {number} is none of a cluster of VMs", f"known are {known}")
    begin = 0 if since is None else event_log.since_us(since, now_us())
    if begin is None:
        raise Failure(Exit.USAGE, f"{since!r} is no time", "write 30s, 90, 2h, 1d or 2026-05-31T14:00")

    async def work(driver: Driver) -> None:
        wanted = await numbers(driver, nodes)
        found = await recorded(driver)
        rows = [
            entry
            for entry in event_log.entries(found.facts, driver.definition)
            if entry.fact.node in wanted and entry.fact.wall_us >= begin and (not ids or entry.event.id in ids)
            if channel is None or entry.event.channel.name.lower() == channel.lower()
        ]
        for entry in rows[-last:] if last is not None else rows:
            if as_json:
                click.echo(json.dumps(event_log.row(entry)))
                continue
            level, where = entry.event.level.name.capitalize(), entry.event.channel.name.capitalize()
            when = stamp(entry.fact.wall_us)
            click.echo(f"{when}  {entry.event.id:<5} {level:<12} {where:<12} {entry.computer:<12} {entry.message}")

    asyncio.run(work(choice.driver()))
