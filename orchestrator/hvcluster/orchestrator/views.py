"""A picture as plain values, for scripts (`--json`).

Law: names and shapes that scripts rely on: keys are added, never renamed or given another meaning.
"""

from __future__ import annotations

from typing import TypeAlias

from hvcluster.model.epochs import tag_text
from hvcluster.v1 import san_pb2

from .driver import Addresses
from .picture import Picture, key_text

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"


def as_json(picture: Picture, addresses: Addresses) -> dict[str, Json]:
    """The whole picture. `groups[].owner` and the like are names; `null` means nobody."""
    best = picture.best
    return {
        "cluster": picture.definition.name,
        "cluster_id": picture.definition.id,
        "healthy": not picture.unhealthy(),
        "missing": [*picture.unhealthy()],
        "quorum": _quorum(picture),
        "leader": None if best is None or not best.leader else picture.node_name(best.leader),
        "term": None if best is None else best.term,
        "paxos_tag": None if best is None else tag_text(best.term, best.commit),
        "nodes": _nodes(picture),
        "groups": _groups(picture, addresses),
        "luns": None if picture.luns is None else [_lun(picture, row) for row in picture.luns],
        "processes": [
            {"name": m.name, "role": m.role.name.lower(), "state": m.life.value, "pid": m.pid or None}
            for m in picture.members
        ],
    }


def _quorum(picture: Picture) -> Json:
    best = picture.best
    if best is None:
        return None
    row = best.quorum_row
    return {
        "held": picture.quorum,
        "mode": row.mode,
        "votes": row.votes,
        "needed": row.needed,
        "witness_lun": None if row.witness_lun < 0 else row.witness_lun,
        "witness": row.witness or None,
        "witness_vote": row.witness_dynamic_weight,
        "witness_holder": witness_holder(picture),
        "forced": row.forced,
    }


def witness_holder(picture: Picture) -> str | None:
    """The node that says it holds the witness, if any does."""
    for number, answer in sorted(picture.answers.items()):
        if answer.quorum_row.witness_held_here:
            return picture.node_name(number)
    return None


def _nodes(picture: Picture) -> list[Json]:
    best = picture.best
    rows = {row.id: row for row in best.nodes} if best is not None else {}
    found: list[Json] = []
    for node in picture.definition.nodes:
        row = rows.get(node.id)
        answer = picture.answers.get(node.id)
        found.append(
            {
                "id": node.id,
                "name": node.name,
                "state": None if row is None else row.state,
                "status": None if row is None else row.status,
                "outside": None if row is None else row.outside,
                "vote": None if row is None else row.dynamic_weight,
                "needs_prevent_quorum": None if row is None else row.needs_prevent_quorum,
                "weight": node.weight if row is None else row.weight,
                "incarnation": None if row is None else row.incarnation,
                "service": None if answer is None else answer.service,
                "routes_down": [
                    f"{bus}:{picture.node_name(peer)}" for bus, peer, up in picture.routes(node.id) if not up
                ],
                "paths_down": [] if answer is None else [p.name for p in answer.paths if not p.up],
                "vms": [] if answer is None else [vm.group for vm in answer.vms],
            }
        )
    return found


def _groups(picture: Picture, addresses: Addresses) -> list[Json]:
    best = picture.best
    if best is None:
        return []
    return [
        {
            "name": row.name,
            "state": row.state,
            "unmonitored": row.unmonitored,
            "owner": picture.node_name(row.owner) if row.owner else None,
            "generation": row.generation,
            "lun": row.lun,
            "desired_online": row.desired_online,
            "moving_to": picture.node_name(row.moving_to) if row.moving_to else None,
            "move_type": row.move_type or None,
            "migration": picture.migration(row.name),
            "queued": row.queued,
            "address": str(addresses.vms[row.name]) if row.name in addresses.vms else None,
            "reason": row.reason,
            "resources": [
                {"name": r.name, "type": r.type, "state": r.state, "depends": r.depends} for r in row.resources
            ],
        }
        for row in best.groups
    ]


def _lun(picture: Picture, row: san_pb2.LunRow) -> Json:
    holder = next((r for r in row.registrations if r.holder), None)
    return {
        "lun": row.lun,
        "blocks": row.blocks,
        "use": lun_use(picture, row.lun),
        "reservation_type": row.type or None,
        "holder": None if holder is None else holder.nexus.initiator,
        "holder_key": None if holder is None else f"{holder.key:016x}",
        "registrations": [
            {
                "initiator": r.nexus.initiator,
                "path": r.nexus.port,
                "key": f"{r.key:016x}",
                "meaning": key_text(r.key, is_shared(picture, row.lun)),
            }
            for r in row.registrations
        ],
    }


def is_shared(picture: Picture, number: int) -> bool:
    """Whether a LUN is no group's: the witness, or a volume."""
    definition = picture.definition
    return number == definition.witness_lun or number in {volume.lun for volume in definition.volumes}


def lun_use(picture: Picture, number: int) -> str:
    """What a LUN is for, in a word."""
    if picture.definition.witness_lun == number:
        return "witness"
    volume = next((volume.name for volume in picture.definition.volumes if volume.lun == number), None)
    return volume or next((group.name for group in picture.definition.groups if group.lun == number), "free")
