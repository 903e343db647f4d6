"""`hvc get` of everything that a picture shows: nodes, groups, resources, quorum, networks, rules, the cluster.

Law: one look at the lab, and the rows of one noun in the form that was asked for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from hvcluster.orchestrator.errors import Exit, Failure

from .names import find
from .options import Choice, lab_options
from .output import FORMS, render

if TYPE_CHECKING:
    from hvcluster.orchestrator.driver import Addresses, Driver
    from hvcluster.orchestrator.inventory import Row
    from hvcluster.orchestrator.picture import Picture


def _command(noun: str, what: str, cmdlet: str) -> click.Command:
    @click.command(noun, help=f"{what}\n\nExit status 8: no node answers. Columns are those of {cmdlet}.")
    @click.argument("names", nargs=-1, metavar="[NAME]...")
    @click.option("-o", "--output", "form", type=click.Choice(FORMS), default="table", show_default=True)
    @lab_options
    def command(names: tuple[str, ...], form: str, choice: Choice) -> int:
        picture, addresses = asyncio.run(_look(choice.driver()))
        return _show(noun, names, form, picture, addresses)

    return command


async def _look(driver: Driver) -> tuple[Picture, Addresses]:
    from hvcluster.orchestrator.observer import Observer

    async with Observer(driver) as observer:
        return await observer.look(), await driver.addresses()


def _show(noun: str, names: tuple[str, ...], form: str, picture: Picture, addresses: Addresses) -> int:
    from hvcluster.orchestrator.inventory import NOUNS

    kind = NOUNS[noun]
    rows = kind.rows(picture, addresses)
    if names:
        known: dict[str, list[Row]] = {}
        for row in rows:
            known.setdefault(str(row[kind.columns[0]]), []).append(row)
        if not known and picture.best is None:
            raise Failure(Exit.UNREACHABLE, "no node answers", "start one with `hvc start NODE`")
        rows = [row for name in dict.fromkeys(find(noun, name, known) for name in names) for row in known[name]]
    text = render(rows, kind.columns, kind.wide, form)
    if text:
        click.echo(text)
    return Exit.OK if picture.answers else Exit.UNREACHABLE


node = _command("node", "The nodes, and whether they are members.", "Get-ClusterNode")
group = _command("group", "The groups (roles), where they are and in which state.", "Get-ClusterGroup")
resource = _command("resource", "The resources of all groups, and the witness.", "Get-ClusterResource")
resourcedependency = _command("resourcedependency", "What each resource depends on.", "Get-ClusterResourceDependency")
csv = _command("csv", "The shared volumes, and how each node reaches them.", "Get-ClusterSharedVolumeState")
quorum = _command("quorum", "The witness and the votes.", "Get-ClusterQuorum")
network = _command("network", "The heartbeat networks.", "Get-ClusterNetwork")
networkinterface = _command("networkinterface", "Each node's way to each network.", "Get-ClusterNetworkInterface")
faultdomain = _command("faultdomain", "Sites and the nodes in them.", "Get-ClusterFaultDomain")
affinityrule = _command("affinityrule", "Which groups share a node or keep apart.", "Get-ClusterAffinityRule")
groupset = _command("groupset", "Which groups start after which.", "Get-ClusterGroupSet")
cluster = _command("cluster", "The cluster; with -o json or yaml also its properties.", "Get-Cluster")
