"""`hvc san`: the array, killed and started, and what it says of itself.

Law: words; the rows are `array_rows`' business.
"""

from __future__ import annotations

import asyncio

import click

from hvcluster.orchestrator import saboteur

from .options import Choice, lab_options
from .output import FORMS, render


@click.group()
def san() -> None:
    """Look at the array, kill it or start it."""


@san.command("kill")
@lab_options
def san_kill(choice: Choice) -> None:
    """Kill the array, as a power cut would."""
    name = asyncio.run(saboteur.kill(choice.driver(), "san")).name
    click.echo(f"{name} killed; start it again: hvc san start{choice.options()}")


@san.command("start")
@lab_options
def san_start(choice: Choice) -> None:
    """Start the array again: blocks and reservations are as before."""
    click.echo(f"{asyncio.run(saboteur.start(choice.driver(), 'san')).name} started")


def _command(noun: str, what: str) -> click.Command:
    @click.command(noun, help=f"{what}\n\nExit status 8: the array does not answer.")
    @click.option("-o", "--output", "form", type=click.Choice(FORMS), default="table", show_default=True)
    @lab_options
    def command(form: str, choice: Choice) -> None:
        async def work() -> str:
            from hvcluster.orchestrator import array_rows
            from hvcluster.orchestrator.observer import Observer

            async with Observer(choice.driver()) as observer:
                said = await array_rows.ask(observer)
            kind = array_rows.KINDS[noun]
            return render(kind.rows(said), kind.columns, kind.wide, form)

        click.echo(asyncio.run(work()))

    return command


san.add_command(_command("luns", "The LUNs: size, use, reservation, and with -o wide who sees them."))
san.add_command(_command("sessions", "The I_T nexuses that are logged in, and how many commands each has sent."))
san.add_command(_command("reservations", "Who is registered where, under which key, and who holds the reservation."))
san.add_command(_command("counters", "What the array has counted since it was started."))
