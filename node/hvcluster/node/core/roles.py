"""What a leader proposes for groups: an owner for every one that should be online, by the rules of placement.

Law: reads the applied database and who is there, returns commands; which node is best is for `placement` to say, what
a failure leads to for `failures`, who waits for whom for `start_order`, and who goes back for `failback`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hvcluster.model.definition import ClusterDefinition
from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing, knows_priorities
from hvcluster.model.vocabulary import (
    NOBODY,
    DrainStatus,
    Generation,
    GroupState,
    Incarnation,
    Instant,
    MigrationState,
    MoveKind,
    NodeId,
)

from .balancer import Balancer
from .commands import (
    AssignGroup,
    BeginMove,
    CancelMove,
    Command,
    EndDrain,
    NodeDown,
    Preempt,
    ReportGroup,
    SetDesired,
)
from .database import Database, Group, Member
from .failback import Failbacks
from .failures import Failures, Next
from .handover import lost
from .heartbeats import NEVER
from .messages import GroupReport
from .offline import leaving_by
from .outbox import Outbox
from .placement import Bonds, Candidates, Choice, Why, blocked, bonds_of, choose, conflict, eligible
from .preemption import make_room
from .presence import Presence
from .settings import Settings
from .start_order import StartOrder
from .vm_networks import VmNetworks

TIMER = "roles"
REPORTED = {state.name: state for state in GroupState if state is not GroupState.PARTIAL_ONLINE}


class Roles:
    """The leader's plans for groups. Volatile: a new leader starts with what the database says."""

    __slots__ = (
        "_balancer",
        "_bonds",
        "_bonds_for",
        "_candidates",
        "_database",
        "_definition",
        "_due",
        "_failures",
        "_leading_since",
        "_memory",
        "_networks",
        "_order",
        "_out",
        "_places",
        "_preempted",
        "_presence",
        "_settings",
        "_stranded",
        "_timing",
        "_tried",
        "failbacks",
        "unmonitored",
    )

    def __init__(
        self,
        presence: Presence,
        database: Callable[[], Database],
        definition: ClusterDefinition,
        settings: Settings,
        timing: Timing,
        out: Outbox,
    ) -> None:
        self._presence = presence
        self._database = database
        self._definition = definition
        self._timing = timing
        self._out = out
        self._settings = settings
        self._failures = Failures(settings, timing)
        self._order = StartOrder(definition.sets, timing)
        self.failbacks = Failbacks()
        self.unmonitored: Callable[[Instant, Group], bool] = lambda _now, _group: False
        self._leading_since = NEVER
        self._stranded: dict[str, tuple[Generation, str]] = {}
        self._tried: dict[str, Generation] = {}  # groups that were to leave by live migration
        self._bonds: Bonds = {}
        self._bonds_for: tuple[object, ...] = ()  # what they were made of
        self._candidates = Candidates.plain({})
        self._memory = {node.id: node.memory_mb for node in definition.nodes if node.memory_mb}
        self._balancer = Balancer(definition.nodes, settings, timing)
        self._places = {node.id: node.place for node in definition.nodes if any(node.place)}
        self._networks = VmNetworks(definition.properties.profile, presence, timing, out)
        self._preempted: list[Preempt] = []
        self._due: Instant | None = None  # when something that waits now is to be looked at

    def start(self, now: Instant) -> None:
        """We lead a new term."""
        self._leading_since = now
        self._failures.start(now, self._database().groups.values())
        self._order.start()
        self._balancer.start(now)
        self._networks.start()
        self.failbacks.start()
        self._stranded = {}
        self._tried = {}

    def candidates(self) -> Candidates:
        """Nodes that may take a group now, with what runs where."""
        return self._look(self._database(), set())

    def _look(self, database: Database, without: set[NodeId]) -> Candidates:
        classes = tuple((g.name, g.definition.policy.anti_affinity_class_names) for g in database.groups.values())
        enforced = self._settings.now.cluster_enforced_anti_affinity
        wishes = (enforced, database.rules, *classes)
        if wishes != self._bonds_for:
            definitions = [group.definition for group in database.groups.values()]
            self._bonds, self._bonds_for = bonds_of(definitions, database.rules, enforced), wishes
        where: dict[str, NodeId] = {}
        if self._bonds:
            running = [group for group in database.groups.values() if group.runs and group.owner not in without]
            where = {group.name: group.moving_to or group.owner for group in running}
        return Candidates(
            self._presence.able(database, without), where, self._bonds, self._places, self._room(database, without)
        )

    def _room(self, database: Database, without: set[NodeId]) -> dict[NodeId, int]:
        """Memory that is left; a group that moves is counted at both ends."""
        room = {node: memory for node, memory in self._memory.items() if node not in without}
        for group in database.groups.values() if room else ():
            for node in {group.owner, group.moving_to} if group.runs else ():
                if node in room:
                    room[node] -= group.definition.memory_mb
        return room

    def plan(self, now: Instant, database: Database, down: dict[NodeId, NodeDown]) -> list[Command]:
        """What to propose for the groups, when the nodes of `down` are about to leave the membership."""
        commands: list[Command] = []
        nodes = self._candidates = self._look(database, set(down))
        self._due = None
        self._preempted = []
        self._order.look(now, database)
        self.failbacks.look(now, nodes.groups, database.groups.values())
        for group in sorted(database.groups.values(), key=_by_priority):
            planned = group.desired and not self.unmonitored(now, group)
            command = self._group(now, database, group, down) if planned else None
            if command is not None:
                commands.append(command)
                if not isinstance(command, CancelMove):
                    self._taken(group, command.owner if isinstance(command, AssignGroup) else command.target)
        commands.extend(self._preempted)
        if self._balancer.due(now, nodes) and not commands:
            commands.extend(self._balance(database, nodes))
        for member in database.members.values():
            if member.drain is DrainStatus.IN_PROGRESS and member.id not in down:
                commands.extend(self._drain(database, member, commands))
        self._look_when_due()
        return commands

    def _look_when_due(self) -> None:
        if self._due is not None:
            self._out.timer(TIMER, self._due)

    def _balance(self, database: Database, nodes: Candidates) -> Iterator[BeginMove]:
        """Moves off nodes that are too full; of what may be moved."""
        movable = [
            group
            for group in database.groups.values()
            if self._settled(group) and group.owner in nodes.groups and not group.definition.policy.locked_from_moving
        ]
        running = [group for group in database.groups.values() if group.runs]
        for group, node in self._networks.keeps(self._balancer.moves(movable, nodes, running)):
            cause = f"node {group.owner} is fuller than AutoBalancerLevel allows"
            yield BeginMove(group.name, group.generation, node, cause, kind=MoveKind.LIVE)

    def _taken(self, group: Group, node: NodeId) -> None:
        """Count a plan as if it were done, for the groups that are planned after it."""
        counts, where = self._candidates.groups, self._candidates.where
        assert isinstance(counts, dict), "made in _look"
        assert isinstance(where, dict), "made in _look"
        counts[node] = counts.get(node, 0) + 1
        if self._bonds:
            where[group.name] = node
        room = self._candidates.room
        assert isinstance(room, dict), "made in _look"
        if node in room:
            room[node] -= group.definition.memory_mb

    def _wait(self, until: Instant) -> None:
        self._due = until if self._due is None else min(self._due, until)

    def _group(
        self, now: Instant, database: Database, group: Group, down: dict[NodeId, NodeDown]
    ) -> AssignGroup | BeginMove | CancelMove | None:
        """What to do about one group that should be online."""
        owner = database.members.get(group.owner)
        if group.runs and group.owner in down:
            return self._assign(group, Why.NODE_FAILURE, down[group.owner].reason, leave=True)
        if group.runs:
            return self._running(now, group, owner)
        if group.state is GroupState.FAILED:
            return self._failed(now, group, len(database.members))
        if group.moving_to != NOBODY:
            return self._arrive(group)
        waits = self._order.wait(now, group)
        if waits is not None:
            self._wait(waits[1])
            self._strand(group, FactKind.GROUP_WAITING, waits[0])
            return None
        if group.waiting or group.owner in self._candidates.groups:
            if group.owner in self._candidates.groups:
                return self._assign(group, Why.START, group.reason, leave=False)
            gone = owner is None or now - self._leading_since >= self._timing.group_wait
            if not gone:
                return None
        return self._assign(group, Why.NODE_FAILURE, group.reason, leave=True)

    def _running(self, now: Instant, group: Group, owner: Member | None) -> AssignGroup | BeginMove | CancelMove | None:
        """An owner has it: move it from a node that lost the array, is to be stopped or drained, or to a better one."""
        over = lost(group, self._candidates.groups)
        if over is not None:
            return over
        settled = self._settled(group)
        if group.owner in self._candidates.groups:
            if not settled:
                return None
            return self._networks.away(now, group, self._candidates, self._wait) or self._back(now, group)
        storage, since = self._presence.storage_of(group.owner)
        grace = self._timing.path_grace
        if not storage and now - since >= grace:  # where the array was away, its owner may be the last to log in again
            others = [node for node in self._candidates.groups if node != group.owner]
            if any(now - self._presence.storage_of(node)[1] >= grace for node in others):
                reason = f"node {group.owner} has lost every path to the array"
                return self._assign(group, Why.RESOURCE_FAILURE, reason, leave=True)
        elif settled and self._presence.is_leaving(group.owner):
            return self._away(group, f"node {group.owner} is being stopped", NOBODY, drained=False)
        elif settled and owner is not None and owner.quarantined:
            return self._away(group, f"node {group.owner} is quarantined", NOBODY)
        elif settled and owner is not None and owner.drain is DrainStatus.IN_PROGRESS:
            return self._away(group, f"node {group.owner} is being drained", group.owner)
        return None

    @staticmethod
    def _settled(group: Group) -> bool:
        return group.state is GroupState.ONLINE and not group.leaves

    def _away(self, group: Group, cause: str, home: NodeId, *, drained: bool = True) -> BeginMove | None:
        """A planned move to whichever node is best."""
        choice = choose(group.definition, group.owner, Why.MOVE, self._candidates, leave=True)
        if choice is None:
            return None
        # A VM whose live migration has just failed leaves all the same: it is saved, and goes on on the other node.
        tried = self._tried.get(group.name) == group.generation and group.migration is MigrationState.FAILURE
        kind = leaving_by(group.definition.policy, self._settings.now, drained=drained)
        kind = MoveKind.QUICK if tried and kind is MoveKind.LIVE else kind
        self._tried[group.name] = group.generation
        return BeginMove(group.name, group.generation, choice.owner, cause, home, kind)

    def _back(self, now: Instant, group: Group) -> BeginMove | None:
        found = self.failbacks.target(now, group, self._candidates.groups)
        if found is None or conflict(group.name, found[0], self._candidates) or self._networks.lacks(group, found[0]):
            return None
        self.failbacks.done(group)
        return BeginMove(group.name, group.generation, *found, kind=MoveKind.LIVE)

    def _drain(self, database: Database, member: Member, planned: list[Command]) -> list[Command]:
        """Where the drain of a node stands, once this plan is carried out."""
        left = [group for group in database.owned_by(member.id) if group.runs]
        if not left:
            return [EndDrain(member.id, DrainStatus.COMPLETED, "nothing runs there any more")]
        moving = {command.group for command in planned if isinstance(command, BeginMove | AssignGroup)}
        stuck = [g for g in left if g.name not in moving and g.moving_to == NOBODY and g.state is GroupState.ONLINE]
        if not stuck or not all(group in stuck for group in left):
            return []
        if member.force:
            return [SetDesired(group.name, False) for group in stuck if group.desired]
        names = ", ".join(group.name for group in stuck)
        reason = f"no other node is able to take {names}; it stays where it is, and the node paused"
        return [EndDrain(member.id, DrainStatus.FAILED, reason)]

    def _failed(self, now: Instant, group: Group, nodes: int) -> AssignGroup | None:
        able = self._candidates.groups
        here = group.owner in able and group.definition.may_run_on(group.owner)
        what, due, why = self._failures.next(now, group, nodes, here=here)
        if what is Next.WAIT:
            self._wait(due)
            return None
        if what is Next.GIVE_UP:
            if self._stranded.get(group.name) != (group.generation, why):
                self._stranded[group.name] = group.generation, why
                self._give_up(now, group, why)
            return None
        cause = f"{group.cause}: {group.reason}"
        if what is Next.RESTART:
            choice = Choice(group.owner, tuple(sorted(able)), f"same node: {why}")
            self._failures.acted(now, group, restart=True)
            return self._command(group, choice, cause)
        command = self._assign(group, Why.RESOURCE_FAILURE, cause, leave=True)
        if command is None:
            command = self._assign(group, Why.RESOURCE_FAILURE, cause, leave=False)
        if command is not None:
            self._failures.acted(now, group, restart=False)
            return self._command(group, Choice(command.owner, command.candidates, command.rule), cause)
        return None

    def _give_up(self, now: Instant, group: Group, why: str) -> None:
        again = "; bring it online by hand"
        if self._failures.gave_up(now, group):
            again = f"; next attempt in {self._timing.retry // 1000} ms"
        self._out.fact(FactKind.GROUP_FAILED, why + again, group=group.name, generation=group.generation)

    def _arrive(self, group: Group) -> AssignGroup | None:
        """A planned move: the old owner is done."""
        if group.moving_to in self._candidates.groups:
            able = tuple(sorted(self._candidates.groups))
            return self._command(group, Choice(group.moving_to, able, f"planned move: {group.cause}"), group.cause)
        return self._assign(group, Why.MOVE, "the node it was to move to is gone", leave=False)

    def _assign(self, group: Group, why: Why, cause: str, *, leave: bool) -> AssignGroup | None:
        choice = choose(group.definition, group.owner, why, self._candidates, leave)
        if choice is None:
            self._nowhere(group, cause, leave=leave)
            return None
        self._stranded.pop(group.name, None)
        return self._command(group, choice, cause)

    def _nowhere(self, group: Group, cause: str, *, leave: bool) -> None:
        """No node takes a group: make room where that is allowed, and say why it waits."""
        definition, nodes = group.definition, self._candidates
        allowed = [n for n in eligible(definition, group.owner, nodes, leave) if not conflict(group.name, n, nodes)]
        if allowed:  # but full
            self._strand(group, FactKind.GROUP_WAITING, f"{cause}; no node has {definition.memory_mb} MB left")
            if knows_priorities(self._definition.properties.profile):
                groups = self._database().groups.values()
                made = make_room(group, allowed, groups, nodes, {p.group for p in self._preempted})
                if made is not None:
                    self._preempted.extend(made.preempted)
                    self._hold(made.node, definition.memory_mb)
            return
        rule = blocked(definition, group.owner, nodes, leave)
        if rule:
            self._strand(group, FactKind.GROUP_CONFLICT, rule)
        else:
            self._strand(group, FactKind.GROUP_WAITING, f"{cause}; no node that is up, sees the array and may own it")

    def _hold(self, node: NodeId, memory_mb: int) -> None:
        """Room that is being made is not there for groups that are planned later: they would have to go again."""
        room = self._candidates.room
        assert isinstance(room, dict), "made in _look"
        room[node] -= memory_mb

    def _strand(self, group: Group, kind: FactKind, reason: str) -> None:
        """Say once why a group stays where it is."""
        if self._stranded.get(group.name) != (group.generation, reason):
            self._stranded[group.name] = group.generation, reason
            self._out.fact(kind, reason, group=group.name, generation=group.generation)

    def _command(self, group: Group, choice: Choice, cause: str) -> AssignGroup:
        counts = self._failures.counts(group)
        return AssignGroup(
            group.name, group.generation, choice.owner, cause, choice.candidates, choice.rule, *counts
        )  # fmt: skip

    def report(self, sender: NodeId, incarnation: Incarnation, report: GroupReport) -> Command | None:
        """An owner's report, if it is the owner's and news."""
        database = self._database()
        group = database.groups.get(report.group)
        state = REPORTED.get(report.outcome)
        if group is None or state is None or group.owner != sender or group.generation != report.generation:
            return None
        said = ReportGroup(
            group.name, group.generation, state, report.cause, report.reason, report.revision, report.resources
        )
        return said if group.news(said) and database.is_member(sender, incarnation) else None


def _by_priority(group: Group) -> tuple[int, str]:
    """High before Medium before Low, then by name."""
    return -group.definition.policy.priority, group.name
