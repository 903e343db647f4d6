"""Compute resiliency as the leader sees it: which lost node is waited for, and which one is quarantined.

Law: reads the applied database and who is there, returns commands and proposes nothing itself. Every node keeps the
times, each by its own clock and from when the database first showed it what they are of. So a new leader goes on from
what it saw itself: a wait is longer than the property says by replication at most, or, where the new leader's service
has started since, by what had passed before that.
"""

from __future__ import annotations

from dataclasses import replace

from hvcluster.model.facts import FactKind
from hvcluster.model.properties import Timing, resiliency_us
from hvcluster.model.vocabulary import Incarnation, Instant, NodeId

from .commands import Command, ForgetLosses, NodeDown, NodeIsolated, NodeReturned, QuarantineNode, ReleaseNode
from .database import Database, Group, Member
from .heartbeats import Heartbeats
from .outbox import Outbox
from .presence import Presence
from .replica import EVICTED, STOPPED_POLITELY
from .settings import Settings

ALWAYS = 2
"""ResiliencyLevel AlwaysIsolate; below it only a node that another one still hears is waited for."""

QUARANTINED_SHARE = 4
"""One node in so many may be quarantined at once, and in small clusters one: the cluster must not shut itself out."""


class Resiliency:
    """What is known of nodes that left suddenly. Volatile, but for what the database counts."""

    __slots__ = (
        "_back",
        "_beats",
        "_isolated",
        "_losses",
        "_me",
        "_out",
        "_presence",
        "_quarantined",
        "_refused",
        "_settings",
        "_timing",
        "_waited_for",
    )

    def __init__(
        self, me: NodeId, settings: Settings, timing: Timing, presence: Presence, beats: Heartbeats, out: Outbox
    ) -> None:
        self._me = me
        self._settings = settings
        self._timing = timing
        self._presence = presence
        self._beats = beats
        self._out = out
        self._back: dict[NodeId, Instant] = {}  # quarantined nodes that were heard again, and since when
        self._isolated: dict[NodeId, Instant] = {}
        self._quarantined: dict[NodeId, Instant] = {}
        self._losses: dict[NodeId, list[Instant]] = {}
        self._refused: dict[NodeId, Incarnation] = {}
        self._waited_for: dict[NodeId, NodeDown] = {}  # isolated, or to be, with what it will be removed for

    def observe(self, now: Instant, database: Database) -> None:
        """The database changed: note since when what it says of nodes is so."""
        for member in database.members.values():
            if not member.quarantined:
                self._back.pop(member.id, None)
            for noted, holds in ((self._isolated, member.isolated), (self._quarantined, member.quarantined)):
                if not holds:
                    noted.pop(member.id, None)
                elif member.id not in noted:
                    noted[member.id] = now
                    if member.id == self._me and noted is self._quarantined:
                        reason = "it left suddenly too often; it may join when its quarantine ends or is cleared"
                        self._out.fact(FactKind.QUARANTINED_HERE, reason, losses=member.losses)
            known = self._losses.get(member.id, [])
            if len(known) != member.losses:
                older = known[len(known) - member.losses :] if member.losses < len(known) else known
                self._losses[member.id] = [*older, *(now for _ in range(member.losses - len(older)))]

    # as leader

    def settle(self, now: Instant, database: Database, down: dict[NodeId, NodeDown]) -> list[Command]:
        """What to propose for nodes that left suddenly or are back; those still waited for are taken out of `down`."""
        self.observe(now, database)
        commands: list[Command] = []
        self._waited_for = {}
        for member in database.members.values():
            if member.id in down:
                commands.extend(self._lost(now, database, member, down))
            elif member.id == self._me and member.quarantined:
                commands.append(ReleaseNode(member.id, "the others elected it: it leads"))
            elif member.quarantined and self._presence.carries_on(member) and self._drains(now, database, member):
                if member.isolated:
                    commands.append(NodeReturned(member.id, member.incarnation))
            elif member.up and member.quarantined and self._presence.carries_on(member):
                reason = f"node {member.id} is back and quarantined"
                down[member.id] = NodeDown(member.id, member.incarnation, reason, waited=member.isolated)
            elif member.isolated and self._presence.carries_on(member):
                commands.append(NodeReturned(member.id, member.incarnation))
        commands.extend(self._quarantine(now, database))
        return commands

    def _drains(self, now: Instant, database: Database, member: Member) -> bool:
        """Whether VMs of a quarantined node that is back have yet to be migrated away, before it has to go."""
        others = self._presence.able(database, {member.id})
        left = [group for group in database.owned_by(member.id) if group.runs]
        if not any(group.definition.may_run_on(node) for group in left for node in others):
            self._back.pop(member.id, None)
            return False
        return now - self._back.setdefault(member.id, now) < self._timing.pending

    def _lost(self, now: Instant, database: Database, member: Member, down: dict[NodeId, NodeDown]) -> list[Command]:
        command = down[member.id]
        if command.reason in (STOPPED_POLITELY, EVICTED):
            return []
        counts = self._settings.now.quarantine_threshold > 0 and not member.isolated and not member.outside
        command = down[member.id] = replace(command, sudden=counts, waited=member.isolated)
        if not self._may_wait(now, database, member):
            return []
        self._waited_for[member.id] = down.pop(member.id)
        return [] if member.isolated else [NodeIsolated(member.id, member.incarnation, command.reason)]

    def _may_wait(self, now: Instant, database: Database, member: Member) -> bool:
        """Whether a lost member is waited for: it lives on as far as anybody knows, and a VM of it has time left."""
        if member.outside or self._presence.alive(member.id) is not None or self._presence.is_leaving(member.id):
            return False
        if not any(group.runs and self._left_us(now, group) > 0 for group in database.owned_by(member.id)):
            return False
        return member.isolated or self._settings.now.resiliency_level >= ALWAYS or self._others_hear(member)

    def _others_hear(self, member: Member) -> bool:
        """Whether a node that we hear hears the one we do not: they are apart, and it is not dead."""
        return any(
            heard.node == member.id and heard.incarnation == member.incarnation
            for peer in self._beats.peers.values()
            if not peer.unreachable and peer.beat is not None
            for heard in peer.beat.hears
        )

    def _left_us(self, now: Instant, group: Group) -> int:
        """For how long the owner of a group is still waited for; the whole time when waiting has not begun."""
        since = self._isolated.get(group.owner, now)
        return resiliency_us(self._settings.now, group.definition.resiliency_period_ms) - (now - since)

    @property
    def waited_for(self) -> dict[NodeId, NodeDown]:
        """Members of whom nothing is heard and that stay members all the same, with what they will be removed for."""
        return self._waited_for

    def unmonitored(self, now: Instant, group: Group) -> bool:
        """Whether a group is left where it is, because its owner is waited for."""
        return group.runs and group.owner in self._waited_for and self._left_us(now, group) > 0

    # quarantine

    def _quarantine(self, now: Instant, database: Database) -> list[Command]:
        threshold = self._settings.now.quarantine_threshold
        commands: list[Command] = []
        members = {member.id: member for member in database.members.values() if not member.outside}
        inside = sum(1 for member in members.values() if member.quarantined)
        for member in members.values():
            if member.id == self._me or not member.losses:
                continue
            if member.quarantined:
                if now - self._quarantined.get(member.id, now) >= self._timing.quarantine:
                    commands.append(ReleaseNode(member.id, "its quarantine is over"))
                continue
            recent = [at for at in self._losses.get(member.id, []) if now - at < self._timing.quarantine_window]
            if len(recent) < member.losses:
                commands.append(ForgetLosses(member.id, member.losses, len(recent)))
            elif (
                0 < threshold <= member.losses
                and (member.isolated or not member.up)
                and inside < max(1, len(members) // QUARANTINED_SHARE)
                and len(members) > 1
            ):
                inside += 1
                reason = f"it left suddenly {member.losses} times within {self._settings.now.quarantine_window_ms} ms"
                commands.append(QuarantineNode(member.id, member.losses, reason))
        return commands

    def refuses(self, member: Member, incarnation: Incarnation) -> bool:
        """Whether a node that would join is not taken in; recorded once for each of its lives."""
        if member.quarantined and self._refused.get(member.id) != incarnation:
            self._refused[member.id] = incarnation
            left_us = self._timing.quarantine - (self._out.now - self._quarantined.get(member.id, self._out.now))
            reason = f"it is quarantined for another {max(0, left_us) // 1000} ms"
            self._out.fact(FactKind.JOIN_REFUSED, reason, peer=member.id, incarnation=incarnation)
        return member.quarantined

    def votes(self, member: Member) -> bool:
        """Whether a member may have a vote: not while it is waited for, or kept out."""
        return member.id == self._me or not (member.isolated or member.quarantined)
