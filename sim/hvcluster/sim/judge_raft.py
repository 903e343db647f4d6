"""Judges consensus: votes, what is committed, who leads, who votes, and who may challenge for the witness.

Law: looks at disks and at what is said; asks a core only what it acts on. A fact may be recorded late (a process that
was frozen in the middle of an event), so nothing here rests on the moment of a fact alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.facts import Fact
from hvcluster.model.vocabulary import NOBODY, GroupState, Instant, NodeId
from hvcluster.model.votes import Configuration
from hvcluster.node.core.commands import AssignGroup, Configure, NodeUp, ReportGroup
from hvcluster.node.core.database import Database
from hvcluster.node.core.effects import Save, Send
from hvcluster.node.core.messages import (
    AppendReply,
    Entry,
    GroupReport,
    Heartbeat,
    PreVote,
    PreVoteReply,
    RequestVote,
    TimeoutNow,
    VoteReply,
)
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.raft.log import Log
from hvcluster.node.core.saved import SavedState, Snapshot
from hvcluster.node.core.witness import Hold

from .judge_tag import OnWitness

if TYPE_CHECKING:
    from collections.abc import Callable

    from .judge import Broken
    from .judge_disks import Disks
    from .machines import Machine
    from .world import World


def _holds(saved: SavedState, index: int, term: int | None) -> bool:
    """Whether a disk has the entry of that term at that index, or a snapshot that covers it."""
    if saved.snapshot is None or index <= saved.snapshot.index:
        return saved.snapshot is not None
    at = index - saved.snapshot.index - 1
    return at < len(saved.entries) and saved.entries[at].term == term


def _before_its_term(log: Log, term: int) -> Configuration:
    """The votes in force when a leader was elected: those before the entries of its own term."""
    found = log._configurations[0][1]
    for at, configuration in log._configurations:
        if log.term_at(at) != term:
            found = configuration
    return found


class Consensus:
    """Terms, votes and the log of one world."""

    def __init__(
        self,
        world: World,
        broken: Callable[[str], Broken],
        counts: dict[str, int],
        witness: OnWitness,
        disks: Disks,
    ) -> None:
        self._world = world
        self._broken = broken
        self._counts = counts
        self._witness = witness
        self._disks = disks
        self._leaders: dict[int, NodeId] = {}
        self._newest_term = 0
        self._votes: dict[tuple[int, int], NodeId] = {}
        self._committed: list[Entry] = []
        self._first = 2  # the cluster is created with index 1
        self._configuration: Configuration | None = None
        self._configurations = [(1, Database.created(world.definition).first_configuration())]
        self._incarnations: dict[NodeId, int] = {}
        self._applied: dict[tuple[NodeId, int], int] = {}
        self._began: dict[NodeId, Instant] = {}  # on its own clock: the present life
        self._handed_over: set[tuple[NodeId, int]] = set()  # to whom, for which term
        self._asked: dict[NodeId, tuple[int, int]] = {}  # of a pre-vote: term, and when
        self._granted: dict[tuple[NodeId, NodeId], int] = {}  # asker, granter: of which term
        self._heard: dict[tuple[NodeId, object], int] = {}  # since when a route to a peer is up

    # what is saved and said

    def saved(self, machine: Machine, save: Save) -> None:
        """A node's disk changed: one vote in a term, votes changed one at a time, snapshots true to their index."""
        if save.vote is not None and save.vote[1] != 0:
            term, choice = save.vote
            key = (machine.saved.store, term)
            if self._votes.setdefault(key, choice) != choice:
                raise self._broken(f"node {machine.node} voted for {self._votes[key]} and for {choice} in term {term}")
        if save.snapshot is not None:
            self._snapshot(machine.node, save.snapshot)
        if save.append and machine.core.state.leads:
            for entry in save.append:
                if isinstance(entry.command, Configure):
                    self._proposed(machine, entry)

    def _snapshot(self, node: NodeId, snapshot: Snapshot) -> None:
        if snapshot.index >= self._first + len(self._committed):
            return  # not judged yet: whoever committed it died with it
        at, configuration = next(row for row in reversed(self._configurations) if row[0] <= snapshot.index)
        if configuration != snapshot.configuration:
            raise self._broken(
                f"node {node} wrote a snapshot of index {snapshot.index} with {snapshot.configuration}, "
                f"but since {at} {configuration} votes"
            )

    def _proposed(self, machine: Machine, entry: Entry) -> None:
        """A leader changes votes: it has committed an entry of its own term, and no other change waits."""
        state = machine.core.state
        if entry.index <= state.commit or entry.term != state.term:
            return
        if state.log.term_at(state.commit) != state.term:
            raise self._broken(f"node {machine.node} changes votes before it has committed an entry of its own term")
        if sum(1 for at, _ in state.log._configurations if at > state.commit) > 1:
            raise self._broken(f"node {machine.node} changes votes while an earlier change is not committed")

    def said(self, machine: Machine, send: Send) -> None:
        """A node says something: a vote it grants must be on its disk by then."""
        message = send.message
        if isinstance(message, VoteReply):
            saved = machine.saved
            if message.granted and (saved.term, saved.voted_for) != (message.term, send.to):
                raise self._broken(
                    f"node {machine.node} gave node {send.to} its vote of term {message.term}, "
                    f"but its disk says {saved.voted_for} in term {saved.term}"
                )
        elif isinstance(message, AppendReply):
            leader = self._leaders.get(message.term, send.to)
            if message.success and leader != send.to:
                raise self._broken(
                    f"node {machine.node} obeyed node {send.to} in term {message.term}, which node {leader} leads"
                )
        elif isinstance(message, TimeoutNow):
            self._handed_over.add((send.to, message.term + 1))
        elif isinstance(message, RequestVote):
            if message.transfer and (machine.node, message.term) not in self._handed_over:
                raise self._broken(f"node {machine.node} says that the leader asked it to stand in term {message.term}")
        elif isinstance(message, GroupReport):
            if message.outcome in ("FAILED", "OFFLINE"):
                self._disks.ended(message.group, message.generation)
        elif isinstance(message, Heartbeat):
            if message.quorum and message.leader == machine.node:
                self._vouched(machine, message)
        elif isinstance(message, PreVote):
            self._asked[machine.node] = (message.term, self._world.now)
        elif isinstance(message, PreVoteReply) and message.granted:
            self._granted[send.to, machine.node] = message.term
            self._promised(machine, send.to)

    def _vouched(self, machine: Machine, beat: Heartbeat) -> None:
        """A leader says that quorum stands: enough voters have followed it within the time that a voter waits."""
        core = machine.core
        if core.state.log.configuration.witness and (core.witness is None or core.witness.hold is not Hold.HELD):
            return  # it may have lost the witness in this very event
        made = core.beats.sent_at(beat.sequence)
        if made is not None and made - core.quorum._leader_evidence() >= machine.timing.sticky:
            raise self._broken(f"node {machine.node} says that quorum stands, and has heard too few voters")

    def _promised(self, machine: Machine, asker: NodeId) -> None:
        """Somebody says that it would vote for another: not while it may have promised a leader to wait."""
        core, now = machine.core, machine.clock()
        leader, sticky = core.state.leader, machine.timing.sticky
        if now < self._began[machine.node] + sticky:
            raise self._broken(f"node {machine.node} would vote for node {asker} right after it started")
        if core.state.leads and core.quorum.lease_stands(now):
            raise self._broken(f"node {machine.node} leads under its lease and would vote for node {asker}")
        heard = leader not in (NOBODY, asker, machine.node) and core.reachable(leader)
        if heard and now - core.state.leader_heard < sticky:
            raise self._broken(f"node {machine.node} hears node {leader} lead and would vote for node {asker}")

    # arbitration

    def route_up(self, fact: Fact) -> None:
        """A node hears a peer on another route, or again."""
        self._heard[fact.node, fact.get("peer")] = self._world.now

    def challenged(self, fact: Fact) -> None:
        """A node challenges for the witness: as candidate, it has the pre-vote of every voter it can reach."""
        core = self._world.machines[fact.node].core
        asked = self._asked.get(fact.node)
        if asked is None or core.witness is None or not core.witness.arbitrating:
            return
        for voter in core.state.log.configuration.voters:
            known = self._heard.get((fact.node, voter.node), 0) < asked[1] and core.reachable(voter.node)
            if voter.node != fact.node and known and self._granted.get((fact.node, voter.node)) != asked[0]:
                raise self._broken(
                    f"node {fact.node} challenges for the witness although node {voter.node}, which it can reach, "
                    f"has not granted its pre-vote of term {asked[0]}"
                )

    # what is applied

    def started(self, machine: Machine) -> None:
        """A new life of a node's service: it applies its database from the snapshot on."""
        self._applied[machine.node, machine.life] = machine.core.replica.applied
        self._began[machine.node] = machine.clock()

    def after(self, machine: Machine, core: NodeCore, votes: Configuration) -> None:
        """A node has applied entries: they must be what everybody applies. `votes`: in force when the event came."""
        key = (machine.node, machine.life)
        done = self._applied.get(key, -1)
        log = core.state.log
        if core.replica.applied > core.state.commit:
            raise self._broken(f"node {core.me} applied {core.replica.applied}, committed is {core.state.commit}")
        if core.state.leads and core.state.commit > done:  # else an event within this one has been judged for it
            self._committed_by(core, votes, done)
        for index in range(max(done, log.snapshot_index) + 1, core.replica.applied + 1):
            self._applied_entry(machine.node, log.entry(index))
        self._applied[key] = core.replica.applied

    def _committed_by(self, core: NodeCore, before: Configuration, done: int) -> None:
        """A leader committed: an entry of its own term, and a quorum must have it on disk.

        By the votes in force when the event came, or by those that the event itself brought in.
        """
        log = core.state.log
        index = core.state.commit
        term = log.term_at(index)
        if term != core.state.term:
            raise self._broken(f"node {core.me} leads term {core.state.term} and committed {term}:{index} by counting")
        after = (log.entry(at).command for at in range(max(done, log.snapshot_index) + 1, log.last_index + 1))
        possible = [before, *(command.configuration for command in after if isinstance(command, Configure))]
        for configuration in possible:
            copies = 0
            for voter in configuration.voters:
                saved = self._world.machines[voter.node].saved
                copies += saved.store != voter.store or _holds(saved, index, term)  # a disk lost since then did hold it
            if copies >= configuration.quorum:
                return
            if configuration.witness and copies + 1 >= configuration.quorum and self._witness.held(index, term):
                return
        raise self._broken(f"node {core.me} committed {term}:{index}, which no quorum of {before} has on disk")

    def _applied_entry(self, node: NodeId, entry: Entry) -> None:
        at = entry.index - self._first
        if at < len(self._committed):
            known = self._committed[at]
            if known is not entry and known != entry:
                raise self._broken(f"node {node} applied {entry} where {known} had been applied")
            return
        if at > len(self._committed):
            raise self._broken(f"node {node} applied index {entry.index} before anybody applied the one before it")
        self._committed.append(entry)
        match entry.command:
            case AssignGroup() as command:
                self._assigned(command)
            case Configure(configuration):
                self._configured(entry.index, configuration)
            case NodeUp() as command:
                self._joined(command)
            case ReportGroup(group, seen, GroupState.ONLINE) if not self._disks.has_booted(group, seen):
                raise self._broken(f"generation {seen} of {group} is reported online and has never booted")
            case _:
                pass

    def _configured(self, index: int, configuration: Configuration) -> None:
        old = self._configuration
        if old is not None:
            changed = set(old.voters) ^ set(configuration.voters)
            if len(changed) + (old.witness != configuration.witness) != 1:
                raise self._broken(f"more than one voter changed at once: {old} to {configuration}")
        self._configuration = configuration
        self._configurations.append((index, configuration))

    def _assigned(self, command: AssignGroup) -> None:
        if not command.cause or not command.rule or command.owner not in command.candidates:
            raise self._broken(f"a change of owner without a reason: {command}")
        self._counts["assignments"] = self._counts.get("assignments", 0) + 1

    def _joined(self, command: NodeUp) -> None:
        """A node is taken in under a life that was never taken in before."""
        if command.incarnation <= self._incarnations.get(command.node, 0):
            raise self._broken(f"node {command.node} is taken in again under incarnation {command.incarnation}")
        self._incarnations[command.node] = command.incarnation

    # who leads

    def elected(self, fact: Fact) -> None:
        """A node says that it leads a term: alone, by a quorum of votes on disk, with everything that was committed."""
        term = int(fact.get("term") or 0)
        if self._leaders.setdefault(term, fact.node) != fact.node:
            raise self._broken(f"nodes {self._leaders[term]} and {fact.node} both lead term {term}")
        machine = self._world.machines[fact.node]
        state = machine.core.state
        if term < self._newest_term or state.term != term:
            return  # it was frozen before it could say so, and others went on
        self._newest_term = term
        self._won(fact.node, term, _before_its_term(state.log, term))
        if self._committed:
            last = self._committed[-1]
            if last.index > state.log.snapshot_index and state.log.term_at(last.index) != last.term:
                raise self._broken(
                    f"node {fact.node} leads term {term} without committed entry {last.term}:{last.index}"
                )
        for other in self._world.machines.values():
            if other is machine or not other.alive or other.frozen:
                continue
            if other.core.state.leads and other.core.quorum.lease_stands(other.clock()):
                raise self._broken(f"node {fact.node} was elected while the lease of node {other.node} stands")

    def _won(self, node: NodeId, term: int, configuration: Configuration) -> None:
        votes = sum(1 for voter in configuration.voters if self._votes.get((voter.store, term)) == node)
        votes += configuration.witness and self._witness.votes.get(term) == node
        if votes < configuration.quorum:
            raise self._broken(f"node {node} leads term {term} with {votes} votes on disk of {configuration}")
