"""`hvc fail`: have a resource fail, to see what its policies make of it.

Law: arguments in, words out.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from hvcluster.model.definition import ClusterDefinition

from .names import find
from .options import Choice, lab_options


def resource_names(definition: ClusterDefinition) -> list[str]:
    """The resources of all roles, their disks left out."""
    return [each.name for group in definition.groups for each in group.resources]


@click.command()
@click.argument("resource")
@lab_options
def fail(resource: str, choice: Choice) -> None:
    """Have a resource of a role fail (Test-ClusterResourceFailure); its policies say what follows.

    \b
    hvc fail "Shop web"
    hvc get resource                what has become of it
    """
    click.echo(asyncio.run(_fail(resource, choice)))


async def _fail(resource: str, choice: Choice) -> str:
    from hvcluster.orchestrator.observer import Observer
    from hvcluster.v1 import node_pb2

    driver = choice.driver()
    name = find("resource", resource, resource_names(driver.definition))
    async with Observer(driver) as observer:
        request = node_pb2.OperatorRequest(fail_resource=node_pb2.FailResourceRequest(resource=name))
        return (await observer.request(request)).text
