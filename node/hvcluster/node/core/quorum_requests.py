"""Operators' requests that change who votes: NodeWeight of a node, and whether the witness belongs to the quorum.

Law: decides as leader whether such a change may begin. What is written down is a wish; votes follow it one at a time,
as `model.votes` orders them, so every majority on the way shares a voter with the one before.
"""

from __future__ import annotations

from collections.abc import Callable

from hvcluster.model.vocabulary import Instant, NodeId
from hvcluster.model.votes import Configuration

from .commands import SetWeight, UseWitness
from .database import Database
from .decisions import Decision, Outcome, refused
from .heartbeats import Heartbeats
from .operator_requests import SetNodeWeight, SetQuorum
from .raft.state import RaftState
from .witness import Witness

_WEIGHTS = (0, 1)


class QuorumRequests:
    """What a leader answers to who wants other votes."""

    __slots__ = ("_beats", "_database", "_me", "_state", "witness")

    def __init__(self, me: NodeId, state: RaftState, beats: Heartbeats, database: Callable[[], Database]) -> None:
        self._me = me
        self._state = state
        self._beats = beats
        self._database = database
        self.witness: Witness | None = None

    def weigh(self, now: Instant, request: SetNodeWeight) -> Decision:
        """A node is to have a vote or none."""
        database, node, weight = self._database(), request.node, request.weight
        if node not in database.members:
            return refused("unknown-node", f"there is no node {node}")
        if weight not in _WEIGHTS:
            return refused("refused", f"NodeWeight is 0 or 1, and not {weight}")
        if weight == 0 and database.members[node].has_vote:
            why = self.refusal_without(now, node)
            if why is not None:
                return refused("quorum", why)

        def watch(database: Database) -> Outcome | None:
            member = database.members.get(node)
            if member is None or member.weight != weight:
                return None
            return Outcome(True, "ok", f"NodeWeight of node {node} is {weight}")

        return Decision(None, (SetWeight(node, weight),), watch)

    def configure(self, now: Instant, request: SetQuorum) -> Decision:
        """The witness is to belong to the quorum, or not."""
        database, used = self._database(), request.witness
        if self.witness is None:
            if used:
                return refused("refused", "this cluster was made without a witness; its lab file names one")
        elif used and not database.has_witness and not self.witness.usable(now):
            return refused("refused", "the leader cannot use the witness now; see that it is up and reachable")
        elif not used and database.has_witness:
            why = self._forced(database) or self._too_few(now, self._state.log.configuration.with_witness(False))
            if why is not None:
                return refused("quorum", why)

        def watch(database: Database) -> Outcome | None:
            if database.has_witness != used:
                return None
            return Outcome(True, "ok", "the witness is used" if used else "the nodes' votes alone are counted")

        return Decision(None, (UseWitness(used),), watch)

    def refusal_without(self, now: Instant, node: NodeId) -> str | None:
        """Why a node's vote must not be taken away now, or None."""
        database = self._database()
        return self._forced(database) or self._too_few_without(now, database, node)

    @staticmethod
    def _forced(database: Database) -> str | None:
        if not database.forced:
            return None
        return "quorum is forced, and votes stay as they are until enough nodes have joined"

    def _too_few_without(self, now: Instant, database: Database, node: NodeId) -> str | None:
        others = [m.id for m in database.members.values() if m.id != node and m.has_vote and m.up]
        if not any(self._here(other) for other in others):
            return f"node {node} has the last vote; give one to another node that is up first"
        configuration = self._state.log.configuration
        left = configuration
        for voter in configuration.voters:
            if voter.node == node and len(configuration.voters) > 1:
                left = configuration.without(voter)
        return self._too_few(now, left) if left != configuration else None

    def _too_few(self, now: Instant, left: Configuration) -> str | None:
        """Why quorum would be lost with these votes, or None."""
        present = sum(1 for voter in left.voters if self._here(voter.node))
        present += left.witness and self.witness is not None and self.witness.usable(now)
        if present >= left.quorum:
            return None
        return f"quorum would be lost: {present} of {left.votes} votes would be present, and {left.quorum} are needed"

    def _here(self, node: NodeId) -> bool:
        return node == self._me or self._beats.reachable(node)
