"""The roles of resources in a scenario file, [[lab.group]] and [[lab.group.resource]]: read, judged and written.

Law: shapes and names; what a resource is, `resource_file` says. The LUN of a role follows those of the VMs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from .complaints import Complaints, listed, shown
from .definition import GroupDefinition
from .policy import Policy
from .resource_file import KEYS, LIMITS, read_resource, together
from .resources import ResourceDefinition, ResourcePolicy
from .toml_lines import Path
from .vocabulary import LunId, NodeId

MAX_GROUPS: Final = 16
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_GROUP_KEYS: Final = ("name", "owner", "resource")
_AT: Final = ("lab", "group")


def read_groups(
    tables: object, vms: Collection[str], nodes: Collection[str], first_lun: int, wrong: Complaints
) -> list[GroupDefinition]:
    """All roles of a lab, on LUNs from `first_lun` on."""
    if not isinstance(tables, list) or len(tables) > MAX_GROUPS or not all(isinstance(each, dict) for each in tables):
        wrong.add(("lab",), f"`group` is no list of at most {MAX_GROUPS} tables; write each as [[lab.group]]", "group")
        return []
    found: list[GroupDefinition] = []
    taken = {*vms}
    for at, table in enumerate(tables):
        path: Path = (*_AT, at)
        wrong.known(path, table, _GROUP_KEYS)
        name = table.get("name")
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in taken:
            wrong.add(
                path, f"`name` is {shown(name)}; write letters and digits, other than {listed(sorted(taken))}", "name"
            )
        taken.add(str(name))
        owner = table.get("owner")
        if owner is not None and (type(owner) is not int or not 1 <= owner <= len(nodes)):
            wrong.add(path, f"`owner` is {shown(owner)}; write an id from 1 to {len(nodes)}", "owner")
            owner = None
        lun = LunId(first_lun + at)
        first = None if owner is None else NodeId(owner)
        found.append(role(str(name), lun, _resources(path, table, lun, wrong), first))
    names = [each.name for group in found for each in group.resources]
    for name in sorted({name for name in names if names.count(name) > 1}):
        wrong.add(("lab",), f"there are two resources {name!r}; give each of a lab a name of its own", "group")
    return found


def role(
    name: str, lun: LunId, resources: tuple[ResourceDefinition, ...], owner: NodeId | None = None
) -> GroupDefinition:
    """A role of resources: it takes no memory, is never unmonitored, and its restarts are those of its resources."""
    policy = Policy(restart_threshold=0)
    return GroupDefinition(
        name, lun, owner=owner, policy=policy, memory_mb=0, resiliency_period_ms=0, resources=resources
    )


def _resources(path: Path, table: Mapping[str, Any], lun: LunId, wrong: Complaints) -> tuple[ResourceDefinition, ...]:
    tables = table.get("resource")
    if not isinstance(tables, list) or not tables or not all(isinstance(each, dict) for each in tables):
        wrong.add(path, "`resource` is no list of tables; write each as [[lab.group.resource]]", "resource")
        return ()
    found: list[ResourceDefinition] = []
    for at, each in enumerate(tables):
        wrong.known((*path, "resource", at), each, KEYS)
        resource, complaints = read_resource(each)
        for key, text in complaints:
            wrong.add((*path, "resource", at), text, key)
        found.append(resource)
    for at, key, text in together(lun, found):
        wrong.add((*path, "resource", at), text, key)
    return tuple(found)


def group_values(group: GroupDefinition) -> dict[str, Any]:
    """A role as its table has it, without its resources."""
    values: dict[str, Any] = {"name": group.name}
    return values if group.owner is None else {**values, "owner": int(group.owner)}


def resource_values(resource: ResourceDefinition) -> Iterator[tuple[str, Any]]:
    """A resource as its table has it, without what is usual."""
    yield "name", resource.name
    yield "type", resource.type
    if resource.depends:
        yield "depends", resource.depends
    usual, policy = ResourcePolicy(), resource.policy
    if policy.restart_action is not usual.restart_action:
        yield "restart_action", policy.restart_action.name.lower().replace("_", "-")
    for key in LIMITS:
        if getattr(policy, key) != getattr(usual, key):
            yield key, getattr(policy, key)
