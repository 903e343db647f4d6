"""`hvc compose definition` and `hvc compose ready`: what the compose project itself runs.

Law: helpers of compose.yaml; a lab of local processes needs none of them.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from hvcluster.orchestrator.errors import Exit, Failure

from .setup import read_lab


@click.group()
def compose() -> None:
    """Helpers of the compose project (see compose.yaml)."""


@compose.command()
@click.argument("lab", type=click.Path(path_type=Path))
@click.argument("output", type=click.Path(path_type=Path))
def definition(lab: Path, output: Path) -> None:
    """Write the cluster definition of a lab file as the JSON that nodes read."""
    from hvcluster.model import codec
    from hvcluster.orchestrator.compose_lab import definition_of
    from hvcluster.orchestrator.lab import count
    from hvcluster.runtime import durable

    made = definition_of(read_lab(lab))
    durable.write(output, codec.dump(made), mode=0o644)
    sizes = f"{count(len(made.nodes), 'node')}, {count(len(made.groups), 'VM')}"
    click.echo(f"{output}: cluster {made.name} ({made.id}), {sizes}")


@compose.command()
@click.argument("address")
def ready(address: str) -> None:
    """Exit with 0 if HOST:PORT accepts connections (health checks of services without a gRPC health service)."""
    host, _, port = address.rpartition(":")

    async def work() -> None:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(host, int(port))
        writer.close()

    try:
        asyncio.run(work())
    except (OSError, ValueError) as error:
        raise Failure(Exit.UNREACHABLE, f"{address} does not accept connections: {error}") from None


@compose.command()
@click.argument("definition_file", type=click.Path(path_type=Path))
def switch(definition_file: Path) -> int:
    """Run the virtual switch of the project: a port per VM, from 8081 on."""
    from hvcluster.orchestrator import switch as switch_process
    from hvcluster.orchestrator.compose_lab import FIRST_VM_PORT
    from hvcluster.orchestrator.inside import Inside, node_address

    made = Inside(definition_file).definition
    arguments = ["--cluster-id", made.id, "--bus", "A=bus-a:1883", "--bus", "B=bus-b:1883"]
    for node in made.nodes:
        arguments += ["--node", f"{node.id}={node_address(node.name)}"]
    for at, group in enumerate(made.groups):
        arguments += ["--port", f"{group.name}=0.0.0.0:{FIRST_VM_PORT + at}"]
    return switch_process.main(arguments)
