"""Judges consensus: votes, what is committed, who leads, who votes, and who may challenge for the witness.

Law: looks at disks and at what is said; asks a core only what it acts on. A fact may be recorded late (a process that
was frozen in the middle of an event), so nothing here rests on the moment of a fact alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.epochs import epoch_of, epoch_text, first_term, forced_node
from hvcluster.model.facts import Fact
from hvcluster.model.vocabulary import NOBODY, GroupState, Instant, NodeId
from hvcluster.model.votes import Configuration
from hvcluster.node.core.commands import AssignGroup, Configure, ForceQuorum, NodeUp, ReportGroup
from hvcluster.node.core.database import Database
from hvcluster.node.core.effects import Save, Send
from hvcluster.node.core.forcing import Start
from hvcluster.node.core.messages import (
    AppendReply,
    Entry,
    GroupReport,
    Heartbeat,
    Message,
    PreVote,
    PreVoteReply,
    RequestVote,
    TimeoutNow,
    VoteReply,
    term_in,
)
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.raft.log import Log
from hvcluster.node.core.saved import SavedState, Snapshot
from hvcluster.node.core.witness import Hold

from .judge_history import FIRST, Histories, History
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
        self._newest_term: dict[int, int] = {}  # by force epoch
        self._votes: dict[tuple[int, int], NodeId] = {}
        self._histories = Histories(Database.created(world.definition).first_configuration())
        self._joined_by: dict[tuple[NodeId, int], tuple[int, int]] = {}  # a life: the entry that took it in
        self._applied: dict[tuple[NodeId, int], int] = {}
        self._began: dict[NodeId, Instant] = {}  # on its own clock: the present life
        self._prevented_lives: set[tuple[NodeId, int]] = set()
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
                if isinstance(entry.command, ForceQuorum) and entry.term == machine.saved.term:
                    self._forced(machine, entry.term)
                if isinstance(entry.command, Configure):
                    self._proposed(machine, entry)

    def _forced(self, machine: Machine, term: int) -> None:
        """A force epoch begins, on the disk of the node that an administrator forced, and nowhere else."""
        if self._histories.begun(term):
            raise self._broken(f"node {machine.node} begins epoch {epoch_text(epoch_of(term))}, which has begun")
        self._histories.begin(term, machine.saved)
        self._counts["forced"] = self._counts.get("forced", 0) + 1

    def _snapshot(self, node: NodeId, snapshot: Snapshot) -> None:
        history = self._histories.with_entry(snapshot.index, snapshot.term)
        if history is None:
            if self._histories.disproves(snapshot.index, snapshot.term):
                raise self._broken(
                    f"node {node} wrote a snapshot of entry {snapshot.term}:{snapshot.index}, "
                    f"but another one is committed there"
                )
            return  # not judged yet: whoever committed it died with it
        at, configuration = history.configuration_at(snapshot.index)
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
        self.spoke(machine, term_in(message))
        if (machine.node, machine.life) in self._prevented_lives:
            self._prevented(machine, message)
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

    def spoke(self, machine: Machine, term: int) -> None:
        """A node speaks in a term: its force epoch is on the disk by then."""
        if epoch_of(term) > epoch_of(machine.saved.term):
            raise self._broken(
                f"node {machine.node} speaks of epoch {epoch_text(epoch_of(term))}, "
                f"but its disk says {epoch_text(epoch_of(machine.saved.term))}"
            )

    def _prevented(self, machine: Machine, message: Message) -> None:
        """A node with prevented quorum neither stands nor votes in a life that nobody has taken in."""
        helps = isinstance(message, PreVote | RequestVote)
        helps = helps or (isinstance(message, VoteReply | PreVoteReply) and message.granted)
        joined = (machine.node, machine.core.incarnation) in self._joined_by
        if helps and not joined:
            raise self._broken(f"node {machine.node} was started with prevented quorum, and helps to form a cluster")

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
        if machine.core.start is Start.PREVENTED:
            self._prevented_lives.add((machine.node, machine.life))
        self._began[machine.node] = machine.clock()

    def after(self, machine: Machine, core: NodeCore, votes: Configuration) -> None:
        """A node has applied entries: they must be what everybody applies. `votes`: in force when the event came."""
        key = (machine.node, machine.life)
        done = self._applied.get(key, -1)
        log = core.state.log
        if core.replica.applied < done:
            done = -1  # it follows another force epoch now, whose database is older
        if core.replica.applied > core.state.commit:
            raise self._broken(f"node {core.me} applied {core.replica.applied}, committed is {core.state.commit}")
        if core.state.leads and core.state.commit > done:  # else an event within this one has been judged for it
            self._committed_by(core, votes, done)
        history = self._histories.of(core.state.term)
        for index in range(max(done, log.snapshot_index) + 1, core.replica.applied + 1):
            self._applied_entry(machine.node, log.entry(index), history)
        self._applied[key] = core.replica.applied
        self._world.judge.roles.compare(core.replica.database)

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
                # A disk lost since then did hold it, and so did one that follows a side with forced quorum by now.
                gone = saved.store != voter.store or epoch_of(saved.term) > epoch_of(term)
                copies += gone or _holds(saved, index, term)
            if copies >= configuration.quorum:
                return
            if configuration.witness and copies + 1 >= configuration.quorum and self._witness.held(index, term):
                return
        raise self._broken(f"node {core.me} committed {term}:{index}, which no quorum of {before} has on disk")

    def _applied_entry(self, node: NodeId, entry: Entry, history: History) -> None:
        at = entry.index - FIRST
        if at < len(history.committed):
            known = history.committed[at]
            if known is not None and known is not entry and known != entry:
                raise self._broken(f"node {node} applied {entry} where {known} had been applied")
            history.committed[at] = entry
            return
        if at > len(history.committed):
            raise self._broken(f"node {node} applied index {entry.index} before anybody applied the one before it")
        before = history.last()
        history.committed.append(entry)
        match entry.command:
            case AssignGroup() as command:
                self._assigned(command)
            case Configure(configuration):
                begins = epoch_of(entry.term) and (before is None or epoch_of(before.term) < epoch_of(entry.term))
                self._configured(entry, configuration, history, bool(begins))
            case NodeUp() as command:
                self._joined(command, entry, history)
            case ReportGroup(group, seen, GroupState.ONLINE) if not self._disks.has_booted(group, seen):
                raise self._broken(f"generation {seen} of {group} is reported online and has never booted")
            case ReportGroup() as report:
                self._world.judge.roles.reported(report)
            case _:
                pass

    def _configured(self, entry: Entry, configuration: Configuration, history: History, begins: bool) -> None:
        """Votes change one at a time; only the first entry of a force epoch leaves the forced node alone."""
        old = history.configurations[-1][1]
        changed = set(old.voters) ^ set(configuration.voters)
        if begins:
            node = forced_node(epoch_of(entry.term))
            if [voter.node for voter in configuration.voters] != [node] or configuration.witness:
                raise self._broken(f"node {node} was forced, and the votes are not its own alone: {configuration}")
        elif len(changed) + (old.witness != configuration.witness) != 1:
            raise self._broken(f"more than one voter changed at once: {old} to {configuration}")
        history.configurations.append((entry.index, configuration))

    def _assigned(self, command: AssignGroup) -> None:
        if not command.cause or not command.rule or command.owner not in command.candidates:
            raise self._broken(f"a change of owner without a reason: {command}")
        self._counts["assignments"] = self._counts.get("assignments", 0) + 1

    def _joined(self, command: NodeUp, entry: Entry, history: History) -> None:
        """A node is taken in under a life that was never taken in before, in this force epoch or any other.

        What a forced node had in its log from before counts in its own history alone: there it has formed anew since,
        and elsewhere it may never have been committed.
        """
        node, life, at = command.node, command.incarnation, (entry.index, entry.term)
        ours = self._histories.of(entry.term) is history
        if life <= history.lives.get(node, 0) or (ours and self._joined_by.setdefault((node, life), at) != at):
            raise self._broken(f"node {node} is taken in again under incarnation {life}")
        history.lives[node] = life

    # who leads

    def elected(self, fact: Fact) -> None:
        """A node says that it leads a term: alone, by a quorum of votes on disk, with everything that was committed."""
        term = int(fact.get("term") or 0)
        if self._leaders.setdefault(term, fact.node) != fact.node:
            raise self._broken(f"nodes {self._leaders[term]} and {fact.node} both lead term {term}")
        machine = self._world.machines[fact.node]
        state = machine.core.state
        epoch = epoch_of(term)
        if term < self._newest_term.get(epoch, 0) or state.term != term:
            return  # it was frozen before it could say so, and others went on
        self._newest_term[epoch] = term
        if epoch and term == first_term(epoch):
            self._was_forced(machine, term)
            return
        self._won(fact.node, term, _before_its_term(state.log, term))
        last = self._histories.of(term).last()
        lacks = last is not None and last.index > state.log.snapshot_index
        if last is not None and lacks and state.log.term_at(last.index) != last.term:
            raise self._broken(f"node {fact.node} leads term {term} without committed entry {last.term}:{last.index}")
        for other in self._world.machines.values():
            if other is machine or not other.alive or other.frozen or epoch_of(other.core.state.term) != epoch:
                continue  # what a lease promises, it promises within a force epoch
            if other.core.state.leads and other.core.quorum.lease_stands(other.clock()):
                raise self._broken(f"node {fact.node} was elected while the lease of node {other.node} stands")

    def _won(self, node: NodeId, term: int, configuration: Configuration) -> None:
        votes = sum(1 for voter in configuration.voters if self._votes.get((voter.store, term)) == node)
        votes += configuration.witness and self._witness.votes.get(term) == node
        if votes < configuration.quorum:
            raise self._broken(f"node {node} leads term {term} with {votes} votes on disk of {configuration}")

    def _was_forced(self, machine: Machine, term: int) -> None:
        """A node leads the first term of a force epoch: an administrator said so, and it is on its disk."""
        node = forced_node(epoch_of(term))
        on_disk = self._votes.get((machine.core.state.store, term)) == machine.node
        if machine.node != node or machine.life not in machine.forced_in or not on_disk:
            raise self._broken(f"node {machine.node} leads the first term of a force epoch, and nobody forced it there")
