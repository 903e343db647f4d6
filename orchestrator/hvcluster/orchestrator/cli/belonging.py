"""`hvc add node`, `hvc remove node|affinityrule`, `hvc clear node`: what belongs to the cluster, and what does no more.

Law: names into requests; what may go is for the leader to say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator import belonging

from .options import Choice, lab_options

if TYPE_CHECKING:
    from hvcluster.v1 import node_pb2


@click.group("add")
def add() -> None:
    """Put something into the cluster while it runs."""


@add.command("node")
@click.argument("name")
@lab_options
def add_node(name: str, choice: Choice) -> None:
    """Add a node that was evicted, or that the lab file has `outside`; its process is started if it is dead.

    \b
    hvc add node HyperV-3
    """
    click.echo(asyncio.run(belonging.add(choice.driver(), name)))


@click.group("remove")
def remove() -> None:
    """Take something out of the cluster while it runs."""


@remove.command("node")
@click.argument("name")
@click.option("--force", is_flag=True, help="Although it has VMs: they are turned off, and start on the others.")
@lab_options
def remove_node(name: str, force: bool, choice: Choice) -> None:
    """Evict a node, whether it is up or not: it has no vote any more, and does not join until it is added again.

    Refused where quorum would be lost, and while it has VMs: drain it first.

    \b
    hvc suspend node HyperV-3 --drain
    hvc remove node HyperV-3
    """
    click.echo(asyncio.run(belonging.evict(choice.driver(), name, force=force)))


@remove.command("affinityrule")
@click.argument("name")
@lab_options
def remove_affinityrule(name: str, choice: Choice) -> None:
    """Remove an affinity rule; it binds nobody any more."""
    from hvcluster.v1 import node_pb2

    request = node_pb2.RemoveAffinityRuleRequest(name=name)
    click.echo(asyncio.run(_asked(node_pb2.OperatorRequest(remove_affinity_rule=request), choice)))


@click.group("clear")
def clear() -> None:
    """Clear a machine of what a cluster has left there."""


@clear.command("node")
@click.argument("name")
@click.option("--force", is_flag=True, help="Although nobody can say whether it was evicted.")
@lab_options
def clear_node(name: str, force: bool, choice: Choice) -> None:
    """Remove the cluster's configuration from a node that was evicted; it waits with an empty disk to be added.

    \b
    hvc clear node HyperV-3
    hvc add node HyperV-3
    """
    click.echo(asyncio.run(belonging.clear(choice.driver(), name, force=force)))


async def _asked(request: node_pb2.OperatorRequest, choice: Choice) -> str:
    from hvcluster.orchestrator.observer import Observer

    async with Observer(choice.driver()) as observer:
        return (await observer.request(request)).text
