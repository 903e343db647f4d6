"""The judge: every invariant, looked at when something it speaks of has happened.

Law: sees everything, changes nothing. A broken invariant raises Broken with the seed and the instant; the cores never
learn of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hvcluster.model.facts import Fact, FactKind
from hvcluster.model.scsi import Status
from hvcluster.model.vocabulary import BLOCK_BYTES, US_PER_S, GroupState, LunId, NodeId, ReservationKey
from hvcluster.model.votes import Configuration
from hvcluster.node.core.commands import AssignGroup, Configure
from hvcluster.node.core.effects import Save, Send, StartVm
from hvcluster.node.core.journal import JOURNAL_LBA, Tail, decode, follow_problem, genesis, tail_after
from hvcluster.node.core.messages import Entry, VoteReply
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.saved import SavedState
from hvcluster.san.core.effects import JournalEntry

if TYPE_CHECKING:
    from .machines import Machine
    from .world import World


class Broken(AssertionError):
    """An invariant does not hold."""


def _holds(saved: SavedState, index: int, term: int | None) -> bool:
    """Whether a disk has the entry of that term at that index, or a snapshot that covers it."""
    if saved.snapshot is None or index <= saved.snapshot.index:
        return saved.snapshot is not None
    at = index - saved.snapshot.index - 1
    return at < len(saved.entries) and saved.entries[at].term == term


class _Disk:
    """What the judge knows of one group's LUN."""

    __slots__ = ("acknowledged", "fence", "group", "payloads", "tails")

    def __init__(self, group: str) -> None:
        self.group = group
        self.fence = 0
        self.tails: list[Tail] = [genesis(group)]
        self.payloads: list[bytes] = [b""]
        self.acknowledged = 0


class Judge:
    """Judges one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._disks = {group.lun: _Disk(group.name) for group in world.definition.groups}
        self._by_group = {disk.group: disk for disk in self._disks.values()}
        self._leaders: dict[int, NodeId] = {}
        self._votes: dict[tuple[int, int], NodeId] = {}
        self._committed: list[Entry] = []
        self._first = 2  # the cluster is created with index 1
        self._configuration: Configuration | None = None
        self._lives: dict[tuple[str, int], tuple[NodeId, int]] = {}
        self._applied: dict[tuple[NodeId, int], int] = {}
        self.counts: dict[str, int] = {}
        self.refused: set[str] = set()
        """Initiators that had a write to a group's LUN refused."""

    def broken(self, what: str) -> Broken:
        return Broken(f"seed {self._world.seed}, {self._world.now / US_PER_S:.3f} s: {what}")

    # one writer

    def journal(self, entry: JournalEntry) -> None:
        """The array executed or refused a command."""
        disk = self._disks.get(entry.lun)
        if disk is None or entry.command not in ("WRITE", "COMPARE AND WRITE"):
            return
        if entry.status is Status.RESERVATION_CONFLICT:
            self.refused.add(entry.nexus.initiator)
            self.counts["refused writes"] = self.counts.get("refused writes", 0) + 1
        if entry.status is not Status.GOOD:
            return
        key = ReservationKey.decode(entry.key) if entry.key is not None else None
        if key is None:
            raise self.broken(f"a write to {disk.group} was accepted from {entry.nexus}, which is not registered")
        if key.generation < disk.fence:
            raise self.broken(
                f"a write to {disk.group} was accepted from generation {key.generation} (node {key.node}) "
                f"after generation {disk.fence} had completed step 5"
            )

    # one chain

    def written(self, lun: LunId, lba: int, data: bytes, medium: bytearray) -> None:
        """Blocks are about to be written."""
        disk = self._disks.get(lun)
        if disk is None:
            return
        for at in range(0, len(data), BLOCK_BYTES):
            block = lba + at // BLOCK_BYTES
            if block < JOURNAL_LBA or (block + 1) * BLOCK_BYTES >= len(medium):
                continue
            self._record(disk, block - JOURNAL_LBA + 1, data[at : at + BLOCK_BYTES])

    def _record(self, disk: _Disk, sequence: int, block: bytes) -> None:
        record = decode(block)
        if record is None:
            raise self.broken(f"what was written to {disk.group} as record {sequence} is not a record")
        if sequence < len(disk.tails):
            if disk.tails[sequence] == tail_after(record):
                return
            if sequence <= disk.acknowledged:
                raise self.broken(f"acknowledged record {sequence} of {disk.group} was overwritten by another")
            del disk.tails[sequence:]
            del disk.payloads[sequence:]
        if sequence > len(disk.tails):
            raise self.broken(f"record {sequence} of {disk.group} follows a gap after {len(disk.tails) - 1}")
        problem = follow_problem(disk.tails[-1], record)
        if problem is not None:
            raise self.broken(f"record {sequence} of {disk.group} breaks the chain: {problem}")
        disk.tails.append(tail_after(record))
        disk.payloads.append(record.payload)

    def acknowledged(self, group: str, sequence: int, payload: bytes) -> None:
        """A client was told that its record is on the LUN."""
        disk = self._by_group[group]
        if sequence >= len(disk.tails) or disk.payloads[sequence] != payload:
            raise self.broken(f"record {sequence} of {group} was acknowledged but is not on the LUN")
        disk.acknowledged = max(disk.acknowledged, sequence)

    def vm_started(self, machine: Machine, start: StartVm) -> None:
        """A VM boots: a generation has one life, on one node."""
        where = (machine.node, machine.life)
        if self._lives.setdefault((start.group, start.generation), where) != where:
            raise self.broken(f"generation {start.generation} of {start.group} boots on node {machine.node} again")

    # Raft

    def saved(self, machine: Machine, save: Save) -> None:
        """A node's disk changed: one vote in a term."""
        if save.vote is None or save.vote[1] == 0:
            return
        term, choice = save.vote
        key = (machine.saved.store, term)
        if self._votes.setdefault(key, choice) != choice:
            raise self.broken(f"node {machine.node} voted for {self._votes[key]} and for {choice} in term {term}")

    def said(self, machine: Machine, send: Send) -> None:
        """A node says something: a vote it grants must be on its disk by then."""
        message = send.message
        if not isinstance(message, VoteReply) or not message.granted:
            return
        saved = machine.saved
        if (saved.term, saved.voted_for) != (message.term, send.to):
            raise self.broken(
                f"node {machine.node} gave node {send.to} its vote of term {message.term}, "
                f"but its disk says {saved.voted_for} in term {saved.term}"
            )

    def started(self, machine: Machine) -> None:
        """A new life of a node's service: it applies its database from the snapshot on."""
        self._applied[machine.node, machine.life] = machine.core.replica.applied

    def after(self, machine: Machine, core: NodeCore, votes: Configuration) -> None:
        """A node has applied entries: they must be what everybody applies. `votes`: in force when the event came."""
        key = (machine.node, machine.life)
        done = self._applied.get(key, -1)
        log = core.state.log
        if core.state.leads:
            self._committed_by(core, votes, done)
        for index in range(max(done, log.snapshot_index) + 1, core.replica.applied + 1):
            self._applied_entry(machine.node, log.entry(index))
        self._applied[key] = core.replica.applied

    def _committed_by(self, core: NodeCore, before: Configuration, done: int) -> None:
        """A leader committed: a quorum must have the entry on disk.

        By the votes in force when the event came, or by those that the event itself brought in.
        """
        log = core.state.log
        index = core.state.commit
        term = log.term_at(index)
        after = (log.entry(at).command for at in range(max(done, log.snapshot_index) + 1, log.last_index + 1))
        possible = [before, *(command.configuration for command in after if isinstance(command, Configure))]
        for configuration in possible:
            copies = int(configuration.witness)  # what the witness holds is judged when it is read
            for voter in configuration.voters:
                saved = self._world.machines[voter.node].saved
                copies += saved.store != voter.store or _holds(saved, index, term)  # a disk lost since then did hold it
            if copies >= configuration.quorum:
                return
        raise self.broken(f"node {core.me} committed {term}:{index}, which no quorum of {before} has on disk")

    def _applied_entry(self, node: NodeId, entry: Entry) -> None:
        at = entry.index - self._first
        if at < len(self._committed):
            known = self._committed[at]
            if known is not entry and known != entry:
                raise self.broken(f"node {node} applied {entry} where {known} had been applied")
            return
        if at > len(self._committed):
            raise self.broken(f"node {node} applied index {entry.index} before anybody applied the one before it")
        self._committed.append(entry)
        if isinstance(entry.command, AssignGroup):
            self._assigned(entry.command)
        elif isinstance(entry.command, Configure):
            self._configured(entry.command.configuration)

    def _configured(self, configuration: Configuration) -> None:
        old = self._configuration
        if old is not None:
            changed = set(old.voters) ^ set(configuration.voters)
            if len(changed) + (old.witness != configuration.witness) != 1:
                raise self.broken(f"more than one voter changed at once: {old} to {configuration}")
        self._configuration = configuration

    def _assigned(self, command: AssignGroup) -> None:
        if not command.cause or not command.rule or command.owner not in command.candidates:
            raise self.broken(f"a change of owner without a reason: {command}")
        self.counts["assignments"] = self.counts.get("assignments", 0) + 1

    def fact(self, fact: Fact) -> None:
        """A core recorded a fact."""
        kind = fact.kind
        if kind is FactKind.DISK_ONLINE:
            disk = self._by_group[str(fact.get("group"))]
            disk.fence = max(disk.fence, int(fact.get("generation") or 0))
        elif kind is FactKind.LEADER_ELECTED:
            self._elected(fact)
        self.counts[kind.name] = self.counts.get(kind.name, 0) + 1

    def _elected(self, fact: Fact) -> None:
        term = int(fact.get("term") or 0)
        if self._leaders.setdefault(term, fact.node) != fact.node:
            raise self.broken(f"nodes {self._leaders[term]} and {fact.node} both lead term {term}")
        log = self._world.machines[fact.node].core.state.log
        if self._committed:
            last = self._committed[-1]
            if last.index > log.snapshot_index and log.term_at(last.index) != last.term:
                raise self.broken(
                    f"node {fact.node} leads term {term} without committed entry {last.term}:{last.index}"
                )
        for machine in self._world.machines.values():
            if machine.node == fact.node or not machine.alive or machine.frozen:
                continue
            if machine.core.state.leads and machine.core.quorum.lease_stands(machine.clock()):
                raise self.broken(f"node {fact.node} was elected while the lease of node {machine.node} stands")

    # no quorum, no VMs

    def isolated(self, node: NodeId, since: int) -> None:
        """A node has been alone for longer than its lease and any arbitration: it may run nothing, unless it has
        quorum alone.
        """
        machine = self._world.machines[node]
        if not machine.alive or machine.frozen:
            return
        core = machine.core
        configuration = core.state.log.configuration
        alone = sum(1 for voter in configuration.voters if voter.node == node and voter.store == core.state.store)
        if configuration.witness:
            alone += 1
        if alone < configuration.quorum and machine.guests:
            names = ", ".join(sorted(machine.guests))
            raise self.broken(f"node {node} is alone since {since / US_PER_S:.1f} s and still runs {names}")

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
        configuration = newest.core.state.log.configuration
        intact = {(m.node, m.saved.store) for m in machines}
        left = sum(1 for voter in configuration.voters if (voter.node, voter.store) in intact)
        if left + configuration.witness >= configuration.quorum:
            return False
        self.counts["lost for good"] = 1
        return True

    def problems(self) -> list[str]:
        """Why the lab is not healthy: groups that may run and are not online on exactly one node that may own them."""
        found: list[str] = []
        running: dict[str, list[NodeId]] = {}
        for machine in self._world.machines.values():
            for name in machine.guests:
                running.setdefault(name, []).append(machine.node)
        leader = next((m for m in self._world.machines.values() if m.alive and m.core.state.leads), None)
        if leader is None:
            return [] if self._lost_for_good() else ["no node leads"]
        for group in leader.core.replica.database.groups.values():
            nodes = running.get(group.name, [])
            able = group.definition.possible
            if not group.desired or group.state is GroupState.FAILED:
                continue
            if group.state is not GroupState.ONLINE or nodes != [group.owner] or (able and group.owner not in able):
                where = f"owner {group.owner}, generation {group.generation}, runs on {nodes}"
                found.append(f"{group.name}: {group.state.name}, {where}")
        joining = (m for m in self._world.machines.values() if m.alive and not m.core.replica.member)
        found.extend(f"node {machine.node} has not joined" for machine in joining)
        return found
