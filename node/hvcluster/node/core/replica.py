"""This node's copy of the cluster database: the log's committed part, applied in order, and recorded when we lead.

Law: the only writer of the database. It knows nothing of what follows from a change.
"""

from __future__ import annotations

from hvcluster.model.codec import Malformed
from hvcluster.model.epochs import epoch_of, epoch_text
from hvcluster.model.facts import FactKind, Value
from hvcluster.model.vocabulary import DrainStatus, GroupState, Incarnation, NodeId

from .commands import (
    AssignGroup,
    AssignVolume,
    BeginMove,
    CancelMove,
    Command,
    Configure,
    EndDrain,
    EndForced,
    ForceQuorum,
    FormCluster,
    NodeDown,
    NodeUp,
    Preempt,
    ReportGroup,
)
from .database import Database, Image
from .operator_notes import note_wish
from .outbox import Outbox
from .raft.state import RaftState
from .resiliency_notes import note
from .saved import SavedState
from .settings import Settings

STOPPED_POLITELY = "it was stopped by an operator"
EVICTED = "it was evicted"


class Replica:
    """Database and how far it is applied. `changed` and `votes_changed` are for the reader to reset."""

    __slots__ = (
        "_incarnation",
        "_me",
        "_out",
        "_settings",
        "applied",
        "changed",
        "database",
        "left",
        "member",
        "votes_changed",
    )

    def __init__(
        self, me: NodeId, incarnation: Incarnation, saved: SavedState, settings: Settings, out: Outbox
    ) -> None:
        self._settings = settings
        self._me = me
        self._incarnation = incarnation
        self._out = out
        self.database = Database(Image((), (), False, False))
        self.applied = 0
        if saved.snapshot is not None:
            self.database = Database.decode(saved.snapshot.database)
            self.applied = saved.snapshot.index
        settings.follow(self.database.changes)
        self.changed = False
        self.votes_changed = False
        self.member = False
        """The database has us up under this very incarnation."""
        self.left: list[NodeId] = []
        """Nodes that left politely since the reader last looked."""

    def get(self) -> Database:
        """The database as it is now (it is another object after a snapshot was installed)."""
        return self.database

    def install(self, data: bytes) -> bool:
        """Take over a database from a leader or from the witness. False when the bytes are not one."""
        try:
            self.database = Database.decode(data)
        except Malformed:
            return False
        self.applied = 0  # the log's new snapshot says where this database stands
        self._look()
        return True

    def apply(self, state: RaftState) -> None:
        """Apply everything that is committed."""
        self.applied = max(self.applied, state.log.snapshot_index)
        while self.applied < state.commit:
            self.applied += 1
            entry = state.log.entry(self.applied)
            command = entry.command
            configures = isinstance(command, Configure)
            self.votes_changed = self.votes_changed or configures
            if self.database.apply(command):
                self._look()
            elif not configures:
                continue
            if state.leads and (self.member or entry.term == state.term):
                self._note(state.term, command)  # but not, after a restart, what was decided and recorded long ago
            elif self.member and not state.leads:
                self._see_loss(command)

    def _look(self) -> None:
        self._settings.follow(self.database.changes)
        self.changed = True
        self.member = self.database.is_member(self._me, self._incarnation)

    @property
    def removed(self) -> bool:
        """The database says that this very life of the service is over."""
        me = self.database.members.get(self._me)
        return me is not None and not me.up and me.incarnation == self._incarnation

    @property
    def evicted(self) -> bool:
        """This node does not belong to the cluster, as far as it knows."""
        me = self.database.members.get(self._me)
        return me is not None and me.outside

    def _see_loss(self, command: Command) -> None:
        """Every survivor keeps the loss of a node in its own event log, as in the product; a polite stop is no loss."""
        match command:
            case NodeDown(node, incarnation, reason) if reason not in (STOPPED_POLITELY, EVICTED):
                self._out.fact(FactKind.NODE_LOSS_SEEN, reason, peer=node, incarnation=incarnation)
            case _:
                pass

    def _note(self, term: int, command: Command) -> None:
        """Record what the cluster has decided; the leader does, once."""
        fact = self._out.fact
        note(self._out, self.database, command)
        note_wish(self._out, command)
        about: dict[str, Value]
        match command:
            case FormCluster(reason):
                fact(FactKind.CLUSTER_FORMED, reason, term=term)
            case ForceQuorum(epoch, reason):
                fact(FactKind.QUORUM_FORCED, reason, epoch=epoch_text(epoch))
            case EndForced(reason):
                fact(FactKind.FORCED_ENDED, reason, epoch=epoch_text(epoch_of(term)))
            case NodeUp(node, incarnation, _):
                fact(FactKind.NODE_UP, "it has caught up and hears the leader", peer=node, incarnation=incarnation)
            case NodeDown(node, incarnation, reason):
                fact(FactKind.NODE_DOWN, reason, peer=node, incarnation=incarnation)
                if reason == STOPPED_POLITELY:
                    self.left.append(node)
            case Configure(configuration, reason):
                nodes = ",".join(str(voter.node) for voter in configuration.voters)
                fact(FactKind.VOTES_CHANGED, reason, nodes=nodes, witness=int(configuration.witness))
            case AssignGroup(group, seen, owner, cause, candidates, rule, _, _, resumes):
                able = ",".join(map(str, candidates))
                about = {"group": group, "owner": owner, "generation": seen + 1, "candidates": able}
                if resumes:
                    about["resumes"] = resumes
                fact(FactKind.GROUP_ASSIGNED, f"{cause}; {rule}", **about)
            case AssignVolume(volume, _, owner, reason):
                fact(FactKind.VOLUME_ASSIGNED, reason, volume=volume, owner=owner)
            case Preempt(group, seen, cause):
                fact(FactKind.GROUP_PREEMPTED, cause, group=group, generation=seen)
            case BeginMove(group, seen, target, cause, _, move_kind):
                about = {"group": group, "generation": seen, "target": target, "type": move_kind.name.lower()}
                fact(FactKind.GROUP_MOVING, cause, **about)
            case CancelMove(group, seen, _, outcome, reason):
                fact(FactKind.MIGRATION_ENDED, reason, group=group, generation=seen, outcome=outcome.name)
            case ReportGroup(group, seen, group_state, _, reason, revision):
                if revision and group_state not in (GroupState.OFFLINE, GroupState.FAILED) and not reason:
                    return  # only the states of its resources, which their owner has recorded
                fact(FactKind.GROUP_REPORTED, reason, group=group, generation=seen, state=group_state.name)
            case EndDrain(node, status, reason):
                kind = FactKind.DRAIN_FAILED if status is DrainStatus.FAILED else FactKind.DRAIN_COMPLETED
                fact(kind, reason, peer=node)
            case _:
                pass
