"""The replicated cluster database: nodes and groups, changed only by committed commands.

Law: pure state machine. Equal logs give equal databases on every node; a command whose guard does not hold changes
nothing.
"""

from __future__ import annotations

from dataclasses import replace

from hvcluster.model.codec import dump, load
from hvcluster.model.definition import ClusterDefinition, GroupDefinition, first_store
from hvcluster.model.epochs import first_generation
from hvcluster.model.policy import AffinityRule, Priority
from hvcluster.model.properties import CHANGEABLE, Changes
from hvcluster.model.vocabulary import (
    NOBODY,
    DrainStatus,
    Failback,
    Generation,
    GroupState,
    Incarnation,
    MoveKind,
    NodeId,
)
from hvcluster.model.votes import Configuration, Voter

from .commands import (
    AddMember,
    AssignGroup,
    AssignVolume,
    BeginMove,
    CancelMove,
    ChangeGroup,
    Command,
    Configure,
    DefineGroup,
    DropRule,
    EndDrain,
    EndForced,
    EvictMember,
    FailNow,
    ForceQuorum,
    ForgetLosses,
    FormCluster,
    NodeDown,
    NodeIsolated,
    NodeReturned,
    NodeUp,
    Noop,
    PauseNode,
    Preempt,
    PutRule,
    QuarantineNode,
    ReleaseNode,
    RemoveGroup,
    ReportGroup,
    SetDesired,
    SetProperty,
    SetResource,
    SetWeight,
    UseWitness,
)
from .members import Group, Image, Member, Volume, fresh

__all__ = ["Database", "Group", "Image", "Member", "Volume"]


class Database:
    """Nodes and groups by id and name; iterate `members` and `groups`, which are sorted."""

    __slots__ = (
        "_dynamic_witness",
        "_witness",
        "changes",
        "epoch",
        "forced",
        "groups",
        "members",
        "rules",
        "version",
        "volumes",
    )

    def __init__(self, image: Image) -> None:
        self.members: dict[NodeId, Member] = {m.id: m for m in sorted(image.members, key=lambda m: m.id)}
        self.groups: dict[str, Group] = {g.name: g for g in sorted(image.groups, key=lambda g: g.name)}
        self._witness = image.witness
        self._dynamic_witness = image.dynamic_witness
        self.epoch = image.epoch
        self.forced = image.forced
        self.rules = image.rules
        self.volumes: dict[str, Volume] = {v.name: v for v in sorted(image.volumes, key=lambda v: v.name)}
        self.changes = image.changes
        self.version = 0  # rises with every change, so that readers can tell whether to look again

    @staticmethod
    def created(definition: ClusterDefinition) -> Database:
        """A new cluster: nobody is up; groups are dealt out to their first preferred owner, or in turn."""
        members = tuple(
            Member(
                n.id, n.name, n.weight, first_store(definition.id, n.id), Incarnation(0), False, False,
                outside=n.outside,
            )
            for n in definition.nodes
        )  # fmt: skip
        inside = tuple(n.id for n in definition.nodes if not n.outside)
        groups: list[Group] = []
        for position, group in enumerate(definition.groups):
            able = tuple(node for node in group.possible if node in inside) or inside
            owner = group.owner or (group.preferred[0] if group.preferred else able[position % len(able)])
            reason = "first owner when the cluster was created"
            starts = group.policy.priority is not Priority.NO_AUTO_START
            groups.append(
                Group(
                    group, owner, Generation(0), GroupState.OFFLINE, starts, NOBODY, True, False, "created", reason,
                    resources=fresh(group),
                )
            )  # fmt: skip
        dynamic = definition.properties.dynamic_quorum and definition.properties.dynamic_witness
        volumes = tuple(Volume(volume.name) for volume in definition.volumes)
        image = Image(members, tuple(groups), definition.has_witness, dynamic, rules=definition.rules, volumes=volumes)
        return Database(image)

    def first_configuration(self) -> Configuration:
        """All nodes with weight vote; the witness does when that makes the votes odd (always, if votes are static)."""
        voters = tuple(Voter(m.id, m.store) for m in self.members.values() if m.has_vote)
        return Configuration(voters, self._witness and (len(voters) % 2 == 0 or not self._dynamic_witness))

    def encode(self) -> bytes:
        """Canonical bytes of all of it."""
        members, groups = tuple(self.members.values()), tuple(self.groups.values())
        volumes = tuple(self.volumes.values())
        return dump(
            Image(
                members, groups, self._witness, self._dynamic_witness, self.epoch, self.forced, self.rules, volumes,
                self.changes,
            )
        )  # fmt: skip

    @staticmethod
    def decode(data: bytes) -> Database:
        """Read what encode wrote. Raises codec.Malformed."""
        return Database(load(Image, data))

    @property
    def has_witness(self) -> bool:
        """Whether the cluster has a witness that belongs to its quorum."""
        return self._witness

    def is_member(self, node: NodeId, incarnation: Incarnation) -> bool:
        """Whether a node is up under this very incarnation."""
        member = self.members.get(node)
        return member is not None and member.up and member.incarnation == incarnation

    def owned_by(self, node: NodeId) -> list[Group]:
        return [group for group in self.groups.values() if group.owner == node]

    def apply(self, command: Command) -> bool:
        """Apply one committed command. False when its guard did not hold, or when it concerns only votes."""
        changed: bool
        match command:
            case Noop() | Configure():
                return False
            case FormCluster():
                changed = self._form(command.reason, offline=command.offline)
            case ForceQuorum():
                changed = self._force(command)
            case EndForced():
                changed = self.forced
                self.forced = False
            case NodeUp():
                changed = self._up(command)
            case NodeDown():
                changed = self._down(command)
            case PauseNode():
                changed = self._pause(command)
            case ChangeGroup():
                changed = self._rewrite(command)
            case EndDrain():
                changed = self._end_drain(command)
            case PutRule() | DropRule():
                before = self.rules
                self.rules = self._ruled(command)
                changed = self.rules != before
            case SetWeight():
                changed = self._weigh(command)
            case EvictMember() | AddMember():
                changed = self._belong(command)
            case SetProperty(name, value):
                before_changes, self.changes = self.changes, self.with_property(name, value)
                changed = self.changes != before_changes
            case UseWitness():
                changed = self._witness != command.used
                self._witness = command.used
            case NodeIsolated() | NodeReturned() | QuarantineNode() | ReleaseNode() | ForgetLosses():
                member = self.members.get(command.node)
                after = member.after(command) if member is not None else None
                changed = after != member
                if after is not None:
                    self.members[after.id] = after
            case AssignVolume():
                changed = self._coordinate(command)
            case DefineGroup():
                changed = self._define(command.definition)
            case RemoveGroup():
                group = self.groups.get(command.group)
                changed = group is not None and not group.runs
                if changed:
                    del self.groups[command.group]
            case SetResource() | FailNow():
                changed = self._ask(command)
            case AssignGroup() | BeginMove() | CancelMove() | Preempt() | ReportGroup() | SetDesired():
                changed = self._change_group(command)
        if changed:
            self.version += 1
        return changed

    def with_property(self, name: str, value: int) -> Changes:
        """What has been changed, with one more; a name that may not change changes nothing."""
        return tuple(sorted({**dict(self.changes), name: value}.items())) if name in CHANGEABLE else self.changes

    def _force(self, command: ForceQuorum) -> bool:
        self.epoch = command.epoch
        self.forced = True
        least = first_generation(command.epoch)
        for group in tuple(self.groups.values()):
            self.groups[group.name] = group.outranking(least)
        for member in tuple(self.members.values()):
            self.members[member.id] = replace(member, admission=max(member.admission, least))
        return self._form(command.reason)

    def _form(self, reason: str, *, offline: bool = False) -> bool:
        for member in tuple(self.members.values()):
            self.members[member.id] = replace(member, up=False, isolated=False)
        for group in tuple(self.groups.values()):
            if group.runs or group.state is GroupState.OFFLINE:
                self.groups[group.name] = group.taken_offline("form", reason, waiting=True)
        if offline:
            for group in tuple(self.groups.values()):
                self.groups[group.name] = replace(group, desired=False)
        return True

    def _up(self, command: NodeUp) -> bool:
        member = self.members.get(command.node)
        if member is None or member.outside or (member.up and member.incarnation >= command.incarnation):
            return False
        self.members[member.id] = replace(
            member.admitted(), up=True, incarnation=command.incarnation, store=command.store, isolated=False
        )
        return True

    def _down(self, command: NodeDown) -> bool:
        member = self.members.get(command.node)
        if member is None or not member.up or member.incarnation != command.incarnation:
            return False
        losses = member.losses + command.sudden
        self.members[member.id] = replace(member, up=False, isolated=False, losses=losses)
        for group in self.owned_by(member.id):
            if group.runs:
                self.groups[group.name] = group.taken_offline("node", command.reason, waiting=group.waiting)
        return True

    def _rewrite(self, command: ChangeGroup) -> bool:
        group = self.groups.get(command.group)
        if group is None:
            return False
        definition = replace(
            group.definition, policy=command.policy, preferred=command.preferred, possible=command.possible
        )
        if definition == group.definition:
            return False
        self.groups[group.name] = replace(group, definition=definition)
        return True

    def _pause(self, command: PauseNode) -> bool:
        member = self.members.get(command.node)
        if member is None or (member.paused == command.paused and not command.drain):
            return False
        self.members[member.id] = member.paused_by(command)
        if not command.paused and command.failback is Failback.NO_FAILBACK:
            for group in tuple(self.groups.values()):
                if group.home == member.id:
                    self.groups[group.name] = replace(group, home=NOBODY)
        return True

    def _ruled(self, command: PutRule | DropRule) -> tuple[AffinityRule, ...]:
        """The rules as they are afterwards: one that is replaced keeps its place, a new one is the last."""
        if isinstance(command, DropRule):
            return tuple(rule for rule in self.rules if rule.name != command.name)
        new = command.rule
        if any(rule.name == new.name for rule in self.rules):
            return tuple(new if rule.name == new.name else rule for rule in self.rules)
        return (*self.rules, new)

    def _weigh(self, command: SetWeight) -> bool:
        member = self.members.get(command.node)
        if member is None or member.weight == command.weight or command.weight not in (0, 1):
            return False
        self.members[member.id] = replace(member, weight=command.weight)
        return True

    def _belong(self, command: EvictMember | AddMember) -> bool:
        member = self.members.get(command.node)
        if member is None or member.outside is isinstance(command, EvictMember):
            return False
        self.members[member.id] = replace(member, outside=False) if member.outside else member.evicted()
        return True

    def _end_drain(self, command: EndDrain) -> bool:
        member = self.members.get(command.node)
        if member is None or member.drain is not DrainStatus.IN_PROGRESS:
            return False
        self.members[member.id] = replace(member, drain=command.status)
        return True

    def _coordinate(self, command: AssignVolume) -> bool:
        volume, member = self.volumes.get(command.volume), self.members.get(command.owner)
        if volume is None or member is None or not member.up or volume.changes != command.seen:
            return False
        self.volumes[volume.name] = Volume(
            volume.name, command.owner, volume.changes + 1, command.reason, command.chosen
        )
        return True

    def _define(self, definition: GroupDefinition) -> bool:
        taken = any(g.name == definition.name or g.definition.meets(definition) for g in self.groups.values())
        if taken:
            return False
        least = first_generation(self.epoch)
        group = Group(
            definition, NOBODY, least, GroupState.OFFLINE, True, NOBODY, False, False, "created", "defined",
            resources=fresh(definition),
        )  # fmt: skip
        self.groups = dict(sorted({**self.groups, group.name: group}.items()))
        return True

    def _ask(self, command: SetResource | FailNow) -> bool:
        group = self.groups.get(command.group)
        if group is None:
            return False
        changed = group.asked(command)
        self.groups[group.name] = changed
        return changed != group

    def _handed(self, group: Group, command: AssignGroup) -> bool:
        """Whether the live move of a group is still the one whose paused VM is handed over."""
        under_way = group.migrates and group.moves == command.resumes and group.moving_to == command.owner
        return under_way and self.is_member(command.owner, command.holder)

    def _change_group(self, command: AssignGroup | BeginMove | CancelMove | Preempt | ReportGroup | SetDesired) -> bool:
        group = self.groups.get(command.group)
        if group is None:
            return False
        changed: Group
        match command:
            case SetDesired():
                changed = group.wanted(command.online)
                if changed == group:
                    return False
            case AssignGroup():
                member = self.members.get(command.owner)
                if group.generation != command.seen or member is None or not member.up:
                    return False
                if command.resumes and not self._handed(group, command):
                    return False
                changed = group.assigned(command)
                before = self.members.get(group.owner)
                if group.definition.extent is not None and before is not None and group.generation:
                    self.members[before.id] = before.admitted()
            case BeginMove():
                if group.generation != command.seen or not group.runs or command.target == group.owner:
                    return False
                if command.kind is MoveKind.LIVE and group.state is not GroupState.ONLINE:
                    return False
                # Over all groups, so that it tells their order as well: who migrates first.
                changed = group.begun(command, 1 + max(other.moves for other in self.groups.values()))
            case Preempt():
                if group.generation != command.seen or not group.runs or group.preempted:
                    return False
                changed = replace(group, preempted=True, cause=command.cause)
            case CancelMove():
                if group.generation != command.seen or group.moves != command.move or not group.migrates:
                    return False
                changed = group.cancelled(command)
            case ReportGroup():
                # A generation ends once: a late report of a life that is over changes nothing.
                if group.generation != command.seen or not group.runs or not group.news(command):
                    return False
                changed = group.reported(command)
        self.groups[group.name] = changed
        return True
