"""`hvc get`: what an administrator reads, one noun each.

Law: names of nouns and the modules they live in; each is imported when it is called.
"""

from __future__ import annotations

import importlib
from typing import Final

import click

NOUNS: Final[dict[str, tuple[str, str, str]]] = {
    "node": ("nouns", "node", "Nodes: Name, ID, State (Get-ClusterNode)."),
    "group": ("nouns", "group", "Groups, or roles: Name, OwnerNode, State (Get-ClusterGroup)."),
    "resource": ("nouns", "resource", "Resources of the groups, and the witness (Get-ClusterResource)."),
    "resourcedependency": (
        "nouns",
        "resourcedependency",
        "What each resource depends on (Get-ClusterResourceDependency).",
    ),
    "csv": ("nouns", "csv", "Shared volumes, as each node reaches them (Get-ClusterSharedVolumeState)."),
    "quorum": ("nouns", "quorum", "Witness and votes (Get-ClusterQuorum)."),
    "network": ("nouns", "network", "Heartbeat networks (Get-ClusterNetwork)."),
    "networkinterface": ("nouns", "networkinterface", "Nodes' interfaces (Get-ClusterNetworkInterface)."),
    "faultdomain": ("nouns", "faultdomain", "Sites and their nodes (Get-ClusterFaultDomain)."),
    "affinityrule": ("nouns", "affinityrule", "Rules for groups (Get-ClusterAffinityRule)."),
    "groupset": ("nouns", "groupset", "Start order (Get-ClusterGroupSet)."),
    "cluster": ("nouns", "cluster", "The cluster and its properties (Get-Cluster)."),
    "log": ("logs", "log", "The cluster log, in the product's form (Get-ClusterLog)."),
    "events": ("logs", "events", "The event log: what has an event id in the product (Get-WinEvent)."),
}
_ALSO: Final = {"dependency": "resourcedependency", "event": "events", "logs": "log"}


class Nouns(click.Group):
    """A group whose commands are imported on demand; a plural means the same."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        wanted = cmd_name.lower()
        names = (wanted, _ALSO.get(wanted, ""), wanted.removesuffix("s"))
        entry = next((NOUNS[name] for name in names if name in NOUNS), None)
        if entry is None:
            return None
        command = getattr(importlib.import_module(f".{entry[0]}", __package__), entry[1])
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[2]) for name, entry in NOUNS.items()])


@click.group(cls=Nouns)
def get() -> None:
    """Show one kind of thing of a lab: -o table, wide, json, yaml or name.

    \b
    hvc get group D1 -o wide
    hvc get log --node HyperV-2 --time-span 5
    hvc get events --id 1135 --since 1h
    """
