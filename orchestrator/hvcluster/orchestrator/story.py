"""Telling people what happens while it happens.

Law: prints what was observed: facts that nodes recorded, rows the array recorded, answers a client got. No plot.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import click

from hvcluster.model.facts import FactKind

from .downtime import Parts

if TYPE_CHECKING:
    from hvcluster.model.definition import ClusterDefinition

    from .observer import Observer, Told

TOLD: Final = frozenset(
    kind.name
    for kind in (
        FactKind.NODE_UNREACHABLE,
        FactKind.CONNECTION_LOST,
        FactKind.ELECTION_STARTED,
        FactKind.LEADER_ELECTED,
        FactKind.NODE_DOWN,
        FactKind.VOTES_CHANGED,
        FactKind.GROUP_ASSIGNED,
        FactKind.GROUP_WAITING,
        FactKind.DISK_ARBITRATING,
        FactKind.DISK_PREEMPTED,
        FactKind.DISK_ONLINE,
        FactKind.DISK_LOST,
        FactKind.DISK_SUPERSEDED,
        FactKind.VM_STARTING,
        FactKind.VM_ONLINE,
        FactKind.VM_STOPPED,
        FactKind.QUORUM_LOST,
        FactKind.QUORUM_HELD,
        FactKind.WITNESS_HELD,
        FactKind.WITNESS_LOST,
        FactKind.WITNESS_CHALLENGED,
        FactKind.NODE_UP,
        FactKind.SERVICE_STARTED,
        FactKind.LEADER_RESIGNED,
    )
)
"""What belongs to a failover's story; routes and reports are for `hvc log`."""

MAX_LINE: Final = 150
SETTLE_S: Final = 0.1
"""Lines of several nodes are held back this long so that they come out in order of time."""
_LOUD: Final = {
    "VM_ONLINE": "green",
    "NODE_UNREACHABLE": "yellow",
    "DISK_PREEMPTED": "yellow",
    "DISK_LOST": "yellow",
    "VM_STOPPED": "yellow",
    "GROUP_ASSIGNED": "cyan",
    "LEADER_ELECTED": "cyan",
}


class Narrator:
    """Prints chapters, sentences and the facts of all nodes as they are recorded."""

    def __init__(self, definition: ClusterDefinition) -> None:
        self._definition = definition
        self._zero_us = time.monotonic_ns() // 1000
        self._began_s = time.monotonic()
        self.broken: list[str] = []

    def chapter(self, title: str) -> None:
        """A heading, with the time since the beginning."""
        click.echo()
        click.secho(f"== {title} ", bold=True, nl=False)
        click.secho(f"[{time.monotonic() - self._began_s:.1f} s]", dim=True)

    def say(self, text: str) -> None:
        """A plain sentence."""
        click.echo(f"   {text}")

    def check(self, held: bool, promise: str, otherwise: str) -> None:
        """A promise: what was promised if it held, what happened instead if not."""
        if held:
            click.echo(f"   {click.style('held', fg='green')}    {promise}")
        else:
            self.broken.append(otherwise)
            click.echo(f"   {click.style('BROKEN', fg='red', bold=True)}  {otherwise}")

    def zero(self) -> int:
        """From here on, facts are told by the time since now; returns the instant in microseconds."""
        self._zero_us = time.monotonic_ns() // 1000
        return self._zero_us

    def fact(self, told: Told) -> None:
        """One recorded fact."""
        line = told.line
        seconds = (line.monotonic_us - self._zero_us) / 1_000_000
        text = line.line if len(line.line) <= MAX_LINE else line.line[: MAX_LINE - 3] + "..."
        name = self._definition.node_name(told.node)
        colour = _LOUD.get(line.kind)
        click.echo(f"   {seconds:+8.3f} s  {name:<9} " + (click.style(text, fg=colour) if colour else text))

    async def follow(self, observer: Observer) -> None:
        """Tell the facts of all nodes from now on; cancel it to end. A node that returns is heard again."""
        addresses = await observer.driver.addresses()
        held: list[Told] = []
        arrived = asyncio.Event()

        async def listen(node: int) -> None:
            number = next(known for known in addresses.nodes if known == node)
            while True:
                async for told in observer.facts(number, addresses.nodes[number], follow=True):
                    if told.line.kind in TOLD and told.line.monotonic_us >= self._zero_us:
                        held.append(told)
                        arrived.set()
                await asyncio.sleep(SETTLE_S)

        async with asyncio.TaskGroup() as group:
            for node in addresses.nodes:
                group.create_task(listen(node), name=f"facts of node {node}")
            seen: set[tuple[int, int, int]] = set()
            while True:
                await arrived.wait()
                arrived.clear()
                await asyncio.sleep(SETTLE_S)
                now, held[:] = sorted(held, key=lambda t: (t.line.monotonic_us, t.node)), []
                for told in now:
                    identity = (told.node, told.line.sequence, told.line.monotonic_us)
                    if identity not in seen and told.line.monotonic_us >= self._zero_us:
                        seen.add(identity)
                        self.fact(told)

    def cut(self, parts: Parts, explained: Mapping[str, str]) -> None:
        """The downtime, cut into its parts."""
        known = [(name, value) for name, value in parts.steps() if value is not None]
        total = sum(value for _, value in known) or 1.0
        for name, value in parts.steps():
            if value is None:
                self.say(f"{name:<12} not recorded")
                continue
            bar = "#" * max(1, round(40 * max(0.0, value) / total))
            self.say(f"{name:<12}{value * 1000:8.0f} ms  {bar:<40}  {explained.get(name, '')}")

    def journal(self, lines: Iterable[str], most: int = 6) -> None:
        """Rows of the array's journal."""
        rows = list(lines)
        for row in rows[:most]:
            click.echo(click.style("   array  ", dim=True) + row)
        if len(rows) > most:
            self.say(f"... and {len(rows) - most} more")

    def end(self) -> bool:
        """The last words; True if every promise held."""
        click.echo()
        seconds = time.monotonic() - self._began_s
        if self.broken:
            click.secho(f"{len(self.broken)} promise(s) did not hold:", fg="red", bold=True)
            for text in self.broken:
                click.echo(f"   {text}")
            return False
        click.secho(f"Every promise held. [{seconds:.1f} s]", fg="green", bold=True)
        return True
