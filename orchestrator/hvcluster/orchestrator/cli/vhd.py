"""`hvc vhd`: the virtual disks of VMs, for other tools.

Law: words and files; how a disk is read is in `orchestrator.vhd_export`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click

from .options import Choice, lab_options


@click.group("vhd")
def vhd() -> None:
    """Virtual disks of VMs."""


@vhd.command("export")
@click.argument("vm")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@lab_options
def export(vm: str, file: Path, choice: Choice) -> None:
    """Write the disk of a VM that is offline to a file: a fixed VHD, which Hyper-V, QEMU and others open.

    \b
    hvc offline D1
    hvc vhd export D1 D1.vhd
    qemu-img info -f vpc D1.vhd
    """

    async def work() -> int:
        from hvcluster.orchestrator import vhd_export
        from hvcluster.orchestrator.observer import Observer

        def tell(percent: int) -> None:
            if sys.stderr.isatty():
                click.echo(f"\r{percent} %", nl=percent == 100, err=True)

        async with Observer(choice.driver()) as observer:
            return await vhd_export.export(observer, vm, file, tell)

    size = asyncio.run(work())
    click.echo(f"{file}: a fixed VHD of {size} bytes")
