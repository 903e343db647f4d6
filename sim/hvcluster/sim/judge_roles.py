"""Judges roles of resources: the order of dependencies, the disk first, one generation at a time, all well in the end.

Law: looks at calls and at what monitors host; never asks a core what it believes, except for who owns what when
everything has had time to become well again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.dependencies import holds
from hvcluster.model.facts import Fact
from hvcluster.model.resources import Entry, ResourceDefinition, disk_name
from hvcluster.model.vocabulary import Generation, GroupState, NodeId, ResourceState

if TYPE_CHECKING:
    from collections.abc import Callable

    from hvcluster.node.core.commands import ReportGroup
    from hvcluster.node.core.database import Database, Group
    from hvcluster.node.core.effects import CallResource

    from .judge import Broken
    from .machines import Machine
    from .world import World


class RoleJudge:
    """All roles of one world."""

    def __init__(self, world: World, broken: Callable[[str], Broken], counts: dict[str, int]) -> None:
        self._world = world
        self._broken = broken
        self._counts = counts
        self._roles = {group.name: group for group in world.definition.groups if group.resources}
        self._reserved: set[tuple[str, Generation, NodeId]] = set()
        self._told: dict[tuple[str, Generation, int], dict[str, ResourceState]] = {}  # by generation and revision
        self._new: set[str] = set()  # groups of which a report was applied in this event

    def disk_online(self, fact: Fact) -> None:
        """A disk is reserved for one node and generation."""
        group = str(fact.get("group"))
        if group in self._roles:
            self._reserved.add((group, Generation(int(fact.get("generation") or 0)), fact.node))

    def has_disk(self, group: str, generation: Generation) -> bool:
        """Whether the disk of a role was reserved under this generation: only then may it be Online."""
        return any((group, generation) == each[:2] for each in self._reserved)

    def called(self, machine: Machine, call: CallResource) -> None:
        """A node calls an entry point of a resource."""
        self._counts[f"calls {call.entry.name}"] = self._counts.get(f"calls {call.entry.name}", 0) + 1
        match call.entry:
            case Entry.ONLINE:
                self._goes_online(machine, call)
            case Entry.OFFLINE:
                self._goes_offline(machine, call)
            case Entry.TERMINATE | Entry.LOOKS_ALIVE | Entry.IS_ALIVE:
                pass

    def _who(self, machine: Machine, call: CallResource) -> str:
        return f"{call.resource.name} of {call.group}, generation {call.generation}, on node {machine.node}"

    def _online(self, machine: Machine, group: str) -> set[str]:
        return {disk_name(self._roles[group].lun), *machine.monitor.online(group)}

    def _goes_online(self, machine: Machine, call: CallResource) -> None:
        who = self._who(machine, call)
        if (call.group, call.generation, machine.node) not in self._reserved:
            raise self._broken(f"{who} goes online before the disk of its group is reserved")
        others = machine.monitor.online(call.group)
        old = [name for name, generation in others.items() if generation != call.generation]
        if old:
            raise self._broken(f"{who} goes online while {old[0]} of another generation is online")
        if not holds(call.resource.needs(), self._online(machine, call.group)):
            raise self._broken(f"{who} goes online, but not all of {call.resource.depends} is")

    def _goes_offline(self, machine: Machine, call: CallResource) -> None:
        online = self._online(machine, call.group)
        left = online - {call.resource.name}
        for other in self._roles[call.group].resources:
            needs = other.needs()
            if other.name in left and holds(needs, online) and not holds(needs, left):
                raise self._broken(f"{self._who(machine, call)} goes offline before {other.name}, which needs it")

    # what is known of it

    def reported(self, command: ReportGroup) -> None:
        """What an owner says of a role was applied, or ignored."""
        if command.group in self._roles and command.revision:
            self._told[command.group, command.seen, command.revision] = dict(command.resources)
            self._new.add(command.group)

    def compare(self, database: Database) -> None:
        """Reports were applied: the states of resources are those of the newest one, whatever order they came in."""
        while self._new:
            group = database.groups.get(self._new.pop())
            if group is None or not group.runs:
                continue
            said = self._told.get((group.name, group.generation, group.revision), {})
            for each in group.resources:
                if said.get(each.name, each.state) is not each.state:
                    text = f"the database has {each.name} as {each.state.name}, and report {group.revision} of "
                    raise self._broken(f"{group.name}: {text}generation {group.generation} says {said[each.name].name}")

    # well again

    def problems(self, group: Group) -> list[str]:
        """Why a role is not as it should be, once everything has had time."""
        found: list[str] = []
        where = {m.node: m.monitor.online(group.name) for m in self._world.machines.values()}
        for node, online in where.items():
            if online and node != group.owner:
                found.append(f"{group.name}: {', '.join(online)} runs on node {node}, the owner is {group.owner}")
        if group.state is not GroupState.ONLINE:
            return [*found, f"{group.name}: {group.state.name}, owner {group.owner}"]
        here = where.get(group.owner, {})
        known = {each.name: each.state for each in group.resources}
        for definition in self._roles[group.name].resources:
            found.extend(self._differs(group, definition, known[definition.name], here))
        return found

    def _differs(
        self, group: Group, definition: ResourceDefinition, state: ResourceState, here: dict[str, Generation]
    ) -> list[str]:
        name, online = definition.name, definition.name in here
        wanted = next(each.wanted for each in group.resources if each.name == name)
        text = f"{group.name}: the database has {name} as {state.name}, and on node {group.owner} it is "
        if state not in (ResourceState.ONLINE, ResourceState.OFFLINE, ResourceState.FAILED):
            return [f"{group.name}: {name} is {state.name} still"]
        if (state is ResourceState.ONLINE) is not online:
            return [text + ("online" if online else "offline")]
        online_now = {disk_name(group.definition.lun), *here}
        if state is ResourceState.OFFLINE and wanted and holds(definition.needs(), online_now):
            return [f"{group.name}: {name} stays offline, although all it needs is online"]
        return []
