"""Mutants of forced quorum: epochs, who yields to them, generations that jump, prevented quorum.

Law: each is one fault that a person could write by mistake; none knows how it will be found.
"""

from __future__ import annotations

from hvcluster.model.epochs import epoch_of, first_term, next_epoch
from hvcluster.model.vocabulary import Generation, NodeId
from hvcluster.node.core import forcing, node
from hvcluster.node.core.commands import Configure, ForceQuorum
from hvcluster.node.core.forcing import Start
from hvcluster.node.core.leaving import Leaving
from hvcluster.node.core.members import Group
from hvcluster.node.core.messages import Entry
from hvcluster.node.core.node import NodeCore
from hvcluster.node.core.outbox import Outbox
from hvcluster.node.core.parts import Parts
from hvcluster.node.core.planner import Planner
from hvcluster.node.core.raft.replication import Replication
from hvcluster.node.core.raft.state import RaftState
from tests.mutants.patching import Patch, breaks


@breaks("a force epoch is on the disk before anybody hears of it")
def the_epoch_is_not_saved(patch: Patch) -> None:
    """A forced node begins its epoch in memory alone."""
    real = RaftState.force

    def force(self: RaftState, term: int) -> None:
        before = self._out
        self._out = Outbox(self.me)
        real(self, term)
        self._out = before

    patch.set(RaftState, "force", force)


@breaks("two nodes that are forced never begin the same epoch")
def epochs_are_only_counted(patch: Patch) -> None:
    """The next epoch is the next number, whichever node is forced."""
    patch.set(forcing, "next_epoch", lambda epoch, _: next_epoch(epoch, NodeId(1)))


@breaks("a side with a lower force epoch yields")
def a_lower_epoch_does_not_yield(patch: Patch) -> None:
    """Whoever has a leader with quorum does not look at others."""
    patch.set(NodeCore, "_yields", lambda *_: False)


@breaks("who yields begins a new life: nothing of the old one counts in the other epoch")
def an_outranked_service_goes_on(patch: Patch) -> None:
    """A node follows the forced side without starting again, with the database and the VMs that it has."""

    def stay(self: Leaving) -> None:
        self._state.outranked = ""

    patch.set(Leaving, "_yield", stay)


@breaks("generations of a forced side outrank those of every other")
def generations_do_not_jump(patch: Patch) -> None:
    """A forced side goes on counting generations where it was."""

    def outranking(self: Group, least: Generation) -> Group:
        return self

    patch.set(Group, "outranking", outranking)


@breaks("while quorum is forced, the forced node's vote is all there is")
def a_forced_node_keeps_the_old_voters(patch: Patch) -> None:
    """A forced node leads, and waits for the votes that are not there."""

    def force(state: RaftState, out: Outbox) -> None:
        epoch = next_epoch(epoch_of(state.term), state.me)
        votes = Configure(state.log.configuration, "")
        state.force(first_term(epoch))
        first = state.log.last_index + 1
        state.log.append((Entry(first, state.term, votes), Entry(first + 1, state.term, ForceQuorum(epoch, ""))))

    patch.set(node, "force", force)


@breaks("what another side committed is thrown away when it joins the forced one")
def an_older_epochs_log_is_taken_for_a_part(patch: Patch) -> None:
    """A follower believes that its snapshot is part of the leader's log, whichever epoch it is from."""
    patch.set(Replication, "_of_its_epoch", lambda *_: True)


@breaks("nobody stands in an epoch of which its log has nothing")
def old_votes_elect_in_a_new_epoch(patch: Patch) -> None:
    """Nodes that yielded hold an election among themselves, by the votes of their old side."""

    def may_stand(self: RaftState) -> bool:
        return self.votes or self.log.configuration_at(self.commit).has(self.me, self.store)

    patch.set(RaftState, "may_stand", property(may_stand))


@breaks("a start is forced once")
def every_life_is_forced_again(patch: Patch) -> None:
    """A process that was started with forced quorum forces it in each life of its service."""

    def after(self: Start, joined: bool) -> Start:
        return self

    patch.set(Start, "after", after)


@breaks("the cluster leaves the forced state by itself")
def the_forced_state_never_ends(patch: Patch) -> None:
    """However many nodes join, the votes stay with the node that was forced."""
    patch.set(Planner, "_forced_ended", lambda *_: None)


@breaks("a node with prevented quorum helps nobody to form a cluster")
def a_prevented_node_votes(patch: Patch) -> None:
    """Prevented quorum is forgotten when somebody asks for a vote."""
    patch.set(Parts, "may_vote", lambda *_: True)


FORCING = (
    the_epoch_is_not_saved,
    epochs_are_only_counted,
    a_lower_epoch_does_not_yield,
    an_outranked_service_goes_on,
    generations_do_not_jump,
    a_forced_node_keeps_the_old_voters,
    an_older_epochs_log_is_taken_for_a_part,
    old_votes_elect_in_a_new_epoch,
    every_life_is_forced_again,
    the_forced_state_never_ends,
    a_prevented_node_votes,
)
