"""The nouns of a cluster as the product lists them: nodes, groups, resources, quorum, networks, the cluster.

Law: pure; a picture in, rows out. Names of columns and of states are the product's, and so is their order; a row has
every column, and a table says which of them it shows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from hvcluster.model import codec
from hvcluster.model.definition import TagWitnessKind
from hvcluster.model.policy import FaultDomain, Policy
from hvcluster.model.policy_file import policy_values
from hvcluster.model.properties import CHANGEABLE, Properties, changed
from hvcluster.model.vocabulary import NodeId

from .cluster_log import WITH_SECTIONS as MODERN
from .driver import Addresses
from .lab import BUS_NAMES
from .picture import Picture
from .state import Life
from .views import Json, witness_holder

if TYPE_CHECKING:
    from hvcluster.v1 import node_pb2

Row = dict[str, Json]
_TAG_WITNESSES: Final = {TagWitnessKind.FILE_SHARE: "File Share Witness", TagWitnessKind.CLOUD: "Cloud Witness"}
BUS: Final = "Cluster Network "
"""A heartbeat network's name is this and the letter of its bus."""


@dataclass(frozen=True, slots=True)
class Noun:
    """One kind of thing. `columns` is what a table shows, `wide` what a wide one shows as well."""

    columns: tuple[str, ...]
    wide: tuple[str, ...]
    rows: Callable[[Picture, Addresses], list[Row]]


def word(state: str) -> str:
    """A state as the product prints it: `ONLINE_PENDING` is OnlinePending."""
    return "".join(part.capitalize() for part in state.split("_"))


def _nodes(picture: Picture, _: Addresses) -> list[Row]:
    best = picture.best
    rows = {row.id: row for row in best.nodes} if best is not None else {}
    lives = {member.node: member.life for member in picture.members}
    found: list[Row] = []
    for node in picture.definition.nodes:
        row, answer = rows.get(node.id), picture.answers.get(node.id)
        if row is not None and row.outside:
            continue  # the product does not list it either; `hvc status` shows its machine
        found.append(
            {
                "Name": node.name,
                "ID": str(node.id),
                "State": word(row.state) if row is not None else "Unknown",
                "NodeWeight": node.weight if row is None else row.weight,
                "DynamicWeight": None if row is None else row.dynamic_weight,
                "DrainStatus": None if row is None else word(row.drain),
                "Site": node.site or None,
                "Incarnation": None if row is None else row.incarnation,
                "Service": None if answer is None else word(answer.service),
                "Process": lives.get(node.id, Life.DEAD).value,
                "Groups": [] if answer is None else [vm.group for vm in answer.vms],
            }
        )
    return found


def _policy(row: node_pb2.GroupRow) -> Policy | None:
    """The wishes for a group; None where a node of another version tells them otherwise."""
    try:
        return codec.load(Policy, row.policy.encode())
    except codec.Malformed:
        return None


def _groups(picture: Picture, addresses: Addresses) -> list[Row]:
    best = picture.best
    return [
        {
            "Name": row.name,
            "OwnerNode": picture.node_name(row.owner) if row.owner else None,
            "State": word(row.state),
            "GroupType": _group_type([resource.type for resource in row.resources]),
            "Priority": None if (policy := _policy(row)) is None else int(policy.priority),
            "Generation": row.generation,
            "PreferredOwners": [picture.node_name(node) for node in row.preferred],
            "PossibleOwners": [picture.node_name(node) for node in row.possible],
            "MovingTo": picture.node_name(row.moving_to) if row.moving_to else None,
            "Address": str(addresses.vms[row.name]) if row.name in addresses.vms else None,
            "Reason": row.reason,
            "Policy": None if policy is None else policy_values(policy),
        }
        for row in (best.groups if best is not None else ())
    ]


def _group_type(types: Collection[str]) -> str:
    """As the product calls it, by what the group is there for."""
    kinds = ("Virtual Machine", "Generic Service", "Generic Application", "Generic Script")
    return next((kind.replace(" ", "") for kind in kinds if kind in types), "Unknown")


def _dependencies(picture: Picture, _: Addresses) -> list[Row]:
    return [
        {"Resource": resource.name, "DependencyExpression": resource.depends}
        for row in (picture.best.groups if picture.best is not None else ())
        for resource in row.resources
    ]


def _resources(picture: Picture, _: Addresses) -> list[Row]:
    best = picture.best
    found: list[Row] = [
        {
            "Name": resource.name,
            "State": word(resource.state),
            "OwnerGroup": row.name,
            "ResourceType": resource.type,
            "OwnerNode": picture.node_name(row.owner) if row.owner else None,
        }
        for row in (best.groups if best is not None else ())
        for resource in row.resources
    ]
    name = _witness_name(picture)
    if name is not None:
        holder = witness_holder(picture)
        found.append(
            {
                "Name": name,
                "State": "Online" if holder is not None else "Offline",
                "OwnerGroup": None,
                "ResourceType": "Physical Disk" if picture.definition.tag_witness is None else name,
                "OwnerNode": holder,
            }
        )
    return found


def _witness_name(picture: Picture) -> str | None:
    """The witness as a resource, under the product's name; None without one."""
    definition = picture.definition
    if picture.best is not None and picture.best.quorum_row.mode == "NodeMajority":
        return None  # an operator gave it up
    if definition.tag_witness is not None:
        return _TAG_WITNESSES[definition.tag_witness]
    return None if definition.witness_lun is None else f"Cluster Disk {definition.witness_lun}"


def _quorum(picture: Picture, _: Addresses) -> list[Row]:
    best = picture.best
    if best is None:
        return []
    row = best.quorum_row
    modern = picture.definition.properties.profile in MODERN
    return [
        {
            "Cluster": picture.definition.name,
            "QuorumResource": _witness_name(picture),
            "QuorumType": "Majority" if modern and row.mode.endswith("Majority") else row.mode,
            "QuorumHeld": picture.quorum,
            "Votes": row.votes,
            "VotesNeeded": row.needed,
            "WitnessDynamicWeight": row.witness_dynamic_weight,
            "WitnessOwner": witness_holder(picture),
            "Leader": picture.node_name(best.leader) if best.leader else None,
            "Term": best.term,
        }
    ]


def interface_state(picture: Picture, node: NodeId, bus: str) -> str:
    """How one node's interface to a heartbeat network is: Up, Unreachable (nobody is heard there) or Unavailable."""
    if node not in picture.answers:
        return "Unavailable"
    ups = [up for name, _, up in picture.routes(node) if name == bus]
    if not ups:
        return "Up" if _broker(picture, bus) is Life.RUNNING else "Unreachable"
    return "Up" if any(ups) else "Unreachable"


def _broker(picture: Picture, bus: str) -> Life:
    """How the process of a bus lives; one that cannot be seen from here is taken for running."""
    return next((m.life for m in picture.members if m.name == f"bus-{bus}"), Life.RUNNING)


def network_state(picture: Picture, bus: str) -> str:
    """How a heartbeat network is: Up, Partitioned (some routes are), Down (none is) or Unavailable (nobody answers)."""
    if not picture.answers:
        return "Unavailable"
    ups = [up for node in sorted(picture.answers) for name, _, up in picture.routes(node) if name == bus]
    if not ups:
        return "Up" if _broker(picture, bus) is Life.RUNNING else "Down"
    return "Up" if all(ups) else "Partitioned" if any(ups) else "Down"


def _volumes(picture: Picture, _: Addresses) -> list[Row]:
    """One row for each volume and node, as each node itself says."""
    found: list[Row] = []
    for volume in picture.definition.volumes:
        groups = [g.name for g in picture.definition.groups if g.extent is not None and g.lun == volume.lun]
        for node in picture.definition.nodes:
            answer = picture.answers.get(node.id)
            row = next((v for v in answer.volumes if v.name == volume.name), None) if answer is not None else None
            found.append(
                {
                    "Name": volume.name,
                    "Node": node.name,
                    "State": word(row.state) if row is not None else "Unknown",
                    "Lun": int(volume.lun),
                    "Coordinator": picture.node_name(row.coordinator) if row is not None else None,
                    "Number": row.number if row is not None else None,
                    "Groups": list(groups),
                }
            )
    return found


def _networks(picture: Picture, _: Addresses) -> list[Row]:
    return [
        {
            "Name": f"{BUS}{bus}",
            "State": network_state(picture, bus),
            "Role": "Cluster",
            "Broker": _broker(picture, bus).value,
        }
        for bus in BUS_NAMES
    ]


def _interfaces(picture: Picture, _: Addresses) -> list[Row]:
    return [
        {
            "Name": f"{node.name} - {BUS}{bus}",
            "Node": node.name,
            "Network": f"{BUS}{bus}",
            "State": interface_state(picture, node.id, bus),
        }
        for node in picture.definition.nodes
        for bus in BUS_NAMES
    ]


def properties_of(picture: Picture) -> Properties:
    """The cluster's properties with what operators have changed since."""
    made, best = picture.definition.properties, picture.best
    known = {name: value for name, value in (best.changes if best is not None else {}).items() if name in CHANGEABLE}
    return changed(made, tuple(sorted(known.items())))


def _cluster(picture: Picture, _: Addresses) -> list[Row]:
    definition = picture.definition
    return [
        {
            "Name": definition.name,
            "Id": definition.id,
            "Profile": definition.properties.profile,
            "Nodes": len(definition.nodes),
            "Groups": len(definition.groups),
            "Healthy": not picture.unhealthy(),
            "Properties": asdict(properties_of(picture)),
        }
    ]


def _rules(picture: Picture, _: Addresses) -> list[Row]:
    best = picture.best
    return [
        {
            "Name": rule.name,
            "RuleType": word(rule.kind.upper().replace("-", "_")),
            "Groups": [*rule.groups],
            "SoftAntiAffinity": rule.soft,
        }
        for rule in (best.rules if best is not None else ())
    ]


def _sets(picture: Picture, _: Addresses) -> list[Row]:
    return [
        {
            "Name": each.name,
            "GroupNames": [*each.groups],
            "ProviderNames": [*each.after],
            "StartupDelayTrigger": "Delay" if each.trigger_delay else "Online",
            "StartupDelay": each.startup_delay_ms // 1000,
        }
        for each in picture.definition.sets
    ]


def _domains(picture: Picture, _: Addresses) -> list[Row]:
    """Sites, racks and chassis, then the nodes in them."""
    found: list[Row] = []
    places: dict[tuple[str, ...], list[str]] = {}
    for level in FaultDomain:
        for node in picture.definition.nodes:
            if domain := level.of(node.place):
                places.setdefault(domain, [])
    for node in picture.definition.nodes:
        parent = next((domain for level in reversed(FaultDomain) if (domain := level.of(node.place))), ())
        if parent:
            places[parent].append(node.name)
        row: Row = {"Name": node.name, "Type": "Node", "ParentName": parent[-1] if parent else None}
        found.append({**row, "ChildrenNames": []})
    rows: list[Row] = []
    for domain in sorted(places, key=lambda domain: (len(domain), domain)):
        around = _around(domain, places)
        inside = [inner[-1] for inner in sorted(places) if _around(inner, places) == domain]
        rows.append(
            {
                "Name": domain[-1],
                "Type": tuple(FaultDomain)[len(domain) - 1].value.capitalize(),
                "ParentName": around[-1] if around else None,
                "ChildrenNames": [*inside, *places[domain]],
            }
        )
    return rows + found


def _around(domain: tuple[str, ...], places: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The narrowest fault domain around another one; empty where there is none."""
    return next((outer for outer in (domain[:2], domain[:1]) if outer != domain and outer in places), ())


NOUNS: Final[dict[str, Noun]] = {
    "node": Noun(
        ("Name", "ID", "State"),
        ("NodeWeight", "DynamicWeight", "DrainStatus", "Site", "Incarnation", "Service", "Process", "Groups"),
        _nodes,
    ),
    "group": Noun(
        ("Name", "OwnerNode", "State"),
        ("GroupType", "Priority", "Generation", "PreferredOwners", "PossibleOwners", "Address", "Reason"),
        _groups,
    ),
    "resource": Noun(("Name", "State", "OwnerGroup", "ResourceType"), ("OwnerNode",), _resources),
    "resourcedependency": Noun(("Resource", "DependencyExpression"), (), _dependencies),
    "csv": Noun(("Name", "Node", "State"), ("Coordinator", "Lun", "Number", "Groups"), _volumes),
    "quorum": Noun(
        ("Cluster", "QuorumResource", "QuorumType"),
        ("QuorumHeld", "Votes", "VotesNeeded", "WitnessDynamicWeight", "WitnessOwner", "Leader", "Term"),
        _quorum,
    ),
    "network": Noun(("Name", "State"), ("Role", "Broker"), _networks),
    "networkinterface": Noun(("Name", "Node", "Network", "State"), (), _interfaces),
    "faultdomain": Noun(("Name", "Type", "ParentName", "ChildrenNames"), (), _domains),
    "affinityrule": Noun(("Name", "RuleType", "Groups"), ("SoftAntiAffinity",), _rules),
    "groupset": Noun(("Name", "GroupNames", "ProviderNames", "StartupDelayTrigger", "StartupDelay"), (), _sets),
    "cluster": Noun(("Name",), ("Id", "Profile", "Nodes", "Groups", "Healthy"), _cluster),
}
"""What `hvc get` lists, by its noun; each is a cmdlet of the product with `Get-Cluster` before it."""
