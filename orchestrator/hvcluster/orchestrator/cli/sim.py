"""`hvc sim`: hands its arguments to the simulator.

Law: the only module that imports the simulator, and only when called.
"""

from __future__ import annotations

import click

from .run import unreadable


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def sim(arguments: tuple[str, ...]) -> int:
    """Run a cluster in the deterministic simulator (`hvc sim --help` tells more)."""
    from hvcluster.sim.cli import main

    with unreadable():
        return main(list(arguments))
