"""The judge: every invariant, looked at when something it speaks of has happened.

Law: sees everything, changes nothing. A broken invariant raises Broken with the seed and the instant; the cores never
learn of it. LUNs are judged in `judge_disks`, consensus in `judge_raft`, the witness in `judge_witness`; here is what
concerns whole machines: quorum, and whether everything is well again.
"""

from __future__ import annotations

from mmap import mmap
from typing import TYPE_CHECKING

from hvcluster.model.definition import initiator_name
from hvcluster.model.epochs import epoch_of
from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.policy import AffinityRule
from hvcluster.model.properties import knows_priorities, resiliency_us
from hvcluster.model.scsi import Nexus, Status
from hvcluster.model.vocabulary import US_PER_S, Generation, GroupState, LunId, NodeId, PathName
from hvcluster.model.votes import Configuration
from hvcluster.node.core.database import Group
from hvcluster.node.core.effects import Save, Send, StartVm
from hvcluster.node.core.node import NodeCore
from hvcluster.san.core.effects import JournalEntry

from .judge_disks import Disks
from .judge_raft import Consensus
from .judge_roles import RoleJudge
from .judge_tag import TagFile
from .judge_witness import WitnessMedium

if TYPE_CHECKING:
    from .guests import SimGuest
    from .machines import Machine
    from .world import World


_OF_PATHS = (FactKind.PATH_UP, FactKind.PATH_DOWN, FactKind.SERVICE_STARTED)


class Broken(AssertionError):
    """An invariant does not hold."""


class Judge:
    """Judges one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.counts: dict[str, int] = {}
        self.refused: set[str] = set()
        """Initiators that had a write to a group's LUN refused."""
        self._witness = WitnessMedium(self.broken)
        self._tag_file = TagFile(self.broken)
        self.roles = RoleJudge(world, self.broken, self.counts)
        self._disks = Disks(world, self.broken, self.counts, self.refused)
        witness = self._witness if world.definition.tag_witness is None else self._tag_file
        self._consensus = Consensus(world, self.broken, self.counts, witness, self._disks)

    def broken(self, what: str) -> Broken:
        return Broken(f"seed {self._world.seed}, {self._world.now / US_PER_S:.3f} s: {what}")

    # what machines, the array and the clients tell

    def journal(self, entry: JournalEntry) -> None:
        """The array executed or refused a command."""
        if entry.status is Status.GOOD:
            self._one_session(entry.nexus)
        if entry.lun != self._world.definition.witness_lun:
            self._disks.journal(entry)
        elif entry.status is Status.GOOD and entry.command == "WRITE":
            self._witness.executed(self._world.now, entry.nexus)

    def _one_session(self, nexus: Nexus) -> None:
        """A new login of a nexus ends its older session: whatever is still under way there is never executed."""
        sessions = sum(1 for link in self._world.array.links.values() if link.nexus == nexus)
        if sessions > 1:
            raise self.broken(f"a command of {nexus} was executed while {sessions} sessions of it are in force")

    def written(self, lun: LunId, lba: int, data: bytes, medium: mmap) -> None:
        """Blocks are about to be written."""
        if lun == self._world.definition.witness_lun:
            self._witness.written(lba, data, medium)
        else:
            self._disks.written(lun, lba, data, medium)

    def tag_written(self, data: bytes) -> None:
        """A new version of the witness's file stands there."""
        self._tag_file.written(data)

    def acknowledged(self, group: str, sequence: int, payload: bytes) -> None:
        """A client was told that its record is on the LUN."""
        self._disks.acknowledged(group, sequence, payload)

    def vm_started(self, machine: Machine, start: StartVm) -> None:
        """A VM boots."""
        self._disks.vm_started(machine, start)

    def vm_paused(self, sim: SimGuest) -> None:
        """A VM is paused for its migration."""
        self._disks.paused(sim)

    def vm_continued(self, group: str, generation: Generation) -> None:
        """A paused VM goes on where it was."""
        self._disks.continued(group, generation)

    def saved(self, machine: Machine, save: Save) -> None:
        """A node's disk changed."""
        self._consensus.saved(machine, save)

    def said(self, machine: Machine, send: Send) -> None:
        """A node says something to a peer."""
        self._consensus.said(machine, send)

    def published(self, machine: Machine, term: int) -> None:
        """A node publishes a heartbeat of a term."""
        self._consensus.spoke(machine, term)

    def started(self, machine: Machine) -> None:
        """A new life of a node's service begins."""
        self._consensus.started(machine)

    def after(self, machine: Machine, core: NodeCore, votes: Configuration) -> None:
        """A node has applied entries. `votes`: in force when the event came."""
        self._consensus.after(machine, core, votes)

    def fact(self, fact: Fact) -> None:
        """A core recorded a fact."""
        kind = fact.kind
        if kind is FactKind.ROUTE_UP:
            self._consensus.route_up(fact)
        elif kind is FactKind.DISK_ARBITRATING:
            self._disks.begun(fact)
        elif kind is FactKind.GROUP_ASSIGNED:
            self._disks.handed_over(fact)
        elif kind is FactKind.DISK_ONLINE:
            self._disks.online(fact)
            self.roles.disk_online(fact)
        elif kind in _OF_PATHS:
            self._paths(fact)
        elif kind is FactKind.LEADER_ELECTED:
            self._consensus.elected(fact)
        elif kind is FactKind.WITNESS_CHALLENGED:
            self._consensus.challenged(fact)
        self.counts[kind.name] = self.counts.get(kind.name, 0) + 1

    def _paths(self, fact: Fact) -> None:
        """A path is up or down; a new life of the service has given up whatever the last one had under way."""
        definition = self._world.definition
        initiator = initiator_name(definition.node_name(fact.node))
        which = fact.get("path")
        for path in definition.paths if which is None else (PathName(str(which)),):
            self._witness.path(self._world.now, Nexus(initiator, path), fact.kind is FactKind.PATH_UP)

    # no quorum, no VMs

    def isolated(self, node: NodeId, since: int) -> None:
        """A node has been alone for longer than its lease and any arbitration: it may run nothing, unless it has
        quorum alone.
        """
        self.cut_off((node,), since, 0)

    def cut_off(self, side: tuple[NodeId, ...], since: int, bound: int) -> None:
        """Some nodes have been cut off from all others for longer than any evidence and any arbitration last.

        They may run nothing whose resiliency period is over as well, counted from `bound` after `since`, unless they
        have quorum by the votes that any of them knows of. All of them run, and none is frozen.
        """
        machines = [self._world.machines[node] for node in side]
        running = [(machine, names) for machine in machines if (names := self._outlived(machine, since + bound))]
        if not running or any(not machine.alive or machine.frozen for machine in machines):
            return
        for machine in machines:
            configuration = machine.core.state.log.configuration
            left = sum(1 for other in machines if configuration.has(other.node, other.core.state.store))
            if left + configuration.witness >= configuration.quorum:
                return
        first, names = running[0]
        who = f"node {first.node} is alone" if len(side) == 1 else f"nodes {', '.join(map(str, side))} are alone"
        raise self.broken(f"{who} since {since / US_PER_S:.1f} s and node {first.node} still runs {names}")

    def _outlived(self, machine: Machine, since: int) -> str:
        """The VMs that a machine without quorum since then must not run any more, by name."""
        properties = self._world.definition.properties
        own = {group.name: group.resiliency_period_ms for group in self._world.definition.groups}
        alone = self._world.now - since
        names = sorted({*machine.guests, *machine.monitor.groups()})
        return ", ".join(n for n in names if alone > resiliency_us(properties, own.get(n)))

    # liveness

    def _lost_for_good(self) -> bool:
        """Votes of the newest configuration were on disks that are gone, and what is left is no quorum.

        Losing a disk in the middle of another loss can do that, and no protocol mends it: an operator has to force
        quorum.
        """
        machines = self._world.machines.values()
        if not all(machine.life for machine in machines):
            return False  # not everything is switched on yet
        newest = max(machines, key=lambda m: (m.core.state.log.last_term, m.core.state.log.last_index))
        if epoch_of(newest.core.state.log.last_term) < max(epoch_of(m.saved.term) for m in machines):
            self.counts["lost for good"] = 1
            return True  # of the newest force epoch no log is left: its one voter lost its disk
        configuration = newest.core.state.log.configuration
        intact = {(m.node, m.saved.store) for m in machines}
        left = sum(1 for voter in configuration.voters if (voter.node, voter.store) in intact)
        if left + configuration.witness >= configuration.quorum:
            return False
        self.counts["lost for good"] = 1
        return True

    def _kept_apart(self, leader: Machine, group: Group) -> bool:
        """Whether a group is offline because a rule that does not give way forbids it every node that is there."""
        if group.state is not GroupState.OFFLINE:
            return False
        definition, database = self._world.definition, leader.core.replica.database
        enforced = leader.core.settings.now.cluster_enforced_anti_affinity
        classes = set(group.definition.policy.anti_affinity_class_names) if enforced else set()
        places = {node.id: node.place for node in definition.nodes}
        others = [g for g in database.groups.values() if g.runs and g.name != group.name]
        foes = {g.owner for g in others if classes & set(g.definition.policy.anti_affinity_class_names)}

        def forbidden(node: NodeId) -> bool:
            for rule in database.rules:
                there = {g.owner for g in others if g.name in rule.groups}

                def at(node: NodeId, rule: AffinityRule = rule) -> object:
                    return (rule.level.of(places[node]) if rule.kind.by_domain else ()) or node

                binds = there and not rule.soft and group.name in rule.groups
                if binds and (at(node) in {at(other) for other in there}) is not rule.kind.together:
                    return True
            return node in foes or not self._has_room(group, node, others)

        return all(forbidden(m.id) for m in database.members.values() if m.up and group.definition.may_run_on(m.id))

    def _has_room(self, group: Group, node: NodeId, others: list[Group]) -> bool:
        """Whether a node has memory for a group, those of lower priority not counted: they give up their places."""
        memory = next(n.memory_mb for n in self._world.definition.nodes if n.id == node)
        mine = group.definition.policy.priority
        preempts = knows_priorities(self._world.definition.properties.profile)
        used = sum(
            other.definition.memory_mb
            for other in others
            if node in (other.owner, other.moving_to) and not (preempts and other.definition.policy.priority < mine)
        )
        return not memory or memory - used >= group.definition.memory_mb

    def problems(self) -> list[str]:
        """Why the lab is not healthy: groups that may run and are not online on exactly one node that may own them."""
        found: list[str] = []
        running: dict[str, list[NodeId]] = {}
        for machine in self._world.machines.values():
            for name in machine.guests:
                running.setdefault(name, []).append(machine.node)
        leaders = [m for m in self._world.machines.values() if m.alive and m.core.state.leads]
        leader = max(leaders, key=lambda m: m.core.state.term, default=None)
        if leader is None:
            return [] if self._lost_for_good() else ["no node leads"]
        members = leader.core.replica.database.members
        for group in leader.core.replica.database.groups.values():
            nodes = running.get(group.name, [])
            able = group.definition.possible
            if not group.desired or group.state is GroupState.FAILED or self._kept_apart(leader, group):
                continue
            if able and all(members[node].outside for node in able):
                continue
            if group.definition.resources:
                found.extend(self.roles.problems(group))
                continue
            if group.state is not GroupState.ONLINE or nodes != [group.owner] or (able and group.owner not in able):
                where = f"owner {group.owner}, generation {group.generation}, runs on {nodes}"
                found.append(f"{group.name}: {group.state.name}, {where}")
        inside = [m for m in self._world.machines.values() if m.alive and not members[m.node].outside]
        joining = (m for m in inside if not m.core.replica.member)
        found.extend(f"node {machine.node} has not joined" for machine in joining)
        if leader.core.replica.database.forced:
            found.append("quorum is still forced")
        epoch = epoch_of(leader.core.state.term)
        others = (m for m in self._world.machines.values() if m.alive and epoch_of(m.core.state.term) != epoch)
        found.extend(f"node {m.node} is not on the side that was forced last" for m in others)
        return found
