"""What a leader proposes for groups: an owner for every one that should be online, by the rules of placement.

Law: reads the applied database and who is there, returns commands; which node is best is for `placement` to say.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Properties, Timing
from hvcluster.model.vocabulary import NOBODY, Generation, GroupState, Incarnation, Instant, NodeId

from .commands import AssignGroup, BeginMove, Command, NodeDown, ReportGroup
from .database import Database, Group
from .heartbeats import NEVER
from .messages import GroupReport
from .outbox import Outbox
from .placement import Candidates, Choice, Why, choose
from .presence import Presence

REPORTED = {"ONLINE": GroupState.ONLINE, "OFFLINE": GroupState.OFFLINE, "FAILED": GroupState.FAILED}


class Roles:
    """The leader's plans for groups. Volatile: a new leader starts with none."""

    __slots__ = (
        "_database",
        "_failures",
        "_leading_since",
        "_out",
        "_presence",
        "_properties",
        "_retry_at",
        "_stranded",
        "_timing",
    )

    def __init__(
        self, presence: Presence, database: Callable[[], Database], properties: Properties, timing: Timing, out: Outbox
    ) -> None:
        self._presence = presence
        self._database = database
        self._properties = properties
        self._timing = timing
        self._out = out
        self._leading_since = NEVER
        self._failures: dict[str, list[Instant]] = {}
        self._retry_at: dict[str, Instant] = {}
        self._stranded: dict[str, Generation] = {}

    def start(self, now: Instant) -> None:
        """We lead a new term."""
        self._leading_since = now
        self._failures = {}
        self._retry_at = {}
        self._stranded = {}

    def able(self) -> dict[NodeId, int]:
        """Nodes that may take a group now, with how many they have."""
        return self._presence.able(self._database(), set())

    def plan(self, now: Instant, database: Database, down: dict[NodeId, NodeDown]) -> list[Command]:
        """What to propose for the groups, when the nodes of `down` are about to leave the membership."""
        commands: list[Command] = []
        counts = self._presence.able(database, set(down))
        for group in database.groups.values():
            if not group.desired or (group.runs and group.owner in counts):
                continue  # nothing to do, or where it runs it may stay
            command = self._group(now, database, group, down, counts)
            if command is not None:
                commands.append(command)
                taker = command.owner if isinstance(command, AssignGroup) else command.target
                counts[taker] = counts.get(taker, 0) + 1
        return commands

    def _group(
        self, now: Instant, database: Database, group: Group, down: dict[NodeId, NodeDown], counts: dict[NodeId, int]
    ) -> AssignGroup | BeginMove | None:
        """What to do about one group that should be online."""
        owner = database.members.get(group.owner)
        if group.runs and group.owner in down:
            return self._assign(now, group, Why.NODE_FAILURE, down[group.owner].reason, counts, leave=True)
        if group.runs:
            return self._running(now, group, counts)
        if group.state is GroupState.FAILED:
            return self._failed(now, group, counts)
        if group.moving_to != NOBODY:
            return self._arrive(now, group, counts)
        if group.waiting or group.owner in counts:
            if group.owner in counts:
                return self._assign(now, group, Why.START, group.reason, counts, leave=False)
            gone = owner is None or now - self._leading_since >= self._timing.group_wait
            if not gone:
                return None
        return self._assign(now, group, Why.NODE_FAILURE, group.reason, counts, leave=True)

    def _running(self, now: Instant, group: Group, counts: dict[NodeId, int]) -> AssignGroup | BeginMove | None:
        """An owner has it: move it away only from a node that lost the array, or that is asked to stop."""
        storage, since = self._presence.storage_of(group.owner)
        if not storage and now - since >= self._timing.path_grace:
            grace = (
                self._timing.path_grace
            )  # when the array itself was away, its owner may only be the last to log in again
            if any(node != group.owner and now - self._presence.storage_of(node)[1] >= grace for node in counts):
                reason = f"node {group.owner} has lost every path to the array"
                return self._assign(now, group, Why.RESOURCE_FAILURE, reason, counts, leave=True)
        elif self._presence.is_leaving(group.owner) and group.moving_to == NOBODY and group.state is GroupState.ONLINE:
            choice = choose(group.definition, group.owner, Why.MOVE, Candidates(counts), leave=True)
            if choice is not None:
                return BeginMove(group.name, group.generation, choice.owner, f"node {group.owner} is being stopped")
        return None

    def _failed(self, now: Instant, group: Group, counts: dict[NodeId, int]) -> AssignGroup | None:
        retry_at = self._retry_at.get(group.name)
        if retry_at is not None and now < retry_at:
            return None
        failures = [at for at in self._failures.get(group.name, []) if now - at < self._timing.failover_period]
        threshold = self._properties.failover_threshold
        if threshold < 0:
            threshold = max(1, len(self._database().members) - 1)
        if retry_at is None and len(failures) >= threshold:
            self._retry_at[group.name] = Instant(now + self._timing.retry)
            retry_ms = self._timing.retry // 1000
            reason = f"it failed {len(failures)} times within the failover period; next attempt in {retry_ms} ms"
            self._out.fact(FactKind.GROUP_FAILED, reason, group=group.name, generation=group.generation)
            return None
        self._retry_at.pop(group.name, None)
        command = self._assign(now, group, Why.RESOURCE_FAILURE, f"{group.cause}: {group.reason}", counts, leave=True)
        if command is None:
            command = self._assign(now, group, Why.RESOURCE_FAILURE, group.reason, counts, leave=False)
        if command is not None:
            self._failures[group.name] = [*failures, now]
        return command

    def _arrive(self, now: Instant, group: Group, counts: dict[NodeId, int]) -> AssignGroup | None:
        """A planned move: the old owner is done."""
        if group.moving_to in counts:
            able = tuple(sorted(counts))
            rule = f"planned move: {group.cause}"
            return self._command(group, Choice(group.moving_to, able, rule), group.cause, failure=False)
        return self._assign(now, group, Why.MOVE, "the node it was to move to is gone", counts, leave=False)

    def _assign(
        self, now: Instant, group: Group, why: Why, cause: str, counts: dict[NodeId, int], *, leave: bool
    ) -> AssignGroup | None:
        choice = choose(group.definition, group.owner, why, Candidates(counts), leave)
        if choice is None:
            if self._stranded.get(group.name) != group.generation:
                self._stranded[group.name] = group.generation
                reason = f"{cause}; no node that is up, sees the array and may own it"
                self._out.fact(FactKind.GROUP_WAITING, reason, group=group.name, generation=group.generation)
            return None
        self._stranded.pop(group.name, None)
        return self._command(group, choice, cause, failure=why is Why.RESOURCE_FAILURE)

    def _command(self, group: Group, choice: Choice, cause: str, *, failure: bool) -> AssignGroup:
        return AssignGroup(group.name, group.generation, choice.owner, cause, choice.candidates, choice.rule, failure)

    def report(self, sender: NodeId, incarnation: Incarnation, report: GroupReport) -> Command | None:
        """An owner's report, if it is the owner's and news."""
        database = self._database()
        group = database.groups.get(report.group)
        state = REPORTED.get(report.outcome)
        if group is None or state is None or group.owner != sender or group.generation != report.generation:
            return None
        if group.state is state or not database.is_member(sender, incarnation):
            return None
        return ReportGroup(group.name, group.generation, state, report.cause, report.reason)
