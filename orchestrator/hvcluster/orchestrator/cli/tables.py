"""A picture as tables, for people.

Law: layout only; what is shown comes from the picture, words as the product's own tools print them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hvcluster.model.definition import initiator_name
from hvcluster.model.epochs import term_text
from hvcluster.orchestrator.driver import Addresses
from hvcluster.orchestrator.lab import size_text
from hvcluster.orchestrator.picture import Picture, key_text
from hvcluster.orchestrator.state import Life, Role
from hvcluster.orchestrator.views import is_shared, lun_use, witness_holder

if TYPE_CHECKING:
    from hvcluster.v1 import node_pb2

_COLOURS = {
    "UP": "green", "ONLINE": "green", "DOWN": "red", "FAILED": "red", "OFFLINE": "red", "PENDING": "yellow",
    "JOINING": "yellow", "ISOLATED": "yellow", "PAUSED": "yellow", "running": "green", "frozen": "cyan", "dead": "red",
    "QUARANTINED": "red", "UNMONITORED": "yellow",
}  # fmt: skip

_STATUSES = ("ISOLATED", "QUARANTINED")
"""Of a node with one of these people want to know it before whether it is up."""

_DRAINS: Final = {
    "IN_PROGRESS": ("draining", "yellow"), "COMPLETED": ("drained", ""), "FAILED": ("drain failed", "red"),
}  # fmt: skip

WIDE: Final = 110
"""From here on the reason of a group fits beside it; below it goes under the table."""


def status(picture: Picture, addresses: Addresses, width: int) -> RenderableType:
    """All tables of one picture, for a terminal of `width` columns."""
    parts: list[RenderableType] = [_head(picture), nodes(picture), *groups(picture, addresses, width >= WIDE)]
    parts += [luns(picture), _processes(picture)]
    missing = picture.unhealthy()
    if missing:
        parts.append(Text(f"Not healthy: {'; '.join(missing)}", style="yellow"))
    return Group(*parts)


def _word(text: str) -> Text:
    return Text(text, style=_COLOURS.get(text, ""))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _head(picture: Picture) -> RenderableType:
    best = picture.best
    if best is None:
        return Text(f"Cluster {picture.definition.name}: no node answers", style="red")
    row = best.quorum_row
    held = "held" if picture.quorum else "LOST"
    text = Text(f"Cluster {picture.definition.name}  ", style="bold")
    text.append(f"quorum {held}: {row.needed} of {row.votes} votes needed, {row.mode}", "" if picture.quorum else "red")
    if row.witness_lun >= 0:
        holder = witness_holder(picture) or "nobody"
        text.append(f", witness LUN {row.witness_lun} (vote {row.witness_dynamic_weight}, held by {holder})", style="")
    elif row.witness:
        holder = witness_holder(picture) or "nobody"
        text.append(f", {row.witness} witness (vote {row.witness_dynamic_weight}, held by {holder})", style="")
    text.append(f", leader {picture.node_name(best.leader)} in term {term_text(best.term)}", style="")
    if row.forced:
        text.append("\nQuorum is FORCED: votes are ignored until enough nodes have joined", style="yellow")
        waiting = [node.name for node in best.nodes if node.needs_prevent_quorum]
        if waiting:
            text.append(f"; start the others with --prevent-quorum: {', '.join(waiting)}", style="yellow")
    return text


def nodes(picture: Picture) -> Table:
    """Nodes, as Get-ClusterNode and a look at each node's own service show them."""
    table = _table("Nodes", "Name", "ID", "State", "Vote", "Service", "Heartbeat routes", "Array paths", "VMs")
    best = picture.best
    rows = {row.id: row for row in best.nodes} if best is not None else {}
    for node in picture.definition.nodes:
        row = rows.get(node.id)
        answer = picture.answers.get(node.id)
        life = next((m.life for m in picture.members if m.node == node.id), Life.DEAD)
        service = answer.service if answer is not None else ("no answer" if life is Life.RUNNING else life.value)
        table.add_row(
            node.name,
            str(node.id),
            _node_state(row),
            "-" if row is None else str(row.dynamic_weight),
            _word(service),
            "-" if answer is None else _ups([up for _, _, up in picture.routes(node.id)]),
            "-" if answer is None else _ups([path.up for path in answer.paths]),
            "-" if answer is None else str(len(answer.vms)),
        )
    return table


def _node_state(row: node_pb2.NodeRow | None) -> Text:
    """What the database says of a node, and how far its drain is."""
    if row is not None and row.outside:
        return Text("not in the cluster", style="yellow")
    state = _word("?" if row is None else row.status if row.status in _STATUSES else row.state)
    drain = _DRAINS.get(row.drain) if row is not None else None
    return state if drain is None else Text.assemble(state, (f" ({drain[0]})", drain[1]))


def _ups(ups: list[bool]) -> Text:
    return Text(f"{sum(ups)} of {len(ups)} up", style="" if all(ups) else "yellow")


def groups(picture: Picture, addresses: Addresses, wide: bool) -> list[RenderableType]:
    """Groups with their resources, and why each is where it is: as the last column, or in lines of its own."""
    columns = ("Name", "OwnerNode", "State", "Generation", "Disk", "VM", "Clients connect to")
    table = _table("Groups", *columns, *(("Why",) if wide else ()))
    reasons = Text()
    best = picture.best
    for row in best.groups if best is not None else ():
        states = {resource.type: resource.state for resource in row.resources}
        table.add_row(
            row.name,
            picture.node_name(row.owner),
            _word("UNMONITORED" if row.unmonitored else row.state),
            str(row.generation),
            f"LUN {row.lun} {states.get('Physical Disk', 'shared' if states else '').lower()}",
            states.get("Virtual Machine", _how_many(row)).lower(),
            str(addresses.vms.get(row.name, "-")),
            *((row.reason,) if wide else ()),
        )
        if row.reason and not wide:
            reasons.append("\n" if reasons else "").append(f"{row.name}: ", "dim").append(row.reason)
    return [table, reasons] if reasons else [table]


def _how_many(row: node_pb2.GroupRow) -> str:
    """Of a role: how many of its resources are online."""
    online = sum(1 for resource in row.resources if resource.state == "ONLINE")
    return f"{online} of {len(row.resources)} resources" if row.resources else ""


def luns(picture: Picture) -> RenderableType:
    """LUNs, who is registered and who holds the reservation."""
    table = _table("LUNs", "LUN", "For", "Size", "Reserved by", "Type", "Keys")
    if picture.luns is None:
        return Text("LUNs: the array does not answer", style="red")
    names = {initiator_name(node.name): node.name for node in picture.definition.nodes}
    for row in picture.luns:
        holder = next((r for r in row.registrations if r.holder), None)
        use, shared = lun_use(picture, row.lun), is_shared(picture, row.lun)
        keys = [
            f"{names.get(r.nexus.initiator, r.nexus.initiator)}/{r.nexus.port} {key_text(r.key, shared)}"
            for r in row.registrations
        ]
        table.add_row(
            str(row.lun),
            use,
            size_text(row.blocks * 512),
            "-" if holder is None else names.get(holder.nexus.initiator, holder.nexus.initiator),
            f"{row.type} Write Exclusive, Registrants Only" if row.type == 5 else str(row.type or "-"),
            "\n".join(keys) or "-",
        )
    return table


def _processes(picture: Picture) -> RenderableType:
    others = [m for m in picture.members if m.role is not Role.NODE]
    text = Text("Processes  ", style="bold")
    for member in others:
        text.append(f"{member.name} ", style="")
        text.append(f"{member.life.value}  ", style=_COLOURS.get(member.life.value, ""))
    return text
