"""Forced and prevented quorum: how an administrator starts a node, and what a forced start begins.

Law: the first step of a force epoch, and who may take it. That the epoch outranks all others follows from its terms and
generations (`model.epochs`); when the forced state ends is for `planner` to say, who yields for `node`.
"""

from __future__ import annotations

from enum import Enum

from hvcluster.model.epochs import MAX_ROUND, epoch_of, first_term, next_epoch, round_of
from hvcluster.model.facts import FactKind
from hvcluster.model.vocabulary import NodeId
from hvcluster.model.votes import Configuration, Voter

from .commands import Configure, ForceQuorum
from .database import Database
from .messages import Entry
from .outbox import Outbox
from .raft.state import RaftState
from .saved import SavedState


class Start(Enum):
    """How the cluster service is started."""

    NORMAL = "joins the cluster, or forms it with others that hold quorum"
    FORCED = "forms the cluster by itself, whatever the votes say; its database is the cluster's from now on"
    PREVENTED = "joins the cluster, and never helps to form one"
    IGNORING = "joins the cluster, or helps to form one of which all groups stay offline"

    def after(self, joined: bool) -> Start:
        """How the next life of the same process starts: nobody is forced twice, and who has joined is like anybody."""
        lasts = self in (Start.PREVENTED, Start.IGNORING) and not joined
        return self if lasts else Start.NORMAL


def refusal(node: NodeId, saved: SavedState) -> str | None:
    """Why a node with this disk cannot be forced, with the way out; None when it can."""
    if saved.snapshot is None:
        return (
            "its disk is empty: it has no cluster database that the others could take over; "
            "force a node that has one, and start this one without --force-quorum to let it join"
        )
    if _evicted(node, saved.snapshot.database, saved.entries):
        return (
            "it does not belong to the cluster, as far as it knows; "
            "force a node that does, and add this one afterwards (`hvc add node`)"
        )
    if round_of(epoch_of(saved.term)) >= MAX_ROUND:
        return f"this cluster's quorum was forced {MAX_ROUND} times, which is the most; make a new cluster"
    return None


def _evicted(node: NodeId, snapshot: bytes, entries: tuple[Entry, ...]) -> bool:
    """What a forced start makes the cluster's database of: all that is written down, committed or not."""
    database = Database.decode(snapshot)
    for entry in entries:
        database.apply(entry.command)
    me = database.members.get(node)
    return me is not None and me.outside


def force(state: RaftState, out: Outbox) -> None:
    """Begin an epoch: this node leads its first term, and its own vote is all there is.

    The new votes are the first entry of the epoch, so no log has anything of it and the old votes as well. Everything
    before them becomes the cluster's database, whatever was known to be committed.
    """
    epoch = next_epoch(epoch_of(state.term), state.me)
    term = first_term(epoch)
    reason = f"an administrator started node {state.me} with forced quorum"
    state.force(term)
    votes = Configure(Configuration((Voter(state.me, state.store),), False), reason)
    first = state.log.last_index + 1
    state.log.append((Entry(first, term, votes), Entry(first + 1, term, ForceQuorum(epoch, reason))))
    out.fact(FactKind.LEADER_ELECTED, reason, term=term)
