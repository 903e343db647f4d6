"""The roles of resources in a lab file: [[group]] and [[group.resource]].

Law: hands tables to `model.resource_file` and puts what is wrong with them on its line. Owners are read as a VM's are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from hvcluster.model import policy_file, resource_file
from hvcluster.model.definition import GroupDefinition
from hvcluster.model.resources import ResourceDefinition
from hvcluster.model.vocabulary import MAX_LUNS, LunId, NodeId

from .lab import VM_NAME, LabVm
from .lab_reader import Section

GROUP_KEYS: Final = tuple(
    key
    for key in policy_file.POLICY_KEYS
    if not key.startswith("restart_") and key not in ("check_heartbeat", "protected_network")
)
"""The policies of a group; how often it is restarted, its resources say."""

Owners = Callable[[Section, str], tuple[NodeId, ...]]
Owner = Callable[[Section], "NodeId | None"]


def groups(
    top: Section,
    luns: Collection[LunId],
    volumes: Collection[LunId],
    vms: Sequence[LabVm],
    witness: LunId | None,
    owners: Owners,
    owner: Owner,
) -> tuple[GroupDefinition, ...]:
    """All roles; `luns` are those that exist, `volumes` those that are shared."""
    taken = {vm.lun: f"VM {vm.name!r}" for vm in vms} | dict.fromkeys(volumes, "a shared volume")
    if witness is not None:
        taken[witness] = "the witness"
    found: list[GroupDefinition] = []
    names = {vm.name.lower() for vm in vms}
    everywhere: dict[str, str] = {}
    for section in top.sections("group"):
        name = section.text("name", required=True) or ""
        if name and not VM_NAME.fullmatch(name):
            section.complain("name", f"{name!r} is no group name", "use letters, digits, '.', '_' and '-', 64 at most")
        if name.lower() in names:
            section.complain("name", f"there is a group or VM {name!r} already", "give each a name of its own")
        names.add(name.lower())
        lun = _disk(section, name, luns, taken)
        policy, wrong = policy_file.read_policy(section.picked(GROUP_KEYS))
        _complain(section, wrong)
        preferred, possible, first = owners(section, "preferred"), owners(section, "possible"), owner(section)
        if possible and not {*preferred, *([first] if first is not None else [])} <= set(possible):
            section.complain("possible", "a preferred or first owner is not a possible one", "add it to possible")
        resources = _resources(section, lun)
        for each in resources:
            other = everywhere.setdefault(each.name, name)
            if other != name:
                text = f"group {other!r} has a resource {each.name!r} as well"
                section.complain("resource", text, "give every resource of the lab a name of its own")
        section.finish()
        found.append(
            GroupDefinition(
                name,
                lun,
                preferred,
                possible,
                first,
                policy=replace(policy, restart_threshold=0),
                memory_mb=0,
                resiliency_period_ms=0,
                resources=resources,
            )
        )
    return tuple(found)


def _disk(section: Section, group: str, luns: Collection[LunId], taken: dict[LunId, str]) -> LunId:
    number = section.integer("lun", 0, MAX_LUNS - 1, required=True)
    if number is None:
        return LunId(-1)
    lun = LunId(number)
    if lun not in luns:
        section.complain(
            "lun", f"group {group!r} is on LUN {lun}, which does not exist", f"add [[lun]] with id = {lun}"
        )
    if lun in taken:
        remedy = "give every group a LUN of its own: the reservation is per LUN"
        section.complain("lun", f"LUN {lun} is in use by {taken[lun]}", remedy)
    taken.setdefault(lun, f"group {group!r}")
    return lun


def _resources(section: Section, lun: LunId) -> tuple[ResourceDefinition, ...]:
    found: list[ResourceDefinition] = []
    tables = section.sections("resource")
    for table in tables:
        resource, wrong = resource_file.read_resource(table.picked(resource_file.KEYS))
        _complain(table, wrong)
        table.finish()
        found.append(resource)
    if not found:
        section.complain(None, "the group has no resource", "add [[group.resource]], or make it a [[vm]]")
    for at, key, sentence in resource_file.together(lun, found):
        _complain(tables[at], [(key, sentence)])
    return tuple(found)


def _complain(section: Section, wrong: list[tuple[str, str]]) -> None:
    for key, sentence in wrong:
        text, _, remedy = sentence.partition("; ")
        section.complain(key if section.has(key) else None, text, remedy)
