"""Tests that need one look at the lab and nothing more: inventory, cluster configuration, network, system.

Law: pure; a picture in, lines out. What a test means by good is said in its docstring.
"""

from __future__ import annotations

from itertools import combinations

from hvcluster.model import properties
from hvcluster.model.definition import initiator_name
from hvcluster.model.policy import complaints
from hvcluster.model.vocabulary import NodeId
from hvcluster.orchestrator.inventory import BUS, network_state
from hvcluster.orchestrator.lab import BUS_NAMES, size_text
from hvcluster.orchestrator.picture import Picture
from hvcluster.orchestrator.state import Life, Role
from hvcluster.orchestrator.views import lun_use, witness_holder

from .report import Line, failed, ok, skipped, warning


def processes(picture: Picture) -> list[Line]:
    """Every process of the lab runs."""
    return [
        ok(f"{m.name}: {m.life.value}")
        if m.life is Life.RUNNING
        else failed(f"{m.name} ({m.role.value}) is {m.life.value}")
        for m in picture.members
    ]


def system(picture: Picture) -> list[Line]:
    """What the cluster is; nothing to judge."""
    definition = picture.definition
    lines = [ok(f"cluster {definition.name}, id {definition.id}, profile {definition.properties.profile}")]
    lines += [ok(f"node {node.name}, id {node.id}, NodeWeight {node.weight}") for node in definition.nodes]
    return lines


def disks(picture: Picture) -> list[Line]:
    """Every LUN of the array."""
    if picture.luns is None:
        return [failed("the array does not answer")]
    return [
        ok(f"LUN {row.lun}: {size_text(row.blocks * 512)}, for {lun_use(picture, row.lun)}") for row in picture.luns
    ]


def roles(picture: Picture) -> list[Line]:
    """The VMs, where they are."""
    best = picture.best
    if best is None:
        return [failed("no node answers")]
    found = [
        ok(f"{row.name}: {row.state.lower()} on {picture.node_name(row.owner)}, disk LUN {row.lun}")
        for row in best.groups
    ]
    return found or [skipped("there is no role")]


def resources(picture: Picture) -> list[Line]:
    """Every resource of a role that is to run is Online."""
    best = picture.best
    if best is None:
        return [failed("no node answers")]
    lines = []
    for row in best.groups:
        if not row.desired_online:
            lines.append(skipped(f"{row.name} was taken offline by an operator"))
            continue
        for resource in row.resources:
            good = resource.state == "ONLINE"
            text = f"{resource.name} of {row.name} is {resource.state.lower().replace('_', ' ')}"
            lines.append(ok(text) if good else failed(text))
    return lines or [skipped("there is no role")]


def quorum(picture: Picture) -> list[Line]:
    """Quorum is held with a vote to spare, and the number of votes is not even."""
    best = picture.best
    if best is None:
        return [failed("no node answers")]
    row = best.quorum_row
    lines = [ok(f"{row.mode}: {row.needed} of {row.votes} votes needed, {len(best.nodes)} nodes")]
    if not picture.quorum:
        lines.append(failed("quorum is not held"))
    if row.witness_lun >= 0 or row.witness:
        holder = witness_holder(picture)
        what = f"LUN {row.witness_lun}" if row.witness_lun >= 0 else f"of kind {row.witness}"
        lines.append(ok(f"the witness is {what}, held by {holder}") if holder else warning("nobody holds the witness"))
    elif len(best.nodes) % 2 == 0:
        lines.append(
            warning(f"{len(best.nodes)} nodes and no witness: configure one, or half of them cannot go on alone")
        )
    if row.votes == 1 and len(best.nodes) > 1:
        lines.append(warning("one vote is left: the cluster stops with the node that has it"))
    if row.votes % 2 == 0 and len(best.nodes) > 1 and picture.definition.properties.dynamic_quorum:
        lines.append(warning(f"{row.votes} votes count, an even number: in a split no side may have a majority"))
    return lines


def communication(picture: Picture) -> list[Line]:
    """Every node hears every other one on every network; a pair that hears each other on none has failed."""
    nodes = [node for node in picture.definition.nodes if node.id in picture.answers]
    if len(nodes) < 2:
        return [skipped(f"{len(nodes)} node answers: there is no pair")]
    up = {node.id: {(bus, peer) for bus, peer, is_up in picture.routes(node.id) if is_up} for node in nodes}
    lines: list[Line] = []
    for one, two in combinations(nodes, 2):
        reached = 0
        for bus in BUS_NAMES:
            for here, there in ((one, two), (two, one)):
                heard = (bus, there.id) in up[here.id]
                reached += heard
                text = f"{here.name} {'hears' if heard else 'does not hear'} {there.name} on {BUS}{bus}"
                lines.append(ok(text) if heard else warning(text))
        if not reached:
            lines.append(failed(f"{one.name} and {two.name} reach each other on no network"))
    silent = [node.name for node in picture.definition.nodes if node.id not in picture.answers]
    return lines + [failed(f"{name} does not answer: its routes are not known") for name in silent]


def networks(picture: Picture) -> list[Line]:
    """Two networks, both up: one alone is a single point of failure."""
    states = {bus: network_state(picture, bus) for bus in BUS_NAMES}
    lines = [
        ok(f"{BUS}{bus} is up") if state == "Up" else warning(f"{BUS}{bus} is {state.lower()}")
        for bus, state in states.items()
    ]
    if not any(state in ("Up", "Partitioned") for state in states.values()):
        lines.append(failed("no heartbeat network carries anything"))
    return lines


def paths(picture: Picture) -> list[Line]:
    """Every node that answers has every path to the array."""
    lines = []
    for number, answer in sorted(picture.answers.items()):
        for path in answer.paths:
            text = f"{picture.node_name(number)}: path {path.name} to the array is {'up' if path.up else 'down'}"
            lines.append(ok(text) if path.up else warning(text))
        if not any(path.up for path in answer.paths):
            lines.append(failed(f"{picture.node_name(number)} has no path to the array"))
    if len(picture.definition.paths) < 2:
        lines.append(skipped("each node has one path: there is nothing to choose among"))
    return lines or [failed("no node answers")]


def potential_disks(picture: Picture) -> list[Line]:
    """Every disk of the cluster is seen by every node that may own it; those in use are left alone by the tests."""
    if picture.luns is None:
        return [failed("the array does not answer")]
    lines = []
    online = {row.lun: row for row in (picture.best.groups if picture.best else ()) if row.state == "ONLINE"}
    for row in picture.luns:
        use = lun_use(picture, row.lun)
        hidden = [name for name in _may_own(picture, row.lun) if initiator_name(name) not in row.initiators]
        if hidden:
            lines.append(failed(f"LUN {row.lun} ({use}) is masked from {', '.join(hidden)}"))
        elif use != "free":
            lines.append(ok(f"LUN {row.lun} ({use}) is seen by every node that may own it"))
        if use == "witness":
            lines.append(skipped(f"LUN {row.lun} is the witness of this cluster: it is not tested"))
        elif row.lun in online:
            lines.append(
                skipped(f"LUN {row.lun} is in use by the online role {online[row.lun].name}: it is not tested")
            )
        elif use != "free":
            lines.append(skipped(f"LUN {row.lun} belongs to the role {use} and has its data: it is not tested"))
        else:
            lines.append(ok(f"LUN {row.lun} is in nobody's use"))
    return lines


def _may_own(picture: Picture, lun: int) -> list[str]:
    definition = picture.definition
    if definition.witness_lun == lun:
        return [node.name for node in definition.nodes]
    group = next((group for group in definition.groups if group.lun == lun), None)
    if group is None:
        return []
    return [node.name for node in definition.nodes if group.may_run_on(node.id)]


def services(picture: Picture) -> list[Line]:
    """Every node answers, is a member, and its cluster service is up."""
    best = picture.best
    states = {row.id: row.state for row in best.nodes} if best is not None else {}
    lines = []
    for node in picture.definition.nodes:
        answer, state = picture.answers.get(node.id), states.get(node.id, "unknown")
        if node.id in picture.outside():
            continue
        if answer is None:
            lines.append(failed(f"{node.name} does not answer; the cluster has it as {state.lower()}"))
        elif answer.service != "UP" or state not in ("UP", "PAUSED"):
            lines.append(failed(f"{node.name}: service {answer.service.lower()}, node {state.lower()}"))
        elif state == "PAUSED":
            lines.append(warning(f"{node.name} is paused: it takes no VM"))
        else:
            lines.append(ok(f"{node.name}: service up, node up, incarnation {answer.incarnation}"))
    return lines


def same_database(picture: Picture) -> list[Line]:
    """Every node that answers follows the same leader in the same term."""
    if not picture.answers:
        return [failed("no node answers")]
    views = {(answer.term, answer.leader) for answer in picture.answers.values()}
    lines = []
    for number, answer in sorted(picture.answers.items()):
        leader = picture.node_name(answer.leader)
        lines.append(ok(f"{picture.node_name(number)}: term {answer.term}, leader {leader}, commit {answer.commit}"))
    if len(views) > 1:
        lines.append(warning("the nodes do not agree on term and leader at this moment"))
    return lines


def settings(picture: Picture) -> list[Line]:
    """The cluster's properties fit together, and nobody sent what could not be read."""
    values = picture.definition.properties
    broken = [*properties.problems(values), *complaints(picture.definition.rules, picture.definition.sets)]
    lines = [failed(f"{name}: {sentence}") for name, sentence in broken]
    if not lines:
        lines.append(ok(f"the properties fit together; profile {values.profile}, time scale {values.time_scale:g}"))
    for number, answer in sorted(picture.answers.items()):
        for why, count in sorted(answer.rejected_messages.items()):
            lines.append(warning(f"{picture.node_name(NodeId(number))} has rejected {count} messages: {why}"))
    lines += [
        failed(f"{m.name} is {m.life.value}") for m in picture.members if m.role is Role.BUS and m.life is Life.FROZEN
    ]
    return lines
